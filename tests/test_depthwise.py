"""The sliding windows and the fused separable driver against the general driver: the same bits."""

import math
import time
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest

import cyconv as nn

ISAS = nn.available_isas()
DTYPES = [np.float32, np.float32, np.float32, np.float64, np.int32, np.float16, ml_dtypes.bfloat16]


def values(rng, shape, dtype):
    """Random values in one of the orders that an array may have in memory."""
    a = (rng.integers(-9, 9, shape) if dtype is np.int32 else rng.standard_normal(shape)).astype(dtype)
    order = rng.integers(5)
    if order == 0:
        return np.asfortranarray(a)
    if order == 1:
        return np.ascontiguousarray(a[..., ::-1])[..., ::-1]
    if order == 2:
        aside = np.empty(a.size + 13, dtype)[rng.integers(13) :][: a.size].reshape(shape)
    elif order == 3:
        aside = np.empty((*shape[:-1], shape[-1] + 3), dtype)[..., : shape[-1]]
    else:
        return a
    aside[...] = a
    return aside


def problem(rng):
    """(input shape, filters shape, arguments) of a depthwise convolution; not all of them make sense."""
    k = rng.choice([1, 2, 3, 3, 3, 4, 5, 6, 7, 9, 11])
    taps = (k, k) if rng.random() < 0.7 else (rng.choice([1, 2, 3]), k)
    channels, multiplier = rng.choice([2, 3, 5, 8, 16, 17, 24, 32, 33, 40, 72, 96, 131]), rng.choice([1, 1, 1, 2, 3])
    size = rng.choice([1, 2, 3, 5, 7, 8, 9, 14, 15, 19, 23], 2)
    stride, dilation = rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 1, 2, 3, 60], 2)
    pads = [[int(rng.integers((t - 1) * d + 3)) for _ in range(2)] for t, d in zip(taps, dilation, strict=True)]
    modes = ["zeros"] * 4 + [("constant", 2.0), "reflect", "symmetric", "replicate", "circular"]
    arguments = {
        "strides": (1, int(stride), int(rng.choice([stride, stride, 1])), 1),
        "padding": ["SAME", "VALID", pads][rng.integers(3)],
        "padding_mode": modes[rng.integers(len(modes))],
        "dilations": tuple(int(d) for d in dilation),
    }
    shape = (int(rng.integers(1, 3)), *map(int, size), int(channels))
    if rng.random() < 0.3:
        shape, arguments["data_format"] = (shape[0], shape[3], *shape[1:3]), "NCHW"
        arguments["strides"] = (1, 1, *arguments["strides"][1:3])
    return shape, (int(taps[0]), int(taps[1]), int(channels), int(multiplier)), arguments


def activation(rng, dtype):
    return (
        ["relu6", None][rng.integers(2)]
        if dtype is np.int32
        else [None, "relu", ("clip", -0.5, 2.0), "silu"][rng.integers(4)]
    )


@pytest.mark.parametrize("seed", range(40))
def test_sliding_windows_equal_the_general_driver(seed):
    rng, done = np.random.default_rng(seed), 0
    while done < 20:
        x_shape, f_shape, arguments = problem(rng)
        dtype = DTYPES[rng.integers(len(DTYPES))]
        x, f = values(rng, x_shape, dtype), values(rng, f_shape, dtype)
        if dtype is not np.int32 and rng.random() < 0.1 and arguments["padding_mode"] == "zeros":
            f = f.copy()
            f.flat[rng.integers(f.size)] = math.inf
        m = f_shape[2] * f_shape[3]
        arguments |= {
            "bias": values(rng, (m,), dtype) if rng.random() < 0.5 else None,
            "activation": activation(rng, dtype),
        }
        try:
            plan = nn.plan(nn.depthwise_conv2d, f, **arguments)
            shape = plan.output_shape(x_shape)
        except ValueError:
            continue
        if rng.random() < 0.3:
            arguments["residual"] = values(rng, shape, dtype)
        out = values(rng, shape, dtype) if rng.random() < 0.4 else None
        with nn.isa(ISAS[rng.integers(len(ISAS))]):
            with nn.algorithm("direct"):
                expected = nn.depthwise_conv2d(x, f, **arguments, num_threads=1)
            with nn.algorithm("depthwise"):
                assert (
                    f_shape[2] == 1
                    or nn.explain(nn.depthwise_conv2d, x, f, **_without(arguments)).algorithm == "depthwise"
                )
                made = nn.depthwise_conv2d(x, f, **arguments, out=out, num_threads=int(rng.integers(1, 4)))
                planned = plan(x, residual=arguments.get("residual"))
        assert out is None or made is out
        for y in (made, planned):
            assert np.array_equal(_float(y), _float(expected), equal_nan=True), (x_shape, f_shape, arguments)
        done += 1


