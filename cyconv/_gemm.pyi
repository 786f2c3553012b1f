from typing import Any, Self, final

from cyconv._problem import Array, Epilogue, Problem

class _Driver:
    """What every driver of a Problem has; `_algorithms` says what it is."""

    @property
    def flops(self) -> float: ...
    @property
    def work(self) -> float: ...
    @property
    def layout(self) -> tuple[Any, ...]: ...
    def pack(self, w: Any, isa: int) -> Any: ...
    def workspace(self, threads: int, isa: int) -> int: ...
    def run(
        self,
        x: Array,
        filters: Any,
        bias: Array | None,
        residual: Array | None,
        epilogue: Epilogue,
        out: Array | None,
        threads: int,
        isa: int,
    ) -> Array: ...

@final
class Panels:
    @property
    def nbytes(self) -> int: ...
    @property
    def finite(self) -> bool: ...

@final
class Columns(_Driver):
    def __new__(cls, problem: Problem) -> Self: ...
    @property
    def problem(self) -> Problem: ...

@final
class Convolution(_Driver):
    def __new__(cls, problem: Problem) -> Self: ...
    @property
    def problem(self) -> Problem: ...
