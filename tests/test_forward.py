"""Every forward op against its formula in NumPy, over thousands of random problems."""

import inspect
from itertools import product

import numpy as np
import pytest
from ops import ALGORITHMS, OPS, sweep

import cyconv as nn
from cyconv import reference

# How many cases of each op; together with the chunks' names they are the same in every run.
CASES = {
    "convolution": 1200,
    "conv1d": 1200,
    "conv2d": 2000,
    "conv3d": 1000,
    "atrous_conv2d": 1000,
    "depthwise_conv2d": 1400,
    "separable_conv2d": 1000,
    "conv_transpose": 800,
    "conv1d_transpose": 800,
    "conv2d_transpose": 1200,
    "conv3d_transpose": 800,
    "atrous_conv2d_transpose": 800,
    "bias_add": 400,
}
CHUNK = 200


@pytest.mark.parametrize(
    ("name", "first"), [(name, n) for name, count in CASES.items() for n in range(0, count, CHUNK)]
)
def test_equals_the_formula(name, first):
    failures = sweep(OPS[name], range(first, first + CHUNK))
    assert not failures, "\n".join(failures)


def test_at_least_five_thousand_cases():
    assert sum(CASES.values()) >= 5000
    assert CASES.keys() == OPS.keys()


# What can be passed by position, and its default: TensorFlow's, to the letter.
SIGNATURES = {
    "convolution": "input, filters, strides=None, padding='VALID', data_format=None, dilations=None, name=None",
    "conv1d": "input, filters, stride, padding, data_format='NWC', dilations=None, name=None",
    "conv2d": "input, filters, strides, padding, data_format='NHWC', dilations=None, name=None",
    "conv3d": "input, filters, strides, padding, data_format='NDHWC', dilations=None, name=None",
    "atrous_conv2d": "value, filters, rate, padding, name=None",
    "depthwise_conv2d": "input, filter, strides, padding, data_format=None, dilations=None, name=None",
    "separable_conv2d": (
        "input, depthwise_filter, pointwise_filter, strides, padding, data_format=None, dilations=None, name=None"
    ),
    "conv_transpose": (
        "input, filters, output_shape, strides, padding='SAME', data_format=None, dilations=None, name=None"
    ),
    "conv1d_transpose": (
        "input, filters, output_shape, strides, padding='SAME', data_format='NWC', dilations=None, name=None"
    ),
    "conv2d_transpose": (
        "input, filters, output_shape, strides, padding='SAME', data_format='NHWC', dilations=None, name=None"
    ),
    "conv3d_transpose": (
        "input, filters, output_shape, strides, padding='SAME', data_format='NDHWC', dilations=None, name=None"
    ),
    "atrous_conv2d_transpose": "value, filters, output_shape, rate, padding, name=None",
    "bias_add": "value, bias, data_format=None, name=None",
    "depthwise_conv2d_backprop_input": (
        "input_sizes, filter, out_backprop, strides, padding, data_format='NHWC', dilations=None, name=None"
    ),
    "depthwise_conv2d_backprop_filter": (
        "input, filter_sizes, out_backprop, strides, padding, data_format='NHWC', dilations=None, name=None"
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_positional_arguments_are_tensorflows(name):
    parameters = inspect.signature(getattr(nn, name)).parameters.values()
    positional = [p.replace(annotation=p.empty) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert ", ".join(map(str, positional)).replace(" = ", "=") == SIGNATURES[name]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters if p.name not in {q.name for q in positional})


def test_padding_modes_are_those_of_numpy_pad():
    """The index maps that oracle and kernels share no code for, against numpy.pad far beyond one period."""
    x = np.arange(1, 4, dtype=np.float32).reshape(1, 3, 1)
    identity = np.ones((1, 1, 1), np.float32)
    names = {"reflect": "reflect", "symmetric": "symmetric", "replicate": "edge", "circular": "wrap"}
    for mode, name in names.items():
        for lo, hi in ((0, 0), (1, 2), (3, 4), (8, 11)):
            y = nn.conv1d(x, identity, 1, [(lo, hi)], padding_mode=mode)
            assert np.array_equal(y[0, :, 0], np.pad(x[0, :, 0], (lo, hi), name)), (mode, lo, hi)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.float16])
