"""Winograd against the direct algorithm: every transform, ranks, layouts, dilations, modes, phases, threads, ISAs."""

import itertools
import time

import numpy as np
import pytest

import cyconv as nn

ISAS = nn.available_isas()


def cases():
    """(op, input shape, filters shape, arguments): each is taken by winograd."""
    for pad, d in itertools.product(("SAME", "VALID", "FULL"), (1, 2, (2, 3), 5)):
        yield nn.conv2d, (2, 23, 31, 37), (3, 3, 37, 70), {"strides": 1, "padding": pad, "dilations": d}
    for mode in ("reflect", "symmetric", "replicate", "circular", ("constant", 2.5)):
        yield nn.conv2d, (1, 16, 17, 32), (3, 3, 32, 32), {"strides": 1, "padding": 2, "padding_mode": mode}
    yield nn.conv2d, (2, 32, 17, 16), (3, 3, 32, 48), {"strides": 1, "padding": "SAME", "data_format": "NCHW"}
    yield nn.conv2d, (2, 17, 16, 64), (3, 3, 32, 64), {"strides": 1, "padding": "SAME"}  # two groups
    yield nn.conv2d, (1, 28, 28, 512), (3, 3, 512, 32), {"strides": 1, "padding": "SAME"}  # few tiles a box: even ones
    for k in ((2, 2), (4, 4), (5, 5), (7, 7), (1, 7), (7, 1), (3, 1), (1, 3)):
        yield nn.conv2d, (1, 35, 33, 48), (*k, 48, 64), {"strides": 1, "padding": "SAME"}
    yield nn.conv1d, (3, 1001, 64), (3, 64, 64), {"stride": 1, "padding": "CAUSAL", "dilations": 4}
    yield nn.conv1d, (1, 501, 64), (9, 64, 96), {"stride": 1, "padding": "SAME"}
    yield nn.conv1d, (2, 1500, 33), (25, 33, 40), {"stride": 1, "padding": "SAME"}  # nine chunks of taps
    yield (
        nn.conv1d,
        (1, 48, 700),
        (31, 48, 48),
        {"stride": 1, "padding": "CAUSAL", "dilations": 2, "data_format": "NCW"},
    )
    yield nn.conv2d, (1, 30, 9, 48), (17, 1, 48, 64), {"strides": 1, "padding": "SAME", "padding_mode": "circular"}
    yield nn.conv3d, (1, 18, 9, 10, 64), (3, 1, 1, 64, 64), {"strides": 1, "padding": "SAME"}
    for k, stride, d in (
        (3, 2, 1),
        (4, 2, 1),
        ((3, 5), 2, 1),
        (5, (2, 1), 1),
        (7, 3, 1),
        (5, 2, (2, 3)),
        ((5, 1), 2, 1),
    ):
        for pad, mode in (("SAME", "zeros"), ("VALID", "zeros"), (3, "reflect"), ("FULL", "zeros")):
            shape = (*k, 40, 64) if isinstance(k, tuple) else (k, k, 40, 64)
            yield (
                nn.conv2d,
                (2, 31, 34, 40),
                shape,
                {"strides": stride, "padding": pad, "dilations": d, "padding_mode": mode},
            )
    yield nn.conv2d, (1, 48, 21, 30), (5, 5, 48, 32), {"strides": 2, "padding": "SAME", "data_format": "NCHW"}
    yield nn.conv1d, (1, 999, 64), (16, 64, 64), {"stride": 8, "padding": "VALID"}
    yield nn.conv3d, (1, 9, 17, 18, 32), (3, 3, 3, 32, 64), {"strides": 2, "padding": "SAME"}
    yield (
        nn.conv3d,
        (1, 11, 17, 18, 32),
        (4, 3, 5, 32, 64),
        {"strides": (3, 1, 2), "padding": 2, "dilations": (2, 1, 1)},
    )
    for d in (1, (2, 1, 1)):
        yield nn.conv3d, (2, 7, 14, 15, 32), (3, 3, 3, 32, 32), {"strides": 1, "padding": "SAME", "dilations": d}
    first = {"strides": 1, "padding": "SAME", "dilations": 2, "data_format": "NCDHW"}
    yield nn.conv3d, (1, 64, 5, 14, 15), (3, 3, 3, 64, 16), first  # a strip holds few tiles: a copy is read instead
    # Planes of the volume that only some outputs meet, or none.
    for before, behind, d, stride in ((3, 4, 1, 1), (2, 5, 2, 1), (1, 3, 1, 2), (0, 0, 2, 1)):
        yield (
            nn.conv3d,
            (2, 7, 14, 15, 40),
            (3, 3, 3, 40, 32),
            {"strides": (stride, 1, 1), "padding": ((before, behind), (1, 1), (1, 1)), "dilations": (d, 1, 1)},
        )
    yield nn.conv3d, (3, 2, 9, 9, 128), (3, 3, 3, 128, 64), {"strides": 1, "padding": "SAME"}  # images share a box
    yield nn.conv3d, (1, 4, 13, 15, 40), (5, 7, 7, 40, 33), {"strides": 1, "padding": "SAME"}  # many taps
    for k, s, m in ((4, 2, 32), (4, 2, 40), (6, 2, 32), (6, 3, 48), (3, 1, 32), (3, 2, 48), (5, 2, 32), (5, 3, 32)):
        arguments = {"output_shape": None, "strides": s, "padding": "SAME"}
        yield nn.conv2d_transpose, (2, 16, 15, 64), (k, k, m, 64), arguments
        yield nn.conv2d_transpose, (2, 64, 16, 15), (k, k, m, 64), {**arguments, "data_format": "NCHW"}


