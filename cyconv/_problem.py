"""From TensorFlow-style arguments to one canonical form, or an error in words. Nothing below this file checks again."""

from __future__ import annotations

import math
import operator
import reprlib
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import islice, product
from typing import Any, NamedTuple, TypeVar

import numpy as np

from cyconv import _geometry as geometry
from cyconv._geometry import LIMIT, UNIT, Axis, JobAxis, Padding

T = TypeVar("T")
Shape = tuple[int, ...]
Array = np.ndarray[Any, np.dtype[Any]]
#: What a convolution calls its arguments: input, filters, strides, dilations.
Names = tuple[str, str, str, str]
#: How windows move, in kind and hashable: strides, padding, data_format, dilations.
Steps = tuple[int | Shape | None, str | int | tuple[Any, ...], str | None, int | Shape | None]

NAMES = ("input", "filters", "strides", "dilations")
ONE_BY_ONE: Steps = (1, "VALID", None, 1)
#: Storage types by name, in the order of the kernel tables; the last two are computed in float32.
DTYPES = ("float32", "float64", "int32", "float16", "bfloat16")
COMPUTE = ("float32", "float64", "int32", "float32", "float32")
MOST_DIMS = 64  #: of an array
PADDINGS = ("SAME", "VALID", "SAME_LOWER", "CAUSAL", "FULL")
#: Padding modes in the driver's order, with NumPy's names for two of them.
PADDING_MODES = {
    "zeros": 0,
    "constant": 0,
    "reflect": 1,
    "symmetric": 2,
    "replicate": 3,
    "edge": 3,
    "circular": 4,
    "wrap": 4,
}
#: How many spatial axes, and whether the channels are last.
LAYOUTS = {
    "NWC": (1, True),
    "NHWC": (2, True),
    "NDHWC": (3, True),
    "NCW": (1, False),
    "NCHW": (2, False),
    "NCDHW": (3, False),
}
ACTIVATIONS = {
    "relu": 1,
    "relu6": 1,
    "clip": 1,
    "leaky_relu": 2,
    "elu": 3,
    "sigmoid": 4,
    "tanh": 5,
    "silu": 6,
    "gelu": 7,
}


class ShapeError(ValueError):
    """Shapes that do not fit together; carries the op, the argument and the shapes."""

    def __init__(self, message: str, op: str = "", arg: str = "", shapes: tuple[Shape, ...] = ()) -> None:
        super().__init__(message)
        self.op, self.arg, self.shapes = op, arg, shapes


def misfit(op: str, arg: str, shapes: tuple[Shape, ...], text: str) -> ShapeError:
    """A ShapeError in the name of the op."""
    return ShapeError(f"{op}: {text}", op, arg, shapes)


MOST_PLANE_WIDTH = 8192  # of which scratch holds enough rows, padded


