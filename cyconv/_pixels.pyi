from typing import Any, Self, final

from cyconv._filter_gradient import _Gradient
from cyconv._gemm import Convolution
from cyconv._gemm import Driver as Driver
from cyconv._gemm import Panels as Panels
from cyconv._problem import Problem

@final
class Pixels(Driver):
    @property
    def general(self) -> Convolution: ...

@final
class PixelsGradient(_Gradient):
    def __new__(cls, problem: Problem, general: Any) -> Self: ...
