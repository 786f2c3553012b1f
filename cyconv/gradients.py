"""Gradients of the convolutions with respect to their inputs and filters, and of bias_add."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from cyconv import _geometry as geometry, _isa, _plan, _problem, _threads
from cyconv._algorithms import filter_gradient
from cyconv._op import Op, op_of
from cyconv._problem import DEPTHWISE, DTYPES, FORWARD, NAMES, ONE_BY_ONE, Array, Problem, Shape
from cyconv._windows import empty, room_for
from cyconv.convolution import channel_axis

#: NumPy's names of the padding modes that read other positions, by number.
_NUMPY_MODES: dict[int, Any] = {1: "reflect", 2: "symmetric", 3: "edge", 4: "wrap"}

#: Of a gradient, for which to arrange the filters of one tap would take longer than the product.
_FEW_PIXELS = 16

_driver = lru_cache(maxsize=1024)(filter_gradient)


def _backprop_input(
    of: Op,
    input_sizes: Any,
    filter: Any,
    out_backprop: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = None,
    dilations: Any = None,
    *,
    out: Any = None,
    num_threads: int | None = None,
    padding_mode: Any = "zeros",
) -> Array:
    """Every input gradient: the transposed op; under padding modes that read other positions, extended and folded."""
    op, depthwise, n = of.name, of.kind is DEPTHWISE, of.n
    g, f, code = _problem.operands(op, "out_backprop", out_backprop, "filter", filter)
    sizes = _problem.shape_argument(op, "input_sizes", input_sizes)
    (strides, padding, data_format, dilations), (mode, _), _ = of.kind.arguments(
        op, NAMES, strides, padding, data_format, dilations, padding_mode, None
    )
    if len(sizes) == n == 2 and f.ndim == 4 <= g.ndim and not depthwise:
        sizes = _problem.join_shape(g.shape[:-3], sizes, f.shape[2], _problem.layout(op, data_format, n))
    if g.ndim < n + 2:
        _problem.split_shape(op, "out_backprop", g.shape, n, True, True)  # which says so
    if len(sizes) != g.ndim:
        raise _problem.misfit(
            op, "input_sizes", (sizes, g.shape),
            f"input_sizes must have {g.ndim} elements like out_backprop, not {len(sizes)} "
            f"(input_sizes={sizes}, out_backprop.shape={g.shape})",
        )  # fmt: skip

    def problem(sizes: Shape, padding: Any, code: int) -> Problem:
        names, moved = ("out_backprop", "filter", "strides", "dilations"), (strides, padding, data_format, dilations)
        return _problem.transposed_problem(
            op, names, n, g.shape, f.shape, code, moved, sizes, gradient=True, depthwise=depthwise
        )

    whole = problem(sizes, padding, code)
    if out is not None:
        _problem.out_argument(op, out, sizes, g.dtype)

    last, one, window = whole.channels_last, (1,) * n, sizes[-n - 1 :]
    if padding == "VALID" and last and not depthwise and f.shape[:-1] == window:
        # One window, the whole input: a product, not sums over positions of which all but one lie outside.
        if f.shape[:n] != one == g.shape[-n - 1 : -1]:
            flat = (*one, f.size // f.shape[-1])
            f, sizes_of_one = f.reshape(*flat, f.shape[-1]), (*sizes[: -n - 1], *flat)
            dx = _backprop_input(of, sizes_of_one, f, g, 1, padding, data_format, num_threads=num_threads)
            return _problem.delivered(out, dx.reshape(sizes))
    one_tap = f.shape[:n] == one and padding in ("SAME", "VALID") and all(a.stride == 1 for a in whole.axes)
    if one_tap and whole.groups == 1 and last and out is None and g.size and f.size:
        if g.size // f.shape[-1] <= _FEW_PIXELS:
            return _of_few_pixels(op, f.reshape(1, *f.shape[n:]), g, code, num_threads).reshape(sizes)
    if not mode or 0 in sizes:
        return _plan.run(whole, g, f, out, num_threads)
    axes = whole.axes[-n:]
    around = [geometry.margins(a) for a in axes]
    extended = tuple(lo + a.size + hi for a, (lo, hi) in zip(axes, around))
    dtype, forced = g.dtype, None
    if max(extended) > geometry.LIMIT:
        raise MemoryError(
            f"{op}: windows that reach {max(map(max, around))} positions outside of input_sizes={sizes} take an array of "
            f"{extended} positions: that many have no room under padding_mode={_problem.shown(padding_mode)}"
        )
    if dtype.itemsize == 2:  # the folds add up in float32, too; no half precision is for transforms
        g, f, code, forced = g.astype(np.float32), f.astype(np.float32), DTYPES.index("float32"), "direct"
    padded = problem(_problem.join_shape(whole.batch, extended, whole.out_channels, last), "VALID", code)
    x = _plan.run(padded, g, f, None, num_threads, forced)
    with np.errstate(all="ignore"):  # what overflows is infinite, as everywhere
        for axis, (a, (lo, hi)) in enumerate(zip(axes, around), len(whole.batch) + (not last)):
            x = _fold(x, axis, a.size, lo, hi, mode)
        return _problem.delivered(out, np.array(x, dtype, order="C") if out is None else x)


def _of_few_pixels(op: str, f: Array, g: Array, code: int, num_threads: Any) -> Array:
    """By one tap: the filters (1, C, M) are the image, read where it lies, and the pixels of g its filters."""
    pixels, (_, channels, filters) = g.size // f.shape[-1], f.shape
    made = np.empty((pixels, channels), g.dtype)
    names = ("filter", "out_backprop", "strides", "dilations")
    product = _problem.forward_problem(op, names, 1, f.shape, (1, filters, pixels), code, ONE_BY_ONE)
    _plan.run(product, f, g.reshape(pixels, filters).T[None], made.T[None], num_threads)
    return made


def _fold(x: Array, axis: int, size: int, lo: int, hi: int, mode: int) -> Array:
    """The transpose of padding an axis: what each position in the margins got goes to where that position was read."""
    moved = np.moveaxis(x, axis, 0)
    inner = moved[lo : lo + size]
    for at, source in enumerate(np.pad(np.arange(size), (lo, hi), _NUMPY_MODES[mode])):
        if not lo <= at < lo + size:
            inner[source] += moved[at]
    return np.moveaxis(inner, 0, axis)


def _backprop_filter(
    of: Op,
    input: Any,
    filter_sizes: Any,
    out_backprop: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = None,
    dilations: Any = None,
    *,
    out: Any = None,
    num_threads: int | None = None,
    padding_mode: Any = "zeros",
) -> Array:
    """Every filter gradient: the problem of the forward op, summed over pixels."""
    op, names = of.name, ("input", "filter_sizes", "strides", "dilations")
    x, g, code = _problem.operands(op, "input", input, "out_backprop", out_backprop)
    sizes = _problem.shape_argument(op, "filter_sizes", filter_sizes)
    rest = of.kind.arguments(op, names, strides, padding, data_format, dilations, padding_mode, None)
    problem = of.kind.problem(op, names, of.n, x.shape, sizes, code, *rest)
    if g.shape != problem.out_shape:
        raise _problem.misfit(
            op, "out_backprop", (x.shape, sizes, g.shape),
            f"out_backprop.shape={g.shape}, but the convolution it comes from gives {problem.out_shape} "
            f"(input.shape={x.shape}, filter_sizes={sizes})",
        )  # fmt: skip
    _problem.check_bytes(op, sizes, code)
    result = room_for(op, out, sizes, x.dtype, x, g)
    result = result if result.flags.carray else empty(op, sizes, x.dtype)
    threads = _threads.wanted(op, num_threads)
    _driver(problem, _plan.forced_algorithm()).run(x, g, result, threads, _isa.current())
    return _problem.delivered(out, result)


@op_of(_backprop_input, FORWARD, 1, "NWC")
def conv1d_backprop_input() -> None:
    """The gradient of `conv1d` with respect to its input.

    ``dx[b, i*s + k*d - pad, c] = sum_{i, k, m} out_backprop[b, i, m] * filter[k, c, m]``

    Parameters
    ----------
    input_sizes : sequence of int
        The input's shape, (..., W, Cin) in data_format order.
    filter : array
        (kw, Cin/groups, Cout).
    out_backprop : array
        (..., W', Cout): the gradient with respect to the output, of the filter's dtype.
    strides, padding, data_format, dilations, padding_mode
        As of `conv1d`.
    out : ndarray, optional
        Where to put the result: its shape and dtype, any strides.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.

    Returns
    -------
    ndarray
        The input's gradient, of shape input_sizes.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind.

    Notes
    -----
    The phases of the transposed op: every element is one sum, written once. Under a padding mode that reads other
    positions, what lies in the margins is added to where it was read, in order of position; float16 and bfloat16 are
    rounded after that.
    float32 may go through Winograd's transforms, as in `conv2d`.

    References
    ----------
    tf.raw_ops.Conv2DBackprop*, of height 1; with dilations, groups and padding modes, too.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> nn.conv1d_backprop_input((1, 3, 1), np.array([1.0, 10.0]).reshape(2, 1, 1), np.ones((1, 2, 1)), 1, "VALID").ravel()
    array([ 1., 11., 10.])
    """


@op_of(_backprop_filter, FORWARD, 1, "NWC")
def conv1d_backprop_filter() -> None:
    """The gradient of `conv1d` with respect to its filters.

    ``dw[k, c, m] = sum_{b, i} input[b, i*s + k*d - pad, c] * out_backprop[b, i, m]``

    Parameters
    ----------
    input : array
        (..., W, Cin) channels-last; any strides.
    filter_sizes : sequence of int
        The filters' shape, (kw, Cin/groups, Cout).
    out_backprop : array
        (..., W', Cout): the gradient with respect to the output, of the input's dtype.
    strides, padding, data_format, dilations, padding_mode
        As of `conv1d`.
    out : ndarray, optional
        Where to put the result: its shape and dtype, any strides.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.

    Returns
    -------
    ndarray
        The filters' gradient, of shape filter_sizes.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind.

    Notes
    -----
    Each element is one sum, in float32 for half precisions, in an order that depends on neither threads nor memory
    layout. An empty batch gives zeros. float32 of sixteen channels or more may go through Winograd's transforms, as in
    `conv2d`.

    References
    ----------
    tf.raw_ops.Conv2DBackprop*, of height 1; with dilations, groups and padding modes, too.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> nn.conv1d_backprop_filter(np.arange(3.0).reshape(1, 3, 1), (2, 1, 1), np.ones((1, 2, 1)), 1, "VALID").ravel()
    array([1., 3.])
    """


@op_of(_backprop_input, FORWARD, 2, "NHWC")
def conv2d_backprop_input() -> None:
    """The gradient of `conv2d` with respect to its input.

    ``dx[b, i*s + k*d - pad, j*s + l*d - pad, c] = sum_{i, j, k, l, m} out_backprop[b, i, j, m] * filter[k, l, c, m]``

    Parameters
    ----------
    input_sizes : sequence of int
        The input's shape, (..., H, W, Cin) in data_format order; or (H, W) alone, for as many channels as filter has.
    filter : array
        (kh, kw, Cin/groups, Cout).
    out_backprop : array
        (..., H', W', Cout): the gradient with respect to the output, of the filter's dtype.
    strides, padding, data_format, dilations, padding_mode
        As of `conv2d`.
    out : ndarray, optional
        Where to put the result: its shape and dtype, any strides.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.

    Returns
    -------
    ndarray
        The input's gradient, of shape input_sizes.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind.

    Notes
    -----
    The phases of the transposed op: every element is one sum, written once. Under a padding mode that reads other
    positions, what lies in the margins is added to where it was read, in order of position; float16 and bfloat16 are
    rounded after that.
    float32 may go through Winograd's transforms, as in `conv2d`.

    References
    ----------
    tf.raw_ops.Conv2DBackpropInput; with dilations, groups and padding modes, too.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> nn.conv2d_backprop_input((1, 1, 3, 1), np.array([1.0, 10.0]).reshape(1, 2, 1, 1), np.ones((1, 1, 2, 1)), 1, "VALID").ravel()
    array([ 1., 11., 10.])
    """


@op_of(_backprop_filter, FORWARD, 2, "NHWC")
def conv2d_backprop_filter() -> None:
    """The gradient of `conv2d` with respect to its filters.

    ``dw[k, l, c, m] = sum_{b, i, j} input[b, i*s + k*d - pad, j*s + l*d - pad, c] * out_backprop[b, i, j, m]``

    Parameters
    ----------
    input : array
        (..., H, W, Cin) channels-last; any strides.
    filter_sizes : sequence of int
        The filters' shape, (kh, kw, Cin/groups, Cout).
    out_backprop : array
        (..., H', W', Cout): the gradient with respect to the output, of the input's dtype.
    strides, padding, data_format, dilations, padding_mode
        As of `conv2d`.
    out : ndarray, optional
        Where to put the result: its shape and dtype, any strides.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.

    Returns
    -------
    ndarray
        The filters' gradient, of shape filter_sizes.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind.

    Notes
    -----
    Each element is one sum, in float32 for half precisions, in an order that depends on neither threads nor memory
    layout. An empty batch gives zeros. float32 of sixteen channels or more may go through Winograd's transforms, as in
    `conv2d`.

    References
    ----------
    tf.raw_ops.Conv2DBackpropFilter; with dilations, groups and padding modes, too.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> nn.conv2d_backprop_filter(np.arange(3.0).reshape(1, 1, 3, 1), (1, 2, 1, 1), np.ones((1, 1, 2, 1)), 1, "VALID").ravel()
    array([1., 3.])
    """


@op_of(_backprop_input, FORWARD, 3, "NDHWC")
def conv3d_backprop_input() -> None:
    """The gradient of `conv3d` with respect to its input.

    ``dx[b, h*s + e*d - pad, i*s + k*d - pad, j*s + l*d - pad, c] = sum_{h, i, j, e, k, l, m} out_backprop[b, h, i, j, m] * filter[e, k, l, c, m]``

    Parameters
    ----------
    input_sizes : sequence of int
        The input's shape, (..., D, H, W, Cin) in data_format order.
    filter : array
        (kd, kh, kw, Cin/groups, Cout).
    out_backprop : array
        (..., D', H', W', Cout): the gradient with respect to the output, of the filter's dtype.
    strides, padding, data_format, dilations, padding_mode
        As of `conv3d`.
    out : ndarray, optional
        Where to put the result: its shape and dtype, any strides.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.

    Returns
    -------
    ndarray
        The input's gradient, of shape input_sizes.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind.

    Notes
    -----
    The phases of the transposed op: every element is one sum, written once. Under a padding mode that reads other
    positions, what lies in the margins is added to where it was read, in order of position; float16 and bfloat16 are
    rounded after that.
    float32 may go through Winograd's transforms, as in `conv2d`.

    References
    ----------
    tf.raw_ops.Conv3DBackpropInputV2; with dilations, groups and padding modes, too.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> nn.conv3d_backprop_input((1, 1, 1, 3, 1), np.ones((1, 1, 2, 1, 1)), np.ones((1, 1, 1, 2, 1)), 1, "VALID").ravel()
    array([1., 2., 1.])
    """


@op_of(_backprop_filter, FORWARD, 3, "NDHWC")
def conv3d_backprop_filter() -> None:
    """The gradient of `conv3d` with respect to its filters.

    ``dw[e, k, l, c, m] = sum_{b, h, i, j} input[b, h*s + e*d - pad, i*s + k*d - pad, j*s + l*d - pad, c] * out_backprop[b, h, i, j, m]``

    Parameters
    ----------
    input : array
        (..., D, H, W, Cin) channels-last; any strides.
    filter_sizes : sequence of int
        The filters' shape, (kd, kh, kw, Cin/groups, Cout).
    out_backprop : array
        (..., D', H', W', Cout): the gradient with respect to the output, of the input's dtype.
    strides, padding, data_format, dilations, padding_mode
        As of `conv3d`.
    out : ndarray, optional
        Where to put the result: its shape and dtype, any strides.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.

    Returns
    -------
    ndarray
        The filters' gradient, of shape filter_sizes.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind.

    Notes
    -----
    Each element is one sum, in float32 for half precisions, in an order that depends on neither threads nor memory
    layout. An empty batch gives zeros. float32 of sixteen channels or more may go through Winograd's transforms, as in
    `conv2d`.

    References
    ----------
    tf.raw_ops.Conv3DBackpropFilterV2; with dilations, groups and padding modes, too.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> nn.conv3d_backprop_filter(np.arange(3.0).reshape(1, 1, 1, 3, 1), (1, 1, 2, 1, 1), np.ones((1, 1, 1, 2, 1)), 1, "VALID").ravel()
    array([1., 3.])
    """


def depthwise_conv2d_backprop_input(
    input_sizes: Any,
    filter: Any,
    out_backprop: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = "NHWC",
    dilations: Any = None,
    name: str | None = None,
    *,
    out: Any = None,
    num_threads: int | None = None,
    padding_mode: Any = "zeros",
) -> Array:
    """The gradient of `depthwise_conv2d` with respect to its input.

    ``dx[b, i*s + k*d - pad, j*s + l*d - pad, c] = sum_{i, j, k, l, q} out_backprop[b, i, j, c*M + q] * filter[k, l, c, q]``

    Parameters
    ----------
    input_sizes : sequence of int
        The input's shape, (N, H, W, Cin) in data_format order.
    filter : array
        (kh, kw, Cin, M).
    out_backprop : array
        (N, H', W', Cin*M): the gradient with respect to the output, of the filter's dtype.
    strides, padding, data_format, dilations, padding_mode
        As of `depthwise_conv2d`.
    name : str, optional
        Ignored; TensorFlow's.
    out : ndarray, optional
        Where to put the result: its shape and dtype, any strides.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.

    Returns
    -------
    ndarray
        The input's gradient, of shape input_sizes.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind.

    Notes
    -----
    The phases of the transposed op: every element is one sum, written once. Under a padding mode that reads other
    positions, what lies in the margins is added to where it was read, in order of position; float16 and bfloat16 are
    rounded after that.

    References
    ----------
    tf.nn.depthwise_conv2d_backprop_input; with dilations, unequal strides and padding modes, too.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> nn.depthwise_conv2d_backprop_input((1, 1, 3, 1), np.ones((1, 2, 1, 1)), np.ones((1, 1, 2, 1)), 1, "VALID").ravel()
    array([1., 2., 1.])
    """
    return _backprop_input(
        Op("depthwise_conv2d_backprop_input", DEPTHWISE, 2), input_sizes, filter, out_backprop, strides, padding, data_format,
        dilations, out=out, num_threads=num_threads, padding_mode=padding_mode,
    )  # fmt: skip


def depthwise_conv2d_backprop_filter(
    input: Any,
    filter_sizes: Any,
    out_backprop: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = "NHWC",
    dilations: Any = None,
    name: str | None = None,
    *,
    out: Any = None,
    num_threads: int | None = None,
    padding_mode: Any = "zeros",
) -> Array:
    """The gradient of `depthwise_conv2d` with respect to its filter.

    ``dw[k, l, c, q] = sum_{b, i, j} input[b, i*s + k*d - pad, j*s + l*d - pad, c] * out_backprop[b, i, j, c*M + q]``

    Parameters
    ----------
    input : array
        (N, H, W, Cin) channels-last; any strides.
    filter_sizes : sequence of int
        The filters' shape, (kh, kw, Cin, M).
    out_backprop : array
        (N, H', W', Cin*M): the gradient with respect to the output, of the input's dtype.
    strides, padding, data_format, dilations, padding_mode
        As of `depthwise_conv2d`.
    name : str, optional
        Ignored; TensorFlow's.
    out : ndarray, optional
        Where to put the result: its shape and dtype, any strides.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.

    Returns
    -------
    ndarray
        The filters' gradient, of shape filter_sizes.

    Raises
    ------
    ShapeError
        Where the shapes do not fit together.
    ValueError, TypeError
        Where another argument is out of range, or of the wrong kind.

    Notes
    -----
    Each element is one sum, in float32 for half precisions, in an order that depends on neither threads nor memory
    layout. An empty batch gives zeros.

    References
    ----------
    tf.nn.depthwise_conv2d_backprop_filter; with dilations, unequal strides and padding modes, too.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> nn.depthwise_conv2d_backprop_filter(np.arange(3.0).reshape(1, 1, 3, 1), (1, 2, 1, 1), np.ones((1, 1, 2, 1)), 1, "VALID").ravel()
    array([1., 3.])
    """
    return _backprop_filter(
        Op("depthwise_conv2d_backprop_filter", DEPTHWISE, 2), input, filter_sizes, out_backprop, strides, padding, data_format,
        dilations, out=out, num_threads=num_threads, padding_mode=padding_mode,
    )  # fmt: skip


def bias_add_grad(
    out_backprop: Any, data_format: str | None = None, *, out: Any = None, num_threads: int | None = None
) -> Array:
    """The gradient of `bias_add` with respect to the bias.

    ``db[c] = sum_{b, i, j} out_backprop[b, i, j, c]``

    Parameters
    ----------
    out_backprop : array
        (..., C), or (N, C, ...) channels-first: the gradient with respect to the output.
    data_format : str, optional
        "N...C" or "NC...", or "channels_last", "channels_first".
    out : ndarray, optional
        Where to put the result: (C,), of out_backprop's dtype.
    num_threads : int, optional
        The most threads to use; see `get_num_threads`.

    Returns
    -------
    ndarray
        (C,).

    Raises
    ------
    ShapeError, ValueError, TypeError
        As of `bias_add`.

    Notes
    -----
    The gradient of a filter of one tap over a channel of ones, and as exact and as reproducible as that of any other.

    References
    ----------
    tf.raw_ops.BiasAddGrad.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    >>> nn.bias_add_grad(np.arange(6.0).reshape(3, 2))
    array([6., 9.])
    """
    op = "bias_add_grad"
    g = _problem.array(op, "out_backprop", out_backprop)
    axis = channel_axis(op, "out_backprop", g, data_format)
    if out is not None:
        _problem.out_argument(op, out, g.shape[axis : axis + 1], g.dtype)
    return _problem.delivered(out, _channel_sums(op, g, axis, num_threads))


def _channel_sums(op: str, g: Array, axis: int, num_threads: Any) -> Array:
    """The sum over all axes but one."""
    threads = _threads.wanted(op, num_threads)
    g = np.moveaxis(g, axis, -1)
    channels = g.shape[-1]
    if g.dtype.kind in "iufc" and g.dtype.name not in DTYPES:
        return g.reshape(math.prod(g.shape[:-1]), channels).sum(0, dtype=g.dtype)  # type: ignore[no-any-return]
    code = _problem.dtype_code(op, "out_backprop", g.dtype)
    g = g[:, np.newaxis] if g.ndim == 2 else g
    n = min(3, g.ndim - 2)
    ones = np.broadcast_to(np.ones((), g.dtype), (*g.shape[:-1], 1))
    problem = _problem.forward_problem(op, NAMES, n, ones.shape, (*(1,) * (n + 1), channels), code, ONE_BY_ONE)
    result = np.empty(channels, g.dtype)
    _driver(problem, _plan.forced_algorithm()).run(ones, g, result, threads, _isa.current())
    return result
