"""The pixel driver against the general one: the same bits."""

import math

import numpy as np
import pytest
from test_depthwise import DTYPES, ISAS, _float, activation, values

import cyconv as nn

MODES = ["zeros"] * 4 + [("constant", 2.0), "reflect", "symmetric", "replicate", "circular"]
GRADIENTS = [
    (nn.conv1d, nn.conv1d_backprop_filter),
    (nn.conv2d, nn.conv2d_backprop_filter),
    (nn.conv3d, nn.conv3d_backprop_filter),
]


def problem(rng):
    """(input shape, filters shape, arguments) of a convolution; not all of them make sense."""
    rank = int(rng.choice([1, 1, 2, 2, 2, 3]))
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    channels, filters = (int(rng.choice([1, 1, 2, 3, 4, 5, 8, 17])) for _ in range(2))
    taps = (*rng.choice([1, 2, 3, 3, 4, 5, 7, 11], rank - 1), rng.choice([1, 2, 3, 3, 4, 5, 5, 7, 11, 16, 31, 32, 45]))
    if rank > 1 and rng.random() < 0.5:
        taps = (*taps[:-2], taps[-1], taps[-1])
    taps = tuple(min(int(t), [150, 31, 4][rank - 1]) for t in taps)
    if rank == 1 and rng.random() < 0.2:
        taps = (int(rng.integers(60, 300)),)
    sizes = [*map(int, rng.choice([1, 2, 3, 5, 8, 9, 13, 17, 30, 40], rank))]
    sizes[-1] = int(rng.choice([1, 7, 15, 16, 17, 31, 33, 64, 70, 100, 130, 200]))
    if rng.random() < 0.1 and rank < 3:  # rows long enough to be cut, or to be folded
        sizes[-1] = int(rng.integers(1000, 6000))
    dilations = [int(d) for d in rng.choice([1, 1, 1, 2, 3, 9], rank)]
    pads = [[int(rng.integers((t - 1) * d + 3)) for _ in range(2)] for t, d in zip(taps, dilations, strict=True)]
    arguments = {
        "strides": [int(s) for s in rng.choice([1, 1, 1, 2, 3], rank)],
        "padding": ["SAME", "VALID", pads][rng.integers(3)],
        "dilations": dilations,
    }
    first = rng.random() < 0.4
    if first:
        arguments["data_format"] = ["NCW", "NCHW", "NCDHW"][rank - 1]
    if rng.random() < 0.8:
        arguments["padding_mode"] = MODES[rng.integers(len(MODES))]
        op, shape = nn.convolution, (int(rng.integers(1, 3)), *sizes, channels * groups)
    else:
        op, shape = nn.conv_transpose, (int(rng.integers(1, 3)), *sizes, filters * groups)
        spans = [(t - 1) * d + 1 for t, d in zip(taps, dilations, strict=True)]
        made = [(n - 1) * s + t for n, s, t in zip(sizes, arguments["strides"], spans, strict=True)]
        if arguments["padding"] == "SAME":
            made = [n * s for n, s in zip(sizes, arguments["strides"], strict=True)]
        elif arguments["padding"] != "VALID":
            made = [n - sum(pair) for n, pair in zip(made, pads, strict=True)]
        c = channels * groups
        arguments["output_shape"] = (shape[0], c, *made) if first else (shape[0], *made, c)
    if first:
        shape = (shape[0], shape[-1], *shape[1:-1])
    return op, shape, (*taps, channels, filters * groups), arguments


def forced(op, x, filters, arguments):
    """Whether the pixel driver takes the problem."""
    arguments = {k: v for k, v in arguments.items() if k != "residual"}
    return nn.explain(op, x, filters, **arguments).algorithm == "pixels"


