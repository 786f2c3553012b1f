"""Plans, explanations and the switches between algorithms."""

import concurrent.futures
import functools
import pickle
from itertools import pairwise

import numpy as np
import pytest
from ops import OPS, draw

import cyconv as nn
from cyconv import _plan, _runtime
from cyconv._algorithms import ALGORITHMS, NAMES

rng = np.random.default_rng(0)
IMAGE, SIGNAL = rng.standard_normal((2, 20, 21, 32), np.float32), rng.standard_normal((2, 90, 32), np.float32)
VOLUME = rng.standard_normal((1, 8, 9, 10, 32), np.float32)


def filters(*shape):
    return rng.standard_normal(shape, np.float32)


#: op, input, filters, arguments
CASES = {
    "conv1d": (nn.conv1d, SIGNAL, (filters(3, 32, 32),), {"stride": 1, "padding": "CAUSAL", "dilations": 2}),
    "conv2d": (nn.conv2d, IMAGE, (filters(3, 3, 32, 48),), {"strides": 1, "padding": "SAME", "bias": filters(48)}),
    "conv2d, strided": (nn.conv2d, IMAGE, (filters(5, 3, 32, 7),), {"strides": 2, "padding": "VALID", "activation": "silu"}),
    "conv2d, one channel": (nn.conv2d, IMAGE[..., :1], (filters(5, 5, 1, 2),), {"strides": 1, "padding": "SAME"}),
    "conv2d, groups": (nn.conv2d, IMAGE, (filters(3, 3, 8, 16),), {"strides": 1, "padding": "SAME"}),
    "conv3d": (nn.conv3d, VOLUME, (filters(3, 3, 3, 32, 32),), {"strides": 1, "padding": "SAME"}),
    "atrous_conv2d": (nn.atrous_conv2d, IMAGE, (filters(3, 3, 32, 32),), {"rate": 2, "padding": "SAME"}),
    "conv2d_transpose": (nn.conv2d_transpose, IMAGE, (filters(4, 4, 16, 32),), {"strides": 2, "padding": "SAME"}),
    "depthwise_conv2d": (nn.depthwise_conv2d, IMAGE, (filters(3, 3, 32, 2),), {"strides": (1, 1, 1, 1), "padding": "SAME"}),
    "separable_conv2d": (
        nn.separable_conv2d, IMAGE, (filters(3, 3, 32, 1), filters(1, 1, 32, 24)), {"strides": (1, 1, 1, 1), "padding": "SAME"},
    ),
}  # fmt: skip


def call(name, **more):
    op, x, f, arguments = CASES[name]
    if op is nn.conv2d_transpose:
        arguments = {"output_shape": None, **arguments}
    return op(x, *f, **arguments, **more)


@pytest.mark.parametrize("name", CASES)
def test_a_plan_is_the_call(name):
    op, x, f, arguments = CASES[name]
    expected = call(name, num_threads=1)
    plan = nn.plan(op, *f, **arguments)
    assert plan.output_shape(x.shape) == expected.shape
    for threads in (1, 2, 3):
        assert np.array_equal(plan(x, num_threads=threads), expected)
        assert np.array_equal(nn.plan(op, *f, **arguments, num_threads=threads)(x), expected)
    out = np.empty_like(expected)
    assert plan(x, out) is out
    assert np.array_equal(out, expected)
    assert np.array_equal(plan(x[:1]), expected[:1]), "another batch, the same plan"
    assert np.array_equal(plan(np.asfortranarray(x)), expected)
    residual = rng.standard_normal(expected.shape, np.float32)
    assert np.array_equal(plan(x, residual=residual), call(name, residual=residual))


@pytest.mark.parametrize("name", CASES)
def test_a_plan_can_be_pickled_and_keeps_its_filters(name):
    op, x, f, arguments = CASES[name]
    mine = [a.copy() for a in f]
    plan = nn.plan(op, *mine, **arguments)
    for a in mine:
        a[...] = np.nan
    expected = call(name)
    assert np.array_equal(plan(x), expected)
    assert np.array_equal(pickle.loads(pickle.dumps(plan))(x), expected)
    with pytest.raises(AttributeError):
        plan.op = nn.conv1d


