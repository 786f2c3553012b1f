"""Pools and their gradients: against their formulas, TensorFlow and PyTorch; NaN, -inf, ties; whatever threads and memory."""

import inspect
import math
import os
import random
import signal
import threading
import time

import ml_dtypes
import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from ops import (
    DTYPES,
    LAYOUTS,
    ORDERS,
    Case,
    Geometry,
    Op,
    arrange,
    draw,
    draw_geometry,
    spell,
    spell_padding,
    sweep,
    values,
)
from test_guard_pages import in_a_child, sweep as fenced_sweep
from test_peers import peer

import cyconv as nn
from cyconv import reference

# ---- pools as rows of a table like that of the forward ops -------------------------------------------------------------


def pool_geometry(op: Op, rng: random.Random, g: Geometry) -> Geometry:
    """The window without what pools do not have; pads of a maximum are smaller than its window."""
    g = g._replace(mode="zeros", dilations=g.dilations if op.dilations else (1,) * g.rank)
    pads = [max(a.lo, a.hi) - (a.taps - 1) * a.dilation for a in g.axes()]
    if "avg" not in op.name and not isinstance(g.padding, str) and max(pads) > 0:
        g = g._replace(padding="SAME")
    return g


def pool_args(op: Op, rng: random.Random, g: Geometry) -> dict:
    args = {"padding": spell_padding(rng, g)} | spell(rng, g, "strides", g.strides) | {"data_format": g.layout}
    if op.name == "pool":
        args["window_shape"] = rng.choice((list, tuple, np.array))(g.taps)
        args["pooling_type"] = rng.choice(("MAX", "AVG"))
        return args | spell(rng, g, "dilations", g.dilations)
    args |= spell(rng, g, "ksize", g.taps)
    if rng.random() < 0.1 and g.rank < 3 and rng.random() < 0.5:  # over channels
        k = rng.randint(2, 4)
        for name, over in (("ksize", k), ("strides", rng.choice((1, k)))):
            taps = g.taps if name == "ksize" else g.strides
            args[name] = (1, over, *taps) if g.first else (1, *taps, over)
        args["padding"] = rng.choice(("SAME", "SAME_LOWER"))
    return args


def pixels(rng: random.Random, shape: tuple, g: Geometry) -> np.ndarray:
    """Values with ties; NaN and infinities among those of some maxima."""
    x = values(rng, shape, g.dtype, g.exact)
    if g.dtype != "int32" and rng.random() < 0.3:
        lot = np.random.default_rng(rng.getrandbits(32)).random(shape)
        for value, share in ((np.nan, 0.05), (np.inf, 0.1), (-np.inf, 0.4)):
            x[lot < share] = value
            lot[lot < share] = 1
    return x


def draw_pool(op: Op, rng: random.Random, g: Geometry) -> Case:
    g = pool_geometry(op, rng, g)
    channels = g.groups * g.channels
    args = pool_args(op, rng, g)
    mean = "avg" in op.name or args.get("pooling_type") == "AVG"
    shape = g.shape(g.sizes, channels)
    x = values(rng, shape, g.dtype, g.exact) if mean else pixels(rng, shape, g)
    if mean and g.dtype == "int32":
        x %= 1000  # the oracle's quotients are exact up to 2^53
    out = getattr(reference, op.name)(np.zeros(shape, np.float32), **args).shape
    return Case(op, g, {"input": x}, args, out, math.prod(g.taps), g.exact or not mean)


def small_window(rng: random.Random, g: Geometry) -> Geometry:
    """Of 1 to 3 taps along each axis, mostly as many: such gradients have kernels, which go by stride and dilation."""
    one = rng.randint(2, 3), rng.randint(1, 4), rng.randint(1, 3)
    taps, strides, dilations = zip(
        *(one if rng.random() < 0.8 else (rng.randint(1, 3), rng.randint(1, 6), rng.randint(1, 4)) for _ in g.taps)
    )
    return g._replace(taps=taps, strides=strides, dilations=dilations)


def draw_gradient(op: Op, rng: random.Random, g: Geometry) -> Case:
    """Small integers: every order gives the same sum, but of shares of them."""
    mean = "avg" in op.name
    if rng.random() < 0.4 and 0 not in g.sizes:
        g = small_window(rng, g)._replace(padding="SAME" if rng.random() < 0.5 else "FULL")
    g = pool_geometry(op, rng, g._replace(dtype="float32" if mean and g.dtype == "int32" else g.dtype))
    args = pool_args(op, rng, g)
    if op.dilations and (set(g.dilations) != {1} or rng.random() < 0.2):
        args |= spell(rng, g, op.dilations, g.dilations)
    shape = g.shape(g.sizes, g.groups * g.channels)
    x = pixels(rng, shape, g)
    names = ("data_format", "ksize", "strides", "padding", "dilations")
    y = reference._pool(x, g.rank, False, *(args.get(name) for name in names))
    grad = values(rng, y.shape, g.dtype, True)
    if mean:
        args["orig_input_shape"] = rng.choice((list, tuple, np.array))(shape)
    arrays = {"grad": grad} if mean else {"orig_input": x, "orig_output": y, "grad": grad}
    return Case(op, g, arrays, args, shape, 2 * math.prod(g.taps), not mean)


RANKS = {"": (1, 2, 3), "1d": (1,), "2d": (2,), "3d": (3,)}
POOLS = {
    op.name: op
    for op in (
        Op("pool", draw_pool, (1, 2, 3)),
        *(Op(f"{kind}_pool{n}", draw_pool, r, dilations="") for kind in ("max", "avg") for n, r in RANKS.items()),
        *(Op(f"{kind}_pool{n}_grad", draw_gradient, r, x="grad") for kind in ("max", "avg") for n, r in RANKS.items()),
    )
}
MANY = {"pool": 600, "max_pool": 900, "avg_pool": 600, "max_pool_grad": 900, "avg_pool_grad": 600}


@pytest.mark.parametrize("name", POOLS)
def test_equals_the_formula(name):
    failures = sweep(POOLS[name], range(MANY.get(name, 100)))
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("name", MANY)
def test_no_pool_strays(name):
    code, words = in_a_child(fenced_sweep, POOLS[name], range(5000, 5150))
    assert code == 0, words


