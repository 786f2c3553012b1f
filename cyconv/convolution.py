"""Forward convolutions: convolution, conv1d, conv2d, conv3d, atrous_conv2d, and bias_add."""

from __future__ import annotations

from typing import Any

import numpy as np

from cyconv import _plan
from cyconv._problem import (
    Array,
    ShapeError,
    array,
    data_format_argument,
    forward_problem,
    out_argument,
    padding_argument,
    padding_mode_argument,
    sequence,
)

_NAMES = ("input", "filters", "strides", "dilations")


def _forward(
    op: str,
    names: tuple[str, str, str, str],
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
    """Every forward convolution: its arguments in kind, then one problem and one run."""
    return _plan.execute(
        forward_problem, op, names, n,
        (
            sequence(op, names[2], strides), padding_argument(op, padding), data_format_argument(op, data_format),
            sequence(op, names[3], dilations), padding_mode_argument(op, padding_mode), sequence(op, "groups", groups),
        ),
        input, filters, bias, activation, residual, out, num_threads,
    )  # fmt: skip


def convolution(
    input: Any,
    filters: Any,
    strides: Any = None,
    padding: Any = "VALID",
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
    """N-D convolution."""
    filters = array("convolution", "filters", filters)
    rank = filters.ndim - 2
    if rank not in (1, 2, 3):
        shape = filters.shape
        raise ShapeError(
            f"convolution: filters must have 3, 4 or 5 dimensions, not {len(shape)} (filters.shape={shape})", "convolution", "filters", (shape,)
        )
    return _forward(
        "convolution", _NAMES, rank, input, filters, strides, padding, data_format, dilations,
        bias, activation, residual, out, num_threads, padding_mode, groups,
    )  # fmt: skip


def conv1d(
    input: Any,
    filters: Any,
    stride: Any,
    padding: Any,
    data_format: str | None = "NWC",
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
    """1-D convolution."""
    return _forward(
        "conv1d", ("input", "filters", "stride", "dilations"), 1, input, filters, stride, padding, data_format, dilations,
        bias, activation, residual, out, num_threads, padding_mode, groups,
    )  # fmt: skip


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
    """2-D convolution."""
    return _forward(
        "conv2d", _NAMES, 2, input, filters, strides, padding, data_format, dilations,
        bias, activation, residual, out, num_threads, padding_mode, groups,
    )  # fmt: skip


def conv3d(
    input: Any,
    filters: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = "NDHWC",
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
    """3-D convolution."""
    return _forward(
        "conv3d", _NAMES, 3, input, filters, strides, padding, data_format, dilations,
        bias, activation, residual, out, num_threads, padding_mode, groups,
    )  # fmt: skip


def atrous_conv2d(
    value: Any,
    filters: Any,
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
    """2-D convolution with holes."""
    if rate is None:
        raise TypeError("atrous_conv2d: rate is None; pass an integer or two, 1 for an ordinary convolution")
    return _forward(
        "atrous_conv2d", ("value", "filters", "strides", "rate"), 2, value, filters, strides, padding, data_format, rate,
        bias, activation, residual, out, num_threads, padding_mode, groups,
    )  # fmt: skip


def bias_add(value: Any, bias: Any, data_format: str | None = None, name: str | None = None, *, out: Any = None) -> Array:
    """Add a bias."""
    x, b = array("bias_add", "value", value), array("bias_add", "bias", bias)
    if data_format is not None and not isinstance(data_format, str):
        raise TypeError(f"bias_add: data_format must be a string, not {data_format!r}")
    first = data_format is not None and (data_format == "channels_first" or data_format.startswith("NC"))
    if not first and data_format is not None and not (data_format == "channels_last" or data_format.startswith("N") and data_format.endswith("C")):
        raise ValueError(f"bias_add: data_format must be 'N..C', 'NC..', 'channels_last' or 'channels_first', not {data_format!r}")
    if x.dtype != b.dtype:
        raise TypeError(f"bias_add: value is {x.dtype} but bias is {b.dtype}; convert one, e.g. bias.astype(value.dtype)")
    if x.dtype.kind not in "iufcV" or (x.dtype.kind == "V" and x.dtype.name != "bfloat16"):
        raise TypeError(f"bias_add: value has dtype {x.dtype}; only numbers can be added")
    if x.ndim < 2 or b.ndim != 1 or b.shape[0] != x.shape[1 if first else -1]:
        raise ShapeError(
            f"bias_add: value.shape={x.shape}, bias.shape={b.shape}: value needs 2 dimensions or more, and bias one value for each "
            f"of its channels (dimension {1 if first else x.ndim - 1})",
            "bias_add", "bias", (x.shape, b.shape),
        )  # fmt: skip
    if first:
        b = b.reshape(-1, *(1,) * (x.ndim - 2))
    target = None if out is None else out_argument("bias_add", out, x.shape, x.dtype)
    result: Array = np.add(x, b, out=target)
    return result if out is None else out  # type: ignore[no-any-return]
