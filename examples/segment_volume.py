"""Find the brain in an MR head: a 3-D U-Net of conv3d, conv3d_transpose and max_pool on 128 x 128 x 128 voxels.

    python examples/segment_volume.py --models DIR --data DIR [VOLUME.npy]

Without a volume, the T1 head in data/mri_ch2_128.npz is taken and the overlap with its recorded mask is printed:
Dice = 2 |A and B| / (|A| + |B|).
"""

import time
from pathlib import Path

import numpy as np
from command_line import ACCENT, Array, existing, parser, save
from matplotlib.figure import Figure
from network import Network, verify
from operations import interpolate

SIZE = 128


def read(path: Path) -> Array:
    """An array of numbers along three axes."""
    try:
        volume = np.load(path)
    except (OSError, ValueError, EOFError):
        volume = None
    if not isinstance(volume, np.ndarray) or volume.ndim != 3 or not volume.size or volume.dtype.kind not in "iuf":
        raise SystemExit(f"{path} is not a .npy file of a volume of numbers")
    return volume


def dice(a: Array, b: Array) -> float:
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


def segment(network: Network, volume: Array) -> Array:
    """The probability of brain for every voxel, after resizing to 128 x 128 x 128."""
    x = volume[None, ..., None].astype(np.float32)
    x /= x.max() or 1
    for axis in (1, 2, 3):
        if x.shape[axis] != SIZE:
            x = interpolate(x, SIZE, axis, half_pixel=True)
    return np.asarray(network(x, progress=True)["prob"][0, ..., 0])


def sheet(volume: Array, probability: Array) -> Figure:
    """Three sections through the middle of the brain with its outline, and the brain cut out below."""
    brain = probability > 0.5
    middle = [int(i) for i in np.mean(np.nonzero(brain), axis=1)]
    figure = Figure(figsize=(9, 6), dpi=80, facecolor="black")
    figure.subplots_adjust(0, 0, 1, 0.94, 0, 0)
    axes = figure.subplots(2, 3)
    for (above, below), axis, name in zip(axes.T, range(3), ("first axis", "second axis", "third axis")):
        image, p, mask = (np.rot90(v.take(middle[axis], axis)) for v in (volume, probability, brain))
        above.imshow(image, "gray")
        above.contour(p, [0.5], colors=ACCENT)
        above.set_title(f"{name}, section {middle[axis]}", color="white")
        below.imshow(image * mask, "gray", vmax=image[mask].max(initial=0))
    for axis in axes.flat:
        axis.set_axis_off()
    return figure


def main() -> None:
    options = parser(__doc__, "segment_volume.png", "models", "data")
    options.add_argument("volume", nargs="?", type=existing, metavar="VOLUME.npy", help="a T1 head of any size")
    chosen = options.parse_args()
    folder = chosen.models / "deepbrain_unet3d"
    verify(folder)

    if chosen.volume:
        volume, mask = read(chosen.volume), None
    else:
        with np.load(existing(chosen.data / "mri_ch2_128.npz")) as head:
            volume = head["img_u8"]
            mask = np.unpackbits(head["mask"]).reshape(volume.shape).astype(bool)
            recorded = head["prob_f16"]
    network = Network(folder)
    start = time.perf_counter()
    probability = segment(network, volume)
    seconds = time.perf_counter() - start

    size = " x ".join(map(str, volume.shape))
    print(f"\n{size} voxels in {seconds:.2f} s: {(probability > 0.5).mean():.1%} are brain")
    if not (probability > 0.5).any():
        raise SystemExit("there is nothing to draw")
    if mask is not None:
        print(f"Dice with the recorded mask: {dice(probability > 0.5, mask):.5f}")
        print(f"largest difference from the recorded probabilities: {np.abs(probability - recorded).max():.1e}")
    for axis, size in enumerate(volume.shape):
        if size != SIZE:
            probability = interpolate(probability[None], size, axis + 1, half_pixel=True)[0]
    save(sheet(volume, probability), chosen.output)


if __name__ == "__main__":
    main()