def test_argmax_equals_the_formula():
    op = Op("max_pool_with_argmax", draw_pool, dilations="")
    for seed in range(600):
        rng = random.Random(seed)
        g = pool_geometry(op, rng, draw_geometry(op, rng))
        x = pixels(rng, g.shape(g.sizes, g.groups * g.channels), g)
        args = pool_args(op, rng, g) | {"include_batch_in_index": rng.random() < 0.5}
        args["output_dtype"] = rng.choice((np.int32, np.int64, "int64"))
        y, at = reference.max_pool_with_argmax(x, **args)
        x = arrange(x, rng.choice(("", *(o for o in ORDERS if o != "broadcast"))), rng)
        with nn.isa(rng.choice(nn.available_isas())):
            ours, positions = nn.max_pool_with_argmax(x, **args, num_threads=rng.choice((1, 2, 3)))
        assert positions.dtype == args["output_dtype"]
        assert np.array_equal(positions, at), (seed, g)
        assert np.array_equal(ours.astype(np.float64), y.astype(np.float64), equal_nan=g.dtype != "int32"), (seed, g)


def test_gradient_through_argmax_is_that_of_max_pool():
    for seed in range(150):
        case = draw(POOLS["max_pool2d_grad"]._replace(dilations=""), seed)
        case.args["data_format"] = case.args["data_format"] or "NHWC"
        expected = case.call()
        x, g = (np.ascontiguousarray(case.arrays[name]) for name in ("orig_input", "grad"))
        batch = seed % 2 == 0
        index = (np.int32, np.int64)[seed % 3 == 0]
        at = nn.max_pool_with_argmax(x, **case.args, output_dtype=index, include_batch_in_index=batch)[1]
        if at.min(initial=0) < 0:
            continue  # windows without inputs
        ours = nn.max_pool_grad_with_argmax(x, g, at, **case.args, include_batch_in_index=batch)
        assert ours.dtype == x.dtype.newbyteorder("=")
        assert np.array_equal(ours, expected), (seed, str(case))


@pytest.mark.parametrize("isa", nn.available_isas())
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_gradients_of_large_images_go_where_argmax_says(data_format, isa):
    """Images of several boxes, rows of many vectors, odd channels: 2x2 and 3x3 windows above all, which have kernels."""
    rng = np.random.default_rng(len(isa))
    for case in range(120):
        channels = int(rng.choice([1, 3, 8, 16, 17, 24, 33, 70, 130]))
        h, w = (1, int(rng.integers(1, 3000))) if case % 6 == 0 else rng.integers(1, 100, 2)
        k = tuple(rng.integers(1, 5, 2).tolist()) if case % 3 == 0 else (int(rng.integers(2, 4)),) * 2
        strides = k if case % 4 == 0 else tuple(rng.integers(1, 4, 2).tolist())
        shape = (2, h, w, channels) if data_format == "NHWC" else (2, channels, h, w)
        x = rng.integers(-9, 9, shape).astype(rng.choice(["float32", "float32", "float64", "float16", "int32"]))
        if x.dtype.kind == "f" and case % 2:
            lot = rng.random(shape)
            for value, share in ((-np.inf, 0.05), (np.inf, 0.02), (np.nan, 0.01)):
                x[lot < share] = value
        args = (k, strides, str(rng.choice(["SAME", "VALID", "SAME_LOWER"])))
        if any(n < t for n, t in zip((h, w), k)) and args[2] == "VALID":
            continue
        y, at = nn.max_pool_with_argmax(x, *args, data_format)
        g = rng.integers(1, 9, y.shape).astype(x.dtype)
        expected = nn.max_pool_grad_with_argmax(x, g, at, *args, data_format=data_format)
        with nn.isa(isa):
            dx = nn.max_pool_grad(x, y, g, *args, data_format, num_threads=int(rng.integers(1, 5)))
        assert np.array_equal(dx, expected), (case, shape, args, x.dtype)


