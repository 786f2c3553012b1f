"""Axes, padding rules, output sizes and phases: the only place where a pad or an output size is computed.

Every op of the family is a sum over taps along three spatial axes; along each of them

    y[o] += x[map(o*stride + k*dilation - lo)] * w[k],    0 <= o < out, 0 <= k < taps

where `map` is the identity inside [0, size) and the padding mode's business outside.
"""

from __future__ import annotations

from itertools import pairwise
from math import gcd
from typing import NamedTuple

#: "SAME", "VALID", "SAME_LOWER", "CAUSAL", "FULL", or one (before, after) pair for every spatial axis.
Padding = str | tuple[tuple[int, int], ...]

#: The largest size, stride, dilation or pad that is accepted: what fits an int32, as in TensorFlow.
LIMIT = 2**31 - 1


class Axis(NamedTuple):
    """One spatial axis of a convolution or a window op."""

    size: int
    taps: int
    out: int
    stride: int
    dilation: int
    lo: int


class JobAxis(NamedTuple):
    """An axis of a job: tap k is the filter's tap_start + k*tap_step, output o is out_start + o*out_step."""

    size: int
    taps: int
    out: int
    stride: int
    dilation: int
    lo: int
    tap_start: int
    tap_step: int
    out_start: int
    out_step: int


UNIT = Axis(1, 1, 1, 1, 1, 0)


def effective(taps: int, dilation: int) -> int:
    """How many input positions a filter of `taps` taps spans."""
    return (taps - 1) * dilation + 1


