from typing import Any, Self, final

from cyconv._gemm import _Driver
from cyconv._problem import Problem

@final
class Panels:
    @property
    def nbytes(self) -> int: ...
    @property
    def general(self) -> Any: ...

@final
class Pixels(_Driver):
    def __new__(cls, problem: Problem) -> Self: ...
    @property
    def problem(self) -> Problem: ...
    @property
    def general(self) -> Any: ...
    @property
    def about(self) -> str: ...
