from typing import Any, Self, final

from cyconv._problem import Array, Epilogue, Problem

class _Driver:
    """What drivers have, each of it some of that; `_algorithms` says what it is."""

    def __new__(cls, problem: Any) -> Self: ...
    @property
    def problem(self) -> Problem: ...
    @property
    def general(self) -> Any: ...
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

class _Packed:
    """And what they pack."""

    @property
    def nbytes(self) -> int: ...
    @property
    def finite(self) -> bool: ...
    @property
    def filters(self) -> Any: ...

@final
class Panels(_Packed): ...

@final
class Columns(_Driver): ...

@final
class Convolution(_Driver): ...
