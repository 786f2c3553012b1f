"""Where a person's joints are: MoveNet's depthwise and separable layers find 17 points of the body.

    python examples/pose.py --models DIR --data DIR [IMAGE]

The network gives, for each of 48 x 48 places: how probably it is the centre of a person, where that person's joints would
be, how probably each joint is here, and how far it is from the corner of the place.
"""

import json
import time

import numpy as np
from command_line import ACCENT, Array, existing, parser, photograph, save
from matplotlib.figure import Figure
from network import Network, verify
from PIL import Image, ImageOps

SIZE, PLACES = 192, 48
BONES = ["l_ear l_eye", "l_eye nose", "nose r_eye", "r_eye r_ear", "l_wrist l_elbow", "l_elbow l_shoulder"] + [
    "l_shoulder r_shoulder", "r_shoulder r_elbow", "r_elbow r_wrist", "l_shoulder l_hip", "r_shoulder r_hip",
    "l_hip r_hip", "l_hip l_knee", "l_knee l_ankle", "r_hip r_knee", "r_knee r_ankle",
]  # fmt: skip


def joints(network: Network, image: Image.Image) -> tuple[Array, Array, Array]:
    """The joints (17, 2) as y and x in parts of the padded image, their scores (17,), and the probabilities of centres."""
    x = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR), np.float32) / 127.5 - 1
    heatmaps, centres, regressed, offsets = (y[0] for y in network(x[None]).values())
    place = np.indices((PLACES, PLACES)).transpose(1, 2, 0)

    # The person is where the centre is probable and near the middle of the image.
    middle = np.hypot(*np.moveaxis(place - PLACES / 2, -1, 0))
    centre = np.unravel_index((centres[..., 0] / (middle + 1.8)).argmax(), (PLACES, PLACES))
    expected = place[centre] + regressed[centre].reshape(17, 2)

    # Each joint is where it is probable and near the place that the centre expects.
    distance = np.linalg.norm(place[:, :, None] - expected, axis=-1)
    rows, columns = np.unravel_index((heatmaps / (distance + 1.8)).reshape(-1, 17).argmax(0), (PLACES, PLACES))
    each = np.arange(17)
    exact = offsets.reshape(PLACES, PLACES, 17, 2)[rows, columns, each] + np.stack([rows, columns], 1)
    return exact / PLACES, heatmaps[rows, columns, each], centres[..., 0]


def main() -> None:
    options = parser(__doc__, "pose.png", "models", "data")
    options.add_argument("image", nargs="?", help="a photograph of one person")
    chosen = options.parse_args()
    folder = chosen.models / "movenet_lightning"
    verify(folder)

    if chosen.image:
        image = photograph(chosen.image)
    else:
        with np.load(existing(chosen.data / "photos.npz")) as photos:
            image = Image.fromarray(photos["astronaut"])
    image = ImageOps.pad(image, (max(image.size),) * 2)
    network = Network(folder)
    start = time.perf_counter()
    points, scores, centres = joints(network, image)
    print(f"\n{time.perf_counter() - start:.3f} s")
    names = json.loads((folder / "graph.json").read_text())["keypoints"]
    points *= image.width
    for name, (y, x), score in zip(names, points, scores):
        print(f"{name:>12}: {score:4.0%} at ({x:.0f}, {y:.0f})")

    figure = Figure(figsize=(9, 4.8), dpi=80)
    figure.subplots_adjust(0, 0, 1, 0.94, 0.02)
    person, probable = figure.subplots(1, 2)
    person.imshow(image)
    probable.imshow(centres, "magma", extent=(0, image.width, image.width, 0))
    seen = {name: point for name, point, score in zip(names, points, scores) if score > 0.2}
    for bone in BONES:
        ends = [seen[name] for name in bone.split() if name in seen]
        if len(ends) == 2:
            (y0, x0), (y1, x1) = ends
            person.plot([x0, x1], [y0, y1], color=ACCENT, lw=2.5)
    for axis in (person, probable):
        y, x = np.reshape(list(seen.values()), (-1, 2)).T
        axis.scatter(x, y, c="white", edgecolors=ACCENT, s=30, zorder=3)
        axis.set(xlim=(0, image.width), ylim=(image.width, 0))
        axis.set_axis_off()
    person.set_title("joints with a score above 20 %")
    probable.set_title("where the centre of a person may be")
    save(figure, chosen.output)


if __name__ == "__main__":
    main()
