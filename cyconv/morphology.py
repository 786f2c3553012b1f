"""Greyscale morphology: dilation and erosion by a structuring function for each channel, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from cyconv import _windows
from cyconv._op import Op, op_of
from cyconv._problem import COMPUTE, Array, misfit, operands
from cyconv._windows import FILTER_GRAD, MAX, MAX_GRAD, described, same_shape, windows


def _morphology(
    of: Op, value: Any, filters: Any, grad: Any, geometry: tuple[Any, ...], out: Any, num_threads: int | None
) -> Array:
    """Every op of this module; erosions are dilations of -value, with the filters turned around."""
    op, kind = of.name, of.kind
    negated = op.startswith("erosion")
    names = "value" if negated else "input", "filters" if kind == MAX else "filter"
    x, f, code = operands(op, names[0], value, names[1], filters)
    if f.ndim != 3 or 0 in f.shape[:2]:
        shapes = f"{names[1]}.shape={f.shape}"
        raise misfit(
            op, names[1], (f.shape,), f"{names[1]} must be (height, width, channels), each 1 or more ({shapes})"
        )
    g = described(op, f.shape[:2], *geometry)
    window = windows(of, names[0], x.shape, code, g)
    if f.shape[2] != window.problem.channels:
        raise misfit(
            op, names[1], (x.shape, f.shape),
            f"{names[0]} has {window.problem.channels} channels ({names[0]}.shape={x.shape}) but {names[1]} has {f.shape[2]} "
            f"({names[1]}.shape={f.shape}); each channel has its own filter",
        )  # fmt: skip
    dy = None
    if kind != MAX:
        _, dy, _ = operands(op, names[0], x, "out_backprop", grad)
        same_shape(op, window.problem.out_shape, out_backprop=dy)
    # Whole vectors may be read of each tap's weights, the last's too.
    weights = np.zeros(f.size + 15, COMPUTE[code])[: f.size].reshape(f.shape)
    weights[...] = f[::-1, ::-1] if negated else f
    y = _windows.run(window, out, num_threads, x, dy, weights, -1.0 if negated else 1.0)
    if negated and kind == FILTER_GRAD:
        y[...] = np.zeros((), y.dtype) - y[::-1, ::-1]  # not its negative: zeros stay +0
    return y


def dilation2d(
    input: Any,
    filters: Any,
    strides: Any,
    padding: Any,
    data_format: str | None,
    dilations: Any,
    name: str | None = None,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """The largest sum under a structuring function: y[n,o,c] = max_k x[n, o*s + k*d - lo, c] + w[k,c].

    Parameters
    ----------
    input : array_like, (N, H, W, C) or (N, C, H, W)
        float32, float64, int32, float16 or bfloat16.
    filters : array_like, (kh, kw, C)
        One structuring function for each channel; zeros make it a `max_pool`.
    strides, dilations : int or sequence
        For both axes, or 1, 2 or 4 values in the order of `data_format`; None is 1.
    padding : str, int or sequence
        "SAME", "VALID", "SAME_LOWER", "CAUSAL", "FULL", an int, or (before, after) pairs smaller than the window.
    data_format : str or None
        "NHWC" (also None) or "NCHW".
    name : str, optional
        Ignored.
    out : ndarray, optional
        Takes the result; any strides.
    num_threads : int, optional
        How many threads at most. The result does not depend on it.

    Returns
    -------
    ndarray
        (N, o, o, C) in the order of `data_format`. Taps outside the input are left out.

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Notes
    -----
    NaN is the largest of all numbers. int32 wraps.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.array([0, 0, 5, 0, 0], np.float32).reshape(1, 1, 5, 1)
    >>> roof = np.array([-1, 0, -1], np.float32).reshape(1, 3, 1)
    >>> nn.dilation2d(x, roof, 1, "SAME", "NHWC", 1).ravel()
    array([0., 4., 5., 4., 0.], dtype=float32)

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/dilation2d
    """
    g = strides, padding, data_format, dilations
    return _morphology(Op("dilation2d", MAX, 2), input, filters, None, g, out, num_threads)


def erosion2d(
    value: Any,
    filters: Any,
    strides: Any,
    padding: Any,
    data_format: str | None,
    dilations: Any,
    name: str | None = None,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """The smallest difference under a structuring function: y[n,o,c] = min_k x[n, o*s + k*d - lo, c] - w[K-1-k,c].

    Parameters
    ----------
    value, filters, strides, padding, data_format, dilations, name, out, num_threads
        As in `dilation2d`.

    Returns
    -------
    ndarray
        As in `dilation2d`: erosion2d(x, w) is -dilation2d(-x, w turned around both axes).

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.array([9, 9, 5, 9, 9], np.float32).reshape(1, 1, 5, 1)
    >>> nn.erosion2d(x, np.zeros((1, 3, 1), np.float32), 1, "SAME", "NHWC", 1).ravel()
    array([9., 5., 5., 5., 9.], dtype=float32)

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/erosion2d
    """
    g = strides, padding, data_format, dilations
    return _morphology(Op("erosion2d", MAX, 2), value, filters, None, g, out, num_threads)


def _dilation2d_gradient(
    op: Op,
    input: Any,
    filter: Any,
    out_backprop: Any,
    strides: Any,
    rates: Any,
    padding: Any,
    name: str | None = None,
    *,
    data_format: str | None = "NHWC",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Of a dilation."""
    return _morphology(op, input, filter, out_backprop, (strides, padding, data_format, rates), out, num_threads)


