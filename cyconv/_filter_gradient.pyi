from typing import Self, final

from cyconv._problem import Array, Epilogue, Problem

class _Gradient:
    @property
    def problem(self) -> Problem: ...
    def run(self, x: Array, g: Array, out: Array, threads: int, isa: int) -> None: ...

@final
class FilterGradient(_Gradient):
    def __new__(cls, problem: Problem, transform: tuple[tuple[int, ...], int, int] | None = None) -> Self: ...
    @property
    def transform(self) -> tuple[tuple[int, ...], int, int] | None: ...
    @property
    def flops(self) -> float: ...

def activation_gradient(
    y: Array, g: Array, out: Array, epilogue: Epilogue, dtype: int, threads: int, isa: int
) -> None: ...
