"""How well cyconv chooses its algorithms: random problems, timed by every driver that takes them, and units fitted to that.

    python benchmarks/estimates.py [--seconds 240] [--isa avx2] [--seed 1]

prints what the choice loses against the best driver of each problem, for how many it loses how much, the worst, and the units
of cyconv/_estimate.py as least squares of the ratios on this machine (needs SciPy). One thread, CPU time: other programs that
run meanwhile disturb it little.
"""

import argparse
import random
import time
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

import cyconv as nn
from cyconv import _algorithms, _estimate, _isa, _plan

CHANNELS = (1, 1, 2, 3, 3, 4, 6, 8, 8, 12, 16, 16, 20, 24, 32, 32, 40, 48, 64, 64, 72, 96, 128, 128, 192, 256, 384, 512)
SIZES = {
    1: (50, 100, 200, 400, 1000, 4000, 16000),
    2: (4, 7, 8, 10, 12, 14, 17, 20, 24, 28, 32, 40, 56, 64, 80, 96, 112, 128, 160, 224),
    3: (4, 6, 8, 12, 16, 24, 32, 48),
}
KINDS = ("conv", "conv", "conv", "transpose", "transpose", "groups", "depthwise", "depthwise", "each transposed")
LAYOUTS = {1: ("NWC", "NCW"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}


class Sample(NamedTuple):
    """A problem: what was asked, what was chosen, and every driver's time in nanoseconds."""

    asked: str
    problem: Any
    chosen: str
    times: dict[str, float]


def cpu_time(run: Callable[[], Any]) -> float:
    """The least of some runs, in nanoseconds."""
    run()
    best, end = float("inf"), time.thread_time() + 0.01
    for _ in range(10000):
        start = time.thread_time()
        run()
        best = min(best, time.thread_time() - start)
        if time.thread_time() > end:
            break
    return 1e9 * best


def draw(rng: random.Random) -> tuple[Any, tuple[int, ...], tuple[int, ...], dict[str, Any]] | None:
    """An op, its input's and filters' shapes, and its arguments; None where that is too little or too much work."""
    kind = rng.choice(KINDS)
    rank = 2 if kind == "depthwise" else rng.choice((1, 2, 2, 2, 2, 3))
    taps, stride = rng.choice((1, 1, 2, 3, 3, 3, 3, 4, 5, 5, 7, 9)), rng.choice((1, 1, 1, 1, 2, 2, 2, 3, 4))
    dilation = 1 if stride > 1 else rng.choice((1, 1, 1, 1, 1, 2, 4))
    c, m, groups, batch = rng.choice(CHANNELS), rng.choice(CHANNELS), 1, rng.choice((1, 1, 1, 4))
    size = rng.choice(SIZES[rank])
    sizes = (
        [size] * rank if rng.random() < 0.7 else [max(1, int(size * rng.choice((0.5, 1, 1.3)))) for _ in range(rank)]
    )
    window = [taps] * rank if rng.random() < 0.75 else [rng.choice((1, taps)) for _ in range(rank)]
    if kind == "groups":
        groups, c, m = (
            rng.choice((2, 4, 8, 16, 32)),
            rng.choice((1, 2, 4, 8, 16, 24, 32)),
            rng.choice((1, 2, 4, 8, 16, 32)),
        )
    if kind == "depthwise":
        m = rng.choice((1, 1, 1, 1, 2, 4))
    if kind == "each transposed":  # each channel by itself
        groups, c, m = c, 1, 1
    transposed = kind in ("transpose", "each transposed")
    spread = float(stride) ** rank
    flops = 2.0 * prod(sizes) * prod(window) * batch * c * m * groups / (1 if transposed else spread)
    values = (
        prod(sizes) * batch * max(c * groups, m * groups * (spread if transposed else c if kind == "depthwise" else 1))
    )
    if not 5e2 < flops < 6e8 or values > 4e6:
        return None
    layout = LAYOUTS[rank][rng.random() < 0.25]
    shape = (batch, c * groups, *sizes) if layout[1] == "C" else (batch, *sizes, c * groups)
    options: dict[str, Any] = {"strides": stride, "padding": "SAME", "data_format": layout, "dilations": dilation}
    if transposed:
        return nn.conv_transpose, shape, (*window, m, c * groups), options | {"groups": groups}
    if kind == "depthwise":
        options["strides"] = (1, 1, stride, stride) if layout[1] == "C" else (1, stride, stride, 1)
        return nn.depthwise_conv2d, shape, (*window, c, m), options
    return nn.convolution, shape, (*window, c, m * groups), options


def sample(rng: random.Random, isa: str) -> Sample | None:
    """A random problem by every driver that takes it."""
    if (drawn := draw(rng)) is None:
        return None
    op, shape, filters, options = drawn
    values = np.random.default_rng(rng.getrandbits(32))
    x, w = values.standard_normal(shape, dtype=np.float32), values.standard_normal(filters, dtype=np.float32)
    problems: list[Any] = []
    choose, number = _plan.choose, ("baseline", "avx2", "avx512").index(isa)
    _plan.choose = lambda problem, forced: problems.append(problem) or choose(problem, forced)  # type: ignore
    try:
        nn.plan(op, w, **options)(x)
    finally:
        _plan.choose = choose
    if not problems:  # one that has been met before
        return None
    times = {}
    for name, make in _algorithms.ALGORITHMS:
        made = make(problems[0], True)
        if not isinstance(made, str):
            packed = made.driver.pack(w, number)
            times[name] = cpu_time(
                lambda driver=made.driver, packed=packed: driver.run(
                    x, packed, None, None, _plan.NO_EXTRAS.epilogue, None, 1, number
                )
            )
    asked = f"{op.__name__} {shape} {filters} {options}"
    return Sample(asked, problems[0], choose(problems[0], None).name, times) if len(times) > 1 else None


def fit(samples: list[Sample], lanes: int) -> None:
    """Print units for all drivers but Winograd's, whose estimate is its own."""
    from scipy.optimize import nnls

    for name in ("direct", "pixels", "pointwise", "depthwise", "columns"):
        some = [s for s in samples if name in s.times]
        counts = [getattr(_estimate, name)(s.problem, lanes) for s in some]
        what = sorted({key for c in counts for key in c})
        images = [prod(s.problem.batch) for s in some]
        rows = np.array(
            [
                [c.get(k, 0) * (1 if k in ("calls", "jobs") else n) for k in what]
                for c, n in zip(counts, images, strict=True)
            ],
            float,
        )
        measured = np.maximum([s.times[name] for s in some], 300.0)
        weights = 1 / measured
        for _ in range(8):  # far ones count less, and too much as much as too little
            weighted = rows * weights[:, None]
            scale = np.abs(weighted).max(0) + 1e-30
            units = nnls(weighted / scale, measured * weights)[0] / scale
            found = rows @ units + 1e-3
            off = np.abs(np.log(found / measured))
            weights = 1 / np.sqrt(found * measured) / np.maximum(1, 2 * off)
        print(f"{name}: {len(some)} problems, half of them within {np.median(off):.0%}")
        print("   ", {k: float(f"{u:.3g}") for k, u in zip(what, units, strict=True)})


def main() -> None:
    """Sample, compare, fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--isa", choices=nn.available_isas(), default=nn.current_isa())
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    isas = nn.available_isas()
    _isa.available_isas = lambda: isas[: isas.index(asked.isa) + 1]  # as on a machine that has no more
    _algorithms._LANES = {"avx2": 8, "avx512": 16}.get(asked.isa, 4)
    rng, samples, end = random.Random(asked.seed), [], time.monotonic() + asked.seconds
    with nn.isa(asked.isa), nn.threads(1):
        while time.monotonic() < end:
            if found := sample(rng, asked.isa):
                samples.append(found)
                print(f"{len(samples)} problems", end="\r", flush=True)
    lost = np.array([s.times[s.chosen] / min(s.times.values()) for s in samples])
    print(f"{len(samples)} problems: the chosen driver takes {np.exp(np.log(lost).mean()):.3f} of the best one's time")
    print(", ".join(f"{np.mean(lost > most):.1%} above {most}" for most in (1.05, 1.2, 2)))
    for i in np.argsort(-lost)[:10]:
        print(
            f"{lost[i]:.1f}  {samples[i].asked}: {samples[i].chosen}",
            {k: round(t / 1e3) for k, t in samples[i].times.items()},
        )
    fit(samples, _algorithms._LANES)


if __name__ == "__main__":
    main()