class Problem(NamedTuple):
    """A convolution in the form the drivers take: sizes, jobs, and how to read the filters."""

    op: str
    dtype: int
    channels_last: bool
    ndim: int
    batch: Shape
    in_channels: int
    out_channels: int
    groups: int
    sizes: tuple[int, int, int]
    outs: tuple[int, int, int]
    taps: tuple[int, int, int]
    axes: tuple[Axis, Axis, Axis]
    jobs: tuple[tuple[JobAxis, JobAxis, JobAxis], ...]
    filters: str
    padding_mode: int
    padding_value: float
    out_shape: Shape

    @property
    def zeros_outside(self) -> bool:
        """Whether terms that lie outside the input are zeros, which may be left out."""
        return self.padding_mode == 0 and self.padding_value == 0

    @property
    def flops(self) -> float:
        """Floating-point operations of its sums, term by term."""
        terms = sum(math.prod(axis.out * axis.taps for axis in job) for job in self.jobs)
        return 2.0 * math.prod(self.batch) * self.in_channels * self.out_channels / self.groups * terms

    @property
    def plane_width(self) -> int:
        """How many lanes a row of pixels fills where the depthwise driver takes these for lanes, not channels; else 0."""
        if self.channels_last or self.groups < self.in_channels or self.dtype > 1 or not self.zeros_outside:
            return 0
        if len(self.jobs) != 1:
            return self._pairs_width
        d, h, w = self.jobs[0]
        along = all(a.stride == w.stride < 3 and a.dilation == 1 and 0 <= a.lo < a.taps for a in (h, w))
        if not (along and h.taps == w.taps in (3, 5) and d.size == d.out == d.taps == 1 and h.size):
            return 0
        return min(w.size // w.stride, w.out) if max(w.size, w.out) <= MOST_PLANE_WIDTH else 0

    @property
    def _pairs_width(self) -> int:
        """The same of a transposed convolution of stride 2 whose outputs are pairs along both axes."""
        d, *both = self.axes
        if d.size * d.taps != 1 or len(self.jobs) != 4 or self.out_channels != self.in_channels:
            return 0
        if not all(geometry.in_pairs(a) for a in both) or both[0].taps != both[1].taps or (both[0].lo - both[1].lo) % 2:
            return 0
        pairs = [geometry.pairs_of_outputs(a) for a in both]
        wide = max(pairs[1].size, pairs[1].out) <= MOST_PLANE_WIDTH and min(a.lo for a in pairs) >= 0
        return min(pairs[1].size, pairs[1].out) if wide else 0

    @property
    def small_groups(self) -> bool:
        """Whether groups have 2, 4 or 8 channels and as many filters: a shuffle finds each in a vector."""
        return (
            1 < self.groups and self.in_channels == self.out_channels and self.in_channels // self.groups in (2, 4, 8)
        )


class SeparableProblem(NamedTuple):
    """A depthwise problem and the pointwise one that takes what it makes; the rest as of one problem."""

    first: Problem
    second: Problem
    op: str
    dtype: int
    batch: Shape
    sizes: tuple[int, int, int]
    in_channels: int
    out_channels: int
    out_shape: Shape


class Epilogue(NamedTuple):
    """What happens to a sum before it is stored: activation by number, and its two parameters."""

    activation: int
    low: float
    high: float


class StagedFilters(NamedTuple):
    """The filters of a separable convolution, and the checked bias and epilogue between its stages."""

    depthwise: Array
    pointwise: Array
    bias: Array | None
    epilogue: Epilogue

    @property
    def shape(self) -> tuple[Shape, Shape]:
        """Of both."""
        return self.depthwise.shape, self.pointwise.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """They have one."""
        return self.depthwise.dtype

    @property
    def nbytes(self) -> int:
        """Of both."""
        return self.depthwise.nbytes + self.pointwise.nbytes


# ---- arrays -----------------------------------------------------------------------------------------------------

_CODES: dict[np.dtype[Any], int] = {np.dtype(name): code for code, name in enumerate(DTYPES[:4])}


def refused(value: Any) -> bool:
    """Subclasses whose meaning would be lost. numpy.ma is not imported to ask: an array of its kind has done so."""
    return isinstance(value, np.matrix) or ("numpy.ma" in sys.modules and isinstance(value, np.ma.MaskedArray))


def dtype_code(op: str, arg: str, dtype: np.dtype[Any]) -> int:
    """The place of a dtype in DTYPES; bfloat16 is recognised by name, without importing ml_dtypes."""
    code = _CODES.get(dtype)
    if code is None:
        if dtype.name != "bfloat16" or dtype.itemsize != 2:
            raise TypeError(
                f"{op}: {arg} has dtype {dtype}; supported are {', '.join(DTYPES)}. Convert it with {arg}.astype(...)"
            )
        code = _CODES[dtype] = DTYPES.index("bfloat16")
    return code


def array(op: str, arg: str, value: Any, dtype: Any = None) -> Array:
    """An aligned ndarray in native byte order; copies only what is not. Of `dtype`, if it is a list: it has none itself."""
    if type(value) is not np.ndarray:
        if value is None:
            raise TypeError(f"{op}: {arg} is None; expected an array")
        if refused(value):
            raise TypeError(
                f"{op}: {arg} is a {type(value).__name__}, whose meaning would be lost; pass np.asarray({arg}) to drop it"
            )
        if getattr(value, "requires_grad", False):
            raise TypeError(f"{op}: {arg} is a tensor that requires grad; use cyconv.ext.torch, or pass {arg}.detach()")
        listed = isinstance(value, (list, tuple))
        try:
            value = np.asarray(value)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{op}: {arg} cannot be read as an array: {error}") from None
        if listed and isinstance(dtype, np.dtype):
            value = _cast(value, dtype)
    if not value.flags.aligned or not value.dtype.isnative:
        value = value.astype(value.dtype.newbyteorder("="))
    return value  # type: ignore[no-any-return]


def _cast(listed: Array, dtype: np.dtype[Any]) -> Array:
    """Python's numbers in a dtype of their kind: no fractions in integers, and integers only where they fit."""
    if listed.dtype.kind not in {"i": "iu", "u": "iu", "f": "iuf", "V": "iuf", "c": "iufc"}.get(dtype.kind, ""):
        return listed
    with np.errstate(all="ignore"):  # what overflows is infinite, as everywhere
        cast = listed.astype(dtype)
    return listed if dtype.kind in "iu" and (cast != listed).any() else cast


def pair(op: str, x_arg: str, x: Any, f_arg: str, f: Any) -> tuple[Array, Array]:
    """Both as arrays; a list beside an array takes its dtype."""
    return array(op, x_arg, x, getattr(f, "dtype", None)), array(op, f_arg, f, getattr(x, "dtype", None))


def operands(op: str, x_arg: str, x: Any, f_arg: str, f: Any) -> tuple[Array, Array, int]:
    """Both arrays and their common dtype."""
    x, f = pair(op, x_arg, x, f_arg, f)
    code = dtype_code(op, x_arg, x.dtype)
    if f.dtype != x.dtype:
        dtype_code(op, f_arg, f.dtype)
        raise TypeError(
            f"{op}: {x_arg} is {x.dtype} but {f_arg} is {f.dtype}; nothing is promoted: "
            f"convert one, e.g. {f_arg}.astype({x_arg}.dtype)"
        )
    return x, f, code


# ---- integers, sequences, strings -------------------------------------------------------------------------------


class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        """Of many digits Python does not even make a text."""
        return repr(x) if x.bit_length() < 1000 else f"a number of {x.bit_length()} bits"


_SHORT = _Short()
_SHORT.maxlevel, _SHORT.maxtuple, _SHORT.maxlist, _SHORT.maxstring, _SHORT.maxother = 3, 16, 16, 80, 80


def shown(value: Any) -> str:
    """A value in an error message, which may be anything: of an array its shape, of what is long the beginning."""
    if isinstance(value, np.ndarray) and value.size > 16:
        return f"an array of shape {value.shape}"
    text = " ".join(_SHORT.repr(value).split())
    return text if len(text) <= 120 else text[:117] + "..."


def integer(op: str, arg: str, value: Any, least: int = 1) -> int:
    """An int in [least, 2^31); bools and floats are refused."""
    if type(value) is int and least <= value <= LIMIT:
        return value
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{op}: {arg} must be an integer, not {shown(value)} ({type(value).__name__})") from None
    if not least <= number <= LIMIT:
        least = 1 if least < 0 else least  # of values whose rule comes later, and asks for more
        raise ValueError(f"{op}: {arg} must be between {least} and {LIMIT}, not {shown(number)}")
    return number


def sequence(op: str, arg: str, value: Any) -> int | tuple[Any, ...] | None:
    """`value` made hashable: None, an int, or a tuple of whatever it holds."""
    if value is None or type(value) is int:
        return value
    if isinstance(value, np.ndarray):
        if value.ndim > 1:
            raise ValueError(f"{op}: {arg} must be an integer or a flat sequence, not an array of shape {value.shape}")
        value = value.tolist() if value.ndim else value.item()
    if isinstance(value, (list, tuple)):
        few(op, arg, value)
        return tuple([integer(op, arg, v, -LIMIT) for v in value])  # sooner than of a generator
    return integer(op, arg, value, -LIMIT)


def few(op: str, arg: str, values: Sequence[Any]) -> None:
    """Refuse more numbers than any array has axes, which need not stand in a message."""
    if len(values) > MOST_DIMS:
        raise ValueError(
            f"{op}: {arg} should have a few numbers, one for each axis, not {len(values)}: {shown(values)}"
        )


def groups_argument(op: str, value: Any) -> int | None:
    """`groups`, which only checks what the shapes imply."""
    return None if value is None else integer(op, "groups", value)


def spatial_part(
    op: str, arg: str, values: tuple[Any, ...], n: int, channels_last: bool, other: Any
) -> tuple[Any, ...]:
    """Of values in data_format order those of the n spatial axes, which they may be already; batch and channels must have `other`."""
    if len(values) != n + 2:
        return values
    if ((values[0], values[-1]) if channels_last else values[:2]) != (other, other):
        raise ValueError(f"{op}: {arg} must be {other} for the batch and the channels, not {shown(values)}")
    return values[1:-1] if channels_last else values[2:]


def spatial(op: str, arg: str, value: int | tuple[Any, ...] | None, n: int, channels_last: bool) -> Shape:
    """TensorFlow's rule for strides, dilations and ksize: an int, or 1, n or n+2 integers in data_format order."""
    values = (1,) if value is None else (value,) if isinstance(value, int) else value
    if len(values) not in (1, n, n + 2):
        raise ValueError(
            f"{op}: {arg} should be of length {'1' if n == 1 else f'1, {n}'} or {n + 2}, not {len(values)}: {shown(values)}"
        )
    values = spatial_part(op, arg, values, n, channels_last, 1)
    values = values * n if len(values) == 1 else values
    return tuple(integer(op, arg, v) for v in values)


def padding_argument(op: str, value: Any) -> str | int | tuple[Any, ...]:
    """`padding` made hashable and checked in kind: an upper-case name, an int, or a tuple of pairs."""
    if isinstance(value, str):
        name = value.upper()
        if name not in PADDINGS:
            raise ValueError(f"{op}: padding must be one of {', '.join(PADDINGS)}, an int or pairs, not {shown(value)}")
        return name
    if value is None:
        raise TypeError(f"{op}: padding is None; pass 'VALID' for no padding")
    rows = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(rows, bytes):
        raise TypeError(f"{op}: padding must be a string, not bytes: {shown(rows)}")
    return pairs(op, "padding", rows, "axis") if isinstance(rows, (list, tuple)) else integer(op, "padding", rows, 0)


def pairs(op: str, arg: str, value: Any, each: str) -> tuple[tuple[int, int], ...]:
    """Numbers before and after."""
    rows = value.tolist() if isinstance(value, np.ndarray) else value
    rows = rows if isinstance(rows, (list, tuple)) else [rows]
    rows = [row.tolist() if isinstance(row, np.ndarray) else row for row in rows]
    if any(not isinstance(row, (list, tuple)) or len(row) != 2 for row in rows):
        raise ValueError(f"{op}: {arg} must be (before, after) pairs, one for each {each}, not {shown(value)}")
    return tuple((integer(op, arg, before, 0), integer(op, arg, after, 0)) for before, after in rows)


def padding_of(op: str, value: str | int | tuple[Any, ...], n: int, channels_last: bool) -> Padding:
    """The canonical padding of n spatial axes: a name, or n pairs."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return ((value, value),) * n
    if len(value) not in (n, n + 2):
        raise ValueError(f"{op}: padding needs {n} or {n + 2} (before, after) pairs, not {len(value)}: {shown(value)}")
    return spatial_part(op, "padding", value, n, channels_last, (0, 0))


_ZEROS = (0, 0.0)


def padding_mode_argument(op: str, mode: Any) -> tuple[int, float]:
    """(number, constant): "zeros", "reflect", "symmetric", "replicate", "circular", or ("constant", value)."""
    constant: Any = 0.0
    if isinstance(mode, str) and mode == "zeros":
        return _ZEROS
    if isinstance(mode, (list, tuple)) and len(mode) == 2 and isinstance(mode[0], str) and mode[0] == "constant":
        mode, constant = mode
    if not isinstance(mode, str) or mode not in PADDING_MODES:
        raise ValueError(
            f"{op}: padding_mode must be one of {', '.join(PADDING_MODES)} or ('constant', value), not {shown(mode)}"
        )
    try:
        return PADDING_MODES[mode], float(constant)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{op}: padding_mode's constant must be a number, not {shown(constant)}") from None


def data_format_argument(op: str, value: Any) -> str | None:
    """`data_format` checked in kind."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{op}: data_format must be a string, not {shown(value)} ({type(value).__name__})")
    return value