@pytest.mark.parametrize("number", range(len(list(cases()))))
def test_equals_direct_within_its_bound(number):
    op, x_shape, f_shape, arguments = list(cases())[number]
    rng = np.random.default_rng(number)
    x, w = (rng.standard_normal(s, dtype=np.float32) for s in (x_shape, f_shape))
    m = f_shape[-2] if "output_shape" in arguments else f_shape[-1]
    arguments = {**arguments, "bias": rng.standard_normal(m, dtype=np.float32)}
    shape = nn.plan(op, w, **arguments).output_shape(x_shape)
    residual = rng.standard_normal(shape, dtype=np.float32)
    with nn.algorithm("direct"):
        exact = op(x.astype(float), w.astype(float), **{**arguments, "bias": arguments["bias"].astype(float)})
        terms = op(np.abs(x), np.abs(w), **{**arguments, "bias": np.abs(arguments["bias"])})
    with nn.algorithm("winograd"):
        assert nn.explain(op, x, w, **arguments).algorithm == "winograd"
        for isa in ISAS:
            with nn.isa(isa):
                one = op(x, w, **arguments, num_threads=1)
                assert np.all(np.abs(one - exact) <= 2e-5 * terms)
                assert np.array_equal(one, op(x, w, **arguments, num_threads=2))
                plan = nn.plan(op, w, **arguments)
                assert np.array_equal(one, plan(x))
                added = np.maximum(one + residual, 0)
                fused = op(x, w, **arguments, residual=residual, activation="relu")
                assert np.allclose(fused, added, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("filters", [64, 40])
@pytest.mark.parametrize("order", "CF")
def test_a_residual_where_tiles_are_computed_again(filters, order):
    """Those on the border, too, some of whose outputs are thrown away."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 14, 15, 32), dtype=np.float32)
    x[0, 0, 0, 3], x[1, 13, 14, 31], x[1, 7, 8, 0] = np.nan, np.inf, -np.inf
    w = rng.standard_normal((3, 3, 32, filters), dtype=np.float32)
    residual = np.asarray(rng.standard_normal((2, 14, 15, filters), dtype=np.float32), order=order)
    results = []
    for name in ("winograd", "direct"):
        with nn.algorithm(name):
            results.append(nn.conv2d(x, w, 1, "SAME", residual=residual, activation="relu6"))
    assert np.array_equal(*np.isnan(results))
    assert np.allclose(*results, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("op", [nn.conv2d, nn.conv2d_transpose])
def test_other_values_of_a_batch_do_not_matter(op):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((5, 20, 21, 32), dtype=np.float32)
    w = rng.standard_normal((4, 4, 32, 32), dtype=np.float32)
    arguments = {"strides": 1, "padding": "SAME"} | ({"output_shape": None} if op is nn.conv2d_transpose else {})
    with nn.algorithm("winograd"):
        whole = op(x, w, **arguments)
        parts = [op(part, w, **arguments) for part in np.split(x, [2, 3])]
        strided = op(np.asfortranarray(x)[::-1][::-1], w, **arguments)
    assert np.array_equal(whole, np.concatenate(parts))
    assert np.array_equal(whole, strided)


def test_scratch_is_bounded():
    for op, x_shape, f_shape, arguments in cases():
        plan = nn.plan(op, np.zeros(f_shape, np.float32), **arguments)
        block = 4 * np.prod(f_shape) // min(f_shape[-2:]) * 32  # of filters, for tiles that are computed again
        with nn.algorithm("winograd"):
            for threads in (1, 2, 8):
                assert plan.workspace_bytes(x_shape, threads) <= threads * (2**21 + block)


def test_phases_without_taps():
    """A stride of 3 whose only phase no tap reaches: zeros, whatever algorithm is asked for."""
    x, w = np.ones((1, 4, 12, 1), np.float32), np.ones((4, 2, 1, 4), np.float32)
    padding = [[0, 0], [0, 0], [5, 5], [2, 0]]
    for name in ("direct", "winograd"):
        with nn.algorithm(name):
            y = nn.conv2d_transpose(x, w, (1, 4, 5, 1), [1, 1, 1, 3], padding, "NCHW")
            assert np.array_equal(y, np.zeros((1, 4, 5, 1), np.float32))


@pytest.mark.parametrize("size", [3000, 2**20])
def test_what_huge_images_would_take(size):
    """It is worked out without counting their boxes one by one."""
    plan = nn.plan(nn.conv2d, np.zeros((3, 3, 64, 64), np.float32), strides=1, padding="SAME")
    start = time.perf_counter()
    assert "winograd" in str(plan.explain((1, size, size, 64)))
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("dilation", [9, 1000, 2**31 - 1])
def test_dilations_larger_than_the_image(dilation):
    """Tiles of all residues modulo the dilation, nearly all without an output, took forever."""
    rng = np.random.default_rng(2)
    x, w = (rng.standard_normal(s, dtype=np.float32) for s in ((1, 8, 9, 16), (3, 3, 16, 16)))
    arguments = {"strides": 1, "padding": "SAME", "dilations": dilation}
    with nn.algorithm("direct"):
        expected = nn.conv2d(x, w, **arguments), nn.conv2d_backprop_filter(x, w.shape, x, **arguments)
    with nn.algorithm("winograd"):
        assert nn.explain(nn.conv2d, x, w, **arguments).algorithm != "winograd"
        assert np.array_equal(nn.conv2d(x, w, **arguments), expected[0])
        assert np.array_equal(nn.conv2d_backprop_filter(x, w.shape, x, **arguments), expected[1])
        volume, filters = x[:, None].repeat(4, 1), w[None].repeat(3, 0)
        depth = {"strides": 1, "padding": "SAME", "dilations": (dilation, 1, 1)}
        assert nn.explain(nn.conv3d, volume, filters, **depth).algorithm != "winograd"
        assert np.allclose(
            nn.conv3d(volume, filters, **depth)[:, 0], nn.conv2d(x, w, strides=1, padding="SAME"), atol=1e-4
        )


@pytest.mark.parametrize(
    ("op", "x_shape", "taps", "dilations"),
    [
        (nn.conv2d, (1, 16, 400, 401), (3, 3), 100),
        (nn.conv2d, (1, 60, 65, 64), (3, 5), (16, 12)),
        (nn.conv1d, (1, 48, 40000), (3,), 2000),
        (nn.conv3d, (1, 32, 30, 17, 18), (3, 3, 3), (13, 2, 1)),
    ],
)
def test_far_dilations_of_channels_first(op, x_shape, taps, dilations):
    """A strip for a single tile held all between its pixels: 23 MB, 10,000 times for the first image."""
    rng = np.random.default_rng(4)
    x, w = (
        rng.standard_normal(x_shape, dtype=np.float32),
        rng.standard_normal((*taps, x_shape[1], 16), dtype=np.float32),
    )
    last, first = {1: ("NWC", "NCW"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}[len(taps)]
    arguments = {"stride" if op is nn.conv1d else "strides": 1, "padding": "SAME", "dilations": dilations}
    with nn.algorithm("winograd"):
        expected = op(np.moveaxis(x, 1, -1).copy(), w, **arguments, data_format=last)
        plan = nn.plan(op, w, **arguments, data_format=first)
        assert plan.explain(x_shape).algorithm == "winograd"
        assert plan.workspace_bytes(x_shape, 3) <= 3 * (2**21 + 2 * w.nbytes) + x.nbytes
        assert np.array_equal(np.moveaxis(plan(x), 1, -1), expected)
        assert np.array_equal(op(np.moveaxis(x, 1, -1)[:, ::-1][:, ::-1], w, **arguments, data_format=last), expected)


@pytest.mark.parametrize("x_shape", [(1, 2, 9, 32), (1, 9, 2, 32), (1, 2, 2, 32), (0, 9, 9, 32)])
def test_plans_of_empty_outputs(x_shape):
    """The division of no tiles into boxes ended the process."""
    w = np.ones((3, 3, 32, 32), np.float32)
    for name in ("auto", "winograd"):
        with nn.algorithm(name):
            plan = nn.plan(nn.conv2d, w, strides=1, padding="VALID")
            assert plan(np.ones(x_shape, np.float32)).size == 0
            assert plan.workspace_bytes(x_shape, 2) <= 2 * 2**21
            assert str(plan.output_shape(x_shape)) in str(plan.explain(x_shape))


# ---- filter gradients ------------------------------------------------------------------------------------------------

GRADIENTS = {
    nn.conv1d: nn.conv1d_backprop_filter,
    nn.conv2d: nn.conv2d_backprop_filter,
    nn.conv3d: nn.conv3d_backprop_filter,
}


def gradient_cases():
    """(op, input shape, filters shape, arguments): one box and several, one block of channels or columns and several."""
    yield from (case for case in cases() if case[0] in GRADIENTS)
    yield nn.conv2d, (1, 14, 14, 130), (3, 3, 130, 150), {"strides": 1, "padding": "SAME"}
    yield nn.conv2d, (3, 40, 50, 70), (3, 3, 70, 17), {"strides": 1, "padding": "SAME"}
    yield nn.conv2d, (1, 40, 50, 16), (5, 3, 16, 100), {"strides": 1, "padding": "SAME"}
    yield nn.conv2d, (1, 40, 50, 48), (3, 7, 16, 36), {"strides": (2, 1), "padding": "VALID"}  # three groups
    yield nn.conv3d, (1, 6, 20, 22, 16), (3, 3, 3, 16, 16), {"strides": (1, 2, 1, 1, 1), "padding": "SAME"}


@pytest.mark.parametrize("number", range(len(list(gradient_cases()))))
def test_filter_gradient_equals_direct_within_its_bound(number):
    op, x_shape, f_shape, arguments = list(gradient_cases())[number]
    arguments = {("strides" if key == "stride" else key): value for key, value in arguments.items()}
    mode = {key: arguments.pop(key) for key in ("padding_mode",) if key in arguments}
    gradient = GRADIENTS[op]
    rng = np.random.default_rng(number)
    x = rng.standard_normal(x_shape, dtype=np.float32)
    f = op(
        x,
        np.zeros(f_shape, np.float32),
        **{("stride" if op is nn.conv1d and k == "strides" else k): v for k, v in arguments.items()},
        **mode,
    )
    g = rng.standard_normal(f.shape, dtype=np.float32)
    exact = gradient(x.astype(float), f_shape, g.astype(float), **arguments, **mode)
    terms = gradient(np.abs(x), f_shape, np.abs(g), **arguments, **mode)
    with nn.algorithm("direct"):
        direct = gradient(x, f_shape, g, **arguments, **mode)
    with nn.algorithm("winograd"):
        for isa in ISAS:
            with nn.isa(isa):
                one = gradient(x, f_shape, g, **arguments, **mode, num_threads=1)
                assert np.all(np.abs(one - exact) <= 2e-5 * terms)
                assert not np.array_equal(one, direct)  # it is another algorithm
                for threads in (2, 3, 7):
                    assert np.array_equal(one, gradient(x, f_shape, g, **arguments, **mode, num_threads=threads))
                apart = [np.asfortranarray(a)[:, ::-1][:, ::-1] for a in (x, g)]
                assert np.array_equal(one, gradient(apart[0], f_shape, apart[1], **arguments, **mode))
                out = np.full(f_shape, np.nan, np.float32)
                assert gradient(x, f_shape, g, **arguments, **mode, out=out) is out
                assert np.array_equal(one, out)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_filter_gradient_of_values_that_are_not_finite(bad):
    """NaN and infinity reach the taps that meet them; large values do not overflow in a transform."""
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((1, 20, 21, 16), dtype=np.float32) for _ in range(2))
    x[0, 0, 0, 3] = bad  # no output at or before the middle tap's pairs it with the first row of taps
    results = []
    for name in ("direct", "winograd"):
        with nn.algorithm(name):
            results.append(nn.conv2d_backprop_filter(x, (3, 3, 16, 16), g, 1, "SAME"))
    assert np.array_equal(*results, equal_nan=True) or bad == 3e38
    assert np.isfinite(results[1][2, 2]).all()  # tap (2, 2) never meets the first pixel
    if bad != 3e38:
        assert not np.isfinite(results[1][0, 0, 3]).all()
    else:
        assert np.allclose(*results, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("x_shape", "f_shape"), [((1, 17, 17, 96), (1, 7, 96, 128)), ((1, 25, 26, 64), (3, 3, 64, 128))]
)
def test_threads_that_share_columns(x_shape, f_shape):
    """More transformed filters than input: each thread has some of their columns. The bits are one thread's."""
    rng = np.random.default_rng(3)
    x, f = rng.standard_normal(x_shape, dtype=np.float32), rng.standard_normal(f_shape, dtype=np.float32)
    with nn.algorithm("direct"):
        close = nn.conv2d(x, f, 1, "SAME")
    with nn.algorithm("winograd"):
        plan = nn.plan(nn.conv2d, f, strides=1, padding="SAME")
        expected = plan(x, num_threads=1)
        for threads in (1, 2, 3, 4):
            assert np.array_equal(plan(x, num_threads=threads), expected)
            assert np.array_equal(nn.conv2d(x, f, 1, "SAME", num_threads=threads), expected)
    np.testing.assert_allclose(expected, close, rtol=0, atol=2e-5 * np.abs(close).max())


def test_filters_transformed_in_pieces():
    """Of a call, where they take more than is kept for the next: the bits of a plan's, which are transformed at once."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((1, 13, 13, 1024), dtype=np.float32)
    f = rng.standard_normal((3, 3, 1024, 430), dtype=np.float32)
    expected = nn.plan(nn.conv2d, f, strides=1, padding="SAME")(x)
    for threads in (1, 2, 3):
        assert np.array_equal(nn.conv2d(x, f, 1, "SAME", num_threads=threads), expected)
    f[1, 1, 7, 400] = np.inf  # in the second piece
    y = nn.conv2d(x, f, 1, "SAME")
    assert (np.isfinite(y).sum(axis=(0, 1, 2)) == np.where(np.arange(430) == 400, 0, 169)).all()


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_phases_of_two_algorithms_into_any_output(layout):
    """Each driver writes its own phases only, wherever the output lies: the direct ones wanted theirs side by side."""
    rng = np.random.default_rng(6)
    x, f = rng.standard_normal((3, 2, 9, 24), dtype=np.float32), rng.standard_normal((1, 6, 20, 24), dtype=np.float32)
    shape = (3, 2, 36, 20)
    if layout == "NCHW":
        x, shape = np.ascontiguousarray(np.moveaxis(x, -1, 1)), (3, 20, 2, 36)
    arguments = {"output_shape": None, "strides": (1, 4), "padding": "SAME", "data_format": layout, "activation": "elu"}
    with nn.algorithm("winograd"):
        expected = nn.conv2d_transpose(x, f, **arguments)
        plan = nn.plan(nn.conv2d_transpose, f, **arguments)
        assert plan.explain(x.shape).phases == "2 of 4 phases, the others direct"
        for call in (lambda out: nn.conv2d_transpose(x, f, **arguments, out=out), lambda out: plan(x, out=out)):
            for order in itertools.permutations(range(4)):
                out = np.full([shape[i] for i in order], 9, np.float32).transpose(np.argsort(order))
                assert call(out) is out
                assert np.array_equal(out, expected), order
            room = np.full((*shape[:3], shape[3] + 3), 9, np.float32)
            assert np.array_equal(call(room[..., :-3]), expected)
            assert (room[..., -3:] == 9).all()


@pytest.mark.parametrize("sizes", [(64, 220), (220, 64)])
def test_packed_filters_that_are_not_finite_serve_inputs_of_any_size(sizes):
    """Of far dilations the direct driver leaves out the taps outside, and packs by the size."""
    rng = np.random.default_rng(0)
    f = rng.standard_normal((3, 3, 16, 32), dtype=np.float32)
    f[0, 0, 0, 0] = np.inf
    with nn.algorithm("winograd"):
        plan = nn.plan(nn.conv2d, f, strides=1, padding="SAME", dilations=18)
        for size in sizes:
            x = rng.standard_normal((1, size, size, 16), dtype=np.float32)
            assert np.array_equal(plan(x), nn.conv2d(x, f, 1, "SAME", dilations=18), equal_nan=True)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_filters_that_are_not_finite_and_far_dilations(layout):
    """What the general driver is given is the input as it was, not the copy with its channels last."""
    rng = np.random.default_rng(7)
    x, f = (rng.standard_normal(s, dtype=np.float32) for s in ((2, 70, 71, 32), (3, 3, 32, 16)))
    f[0, 2, 5, 3] = np.nan
    x = np.moveaxis(np.moveaxis(x, -1, 1).copy(), 1, -1)  # channels lie apart
    arguments = {"strides": 1, "padding": "SAME", "dilations": 18, "data_format": layout}
    results = []
    for name in ("direct", "winograd"):
        with nn.algorithm(name):
            assert nn.explain(nn.conv2d, x, f, strides=1, padding="SAME", dilations=18).algorithm == name
            y = nn.conv2d(x if layout == "NHWC" else np.moveaxis(x, -1, 1), f, **arguments)
            results.append(y if layout == "NHWC" else np.moveaxis(y, 1, -1))
    assert np.array_equal(*results, equal_nan=True)
