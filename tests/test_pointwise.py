"""The pointwise driver against the general one: the same bits for any arrays, strides, extras, threads and sets."""

import numpy as np
import pytest
from test_depthwise import DTYPES, ISAS, _float, activation

import cyconv as nn

FORMATS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}
FILTERS = (1, 2, 3, 4, 5, 7, 8, 13, 14, 15, 24, 27, 29, 64, 100)  # a tile's, some more, one or two
SIZES = (1, 2, 3, 5, 7, 8, 13, 16, 31, 33, 40, 64)


def lying(rng, a):
    """The same values, in another place: in reverse, every second, in Fortran's order, channels last, or as they are."""
    rank, way = a.ndim - 2, rng.integers(5)
    if way == 0:
        return np.ascontiguousarray(a[..., ::-1])[..., ::-1]
    if way == 1:
        wide = np.zeros((*a.shape[:2], *(2 * n for n in a.shape[2:])), a.dtype)
        apart = wide[(..., *[slice(None, None, 2)] * rank)]
        apart[...] = a
        return apart
    return np.asfortranarray(a) if way == 2 else np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) if way == 3 else a


@pytest.mark.parametrize("seed", range(30))
def test_pointwise_equals_the_general_driver(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        rank, groups, dtype = (
            int(rng.integers(1, 4)),
            int(rng.choice((1, 1, 1, 2, 3))),
            DTYPES[rng.integers(len(DTYPES))],
        )
        c, m = int(rng.choice((1, 2, 3, 5, 16, 17, 64))), groups * int(rng.choice(FILTERS))
        size = rng.choice(SIZES[: len(SIZES) // (1 if rank < 3 else 2)], rank)
        strides = [int(s) for s in rng.choice((1, 1, 1, 2, 3), rank)]

        def values(*shape, dtype=dtype):
            return (rng.integers(-99, 99, shape) / (1 if dtype is np.int32 else 10)).astype(dtype)

        x = lying(rng, values(rng.integers(1, 4), groups * c, *size))
        f, bias = values(*[1] * rank, c, m), values(m) if rng.random() < 0.5 else None
        arguments = {
            "strides": strides, "padding": "VALID", "data_format": FORMATS[rank], "bias": bias,
            "activation": activation(rng, dtype),
        }  # fmt: skip
        plan, threads = nn.plan(nn.convolution, f, **arguments), int(rng.integers(1, 4))
        shape = plan.output_shape(x.shape)
        residual = lying(rng, values(*shape)) if rng.random() < 0.4 else None
        out = lying(rng, np.zeros(shape, dtype)) if rng.random() < 0.4 else None
        with nn.isa(ISAS[rng.integers(len(ISAS))]):
            with nn.algorithm("direct"):
                expected = nn.convolution(x, f, **arguments, residual=residual, num_threads=1)
            with nn.algorithm("pointwise"):
                made = nn.convolution(x, f, **arguments, residual=residual, out=out, num_threads=threads)
                planned, needed = (
                    plan(x, residual=residual, num_threads=threads),
                    plan.workspace_bytes(x.shape, threads),
                )
        assert out is None or made is out
        for y in (made, planned):
            assert np.array_equal(_float(y), _float(expected)), (x.shape, x.strides, f.shape, arguments)
            assert np.array_equal(np.signbit(_float(y)), np.signbit(_float(expected)))
        assert needed <= threads * 2**21


def test_what_is_taken():
    """Windows of one pixel, channels first; the choice does not depend on how arrays lie."""
    x, f = np.ones((1, 64, 56, 56), np.float32), np.ones((1, 1, 64, 64), np.float32)

    def taken(x, f, **options):
        return nn.explain(
            nn.conv2d, x, f, **({"strides": 1, "padding": "SAME", "data_format": "NCHW"} | options)
        ).algorithm

    assert taken(x, f) == taken(x[..., ::-1], f) == taken(x, f, strides=2) == "pointwise"
    assert taken(x.transpose(0, 2, 3, 1), f, data_format="NHWC") == "direct"
    assert taken(x, np.ones((3, 3, 64, 64), np.float32)) == "winograd"
    with nn.algorithm("pointwise"):
        assert taken(x, f, padding=[[0, 0], [0, 0], [1, 1], [0, 0]]) != "pointwise"
