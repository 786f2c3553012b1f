"""Depthwise and depthwise-separable convolutions."""

from __future__ import annotations

from typing import Any

from cyconv import _plan, _problem
from cyconv._op import Op
from cyconv._problem import DEPTHWISE, SEPARABLE, Array, StagedFilters

_DEPTHWISE = Op("depthwise_conv2d", DEPTHWISE, 2, ("input", "filter", "strides", "dilations"))
_SEPARABLE = Op("separable_conv2d", SEPARABLE, 2, ("input", "depthwise_filter", "strides", "dilations"))


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
    """2-D convolution of each channel with filters of its own.

    ``out[b, i, j, c*M + q] = sum_{k, l} input[b, i*sh + k*dh - top, j*sw + l*dw - left, c] * filter[k, l, c, q]``

    Parameters
    ----------
    input : array
        (N, H, W, Cin) channels-last; float32, float64, int32, float16 or bfloat16; any strides.
    filter : array
        (kh, kw, Cin, M), of the same dtype; never flipped (cross-correlation).
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
        (Cin*M,): added to every output.
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
        (N, H', W', Cin*M) channels-last; of the input's dtype.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together; a ValueError that names op, argument, rule and both numbers.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind; dtypes are never promoted.

    Notes
    -----
    Each output is one sum in float32 (float64, int32 modulo 2^32), in an order that depends on neither threads, batch
    nor memory layout, and rounded once to half precisions.

    References
    ----------
    tf.nn.depthwise_conv2d; unequal strides, and strides with dilations, are right here.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> x = np.array([[1.0, 10.0], [2.0, 20.0]]).reshape(1, 1, 2, 2)
    >>> nn.depthwise_conv2d(x, np.ones((1, 2, 2, 1)), 1, "VALID").ravel()
    array([ 3., 30.])
    """
    return _plan.execute(
        _DEPTHWISE, (strides, padding, data_format, dilations, padding_mode, groups),
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
    """Depthwise convolution, then a 1x1 convolution that mixes the channels.

    ``out[b, i, j, m] = sum_{c, q} (sum_{k, l} input[b, i*sh + k*dh - top, j*sw + l*dw - left, c] *
    depthwise_filter[k, l, c, q]) * pointwise_filter[0, 0, c*M + q, m]``

    Parameters
    ----------
    input : array
        (N, H, W, Cin) channels-last; float32, float64, int32, float16 or bfloat16; any strides.
    depthwise_filter : array
        (kh, kw, Cin, M), of the same dtype; strides, padding and dilations are of this stage.
    pointwise_filter : array
        (1, 1, Cin*M, Cout).
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
    depthwise_bias, depthwise_activation : optional
        Bias (Cin*M,) and activation between the two stages.
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
        (N, H', W', Cout) channels-last; of the input's dtype.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together; a ValueError that names op, argument, rule and both numbers.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind; dtypes are never promoted.

    Notes
    -----
    Each output is one sum in float32 (float64, int32 modulo 2^32), in an order that depends on neither threads, batch
    nor memory layout, and rounded once to half precisions.

    References
    ----------
    tf.nn.separable_conv2d; a pointwise filter of any other depth is refused here.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> x = np.array([[1.0, 10.0], [2.0, 20.0]]).reshape(1, 1, 2, 2)
    >>> nn.separable_conv2d(x, np.ones((1, 2, 2, 1)), np.ones((1, 1, 2, 1)), 1, "VALID").ravel()
    array([33.])
    """
    op = _plan.called(_SEPARABLE, input).name
    first = _problem.array(op, "depthwise_filter", depthwise_filter, getattr(input, "dtype", None))
    f, point, code = _problem.operands(op, "depthwise_filter", first, "pointwise_filter", pointwise_filter)
    if depthwise_bias is not None:
        _problem.filter_shape(op, "depthwise_filter", f.shape, 2)
        channels = f.shape[2] * f.shape[3]
        depthwise_bias = _problem.bias_argument(op, depthwise_bias, channels, f.dtype, code, "depthwise_bias")
    between = _problem.activation_argument(op, depthwise_activation, code, "depthwise_activation")
    return _plan.execute(
        _SEPARABLE, (strides, padding, data_format, dilations, padding_mode, groups),
        input, StagedFilters(f, point, depthwise_bias, between), bias, activation, residual, out, num_threads,
    )  # fmt: skip
