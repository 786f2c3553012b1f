"""The oracle: every op as its formula in plain NumPy, looping over nothing but the taps of the window.

Everything rests on one relation. Along each axis of the window, tap k joins output o and input

    i = o*stride + k*dilation - lo

where lo is the padding before the axis; a tap that falls outside the input joins nothing (padding modes other than
zeros first extend the input, as numpy.pad does). A convolution adds x[i] * w[k] to y[o], its transpose y[o] * w[k] to
x[i], its filter gradient x[i] * y[o] to w[k]; a pool takes the maximum or the mean of the x[i] of each o.

Names and arguments are those of the public ops, less `out` and `num_threads`. float16 and bfloat16 are computed in
float32 and rounded once, int32 wraps; `accumulate` names another dtype to compute and answer in. Nothing is shared with
the fast code: sizes, padding and layouts are derived here a second time, so that comparing the two means something.
Arguments are not checked.

>>> import numpy as np
>>> conv1d(np.array([[[1.0], [2.0], [4.0]]]), np.array([[[1.0]], [[10.0]]]), 1, "VALID")[0, :, 0]
array([21., 42.])
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Index = tuple[slice, ...]


# ----------------------------------------------------------------------------------------------------------- geometry


class _Axis(NamedTuple):
    """One axis of a window."""

    size: int
    taps: int
    stride: int
    dilation: int
    lo: int
    hi: int

    @property
    def out(self) -> int:
        """How many windows lie inside the padded axis."""
        return max(0, (self.size + self.lo + self.hi - (self.taps - 1) * self.dilation - 1) // self.stride + 1)

    def join(self, k: int) -> tuple[slice, slice]:
        """The inputs that tap k joins to an output, and those outputs."""
        shift = k * self.dilation - self.lo
        first = max(0, -(shift // self.stride))
        count = max(0, min(self.out, (self.size - 1 - shift) // self.stride + 1) - first)
        start = first * self.stride + shift
        return slice(start, start + count * self.stride, self.stride), slice(first, first + count)


def _taps(axes: Sequence[_Axis]) -> Iterator[tuple[tuple[int, ...], Index, Index]]:
    """Every tap in row-major order, with the part of x[n,i,...] and the part of y[n,o,...] that it joins."""
    for tap in np.ndindex(*(a.taps for a in axes)):
        x, y = zip(*(a.join(k) for a, k in zip(axes, tap)))
        yield tap, (slice(None), *x), (slice(None), *y)


class _Layout(NamedTuple):
    """How an argument's axes are ordered: [*lead, *spatial, C], or [*lead, C, *spatial] with the channels first."""

    rank: int
    first: bool

    def canonical(self, value: Any, dtype: Any = None) -> Array:
        """value as [N, *spatial, C]."""
        x: Array = np.asarray(value, dtype)
        x = np.moveaxis(x, -self.rank - 1, -1) if self.first else x
        return x.reshape(math.prod(self.lead(x)), *x.shape[-self.rank - 1 :])

    def restore(self, y: Array, lead: Sequence[int], dtype: Any) -> Array:
        """The inverse of canonical, rounded to dtype."""
        y = y.reshape(*lead, *y.shape[1:])
        return (np.moveaxis(y, -1, -self.rank - 1) if self.first else y).astype(dtype, "C")

    def lead(self, x: Any) -> tuple[int, ...]:
        """The leading (batch) dimensions of an argument."""
        return tuple(np.shape(x)[: np.ndim(x) - self.rank - 1])

    def order(self, values: list[Any]) -> list[Any]:
        """Values for [N, *spatial, C] or [N, C, *spatial] as those for [*spatial, C]."""
        return values[2:] + values[1:2] if self.first else values[1:]

    def steps(self, value: Any) -> list[int]:
        """A stride, dilation or window as an int for each of [*spatial, C]."""
        values = [int(v) for v in np.ravel(1 if value is None else value)]
        if len(values) == self.rank + 2:
            return self.order(values)
        return (values * self.rank if len(values) == 1 else values) + [1]

    def pads(self, padding: Any, i: int, size: int, taps: int, stride: int, dilation: int) -> tuple[int, int]:
        """Padding before and after axis i of [*spatial, C]."""
        if isinstance(padding, str):
            # SAME: ceil(size / stride) windows, the odd pixel after. CAUSAL: the first axis is time, others are SAME.
            reach = (taps - 1) * dilation
            total = max(0, (-(-size // stride) - 1) * stride + reach + 1 - size)
            same = total // 2, total - total // 2
            rule = {"VALID": (0, 0), "FULL": (reach, reach), "SAME": same, "SAME_LOWER": same[::-1]}
            return (rule | {"CAUSAL": same if i else (reach, 0)})[padding.upper()]
        pairs = [(padding, padding)] * self.rank if np.ndim(padding) == 0 else [(lo, hi) for lo, hi in padding]
        lo, hi = (self.order(pairs) if len(pairs) == self.rank + 2 else [*pairs, (0, 0)])[i]
        return int(lo), int(hi)

    def axes(self, sizes: Sequence[int], taps: Any, strides: Any, padding: Any, dilations: Any) -> list[_Axis]:
        """The axes of a window over sizes: [*spatial], or [*spatial, C]."""
        steps = zip(sizes, taps, self.steps(strides), self.steps(dilations))
        return [_Axis(*step, *self.pads(padding, i, *step)) for i, step in enumerate(steps)]

    def transposed(self, size: int, a: _Axis, padding: Any) -> int:
        """The smallest axis whose windows, like a's, are size; SAME and CAUSAL: the largest."""
        if isinstance(padding, str) and padding.upper() not in ("VALID", "FULL"):
            return size * a.stride
        return max(0, (size - 1) * a.stride + (a.taps - 1) * a.dilation + 1 - a.lo - a.hi)


def _layout(rank: int, data_format: str | None) -> _Layout:
    return _Layout(rank, data_format == "channels_first" or (data_format or "").startswith("NC"))


def _dtypes(x: Any, accumulate: Any = None) -> tuple[Any, Any]:
    """The dtype to compute in and the dtype to answer in."""
    native = np.asarray(x).dtype.newbyteorder("=")
    return accumulate or (np.float32 if native.name in ("float16", "bfloat16") else native), accumulate or native


def _extend(x: Array, axes: list[_Axis], mode: Any) -> tuple[Array, list[_Axis], list[Array]]:
    """x with its padding carried out, its axes then, and along each the origin of every position (-1: none)."""
    if mode in ("zeros", ("constant", 0)):
        return x, axes, []
    numpy_mode: Any = {"replicate": "edge", "circular": "wrap"}.get(mode, mode) if isinstance(mode, str) else "constant"
    none: Any = {"constant_values": -1} if numpy_mode == "constant" else {}
    origins = [np.pad(np.arange(a.size), (a.lo, a.hi), numpy_mode, **none) for a in axes]
    for axis, origin in enumerate(origins, 1):
        fill = np.full((*x.shape[:axis], 1, *x.shape[axis + 1 :]), mode[1] if none else 0, x.dtype)
        x = np.concatenate([x, fill], axis).take(origin, axis)
    return x, [a._replace(size=a.size + a.lo + a.hi, lo=0, hi=0) for a in axes], origins


def _fold(x: Array, axes: list[_Axis], origins: list[Array]) -> Array:
    """The transpose of _extend: every position added to its origin."""
    for axis, origin in enumerate(origins, 1):
        folded = np.zeros((axes[axis - 1].size + 1, *np.moveaxis(x, axis, 0).shape[1:]), x.dtype)
        np.add.at(folded, origin, np.moveaxis(x, axis, 0))
        x = np.moveaxis(folded[:-1], 0, axis)
    return x


# -------------------------------------------------------------------------------------- convolution and its transposes


def _grouped(x: Array, groups: int) -> Array:
    """x[..., groups, channels of a group]."""
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


def _correlate(x: Array, w: Array, axes: list[_Axis]) -> Array:
    """y[n,o,m] = sum_{k,c} x[n, o*stride + k*dilation - lo, c] w[k,c,m], c running over the channels of m's group."""
    groups = x.shape[-1] // w.shape[-2]
    y = np.zeros((len(x), *(a.out for a in axes), groups, w.shape[-1] // groups), x.dtype)
    for tap, xs, ys in _taps(axes):
        y[ys] += np.einsum("...gc,cgm->...gm", _grouped(x[xs], groups), _grouped(w[tap], groups))
    return y.reshape(*y.shape[:-2], w.shape[-1])


def _spread(y: Array, w: Array, axes: list[_Axis], groups: int) -> Array:
    """x[n,i,c] = sum of y[n,o,m] w[k,c,m] over the k, o, m with o*stride + k*dilation - lo = i."""
    x = np.zeros((len(y), *(a.size for a in axes), groups, w.shape[-2]), y.dtype)
    for tap, xs, ys in _taps(axes):
        x[xs] += np.einsum("...gm,cgm->...gc", _grouped(y[ys], groups), _grouped(w[tap], groups))
    return x.reshape(*x.shape[:-2], groups * w.shape[-2])


def _match(x: Array, y: Array, axes: list[_Axis], groups: int) -> Array:
    """w[k,c,m] = sum_{n,o} x[n, o*stride + k*dilation - lo, c] y[n,o,m]."""
    w = np.zeros((*(a.taps for a in axes), x.shape[-1] // groups, y.shape[-1]), x.dtype)
    for tap, xs, ys in _taps(axes):
        pixels = math.prod(y[ys].shape[:-1])
        terms = (_grouped(a.reshape(pixels, a.shape[-1]), groups) for a in (x[xs], y[ys]))
        w[tap] = np.einsum("pgc,pgm->cgm", *terms).reshape(w.shape[-2:])
    return w


_ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "relu": lambda y: np.maximum(y, 0),
    "relu6": lambda y: np.minimum(np.maximum(y, 0), 6),
    "clip": lambda y, low, high: np.minimum(np.maximum(y, low), high),
    "leaky_relu": lambda y, slope=0.2: np.where(y > 0, y, np.asarray(slope, y.dtype) * y),
    "elu": lambda y: np.where(y > 0, y, np.expm1(y)),
    "sigmoid": lambda y: 1 / (1 + np.exp(-y)),
    "tanh": np.tanh,
    "silu": lambda y: y / (1 + np.exp(-y)),
    "gelu": lambda y: y * (1 + np.vectorize(math.erf, [y.dtype])(y / math.sqrt(2))) / 2,
}


def _activate(y: Array, activation: Any) -> Any:
    name, *parameters = [activation] if isinstance(activation, str) else activation
    return _ACTIVATIONS[name](y, *parameters)


@np.errstate(all="ignore")
def _finish(
    y: Array, like: _Layout, lead: Any, dtype: Any, bias: Any = None, residual: Any = None, activation: Any = None
) -> Array:
    """activation(y + bias + residual), rounded once, in the caller's layout."""
    y = y if bias is None else y + np.asarray(bias, y.dtype)
    y = y if residual is None else y + like.canonical(residual, y.dtype)
    return like.restore(y if activation is None else _activate(y, activation), lead, dtype)


@np.errstate(all="ignore")
def convolution(
    input: Any, filters: Any, strides: Any = 1, padding: Any = "VALID", data_format: Any = None,
    dilations: Any = None, name: Any = None, *, padding_mode: Any = "zeros", groups: Any = None,
    accumulate: Any = None, **epilogue: Any
) -> Array:  # fmt: skip
    """y[n,o,m] = sum_{k,c} x[n, o*s + k*d - lo, c] w[k,c,m], over as many axes as the filters have."""
    like, (dtype, answer) = _layout(np.ndim(filters) - 2, data_format), _dtypes(input, accumulate)
    x, w = like.canonical(input, dtype), np.asarray(filters, dtype)
    x, axes, _ = _extend(x, like.axes(x.shape[1:-1], w.shape[:-2], strides, padding, dilations), padding_mode)
    return _finish(_correlate(x, w, axes), like, like.lead(input), answer, **epilogue)


conv2d = conv3d = convolution


def conv1d(input: Any, filters: Any, stride: Any, *args: Any, **extras: Any) -> Array:
    """y[n,o,m] = sum_{k,c} x[n, o*s + k*d - lo, c] w[k,c,m]: convolution along one axis."""
    return convolution(input, filters, stride, *args, **extras)


def atrous_conv2d(
    value: Any, filters: Any, rate: Any, padding: Any, name: Any = None, *, strides: Any = 1, **extras: Any
) -> Array:
    """y[n,o,m] = sum_{k,c} x[n, o + k*rate - lo, c] w[k,c,m]: conv2d with its taps rate pixels apart."""
    return convolution(value, filters, strides, padding, dilations=rate, **extras)


def depthwise_conv2d(input: Any, filter: Any, *args: Any, **extras: Any) -> Array:
    """y[n,o,c*M+q] = sum_k x[n, o*s + k*d - lo, c] w[k,c,q]: every channel has M filters of its own."""
    return convolution(input, _per_channel(filter), *args, **extras)


def _per_channel(filter: Any) -> Array:
    """A depthwise filter [*taps, C, M] as that of a convolution in C groups, [*taps, 1, C*M]."""
    *taps, channels, multiplier = np.shape(filter)
    return np.reshape(filter, (*taps, 1, channels * multiplier))


def separable_conv2d(
    input: Any, depthwise_filter: Any, pointwise_filter: Any, strides: Any, padding: Any, data_format: Any = None,
    dilations: Any = None, name: Any = None, *, depthwise_bias: Any = None, depthwise_activation: Any = None,
    padding_mode: Any = "zeros", accumulate: Any = None, **extras: Any
) -> Array:  # fmt: skip
    """y[n,o,m] = sum_j depthwise[n,o,j] pointwise[0,0,j,m]: depthwise_conv2d, then one tap over all its channels."""
    first: Any = {"bias": depthwise_bias, "activation": depthwise_activation, "padding_mode": padding_mode}
    dtype, answer = _dtypes(input, accumulate)
    y = depthwise_conv2d(input, depthwise_filter, strides, padding, data_format, dilations, accumulate=dtype, **first)
    with np.errstate(all="ignore"):
        return convolution(y, pointwise_filter, 1, "VALID", data_format, **extras).astype(answer)


def bias_add(value: Any, bias: Any, data_format: Any = None, name: Any = None) -> Array:
    """y[..., c] = x[..., c] + b[c]."""
    like, (dtype, answer) = _layout(np.ndim(value) - 2, data_format), _dtypes(value)
    return _finish(like.canonical(value, dtype), like, np.shape(value)[:1], answer, bias)


@np.errstate(all="ignore")
def conv_transpose(
    input: Any, filters: Any, output_shape: Any, strides: Any, padding: Any = "SAME", data_format: Any = None,
    dilations: Any = None, name: Any = None, *, output_padding: Any = None, padding_mode: Any = "zeros",
    groups: Any = None, accumulate: Any = None, **epilogue: Any
) -> Array:  # fmt: skip
    """y[n,i,c] = sum of x[n,o,m] w[k,c,m] over the k, o, m with o*s + k*d - lo = i.

    The transpose of the convolution that turns output_shape (whole, or its spatial part) into the shape of the input.
    Without output_shape: the smallest such one (SAME and CAUSAL: input * strides), and output_padding more.
    """
    like, (dtype, answer) = _layout(np.ndim(filters) - 2, data_format), _dtypes(input, accumulate)
    g, w = like.canonical(input, dtype), np.asarray(filters, dtype)
    if output_shape is None:
        smallest = zip(g.shape[1:-1], like.axes(w.shape[:-2], w.shape[:-2], strides, padding, dilations))
        spatial = [like.transposed(n, a, padding) for n, a in smallest]
        output_shape = np.add(spatial, output_padding or 0)
    *spatial, channels = [int(s) for s in output_shape][-like.rank - 1 :]
    if len(output_shape) == like.rank:
        spatial, channels = [*spatial, channels], (groups or 1) * w.shape[-2]
    elif like.first:
        spatial, channels = [*spatial[1:], channels], spatial[0]
    axes = like.axes(spatial, w.shape[:-2], strides, padding, dilations)
    _, extended, origins = _extend(np.zeros((0, *spatial, 0)), axes, padding_mode)
    x = _fold(_spread(g, w, extended, channels // w.shape[-2]), axes, origins)
    return _finish(x, like, like.lead(input), answer, **epilogue)


conv1d_transpose = conv2d_transpose = conv3d_transpose = conv_transpose


def atrous_conv2d_transpose(
    value: Any, filters: Any, output_shape: Any, rate: Any, padding: Any, name: Any = None, *, strides: Any = 1,
    **extras: Any
) -> Array:  # fmt: skip
    """y[n,i,c] = sum of x[n,o,m] w[k,c,m] over the k, o, m with o + k*rate - lo = i: atrous_conv2d transposed."""
    return conv_transpose(value, filters, output_shape, strides, padding, dilations=rate, **extras)


# ----------------------------------------------------------------------------------------------------------- gradients


def conv2d_backprop_input(input_sizes: Any, filter: Any, out_backprop: Any, *args: Any, **extras: Any) -> Array:
    """dx[n,i,c] = sum of dy[n,o,m] w[k,c,m] over the k, o, m with o*s + k*d - lo = i."""
    return conv_transpose(out_backprop, filter, input_sizes, *args, **extras)


def depthwise_conv2d_backprop_input(input_sizes: Any, filter: Any, *args: Any, **extras: Any) -> Array:
    """dx[n,i,c] = sum of dy[n,o,c*M+q] w[k,c,q] over the k, o, q with o*s + k*d - lo = i."""
    return conv2d_backprop_input(input_sizes, _per_channel(filter), *args, **extras)


@np.errstate(all="ignore")
def conv2d_backprop_filter(
    input: Any, filter_sizes: Any, out_backprop: Any, strides: Any, padding: Any, data_format: Any = None,
    dilations: Any = None, *, padding_mode: Any = "zeros", groups: Any = None, accumulate: Any = None
) -> Array:  # fmt: skip
    """dw[k,c,m] = sum_{n,o} x[n, o*s + k*d - lo, c] dy[n,o,m]."""
    like, (dtype, answer) = _layout(len(filter_sizes) - 2, data_format), _dtypes(input, accumulate)
    x, g, sizes = like.canonical(input, dtype), like.canonical(out_backprop, dtype), [int(s) for s in filter_sizes]
    x, axes, _ = _extend(x, like.axes(x.shape[1:-1], sizes[:-2], strides, padding, dilations), padding_mode)
    return _match(x, g, axes, x.shape[-1] // sizes[-2]).astype(answer)


def depthwise_conv2d_backprop_filter(input: Any, filter_sizes: Any, *args: Any, **extras: Any) -> Array:
    """dw[k,c,q] = sum_{n,o} x[n, o*s + k*d - lo, c] dy[n,o,c*M+q]."""
    sizes = _per_channel(np.empty(filter_sizes)).shape
    return conv2d_backprop_filter(input, sizes, *args, **extras).reshape(filter_sizes)


conv1d_backprop_input = conv3d_backprop_input = conv2d_backprop_input
conv1d_backprop_filter = conv3d_backprop_filter = conv2d_backprop_filter


def bias_add_grad(out_backprop: Any, data_format: Any = None) -> Array:
    """db[c] = sum of dy[..., c]."""
    dtype, answer = _dtypes(out_backprop)
    g = _layout(np.ndim(out_backprop) - 2, data_format).canonical(out_backprop, dtype)
    return np.asarray(g.sum(tuple(range(g.ndim - 1)), dtype=dtype)).astype(answer)


# -------------------------------------------------------------------------------------------------------------- windows


def _window(x: Any, like: _Layout, dtype: Any, ksize: Any, *args: Any) -> tuple[Array, list[_Axis]]:
    """The canonical input and its axes, the channels being one more: a pool may run over them."""
    x = like.canonical(x, dtype)
    return x, like.axes(x.shape[1:], like.steps(ksize), *args)


def _sum(x: Array, axes: list[_Axis]) -> Array:
    y = np.zeros((len(x), *(a.out for a in axes)), x.dtype)
    for _, xs, ys in _taps(axes):
        y[ys] += x[xs]
    return y


def _count(x: Array, axes: list[_Axis]) -> Array:
    """The inputs in every window; 1 where there are none, so that their mean is 0."""
    return np.maximum(_sum(np.ones_like(x), axes), 1)


def _largest(x: Array, axes: list[_Axis], w: Any = 0) -> tuple[Array, Array]:
    """max_k x[i] + w[k] of every window and the number of the first tap that gives it (-1: none); NaN beats all."""
    trailing = x.shape[1 + len(axes) :]
    by = np.full((len(x), *(a.out for a in axes), *trailing), -1)
    best = np.full(by.shape, np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf, x.dtype)
    for number, (tap, xs, ys) in enumerate(_taps(axes)):
        value, old = x[xs] + (w[tap] if np.ndim(w) else x.dtype.type(0)), best[ys]
        better = (by[ys] < 0) | (value > old) | ((value != value) & (old == old))
        best[ys], by[ys] = np.where(better, value, old), np.where(better, number, by[ys])
    return best, by


def _route(y: Array, by: Array, axes: list[_Axis], like: Array) -> Array:
    """x[n,i,...] = sum of y[n,o,...] over the windows o whose tap `by` is at i."""
    x = np.zeros(like.shape, y.dtype)
    for number, (_, xs, ys) in enumerate(_taps(axes)):
        x[xs] += np.where(by[ys] == number, y[ys], 0)
    return x


def _pool(input: Any, rank: int, mean: bool, data_format: Any, *args: Any) -> Array:
    like, (dtype, answer) = _layout(rank, data_format), _dtypes(input)
    x, axes = _window(input, like, dtype, *args)
    with np.errstate(all="ignore"):
        y = _sum(x, axes) / _count(x, axes) if mean else _largest(x, axes)[0]
        return like.restore(y, like.lead(input), answer)


def max_pool(input: Any, ksize: Any, strides: Any, padding: Any, data_format: Any = None, name: Any = None) -> Array:
    """y[n,o,c] = max_k x[n, o*s + k - lo, c], taps outside the input left out."""
    return _pool(input, np.ndim(input) - 2, False, data_format, ksize, strides, padding, None)


def avg_pool(input: Any, ksize: Any, strides: Any, padding: Any, data_format: Any = None, name: Any = None) -> Array:
    """y[n,o,c] = mean_k x[n, o*s + k - lo, c], taps outside the input left out and not counted."""
    return _pool(input, np.ndim(input) - 2, True, data_format, ksize, strides, padding, None)


def pool(
    input: Any, window_shape: Any, pooling_type: str, strides: Any = None, padding: Any = "VALID",
    data_format: Any = None, dilations: Any = None, name: Any = None
) -> Array:  # fmt: skip
    """max_pool or avg_pool over len(window_shape) axes, with taps that are dilations apart."""
    mean = pooling_type.upper() == "AVG"
    return _pool(input, len(window_shape), mean, data_format, window_shape, strides, padding, dilations)


max_pool1d = max_pool2d = max_pool3d = max_pool
avg_pool1d = avg_pool2d = avg_pool3d = avg_pool


def _positions(x: Array, axes: list[_Axis], by: Array) -> Array:
    """The flat position in [*spatial, C] of the input that tap `by` of every window is."""
    flat, at = np.arange(math.prod(x.shape[1:])).reshape(1, *x.shape[1:]), by.copy()
    for number, (_, xs, ys) in enumerate(_taps(axes)):
        at[ys] = np.where(by[ys] == number, flat[xs], at[ys])
    return at


def max_pool_with_argmax(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: Any = "NHWC", output_dtype: Any = np.int64,
    include_batch_in_index: bool = False, name: Any = None
) -> tuple[Array, Array]:  # fmt: skip
    """max_pool2d and the (h*W + w)*C + c of every maximum, plus n*H*W*C if the batch is to be in the index."""
    like, (dtype, answer) = _layout(2, data_format), _dtypes(input)
    x, axes = _window(input, like, dtype, ksize, strides, padding, None)
    y, by = _largest(x, axes)
    at = _positions(x, axes, by)
    if include_batch_in_index:
        at += np.arange(len(x)).reshape(-1, 1, 1, 1) * math.prod(x.shape[1:])
    return like.restore(y, like.lead(input), answer), like.restore(at, like.lead(input), output_dtype)


def max_pool_grad(
    orig_input: Any, orig_output: Any, grad: Any, ksize: Any, strides: Any, padding: Any, data_format: Any = None,
    *, dilations: Any = None
) -> Array:  # fmt: skip
    """dx[n,i,c] = sum of dy[n,o,c] over the windows o whose first maximum is at i."""
    like, (dtype, answer) = _layout(np.ndim(orig_input) - 2, data_format), _dtypes(grad)
    x, axes = _window(orig_input, like, _dtypes(orig_input)[0], ksize, strides, padding, dilations)
    dx = _route(like.canonical(grad, dtype), _largest(x, axes)[1], axes, x)
    return like.restore(dx, like.lead(orig_input), answer)


def avg_pool_grad(
    orig_input_shape: Any, grad: Any, ksize: Any, strides: Any, padding: Any, data_format: Any = None,
    *, dilations: Any = None
) -> Array:  # fmt: skip
    """dx[n,i,c] = sum of dy[n,o,c] / (inputs in window o) over the windows o that hold i."""
    like, (dtype, answer) = _layout(len(orig_input_shape) - 2, data_format), _dtypes(grad)
    x, axes = _window(np.zeros(orig_input_shape), like, dtype, ksize, strides, padding, dilations)
    share = like.canonical(grad, dtype) / _count(x, axes)
    for _, xs, ys in _taps(axes):
        x[xs] += share[ys]
    return like.restore(x, like.lead(grad), answer)


max_pool1d_grad = max_pool2d_grad = max_pool3d_grad = max_pool_grad
avg_pool1d_grad = avg_pool2d_grad = avg_pool3d_grad = avg_pool_grad


def _morphology(input: Any, filter: Any, *args: Any) -> tuple[Array, Array, list[_Axis], Array, Array]:
    """The maxima of dilation2d, the first tap that gave each, the axes, the input and the filter."""
    dtype, like = _dtypes(input)[0], _layout(2, None)
    x, w = like.canonical(input, dtype), np.asarray(filter, dtype)
    axes = like.axes(x.shape[1:-1], w.shape[:-1], *args)
    return *_largest(x, axes, w), axes, x, w


def dilation2d(
    input: Any, filters: Any, strides: Any, padding: Any, data_format: Any = "NHWC", dilations: Any = None,
    name: Any = None
) -> Array:  # fmt: skip
    """y[n,o,c] = max_k x[n, o*s + k*d - lo, c] + w[k,c], taps outside the input left out."""
    return _morphology(input, filters, strides, padding, dilations)[0].astype(_dtypes(input)[1])


def erosion2d(
    value: Any, filters: Any, strides: Any, padding: Any, data_format: Any = "NHWC", dilations: Any = None,
    name: Any = None
) -> Array:  # fmt: skip
    """y[n,o,c] = min_k x[n, o*s + k*d - lo, c] - w[K-1-k,c]: -dilation2d(-x) with the filters turned around."""
    return -dilation2d(-np.asarray(value), np.asarray(filters)[::-1, ::-1], strides, padding, data_format, dilations)


def dilation2d_backprop_input(
    input: Any, filter: Any, out_backprop: Any, strides: Any, rates: Any, padding: Any
) -> Array:
    """dx[n,i,c] = sum of dy[n,o,c] over the outputs o whose first maximum came from i."""
    _, by, axes, x, _ = _morphology(input, filter, strides, padding, rates)
    return _route(np.asarray(out_backprop, x.dtype), by, axes, x).astype(_dtypes(input)[1])


def dilation2d_backprop_filter(
    input: Any, filter: Any, out_backprop: Any, strides: Any, rates: Any, padding: Any
) -> Array:
    """dw[k,c] = sum of dy[n,o,c] over the outputs o whose first maximum came through tap k."""
    _, by, axes, x, w = _morphology(input, filter, strides, padding, rates)
    g, dw = np.asarray(out_backprop, x.dtype), np.zeros_like(w)
    for number, (tap, _, ys) in enumerate(_taps(axes)):
        dw[tap] = np.where(by[ys] == number, g[ys], 0).sum((0, 1, 2), dtype=x.dtype)
    return dw.astype(_dtypes(input)[1])


# ----------------------------------------------------------------------------------------------------------- neighbours


def _near(x: Array, radius: int) -> Array:
    """s[..., c] = sum of x[..., j] over |j - c| <= radius."""
    channels = np.arange(x.shape[-1])
    return np.asarray(x @ (abs(channels[:, None] - channels) <= radius).astype(x.dtype))


def lrn(
    input: Any, depth_radius: int = 5, bias: float = 1, alpha: float = 1, beta: float = 0.5, name: Any = None
) -> Array:
    """y[..., c] = x[..., c] / (bias + alpha * sum_{|j-c| <= depth_radius} x[..., j]^2)^beta."""
    dtype, answer = _dtypes(input)
    x = np.asarray(input, dtype)
    with np.errstate(all="ignore"):
        return np.asarray(x * (bias + alpha * _near(x * x, depth_radius)) ** -beta).astype(answer)


def lrn_grad(
    input_grads: Any, input_image: Any, output_image: Any, depth_radius: int = 5, bias: float = 1, alpha: float = 1,
    beta: float = 0.5
) -> Array:  # fmt: skip
    """dx[j] = dy[j] / N[j]^beta - 2 alpha beta x[j] sum_{|c-j| <= depth_radius} dy[c] y[c] / N[c], N as in lrn."""
    dtype, answer = _dtypes(input_image)
    g, x, y = (np.asarray(a, dtype) for a in (input_grads, input_image, output_image))
    with np.errstate(all="ignore"):
        n = bias + alpha * _near(x * x, depth_radius)
        return np.asarray(g * n**-beta - 2 * alpha * beta * x * _near(g * y / n, depth_radius)).astype(answer)


local_response_normalization = lrn


def space_to_batch(input: Any, block_shape: Any, paddings: Any, name: Any = None) -> Array:
    """y[b*N + n, o, ...] = x_padded[n, o*block + b, ...], b counting the positions in a block row-major."""
    block, x = [int(b) for b in np.ravel(block_shape)], np.asarray(input)
    x = np.pad(x, [(0, 0), *((int(lo), int(hi)) for lo, hi in paddings), *[(0, 0)] * (x.ndim - len(block) - 1)])
    parts = [x[:, *(slice(start, None, step) for start, step in zip(b, block))] for b in np.ndindex(*block)]
    return np.concatenate(parts)


def batch_to_space(input: Any, block_shape: Any, crops: Any, name: Any = None) -> Array:
    """y_uncropped[n, o*block + b, ...] = x[b*N + n, o, ...]: the inverse of space_to_batch."""
    block, x = [int(b) for b in np.ravel(block_shape)], np.asarray(input)
    sizes = [size * b for size, b in zip(x.shape[1:], block)]
    n = len(x) // math.prod(block)
    y = np.empty((n, *sizes, *x.shape[len(block) + 1 :]), x.dtype)
    for i, b in enumerate(np.ndindex(*block)):
        y[:, *(slice(start, None, step) for start, step in zip(b, block))] = x[i * n : (i + 1) * n]
    return y[:, *(slice(int(lo), size - int(hi)) for (lo, hi), size in zip(crops, sizes))].copy()


def space_to_depth(input: Any, block_size: int, data_format: Any = "NHWC", name: Any = None) -> Array:
    """y[n, i, j, (a*block + b)*C + c] = x[n, i*block + a, j*block + b, c]."""
    like = _layout(2, data_format)
    x = like.canonical(input)
    y = np.concatenate([x[:, a::block_size, b::block_size] for a, b in np.ndindex(block_size, block_size)], -1)
    return like.restore(y, like.lead(input), x.dtype)


def depth_to_space(input: Any, block_size: int, data_format: Any = "NHWC", name: Any = None) -> Array:
    """y[n, i*block + a, j*block + b, c] = x[n, i, j, (a*block + b)*C + c]: the inverse of space_to_depth."""
    like = _layout(2, data_format)
    x = like.canonical(input)
    n, h, w, c = x.shape
    y = np.empty((n, h * block_size, w * block_size, c // block_size**2), x.dtype)
    for (a, b), part in zip(np.ndindex(block_size, block_size), np.split(x, block_size**2, -1)):
        y[:, a::block_size, b::block_size] = part
    return like.restore(y, like.lead(input), x.dtype)
