"""What every window op shares: its arguments as one problem, and its run. As _problem.py and _plan.py for convolutions."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cyconv import _geometry as geometry, _isa, _problem, _runtime, _threads
from cyconv._geometry import LIMIT, UNIT, JobAxis
from cyconv._op import Op
from cyconv._problem import COMPUTE, DTYPES, Array, Shape, Steps
from cyconv._window import Window

#: What the driver makes of its windows, in its order.
MAX, MEAN, ARGMAX, MAX_GRAD, MEAN_GRAD, FILTER_GRAD = range(6)
#: Where ARGMAX's positions are.
IN_IMAGE, IN_BATCH, TAP = range(3)
Jobs = tuple[JobAxis, JobAxis, JobAxis]
#: Of a gradient along an axis: a few hundred bytes each.
MOST_PHASES = 1 << 22


class Problem(NamedTuple):
    """A window op in the form the driver takes."""

    op: str
    kind: int
    dtype: int
    channels_last: bool
    ndim: int
    channels: int
    forward: Jobs
    phases: tuple[tuple[JobAxis, ...], ...]
    work: float
    out_shape: Shape  # of the forward op
    result_shape: Shape  # and of what this one makes
    moved: int | None  # windows over channels: where these were before they became the last spatial axis


#: The arguments that describe an op's windows, checked in kind, hashable: ksize, and how they move.
Geometry = tuple[int | Shape | None, *Steps]


def _ksize(op: str) -> str:
    """What an op calls the size of its windows."""
    return "window_shape" if op == "pool" else "ksize"


def _dilations(op: str) -> str:
    """And the distances in them."""
    return "rates" if op.endswith(("2d_backprop_input", "2d_backprop_filter")) else "dilations"


def described(op: str, ksize: Any, strides: Any, padding: Any, data_format: Any, dilations: Any) -> Geometry:
    """Those arguments from what the caller gave."""
    ksize = ksize if type(ksize) is int else _problem.sequence(op, _ksize(op), ksize)
    return ksize, *_problem.steps_argument(op, "strides", _dilations(op), strides, padding, data_format, dilations)


def _steps(op: str, arg: str, value: int | Shape | None, n: int, channels_last: bool, over: bool) -> Shape:
    """n steps, and that of the channels where windows go over them."""
    if over and isinstance(value, tuple) and len(value) == n + 2:
        if value[0] != 1:
            raise ValueError(f"{op}: {arg} must be 1 for the batch, not {value}")
        return tuple(_problem.integer(op, arg, v) for v in (value[1:] if channels_last else (*value[2:], value[1])))
    return _problem.spatial(op, arg, value, n, channels_last) + ((1,) if over else ())


@lru_cache(maxsize=1024)
def windows(of: Op, arg: str, shape: Shape, dtype: int, g: Geometry) -> Window:
    """The driver of windows over an array of that shape; ops with filters give their size as ksize."""
    op, kind, n = of.name, of.kind, of.n or _problem.spatial_rank(of.name, arg, shape)
    ksizes, steps, pads, data_format, apart = g
    last = _problem.layout(op, data_format, n)
    batch, sizes, channels = _problem.split_shape(op, arg, shape, n, last, False)
    ends = [v[-1] if last else v[1] for v in (ksizes, steps) if isinstance(v, tuple) and len(v) == n + 2]
    over = any(end > 1 for end in ends)
    if over and n == 3:
        raise ValueError(
            f"{op}: ksize={ksizes}, strides={steps}: windows over channels go with one or two spatial axes"
        )
    ksize = _steps(op, _ksize(op), ksizes, n, last, over)
    strides = _steps(op, "strides", steps, n, last, over)
    if over and ksize[-1] == 1:
        raise ValueError(
            f"{op}: strides={steps} go over the channels, which windows of one channel would leave out: use 1 there, or "
            f"windows of more ({_ksize(op)}={ksizes})"
        )
    dilations = _problem.spatial(op, _dilations(op), apart, n, last) + ((1,) if over else ())
    padding = _problem.padding_of(op, pads, n, last)
    if over:
        sizes, channels = (*sizes, channels), 1
        padding = padding if isinstance(padding, str) else (*padding, (0, 0))
    result = _problem.axes(op, arg, shape, sizes, ksize, strides, dilations, padding, 0)
    for i, a in enumerate(result):
        reach = geometry.effective(a.taps, a.dilation)
        if kind not in (MEAN, MEAN_GRAD) and not isinstance(padding, str) and max(padding[i]) >= reach:
            raise ValueError(
                f"{op}: padding {padding[i]} on spatial axis {i} must be smaller than the window, {reach}: "
                "a window of nothing but padding has no maximum"
            )
    outs = tuple(a.out for a in result)
    out_shape = _problem.join_shape(batch, outs[:n], outs[n] if over else channels, last)
    _problem.check_bytes(op, out_shape, dtype)
    if kind not in (MAX, MEAN, MEAN_GRAD) and math.prod(ksize) > LIMIT:
        raise _problem.misfit(
            op, "ksize", (shape,), f"a window of {math.prod(ksize)} elements, more than {LIMIT}, cannot be numbered"
        )
    widths = [math.prod(sizes[i + 1 :]) * channels for i in range(len(sizes))]
    farthest = sum((a.taps - 1) * a.dilation * width for a, width in zip(result, widths))
    if kind == ARGMAX and max(math.prod(sizes) * channels, farthest) > LIMIT and dtype != DTYPES.index("float64"):
        raise _problem.misfit(
            op, arg, (shape,),
            f"an image or a window that spans more than {LIMIT} elements ({arg}.shape={shape}, "
            f"{_ksize(op)}={ksize}) has positions for float64 only",
        )  # fmt: skip
    d, h, w = _problem.three(result, UNIT)
    forward = geometry.whole(d), geometry.whole(h), geometry.whole(w)
    gathered = kind == MEAN_GRAD
    if gathered and max(min(a.stride, a.size) for a in result) > MOST_PHASES:
        raise MemoryError(f"{op}: strides {strides} make more than {MOST_PHASES} phases of {arg}.shape={shape}")
    phases = tuple(tuple(geometry.phases(a)) if gathered else () for a in (d, h, w))
    taps = math.prod(min(a.taps, a.size) for a in result)
    return Window(
        Problem(
            op,
            kind,
            dtype,
            last or over,
            n + over,
            channels,
            forward,
            phases,
            math.prod(shape) + math.prod(out_shape) * (1 + taps / 8),
            out_shape,
            {MAX_GRAD: shape, MEAN_GRAD: shape, FILTER_GRAD: (*ksize[:n], channels)}.get(kind, out_shape),
            None if not over else -1 if last else 1,
        )
    )


def empty(op: str, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """A new array, or the MemoryError that names the op."""
    try:
        return _runtime.empty(shape, dtype)
    except (MemoryError, ValueError):
        raise MemoryError(f"{op}: no memory for a result of shape {shape}, {dtype}") from None


def room_for(op: str, out: Any, shape: Shape, dtype: np.dtype[Any], *inputs: Array | None) -> Array:
    """Where a result is computed: out, but a new array where there is none, it is not aligned or an input shares its memory."""
    if out is not None:
        target = _problem.out_argument(op, out, shape, dtype)
        if target.flags.aligned and not any(np.may_share_memory(target, a) for a in inputs if a is not None):
            return target
    return empty(op, shape, dtype)


def same_shape(op: str, shape: Shape, **arrays: Array) -> None:
    """Each array must have the shape of the op's output."""
    for arg, a in arrays.items():
        if a.shape != shape:
            raise _problem.misfit(op, arg, (a.shape, shape), f"{arg}.shape={a.shape}, but the op's output has {shape}")


