from collections.abc import Sequence
from typing import Any, Self, final

from cyconv._problem import Array

@final
class Window:
    def __new__(cls, problem: Any) -> Self: ...
    @property
    def problem(self) -> Any: ...
    def run(
        self,
        x: Array | None,
        grad: Array | None,
        weights: Array | None,
        sign: float,
        out: Array,
        positions: Array | None,
        counted: int,
        threads: int,
        isa: int,
    ) -> bool: ...

def lrn(
    dtype: int,
    inputs: Sequence[Array],
    out: Array,
    radius: int,
    bias: float,
    alpha: float,
    beta: float,
    threads: int,
    isa: int,
) -> None: ...
