"""The costs of a network before it is run: parameters, floating-point operations, memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from cyconv._problem import Array, Shape, ShapeError, few, integer, misfit, shape_argument, shown


class Row(NamedTuple):
    """One layer: FLOPs and bytes are those of the whole batch."""

    name: str
    output_shape: Shape
    parameters: int
    flops: int
    parameter_bytes: int
    output_bytes: int


class Summary(NamedTuple):
    """A network's layers and their totals; print it."""

    rows: tuple[Row, ...]
    input_shape: Shape
    dtype: np.dtype[Any]
    training: bool
    parameters: int
    flops: int
    parameter_bytes: int
    activation_bytes: int
    peak_bytes: int
    kept_bytes: int

    def __str__(self) -> str:
        total = ("total", "", self.parameters, self.flops, self.parameter_bytes, self.activation_bytes)
        table = [("layer", "output shape", "parameters", "MFLOP", "parameter bytes", "output bytes")]
        table += [
            (name, str(shape), f"{count:,}", f"{flops / 1e6:,.1f}", f"{of_parameters:,}", f"{of_output:,}")
            for name, shape, count, flops, of_parameters, of_output in (*self.rows, total)
        ]
        wide = [max(map(len, column)) for column in zip(*table)]
        rule = "-" * (sum(wide) + 2 * (len(wide) - 1))
        text = ["  ".join(f"{cell:{side}{w}}" for cell, side, w in zip(row, "<<>>>>", wide)).rstrip() for row in table]
        what = "training" if self.training else "all activations kept"
        return "\n".join([
            f"input {self.input_shape} {self.dtype}",
            text[0], rule, *text[1:-1], rule, text[-1],
            f"peak, activations freed as soon as they have been used: {self.peak_bytes:,} bytes",
            f"peak, {what}: {self.kept_bytes:,} bytes",
        ])  # fmt: skip


def _operands(op: str, layer: Sequence[Any]) -> tuple[list[Array], dict[str, Any]]:
    """A layer's parameters, those given by their shape as arrays without memory, and its options."""
    *filters, options = layer[1:] if len(layer) > 1 and isinstance(layer[-1], dict) else (*layer[1:], {})
    arrays = []
    for f in filters:
        if isinstance(f, (tuple, list)):
            f = np.broadcast_to(np.float32(0), tuple(integer("summary", f"a filter of {op}", n) for n in f))
        if not isinstance(f, np.ndarray):
            raise TypeError(f"summary: a parameter of {op} must be an array or a shape, not {shown(f)}")
        arrays.append(np.broadcast_to(np.float32(0), f.shape))
    return arrays, dict(options)


def _cost(layer: Any, shape: Shape) -> tuple[str, Shape, int, int]:
    """Name, output shape, parameters and FLOPs of a layer."""
    layer = layer if isinstance(layer, (tuple, list)) else (layer,)
    if not layer or not callable(layer[0]):
        raise TypeError(f"summary: a layer is (op, *filters, options) or a function of one array, not {shown(layer)}")
    op, options = layer[0], dict[str, Any]()
    if isinstance(op, partial) and not op.args:
        options, op = op.keywords, op.func
    name = getattr(op, "__name__", type(op).__name__)
    filters, more = _operands(name, layer)
    options = options | more
    each = options.pop("bias") if isinstance(options.get("bias"), (bool, np.bool_)) else False
    given = [n for n in ("bias", "depthwise_bias") if options.get(n) is not None]
    biases = {n: np.broadcast_to(np.float32(0), np.shape(options[n])) for n in given}
    images = 0 if any(f.ndim > 2 for f in filters) else 1  # of a convolution none: there is nothing to compute
    target: Any = options.get("output_shape")
    if np.shape(target) == (len(shape),):
        options["output_shape"] = (images, *target[1:])
    made = op(np.zeros((images, *shape[1:]), np.float32), *filters, **options | biases)
    if isinstance(made, tuple):
        raise TypeError(f"summary: {name} gives {len(made)} arrays, and the next layer takes one")
    out = np.shape(made)
    if len(out) < 2:
        raise misfit("summary", "layers", (out,), f"{name} gives an array of shape {out}, not a batch of anything")
    out = (shape[0] * (out[0] if images else 1), *out[1:])  # one image may have become several, or parts of one
    first = str(options.get("data_format", "")).startswith(("NC", "channels_first"))
    axis = 1 - max((f.ndim for f in filters), default=len(out)) if first else -1  # of the channels
    positions = shape if name.endswith("_transpose") else out
    flops = 2 * math.prod(positions) // (positions[axis] or 1) * sum(f.size for f in filters if f.ndim > 1)
    parameters = sum(a.size for a in (*filters, *biases.values())) + (out[axis] if each else 0)
    return name, out, parameters, flops


