"""Local response normalisation and its gradient: against the formula, TensorFlow, PyTorch, and finite differences."""

import inspect
import os
import random

import numpy as np
import pytest
from ops import DTYPES, ORDERS, arrange
from test_guard_pages import fence
from test_peers import peer

import cyconv as nn
from cyconv import reference

TOLERANCE = {"float32": 3e-6, "float64": 1e-14, "float16": 2e-3, "bfloat16": 1.6e-2}
FLOATS = tuple(TOLERANCE)


def draw(seed):
    """Arrays and arguments; now and then more channels than a vector, a radius beyond them, no pixels."""
    rng = random.Random(seed)
    shape = (
        rng.choice((0, 1, 2, 3)),
        rng.randint(1, 9),
        rng.randint(1, 9),
        rng.choice((1, 2, 3, 5, 16, 17, 31, 64, 100, 700)),
    )
    dtype = rng.choice(("float32", *FLOATS))
    generator = np.random.default_rng(seed)
    x, g = (generator.standard_normal(shape).astype(DTYPES[dtype]) for _ in range(2))
    args = {
        "depth_radius": rng.choice((0, 1, 2, 5, 7, 1000, 2**31 - 1)),
        "bias": rng.choice((1, 2, 0.5)),
        "alpha": rng.choice((1, 1e-2, 0.3, 0)),
        "beta": rng.choice((0.5, 0.75, 1, 0.3, 0, 2, -0.5)),
    }
    return rng, dtype, x, g, args


def close(a, b, dtype):
    b = b.astype(np.float64)
    return (
        a.shape == b.shape
        and (
            np.abs(a.astype(np.float64) - b) <= TOLERANCE[dtype] * (np.abs(b) + np.abs(b).sum() / max(1, b.size))
        ).all()
    )


@pytest.mark.parametrize("part", range(4))
def test_equals_the_formula(part):
    for seed in range(part * 100, part * 100 + 100):
        rng, dtype, x, g, args = draw(seed)
        wide = [a.astype(np.float64) for a in (g, x)]
        radius = {"depth_radius": min(args["depth_radius"], 10**6)}
        y = reference.lrn(wide[1], **args | radius)
        dx = reference.lrn_grad(*wide, y.astype(x.dtype).astype(np.float64), **args | radius)
        order = rng.choice(("C", *(o for o in ORDERS if o != "broadcast")))
        a, b = arrange(x, order, rng), arrange(g, order, rng)
        extras = {"num_threads": rng.choice((1, 2, 3))}
        with nn.isa(rng.choice(nn.available_isas())):
            ours = nn.lrn(a, **args, **extras)
            assert ours.dtype == x.dtype
            assert close(ours, y, dtype), (seed, x.shape, args)
            ours = nn.lrn_grad(b, a, y.astype(x.dtype), **args, **extras)
            assert close(ours, dx, dtype), (seed, x.shape, args)
            first = nn.lrn(np.moveaxis(x, -1, 1), **args, data_format="NCHW")
            assert np.array_equal(np.moveaxis(first, 1, -1), nn.lrn(x, **args))


@pytest.mark.parametrize("dtype", FLOATS)
def test_same_bits_whatever_threads_memory_and_batch(dtype):
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((3, 40, 41, 37)).astype(DTYPES[dtype]) for _ in range(2))
    for beta in (0.5, 0.75, 0.6):
        y = nn.lrn(x, beta=beta)
        dx = nn.lrn_grad(g, x, y, beta=beta)
        for n in (1, 2, 3, 5):
            assert np.array_equal(nn.lrn(x, beta=beta, num_threads=n), y)
            assert np.array_equal(nn.lrn_grad(g, x, y, beta=beta, num_threads=n), dx)
        for order in ("fortran", "negative", "sliced", "permuted", "unaligned"):
            a, b, c = (arrange(v, order, random.Random(0)) for v in (x, y, g))
            assert np.array_equal(nn.lrn(a, beta=beta), y)
            assert np.array_equal(nn.lrn_grad(c, a, b, beta=beta), dx)
        assert np.array_equal(np.concatenate([nn.lrn(x[i : i + 1], beta=beta) for i in range(3)]), y)
        out = x.copy()
        assert nn.lrn(out, beta=beta, out=out) is out
        assert np.array_equal(out, y)
        assert np.array_equal(nn.lrn(x, beta=beta, out=np.empty_like(x)[::-1]), y)


