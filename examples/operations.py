"""What networks need besides convolutions: op(*inputs, **parameters, **weights, out=None) on channels-last arrays."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

import cyconv as nn

Array = np.ndarray[Any, Any]


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def interpolate(x: Array, size: int, axis: int, half_pixel: bool) -> Array:
    """Linear interpolation along an axis."""
    before = x.shape[axis]
    at = (np.arange(size) + 0.5) * before / size - 0.5 if half_pixel else np.arange(size) * before / size
    at = np.clip(at, 0, before - 1)
    low = at.astype(int)
    high = np.minimum(low + 1, before - 1)
    part = np.expand_dims((at - low).astype(x.dtype), tuple(range(1, x.ndim - axis)))
    start = x.take(low, axis)
    return start + (x.take(high, axis) - start) * part


@cache
def doubling(channels: int) -> dict[tuple[int, int], Callable[..., Array]]:
    """For even and odd rows and columns of an image doubled bilinearly: a depthwise convolution of the small image.

    Pixel 2i is 1/4 of pixel i - 1 and 3/4 of pixel i, pixel 2i + 1 is 3/4 of pixel i and 1/4 of pixel i + 1.
    """
    near = {0: np.float32([0.25, 0.75]), 1: np.float32([0.75, 0.25])}
    return {
        (p, q): nn.plan(
            nn.depthwise_conv2d,
            np.multiply.outer(near[p], near[q])[..., None, None].repeat(channels, 2),
            strides=1,
            padding=[(1 - p, p), (1 - q, q)],
            padding_mode="replicate",
        )
        for p in (0, 1)
        for q in (0, 1)
    }


def resize(
    x: Array, size: tuple[int, int], half_pixel: bool, mode: str, align_corners: bool, out: Array | None = None
) -> Array:
    """Bilinear resize of a batch of images (n, h, w, c)."""
    if mode != "bilinear" or align_corners:
        raise ValueError(f"resize: mode={mode!r} with align_corners={align_corners} is not used by any network here")
    n, h, w, c = x.shape
    if out is None:
        out = np.empty((n, *size, c), x.dtype)
    if half_pixel and tuple(size) == (2 * h, 2 * w):
        for (row, column), convolution in doubling(c).items():
            convolution(x, out=out[:, row::2, column::2])
    else:
        out[...] = interpolate(interpolate(x, size[0], 1, half_pixel), size[1], 2, half_pixel)
    return out


def concat(*xs: Array, axis: int, out: Array | None = None) -> Array:
    """Inputs side by side; those that already lie where they belong in `out` stay there."""
    if out is None:
        return np.concatenate(xs, axis)
    start = 0
    for x in xs:
        part = out[..., start : start + x.shape[-1]]
        if part.__array_interface__["data"] != x.__array_interface__["data"]:
            part[...] = x
        start += x.shape[-1]
    return out


def filling(function: Callable[..., Array]) -> Callable[..., Array]:
    """The same function with an argument `out`."""

    def filled(*xs: Array, out: Array | None = None, **parameters: Any) -> Array:
        y = function(*xs, **parameters)
        if out is None:
            return y
        out[...] = y
        return out

    return filled


OPS: dict[str, Callable[..., Array]] = {
    "max_pool": nn.max_pool,
    "avg_pool": nn.avg_pool,
    "add": np.add,
    "concat": concat,
    "resize": resize,
    "relu": lambda x, out=None: np.maximum(x, 0, out=out),
    "relu6": lambda x, out=None: np.clip(x, 0, 6, out=out),
    "reduce_mean": lambda x, axes, keepdims, out=None: x.mean(tuple(axes), keepdims=keepdims, out=out),
    "scale_shift": filling(lambda x, scale, shift: x * scale + shift),
    "reshape": filling(lambda x, shape: x.reshape(len(x), *shape)),
    "leaky_relu": filling(lambda x, alpha: np.where(x > 0, x, alpha * x)),
    "sigmoid": filling(lambda x: 0.5 + 0.5 * np.tanh(0.5 * x)),
    "softmax": filling(softmax),
}
