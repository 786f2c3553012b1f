"""`python -m cyconv bench`: layers of published networks, timed beside every other library that is installed.

Each library runs in a process of its own (`python -m cyconv._bench LIBRARY THREADS`), so that no two of them share
OpenMP's threads or the allocator; they take turns on each layer, and the table has the medians over the turns.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import time
import timeit
from argparse import ArgumentError
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from select import select

from . import _isa, _runtime
from ._info import cpu
from ._peers import MAKERS, Layer

LAYERS = (
    Layer("ResNet-50 7x7 /2", "conv", (1, 224, 224, 3), ((7, 7, 3, 64),), 2),
    Layer("ResNet-50 3x3", "conv", (1, 56, 56, 64), ((3, 3, 64, 64),)),
    Layer("ResNet-50 1x1", "conv", (1, 14, 14, 1024), ((1, 1, 1024, 256),)),
    Layer("Inception v3 1x7", "conv", (1, 17, 17, 192), ((1, 7, 192, 192),)),
    Layer("VGG-16 3x3", "conv", (1, 28, 28, 512), ((3, 3, 512, 512),)),
    Layer("MobileNetV2 depthwise", "depthwise", (1, 56, 56, 144), ((3, 3, 144, 1),)),
    Layer("Xception separable", "separable", (1, 19, 19, 728), ((3, 3, 728, 1), (1, 1, 728, 728))),
    Layer("DeepLab atrous, rate 6", "conv", (1, 33, 33, 256), ((3, 3, 256, 256),), 1, 6),
    Layer("U-Net up 2x2", "transpose", (1, 56, 56, 128), ((2, 2, 64, 128),), 2),
    Layer("WaveNet k2, rate 64", "conv", (1, 16000, 32), ((2, 32, 64),), 1, 64),
    Layer("C3D 3x3x3", "conv", (1, 4, 14, 14, 256), ((3, 3, 3, 256, 512),)),
    Layer("image filter 5x5", "conv", (1, 1080, 1920, 1), ((5, 5, 1, 1),)),
)
QUICK = (1, 5, 8, 11)
#: What has to be installed for a library, where it is more than the module of its name.
NEEDS = {
    "cyconv_call": ("cyconv",),
    "opencv": ("cv2",),
    "litert": ("ai_edge_litert", "tensorflow"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
}

OURS = ("cyconv", "cyconv_call")
SETTLE = 0.1  # seconds before each turn: threads of the library that had the one before spin on, waiting for work
PEAK_SECONDS = 1e-5
PATIENCE = 60.0  # seconds for an answer: to import TensorFlow takes ten

Times = dict[str, float]


# ---- a library's own process


def worker(library: str, threads: int) -> None:
    """Time the layers named on stdin, a line each: a number of the layer and the seconds to spend.

    cyconv's answers name the FMA peak, too, measured in turns with its runs: under load, the clock falls.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever the library prints
    cores = sorted(os.sched_getaffinity(0))[-threads:]
    os.sched_setaffinity(0, cores)  # some start more threads than they are told
    make, name, run = MAKERS[library](threads), -1, None
    answers.write(f"{import_module(NEEDS.get(library, (library,))[0]).__version__}\n")
    for line in sys.stdin:
        index, seconds = json.loads(line)
        try:
            if index != name:
                run = make(LAYERS[index], *LAYERS[index].arrays())
                run()
                name = index
            assert run is not None
            time.sleep(SETTLE)
            run()
            times: list[float] = []
            peaks: list[float] = []
            end = time.perf_counter() + seconds
            while not times or time.perf_counter() < end:
                times.append(timeit.timeit(run, number=1))
                peaks.append(_runtime.fma_peak(PEAK_SECONDS, _isa.current()) if library == "cyconv" else math.nan)
            answers.write(f"{statistics.median(times)} {statistics.median(peaks) * len(cores)}\n")
        except Exception as error:  # whatever the library raises: the layer is one that it cannot run
            answers.write(f"no: {error!r}".replace("\n", " ") + "\n")


class Library:
    """A process that times one library's layers."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        variables = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cyconv._bench", name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | variables,
        )

    def answer(self) -> str:
        """Its next line; none where it hangs, or has hung before."""
        assert self.process.stdout is not None
        if not select([self.process.stdout], [], [], PATIENCE)[0]:
            self.process.kill()
        return self.process.stdout.readline().strip()

    def turn(self, layer: int, budget: float) -> list[tuple[float, float]]:
        """The median time of a layer and the peak measured with it, nothing where the library cannot run it."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps((layer, budget)) + "\n")
            self.process.stdin.flush()
            median, peak = map(float, self.answer().split())
            return [(median, peak)]
        except (ValueError, OSError):
            return []

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


# ---- the table and the chart


def chosen(peers: str | None) -> list[str]:
    """cyconv and the peers asked for, or all that are installed."""
    installed = [name for name in MAKERS if all(map(find_spec, NEEDS.get(name, (name,))))]
    if peers is None:
        return installed
    wanted = [name for name in peers.split(",") if name]
    for name in wanted:
        if name not in installed:
            why = "not installed" if name in MAKERS else "not known: there are " + ", ".join(MAKERS)
            raise ArgumentError(None, f"--peers: {name} is {why}")
    return [name for name in MAKERS if name in (*OURS, *wanted)]