def _float(a):
    return a if a.dtype.kind in "if" else a.astype(np.float32)


def _without(arguments):
    return {name: value for name, value in arguments.items() if name != "residual"}


@pytest.mark.parametrize("seed", range(20))
def test_separable_equals_its_two_stages(seed):
    rng, done = np.random.default_rng(seed), 0
    while done < 20:
        x_shape, f_shape, arguments = problem(rng)
        data_format = arguments.get("data_format")
        dtype = DTYPES[rng.integers(len(DTYPES))]
        wide = np.float32 if np.dtype(dtype).itemsize == 2 else dtype  # halves are rounded once, at the end
        m, columns = f_shape[2] * f_shape[3], int(rng.choice([1, 2, 8, 16, 17, 31, 32, 33, 64, 70, 100]))
        stride = arguments.pop("strides")[2]
        if arguments["dilations"] != (1, 1):
            stride = 1
        arguments["strides"] = stride
        x, f, p = values(rng, x_shape, dtype), values(rng, f_shape, dtype), values(rng, (1, 1, m, columns), dtype)
        depthwise = {
            "bias": values(rng, (m,), dtype) if rng.random() < 0.5 else None,
            "activation": activation(rng, dtype),
        }
        pointwise = {
            "bias": values(rng, (columns,), dtype) if rng.random() < 0.5 else None,
            "activation": activation(rng, dtype),
        }
        try:
            shape = nn.plan(nn.depthwise_conv2d, f, **arguments).output_shape(x_shape)
        except ValueError:
            continue
        out_shape = (shape[0], columns, *shape[2:]) if data_format else (*shape[:3], columns)
        residual = values(rng, out_shape, dtype) if rng.random() < 0.3 else None
        both = {"depthwise_" + name: value for name, value in depthwise.items()} | pointwise

        def widened(a, wide=wide):
            return a.astype(wide) if isinstance(a, np.ndarray) else a

        with nn.isa(ISAS[rng.integers(len(ISAS))]):
            with nn.algorithm("direct"):
                between = nn.depthwise_conv2d(
                    widened(x), widened(f), **arguments, **{name: widened(a) for name, a in depthwise.items()}
                )
                expected = nn.conv2d(
                    between, widened(p), 1, "VALID", data_format=data_format or "NHWC", residual=widened(residual),
                    **{name: widened(a) for name, a in pointwise.items()},
                ).astype(dtype)  # fmt: skip
            threads = int(rng.integers(1, 4))
            made = nn.separable_conv2d(x, f, p, **arguments, **both, residual=residual, num_threads=threads)
            plan = nn.plan(nn.separable_conv2d, f, p, **arguments, **both)
            planned = plan(x, residual=residual, num_threads=threads)
        for y in (made, planned):
            assert np.array_equal(_float(y), _float(expected), equal_nan=True), (x_shape, f_shape, p.shape, arguments)
        done += 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 8, 12])
@pytest.mark.parametrize("width", [16, 31, 32, 45, 256])
def test_few_channels_of_a_separable_convolution(channels, width):
    """Pixels of a row are taken together in the first stage, the last ones twice: the same bits as two calls."""
    rng = np.random.default_rng(width + channels)
    for isa in ISAS:
        for multiplier, columns, padding, mode in (
            (1, 3, "SAME", "reflect"), (2, 16, "VALID", "zeros"), (1, 40, "SAME", "zeros"),
        ):  # fmt: skip
            dtype, taps = (np.float32, np.float64)[rng.integers(2)], int(rng.choice([1, 3, 5]))
            x = values(rng, (2, 19, width, channels), dtype)
            f = values(rng, (taps, taps, channels, multiplier), dtype)
            f[..., 0, 0] = np.inf if rng.random() < 0.2 else f[..., 0, 0]
            p = values(rng, (1, 1, channels * multiplier, columns), dtype)
            first = {"padding": padding, "padding_mode": mode, "strides": (1, 1, 1, 1)}
            bias = values(rng, (channels * multiplier,), dtype)
            with nn.isa(isa), np.errstate(invalid="ignore"):
                between = nn.depthwise_conv2d(x, f, **first, bias=bias, activation="elu")
                with nn.algorithm("direct"):
                    expected = nn.conv2d(between, p, 1, "VALID", activation="relu")
                for threads in (1, 3):
                    y = nn.separable_conv2d(
                        x,
                        f,
                        p,
                        **first,
                        depthwise_bias=bias,
                        depthwise_activation="elu",
                        activation="relu",
                        num_threads=threads,
                    )
                    assert np.array_equal(y, expected, equal_nan=True), (isa, multiplier, columns, padding, dtype, taps)