@pytest.mark.parametrize("shape", [(1, 90000, 16), (1, 90000, 3), (2, 90000, 1)])
def test_long_windows_of_a_signal_are_taken_whole(shape):
    """In boxes of a position each they would take a minute."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    y = nn.max_pool1d(x, 70000, 5000, "VALID")
    started = time.monotonic()
    dx = nn.max_pool1d_grad(x, y, np.ones_like(y), 70000, 5000, "VALID")
    assert time.monotonic() - started < 5
    assert dx.sum() == y.size
    assert (x[dx > 0] >= y.min()).all()


@pytest.mark.parametrize("data_format", LAYOUTS[2])
@pytest.mark.parametrize("channels", [2, 20])
def test_gradients_of_dilated_windows_are_their_formula(data_format, channels):
    """Windows share columns only where the stride is a whole number of dilations."""
    rng = np.random.default_rng(0)
    for k, s, d in ((k, s, d) for k in (2, 3) for s in range(1, 7) for d in range(1, 5)):
        x = rng.integers(-9, 9, (1, 23, 47, channels)).astype(np.float32)
        h, w = ((n - 1 - (k - 1) * d) // s * s + 1 for n in x.shape[1:3])
        taps = [(0, slice(i, i + h, s), slice(j, j + w, s)) for i in range(0, k * d, d) for j in range(0, k * d, d)]
        views = np.stack([x[tap] for tap in taps])
        y, first = views.max(0)[None], views.argmax(0)
        g = rng.integers(1, 9, y.shape).astype(np.float32)
        expected = np.zeros_like(x)
        for number, tap in enumerate(taps):
            expected[tap] += np.where(first == number, g[0], 0)
        x, y, g, expected = (np.moveaxis(a, -1, data_format.index("C")) for a in (x, y, g, expected))
        assert np.array_equal(nn.max_pool_grad(x, y, g, k, s, "VALID", data_format, dilations=d), expected), (k, s, d)


def test_planes_that_no_window_meets_get_nothing():
    """Windows of one plane, every second one: each plane is an image of its own, those between are zeros."""
    rng = np.random.default_rng(0)
    for strides in ((2, 2, 2), (2, 1, 1), (3, 1, 2)):
        x = rng.standard_normal((1, 5, 12, 17, 20)).astype(np.float32)
        y = nn.max_pool3d(x, (1, 3, 3), strides, "VALID")
        g = rng.standard_normal(y.shape).astype(np.float32)
        dx = nn.max_pool3d_grad(x, y, g, (1, 3, 3), strides, "VALID", out=np.full_like(x, np.nan))
        planes = x[0, :: strides[0]], y[0], g[0]
        assert np.array_equal(dx[0, :: strides[0]], nn.max_pool_grad(*planes, (3, 3), strides[1:], "VALID"))
        dx[0, :: strides[0]] = 0
        assert not dx.any()


@pytest.mark.parametrize("isa", nn.available_isas())
def test_few_large_windows_take_no_time(isa):
    """A box of each pixel, to fit a cache, routed all of them again: 25 s."""
    x = np.random.default_rng(0).standard_normal((1, 93, 146, 70)).astype(np.float16)
    args = ((83, 14), (32, 74), "VALID")
    y = nn.pool(x, args[0], "MAX", *args[1:], dilations=(1, 10))
    started = time.monotonic()
    with nn.isa(isa):
        dx = nn.max_pool_grad(x, y, y, *args, dilations=(1, 10))
    assert time.monotonic() - started < 5
    assert np.array_equal(dx.sum((1, 2)), y.sum((1, 2)))


@pytest.mark.parametrize("axis", [0, 1])
def test_boxes_between_windows_stay_in_their_scratch(axis):
    """What no window meets once took the rows to the next window along: a child, as that ends the process."""

    def call(words):
        shape, k, s = (1, 6000, 9, 17), (2, 2), (2900, 1)
        x = np.random.default_rng(0).integers(-9, 9, shape).astype(np.float16)
        x, k, s = (x, k, s) if axis == 0 else (x.swapaxes(1, 2).copy(), k[::-1], s[::-1])
        y = reference.max_pool(x, k, s, "VALID")
        dx = nn.max_pool_grad(x, y, y, k, s, "VALID")
        return int(not np.array_equal(dx, reference.max_pool_grad(x, y, y, k, s, "VALID")))

    assert in_a_child(call)[0] == 0


# Windows too large for a strip, which are taken in pieces; and those whose winners do not fit the scratch.
LARGE = {
    "NHWC": ((1, 96, 99, 3), (96, 90), 4),
    "NCHW": ((2, 5, 96, 90), (96, 90), 60),
    "NHWC, direct": ((1, 130, 140, 17), (95, 100), 20),
    "NWC": ((1, 10000, 3), (9000,), 1000),
    "NCW": ((2, 3, 10000), (9000,), 400),
    "NDHWC": ((1, 23, 22, 21, 2), (23, 22, 21), 10),
    "NDHWC, all channels": ((1, 40, 40, 40, 16), (40, 40, 40), 10),
    "NWC, signal": ((1, 12000, 16), (9000,), 1),
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
def test_large_windows(name, dtype):
    shape, k, s = LARGE[name]
    data_format = name.split(",")[0]
    x = np.random.default_rng(0).integers(-50, 50, shape).astype(dtype)
    views = np.lib.stride_tricks.sliding_window_view(x, k, tuple(i for i, f in enumerate(data_format) if f in "DHW"))
    views = views[tuple(slice(None, None, s if f in "DHW" else None) for f in data_format)]
    taps = tuple(range(len(shape), len(shape) + len(k)))
    args = (k, s, "VALID", data_format)
    y = nn.max_pool(x, *args)
    assert np.array_equal(y, views.max(taps))
    mean = nn.avg_pool(x, *args)
    if dtype == "int32":
        assert np.array_equal(mean, np.trunc(views.mean(taps)))
    else:
        assert np.array_equal(mean, (views.sum(taps, dtype=np.float64) / math.prod(k)).astype(np.float32).astype(dtype))
    grad = np.random.default_rng(1).integers(-3, 4, y.shape).astype(dtype)
    dx = nn.max_pool_grad(x, y, grad, *args)
    assert dx.sum(dtype=np.float64) == grad.sum(dtype=np.float64)
    assert (dx != 0).sum() <= grad.size
    assert (x[dx != 0] >= y.min()).all()
    if dtype == "float32":
        shares = nn.avg_pool_grad(shape, grad, *args)
        assert np.isclose(shares.sum(dtype=np.float64), grad.sum(dtype=np.float64), atol=1e-2)
        assert np.array_equal(shares, nn.avg_pool_grad(shape, np.asfortranarray(grad), *args, num_threads=2))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("ksize", [(70, 66), (3, 200), (50, 45)])
def test_gradients_of_large_windows_are_the_same_bits(dtype, ksize):
    """However the input lies, and whether its windows fit the scratch or not."""
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 4, (2, 90, 110, 17)).astype(dtype)
    y = nn.max_pool(x, ksize, (2, 3), "SAME")
    g = rng.standard_normal(y.shape).astype(dtype)
    wide = np.float64 if dtype == "float64" else np.float32
    direct = [np.pad(a, [(0, 0)] * 3 + [(0, 23)]).astype(wide) for a in (x, y, g)]
    expected = nn.max_pool_grad(*direct, ksize, (2, 3), "SAME")[..., :17].astype(dtype)
    assert np.array_equal(nn.max_pool_grad(x, y, g, ksize, (2, 3), "SAME"), expected)
    for a in (x, np.ascontiguousarray(np.moveaxis(x, -1, 1))):
        if a is not x:
            y, g, expected = (np.moveaxis(b, -1, 1) for b in (y, g, expected))
        data_format = "NHWC" if a is x else "NCHW"
        out = a.copy()
        assert nn.max_pool_grad(out, y, g, ksize, (2, 3), "SAME", data_format, out=out) is out
        assert np.array_equal(out, expected)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("channels", [1, 3, 40])
def test_gradients_of_long_rows_of_which_few_taps_are_inside(channels, strides):
    """The driver lists the places of few columns, and has kernels that read the list: windows of 70 had none (it crashed)."""
    rng = np.random.default_rng(0)
    for width in (1, 2, 3, 6):
        x = rng.integers(-4, 4, (1, 5, width, channels)).astype(np.float32)
        for height in (1, 2, 3):
            y = nn.max_pool(x, (height, 70), strides, "FULL")
            g = rng.integers(-9, 9, y.shape).astype(np.float32)
            expected = reference.max_pool_grad(x, y, g, (height, 70), strides, "FULL")
            assert np.array_equal(nn.max_pool_grad(x, y, g, (height, 70), strides, "FULL"), expected), (width, height)


@pytest.mark.parametrize("channels", [1, 3, 20])
def test_gradients_of_long_means_far_apart(channels):
    """Few of them are around an input: the scratch for all their taps was too much, and there was no result."""
    x = np.zeros((1, 200_000, channels), np.float32)
    g = np.random.default_rng(0).standard_normal((1, 5, channels)).astype(np.float32)
    dx = nn.avg_pool1d_grad(x.shape, g, 60_000, 30_000, "VALID")
    expected = np.zeros(x.shape)
    for o in range(5):
        expected[:, o * 30_000 : o * 30_000 + 60_000] += g[:, o : o + 1] / 60_000
    assert np.allclose(dx, expected, rtol=1e-6, atol=1e-9)


def test_gradients_of_large_windows_over_channels():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 60, 70, 90)).astype(np.float16)
    ksize, strides = (1, 3, 60, 80), (1, 20, 9, 7)
    y = nn.max_pool(x, ksize, strides, "SAME")
    g = rng.standard_normal(y.shape).astype(np.float16)
    expected = nn.max_pool3d_grad(*(a[..., None] for a in (x, y, g)), ksize[1:], strides[1:], "SAME")[..., 0]
    assert np.array_equal(nn.max_pool_grad(x, y, g, ksize, strides, "SAME"), expected)
    x, y, g, expected = (np.moveaxis(a, -1, 1) for a in (x, y, g, expected))
    order = [0, 3, 1, 2]
    ksize, strides = ([v[i] for i in order] for v in (ksize, strides))
    assert np.array_equal(nn.max_pool_grad(x, y, g, ksize, strides, "SAME", "NCHW"), expected)


@pytest.mark.parametrize("data_format", ["NWC", "NCW"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_windows_far_apart(data_format, dtype):
    """A vector of them meets more input than the scratch holds."""
    x = np.random.default_rng(0).integers(-50, 50, (1, 1, 3200000)).astype(dtype)
    taps = np.lib.stride_tricks.sliding_window_view(x, 3, -1)[..., ::200000, :]
    x = x if data_format == "NCW" else np.moveaxis(x, 1, -1)
    y, mean = (op(x, 3, 200000, "VALID", data_format) for op in (nn.max_pool, nn.avg_pool))
    assert np.array_equal(y.ravel(), taps.max(-1).ravel())
    assert np.array_equal(mean.ravel(), (taps.sum(-1, dtype=np.float32) / np.float32(3)).astype(dtype).ravel())
    image = (x[:, None] if data_format == "NWC" else x[:, :, None], (1, 3), (1, 200000), "VALID")
    at = nn.max_pool_with_argmax(*image, {"NWC": "NHWC", "NCW": "NCHW"}[data_format])[1]
    assert np.array_equal(at.ravel(), taps.argmax(-1).ravel() + np.arange(0, 3200000, 200000))


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("channels", [1, 20])
def test_gradients_of_means_of_mostly_padding(data_format, channels):
    """Each input is in more windows than fit the scratch."""
    shape = (1, 6, 3, channels) if data_format == "NHWC" else (1, channels, 6, 3)
    args = ((20000, 2), 1, "FULL", data_format)
    g = np.ones_like(nn.avg_pool(np.zeros(shape), *args))
    assert np.allclose(nn.avg_pool_grad(shape, g, *args), reference.avg_pool_grad(shape, g, *args), rtol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("channels", [1, 20])
def test_the_first_tap_of_all_is_in_the_first_piece_that_has_one(dtype, channels):
    """Of the least number everywhere, in windows that begin outside of the input, by more than a piece."""
    x = np.full((1, channels, 1, 24000), -np.inf if dtype != "int32" else np.iinfo(dtype).min, dtype)
    y, at = nn.max_pool_with_argmax(x, (1, 21000), 9000, [(0, 0), (18000, 18000)], "NCHW")
    first = np.maximum(np.arange(5) * 9000 - 18000, 0) * channels + np.arange(channels)[:, None]
    assert np.array_equal(at[0, :, 0], first)
    dx = nn.max_pool_grad(x, y, np.ones_like(y), (1, 21000), 9000, [(0, 0), (18000, 18000)], "NCHW")
    assert dx.sum() == y.size


def test_positions_that_do_not_fit_are_refused():
    """They are counted from a window's corner, which may be far outside of the image."""
    x = np.arange(48, dtype=np.float32).reshape(1, 4, 4, 3)
    y, at = nn.max_pool_with_argmax(x.astype(np.float64), (400_000_000, 1), 1, "SAME")
    assert np.array_equal(at[0], np.broadcast_to(np.arange(36, 48).reshape(4, 3), (4, 4, 3)))
    assert np.array_equal(y[0, 0], x[0, 3])
    with pytest.raises(nn.ShapeError, match=r"max_pool_with_argmax: .* positions"):
        nn.max_pool_with_argmax(x, (400_000_000, 1), 1, "SAME")


