"""Pooling: the maximum or the mean of every window, where the maximum was, and the gradients of all that."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cyconv import _problem, _windows
from cyconv._op import Op, op_of
from cyconv._problem import COMPUTE, Array
from cyconv._windows import ARGMAX, IN_BATCH, IN_IMAGE, MAX, MAX_GRAD, MEAN, MEAN_GRAD, Geometry


def _flag(op: str, arg: str, value: Any) -> bool:
    """What is true or false."""
    try:
        return bool(value)
    except (TypeError, ValueError):
        raise TypeError(f"{op}: {arg} must be True or False, not {_problem.shown(value)}") from None


def _as_int32(x: Array) -> tuple[Array, Callable[[Array], Array]]:
    """Integers of another kind as int32 that compare alike, and the way back; the least int32 stands for no input at all."""
    least = np.iinfo(x.dtype).min
    if x.dtype.itemsize < 4:
        return x.astype(np.int32), lambda y: np.maximum(y, least).astype(x.dtype)
    values, ranks = np.unique(x, return_inverse=True)
    values = np.concatenate([np.array([least], x.dtype), values])
    return ranks.reshape(x.shape).astype(np.int32) + np.int32(1), lambda y: values[np.maximum(y, 0)]


def _pooled(op: Op, input: Any, g: Geometry, out: Any, num_threads: int | None) -> Array:
    """Every pool: one problem, one run."""
    x = _problem.array(op.name, "input", input)
    if op.kind == MAX and x.dtype.kind in "iu" and x.dtype != np.int32:
        whole, back = _as_int32(x)
        y = back(_pooled(op, whole, g, None, num_threads))
        if out is not None:
            _problem.out_argument(op.name, out, y.shape, y.dtype)
        return _problem.delivered(out, y)
    window = _windows.windows(op, "input", x.shape, _problem.dtype_code(op.name, "input", x.dtype), g)
    return _windows.run(window, out, num_threads, x)


def _pool(
    op: Op,
    input: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = None,
    name: str | None = None,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """The maximum or the mean of every window."""
    return _pooled(op, input, _windows.described(op.name, ksize, strides, padding, data_format, None), out, num_threads)


@op_of(_pool, MAX, 0)
def max_pool() -> None:
    """The maximum of every window: y[n,o,c] = max_k x[n, o*s + k - lo, c], k over the taps that lie inside x.

    Parameters
    ----------
    input : array_like, (N, *spatial, C) or (N, C, *spatial)
        One, two or three spatial axes; float32, float64, float16, bfloat16 or integers (int32 is the fast one of these).
    ksize, strides : int or sequence
        For all spatial axes, or 1, n or n + 2 values in the order of `data_format`. An entry for the channels makes
        them one more axis of the windows (not with three spatial axes).
    padding : str, int or sequence
        "SAME", "VALID", "SAME_LOWER", "CAUSAL", "FULL", an int, or (before, after) pairs smaller than the window.
    data_format : str, optional
        "NWC", "NHWC", "NDHWC" (the default, by rank), "NCW", "NCHW", "NCDHW", "channels_last", "channels_first".
    name : str, optional
        Ignored.
    out : ndarray, optional
        Takes the result; any strides.
    num_threads : int, optional
        How many threads at most. The result does not depend on it.

    Returns
    -------
    ndarray
        (N, *o, C) in the order of `data_format`, o = ceil(size/s) for SAME, (size - k + s)/s for VALID.

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Notes
    -----
    NaN is the largest of all numbers, and -inf stays what it is (TensorFlow drops the one and changes the other).

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> nn.max_pool(x, 2, 2, "VALID")[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/max_pool
    """


@op_of(_pool, MAX, 1, "NWC")
def max_pool1d() -> None:
    """The maximum of every window along one axis: `max_pool` of an input (N, W, C).

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.array([1, 5, 2, 0], np.float32).reshape(1, 4, 1)
    >>> nn.max_pool1d(x, 3, 1, "SAME").ravel()
    array([5., 5., 5., 2.], dtype=float32)
    """


@op_of(_pool, MAX, 2, "NHWC")
def max_pool2d() -> None:
    """The maximum of every window along two axes: `max_pool` of an input (N, H, W, C).

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    >>> nn.max_pool2d(x, 2, 2, "SAME").ravel()
    array([4., 5., 7., 8.], dtype=float32)
    """


@op_of(_pool, MAX, 3, "NDHWC")
def max_pool3d() -> None:
    """The maximum of every window along three axes: `max_pool` of an input (N, D, H, W, C).

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2, 1)
    >>> nn.max_pool3d(x, 2, 2, "VALID").ravel()
    array([7.], dtype=float32)
    """


@op_of(_pool, MEAN, 0)
def avg_pool() -> None:
    """The mean of every window: y[n,o,c] = mean_k x[n, o*s + k - lo, c], k over the taps that lie inside x.

    Parameters
    ----------
    input, ksize, strides, padding, data_format, name, out, num_threads
        As in `max_pool`; pads may be larger than the window.

    Returns
    -------
    ndarray
        As in `max_pool`. Padding is not counted; a window of nothing but padding has mean 0.

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Notes
    -----
    float16 and bfloat16 are summed in float32 and rounded once (TensorFlow sums in half). int32 wraps and is divided
    towards zero.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> nn.avg_pool(x, 2, 2, "VALID")[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    >>> nn.avg_pool(x, x.shape[1:3], 1, "VALID").item()  # global pooling
    7.5

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/avg_pool
    """


@op_of(_pool, MEAN, 1, "NWC")
def avg_pool1d() -> None:
    """The mean of every window along one axis: `avg_pool` of an input (N, W, C).

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.array([1, 5, 3, 1], np.float32).reshape(1, 4, 1)
    >>> nn.avg_pool1d(x, 3, 1, "SAME").ravel()
    array([3., 3., 3., 2.], dtype=float32)
    """


@op_of(_pool, MEAN, 2, "NHWC")
def avg_pool2d() -> None:
    """The mean of every window along two axes: `avg_pool` of an input (N, H, W, C).

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    >>> nn.avg_pool2d(x, 2, 2, "SAME").ravel()
    array([2. , 3.5, 6.5, 8. ], dtype=float32)
    """


@op_of(_pool, MEAN, 3, "NDHWC")
def avg_pool3d() -> None:
    """The mean of every window along three axes: `avg_pool` of an input (N, D, H, W, C).

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2, 1)
    >>> nn.avg_pool3d(x, 2, 2, "VALID").ravel()
    array([3.5], dtype=float32)
    """


def pool(
    input: Any,
    window_shape: Any,
    pooling_type: str,
    strides: Any = None,
    padding: Any = "VALID",
    data_format: str | None = None,
    dilations: Any = None,
    name: str | None = None,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """`max_pool` or `avg_pool` with taps that lie apart: y[n,o,c] = max or mean_k of x[n, o*s + k*d - lo, c].

    Parameters
    ----------
    input : array_like, (N, *spatial, C) or (N, C, *spatial)
    window_shape : sequence
        The window's taps, one number for each spatial axis.
    pooling_type : {"MAX", "AVG"}
    strides, dilations : int or sequence, optional
        1 by default; both may be larger than 1.
    padding, data_format, name, out, num_threads
        As in `max_pool`.

    Returns
    -------
    ndarray
        (N, *o, C) in the order of `data_format`. Where all taps lie outside, the mean is 0 and the maximum -inf, or the
        smallest int32.

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.array([1, 8, 3, 4, 5], np.float32).reshape(1, 5, 1)
    >>> nn.pool(x, [2], "MAX", dilations=2).ravel()
    array([3., 8., 5.], dtype=float32)

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/pool
    """
    kinds = {"MAX": MAX, "AVG": MEAN}
    if not isinstance(pooling_type, str) or pooling_type.upper() not in kinds:
        raise ValueError(f"pool: pooling_type must be 'MAX' or 'AVG', not {_problem.shown(pooling_type)}")
    ksize = _problem.sequence("pool", "window_shape", window_shape)
    n = len(ksize) if isinstance(ksize, tuple) else 0
    if isinstance(ksize, tuple) and n not in (1, 2, 3):
        raise ValueError(
            f"pool: window_shape must have one number for each of 1, 2 or 3 spatial axes, not {_problem.shown(window_shape)}"
        )
    g = _windows.described("pool", ksize, strides, padding, data_format, dilations)
    return _pooled(Op("pool", kinds[pooling_type.upper()], n), input, g, out, num_threads)


def max_pool_with_argmax(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = "NHWC",
    output_dtype: Any = np.int64,
    include_batch_in_index: bool = False,
    name: str | None = None,
    *,
    num_threads: int | None = None,
) -> tuple[Array, Array]:
    """`max_pool2d`, and the flat position (h*W + w)*C + c of every maximum: of the first one on a tie.

    Parameters
    ----------
    input : array_like, (N, H, W, C) or (N, C, H, W)
    ksize, strides, padding, data_format, name, num_threads
        As in `max_pool`.
    output_dtype : int64 or int32
        The type of the positions.
    include_batch_in_index : bool
        Positions in the whole batch: ((n*H + h)*W + w)*C + c.

    Returns
    -------
    output, argmax : ndarray
        Both (N, o, o, C) in the order of `data_format`; positions are those of (H, W, C) in either order.

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.array([[1, 7], [7, 2]], np.float32).reshape(1, 2, 2, 1)
    >>> y, at = nn.max_pool_with_argmax(x, 2, 2, "VALID")
    >>> y.item(), at.item()
    (7.0, 1)

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/max_pool_with_argmax
    """
    op = "max_pool_with_argmax"
    try:
        index = np.dtype(getattr(output_dtype, "as_numpy_dtype", output_dtype))  # TensorFlow's, too
        if index not in (np.dtype(np.int64), np.dtype(np.int32)):
            raise TypeError
    except TypeError:
        raise TypeError(f"{op}: output_dtype must be int64 or int32, not {_problem.shown(output_dtype)}") from None
    x, batch = _problem.array(op, "input", input), _flag(op, "include_batch_in_index", include_batch_in_index)
    back: Callable[[Array], Array] = np.asarray
    if x.dtype.kind in "iu" and x.dtype != np.int32:
        x, back = _as_int32(x)
    g = _windows.described(op, ksize, strides, padding, data_format, None)
    window = _windows.windows(Op(op, ARGMAX, 2), "input", x.shape, _problem.dtype_code(op, "input", x.dtype), g)
    if index.itemsize == 4 and math.prod(x.shape if batch else x.shape[1:]) > np.iinfo(np.int32).max:
        raise ValueError(f"{op}: positions in an array of shape {x.shape} do not fit int32; use output_dtype=np.int64")
    at = _windows.empty(op, window.problem.out_shape, index)
    y = _windows.run(window, None, num_threads, x, positions=at, counted=IN_BATCH if batch else IN_IMAGE)
    return back(y), at


def max_pool_grad_with_argmax(
    input: Any,
    grad: Any,
    argmax: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    include_batch_in_index: bool = False,
    name: str | None = None,
    *,
    data_format: str | None = "NHWC",
    out: Array | None = None,
) -> Array:
    """Gradient of `max_pool_with_argmax`: dx[p] = sum of grad[n,o,c] over all outputs whose argmax is p.

    Parameters
    ----------
    input : array_like, (N, H, W, C) or (N, C, H, W)
        Only its shape and dtype matter.
    grad, argmax : array_like
        Both of the op's output shape; argmax int64 or int32, as the op gave it.
    ksize, strides, padding, include_batch_in_index, name, data_format, out
        As for the op.

    Returns
    -------
    ndarray
        The shape and dtype of the input.

    Raises
    ------
    ShapeError, ValueError, TypeError
        Also for a position outside the image, or the batch.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.array([[1, 7], [7, 2]], np.float32).reshape(1, 2, 2, 1)
    >>> y, at = nn.max_pool_with_argmax(x, 2, 2, "VALID")
    >>> nn.max_pool_grad_with_argmax(x, np.ones_like(y), at, 2, 2, "VALID").ravel()
    array([0., 1., 0., 0.], dtype=float32)

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/MaxPoolGradWithArgmax
    """
    op = "max_pool_grad_with_argmax"
    x, g, code = _problem.operands(op, "input", input, "grad", grad)
    at = _problem.array(op, "argmax", argmax)
    if at.dtype not in (np.dtype(np.int64), np.dtype(np.int32)):
        raise TypeError(f"{op}: argmax must be int64 or int32, not {at.dtype}")
    window = _windows.windows(
        Op(op, ARGMAX, 2), "input", x.shape, code, _windows.described(op, ksize, strides, padding, data_format, None)
    )
    _windows.same_shape(op, window.problem.out_shape, grad=g, argmax=at)
    batch, image = _flag(op, "include_batch_in_index", include_batch_in_index), math.prod(x.shape[1:])
    most = x.size if batch else image
    if at.size and not (0 <= at.min() and at.max() < most):
        raise ValueError(f"{op}: argmax must hold positions from 0 to {most - 1}, not {at.min()} to {at.max()}")
    if not batch:
        at = at + np.arange(x.shape[0]).reshape(-1, 1, 1, 1) * image
    dx = _windows.room_for(op, out, x.shape, x.dtype)
    seen = _windows.channels_last_of(window.problem, dx)
    sums = np.zeros(seen.shape, COMPUTE[code])
    np.add.at(sums.reshape(-1), at, g.astype(sums.dtype))
    seen[...] = sums
    return _problem.delivered(out, dx)


def _max_pool_grad(
    op: Op,
    orig_input: Any,
    orig_output: Any,
    grad: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = None,
    name: str | None = None,
    *,
    dilations: Any = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Every gradient of a maximum."""
    g = _windows.described(op.name, ksize, strides, padding, data_format, dilations)
    x, dy, code = _problem.operands(op.name, "orig_input", orig_input, "grad", grad)
    _, y, _ = _problem.operands(op.name, "orig_input", x, "orig_output", orig_output)
    window = _windows.windows(op, "orig_input", x.shape, code, g)
    _windows.same_shape(op.name, window.problem.out_shape, orig_output=y, grad=dy)
    return _windows.run(window, out, num_threads, x, dy)