class Lent:
    """Something that gives its own memory when it is read as an array, as tensors of other libraries do."""

    def __init__(self, a):
        self.a = a

    def __array__(self, dtype=None, copy=None):
        return self.a


@pytest.mark.parametrize("lend", [memoryview, Lent])
def test_a_plan_keeps_filters_that_are_lent(lend):
    f, bias = filters(3, 3, 32, 4), filters(4)
    expected = nn.conv2d(IMAGE, f, 1, "SAME", bias=bias)
    plan = nn.plan(nn.conv2d, lend(f), strides=1, padding="SAME", bias=lend(bias))
    f[...] = bias[...] = np.nan
    assert np.array_equal(plan(IMAGE), expected)
    assert np.array_equal(pickle.loads(pickle.dumps(plan))(IMAGE), expected)


@pytest.mark.parametrize("name", CASES)
def test_a_plan_may_be_called_by_many(name):
    op, x, f, arguments = CASES[name]
    plan, expected = nn.plan(op, *f, **arguments), call(name)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for made in pool.map(lambda i: plan(x[: 1 + i % len(x)], num_threads=1 + i % 2), range(64)):
            assert np.array_equal(made, expected[: len(made)])


@pytest.mark.parametrize("name", CASES)
def test_what_a_plan_says_of_itself(name):
    op, x, f, arguments = CASES[name]
    plan = nn.plan(op, *f, **arguments)
    given = sum(a.nbytes for a in f)
    assert plan.nbytes >= given
    plan(x)
    assert given < plan.nbytes < 30 * given + 2**16, "the filters as given and as packed"
    assert plan.flops(x.shape) > 0
    assert 2 * plan.flops((1, *x.shape[1:])) == plan.flops((2, *x.shape[1:]))
    for threads in (1, 2):
        assert plan.workspace_bytes(x.shape, threads) <= threads * 2**21
    explanation = plan.explain(x.shape)
    assert explanation.output_shape == plan.output_shape(x.shape)
    assert explanation.flops == plan.flops(x.shape)
    assert 0 < explanation.predicted_seconds < 1
    assert explanation.algorithm in str(explanation)
    assert all(f"not {name}: {why}" in str(explanation) for name, why in explanation.refused)
    assert op.__name__ in repr(plan)


def test_bytes_beyond_64_bits():
    plan = nn.plan(nn.conv2d, np.ones((1, 1, 4, 4), np.float32), strides=2**31 - 1, padding="VALID")
    explanation = plan.explain((2**10, 2**31 - 1, 2**31 - 1, 4))
    assert explanation.nbytes == 4 * (2**10 * (2**31 - 1) ** 2 * 4 + 2**10 * 4 + 16)
    assert explanation.predicted_seconds > 1e9


def test_flops_are_counted_as_of_a_direct_convolution():
    plan = nn.plan(nn.conv2d, np.ones((3, 3, 32, 48), np.float32), strides=1, padding="VALID")
    assert plan.flops((2, 20, 21, 32)) == 2 * 2 * 18 * 19 * 9 * 32 * 48


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"out": np.zeros(1)}, TypeError, "plan: conv2d takes no 'out'"),
        ({"stride": 1}, TypeError, "takes no 'stride' here; it takes strides"),
        ({"num_threads": 0}, ValueError, "num_threads must be between 1"),
        ({"num_threads": 1.5}, TypeError, "num_threads"),
        ({"activation": "relux"}, ValueError, "activation"),
    ],
)
def test_arguments_that_a_plan_refuses(arguments, error, says):
    with pytest.raises(error, match=says):
        nn.plan(nn.conv2d, filters(3, 3, 1, 1), **{"strides": 1, "padding": "SAME"} | arguments)(
            np.ones((1, 4, 4, 1), np.float32)
        )


@pytest.mark.parametrize(
    "op", [nn.max_pool, nn.lrn, nn.bias_add, nn.conv2d_backprop_input, nn.conv2d_vjp, print, max, int, "conv2d"]
)
def test_ops_that_have_no_plan(op):
    for call in (nn.plan, nn.explain):
        with pytest.raises(TypeError, match=rf"{call.__name__}: .* is no convolution of this package"):
            call(op, filters(3, 3, 1, 1), strides=1, padding="SAME")