@pytest.mark.parametrize("isa", nn.available_isas())
def test_few_outputs_of_many_channels(isa, dtype):
    """Whole vectors of pixels, whose channels are turned in registers, and single ones."""
    rng = np.random.default_rng(0)
    with nn.isa(isa), nn.algorithm("direct"):
        for channels, filters, width in product((7, 16, 17, 31, 40, 100), (1, 2, 3, 4), (14, 17, 33, 50)):
            x = rng.integers(-9, 10, (2, 3, width, channels)).astype(dtype)
            f = rng.integers(-9, 10, (1, 1, channels, filters)).astype(dtype)
            if dtype is not np.int32:
                x, f = (x / 8).astype(dtype), (f / 8).astype(dtype)
            rest = {"bias": np.arange(filters).astype(dtype), "activation": ["relu", None][width % 2]}
            y = nn.conv2d(x, f, 1, "VALID", **rest)
            single = [nn.conv2d(x[:, :, i : i + 1], f, 1, "VALID", **rest) for i in range(width)]
            assert np.array_equal(y, np.concatenate(single, 2))
            assert np.array_equal(y, reference.convolution(x, f, **rest))


@pytest.mark.parametrize("seed", range(60))
def test_long_rows_equal_short_ones(seed):
    """Rows of fewer pixels than a tile, and longer ones, are computed by different kernels of the general driver."""
    rng = np.random.default_rng(seed)
    kh, kw, stride, dilation = (int(rng.choice(some)) for some in ([1, 1, 2, 3], [1, 1, 3, 5], [1, 1, 2], [1, 1, 2]))
    channels, filters, groups = (
        int(rng.choice([1, 3, 4, 17, 40])),
        int(rng.choice([1, 8, 21, 32, 64, 70, 130])),
        seed % 2 + 1,
    )
    rows, columns, span = int(rng.integers(1, 6)), int(rng.integers(14, 90)), (kw - 1) * dilation + 1
    dtype = [np.float32, np.float64, np.int32, np.float16][rng.integers(4)]
    shape = (2, (rows - 1) * stride + (kh - 1) * dilation + 1, (columns - 1) * stride + span, channels * groups)
    x = rng.integers(-4, 5, shape).astype(dtype)
    f = rng.integers(-4, 5, (kh, kw, channels, filters * groups)).astype(dtype)
    residual = rng.integers(-4, 5, (2, rows, columns, filters * groups)).astype(dtype) if rng.random() < 0.3 else None
    out = np.empty((2, rows, columns, filters * groups + int(rng.integers(2))), dtype)[..., : filters * groups]
    rest = {
        "strides": stride,
        "padding": "VALID",
        "dilations": dilation,
        "bias": rng.integers(-9, 9, filters * groups).astype(dtype),
        "activation": [None, "relu", ("leaky_relu", 2)][rng.integers(2 if dtype is np.int32 else 3)],
    }
    with nn.algorithm("direct"):
        y = nn.conv2d(x, f, residual=residual, out=out, num_threads=int(rng.integers(1, 4)), **rest)
        for first in range(0, columns, 9):
            last = min(first + 9, columns)
            part = x[:, :, first * stride : (last - 1) * stride + span]
            added = None if residual is None else residual[:, :, first:last]
            assert np.array_equal(y[:, :, first:last], nn.conv2d(part, f, residual=added, **rest))


@pytest.mark.parametrize("isa", nn.available_isas())
@pytest.mark.parametrize("columns", range(12, 34))
def test_rows_of_every_length(columns, isa):
    """Full tiles and what is left of a row, which may be two tiles of 8: side by side, through a buffer, of several blocks."""
    rng = np.random.default_rng(columns)
    with nn.isa(isa), nn.algorithm("direct"):
        for filters, channels, added in product((16, 30, 32, 96), (3, 20), (False, True)):
            x = rng.integers(-4, 5, (1, 2, columns + 1, channels)).astype(np.float32)
            f = rng.integers(-4, 5, (1, 2, channels, filters)).astype(np.float32)
            residual = rng.integers(-4, 5, (1, 2, columns, filters)).astype(np.float32) if added else None
            y = nn.conv2d(x, f, 1, "VALID", residual=residual, bias=np.arange(filters, dtype=np.float32))
            whole = reference.convolution(x, f, bias=np.arange(filters, dtype=np.float32))
            assert np.array_equal(y, whole + residual if added else whole)


