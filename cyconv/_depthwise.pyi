from typing import final

from cyconv._gemm import _Driver, _Packed
from cyconv._problem import StagedFilters

@final
class Panels(_Packed): ...

@final
class Depthwise(_Driver): ...

@final
class Stages(_Packed): ...

@final
class Separable(_Driver):
    def pack(self, filters: StagedFilters, isa: int) -> Stages: ...