@pytest.mark.parametrize("isa", nn.available_isas())
def test_gradients_of_far_dilations_need_no_such_positions(isa):
    x = np.random.default_rng(0).standard_normal((1, 180, 210, 1)).astype(np.float32)
    args = (3, (23, 2), "SAME")
    y = nn.pool(x, (3, 3), "MAX", *args[1:], dilations=10**9)
    with nn.isa(isa):
        dx = nn.max_pool_grad(x, y, y, *args, dilations=10**9)
    assert np.array_equal(dx, reference.max_pool_grad(x, y, y, *args, dilations=10**9))


# ---- NaN, -inf, ties -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("channels", [1, 3, 8, 16, 17, 40])
@pytest.mark.parametrize("data_format", LAYOUTS[2])
def test_nan_beats_all_and_minus_infinity_stays(dtype, channels, data_format):
    """In every lane of a vector and beyond it, which TensorFlow does not."""
    x = np.full((1, 6, 34, channels), -np.inf, DTYPES[dtype])
    x[0, 2, 4, 0] = np.nan
    x[0, 3, 20, channels - 1] = np.nan
    x[0, 3, 21, channels - 1] = np.inf
    first = data_format == "NCHW"
    given = np.moveaxis(x, -1, 1).copy() if first else x
    for isa in nn.available_isas():
        with nn.isa(isa):
            y = nn.max_pool(given, 2, 2, "VALID", data_format)
            pooled, at = nn.max_pool_with_argmax(given, 2, 2, "VALID", data_format)
            dx = nn.max_pool_grad(given, y, np.ones_like(y), 2, 2, "VALID", data_format)
        if first:
            y, pooled, at, dx = (np.moveaxis(a, 1, -1) for a in (y, pooled, at, dx))
        nans = np.zeros(y.shape, bool)
        nans[0, 1, 2, 0] = nans[0, 1, 10, channels - 1] = True
        for a in (y, pooled):
            assert np.array_equal(np.isnan(a), nans)
            assert (a[~nans] == -np.inf).all()
        assert at[0, 1, 2, 0] == (2 * 34 + 4) * channels
        assert at[0, 1, 10, channels - 1] == (3 * 34 + 20) * channels + channels - 1
        assert at[0, 0, 0, 0] == 0
        assert dx[0, 2, 4, 0] == 1
        assert dx[0, 3, 20, channels - 1] == 1
        assert dx.sum(dtype=np.float64) == y.size


