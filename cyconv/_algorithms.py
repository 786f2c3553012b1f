"""The table of algorithms: of those that accept a problem the one that is estimated to be the fastest computes it.

A row is a name and a function from a Problem to a driver and its estimated time, or to the reason why it refuses, in words.
A driver is immutable and has

    pack(filters, isa)              the filters in the driver's own order, with .nbytes
    run(x, filters or packed, bias, residual, epilogue, out, threads, isa)
    workspace(threads, isa)         the most bytes of scratch of a call by so many threads that makes any output, packed filters
                                    apart
    general                         what computes a call whose filters are not finite, if another driver does
    layout                          what a packing depends on but the channels: with equal ones, equal layouts share it
    flops, work                     floating-point operations, of a direct convolution and of what it does

The choice may look at the problem but not at the batch, the threads or how arrays lie in memory: bits must not depend on
those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, prod
from typing import Any, NamedTuple

from cyconv import _estimate as estimate, _geometry as geometry, _isa
from cyconv._depthwise import Depthwise
from cyconv._filter_gradient import FilterGradient
from cyconv._gemm import Columns, Convolution, Pointwise
from cyconv._geometry import JobAxis
from cyconv._pixels import Pixels, PixelsGradient
from cyconv._problem import Array, Problem
from cyconv._runtime import MOST_THREADS
from cyconv._winograd import Winograd


class Candidate(NamedTuple):
    """A driver of a problem, and the nanoseconds it is estimated to take."""

    driver: Any
    time: float


# Floats of a vector on this machine, not of the ISA in force: that must not change what is chosen.
_LANES = {"avx2": 8, "avx512": 16}.get(_isa.available_isas()[-1], 4)


def _lanes(problem: Problem) -> int:
    """Of a vector of the problem's compute type."""
    return _LANES // 2 if problem.dtype == 1 else _LANES


def _time(name: str, problem: Problem) -> float:
    """By the estimate of that name in _estimate.py."""
    lanes = _lanes(problem)
    return estimate.nanoseconds(name, getattr(estimate, name)(problem, lanes), lanes)


def _candidate(name: str, problem: Problem, driver: Any) -> Candidate:
    return Candidate(driver, _time(name, problem))


def _scratch(driver: Any) -> int:
    """The most bytes that a thread takes under any ISA of this machine: the choice may not depend on the one in force."""
    return int(max(driver.workspace(1, isa) for isa in range(len(_isa.available_isas()))))


# F(m, r): (alpha, m, r) by the taps of each transformed axis. Longer filters are chunks of r taps; along two axes, those
# of more than 9 taps would leave no room for tiles in the scratch.
_TRANSFORMS = {
    2: [(6, 5, 2), (5, 4, 2), (4, 3, 2)], 3: [(6, 4, 3), (5, 3, 3), (4, 2, 3)], 4: [(6, 3, 4)], 5: [(6, 2, 5)],
    6: [(6, 4, 3)], 7: [(6, 3, 4)], 8: [(6, 3, 4)], 9: [(6, 4, 3)],
}  # fmt: skip
_LONG_TRANSFORMS = [(6, 4, 3), (6, 3, 4)]
MOST_TAPS = 32
MOST_SQUARED_TAPS = 9
MOST_ALL_TAPS = 1 << 16  # with those along the depth, and of every phase of the stride


# Bytes of transformed filters that L2 may hold, L3 without haste, and L3; and how many vector FMAs take as long as to wait
# for a vector of more than that.
FETCHED = ((3 << 19, 0), (4 << 20, 5), (16 << 20, 12), (48 << 20, 16), (1 << 62, 26))


def _vector_fmas(driver: Winograd, jobs: int) -> tuple[float, float]:
    """How many vector FMAs take as long as one of a driver's jobs, and as transforming its filters.

    A fit to random problems, 4,700 on AMD Zen 4, 6,000 on an Intel Xeon with 2 MiB of L2 and 3,700 on Zen 5 (AVX-512), between
    the machines: transforms and filters weigh up to twice as much on a core of two vector FMAs a cycle.
    """
    filters, products, met, inputs, spilled, outputs, tiles, calls = driver.counts(len(_isa.available_isas()) - 1)
    size = filters * _LANES * 4 * jobs
    fetched = next(fmas for most, fmas in FETCHED if size <= most)
    waits = max(products + 3 * met, fetched * met) if fetched else products
    made = 6 if met == filters or size < 1e6 else 15 if size < 16 << 20 else 25  # in L2 or not
    work = waits + (23 if spilled else 11) * inputs + 9 * outputs + 40 * tiles + 74 * calls + 2500
    return float(work), float(made * filters)


