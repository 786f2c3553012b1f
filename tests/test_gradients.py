"""Gradients: against their formulas, as adjoints, against finite differences, and whatever the threads and the memory order."""

import inspect
import itertools
import math
import random
import sys

import ml_dtypes
import numpy as np
import ops
import pytest
from ops import DTYPES, MODES, OPS, Case, Geometry, Op, draw, draw_geometry, spell, spell_padding, values
from test_guard_pages import in_a_child, sweep as fenced_sweep
from test_identities import inner, linear_case

import cyconv as nn
from cyconv import reference

# ---- the raw gradients as rows of a table like that of the forward ops ------------------------------------------------


def gradient_args(op: Op, rng: random.Random, g: Geometry) -> dict:
    args = (
        spell(rng, g, "strides", g.strides)
        | spell(rng, g, "dilations", g.dilations)
        | {"padding": spell_padding(rng, g)}
    )
    args["data_format"] = g.layout or rng.choice(("channels_last", None))
    return args | ({"padding_mode": g.mode} if g.mode != "zeros" or rng.random() < 0.1 else {})


def sizes_of(rng: random.Random, shape: tuple) -> object:
    return rng.choice((list, tuple, np.array))(shape)


def shapes(op: Op, rng: random.Random, g: Geometry) -> tuple:
    """The shapes of input, filters and output."""
    channels = g.groups * g.channels
    if "depthwise" in op.name:
        multiplier = rng.choice((1, 1, 1, 2, 3))
        return g.shape(g.sizes, channels), (*g.taps, channels, multiplier), g.shape(g.outs(), channels * multiplier)
    return (
        g.shape(g.sizes, channels),
        (*g.taps, g.channels, g.groups * g.filters),
        g.shape(g.outs(), g.groups * g.filters),
    )


def draw_input_gradient(op: Op, rng: random.Random, g: Geometry) -> Case:
    x, f, y = shapes(op, rng, g._replace(filters=max(1, g.filters)))
    arrays = {"filter": values(rng, f, g.dtype, g.exact), "out_backprop": values(rng, y, g.dtype, g.exact)}
    args = gradient_args(op, rng, g) | {"input_sizes": sizes_of(rng, x)}
    reads = math.prod(
        1 + (n + 2 * 9 if g.mode != "zeros" else 0) // n for n in g.sizes if n
    )  # positions folded into one
    return Case(op, g, arrays, args, x, math.prod(g.taps) * f[-1] * reads, g.exact)


def draw_filter_gradient(op: Op, rng: random.Random, g: Geometry) -> Case:
    x, f, y = shapes(op, rng, g)
    arrays = {"input": values(rng, x, g.dtype, g.exact), "out_backprop": values(rng, y, g.dtype, g.exact)}
    args = gradient_args(op, rng, g) | {"filter_sizes": sizes_of(rng, f)}
    return Case(op, g, arrays, args, f, math.prod(g.lead) * math.prod(g.outs()), g.exact)


RAW = {
    op.name: op
    for base, rank in (("conv1d", 1), ("conv2d", 2), ("conv3d", 3), ("depthwise_conv2d", 2))
    for op in (
        Op(
            f"{base}_backprop_input",
            draw_input_gradient,
            (rank,),
            "out_backprop",
            "filter",
            batched=base != "depthwise_conv2d",
        ),
        Op(
            f"{base}_backprop_filter",
            draw_filter_gradient,
            (rank,),
            "input",
            "out_backprop",
            batched=base != "depthwise_conv2d",
        ),
    )
}


@pytest.mark.parametrize("first", range(0, 400, 100))
@pytest.mark.parametrize("name", RAW)
def test_equals_the_formula(name, first):
    failures = ops.sweep(RAW[name], range(first, first + 100))
    assert not failures, "\n".join(failures).replace("ops.py", "test_gradients.py")


@pytest.mark.parametrize("name", RAW)
def test_touches_nothing_but_its_arrays(name):
    code, words = in_a_child(fenced_sweep, RAW[name], range(1000, 1080))
    assert code == 0, f"{code}: {words}"


def large(name: str, dtype: str, layout: str | None, **changes) -> Case:
    """A case of some ten million products."""
    rank, depthwise = RAW[name].ranks[0], "depthwise" in name
    g = Geometry(rank, dtype, layout and "NCW NCHW NCDHW".split()[rank - 1], (3,), {1: (1500,), 2: (40, 39), 3: (12, 13, 11)}[rank],
                 (5, 3, 2)[:rank], (1,) * rank, (1,) * rank, channels=19, filters=1 if depthwise else 37, exact=False)  # fmt: skip
    return RAW[name].draw(RAW[name], random.Random(1), g._replace(**changes))


def bits(a: np.ndarray) -> bytes:
    return np.ascontiguousarray(a).tobytes()


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("lead", [(2,), (2, 3)])
def test_input_sizes_may_be_the_images_alone(layout, lead):
    g = Geometry(2, "float64", layout, lead, (9, 8), (3, 2), (2, 3), (1, 1))
    case = RAW["conv2d_backprop_input"].draw(RAW["conv2d_backprop_input"], random.Random(0), g)
    assert np.array_equal(case.call(input_sizes=[9, 8]), case.call())


