"""Positions moved between image, batch and channels: against the formulas, TensorFlow, and their own inverses."""

import inspect
import math
import os
import random

import ml_dtypes
import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from ops import ORDERS, arrange
from test_peers import peer

import cyconv as nn
from cyconv import reference

ANY = ("f4", "f8", "i4", "u1", "i8", "c8", "?", "f2", "U3", "M8[s]", ml_dtypes.bfloat16)


def filled(rng, shape, dtype):
    a = np.arange(math.prod(shape)).reshape(shape)
    a = (a % 2 == 0) if dtype == "?" else a % 100 if dtype == "u1" else a
    return arrange(
        a.astype("i8").astype(dtype) if dtype == "M8[s]" else a.astype(dtype),
        rng.choice(("C", "fortran", "negative", "sliced")),
        rng,
    )


def draw_blocks(seed):
    """An array, a block and pairs such that padding makes whole blocks."""
    rng = random.Random(seed)
    n = rng.randint(1, 4)
    block = [rng.randint(1, 4) for _ in range(n)]
    sizes = [rng.randint(0, 9) for _ in range(n)]
    pairs = [(lo := rng.randint(0, 3), rng.randint(0, 2) * b + -(size + lo) % b) for size, b in zip(sizes, block)]
    rest = [rng.randint(1, 4) for _ in range(rng.randint(0, 2))]
    x = filled(rng, (rng.randint(1, 3), *sizes, *rest), rng.choice(ANY))
    spelled = rng.choice((block, tuple(block), np.array(block), block[0] if len(set(block)) == 1 else block))
    return x, spelled, rng.choice((pairs, np.array(pairs), [list(pair) for pair in pairs]))


@pytest.mark.parametrize("part", range(3))
def test_blocks_equal_the_formula_and_undo_each_other(part):
    for seed in range(part * 200, part * 200 + 200):
        x, block, pairs = draw_blocks(seed)
        y = nn.space_to_batch(x, block, pairs)
        sides = [int(b) for b in np.ravel(block)] * (len(pairs) if np.ndim(block) == 0 else 1)
        assert y.dtype == x.dtype
        assert y.flags.c_contiguous
        if x.dtype.kind in "fiucb":
            assert np.array_equal(y, reference.space_to_batch(x, sides, pairs)), seed
            assert np.array_equal(nn.batch_to_space(y, block, pairs), reference.batch_to_space(y, sides, pairs)), seed
        back = nn.batch_to_space(y, block, pairs)
        assert back.flags.c_contiguous
        assert np.array_equal(back, x), seed


@pytest.mark.parametrize("dtype", ["V3", "U3", "O", [("a", "i4"), ("b", "f8")]])
def test_paddings_are_zeros_of_any_dtype(dtype):
    y = nn.space_to_batch(np.ones((1, 3), dtype) if dtype != "V3" else np.full((1, 3), b"abc", dtype), 2, [(0, 1)])
    assert y[1, 1] == np.zeros((), dtype)[()]


def test_depth_equals_the_formula_and_is_undone():
    for seed in range(200):
        rng = random.Random(seed)
        b, h, w, c = (rng.randint(1, 4) for _ in range(4))
        first = rng.random() < 0.5
        data_format = "NCHW" if first else "NHWC"
        n = rng.randint(0, 3)
        shape = (n, c, h * b, w * b) if first else (n, h * b, w * b, c)
        x = filled(rng, shape, rng.choice(ANY))
        y = nn.space_to_depth(x, b, data_format)
        assert y.flags.c_contiguous
        if x.dtype.kind in "fiucb":
            assert np.array_equal(y, reference.space_to_depth(x, b, data_format)), seed
            assert np.array_equal(nn.depth_to_space(y, b, data_format), reference.depth_to_space(y, b, data_format))
        assert np.array_equal(nn.depth_to_space(y, b, data_format), x), seed


def test_a_block_without_sides_is_a_single_position():
    x = np.arange(6.0).reshape(2, 3)
    for block, pairs in (([], []), ((), np.zeros((0, 2), int)), (np.zeros(0, np.int32), ())):
        for y in (nn.space_to_batch(x, block, pairs), nn.batch_to_space(x, block, pairs)):
            assert np.array_equal(x, y)
            assert not np.shares_memory(x, y)


def test_results_are_new_arrays():
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    for y in (
        nn.space_to_depth(x, 1),
        nn.depth_to_space(x, 1),
        nn.space_to_batch(x, 1, [(0, 0)] * 2),
        nn.batch_to_space(x, 1, [(0, 0)] * 2),
        nn.space_to_batch(x, 2, [(0, 0)] * 2),
        nn.batch_to_space(x, [1], [(0, 0)]),
    ):
        assert not np.shares_memory(x, y)
    assert "broadcast" in ORDERS


