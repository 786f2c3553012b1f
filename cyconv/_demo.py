"""`python -m cyconv demo`: every op of the family at work, against the same work in plain NumPy."""

import statistics
import timeit
from argparse import ArgumentError
from collections.abc import Callable, Iterator
from functools import reduce
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

import cyconv as nn

Array = NDArray[Any]
RATE = 500  # samples of the heartbeat in a second


class Job(NamedTuple):
    op: str
    what: str
    x: Array
    filters: tuple[Array, ...]
    run: Callable[..., Array]  # run(x, *filters): the op
    by_hand: Callable[..., Array]  # the same as a NumPy user writes it today
    show: Callable[[Array], Array]  # the result as pixels or a curve


class Result(NamedTuple):
    job: Job
    y: Array
    seconds: float
    by_hand: float
    difference: float


# ---- the family in plain NumPy


def windows(x: Array, taps: tuple[int, ...], stride: int, rate: int, mode: Any, before: int | None) -> Array:
    """View of x (batch, *space, channels) as (batch, *space, channels, *taps): a window for every output."""
    n, spans = len(taps), [rate * (k - 1) for k in taps]
    pads = [(s // 2, s // 2) if before is None else (before, s - before) for s in spans]
    padded = np.pad(x, [(0, 0), *pads, (0, 0)], mode=mode)
    view: Array = sliding_window_view(padded, [s + 1 for s in spans], tuple(range(1, n + 1)))
    step, thin = slice(None, None, stride), slice(None, None, rate)
    return np.asarray(view[(slice(None), *n * [step], slice(None), *n * [thin])])


def correlate(
    x: Array, f: Array, stride: int = 1, rate: int = 1, mode: str = "constant", before: int | None = None
) -> Array:
    """Convolution with symmetric padding: all windows, then one tensordot."""
    n = f.ndim - 2
    view = windows(x, f.shape[:n], stride, rate, mode, before)
    return np.tensordot(view, f, ([*range(n + 2, 2 * n + 2), n + 1], list(range(n + 1))))


def correlate_depthwise(x: Array, f: Array, mode: str = "constant") -> Array:
    """The same, every channel with its own filters."""
    y = np.einsum("nhwcij,ijcm->nhwcm", windows(x, f.shape[:2], 1, 1, mode, None), f)
    return np.reshape(y, (*y.shape[:3], -1))


def spread(x: Array, f: Array, stride: int, rate: int = 1) -> Array:
    """Transposed convolution to `stride` times the size: zeros between the pixels, then the flipped filter."""
    n, span = f.ndim - 2, rate * (f.shape[0] - 1)
    z = np.zeros((x.shape[0], *(stride * size for size in x.shape[1:-1]), x.shape[-1]), x.dtype)
    z[(slice(None), *n * [slice(None, None, stride)])] = x
    return correlate(z, np.flip(f, tuple(range(n))).swapaxes(-1, -2), rate=rate, before=span - (span + 1 - stride) // 2)


# ---- inputs and filters


def photograph(image: Path | None) -> Array:
    """float32 array (1, h, w, 3) in [0, 1]: the user's file, or the cat in cyconv/data."""
    if image is None:
        with files("cyconv").joinpath("data/chelsea.npz").open("rb") as file, np.load(file) as data:
            rgb = data["differences"].cumsum(0, dtype=np.uint8).cumsum(1, dtype=np.uint8)
    elif not image.is_file():
        raise ArgumentError(None, f"{image}: no such file")
    else:
        try:
            pillow, ops = import_module("PIL.Image"), import_module("PIL.ImageOps")
            picture = ops.exif_transpose(pillow.open(image))
            if picture.mode.startswith("I"):  # 16 bits: convert would make all from 255 on white
                picture = pillow.fromarray((np.asarray(picture) // 256).clip(0, 255).astype(np.uint8))
            picture = picture.convert("RGB")
        except ImportError:
            raise ArgumentError(None, f"reading {image} needs Pillow: pip install 'cyconv[demo]'") from None
        except Exception as error:  # a dozen kinds, struct.error of a broken Exif block among them
            raise ArgumentError(None, f"{image}: no image that Pillow can read: {error}") from None
        picture.thumbnail((640, 640))  # for NumPy's sake: its windows take 64 times the memory of the picture
        rgb = np.asarray(picture)
    h, w = (size // 4 * 4 for size in rgb.shape[:2])
    if min(h, w) < 32:
        raise ArgumentError(None, f"{image}: {rgb.shape[1]} x {rgb.shape[0]} pixels, but the demo needs 32 x 32")
    return np.asarray(rgb[None, :h, :w] / 255, np.float32)


def heartbeat(seconds: int) -> tuple[Array, Array]:
    """A synthesised electrocardiogram (1, samples, 1): clean; with noise, mains hum and a drifting baseline."""
    t = np.arange(seconds * RATE) / RATE
    waves = ((0.12, 0.18, 0.03), (-0.1, 0.275, 0.01), (1, 0.3, 0.012), (-0.2, 0.325, 0.012), (0.3, 0.5, 0.05))
    clean = np.sum([a * np.exp(-(((t % 0.85 - at) / width) ** 2)) for a, at, width in waves], axis=0)
    noise = 0.12 * np.random.default_rng(0).standard_normal(t.size) + 0.15 * np.sin(100 * np.pi * t)
    return signal(clean), signal(clean + noise + 0.4 * np.sin(0.6 * np.pi * t))


def vessels() -> Array:
    """A synthesised volume (1, 48, 64, 64, 1): a tree of thin vessels in noise."""
    rng = np.random.default_rng(3)
    tree = np.zeros((48, 64, 64), np.float32)
    for _ in range(12):
        at, way = np.array([24.0, 61.0, 32.0]), np.array([0.0, -1.0, 0.0])
        for _ in range(80):
            way += rng.normal(0, 0.16, 3)
            at += way / np.linalg.norm(way)
            if (at < 1).any() or (at > (46, 62, 62)).any():
                break
            z, y, x = at.astype(int)
            tree[z : z + 2, y : y + 2, x : x + 2] = 2
    return (tree + rng.standard_normal(tree.shape, np.float32))[None, ..., None]


def signal(samples: Array) -> Array:
    return np.asarray(samples[None, :, None], np.float32)


def outer(*axes: Array) -> Array:
    return np.asarray(reduce(np.multiply.outer, axes), np.float32)


def each(kernel: Array, channels: int = 3) -> Array:
    """Filters that give every channel the same kernel and mix none."""
    return np.asarray(kernel[..., None, None] * np.eye(channels), np.float32)


def triangle(stride: int) -> Array:
    """Linear interpolation to `stride` times the size."""
    return np.asarray(1 - np.abs(np.arange(2 * stride) + 0.5 - stride) / stride)


def sinc(taps: int, cutoff: float) -> Array:
    """Low-pass filter (taps, 1, 1): a windowed sinc for what is below `cutoff` cycles a sample."""
    h = np.sinc(2 * cutoff * (np.arange(taps) - (taps - 1) / 2)) * np.hamming(taps)
    return np.asarray((h / h.sum())[:, None, None], np.float32)


# ---- the jobs


def picture(y: Array) -> Array:
    return np.asarray(np.clip(y[0], 0, 1))


def curve(y: Array) -> Array:
    return np.asarray(y[0, :, 0])


def projection(y: Array) -> Array:
    """Maximum intensity projection of a volume, front to back."""
    return np.asarray(y[0, ..., 0].max(0))


def jobs(photo: Array) -> Iterator[Job]:
    """A job for every op of the family."""
    h, w = photo.shape[1:3]
    full, same = (1, h, w, 3), "SAME"
    mirror: dict[str, Any] = {"padding_mode": "reflect"}
    luma, binomial = np.array([0.299, 0.587, 0.114], np.float32), np.array([1, 4, 6, 4, 1]) / 16
    gauss = outer(binomial, binomial)
    sobel = outer(np.array([1, 2, 1]) / 4, np.array([1, 0, -1]))
    slopes = np.stack([sobel, sobel.T], -1)[:, :, None]

    # fmt: off
    yield Job("conv2d", "edges: Sobel's two gradients", photo, (slopes * luma[:, None],),
              lambda x, f: nn.conv2d(x, f, 1, same, **mirror),
              lambda x, f: correlate(x, f, mode="reflect"), lambda y: np.hypot(y[0, ..., 0], y[0, ..., 1]))

    delta = np.eye(5)[2]
    sharp = (2.5 * outer(delta, delta) - 1.5 * gauss)[..., None, None]
    yield Job("depthwise_conv2d", "sharpening, channel by channel", photo, (sharp.repeat(3, axis=2),),
              lambda x, f: nn.depthwise_conv2d(x, f, 1, same, **mirror),
              lambda x, f: correlate_depthwise(x, f, "reflect"), picture)

    # Four maps of slopes down, up, right and left; then each map smoothed and given its colour.
    signs = luma[:, None, None] * np.array([[1, -1, 0, 0], [0, 0, 1, -1]], np.float32)
    colours = 4 * np.array([[[[1, 0.5, 0], [0, 0.4, 1], [0.3, 1, 0.2], [1, 0, 0.8]]]], np.float32)
    spots = gauss[..., None, None].repeat(4, axis=2)
    yield Job("separable_conv2d", "two layers: which way edges face", photo,
              (slopes.repeat(3, axis=2), signs.reshape(1, 1, 6, 4), spots, colours),
              lambda x, d1, p1, d2, p2: nn.separable_conv2d(
                  nn.separable_conv2d(x, d1, p1, 1, same, activation="relu", **mirror), d2, p2, 1, same, **mirror),
              lambda x, d1, p1, d2, p2: correlate_depthwise(
                  np.maximum(correlate_depthwise(x, d1, "reflect") @ p1[0, 0], 0), d2, "reflect") @ p2[0, 0],
              picture)

    def wide(x: Array, f: Array, blur: Callable[[Array, Array, int], Array]) -> Array:
        return reduce(lambda y, rate: blur(y, f, rate), (1, 2, 4), x)

    yield Job("atrous_conv2d", "a wide blur: rates 1, 2, 4", photo, (each(gauss),),
              lambda x, f: wide(x, f, lambda y, f, rate: nn.atrous_conv2d(y, f, rate, same, **mirror)),
              lambda x, f: wide(x, f, lambda y, f, rate: correlate(y, f, rate=rate, mode="reflect")), picture)

    yield Job("convolution", "half the size, without aliasing", photo, (each(gauss),),
              lambda x, f: nn.convolution(x, f, 2, 2, **mirror),
              lambda x, f: correlate(x, f, 2, mode="reflect"), picture)

    yield Job("conv_transpose", "back to full size: the detail lost", correlate(photo, each(gauss), 2, mode="reflect"),
              (each(outer(triangle(2), triangle(2))),),
              lambda x, f: nn.conv_transpose(x, f, full, 2),
              lambda x, f: spread(x, f, 2), lambda y: picture(0.5 + 3 * (photo - y)))

    warm = np.array([0.09, 0.02, -0.09], np.float32)
    yield Job("bias_add", "a warmer light", photo, (warm,), nn.bias_add, np.add, picture)

    thumbnail = photo.reshape(1, h // 4, 4, w // 4, 4, 3).mean((2, 4))
    yield Job("conv2d_transpose", "x4 upsampling, bilinear filter", thumbnail, (each(outer(triangle(4), triangle(4))),),
              lambda x, f: nn.conv2d_transpose(x, f, full, 4),
              lambda x, f: spread(x, f, 4), picture)

    light = np.maximum(photo @ luma[:, None] - 0.55, 0)
    bell = np.exp(-(np.arange(-4, 5) ** 2) / 6)
    halo = outer(bell, bell, np.array([0.5, 0.42, 0.3]))[..., None]
    yield Job("atrous_conv2d_transpose", "light spills over its edges", light, (halo,),
              lambda x, f: nn.atrous_conv2d_transpose(x, f, full, 4, same),
              lambda x, f: spread(x, f, 1, 4), lambda y: picture(1 - (1 - photo) * np.exp(-y)))

    clean, noisy = heartbeat(60)
    yield Job("conv1d", "a heartbeat out of noise", noisy, (sinc(401, 32 / RATE) - sinc(401, 0.7 / RATE),),
              lambda x, f: nn.conv1d(x, f, 1, same), correlate, curve)

    yield Job("conv1d_transpose", "x4 resampling", clean[:, ::4], (4 * sinc(32, 0.125),),
              lambda x, f: nn.conv1d_transpose(x, f, clean.shape, 4), lambda x, f: spread(x, f, 4), curve)

    volume, ball = vessels(), outer(binomial, binomial, binomial)[..., None, None]
    yield Job("conv3d", "vessels out of noise, in 3-D", volume, (ball - ball.mean(),),
              lambda x, f: nn.conv3d(x, f, 1, same), correlate, projection)

    yield Job("conv3d_transpose", "a volume at twice the resolution", correlate(volume, ball)[:, 8:40, 16:48, 16:48],
              (outer(triangle(2), triangle(2), triangle(2))[..., None, None],),
              lambda x, f: nn.conv3d_transpose(x, f, (1, 64, 64, 64, 1), 2), lambda x, f: spread(x, f, 2), projection)
    # fmt: on


# ---- the table and the picture


def median_time(run: Callable[[], Array]) -> tuple[Array, float]:
    """The result, and the median seconds of three runs or more."""
    y, first = run(), timeit.timeit(run, number=1)
    return y, statistics.median([first, *timeit.repeat(run, number=1, repeat=max(2, int(0.15 / first)))])


def measure(job: Job) -> Result:
    y, seconds = median_time(lambda: job.run(job.x, *job.filters))
    expected, by_hand = median_time(lambda: job.by_hand(job.x, *job.filters))
    return Result(job, y, seconds, by_hand, float(np.abs(y - expected).max()))


def line(r: Result) -> str:
    """One line of the table."""
    x, f, y = ("x".join(map(str, a.shape)) for a in (r.job.x, r.job.filters[0], r.y))
    times = f"{r.seconds * 1e3:9.2f} {r.by_hand * 1e3:9.2f} {r.by_hand / r.seconds:7.1f}x"
    return f"{r.job.op:23s}  {r.job.what:34s}  {x:15s}  {f:11s}  {y:15s}{times} {r.difference:11.1e}"


def sheet(photo: Array, results: dict[str, Result], output: Path) -> None:
    """Write the picture: inputs and outputs side by side."""
    figure = import_module("matplotlib.figure").Figure(figsize=(14, 16), dpi=100)
    edge = {"left": 0.03, "right": 0.985, "top": 0.95, "bottom": 0.015}
    grid = figure.add_gridspec(5, 4, height_ratios=[1, 1, 1, 0.8, 1.3], hspace=0.42, wspace=0.06, **edge)
    grey, accent = "#666666", "#b8430f"

    def panel(place: Any, name: str, text: str = "") -> Any:
        axes = figure.add_subplot(place)
        if r := results.get(name):
            text = f"{r.job.what}\n{r.seconds * 1e3:.2f} ms, NumPy {r.by_hand * 1e3:.1f} ms"
        # The empty first line keeps the place of the name, which has its own face and colour.
        axes.set_title("\n" + text, loc="left", fontsize=10, color=grey, linespacing=1.35)
        above = (0, 6 + 14.5 * (1 + text.count("\n")))
        face = {"family": "monospace", "weight": "bold", "fontsize": 12, "color": accent if r else "black"}
        axes.annotate(name, (0, 1), above, "axes fraction", "offset points", **face)
        return axes

    def image(place: tuple[int, int], op: str, pixels: Array | None = None, text: str = "") -> None:
        axes = panel(grid[place], op, text)
        shown = show(op) if pixels is None else pixels
        colours = "magma" if place[0] == 4 else "gray"
        axes.imshow(shown, colours, vmax=np.quantile(shown, 0.999), interpolation="nearest")
        axes.set_axis_off()

    def show(op: str) -> Array:
        return results[op].job.show(results[op].y)

    image((0, 0), "input", photo[0], "a photograph")
    for i, op in enumerate(list(results)[:7], 1):
        image((i // 4, i % 4), op)
    image((2, 0), "input", results["conv2d_transpose"].job.x[0], "the photograph at a quarter of its size")
    image((2, 1), "conv2d_transpose")
    image((2, 2), "atrous_conv2d_transpose")

    bars = panel(grid[2, 3], "speed", "NumPy's time over cyconv's")
    bars.set_axis_off()
    bars.set_xlim(0, 2.6)
    ratios = sorted((r.by_hand / r.seconds, op) for op, r in results.items())
    lengths = np.log([ratio for ratio, _ in ratios]).clip(0.05)
    bars.barh(range(len(ratios)), lengths / lengths.max(), left=1.55, color=accent, height=0.65)
    for i, (ratio, op) in enumerate(ratios):
        bars.text(0, i, op, family="monospace", fontsize=8, va="center")
        bars.text(1.5, i, f"{ratio:.1f}", fontsize=8, va="center", ha="right", color=grey)

    before, after = results["conv1d"].job.x[0, :, 0], show("conv1d")
    axes = panel(grid[3, :2], "conv1d")
    t = np.arange(4 * RATE) / RATE
    axes.plot(t, before[: t.size], color="#c0c0c0", lw=0.6, label="input")
    axes.plot(t, after[: t.size], color=accent, lw=1.4, label="output")
    few, many = results["conv1d_transpose"].job.x[0, :, 0], show("conv1d_transpose")
    zoom = panel(grid[3, 2:], "conv1d_transpose")
    part = slice(RATE, 2 * RATE - 40)
    zoom.plot(t[part], many[part], color=accent, lw=1.4, label="output")
    zoom.plot(t[part][::4], few[RATE // 4 : RATE // 2 - 10], "o", ms=3, color="#404040", label="input")
    for each_axes in (axes, zoom):
        each_axes.spines[["top", "right"]].set_visible(False)
        each_axes.xaxis.set_major_formatter("{x:g} s")
        each_axes.tick_params(labelsize=8, colors=grey)
        each_axes.legend(frameon=False, fontsize=9, loc="upper center")

    for column, op in enumerate(("conv3d", "conv3d_transpose")):
        x = results[op].job.x
        image((4, 2 * column), "input", projection(x), "a volume, " + " x ".join(map(str, x.shape[1:4])))
        image((4, 2 * column + 1), op)
    figure.savefig(output, format="png")


def run(image: Path | None, output: Path) -> None:
    """Print the table, a line as soon as it is known, and write the picture."""
    photo = photograph(image)
    print(
        f"{'op':23s}  {'at work':34s}  {'input':15s}  {'filter':11s}  {'output':15s}"
        f"{'cyconv ms':>9s} {'NumPy ms':>9s} {'ratio':>8s} {'difference':>11s}"
    )
    results = {}
    for job in jobs(photo):
        results[job.op] = measure(job)
        print(line(results[job.op]), flush=True)
    mean = statistics.geometric_mean(r.by_hand / r.seconds for r in results.values())
    print(f"\n{len(results)} ops, {mean:.1f} times as fast as NumPy (geometric mean)")
    print(f"threads: {nn.get_num_threads()}, kernels: {nn.current_isa()}")
    try:
        sheet(photo, results, output)
    except ImportError:
        print("No picture without matplotlib: pip install 'cyconv[demo]'")
    else:
        print(f"picture: {output}")
