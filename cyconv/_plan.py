"""The table of algorithms: best first, the general one last, the first that accepts a problem computes it.

A row is a name, what it refuses (a reason in words, or None) and its driver. A driver is made from a Problem, is
immutable and has

    pack(filters, isa)                      the filters in the driver's own order, with .nbytes and .isa
    run(x, filters or packed, bias, residual, epilogue, out, threads, isa)
    workspace(threads, isa)                 the most bytes of scratch of a call, packed filters apart
    flops                                   as a direct convolution

The choice may look at the problem but not at the batch, the threads or how arrays lie in memory: bits must not depend on
those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cyconv import _isa, _threads
from cyconv._gemm import Convolution
from cyconv._problem import (
    Array,
    Epilogue,
    Problem,
    activation_argument,
    bias_argument,
    out_argument,
    residual_argument,
)

_IDENTITY = Epilogue(0, float("-inf"), float("inf"))


class Algorithm(NamedTuple):
    """A row of the table."""

    name: str
    refuses: Callable[[Problem], str | None]
    driver: Callable[[Problem], Any]


#: Best first. Each is equal to reference.py within its documented bound; direct takes everything.
ALGORITHMS = (Algorithm("direct", lambda problem: None, Convolution),)

_forced: ContextVar[str | None] = ContextVar("cyconv_algorithm", default=None)


def named(name: str) -> Algorithm:
    """The row of that name."""
    for row in ALGORITHMS:
        if row.name == name:
            return row
    raise ValueError(f"algorithm must be one of {', '.join(row.name for row in ALGORITHMS)}, not {name!r}")


@contextmanager
def algorithm(name: str) -> Iterator[None]:
    """Force an algorithm within a block wherever it accepts the problem, e.g. ``with cyconv.algorithm("direct")``."""
    token = _forced.set(named(name).name)
    try:
        yield
    finally:
        _forced.reset(token)


@lru_cache(maxsize=1024)
def chosen(problem: Problem, forced: str | None) -> Any:
    """The driver of a problem: of the first row that accepts it, or of the one that is forced if that accepts it."""
    rows = ALGORITHMS if forced is None else (named(forced), *ALGORITHMS)
    return next(row.driver(problem) for row in rows if row.refuses(problem) is None)


class Extras(NamedTuple):
    """The checked extras of one call."""

    bias: Array | None
    residual: Array | None
    epilogue: Epilogue
    target: Array | None


def check(problem: Problem, dtype: Any, bias: Any, activation: Any, residual: Any, out: Any) -> Extras:
    """The extras of an op, checked against what it makes."""
    op = problem.op
    return Extras(
        None if bias is None else bias_argument(op, bias, problem.out_channels, dtype, problem.dtype),
        None if residual is None else residual_argument(op, residual, problem.out_shape, dtype),
        _IDENTITY if activation is None else activation_argument(op, activation, problem.dtype),
        None if out is None else out_argument(op, out, problem.out_shape, dtype),
    )


def run(problem: Problem, x: Array, filters: Any, bias: Any, activation: Any, residual: Any, out: Any, num_threads: Any) -> Array:
    """Check the extras, choose the driver and the team, compute."""
    vector, added, epilogue, target = check(problem, x.dtype, bias, activation, residual, out)
    threads = _threads.wanted(problem.op, num_threads)
    driver, isa = chosen(problem, _forced.get()), _isa.current()
    if target is None:
        return driver.run(x, filters, vector, added, epilogue, None, threads, isa)  # type: ignore[no-any-return]
    if not target.flags.aligned or any(np.may_share_memory(target, a) for a in (x, filters, vector, added) if a is not None):
        target[...] = driver.run(x, filters, vector, added, epilogue, None, threads, isa)
    else:
        driver.run(x, filters, vector, added, epilogue, target, threads, isa)
    return out  # type: ignore[no-any-return]