@pytest.mark.parametrize(
    ("x_shape", "taps"),
    [
        ((1, 4096, 4096, 32), (3, 3)),
        ((1, 512, 512, 1024), (7, 7)),
        ((1, 2048, 2048, 3), (63, 63)),
        ((8, 8, 8, 65536), (3, 3)),
    ],
)
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_scratch_does_not_grow_with_the_image(x_shape, taps, data_format):
    channels = x_shape[3]
    shape = x_shape if data_format == "NHWC" else (x_shape[0], channels, *x_shape[1:3])
    depthwise = np.zeros((*taps, channels, 1), np.float32)
    pointwise = np.zeros((1, 1, channels, 8), np.float32)
    one = (1, 1, 1, 1)
    for plan, filters in (
        (
            nn.plan(nn.depthwise_conv2d, depthwise, strides=one, padding="SAME", data_format=data_format),
            depthwise.nbytes,
        ),
        (
            nn.plan(nn.separable_conv2d, depthwise, pointwise, strides=one, padding="SAME", data_format=data_format),
            depthwise.nbytes + pointwise.nbytes,
        ),
    ):
        for threads in (1, 2, 8):
            assert plan.workspace_bytes(shape, threads) <= 2 * filters + threads * 2**21


@pytest.mark.parametrize("columns", [8, 1024])
def test_scratch_is_what_a_call_takes_at_most(columns):
    """Also one that reads its input where it lies, and so cuts it into fewer boxes, or that is given fewer threads."""
    depthwise, pointwise = np.zeros((3, 3, 1024, 1), np.float32), np.zeros((1, 1, 1024, columns), np.float32)
    for plan in (
        nn.plan(nn.separable_conv2d, depthwise, pointwise, strides=1, padding="SAME"),
        nn.plan(nn.depthwise_conv2d, depthwise, strides=1, padding="SAME"),
    ):
        for size in (7, 14):
            needed = [plan.workspace_bytes((1, size, size, 1024), threads) for threads in (1, 2, 3, 4)]
            assert needed == sorted(needed)
            if plan.op is nn.separable_conv2d and columns == 1024:  # the filters are many: all pixels meet them at once
                assert needed[0] > 4 * 1024 * size * size


def test_a_plan_takes_arrays_that_start_anywhere():
    """Filters are arranged for vectors that are aligned in the call's arrays: calls of one plan, at once, differ in that."""
    rng = np.random.default_rng(0)
    for channels in (1, 7, 16, 90, 144):
        f = rng.standard_normal((3, 3, channels, 1), dtype=np.float32)
        bias = rng.standard_normal(channels, dtype=np.float32)
        with nn.algorithm("depthwise"):
            plan = nn.plan(nn.depthwise_conv2d, f, strides=(1, 1, 1, 1), padding="SAME", bias=bias)
        memory = [rng.standard_normal(13 * 11 * channels + 16, dtype=np.float32) for _ in range(2)]

        def place(i, memory=memory, channels=channels):
            x, y = (
                m[j : j + 13 * 11 * channels].reshape(1, 13, 11, channels)
                for m, j in zip(memory, (i, 3 * i % 16), strict=True)
            )
            return x, y

        def run(i, plan=plan, place=place):
            x = place(i)[0]
            return plan(x, num_threads=1 + i % 3)

        right = [nn.depthwise_conv2d(place(i)[0].copy(), f, (1, 1, 1, 1), "SAME", bias=bias) for i in range(16)]
        with ThreadPoolExecutor(4) as pool:
            for i, y in zip([*range(16)] * 4, pool.map(run, [*range(16)] * 4), strict=True):
                assert np.array_equal(y, right[i])
        for i in range(16):
            x, y = place(i)
            expected = right[i]
            assert np.array_equal(plan(x, y), expected)
        packed = plan.nbytes
        plan(place(5)[0])
        assert packed > 2 * f.nbytes
        assert plan.nbytes < 8 * f.nbytes + 16384