def test_functions_that_look_like_ops():
    """Those of others are refused in words; what arguments are bound to an op is its own business."""
    w = filters(3, 3, 1, 1)
    for op in (lambda x, w, residual=None: x.shape, lambda x, w, residual=None: 3):
        with pytest.raises(TypeError, match=r"plan: <lambda> is no convolution of this package"):
            nn.plan(op, w)
    same = functools.partial(nn.conv2d, strides=1, padding="SAME")
    x = np.ones((1, 4, 4, 1), np.float32)
    assert np.array_equal(nn.plan(same, w)(x), nn.conv2d(x, w, 1, "SAME"))
    with pytest.raises(TypeError, match=r"plan: .* takes no 'rate' here"):
        nn.plan(same, w, rate=1)
    with pytest.raises(TypeError, match=r"plan: .* takes no 'strides' here"):
        nn.plan(functools.partial(nn.conv2d, x), w, strides=1, padding="SAME")


def test_shapes_that_a_plan_refuses():
    plan = nn.plan(nn.conv2d, filters(3, 3, 4, 4), strides=1, padding="SAME")
    for shape in (None, 5, "abcd", (1, 4, 4.0, 4), (1, 4, 4, -4), (1, 4, 4), (1, 4, 4, 3)):
        for say in (plan.output_shape, plan.flops, plan.workspace_bytes, plan.explain):
            with pytest.raises((TypeError, ValueError), match=r"conv2d: (shape|input)"):
                say(shape)


def test_inputs_that_a_plan_refuses():
    plan = nn.plan(nn.conv2d, filters(3, 3, 4, 4), strides=1, padding="SAME")
    with pytest.raises(nn.ShapeError, match="conv2d: "):
        plan(np.ones((1, 4, 4, 3), np.float32))
    with pytest.raises(TypeError, match="float64"):
        plan(np.ones((1, 4, 4, 4)))
    with pytest.raises(nn.ShapeError, match="out"):
        plan(np.ones((1, 4, 4, 4), np.float32), np.zeros((1, 4, 4, 3), np.float32))


def test_algorithms_by_name():
    x, f = IMAGE, filters(3, 3, 32, 32)

    def chosen():
        return nn.explain(nn.conv2d, x, f, strides=1, padding="SAME").algorithm

    best = chosen()
    assert best == "winograd"
    with nn.algorithm("direct"):
        assert chosen() == "direct"
        with nn.algorithm("auto"):
            assert chosen() == best
    nn.set_algorithm("direct")
    try:
        assert chosen() == "direct"
        with nn.algorithm("winograd"):
            assert chosen() == "winograd"
    finally:
        nn.set_algorithm("auto")
    assert chosen() == best
    with pytest.raises(ValueError, match=r"algorithm must be one of auto, .*not 'fft'"), nn.algorithm("fft"):
        pass


def test_auto_is_what_is_chosen_where_nothing_is_said():
    """Filter gradients, too, whose pixels may be lanes."""
    rng = np.random.default_rng(3)
    x, g = (rng.standard_normal((1, 40, 40, 4), dtype=np.float32) for _ in range(2))

    def gradient():
        return nn.conv2d_backprop_filter(x, (3, 3, 4, 4), g, 1, "SAME")

    expected = gradient()
    with nn.algorithm("auto"):
        assert np.array_equal(gradient(), expected)
    nn.set_algorithm("direct")
    try:
        with nn.algorithm("auto"):
            assert np.array_equal(gradient(), expected)
    finally:
        nn.set_algorithm("auto")
    assert np.array_equal(gradient(), expected)
    nn.set_algorithm(None)


def test_the_isa_in_force_does_not_choose():
    """Or what is chosen would hang on who asked first; these windows fill the scratch of pixels but under AVX-512."""
    plan, names = nn.plan(nn.conv2d, np.ones((31, 31, 8, 1), np.float32), strides=1, padding="SAME", dilations=6), []
    for isa in nn.available_isas():
        _plan.choose.cache_clear()
        with nn.isa(isa):
            names.append(plan.explain((1, 300, 200, 8)).algorithm)
    assert len(set(names)) == 1, names


