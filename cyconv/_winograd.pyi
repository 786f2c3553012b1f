from typing import Self, final

from cyconv._gemm import Convolution
from cyconv._gemm import Driver as Driver
from cyconv._gemm import Panels as Panels
from cyconv._problem import Problem

@final
class Winograd(Driver):
    def __new__(cls, problem: Problem, shape: tuple[tuple[int, ...], int, int, int]) -> Self: ...
    @property
    def shape(self) -> tuple[tuple[int, ...], int, int, int]: ...
    @property
    def general(self) -> Convolution: ...
    def counts(self, isa: int) -> tuple[float, ...]: ...