def pads(size: int, taps: int, stride: int, dilation: int, padding: Padding, axis: int) -> tuple[int, int]:
    """The (before, after) pair of one axis.

    SAME pads so that out = ceil(size/stride), the odd pixel behind (TensorFlow's rule); SAME_LOWER puts it in front.
    CAUSAL pads the first spatial axis (time) in front only, so that no output sees its future; the other axes as SAME.
    FULL pads by the span less one on both sides: every output that touches the input.
    """
    if not isinstance(padding, str):
        return padding[axis]
    span = effective(taps, dilation)
    if padding == "VALID":
        return 0, 0
    if padding == "FULL":
        return span - 1, span - 1
    if padding == "CAUSAL" and axis == 0:
        return span - 1, 0
    total = max(0, (-(-size // stride) - 1) * stride + span - size)
    return (total - total // 2, total // 2) if padding == "SAME_LOWER" else (total // 2, total - total // 2)


def output_size(size: int, taps: int, stride: int, dilation: int, pad: tuple[int, int]) -> int:
    """Outputs along an axis, (size + pads - span + stride) / stride truncated as C++ does; negative if there are none.

    The truncation makes a window that is slightly too large for its input give an empty result, as in TensorFlow.
    """
    room = size + pad[0] + pad[1] - effective(taps, dilation) + stride
    return room // stride if room >= 0 else -(-room // stride)


def forward_axis(size: int, taps: int, stride: int, dilation: int, padding: Padding, axis: int) -> Axis:
    """The axis of a forward op; `out` is negative where the window does not fit."""
    pad = pads(size, taps, stride, dilation, padding, axis)
    return Axis(size, taps, output_size(size, taps, stride, dilation, pad), stride, dilation, pad[0])


def margins(axis: Axis) -> tuple[int, int]:
    """How far windows reach out before their input and behind it: what a padded copy would have there."""
    end = (axis.out - 1) * axis.stride + effective(axis.taps, axis.dilation)
    return axis.lo, max(0, end - axis.lo - axis.size)


def outputs_inside(axis: Axis | JobAxis) -> list[tuple[int, int]]:
    """For every tap the outputs [first, end) that meet the input with it."""
    s, out = axis.stride, axis.out
    firsts = [k * axis.dilation - axis.lo for k in range(axis.taps)]  # what output 0 reads
    return [(min(out, max(0, -(at // s))), min(out, max(0, -((at - axis.size) // s)))) for at in firsts]


def _floors(n: int, a: int, b: int, m: int) -> int:
    """The sum of (a*i + b) // m over 0 <= i < n, as Euclid's algorithm finds it; b not negative."""
    total = 0
    while n > 0:
        total += n * (n - 1) // 2 * (a // m) + n * (b // m)
        a, b = a % m, b % m
        (n, b), a, m = divmod(a * n + b, m), m, a
    return total


def _terms_before(axis: Axis | JobAxis, end: int) -> int:
    """How many pairs of an output and a tap have o*stride + k*dilation < end."""
    s, d = axis.stride, axis.dilation
    every = min(axis.taps, max(0, -(((axis.out - 1) * s - end) // d)))  # taps that all outputs have so,
    some = min(axis.taps, max(0, -(-end // d)))  # and those that some have
    return every * axis.out + _floors(some - every, d, end - (some - 1) * d + s - 1, s)


def terms_inside(axis: Axis | JobAxis) -> int:
    """How many pairs of an output and a tap along the axis meet inside the input."""
    return _terms_before(axis, axis.size + axis.lo) - _terms_before(axis, axis.lo) if axis.out and axis.taps else 0


def spread(axis: Axis, transposed: bool) -> JobAxis:
    """The same sums pixel by pixel: by tap k, pixel i adds to output i*stride + k*dilation - lo.

    A transposed op's pixels are the forward op's outputs; a forward op's taps go backwards, its stride is 1.
    """
    size, taps, out, stride, dilation, lo = axis
    if transposed:
        return JobAxis(out, taps, size, stride, dilation, lo, 0, 1, 0, 1)
    return JobAxis(size, taps, out, 1, dilation, effective(taps, dilation) - 1 - lo, taps - 1, -1, 0, 1)


def piece(axis: JobAxis, first: int, last: int, k: int, taps: int) -> JobAxis:
    """Outputs first to last of the axis, with so many taps from tap k on."""
    return axis._replace(
        taps=taps, out=last - first, lo=axis.lo - first * axis.stride - k * axis.dilation,
        tap_start=axis.tap_start + k * axis.tap_step, out_start=axis.out_start + first * axis.out_step,
    )  # fmt: skip


def reaching(axis: JobAxis, first: int, last: int) -> JobAxis:
    """The outputs first to last of the axis without the taps before and behind those that meet the input."""
    start = max(0, -(((last - 1) * axis.stride - axis.lo) // axis.dilation))
    end = min(axis.taps, -(-(axis.size + axis.lo - first * axis.stride) // axis.dilation))
    return piece(axis, first, last, *((start, end - start) if start < end else (0, 0)))


#: Taps along an axis, beyond which pieces are looked for output by output, and only where nearly all taps lie outside.
MANY_TAPS = 4096
MOST_PIECES = 1024


def zones(axis: JobAxis) -> list[JobAxis]:
    """The axis, or pieces of it without the taps that lie outside all along a piece, where that saves an eighth or more.

    Far dilations: at rate 18 the 33 positions of a map of DeepLab's have 63 terms of 99 inside. Pieces of a few outputs
    each, as dense filters have them at the border, would cost more than they save.
    """
    if not axis.out or terms_inside(axis) * 8 > axis.out * axis.taps * 7:
        return [axis]
    axis = reaching(axis, 0, axis.out)
    if axis.taps > MANY_TAPS:
        if terms_inside(axis) * 16 > axis.out * axis.taps:
            return [axis]
        each = -(-axis.out // MOST_PIECES)
        return [reaching(axis, o, min(o + each, axis.out)) for o in range(0, axis.out, each)]
    ends = outputs_inside(axis)
    cuts = sorted({0, axis.out, *(cut for pair in ends for cut in pair)})
    if axis.out < 8 * (len(cuts) - 1):
        return [axis]
    pieces = []
    for first, last in pairwise(cuts):
        taps = [k for k, (start, end) in enumerate(ends) if start <= first and last <= end]
        pieces.append(piece(axis, first, last, taps[0] if taps else 0, len(taps)))
    return pieces


def transposed_range(size: int, taps: int, stride: int, dilation: int, padding: Padding, axis: int) -> tuple[int, int]:
    """The smallest and the largest output size whose forward op gives back `size`."""
    if isinstance(padding, str) and padding not in ("VALID", "FULL"):
        return (size - 1) * stride + 1 if size else 0, size * stride
    before, after = pads(size, taps, stride, dilation, padding, axis)
    smallest = (size - 1) * stride + effective(taps, dilation) - before - after
    return max(0, smallest), smallest + stride - 1


def transposed_size(size: int, taps: int, stride: int, dilation: int, padding: Padding, axis: int) -> int:
    """The output size of a transposed op when none is given: SAME, CAUSAL size*stride, else the smallest that maps back."""
    named = isinstance(padding, str) and padding not in ("VALID", "FULL")
    return transposed_range(size, taps, stride, dilation, padding, axis)[named]


def whole(axis: Axis) -> JobAxis:
    """The one job of a forward axis: every tap, every output."""
    return JobAxis(*axis, 0, 1, 0, 1)


def phase(axis: Axis, r: int) -> JobAxis:
    """The adjoint of a forward axis at the outputs r, r + stride, r + 2*stride, ..., as one stride-1 job.

    The forward op reads x[i*s + k*d - lo] for y[i], so its adjoint sends g[i] to position i*s + k*d - lo. Position
    p = r + s*q gets the terms with k*d = r + lo (mod s): k runs in steps of s/gcd(s, d), and i = (p + lo - k*d)/s falls
    by d/gcd(s, d) a step. Walked downwards in k, i rises: an ordinary stride-1 axis over g. A residue that no tap
    reaches has no taps: its outputs are zeros.
    """
    s, d, out = axis.stride, axis.dilation, -(-(axis.size - r) // axis.stride)
    common = gcd(s, d)
    tap_step, dilation = s // common, d // common
    first = (r + axis.lo) // common * pow(dilation, -1, tap_step) % tap_step
    if first >= axis.taps or (r + axis.lo) % common:
        return JobAxis(axis.out, 0, out, 1, 1, 0, 0, 1, r, s)
    count = (axis.taps - 1 - first) // tap_step + 1
    last = first + (count - 1) * tap_step
    return JobAxis(axis.out, count, out, 1, dilation, -((r + axis.lo - last * d) // s), last, -tap_step, r, s)


def in_pairs(axis: Axis) -> bool:
    """Whether the depthwise driver may compute both phases of a row together: no window of a pair lies outside as a whole."""
    if axis.stride != 2 or axis.dilation != 1 or not 2 <= axis.taps <= 5 or axis.size < 2:
        return False
    pairs = pairs_of_outputs(axis)
    return 0 < pairs.size and pairs.lo < pairs.taps and pairs.out - 1 - pairs.lo < pairs.size


def pairs_of_outputs(axis: Axis) -> JobAxis:
    """Both phases of an axis of stride 2 and dilation 1 as one stride-1 job: what the outputs 2*q and 2*q + 1 meet.

    By tap k, g[i] comes to output 2*i + k - lo: with first = lo mod 2 and i = q + (lo - first)/2 + j, to 2*q + t with
    t + first - 2*j = k. So j goes from -((taps - 1 - first)//2) to first.
    """
    first = axis.lo % 2
    before = (axis.taps - 1 - first) // 2
    return JobAxis(axis.out, before + 1 + first, -(-axis.size // 2), 1, 1, before - axis.lo // 2, 0, 1, 0, 2)


def phases(axis: Axis) -> list[JobAxis]:
    """The adjoint of a forward axis: a job for each residue of the output modulo the stride."""
    return [phase(axis, r) for r in range(min(axis.stride, axis.size))]


def transposed_jobs(axis: Axis) -> list[JobAxis]:
    """The phases of an axis, but neighbours that no tap reaches as stretches of zeros where these are fewer."""
    s, size, jobs, r = axis.stride, axis.size, [], 0
    if axis.taps < size:
        reached = {(k * axis.dilation - axis.lo) % s for k in range(min(s, axis.taps))}
    else:
        reached = {p for p in range(min(s, size)) if phase(axis, p).taps}
    for end in (*sorted(p for p in reached if p < size), min(s, size)):
        if end - r > -(-(size - r) // s):
            jobs += [JobAxis(axis.out, 0, min(end - r, size - at), 1, 1, 0, 0, 1, at, 1) for at in range(r, size, s)]
            r = end
        jobs += [phase(axis, p) for p in range(r, min(end + 1, s, size))]
        r = end + 1
    return jobs