def layout(op: str, data_format: Any, n: int) -> bool:
    """True for channels-last."""
    if data_format_argument(op, data_format) in (None, "channels_last"):
        return True
    if data_format == "channels_first":
        return False
    found = LAYOUTS.get(data_format)
    if n == 1 and data_format in ("NHWC", "NCHW"):  # TensorFlow's older names for conv1d
        found = (1, data_format == "NHWC")
    if found is None or found[0] != n:
        names = [f for f, (rank, _) in LAYOUTS.items() if rank == n]
        raise ValueError(f"{op}: data_format must be one of {', '.join(names)}, not {shown(data_format)}")
    return found[1]


def steps_argument(
    op: str, s_arg: str, d_arg: str, strides: Any, padding: Any, data_format: Any, dilations: Any
) -> Steps:
    """Those arguments from what the caller gave."""
    return (
        sequence(op, s_arg, strides), padding_argument(op, padding), data_format_argument(op, data_format),
        sequence(op, d_arg, dilations),
    )  # fmt: skip


def moves(op: str, names: Names, steps: Steps, n: int, channels_last: bool) -> tuple[Shape, Shape, Padding]:
    """Strides, dilations and padding of n spatial axes."""
    strides, padding, _, dilations = steps
    return (
        spatial(op, names[2], strides, n, channels_last),
        spatial(op, names[3], dilations, n, channels_last),
        padding_of(op, padding, n, channels_last),
    )