@pytest.mark.parametrize("seed", range(10))
def test_phases_equal_the_general_driver(seed):
    """Input gradients of strided filters, and transposes with an epilogue: several jobs, box by box in turn."""
    rng, done = np.random.default_rng(seed), 0
    while done < 15:
        channels, taps = int(rng.integers(16, 90)), [int(t) for t in rng.choice([2, 3, 4, 5, 7], 2)]
        stride, sizes = int(rng.choice([2, 2, 3])), [int(n) for n in rng.integers(3, 60, 2)]
        dilations = [1, 1] if rng.random() < 0.8 else [int(d) for d in rng.choice([1, 2], 2)]
        padding = ["SAME", "VALID", [[0, 0], [1, 2], [2, 0], [0, 0]]][rng.integers(3)]
        dtype = DTYPES[rng.integers(len(DTYPES))]
        arguments = {"strides": (1, stride, stride, 1), "padding": padding, "dilations": dilations}
        f = values(rng, (*taps, channels, 1), dtype)
        x = np.zeros((int(rng.integers(1, 3)), *sizes, channels), dtype)
        try:
            shape = nn.depthwise_conv2d(x, f, **arguments).shape
        except ValueError:
            continue
        g = values(rng, shape, dtype)
        if dtype is not np.int32 and rng.random() < 0.2 and 0 not in shape:
            for a in (f, g):
                a.flat[rng.integers(a.size)] = rng.choice([1, math.inf, math.nan])
        out = x.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3) if rng.random() < 0.3 else None
        gradient = (nn.depthwise_conv2d_backprop_input, x.shape, f, g)
        transpose = (nn.conv2d_transpose, g, f.reshape(*taps, 1, channels), x.shape)
        epilogue = {"groups": channels, "activation": "relu6" if dtype is np.int32 or rng.random() < 0.5 else "gelu"}
        if rng.random() < 0.5:
            epilogue["residual"] = values(rng, x.shape, dtype)
        (op, *operands), more = [(gradient, {}), (transpose, epilogue)][rng.integers(2)]
        with nn.isa(ISAS[rng.integers(len(ISAS))]):
            with nn.algorithm("direct"):
                expected = op(*operands, **arguments, **more, num_threads=1)
            made = op(*operands, **arguments, **more, num_threads=int(rng.integers(1, 5)), out=out)
        assert np.array_equal(_float(made), _float(expected), equal_nan=True), (
            op,
            x.shape,
            f.shape,
            arguments,
            dtype,
            more,
        )
        done += 1


@pytest.mark.parametrize("seed", range(8))
def test_planes_equal_the_general_driver(seed):
    """Channels first: the lanes are pixels of a row where these are enough and lie side by side."""
    rng, done = np.random.default_rng(seed), 0
    while done < 15:
        channels, multiplier, taps = (
            int(rng.choice([2, 3, 17])),
            int(rng.choice([1, 1, 2])),
            int(rng.choice([2, 3, 3, 4, 5])),
        )
        sizes = [int(rng.integers(1, 40)), int(rng.integers(4, 90))]
        padding = ["SAME", "VALID", "FULL", [[0, 0], [0, 0], [1, 2], [2, 0]]][rng.integers(4)]
        dtype = DTYPES[rng.integers(4)]
        f = rng.standard_normal((taps, taps, channels, multiplier)).astype(dtype)
        x = rng.standard_normal((2, channels, *sizes)).astype(dtype)
        stride = int(rng.integers(1, 3))
        arguments = {"strides": (1, 1, stride, stride), "padding": padding, "data_format": "NCHW"}
        epilogue = {"activation": ["relu6", "gelu", None][rng.integers(3)]}
        if rng.random() < 0.5:
            epilogue["bias"] = rng.standard_normal(channels * multiplier).astype(dtype)
        if rng.random() < 0.2:
            a = (f, x)[rng.integers(2)]
            a.flat[rng.integers(a.size)] = rng.choice([math.inf, math.nan])
        if rng.random() < 0.3:
            x = np.pad(x, ((0, 0), (0, 0), (1, 0), (3, 2)), constant_values=math.nan)[:, :, 1:, 3:-2]
        threads, out, done = int(rng.integers(1, 5)), None, done + 1
        with nn.isa(ISAS[rng.integers(len(ISAS))]):
            with nn.algorithm("direct"):
                try:
                    expected = nn.depthwise_conv2d(x, f, **arguments, **epilogue)
                except ValueError:
                    continue
                gradient = nn.depthwise_conv2d_backprop_input(x.shape, f, expected, **arguments)
            if rng.random() < 0.3:
                out = np.zeros((*expected.shape[:3], expected.shape[3] + 5), dtype)[..., 2:-3]
            with nn.algorithm("depthwise"):
                made = nn.depthwise_conv2d(x, f, **arguments, **epilogue, num_threads=threads, out=out)
                assert np.array_equal(made, expected, equal_nan=True), (x.shape, f.shape, arguments, dtype, epilogue)
                assert out is None or not out.base[..., :2].any() and not out.base[..., -3:].any()
                if multiplier > 1:  # whose gradient is another driver's, maybe one with another order of sums
                    continue
                made = nn.depthwise_conv2d_backprop_input(x.shape, f, expected, **arguments, num_threads=threads)
                assert np.array_equal(made, gradient, equal_nan=True), (x.shape, f.shape, arguments, dtype)


