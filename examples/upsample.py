"""Twice the size: waifu2x's super-resolution network, six conv2d and one conv2d_transpose, beside bicubic interpolation.

    python examples/upsample.py --models DIR --data DIR [IMAGE]

Without an image, a photograph is halved and doubled again both ways; what is lost is given in decibels:
PSNR = 10 log10(1 / mean squared error).
"""

import time

import numpy as np
from command_line import Array, existing, parser, photograph, save
from matplotlib.figure import Figure
from network import Network, verify
from PIL import Image

MARGIN = 7  # pixels that the VALID convolutions use up on every side


def upsample(network: Network, image: Array) -> Array:
    """An image (h, w, 3) in [0, 1] at twice its size."""
    x = np.pad(image, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge")
    (y,) = network(x[None].astype(np.float32)).values()
    return np.clip(y[0], 0, 1)


def resized(image: Array, height: int, width: int) -> Array:
    """Bicubic interpolation, as Pillow has it."""
    small = Image.fromarray((image * 255).round().astype(np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)) / 255


def psnr(a: Array, b: Array) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


def detail(image: Array, half: int = 60) -> tuple[slice, slice]:
    """Where an image has most edges: a square of at most 2 * half pixels."""
    edges = np.square(np.gradient(image.mean(-1))).sum(0)
    sums = np.pad(edges, half).cumsum(0).cumsum(1)
    n = 2 * half
    boxes = sums[n:, n:] - sums[:-n, n:] - sums[n:, :-n] + sums[:-n, :-n]
    y, x = np.unravel_index(boxes.argmax(), boxes.shape)
    return slice(max(y - half, 0), y + half), slice(max(x - half, 0), x + half)


def main() -> None:
    options = parser(__doc__, "upsample.png", "models", "data")
    options.add_argument("image", nargs="?", help="a photograph to double; it is not halved first")
    chosen = options.parse_args()
    folder = chosen.models / "waifu2x_upconv7_photo"
    verify(folder)

    if chosen.image:
        small, truth = np.asarray(photograph(chosen.image)) / 255, None
    else:
        with np.load(existing(chosen.data / "photos.npz")) as photos:
            truth = photos["chelsea_cat"][:300, :450] / 255
        small = resized(truth, 150, 225)
    height, width, _ = small.shape
    network = Network(folder)
    start = time.perf_counter()
    network_made = upsample(network, small)
    seconds = time.perf_counter() - start
    bicubic = resized(small, 2 * height, 2 * width)

    print(f"\n{width} x {height} to {2 * width} x {2 * height} pixels in {seconds:.2f} s")
    shown = {"input": np.repeat(np.repeat(small, 2, 0), 2, 1), "bicubic": bicubic, "waifu2x": network_made}
    if truth is not None:
        for name in ("bicubic", "waifu2x"):
            print(f"PSNR of {name}: {psnr(shown[name], truth):.2f} dB")
        shown["original"] = truth
    part = detail(bicubic)
    figure = Figure(figsize=(3 * len(shown), 3.3), dpi=80)
    figure.subplots_adjust(0.005, 0, 0.995, 0.92, 0.02)
    for axis, (name, image) in zip(figure.subplots(1, len(shown)), shown.items()):
        axis.imshow(image[part], interpolation="nearest")
        loss = f", {psnr(image, truth):.1f} dB" if truth is not None and name in ("bicubic", "waifu2x") else ""
        axis.set_title(name + loss)
        axis.set_axis_off()
    save(figure, chosen.output)


if __name__ == "__main__":
    main()