def activation_argument(op: str, activation: Any, dtype: int, arg: str = "activation") -> Epilogue:
    """The activation by number; relu, relu6 and clip are one clamp."""
    if activation is None:
        return Epilogue(0, -math.inf, math.inf)
    name, *rest = activation if isinstance(activation, (list, tuple)) and activation else (activation,)
    wanted = {"clip": (2,), "leaky_relu": (0, 1)}.get(name, (0,)) if isinstance(name, str) else ()
    if len(rest) not in wanted or name not in ACTIVATIONS:
        names = ", ".join(a for a in ACTIVATIONS if a != "clip")
        raise ValueError(
            f"{op}: {arg} must be None, {names}, ('leaky_relu', slope) or ('clip', low, high), not {shown(activation)}"
        )
    try:
        values = [float(v) for v in rest]
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{op}: {arg}'s parameters must be numbers, not {shown(rest)}") from None
    if DTYPES[dtype] == "int32" and ACTIVATIONS[name] > 1:
        raise TypeError(f"{op}: {arg} {name!r} has no meaning for int32; convert the input to a float type")
    if any(math.isnan(v) for v in values) or (name == "clip" and values[0] > values[1]):
        raise ValueError(f"{op}: {arg} {shown(activation)} needs low <= high and no NaN")
    low, high = {"relu": (0.0, math.inf), "relu6": (0.0, 6.0), "leaky_relu": (0.2, 0.0)}.get(name, (0.0, 0.0))
    if values:
        low, high = values[0], values[-1]
        if DTYPES[dtype] == "int32":  # whole numbers that there are, where a result can be one of them
            low, high = (float(math.trunc(v)) if math.isfinite(v) else v for v in (low, high))
            low, high = min(low, 2.0**31 - 1), max(high, -(2.0**31))
    return Epilogue(ACTIVATIONS[name], low, high)


