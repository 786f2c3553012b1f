"""The table of ops and how to draw a random problem for each; shared by all tests.

A new op is a row of OPS and, where its arguments are of a new kind, a function that draws them. A case is a function of
the op's name and a seed alone:

    python tests/ops.py conv2d 17             run one case: what was asked, and how far the answer is off
    python tests/ops.py conv2d 1000 2000      run a thousand, and print the ones that fail
"""

import math
import random
import sys
import tempfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

import cyconv as nn
from cyconv import reference
from cyconv._algorithms import NAMES as ALGORITHMS

Array = np.ndarray
DTYPES = {
    "float32": np.float32,
    "float64": np.float64,
    "int32": np.int32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}
# Whose sums are of the products as they are; what depthwise refuses, winograd may take.
EXACT = ("direct", "pixels", "depthwise")
MODES = ("zeros", ("constant", 2), "reflect", "symmetric", "replicate", "circular")
LAYOUTS = {1: ("NWC", "NCW"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}


@dataclass
class Case:
    """One call: `arrays` and `args` are its arguments by name; the rest says what to compare and how to run it."""

    op: "Op"
    window: "Geometry"
    arrays: dict[str, Array]
    args: dict[str, Any]
    out_shape: tuple[int, ...]
    terms: int  # how many products are summed in an output
    exact: bool  # small integers: every algorithm without transforms gives the same bits
    seed: int = 0
    orders: dict[str, str] = field(default_factory=dict)
    num_threads: int | None = None
    isa: str | None = None
    algorithm: str | None = None
    out: str | None = None  # the memory order of an out= array

    @property
    def dtype(self) -> Any:
        return self.arrays[self.op.x].dtype.newbyteorder("=")

    def call(self, **changes: Any) -> Array:
        """The op's answer to the case, some arguments changed."""
        return getattr(nn, self.op.name)(**(self.arrays | self.args | changes))

    def reference(self, **changes: Any) -> Array:
        """The oracle's answer."""
        return getattr(reference, self.op.name)(**(self.arrays | self.args | changes))

    def __str__(self) -> str:
        arrays = [
            f"{name}={a.dtype.name}{list(a.shape)}{':' + self.orders[name] if name in self.orders else ''}"
            for name, a in self.arrays.items()
        ]
        args = [f"{name}={' '.join(repr(value).split())}" for name, value in self.args.items()]
        run = [
            f"{name}={value}"
            for name in ("num_threads", "isa", "algorithm", "out")
            if (value := getattr(self, name)) is not None
        ]
        return f"{self.op.name}({', '.join(arrays + args)}) {' '.join(run)}".strip()


class Op(NamedTuple):
    """A row of the table: a public function, and the names of its arguments where they differ from conv2d's."""

    name: str
    draw: Callable[["Op", random.Random, "Geometry"], Case]
    ranks: tuple[int, ...] = (2,)
    x: str = "input"
    filters: str = "filters"
    strides: str = "strides"
    dilations: str = "dilations"
    batched: bool = False  # takes any number of leading batch dimensions


class Geometry(NamedTuple):
    """The window of a problem, and the types of its arrays."""

    rank: int
    dtype: str = "float32"
    layout: str | None = None
    lead: tuple[int, ...] = (2,)
    sizes: tuple[int, ...] = ()
    taps: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    padding: Any = "SAME"
    mode: Any = "zeros"
    groups: int = 1
    channels: int = 3  # of a group
    filters: int = 4  # of a group
    exact: bool = True

    @property
    def first(self) -> bool:
        return (self.layout or "").startswith("NC")

    def shape(self, sizes: Any, channels: int) -> tuple[int, ...]:
        """The shape of an array of such sizes, in the order of the layout."""
        return (*self.lead, channels, *sizes) if self.first else (*self.lead, *sizes, channels)

    def rooms(self) -> list[int]:
        """How far the last window could move along each axis; below 1 - stride, it does not fit."""
        return [a.size + a.lo + a.hi - (a.taps - 1) * a.dilation - 1 for a in self.axes()]

    def outs(self) -> tuple[int, ...]:
        return tuple(a.out for a in self.axes())

    def axes(self) -> Any:
        like = reference._layout(self.rank, self.layout)
        return like.axes(self.sizes, self.taps, self.strides, self.padding, self.dilations)


# ---- drawing ---------------------------------------------------------------------------------------------------------


def values(rng: random.Random, shape: Any, dtype: str, exact: bool) -> Array:
    """Small integers where the result shall be exact, any 32 bits for int32, else normal numbers."""
    generator = np.random.default_rng(rng.getrandbits(32))
    if dtype == "int32" and rng.random() < 0.3:
        return generator.integers(-(2**31), 2**31, shape).astype(np.int32)
    a = generator.integers(-3, 4, shape) if exact or dtype == "int32" else generator.standard_normal(shape)
    return a.astype(DTYPES[dtype])


# Kinds of problems: how often, and the most pixels and taps along an axis (by rank), channels and filters they have.
KINDS = {
    "small": (75, (17, 11, 6), (9, 5, 3), 5, 6),
    "groups": (4, (90, 24, 9), (9, 5, 3), 64, 64),  # of 2, 4 or 8 channels
    "tiles": (12, (600, 24, 8), (9, 5, 3), 70, 70),  # cross the edges of register tiles
    "pixels": (2, (6000, 80, 18), (5, 3, 2), 3, 4),  # are cut into pieces along the image,
    "taps": (2, (300, 33, 11), (1100, 33, 11), 40, 3),  # the window,
    "channels": (1, (3, 2, 2), (2, 2, 2), 17000, 3),  # or a pixel
    "transforms": (4, (90, 24, 9), (9, 9, 5), 60, 60),  # equal taps: what Winograd's algorithm takes
}


def draw_geometry(op: Op, rng: random.Random) -> Geometry:
    """A random window that fits: sizes odd, prime, tiny, empty; now and then larger than what a kernel takes at a time."""
    rank = rng.choice(op.ranks)
    dtype = rng.choice(("float32",) * 5 + tuple(DTYPES))
    kind = rng.choices(list(KINDS), [row[0] for row in KINDS.values()])[0]
    _, pixels, taps, channels, filters = KINDS[kind]
    while True:
        sizes = tuple(rng.randint(1, pixels[rank - 1]) for _ in range(rank))
        if rng.random() < 0.02:
            sizes = (*sizes[1:], 0)
        groups = rng.choice((1, 1, 1, 2, 3, 4))
        geometry = Geometry(
            rank,
            dtype,
            rng.choice((None, *LAYOUTS[rank])),
            (rng.choice((1, 1, 2, 3)),),
            sizes,
            tuple(rng.randint(1, taps[rank - 1]) for _ in range(rank)),
            tuple(rng.choice((1, 1, 2, 3, 4, 6)) for _ in range(rank)) if rng.random() < 0.6 else (1,) * rank,
            tuple(rng.choice((1, 1, 2, 3, 7)) for _ in range(rank)) if rng.random() < 0.4 else (1,) * rank,
            draw_padding(rng, rank, min(taps[rank - 1], 9)),
            rng.choice(MODES) if rng.random() < 0.4 else "zeros",
            groups,
            rng.randint(1, max(1, channels // groups)),
            rng.randint(1, max(1, filters // groups)),
            rng.random() < 0.8 or dtype == "int32",
        )
        if kind == "transforms":
            geometry = draw_transforms(rng, geometry, taps[rank - 1])
        if kind == "groups":
            each = rng.choice((2, 4, 8))
            geometry = geometry._replace(groups=rng.randint(16 // each, 64 // each), channels=each, filters=each)
        if rng.random() < 0.02:
            geometry = geometry._replace(lead=(0,))
        if rng.random() < 0.01:
            geometry = geometry._replace(filters=0, groups=1)
        if op.batched and rng.random() < 0.15:
            geometry = geometry._replace(lead=tuple(rng.randint(1, 3) for _ in range(rng.choice((2, 3)))))
        fits = all(room > -stride for room, stride in zip(geometry.rooms(), geometry.strides))
        if fits and (0 not in sizes or geometry.mode == "zeros"):
            return geometry


def draw_transforms(rng: random.Random, g: Geometry, most: int) -> Geometry:
    """Equal taps along one axis or more, mostly at stride 1, in float32 and not whole numbers; 16 channels and more."""
    k = rng.randint(2, most)
    taps = rng.choice({1: [(k,)], 2: [(k, k), (k, k), (1, k), (k, 1)], 3: [(k, k, k), (1, k, k), (k, 1, 1)]}[g.rank])
    groups = rng.choice((1, 1, 2))
    return g._replace(
        dtype="float32",
        exact=False,
        taps=taps,
        strides=(rng.choice((1, 1, 1, 2)),) * g.rank,
        groups=groups,
        channels=rng.randint(16, 60 // groups),
        filters=rng.randint(16, 60 // groups),
    )


def draw_padding(rng: random.Random, rank: int, most: int) -> Any:
    """Every way to say padding; in data_format order only by `spell`, which knows the layout."""
    if rng.random() < 0.6:
        return rng.choice(("SAME", "SAME", "VALID", "SAME_LOWER", "CAUSAL", "FULL"))
    if rng.random() < 0.3:
        return rng.randint(0, most)
    return [(rng.randint(0, most), rng.randint(0, most)) for _ in range(rank)]


def spell(rng: random.Random, g: Geometry, name: str, value: tuple[int, ...]) -> dict[str, Any]:
    """A stride or dilation in one of the ways in which it may be said."""
    ways: list[Any] = [list(value), value, np.array(value), [1, 1, *value] if g.first else (1, *value, 1)]
    if len(set(value)) == 1:
        ways += [value[0], [value[0]], np.int64(value[0])]
    return {name: rng.choice(ways)}


def spell_padding(rng: random.Random, g: Geometry) -> Any:
    if isinstance(g.padding, str):
        return g.padding.lower() if rng.random() < 0.1 else g.padding
    if isinstance(g.padding, int):
        return g.padding
    ends = [(0, 0)] * 2
    full = ends + g.padding if g.first else [ends[0], *g.padding, ends[1]]
    return rng.choice((g.padding, tuple(g.padding), np.array(g.padding), full, [list(pair) for pair in full]))


def window_args(op: Op, rng: random.Random, g: Geometry) -> dict[str, Any]:
    """The arguments that all ops with a window share."""
    args = spell(rng, g, op.strides, g.strides) | {"padding": spell_padding(rng, g)}
    if set(g.dilations) != {1} or rng.random() < 0.5 or op.dilations == "rate":
        args |= spell(rng, g, op.dilations, g.dilations)
    if g.layout or rng.random() < 0.2:
        names = {True: "channels_first", False: "channels_last"}
        args["data_format"] = names[g.first] if rng.random() < 0.1 else g.layout
    return args


ACTIVATIONS = ("relu", "relu6", ("clip", -4, 9))
SMOOTH = ("elu", "sigmoid", "tanh", "silu", "gelu")


def epilogue(
    rng: random.Random, g: Geometry, channels: int, shape: tuple[int, ...]
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Bias, residual and activation, each in some of the cases."""
    arrays, args = {}, {}
    if rng.random() < 0.4:
        arrays["bias"] = values(rng, channels, g.dtype, g.exact)
    if rng.random() < 0.2:
        arrays["residual"] = values(rng, shape, g.dtype, g.exact)
    if rng.random() < 0.4:
        # A slope of 1/4 is exact in every float type; int32 has clamps only.
        leaky = (("leaky_relu", 0.25),) if g.dtype != "int32" else ()
        args["activation"] = rng.choice(ACTIVATIONS + leaky if g.exact else ACTIVATIONS + leaky + SMOOTH * 2)
    return arrays, args


def draw_forward(op: Op, rng: random.Random, g: Geometry) -> Case:
    """conv1d, conv2d, conv3d, convolution, atrous_conv2d."""
    channels, filters = g.groups * g.channels, g.groups * g.filters
    out_shape = g.shape(g.outs(), filters)
    more, args = epilogue(rng, g, filters, out_shape)
    arrays = {
        op.x: values(rng, g.shape(g.sizes, channels), g.dtype, g.exact),
        op.filters: values(rng, (*g.taps, g.channels, filters), g.dtype, g.exact),
    }
    args |= window_args(op, rng, g) | ({"padding_mode": g.mode} if g.mode != "zeros" or rng.random() < 0.1 else {})
    if rng.random() < 0.1:
        args["groups"] = g.groups
    return Case(op, g, arrays | more, args, out_shape, math.prod(g.taps) * g.channels, g.exact)


def draw_depthwise(op: Op, rng: random.Random, g: Geometry) -> Case:
    """depthwise_conv2d: g.filters is the multiplier, more often one than not."""
    channels, multiplier = g.groups * g.channels, rng.choice((1, 1, 1, 2, 3)) if g.filters else 1
    out_shape = g.shape(g.outs(), channels * multiplier)
    more, args = epilogue(rng, g, channels * multiplier, out_shape)
    arrays = {
        op.x: values(rng, g.shape(g.sizes, channels), g.dtype, g.exact),
        op.filters: values(rng, (*g.taps, channels, multiplier), g.dtype, g.exact),
    }
    args |= window_args(op, rng, g) | ({"padding_mode": g.mode} if g.mode != "zeros" else {})
    return Case(op, g, arrays | more, args, out_shape, math.prod(g.taps), g.exact)


def draw_separable(op: Op, rng: random.Random, g: Geometry) -> Case:
    """separable_conv2d: a depthwise case, and a pointwise filter on top."""
    case = draw_depthwise(op._replace(filters="depthwise_filter"), rng, g._replace(filters=1))
    arrays, args = case.arrays, case.args
    inner = math.prod(arrays["depthwise_filter"].shape[2:])
    out_shape = g.shape(g.outs(), g.filters)
    arrays.pop("residual", None)
    if "bias" in arrays:
        arrays["depthwise_bias"] = arrays.pop("bias")
    if args.pop("activation", None):
        args["depthwise_activation"] = rng.choice(("relu", *(("tanh",) if not g.exact else ())))
    arrays["pointwise_filter"] = values(rng, (1, 1, inner, g.filters), g.dtype, g.exact)
    more, extra = epilogue(rng, g, g.filters, out_shape)
    return Case(op, g, arrays | more, args | extra, out_shape, case.terms * inner, g.exact)


def draw_transposed(op: Op, rng: random.Random, g: Geometry) -> Case:
    """The transposes: g is the window of the convolution that they are the transpose of, g.sizes their output."""
    channels, filters = g.groups * g.channels, g.groups * g.filters
    if not g.filters:  # no input channels: refused, as filters without elements are
        g, filters = g._replace(filters=1), g.groups
    out_shape = g.shape(g.sizes, channels)
    more, args = epilogue(rng, g, channels, out_shape)
    arrays = {
        op.x: values(rng, g.shape(g.outs(), filters), g.dtype, g.exact),
        op.filters: values(rng, (*g.taps, g.channels, filters), g.dtype, g.exact),
    }
    args |= window_args(op, rng, g)
    args["output_shape"] = rng.choice((list, tuple, np.array))(out_shape)
    like = reference._layout(g.rank, g.layout)
    extra = [size - like.transposed(out, a, g.padding) for size, out, a in zip(g.sizes, g.outs(), g.axes())]
    atrous = op.name.startswith("atrous")  # takes no output_padding
    known = min(extra) >= 0 and op.name != "conv_transpose" and not (atrous and any(extra))
    if g.groups == 1 and known and rng.random() < 0.3:
        args["output_shape"] = None
        if any(extra) or (not atrous and rng.random() < 0.2):
            args["output_padding"] = extra
    elif g.groups == 1 and op.name.startswith("conv2d") and rng.random() < 0.3:
        args["output_shape"] = list(g.sizes)
    return Case(op, g, arrays | more, args, out_shape, math.prod(g.taps) * filters, g.exact)


def draw_bias_add(op: Op, rng: random.Random, g: Geometry) -> Case:
    """bias_add: any rank from 2."""
    g = g._replace(rank=0, sizes=()) if rng.random() < 0.2 else g
    channels = g.groups * g.channels
    shape = g.shape(g.sizes, channels)
    arrays = {op.x: values(rng, shape, g.dtype, g.exact), op.filters: values(rng, channels, g.dtype, g.exact)}
    return Case(op, g, arrays, {"data_format": g.layout} if g.layout and g.rank else {}, shape, 1, g.exact)


OPS = {
    op.name: op
    for op in (
        Op("convolution", draw_forward, (1, 2, 3), batched=True),
        Op("conv1d", draw_forward, (1,), strides="stride", batched=True),
        Op("conv2d", draw_forward, batched=True),
        Op("conv3d", draw_forward, (3,), batched=True),
        Op("atrous_conv2d", draw_forward, x="value", dilations="rate", batched=True),
        Op("depthwise_conv2d", draw_depthwise, filters="filter"),
        Op("separable_conv2d", draw_separable, filters="pointwise_filter"),
        Op("conv_transpose", draw_transposed, (1, 2, 3)),
        Op("conv1d_transpose", draw_transposed, (1,)),
        Op("conv2d_transpose", draw_transposed),
        Op("conv3d_transpose", draw_transposed, (3,)),
        Op("atrous_conv2d_transpose", draw_transposed, x="value", dilations="rate"),
        Op("bias_add", draw_bias_add, (1, 2, 3), x="value", filters="bias"),
    )
}


# ---- memory orders ---------------------------------------------------------------------------------------------------

ORDERS = ("fortran", "negative", "sliced", "permuted", "broadcast", "readonly", "unaligned", "big-endian", "memmap")
OUT_ORDERS = ("C", "fortran", "negative", "sliced", "permuted", "unaligned")


def arrange(a: Array, order: str, rng: random.Random) -> Array:
    """The same values in another memory order ("broadcast": those of the first index of one axis, at every index)."""
    if order == "fortran":
        return np.asfortranarray(a)
    if order == "negative":
        turn = (slice(None, None, -1),) * a.ndim
        return a[turn].copy()[turn]
    if order == "sliced":
        base = np.full([2 * n + 1 for n in a.shape], 77, a.dtype)
        view = base[(slice(1, None, 2),) * a.ndim]
        view[...] = a
        return view
    if order == "permuted":
        axes = rng.sample(range(a.ndim), a.ndim)
        return a.transpose(axes).copy().transpose(np.argsort(axes))
    if order == "broadcast":
        axis = rng.randrange(a.ndim)
        return np.broadcast_to(a.take([0], axis), a.shape) if a.size else a
    if order == "readonly":
        a = a.copy()
        a.flags.writeable = False
        return a
    if order == "unaligned":
        view = np.empty(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
        view[...] = a
        return view
    if order == "big-endian" and a.dtype.name != "bfloat16":
        return a.astype(a.dtype.newbyteorder(">"))
    if order == "memmap" and a.size:
        with tempfile.TemporaryFile() as file:
            view = np.memmap(file, a.dtype, "w+", shape=a.shape)
        view[...] = a
        return view
    return a.copy()


# ---- one case --------------------------------------------------------------------------------------------------------


def draw(op: Op, seed: int) -> Case:
    """Case number `seed` of an op."""
    rng = random.Random(zlib.crc32(f"{op.name} {seed}".encode()))
    case = op.draw(op, rng, draw_geometry(op, rng))
    case.seed = seed
    for name, a in case.arrays.items():
        if rng.random() < 0.35:
            case.orders[name] = rng.choice(ORDERS)
            case.arrays[name] = arrange(a, case.orders[name], rng)
    if op.name == "bias_add":
        return case
    case.num_threads = rng.choice((None, 1, 2, 3, 4))
    case.isa = rng.choice((None, *nn.available_isas()))
    exact = EXACT if op.name in ("depthwise_conv2d", "separable_conv2d") else EXACT[:2]
    case.algorithm = rng.choice(exact if case.exact else (None, *ALGORITHMS))
    if case.exact and case.algorithm == "pixels" and case.terms > 500:
        case.algorithm = "direct"  # windows too large for pixels may be winograd's
    case.out = rng.choice(OUT_ORDERS) if rng.random() < 0.25 else None
    return case


def example(op: Op, **geometry: Any) -> Case:
    """A plain call of an op: float32, channels last, SAME, stride 1; a window's numbers may be given."""
    rank = geometry.get("rank", op.ranks[-1])
    fixed = {"sizes": (7, 6, 5)[:rank], "taps": (3, 2, 3)[:rank], "strides": (1,) * rank, "dilations": (1,) * rank}
    g = Geometry(rank, **(fixed | geometry))

    class Plain(random.Random):
        def random(self) -> float:
            return 0.999  # takes no option

        def choice(self, options: Any) -> Any:
            return options[0]

    case = op.draw(op, Plain(0), g)
    if "padding" in case.args:
        case.args |= {op.strides: list(g.strides), op.dilations: list(g.dilations), "padding": g.padding}
    return case


def tolerance(case: Case, magnitude: Array, answer: Array) -> Array:
    """How far from the exact answer a float result may be, element by element.

    A sum of n products, in any order, is off by at most n u sum|x||w| (u = eps/2, of the type it is computed in); bias,
    residual and an activation of slope at most 1.13 add a few units; storing adds half a unit of the stored type.
    Transforms, for float32 only, mix neighbouring outputs: 2e-5 of the largest sum|x||w|.
    """
    stored = ml_dtypes.finfo(case.dtype)
    computed = np.finfo(np.float32 if stored.bits == 16 else case.dtype)
    bound = computed.eps * ((case.terms / 2 + 8) * magnitude + 4 * np.abs(answer))
    if case.algorithm != "direct" and case.dtype == np.float32:
        bound = bound + 2e-5 * magnitude.max(initial=0)
    return 1.13 * bound + float(stored.eps) * np.abs(answer) + float(stored.smallest_subnormal)


def accurate(case: Case) -> tuple[Array, Array]:
    """The oracle's answer to a case of floats in a wider type, and how far from it one may be."""
    wider = np.longdouble if case.dtype == np.float64 else np.float64
    wide = {name: a.astype(np.float64).astype(wider) for name, a in case.arrays.items()}
    linear = {"activation": None} if "activation" in case.args else {}
    magnitude = case.reference(**{name: np.abs(a) for name, a in wide.items()}, **linear)
    answer = case.reference(**wide)
    return answer, tolerance(case, magnitude, answer)


def check(case: Case) -> str | None:
    """What is wrong with the op's answer to a case, in words; None if nothing is."""
    before = {name: a.tobytes() for name, a in case.arrays.items()}
    extra: dict[str, Any] = {}
    if case.out is not None:
        extra["out"] = arrange(np.full(case.out_shape, 55, case.dtype), case.out, random.Random(case.seed))
    if case.num_threads is not None:
        extra["num_threads"] = case.num_threads
    try:
        with (
            nn.isa(case.isa) if case.isa else nullcontext(),
            nn.algorithm(case.algorithm) if case.algorithm else nullcontext(),
        ):
            y = case.call(**extra)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if "out" in extra and y is not extra["out"]:
        return "did not return out"
    if type(y) is not np.ndarray or y.dtype != case.dtype or y.shape != case.out_shape:
        return f"gave {type(y).__name__} {y.dtype}{list(y.shape)}, not {case.dtype}{list(case.out_shape)}"
    if any(a.tobytes() != before[name] for name, a in case.arrays.items()):
        return "wrote to an input"
    if case.exact:
        answer = case.reference()
        wrong = (y != answer) & ~((y != y) & (answer != answer))
    else:
        answer, bound = accurate(case)
        wrong = ~(np.abs(y.astype(np.float64) - answer) <= bound)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        return f"{np.count_nonzero(wrong)} of {y.size} wrong, first at {list(at)}: {y[at]}, not {answer[at]}"
    if case.out == "sliced":
        y[...] = 77
        if (y.base != 77).any():
            return "wrote beside out"
    return None


def sweep(op: Op, seeds: range) -> list[str]:
    """A line for every case that fails: how to repeat it, what it is, what is wrong."""
    failures = []
    for seed in seeds:
        case = draw(op, seed)
        if wrong := check(case):
            failures.append(f"python tests/ops.py {op.name} {seed}: {case}: {wrong}")
    return failures


if __name__ == "__main__":
    name, *numbers = sys.argv[1:]
    first, last = int(numbers[0]), int(numbers[-1]) if len(numbers) > 1 else int(numbers[0]) + 1
    if last == first + 1:
        print(draw(OPS[name], first))
    failed = 0
    for seed in range(first, last):
        print(seed, end="\r", file=sys.stderr, flush=True)  # what was running, should the process die
        for line in sweep(OPS[name], range(seed, seed + 1)):
            print(line)
            failed += 1
    print(f"{failed} of {last - first} wrong")