def test_nan_and_infinity_stay_in_their_neighbourhood():
    x = np.ones((1, 1, 2, 40), np.float32)
    x[0, 0, 0, 20] = np.nan
    y = nn.lrn(x, 3)
    assert np.array_equal(np.isnan(y[0, 0, 0]), abs(np.arange(40) - 20) <= 3)
    assert not np.isnan(y[0, 0, 1]).any()
    x[0, 0, 0, 20] = np.inf
    y = nn.lrn(x, 3)
    assert np.isnan(y[0, 0, 0, 20])
    assert (y[0, 0, 0, 17:20] == 0).all()


def test_the_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(0)
    x, g, direction = rng.standard_normal((3, 2, 3, 4, 9))
    for args in ((5, 1, 1, 0.5), (2, 2, 0.5, 0.75), (1, 1, 0.1, 1.3)):
        slope = (nn.lrn(x + 1e-6 * direction, *args) - nn.lrn(x - 1e-6 * direction, *args)) / 2e-6
        dx = nn.lrn_grad(g, x, nn.lrn(x, *args), *args)
        assert np.isclose((slope * g).sum(), (dx * direction).sum(), rtol=1e-7)


def test_reads_and_writes_nothing_beyond():
    """Arrays that end, or begin, where memory does: a stray access ends the process."""
    for channels in (1, 3, 15, 16, 33):
        for end in (True, False):
            x, out = (fence(np.ones((2, 3, 5, channels), np.float32), end) for _ in range(2))
            for isa in nn.available_isas():
                with nn.isa(isa):
                    assert np.allclose(nn.lrn(x, 2, out=out), nn.lrn(x.copy(), 2))


def test_positional_arguments_are_tensorflows():
    for op, first in ((nn.lrn, "input"), (nn.lrn_grad, "input_grads, input_image, output_image")):
        parameters = inspect.signature(op).parameters.values()
        positional = [p.replace(annotation=p.empty) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        expected = f"{first}, depth_radius=5, bias=1, alpha=1, beta=0.5, name=None"
        assert ", ".join(map(str, positional)).replace(" = ", "=") == expected
    assert nn.lrn is nn.local_response_normalization


X = np.ones((1, 2, 3, 4), np.float32)


@pytest.mark.parametrize(
    "bad",
    [
        *({"input": x} for x in (X[0], X[None], X.astype(int), X.astype(np.int32), None, "x", np.ma.masked_array(X))),
        *({"depth_radius": r} for r in (-1, 1.5, True, None, "2", 2**31)),
        *({name: v} for name in ("bias", "alpha", "beta") for v in ("a", None, [1, 2], 10**400)),
        *({"data_format": f} for f in ("NWC", 3, ["NHWC"], np.zeros(2))),
        *({"out": o} for o in (X[:, :1], 3, X.astype(np.float64))),
        {"num_threads": 0},
    ],
)
def test_hostile_arguments(bad):
    with pytest.raises((ValueError, TypeError), match=r"^local_response_normalization: "):
        nn.lrn(**{"input": X, **bad})


def test_shapes_of_the_gradient_must_fit():
    for arrays in ((X[:, :1], X, X), (X, X, X[..., :1]), (X.astype(np.float64), X, X), (X, X, None)):
        with pytest.raises((ValueError, TypeError), match=r"^lrn_grad: "):
            nn.lrn_grad(*arrays)


def test_tensorflow():
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf = peer("tensorflow")
    for seed in range(100):
        _, _, x, g, args = draw(seed)
        if not x.size or args["beta"] < 0:
            continue
        x, g = x.astype(np.float32), g.astype(np.float32)
        args["depth_radius"] = min(args["depth_radius"], 1000)
        y = tf.nn.local_response_normalization(x, **args).numpy()
        assert np.allclose(nn.lrn(x, **args), y, rtol=2e-5, atol=1e-6), args
        dx = tf.raw_ops.LRNGrad(input_grads=g, input_image=x, output_image=y, **args).numpy()
        assert np.allclose(nn.lrn_grad(g, x, y, **args), dx, rtol=1e-3, atol=1e-4), args


def test_torch():
    """PyTorch divides alpha by the size of the neighbourhood."""
    torch = peer("torch")
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 30)).astype(np.float32)
    theirs = torch.nn.functional.local_response_norm(torch.tensor(np.moveaxis(x, -1, 1)), 5, 1e-2, 0.75, 2.0).numpy()
    assert np.allclose(nn.lrn(x, 2, 2, 1e-2 / 5, 0.75), np.moveaxis(theirs, 1, -1), rtol=1e-5)
