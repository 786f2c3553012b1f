"""The table of algorithms, and plans: an op with its filters packed once."""

from __future__ import annotations

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


@lru_cache(maxsize=1024)
def compiled(problem: Problem) -> Convolution:
    """The driver's form of a problem."""
    return Convolution(problem)


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
    """Check the extras, choose the team, compute."""
    vector, added, epilogue, target = check(problem, x.dtype, bias, activation, residual, out)
    threads = _threads.wanted(problem.op, num_threads)
    driver, isa = compiled(problem), _isa.current()
    if target is None:
        return driver.run(x, filters, vector, added, epilogue, None, threads, isa)
    if not target.flags.aligned or any(np.may_share_memory(target, a) for a in (x, filters, vector, added) if a is not None):
        target[...] = driver.run(x, filters, vector, added, epilogue, None, threads, isa)
    else:
        driver.run(x, filters, vector, added, epilogue, target, threads, isa)
    return out  # type: ignore[no-any-return]
