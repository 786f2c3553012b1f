"""The columns driver against the general one: equal sums of small integers, the same bits for any threads and batch."""

import math

import numpy as np
import pytest
from test_depthwise import DTYPES, ISAS, _float, activation
from test_pixels import problem

import cyconv as nn


def values(rng, shape, dtype):
    """Small integers, whose sums are exact in any order."""
    return rng.integers(-3, 4, shape).astype(dtype)


@pytest.mark.parametrize("seed", range(30))
def test_columns_equal_the_general_driver(seed):
    rng, done = np.random.default_rng(seed), 0
    while done < 20:
        op, x_shape, f_shape, arguments = problem(rng)
        arguments.pop("padding_mode", None)
        if op is nn.convolution:
            arguments["strides"] = 1
        dtype = DTYPES[rng.integers(len(DTYPES))]
        x, f = values(rng, x_shape, dtype), values(rng, f_shape, dtype)
        try:
            shape = nn.plan(op, f, **arguments).output_shape(x_shape)
        except ValueError:
            continue
        if dtype is not np.int32 and rng.random() < 0.2:
            for a in (f, x):
                a.flat[rng.integers(a.size)] = rng.choice([1, math.inf, -math.inf, math.nan])
        m = shape[1] if "data_format" in arguments else shape[-1]
        arguments |= {
            "bias": values(rng, (m,), dtype) if rng.random() < 0.5 else None,
            "activation": activation(rng, dtype),
        }
        plan = nn.plan(op, f, **arguments)
        residual = values(rng, shape, dtype) if rng.random() < 0.3 else None
        out = values(rng, shape, dtype) if rng.random() < 0.4 else None
        with nn.isa(ISAS[rng.integers(len(ISAS))]):
            with nn.algorithm("direct"):
                expected = op(x, f, **arguments, residual=residual, num_threads=1)
            with nn.algorithm("columns"):
                if nn.explain(op, x, f, **arguments).algorithm != "columns":
                    continue
                threads = int(rng.integers(1, 4))
                made = op(x, f, **arguments, residual=residual, out=out, num_threads=threads)
                planned = plan(x, residual=residual, num_threads=threads)
                needed = plan.workspace_bytes(x_shape, threads)
        assert out is None or made is out
        for y in (made, planned):
            assert np.array_equal(_float(y), _float(expected), equal_nan=True), (op, x_shape, f_shape, arguments)
        assert needed <= threads * 2**21, (op, x_shape, f_shape, arguments)
        done += 1


@pytest.mark.parametrize(
    ("shape", "taps", "stride"),
    [((3, 40, 50, 24), (5, 4), 2), ((2, 3000, 40), (10,), 5), ((2, 9, 20, 33, 8), (3, 2, 5), 1)],
)
def test_bits_depend_on_neither_threads_nor_batch_nor_memory(shape, taps, stride):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, np.float32)
    f = rng.standard_normal((*taps, 2, shape[-1]), np.float32)
    with nn.algorithm("columns"):
        plan = nn.plan(nn.conv_transpose, f, output_shape=None, strides=stride, padding="SAME")
        expected = plan(x, num_threads=1)
        for threads in (2, 3, 7):
            assert np.array_equal(plan(x, num_threads=threads), expected)
        assert np.array_equal(np.concatenate([plan(image[None]) for image in x]), expected)
        assert np.array_equal(plan(np.asfortranarray(x)), expected)
        wide = np.zeros((*shape[:-1], shape[-1] + 1), np.float32)
        wide[..., 1:] = x
        assert np.array_equal(plan(wide[..., 1:]), expected)


@pytest.mark.parametrize(
    ("shape", "taps", "filters"),
    [((1, 4096, 4096, 64), (3, 3), 4), ((1, 2**22, 16), (25,), 1), ((1, 256, 256, 256, 8), (5, 5, 5), 2)],
)
@pytest.mark.parametrize("stride", [1, 2])
def test_scratch_does_not_grow_with_the_image(shape, taps, filters, stride):
    f = np.zeros((*taps, filters, shape[-1]), np.float32)
    with nn.algorithm("columns"):
        plan = nn.plan(nn.conv_transpose, f, output_shape=None, strides=stride, padding="SAME")
        assert plan.explain(shape).algorithm == "columns"
        for threads in (1, 2, 8):
            assert plan.workspace_bytes(shape, threads) <= threads * 2**21


def test_who_takes_what():
    x, f = np.ones((1, 32, 32, 64), np.float32), np.ones((4, 4, 3, 64), np.float32)
    arguments = {"output_shape": None, "strides": 2, "padding": "SAME"}
    assert nn.explain(nn.conv_transpose, x, f, **arguments).algorithm == "columns"

    def why(strides=1, **rest):
        with nn.algorithm("columns"):
            made = nn.explain(
                nn.convolution, x, np.ones((3, 3, 64, 1), np.float32), strides=strides, padding="SAME", **rest
            )
        return dict(made.refused)["columns"]

    assert "of a stride" in why(2)
    assert "not zeros" in why(padding_mode="reflect")
