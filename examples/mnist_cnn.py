"""Train a small CNN on MNIST's handwritten digits, with NumPy and cyconv alone.

    python examples/mnist_cnn.py --data DIR [--epochs 12] [--torch]

Convolution, pooling, convolution, pooling, two dense layers: about 400,000 weights. Every image is shifted by up to two
pixels each time it is seen, some units are dropped, Adam's rate falls to zero. DIR has the four idx files, gzipped or not,
or a folder mnist with them. With --torch the same network is trained in PyTorch, too, on the same batches, 50 in turn, and timed.
"""

import gzip
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from adam import Adam
from command_line import ACCENT, GREY, Array, existing, parser, positive, save
from matplotlib.figure import Figure
from tqdm import tqdm

import cyconv as nn

BATCH = 128
TURN = 50  # batches before it is PyTorch's turn


def read(folder: Path, part: str) -> tuple[Array, Array]:
    """Images (n, 28, 28, 1) in [0, 1] and labels of "train" or "t10k"."""

    def idx(name: str, header: int) -> Array:
        places = [folder / sub / f"{part}-{name}{end}" for sub in ("", "mnist") for end in (".gz", "")]
        path = next((place for place in places if place.exists()), places[0])
        data = existing(path).read_bytes()
        return np.frombuffer(gzip.decompress(data) if path.suffix == ".gz" else data, np.uint8)[header:]

    images = idx("images-idx3-ubyte", 16).reshape(-1, 28, 28, 1)
    return images.astype(np.float32) / 255, idx("labels-idx1-ubyte", 8)


# ---- layers: forward keeps what backward needs, backward leaves the gradients of the parameters ---------------------


class Kept(dict[tuple[int, ...], Array]):
    """Arrays by shape that every batch uses again: new memory takes time."""

    def __missing__(self, shape: tuple[int, ...]) -> Array:
        self[shape] = np.empty(shape, np.float32)
        return self[shape]


class Convolution:
    """y = activation(x * w + b)."""

    def __init__(self, shape: tuple[int, ...], padding: str, activation: str | None, rng: np.random.Generator) -> None:
        scale = np.sqrt(2 / np.prod(shape[:-1]))
        self.parameters = [rng.normal(0, scale, shape).astype(np.float32), np.zeros(shape[-1], np.float32)]
        self.gradients: list[Array] = []
        self.padding, self.activation, self.kept = padding, activation, Kept()

    def forward(self, x: Array, training: bool) -> Array:
        w, b = self.parameters
        out = self.kept[*x.shape[:-1], len(b)]
        self.x, self.y = x, nn.conv2d(x, w, 1, self.padding, bias=b, activation=self.activation, out=out)
        return self.y

    def backward(self, g: Array, wanted: bool) -> Array | None:
        w, b = self.parameters
        wrt = ("filters", "bias", "input") if wanted else ("filters", "bias")
        dw, db, *dx = nn.conv2d_vjp(
            self.x, w, g, 1, self.padding, bias=b, activation=self.activation, output=self.y, wrt=wrt
        )
        self.gradients = [dw, db]
        return dx[0] if wanted else None


