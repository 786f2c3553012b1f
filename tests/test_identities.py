"""What must hold whatever the numbers are: adjoints, linearity, impulses, shifts, and ops that are others in disguise.

All of it in small integers, where equal means equal to the last bit in the direct algorithm, and without any reference
implementation.
"""

import random

import numpy as np
import pytest
from ops import LAYOUTS, MODES, OPS, Geometry, draw, draw_geometry, values

import cyconv as nn
from cyconv import _geometry as geometry

TRANSPOSED = [name for name in OPS if "transpose" in name]
TRANSPOSE = {"conv1d": nn.conv1d_transpose, "conv2d": nn.conv2d_transpose, "conv3d": nn.conv3d_transpose}


@pytest.fixture(autouse=True)
def direct():
    with nn.algorithm("direct"):
        yield


def window(g: Geometry) -> dict:
    """A geometry as the arguments of conv2d (conv1d calls its strides `stride`)."""
    args = {"padding": g.padding, "data_format": g.layout, "dilations": g.dilations}
    return args | {"stride" if g.rank == 1 else "strides": g.strides}


def plain(g: Geometry, **changes) -> Geometry:
    """A geometry of float64, with one batch dimension, zero padding and something to convolve."""
    return g._replace(dtype="float64", lead=(2,), mode="zeros", exact=True, filters=max(1, g.filters), **changes)


def inner(a, b) -> int:
    return int((a.astype(np.int64) * b.astype(np.int64)).sum())


@pytest.mark.parametrize("name", TRANSPOSE)
def test_transpose_is_the_adjoint(name):
    """<conv(x), g> = <x, conv_transpose(g)>: any stride, dilation, groups, padding and layout."""
    for seed in range(300):
        rng = random.Random(seed)
        g = plain(draw_geometry(OPS[name], rng))
        channels, filters = g.groups * g.channels, g.groups * g.filters
        x = values(rng, g.shape(g.sizes, channels), g.dtype, True)
        w = values(rng, (*g.taps, g.channels, filters), g.dtype, True)
        y = values(rng, g.shape(g.outs(), filters), g.dtype, True)
        args = window(g)
        forward = getattr(nn, name)(x, w, **args)
        args["strides"] = args.pop("stride", g.strides)
        transposed = TRANSPOSE[name](y, w, x.shape, **args)
        assert forward.shape == y.shape, (seed, g)
        assert transposed.shape == x.shape, (seed, g)
        assert inner(forward, y) == inner(x, transposed), (seed, g)


def test_atrous_transpose_is_the_adjoint():
    for seed in range(100):
        rng = random.Random(seed)
        g = plain(draw_geometry(OPS["atrous_conv2d"], rng), layout=None, strides=(1, 1), groups=1)
        if min(g.rooms()) < 0:
            continue
        x = values(rng, g.shape(g.sizes, g.channels), g.dtype, True)
        w = values(rng, (*g.taps, g.channels, g.filters), g.dtype, True)
        y = values(rng, g.shape(g.outs(), g.filters), g.dtype, True)
        forward = nn.atrous_conv2d(x, w, g.dilations, g.padding)
        assert inner(forward, y) == inner(x, nn.atrous_conv2d_transpose(y, w, x.shape, g.dilations, g.padding)), (
            seed,
            g,
        )


def windowed():
    """Ops that are linear in their input and their filters."""
    return [name for name in OPS if name != "bias_add"]


def linear_case(name, seed):
    """A case without an epilogue, in float64, and the names of its two linear arguments."""
    case = draw(OPS[name], seed)
    for extra in ("bias", "residual", "depthwise_bias"):
        case.arrays.pop(extra, None)
    for extra in ("activation", "depthwise_activation"):
        case.args.pop(extra, None)
    if case.args.get("padding_mode") == MODES[1]:
        case.args["padding_mode"] = "zeros"  # a constant border adds a constant
    rng = random.Random(seed)
    for key, a in case.arrays.items():
        case.arrays[key] = values(rng, a.shape, "float64", True)
    return case