# ---- shapes -----------------------------------------------------------------------------------------------------


def split_shape(
    op: str, arg: str, shape: Shape, n: int, channels_last: bool, batched: bool
) -> tuple[Shape, Shape, int]:
    """(batch, spatial sizes, channels) of an array; several batch dimensions where the op takes them."""
    if len(shape) < n + 2 or (not batched and len(shape) != n + 2):
        rank = f"at least {n + 2}" if batched else f"{n + 2}"
        of, fix = shape_of(arg), ""
        if len(shape) == n + 1 and of != arg:
            fix = f". A single image is a batch of one: {arg}[None]"
        raise misfit(op, arg, (shape,), f"{arg} must have {rank} dimensions, not {len(shape)} ({of}={shape}){fix}")
    body = shape[len(shape) - n - 1 :]
    return shape[: len(shape) - n - 1], *((body[:-1], body[-1]) if channels_last else (body[1:], body[0]))


def join_shape(batch: tuple[T, ...], sizes: tuple[T, ...], channels: T, channels_last: bool) -> tuple[T, ...]:
    """The inverse of split_shape: axes in the order of a layout."""
    return (*batch, *sizes, channels) if channels_last else (*batch, channels, *sizes)


def shape_of(arg: str) -> str:
    """How a message names the shape of an argument, which may be a shape itself."""
    return arg if arg.endswith(("_sizes", "_shape")) else f"{arg}.shape"


def filter_shape(op: str, arg: str, shape: Shape, n: int) -> None:
    """Filters have n spatial dimensions and two of channels, none of them empty but the last."""
    if len(shape) != n + 2:
        raise misfit(
            op, arg, (shape,), f"{arg} must have {n + 2} dimensions, not {len(shape)} ({shape_of(arg)}={shape})"
        )
    if 0 in shape[:-1]:
        raise misfit(op, arg, (shape,), f"{arg} must not have zero elements ({shape_of(arg)}={shape})")
    if max(shape) > LIMIT:
        raise misfit(op, arg, (shape,), f"{arg} has a dimension above {LIMIT} ({shape_of(arg)}={shape})")


def spatial_rank(op: str, arg: str, shape: Shape) -> int:
    """The spatial axes of an op whose rank this argument decides."""
    if len(shape) not in (3, 4, 5):
        raise misfit(op, arg, (shape,), f"{arg} must have 3, 4 or 5 dimensions, not {len(shape)} ({arg}.shape={shape})")
    return len(shape) - 2


def check_bytes(op: str, shape: Shape, dtype: int) -> None:
    """MemoryError, before anything is allocated, for an array that no machine holds."""
    if math.prod(n for n in shape if n) * (8 if dtype == 1 else 4) > 2**62:
        raise MemoryError(f"{op}: the output, shape {shape}, is too large for the address space")


def axes(
    op: str,
    arg: str,
    shape: Shape,
    sizes: Shape,
    taps: Shape,
    strides: Shape,
    dilations: Shape,
    padding: Padding,
    mode: int,
) -> tuple[Axis, ...]:
    """The forward axes, or the error that says which one does not fit."""
    result = tuple(
        geometry.forward_axis(size, k, s, d, padding, i)
        for i, (size, k, s, d) in enumerate(zip(sizes, taps, strides, dilations))
    )
    for i, a in enumerate(result):
        if a.out < 0:
            window = "window" if "pool" in op else "filter"
            span, pad = geometry.effective(a.taps, a.dilation), geometry.pads(*a[:2], a.stride, a.dilation, padding, i)
            raise misfit(
                op, arg, (shape,),
                f"the {window} spans {span} on spatial axis {i} (taps {a.taps}, dilation {a.dilation}) but the padded "
                f"{arg} has only {a.size + sum(pad)} ({shape_of(arg)}={shape}, padding={padding}): the output would be negative. "
                f"Pad more, e.g. padding='SAME', or use a smaller {window} or dilation",
            )  # fmt: skip
        if mode and not a.size and a.out:
            raise misfit(
                op, arg, (shape,),
                f"an empty axis has nothing to pad from ({shape_of(arg)}={shape}); use padding_mode='zeros'",
            )  # fmt: skip
    return result


def three(values: Sequence[Any], fill: Any) -> tuple[Any, Any, Any]:
    """Unit axes in front, so that there are always three."""
    filled = (*[fill] * (3 - len(values)), *values)
    return filled[0], filled[1], filled[2]


def forward_arguments(
    op: str, names: Names, strides: Any, padding: Any, data_format: Any, dilations: Any, padding_mode: Any, groups: Any
) -> tuple[Steps, tuple[int, float], int | None]:
    """The last arguments of a forward problem, from the caller's."""
    steps = steps_argument(op, names[2], names[3], strides, padding, data_format, dilations)
    return steps, padding_mode_argument(op, padding_mode), groups_argument(op, groups)


