"""Transfer learning: a new softmax on a frozen trunk tells ten kinds of clothes apart after 30 photographs of each.

    python examples/transfer_learning.py --models DIR --data DIR [--trunk inception_v3]

The folder clothing10_299 has train, validation and test, each with a folder of photographs for every class. Training
photographs are seen through random crops, resized, half of them mirrored. The frozen trunk turns every view into features
once; only the softmax is trained, by Adam, and the weights that do best on the validation photographs are kept.
"""

import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from adam import Adam
from command_line import ACCENT, GREY, Array, existing, parser, photograph, positive, save
from matplotlib.figure import Figure
from network import Network
from operations import softmax
from PIL import Image
from tqdm import tqdm, trange

import cyconv as nn

Trunk = Callable[[Array], Array]


def efficientnet(models: Path) -> tuple[int, Trunk]:
    """The size of the input, and the function from pixels (n, size, size, 3) to features (n, 1280)."""
    network = Network(models / "efficientnet_lite0", ["features"])
    return 224, lambda pixels: network((pixels - np.float32(127)) / 128)["features"]


def inception(models: Path) -> tuple[int, Trunk]:
    """The same for Inception v3 up to its seventh mixed layer, averaged over 17 x 17 places: (n, 768)."""
    network = Network(models / "inception_v3_trunk", ["mixed6"])
    return 299, lambda pixels: nn.avg_pool(network(pixels / np.float32(255))["mixed6"], 17, 17, "VALID")[:, 0, 0]


TRUNKS = {"efficientnet_lite0": efficientnet, "inception_v3": inception}


def whole(image: Image.Image, size: int) -> Array:
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def random_view(image: Image.Image, size: int, rng: np.random.Generator) -> Array:
    """A random part of the image, more than half of its area, resized; mirrored half of the time."""
    w, h = np.array(image.size) * np.sqrt(rng.uniform(0.7, 1)) * rng.uniform(0.9, 1, 2)
    x, y = rng.uniform((0, 0), (image.width - w, image.height - h))
    view = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=(x, y, x + w, y + h)))
    return view[:, ::-1] if rng.random() < 0.5 else view


def read(folder: Path, per_class: int | None = None) -> tuple[list[Image.Image], Array]:
    """The photographs of a folder with a folder for each class, the first of each class or all; and their classes."""
    files = [
        (path, k) for k, kind in enumerate(sorted(folder.iterdir())) for path in sorted(kind.iterdir())[:per_class]
    ]
    return [photograph(path) for path, _ in files], np.array([k for _, k in files])


def features(trunk: Trunk, views: Iterable[Array], total: int, what: str, batch: int = 16) -> Array:
    """What the trunk makes of each view."""
    views, found = iter(views), []
    with tqdm(total=total, desc=what, leave=False) as bar:
        while several := list(islice(views, batch)):
            found.append(trunk(np.stack(several)))
            bar.update(len(several))
    return np.sqrt(np.concatenate(found))  # all are means of relu; roots keep a few large ones from ruling the rest


def scores(w: Array, x: Array) -> Array:
    return x @ w[1:] + w[0]


def accuracy(w: Array, x: Array, y: Array) -> float:
    return float((scores(w, x).argmax(1) == y).mean())


