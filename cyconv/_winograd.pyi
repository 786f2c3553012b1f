from typing import Self, final

from cyconv._gemm import _Driver, _Packed
from cyconv._problem import Problem

@final
class Panels(_Packed): ...

@final
class Winograd(_Driver):
    def __new__(cls, problem: Problem, shape: tuple[tuple[int, ...], int, int, int]) -> Self: ...
    @property
    def shape(self) -> tuple[tuple[int, ...], int, int, int]: ...
    def counts(self, isa: int) -> tuple[float, ...]: ...