@pytest.mark.parametrize("isa", nn.available_isas())
def test_windows_that_share_columns(isa):
    """By channels columns stay in registers, by planes they are a row in scratch: the same bits, zeros' signs and all."""
    for seed in range(150):
        rng = np.random.default_rng(seed)
        rank = int(rng.integers(1, 4))
        shape = (*(int(n) for n in rng.integers(1, (6, 12, 45)[3 - rank :])), int(rng.integers(1, 150)))
        taps, strides = ([int(n) for n in rng.integers(1, most, rank)] for most in (5, 4))
        x = rng.standard_normal((2, *shape)).astype(("float32", "float64", "float16", "int32")[seed % 4])
        if x.dtype != np.int32:
            lot = rng.random(x.shape)
            x[lot < 0.5] = -0.0
            if seed % 3:
                for value, share in ((np.nan, 2e-4), (np.inf, 1e-3), (-np.inf, 0.1)):
                    x[rng.random(x.shape) < share] = value
        padding = ("VALID", "SAME", "SAME_LOWER")[seed // 3 % 3]
        if padding == "VALID":
            taps = [min(k, n) for k, n in zip(taps, shape)]
        planes = np.moveaxis(np.moveaxis(x, -1, 1).copy(), 1, -1)
        with nn.isa(isa), np.errstate(invalid="ignore", over="ignore"):
            for op in (nn.max_pool, nn.avg_pool):
                y = op(x, taps, strides, padding)
                for other in (planes, planes[..., ::-1][..., ::-1], x[:, ::-1][:, ::-1]):
                    assert op(other, taps, strides, padding).tobytes() == y.tobytes(), seed
                if op is nn.max_pool or x.dtype != np.int32:
                    formula = getattr(reference, op.__name__)(x, taps, strides, padding)
                    assert np.allclose(y, formula, 1e-3, 1e-3, equal_nan=True), seed


@pytest.mark.parametrize("data_format", LAYOUTS[2])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_the_first_of_equal_maxima_gets_the_gradient(data_format, strides):
    x = np.zeros((1, 9, 40, 18) if data_format == "NHWC" else (1, 18, 9, 40), np.float32)
    y = nn.max_pool(x, 3, strides, "VALID", data_format)
    dx = nn.max_pool_grad(x, y, np.ones_like(y), 3, strides, "VALID", data_format)
    expected = np.zeros((9, 40))
    expected[: 9 - 2 : strides, : 40 - 2 : strides] = 1
    assert (np.moveaxis(dx, -1 if data_format == "NHWC" else 1, 0)[:, 0] == expected).all()


def test_zeros_keep_their_sign_and_denormals_their_value():
    x = np.array([-0.0, -0.0, 1e-45, -1e-45], np.float32).reshape(1, 1, 2, 2)
    y = nn.max_pool(x.transpose(0, 1, 3, 2), (1, 2), 1, "VALID")
    assert np.signbit(nn.max_pool(np.full((1, 4, 40, 16), -0.0, np.float32), 2, 2, "VALID")).all()
    assert y[0, 0, 0, 0] == 0
    assert y[0, 0, 0, 1] == np.float32(1e-45)


def test_halves_are_averaged_in_float32():
    """TensorFlow's CPU kernels sum in half: 64 x 64 of 100 are infinite."""
    for dtype in (np.float16, ml_dtypes.bfloat16):
        assert nn.avg_pool2d(np.full((1, 64, 64, 2), 100, dtype), 64, 1, "VALID").ravel().tolist() == [100, 100]


# ---- invariance ------------------------------------------------------------------------------------------------------

SHAPES = {1: ((3, 4001, 5), (5,)), 2: ((3, 61, 67, 19), (3, 3)), 3: ((2, 15, 14, 37, 18), (2, 3, 3))}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
def test_same_bits_whatever_threads_memory_and_batch(rank, dtype, first, strides):
    shape, k = SHAPES[rank]
    rng, names = np.random.default_rng(0), LAYOUTS[rank]
    x = (rng.standard_normal(shape) * 100).astype(DTYPES[dtype])
    x = np.moveaxis(x, -1, 1).copy() if first else x
    args = (k, strides, "SAME", names[first])
    y, mean = nn.max_pool(x, *args), nn.avg_pool(x, *args)
    g = (rng.standard_normal(y.shape) * 100).astype(x.dtype)

    def results(x, y, g, **extras):
        yield nn.max_pool(x, *args, **extras)
        yield nn.avg_pool(x, *args, **extras)
        yield nn.max_pool_grad(x, y, g, *args, **extras)
        if dtype != "int32":
            yield nn.avg_pool_grad(x.shape, g, *args, **extras)

    expected = list(results(x, y, g))
    assert np.array_equal(expected[1].view("u1"), mean.view("u1"))
    for n in (1, 2, 3, 5):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(results(x, y, g, num_threads=n), expected)), n
    for order in ("fortran", "negative", "sliced", "permuted", "unaligned", "readonly"):
        a, b = arrange(x, order, random.Random(1)), arrange(g, order, random.Random(2))
        assert all(a.tobytes() == b.tobytes() for a, b in zip(results(a, y, b), expected)), order
    for a, b in zip(results(x, y, g), expected):
        out = arrange(np.zeros_like(b), "sliced", random.Random(0))
        assert out.shape == a.shape
    ones = zip(*(results(x[i : i + 1], y[i : i + 1], g[i : i + 1]) for i in range(len(x))))
    assert all(np.concatenate(a).tobytes() == b.tobytes() for a, b in zip(ones, expected))


def test_out_may_be_the_input():
    x = np.random.default_rng(0).standard_normal((2, 20, 20, 16)).astype(np.float32)
    y = nn.max_pool(x, 3, 1, "SAME")
    dx = nn.max_pool_grad(x, y, x, 3, 1, "SAME")
    a = x.copy()
    assert nn.max_pool(a, 3, 1, "SAME", out=a) is a
    assert np.array_equal(a, y)
    a = x.copy()
    assert np.array_equal(nn.max_pool_grad(a, y, a, 3, 1, "SAME", out=a), dx)
    a = x.copy()
    assert np.array_equal(nn.avg_pool(a, 3, 1, "SAME", out=a[::-1])[::-1], nn.avg_pool(x, 3, 1, "SAME")[::-1])


