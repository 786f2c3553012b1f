from typing import final

from cyconv._gemm import Driver as Driver, Panels as Panels
from cyconv._problem import StagedFilters

class _Packed:
    @property
    def nbytes(self) -> int: ...

@final
class Taps(_Packed): ...

@final
class Depthwise(Driver): ...

@final
class Stages(_Packed): ...

@final
class Separable(Driver):
    def pack(self, filters: StagedFilters, isa: int) -> Stages: ...
