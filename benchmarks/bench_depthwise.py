"""cyconv/depthwise.py: `time_call` in every library, and cyconv's rate and memory."""

from .measure import NETWORK_LIBRARIES, _Rate, _Time
from .shapes import named


class Depthwise(_Time):
    params = (named("depthwise", "separable"), NETWORK_LIBRARIES)


class DepthwiseRate(_Rate):
    params = (named("depthwise", "separable"),)
