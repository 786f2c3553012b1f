"""The forward ops against TensorFlow and PyTorch, over random problems; skipped where they are not installed.

TensorFlow gets the very same call, where its CPU kernels support it; in PyTorch every op is written as a padded or cropped
convolution in channels-first order.
"""

import os
import random
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from ops import OPS, accurate, draw, draw_geometry

import cyconv as nn

CASES = 150


def peer(name):
    """The framework, imported without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed: nothing to compare with")


@pytest.fixture(scope="module")
def torch():
    torch = peer("torch")
    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="module")
def tf():
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the reference is TensorFlow's own kernels
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return peer("tensorflow")


def agree(case, theirs):
    """Both are as near to the exact answer as their dtype allows; small integers are equal."""
    case.algorithm = "direct" if case.exact else None
    with nn.algorithm("direct") if case.exact else nullcontext():
        ours = case.call()
    assert ours.shape == theirs.shape, f"seed {case.seed}: {case}"
    if case.exact:
        assert np.array_equal(ours, theirs), f"seed {case.seed}: {case}"
    else:
        answer, bound = accurate(case)
        assert (np.abs(ours - answer) <= bound).all(), f"seed {case.seed}: {case}"
        assert (np.abs(ours.astype(np.float64) - theirs) <= 2 * bound).all(), f"seed {case.seed}: {case}"


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


def activate(torch, y, activation):
    f = torch.nn.functional
    match activation:
        case None:
            return y
        case ("clip", low, high):
            return y.clamp(low, high)
        case ("leaky_relu", slope):
            return f.leaky_relu(y, slope)
        case "sigmoid" | "tanh":
            return getattr(torch, activation)(y)
        case _:
            return getattr(f, activation)(y)


def by_torch(torch, case):
    """The case as PyTorch would have it: [N, C, *spatial], filters [M, C, *taps], padding carried out beforehand."""
    g, arrays, args = case.window, case.arrays, case.args
    rank = g.rank
    axes = g.axes()

    def forward(a):
        return a if g.first else np.moveaxis(a, -1, 1)

    def tensor(a):
        return torch.tensor(np.ascontiguousarray(a.astype(a.dtype.newbyteorder("="))))

    def finish(y, bias, activation, residual=None):
        if bias in arrays:
            y = y + tensor(arrays[bias]).reshape(1, -1, *[1] * rank)
        if residual in arrays:
            y = y + tensor(forward(arrays[residual]))
        return activate(torch, y, args.get(activation))

    x = forward(arrays[case.op.x])
    w = arrays[case.op.filters]
    steps = {"stride": g.strides, "dilation": g.dilations}
    if case.op.name.endswith("transpose"):
        y = getattr(torch, f"conv_transpose{rank}d")(
            tensor(x), tensor(np.moveaxis(w, (-1, -2), (0, 1))), None, groups=g.groups, **steps
        ).numpy()
        # The whole transpose, of which the axis keeps [lo, lo + size); what lies beyond the last tap is zero.
        y = np.pad(y, [(0, 0), (0, 0), *((0, max(0, a.lo + a.size - n)) for a, n in zip(axes, y.shape[2:]))])
        y = torch.tensor(y[:, :, *(slice(a.lo, a.lo + a.size) for a in axes)])
    else:
        mode = args.get("padding_mode", "zeros")
        name = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}.get(mode, mode)
        fill = {"constant_values": mode[1]} if isinstance(mode, tuple) else {}
        x = np.pad(x, [(0, 0), (0, 0), *((a.lo, a.hi) for a in axes)], "constant" if fill else name, **fill)
        convolve = getattr(torch, f"conv{rank}d")
        groups = g.groups
        if case.op.draw.__name__ != "draw_forward":
            w = arrays.get("filter", arrays.get("depthwise_filter"))
            groups = w.shape[-2]
            w = w.reshape(*w.shape[:-2], 1, -1)
        y = convolve(tensor(x), tensor(np.moveaxis(w, (-1, -2), (0, 1))), None, groups=groups, **steps)
        if "pointwise_filter" in arrays:
            y = finish(y, "depthwise_bias", "depthwise_activation")
            y = convolve(y, tensor(np.moveaxis(arrays["pointwise_filter"], (-1, -2), (0, 1))))
    y = finish(y, "bias", "activation", "residual").numpy()
    return y if g.first else np.moveaxis(y, 1, -1)


@pytest.mark.parametrize("name", [name for name in OPS if name != "bias_add"])
def test_torch(torch, name):
    compared = 0
    for seed in range(10_000):
        case = draw(OPS[name], seed)
        fits = min(case.window.rooms()) >= 0 and all(a.size for a in case.arrays.values())
        if case.dtype in (np.float32, np.float64) and fits and len(case.window.lead) == 1:
            agree(case, by_torch(torch, case))
            compared += 1
            if compared == CASES:
                return
    pytest.fail(f"only {compared} cases compared")


# ---- TensorFlow ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPS)
def test_tensorflow(tf, name):
    """The same call, to the letter, where it is one that TensorFlow can answer on a CPU."""
    op = OPS[name]
    unsupported = (
        tf.errors.UnimplementedError,
        tf.errors.InvalidArgumentError,
        tf.errors.NotFoundError,
        TypeError,
        ValueError,
    )
    dtypes = ("float32", "float64", "int32", "float16", "bfloat16")
    compared = 0
    for seed in range(10_000):
        rng = random.Random(seed)
        g = draw_geometry(op, rng)._replace(
            layout=None, mode="zeros", groups=1, lead=(2,), exact=True, dtype=rng.choice(dtypes)
        )
        if rng.random() < 0.8:
            g = g._replace(padding=rng.choice(("SAME", "VALID")))
        if rng.random() < 0.7:
            g = g._replace(dilations=(1,) * g.rank)
        if "depthwise" in name or "separable" in name:
            g = g._replace(strides=g.strides[:1] * 2 if set(g.dilations) == {1} else (1, 1))
            if g.dtype in ("float16", "bfloat16"):
                continue  # TensorFlow sums in half precision
        if name.startswith("atrous"):
            g = g._replace(strides=(1, 1), dilations=g.dilations[:1] * 2)
        beyond = (room - (out - 1) * stride for room, out, stride in zip(g.rooms(), g.outs(), g.strides))
        if g.rank == 3 and g.padding == "SAME" and max(beyond) > 1:
            continue  # Eigen's conv3d starts such windows late, against TensorFlow's own rule (and conv2d, and oneDNN)
        if g.rank == 3 and g.channels == 1:
            continue  # TensorFlow's conv3d of one channel gives now and then what nothing has written
        if any(room <= -stride for room, stride in zip(g.rooms(), g.strides)) or 0 in (*g.sizes, *g.outs()):
            continue
        case = op.draw(op, rng, g)
        case.seed = seed
        for extra in (
            "bias",
            "residual",
            "depthwise_bias",
            "activation",
            "depthwise_activation",
            "groups",
            "padding_mode",
        ):
            case.args.pop(extra, None)
            if name != "bias_add":
                case.arrays.pop(extra, None)
        if case.args.get("output_shape", ()) is None:
            continue
        if name != "bias_add":
            case.args |= theirs(op, g)
        case.args.pop("data_format", None)
        if name.startswith("atrous"):
            case.args.pop("strides")
        if case.dtype.itemsize == 2 and case.terms > 28:
            continue  # beyond 28 products of numbers up to 3, Eigen's sums in blocks may be rounded between them
        try:
            y = getattr(tf.nn, name)(**case.arrays, **case.args).numpy()
        except unsupported:
            continue
        agree(case, y)
        compared += 1
        if compared == CASES:
            return
    pytest.fail(f"only {compared} cases compared")


def theirs(op, g):
    """Strides, dilations and padding in the one form that every op of TensorFlow takes."""
    whole = g.rank == 3 or "depthwise" in op.name or "separable" in op.name
    strides = (1, *g.strides, 1) if whole else g.strides
    padding = g.padding
    if isinstance(padding, int):
        padding = [(padding, padding)] * g.rank
    if isinstance(padding, list):
        padding = [[0, 0], *map(list, padding), [0, 0]]
    dilations = [1, *g.dilations, 1] if op.name == "conv3d" else list(g.dilations)
    rate = g.dilations[0] if op.dilations == "rate" else dilations
    return {op.strides: list(strides), op.dilations: rate, "padding": padding}