def train(
    views: Array, y: Array, held_out: tuple[Array, Array], epochs: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Softmax regression by Adam on views (v, n, features): in each epoch a random view of every photograph.

    Gives the weights (1 + features, classes) that were best on the held-out photographs, and both accuracies by epoch.
    """
    _, n, size = views.shape
    answers = np.eye(y.max() + 1, dtype=np.float32)[y]
    w = np.zeros((1 + size, answers.shape[1]), np.float32)
    optimizer, best, history = Adam([w], rate=1e-3, decay=0.03), w, []
    for _ in trange(epochs, desc="epochs", leave=False):
        for batch in np.array_split(rng.permutation(n), -(-n // 50)):
            x = views[rng.integers(len(views), size=len(batch)), batch]
            error = (softmax(scores(w, x)) - answers[batch]) / len(batch)
            optimizer.step([np.concatenate([error.sum(0, keepdims=True), x.T @ error])])
        history.append((accuracy(w, views[0], y), accuracy(w, *held_out)))
        if history[-1][1] >= max(reached for _, reached in history):
            best = w.copy()
    return best, np.array(history)


def sheet(names: list[str], confusion: Array, history: Array, reached: float) -> Figure:
    figure = Figure(figsize=(9, 4.2), dpi=80)
    figure.subplots_adjust(0.1, 0.2, 0.97, 0.92, 0.25)
    matrix, curves = figure.subplots(1, 2, width_ratios=[1, 1.1])
    matrix.imshow(confusion / confusion.sum(1, keepdims=True), "Oranges", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(confusion):
        if count:
            matrix.text(j, i, count, ha="center", va="center", fontsize=8)
    matrix.set_xticks(range(len(names)), names, rotation=45, ha="right")
    matrix.set_yticks(range(len(names)), names)
    matrix.set(title=f"test photographs: {reached:.1%} right", xlabel="taken for", ylabel="class")
    for line, name, colour in zip(history.T, ("training", "validation"), (GREY, ACCENT)):
        curves.plot(np.arange(1, len(line) + 1), line, color=colour, label=name)
    curves.set(title="accuracy", xlabel="epoch", ylim=(0, 1.02))
    curves.legend(frameon=False)
    return figure


def main() -> None:
    options = parser(__doc__, "transfer_learning.png", "models", "data")
    options.add_argument("--trunk", choices=TRUNKS, default="efficientnet_lite0", help="default: %(default)s")
    options.add_argument(
        "--per-class", type=positive, default=30, metavar="N", help="training photographs (default: 30)"
    )
    options.add_argument("--views", type=positive, default=4, metavar="N", help="random views of each (default: 4)")
    options.add_argument(
        "--judged", type=positive, metavar="N", help="validation and test photographs of each class (default: all)"
    )
    options.add_argument("--epochs", type=positive, default=60, metavar="N", help="default: 60")
    options.add_argument("--seed", type=int, default=0, help="of the views and of the training (default: 0)")
    chosen = options.parse_args()
    folder, rng = existing(chosen.data / "clothing10_299"), np.random.default_rng(chosen.seed)
    names = sorted(kind.name for kind in (folder / "train").iterdir())
    size, trunk = TRUNKS[chosen.trunk](chosen.models)

    start = time.perf_counter()
    x, y = {}, {}
    for split in ("train", "validation", "test"):
        images, y[split] = read(folder / split, chosen.per_class if split == "train" else chosen.judged)
        x[split] = features(trunk, (whole(image, size) for image in images), len(images), split)
        if split == "train":
            views = (random_view(image, size, rng) for _ in range(chosen.views) for image in images)
            varied = features(trunk, views, chosen.views * len(images), "random views")
            x[split] = np.concatenate([x[split], varied]).reshape(1 + chosen.views, len(images), -1)
    mean, spread = x["train"].mean((0, 1)), x["train"].std((0, 1)) + 1e-3
    x = {split: (each - mean) / spread for split, each in x.items()}
    seen = sum(array.size // array.shape[-1] for array in x.values())
    seconds = time.perf_counter() - start
    print(f"{chosen.trunk}: {x['test'].shape[1]} features of {seen} views in {seconds:.1f} s")

    start = time.perf_counter()
    w, history = train(x["train"], y["train"], (x["validation"], y["validation"]), chosen.epochs, rng)
    print(f"softmax on {len(y['train'])} photographs: {chosen.epochs} epochs in {time.perf_counter() - start:.1f} s")
    guessed = scores(w, x["test"]).argmax(1)
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (y["test"], guessed), 1)
    reached = float((guessed == y["test"]).mean())
    print(f"accuracy: validation {history[:, 1].max():.3f}, test {reached:.3f} ({len(guessed)} photographs)")
    for name, row, right in zip(names, confusion, confusion.diagonal()):
        print(f"{name:>12}: {right:3} of {row.sum():3} right")
    save(sheet(names, confusion, history, reached), chosen.output)


if __name__ == "__main__":
    main()