# Where one driver is far ahead on any machine: op, input, filters, arguments; what it shall be, or shall not.
FAR_AHEAD = [
    (nn.conv2d, (1, 56, 56, 64), (3, 3, 64, 64), {}, ("winograd",)),
    (nn.conv2d, (1, 56, 56, 64), (1, 1, 64, 64), {}, ("direct",)),
    (nn.conv2d, (1, 480, 640, 1), (5, 5, 1, 1), {}, ("pixels",)),
    (nn.conv2d, (1, 400, 400, 128), (1, 1, 128, 1), {}, ("direct",)),
    (nn.conv2d, (4, 14, 14, 32), (1, 1, 32, 2), {}, ("direct",)),  # by pixels 6 times as long
    (nn.conv2d, (1, 128, 128, 256), (1, 1, 256, 8), {}, ("direct",)),  # by pixels twice
    (nn.conv3d, (1, 16, 16, 16, 8), (4, 4, 4, 8, 320), {}, ("winograd",)),  # direct 5 times
    (nn.depthwise_conv2d, (1, 56, 56, 128), (3, 3, 128, 1), {}, ("depthwise",)),
    (nn.depthwise_conv2d, (1, 50, 50, 32), (1, 1, 32, 1), {"strides": 2}, ("direct",)),
    (
        nn.depthwise_conv2d,
        (1, 160, 104, 40),
        (7, 7, 160, 2),
        {"dilations": 4, "data_format": "NCHW"},
        ("pixels",),
    ),  # 33 times
    (nn.conv2d_transpose, (1, 64, 64, 3), (2, 2, 3, 64), {"strides": 2}, ("direct", "winograd")),
    (
        nn.conv_transpose,
        (1, 320, 64, 64),
        (4, 4, 1, 320),
        {"strides": 4, "data_format": "NCHW"},
        ("columns", "pixels"),
    ),  # direct 8 times
]


@pytest.mark.parametrize("row", FAR_AHEAD, ids=lambda row: f"{row[0].__name__}-{row[1]}-{row[2]}")
def test_the_choice_where_one_driver_is_far_ahead(row):
    op, shape, filters, arguments, names = row
    if op is nn.conv2d_transpose:
        arguments = arguments | {"output_shape": (1, 128, 128, 3)}
        shape = (1, 64, 64, 64)
    if op is nn.depthwise_conv2d:
        stride = arguments.get("strides", 1)
        arguments = arguments | {"strides": (1, stride, stride, 1)}
        if "data_format" in arguments:
            arguments["dilations"] = (arguments["dilations"],) * 2
    made = nn.plan(op, np.ones(filters, np.float32), **{"strides": 1, "padding": "SAME"} | arguments).explain(shape)
    assert made.algorithm in names, made
    assert all(why for _, why in made.refused)


@pytest.mark.parametrize("name", [name for name in OPS if name not in ("bias_add", "separable_conv2d")])
def test_estimates_do_not_depend_on_the_batch(name, monkeypatch):
    asked, choose = [], _plan.choose
    monkeypatch.setattr(_plan, "choose", lambda problem, forced: asked.append(problem) or choose(problem, forced))
    for seed in range(60):
        draw(OPS[name], seed).call()
        problem = asked[-1]
        if 0 not in problem.out_shape:
            more = problem._replace(batch=(7, 5), out_shape=(7, 5, *problem.out_shape[len(problem.batch) :]))
            for algorithm, make in ALGORITHMS:
                one, many = make(problem, False), make(more, False)
                assert isinstance(one, str) or one.time == many.time, algorithm
            assert choose(more, None).name == choose(problem, None).name


