"""cyconv/transpose.py: `time_call` in every library, and cyconv's rate and memory."""

from .measure import NETWORK_LIBRARIES, _Rate, _Time
from .shapes import named


class Transpose(_Time):
    params = (named("transpose"), NETWORK_LIBRARIES)


class TransposeRate(_Rate):
    params = (named("transpose"),)