def test_mean_of_one_is_itself_and_gradients_are_adjoint():
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, 9, 11, 5)), rng.standard_normal((2, 5, 6, 5))
    y, dx = nn.avg_pool(x, 3, 2, "SAME"), nn.avg_pool_grad(x.shape, g, 3, 2, "SAME")
    assert np.isclose((y * g).sum(), (x * dx).sum(), rtol=1e-13)
    top = nn.max_pool(x, 3, 2, "SAME")
    direction = rng.standard_normal(x.shape)
    slope = (nn.max_pool(x + 1e-7 * direction, 3, 2, "SAME") - nn.max_pool(x - 1e-7 * direction, 3, 2, "SAME")) / 2e-7
    assert np.isclose((slope * g).sum(), (direction * nn.max_pool_grad(x, top, g, 3, 2, "SAME")).sum(), rtol=1e-6)


# ---- arguments -------------------------------------------------------------------------------------------------------

POOL = "input, ksize, strides, padding, data_format={}, name=None"
GRAD = "{}, grad, ksize, strides, padding, data_format={}, name=None"
FORMATS = {"": "None", "1d": "'NWC'", "2d": "'NHWC'", "3d": "'NDHWC'"}
SIGNATURES = {
    **{f"{kind}_pool{n}": POOL.format(f) for kind in ("max", "avg") for n, f in FORMATS.items()},
    **{f"max_pool{n}_grad": GRAD.format("orig_input, orig_output", f) for n, f in FORMATS.items()},
    **{f"avg_pool{n}_grad": GRAD.format("orig_input_shape", f) for n, f in FORMATS.items()},
    "pool": "input, window_shape, pooling_type, strides=None, padding='VALID', data_format=None, dilations=None, name=None",
    "max_pool_with_argmax": "input, ksize, strides, padding, data_format='NHWC', output_dtype=<class 'numpy.int64'>, "
    "include_batch_in_index=False, name=None",
    "max_pool_grad_with_argmax": "input, grad, argmax, ksize, strides, padding, include_batch_in_index=False, name=None",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_positional_arguments_are_tensorflows(name):
    parameters = inspect.signature(getattr(nn, name)).parameters.values()
    positional = [p.replace(annotation=p.empty) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert ", ".join(map(str, positional)).replace(" = ", "=") == SIGNATURES[name]


X = np.zeros((2, 6, 7, 3), np.float32)
G = np.zeros((2, 3, 4, 3), np.float32)
CALLS = {
    "max_pool2d": lambda **kw: nn.max_pool2d(**{"input": X, "ksize": 2, "strides": 2, "padding": "SAME", **kw}),
    "avg_pool2d": lambda **kw: nn.avg_pool2d(**{"input": X, "ksize": 2, "strides": 2, "padding": "SAME", **kw}),
    "max_pool_with_argmax": lambda **kw: nn.max_pool_with_argmax(
        **{"input": X, "ksize": 2, "strides": 2, "padding": "SAME", **kw}
    ),
    "max_pool2d_grad": lambda **kw: nn.max_pool2d_grad(
        **{"orig_input": X, "orig_output": G, "grad": G, "ksize": 2, "strides": 2, "padding": "SAME", **kw}
    ),
    "avg_pool2d_grad": lambda **kw: nn.avg_pool2d_grad(
        **{"orig_input_shape": X.shape, "grad": G, "ksize": 2, "strides": 2, "padding": "SAME", **kw}
    ),
    "pool": lambda **kw: nn.pool(
        **{"input": X, "window_shape": [2, 2], "pooling_type": "MAX", "strides": 2, "padding": "SAME", **kw}
    ),
    "max_pool_grad_with_argmax": lambda **kw: nn.max_pool_grad_with_argmax(
        **{"input": X, "grad": G, "argmax": G.astype(int), "ksize": 2, "strides": 2, "padding": "SAME", **kw}
    ),
}
BAD = [
    *(
        {name: value}
        for name in ("ksize", "strides")
        for value in (0, -1, 2**31, 2**63, 1.5, True, "2", [2], [[2, 2]], [2, 0], [1, 2], {}, np.nan)
    ),
    *({"ksize": value} for value in ([2, 2, 2], [2, 2, 2, 1], [1, 2, 2, 1, 1])),
    *(
        {"padding": value}
        for value in (None, "", "same ", "EXPLICIT", -1, 1.5, [[0, 0]], [[0, 0, 0]] * 2, [[-1, 0], [0, 0]], 2**31)
    ),
    *({"padding": [(0, 0), (0, 0), (0, 0), (0, 1)]}, {"padding": [(1, 0), (0, 0), (0, 0), (0, 0)]}),
    *({"data_format": value} for value in ("NWC", "nhwc", 3, "")),
    *({"num_threads": value} for value in (0, -1, 1.5)),
    *({"out": value} for value in (X[:, :5], [], 3)),
]
ARRAYS = [
    None,
    "abc",
    object(),
    [[1.0], [1.0, 2.0]],
    1.0,
    X[0],
    X[None],
    X.astype(complex),
    X.astype("U3"),
    X > 0,
    np.ma.masked_array(X),
]


@pytest.mark.parametrize("name", CALLS)
def test_hostile_arguments(name):
    """An exception in words that begins with the op; or, where the argument is fine after all, a result."""
    call = CALLS[name]
    call()
    for bad in BAD:
        (key, value), *_ = bad.items()
        if name == "pool" and key == "ksize":
            bad = {"window_shape": value}
        if (key == "num_threads" and name == "max_pool_grad_with_argmax") or (
            key == "out" and name == "max_pool_with_argmax"
        ):
            continue
        if (key, str(value)) in {("ksize", "[2]"), ("strides", "[2]"), ("ksize", "[1, 2]"), ("strides", "[1, 2]")}:
            continue  # these mean something
        with pytest.raises((ValueError, TypeError), match=f"^{name}: "):
            call(**bad)
    for key in ("input", "orig_input", "orig_output", "grad"):
        for value in ARRAYS:
            try:
                call(**{key: value})
            except TypeError as error:
                assert str(error).startswith(f"{name}: ") or "unexpected keyword" in str(error), error  # noqa: PT017
            except ValueError as error:
                assert str(error).startswith(f"{name}: "), error  # noqa: PT017
            else:
                pytest.fail(f"{name} took {key}={type(value)} {np.shape(value)}")


def test_arguments_are_named_as_they_were_given():
    for bad in (0, 1.5, [0, 2]):
        with pytest.raises((ValueError, TypeError), match="window_shape"):
            nn.pool(X, bad, "MAX")


def test_sizes_of_the_gradients_must_fit():
    """What once wrote beyond TensorFlow's buffers: CVE-2021-29579, -29574, -29577, CVE-2022-35959, and their kin."""
    one = np.zeros((1, 1, 1, 1), np.float32)
    none = np.zeros((0, 0, 0, 0), np.float32)
    with pytest.raises(nn.ShapeError, match="max_pool_grad"):
        nn.max_pool_grad(one, one, none, 1, 1, "VALID")
    with pytest.raises(nn.ShapeError, match="orig_output"):
        nn.max_pool_grad(one, none, one, 1, 1, "VALID")
    with pytest.raises(nn.ShapeError, match="grad"):
        nn.max_pool3d_grad(
            np.zeros((10, 6, 3, 7, 7), np.float32), *(np.zeros((3, 1, 1, 1, 1), np.float32),) * 2, 2, 2, "SAME"
        )
    for shape in (
        (1879048192, 1, 1, 1),
        (-536870912, 1, 1, 1),
        (1, 2**31, 1, 1),
        (2**62, 2**62, 1, 1),
        (1.5, 1, 1, 1),
        "abcd",
        3,
        None,
    ):
        with pytest.raises((ValueError, TypeError, MemoryError), match="avg_pool_grad"):
            nn.avg_pool_grad(shape, one, 1, 1, "VALID")
    assert nn.avg_pool_grad((1, 1, 1, 1), one, 1, 128, "SAME").shape == (1, 1, 1, 1)
    with pytest.raises(TypeError, match="int32"):
        nn.avg_pool_grad((1, 1, 1, 1), one.astype(np.int32), 1, 1, "VALID")


def test_positions_must_lie_in_the_image():
    """CVE-2021-29570 and what ends TensorFlow 2.21's process: an argmax of 10^6."""
    for bad in (10**6, -1, X[0].size):
        with pytest.raises(ValueError, match="max_pool_grad_with_argmax: argmax"):
            nn.max_pool_grad_with_argmax(X, G, np.full(G.shape, bad), 2, 2, "SAME")
    assert nn.max_pool_grad_with_argmax(X, G, np.full(G.shape, X[0].size), 2, 2, "SAME", True).shape == X.shape
    for bad in (G.astype(int)[:0], G.astype(int)[..., :1], G):
        with pytest.raises((ValueError, TypeError), match="max_pool_grad_with_argmax: argmax"):
            nn.max_pool_grad_with_argmax(X, G, bad, 2, 2, "SAME")
    for bad in (np.int16, float, None, "abc", object(), [("x", int)]):
        with pytest.raises(TypeError, match="max_pool_with_argmax: output_dtype"):
            nn.max_pool_with_argmax(X, 2, 2, "SAME", output_dtype=bad)
    with pytest.raises(TypeError, match="max_pool_with_argmax: include_batch_in_index"):
        nn.max_pool_with_argmax(X, 2, 2, "SAME", include_batch_in_index=np.zeros(2))
    with pytest.raises(TypeError, match="max_pool_grad_with_argmax: include_batch_in_index"):
        nn.max_pool_grad_with_argmax(X, G, G.astype(int), 2, 2, "SAME", np.zeros(2))


def test_sizes_beyond_all_memory():
    one = as_strided(np.zeros(1, np.float32), (2**18, 2**20, 2**19, 8), (0, 0, 0, 0))
    with pytest.raises(MemoryError, match="max_pool"):
        nn.max_pool(one, 1, 1, "VALID")
    assert nn.max_pool(one[:1, :40, :40], (40, 40), 1, "VALID").shape == (1, 1, 1, 8)
    with pytest.raises((MemoryError, ValueError)):
        nn.avg_pool(X, 2, 1, 2**31 - 1)
    assert nn.max_pool(X, 2, 2**31 - 1, "SAME").shape == (2, 1, 1, 3)
    one = np.ones((1, 1, 1), np.float32)
    with pytest.raises(MemoryError, match="avg_pool_grad: strides"):  # not 2^31 phases
        nn.avg_pool_grad((1, 2**31 - 1, 1), one, 1, 2**31 - 1, "SAME")
    assert nn.pool(X, [2, 2], "MAX", dilations=2**31 - 1, padding="SAME").shape == X.shape


def test_empty_sizes():
    for axis in range(4):
        shape = [0 if i == axis else n for i, n in enumerate(X.shape)]
        empty = np.zeros(shape, np.float32)
        y = nn.max_pool(empty, 2, 2, "SAME")
        assert y.size == 0
        assert nn.avg_pool(empty, 2, 2, "SAME").shape == y.shape
        assert nn.max_pool_grad(empty, y, y, 2, 2, "SAME").shape == empty.shape
        assert nn.avg_pool_grad(shape, y, 2, 2, "SAME").shape == empty.shape
        assert all(a.size == 0 for a in nn.max_pool_with_argmax(empty, 2, 2, "SAME"))
    assert nn.max_pool(X, 7, 1, [[1, 0], [0, 0]]).shape == (2, 1, 1, 3)
    assert nn.max_pool(X, (7, 2), 1, "VALID").shape == (2, 0, 6, 3)  # one too large: empty, as in TensorFlow
    with pytest.raises(nn.ShapeError, match="negative"):
        nn.max_pool(X, (8, 2), 1, "VALID")
    y = nn.max_pool(X, (7, 2), 1, "VALID")
    assert not nn.max_pool_grad(X, y, y, (7, 2), 1, "VALID").any()
    assert not nn.avg_pool(X[:, :0], 2, 1, [[1, 1], [0, 0]]).any()
    assert (nn.max_pool(X[:, :0], 2, 1, [[1, 1], [0, 0]]) == -np.inf).all()


def test_windows_over_channels_are_tensorflows():
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32)
    y = nn.max_pool(x, [1, 1, 1, 3], [1, 1, 1, 3], "SAME")
    assert np.array_equal(y, x.reshape(2, 4, 5, 2, 3).max(-1))
    with pytest.raises(ValueError, match="batch"):
        nn.max_pool(x, [2, 1, 1, 1], [1, 1, 1, 3], "SAME")
    with pytest.raises(ValueError, match="channels"):
        nn.max_pool(x[None], [1, 1, 1, 1, 3], 1, "SAME")


def test_a_long_call_answers_an_interrupt():
    x = np.zeros((1, 1200, 1200, 16), np.float32)
    for call in (lambda: nn.pool(x, [300, 300], "MAX", dilations=2), lambda: nn.avg_pool(x[..., :5], 500, 1, "VALID")):
        timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            call()
        assert time.perf_counter() - start < 1.5
        timer.join()


# ---- peers -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tf():
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the reference is TensorFlow's own kernels
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return peer("tensorflow")


def plain(rng, ranks, dtypes):
    """A window that both take: channels last, no dilation."""
    op = Op("", draw_pool, ranks, dilations="")
    while True:
        g = pool_geometry(op, rng, draw_geometry(op, rng))._replace(layout=None, lead=(2,), dtype=rng.choice(dtypes))
        g = g._replace(padding=rng.choice(("SAME", "VALID")))
        if min(g.rooms()) >= 0 and 0 not in g.sizes:
            return g


def test_tensorflow(tf):
    for seed in range(200):
        rng = random.Random(seed)
        g = plain(rng, (1, 2, 3), ("float32", "float64"))
        beyond = (room - (out - 1) * stride for room, out, stride in zip(g.rooms(), g.outs(), g.strides))
        if g.rank == 3 and g.padding == "SAME" and max(beyond) > 1:
            continue  # Eigen starts such windows late, against TensorFlow's own rule
        g = g._replace(dtype="float32") if g.rank == 3 else g
        x = values(rng, g.shape(g.sizes, g.channels), g.dtype, False)
        args = (g.taps, g.strides, g.padding)
        y, t = nn.max_pool(x, *args), tf.constant(x)
        grad = values(rng, y.shape, g.dtype, True)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(t)
            top, mean = tf.nn.max_pool(t, *args, LAYOUTS[g.rank][0]), tf.nn.avg_pool(t, *args, LAYOUTS[g.rank][0])
        assert np.array_equal(y, top.numpy()), g
        assert np.allclose(nn.avg_pool(x, *args), mean.numpy(), rtol=1e-5, atol=1e-6), g
        theirs = tape.gradient(top, t, tf.constant(grad))
        assert np.allclose(nn.max_pool_grad(x, y, grad, *args), theirs.numpy()), g
        theirs = tape.gradient(mean, t, tf.constant(grad))
        if all(k <= n for k, n in zip(g.taps, g.sizes)):  # else TensorFlow's gradient counts other inputs than its mean
            assert np.allclose(nn.avg_pool_grad(x.shape, grad, *args), theirs.numpy(), rtol=1e-5, atol=1e-5), g
        if g.rank == 2:
            batch = seed % 2 == 0
            theirs = tf.nn.max_pool_with_argmax(t, *args, include_batch_in_index=batch)
            ours = nn.max_pool_with_argmax(x, *args, include_batch_in_index=batch)
            assert all(np.array_equal(a, b.numpy()) for a, b in zip(ours, theirs)), g
            depth = [1, 1, 1, g.channels]
            assert np.array_equal(nn.max_pool(x, depth, depth, "SAME"), tf.nn.max_pool(t, depth, depth, "SAME").numpy())


def test_torch():
    torch = peer("torch")
    torch.set_num_threads(1)
    f = torch.nn.functional
    for seed in range(200):
        rng = random.Random(seed)
        g = plain(rng, (1, 2, 3), ("float32", "float64"))._replace(layout="NCHW")
        pads = [rng.randint(0, k // 2) for k in g.taps]
        x = values(rng, g.shape(g.sizes, g.channels), g.dtype, False)
        args = (g.taps, g.strides, [(p, p) for p in pads], LAYOUTS[g.rank][1])
        t = torch.tensor(x, requires_grad=True)
        try:
            top = getattr(f, f"max_pool{g.rank}d")(t, g.taps, g.strides, pads)
            mean = getattr(f, f"avg_pool{g.rank}d")(t, g.taps, g.strides, pads, count_include_pad=False)
        except RuntimeError:
            continue  # no window fits
        y = nn.max_pool(x, *args)
        assert np.array_equal(y, top.detach().numpy()), g
        assert np.allclose(nn.avg_pool(x, *args), mean.detach().numpy(), rtol=1e-5, atol=1e-6), g
        grad = values(rng, y.shape, g.dtype, True)
        (theirs,) = torch.autograd.grad(top, t, torch.tensor(grad))
        assert np.allclose(nn.max_pool_grad(x, y, grad, *args), theirs.numpy()), g
        (theirs,) = torch.autograd.grad(mean, t, torch.tensor(grad))
        assert np.allclose(nn.avg_pool_grad(x.shape, grad, *args), theirs.numpy(), rtol=1e-5, atol=1e-5), g


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int64", "uint32", "uint64"])
def test_integers_of_every_kind_have_maxima(dtype):
    kind, rng = np.iinfo(dtype), np.random.default_rng(0)
    x = rng.integers(kind.min, kind.max, (2, 6, 8, 3), dtype=dtype, endpoint=True)
    expected = x.reshape(2, 3, 2, 4, 2, 3).max((2, 4))
    out = np.empty_like(expected)
    assert nn.max_pool(x, 2, 2, "VALID", out=out) is out
    y, at = nn.max_pool_with_argmax(x, 2, 2, "VALID")
    for found in (out, y, np.take_along_axis(x.reshape(2, -1), at.reshape(2, -1), 1).reshape(y.shape)):
        assert found.dtype == dtype
        assert np.array_equal(found, expected)
    outside = nn.pool(x[:, :1, :1], [2, 2], "MAX", padding=[(3, 3), (3, 3)], dilations=5)
    assert outside[0, 0, 0, 0] == kind.min
    assert nn.max_pool(x[:0], 2, 2, "SAME").shape == (0, 3, 4, 3)
    with pytest.raises(TypeError, match="avg_pool: input has dtype"):
        nn.avg_pool(x, 2, 2, "SAME")


@pytest.mark.parametrize("isa", nn.available_isas())
def test_lanes_that_start_with_the_lines_of_the_input(isa):
    """Of many channels, a vector more makes the others aligned: the same bits wherever the array starts."""
    rng = np.random.default_rng(0)
    for channels in (80, 96, 129, 144, 160, 176, 257, 304):
        whole = rng.standard_normal(6 * 7 * channels + 64).astype(np.float32)
        for pool, reduce in ((nn.max_pool, np.max), (nn.avg_pool, np.mean)):
            for ksize, strides in ((2, 2), (3, 2), (3, 1)):
                found = []
                for start in (0, 1, 4, 15, 16):
                    x = whole[start : start + 6 * 7 * channels].reshape(1, 6, 7, channels)
                    x[...] = whole[:1] + np.arange(x.size).reshape(x.shape) % 97
                    with nn.isa(isa):
                        y = pool(x, ksize, strides, "VALID")
                    windows = np.lib.stride_tricks.sliding_window_view(x, (ksize, ksize), (1, 2))[
                        :, ::strides, ::strides
                    ]
                    np.testing.assert_allclose(y, reduce(windows, (-2, -1)), rtol=1e-6)
                    found.append(y)
                assert all(np.array_equal(y, found[0]) for y in found)
