"""Where the layers of a network put what they make, so that one piece of memory serves many layers."""

import math
from collections import defaultdict
from collections.abc import Collection
from itertools import accumulate
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Shapes = dict[str, tuple[int, ...]]


def parts(
    layers: list[Any], shapes: Shapes, outputs: Collection[str]
) -> tuple[dict[str, tuple[str, int]], dict[str, str]]:
    """The layers that may be made where they will be concatenated: in which layer, from which channel on.

    Also, for every name, the layer that it is a part of in the end: itself, or a concatenation (of concatenations).
    """
    made = {layer.name: layer for layer in layers}
    near: dict[str, set[str]] = defaultdict(set)  # what reads a layer, and what it reads
    for layer in layers:
        for name in layer.inputs:
            near[name].add(layer.name)
            near[layer.name].add(name)
    inside: dict[str, tuple[str, int]] = {}
    whole = {name: name for name in shapes}
    for layer in reversed(layers):
        if layer.op != "concat" or layer.name in outputs:
            continue
        assert layer.parameters["axis"] in (-1, len(shapes[layer.name]) - 1)
        start = 0
        for name in layer.inputs:
            # A layer that reads one part of an array and writes another would need a copy.
            apart = all(whole[other] != whole[layer.name] for other in near[name] - {layer.name})
            if apart and name in made and name not in outputs and name not in inside:
                inside[name], whole[name] = (layer.name, start), whole[layer.name]
            start += shapes[name][-1]
    return inside, whole


def aligned(sizes: list[int]) -> list[Array]:
    """Arrays of float32 that start cache lines, in one piece of memory: it has huge pages if it is large."""
    starts = [0, *accumulate(-(-size // 16) * 16 for size in sizes)]
    memory = np.empty(starts[-1] + 16, np.float32)
    memory = memory[-memory.ctypes.data % 64 // 4 :]
    return [memory[start : start + size] for start, size in zip(starts, sizes, strict=False)]


def places(layers: list[Any], shapes: Shapes, outputs: Collection[str]) -> dict[str, Array]:
    """An array for every layer but the outputs, in little memory: what is no longer needed makes room for the next."""
    inside, whole = parts(layers, shapes, outputs)
    last = {whole[name]: i for i, layer in enumerate(layers) for name in (*layer.inputs, layer.name)}
    sizes: list[int] = []  # of blocks
    block: dict[str, int] = {}  # each array's
    free: list[int] = []
    for i, layer in enumerate(layers):
        name = whole[layer.name]
        if name not in block and name not in outputs:
            size = math.prod(shapes[name])
            fitting = [j for j in free if sizes[j] >= size]
            if fitting:
                block[name] = min(fitting, key=lambda j: sizes[j])
                free.remove(block[name])
            else:
                block[name] = len(sizes)
                sizes.append(size)
        free += [j for name, j in block.items() if last[name] == i]
    memory = aligned(sizes)
    found = {name: memory[j][: math.prod(shapes[name])].reshape(shapes[name]) for name, j in block.items()}
    for layer in reversed(layers):
        if layer.name in inside:
            name, start = inside[layer.name]
            found[layer.name] = found[name][..., start : start + shapes[layer.name][-1]]
    return found
