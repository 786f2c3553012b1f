"""Dilation and erosion and their gradients: against their formulas, TensorFlow and each other."""

import inspect
import math
import os
import random

import numpy as np
import pytest
from ops import Case, Geometry, Op, arrange, spell, spell_padding, sweep, values
from test_guard_pages import fence, in_a_child, sweep as fenced_sweep
from test_peers import peer

import cyconv as nn
from cyconv import _isa, _op, reference
from cyconv._problem import DTYPES
from cyconv._windows import FILTER_GRAD, MAX, described, windows


def fit(g: Geometry) -> Geometry:
    """Pads smaller than the window; not more taps than the oracle has patience for."""
    g = g._replace(mode="zeros", taps=tuple(min(k, 12) for k in g.taps))
    pads = [max(a.lo, a.hi) - (a.taps - 1) * a.dilation for a in g.axes()]
    return g._replace(padding="SAME") if not isinstance(g.padding, str) and max(pads) > 0 else g


def draw_morphology(op: Op, rng: random.Random, g: Geometry) -> Case:
    g = fit(g._replace(layout=None, exact=True))
    channels = g.groups * g.channels
    args = (
        spell(rng, g, "strides", g.strides)
        | spell(rng, g, op.dilations, g.dilations)
        | {"padding": spell_padding(rng, g)}
    )
    x, w = (values(rng, shape, g.dtype, True) for shape in (g.shape(g.sizes, channels), (*g.taps, channels)))
    if g.dtype != "int32" and rng.random() < 0.3:
        x[np.random.default_rng(rng.getrandbits(32)).random(x.shape) < 0.05] = rng.choice((np.nan, -np.inf, np.inf))
    if "backprop" not in op.name:
        args["data_format"] = rng.choice(("NHWC", None))
        return Case(op, g, {op.x: x, "filters": w}, args, g.shape(g.outs(), channels), 1, True)
    grad = values(rng, g.shape(g.outs(), channels), g.dtype, True)
    out = w.shape if op.name.endswith("filter") else x.shape
    return Case(op, g, {op.x: x, "filter": w, "out_backprop": grad}, args, out, math.prod(g.taps), True)


OPS = {
    op.name: op
    for op in (
        Op("dilation2d", draw_morphology),
        Op("erosion2d", draw_morphology, x="value"),
        Op("dilation2d_backprop_input", draw_morphology, dilations="rates"),
        Op("dilation2d_backprop_filter", draw_morphology, dilations="rates"),
    )
}


@pytest.mark.parametrize("name", OPS)
def test_equals_the_formula(name):
    failures = sweep(OPS[name], range(400))
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("name", OPS)
def test_no_op_strays(name):
    code, words = in_a_child(fenced_sweep, OPS[name], range(5000, 5100))
    assert code == 0, words