def test_a_plan_notices_what_changes_between_calls():
    """An input like the last one goes the short way: but only while everything else is as it was."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 24, 24, 16), dtype=np.float32)
    f = rng.standard_normal((3, 3, 16, 16), dtype=np.float32)
    bias = rng.standard_normal(16, dtype=np.float32)
    plan = nn.plan(nn.conv2d, f, strides=1, padding="SAME", bias=bias, activation="relu")

    def same(x, **rest):
        return np.array_equal(plan(x, **rest), nn.conv2d(x, f, 1, "SAME", bias=bias, activation="relu", **rest))

    for _ in range(2):
        assert same(x)
        with nn.algorithm("direct"):
            assert same(x)
        assert same(x)
        for name in nn.available_isas():
            with nn.isa(name):
                assert same(x)
        assert same(x)
        assert same(x, residual=bias + x)
        assert same(x[:, :23])
        assert same(x.astype(">f4"))
        assert same(memoryview(x))
        with pytest.raises(TypeError, match="float64"):
            plan(x.astype(np.float64))
        memory = np.empty(x.nbytes + 1, np.uint8)[1:]
        unaligned = memory.view(np.float32).reshape(x.shape)
        unaligned[...] = x
        assert same(unaligned)
        assert plan(x, np.empty_like(x)).shape == x.shape
        with pytest.raises(TypeError):
            plan(x, None, None)
        with pytest.raises(TypeError):
            plan()


@pytest.mark.parametrize("algorithm", ["auto", *NAMES])
@pytest.mark.parametrize("shape", [(3, 3, 2, 16), (3, 3, 16, 48), (3, 3, 16, 40), (1, 1, 16, 40), (3, 3, 1, 8)])
def test_inputs_of_other_groups(algorithm, shape):
    """The channels of an input say how many groups the filters have: each number has a packing of its own."""
    f = filters(*shape)
    with nn.algorithm(algorithm):
        plan = nn.plan(nn.conv2d, f, strides=1, padding="SAME")
        for groups in (1, 2, 1, 4, 8):
            x = filters(1, 14, 15, groups * shape[2])
            assert np.array_equal(plan(x), nn.conv2d(x, f, 1, "SAME")), groups


def test_inputs_of_few_rows_and_of_many():
    """Of a stride and one row of taps they are packed otherwise, for pixels."""
    f = filters(1, 3, 5, 2)
    with nn.algorithm("pixels"):
        plan = nn.plan(nn.conv2d, f, strides=(4, 1), padding="SAME")
        for rows in (3, 41, 3):
            x = filters(1, rows, 20, 5)
            assert np.array_equal(plan(x), nn.conv2d(x, f, (4, 1), "SAME")), rows


def test_an_output_for_a_call_like_the_last_one():
    """It is taken at once, unless something about it has to be said or it is part of the input."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 8, 9, 4), dtype=np.float32), rng.standard_normal((3, 3, 4, 4), dtype=np.float32)
    plan = nn.plan(nn.conv2d, w, strides=1, padding="SAME")
    y = plan(x)
    for out in (np.empty_like(y), np.empty((2, 8, 9, 8), np.float32)[1:, ..., ::2], np.asfortranarray(y * 0)):
        assert plan(x, out) is out
        assert plan(x, out=out) is out
        assert np.array_equal(out, y)
    same = x.copy()
    assert plan(same, same) is same  # read while it is written
    assert np.array_equal(same, y)
    shifted = np.zeros((1, 8, 10, 4), np.float32)
    shifted[:, :, :9] = x
    assert np.array_equal(plan(shifted[:, :, :9], shifted[:, :, 1:]), y)
    locked = np.empty_like(y)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        plan(x, locked)
    with pytest.raises(TypeError, match="float64"):
        plan(x, np.empty(y.shape))
    with pytest.raises(nn.ShapeError, match="out"):
        plan(x, np.empty((1, 8, 8, 4), np.float32))
    with pytest.raises(TypeError, match="out"):
        plan(x, [1])


