"""Depthwise and depthwise-separable convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np

from cyconv import _plan, _problem
from cyconv._problem import (
    Array,
    ShapeError,
    data_format_argument,
    forward_problem,
    operands,
    padding_argument,
    padding_mode_argument,
    sequence,
)


def depthwise_conv2d(
    input: Any,
    filter: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = None,
    dilations: Any = None,
    name: str | None = None,
    *,
    bias: Any = None,
    activation: Any = None,
    residual: Any = None,
    out: Any = None,
    num_threads: int | None = None,
    padding_mode: Any = "zeros",
    groups: int | None = None,
) -> Array:
    """Depthwise 2-D convolution."""
    op = "depthwise_conv2d"
    return _plan.execute(
        forward_problem, op, ("input", "filter", "strides", "dilations"), 2,
        (
            sequence(op, "strides", strides), padding_argument(op, padding), data_format_argument(op, data_format),
            sequence(op, "dilations", dilations), padding_mode_argument(op, padding_mode), sequence(op, "groups", groups),
        ),
        input, filter, bias, activation, residual, out, num_threads,
    )  # fmt: skip


def separable_conv2d(
    input: Any,
    depthwise_filter: Any,
    pointwise_filter: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = None,
    dilations: Any = None,
    name: str | None = None,
    *,
    depthwise_bias: Any = None,
    depthwise_activation: Any = None,
    bias: Any = None,
    activation: Any = None,
    residual: Any = None,
    out: Any = None,
    num_threads: int | None = None,
    padding_mode: Any = "zeros",
    groups: int | None = None,
) -> Array:
    """Separable 2-D convolution."""
    op, names = "separable_conv2d", ("input", "depthwise_filter", "strides", "dilations")
    x, f, code = operands(op, "input", input, "depthwise_filter", depthwise_filter)
    _, point, _ = operands(op, "input", x, "pointwise_filter", pointwise_filter)
    first = forward_problem(
        op, names, 2, x.shape, f.shape, code, sequence(op, "strides", strides), padding_argument(op, padding),
        data_format_argument(op, data_format), sequence(op, "dilations", dilations), padding_mode_argument(op, padding_mode), sequence(op, "groups", groups),
    )  # fmt: skip
    if point.ndim != 4 or point.shape[:3] != (1, 1, first.out_channels):
        raise ShapeError(
            f"{op}: pointwise_filter.shape={point.shape}, but the depthwise stage makes {first.out_channels} channels "
            f"(depthwise_filter.shape={f.shape}): it must be (1, 1, {first.out_channels}, output channels)",
            op, "pointwise_filter", (f.shape, point.shape),
        )  # fmt: skip
    second = forward_problem(
        op, ("input", "pointwise_filter", "strides", "dilations"), 2, first.out_shape, point.shape, code, 1, "VALID", data_format, 1, (0, 0.0), None
    )
    _plan.check(second, x.dtype, bias, activation, residual, out)
    if _problem.COMPUTE[code] != _problem.DTYPES[code]:  # halves are rounded once, at the end
        wide = [None if a is None else np.asarray(a).astype(np.float32) for a in (x, f, point, depthwise_bias, bias, residual)]
        made = separable_conv2d(
            *wide[:3], strides, padding, data_format, dilations, depthwise_bias=wide[3], depthwise_activation=depthwise_activation,
            bias=wide[4], activation=activation, residual=wide[5], num_threads=num_threads, padding_mode=padding_mode,
        ).astype(x.dtype)  # fmt: skip
        if out is None:
            return made
        out[...] = made
        return out
    middle = _plan.run(first, x, f, depthwise_bias, depthwise_activation, None, None, num_threads)
    return _plan.run(second, middle, point, bias, activation, residual, out, num_threads)