@op_of(_dilation2d_gradient, MAX_GRAD, 2, "NHWC")
def dilation2d_backprop_input() -> None:
    """Gradient of `dilation2d` with respect to input: dx[n,i,c] = sum of out_backprop[n,o,c] over the first maximums at i.

    Parameters
    ----------
    input, filter, strides, padding, name, data_format, out, num_threads
        As in `dilation2d`.
    out_backprop : array_like, (N, o, o, C) or (N, C, o, o)
        The gradient with respect to the op's output.
    rates : int or sequence
        The op's dilations.

    Returns
    -------
    ndarray
        Of the shape of the input.

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Notes
    -----
    Of equal maxima the first in row-major order gets all. The same bits for any number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x, w = np.array([1, 9, 2], np.float32).reshape(1, 1, 3, 1), np.zeros((1, 3, 1), np.float32)
    >>> nn.dilation2d_backprop_input(x, w, np.ones_like(x), 1, 1, "SAME").ravel()
    array([0., 3., 0.], dtype=float32)

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/Dilation2DBackpropInput
    """


@op_of(_dilation2d_gradient, FILTER_GRAD, 2, "NHWC")
def dilation2d_backprop_filter() -> None:
    """Gradient of `dilation2d` with respect to filters: dw[k,c] = sum of out_backprop[n,o,c], first maximums at k.

    Arguments, errors and ties as in `dilation2d_backprop_input`.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x, w = np.array([1, 9, 2], np.float32).reshape(1, 1, 3, 1), np.zeros((1, 3, 1), np.float32)
    >>> nn.dilation2d_backprop_filter(x, w, np.ones_like(x), 1, 1, "SAME").ravel()
    array([1., 1., 1.], dtype=float32)

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/Dilation2DBackpropFilter
    """


def _erosion2d_gradient(
    op: Op,
    value: Any,
    filter: Any,
    out_backprop: Any,
    strides: Any,
    rates: Any,
    padding: Any,
    name: str | None = None,
    *,
    data_format: str | None = "NHWC",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Of an erosion."""
    return _morphology(op, value, filter, out_backprop, (strides, padding, data_format, rates), out, num_threads)


@op_of(_erosion2d_gradient, MAX_GRAD, 2, "NHWC")
def erosion2d_backprop_input() -> None:
    """Gradient of `erosion2d` with respect to value: dx[n,i,c] = sum of out_backprop[n,o,c] over the first minimums at i.

    Arguments, errors and ties as in `dilation2d_backprop_input`.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x, w = np.array([1, 9, 2], np.float32).reshape(1, 1, 3, 1), np.zeros((1, 3, 1), np.float32)
    >>> nn.erosion2d_backprop_input(x, w, np.ones_like(x), 1, 1, "SAME").ravel()
    array([2., 0., 1.], dtype=float32)

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/Dilation2DBackpropInput
    """


@op_of(_erosion2d_gradient, FILTER_GRAD, 2, "NHWC")
def erosion2d_backprop_filter() -> None:
    """Gradient of `erosion2d` with respect to filters: dw[K-1-k,c] = -sum of out_backprop[n,o,c], first minimums at k.

    Arguments, errors and ties as in `dilation2d_backprop_input`; K-1-k, as erosion turns the filters around.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x, w = np.array([1, 9, 2], np.float32).reshape(1, 1, 3, 1), np.zeros((1, 3, 1), np.float32)
    >>> nn.erosion2d_backprop_filter(x, w, np.ones_like(x), 1, 1, "SAME").ravel()
    array([ 0., -2., -1.], dtype=float32)

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/Dilation2DBackpropFilter
    """