@pytest.mark.parametrize("name", windowed())
def test_linear_in_input_and_filters(name):
    for seed in range(60):
        case = linear_case(name, seed)
        for argument in case.arrays:
            a, rng = case.arrays[argument], random.Random(seed)
            b = values(rng, a.shape, "float64", True)
            both = case.call(**{argument: 2 * a - 3 * b})
            assert np.array_equal(both, 2 * case.call() - 3 * case.call(**{argument: b})), f"{case.seed}: {case}"


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_an_impulse_gives_the_filter_turned_around(rank):
    taps, size = (3, 2, 4)[:rank], (9, 8, 7)[:rank]
    w = values(random.Random(0), (*taps, 2, 5), "float32", True)
    x = np.zeros((1, *size, 2), np.float32)
    at = tuple(n // 2 for n in size)
    x[(0, *at, 1)] = 1
    y = nn.convolution(x, w, padding="FULL")
    turned = w[(slice(None, None, -1),) * rank][..., 1, :]
    assert np.array_equal(y[(0, *(slice(a, a + k) for a, k in zip(at, taps)))], turned)
    assert np.count_nonzero(y) == np.count_nonzero(turned)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_filter_of_one_tap_shifts(rank):
    taps, size = (3, 4, 2)[:rank], (9, 8, 7)[:rank]
    x = values(random.Random(0), (2, *size, 3), "float32", True)
    for tap in np.ndindex(*taps):
        w = np.zeros((*taps, 3, 3), np.float32)
        w[tap] = np.eye(3)
        y = nn.convolution(x, w, padding="VALID")
        assert np.array_equal(y, x[(slice(None), *(slice(t, t + n - k + 1) for t, n, k in zip(tap, size, taps)))])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_shifted_input_gives_a_shifted_output(rank):
    size, stride = (13, 12, 11)[:rank], (2, 1, 3)[:rank]
    x = values(random.Random(1), (1, *size, 3), "float32", True)
    w = values(random.Random(2), (*(3, 2, 2)[:rank], 3, 4), "float32", True)
    whole = nn.convolution(x, w, stride, "VALID")
    shifted = nn.convolution(x[(slice(None), *(slice(s, None) for s in stride))], w, stride, "VALID")
    assert np.array_equal(shifted, whole[(slice(None), *(slice(1, None),) * rank)])
    circular = {"padding": "SAME", "padding_mode": "circular"}
    rolled = nn.convolution(np.roll(x, 5, 1), w, **circular)
    assert np.array_equal(rolled, np.roll(nn.convolution(x, w, **circular), 5, 1))


# ---- ops in disguise -------------------------------------------------------------------------------------------------


def test_atrous_is_dilated():
    for seed in range(100):
        case = draw(OPS["atrous_conv2d"], seed)
        args = dict(case.args, dilations=case.args["rate"]) | {"input": case.arrays["value"]}
        args.pop("rate")
        arrays = {k: a for k, a in case.arrays.items() if k != "value"}
        assert np.array_equal(case.call(), nn.conv2d(**arrays, **args), equal_nan=True), case


def test_depthwise_is_grouped():
    for seed in range(200):
        case = draw(OPS["depthwise_conv2d"], seed)
        if not case.exact:
            continue
        *taps, channels, multiplier = case.arrays["filter"].shape
        arrays = {k: a for k, a in case.arrays.items() if k != "filter"}
        grouped = np.reshape(case.arrays["filter"], (*taps, 1, channels * multiplier))
        y = nn.conv2d(**arrays, filters=grouped, **({"data_format": None} | case.args), groups=channels)
        assert np.array_equal(case.call(), y), case


def test_separable_is_depthwise_then_one_tap():
    for seed in range(200):
        case = draw(OPS["separable_conv2d"], seed)
        if not case.exact or case.dtype.itemsize == 2:  # in half types, what lies between the two is not rounded
            continue
        arrays, args = dict(case.arrays), dict(case.args)
        names = {"filter": "depthwise_filter", "bias": "depthwise_bias", "activation": "depthwise_activation"}
        first = {new: source.pop(old) for new, old in names.items() for source in (arrays, args) if old in source}
        rest = {key: args.pop(key) for key in ("bias", "residual", "activation") if key in args}
        rest |= {key: arrays.pop(key) for key in ("bias", "residual") if key in arrays}
        pointwise = arrays.pop("pointwise_filter")
        y = nn.depthwise_conv2d(**arrays, **first, **args)
        z = nn.conv2d(y, pointwise, 1, "VALID", args.get("data_format"), **rest)
        assert np.array_equal(case.call(), z), case


def test_conv1d_is_conv2d_with_a_unit_axis():
    for seed in range(200):
        rng = random.Random(seed)
        g = plain(draw_geometry(OPS["conv1d"], rng))._replace(mode=rng.choice(MODES))
        if 0 in g.sizes:
            continue
        x = values(rng, g.shape(g.sizes, g.groups * g.channels), g.dtype, True)
        w = values(rng, (*g.taps, g.channels, g.groups * g.filters), g.dtype, True)
        y = nn.conv1d(x, w, **window(g), padding_mode=g.mode)
        pads = g.padding if isinstance(g.padding, list) else [(a.lo, a.hi) for a in g.axes()]
        axis = 2 if g.first else 1
        z = nn.conv2d(
            np.expand_dims(x, axis),
            w[None],
            (1, *g.strides),
            [(0, 0), *pads],
            "NCHW" if g.first else "NHWC",
            (1, *g.dilations),
            padding_mode=g.mode,
        )
        assert np.array_equal(y, z.squeeze(axis)), (seed, g)


def test_convolution_is_the_op_of_its_rank():
    for name, rank in (("conv1d", 1), ("conv2d", 2), ("conv3d", 3)):
        for seed in range(40):
            case = draw(OPS[name], seed)
            args = dict(case.args)
            args["strides"] = args.pop("stride", args.get("strides"))
            assert np.array_equal(case.call(), nn.convolution(**case.arrays, **args), equal_nan=True), (rank, str(case))


@pytest.mark.parametrize("name", windowed())
def test_channels_first_is_channels_last_transposed(name):
    op = OPS[name]
    for seed in range(150):
        rng = random.Random(seed)
        g = plain(draw_geometry(op, rng), layout=None)
        case = op.draw(op, rng, g)
        case.args |= {op.strides: g.strides, op.dilations: g.dilations, "padding": g.padding}
        case.args.pop("data_format", None)
        moved = {key: np.moveaxis(a, -1, 1) if key in (op.x, "residual") else a for key, a in case.arrays.items()}
        moved["data_format"] = LAYOUTS[g.rank][1]
        if name in TRANSPOSED:
            case.args.pop("output_padding", None)
            case.args["output_shape"] = case.out_shape
            moved["output_shape"] = (case.out_shape[0], case.out_shape[-1], *case.out_shape[1:-1])
        assert np.array_equal(np.moveaxis(case.call(**moved), 1, -1), case.call()), f"seed {seed}: {case}"


def test_terms_inside_are_counted():
    """Against the definition: output o and tap k meet at o*stride + k*dilation - lo."""
    rng = random.Random(0)
    for _ in range(3000):
        numbers = [rng.randint(0, 12), rng.randint(0, 9), rng.randint(0, 14), rng.randint(1, 9), rng.randint(1, 9)]
        a = geometry.Axis(*numbers, rng.randint(-9, 40))
        places = (o * a.stride + k * a.dilation - a.lo for o in range(a.out) for k in range(a.taps))
        assert geometry.terms_inside(a) == sum(0 <= at < a.size for at in places), a


@pytest.mark.parametrize("many", [geometry.MANY_TAPS, 3])
def test_zones_are_the_axis_without_what_lies_outside(many, monkeypatch):
    """Every term inside is in exactly one piece, at the same output and tap; few others are in any."""
    monkeypatch.setattr(geometry, "MANY_TAPS", many)
    rng, cut = random.Random(0), 0
    for _ in range(3000):
        numbers = [rng.randint(0, 40), rng.randint(0, 6), rng.randint(0, 60), rng.randint(1, 3), rng.randint(1, 30)]
        ends = [rng.randint(-20, 60), rng.randint(0, 3), rng.choice((1, -2)), rng.randint(0, 3), rng.randint(1, 3)]
        a = geometry.JobAxis(*numbers, *ends)
        pieces = geometry.zones(a)
        terms = [
            [
                (z.out_start + o * z.out_step, z.tap_start + k * z.tap_step, o * z.stride + k * z.dilation - z.lo)
                for o in range(z.out) for k in range(z.taps)
            ]
            for z in pieces
        ]  # fmt: skip
        whole = {
            (a.out_start + o * a.out_step, a.tap_start + k * a.tap_step, o * a.stride + k * a.dilation - a.lo)
            for o in range(a.out) for k in range(a.taps)
        }  # fmt: skip
        found = [term for piece in terms for term in piece]
        assert len(found) == len(set(found))
        assert set(found) <= whole
        assert {term for term in whole if 0 <= term[2] < a.size} <= set(found)
        assert sum(z.out for z in pieces) == a.out
        if len(pieces) > 1:
            cut += 1
            assert all(0 <= term[2] < a.size for term in found)
    assert cut > 100


def read_by(job, o):
    """What output o of a job sums: the filter's taps, and the positions they meet."""
    terms = ((job.tap_start + k * job.tap_step, o * job.stride + k * job.dilation - job.lo) for k in range(job.taps))
    return {(k, at) for k, at in terms if 0 <= at < job.size}


def test_phases_are_the_adjoint_of_their_axis():
    """Against the definition: each position once, from every output that read it and by the tap it was read with."""
    rng = random.Random(0)
    for _ in range(3000):
        numbers = [rng.choice((1, 1, 2, 3, 4, 6, 9, 20, 50)), rng.choice((1, 1, 2, 3, 4, 6)), "SAME", 0]
        a = geometry.forward_axis(rng.randint(0, 40), rng.randint(1, 7), *numbers)._replace(lo=rng.randint(0, 9))
        for jobs in (geometry.phases(a), geometry.transposed_jobs(a)):
            written = [(j.out_start + o * j.out_step, read_by(j, o)) for j in jobs for o in range(j.out)]
            meet = [(k, o, o * a.stride + k * a.dilation - a.lo) for k in range(a.taps) for o in range(a.out)]
            assert sorted(written) == [(p, {(k, o) for k, o, at in meet if at == p}) for p in range(a.size)], a


def test_a_stride_of_thousands():
    """Nearly all outputs are gaps: they are not a problem each (once half a minute, and gigabytes)."""
    x, w = np.array([[[[1.0], [2.0]]]]), np.arange(1.0, 5).reshape(2, 2, 1, 1)
    y = nn.conv2d_transpose(x, w, (1, 1500, 3000, 1), 1500, bias=np.ones(1))[0, :, :, 0]
    assert np.array_equal(y[:2, :2], [[2, 3], [4, 5]])
    assert np.array_equal(y[:2, 1500:1502], [[3, 5], [7, 9]])
    assert y.sum() == y.size + 30


def test_one_window_over_a_long_axis():
    """As many phases as taps, but not a search through the taps for each of them (once half a minute)."""
    dx = nn.avg_pool1d_grad((1, 20000, 1), np.ones((1, 1, 1)), 20000, 20000, "VALID")
    assert np.array_equal(dx.ravel(), np.full(20000, 1 / 20000))
    y = nn.conv1d_transpose(np.ones((1, 2, 1)), np.ones((20000, 1, 1)), None, 20000)
    assert np.array_equal(y, np.ones((1, 40000, 1)))