@lru_cache(maxsize=1024)
def forward_problem(
    op: str,
    names: Names,
    n: int,
    x_shape: Shape,
    f_shape: Shape,
    dtype: int,
    steps: Steps,
    mode: tuple[int, float] = _ZEROS,
    groups: int | None = None,
    depthwise: bool = False,
) -> Problem:
    """A forward convolution, dense, grouped or depthwise (whose filters are read as (spatial..., C, multiplier))."""
    x_arg, f_arg = names[:2]
    channels_last = layout(op, steps[2], n)
    batch, sizes, channels = split_shape(op, x_arg, x_shape, n, channels_last, not depthwise)
    filter_shape(op, f_arg, f_shape, n)
    f_sizes = shape_of(f_arg)
    shapes = f"{x_arg}.shape={x_shape}, {f_sizes}={f_shape}"
    refusal = partial(misfit, op, f_arg, (x_shape, f_shape))
    each, out_channels = f_shape[-2], f_shape[-1]
    if depthwise:
        if each != channels:
            raise refusal(
                f"{x_arg} has {channels} channels but {f_arg} has {each} in its dimension {n} ({shapes}); they must be equal"
            )
        implied, out_channels = channels, channels * out_channels
    else:
        if channels % each or not channels:
            hint = " Did you mean depthwise_conv2d?" if n == 2 and each > channels else ""
            other = x_shape[-n - 1] if channels_last else x_shape[-1]
            if other == each:
                hint = f" Are the channels {'first' if channels_last else 'last'}? Then pass another data_format."
            raise refusal(
                f"{x_arg} has {channels} channels but {f_arg} expect {each} ({shapes}); the channels must be a multiple "
                f"of {f_sizes}[{n}] (more than one times: groups).{hint}"
            )
        implied = channels // each
        if out_channels % implied:
            raise refusal(
                f"{f_arg} make {out_channels} channels, which {implied} groups ({channels} channels of {x_arg} by {each}) "
                f"do not divide ({shapes})"
            )
    if groups is not None and groups != implied:
        raise misfit(op, "groups", (x_shape, f_shape), f"groups={groups}, but the shapes imply {implied} ({shapes})")
    stride, dilation, pad = moves(op, names, steps, n, channels_last)
    if DTYPES[dtype] == "int32" and not (-(2.0**31) <= mode[1] < 2.0**31 and mode[1] == int(mode[1])):
        raise ValueError(f"{op}: padding_mode's constant must be a whole number that int32 holds, not {mode[1]}")
    result = axes(op, x_arg, x_shape, sizes, f_shape[:n], stride, dilation, pad, mode[0])
    out_shape = join_shape(batch, tuple(a.out for a in result), out_channels, channels_last)
    check_bytes(op, out_shape, dtype)
    d, h, w = three(result, UNIT)
    return Problem(
        op, dtype, channels_last, n, batch, channels, out_channels, implied,
        (d.size, h.size, w.size), (d.out, h.out, w.out), (d.taps, h.taps, w.taps), (d, h, w),
        ((geometry.whole(d), geometry.whole(h), geometry.whole(w)),),
        "depthwise" if depthwise else "forward", mode[0], mode[1], out_shape,
    )  # fmt: skip


depthwise_problem = partial(forward_problem, depthwise=True)


@lru_cache(maxsize=1024)
def separable_problem(
    op: str, names: Names, n: int, x_shape: Shape, f_shapes: tuple[Shape, Shape], dtype: int, steps: Steps, *rest: Any
) -> SeparableProblem:
    """A depthwise problem, which the rest of the arguments belong to, and the pointwise one after it."""
    first = depthwise_problem(op, names, n, x_shape, f_shapes[0], dtype, steps, *rest)
    middle = f_shapes[0][-2] * f_shapes[0][-1]
    if f_shapes[1][:-1] != (*(1,) * n, middle):
        raise misfit(
            op, "pointwise_filter", f_shapes,
            f"pointwise_filter.shape={f_shapes[1]}, but the depthwise stage makes {middle} channels "
            f"(depthwise_filter.shape={f_shapes[0]}): it must be {(*(1,) * n, middle)} and the output channels",
        )  # fmt: skip
    names = (names[0], "pointwise_filter", *names[2:])
    second = forward_problem(op, names, n, first.out_shape, f_shapes[1], dtype, (1, "VALID", steps[2], 1))
    return SeparableProblem(
        first, second, op, dtype, first.batch, first.sizes, first.in_channels, second.out_channels, second.out_shape
    )


def transposed_arguments(
    op: str, names: Names, strides: Any, padding: Any, data_format: Any, dilations: Any, padding_mode: Any, groups: Any,
    output_shape: Any, output_padding: Any,
) -> tuple[Steps, Shape | None, int | Shape | None, int | None]:  # fmt: skip
    """The last arguments of a transposed problem, from the caller's."""
    if not isinstance(padding_mode, str) or padding_mode != "zeros":
        raise ValueError(
            f"{op}: padding_mode={shown(padding_mode)} has no meaning here: "
            "a transposed convolution pads nothing, it crops its output"
        )
    sizes = None if output_shape is None else shape_argument(op, "output_shape", output_shape)
    steps = steps_argument(op, names[2], names[3], strides, padding, data_format, dilations)
    return steps, sizes, sequence(op, "output_padding", output_padding), groups_argument(op, groups)


