"""Forward convolutions: convolution, conv1d, conv2d, conv3d, atrous_conv2d, and bias_add."""

from __future__ import annotations

from typing import Any

import numpy as np

from cyconv import _plan, _problem
from cyconv._op import Op, op_of
from cyconv._problem import FORWARD, PIECE_BYTES, Array
from cyconv._runtime import apart, empty

_CONVOLUTION = Op("convolution", FORWARD, 0)
_CONV1D = Op("conv1d", FORWARD, 1, ("input", "filters", "stride", "dilations"))
_ATROUS = Op("atrous_conv2d", FORWARD, 2, ("value", "filters", "strides", "rate"))


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
    """N-D convolution, N = 1, 2 or 3 by the rank of the filters.

    ``out[b, i, j, m] = sum_{k, l, c} input[b, i*s + k*d - pad, j*s + l*d - pad, c] * filters[k, l, c, m]`` for N = 2.

    Parameters
    ----------
    input : array
        (..., H, W, Cin) channels-last; float32, float64, int32, float16 or bfloat16; any strides.
    filters : array
        (kh, kw, Cin/groups, Cout), of the same dtype; never flipped (cross-correlation).
    strides : int or sequence
        One number, or one for each spatial axis, or for all axes in data_format order.
    padding : str, int or pairs
        "SAME", "VALID", "SAME_LOWER", "CAUSAL" (all of it before the first spatial axis), "FULL", one number for every
        side, or (before, after) pairs, for the spatial axes or for all in data_format order.
    data_format : str
        "NHWC" or "NCHW", or "channels_last", "channels_first"; of input and output.
    dilations : int or sequence, optional
        The distance between taps; as strides.
    name : str, optional
        Ignored; TensorFlow's.
    bias : array, optional
        (Cout,): added to every output.
    activation : str or tuple, optional
        "relu", "relu6", "leaky_relu" (slope 0.2), ("leaky_relu", slope), "elu", "sigmoid", "tanh", "silu", "gelu", or
        ("clip", low, high); after bias and residual.
    residual : array, optional
        Of the output's shape and dtype, added before the activation.
    out : ndarray, optional
        Where to put the result: the output's shape and dtype, any strides.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.
    padding_mode : str or tuple, default "zeros"
        What lies outside: "zeros", ("constant", value), "reflect", "symmetric", "replicate" or "circular"; read by index,
        never by a padded copy.
    groups : int, optional
        Only a check: the shapes imply it.

    Returns
    -------
    ndarray
        (..., H', W', Cout) channels-last; of the input's dtype.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together; a ValueError that names op, argument, rule and both numbers.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind; dtypes are never promoted.

    Notes
    -----
    Each output is one sum in float32 (float64, int32 modulo 2^32), in an order that depends on neither threads, batch
    nor memory layout, and rounded once to half precisions. float32 may go through Winograd's
    transforms, within 2e-5 of the sum of the terms' magnitudes, the largest of a tile's (of at most 5 x 5 outputs): what is
    far larger than its neighbours costs these their last digits. ``cyconv.algorithm("direct")`` avoids them.

    References
    ----------
    tf.nn.convolution; strides and dilations together are allowed here.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> x, w = np.ones((1, 4, 5, 6, 2)), np.ones((2, 2, 2, 2, 3))
    >>> nn.convolution(x, w).shape
    (1, 3, 4, 5, 3)
    """
    return _plan.execute(
        _CONVOLUTION, (strides, padding, data_format, dilations, padding_mode, groups),
        input, filters, bias, activation, residual, out, num_threads,
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
    """1-D convolution of signals.

    ``out[b, i, m] = sum_{k, c} input[b, i*stride + k*d - pad, c] * filters[k, c, m]``

    Parameters
    ----------
    input : array
        (..., W, Cin) channels-last; float32, float64, int32, float16 or bfloat16; any strides.
    filters : array
        (kw, Cin/groups, Cout), of the same dtype; never flipped (cross-correlation).
    stride : int or sequence
        One number, or one for each spatial axis, or for all axes in data_format order.
    padding : str, int or pairs
        "SAME", "VALID", "SAME_LOWER", "CAUSAL" (all of it before the first spatial axis), "FULL", one number for every
        side, or (before, after) pairs, for the spatial axes or for all in data_format order.
    data_format : str
        "NWC" or "NCW", or "channels_last", "channels_first"; of input and output.
    dilations : int or sequence, optional
        The distance between taps; as stride.
    name : str, optional
        Ignored; TensorFlow's.
    bias : array, optional
        (Cout,): added to every output.
    activation : str or tuple, optional
        "relu", "relu6", "leaky_relu" (slope 0.2), ("leaky_relu", slope), "elu", "sigmoid", "tanh", "silu", "gelu", or
        ("clip", low, high); after bias and residual.
    residual : array, optional
        Of the output's shape and dtype, added before the activation.
    out : ndarray, optional
        Where to put the result: the output's shape and dtype, any strides.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.
    padding_mode : str or tuple, default "zeros"
        What lies outside: "zeros", ("constant", value), "reflect", "symmetric", "replicate" or "circular"; read by index,
        never by a padded copy.
    groups : int, optional
        Only a check: the shapes imply it.

    Returns
    -------
    ndarray
        (..., W', Cout) channels-last; of the input's dtype.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together; a ValueError that names op, argument, rule and both numbers.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind; dtypes are never promoted.

    Notes
    -----
    Each output is one sum in float32 (float64, int32 modulo 2^32), in an order that depends on neither threads, batch
    nor memory layout, and rounded once to half precisions. float32 may go through Winograd's
    transforms, within 2e-5 of the sum of the terms' magnitudes, the largest of a tile's (of at most 5 x 5 outputs): what is
    far larger than its neighbours costs these their last digits. ``cyconv.algorithm("direct")`` avoids them.

    References
    ----------
    tf.nn.conv1d

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> x = np.arange(5.0).reshape(1, 5, 1)
    >>> nn.conv1d(x, np.array([1.0, 1.0]).reshape(2, 1, 1), 1, "CAUSAL").ravel()
    array([0., 1., 3., 5., 7.])
    """
    return _plan.execute(
        _CONV1D, (stride, padding, data_format, dilations, padding_mode, groups),
        input, filters, bias, activation, residual, out, num_threads,
    )  # fmt: skip


def _conv(
    op: Op,
    input: Any,
    filters: Any,
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
    """A convolution of images of a rank."""
    return _plan.execute(
        op, (strides, padding, data_format, dilations, padding_mode, groups),
        input, filters, bias, activation, residual, out, num_threads,
    )  # fmt: skip


@op_of(_conv, FORWARD, 2, "NHWC")
def conv2d() -> None:
    """2-D convolution of images.

    ``out[b, i, j, m] = sum_{k, l, c} input[b, i*sh + k*dh - top, j*sw + l*dw - left, c] * filters[k, l, c, m]``

    Parameters
    ----------
    input : array
        (..., H, W, Cin) channels-last; float32, float64, int32, float16 or bfloat16; any strides.
    filters : array
        (kh, kw, Cin/groups, Cout), of the same dtype; never flipped (cross-correlation).
    strides : int or sequence
        One number, or one for each spatial axis, or for all axes in data_format order.
    padding : str, int or pairs
        "SAME", "VALID", "SAME_LOWER", "CAUSAL" (all of it before the first spatial axis), "FULL", one number for every
        side, or (before, after) pairs, for the spatial axes or for all in data_format order.
    data_format : str
        "NHWC" or "NCHW", or "channels_last", "channels_first"; of input and output.
    dilations : int or sequence, optional
        The distance between taps; as strides.
    name : str, optional
        Ignored; TensorFlow's.
    bias : array, optional
        (Cout,): added to every output.
    activation : str or tuple, optional
        "relu", "relu6", "leaky_relu" (slope 0.2), ("leaky_relu", slope), "elu", "sigmoid", "tanh", "silu", "gelu", or
        ("clip", low, high); after bias and residual.
    residual : array, optional
        Of the output's shape and dtype, added before the activation.
    out : ndarray, optional
        Where to put the result: the output's shape and dtype, any strides.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.
    padding_mode : str or tuple, default "zeros"
        What lies outside: "zeros", ("constant", value), "reflect", "symmetric", "replicate" or "circular"; read by index,
        never by a padded copy.
    groups : int, optional
        Only a check: the shapes imply it.

    Returns
    -------
    ndarray
        (..., H', W', Cout) channels-last; of the input's dtype.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together; a ValueError that names op, argument, rule and both numbers.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind; dtypes are never promoted.

    Notes
    -----
    Each output is one sum in float32 (float64, int32 modulo 2^32), in an order that depends on neither threads, batch
    nor memory layout, and rounded once to half precisions. float32 may go through Winograd's
    transforms, within 2e-5 of the sum of the terms' magnitudes, the largest of a tile's (of at most 5 x 5 outputs): what is
    far larger than its neighbours costs these their last digits. ``cyconv.algorithm("direct")`` avoids them.

    References
    ----------
    tf.nn.conv2d

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> nn.conv2d(x, np.ones((2, 2, 1, 1)), 1, "VALID")[0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """


@op_of(_conv, FORWARD, 3, "NDHWC")
def conv3d() -> None:
    """3-D convolution of volumes.

    ``out[b, h, i, j, m] = sum_{q, k, l, c} input[b, h*sd + q*dd - front, i*sh + k*dh - top, j*sw + l*dw - left, c] *
    filters[q, k, l, c, m]``

    Parameters
    ----------
    input : array
        (..., D, H, W, Cin) channels-last; float32, float64, int32, float16 or bfloat16; any strides.
    filters : array
        (kd, kh, kw, Cin/groups, Cout), of the same dtype; never flipped (cross-correlation).
    strides : int or sequence
        One number, or one for each spatial axis, or for all axes in data_format order.
    padding : str, int or pairs
        "SAME", "VALID", "SAME_LOWER", "CAUSAL" (all of it before the first spatial axis), "FULL", one number for every
        side, or (before, after) pairs, for the spatial axes or for all in data_format order.
    data_format : str
        "NDHWC" or "NCDHW", or "channels_last", "channels_first"; of input and output.
    dilations : int or sequence, optional
        The distance between taps; as strides.
    name : str, optional
        Ignored; TensorFlow's.
    bias : array, optional
        (Cout,): added to every output.
    activation : str or tuple, optional
        "relu", "relu6", "leaky_relu" (slope 0.2), ("leaky_relu", slope), "elu", "sigmoid", "tanh", "silu", "gelu", or
        ("clip", low, high); after bias and residual.
    residual : array, optional
        Of the output's shape and dtype, added before the activation.
    out : ndarray, optional
        Where to put the result: the output's shape and dtype, any strides.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.
    padding_mode : str or tuple, default "zeros"
        What lies outside: "zeros", ("constant", value), "reflect", "symmetric", "replicate" or "circular"; read by index,
        never by a padded copy.
    groups : int, optional
        Only a check: the shapes imply it.

    Returns
    -------
    ndarray
        (..., D', H', W', Cout) channels-last; of the input's dtype.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together; a ValueError that names op, argument, rule and both numbers.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind; dtypes are never promoted.

    Notes
    -----
    Each output is one sum in float32 (float64, int32 modulo 2^32), in an order that depends on neither threads, batch
    nor memory layout, and rounded once to half precisions. float32 may go through Winograd's
    transforms, within 2e-5 of the sum of the terms' magnitudes, the largest of a tile's (of at most 5 x 5 outputs): what is
    far larger than its neighbours costs these their last digits. ``cyconv.algorithm("direct")`` avoids them.

    References
    ----------
    tf.nn.conv3d; groups, dilations, NCDHW and explicit padding work here.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> nn.conv3d(np.ones((1, 3, 3, 3, 1)), np.ones((3, 3, 3, 1, 1)), 1, "VALID").item()
    27.0
    """


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
    """2-D convolution with holes: `rate` pixels from tap to tap.

    ``out[b, i, j, m] = sum_{k, l, c} value[b, i*s + k*rate - top, j*s + l*rate - left, c] * filters[k, l, c, m]``

    Parameters
    ----------
    value : array
        (..., H, W, Cin) channels-last; float32, float64, int32, float16 or bfloat16; any strides.
    filters : array
        (kh, kw, Cin/groups, Cout), of the same dtype; never flipped (cross-correlation).
    rate : int or sequence
        The distance between taps: one number, or one for each spatial axis.
    padding : str, int or pairs
        "SAME", "VALID", "SAME_LOWER", "CAUSAL" (all of it before the first spatial axis), "FULL", one number for every
        side, or (before, after) pairs, for the spatial axes or for all in data_format order.
    name : str, optional
        Ignored; TensorFlow's.
    strides : int or sequence, default 1
        The distance between outputs.
    data_format : str
        "NHWC" or "NCHW", or "channels_last", "channels_first"; of input and output.
    bias : array, optional
        (Cout,): added to every output.
    activation : str or tuple, optional
        "relu", "relu6", "leaky_relu" (slope 0.2), ("leaky_relu", slope), "elu", "sigmoid", "tanh", "silu", "gelu", or
        ("clip", low, high); after bias and residual.
    residual : array, optional
        Of the output's shape and dtype, added before the activation.
    out : ndarray, optional
        Where to put the result: the output's shape and dtype, any strides.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.
    padding_mode : str or tuple, default "zeros"
        What lies outside: "zeros", ("constant", value), "reflect", "symmetric", "replicate" or "circular"; read by index,
        never by a padded copy.
    groups : int, optional
        Only a check: the shapes imply it.

    Returns
    -------
    ndarray
        (..., H', W', Cout) channels-last; of the input's dtype.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together; a ValueError that names op, argument, rule and both numbers.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind; dtypes are never promoted.

    Notes
    -----
    Each output is one sum in float32 (float64, int32 modulo 2^32), in an order that depends on neither threads, batch
    nor memory layout, and rounded once to half precisions. float32 may go through Winograd's
    transforms, within 2e-5 of the sum of the terms' magnitudes, the largest of a tile's (of at most 5 x 5 outputs): what is
    far larger than its neighbours costs these their last digits. ``cyconv.algorithm("direct")`` avoids them.

    References
    ----------
    tf.nn.atrous_conv2d

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> x = np.arange(5.0).reshape(1, 1, 5, 1)
    >>> nn.atrous_conv2d(x, np.ones((1, 2, 1, 1)), 2, "VALID").ravel()
    array([2., 4., 6.])
    """
    if rate is None:
        op = _plan.called(_ATROUS, value).name
        raise TypeError(f"{op}: rate is None; pass an integer or two, 1 for an ordinary convolution")
    return _plan.execute(
        _ATROUS, (strides, padding, data_format, rate, padding_mode, groups),
        value, filters, bias, activation, residual, out, num_threads,
    )  # fmt: skip


def bias_add(
    value: Any, bias: Any, data_format: str | None = None, name: str | None = None, *, out: Any = None
) -> Array:
    """Add a vector to the channels.

    ``out[..., c] = value[..., c] + bias[c]``

    Parameters
    ----------
    value : array
        Two dimensions or more, of numbers of any kind; integers wrap.
    bias : array
        (C,), of the same dtype.
    data_format : str, optional
        Starting with "NC": channels are dimension 1; else, and by default, the last.
    name : str, optional
        Ignored; TensorFlow's.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray
        Of value's shape and dtype.

    Raises
    ------
    ShapeError, TypeError, ValueError
        Where shapes, dtypes or the data_format do not fit.

    References
    ----------
    tf.nn.bias_add

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> nn.bias_add(np.zeros((2, 2)), np.array([1.0, 2.0]))
    array([[1., 2.],
           [1., 2.]])
    """
    x, b, axis = bias_operands("bias_add", value, bias, data_format)
    target = None if out is None else _problem.out_argument("bias_add", out, x.shape, x.dtype)
    b = b.reshape(-1, *(1,) * (x.ndim - 1 - axis))
    try:
        if x.nbytes <= PIECE_BYTES or (target is not None and not apart(target, x, b)):
            target = np.add(x, b, out=target)
        else:
            target = empty(x.shape, x.dtype) if target is None else target
            _problem.in_pieces(lambda y, x, b: np.add(x, b, out=y), target, x, np.broadcast_to(b, x.shape))
    except MemoryError as error:
        raise MemoryError(f"bias_add: {error}") from None
    return target if out is None else out


def channel_axis(op: str, arg: str, x: Array, data_format: Any) -> int:
    """The axis of the channels of an array of any rank from two."""
    name = _problem.data_format_argument(op, data_format)
    name = "channels_last" if name is None else name
    first = name == "channels_first" or name.startswith("NC")
    if not first and name != "channels_last" and not (name.startswith("N") and name.endswith("C")):
        raise ValueError(
            f"{op}: data_format must be 'N..C', 'NC..', 'channels_last' or 'channels_first', not {_problem.shown(name)}"
        )
    if x.ndim < 2:
        raise _problem.misfit(op, arg, (x.shape,), f"{arg} must have at least 2 dimensions ({arg}.shape={x.shape})")
    return 1 if first else x.ndim - 1


def bias_operands(op: str, value: Any, bias: Any, data_format: Any) -> tuple[Array, Array, int]:
    """The checked arguments of bias_add, and the axis of the channels."""
    x, b = _problem.pair(op, "value", value, "bias", bias)
    axis = channel_axis(op, "value", x, data_format)
    if x.dtype != b.dtype:
        raise TypeError(f"{op}: value is {x.dtype} but bias is {b.dtype}; convert one, e.g. bias.astype(value.dtype)")
    if x.dtype.kind not in "iufcV" or (x.dtype.kind == "V" and x.dtype.name != "bfloat16"):
        raise TypeError(f"{op}: value has dtype {x.dtype}; only numbers can be added")
    if b.shape != x.shape[axis : axis + 1]:
        raise _problem.misfit(
            op, "bias", (x.shape, b.shape),
            f"bias.shape={b.shape}, but it needs one value for each of value's channels, dimension {axis} "
            f"(value.shape={x.shape})",
        )  # fmt: skip
    return x, b, axis
