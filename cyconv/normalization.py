"""Local response normalisation, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from cyconv import _isa, _threads, _window
from cyconv._problem import Array, array, delivered, dtype_code, integer, layout, misfit, operands, shown
from cyconv._windows import room_for


def _normalise(
    op: str,
    x: Array,
    code: int,
    others: tuple[Array, ...],
    depth_radius: Any,
    scalars: tuple[Any, Any, Any],
    data_format: Any,
    out: Any,
    num_threads: int | None,
) -> Array:
    """Both ops, once their arrays are checked."""
    if code == 2:
        raise TypeError(f"{op}: int32 has no meaning here, as results are fractions; convert the input to a float type")
    if x.ndim != 4:
        raise misfit(op, "input", (x.shape,), f"the input must have 4 dimensions, not {x.ndim} (shape {x.shape})")
    last = layout(op, data_format, 2)
    radius = integer(op, "depth_radius", depth_radius, 0)
    try:
        bias, alpha, beta = (float(v) for v in scalars)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{op}: bias, alpha and beta must be numbers, not {shown(scalars)}") from None
    result = room_for(op, out, x.shape, x.dtype, x, *others)
    seen: Any = [a if last else np.moveaxis(a, 1, -1) for a in (x, *others, result)]
    _window.lrn(
        code, seen[:-1], seen[-1], radius, bias, alpha, beta,
        _threads.wanted(op, num_threads), _isa.current(),
    )  # fmt: skip
    return delivered(out, result)


def local_response_normalization(
    input: Any,
    depth_radius: int = 5,
    bias: float = 1,
    alpha: float = 1,
    beta: float = 0.5,
    name: str | None = None,
    *,
    data_format: str | None = "NHWC",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Divide by the channels around: y[..., c] = x[..., c] / (bias + alpha * sum_{|j-c| <= depth_radius} x[..., j]^2)^beta.

    Parameters
    ----------
    input : array_like, (N, H, W, C) or (N, C, H, W)
        float32, float64, float16 or bfloat16.
    depth_radius : int
        0 or more; may exceed C.
    bias, alpha, beta : float
    name : str, optional
        Ignored.
    data_format : str, optional
        "NHWC" or "NCHW".
    out : ndarray, optional
        Takes the result; any strides.
    num_threads : int, optional
        How many threads at most. The result does not depend on it.

    Returns
    -------
    ndarray
        Of the shape and dtype of the input.

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Notes
    -----
    alpha is not divided by the size of the neighbourhood, as it is in PyTorch and ONNX. float16 and bfloat16 are
    computed in float32 and rounded once. The fastest values of beta are 0.5, 0.75 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.array([1, 2, 2], np.float32).reshape(1, 1, 1, 3)
    >>> nn.lrn(x, depth_radius=1, bias=0, beta=1).ravel().round(4)
    array([0.2   , 0.2222, 0.25  ], dtype=float32)

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/local_response_normalization
    """
    op = "local_response_normalization"
    x = array(op, "input", input)
    code = dtype_code(op, "input", x.dtype)
    return _normalise(op, x, code, (), depth_radius, (bias, alpha, beta), data_format, out, num_threads)


lrn = local_response_normalization


def lrn_grad(
    input_grads: Any,
    input_image: Any,
    output_image: Any,
    depth_radius: int = 5,
    bias: float = 1,
    alpha: float = 1,
    beta: float = 0.5,
    name: str | None = None,
    *,
    data_format: str | None = "NHWC",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient of `lrn`: dx[j] = dy[j] / N[j]^beta - 2 alpha beta x[j] sum_{|c-j| <= depth_radius} dy[c] y[c] / N[c].

    Parameters
    ----------
    input_grads, input_image, output_image : array_like, (N, H, W, C) or (N, C, H, W)
        dy, the gradient with respect to the op's output; x, its input; y, its output.
    depth_radius, bias, alpha, beta, name, data_format, out, num_threads
        As in `local_response_normalization`, whose denominator is N^beta.

    Returns
    -------
    ndarray
        Of the shape and dtype of input_image.

    Raises
    ------
    ShapeError, ValueError, TypeError
        In words that name the argument, the rule and the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import cyconv as nn
    >>> x = np.full((1, 1, 1, 1), 3.0)
    >>> nn.lrn_grad(np.ones_like(x), x, nn.lrn(x, bias=16), bias=16).item()  # d/dx x / sqrt(16 + x^2)
    0.128

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/LRNGrad
    """
    op = "lrn_grad"
    x, dy, code = operands(op, "input_image", input_image, "input_grads", input_grads)
    _, y, _ = operands(op, "input_image", x, "output_image", output_image)
    for arg, a in (("input_grads", dy), ("output_image", y)):
        if a.shape != x.shape:
            raise misfit(op, arg, (a.shape, x.shape), f"{arg}.shape={a.shape}, but input_image.shape={x.shape}")
    return _normalise(op, x, code, (dy, y), depth_radius, (bias, alpha, beta), data_format, out, num_threads)
