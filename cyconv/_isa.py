"""Which instruction set the kernels use: the best this CPU has, or what CYCONV_ISA or `isa` say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cyconv import _runtime
from cyconv._problem import shown
from cyconv._runtime import settings

_NAMES = [name for name, _ in _runtime.isas()]
_AVAILABLE = tuple(name for name, detected in _runtime.isas() if detected)


def available_isas() -> tuple[str, ...]:
    """The instruction sets that this CPU has and this build knows, slowest first.

    Examples
    --------
    >>> import cyconv
    >>> cyconv.available_isas()[0]
    'baseline'
    """
    return _AVAILABLE


def _number(name: str, source: str) -> int:
    if name not in _AVAILABLE:
        raise ValueError(f"{source}: ISA {shown(name)} is not one of {', '.join(_AVAILABLE)}, which this CPU has")
    return _NAMES.index(name)


_forced = os.environ.get("CYCONV_ISA")
settings.isa = _number(_forced, "CYCONV_ISA") if _forced else _NAMES.index(_AVAILABLE[-1])


def current() -> int:
    """The place of the ISA in use in the registry."""
    return settings.isa


def current_isa() -> str:
    """The name of the instruction set in use.

    Examples
    --------
    >>> import cyconv
    >>> cyconv.current_isa() in cyconv.available_isas()
    True
    """
    return _NAMES[settings.isa]


@contextmanager
def isa(name: str) -> Iterator[None]:
    """Force an instruction set within a block, for tests and comparisons; process-wide.

    Parameters
    ----------
    name : str
        One of `available_isas`.

    Raises
    ------
    ValueError
        When this CPU does not have it.

    Examples
    --------
    >>> import cyconv
    >>> with cyconv.isa("baseline"):
    ...     cyconv.current_isa()
    'baseline'
    """
    before, settings.isa = settings.isa, _number(name, "isa")
    try:
        yield
    finally:
        settings.isa = before
