from typing import Any, Self, final

from cyconv._filter_gradient import _Gradient
from cyconv._gemm import Convolution, Driver as Driver, Panels as Panels
from cyconv._problem import Problem

@final
class Pixels(Driver):
    @property
    def general(self) -> Convolution: ...

@final
class PixelsGradient(_Gradient):
    def __new__(cls, problem: Problem, general: Any) -> Self: ...