@lru_cache(maxsize=1024)
def transposed_problem(
    op: str,
    names: Names,
    n: int,
    g_shape: Shape,
    f_shape: Shape,
    dtype: int,
    steps: Steps,
    output_shape: Shape | None,
    output_padding: int | Shape | None = None,
    groups: int | None = None,
    gradient: bool = False,
    depthwise: bool = False,
) -> Problem:
    """A transposed convolution, which is the input gradient of the forward one: `output_shape` is that one's input."""
    g_arg, f_arg = names[:2]
    out_arg, batched = "input_sizes" if gradient else "output_shape", gradient and not depthwise
    channels_last = layout(op, steps[2], n)
    batch, sizes, channels = split_shape(op, g_arg, g_shape, n, channels_last, batched)
    filter_shape(op, f_arg, f_shape, n)
    shapes = f"{g_arg}.shape={g_shape}, {f_arg}.shape={f_shape}"
    refusal = partial(misfit, op, out_arg, (g_shape, f_shape))
    total = f_shape[-1] * f_shape[-2] if depthwise else f_shape[-1]
    if channels != total:
        raise misfit(
            op, f_arg, (g_shape, f_shape),
            f"{g_arg} has {channels} channels but {f_arg} makes {total} ({shapes}); {f_arg} is that of the convolution"
            if gradient else
            f"{g_arg} has {channels} channels but {f_arg} has {total} ({shapes}); a transposed convolution reads "
            f"{f_arg} as (spatial..., output channels, input channels)",
        )  # fmt: skip
    stride, dilation, pad = moves(op, names, steps, n, channels_last)
    taps = f_shape[:n]
    default = [geometry.transposed_size(*a, pad, i) for i, a in enumerate(zip(sizes, taps, stride, dilation))]
    out_batch, out_channels = batch, f_shape[-2] * (1 if depthwise or groups is None else groups)
    if output_shape is None:
        extra = spatial_sizes(op, "output_padding", output_padding, n) if output_padding is not None else (0,) * n
        wanted = tuple(size + e for size, e in zip(default, extra))
    else:
        if output_padding is not None:
            raise ValueError(
                f"{op}: output_padding={output_padding} has no meaning beside {out_arg}, which says the size itself"
            )
        if len(output_shape) == n and n > 1 and not batched:
            wanted = output_shape
        elif len(output_shape) != len(g_shape):
            raise refusal(
                f"{out_arg} must have {len(g_shape)} elements like {g_arg} ({shapes}), not {len(output_shape)}: {output_shape}"
            )
        else:
            out_batch, wanted, out_channels = split_shape(op, out_arg, output_shape, n, channels_last, batched)
    out_shape = join_shape(out_batch, wanted, out_channels, channels_last)
    if max(out_shape) > LIMIT:
        raise refusal(f"{out_arg} must be between 0 and {LIMIT} in every dimension, not {out_shape}")
    if out_batch != batch:
        raise misfit(
            op, out_arg, (g_shape,),
            f"{out_arg} {output_shape} has batch {out_batch} but {g_arg} has {batch} ({shapes})",
        )  # fmt: skip
    implied = f_shape[-2] if depthwise else out_channels // f_shape[-2]
    if out_channels % f_shape[-2] or not implied or channels % implied or (depthwise and out_channels != f_shape[-2]):
        raise refusal(
            f"{out_arg} has {out_channels} channels, which must be a multiple (the number of groups, a divisor of "
            f"{g_arg}'s {channels} channels) of {f_arg}.shape[{n}]={f_shape[-2]} ({shapes})"
        )
    if groups is not None and groups != implied:
        raise misfit(op, "groups", (g_shape, f_shape), f"groups={groups}, but the shapes imply {implied} ({shapes})")
    result = axes(op, out_arg, wanted, wanted, taps, stride, dilation, pad, 0)
    for i, (a, size) in enumerate(zip(result, sizes)):
        if a.out != size:
            least, most = geometry.transposed_range(size, a.taps, a.stride, a.dilation, pad, i)
            raise refusal(
                f"{g_arg} has size {size} on spatial axis {i}, but a convolution of {out_arg} {wanted} gives {a.out} "
                f"there (taps {a.taps}, stride {a.stride}, dilation {a.dilation}, padding={steps[1]}); "
                f"{out_arg} must be between {least} and {most} on that axis"
                + (f", but output_padding={output_padding} makes it {a.size}" if output_padding is not None else "")
            )
    check_bytes(op, out_shape, dtype)
    d, h, w = three(result, UNIT)
    along_d, along_h, along_w = map(geometry.transposed_jobs, (d, h, w))
    return Problem(
        op, dtype, channels_last, n, batch, channels, out_channels, implied,
        (d.out, h.out, w.out), (d.size, h.size, w.size), (d.taps, h.taps, w.taps), (d, h, w),
        tuple(product(along_d, along_h, along_w)), "depthwise_transposed" if depthwise else "transposed", 0, 0.0, out_shape,
    )  # fmt: skip


