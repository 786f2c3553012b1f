from typing import Any, Self, final

from typing_extensions import disjoint_base

from cyconv._problem import Array, Epilogue, Problem

@disjoint_base
class Driver:
    """What all drivers have; `_algorithms` says what it is."""

    def __new__(cls, problem: Any) -> Self: ...
    @property
    def problem(self) -> Problem: ...
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
    """What most of them pack."""

    @property
    def nbytes(self) -> int: ...
    @property
    def finite(self) -> bool: ...
    @property
    def filters(self) -> Array: ...

@final
class Columns(Driver): ...

@final
class Convolution(Driver): ...

@final
class Pointwise(Driver): ...