def measure(libraries: list[Library], layer: int, rounds: int, budget: float) -> tuple[Times, float]:
    """The median of each library's turns, and that of the peaks in cyconv's."""
    turns = {library.name: list[tuple[float, float]]() for library in libraries}
    for turn in range(rounds):
        for library in libraries:
            if turn == 0 or turns[library.name]:
                turns[library.name] += library.turn(layer, budget)
    times = {name: statistics.median(seconds for seconds, _ in found) for name, found in turns.items() if found}
    return times, statistics.median([peak for _, peak in turns.get("cyconv", ())] or [math.nan])


def best_peer(times: Times) -> tuple[str, float]:
    """The fastest other library, and cyconv's time over its time."""
    name = min((name for name in times if name not in OURS), key=lambda name: times[name], default="")
    return name, times.get("cyconv", math.nan) / times[name] if name else math.nan


def row(layer: Layer, times: Times, names: list[str], peak: float) -> str:
    """One line of the table, which is Markdown."""
    share = layer.flops() / times.get("cyconv", math.nan) / 1e9 / peak
    cells = [(f"{times[name] * 1e3:.3f}" if name in times else "-").rjust(max(9, len(name))) for name in names]
    name, ratio = best_peer(times)
    return f"| {layer.name:22s} | {layer.flops() / 1e9:6.3f} | {' | '.join(cells)} | {share:5.0%} | {ratio:5.2f} {name:11s} |"


def chart(results: dict[str, Times], names: list[str], title: str, output: Path) -> None:
    """Write the bar chart: a panel for every layer, a bar for every library."""
    rows, colours = -(-len(results) // 3), dict(zip(OURS, ("#b8430f", "#e0a283"), strict=True))
    figure = import_module("matplotlib.figure").Figure(figsize=(13, 0.6 + rows * (0.7 + 0.22 * len(names))), dpi=100)
    panels = figure.subplots(rows, 3, squeeze=False).flat
    figure.suptitle(title, fontsize=11, x=0.02, ha="left")
    for axes, (layer, times) in zip(panels, results.items(), strict=False):
        shown = [name for name in names if name in times]
        limit = 4 * statistics.median(times.values())  # a bar that is cut still has its figure
        widths = [min(times[name], limit) for name in shown]
        bars = axes.barh(shown, widths, color=[colours.get(name, "#c9c9c9") for name in shown])
        axes.bar_label(bars, [f"{times[name] * 1e3:.3g}" for name in shown], padding=3, fontsize=8)
        axes.set_title(layer, loc="left", fontsize=10, weight="bold")
        axes.set_xlim(0, 1.15 * max(widths))
        axes.invert_yaxis()
        axes.xaxis.set_visible(False)
        axes.tick_params(axis="y", length=0, labelsize=8)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    for axes in list(panels)[len(results) :]:
        axes.set_axis_off()
    figure.tight_layout()
    figure.savefig(output, format="png")


def run(threads: int, peers: str | None, quick: bool, output: Path) -> None:
    """Print the table, a line as soon as it is known, and write the chart."""
    libraries = [Library(name, threads) for name in chosen(peers)]
    try:
        versions = {library.name: library.answer() for library in libraries}
        libraries = [library for library in libraries if versions[library.name]]
        names = [library.name for library in libraries]
        peak = _runtime.fma_peak(0.3, _isa.current()) * min(threads, len(os.sched_getaffinity(0)))
        print(f"{cpu()}, {_isa.current_isa()}, threads: {threads}; measured FMA peak: {peak:.0f} GFLOP/s in float32")
        print(", ".join(f"{name} {versions[name]}" for name in names))
        print(
            "Milliseconds: medians of turns. cyconv: a plan, cyconv_call: the plain call. peak: the plan's share of the FMA peak,"
            "\ncounted as a direct convolution; that peak is measured in turns with the plan, for the clock falls under load.\n"
        )
        titles = [f"{'layer':22s}", "GFLOP ", *(f"{name:>9s}" for name in names), " peak", "cyconv / fastest "]
        print(f"| {' | '.join(titles)} |\n|{'|'.join('-' * (len(title) + 2) for title in titles)}|")
        results: dict[str, Times] = {}
        for index in QUICK if quick else range(len(LAYERS)):
            times, peak = measure(libraries, index, 1 if quick else 3, 0.05)
            results[LAYERS[index].name] = times
            print(row(LAYERS[index], times, names, peak), flush=True)
    finally:
        for library in libraries:
            library.close()
    ratios = [ratio for name, ratio in map(best_peer, results.values()) if name]
    if ratios:
        print(f"\ncyconv / fastest peer: {statistics.geometric_mean(ratios):.2f} in the geometric mean")
    try:
        chart(results, names, f"Milliseconds, threads: {threads}, {cpu()}; shorter is better", output)
    except ImportError:
        print("No chart without matplotlib: pip install 'cyconv[demo]'")
    else:
        print(f"chart: {output}")


if __name__ == "__main__":
    worker(sys.argv[1], int(sys.argv[2]))
