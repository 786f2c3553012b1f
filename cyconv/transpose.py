"""Transposed convolutions: the input gradients of the forward ops, as ops of their own."""

from __future__ import annotations

from typing import Any

from cyconv import _plan
from cyconv._op import Op, op_of
from cyconv._problem import TRANSPOSED, Array

_ATROUS = Op("atrous_conv2d_transpose", TRANSPOSED, 2, ("value", "filters", "strides", "rate"))


def _conv_transpose(
    op: Op,
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
    """The adjoint of a convolution."""
    return _plan.execute(
        op, (strides, padding, data_format, dilations, padding_mode, groups, output_shape, output_padding),
        input, filters, bias, activation, residual, out, num_threads,
    )  # fmt: skip


@op_of(_conv_transpose, TRANSPOSED, 1, "NWC")
def conv1d_transpose() -> None:
    """1-D transposed convolution: the adjoint of `conv1d`.

    ``out[b, i*s + k*d - pad, m] += input[b, i, c] * filters[k, m, c]``

    Parameters
    ----------
    input : array
        (N, W, Cin) channels-last; float32, float64, int32, float16 or bfloat16; any strides.
    filters : array
        (kw, Cout/groups, Cin), of the same dtype: output channels before input channels.
    output_shape : sequence of int, or None
        The whole shape in data_format order (in 2-D and 3-D also the sizes alone); its forward convolution must have input's size.
        None for the size input implies: SAME, CAUSAL size*stride, else the smallest.
    strides : int or sequence
        Outputs from one input to the next; one number, or one for each spatial axis, or for all axes.
    padding : str, int or pairs
        "SAME", "VALID", "SAME_LOWER", "CAUSAL" (all of it before the first spatial axis), "FULL", one number for every
        side, or (before, after) pairs, for the spatial axes or for all in data_format order.
    data_format : str
        "NWC" or "NCW", or "channels_last", "channels_first"; of input and output.
    dilations : int or sequence, optional
        The distance between taps; as strides.
    name : str, optional
        Ignored; TensorFlow's.
    output_padding : int or sequence, optional
        Added to the size where output_shape is None; its forward convolution must still have input's size.
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
    padding_mode : "zeros"
        Any other is refused: a transposed convolution crops its output, it pads nothing.
    groups : int, optional
        A check, or, where output_shape is None or the sizes alone, how many times filters' output channels Cout is.

    Returns
    -------
    ndarray
        (N, W', Cout) channels-last; of the input's dtype. Outputs that no tap reaches are 0 (+ bias).

    Raises
    ------
    ShapeError
        Where the shapes do not fit together; a ValueError that names op, argument, rule and both numbers.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind; dtypes are never promoted.

    Notes
    -----
    The adjoint of the forward convolution with the same filters: padding is that one's. It is computed as `stride`
    stride-1 convolutions an axis, each writing every stride-th output once; no zeros are inserted. float32 of twelve
    channels or more may go through Winograd's transforms, as in `conv2d`.

    References
    ----------
    tf.nn.conv1d_transpose; dilations and groups work here.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> x = np.array([1.0, 2.0]).reshape(1, 2, 1)
    >>> nn.conv1d_transpose(x, np.ones((2, 1, 1)), (1, 4, 1), 2).ravel()
    array([1., 1., 2., 2.])
    """


@op_of(_conv_transpose, TRANSPOSED, 2, "NHWC")
def conv2d_transpose() -> None:
    """2-D transposed convolution: the adjoint of `conv2d`.

    ``out[b, i*sh + k*dh - top, j*sw + l*dw - left, m] += input[b, i, j, c] * filters[k, l, m, c]``

    Parameters
    ----------
    input : array
        (N, H, W, Cin) channels-last; float32, float64, int32, float16 or bfloat16; any strides.
    filters : array
        (kh, kw, Cout/groups, Cin), of the same dtype: output channels before input channels.
    output_shape : sequence of int, or None
        The whole shape in data_format order (in 2-D and 3-D also the sizes alone); its forward convolution must have input's size.
        None for the size input implies: SAME, CAUSAL size*stride, else the smallest.
    strides : int or sequence
        Outputs from one input to the next; one number, or one for each spatial axis, or for all axes.
    padding : str, int or pairs
        "SAME", "VALID", "SAME_LOWER", "CAUSAL" (all of it before the first spatial axis), "FULL", one number for every
        side, or (before, after) pairs, for the spatial axes or for all in data_format order.
    data_format : str
        "NHWC" or "NCHW", or "channels_last", "channels_first"; of input and output.
    dilations : int or sequence, optional
        The distance between taps; as strides.
    name : str, optional
        Ignored; TensorFlow's.
    output_padding : int or sequence, optional
        Added to the size where output_shape is None; its forward convolution must still have input's size.
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
    padding_mode : "zeros"
        Any other is refused: a transposed convolution crops its output, it pads nothing.
    groups : int, optional
        A check, or, where output_shape is None or the sizes alone, how many times filters' output channels Cout is.

    Returns
    -------
    ndarray
        (N, H', W', Cout) channels-last; of the input's dtype. Outputs that no tap reaches are 0 (+ bias).

    Raises
    ------
    ShapeError
        Where the shapes do not fit together; a ValueError that names op, argument, rule and both numbers.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind; dtypes are never promoted.

    Notes
    -----
    The adjoint of the forward convolution with the same filters: padding is that one's. It is computed as `stride`
    stride-1 convolutions an axis, each writing every stride-th output once; no zeros are inserted. float32 of twelve
    channels or more may go through Winograd's transforms, as in `conv2d`.

    References
    ----------
    tf.nn.conv2d_transpose; dilations, groups and NCHW work here.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> x = np.array([1.0, 2.0]).reshape(1, 1, 2, 1)
    >>> nn.conv2d_transpose(x, np.ones((1, 2, 1, 1)), (1, 1, 4, 1), (1, 2)).ravel()
    array([1., 1., 2., 2.])
    """


@op_of(_conv_transpose, TRANSPOSED, 3, "NDHWC")
def conv3d_transpose() -> None:
    """3-D transposed convolution: the adjoint of `conv3d`.

    ``out[b, h*sd + q*dd - front, i*sh + k*dh - top, j*sw + l*dw - left, m] += input[b, h, i, j, c] *
    filters[q, k, l, m, c]``

    Parameters
    ----------
    input : array
        (N, D, H, W, Cin) channels-last; float32, float64, int32, float16 or bfloat16; any strides.
    filters : array
        (kd, kh, kw, Cout/groups, Cin), of the same dtype: output channels before input channels.
    output_shape : sequence of int, or None
        The whole shape in data_format order (in 2-D and 3-D also the sizes alone); its forward convolution must have input's size.
        None for the size input implies: SAME, CAUSAL size*stride, else the smallest.
    strides : int or sequence
        Outputs from one input to the next; one number, or one for each spatial axis, or for all axes.
    padding : str, int or pairs
        "SAME", "VALID", "SAME_LOWER", "CAUSAL" (all of it before the first spatial axis), "FULL", one number for every
        side, or (before, after) pairs, for the spatial axes or for all in data_format order.
    data_format : str
        "NDHWC" or "NCDHW", or "channels_last", "channels_first"; of input and output.
    dilations : int or sequence, optional
        The distance between taps; as strides.
    name : str, optional
        Ignored; TensorFlow's.
    output_padding : int or sequence, optional
        Added to the size where output_shape is None; its forward convolution must still have input's size.
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
    padding_mode : "zeros"
        Any other is refused: a transposed convolution crops its output, it pads nothing.
    groups : int, optional
        A check, or, where output_shape is None or the sizes alone, how many times filters' output channels Cout is.

    Returns
    -------
    ndarray
        (N, D', H', W', Cout) channels-last; of the input's dtype. Outputs that no tap reaches are 0 (+ bias).

    Raises
    ------
    ShapeError
        Where the shapes do not fit together; a ValueError that names op, argument, rule and both numbers.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind; dtypes are never promoted.

    Notes
    -----
    The adjoint of the forward convolution with the same filters: padding is that one's. It is computed as `stride`
    stride-1 convolutions an axis, each writing every stride-th output once; no zeros are inserted. float32 of twelve
    channels or more may go through Winograd's transforms, as in `conv2d`.

    References
    ----------
    tf.nn.conv3d_transpose; dilations, groups and NCDHW work here.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> nn.conv3d_transpose(np.ones((1, 2, 2, 2, 1)), np.ones((2, 2, 2, 3, 1)), None, 2).shape
    (1, 4, 4, 4, 3)
    """


@op_of(_conv_transpose, TRANSPOSED, 0)
def conv_transpose() -> None:
    """N-D transposed convolution, N = 1, 2 or 3 by the rank of the filters.

    ``out[b, i*sh + k*dh - top, j*sw + l*dw - left, m] += input[b, i, j, c] * filters[k, l, m, c]`` for N = 2.

    Parameters
    ----------
    input : array
        (N, H, W, Cin) channels-last; float32, float64, int32, float16 or bfloat16; any strides.
    filters : array
        (kh, kw, Cout/groups, Cin), of the same dtype: output channels before input channels.
    output_shape : sequence of int, or None
        The whole shape in data_format order (in 2-D and 3-D also the sizes alone); its forward convolution must have input's size.
        None for the size input implies: SAME, CAUSAL size*stride, else the smallest.
    strides : int or sequence
        Outputs from one input to the next; one number, or one for each spatial axis, or for all axes.
    padding : str, int or pairs
        "SAME", "VALID", "SAME_LOWER", "CAUSAL" (all of it before the first spatial axis), "FULL", one number for every
        side, or (before, after) pairs, for the spatial axes or for all in data_format order.
    data_format : str
        "NHWC" or "NCHW", or "channels_last", "channels_first"; of input and output.
    dilations : int or sequence, optional
        The distance between taps; as strides.
    name : str, optional
        Ignored; TensorFlow's.
    output_padding : int or sequence, optional
        Added to the size where output_shape is None; its forward convolution must still have input's size.
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
    padding_mode : "zeros"
        Any other is refused: a transposed convolution crops its output, it pads nothing.
    groups : int, optional
        A check, or, where output_shape is None or the sizes alone, how many times filters' output channels Cout is.

    Returns
    -------
    ndarray
        (N, H', W', Cout) channels-last; of the input's dtype. Outputs that no tap reaches are 0 (+ bias).

    Raises
    ------
    ShapeError
        Where the shapes do not fit together; a ValueError that names op, argument, rule and both numbers.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind; dtypes are never promoted.

    Notes
    -----
    The adjoint of the forward convolution with the same filters: padding is that one's. It is computed as `stride`
    stride-1 convolutions an axis, each writing every stride-th output once; no zeros are inserted. float32 of twelve
    channels or more may go through Winograd's transforms, as in `conv2d`.

    References
    ----------
    tf.nn.conv_transpose

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> nn.conv_transpose(np.ones((1, 4, 4, 2)), np.ones((3, 3, 5, 2)), (1, 8, 8, 5), 2).shape
    (1, 8, 8, 5)
    """


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
    """The adjoint of `atrous_conv2d`.

    ``out[b, i*s + k*rate - top, j*s + l*rate - left, m] += value[b, i, j, c] * filters[k, l, m, c]``

    Parameters
    ----------
    value : array
        (N, H, W, Cin) channels-last; float32, float64, int32, float16 or bfloat16; any strides.
    filters : array
        (kh, kw, Cout/groups, Cin), of the same dtype: output channels before input channels.
    output_shape : sequence of int, or None
        The whole shape in data_format order (in 2-D and 3-D also the sizes alone); its forward convolution must have value's size.
        None for the size value implies: SAME, CAUSAL size*stride, else the smallest.
    rate : int or sequence
        The distance between taps: one number, or one for each spatial axis.
    padding : str, int or pairs
        "SAME", "VALID", "SAME_LOWER", "CAUSAL" (all of it before the first spatial axis), "FULL", one number for every
        side, or (before, after) pairs, for the spatial axes or for all in data_format order.
    data_format : str
        "NHWC" or "NCHW", or "channels_last", "channels_first"; of input and output.
    name : str, optional
        Ignored; TensorFlow's.
    strides : int or sequence, default 1
        Outputs from one input to the next.
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
    padding_mode : "zeros"
        Any other is refused: a transposed convolution crops its output, it pads nothing.
    groups : int, optional
        A check, or, where output_shape is None or the sizes alone, how many times filters' output channels Cout is.

    Returns
    -------
    ndarray
        (N, H', W', Cout) channels-last; of the input's dtype. Outputs that no tap reaches are 0 (+ bias).

    Raises
    ------
    ShapeError
        Where the shapes do not fit together; a ValueError that names op, argument, rule and both numbers.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind; dtypes are never promoted.

    Notes
    -----
    The adjoint of the forward convolution with the same filters: padding is that one's. It is computed as `stride`
    stride-1 convolutions an axis, each writing every stride-th output once; no zeros are inserted. float32 of twelve
    channels or more may go through Winograd's transforms, as in `conv2d`.

    References
    ----------
    tf.nn.atrous_conv2d_transpose

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> x = np.array([1.0, 0.0, 0.0]).reshape(1, 1, 3, 1)
    >>> nn.atrous_conv2d_transpose(x, np.ones((1, 2, 1, 1)), (1, 1, 5, 1), 2, "VALID").ravel()
    array([1., 0., 1., 0., 0.])
    """
    if rate is None:
        op = _plan.called(_ATROUS, value).name
        raise TypeError(f"{op}: rate is None; pass an integer or two, 1 for an ordinary transposed convolution")
    return _plan.execute(
        _ATROUS, (strides, padding, data_format, rate, padding_mode, groups, output_shape, None),
        value, filters, bias, activation, residual, out, num_threads,
    )  # fmt: skip
