from typing import Any, Self, final

from cyconv._problem import Array, Epilogue, Problem

@final
class Panels:
    @property
    def nbytes(self) -> int: ...
    @property
    def isa(self) -> int: ...
    @property
    def finite(self) -> bool: ...

@final
class Convolution:
    def __new__(cls, problem: Problem) -> Self: ...
    @property
    def problem(self) -> Problem: ...
    @property
    def layout(self) -> tuple[Any, ...]: ...
    @property
    def flops(self) -> float: ...
    @property
    def work(self) -> float: ...
    def workspace(self, threads: int, isa: int) -> int: ...
    def pack(self, w: Array, isa: int) -> Panels: ...
    def run(
        self,
        x: Array,
        filters: Array | Panels,
        bias: Array | None,
        residual: Array | None,
        epilogue: Epilogue,
        out: Array | None,
        threads: int,
        isa: int,
    ) -> Array: ...