def summary(
    layers: Sequence[Any], input_shape: Any, dtype: Any = "float32", batch: int = 1, training: bool = False
) -> Summary:
    """What a stack of layers costs: parameters, floating-point operations and memory; prints a table and returns it.

    Parameters
    ----------
    layers : sequence
        In order, each ``(op, *filters, options)``: a function of the input and of filters, these as arrays or just their
        shapes, and a dict of its other arguments, ``bias=True`` among them for one bias a channel; or a function of one
        array alone.
    input_shape : sequence of int
        The shape of one image, without the batch: (H, W, C) for 2-D ops.
    dtype : dtype, default float32
        Of parameters and activations.
    batch : int, default 1
        How many images.
    training : bool, default False
        Count what a training step needs: three times the operations, a gradient for every parameter and, at the peak,
        gradients for the input and output of one layer.

    Returns
    -------
    Summary
        `rows` and totals: parameters, flops, parameter_bytes, activation_bytes (the input's included), peak_bytes (the
        parameters, and the input and output of the largest layer, the rest being freed) and kept_bytes (the parameters,
        the input and every output; and in training the gradients).

    Raises
    ------
    ShapeError, ValueError, TypeError
        Where a layer does not fit its input.

    Notes
    -----
    Operations are multiplications and additions of the filters; biases, activations and pools are not counted. A fused
    activation needs no memory of its own. An optimiser's state comes on top (Adam: twice the parameters).

    Examples
    --------
    >>> import cyconv as nn
    >>> table = nn.summary([(nn.conv2d, (3, 3, 3, 8), {"strides": 2, "padding": "SAME", "bias": True})], (32, 32, 3))
    input (1, 32, 32, 3) float32
    layer   output shape    parameters  MFLOP  parameter bytes  output bytes
    ------------------------------------------------------------------------
    conv2d  (1, 16, 16, 8)         224    0.1              896         8,192
    ------------------------------------------------------------------------
    total                          224    0.1              896        20,480
    peak, activations freed as soon as they have been used: 21,376 bytes
    peak, all activations kept: 21,376 bytes
    """
    sizes = shape_argument("summary", "input_shape", input_shape)
    shape = (integer("summary", "batch", batch), *(integer("summary", "input_shape", n) for n in sizes))
    if not isinstance(layers, Iterable):
        raise TypeError(f"summary: layers must be a sequence of layers, not {shown(layers)}")
    if not isinstance(training, (bool, np.bool_)):
        raise TypeError(f"summary: training must be True or False, not {shown(training)}")
    few("summary", "input_shape", shape)
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise TypeError(f"summary: dtype: {error}") from None
    if dtype is None or not kind.itemsize or kind.hasobject:
        raise TypeError(f"summary: dtype must be a type of numbers, not {shown(dtype)}")
    size, first, rows = kind.itemsize, shape, list[Row]()
    held = [math.prod(shape) * size]
    for layer in layers:
        name, shape, parameters, flops = _cost(layer, shape)
        held.append(math.prod(shape) * size)
        rows.append(Row(name, shape, parameters, flops * (3 if training else 1), parameters * size, held[-1]))
    if not rows:
        raise ShapeError("summary: layers is empty", "summary", "layers", ())
    of_parameters = sum(row.parameter_bytes for row in rows)
    widest = max(a + b for a, b in pairwise(held))
    kept = of_parameters + sum(held) + (of_parameters + widest if training else 0)
    result = Summary(
        tuple(rows), first, kind, training, sum(row.parameters for row in rows), sum(row.flops for row in rows),
        of_parameters, sum(held), of_parameters + widest, kept,
    )  # fmt: skip
    print(result)
    return result
