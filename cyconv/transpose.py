"""Transposed convolutions: the input gradients of the forward ops, as ops of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from cyconv import _plan
from cyconv._problem import (
    Array,
    ShapeError,
    array,
    data_format_argument,
    no_meaning,
    padding_argument,
    sequence,
    shape_argument,
    transposed_problem,
)

_NAMES = ("input", "filters", "output_shape", "dilations")


def _transposed(
    op: str,
    names: tuple[str, str, str, str],
    n: int,
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: Any,
    data_format: Any,
    dilations: Any,
    output_padding: Any,
    bias: Any,
    activation: Any,
    residual: Any,
    out: Any,
    num_threads: Any,
    padding_mode: Any,
    groups: Any,
) -> Array:
    """Every transposed convolution: its arguments in kind, then one problem and one run."""
    if not isinstance(padding_mode, str) or padding_mode != "zeros":
        no_meaning(op, f"padding_mode={padding_mode!r}", "a transposed convolution pads nothing, it crops its output")
    return _plan.execute(
        transposed_problem, op, names, n,
        (
            shape_argument(op, "output_shape", output_shape, optional=True), sequence(op, "strides", strides),
            padding_argument(op, padding), data_format_argument(op, data_format), sequence(op, names[3], dilations),
            sequence(op, "output_padding", output_padding), sequence(op, "groups", groups),
        ),
        input, filters, bias, activation, residual, out, num_threads,
    )  # fmt: skip


def conv1d_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: Any = "SAME",
    data_format: str | None = "NWC",
    dilations: Any = None,
    name: str | None = None,
    *,
    output_padding: Any = None,
    bias: Any = None,
    activation: Any = None,
    residual: Any = None,
    out: Any = None,
    num_threads: int | None = None,
    padding_mode: Any = "zeros",
    groups: int | None = None,
) -> Array:
    """1-D transposed convolution."""
    return _transposed(
        "conv1d_transpose", _NAMES, 1, input, filters, output_shape, strides, padding, data_format, dilations, output_padding,
        bias, activation, residual, out, num_threads, padding_mode, groups,
    )  # fmt: skip


def conv2d_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: Any = "SAME",
    data_format: str | None = "NHWC",
    dilations: Any = None,
    name: str | None = None,
    *,
    output_padding: Any = None,
    bias: Any = None,
    activation: Any = None,
    residual: Any = None,
    out: Any = None,
    num_threads: int | None = None,
    padding_mode: Any = "zeros",
    groups: int | None = None,
) -> Array:
    """2-D transposed convolution."""
    return _transposed(
        "conv2d_transpose", _NAMES, 2, input, filters, output_shape, strides, padding, data_format, dilations, output_padding,
        bias, activation, residual, out, num_threads, padding_mode, groups,
    )  # fmt: skip


def conv3d_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: Any = "SAME",
    data_format: str | None = "NDHWC",
    dilations: Any = None,
    name: str | None = None,
    *,
    output_padding: Any = None,
    bias: Any = None,
    activation: Any = None,
    residual: Any = None,
    out: Any = None,
    num_threads: int | None = None,
    padding_mode: Any = "zeros",
    groups: int | None = None,
) -> Array:
    """3-D transposed convolution."""
    return _transposed(
        "conv3d_transpose", _NAMES, 3, input, filters, output_shape, strides, padding, data_format, dilations, output_padding,
        bias, activation, residual, out, num_threads, padding_mode, groups,
    )  # fmt: skip


def conv_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: Any = "SAME",
    data_format: str | None = None,
    dilations: Any = None,
    name: str | None = None,
    *,
    output_padding: Any = None,
    bias: Any = None,
    activation: Any = None,
    residual: Any = None,
    out: Any = None,
    num_threads: int | None = None,
    padding_mode: Any = "zeros",
    groups: int | None = None,
) -> Array:
    """N-D transposed convolution."""
    filters = array("conv_transpose", "filters", filters)
    rank = filters.ndim - 2 if output_shape is None else np.size(output_shape) - 2
    if rank not in (1, 2, 3):
        raise ShapeError(
            f"conv_transpose: output_shape must have 3, 4 or 5 elements, not {output_shape!r} (filters.shape={filters.shape})",
            "conv_transpose", "output_shape", (filters.shape,),
        )  # fmt: skip
    return _transposed(
        "conv_transpose", _NAMES, rank, input, filters, output_shape, strides, padding, data_format, dilations, output_padding,
        bias, activation, residual, out, num_threads, padding_mode, groups,
    )  # fmt: skip


def atrous_conv2d_transpose(
    value: Any,
    filters: Any,
    output_shape: Any,
    rate: Any,
    padding: Any,
    name: str | None = None,
    *,
    strides: Any = 1,
    data_format: str | None = "NHWC",
    bias: Any = None,
    activation: Any = None,
    residual: Any = None,
    out: Any = None,
    num_threads: int | None = None,
    padding_mode: Any = "zeros",
    groups: int | None = None,
) -> Array:
    """Transpose of atrous_conv2d."""
    op = "atrous_conv2d_transpose"
    if rate is None:
        raise TypeError(f"{op}: rate is None; pass an integer or two, 1 for an ordinary transposed convolution")
    return _transposed(
        op, ("value", "filters", "output_shape", "rate"), 2, value, filters, output_shape, strides, padding, data_format, rate, None,
        bias, activation, residual, out, num_threads, padding_mode, groups,
    )  # fmt: skip