def test_atrous_convolution_is_an_ordinary_one_between_the_two():
    """What these are for: taps r pixels apart are neighbours in each of the r x r images."""
    rng = np.random.default_rng(0)
    x, w = rng.integers(-3, 4, (2, 11, 13, 3)).astype(np.float32), rng.integers(-3, 4, (3, 3, 3, 4)).astype(np.float32)
    pads = [(0, 1), (0, 1)]
    y = nn.batch_to_space(nn.conv2d(nn.space_to_batch(x, 2, pads), w, 1, "VALID"), 2, pads)
    assert np.array_equal(y, nn.atrous_conv2d(x, w, 2, "VALID"))


X = np.zeros((4, 4, 6, 8), np.float32)
BAD = {
    "space_to_batch": [
        *(
            (X, b, [(0, 0)] * 2)
            for b in (0, -1, 1.5, True, "2", None, [2], [2, 2, 2], [[2, 2]], [[2, 2], [2]], [], [2, 0])
        ),
        *(
            (X, 2, p)
            for p in (None, 1, [(0, 0, 0)], [1, 2], [(-1, 1), (0, 0)], [(0.5, 0), (0, 0)], "ab", [(0, 1), (0, 0)])
        ),
        *((x, 2, [(0, 0)] * 2) for x in (None, X[:, :3], X[0, 0], np.zeros(()), np.ma.masked_array(X))),
    ],
    "batch_to_space": [
        *((X, b, [(0, 0)] * 2) for b in (0, -1, 1.5, True, "2", None, [2], [2, 2, 2], [[2, 2]], [])),
        *((X, 2, c) for c in (None, 1, [(0, 0, 0)], [(-1, 1), (0, 0)], [(5, 4), (0, 0)], [(0, 0), (2**31, 0)])),
        *((x, 2, [(0, 0)] * 2) for x in (None, X[:3], X[0, 0])),
    ],
    "space_to_depth": [
        *((X, b) for b in (0, -1, 1.5, True, "2", None, [2], 3, 2**31)),
        (X[0], 2),
        (None, 2),
        *((X, 2, f) for f in ("NWC", 3, [], {}, np.zeros(2))),
    ],
    "depth_to_space": [
        *((X, b) for b in (0, -1, 1.5, True, "2", None, [2], 3, 2**31)),
        (X[0], 2),
        (None, 2),
        *((X, 2, f) for f in ("NWC", 3, [], {}, np.zeros(2))),
    ],
}


@pytest.mark.parametrize("name", BAD)
def test_hostile_arguments(name):
    for arguments in BAD[name]:
        with pytest.raises((ValueError, TypeError), match=f"^{name}: "):
            getattr(nn, name)(*arguments)


def test_sizes_beyond_all_memory():
    most = 2**31 - 1
    with pytest.raises(nn.ShapeError, match=r"space_to_batch: .*paddings"):  # before anything is padded
        nn.space_to_batch(X, 2, [(most, most), (most, 0)])
    huge = as_strided(X, (2**20, 2**15, 2**15, 4), (0, 0, 0, 0))
    for name, *arguments in (
        ("space_to_batch", X, 1, [(most, 0), (most, 0)]),
        ("space_to_batch", huge, 1, [(0, 0), (0, 0)]),
        ("batch_to_space", X[:0], [most, most], [(0, 0), (0, 0)]),
        ("batch_to_space", huge, 2, [(0, 0), (0, 0)]),
        ("space_to_depth", huge, 2),
        ("depth_to_space", X[..., :0], most),
        ("depth_to_space", huge, 2, "NCHW"),
    ):
        with pytest.raises(MemoryError, match=f"^{name}: "):
            getattr(nn, name)(*arguments)


SIGNATURES = {
    "space_to_batch": "input, block_shape, paddings, name=None",
    "batch_to_space": "input, block_shape, crops, name=None",
    "space_to_depth": "input, block_size, data_format='NHWC', name=None",
    "depth_to_space": "input, block_size, data_format='NHWC', name=None",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_are_tensorflows(name):
    parameters = inspect.signature(getattr(nn, name)).parameters.values()
    assert ", ".join(str(p.replace(annotation=p.empty)) for p in parameters).replace(" = ", "=") == SIGNATURES[name]


def test_tensorflow():
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf = peer("tensorflow")
    compared = 0
    for seed in range(200):
        x, block, pairs = draw_blocks(seed)
        if x.dtype.kind not in "fi" or np.ndim(block) == 0 or not x.size:
            continue
        block = [int(b) for b in block]
        y = tf.space_to_batch(np.ascontiguousarray(x), block, pairs).numpy()
        assert np.array_equal(nn.space_to_batch(x, block, pairs), y), seed
        assert np.array_equal(nn.batch_to_space(y, block, pairs), tf.batch_to_space(y, block, pairs).numpy()), seed
        compared += 1
    assert compared > 50
    for b in (2, 3):
        x = np.arange(2 * 6 * 6 * 9 * 4, dtype=np.float32).reshape(2, 6, 6, 36)
        assert np.array_equal(nn.space_to_depth(x, b), tf.nn.space_to_depth(x, b).numpy())
        assert np.array_equal(nn.depth_to_space(x, b), tf.nn.depth_to_space(x, b).numpy())
