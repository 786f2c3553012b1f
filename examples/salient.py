"""What stands out in a photograph: U2-Net-P, 119 convolutions of which 23 are atrous, cuts it out.

python examples/salient.py --models DIR --data DIR [IMAGE]
"""

import time

import numpy as np
from command_line import Array, existing, parser, photograph, save
from matplotlib.figure import Figure
from network import Network, verify
from PIL import Image

SIZE = 320
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels


def salience(network: Network, image: Image.Image) -> Array:
    """How much each pixel belongs to the object that stands out, 0 to 1."""
    pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    x = (pixels / max(pixels.max(), 1) - MEAN) / DEVIATION
    (y,) = network(x[None].astype(np.float32), progress=True).values()
    found = y[0, ..., 0]
    found = (found - found.min()) / np.maximum(np.ptp(found), np.float32(1e-12))
    return np.asarray(Image.fromarray(found).resize(image.size, Image.Resampling.BILINEAR))


def main() -> None:
    options = parser(__doc__, "salient.png", "models", "data")
    options.add_argument("image", nargs="?", help="a photograph, any size")
    chosen = options.parse_args()
    folder = chosen.models / "u2netp"
    verify(folder)

    if chosen.image:
        images = [photograph(chosen.image)]
    else:
        with np.load(existing(chosen.data / "photos.npz")) as photos:
            images = [Image.fromarray(photos[name]) for name in ("astronaut", "coffee", "flower")]
    network = Network(folder)
    heights = [image.height / image.width for image in images]
    figure = Figure(figsize=(9, 3 * sum(heights) + 0.3), dpi=80)
    figure.subplots_adjust(0, 0, 1, 1 - 0.3 / figure.get_figheight(), 0.02, 0.02)
    for row, image in zip(figure.subplots(len(images), 3, squeeze=False, height_ratios=heights), images):
        start = time.perf_counter()
        mask = salience(network, image)
        seconds = time.perf_counter() - start
        print(f"{image.width} x {image.height} pixels in {seconds:.2f} s: {(mask > 0.5).mean():.0%} stand out")
        cut_out = np.asarray(image) / 255 * mask[..., None] + 1 - mask[..., None]
        for axis, shown in zip(row, (image, mask, cut_out)):
            axis.imshow(shown, "gray")
            axis.set_axis_off()
    for axis, name in zip(figure.axes, ("photograph", "salience", "cut out")):
        axis.set_title(name)
    save(figure, chosen.output)


if __name__ == "__main__":
    main()
