"""Forward convolutions: convolution, conv1d, conv2d, conv3d, atrous_conv2d, and bias_add."""

from __future__ import annotations

from typing import Any

import numpy as np

from cyconv import _plan
from cyconv._problem import (
    Array,
    ShapeError,
    array,
    bias_argument,
    dtype_code,
    forward_problem,
    layout,
    operands,
    out_argument,
    padding_argument,
    padding_mode_argument,
    sequence,
)

_ZEROS = (0, 0.0)


def _forward(
    op: str,
    args: tuple[str, str, str],
    n: int,
    input: Any,
    filters: Any,
    strides: Any,
    padding: Any,
    data_format: Any,
    dilations: Any,
    bias: Any,
    activation: Any,
    residual: Any,
    out: Any,
    num_threads: Any,
    padding_mode: Any,
    groups: Any,
) -> Array:
    x, f, code = operands(op, args[0], input, args[1], filters)
    problem = forward_problem(
        op, args, n, x.shape, f.shape, code,
        strides if type(strides) is int else sequence(op, args[2], strides),
        padding_argument(op, padding),
        data_format,
        dilations if type(dilations) is int else sequence(op, "dilations", dilations),
        _ZEROS if padding_mode == "zeros" else padding_mode_argument(op, padding_mode),
        sequence(op, "groups", groups),
    )  # fmt: skip
    return _plan.run(problem, x, f, bias, activation, residual, out, num_threads)


def conv2d(
    input: Any,
    filters: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = "NHWC",
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
    """TBD"""
    return _forward(
        "conv2d", ("input", "filters", "strides"), 2, input, filters, strides, padding, data_format, dilations,
        bias, activation, residual, out, num_threads, padding_mode, groups,
    )  # fmt: skip