@pytest.mark.parametrize("stride", [1, 2])
def test_threads_share_the_rows_of_a_few_planes(stride):
    """And give the bits of one."""
    rng = np.random.default_rng(3)
    x, f = rng.standard_normal((1, 3, 407, 311), np.float32), rng.standard_normal((5, 5, 3, 1), np.float32)
    arguments = {"strides": (1, 1, stride, stride), "padding": "SAME", "data_format": "NCHW"}
    with nn.algorithm("direct"):
        expected = nn.depthwise_conv2d(x, f, **arguments)
        gradient = nn.depthwise_conv2d_backprop_input(x.shape, f, expected, **arguments)
    with nn.algorithm("depthwise"):
        for threads in (1, 2, 3, 4):
            assert np.array_equal(nn.depthwise_conv2d(x, f, **arguments, num_threads=threads), expected)
            made = nn.depthwise_conv2d_backprop_input(x.shape, f, expected, **arguments, num_threads=threads)
            assert np.array_equal(made, gradient)


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 8])
def test_strides_over_few_channels(channels, stride):
    """Pixels are taken together, the columns of each residue side by side: the same bits as the general driver's."""
    rng = np.random.default_rng(channels + 10 * stride)
    for taps, padding, mode in (
        ((2, 2), "VALID", "zeros"),
        ((3, 3), "SAME", "zeros"),
        ((5, 4), [[0, 0], [1, 2], [3, 0], [0, 0]], "zeros"),
        ((1, 7), "SAME", "reflect"),
        ((3, 1), "SAME", ("constant", 2.0)),
    ):
        dtype = DTYPES[rng.integers(len(DTYPES))]
        x = values(rng, (2, 11, int(rng.integers(50, 99)), channels), dtype)
        f = values(rng, (*taps, channels, 1), dtype)
        arguments = {"strides": (1, int(rng.integers(1, 4)), stride, 1), "padding": padding, "padding_mode": mode}
        with nn.isa(ISAS[rng.integers(len(ISAS))]):
            with nn.algorithm("depthwise"):
                y = nn.depthwise_conv2d(x, f, **arguments, num_threads=int(rng.integers(1, 4)))
            with nn.algorithm("direct"):
                assert np.array_equal(_float(y), _float(nn.depthwise_conv2d(x, f, **arguments)))