class Pool:
    """The maximum of every 2 x 2 pixels."""

    parameters: tuple[Array, ...] = ()
    gradients: tuple[Array, ...] = ()

    def __init__(self) -> None:
        self.kept = Kept()

    def forward(self, x: Array, training: bool) -> Array:
        n, height, width, channels = x.shape
        self.x, out = x, self.kept[n, height // 2, width // 2, channels]
        self.y = nn.max_pool2d(x, 2, 2, "VALID", out=out)
        return self.y

    def backward(self, g: Array, wanted: bool) -> Array:
        return nn.max_pool2d_grad(self.x, self.y, g, 2, 2, "VALID", out=self.kept[self.x.shape])


class Rows:
    """Makes each image a pixel with its numbers as channels: a 1x1 convolution is a dense layer then."""

    parameters: tuple[Array, ...] = ()
    gradients: tuple[Array, ...] = ()

    def forward(self, x: Array, training: bool) -> Array:
        self.shape = x.shape
        return x.reshape(1, 1, len(x), -1)

    def backward(self, g: Array, wanted: bool) -> Array:
        return g.reshape(self.shape)


class Dropout:
    """Sets a share of the units to zero while training, and scales the others up."""

    parameters: tuple[Array, ...] = ()
    gradients: tuple[Array, ...] = ()

    def __init__(self, share: float, rng: np.random.Generator) -> None:
        self.share, self.rng = share, rng

    def forward(self, x: Array, training: bool) -> Array:
        if not training:
            return x
        noise = np.frombuffer(self.rng.bytes(x.size), np.uint8).reshape(x.shape)
        self.mask = (noise >= 256 * self.share) * np.float32(1 / (1 - self.share))
        return x * self.mask

    def backward(self, g: Array, wanted: bool) -> Array:
        return g * self.mask


class Network:
    """Layers one after the other, and the cross-entropy of their softmax."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.layers = [
            Convolution((3, 3, 1, 32), "SAME", "relu", rng),
            Pool(),
            Convolution((3, 3, 32, 64), "SAME", "relu", rng),
            Pool(),
            Dropout(0.25, rng),
            Rows(),
            Convolution((1, 1, 7 * 7 * 64, 128), "VALID", "relu", rng),
            Dropout(0.5, rng),
            Convolution((1, 1, 128, 10), "VALID", None, rng),
        ]
        self.parameters = [p for layer in self.layers for p in layer.parameters]

    def forward(self, x: Array, training: bool = False) -> Array:
        for layer in self.layers:
            x = layer.forward(x, training)
        return x[0, 0]

    def gradients(self, x: Array, labels: Array) -> tuple[float, list[Array]]:
        """The loss of a batch, and its gradients with respect to all parameters."""
        scores = self.forward(x, training=True)
        p = np.exp(scores - scores.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        truth = np.arange(len(x)), labels
        loss = -np.log(p[truth]).mean()
        p[truth] -= 1
        g: Array | None = p[None, None] / np.float32(len(x))
        for layer in reversed(self.layers):
            g = layer.backward(g, wanted=layer is not self.layers[0])
        return float(loss), [d for layer in self.layers for d in layer.gradients]

    def classify(self, images: Array) -> Array:
        return np.concatenate([self.forward(images[i : i + 500]).argmax(1) for i in range(0, len(images), 500)])


# ---- training --------------------------------------------------------------------------------------------------------


def shifted(images: Array, rng: np.random.Generator, most: int = 2) -> Array:
    """Each image moved by up to `most` pixels along both axes."""
    wide = np.pad(images, [(0, 0), (most, most), (most, most), (0, 0)])
    down, right = rng.integers(0, 2 * most + 1, (2, len(images), 1))
    rows, columns = down + np.arange(28), right + np.arange(28)
    return wide[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def batches(images: Array, labels: Array, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """One epoch, in random order."""
    order = rng.permutation(len(images))
    for i in range(0, len(order), BATCH):
        chosen = order[i : i + BATCH]
        yield shifted(images[chosen], rng), labels[chosen]


def torch_step(network: Network, rate: float) -> Callable[[Array, Array], float]:
    """A training step of the same network in PyTorch, from the same weights."""
    import torch

    torch.set_num_threads(nn.get_num_threads())
    one, two = torch.nn.Conv2d(1, 32, 3, padding=1), torch.nn.Conv2d(32, 64, 3, padding=1)
    three, four = torch.nn.Linear(7 * 7 * 64, 128), torch.nn.Linear(128, 10)
    weights = [layer.parameters[0] for layer in network.layers if layer.parameters]
    weights[2] = weights[2].reshape(7, 7, 64, 128)  # its rows are in another order there
    for module, w in zip((one, two, three, four), weights):
        w = np.moveaxis(w, (-1, -2), (0, 1)).reshape(module.weight.shape)
        module.weight.data = torch.from_numpy(np.array(w))
        torch.nn.init.zeros_(module.bias)
    relu, pool, dropout, flat = torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Dropout, torch.nn.Flatten()
    model = torch.nn.Sequential(
        one, relu, pool, two, relu, pool, dropout(0.25), flat, three, relu, dropout(0.5), four
    )  # fmt: skip
    model = model.to(memory_format=torch.channels_last)  # the faster of the two here
    optimiser = torch.optim.Adam(model.parameters(), rate, fused=True)

    def step(images: Array, labels: Array) -> float:
        optimiser.zero_grad()
        x = torch.from_numpy(images.transpose(0, 3, 1, 2))
        loss = torch.nn.functional.cross_entropy(model(x), torch.from_numpy(labels.astype(np.int64)))
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def draw(path: Path, network: Network, losses: list[float], accuracies: list[float], images: Array, wrong: Array, said: Array, labels: Array) -> None:  # fmt: skip
    """Loss and accuracy, the filters of the first layer, and digits that it takes for others."""
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1)
    left, right, filters = top.subplots(1, 3)
    left.plot(np.linspace(0, len(accuracies), len(losses)), losses, color=GREY, linewidth=0.5)
    left.set(xlabel="epoch", yscale="log", title="training loss")
    right.plot(range(1, len(accuracies) + 1), 100 * np.array(accuracies), "o-", color=ACCENT)
    right.set(xlabel="epoch", title=f"test accuracy: {accuracies[-1]:.2%}")
    grid = network.parameters[0][:, :, 0].transpose(2, 0, 1).reshape(4, 8, 3, 3)
    filters.imshow(np.pad(grid, [(0, 0), (0, 0), (0, 1), (0, 1)]).transpose(0, 2, 1, 3).reshape(16, 32), cmap="gray")
    filters.set(title="32 filters of the first layer")
    filters.axis("off")
    for axes, i in zip(bottom.subplots(2, 10).flat, [*wrong[:20], *[-1] * 20]):
        axes.axis("off")
        if i >= 0:
            axes.imshow(images[i, :, :, 0], cmap="gray_r")
            axes.set_title(f"{labels[i]}, not {said[i]}", fontsize=7)
    save(figure, path)


def main() -> None:
    arguments = parser(__doc__, "mnist_cnn.png", "data")
    arguments.add_argument(
        "--epochs", type=positive, default=12, metavar="N", help="how often each image is seen (default: %(default)s)"
    )
    arguments.add_argument(
        "--images", type=positive, default=60000, metavar="N", help="train on the first N images only (default: all)"
    )
    arguments.add_argument(
        "--rate", type=float, default=2e-3, metavar="R", help="Adam's learning rate at the start (default: %(default)s)"
    )
    arguments.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of weights, order, shifts, dropout (default: %(default)s)"
    )
    arguments.add_argument("--torch", action="store_true", help="time the same network in PyTorch, too")
    a = arguments.parse_args()
    (images, labels), (test_images, test_labels) = read(a.data, "train"), read(a.data, "t10k")
    images, labels = images[: a.images], labels[: a.images]
    rng = np.random.default_rng(a.seed)
    network = Network(rng)
    adam, theirs = Adam(network.parameters, a.rate), torch_step(network, a.rate) if a.torch else None
    each, losses, accuracies = -(-len(images) // BATCH), list[float](), list[float]()
    print(
        f"{sum(p.size for p in network.parameters):,} weights, {len(images):,} images, {nn.get_num_threads()} threads"
    )
    for epoch in range(1, a.epochs + 1):
        seconds = theirs_seconds = 0.0
        source, progress = batches(images, labels, rng), tqdm(None, f"epoch {epoch}", each, leave=False)
        while turn := list(islice(source, TURN)):
            start = time.perf_counter()
            for x, y in turn:
                adam.rate = a.rate * (1 - len(losses) / (a.epochs * each))
                loss, gradients = network.gradients(x, y)
                adam.step(gradients)
                losses.append(loss)
                progress.update()
            seconds += time.perf_counter() - start
            start = time.perf_counter()
            for x, y in turn if theirs else ():
                theirs(x, y)
            theirs_seconds += time.perf_counter() - start
            progress.set_postfix(loss=f"{np.mean(losses[-100:]):.3f}")
        progress.close()
        said = network.classify(test_images)
        accuracies.append(float((said == test_labels).mean()))
        beside = f"; PyTorch {theirs_seconds:.1f} s, {seconds / theirs_seconds:.2f} times as long" if theirs else ""
        print(f"epoch {epoch}: test accuracy {accuracies[-1]:.2%}, training {seconds:.1f} s{beside}")
    wrong = np.flatnonzero(said != test_labels)
    print(f"test accuracy: {accuracies[-1]:.2%}, {len(wrong)} of {len(said):,} wrong")
    draw(a.output, network, losses, accuracies, test_images, wrong, said, test_labels)


if __name__ == "__main__":
    main()
