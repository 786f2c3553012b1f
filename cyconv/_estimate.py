"""How long each driver is estimated to take for a problem: counts of what it does, by what one of these takes.

Only ratios matter: they choose the algorithm (_algorithms.py). What takes time is counted as in the drivers: terms of sums in
vectors, outputs, and the values that are moved because they do not lie as the driver needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from cyconv import _geometry as geometry
from cyconv._geometry import JobAxis
from cyconv._problem import Problem

WHOLE_TILE = 14  # pixels of a row, from which on the direct driver leaves out the rows of taps outside

Counts = Mapping[str, float]

#: Nanoseconds of each count, by vectors of 16 floats and of fewer: least squares of the ratios over 8,500 random problems each,
#: on one core of AMD Zen 4 (benchmarks/estimates.py). Half of the estimates are within 10 to 20 % of what is measured.
UNITS: dict[str, dict[str, tuple[float, float]]] = {
    "direct": {
        "apart": (0.482, 0.729), "calls": (1311, 1359), "copied": (0.484, 0.418), "ends": (1.57, 1.98),
        "few": (0.28, 0.361), "jobs": (169, 185), "narrow": (0.211, 0.162), "pairs": (0.29, 0.15),
        "pixels": (2.58, 2.94), "read": (0.171, 0.171), "repeated": (0.0581, 0.0532), "runs": (0.11, 0.0772),
        "single": (0.298, 0.22), "stepped": (0.929, 0.299), "taps": (0.112, 0.165), "terms": (0.62, 0.406),
        "thin": (1.09, 1.02), "turned": (3.34, 1.56), "written": (0.252, 1.05),
    },
    "pixels": {
        "calls": (1271, 1328), "inputs": (34.3, 34.9), "jobs": (169, 118), "loads": (0.165, 0.03),
        "planes": (4.93, 3.95), "rows": (13.9, 13.4), "spread": (0.585, 0.565), "stepped": (0.545, 0.621),
        "taps": (0.11, 0.0509), "terms": (0.252, 0.252), "turned": (0.198, 0.157), "written": (0.725, 0.831),
    },
    "depthwise": {
        "apart": (1.15, 0.157), "copied": (0.458, 0.487), "few": (0.146, 0.333), "finished": (0.6, 1.04),
        "jobs": (1627, 1581), "lines": (2, 1.1), "loads": (0.234, 0.242), "paired": (1.02, 0.771),
        "pixels": (1.93, 1.48), "plane": (0.27, 0.22), "read": (0.0582, 0.193), "repeated": (0.0304, 0.0793),
        "stepped": (0.774, 0.797), "still": (0.22, 0.146), "strided": (0.375, 0.262), "thin": (0.287, 0.579),
        "written": (0.359, 0.413),
    },
    "columns": {
        "added": (2.82, 1.94), "calls": (1244, 1258), "read": (0.145, 0.163), "rows": (115, 110),
        "stepped": (0.422, 0.354), "terms": (0.251, 0.125), "turned": (1.35, 1.81), "written": (0.679, 1.09),
    },
    "pointwise": {
        "apart": (13.6, 7.58), "calls": (1500, 1490), "ends": (1.41, 0.856), "every second": (3.93, 2.14), "met": (0.728, 0.641),
        "terms": (0.243, 0.112),
    },
    "winograd": {
        "calls": (1088, 2070), "fmas": (0.226, 0.128), "read": (0.315, 0.355), "written": (0.373, 0.672),
    },
}  # fmt: skip


def nanoseconds(name: str, counts: Counts, lanes: int) -> float:
    """Of a driver that does so much."""
    units, column = UNITS[name], 0 if lanes == 16 else 1
    return sum(units[what][column] * count for what, count in counts.items() if count)


def terms(problem: Problem, job: tuple[JobAxis, JobAxis, JobAxis]) -> int:
    """Pixels times taps of a job that the direct driver multiplies: it leaves out some that lie outside the input."""
    count = 1
    for i, a in enumerate(job):
        if problem.zeros_outside and i < 2 and job[2].out >= WHOLE_TILE:
            count *= geometry.terms_inside(a)
        else:
            count *= sum(z.out * z.taps for z in (geometry.zones(a) if problem.zeros_outside else [a]))
    return count


def turns(p: Problem, lanes: int) -> bool:
    """Whether pixels are the direct driver's lanes: of few filters and vectors of channels."""
    return 4 * (p.out_channels // p.groups) <= lanes and p.in_channels // p.groups >= lanes * (2 if lanes == 16 else 1)


def direct(p: Problem, lanes: int) -> Counts:
    """Vectors along output channels; of few, pixels are the lanes; each channel by itself, its filters are."""
    channels, filters = p.in_channels // p.groups, p.out_channels // p.groups
    first, alone = not p.channels_last, channels == 1 < p.groups
    blocks = -(-(p.out_channels if alone else filters) // lanes)
    pixels, summed = prod(p.outs), sum(terms(p, job) for job in p.jobs)
    found = sum(prod(a.out * a.taps for a in job) for job in p.jobs)
    inputs, outputs = prod(p.sizes) * p.in_channels, pixels * p.out_channels
    moved: dict[str, float] = {
        "calls": 1, "jobs": len(p.jobs), "written": outputs * first, "stepped": outputs * first * (len(p.jobs) > 1),
        "read" if p.in_channels >= 8 else "thin": inputs * first,
    }  # fmt: skip
    if alone:
        repeated = inputs * filters * (filters > 1)
        return moved | {
            "terms": summed * blocks, "pixels": pixels * blocks, "taps": found, "few": outputs * (blocks == 1),
            "copied" if first else "repeated": repeated,
        }  # fmt: skip
    if turns(p, lanes):
        return moved | {"turned": summed * p.in_channels / lanes, "narrow": summed * p.in_channels * filters / lanes}
    return moved | {
        "pairs": summed * p.in_channels * (blocks - blocks % 2), "single": summed * p.in_channels * (blocks % 2),
        "ends": pixels * p.groups * -(-blocks // 2),
        "runs" if channels > 8 or all(job[2].dilation == 1 for job in p.jobs) else "apart": found * p.groups,
    }  # fmt: skip


def pixels(p: Problem, lanes: int) -> Counts:
    """Vectors along a row, four filters at a time, over planes of the input, which are made once for all phases."""
    fours, last = -(-(p.out_channels // p.groups) // 4), p.channels_last
    outputs, vectors, rows, found, read = prod(p.outs) * p.out_channels, 0, 0, 0, 0
    for d, h, w in p.jobs:
        read = max(read, min(d.size, d.out * d.stride + d.taps) * min(h.size, h.out * h.stride + h.taps))
        vectors += d.out * h.out * -(-w.out // lanes) * d.taps * h.taps * w.taps
        rows += d.out * h.out
        found += d.out * h.out * d.taps * h.taps * w.taps
    spread = read * p.sizes[2] * (not last and p.jobs[0][2].stride > 1)
    return {
        "calls": 1, "jobs": len(p.jobs), "rows": rows * p.groups * fours, "taps": found * p.in_channels * fours,
        "terms": vectors * p.in_channels * (p.out_channels // p.groups), "loads": vectors * p.in_channels * fours,
        "inputs": read * p.groups, "planes": read * p.in_channels,
        "turned": read * p.sizes[2] * p.in_channels * last, "spread": spread * p.in_channels,
        "written": outputs * last, "stepped": outputs * (len(p.jobs) > 1 and not last),
    }  # fmt: skip


def depthwise(p: Problem, lanes: int) -> Counts:
    """Vectors along channels, or pixels folded into them, whose windows slide; over a strip where they do not lie so."""
    if p.plane_width >= lanes:
        lines, stride = prod(p.outs[:2]) * p.out_channels * -(-p.outs[2] // lanes), p.jobs[0][2].stride
        if p.jobs[1:]:  # pairs of outputs
            return {"jobs": 1, "lines": lines, "plane": lines * prod(p.taps) / 4}
        return {"jobs": 1, "lines": lines * stride * stride, "plane": lines * prod(p.taps)}
    channels, filters = p.in_channels // p.groups, p.out_channels // p.groups
    first, outputs, inputs = not p.channels_last, prod(p.outs) * p.out_channels, prod(p.sizes) * p.in_channels
    d, h, w = p.jobs[0]
    paired = len(p.jobs) > 1 and channels == 1 and p.dtype < 2 and geometry.in_pairs(p.axes[2])
    jobs = [job for job in p.jobs if not paired or job[2].out_start == 0]
    few, repeated = p.out_channels < lanes, inputs * filters if channels == 1 < filters else 0
    folded = few and not first and w.dilation == 1 and not p.jobs[1:]
    vectors = p.out_channels / lanes if folded else -(-p.out_channels // lanes)
    strip = first or few or repeated > 0
    # A box's rows, and how often a row of the input is gathered for one.
    height, line = geometry.effective(h.taps, h.dilation), 16 * lanes * (w.out * w.stride + (w.taps - 1) * w.dilation)
    rows = max(1, min(h.out, ((1 << 18) // max(1, line) - height) // h.stride + 1))
    again = max(1.0, ((rows - 1) * h.stride + height) / (rows * h.stride)) * (d.taps if strip else 1)
    met = sum(prod(a.out for a in job) * job[0].taps * job[1].taps * job[2].stride for job in jobs)
    return {
        "jobs": len(jobs), "paired" if paired else "pixels": prod(p.outs) * vectors, "loads": met * vectors * channels,
        "still" if w.stride == 1 else "strided": sum(terms(p, job) for job in p.jobs) * vectors * channels,
        "read": inputs * again * first, "written": outputs * first, "stepped": outputs * (first and len(p.jobs) > 1 and not paired),
        "finished": outputs * (few and not folded and not first),
        "few" if w.stride == 1 else "thin": inputs * again * few,
        "copied" if first else "repeated": repeated * again,
        "apart": prod(p.sizes) * -(-p.in_channels * (filters if channels == 1 else 1) // lanes) * (strip and w.stride > 1),
    }  # fmt: skip


def columns(p: Problem, lanes: int) -> Counts:
    """Vectors of pixels by columns (tap, filter), which are added to their outputs."""
    rows, made = p.sizes[0] * p.sizes[1], p.out_channels // p.groups * prod(p.taps)
    vectors, outputs = rows * -(-p.sizes[2] // lanes), prod(p.outs) * p.out_channels
    return {
        "calls": 1, "rows": p.groups * rows, "read": prod(p.sizes) * p.in_channels,
        "terms": p.in_channels * -(-made // 2) * 2 * vectors, "added": p.groups * made * vectors,
        "turned" if p.channels_last else "written": outputs, "stepped": outputs * (len(p.jobs) > 1),
    }  # fmt: skip


def pointwise(p: Problem, lanes: int) -> Counts:
    """Vectors along the pixels of planes, all rows of them as one, by filters."""
    strips, filters, stride = -(-prod(p.outs) // lanes), p.out_channels // p.groups, p.jobs[0][2].stride
    values = p.in_channels * strips
    return {
        "calls": 1, "terms": values * filters, "met": values * -(-filters // WHOLE_TILE), "ends": p.out_channels * strips,
        "every second" if stride == 2 else "apart": values * (stride > 1),
    }  # fmt: skip


def winograd(p: Problem, fmas: float) -> Counts:
    """By what its transforms and products are estimated to take, in vector FMAs of a group."""
    first = not p.channels_last
    return {
        "calls": 1, "fmas": fmas * p.groups, "read": prod(p.sizes) * p.in_channels * first,
        "written": prod(p.outs) * p.out_channels * first,
    }  # fmt: skip
