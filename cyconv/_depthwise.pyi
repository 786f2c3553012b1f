from typing import Self, final

from cyconv._gemm import _Driver
from cyconv._problem import Problem, SeparableProblem, StagedFilters

@final
class Panels:
    @property
    def nbytes(self) -> int: ...

@final
class Depthwise(_Driver):
    def __new__(cls, problem: Problem) -> Self: ...

@final
class Stages:
    @property
    def nbytes(self) -> int: ...

@final
class Separable(_Driver):
    def __new__(cls, problem: SeparableProblem) -> Self: ...
    def pack(self, filters: StagedFilters, isa: int) -> Stages: ...