@pytest.mark.parametrize("seed", range(400))
def test_taps_that_are_one_tile(seed):
    """Taps of a row, or of some rows, are rows of a tile, and each counts only where it is inside: for any stride, dilation and
    padding. Nine taps of a channel first, then any."""
    rng = np.random.default_rng(seed)
    rank, isa = int(rng.integers(2, 4)), str(rng.choice(nn.available_isas()))
    depthwise = rank == 2 and rng.random() < 0.6
    channels, filters = int(rng.choice([1, 3, 17, 40])) if depthwise else 1, int(rng.choice([1, 2, 16, 33, 70]))
    filters = int(rng.integers(1, 3)) if depthwise else filters
    taps = (int(rng.integers(1, 3)), 3, 3)[-rank:]
    if seed >= 150:
        taps = (*taps[:-2], int(rng.integers(1, 6)), int(rng.integers(1, 17 if seed % 4 == 0 else 8)))
        channels = channels if depthwise else int(rng.integers(1, 5))
    settings = {
        "strides": [int(s) for s in rng.integers(1, 4, rank)],
        "dilations": [int(d) for d in rng.choice([1, 1, 2, 5], rank)],
        "padding": [tuple(int(p) for p in rng.integers(0, 6, 2)) for _ in range(rank)],
        "padding_mode": ["zeros", "zeros", "replicate", ("constant", 2)][rng.integers(4)],
    }
    if not depthwise:
        settings["dilations"][-1] = 1  # else no row of taps is one run
    spans = [(k - 1) * d + 1 for k, d in zip(taps, settings["dilations"])]
    sizes = [max(1, s - sum(p)) + int(n) for s, p, n in zip(spans, settings["padding"], rng.integers(0, 40, rank))]
    x = rng.integers(-4, 5, (2, *sizes, channels)).astype([np.float32, np.int32, np.float16][seed % 3])
    name = "depthwise_conv2d" if depthwise else f"conv{rank}d"
    if depthwise:
        settings["strides"] = [1, settings["strides"][0], settings["strides"][0], 1]
    like = getattr(nn, name)(x, np.zeros((*taps, channels, filters), x.dtype), **settings)
    g = rng.integers(-2, 3, like.shape).astype(x.dtype)
    args = (x, (*taps, channels, filters), g)
    expected = getattr(reference, f"{name}_backprop_filter")(*args, **settings)
    with nn.isa(isa):
        for n in (1, 3):
            dw = getattr(nn, f"{name}_backprop_filter")(*args, **settings, num_threads=n)
            assert np.array_equal(dw, expected), settings


@pytest.mark.parametrize("isa", nn.available_isas())
def test_taps_that_are_rows_together_of_pixels_far_apart(isa):
    """Two channels of many: they are gathered, and a tile has all the taps of a row."""
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (1, 40, 1024)).astype(np.float32)[..., :2]
    g = rng.integers(-3, 4, (1, 40, 512)).astype(np.float32)
    args = (x, (31, 2, 512), g, 1, "SAME")
    with nn.isa(isa):
        assert np.array_equal(nn.conv1d_backprop_filter(*args), reference.conv1d_backprop_filter(*args))


def test_small_groups_of_far_strides():
    rng = np.random.default_rng(0)
    x, g = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((2, 50, 75, 16), (2, 3, 4, 16)))
    args = (x, (2, 2, 2, 16), g, 23, "VALID")
    assert np.array_equal(nn.conv2d_backprop_filter(*args), reference.conv2d_backprop_filter(*args))


