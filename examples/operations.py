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
def doubling(channels: int) -> Callable[..., Array]:
    """An image doubled bilinearly, inside: every channel by itself in a transposed convolution.

    Pixel 2i is 1/4 of pixel i - 1 and 3/4 of pixel i, pixel 2i + 1 is 3/4 of pixel i and 1/4 of pixel i + 1.
    """
    near = np.float32([0.25, 0.75, 0.75, 0.25])
    filters = np.multiply.outer(near, near)[..., None, None].repeat(channels, 3)
    return nn.plan(nn.conv2d_transpose, filters, output_shape=None, strides=2, padding="SAME", groups=channels)


@cache
def adding(channels: int) -> Callable[..., Array]:
    """The sum of two images, on all threads: each channel times one, and a residual."""
    return nn.plan(nn.depthwise_conv2d, np.ones((1, 1, channels, 1), np.float32), strides=1, padding="VALID")


def add(x: Array, y: Array, out: Array | None = None) -> Array:
    return adding(x.shape[3])(x, out, residual=y) if x.ndim == 4 and x.shape == y.shape else np.add(x, y, out=out)


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
        doubling(c)(x, out=out)
        # What is outside counts as zero there, but here as the edge: 3/4 of it is all that is left.
        out[:, :: 2 * h - 1] *= 4 / 3
        out[:, :, :: 2 * w - 1] *= 4 / 3
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


@cache
def mean_of_images(h: int, w: int, channels: int) -> nn.Plan:
    """A window as large as the image, whose weights are all alike."""
    return nn.plan(
        nn.depthwise_conv2d, np.full((h, w, channels, 1), 1 / (h * w), np.float32), strides=1, padding="VALID"
    )


def reduce_mean(x: Array, axes: list[int], keepdims: bool, out: Array | None = None) -> Array:
    """The mean; over all of an image by a plan, which has less to find out than any function at its call."""
    if x.ndim != 4 or sorted(axes) != [1, 2]:
        return x.mean(tuple(axes), keepdims=keepdims, out=out)
    y = mean_of_images(*x.shape[1:])(x, None if out is None else out.reshape(len(x), 1, 1, -1))
    return y if keepdims else y.reshape(len(x), -1)


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
    "add": add,
    "concat": concat,
    "resize": resize,
    "relu": lambda x, out=None: np.maximum(x, 0, out=out),
    "relu6": lambda x, out=None: np.clip(x, 0, 6, out=out),
    "reduce_mean": reduce_mean,
    "scale_shift": filling(lambda x, scale, shift: x * scale + shift),
    "reshape": filling(lambda x, shape: x.reshape(len(x), *shape)),
    "leaky_relu": filling(lambda x, alpha: np.where(x > 0, x, alpha * x)),
    "sigmoid": filling(lambda x: 0.5 + 0.5 * np.tanh(0.5 * x)),
    "softmax": filling(softmax),
}