def spatial_sizes(op: str, arg: str, value: int | Shape, n: int) -> Shape:
    """An int or n of them, zero or more."""
    values = (value,) * n if isinstance(value, int) else value
    if len(values) != n:
        raise ValueError(f"{op}: {arg} should be an integer or {n} of them, not {shown(values)}")
    return tuple(integer(op, arg, v, 0) for v in values)


def shape_argument(op: str, arg: str, value: Any) -> Shape:
    """A vector of sizes: a list, a tuple, or a flat integer array."""
    if getattr(value, "ndim", 0) > 1:
        raise TypeError(f"{op}: {arg} must be a sequence of sizes, not an array; give its shape, {tuple(value.shape)}")
    if hasattr(value, "__array__"):  # as tf.shape gives it
        value = array(op, arg, value).tolist()
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes, dict, set, list, tuple)):
        value = list(islice(value, MOST_DIMS + 1))  # a TensorShape
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{op}: {arg} must be a sequence of sizes, not {shown(value)}")
    few(op, arg, value)
    if None in value:
        raise TypeError(f"{op}: every size in {arg} must be an integer, not None: {shown(value)}")
    return tuple(integer(op, arg, v, 0) for v in value)


# ---- the extras -------------------------------------------------------------------------------------------------


def bias_argument(
    op: str, bias: Any, channels: int, dtype: np.dtype[Any], code: int, arg: str = "bias"
) -> Array | None:
    """A contiguous vector in the compute type, one value for each output channel."""
    if bias is None:
        return None
    bias = array(op, arg, bias, dtype)
    if bias.dtype != dtype:
        raise TypeError(f"{op}: {arg} is {bias.dtype} but the input is {dtype}; convert it with {arg}.astype(...)")
    if bias.shape != (channels,):
        raise misfit(
            op, arg, (bias.shape,),
            f"{arg}.shape={bias.shape}, but the op makes {channels} channels: it must be ({channels},)",
        )  # fmt: skip
    return np.ascontiguousarray(bias, dtype=COMPUTE[code])


def output_like(op: str, arg: str, value: Any, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """An array of the output's shape and dtype: a residual, which is added before the activation, or a gradient."""
    like = array(op, arg, value, dtype)
    if like.dtype != dtype:
        raise TypeError(f"{op}: {arg} is {like.dtype} but the output is {dtype}; convert it with {arg}.astype(...)")
    if like.shape != shape:
        raise misfit(op, arg, (like.shape, shape), f"{arg}.shape={like.shape}, but the output has {shape}")
    return like


def out_argument(op: str, out: Any, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """A writable array of the output's shape and dtype, any strides."""
    if type(out) is not np.ndarray:
        if not isinstance(out, np.ndarray) or refused(out):
            raise TypeError(f"{op}: out must be a numpy.ndarray, not {type(out).__name__}")
        out = out.view(np.ndarray)
    target: Array = out
    if out.dtype != dtype:
        raise TypeError(f"{op}: out is {out.dtype} but the output is {dtype}")
    if out.shape != shape:
        raise misfit(op, "out", (out.shape, shape), f"out.shape={out.shape}, but the output has {shape}")
    if not out.flags.writeable:
        raise ValueError(f"{op}: out is read-only")
    return target


def delivered(out: Any, y: Array) -> Array:
    """A result in a checked `out` if there is one: it may have been computed there."""
    if out is None:
        return y
    if not np.may_share_memory(out, y):
        out[...] = y
    return out  # type: ignore[no-any-return]


#: Of an array that NumPy is given at a time: between two of these calls Python answers signals.
PIECE_BYTES = 1 << 24


def in_pieces(compute: Callable[..., Any], target: Array, *sources: Array) -> None:
    """``compute(target, *sources)`` of arrays of one shape, some megabytes at a time."""
    if target.nbytes <= PIECE_BYTES:
        compute(target, *sources)
        return
    each = PIECE_BYTES * len(target) // target.nbytes
    for i in range(0, len(target), each or 1):
        if each:
            compute(target[i : i + each], *(a[i : i + each] for a in sources))
        else:
            in_pieces(compute, target[i], *(a[i] for a in sources))


# ---- kinds ------------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """Of a convolution: what checks its arguments in kind, and what makes a problem of these and of the shapes."""

    arguments: Callable[..., tuple[Any, ...]]
    problem: Callable[..., Any]


FORWARD = Kind(forward_arguments, forward_problem)
DEPTHWISE = Kind(forward_arguments, depthwise_problem)
SEPARABLE = Kind(forward_arguments, separable_problem)
TRANSPOSED = Kind(transposed_arguments, transposed_problem)