@pytest.mark.parametrize("seed", range(40))
def test_pixels_equal_the_general_driver(seed):
    rng, done = np.random.default_rng(seed), 0
    while done < 20:
        op, x_shape, f_shape, arguments = problem(rng)
        dtype = DTYPES[rng.integers(len(DTYPES))]
        x, f = values(rng, x_shape, dtype), values(rng, f_shape, dtype)
        try:
            shape = nn.plan(op, f, **arguments).output_shape(x_shape)
        except ValueError:
            continue
        if dtype is not np.int32 and rng.random() < 0.1:
            f = f.copy()
            f.flat[rng.integers(f.size)] = rng.choice([math.inf, -math.inf, math.nan])
        m = shape[1] if "data_format" in arguments else shape[-1]
        arguments |= {
            "bias": values(rng, (m,), dtype) if rng.random() < 0.5 else None,
            "activation": activation(rng, dtype),
        }
        plan = nn.plan(op, f, **arguments)
        if rng.random() < 0.3:
            arguments["residual"] = values(rng, shape, dtype)
        out = values(rng, shape, dtype) if rng.random() < 0.4 else None
        with nn.isa(ISAS[rng.integers(len(ISAS))]):
            with nn.algorithm("direct"):
                expected = op(x, f, **arguments, num_threads=1)
            with nn.algorithm("pixels"):
                if not forced(op, x, f, arguments):  # windows that its scratch does not hold
                    continue
                threads = int(rng.integers(1, 4))
                made = op(x, f, **arguments, out=out, num_threads=threads)
                planned = plan(x, residual=arguments.get("residual"), num_threads=threads)
                needed = plan.workspace_bytes(x_shape, threads)
        assert out is None or made is out
        for y in (made, planned):
            assert np.array_equal(_float(y), _float(expected), equal_nan=True), (op, x_shape, f_shape, arguments)
        assert needed <= threads * 2**21, (op, x_shape, f_shape, arguments)
        done += 1


def test_two_of_everything_is_no_image_filter():
    x, f = np.random.default_rng(0).standard_normal((1, 40, 60, 2)), np.ones((3, 3, 2, 2))
    with nn.algorithm("direct"):
        expected = nn.conv2d(x, f, 2, "VALID", dilations=[1, 2])
    with nn.algorithm("pixels"):
        assert np.array_equal(nn.conv2d(x, f, 2, "VALID", dilations=[1, 2]), expected)


@pytest.mark.parametrize("strange", [math.inf, math.nan])
@pytest.mark.parametrize("taps", [(3, 3), (5, 5), (4, 7), (1, 31), (11, 2)])
def test_what_is_not_finite_stays_in_its_windows(taps, strange):
    """A zero of the padding times an infinity is nothing, for one thread and for several."""
    rng = np.random.default_rng(0)
    shape, at = (1, 200, 300, 1), tuple(int(rng.integers(t)) for t in taps)
    x, f = rng.standard_normal(shape), rng.standard_normal((*taps, 1, 2))
    f[at][0, 1] = strange
    held = np.ones(shape[1:3], bool)  # where that tap of the second filter meets the input
    for axis, (size, tap, place) in enumerate(zip(shape[1:3], taps, at, strict=True)):
        o = np.arange(size) + place - (tap - 1) // 2
        held &= np.expand_dims((o >= 0) & (o < size), 1 - axis)
    with nn.algorithm("pixels"):
        plan = nn.plan(nn.conv2d, f, strides=1, padding="SAME")
        for threads in (1, 2, 3):
            for y in (nn.conv2d(x, f, 1, "SAME", num_threads=threads), plan(x, num_threads=threads)):
                assert np.isfinite(y[..., 0]).all()
                assert np.array_equal(~np.isfinite(y[0, ..., 1]), held)


def test_a_packed_row_of_taps_serves_short_rows_and_long_ones():
    """Long rows are read as rows a vector long, short ones are not; filters are packed once for both."""
    rng, f = np.random.default_rng(0), np.float32([[[[1]], [[2]], [[-3]]]])
    with nn.algorithm("pixels"):
        plan = nn.plan(nn.conv2d, f, strides=[2, 1], padding="SAME")
        for width in (2000, 100, 2000):
            x = rng.integers(-3, 4, (1, 50, width, 1)).astype(np.float32)
            assert np.array_equal(plan(x), nn.conv2d(x, f, [2, 1], "SAME"))


