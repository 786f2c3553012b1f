"""What TensorFlow's own tests have published for these ops, or a pencil makes of it: no code here had a part in it.

Inputs and filters are 1, 2, 3, ... in order; expected values are in the order of memory, in NHWC.
"""

import ml_dtypes
import numpy as np
import pytest

import cyconv as nn

EXACT = ("float32", "float64", "int32")


def counted(*shape, dtype="float32"):
    return np.arange(1, np.prod(shape, dtype=int) + 1).reshape(shape).astype(dtype)


def first(a):
    return np.moveaxis(a, -1, 1)


# input, filters, strides, padding, expected
CONV2D = [
    ((1, 2, 3, 3), (1, 1, 3, 3), 1, "VALID",
     [30, 36, 42, 66, 81, 96, 102, 126, 150, 138, 171, 204, 174, 216, 258, 210, 261, 312]),
    ((0, 2, 3, 3), (1, 1, 3, 3), 1, "VALID", []),
    ((1, 2, 3, 3), (2, 2, 3, 3), 1, "VALID", [2271, 2367, 2463, 2901, 3033, 3165]),
    ((1, 2, 3, 3), (1, 2, 3, 3), 1, "VALID", [231, 252, 273, 384, 423, 462, 690, 765, 840, 843, 936, 1029]),
    ((1, 2, 3, 3), (2, 2, 3, 3), 2, "VALID", [2271, 2367, 2463]),
    ((1, 2, 3, 3), (2, 2, 3, 3), 2, "SAME", [2271, 2367, 2463, 1230, 1305, 1380]),
    ((1, 3, 6, 1), (2, 2, 1, 1), (1, 2), "VALID", [58, 78, 98, 118, 138, 158]),
    ((1, 7, 7, 1), (2, 2, 1, 1), 3, "VALID", [65, 95, 275, 305]),
    ((1, 3, 3, 1), (1, 1, 1, 1), 2, "SAME", [1, 3, 7, 9]),
    ((1, 4, 4, 1), (1, 1, 1, 1), 2, "SAME", [1, 3, 9, 11]),
    ((1, 4, 4, 1), (2, 2, 1, 1), 3, "SAME", [44, 28, 41, 16]),
    ((1, 2, 2, 1), (2, 2, 1, 2), 1, "VALID", [50, 60]),
    ((1, 0, 2, 1), (1, 1, 1, 1), 1, 1, [0] * 8),
]  # fmt: skip


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize(("shape", "taps", "strides", "padding", "expected"), CONV2D)
def test_conv2d(shape, taps, strides, padding, expected, dtype):
    x, w = counted(*shape, dtype=dtype), counted(*taps, dtype=dtype)
    for op in (nn.conv2d, nn.convolution):
        y = op(x, w, strides, padding)
        assert y.dtype == dtype
        assert y.ravel().tolist() == expected
    assert first(y).tolist() == nn.conv2d(first(x), w, strides, padding, "NCHW").tolist()
    assert nn.plan(nn.conv2d, w, strides=strides, padding=padding)(x).ravel().tolist() == expected


def test_depthwise_and_separable():
    x, w = counted(1, 2, 3, 2), counted(2, 2, 2, 2)
    expected = [196, 216, 272, 296, 252, 280, 344, 376]
    y = nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "VALID")
    assert y.ravel().tolist() == expected
    point = np.eye(4, dtype=np.float32).reshape(1, 1, 4, 4)
    assert nn.separable_conv2d(x, w, point, [1, 1, 1, 1], "VALID").ravel().tolist() == expected


