from typing import Self, final

from cyconv._problem import Array, Epilogue, Problem

@final
class Panels:
    @property
    def nbytes(self) -> int: ...

@final
class Pixels:
    def __new__(cls, problem: Problem) -> Self: ...
    @property
    def problem(self) -> Problem: ...
    @property
    def flops(self) -> float: ...
    @property
    def work(self) -> float: ...
    @property
    def layout(self) -> tuple[object, ...]: ...
    @property
    def about(self) -> str: ...
    def pack(self, w: Array, isa: int) -> Panels: ...
    def workspace(self, threads: int, isa: int) -> int: ...
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