@pytest.mark.parametrize("seed", range(20))
def test_small_groups_equal_the_general_driver(seed):
    """Groups of 2, 4, 8 channels and as many filters, whose channels are summed; and their input gradients. Whole numbers."""
    rng, done = np.random.default_rng(seed), 0
    while done < 15:
        (n, *sizes), (*taps, _, _), arguments = problem(rng)
        each = int(rng.choice([2, 4, 8]))
        channels = each * int(rng.integers(16 // each, 90 // each))
        first = "data_format" in arguments
        x_shape = (n, channels, *sizes[1:]) if first else (n, *sizes[:2], channels)
        dtype = DTYPES[rng.integers(len(DTYPES))]
        x, f = (
            np.rint(values(rng, shape, dtype).astype(np.float64)).astype(dtype)
            for shape in (x_shape, (*taps, each, channels))
        )
        strides = arguments.pop("strides")
        arguments["strides"] = strides[2:] if first else strides[1:3]
        try:
            shape = nn.conv2d(x, f, **arguments).shape
        except ValueError:
            continue
        threads, residual = (
            int(rng.integers(1, 4)),
            x.astype(dtype) if shape == x.shape and rng.random() < 0.5 else None,
        )
        made = []
        with nn.isa(ISAS[rng.integers(len(ISAS))]):
            for algorithm in ("direct", "depthwise"):
                with nn.algorithm(algorithm):
                    assert nn.explain(nn.conv2d, x, f, **arguments).algorithm == algorithm
                    made.append([nn.conv2d(x, f, **arguments, num_threads=threads, residual=residual)])
                    if arguments["padding_mode"] == "zeros":
                        rest = {name: value for name, value in arguments.items() if name != "padding_mode"}
                        made[-1].append(nn.conv2d_backprop_input(x.shape, f, made[-1][0], **rest, num_threads=threads))
        for y, expected in zip(*reversed(made), strict=True):
            if dtype in (np.float32, np.float64, np.int32) or y is made[1][0]:
                assert np.array_equal(_float(y), _float(expected)), (x_shape, f.shape, arguments, dtype)
        done += 1


@pytest.mark.parametrize("channels", [4, 40])
@pytest.mark.parametrize("size", [(9, 0), (0, 9), (0, 0)])
@pytest.mark.parametrize("taps", [2, 3, 5, 7])
def test_nothing_but_padding(size, taps, channels):
    """Images without pixels have outputs where there is padding: zeros. Kernels that look for pixels read what is behind."""
    x = np.full((1, 20, 20, channels), 5, np.float32)[:, 10 : 10 + size[0], 10 : 10 + size[1]]
    w, padding = np.ones((taps, taps, channels, 1), np.float32), [[0, 0], [taps, 2], [1, taps], [0, 0]]
    expected = np.zeros((1, size[0] + 3, size[1] + 2, channels), np.float32)
    out = np.full(expected.shape, 7, np.float32)
    assert np.array_equal(nn.depthwise_conv2d(x, w, [1, 1, 1, 1], padding, out=out), expected)
    one = np.ones((1, 1, channels, 3), np.float32)
    assert np.array_equal(nn.separable_conv2d(x, w, one, [1, 1, 1, 1], padding), expected[..., :1].repeat(3, 3))


@pytest.mark.parametrize("channels", [5, 40])
@pytest.mark.parametrize("algorithm", ["direct", "pixels", "depthwise"])
def test_integers_are_clipped_to_what_integers_there_are(algorithm, channels):
    least, most = -(2**31), 2**31 - 1
    x = np.resize(np.array([least, -5, 0, 5, most], np.int32), (1, 1, 20, channels))
    one = np.ones((1, 1, channels, 1), np.int32)
    with nn.algorithm(algorithm):
        assert np.all(nn.depthwise_conv2d(x, one, 1, "SAME", activation=("clip", 3e9, 4e9)) == most)
        assert np.all(nn.depthwise_conv2d(x, one, 1, "SAME", activation=("clip", -4e9, -3e9)) == least)
        assert np.array_equal(nn.depthwise_conv2d(x, one, 1, "SAME", activation=("clip", -1e10, math.inf)), x)


def test_filters_of_another_rank_are_refused_before_their_bias():
    x, w, one = np.ones((1, 4, 4, 2), np.float32), np.ones((3, 3, 2), np.float32), np.ones((1, 1, 2, 2), np.float32)
    with pytest.raises(nn.ShapeError, match="depthwise_filter must have 4 dimensions, not 3"):
        nn.separable_conv2d(x, w, one, 1, "SAME", depthwise_bias=np.ones(2, np.float32))


@pytest.mark.parametrize("dilations", [(1, 2**31 - 1), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1)])
def test_taps_farther_apart_than_the_image_is_long(dilations):
    """Outputs that share no input are tiles of their own: as many as there are, not as many as the taps are apart."""
    x, w = np.ones((1, 6, 7, 16), np.float32), np.ones((3, 3, 16, 1), np.float32)
    start = time.perf_counter()
    y = nn.depthwise_conv2d(x, w, 1, "SAME", dilations=dilations)
    z = nn.separable_conv2d(x, w, np.ones((1, 1, 16, 2), np.float32), 1, "SAME", dilations=dilations)
    assert time.perf_counter() - start < 2
    with nn.algorithm("direct"):
        assert np.array_equal(y, nn.depthwise_conv2d(x, w, 1, "SAME", dilations=dilations))
    assert np.array_equal(z, 16 * y[..., :2])
