"""What calls take of scratch, and what their plans say that they take at most: `python tests/scratch.py conv2d 0 40`.

To be run with scratch.c preloaded, which counts it.
"""

import ctypes
import sys
from contextlib import ExitStack

import numpy as np
from ops import OPS, draw

import cyconv as nn


def taken(name: str, seed: int) -> tuple[int, int, str]:
    """Bytes of a random case's call, what its plan says, and the case in words."""
    counted = ctypes.CDLL(None)
    counted.scratch_peak.restype = ctypes.c_size_t
    case, op, packed = draw(OPS[name], seed), OPS[name], 0
    arguments = case.args | case.arrays
    x, residual = arguments.pop(op.x).astype(case.dtype, "C"), arguments.pop("residual", None)
    filters = [arguments.pop(f) for f in ("depthwise_filter", op.filters) if f in arguments]
    finite = seed % 4 > 0 or case.dtype == np.int32 or filters[0].size == 0
    if not finite:
        filters[0] = filters[0].copy()
        filters[0].flat[0] = np.inf
    if seed % 4 == 1 and case.dtype != np.int32 and x.size:  # some tiles are computed again
        x.flat[x.size // 2] = np.nan
    with ExitStack() as stack:
        stack.enter_context(np.errstate(all="ignore"))
        stack.enter_context(nn.algorithm(case.algorithm or "auto"))
        if case.isa:
            stack.enter_context(nn.isa(case.isa))
        plan, threads = nn.plan(getattr(nn, name), *filters, **arguments), 1 + seed % 3
        said = plan.explain(x.shape, threads)
        if not finite and said.algorithm in ("pixels", "winograd"):  # another driver does it, and packs them each time
            with nn.algorithm("direct"):
                packed = plan.explain(x.shape).packed_bytes + 512
        out = np.empty(plan.output_shape(x.shape), case.dtype)
        plan(x, out, residual=residual, num_threads=threads)
        counted.scratch_from_here()
        plan(x, out, residual=residual, num_threads=threads)
        return counted.scratch_peak(), said.workspace_bytes + packed, f"{name} {seed}: {said.algorithm}, {case}"


if __name__ == "__main__":
    for seed in range(int(sys.argv[2]), int(sys.argv[3])):
        bytes_taken, most, words = taken(sys.argv[1], seed)
        if bytes_taken > most:
            sys.exit(f"{bytes_taken} bytes of {most}: {words}")