@pytest.mark.parametrize("channels", [1, 3, 20])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
def test_large_windows(channels, dtype):
    """Whose input does not fit the scratch, and which are taken in pieces."""
    rng = np.random.default_rng(channels)
    x = rng.integers(-50, 50, (1, 130, 124, channels)).astype(dtype)
    w = rng.integers(-50, 50, (125, 120, channels)).astype(dtype)
    for data_format, a in (("NHWC", x), ("NCHW", np.moveaxis(x, -1, 1).copy())):
        for op in ("dilation2d", "erosion2d"):
            expected = getattr(reference, op)(x, w, (2, 1), "VALID")
            y = getattr(nn, op)(a, w, (2, 1), "VALID", data_format, 1)
            assert np.array_equal(y if data_format == "NHWC" else np.moveaxis(y, 1, -1), expected), (op, data_format)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize(
    ("shape", "taps", "strides", "rates"),
    [
        ((1, 101, 102, 17), (3, 3), 1, 190),
        ((2, 61, 50, 1), (150, 100), (3, 2), 1),
        ((2, 150, 101, 3), (60, 3), (1, 2), (1, 41)),
    ],
)
def test_gradients_of_large_windows_are_the_same_bits(dtype, shape, taps, strides, rates):
    """However the input lies, and whether its windows fit the scratch or not."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(shape).astype(dtype), rng.standard_normal((*taps, shape[-1])).astype(dtype)
    g = rng.standard_normal(nn.dilation2d(x, w, strides, "SAME", "NHWC", rates).shape).astype(dtype)
    wide = np.float64 if dtype == "float64" else np.float32
    direct = [np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, 40 - shape[-1])]).astype(wide) for a in (x, w, g)]
    planes = [np.moveaxis(a, -1, 1).copy() for a in (x, g)]
    for name in ("dilation2d", "erosion2d"):
        for wrt in ("input", "filter"):
            op = getattr(nn, f"{name}_backprop_{wrt}")
            expected = op(*direct, strides, rates, "SAME")[..., : shape[-1]].astype(dtype)
            assert np.array_equal(op(x, w, g, strides, rates, "SAME"), expected), (name, wrt)
            out = planes[0].copy() if wrt == "input" else np.empty(w.shape[::-1], dtype).T
            y = op(planes[0], w, planes[1], strides, rates, "SAME", data_format="NCHW", out=out)
            assert y is out
            assert np.array_equal(np.moveaxis(y, 1, -1) if wrt == "input" else y, expected), (name, wrt)


def test_gradients_of_large_windows_equal_the_formula():
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-9, 9, shape).astype(np.float16) for shape in ((1, 40, 31, 17), (130, 120, 17)))
    g = rng.integers(-9, 9, (1, 14, 16, 17)).astype(np.float16)
    for op in ("dilation2d_backprop_input", "dilation2d_backprop_filter"):
        assert np.array_equal(
            getattr(nn, op)(x, w, g, (3, 2), 1, "SAME"), getattr(reference, op)(x, w, g, (3, 2), 1, "SAME")
        )


def test_gradients_refuse_the_padding_that_the_op_does():
    for op in ("dilation2d_backprop_input", "dilation2d_backprop_filter"):
        with pytest.raises(ValueError, match=f"{op}: padding"):
            getattr(nn, op)(X, W, np.zeros((1, 10, 9, 3), np.float32), 1, 1, [(3, 3), (3, 3)])


def test_reads_nothing_beyond_the_filters():
    """The driver's are a copy with whole vectors for the last tap: fence that."""

    def call(words, channels, kind):
        x = np.ones((1, 5, 6, channels), np.float16)
        out = np.empty((1, 3, 2, channels) if kind == FILTER_GRAD else x.shape, x.dtype)
        weights = fence(np.zeros(3 * 2 * channels + 15, np.float32), True)[:-15].reshape(3, 2, channels)
        g = described("dilation2d", (3, 2), 1, "SAME", None, 1)
        window = windows(_op.Op("dilation2d", kind, 2), "input", x.shape, DTYPES.index("float16"), g)
        for isa in nn.available_isas():
            with nn.isa(isa):
                window.run(x, x if kind == FILTER_GRAD else None, weights, 1.0, out, None, 0, 1, _isa.current())
        return 0

    for channels in (3, 17, 33, 70, 130):
        for kind in (MAX, FILTER_GRAD):
            assert in_a_child(call, channels, kind)[0] == 0, (channels, kind)


@pytest.mark.parametrize("shape", [(2, 23, 41, 3), (1, 19, 70, 1), (2, 9, 13, 33)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_both_layouts_all_orders_and_threads_give_the_same_bits(shape, dtype):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(shape).astype(dtype), rng.standard_normal((3, 4, shape[-1])).astype(dtype)
    y = nn.dilation2d(x, w, 2, "SAME", "NHWC", 2)
    g = rng.standard_normal(y.shape).astype(dtype)

    def results(x, g, data_format="NHWC", **extras):
        back = (1, 2) if data_format == "NCHW" else ()
        for y in (
            nn.dilation2d(x, w, 2, "SAME", data_format, 2, **extras),
            nn.erosion2d(x, w, 2, "SAME", data_format, 2, **extras),
            nn.dilation2d_backprop_input(x, w, g, 2, 2, "SAME", data_format=data_format, **extras),
            nn.erosion2d_backprop_input(x, w, g, 2, 2, "SAME", data_format=data_format, **extras),
        ):
            yield np.moveaxis(y, 1, -1) if back else y
        yield nn.dilation2d_backprop_filter(x, w, g, 2, 2, "SAME", data_format=data_format, **extras)
        yield nn.erosion2d_backprop_filter(x, w, g, 2, 2, "SAME", data_format=data_format, **extras)

    expected = list(results(x, g))
    for order in ("C", "fortran", "negative", "sliced", "permuted", "unaligned"):
        a, b = arrange(x, order, random.Random(1)), arrange(g, order, random.Random(2))
        for n in (1, 2, 3):
            assert all(np.array_equal(u, v) for u, v in zip(results(a, b, num_threads=n), expected)), (order, n)
    first = results(np.moveaxis(x, -1, 1).copy(), np.moveaxis(g, -1, 1).copy(), "NCHW")
    assert all(np.array_equal(u, v) for u, v in zip(first, expected))


def test_a_flat_structuring_function_is_a_pool():
    x = np.random.default_rng(0).standard_normal((2, 17, 19, 5)).astype(np.float32)
    flat = np.zeros((3, 2, 5), np.float32)
    assert np.array_equal(nn.dilation2d(x, flat, 2, "SAME", "NHWC", 1), nn.max_pool(x, (3, 2), 2, "SAME"))
    assert np.array_equal(nn.erosion2d(-x, flat, 2, "SAME", "NHWC", 1), -nn.max_pool(x, (3, 2), 2, "SAME"))


def test_gradients_are_those_of_finite_differences():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 8, 9, 3)), rng.standard_normal((3, 2, 3))
    for op in ("dilation2d", "erosion2d"):
        y = getattr(nn, op)(x, w, 2, "SAME", "NHWC", 1)
        g, dx, dw = rng.standard_normal(y.shape), rng.standard_normal(x.shape), rng.standard_normal(w.shape)
        ahead, behind = (getattr(nn, op)(x + e * dx, w + e * dw, 2, "SAME", "NHWC", 1) for e in (1e-7, -1e-7))
        by_input = getattr(nn, f"{op}_backprop_input")(x, w, g, 2, 1, "SAME")
        by_filter = getattr(nn, f"{op}_backprop_filter")(x, w, g, 2, 1, "SAME")
        slope = (by_input * dx).sum() + (by_filter * dw).sum()
        assert np.isclose(((ahead - behind) / 2e-7 * g).sum(), slope, rtol=1e-6), op