def _avg_pool_grad(
    op: Op,
    orig_input_shape: Any,
    grad: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = None,
    name: str | None = None,
    *,
    dilations: Any = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Every gradient of a mean."""
    g = _windows.described(op.name, ksize, strides, padding, data_format, dilations)
    dy = _problem.array(op.name, "grad", grad)
    code = _problem.dtype_code(op.name, "grad", dy.dtype)
    if COMPUTE[code] == "int32":
        raise TypeError(
            f"{op.name}: int32 has no meaning here, as each input's share is a fraction; convert grad to a float type"
        )
    shape = _problem.shape_argument(op.name, "orig_input_shape", orig_input_shape)
    window = _windows.windows(op, "orig_input_shape", shape, code, g)
    _windows.same_shape(op.name, window.problem.out_shape, grad=dy)
    return _windows.run(window, out, num_threads, None, dy)


@op_of(_max_pool_grad, MAX_GRAD, 0)
def max_pool_grad() -> None:
    """Gradient of `max_pool`: dx[n,i,c] = sum of grad[n,o,c] over the windows o whose first maximum is at i.

    Parameters
    ----------
    orig_input : array_like, (N, *spatial, C) or (N, C, *spatial)
        What `max_pool` was given.
    orig_output, grad : array_like, (N, *o, C) or (N, C, *o)
        What it returned (only its shape matters), and the gradient with respect to that.
    ksize, strides, padding, data_format, name, out, num_threads
        As in `max_pool`.
    dilations : int or sequence, optional
        Of `pool`; 1 by default.

    Returns
    -------
    ndarray
        The shape of orig_input.

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Notes
    -----
    The first NaN of a window, or else the first of equal maxima in row-major order, gets all of its gradient. float16
    and bfloat16 are summed in float32. The same bits for any number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.array([1, 3, 3, 0], np.float32).reshape(1, 4, 1)
    >>> y = nn.max_pool(x, 2, 1, "VALID")
    >>> nn.max_pool_grad(x, y, np.ones_like(y), 2, 1, "VALID").ravel()
    array([0., 2., 1., 0.], dtype=float32)

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/MaxPoolGrad
    """


@op_of(_max_pool_grad, MAX_GRAD, 1, "NWC")
def max_pool1d_grad() -> None:
    """Gradient of `max_pool1d`: `max_pool_grad` along one axis.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.array([1, 2, 4, 3], np.float32).reshape(1, 4, 1)
    >>> y = nn.max_pool1d(x, 2, 2, "VALID")
    >>> nn.max_pool1d_grad(x, y, y, 2, 2, "VALID").ravel()
    array([0., 2., 4., 0.], dtype=float32)
    """


@op_of(_max_pool_grad, MAX_GRAD, 2, "NHWC")
def max_pool2d_grad() -> None:
    """Gradient of `max_pool2d`: `max_pool_grad` along two axes.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.array([1, 2, 4, 3], np.float32).reshape(1, 2, 2, 1)
    >>> y = nn.max_pool2d(x, 2, 2, "VALID")
    >>> nn.max_pool2d_grad(x, y, y, 2, 2, "VALID").ravel()
    array([0., 0., 4., 0.], dtype=float32)
    """


@op_of(_max_pool_grad, MAX_GRAD, 3, "NDHWC")
def max_pool3d_grad() -> None:
    """Gradient of `max_pool3d`: `max_pool_grad` along three axes.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.array([1, 2, 4, 3], np.float32).reshape(1, 1, 2, 2, 1)
    >>> y = nn.max_pool3d(x, (1, 2, 2), 1, "VALID")
    >>> nn.max_pool3d_grad(x, y, y, (1, 2, 2), 1, "VALID").ravel()
    array([0., 0., 4., 0.], dtype=float32)
    """


@op_of(_avg_pool_grad, MEAN_GRAD, 0)
def avg_pool_grad() -> None:
    """Gradient of `avg_pool`: dx[n,i,c] = sum of grad[n,o,c] / (inputs in window o) over the windows o that hold i.

    Parameters
    ----------
    orig_input_shape : sequence
        The shape of what `avg_pool` was given.
    grad : array_like, (N, *o, C) or (N, C, *o)
        The gradient with respect to what it returned.
    ksize, strides, padding, data_format, name, dilations, out, num_threads
        As in `max_pool_grad`.

    Returns
    -------
    ndarray
        Of shape orig_input_shape.

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> g = np.array([2, 4], np.float32).reshape(1, 2, 1)
    >>> nn.avg_pool_grad((1, 3, 1), g, 2, 1, "VALID").ravel()
    array([1., 3., 2.], dtype=float32)

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/AvgPoolGrad
    """


@op_of(_avg_pool_grad, MEAN_GRAD, 1, "NWC")
def avg_pool1d_grad() -> None:
    """Gradient of `avg_pool1d`: `avg_pool_grad` along one axis.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> g = np.full((1, 2, 1), 4, np.float32)
    >>> nn.avg_pool1d_grad((1, 4, 1), g, 2, 2, "VALID").ravel()
    array([2., 2., 2., 2.], dtype=float32)
    """


@op_of(_avg_pool_grad, MEAN_GRAD, 2, "NHWC")
def avg_pool2d_grad() -> None:
    """Gradient of `avg_pool2d`: `avg_pool_grad` along two axes.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> g = np.full((1, 1, 1, 1), 4, np.float32)
    >>> nn.avg_pool2d_grad((1, 2, 2, 1), g, 2, 2, "VALID").ravel()
    array([1., 1., 1., 1.], dtype=float32)
    """


@op_of(_avg_pool_grad, MEAN_GRAD, 3, "NDHWC")
def avg_pool3d_grad() -> None:
    """Gradient of `avg_pool3d`: `avg_pool_grad` along three axes.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> g = np.full((1, 1, 1, 1, 1), 4, np.float32)
    >>> nn.avg_pool3d_grad((1, 1, 2, 2, 1), g, (1, 2, 2), 1, "VALID").ravel()
    array([1., 1., 1., 1.], dtype=float32)
    """