# input_sizes, filters, out_backprop, strides, padding, gradient of the input, of the filters
GRADIENTS = [
    ((1, 2, 3, 1), (2, 2, 1, 1), (1, 1, 2, 1), 1, "VALID", [1, 4, 4, 3, 10, 8], [5, 8, 14, 17]),
    ((0, 2, 3, 1), (2, 2, 1, 1), (0, 1, 2, 1), 1, "VALID", [], [0, 0, 0, 0]),
    ((1, 2, 3, 1), (2, 2, 1, 0), (1, 1, 2, 0), 1, "VALID", [0] * 6, []),
    ((1, 2, 3, 3), (2, 2, 3, 3), (1, 1, 2, 3), 1, "VALID",
     [14, 32, 50, 100, 163, 226, 167, 212, 257, 122, 140, 158, 478, 541, 604, 437, 482, 527],
     [17, 22, 27, 22, 29, 36, 27, 36, 45, 32, 43, 54, 37, 50, 63, 42, 57, 72, 62, 85, 108, 67, 92, 117, 72, 99, 126,
      77, 106, 135, 82, 113, 144, 87, 120, 153]),
    ((1, 3, 6, 1), (2, 2, 1, 1), (1, 2, 3, 1), (1, 2), "VALID",
     [1, 2, 2, 4, 3, 6, 7, 12, 11, 18, 15, 24, 12, 16, 15, 20, 18, 24], [161, 182, 287, 308]),
    ((1, 4, 4, 1), (1, 1, 1, 1), (1, 2, 2, 1), 2, "SAME",
     [1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0], [78]),
    ((1, 2, 2, 1), (2, 2, 1, 2), (1, 1, 1, 2), 1, "VALID", [5, 11, 17, 23], [1, 2, 2, 4, 3, 6, 4, 8]),
    ((3, 1, 1, 2), (1, 3, 2, 3), (3, 1, 0, 3), (1, 2), "VALID", [0] * 6, [0] * 18),
]  # fmt: skip


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize(("sizes", "taps", "grads", "strides", "padding", "dx", "dw"), GRADIENTS)
def test_conv2d_gradients(sizes, taps, grads, strides, padding, dx, dw, dtype):
    x, w, g = (counted(*shape, dtype=dtype) for shape in (sizes, taps, grads))
    assert nn.conv2d_backprop_input(sizes, w, g, strides, padding).ravel().tolist() == dx
    assert nn.conv2d_backprop_input(sizes[1:3], w, g, strides, padding).ravel().tolist() == dx
    assert nn.conv2d_backprop_filter(x, taps, g, strides, padding).ravel().tolist() == dw
    assert [d.ravel().tolist() for d in nn.conv2d_vjp(x, w, g, strides, padding)[:2]] == [dx, dw]
    if taps[3]:
        assert nn.conv2d_transpose(g, w, sizes, strides, padding).ravel().tolist() == dx


@pytest.mark.parametrize(
    ("x", "out", "strides", "padding", "rows", "columns"),
    [
        ((2, 6, 4, 3), (2, 6, 4, 2), 1, "SAME", [2, 3, 3, 3, 3, 2], [2, 3, 3, 2]),
        ((2, 6, 4, 3), (2, 12, 8, 2), 2, "SAME", [1, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1], [1, 1, 2, 1, 2, 1, 2, 1]),
        ((2, 6, 4, 3), (2, 13, 9, 2), 2, "VALID", [1, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 1], [1, 1, 2, 1, 2, 1, 2, 1, 1]),
    ],
)
def test_conv2d_transpose_of_ones(x, out, strides, padding, rows, columns):
    """Three channels times the taps that overlap."""
    y = nn.conv2d_transpose(np.ones(x, np.float32), np.ones((3, 3, 2, 3), np.float32), out, strides, padding)
    assert np.array_equal(y, np.broadcast_to(3 * np.outer(rows, columns)[None, :, :, None], out))


# input, ksize, strides, padding, expected maximum, expected mean
POOLS = [
    ((1, 3, 3, 3), 2, 2, "VALID", [13, 14, 15], [7, 8, 9]),
    ((1, 2, 4, 3), 2, 2, "SAME", [16, 17, 18, 22, 23, 24], [8.5, 9.5, 10.5, 14.5, 15.5, 16.5]),
    ((1, 2, 2, 1), (1, 2), 1, "SAME", [2, 2, 4, 4], [1.5, 2, 3.5, 4]),
    ((1, 2, 2, 1), (2, 1), 1, "SAME", [3, 4, 3, 4], [2, 3, 3, 4]),
    ((1, 3, 3, 3), 2, (1, 2), "VALID", [13, 14, 15, 22, 23, 24], [7, 8, 9, 16, 17, 18]),
    ((1, 3, 3, 3), 2, (2, 1), "VALID", [13, 14, 15, 16, 17, 18], [7, 8, 9, 10, 11, 12]),
    ((1, 4, 4, 1), 2, (1, 2), "VALID", [6, 8, 10, 12, 14, 16], [3.5, 5.5, 7.5, 9.5, 11.5, 13.5]),
    ((1, 4, 4, 4), 2, 2, "SAME", [21, 22, 23, 24, 29, 30, 31, 32, 53, 54, 55, 56, 61, 62, 63, 64],
     [11, 12, 13, 14, 19, 20, 21, 22, 43, 44, 45, 46, 51, 52, 53, 54]),
    ((1, 4, 4, 4), 3, 2, "SAME", None, [21, 22, 23, 24, 27, 28, 29, 30, 45, 46, 47, 48, 51, 52, 53, 54]),
    ((1, 7, 7, 1), 2, 3, "VALID", [9, 12, 30, 33], [5, 8, 26, 29]),
    ((1, 3, 3, 1), 1, 2, "SAME", [1, 3, 7, 9], [1, 3, 7, 9]),
    ((1, 4, 4, 1), 1, 2, "SAME", [1, 3, 9, 11], [1, 3, 9, 11]),
    ((0, 8, 8, 8), 3, 2, "SAME", [], []),
    ((1, 3, 3, 0), 2, 2, "VALID", [], []),
    ((1, 3, 3, 1), 3, 2, [[0, 0], [0, 2], [0, 1], [0, 0]], [9, 9], None),
    ((1, 6, 6, 1), 3, 2, [[0, 0], [1, 2], [2, 1], [0, 0]],
     [7, 9, 11, 12, 19, 21, 23, 24, 31, 33, 35, 36, 31, 33, 35, 36], None),
    ((1, 1, 1, 10), (1, 1, 1, 2), (1, 1, 1, 2), "SAME", [2, 4, 6, 8, 10], None),
    ((1, 2, 2, 6), (1, 1, 1, 3), (1, 1, 1, 3), "SAME", [3, 6, 9, 12, 15, 18, 21, 24], None),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ml_dtypes.bfloat16])