@pytest.mark.parametrize("layout", [None, "first"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RAW)
def test_same_bits_for_threads_and_memory_orders(name, dtype, layout):
    case = large(name, dtype, layout)
    expected = bits(case.call(num_threads=1))
    for n in range(2, 8):
        assert bits(case.call(num_threads=n)) == expected, f"{n} threads: {case}"
    for argument, a in case.arrays.items():
        for order in ("fortran", "negative", "sliced", "permuted", "unaligned", "big-endian"):
            y = case.call(num_threads=2, **{argument: ops.arrange(a, order, random.Random(1))})
            assert bits(y) == expected, f"{argument} {order}: {case}"
    out = ops.arrange(np.zeros(case.out_shape, case.dtype), "sliced", random.Random(2))
    assert case.call(out=out) is out
    assert bits(out) == expected


@pytest.mark.parametrize("isa", nn.available_isas())
@pytest.mark.parametrize("width", [1, 2])
def test_same_bits_where_no_window_has_all_taps(width, isa):
    """Rows that lie one behind the other are one run of pixels, but not for tiles whose rows have several sums each."""
    rng = np.random.default_rng(0)
    for channels, filters, taps in itertools.product((1, 2, 3), (5, 16, 40), (2, 3, 5)):
        x, g = (rng.standard_normal((2, 64, width, n), dtype=np.float32) for n in (channels, filters))
        with nn.isa(isa):
            a, b = (
                nn.conv2d_backprop_filter(x_, (3, taps, channels, filters), g, 1, "SAME")
                for x_ in (x, np.repeat(x, 2, -1)[..., ::2])
            )
        assert bits(a) == bits(b), (channels, filters, taps)


GEOMETRIES = {
    "one channel": {"channels": 1},
    "two channels, few filters": {"channels": 2, "filters": 3},
    "few filters": {"channels": 40, "filters": 3},
    "strides": {"strides": (3, 2)},
    "strides past the taps": {"channels": 2, "strides": (6, 5)},
    "dilations": {"dilations": (2, 3)},
    "groups": {"groups": 3, "channels": 6, "filters": 20},
    "folded groups": {"groups": 3, "channels": 2, "filters": 20},
    "far apart": {"dilations": (150, 150), "padding": 300},
    "far apart, few channels": {"channels": 2, "dilations": (150, 1), "padding": 300},
    "wide taps": {"channels": 3, "taps": (2, 70), "padding": "SAME"},
    "reflected": {"mode": "reflect", "padding": "FULL"},
    "large constant": {"mode": ("constant", 1e3)},
    "filters of whole vectors": {"filters": 64},
    "nine taps": {"channels": 1, "taps": (3, 3)},
    "nine taps, strides": {"channels": 1, "taps": (3, 3), "strides": (2, 3), "padding": "SAME"},
    "nine taps far apart": {"channels": 1, "taps": (3, 3), "dilations": (150, 150), "padding": 300},
    "nine taps, reflected": {"channels": 1, "taps": (3, 3), "mode": "reflect", "padding": "FULL"},
}


@pytest.mark.parametrize("what", GEOMETRIES)
@pytest.mark.parametrize(
    "name", ["conv2d_backprop_filter", "conv2d_backprop_input", "depthwise_conv2d_backprop_filter"]
)
def test_same_bits_for_every_kernel(name, what):
    """Each way to read and to cut gives the same sums."""
    case = large(name, "float32", None, **GEOMETRIES[what])
    expected, y = case.call(num_threads=1), case.reference(**{k: a.astype(np.float64) for k, a in case.arrays.items()})
    magnitude = case.reference(**{k: np.abs(a.astype(np.float64)) for k, a in case.arrays.items()})
    with nn.algorithm("direct"):
        assert np.all(np.abs(case.call() - y) <= 1e-6 * magnitude)
    assert np.all(np.abs(expected - y) <= 2e-5 * magnitude)
    args = dict(case.args, data_format="NCHW")
    moved = {k: np.ascontiguousarray(np.moveaxis(a, -1, 1)) if k != "filter" else a for k, a in case.arrays.items()}
    if "input_sizes" in args:
        args["input_sizes"] = np.moveaxis(np.empty(args["input_sizes"]), -1, 1).shape
    for key in ("strides", "dilations", "padding"):
        value = args[key]
        if np.ndim(value) and len(value) == 4:
            args[key] = [value[0], value[3], *value[1:3]]
    if "input_sizes" in args:  # the layout, too, decides which algorithm is the fastest
        with nn.algorithm("direct"):
            expected, first = case.call(num_threads=1), getattr(nn, name)(**moved, **args, num_threads=3)
        assert bits(expected) == bits(np.moveaxis(first, 1, -1))
    else:
        assert bits(expected) == bits(getattr(nn, name)(**moved, **args, num_threads=3))


# ---- vector-Jacobian products ----------------------------------------------------------------------------------------

WINDOWED = [name for name in OPS if name != "bias_add"]


def vjp(case: Case, g: np.ndarray, **changes) -> dict[str, np.ndarray]:
    """Every gradient of a case, by the argument's name."""
    f = getattr(nn, f"{case.op.name}_vjp")
    names = [n for n in case.arrays if n in ("residual", "bias", "depthwise_bias") or n in f.__signature__.parameters]
    gradients = f(**case.arrays, **case.args, out_backprop=g, wrt=names, **changes)
    for n, d in zip(names, gradients):
        assert (d.shape, d.dtype) == (case.arrays[n].shape, g.dtype), f"{n} of {case}"
    return dict(zip(names, gradients))


@pytest.mark.parametrize("name", WINDOWED)
def test_adjoint_of_the_linear_op(name):
    """<op(x, w), g> = <x, dx> = <w, dw>, and <bias, db> is the rest: exact, for every argument that the op takes."""
    for seed in range(150):
        case = linear_case(name, seed)
        y = case.call()
        g = values(random.Random(seed), y.shape, "float64", True)
        for argument, d in vjp(case, g).items():
            assert inner(case.arrays[argument], d) == inner(y, g), f"{argument} of {seed}: {case}"


@pytest.mark.parametrize("name", OPS)
def test_bias_and_residual(name):
    for seed in range(40):
        case = draw(OPS[name], seed)
        case.args.pop("activation", None)
        case.args.pop("depthwise_activation", None)
        if case.dtype == np.int32 or not case.out_shape[-1]:
            continue
        case.arrays = {k: a.astype(np.float64) for k, a in case.arrays.items()}
        g = values(random.Random(seed), case.out_shape, "float64", True)
        channels = case.arrays["bias"].size if "bias" in case.arrays else None
        gradients = vjp(case, g)
        if channels:
            first = "bias_add" != name and (case.args.get("data_format") or "").startswith(("NC", "channels_first"))
            first = first or (name == "bias_add" and (case.args.get("data_format") or "").startswith("NC"))
            rank = case.arrays[case.op.filters].ndim - 2 if name != "bias_add" else g.ndim - 2
            axis = g.ndim - 1 - rank if first else g.ndim - 1
            assert np.array_equal(gradients["bias"], g.sum(tuple(i for i in range(g.ndim) if i != axis))), case
        if "residual" in gradients:
            assert np.array_equal(gradients["residual"], g)


ACTIVATIONS = (
    "relu",
    "relu6",
    ("clip", -0.5, 0.7),
    "leaky_relu",
    ("leaky_relu", -0.3),
    "elu",
    "sigmoid",
    "tanh",
    "silu",
    "gelu",
)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("name", WINDOWED)
def test_finite_differences(name, activation):
    """(L(a + ev) - L(a - ev)) / 2e = <dL/da, v> for L = <g, op(...)>, through bias, residual and activation."""
    for seed in range(3):
        rng = random.Random(f"{name} {activation} {seed}")
        case = linear_case(name, rng.randrange(1000))
        y = case.call()
        if not y.size:
            continue
        case.args["activation"] = activation
        for key, a in case.arrays.items():
            case.arrays[key] = values(rng, a.shape, "float64", False) / math.sqrt(max(1, case.terms))
        case.arrays["residual"] = values(rng, y.shape, "float64", False)
        if name == "separable_conv2d":
            case.args["depthwise_activation"] = rng.choice(ACTIVATIONS[5:])
            case.arrays["depthwise_bias"] = values(rng, case.arrays["pointwise_filter"].shape[2], "float64", False)
        g = values(rng, y.shape, "float64", False)
        gradients, epsilon = vjp(case, g), 1e-6
        again = vjp(case, g, output=case.call())
        for argument, d in gradients.items():
            assert bits(d) == bits(again[argument]), f"output= changes {argument} of {case}"
            a, v = case.arrays[argument], values(rng, case.arrays[argument].shape, "float64", False)
            low, high = (np.vdot(g, case.call(**{argument: a + e * v})) for e in (-epsilon, epsilon))
            scale = np.abs(g).sum() + np.vdot(np.abs(d), np.abs(v))
            assert abs((high - low) / (2 * epsilon) - np.vdot(d, v)) <= 1e-6 * scale, f"{argument} of {seed}: {case}"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int32"])
def test_the_slope_in_every_type(dtype):
    y = np.linspace(-3, 8, 45).astype(DTYPES[dtype]).reshape(1, 9, 5)
    w, g = np.eye(5, dtype=DTYPES[dtype])[None], np.full_like(y, 2)
    relu6 = nn.conv1d_vjp(y, w, g, 1, "VALID", activation="relu6", wrt="input")[0]
    assert np.array_equal(relu6, np.where((y > 0) & (y < 6), 2, 0).astype(y.dtype))
    if dtype != "int32":
        elu = nn.conv1d_vjp(y, w, g, 1, "VALID", activation="elu", wrt="input")[0]
        exact = 2 * np.where(y > 0, 1, np.exp(np.minimum(y.astype(np.float64), 0)))
        assert np.allclose(elu.astype(np.float64), exact, rtol=4 * float(ml_dtypes.finfo(y.dtype).eps))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_what_is_infinite_is_at_no_end_of_a_clamp(dtype):
    """As in TensorFlow: relu's slope at infinity is 1, which float16 reaches soon. Vectors and what is left of them."""
    x = np.tile(np.array([np.inf, -np.inf, np.nan, 0, 1, -1, 6], DTYPES[dtype]), 7)[None, :, None]
    w, g = np.ones((1, 1, 1), x.dtype), np.full_like(x, 3)
    for activation, slope in (
        ("relu", (1, 0, 0, 0, 1, 0, 1)),
        ("relu6", (0, 0, 0, 0, 1, 0, 0)),
        (("clip", -np.inf, 6), (0, 1, 0, 1, 1, 1, 0)),
        (("clip", -np.inf, np.inf), (1, 1, 0, 1, 1, 1, 1)),
    ):
        for isa in nn.available_isas():
            with nn.isa(isa):
                (d,) = nn.conv1d_vjp(x, w, g, 1, "VALID", activation=activation, wrt="residual")
            assert np.array_equal(d.ravel(), np.tile(slope, 7) * 3), (activation, isa)


@pytest.mark.parametrize(("low", "high"), [(0.5, 2.5), (-1.5, 2**40), (-1e300, -1e299), (2**40, 2**41), (-2.9, -0.1)])
def test_clamps_of_integers_between_their_like(low, high):
    """Bounds are rounded towards zero and brought to the nearest int32, the slope too."""
    x = np.array([-(2**31), -5, -2, -1, 0, 1, 2, 3, 2**31 - 1], np.int32).reshape(1, 9, 1)
    w = np.ones((1, 1, 1), np.int32)
    least, most = (int(min(max(math.trunc(v), -(2**31)), 2**31 - 1)) for v in (low, high))
    clip = ("clip", low, high)
    assert np.array_equal(nn.conv1d(x, w, 1, "VALID", activation=clip), x.clip(least, most))
    dx = nn.conv1d_vjp(x, w, w + 0 * x, 1, "VALID", activation=clip, wrt="input")[0]
    assert np.array_equal(dx, (x > least) & ((x < most) | (high > 2**31)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("dtype", "large"), [("float16", 6e4), ("float32", 3e38)])
@pytest.mark.parametrize("mode", MODES[2:])
def test_what_overflows_under_padding_modes_is_infinite_without_a_warning(dtype, large, mode):
    f, g = np.ones((1, 1, 1, 1), dtype), np.full((1, 3, 3, 1), large, dtype)
    for out in (None, np.empty((1, 1, 1, 1), dtype)):
        dx = nn.conv2d_backprop_input((1, 1, 1, 1), f, g, 1, 1, padding_mode=mode, out=out)
        assert dx.dtype == g.dtype
        assert dx == np.inf


def test_second_order_by_composition():
    """The gradient of each gradient is one of the three ops again: all three are the same trilinear form."""
    for seed in range(60):
        rng = random.Random(seed)
        g = draw_geometry(OPS["conv2d"], rng)._replace(dtype="float64", lead=(2,), exact=True)
        if not g.filters or 0 in g.sizes:
            continue
        if g.mode == MODES[1]:
            g = g._replace(mode="zeros")
        x_shape, f_shape, y_shape = shapes(OPS["conv2d"], rng, g)
        x, w, y = (values(rng, shape, "float64", True) for shape in (x_shape, f_shape, y_shape))
        args = (g.strides, g.padding, g.layout, g.dilations)
        form = inner(nn.conv2d(x, w, *args, padding_mode=g.mode), y)
        dx = nn.conv2d_backprop_input(x_shape, w, y, *args, padding_mode=g.mode)
        dw = nn.conv2d_backprop_filter(x, f_shape, y, *args, padding_mode=g.mode)
        assert inner(dx, x) == inner(dw, w) == form, (seed, g)
        # d<dw, w>/dx = dx(w, y), d<dw, w>/dy = conv(x, w); d<dx, x>/dw = dw(x, y): by linearity, on other arguments.
        v, u = values(rng, x_shape, "float64", True), values(rng, f_shape, "float64", True)
        assert inner(nn.conv2d_backprop_filter(v, f_shape, y, *args, padding_mode=g.mode), w) == inner(dx, v), (seed, g)
        assert inner(nn.conv2d_backprop_input(x_shape, u, y, *args, padding_mode=g.mode), x) == inner(dw, u), (seed, g)


# ---- NaN, errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taps", [(5, 3), (3, 3)])
@pytest.mark.parametrize("channels", [1, 3, 20])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_values_stay_in_their_taps(channels, value, taps):
    """A gradient that is not finite reaches the taps that are inside the input there, an input the taps that read it."""
    rng = np.random.default_rng(0)
    for groups, filters in ((1, 17), (channels, channels)):
        x = rng.standard_normal((2, 6, 7, channels)).astype(np.float32) + 5
        for at in ((0, 0, 0), (1, 5, 6), (0, 3, 3), (1, 0, 6)):
            g = rng.standard_normal((2, 6, 7, filters)).astype(np.float32)
            g[at] = value
            sizes = (*taps, channels // groups, filters)
            dw = nn.conv2d_backprop_filter(x, sizes, g, 1, "SAME")
            reached = (
                nn.conv2d_backprop_filter(np.ones_like(x), sizes, (~np.isfinite(g)).astype(np.float32), 1, "SAME") > 0
            )
            assert np.array_equal(~np.isfinite(dw), reached), (groups, at)


def tf_cases():
    """Historic crashes of TensorFlow's (CVE-2021-29524, -29525, -29538, -29540, -29520; CVE-2022-35969, -29196)."""
    one, f4 = np.ones, np.float32
    yield "conv2d_backprop_input", ((52, 1, 1, 5), one((0, 1, 5, 0), f4), one((52, 1, 1, 0), f4), 1, "SAME")
    yield "conv2d_backprop_input", ((3, 1, 1), one((1, 1, 2, 3), f4), one((3, 1, 1, 3), f4), 1, "SAME")
    yield "conv2d_backprop_input", ((3, -1, 1, 2), one((1, 1, 2, 3), f4), one((3, 1, 1, 3), f4), 1, "SAME")
    yield "conv2d_backprop_filter", (one((0, 0, 1, 0), f4), (1, 1, 1, 1), one((0, 0, 1, 1), f4), 1, "VALID")
    yield (
        "conv2d_backprop_filter",
        (one((1, 1, 1, 2), f4), (1, 1, 1, 1), one((1, 1, 1, 1), f4), (1, 66, 49, 1), "VALID"),
    )
    yield "conv2d_backprop_filter", (one((2, 4, 4, 3), f4), (3, 3, 3, 8), one((2, 4, 5, 8), f4), 1, "SAME")
    yield "conv3d_backprop_filter", (one((1, 2, 2, 2, 1), f4), 7, one((1, 2, 2, 2, 1), f4), 1, "SAME")
    yield "conv3d_backprop_filter", (one((1, 2, 2, 2, 1), f4), (0, 0, 0, 1, 0), one((1, 2, 2, 2, 1), f4), 1, "SAME")
    yield "conv3d_backprop_input", ((1, 2, 2, 2, 1), one((1, 1, 1, 1, 2), f4), one((2, 2, 2, 2, 2), f4), 1, "SAME")
    yield "conv2d_backprop_filter", (one((1, 4, 4, 3), f4), (2**31, 2**31, 3, 8), one((1, 4, 4, 8), f4), 1, "SAME")
    yield "conv2d_backprop_filter", (one((1, 4, 4, 3), f4), (3, 3, 3, 8), one((1, 4, 4, 8), "f8"), 1, "SAME")
    yield "conv2d_backprop_filter", (one((1, 4, 4, 3), f4), (3, 3, 3.0, 8), one((1, 4, 4, 8), f4), 1, "SAME")
    yield "conv2d_backprop_filter", (None, (3, 3, 3, 8), one((1, 4, 4, 8), f4), 1, "SAME")
    yield "conv2d_backprop_input", ((1, 4, 4, 3), one((3, 3, 3, 8), f4), None, 1, "SAME")
    yield "conv2d_backprop_input", ((1, 4, 4, 4), one((3, 3, 3, 8), f4), one((1, 4, 4, 8), f4), 1, "SAME")
    yield "conv2d_backprop_input", ((1, 4, 4, 3), one((3, 3, 3, 8), f4), one((1, 4, 4, 8), f4), 0, "SAME")
    yield "conv2d_backprop_input", ((1, 4, 4, 3), one((3, 3, 3, 8), f4), one((1, 4, 4, 8), f4), 1, "same?")
    huge = np.lib.stride_tricks.as_strided(one(1, f4), (1, 2**27, 2**27, 8), (0,) * 4)
    yield "conv2d_backprop_input", ((1, 2**27, 2**27, 3), one((3, 3, 3, 8), f4), huge, 1, "SAME")
    yield "conv2d_backprop_input", ((65534, 65534), one((3, 3, 2, 2), f4), one((), f4), 1, "SAME")
    yield "depthwise_conv2d_backprop_input", ((4, 4), one((3, 3, 3, 1), f4), one((1, 4, 4, 3), f4), 1, "SAME")
    yield "depthwise_conv2d_backprop_filter", (one((1, 4, 4, 3), f4), (3, 3, 4, 1), one((1, 4, 4, 4), f4), 1, "SAME")
    yield "bias_add_grad", (one(3, f4),)
    yield "bias_add_grad", (one((3, 2), "U1"),)
    yield "bias_add_grad", (one((3, 2), f4), "NHW")
    yield "bias_add_grad", (one((3, 2), f4), "")


@pytest.mark.parametrize(("name", "args"), list(tf_cases()))
def test_hostile_arguments_are_refused_in_words(name, args):
    with pytest.raises((ValueError, TypeError, MemoryError)) as error:
        getattr(nn, name)(*args)
    assert name in str(error.value)


def test_sizes_of_filters_are_named_as_they_are_given():
    x, g = np.ones((1, 4, 4, 3), np.float32), np.ones((1, 4, 4, 3), np.float32)
    for name in ("conv2d_backprop_filter", "depthwise_conv2d_backprop_filter"):
        for sizes in ((), (3, 3, 2, 1), (3, 3, 0, 1), (3, 3, 3), (2**31 - 1, 3, 4, 3)):
            with pytest.raises(nn.ShapeError, match=f"^{name}: .*filter_sizes") as error:
                getattr(nn, name)(x, sizes, g, 1, "SAME")
            assert error.value.arg == "filter_sizes"


def test_vjp_refuses_in_words():
    x, w, g = np.ones((1, 4, 4, 3), np.float32), np.ones((3, 3, 3, 8), np.float32), np.ones((1, 4, 4, 8), np.float32)
    for changes, word in (
        ({"out_backprop": g[:, 1:]}, "out_backprop"),
        ({"out_backprop": g.astype("f8")}, "out_backprop"),
        ({"wrt": ("inputs",)}, "wrt"),
        ({"wrt": None}, "wrt"),
        ({"wrt": (["input"],)}, "wrt"),
        ({"activation": "relu", "output": g[1:]}, "output"),
        ({"stride": 1}, "stride"),
        ({"out": g}, "out"),
    ):
        with pytest.raises((ValueError, TypeError), match=f"(?s)conv2d_vjp.*{word}"):
            nn.conv2d_vjp(**{"input": x, "filters": w, "out_backprop": g, "strides": 1, "padding": "SAME"} | changes)
    assert len(nn.conv2d_vjp(x, w, g, 1, "SAME")) == 3
    for mode in ("reflect", "constant", ("constant", 0)):  # as the op refuses them
        with pytest.raises(ValueError, match=r"conv2d_transpose_vjp: padding_mode=.* has no meaning"):
            nn.conv2d_transpose_vjp(g, w, np.ones((1, 8, 8, 3), np.float32), None, 2, padding_mode=mode)
    for shape, size in (
        ((1, 4, 4, 3), 7),
        (None, 7),
        ((1, 7, 7, 3), 8),
        ((8, 8), 7),
    ):  # of which any maps back to 4 x 4
        with pytest.raises(nn.ShapeError, match=r"(?s)conv2d_transpose_vjp.*(out_backprop|output_shape)"):
            nn.conv2d_transpose_vjp(g, w, np.ones((1, size, size, 3), np.float32), shape, 2)
    assert (
        nn.conv2d_transpose_vjp(g, w, np.ones((1, 7, 7, 3), np.float32), (1, 7, 7, 3), 2, wrt="input")[0].shape
        == g.shape
    )
    assert [d.shape for d in nn.conv2d_vjp(x, w, g, 1, "SAME", wrt="filters")] == [w.shape]


VJPS = {
    "conv2d_vjp": {},
    "conv2d_transpose_vjp": {"output_shape": (1, 4, 4, 3)},
    "depthwise_conv2d_vjp": {},
    "separable_conv2d_vjp": {"pointwise_filter": np.ones((1, 1, 3, 3), np.float32)},
    "bias_add_vjp": {},
}
X = np.ones((1, 4, 4, 3), np.float32)
HOSTILE = {
    "input": (None, X[0], X[1:], X[..., :2], X.astype("f8"), X.astype("U1")),
    "value": (None, X[0, 0, 0], X[1:], X[..., :2], X.astype("f8"), X.astype("U1")),
    "filters": (None, X[0], np.ones((3, 3, 3, 0), np.float32), np.ones((0, 3, 3, 3), np.float32)),
    "filter": (None, X[0], np.ones((3, 3, 2, 1), np.float32)),
    "depthwise_filter": (None, X[0], np.ones((3, 3, 2, 1), np.float32)),
    "pointwise_filter": (None, X[0], X.ravel(), np.ones((1, 1, 2, 3), np.float32), np.ones((2, 1, 3, 3), np.float32)),
    "out_backprop": (None, X[0], X[1:], X[..., :2], X[:, 1:], X.astype("f8"), "abc"),
    "strides": (0, "1", [1, 1, 1], 3),
    "padding": ("same?", -1, 2, None),
    "data_format": ("NHW", 3, [], "NCHW"),
    "dilations": (0, 1.5, [1, 1, 1]),
    "bias": ("abc", X, np.ones(2, np.float32), np.ones(3)),
    "residual": ("abc", X[0], X.astype("f8")),
    "activation": ("relu?", ("clip", 2, 1)),
    "depthwise_bias": ("abc", X, np.ones(2, np.float32), np.ones(3)),
    "depthwise_activation": ("relu?", ("clip", 2, 1)),
    "num_threads": (0, 1.5, "2"),
    "padding_mode": ("mirror", ("constant", "a")),
    "groups": (2, 0, "1"),
    "output": ("abc", X[0], X.astype("f8")),
    "output_shape": (5, (1, 9, 9, 3), (1, 4, 4, 2)),
}


@pytest.mark.parametrize("name", VJPS)
def test_vjps_refuse_in_their_own_name(name):
    """Every argument is checked, whichever gradients are asked for."""
    multiplier = 1 if "depthwise" in name or "separable" in name else 3
    everything = {"input": X, "value": X, "out_backprop": X, "strides": 1, "padding": "SAME"}
    everything |= dict.fromkeys(("filters", "filter", "depthwise_filter"), np.ones((3, 3, 3, multiplier), np.float32))
    everything |= {"bias": np.ones(3, np.float32), **VJPS[name]}
    vjp = getattr(nn, name)
    takes = inspect.signature(vjp).parameters
    given = {argument: value for argument, value in everything.items() if argument in takes}
    for wrt in ("bias", next(iter(takes))):
        vjp(**given, wrt=wrt)
        for argument in HOSTILE.keys() & takes.keys() - ({"output"} if name == "bias_add_vjp" else set()):
            for bad in HOSTILE[argument]:
                with pytest.raises((ValueError, TypeError), match=f"^{name}: "):
                    vjp(**given | {argument: bad}, wrt=wrt)


def test_empty():
    x, g = np.ones((0, 4, 4, 3), np.float32), np.ones((0, 4, 4, 8), np.float32)
    assert np.array_equal(nn.conv2d_backprop_filter(x, (3, 3, 3, 8), g, 1, "SAME"), np.zeros((3, 3, 3, 8)))
    assert nn.conv2d_backprop_input(x.shape, np.ones((3, 3, 3, 8), np.float32), g, 1, "SAME").shape == x.shape
    # A convolution without outputs (CVE-2022-35999): its input's gradient is all zeros.
    dx = nn.conv2d_backprop_input(
        (3, 1, 1, 2), np.ones((1, 3, 2, 3), np.float32), np.ones((3, 1, 0, 3), np.float32), 2, "VALID"
    )
    assert np.array_equal(dx, np.zeros((3, 1, 1, 2)))
    assert np.array_equal(nn.bias_add_grad(np.ones((0, 5))), np.zeros(5))
    for dtype in ("float32", "int64", "complex64"):
        assert nn.bias_add_grad(np.ones((3, 0), dtype)).shape == (0,)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "int8", "uint64", "complex64", "float64"])
def test_bias_add_grad(dtype):
    rng = np.random.default_rng(0)
    dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    for shape in ((6, 5), (4, 3, 5), (2, 3, 4, 5), (2, 2, 3, 4, 33), (2, 1, 2, 2, 3, 7), (9, 300, 21)):
        g = rng.integers(0, 4, shape).astype(dtype)
        out = np.empty(shape[-1], dtype)
        assert nn.bias_add_grad(g, out=out) is out
        exact = g.astype("c16" if g.dtype.kind == "c" else "f8").sum(tuple(range(g.ndim - 1)))
        assert np.array_equal(out, exact.astype(dtype)), shape
        assert np.array_equal(nn.bias_add_grad(np.moveaxis(g, -1, 1), "NC..."), out)
    with pytest.raises(ValueError, match="bias_add_grad: num_threads"):
        nn.bias_add_grad(g, num_threads=0)


# ---- peers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d", "depthwise_conv2d"])
def test_equals_torch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    op = RAW[f"{name}_backprop_input"]
    for seed in range(40):
        rng = random.Random(seed)
        g = draw_geometry(op, rng)._replace(
            dtype="float64", lead=(2,), mode="zeros", layout="NC" + "DHW"[3 - op.ranks[0] :]
        )
        if 0 in g.sizes or 0 in g.outs() or not g.filters:
            continue
        x_shape, f_shape, y_shape = shapes(op, rng, g)
        x, w, y = (values(rng, shape, "float64", False) for shape in (x_shape, f_shape, y_shape))
        groups = x_shape[1] if "depthwise" in name else g.groups
        weight = np.moveaxis(w.reshape(*g.taps, -1, y_shape[1]), (-1, -2), (0, 1))
        tx, tw = (torch.from_numpy(np.ascontiguousarray(a)).requires_grad_() for a in (x, weight))
        pads = [n for a in g.axes()[::-1] for n in (a.lo, max(0, a.hi))]
        conv = getattr(torch.nn.functional, f"conv{g.rank}d")
        ty = conv(torch.nn.functional.pad(tx, pads), tw, None, g.strides, 0, g.dilations, groups)
        ty.backward(torch.from_numpy(y))
        args = {"strides": g.strides, "padding": g.padding, "data_format": g.layout, "dilations": g.dilations}
        dx = getattr(nn, f"{name}_backprop_input")(x_shape, w, y, **args)
        dw = getattr(nn, f"{name}_backprop_filter")(x, f_shape, y, **args)
        assert np.allclose(dx, tx.grad.numpy(), rtol=1e-10, atol=1e-10), (seed, g)
        theirs = np.moveaxis(tw.grad.numpy(), (0, 1), (-1, -2)).reshape(f_shape)
        assert np.allclose(dw, theirs, rtol=1e-10, atol=1e-10), (seed, g)


@pytest.mark.parametrize("name", ["conv2d", "depthwise_conv2d"])
def test_equals_tensorflow(name):
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    theirs = tf.compat.v1.nn if name == "conv2d" else tf.nn
    for seed in range(40):
        rng = random.Random(seed)
        g = draw_geometry(RAW[f"{name}_backprop_input"], rng)
        # What TensorFlow can do on a CPU: no groups, no dilations, equal strides, SAME and VALID.
        g = g._replace(dtype="float32", lead=(2,), mode="zeros", layout="NHWC", groups=1, dilations=(1, 1),
                       strides=g.strides[:1] * 2, padding=rng.choice(("SAME", "VALID")))  # fmt: skip
        if 0 in g.sizes or min(g.outs()) < 1 or min(g.rooms()) < 0 or not g.filters:
            continue
        x_shape, f_shape, y_shape = shapes(RAW[f"{name}_backprop_input"], rng, g)
        x, w, y = (values(rng, shape, "float32", True) for shape in (x_shape, f_shape, y_shape))
        args = {"strides": [1, *g.strides, 1], "padding": g.padding}
        with nn.algorithm("direct"):
            dx = getattr(nn, f"{name}_backprop_input")(x_shape, w, y, **args)
            dw = getattr(nn, f"{name}_backprop_filter")(x, f_shape, y, **args)
        assert np.array_equal(dx, getattr(theirs, f"{name}_backprop_input")(x_shape, w, y, **args)), (seed, g)
        assert np.array_equal(dw, getattr(theirs, f"{name}_backprop_filter")(x, f_shape, y, **args)), (seed, g)


if __name__ == "__main__":
    name, *numbers = sys.argv[1:]
    print("\n".join(ops.sweep(RAW[name], range(int(numbers[0]), int(numbers[-1]) + 1))) or "all equal")


def test_a_window_as_large_as_the_input_that_fits_nowhere():
    """Taps two apart span more than the image: no outputs, and so no gradient."""
    f, g = np.ones((3, 3, 2, 4), np.float32), np.ones((5, 0, 0, 4), np.float32)
    x = nn.conv2d_backprop_input((5, 3, 3, 2), f, g, 3, "VALID", dilations=2)
    assert np.array_equal(x, np.zeros((5, 3, 3, 2), np.float32))


@pytest.mark.parametrize("taps", [(3,), (4, 5), (3, 6, 3)])
def test_a_window_as_large_as_the_input_has_the_same_bits_in_out(taps):
    rng, op = np.random.default_rng(5), getattr(nn, f"conv{len(taps)}d_backprop_input")
    f = rng.standard_normal((*taps, 16, 48), dtype=np.float32)
    for batch in (1, 3, 40):
        g = rng.standard_normal((batch, *(1,) * len(taps), 48), dtype=np.float32)
        out = np.empty((batch, *taps, 16), np.float32)
        assert op(out.shape, f, g, 1, "VALID", out=out) is out
        assert bits(out) == bits(op(out.shape, f, g, 1, "VALID"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
@pytest.mark.parametrize("lead", [(1,), (3,), (2, 2), (20,)])
def test_of_few_pixels_by_one_tap(lead, dtype):
    """The filters are the image there: the same bits as among more pixels, where they are not."""
    rng = np.random.default_rng(3)
    f = (rng.integers(-40, 40, (1, 1, 50, 70)) / (1 if dtype == "int32" else 16)).astype(dtype)
    g = (rng.integers(-40, 40, (*lead, 2, 1, 70)) / (1 if dtype == "int32" else 16)).astype(dtype)
    many = np.zeros((40, 2, 1, 70), dtype)
    many[: math.prod(lead)] = g.reshape(-1, 2, 1, 70)
    expected = nn.conv2d_backprop_input((40, 2, 1, 50), f, many, 1, "SAME", num_threads=1)[: math.prod(lead)]
    for threads in (1, 2):
        x = nn.conv2d_backprop_input((*lead, 2, 1, 50), f, g, 1, "VALID", num_threads=threads)
        assert x.dtype == g.dtype
        assert bits(x) == bits(expected.reshape(x.shape))


@pytest.mark.parametrize(("channels", "filters"), [(512, 272), (40, 256), (1030, 300)])
def test_filter_gradients_of_one_tap_and_many_columns(channels, filters):
    """Over several chunks: pixels far apart are gathered first, near ones read ahead. Any threads give the same bits."""
    rng = np.random.default_rng(4)
    x, g = (rng.standard_normal((2, 15, 17, c), dtype=np.float32) for c in (channels, filters))
    expected = nn.conv2d_backprop_filter(x, (1, 1, channels, filters), g, 1, "SAME", num_threads=1)
    close = np.tensordot(x.astype(float), g.astype(float), ((0, 1, 2), (0, 1, 2)))
    np.testing.assert_allclose(expected[0, 0], close, rtol=0, atol=1e-5 * np.abs(close).max())
    for threads in (2, 3):
        again = nn.conv2d_backprop_filter(x, (1, 1, channels, filters), g, 1, "SAME", num_threads=threads)
        assert bits(again) == bits(expected)
    room = np.zeros((2, 15, 17, channels + 3), np.float32)
    room[..., :channels] = x
    again = nn.conv2d_backprop_filter(room[..., :channels], (1, 1, channels, filters), g, 1, "SAME", num_threads=2)
    assert bits(again) == bits(expected)


@pytest.mark.parametrize("seed", range(12))
def test_small_groups_are_each_by_itself(seed):
    """Filter gradients of groups of 2, 4, 8 channels, all of them in one sum: those of each group alone. Whole numbers."""
    rng, done = np.random.default_rng(seed), 0
    while done < 12:
        each, sizes, taps = int(rng.choice([2, 4, 8])), rng.integers(1, 40, 2), rng.choice([1, 2, 3, 3, 3, 4, 9], 2)
        groups, stride, dtype = (
            int(rng.integers(2, 90 // each)),
            int(rng.integers(1, 4)),
            rng.choice(["f4", "f4", "f8", "i4", "f2"]),
        )
        padding, dilations = str(rng.choice(["SAME", "FULL", "VALID"])), [1, int(rng.integers(1, 3)), 1, 1]
        x = rng.integers(-2, 3, (int(rng.integers(1, 3)), *sizes, groups * each)).astype(dtype)
        f_shape, strides = (*map(int, taps), each, groups * each), [1, stride, stride, 1]
        try:
            y = nn.conv2d(x, np.zeros(f_shape, dtype), strides, padding, dilations=dilations)
        except ValueError:
            continue
        g = rng.integers(-1, 2, y.shape).astype(dtype)
        with nn.isa(str(rng.choice(nn.available_isas()))):
            made = nn.conv2d_backprop_filter(
                x, f_shape, g, strides, padding, dilations=dilations, num_threads=int(rng.integers(1, 4))
            )
            for first in range(0, groups * each, each):
                own = slice(first, first + each)
                alone = nn.conv2d_backprop_filter(
                    x[..., own], (*f_shape[:3], each), g[..., own], strides, padding, dilations=dilations
                )
                assert np.array_equal(made[..., own], alone)
        done += 1


@pytest.mark.parametrize("mode", ["reflect", "symmetric", "replicate", "circular"])
def test_halves_take_no_transforms_under_any_padding_mode(mode):
    rng = np.random.default_rng(0)
    w = rng.integers(-1, 2, (3, 3, 32, 32)).astype(np.float16)
    g = rng.integers(-1, 2, (1, 24, 24, 32)).astype(np.float16)
    whole = nn.conv2d_backprop_input(g.shape, w.astype(np.int32), g.astype(np.int32), 1, "SAME", padding_mode=mode)
    assert np.array_equal(
        nn.conv2d_backprop_input(g.shape, w, g, 1, "SAME", padding_mode=mode), whole.astype(np.float16)
    )


def test_windows_that_reach_too_far_for_a_padding_mode():
    x, w = np.ones((1, 8, 8, 4), np.float32), np.ones((3, 3, 4, 4), np.float32)
    with pytest.raises(
        MemoryError, match=r"windows that reach 2147483647 positions outside of input_sizes=\(1, 8, 8, 4\)"
    ):
        nn.conv2d_backprop_input(x.shape, w, x, 1, "SAME", dilations=2**31 - 1, padding_mode="reflect")


def test_arguments_are_blamed_for_what_is_theirs():
    x, w = np.ones((1, 4, 4, 2), np.float32), np.ones((3, 3, 2, 2), np.float32)
    with pytest.raises(ValueError, match="out_backprop must have at least 4 dimensions, not 0"):
        nn.conv2d_backprop_input([1, 4, 4, 2], w, np.float32(0), 1, "SAME")
    with pytest.raises(
        ValueError,
        match=r"has 2 channels but filter_sizes expect 3 .*filter_sizes=\(3, 3, 3, 2\).* of filter_sizes\[2\]",
    ):
        nn.conv2d_backprop_filter(x, (3, 3, 3, 2), x, 1, "SAME")
    with pytest.raises(
        ValueError, match=r"out_backprop has 5 channels but filter makes 4 .* filter is that of the convolution"
    ):
        nn.depthwise_conv2d_backprop_input([1, 4, 4, 2], np.ones((3, 3, 2, 2)), np.ones((1, 4, 4, 5)), 1, "SAME")
    with pytest.raises(TypeError, match="out must be"):
        nn.bias_add_grad(np.broadcast_to(np.float32(1), (1 << 40, 1, 1, 4)), out=(1,))