@pytest.mark.parametrize("isa", nn.available_isas())
def test_edges_of_an_image_of_few_channels(isa):
    """Its middle is read where it lies, the edges from strips; from planes all of it: the same bits, and the formula's."""
    paddings = ("VALID", "SAME", "SAME_LOWER", 2, [(0, 3), (4, 0)], [(40, 0), (0, 50)])
    for seed in range(80):
        rng = np.random.default_rng(seed)
        kh, kw, channels, filters = (
            int(n) for n in (*rng.integers(1, 5, 2), rng.integers(1, 17), rng.integers(13, 40))
        )
        strides = (int(rng.integers(1, 4)), 2)
        x = rng.integers(-9, 10, (2, int(rng.integers(8, 50)), int(rng.integers(60, 190)), channels)).astype(np.float32)
        f = rng.integers(-9, 10, (kh, kw, channels, filters)).astype(np.float32)
        mode, padding = ("zeros", ("constant", 5), "reflect", "circular")[seed % 4], paddings[seed % 7 % 6]
        if seed % 4 > 1 and padding == paddings[5]:
            padding = "SAME"
        rest = {"strides": strides, "padding": padding, "padding_mode": mode, "bias": f[0, 0, 0]}
        if seed % 3 == 0:
            rest |= {"dilations": (2, 1)}
        with nn.isa(isa), nn.algorithm("direct"):
            y = nn.conv2d(x, f, **rest)
            assert (
                y.tobytes() == nn.conv2d(x.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1), f, **rest).tobytes()
            ), seed
        assert np.array_equal(y, reference.convolution(x, f, **rest)), seed


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("groups", [1, 2])
def test_sums_over_no_channels(groups, algorithm):
    """A transposed convolution reads as many channels as its filters have outputs, which may be none: zeros, and the bias."""
    x, f, bias = np.ones((1, 64, 64, 0), np.float32), np.ones((3, 3, 5, 0), np.float32), np.arange(5 * groups)
    with nn.algorithm(algorithm):
        for stride, first in product((1, 2), (False, True)):
            shape, rest = (
                (1, 64 * stride, 64 * stride, 5 * groups),
                {"strides": stride, "bias": bias.astype(np.float32)},
            )
            if first:
                shape, rest["data_format"] = (1, shape[3], *shape[1:3]), "NCHW"
            y = nn.conv2d_transpose(x.transpose(0, 3, 1, 2) if first else x, f, shape, **rest)
            assert y.shape == shape
            assert ((np.moveaxis(y, 1, -1) if first else y) == bias).all()
        y = nn.depthwise_conv2d_backprop_input((1, 64, 64, 5), f, x, 1, "SAME")
        assert y.shape == (1, 64, 64, 5)
        assert not y.any()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("groups", [1, 4])
def test_as_many_dimensions_as_numpy_has(groups, algorithm):
    """NumPy 2 has 64 of them; memory for 32 shapes was written beyond."""
    most = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32
    rng = np.random.default_rng(0)
    x, f = rng.integers(-3, 4, (2, 8, 8, 16)), rng.integers(-3, 4, (3, 3, 16 // groups, 16))
    x, f = x.astype(np.float32), f.astype(np.float32)
    with nn.algorithm(algorithm):
        y = nn.conv2d(x.reshape(*(1,) * (most - 4), *x.shape), f, 1, "SAME")
        assert y.shape == (*(1,) * (most - 4), *x.shape)
        assert np.allclose(y.reshape(x.shape), nn.conv2d(x, f, 1, "SAME"), atol=1e-3)
