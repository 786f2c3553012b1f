"""cyconv/convolution.py: `time_call` in every library, and cyconv's rate and memory."""

from .measure import LIBRARIES, _Rate, _Time
from .shapes import named


class Convolution(_Time):
    params = (named("conv"), LIBRARIES)


class ConvolutionRate(_Rate):
    params = (named("conv"),)
