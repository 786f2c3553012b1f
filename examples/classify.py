"""Classify photographs: EfficientNet-Lite0's top five of ImageNet's 1,000 classes, and Inception v3's pooled features.

    python examples/classify.py --models DIR [IMAGE ...]

Without images, the eight photographs stored with EfficientNet-Lite0 are taken. Every recorded layer of both networks is
compared with what cyconv makes of it.
"""

import json
import time
from pathlib import Path

import numpy as np
from command_line import ACCENT, Array, existing, parser, photograph, save, square
from matplotlib.figure import Figure
from network import Network, verify
from operations import softmax
from PIL import Image
from tqdm import tqdm


def inference(network: Network, images: Array) -> tuple[Array, float]:
    """What the network makes of each image, and the median time of one in milliseconds."""
    results, times = [], []
    for image in tqdm(images, desc="images", leave=False):
        start = time.perf_counter()
        (y,) = network(image[None]).values()
        times.append(1e3 * (time.perf_counter() - start))
        results.append(y.ravel())
    return np.stack(results), float(np.median(times))


def sheet(names: list[str], photos: Array, labels: list[str], probabilities: Array, alike: Array) -> Figure:
    """The photographs with their top five, and how alike their features are."""
    rows = -(-len(names) // 4)
    figure = Figure(figsize=(11, 3.4 * rows + 3.6), dpi=80)
    top, bottom = figure.subfigures(2, 1, height_ratios=[3.4 * rows, 3.6])
    grid = top.add_gridspec(rows, 4, left=0.01, right=0.99, bottom=0, top=0.94, wspace=0.05, hspace=0.15)
    for place, name, photo, p in zip(grid, names, photos, probabilities):
        upper, lower = place.subgridspec(2, 1, height_ratios=[2, 1], hspace=0.03)
        picture, bars = top.add_subplot(upper), top.add_subplot(lower)
        picture.imshow(photo)
        picture.set_title(name, weight="bold")
        picture.set_axis_off()
        best = p.argsort()[::-1][:5]
        bars.barh(range(5), p[best], color=ACCENT, alpha=0.35)
        bars.set(xlim=(0, 1), ylim=(4.5, -0.5))
        bars.set_axis_off()
        for row, k in enumerate(best):
            bars.text(0.01, row, f"{p[k]:4.0%}  {labels[k]}", va="center")
    axis = bottom.subplots()
    bottom.subplots_adjust(0.3, 0.02, 0.7, 0.7)
    shown = axis.imshow(alike, "RdBu_r", vmin=-1, vmax=1)
    axis.set_title("Inception v3: how alike the pooled features are\n(cosine, their mean taken off)", pad=55)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="left")
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False)
    bottom.colorbar(shown)
    return figure


def main() -> None:
    options = parser(__doc__, "classify.png", "models")
    options.add_argument("images", nargs="*", metavar="IMAGE", help="photographs, any size")
    chosen = options.parse_args()
    efficientnet, inception = chosen.models / "efficientnet_lite0", chosen.models / "inception_v3_trunk"

    verify(efficientnet)
    verify(inception)
    labels = json.loads(existing(efficientnet / "imagenet_labels.json").read_text())
    with np.load(efficientnet / "photos_224.npz") as stored:
        names, photos, expected = stored["names"].tolist(), stored["image_u8"], stored["logits"]
    if chosen.images:
        names = [Path(image).stem for image in chosen.images]
        photos = np.stack([square(photograph(image), 224) for image in chosen.images])

    logits, milliseconds = inference(Network(efficientnet, ["logits"]), (photos.astype(np.float32) - 127) / 128)
    probabilities = softmax(logits)
    print(f"\nEfficientNet-Lite0: {milliseconds:.1f} ms an image")
    if not chosen.images:
        print(f"logits, largest error: {np.abs(logits - expected).max() / np.abs(expected).max():.1e}")
    for name, p in zip(names, probabilities):
        print(f"{name:>12}: " + ", ".join(f"{labels[k]} {p[k]:.1%}" for k in p.argsort()[::-1][:5]))

    larger = np.stack([square(Image.fromarray(photo), 299) for photo in photos])
    features, milliseconds = inference(Network(inception), larger.astype(np.float32) / 255)
    features -= features.mean(0)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)  # 0 of one photograph alone
    alike = features @ features.T
    print(f"\nInception v3: {milliseconds:.1f} ms an image, {features.shape[1]} pooled features")
    for name, row in zip(names, alike - 2 * np.eye(len(names))) if len(names) > 1 else ():
        print(f"{name:>12}: most like {names[row.argmax()]} ({row.max():.2f})")
    save(sheet(names, photos, labels, probabilities, alike), chosen.output)


if __name__ == "__main__":
    main()
