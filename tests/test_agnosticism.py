"""The same bits whatever the number of threads, the split of the batch, the memory order, the alignment, or out=.

The problems are of random floats, whose sums do depend on the order of their terms, and large enough for every thread to
get a share.
"""

import random
from itertools import product

import ml_dtypes
import numpy as np
import pytest
from ops import DTYPES, LAYOUTS, OPS, ORDERS, OUT_ORDERS, Case, arrange, example

import cyconv as nn
from cyconv import reference

SIZES = {1: (1500,), 2: (40, 39), 3: (12, 13, 11)}
KINDS = [*product(DTYPES, (None, "channels_first")), ("float32", "transforms"), ("float32", "thin")]


def busy(name: str, dtype: str, layout: str | None, lead: int = 3) -> Case:
    """A case of some ten million products, with bias and activation.

    "transforms": equal taps, for Winograd's algorithm; "thin": few channels, for vectors along the image.
    """
    op = OPS[name]
    rank = op.ranks[-1]
    g = {"channels": 19, "filters": 37, "taps": (5, 3, 2)[:rank], "sizes": SIZES[rank]}
    if layout == "transforms":
        layout, g["taps"] = None, (3,) * rank
    if layout == "thin":
        layout, g["channels"], g["filters"], g["sizes"] = None, 2, 3, tuple(n * 12 // (4 * rank) for n in SIZES[rank])
    case = example(op, dtype=dtype, layout=layout and LAYOUTS[rank][1], lead=(lead,), exact=False, **g)
    if name != "bias_add":
        channels = case.out_shape[1 if layout else -1]
        case.arrays["bias"] = np.linspace(-1, 1, channels).astype(DTYPES[dtype])
        case.args["activation"] = "relu" if dtype == "int32" else "silu"
    return case


def bits(a: np.ndarray) -> bytes:
    """The contents of an array, in logical order."""
    return np.ascontiguousarray(a).tobytes()


def grid(names=tuple(OPS)):
    return pytest.mark.parametrize(("name", "dtype", "layout"), [(n, *kind) for n in names for kind in KINDS])


@grid([name for name in OPS if name != "bias_add"])  # which takes no num_threads
def test_threads(name, dtype, layout):
    case = busy(name, dtype, layout)
    expected = bits(case.call(num_threads=1))
    for n in range(2, 9):
        assert bits(case.call(num_threads=n)) == expected, f"{n} threads: {case}"
    with nn.threads(5):
        assert bits(case.call()) == expected


@grid()
def test_batch_split(name, dtype, layout):
    case = busy(name, dtype, layout)
    whole, op = case.call(), case.op
    for first, last in ((0, 1), (1, 3)):
        changes = {op.x: case.arrays[op.x][first:last]}
        if "output_shape" in case.args:
            changes["output_shape"] = [last - first, *case.args["output_shape"][1:]]
        assert bits(case.call(**changes)) == bits(whole[first:last]), f"images {first}:{last} of {case}"


@grid()
def test_memory_order(name, dtype, layout):
    case = busy(name, dtype, layout)
    expected = bits(case.call())
    for argument, a in case.arrays.items():
        for order in ORDERS:
            if order != "broadcast":  # which changes the values
                y = case.call(**{argument: arrange(a, order, random.Random(1))})
                assert bits(y) == expected, f"{argument} {order}: {case}"


@grid()
def test_layout_and_out_and_repetition(name, dtype, layout):
    case = busy(name, dtype, layout, lead=1)
    expected = bits(case.call())
    for order in OUT_ORDERS if name != "bias_add" else ():
        out = arrange(np.full(case.out_shape, 55, case.dtype), order, random.Random(2))
        assert case.call(out=out) is out
        assert bits(out) == expected, f"out {order}: {case}"
    for _ in range(3):
        assert bits(case.call()) == expected


@pytest.mark.parametrize("name", OPS)
def test_alignment(name):
    """Every offset from a cache line that a float can have."""
    case = busy(name, "float32", None, lead=1)
    expected = bits(case.call())
    for argument, a in case.arrays.items():
        room = np.empty(a.size + 16, np.float32)
        for offset in range(16):
            view = room[offset : offset + a.size].reshape(a.shape)
            view[...] = a
            assert bits(case.call(**{argument: view})) == expected, f"{argument} at {offset}: {case}"


@pytest.mark.parametrize("name", [name for name in OPS if name != "bias_add"])
@pytest.mark.parametrize("order", OUT_ORDERS)
def test_residual_in_any_order(name, order):
    case = busy(name, "float32", None, lead=2)
    residual = np.random.default_rng(0).standard_normal(case.out_shape, dtype=np.float32)
    expected = bits(case.call(residual=residual))
    assert bits(case.call(residual=arrange(residual, order, random.Random(3)))) == expected
    out = residual.copy()
    assert bits(case.call(residual=out, out=out)) == expected, "added in place"


def test_every_isa_gives_its_own_bits_again():
    case = busy("conv2d", "float32", None)
    for name in nn.available_isas():
        with nn.isa(name):
            assert bits(case.call(num_threads=1)) == bits(case.call(num_threads=3))


def test_a_half_type_is_recognised_by_its_name():
    case = busy("conv2d", "bfloat16", None)
    assert case.call().dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize(
    ("x_shape", "f_shape", "strides"),
    [
        ((2, 7, 9, 1024), (1, 1, 1024, 40), 1),
        ((1, 9, 12, 512), (3, 3, 512, 33), 2),
        ((1, 12, 12, 512), (1, 1, 512, 70), 2),
    ],
)
def test_pixels_that_share_a_set_of_the_cache(x_shape, f_shape, strides):
    """A multiple of 4096 bytes apart they are copied before they are multiplied: the same bits as elsewhere."""
    rng = np.random.default_rng(7)
    x, f = rng.standard_normal(x_shape, dtype=np.float32), rng.standard_normal(f_shape, dtype=np.float32)
    room = np.zeros((*x_shape[:-1], x_shape[-1] + 16), np.float32)
    apart = room[..., : x_shape[-1]]
    apart[...] = x
    expected = nn.conv2d(apart, f, strides, "SAME", activation="relu")
    for threads in (1, 2, 3):
        assert bits(nn.conv2d(x, f, strides, "SAME", activation="relu", num_threads=threads)) == bits(expected)
        plan = nn.plan(nn.conv2d, f, strides=strides, padding="SAME", activation="relu")
        assert bits(plan(x, num_threads=threads)) == bits(expected)
    close = reference.conv2d(x.astype(float), f.astype(float), strides, "SAME").clip(0)
    np.testing.assert_allclose(expected, close, rtol=0, atol=2e-5 * np.abs(close).max())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("x_shape", "f_shape", "arguments"),
    [
        ((1, 1, 1, 700), (1, 1, 700, 100), {}),
        ((3, 7, 7, 130), (1, 1, 130, 64), {"strides": 2}),
        ((1, 9, 8, 48), (3, 3, 48, 96), {"padding": "SAME"}),
        ((1, 5, 7, 33), (2, 3, 33, 40), {"dilations": 2, "padding": 2}),
        ((2, 6, 6, 64), (3, 3, 32, 128), {"groups": 2, "strides": 2, "padding": "SAME"}),
        ((1, 5, 5, 12), (5, 5, 12, 80), {"padding_mode": "reflect", "padding": "SAME"}),
        ((1, 4, 7, 40), (1, 1, 40, 1024), {}),  # rows of filters share sets of L1: so many pixels, but not more
        ((1, 29, 1, 40), (1, 1, 40, 1024), {}),
        ((1, 1, 2, 300), (1, 1, 300, 150), {}),  # blocks by several, the last one moved back
        ((1, 3, 3, 32), (3, 3, 16, 300), {"groups": 2}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_filters_read_where_they_lie(x_shape, f_shape, arguments, bias, dtype):
    """Of few pixels they are not packed: the bits of a plan's, whose are, and of filters that lie otherwise."""
    rng = np.random.default_rng(8)
    x, f = (rng.integers(-9, 9, s).astype(dtype) / (1 if dtype == "int32" else 7) for s in (x_shape, f_shape))
    x, f = x.astype(dtype), f.astype(dtype)
    arguments = {"strides": 1, "padding": "VALID", **arguments, "activation": "relu"}
    if bias:
        arguments["bias"] = np.arange(f_shape[-1]).astype(dtype)
    for name in nn.available_isas():
        with nn.isa(name), nn.algorithm("direct"):
            expected = bits(nn.plan(nn.conv2d, f, **arguments)(x))
            for threads in (1, 3):
                assert bits(nn.conv2d(x, f, **arguments, num_threads=threads)) == expected, name
                assert bits(nn.conv2d(x, np.asfortranarray(f), **arguments, num_threads=threads)) == expected, name
                room = np.full((*f_shape[:-1], f_shape[-1] + 5), 99, dtype)  # rows that are part of longer ones
                room[..., : f_shape[-1]] = f
                view = room[..., : f_shape[-1]]
                assert bits(nn.conv2d(x, view, **arguments, num_threads=threads)) == expected, name


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_filters_read_where_they_lie_may_be_infinite(value):
    """The zeros of the padding do not meet them."""
    x, f = np.ones((1, 6, 6, 64), np.float32), np.ones((3, 3, 64, 70), np.float32)
    f[0, 0, 3, 5] = value
    for m in (64, 70):
        y = nn.conv2d(x, f[..., :m], 2, 1, activation="relu6")
        assert np.isnan(y[0, 1:, 1:, 5]).all() if np.isnan(value) else (y[0, 1:, 1:, 5] == 6).all()
        assert (np.delete(y, 5, -1) == 6).all()
        assert (y[0, 0, :, 5] == 6).all()
        assert (y[0, :, 0, 5] == 6).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_frames_that_overlap(dtype):
    """Pixels whose channels are those of their neighbours, as of numpy's sliding_window_view: the bits of a copy."""
    rng = np.random.default_rng(9)
    for channels, hop, filters in product(range(2, 18), (1, 2, 3), (1, 8, 40)):
        signal = rng.standard_normal(120 * hop + channels).astype(dtype)
        x = np.lib.stride_tricks.sliding_window_view(signal, channels)[None, ::hop]
        f = rng.standard_normal((3, channels, filters)).astype(dtype)
        for name in nn.available_isas():
            with nn.isa(name):
                for algorithm in ("auto", "direct"):
                    with nn.algorithm(algorithm):
                        y = nn.conv1d(x, f, 1, "SAME")
                        assert bits(y) == bits(nn.conv1d(x.copy(), f, 1, "SAME")), (name, algorithm, x.shape, hop)