def _transform(
    problem: Problem, job: tuple[JobAxis, JobAxis, JobAxis], forced: bool
) -> tuple[float, tuple[Sequence[int], int, int, int]] | str:
    """Its estimate, and axes, alpha, m, r, of a job where Winograd is estimated to take less time than the direct driver, or why not.

    A plain call transforms its filters, where the direct driver packs them, and may take 1.1 of the direct time.
    """
    axes = tuple(i for i, a in enumerate(job) if a.taps > 1)
    if len(axes) == 3:
        axes = (1, 2)  # the depth taps add up in the transformed domain
    if not axes or any(job[i].taps <= job[i].stride for i in axes):
        return "needs more taps than the stride along one axis or two"
    if prod(a.taps for a in job) > MOST_ALL_TAPS:
        return f"more than {MOST_ALL_TAPS} taps"
    if any(a.dilation >= a.out for a in job if a.taps > 1):
        return "with a dilation as large as the output no two of its values share a tile"
    # Of a phase: every stride-th input meets every stride-th tap. The shorter of two axes lacks some taps.
    taps = [-(-job[i].taps // job[i].stride) for i in axes]
    if max(taps) > (MOST_TAPS if len(axes) == 1 else MOST_SQUARED_TAPS):
        return f"no transform of {max(taps)} taps along {'one axis' if len(axes) == 1 else 'two axes'}"
    channels, columns = problem.in_channels // problem.groups, problem.out_channels // problem.groups / _LANES
    packed = channels * ceil(columns) * prod(a.taps for a in job)
    direct = channels * (columns if problem.jobs[1:] else ceil(columns))  # phases of few outputs share vectors
    direct = 1.08 * direct * estimate.terms(problem, job) + 3800
    best: tuple[float, Any] = (float("inf") if forced else 0.95 * direct, None)
    for transform in sorted({t for n in taps for t in _TRANSFORMS.get(n, _LONG_TRANSFORMS)}):
        fmas, made = _vector_fmas(Winograd(problem._replace(jobs=(job,)), (axes, *transform)), len(problem.jobs))
        if forced or fmas + made < 1.1 * (direct + 3 * packed):
            best = min(best, (fmas, (axes, *transform)), key=lambda b: b[0])
    return best if best[1] else "the image is too small, or the channels too few, for it to be faster"


def _winograd(problem: Problem, forced: bool) -> Any:
    """Winograd for what it is estimated to be faster at: of a strided transposed convolution maybe for some phases only."""
    if problem.dtype != 0:
        return "only float32: elsewhere its rounding would be seen"
    if problem.filters.startswith("depthwise"):
        return "each channel has a filter of its own"
    if not problem.jobs or any(axis.taps == 0 for job in problem.jobs for axis in job):
        return "some phases of this transposed convolution have no taps, or there are none"
    jobs_of: dict[Any, list[Any]] = {}
    transforms: dict[tuple[int, ...], Any] = {}
    fmas = 0.0
    for job in problem.jobs:
        taps = tuple(axis.taps for axis in job)
        transforms[taps] = found = transforms.get(taps) or _transform(problem, job, forced)
        jobs_of.setdefault("direct" if isinstance(found, str) else (taps, found[1]), []).append(job)
        fmas += 0 if isinstance(found, str) else found[0]
    if list(jobs_of) == ["direct"]:
        return next(iter(transforms.values()))
    parts = {key: problem._replace(jobs=tuple(jobs)) for key, jobs in jobs_of.items()}
    drivers = [Convolution(p) if key == "direct" else Winograd(p, key[1]) for key, p in parts.items()]
    time = estimate.nanoseconds("winograd", estimate.winograd(problem, fmas), _LANES)
    time += _time("direct", parts["direct"]) if "direct" in parts else 0
    return Candidate(Phases(drivers) if drivers[1:] else drivers[0], time)


class Phases:
    """Some phases of a transposed convolution by one driver, others by another: a driver itself."""

    def __init__(self, drivers: list[Any]) -> None:
        self.drivers = drivers
        every = sum(len(d.problem.jobs) for d in drivers)
        direct = sum(len(d.problem.jobs) for d in drivers if isinstance(d, Convolution))
        self.phases = f"{every - direct} of {every} phases, the others direct" if direct else ""
        self.flops, self.work = (sum(getattr(d, what) for d in drivers) for what in ("flops", "work"))
        self.layout = tuple(d.layout for d in drivers)

    def pack(self, filters: Array, isa: int) -> PackedPhases:
        """Each driver's."""
        return PackedPhases([d.pack(filters, isa) for d in self.drivers])

    def run(
        self, x: Array, filters: Any, bias: Any, residual: Any, epilogue: Any, out: Any, threads: int, isa: int
    ) -> Any:
        """One after the other. Of an output that it cannot write where it lies a driver makes its own, whose other phases
        are nothing yet: all of them into a new one then.
        """
        parts = filters.parts if isinstance(filters, PackedPhases) else [filters] * len(self.drivers)
        y = out if out is not None and out.flags.c_contiguous else None
        for driver, part in zip(self.drivers, parts, strict=True):
            y = driver.run(x, part, bias, residual, epilogue, y, threads, isa)
        if out is None or out is y:
            return y
        out[...] = y
        return out


class PackedPhases:
    """What `Phases` packed."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts, self.nbytes = parts, sum(p.nbytes for p in parts)


MOST_DEPTHWISE_TAPS = 4096
MOST_PHASES = 9  # strides up to 3x3: the 64 of 8x8 took 1.5 of the general driver's time on two threads


def _depthwise(problem: Problem, forced: bool) -> Any:
    """Sliding windows wherever each channel stays by itself: the general driver loads its input again for every tap."""
    channels = problem.in_channels // problem.groups
    if problem.groups == 1 or (channels > 1 and not problem.small_groups):
        return "channels are summed"
    if channels > 1 and problem.in_channels < _LANES:
        return "the groups do not fill a vector"
    if not problem.jobs or not all(axis.taps for job in problem.jobs for axis in job):
        return "some phases of this transposed convolution have no taps, or there are none"
    if len(problem.jobs) > MOST_PHASES:
        return f"this transposed convolution has more than {MOST_PHASES} phases"
    if problem.filters.endswith("transposed") and problem.out_channels != problem.in_channels:
        return "the transposed convolution of a multiplier sums channels, or spreads them"
    if max(prod(axis.taps for axis in job) for job in problem.jobs) * channels > MOST_DEPTHWISE_TAPS:
        return f"windows of more than {MOST_DEPTHWISE_TAPS} taps do not fit its scratch"
    alone = channels == 1 and problem.out_channels >= _LANES or not problem.channels_last
    if alone and not forced and any(axis.stride > axis.taps for job in problem.jobs for axis in job):
        return "no two windows meet the same input"
    return _candidate("depthwise", problem, Depthwise(problem))


MOST_PIXEL_SCRATCH = 3 << 19


def _pixels(problem: Problem, forced: bool) -> Any:
    """Vectors along the pixels of a row where a group's filters are too few to fill the general driver's vectors."""
    if not problem.jobs or not problem.in_channels:
        return "there are no products"
    one_tap = all(axis.taps == 1 for job in problem.jobs for axis in job)
    if one_tap and problem.channels_last and not forced and estimate.turns(problem, _lanes(problem)):
        return "each pixel is read once, and the general driver's lanes are pixels, too"
    driver = Pixels(problem)
    # What is gathered of one window; of far dilations the driver's own numbers would not fit an integer.
    window = max(prod(geometry.effective(max(axis.taps, 1), axis.dilation) for axis in job) for job in problem.jobs)
    if window > MOST_PIXEL_SCRATCH or _scratch(driver) > MOST_PIXEL_SCRATCH:
        return "its windows span too many rows, or too long ones, for its scratch"
    return _candidate("pixels", problem, driver)


MOST_COLUMN_SCRATCH = 1 << 21


def _columns(problem: Problem, forced: bool) -> Any:
    """Every pixel multiplied once by all taps where few outputs leave the vectors of the others empty.

    A product takes as long to be added to its output as a few channels take to be multiplied: it pays where there are many
    channels, or phases for each of which the others would gather the input again.
    """
    if not problem.zeros_outside:
        return "what lies outside the input is not zeros"
    if 0 in (*problem.outs, *problem.taps, problem.in_channels, problem.out_channels):
        return "there are no products"
    strided = any(axis.stride > 1 for axis in problem.axes)
    if strided and not problem.filters.endswith("transposed"):
        return "of a stride, most products of a pixel and a tap belong to no output"
    if not forced and all(axis.taps < 2 for axes in problem.jobs for axis in axes):
        return "no two taps meet the same output"
    if problem.dtype > 2 and not strided and not forced:
        return "values of 16 bits are made columns one by one, which takes longer than it saves"
    driver = Columns(problem)
    if _scratch(driver) > MOST_COLUMN_SCRATCH:
        return "its filters have too many taps, or channels, for its scratch"
    return _candidate("columns", problem, driver)


def _pointwise(problem: Problem, forced: bool) -> Any:
    """Planes as matrices: nothing is turned round."""
    if problem.channels_last:
        return "pixels lie apart, channels side by side"
    if problem.filters.startswith("depthwise") or 0 in (*problem.outs, problem.in_channels, problem.out_channels):
        return "there are no products, or each channel has a filter of its own"
    if len(problem.jobs) != 1 or any(
        (a.taps, a.lo, a.out_start, a.out_step) != (1, 0, 0, 1) or (a.out - 1) * a.stride >= a.size
        for a in problem.jobs[0]
    ):
        return "its windows are not the pixels one by one"
    driver = Pointwise(problem)
    if _scratch(driver) > MOST_COLUMN_SCRATCH:
        return "it has too many channels for its scratch"
    return _candidate("pointwise", problem, driver)


def most_scratch(problem: Any, driver: Any, threads: int, isa: int) -> int:
    """The most bytes of scratch of a call that asks for so many threads: it may get fewer."""
    if 0 in problem.out_shape:
        return 0
    drivers = driver.drivers if isinstance(driver, Phases) else [driver]
    drivers = [*drivers, *(d.general for d in drivers if isinstance(d, Pixels | Winograd))]
    teams = range(1, min(threads, MOST_THREADS) + 1)
    return int(max(d.workspace(team, isa) for d in drivers for team in teams))


#: A name and make(problem, forced): a candidate, or the reason why there is none. One that is forced need not be faster.
#: Each is equal to reference.py within its documented bound; direct takes everything.
ALGORITHMS: tuple[tuple[str, Callable[[Problem, bool], Candidate | str]], ...] = (
    ("columns", _columns),
    ("pointwise", _pointwise),
    ("pixels", _pixels),
    ("depthwise", _depthwise),
    ("winograd", _winograd),
    ("direct", lambda problem, forced: _candidate("direct", problem, Convolution(problem))),
)
NAMES = tuple(name for name, _ in ALGORITHMS)


def _gradient_transforms(taps: int) -> list[tuple[int, int]]:
    """(alpha, m) of a filter gradient's axis: m taps go together, a tile has alpha + 1 - m outputs."""
    if not 2 <= taps <= MOST_TAPS:
        return []
    return [(6, 2)] if taps == 2 else [(6, 4)] if taps in (4, 7, 8) else [(6, 3), (5, 3)]


def filter_gradient(problem: Problem, forced: str | None) -> FilterGradient | PixelsGradient:
    """The driver of a filter gradient: pixels as lanes where channels and filters fill no vector, else a sum over pixels."""
    driver = _sum_over_pixels(problem, forced)
    if forced not in (None, "pixels"):
        return driver
    _, h, w = problem.jobs[0]
    lanes, most = _LANES // 2 if problem.dtype == 1 else _LANES, max(problem.in_channels, problem.out_channels)
    if (h.stride, w.stride) != (1, 1) or h.taps * w.taps == 1:
        return driver
    # Making planes takes the longer the more channels there are.
    if not forced and (problem.small_groups or 2 * most > lanes or h.out * w.out < (256 if most <= 4 else 1024)):
        return driver
    return PixelsGradient(problem, driver)


def _sum_over_pixels(problem: Problem, forced: str | None) -> FilterGradient:
    """By Winograd where that is estimated to take less than 0.9 of the direct time.

    Counted in multiplications: a transform costs 16 for each value that it makes of a tile, again for every 64 columns or
    channels (12 along one axis, for every 128), and 14 for each that it makes taps of. A direct sum leaves out what lies
    outside.
    """
    job, c, m = problem.jobs[0], problem.in_channels // problem.groups, problem.out_channels // problem.groups
    taps = [-(-a.taps // a.stride) for a in job]  # of a phase: every stride-th of the input meets every stride-th tap
    axes = tuple(i for i, a in enumerate(job) if _gradient_transforms(taps[i]) and a.dilation < a.out)[-2:]
    transforms = [_gradient_transforms(taps[i]) for i in axes]
    if transforms[1:] and transforms[0] != transforms[1]:
        axes, transforms = axes[1:], transforms[1:]
    takes = axes and problem.dtype == 0 and problem.filters == "forward" and (c > 1 or problem.groups == 1)
    if not takes or forced == "direct" or (min(c, m) < 16 and forced != "winograd"):
        return FilterGradient(problem)
    direct = prod(problem.batch)
    for i, a in enumerate(job):
        direct *= geometry.terms_inside(a) if problem.zeros_outside and i in axes else a.out * a.taps
    best: tuple[float, Any] = (float("inf") if forced == "winograd" else 0.9 * direct * c * m, None)
    for alpha, together in transforms[0]:
        tiles, chunks = prod(problem.batch), 1
        for i, a in enumerate(job):
            if i in axes:
                tiles *= a.dilation * -(-a.out // (a.dilation * (alpha + 1 - together)))
                chunks *= a.stride * -(-taps[i] // together)
            else:
                tiles, chunks = tiles * a.out, chunks * a.taps
        value, block = (16, 64) if len(axes) == 2 else (12, 128)
        made = value * (c * -(-m // block) + m * -(-c // block))
        cost = chunks * alpha ** len(axes) * (tiles * (c * m + made) + 14 * c * m)
        best = min(best, (cost, (axes, alpha, together)), key=lambda b: b[0])
    return FilterGradient(problem, best[1])