@pytest.mark.parametrize(("shape", "ksize", "strides", "padding", "largest", "mean"), POOLS)
def test_pools(shape, ksize, strides, padding, largest, mean, dtype):
    x = counted(*shape, dtype=dtype)
    if largest is not None:
        assert nn.max_pool(x, ksize, strides, padding).ravel().tolist() == largest
    if mean is not None:
        assert nn.avg_pool(x, ksize, strides, padding).ravel().tolist() == mean


def test_max_pool_of_negative_values():
    x = -counted(1, 6, 6, 1)
    y = nn.max_pool2d(x, 3, 2, [[0, 0], [1, 2], [2, 1], [0, 0]])
    assert y.ravel().tolist() == [-1, -1, -3, -5, -7, -7, -9, -11, -19, -19, -21, -23, -31, -31, -33, -35]
    assert nn.max_pool1d(counted(1, 3, 1), 2, 2, [[0, 0], [0, 1], [0, 0]]).ravel().tolist() == [2, 3]


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize(("batch", "at"), [(False, [0, 1, 3, 5, 0, 2, 6, 8]), (True, [0, 1, 3, 5, 9, 11, 15, 17])])
def test_max_pool_with_argmax_and_its_gradient(index, batch, at):
    x = np.array([1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 1, 0, 1], np.float32).reshape(2, 3, 3, 1)
    args = (2, 1, "VALID")
    y, where = nn.max_pool_with_argmax(x, *args, output_dtype=index, include_batch_in_index=batch)
    assert y.ravel().tolist() == [1] * 8
    assert where.ravel().tolist() == at
    g = np.array([11, 12, 13, 14, 21, 22, 23, 24], np.float32).reshape(2, 2, 2, 1)
    expected = [11, 12, 0, 13, 0, 14, 0, 0, 0, 21, 0, 22, 0, 0, 0, 23, 0, 24]
    assert nn.max_pool_grad_with_argmax(x, g, where, *args, batch).ravel().tolist() == expected
    assert nn.max_pool_grad(x, y, g, *args).ravel().tolist() == expected


# image, filter, strides, rates, padding, expected, all times ten
DILATIONS = [
    ((1, 2, 2, 1), [[4, 3], [1, 0]], 1, 1, "VALID", [5]),
    ((1, 2, 2, 1), [[4, 3], [1, 0]], 1, 1, "SAME", [5, 6, 7, 8]),
    ((1, 2, 2, 1), [[4, 3]], 1, 1, "VALID", [5, 7]),
    ((1, 3, 3, 1), [[4, 3], [1, 2]], 1, 2, "SAME", [7, 8, 6, 10, 11, 9, 8, 9, 9]),
    ((1, 3, 4, 1), [[4, 3], [1, 2]], (1, 2), 1, "VALID", [8, 10, 12, 14]),
]


@pytest.mark.parametrize(("shape", "taps", "strides", "rates", "padding", "expected"), DILATIONS)
def test_dilation2d_and_erosion2d(shape, taps, strides, rates, padding, expected):
    x, w = counted(*shape), np.array(taps, np.float32)[..., None]
    assert nn.dilation2d(x, w, strides, padding, "NHWC", rates).ravel().tolist() == expected
    assert (-nn.erosion2d(-x, w[::-1, ::-1], strides, padding, "NHWC", rates)).ravel().tolist() == expected


def test_erosion2d():
    x, w = counted(1, 2, 2, 1), np.array([[4, 3], [1, 0]], np.float32)[..., None]
    assert nn.erosion2d(x, w, 1, "VALID", "NHWC", 1).ravel().tolist() == [0]
    assert nn.erosion2d(x, w, 1, "SAME", "NHWC", 1).ravel().tolist() == [0, 1, 3, 4]
