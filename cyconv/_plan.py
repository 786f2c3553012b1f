"""The table of algorithms, and plans: an op with its filters packed once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

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


def run(
    problem: Problem,
    x: Array,
    filters: Any,
    bias: Any,
    activation: Any,
    residual: Any,
    out: Any,
    num_threads: Any,
) -> Array:
    """Check the extras, choose the team, compute."""
    op, dtype = problem.op, x.dtype
    vector = None if bias is None else bias_argument(op, bias, problem.out_channels, dtype, problem.dtype)
    added = None if residual is None else residual_argument(op, residual, problem.out_shape, dtype)
    epilogue = _IDENTITY if activation is None else activation_argument(op, activation, problem.dtype)
    threads = _threads.wanted(op, num_threads)
    driver = compiled(problem)
    if out is None:
        return driver.run(x, filters, vector, added, epilogue, None, threads, _isa.current())
    target = out_argument(op, out, problem.out_shape, dtype)
    if not target.flags.aligned or any(np.may_share_memory(target, a) for a in (x, filters, vector, added) if a is not None):
        target[...] = driver.run(x, filters, vector, added, epilogue, None, threads, _isa.current())
    else:
        driver.run(x, filters, vector, added, epilogue, target, threads, _isa.current())
    return out  # type: ignore[no-any-return]