@pytest.mark.parametrize("sizes", [(60, 61), (61, 60)])
def test_packed_filters_that_are_not_finite_serve_inputs_with_and_without_padding(sizes):
    f = np.ones((3, 3, 1, 1), np.float32)
    f[2, 2] = np.inf
    with nn.algorithm("pixels"):
        plan = nn.plan(nn.conv2d, f, strides=3, padding="SAME")
        for size in sizes:
            x = np.ones((1, size, size, 1), np.float32)
            assert np.array_equal(plan(x), nn.conv2d(x, f, 3, "SAME"))
            assert not np.isnan(plan(x)).any()


@pytest.mark.parametrize(
    ("shape", "taps"),
    [
        ((4096, 4096, 1), (3, 3)),
        ((2048, 2048, 3), (63, 63)),
        ((64, 2**20, 1), (31, 31)),
        ((2**22, 1), (1001,)),
        ((2**22, 16), (1001,)),
        ((256, 256, 256, 1), (5, 5, 5)),
        ((8, 4096, 4096, 4), (3, 11, 11)),
    ],
)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", ["N{}C", "NC{}"])
def test_scratch_does_not_grow_with_the_image(shape, taps, stride, layout):
    layout = layout.format("DHW"[-len(taps) :])
    shape = (1, *shape) if layout.endswith("C") else (1, shape[-1], *shape[:-1])
    f = np.zeros((*taps, shape[layout.index("C")], 4), np.float32)
    with nn.algorithm("pixels"):
        plan = nn.plan(nn.convolution, f, strides=stride, padding="SAME", data_format=layout)
        for threads in (1, 2, 8):
            assert plan.workspace_bytes(shape, threads) <= threads * 2**21