SIGNATURES = {
    "dilation2d": "input, filters, strides, padding, data_format, dilations, name=None",
    "erosion2d": "value, filters, strides, padding, data_format, dilations, name=None",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_positional_arguments_are_tensorflows(name):
    parameters = inspect.signature(getattr(nn, name)).parameters.values()
    positional = [p.replace(annotation=p.empty) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert ", ".join(map(str, positional)).replace(" = ", "=") == SIGNATURES[name]


X, W = np.zeros((1, 5, 6, 3), np.float32), np.zeros((2, 3, 3), np.float32)


@pytest.mark.parametrize(
    "bad",
    [
        *({"filters": w} for w in (W[0], W[None], W[..., :2], W[:0], W[:, :0], W.astype(np.float64), None, "w")),
        *({"input": x} for x in (X[0], X[None], X.astype(np.int64), None)),
        *({"strides": s} for s in (0, -1, 1.5, [1, 2, 3], [2, 1, 1, 1], 2**31)),
        *({"dilations": s} for s in (0, 1.5, [1, 1, 1, 2], True)),
        *({"padding": p} for p in ("same ", -1, 2, [[3, 0], [0, 0]], None)),
        {"data_format": "NWC"},
    ],
)
def test_hostile_arguments(bad):
    good = {"input": X, "filters": W, "strides": 1, "padding": "SAME", "data_format": "NHWC", "dilations": 1}
    nn.dilation2d(**good)
    with pytest.raises((ValueError, TypeError), match=r"^dilation2d: "):
        nn.dilation2d(**{**good, **bad})


def test_arguments_are_named_as_they_were_given():
    for bad in (0, 1.5, [1, 0]):
        with pytest.raises((ValueError, TypeError), match="rates"):
            nn.dilation2d_backprop_input(X, W, X, 1, bad, "SAME")


def test_a_gradient_larger_than_the_output_is_refused():
    """CVE-2021-29566, which wrote beyond its buffer."""
    for shape in ((1, 6, 6, 3), (1, 5, 7, 3), (2, 5, 6, 3), (1, 5, 6, 4), (0, 0, 0, 0)):
        for wrt in ("input", "filter"):
            with pytest.raises(nn.ShapeError, match="out_backprop"):
                getattr(nn, f"dilation2d_backprop_{wrt}")(X, W, np.zeros(shape, np.float32), 1, 1, "SAME")


def test_tensorflow():
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf = peer("tensorflow")
    rng = np.random.default_rng(0)
    for _ in range(60):
        h, w, c, kh, kw, s, d = (int(n) for n in rng.integers((5, 5, 1, 1, 1, 1, 1), (14, 14, 20, 4, 4, 3, 3)))
        x, f = rng.standard_normal((2, h, w, c)), rng.standard_normal((kh, kw, c))
        padding = "SAME" if (kh - 1) * d >= h or (kw - 1) * d >= w else str(rng.choice(["SAME", "VALID"]))
        args = ([1, s, s, 1], padding, "NHWC", [1, d, d, 1])
        y = nn.dilation2d(x, f, *args)
        assert np.array_equal(y, tf.nn.dilation2d(x, f, *args).numpy())
        assert np.array_equal(nn.erosion2d(x, f, *args), tf.nn.erosion2d(x, f, *args).numpy())
        g = rng.standard_normal(y.shape)
        for wrt in ("Input", "Filter"):
            theirs = getattr(tf.raw_ops, f"Dilation2DBackprop{wrt}")(
                input=x, filter=f, out_backprop=g, strides=args[0], rates=args[3], padding=padding
            ).numpy()
            ours = getattr(nn, f"dilation2d_backprop_{wrt.lower()}")(x, f, g, args[0], args[3], padding)
            assert np.allclose(ours, theirs, rtol=1e-12), wrt
