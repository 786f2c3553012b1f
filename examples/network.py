"""Pretrained networks as plain files, run by cyconv: a graph interpreter of one page.

A network is a folder with graph.json (the layers in order: name, op, inputs, parameters, weights) and weights.npz. Layers
are named after TensorFlow's ops and take channels-last arrays:

    network = Network("models/efficientnet_lite0")
    probabilities = network(image)["probs"]
    features = Network("models/efficientnet_lite0", outputs=["features"])   # the rest is not computed
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from memory import places
from operations import OPS
from tqdm import tqdm

import cyconv as nn

Array = np.ndarray[Any, Any]

CONVOLUTIONS: dict[str, Callable[..., Array]] = {
    op.__name__: op
    for op in (nn.conv1d, nn.conv2d, nn.conv3d, nn.conv2d_transpose, nn.conv3d_transpose)
    + (nn.atrous_conv2d, nn.depthwise_conv2d, nn.separable_conv2d)
}
ACTIVATIONS = ("relu", "relu6", "leaky_relu", "sigmoid")


@dataclass(frozen=True)
class Layer:
    """A layer; a convolution may have an activation, and a second input that is added before the activation."""

    name: str
    op: str
    inputs: tuple[str, ...]
    parameters: dict[str, Any]
    weights: dict[str, Array]
    activation: Any = None

    def compiled(self) -> Callable[..., Array]:
        """The function that computes the layer from its inputs."""
        if self.op == "matmul":  # rows @ matrix is a convolution of one tap along the rows
            plan = nn.plan(
                nn.conv1d, self.weights["matrix"][None], stride=1, padding="VALID", bias=self.weights.get("bias")
            )
            return lambda rows, out=None: plan(rows[None], None if out is None else out[None])[0]
        if self.op not in CONVOLUTIONS:
            return partial(OPS[self.op], **self.parameters, **self.weights)
        filters = [w for role, w in self.weights.items() if role != "bias"]
        bias = self.weights.get("bias")
        plan = nn.plan(CONVOLUTIONS[self.op], *filters, **self.parameters, bias=bias, activation=self.activation)
        return plan if len(self.inputs) == 1 else lambda x, residual, out=None: plan(x, out, residual=residual)


def absorb(conv: Layer, layer: Layer) -> Layer | None:
    """A convolution that also does the work of the layer after it, where that is possible."""
    if conv.op not in CONVOLUTIONS or conv.activation is not None:
        return None
    if layer.op in ACTIVATIONS:
        activation = ("leaky_relu", layer.parameters["alpha"]) if layer.op == "leaky_relu" else layer.op
        return replace(conv, name=layer.name, activation=activation)
    if len(conv.inputs) > 1:
        return None
    if layer.op == "add":
        (residual,) = set(layer.inputs) - {conv.name}
        return replace(conv, name=layer.name, inputs=(*conv.inputs, residual))
    if layer.op == "scale_shift":  # batch-norm: (x * w + b) * scale + shift = x * (w * scale) + (b * scale + shift)
        scale, weights = layer.weights["scale"], dict(conv.weights)
        bias = weights.pop("bias", np.float32(0)) * scale + layer.weights["shift"]
        role, filters = weights.popitem()
        channels = {"depthwise_conv2d": filters.shape[-2:], "conv2d_transpose": (-1, 1), "conv3d_transpose": (-1, 1)}
        filters = filters * scale.reshape(channels.get(conv.op, (-1,)))
        return replace(conv, name=layer.name, weights={**weights, role: filters, "bias": bias})
    return None


def prune(layers: Iterable[Layer], outputs: Iterable[str]) -> list[Layer]:
    """The layers that the outputs depend on."""
    wanted, kept = set(outputs), []
    for layer in reversed(list(layers)):
        if layer.name in wanted:
            wanted.update(layer.inputs)
            kept.append(layer)
    return kept[::-1]


def fuse(layers: list[Layer], outputs: Iterable[str]) -> list[Layer]:
    """Fold batch-norm, residuals and activations into the convolutions; outputs stay layers of their own."""
    uses = Counter(outputs)
    for layer in layers:
        uses.update(layer.inputs)
    program: dict[str, Layer] = {}
    for layer in layers:
        for name in reversed(layer.inputs):
            before = program.get(name)
            together = absorb(before, layer) if before and uses[name] == 1 else None
            if together:
                del program[name]
                program[layer.name] = together
                break
        else:
            program[layer.name] = layer
    return list(program.values())


def read_weights(file: Path) -> dict[str, Array]:
    """All weights as float32; uint8 arrays are codes: w = code * scale + min."""
    weights = {}
    with np.load(file, allow_pickle=False) as stored:
        for key in stored.files:
            w = stored[key]
            if w.dtype == np.uint8:
                w = w * stored[key + "@scale"] + stored[key + "@min"]
            weights[key] = w.astype(np.float32)
    return weights


class Network:
    """A network read from a folder; calling it gives the named outputs as a dict.

    Parameters
    ----------
    folder
        Holds graph.json and weights.npz.
    outputs
        Names of the layers wanted, by default the network's own outputs. What they do not need is left out.
    """

    def __init__(self, folder: Path | str, outputs: Iterable[str] | None = None) -> None:
        graph = json.loads((Path(folder) / "graph.json").read_text())
        weights = read_weights(Path(folder) / "weights.npz")
        (self.input,) = graph["inputs"]
        self.outputs = tuple(outputs or graph["outputs"])
        layers = []
        for node in graph["nodes"]:
            # conv1d has one dilation, and an output_hw of null is what its input decides
            parameters = {"dilations" if k == "dilation" else k: v for k, v in node["p"].items() if v is not None}
            used = {role: weights[key] for role, key in node["w"].items()}
            layers.append(Layer(node["name"], node["op"], tuple(node["in"]), parameters, used))
        known = {layer.name for layer in layers}
        if unknown := [name for name in self.outputs if name not in known]:
            raise ValueError(f"{graph['name']} has no layer {', '.join(unknown)}")
        self.layers = fuse(prune(layers[1:], self.outputs), self.outputs)
        # Each layer, what computes it, and the values that nobody needs afterwards.
        last = {name: layer for layer in self.layers for name in layer.inputs}
        self.steps = [
            (layer, layer.compiled(), [name for name in dict.fromkeys(layer.inputs) if last[name] is layer])
            for layer in self.layers
        ]
        self.shape: tuple[int, ...] = ()
        self.places: dict[str, Array] = {}

    def run(self, x: Array, places: Mapping[str, Array] = MappingProxyType({})) -> Iterator[tuple[Layer, Array]]:
        """Compute the layers in order, in the places given; each is given out at once and forgotten after its last use."""
        values = {self.input: x}
        for layer, function, forgotten in self.steps:
            y = function(*[values[name] for name in layer.inputs], out=places.get(layer.name))
            values[layer.name] = y
            for name in forgotten:
                del values[name]
            yield layer, y

    def __call__(self, x: Array, progress: bool = False) -> dict[str, Array]:
        """The outputs by name. Memory is kept for the next input of the same shape, so one call at a time."""
        known = x.shape == self.shape
        layers = self.run(x, self.places if known else {})
        if progress:
            layers = iter(tqdm(layers, "layers", len(self.layers), False))
        shapes, outputs = {self.input: x.shape}, {}
        for layer, y in layers:
            if not known:
                shapes[layer.name] = y.shape
            if layer.name in self.outputs:
                outputs[layer.name] = y
        if not known:
            self.shape, self.places = x.shape, places(self.layers, shapes, self.outputs)
        return outputs


def recorded(folder: Path | str) -> tuple[Array, dict[str, tuple[int, Array]]]:
    """The recorded input and, by layer, a step and every step-th position of what the layer must give."""
    x, layers = None, {}
    with np.load(Path(folder) / "ref.npz", allow_pickle=False) as stored:
        for key in stored.files:
            kind, name = key.split(":", 1)
            if kind == "in":
                x = stored[key]
            else:
                layers[name] = (int(kind.removeprefix("out").lstrip("/") or 1), stored[key])
    assert x is not None
    return x, layers


def errors(folder: Path | str) -> Mapping[str, float]:
    """For every recorded layer: the largest difference of what it gives here, over the largest value recorded."""
    x, layers = recorded(folder)
    found = {}
    for name, y in Network(folder, layers)(x).items():
        step, expected = layers[name]
        every = (slice(None), *[slice(None, None, step)] * (y.ndim - 2), slice(None))
        found[name] = float(np.abs(y[every] - expected).max() / np.abs(expected).max())
    return found


def verify(folder: Path | str, tolerance: float = 1e-4) -> None:
    """Print the error of every recorded layer; stop the program where one is above the tolerance."""
    found = errors(folder)
    print(f"{Path(folder).name}: largest error of each recorded layer, relative to its largest value")
    for name, error in found.items():
        print(f"    {name:<44}{error:9.1e}")
    if max(found.values()) > tolerance:
        raise SystemExit(f"{Path(folder).name}: {max(found.values()):.1e} is more than {tolerance:.0e}")