@pytest.mark.parametrize("dilation", [13 * 10**8, 17 * 10**8, 2 * 10**9])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_windows_that_span_more_than_integers_hold(rank, dilation):
    """Every tap lies on padding: zeros, not a scratch whose size has wrapped round."""
    x, f = np.ones((1, *(5, 17, 16)[-rank:], 1), np.float32), np.ones((2,) * rank + (1, 1), np.float32)
    pads = [(dilation // 2, dilation - dilation // 2)] * rank
    op, gradient = GRADIENTS[rank - 1]
    with nn.algorithm("pixels"):
        assert not op(x, f, 1, pads, dilations=dilation).any()
        assert not gradient(x, f.shape, x, 1, pads, dilations=dilation).any()


@pytest.mark.skipif(len(ISAS) < 2, reason="there is one ISA")
def test_filter_gradients_do_not_depend_on_the_isa_of_a_call_before():
    """The sums of wide vectors do not fit the scratch, those of narrow ones do."""
    x, g = np.random.default_rng(5).standard_normal((2, 1, 40, 40, 4), dtype=np.float32)
    made = []
    for isa, algorithm in ((ISAS[-1], "auto"), (ISAS[0], "auto"), (ISAS[0], "pixels")):
        with nn.isa(isa), nn.algorithm(algorithm):
            made.append(nn.conv2d_backprop_filter(x, (25, 25, 4, 4), g, 1, "SAME"))
    assert np.array_equal(made[1], made[2])


def test_filter_gradients_of_no_pixels():
    x, g = np.ones((1, 5, 2, 1), np.float32), np.ones((1, 4, 0, 1), np.float32)
    with nn.algorithm("pixels"):
        assert not nn.conv2d_backprop_filter(x, (2, 3, 1, 1), g, 1, "VALID").any()


def gradient_problem(rng):
    """(rank, input shape, filters shape, strides, arguments); only the depth may have a stride."""
    rank, groups = int(rng.choice([1, 2, 2, 3])), int(rng.choice([1, 1, 2, 3]))
    channels, filters = int(rng.choice([1, 1, 2, 3, 4, 8])), int(rng.choice([1, 1, 2, 3, 5, 8]))
    taps = (int(rng.choice([2, 3, 9, 31, 40])),) if rank == 1 else tuple(map(int, rng.choice([1, 2, 3, 5, 7], rank)))
    sizes = (int(rng.choice([30, 300, 9000])),) if rank == 1 else tuple(map(int, rng.choice([7, 9, 12, 17, 33], rank)))
    shape = (int(rng.integers(1, 4)), *sizes, channels * groups)
    arguments = {
        "padding": ["SAME", "VALID", "FULL"][rng.integers(3)],
        "dilations": [int(d) for d in rng.choice([1, 1, 2], rank)],
    }
    arguments["padding_mode"] = MODES[rng.integers(len(MODES))] if arguments["padding"] == "SAME" else "zeros"
    if rng.random() < 0.3:
        arguments["data_format"] = ["NCW", "NCHW", "NCDHW"][rank - 1]
        shape = (shape[0], shape[-1], *shape[1:-1])
    strides = [int(rng.integers(1, 3)), 1, 1] if rank == 3 else 1
    return rank, shape, (*taps, channels, filters * groups), strides, arguments


@pytest.mark.parametrize("seed", range(12))
def test_filter_gradients_equal_the_general_driver(seed):
    rng, done = np.random.default_rng(seed), 0
    while done < 20:
        rank, x_shape, f_shape, strides, arguments = gradient_problem(rng)
        dtype = DTYPES[rng.integers(len(DTYPES))]
        op, gradient = GRADIENTS[rank - 1]
        try:
            shape = nn.plan(
                op, np.zeros(f_shape, dtype), **{"stride" if rank == 1 else "strides": strides}, **arguments
            ).output_shape(x_shape)
        except ValueError:
            continue
        if 0 in shape:
            continue
        x, g = (rng.integers(-3, 4, s).astype(dtype) for s in (x_shape, shape))
        if dtype is not np.int32 and rng.random() < 0.2:  # its filters' gradients and no others
            for a in (x, g)[: rng.integers(1, 3)]:
                a.flat[rng.integers(a.size)] = rng.choice([math.inf, math.nan])
        with nn.isa(ISAS[rng.integers(len(ISAS))]):
            with nn.algorithm("direct"):
                expected = gradient(x, f_shape, g, strides, **arguments, num_threads=1)
            with nn.algorithm("pixels"):
                made = gradient(x, f_shape, g, strides, **arguments, num_threads=int(rng.integers(1, 4)))
        assert np.array_equal(_float(made), _float(expected), equal_nan=True), (
            op,
            x_shape,
            f_shape,
            strides,
            arguments,
        )
        done += 1


@pytest.mark.parametrize(
    ("x_shape", "f_shape"),
    [((3, 70, 90, 1), (5, 5, 1, 1)), ((2, 200, 150, 4), (3, 3, 4, 4)), ((1, 600, 700, 2), (9, 4, 2, 1))],
)
def test_filter_gradients_do_not_depend_on_threads_or_memory(x_shape, f_shape):
    """And are the sums: each within the rounding of so many terms."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal(x_shape, dtype=np.float32)
    g = rng.standard_normal((*x_shape[:-1], f_shape[-1]), dtype=np.float32)
    expected = nn.conv2d_backprop_filter(x, f_shape, g, 1, "SAME", num_threads=1)
    for threads in (2, 3, 5):
        assert np.array_equal(nn.conv2d_backprop_filter(x, f_shape, g, 1, "SAME", num_threads=threads), expected)
    for a, b in ((np.asfortranarray(x), g), (x[:, ::-1][:, ::-1], g[..., ::-1].copy()[..., ::-1])):
        assert np.array_equal(nn.conv2d_backprop_filter(a, f_shape, b, 1, "SAME"), expected)
    exact = nn.conv2d_backprop_filter(x.astype(float), f_shape, g.astype(float), 1, "SAME")
    assert np.abs(expected - exact).max() < 1e-5 * np.sqrt(g.size) * 4
