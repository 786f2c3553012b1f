"""What is measured of a layer. The names of the classes begin with _ so that asv takes only their heirs for benchmarks."""

import math
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cyconv import _isa, _peers, _runtime

from .shapes import BY_NAME

THREADS = int(os.environ["OMP_NUM_THREADS"])
LIBRARIES = list(_peers.MAKERS)
NETWORK_LIBRARIES = [library for library in LIBRARIES if library not in ("opencv", "scipy")]


def prepared(layer: str, library: str) -> Callable[[], Any]:
    """A function that runs the layer once; asv prints n/a for NotImplementedError."""
    try:
        return _peers.MAKERS[library](THREADS)(BY_NAME[layer], *BY_NAME[layer].arrays())
    except ImportError as missing:
        raise NotImplementedError(f"{library} is not installed") from missing


def seconds(run: Callable[[], Any]) -> float:
    """The median of at least five runs in a fifth of a second."""
    run()
    times: list[float] = []
    end = time.perf_counter() + 0.2
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class _Time:
    """The time of a layer in each library, and the most memory that its process needs."""

    param_names = ("layer", "lib")
    params: tuple[list[str], list[str]]
    timeout, warmup_time, repeat, sample_time = 60, 0.05, (3, 10, 0.5), 0.01

    def setup(self, layer: str, library: str) -> None:
        self.run = prepared(layer, library)

    def time_call(self, layer: str, library: str) -> None:
        self.run()


class _Rate:
    """cyconv's rate beside what the machine can do, measured in the same run."""

    param_names = ("layer",)
    params: tuple[list[str]]
    timeout = 60

    def setup(self, layer: str) -> None:
        self.layer, self.run = BY_NAME[layer], prepared(layer, "cyconv")

    def rate(self) -> float:
        return self.layer.flops() / seconds(self.run) / 1e9

    def track_gflops(self, layer: str) -> float:
        return self.rate()

    def track_percent_of_peak(self, layer: str) -> float:
        """Layer and peak in turns: under load the clock falls, and one measured before would not show it."""
        shares: list[float] = []
        end = time.perf_counter() + 0.3
        self.run()
        while len(shares) < 5 or time.perf_counter() < end:
            start = time.perf_counter()
            self.run()
            rate = self.layer.flops() / (time.perf_counter() - start) / 1e9
            shares.append(100 * rate / THREADS / _runtime.fma_peak(1e-5, _isa.current()))
        return statistics.median(shares)

    def track_ratio_to_gemm(self, layer: str) -> float:
        """cyconv's rate over that of NumPy's product of pixels x (taps*channels) by (taps*channels) x maps."""
        *taps, channels, maps = self.layer.filters[-1]
        if self.layer.op == "depthwise":
            raise NotImplementedError("no matrix product does this work")
        depth = math.prod(taps) * channels
        rows = min(4096, self.layer.flops() // (2 * depth * maps))
        a, b = np.ones((rows, depth), np.float32), np.ones((depth, maps), np.float32)
        return self.rate() * seconds(lambda: a @ b) * 1e9 / (2 * rows * depth * maps)

    def peakmem_call(self, layer: str) -> None:
        self.run()

    track_gflops.unit = "GFLOP/s"
    track_percent_of_peak.unit = "%"
    track_ratio_to_gemm.unit = "times"