def run(
    window: Window,
    out: Any,
    num_threads: int | None,
    x: Any = None,
    grad: Any = None,
    weights: Array | None = None,
    sign: float = 1.0,
    positions: Array | None = None,
    counted: int = IN_IMAGE,
) -> Array:
    """Compute into out, or a new array; of a mean's gradient there is no x."""
    p: Problem = window.problem
    y = room_for(p.op, out, p.result_shape, (grad if x is None else x).dtype, x, grad, weights)
    seen: Any = (x, grad, y, positions)
    if p.moved is not None or p.kind == FILTER_GRAD:
        seen = [a if a is None else _seen(p, a) for a in seen]
    threads = _threads.wanted(p.op, num_threads)
    if not window.run(seen[0], seen[1], weights, sign, seen[2], seen[3], counted, threads, _isa.current()):
        _through_winners(p, y, num_threads, x, grad, weights, sign)
    return _problem.delivered(out, y)


def _through_winners(
    p: Problem, y: Array, num_threads: int | None, x: Any, grad: Any, weights: Array | None, sign: float
) -> None:
    """The gradient of maxima, by input or by filters, whose windows are too large for the driver's scratch: through an
    array of the taps that won."""
    winners = empty(p.op, p.out_shape, np.dtype(np.int64))
    forward = Window(p._replace(kind=ARGMAX, result_shape=p.out_shape))
    run(forward, None, num_threads, x, None, weights, sign, winners, TAP)
    by_filter = p.kind == FILTER_GRAD
    result = y if by_filter else channels_last_of(p, y)
    sums = np.zeros(result.shape, COMPUTE[p.dtype])
    for n, (taps, g) in enumerate(zip(channels_last_of(p, winners), channels_last_of(p, grad))):
        at, step = (taps, 1) if by_filter else (0, 1)
        rest = taps
        for i, a in enumerate(reversed(() if by_filter else p.forward[3 - p.ndim :])):
            rest, k = np.divmod(rest, a.taps)
            first = (np.arange(a.out) * a.stride - a.lo).reshape(-1, *(1,) * (i + 1))
            at, step = at + (first + k * a.dilation) * step, step * a.size
        at = at * p.channels + np.arange(p.channels)
        order = slice(None, None, 1 if by_filter else -1)  # of a row, as the driver's
        at, found, g = (a[..., order, :] for a in (at, taps >= 0, g))
        np.add.at(sums.reshape(-1) if by_filter else sums[n].reshape(-1), at[found], g[found].astype(sums.dtype))
    result[...] = sums


def channels_last_of(p: Problem, a: Array) -> Array:
    """The array as the driver sees it, its channels last."""
    seen: Array = _seen(p, a)
    return seen if p.channels_last else np.moveaxis(seen, 1, -1)


def _seen(p: Problem, a: Array) -> Any:
    """The array as the driver sees it."""
    if p.kind == FILTER_GRAD and a.ndim == 3:  # filters, as an image in the order of data_format
        return (a if p.channels_last else np.moveaxis(a, -1, 0))[None]
    return a if p.moved is None else np.moveaxis(a, p.moved, -1)[..., None]