def test_packed_filters_lie_together():
    """Those of many plans, of which half go again: each keeps its own, and starts a cache line."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((1, 6, 6, 32), dtype=np.float32)
    filters = [rng.standard_normal((3, 3, 32, 64 + i % 3), dtype=np.float32) for i in range(60)]
    expected = [nn.conv2d(x, f, 1, "SAME") for f in filters]
    plans = [nn.plan(nn.conv2d, f, strides=1, padding="SAME") for f in filters]
    for round_ in range(3):
        for i, plan in enumerate(plans):
            assert np.array_equal(plan(x), expected[i])
        plans[round_::2] = [nn.plan(nn.conv2d, f, strides=1, padding="SAME") for f in filters[round_::2]]
    blocks = [_runtime.packed(size, "test") for size in (10, 1 << 16, 70000, 4 << 20, 3 << 20, 3 << 20, 15 << 18)]
    ends = sorted((b.ctypes.data, b.ctypes.data + b.nbytes) for b in blocks)
    assert all(start % 64 == 0 for start, _ in ends)
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))


def test_explain_says_nothing_of_what_is_empty():
    explanation = nn.explain(nn.conv2d, IMAGE[:0], filters(3, 3, 32, 4), strides=1, padding="SAME")
    assert explanation.flops == 0
    assert "0 FLOP as a direct convolution" in str(explanation)


def test_explain_counts_the_bytes_of_an_image_that_no_machine_holds():
    most = 2**31 - 1
    plan = nn.plan(nn.conv2d, filters(1, 1, 4, 4), strides=most, padding="VALID")
    assert plan.explain((1, most, most, 4)).nbytes == 16 * (most * most + 1 + 4)


def test_explain_says_which_phases_are_direct():
    """Of a 3x3 filter of stride 2, those of two taps along an axis go by Winograd, that of one tap does not."""
    x, f = np.ones((1, 32, 32, 128), np.float32), np.ones((3, 3, 128, 128), np.float32)
    with nn.algorithm("winograd"):
        explanation = nn.explain(nn.conv2d_transpose, x, f, output_shape=None, strides=2, padding="SAME")
    assert explanation.phases == "3 of 4 phases, the others direct"
    assert "winograd (3 of 4 phases, the others direct)" in str(explanation)
    assert nn.explain(nn.conv2d, x, f, strides=1, padding="SAME").phases == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"bias": np.ones(7, np.float32)}, r"bias.shape=\(7,\), but the op makes 4 channels"),
        ({"bias": np.ones(4)}, "bias is float64 but the input is float32"),
        ({"bias": "x"}, "bias"),
        ({"activation": "swish"}, "activation must be"),
        ({"activation": ("clip", 2, 1)}, "clip"),
        ({"strides": [1, 2, 3]}, "strides should be of length"),
        ({"data_format": "NCW"}, "data_format must be one of NHWC, NCHW"),
        ({"padding": [(1, 1)] * 3}, "padding needs 2 or 4"),
    ],
)
def test_arguments_that_are_wrong_whatever_the_input(arguments, says):
    arguments = {"strides": 1, "padding": "SAME", **arguments}
    x, f = np.ones((1, 8, 8, 4), np.float32), filters(3, 3, 4, 4)
    for make in (lambda: nn.plan(nn.conv2d, f, **arguments), lambda: nn.explain(nn.conv2d, x, f, **arguments)):
        with pytest.raises((TypeError, ValueError), match=f"^conv2d: .*{says}"):
            make()


def test_filters_and_biases_that_a_plan_refuses():
    with pytest.raises(nn.ShapeError, match="filters must have 4 dimensions"):
        nn.plan(nn.conv2d, filters(3, 3, 4), strides=1, padding="SAME")
    with pytest.raises(nn.ShapeError, match="the op makes 8 channels"):
        nn.plan(nn.depthwise_conv2d, filters(3, 3, 4, 2), strides=1, padding="SAME", bias=filters(4))
    with pytest.raises(nn.ShapeError, match="the op makes 6 channels"):
        nn.plan(
            nn.separable_conv2d, filters(3, 3, 4, 1), filters(1, 1, 4, 6), strides=1, padding="SAME", bias=filters(4)
        )
    grouped = nn.plan(nn.conv2d_transpose, filters(2, 2, 3, 8), strides=2, padding="SAME", groups=2, bias=filters(6))
    assert grouped(filters(1, 4, 4, 8)).shape == (1, 8, 8, 6)
    with pytest.raises(TypeError, match=r"^explain: conv2d takes no 'nonsense'"):
        nn.explain(nn.conv2d, filters(1, 8, 8, 4), filters(3, 3, 4, 4), strides=1, padding="SAME", nonsense=1)
