from typing import Any, Self, final

from cyconv._filter_gradient import _Gradient
from cyconv._gemm import _Driver, _Packed
from cyconv._problem import Problem

@final
class Panels(_Packed): ...

@final
class Pixels(_Driver): ...

@final
class PixelsGradient(_Gradient):
    def __new__(cls, problem: Problem, general: Any) -> Self: ...
