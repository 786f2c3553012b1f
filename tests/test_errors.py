"""Hostile arguments: an exception in words, or the right answer; never a crash, a hang or a write to an input.

Every message begins with the op, names the argument and shows the numbers.
"""

import inspect
import random

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from ops import LAYOUTS, OPS, example

import cyconv as nn

CLEAN = (ValueError, TypeError, MemoryError)
WINDOWED = [name for name in OPS if name != "bias_add"]
TRANSPOSED = [name for name in OPS if "transpose" in name]
FORWARD = [name for name in WINDOWED if name not in TRANSPOSED]
ops = pytest.mark.parametrize("name", OPS)
windowed = pytest.mark.parametrize("name", WINDOWED)
transposed = pytest.mark.parametrize("name", TRANSPOSED)
forward = pytest.mark.parametrize("name", FORWARD)


def refused(case, kinds=CLEAN, *, says=(), **changes):
    """The call raises one of `kinds`, its message naming the op, every changed argument and all of `says`."""
    before = {key: a.tobytes() for key, a in case.arrays.items()}
    error = survives(case, **changes)
    assert isinstance(error, kinds), f"{spoken(changes)} gave {spoken({0: error})[0]!r}"
    for word in says:
        assert word in str(error), f"{word!r} is not in {error!r}, on {spoken(changes)}"
    assert all(a.tobytes() == before[key] for key, a in case.arrays.items())
    return str(error)


def survives(case, **changes):
    """The right answer or a clean exception; which of the two is for the caller to look at."""
    try:
        return case.call(**changes)
    except Exception as caught:
        error = caught
    clean = isinstance(error, CLEAN) and str(error).startswith(f"{case.op.name}: ")
    assert clean, f"{type(error).__name__}: {error}, on {spoken(changes)}"
    return error


def spoken(changes):
    """Changed arguments in a few words each."""
    return {key: f"{a.dtype}{list(a.shape)}" if isinstance(a, np.ndarray) else a for key, a in changes.items()}


# ---- arrays ----------------------------------------------------------------------------------------------------------

NO_ARRAYS = {
    "None": None,
    "text": "abc",
    "object": object(),
    "ragged": [[1.0, 2.0], [3.0]],
    "dict": {},
    "set": {1.0},
    "scalar": 1.0,
    "empty list": [],
}


@pytest.mark.parametrize("value", NO_ARRAYS.values(), ids=NO_ARRAYS)
@ops
def test_things_that_are_no_arrays(name, value):
    case = example(OPS[name])
    for argument in case.arrays:
        refused(case, (TypeError, ValueError), says=[argument], **{argument: value})


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
@ops
def test_lists_take_the_dtype_of_the_array_beside_them(name, dtype):
    """A list has no dtype: it is the array's, unless numbers would be lost."""
    case = example(OPS[name])
    arrays = {argument: a.astype(dtype) for argument, a in case.arrays.items()}
    right = case.call(**arrays)
    for listed in [(argument,) for argument in arrays] + [tuple(arrays)[1:]]:
        y = case.call(**arrays | {argument: arrays[argument].tolist() for argument in listed})
        assert y.dtype == dtype
        assert y.tobytes() == right.tobytes()
        for lost in ([0.5], [2**40]) if dtype == "int32" else ([True], [1j]):
            error = survives(case, **arrays | {listed[0]: np.broadcast_to(lost, arrays[listed[0]].shape).tolist()})
            assert isinstance(error, TypeError)
            assert listed[0] in str(error)


def test_lists_beside_an_array_as_extras_and_gradients():
    x, w = np.ones((1, 4, 3, 2), np.float32), np.ones((2, 2, 2, 2), np.float32)
    plain = nn.conv2d(x, w, 1, "SAME")
    assert (nn.conv2d(x, w, 1, "SAME", bias=[1, 0.5], residual=plain.tolist()) == 2 * plain + [1, 0.5]).all()
    assert (nn.conv2d(x, w, 1, "SAME", bias=[1e39, 0])[..., 0] == np.inf).all()
    assert (nn.plan(nn.conv2d, w, strides=1, padding="SAME")(x.tolist()) == plain).all()
    dy = (1 + np.arange(plain.size, dtype=np.float32)).reshape(plain.shape)
    right = nn.conv2d_vjp(x, w, dy, 1, "SAME")
    assert (nn.conv2d_backprop_filter(x, w.shape, dy.tolist(), 1, "SAME") == right[1]).all()
    for y, wanted in zip(nn.conv2d_vjp(x, w.tolist(), dy.tolist(), 1, "SAME"), right):
        assert y.dtype == wanted.dtype
        assert (y == wanted).all()
    for dtype in ("uint8", "int64", "complex64"):
        y = nn.bias_add(x.astype(dtype), [1, 200])
        assert y.dtype == dtype
        assert (y == np.array([2, 201])).all()


@ops
def test_dtypes(name):
    case = example(OPS[name])
    for argument, a in case.arrays.items():
        for dtype in (
            "bool",
            "int8",
            "uint8",
            "int16",
            "uint32",
            "int64",
            "complex64",
            "complex128",
            "longdouble",
            "U3",
            "S2",
            "O",
            "M8[s]",
            "m8[s]",
        ):
            refused(case, TypeError, says=[argument], **{argument: np.zeros(a.shape, dtype)})
        refused(case, TypeError, says=[argument], **{argument: np.zeros(a.shape, [("x", "f4"), ("y", "f4")])})
        for other in ("float64", "int32", "float16"):
            refused(case, TypeError, says=[other, "float32"], **{argument: a.astype(other)})


@ops
def test_subclasses_whose_meaning_would_be_lost(name):
    case = example(OPS[name])
    for argument, a in case.arrays.items():
        refused(case, TypeError, says=[argument], **{argument: np.ma.masked_array(a)})
        matrix = np.zeros((2, 2), np.float32).view(np.matrix)
        refused(case, (TypeError, ValueError), says=[argument], **{argument: matrix})


@ops
def test_ranks(name):
    op = OPS[name]
    case = example(op)
    x, w = case.arrays[op.x], case.arrays[op.filters]
    if name != "bias_add":
        refused(case, says=[op.x], **{op.x: x[0]})
        if not op.batched:
            refused(case, says=[op.x], **{op.x: x[None]})
    refused(case, says=[op.x], **{op.x: x.ravel()})
    refused(case, says=[op.x], **{op.x: x.ravel()[0]})
    # These two take their rank from the filters, and what does not fit then may be another argument.
    says = [op.filters] if name not in ("convolution", "conv_transpose") else []
    refused(case, says=says, **{op.filters: w[0]})
    refused(case, says=says, **{op.filters: w[None]})


@windowed
def test_an_empty_axis_of_the_input(name):
    """Empty batches and images have empty results, or those of an image that is all padding; empty channels are refused."""
    op = OPS[name]
    case = example(op)
    x = case.arrays[op.x]
    for axis in range(x.ndim):
        shape = [0 if i == axis else n for i, n in enumerate(x.shape)]
        changes = {op.x: np.zeros(shape, np.float32)}
        if axis == x.ndim - 1:
            refused(case, nn.ShapeError, **changes)
        elif "output_shape" in case.args:
            size = list(case.args["output_shape"])
            size[axis] = 0
            assert case.call(**changes, output_shape=size).shape == tuple(size)
        else:
            y = case.call(**changes)
            assert y.size == 0
            assert y.shape[axis] == 0


@windowed
def test_an_empty_axis_of_the_filters(name):
    case = example(OPS[name])
    for argument, w in case.arrays.items():
        if "filter" not in argument:
            continue
        for axis in range(w.ndim - 1):
            shape = [0 if i == axis else n for i, n in enumerate(w.shape)]
            refused(case, nn.ShapeError, says=[argument, str(tuple(shape))], **{argument: np.zeros(shape, np.float32)})


@windowed
def test_channels_that_do_not_fit(name):
    op = OPS[name]
    case = example(op, channels=6, filters=4)
    w = case.arrays[op.filters]
    for axis in (-2, -1) if name in TRANSPOSED or name == "depthwise_conv2d" else (-2,):
        for change in (-1, 1):
            if name == "depthwise_conv2d" and axis == -1:
                continue
            shape = list(w.shape)
            shape[axis] += change
            refused(
                case, nn.ShapeError, says=[op.filters, str(shape[axis])], **{op.filters: np.zeros(shape, np.float32)}
            )


@forward
def test_groups(name):
    op = OPS[name]
    case = example(op)
    if op.filters == "filters":
        w = np.zeros(
            (*case.arrays["filters"].shape[:-2], 1, 4), np.float32
        )  # three groups of one channel, four filters
        refused(case, nn.ShapeError, says=["filters", "3", "4"], filters=w)
        w = np.zeros((*case.arrays["filters"].shape[:-2], 1, 2), np.float32)  # fewer filters than groups
        refused(case, nn.ShapeError, says=["filters", "3", "2"], filters=w)
    for groups in (2, 0, -1, 2**31, 2**63):
        refused(case, ValueError, says=["groups", str(groups)], groups=groups)
    for groups in (1.0, "1", [1.5], True):
        refused(case, (TypeError, ValueError), says=["groups"], groups=groups)


def test_groups_of_no_filters_have_an_empty_result():
    x, f, g = np.ones((1, 5, 5, 4), f4), np.ones((2, 2, 2, 0), f4), np.ones((1, 5, 5, 0), f4)
    assert nn.conv2d(x, f, 1, "SAME").shape == (1, 5, 5, 0)
    assert nn.conv2d_backprop_filter(x, f.shape, g, 1, "SAME").shape == f.shape
    assert not nn.conv2d_backprop_input(x.shape, f, g, 1, "SAME").any()


def test_a_separable_op_does_not_group_in_silence():
    case = example(OPS["separable_conv2d"], channels=4)
    w = np.zeros((1, 1, 2, 4), np.float32)
    refused(case, nn.ShapeError, says=["pointwise_filter", "4", "2"], pointwise_filter=w)
    refused(case, nn.ShapeError, says=["pointwise_filter"], pointwise_filter=np.zeros((2, 1, 4, 4), np.float32))


# ---- strides, dilations, padding, data_format ------------------------------------------------------------------------

NO_STEPS = (0, -1, -(2**31), 2**31, 2**32, 2**63 - 1, 2**63, 2**100, -(2**63))
NO_INTEGERS = (
    1.5,
    2.0,
    np.float32(2),
    float("nan"),
    float("inf"),
    True,
    np.bool_(True),
    "2",
    b"2",
    1j,
    object(),
    {},
    {2},
)


@windowed
def test_strides_and_dilations(name):
    op = OPS[name]
    case = example(op)
    rank = case.arrays[op.filters].ndim - 2
    for argument in (op.strides, op.dilations):
        for bad in NO_STEPS:
            for value in (bad, [bad] * rank, (1, *[bad] * rank, 1)):
                refused(case, ValueError, says=[argument, str(bad)], **{argument: value})
        for bad in NO_INTEGERS:
            for value in (bad, [bad] * rank, [1] * (rank - 1) + [bad]):
                refused(case, (TypeError, ValueError), says=[argument], **{argument: value})
        for bad in (
            [],
            [1] * (rank + 1 + (rank == 1) * 2),
            [1] * (rank + 3),
            np.ones((rank, 1), int),
            [[1] * rank],
            "",
            np.array([1.0] * rank),
        ):
            refused(case, (TypeError, ValueError), says=[argument], **{argument: bad})
        for bad in ([2, *[1] * rank, 1], [1, *[1] * rank, 2]):
            refused(case, ValueError, says=[argument, "2"], **{argument: bad})


@windowed
def test_the_largest_strides_and_dilations(name):
    """2^31 - 1 is a stride like any other: one output, or an image that is nearly all gaps."""
    op = OPS[name]
    most = 2**31 - 1
    case = example(op, sizes=(3, 4, 5)[: op.ranks[-1]])
    for argument in (op.strides, op.dilations):
        if name in TRANSPOSED and argument == op.strides:
            refused(case, says=["output_shape"], **{argument: most})
            continue
        if name in FORWARD:
            expected = case.reference(**{argument: most})
            assert np.array_equal(case.call(**{argument: most}), expected)
        refused(
            case, (ValueError, MemoryError), says=[str(most)], **{argument: most, "padding": "VALID"}
        ) if argument != op.strides else None
    survives(case, **{op.strides: most, op.dilations: most, "padding": "FULL"})


@windowed
def test_padding(name):
    op = OPS[name]
    case = example(op)
    rank = case.arrays[op.filters].ndim - 2
    for bad in ("EXPLICIT", "", "SAM", "SAME ", "VALID\0", "x" * 10000):
        refused(case, ValueError, says=["padding"], padding=bad)
    for bad in (None, 1.5, 1.0, float("nan"), True, b"SAME", object(), {"SAME"}, {}, [1.0] * rank, [[0.5, 0.5]] * rank):
        refused(case, (TypeError, ValueError), says=["padding"], padding=bad)
    for bad in (-1, 2**31, 2**62, 2**63, 2**100):
        refused(case, ValueError, says=["padding", str(bad)], padding=bad)
        refused(case, ValueError, says=["padding", str(bad)], padding=[(0, 0)] * (rank - 1) + [(0, bad)])
    for bad in (
        [],
        [(0,)] * rank,
        [(0, 0, 0)] * rank,
        [(0, 0)] * (rank + 1),
        [(0, 0)] * (rank + 3),
        [[(0, 0)]] * rank,
        [0] * (rank + 2),
        ["ab"] * rank,
    ):
        refused(case, (TypeError, ValueError), says=["padding"], padding=bad)
    for end in (0, -1):
        pairs = [[0, 0] for _ in range(rank + 2)]
        pairs[end] = [0, 1]
        refused(case, ValueError, says=["padding"], padding=pairs)
    refused(case, ValueError, says=["padding_mode"], padding_mode="mirror")


@forward
def test_the_largest_pads_are_refused_or_too_large(name):
    """Pads of 2^31 - 1 on every axis: an output that no machine holds, known before anything is allocated."""
    case = example(OPS[name])
    rank = case.arrays[case.op.filters].ndim - 2
    if rank > 1:
        refused(case, (MemoryError, ValueError), padding=2**31 - 1)
        refused(case, (MemoryError, ValueError), padding=[(2**31 - 1, 2**31 - 1)] * rank)


@forward
def test_padding_modes(name):
    case = example(OPS[name])
    for bad in (
        "mirror",
        "",
        None,
        1,
        ("constant",),
        ("constant", "a"),
        ("constant", None),
        ("constant", 1, 2),
        ("constant", 10**400),
        ("reflect", 1),
        [],
        object(),
    ):
        refused(case, (TypeError, ValueError), says=["padding_mode"], padding_mode=bad)
    whole = {key: a.astype(np.int32) for key, a in case.arrays.items()}
    for bad in (float("nan"), float("-inf"), 2**31, -(2**31) - 1):
        refused(case, ValueError, says=["padding_mode", "int32"], padding_mode=("constant", bad), **whole)
    for good in (2**31 - 1, -(2**31)):
        case.call(padding_mode=("constant", good), **whole)
    x = case.arrays[case.op.x]
    empty = np.zeros((x.shape[0], *(0,) * (x.ndim - 2), x.shape[-1]), np.float32)
    for mode in ("reflect", "symmetric", "replicate", "circular"):
        refused(case, nn.ShapeError, **{case.op.x: empty, "padding": 3, "padding_mode": mode})


@transposed
def test_transposes_pad_with_nothing_but_zeros(name):
    refused(example(OPS[name]), ValueError, says=["padding_mode", "reflect"], padding_mode="reflect")


@ops
def test_data_formats(name):
    case = example(OPS[name])
    rank = case.op.ranks[-1]
    wrong = [f for r, formats in LAYOUTS.items() for f in formats if r != rank and name != "bias_add"]
    for bad in (*wrong, "nhwc", "", "HWC", "CHWN", "channels", 1, 1.5, b"NHWC", ["NHWC"], object(), {}):
        if rank == 1 and bad in ("NHWC", "NCHW"):
            continue  # what conv1d's formats were called once
        refused(case, (TypeError, ValueError), says=["data_format"], data_format=bad)


@forward
def test_a_filter_larger_than_its_input(name):
    """TensorFlow's eager rule: empty as long as the division truncates to zero, refused beyond."""
    op = OPS[name]
    rank = op.ranks[-1]
    rest = {"taps": (3, 1, 1)[:rank], "padding": "VALID"}
    case = example(op, sizes=(2, 4, 4)[:rank], **rest)
    assert case.call().shape[1] == 0
    case.op, small = op, example(op, sizes=(3, 4, 4)[:rank], **rest).arrays[op.x][:, :1]
    message = refused(case, nn.ShapeError, says=[op.x, "3", "1"], **{op.x: small})
    assert "SAME" in message
    assert case.call(**{op.x: small, op.strides: 3}).shape[1] == 0


# ---- output_shape ----------------------------------------------------------------------------------------------------


@transposed
def test_output_shapes(name):
    op = OPS[name]
    rank = op.ranks[-1]
    strides = (1 if name.startswith("atrous") else 3,) * rank
    case = example(op, sizes=(9, 12, 6)[:rank], strides=strides, padding="VALID")
    right = list(case.args["output_shape"])
    ranges = [(n - 1) * s + k for n, s, k in zip(case.arrays[op.x].shape[1:], strides, (3, 2, 3))]
    for axis, (least, stride) in enumerate(zip(ranges, strides), 1):
        for size in range(least, least + stride):
            shape = [*right[:axis], size, *right[axis + 1 :]]
            assert case.call(output_shape=shape).shape == tuple(shape)
        for size in (least - 1, least + stride, 0, 2**31 - 1):
            refused(
                case,
                nn.ShapeError,
                says=["output_shape", str(size)],
                output_shape=[*right[:axis], size, *right[axis + 1 :]],
            )
        for size in (-1, -(2**31), 2**31, 2**63, 2**100):
            refused(
                case,
                ValueError,
                says=["output_shape", str(size)],
                output_shape=[*right[:axis], size, *right[axis + 1 :]],
            )
    for batch in (0, 1, 3, -1):
        refused(case, ValueError, says=["output_shape"], output_shape=[batch, *right[1:]])
    for channels in (0, 2, 4, 5, -1):
        refused(case, ValueError, says=["output_shape"], output_shape=[*right[:-1], channels])
    for bad in (
        [],
        right[:1],
        right[:-1] if rank != 1 else [1, 1, 1, 1],
        [*right, 1],
        [right],
        [right, 1],
        5,
        5.0,
        "abc",
        {},
        [float(n) for n in right],
        [str(n) for n in right],
        np.array(right, float),
        [None] * len(right),
    ):
        refused(case, (TypeError, ValueError), says=["output_shape"], output_shape=bad)
    if rank > 1:
        assert case.call(output_shape=right[1:-1]).shape == tuple(right)


@transposed
def test_output_padding(name):
    case = example(OPS[name])
    rank = case.op.ranks[-1]
    if name in ("conv_transpose", "atrous_conv2d_transpose"):
        return
    for bad in (-1, [1] * (rank + 1), [], 1.5, "1", True, [-1] * rank, 2**31):
        refused(case, (TypeError, ValueError), says=["output_padding"], output_shape=None, output_padding=bad)
    refused(case, ValueError, says=["output_padding"], output_padding=0)
    refused(
        case, ValueError, says=["output_padding"], output_shape=None, output_padding=[7] * rank
    )  # beyond the stride


@transposed
def test_groups_where_they_decide_the_channels(name):
    case = example(OPS[name], channels=4, filters=4)
    for bad in ((2,), [1], np.ones(1, int), 0, -1, 2**31, 1.0, "1", True):
        refused(case, (TypeError, ValueError), says=["groups"], output_shape=None, groups=bad)
    assert case.call(output_shape=None, groups=np.array(2)).shape[-1] == 8
    sizes, whole = case.out_shape[1:-1], case.call(output_shape=(*case.out_shape[:-1], 8))
    if len(sizes) > 1:
        assert np.array_equal(case.call(output_shape=sizes, groups=2), whole)
        refused(case, nn.ShapeError, says=["channels"], output_shape=sizes, groups=3)
    message = refused(case, nn.ShapeError, output_shape=None, **{case.op.strides: 2**30})
    assert "None" not in message


# ---- the extras ------------------------------------------------------------------------------------------------------


@windowed
def test_bias_and_residual(name):
    case = example(OPS[name])
    channels, shape = case.out_shape[-1], case.out_shape
    for bad in ((channels + 1,), (channels - 1,), (1,), (), (0,), (channels, 1), (1, channels)):
        refused(case, nn.ShapeError, says=["bias", str(channels)], bias=np.zeros(bad, np.float32))
    for bad in ((1,), shape[1:], (*shape, 1), (1, *shape[1:]), (*shape[:-1], channels + 1), ()):
        refused(case, nn.ShapeError, says=["residual", str(shape)], residual=np.zeros(bad, np.float32))
    for argument, right in (("bias", (channels,)), ("residual", shape)):
        for dtype in ("float64", "int32", "O", "U1", "bool"):
            refused(case, TypeError, says=[argument], **{argument: np.zeros(right, dtype)})
        refused(case, TypeError, says=[argument], **{argument: np.ma.zeros(right, np.float32)})
        refused(case, (TypeError, ValueError), says=[argument], **{argument: "abc"})


@windowed
def test_activations(name):
    case = example(OPS[name])
    for bad in (
        "RELU",
        "softmax",
        "",
        1,
        ("relu", 1),
        ("clip",),
        ("clip", 1),
        ("clip", 2, 1),
        ("clip", 0, 1, 2),
        ("clip", "a", "b"),
        ("clip", float("nan"), 1),
        ("clip", 0, 10**400),
        ("leaky_relu", 1, 2),
        ("leaky_relu", None),
        (),
        [[]],
        np.maximum,
        {},
    ):
        refused(case, (TypeError, ValueError), says=["activation"], activation=bad)
    whole = example(OPS[name], dtype="int32")
    for smooth in ("elu", "sigmoid", "tanh", "silu", "gelu", ("leaky_relu", 0.5)):
        refused(whole, TypeError, says=["activation", "int32"], activation=smooth)
    if name == "separable_conv2d":
        refused(case, ValueError, says=["depthwise_activation"], depthwise_activation="softmax")


@windowed
def test_num_threads(name):
    case = example(OPS[name])
    for bad in (0, -1, 2**31, 2**63, 1.0, 1.5, "2", True, [2], float("nan")):
        refused(case, (TypeError, ValueError), says=["num_threads"], num_threads=bad)
    assert np.array_equal(case.call(num_threads=10000), case.call(num_threads=1))


@windowed
def test_out(name):
    case = example(OPS[name])
    shape = case.out_shape
    frozen = np.zeros(shape, np.float32)
    frozen.flags.writeable = False
    refused(case, ValueError, says=["out", "read-only"], out=frozen)
    for bad in (shape[1:], (*shape, 1), (shape[0] + 1, *shape[1:]), (0,), ()):
        refused(case, nn.ShapeError, says=["out", str(shape)], out=np.zeros(bad, np.float32))
    for dtype in ("float64", "int32", "O", ">f4"):
        refused(case, TypeError, says=["out"], out=np.zeros(shape, dtype))
    for bad in ([], "abc", 1, object(), np.ma.zeros(shape, np.float32), np.float32(1), memoryview(b"")):
        refused(case, TypeError, says=["out"], out=bad)
    refused(case, ValueError, says=["out"], out=np.broadcast_to(np.zeros(1, np.float32), shape))
    every = as_strided(np.zeros(1, np.float32), shape, (0,) * len(shape), writeable=True)
    survives(case, out=every)


@windowed
def test_out_over_an_operand(name):
    """The result is that of an out of its own, wherever the two lie in memory."""
    op = OPS[name]
    rng = random.Random(0)
    case = example(op, channels=4, filters=4, taps=(1, 1, 1)[: op.ranks[-1]])
    expected = case.call()
    x = case.arrays[op.x]
    if expected.shape != x.shape:
        return
    for argument in (op.x, "residual"):
        y = x.copy()
        want = case.call(residual=x) if argument == "residual" else expected
        assert np.array_equal(case.call(**{argument: y, "out": y}), want)
    room = np.zeros(2 * x.size + 7, np.float32)
    for shift in (0, 1, 3, rng.randrange(x.size), x.size - 1, x.size):
        for first, second in ((0, shift), (shift, 0)):
            a, out = (room[n : n + x.size].reshape(x.shape) for n in (first, second))
            a[...] = x
            assert np.array_equal(case.call(**{op.x: a, "out": out}), expected), (first, second)


# ---- sizes that exist on paper only ----------------------------------------------------------------------------------


def paper(*shape):
    """An array of any size in four bytes."""
    return as_strided(np.ones(1, np.float32), shape, (0,) * len(shape))


@windowed
def test_outputs_that_no_machine_holds(name):
    """Inputs of up to 2^62 elements by zero strides: refused before anything is allocated or computed."""
    op = OPS[name]
    case = example(op)
    rank, channels = op.ranks[-1], case.arrays[op.x].shape[-1]
    for n in (2**20, 2**26, 2**30):
        for batch in (2**10, 2**21, 2**29) if rank == 1 else (1, 2**10):
            sizes = (n,) * rank if rank > 1 else (2**30,)
            if batch * int(np.prod([float(s) for s in sizes])) < 2**49 or batch * float(n) ** rank * channels > 2**62:
                continue
            changes = {"output_shape": [batch, *sizes, 3]} if name in TRANSPOSED else {}
            try:
                x = paper(batch, *sizes, channels)
            except ValueError:
                continue  # beyond what NumPy itself can describe
            refused(case, (MemoryError, ValueError), **{op.x: x}, **changes)


def test_a_sum_that_no_machine_holds():
    with pytest.raises(MemoryError, match=r"^bias_add: "):
        nn.bias_add(paper(2**50, 4), np.ones(4, np.float32))


@forward
def test_a_batch_beyond_31_bits(name):
    case = example(OPS[name], sizes=(1, 1, 1)[: OPS[name].ranks[-1]])
    x = paper(2**50, *case.arrays[case.op.x].shape[1:])
    refused(case, MemoryError, **{case.op.x: x})


@forward
def test_a_huge_input_with_a_small_output(name):
    """Nothing is proportional to the input but what is read of it."""
    op = OPS[name]
    rank = op.ranks[-1]
    case = example(op, padding="VALID")
    channels = case.arrays[op.x].shape[-1]
    inside = case.call(**{op.x: np.ones((1, *(3, 2, 3)[:rank], channels), np.float32)}).ravel()
    n, stride = {1: (2**31 - 1, 2**28), 2: (2**29, 2**27), 3: (2**19, 2**17)}[rank]
    y = case.call(**{op.x: paper(1, *(n,) * rank, channels), op.strides: stride})
    assert y.size > 2**rank
    assert (y == inside).all()


@windowed
def test_filters_of_many_taps(name):
    """Those that meet no image cost nothing: each output is the sum of all the image's rows, for any filters long enough."""
    case, arg = example(OPS[name], sizes=(5, 6, 4)[: OPS[name].ranks[-1]]), OPS[name].filters
    if name == "separable_conv2d":
        arg = "depthwise_filter"
    shape = case.arrays[arg].shape[1:]
    short = case.call(**{arg: np.ones((11, *shape), np.float32)})
    for taps in (2**20 + 1, 2**31 - 1):
        y = survives(case, **{arg: paper(taps, *shape)})
        assert isinstance(y, MemoryError if name == "separable_conv2d" and taps > 2**20 + 1 else np.ndarray)
        assert isinstance(y, MemoryError) or (y == short).all()


def test_filters_and_strides_of_many():
    """Of a stride as long as the filters each output has taps of its own, and so has each phase."""
    x, w, n = np.ones((1, 5, 1)), np.broadcast_to(1.0, (2**31 - 1, 1, 1)), 2**31 - 1
    assert nn.conv1d(x, w, n, "FULL").ravel().tolist() == [1, 4]
    assert nn.conv1d_transpose(x[:, :1], w, (1, 5, 1), n, "SAME").ravel().tolist() == [1] * 5
    wide = np.broadcast_to(np.float32(1), (n, 3, 3, 12, 16))  # along the depth of what Winograd takes
    y = nn.conv3d(np.ones((1, 2, 20, 20, 12), np.float32), wide, 1, "SAME")
    assert (y[:, :, 1:-1, 1:-1] == 2 * 9 * 12).all()


@forward
def test_axes_beyond_31_bits(name):
    """Strides keep the output small: each element is that of an image of ones, or the size is refused."""
    op = OPS[name]
    case = example(op, padding="VALID")
    x = case.arrays[op.x]
    taps = (3, 2, 3)[: op.ranks[-1]]
    inside = case.call(**{op.x: np.ones((1, *taps, x.shape[-1]), np.float32)}).ravel()
    for n in (2**31 - 1, 2**31, 2**33, 2**40):
        for axis in range(1, x.ndim - 1):
            shape = [1, *(n if i == axis else k for i, k in enumerate(taps, 1)), x.shape[-1]]
            y = survives(case, **{op.x: paper(*shape), op.strides: 2**31 - 1})
            if isinstance(y, np.ndarray):
                assert y.shape[axis] == (n - taps[axis - 1]) // (2**31 - 1) + 1
                assert (y == inside).all()


# ---- the historic list -----------------------------------------------------------------------------------------------

f4 = np.float32
HISTORIC = {
    "CVE-2021-29526 conv2d, a filter without height": lambda: nn.conv2d(
        np.ones((1, 4, 4, 2), f4), np.ones((0, 3, 2, 2), f4), 1, "SAME"
    ),
    "CVE-2021-41209 conv2d, no channels": lambda: nn.conv2d(
        np.ones((1, 4, 4, 0), f4), np.ones((3, 3, 0, 2), f4), 1, "SAME"
    ),
    "CVE-2021-37675 conv3d, a filter without depth": lambda: nn.conv3d(
        np.ones((1, 4, 4, 4, 2), f4), np.ones((0, 3, 3, 2, 2), f4), 1, "SAME"
    ),
    "CVE-2021-29517 conv3d, a filter without channels": lambda: nn.conv3d(
        np.ones((1, 4, 4, 4, 2), f4), np.ones((3, 3, 3, 0, 2), f4), 1, "SAME"
    ),
    "CVE-2023-25661 conv3d_transpose, an empty input": lambda: nn.conv3d_transpose(
        np.ones((1, 0, 2, 2, 2), f4), np.ones((2, 2, 2, 1, 2), f4), (1, 4, 4, 4, 1), 2
    ),
    "conv2d_transpose, an empty filter": lambda: nn.conv2d_transpose(
        np.ones((1, 2, 2, 2), f4), np.ones((0, 2, 1, 2), f4), (1, 4, 4, 1), 2
    ),
    "stride 0": lambda: nn.conv2d(np.ones((1, 4, 4, 2), f4), np.ones((1, 1, 2, 2), f4), 0, "SAME"),
    "stride 2^32": lambda: nn.conv2d(np.ones((1, 4, 4, 2), f4), np.ones((1, 1, 2, 2), f4), 2**32, "SAME"),
    "pad 2^31": lambda: nn.conv2d(np.ones((1, 4, 4, 2), f4), np.ones((1, 1, 2, 2), f4), 1, 2**31),
    "pad 2^62": lambda: nn.conv2d(
        np.ones((1, 4, 4, 2), f4), np.ones((1, 1, 2, 2), f4), 1, [[0, 0], [2**62, 2**62], [0, 0], [0, 0]]
    ),
    "output_shape with a wrong batch": lambda: nn.conv2d_transpose(
        np.ones((2, 2, 2, 2), f4), np.ones((2, 2, 1, 2), f4), (1, 4, 4, 1), 2
    ),
    "output_shape of three": lambda: nn.conv2d_transpose(
        np.ones((1, 2, 2, 2), f4), np.ones((2, 2, 1, 2), f4), (4, 4, 1), 2
    ),
    "output_shape with -1": lambda: nn.conv2d_transpose(
        np.ones((1, 2, 2, 2), f4), np.ones((2, 2, 1, 2), f4), (-1, 4, 4, 1), 2
    ),
    "atrous rate 0": lambda: nn.atrous_conv2d(np.ones((1, 4, 4, 2), f4), np.ones((1, 1, 2, 2), f4), 0, "SAME"),
    "an atrous transpose of the wrong size": lambda: nn.atrous_conv2d_transpose(
        np.ones((1, 4, 4, 2), f4), np.ones((2, 2, 1, 2), f4), (1, 9, 4, 1), 2, "SAME"
    ),
    "convolution of rank 4": lambda: nn.convolution(np.ones((1, 2, 2, 2, 2, 1), f4), np.ones((1, 1, 1, 1, 1, 1), f4)),
    "convolution of rank 0": lambda: nn.convolution(np.ones((1, 1), f4), np.ones((1, 1), f4)),
    "conv_transpose of rank 4": lambda: nn.conv_transpose(
        np.ones((1, 2, 2, 2, 2, 1), f4), np.ones((1, 1, 1, 1, 1, 1), f4), (1, 2, 2, 2, 2, 1), 1
    ),
    "bias_add of rank 1": lambda: nn.bias_add(np.ones(3, f4), np.ones(3, f4)),
    "bias_add of the wrong length": lambda: nn.bias_add(np.ones((1, 3), f4), np.ones(4, f4)),
}


@pytest.mark.parametrize("call", HISTORIC.values(), ids=HISTORIC)
def test_the_historic_list(call):
    with pytest.raises(CLEAN) as caught:
        call()
    assert ": " in str(caught.value)


def test_the_historic_list_where_an_answer_is_right():
    assert nn.conv2d(np.ones((0, 4, 4, 2), f4), np.ones((3, 3, 2, 5), f4), 1, "SAME").shape == (0, 4, 4, 5)
    assert nn.conv2d(np.ones((1, 4, 4, 2), f4), np.ones((3, 3, 2, 0), f4), 1, "SAME").shape == (1, 4, 4, 0)
    assert not nn.conv2d(
        np.ones((1, 0, 4, 2), f4), np.ones((1, 1, 2, 2), f4), 1, [[0, 0], [1, 1], [0, 0], [0, 0]]
    ).any()
    y = nn.conv3d(np.ones((1, 2, 2, 2, 1), f4), np.ones((1, 1, 1, 1, 1), f4), 1, [[0, 0]] + [[1, 1]] * 3 + [[0, 0]])
    assert y.shape == (1, 4, 4, 4, 1)
    assert y.sum() == 8
    assert nn.conv2d(np.ones((1, 4, 4, 2), f4), np.ones((2, 2, 2, 1), f4), 1, "SAME", dilations=2**31 - 1).shape == (
        1,
        4,
        4,
        1,
    )


def test_arguments_that_do_not_fit_are_named_by_the_op():
    x = np.ones((1, 4, 4, 3), f4)
    with pytest.raises(TypeError, match=r"^max_pool2d: missing a required argument: 'padding'$"):
        nn.max_pool2d(x, 2, 2)
    with pytest.raises(TypeError, match=r"^conv3d: got an unexpected keyword argument 'stride'$"):
        nn.conv3d(x, x, 1, "SAME", stride=1)
    with pytest.raises(TypeError, match=r"^conv2d_transpose: too many positional arguments$"):
        nn.conv2d_transpose(x, x, None, 1, "SAME", "NHWC", 1, None, None)


LONG = (np.ones((100, 32, 32, 3), f4), np.ones((40, 32, 32, 3)).tolist(), "x" * 5000)


@pytest.mark.parametrize("name", [n for n in nn.__all__ if inspect.isfunction(getattr(nn, n))])
def test_messages_stay_short(name):
    """An array in the place of a number, an error all the same: nobody reads the three hundred thousand numbers."""
    op, good = getattr(nn, name), {}
    for key, p in inspect.signature(op).parameters.items():
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            array = "filter" in key or "input" in key or "grad" in key or "backprop" in key
            good[key] = "SAME" if key == "padding" else np.ones((3, 3, 3, 3), f4) if array else 1
    for key in inspect.signature(op).parameters:
        for value in LONG:
            message = ""
            try:
                op(**{**good, key: value})
            except Exception as e:
                message = str(e)
            assert len(message) < 500, key


def test_an_array_where_a_shape_should_be():
    x = np.ones((1, 8, 8, 3), f4)
    with pytest.raises(
        TypeError, match=r"shape must be a sequence of sizes, not an array; give its shape, \(1, 8, 8, 3\)"
    ):
        nn.plan(nn.conv2d, np.ones((3, 3, 3, 4), f4), strides=1, padding="SAME").explain(x)


# ---- at random -------------------------------------------------------------------------------------------------------

JUNK = (
    None, True, 0, 1, 2, 3, -1, 7, 2**31 - 1, 2**31, 2**63, 1.5, float("nan"), "SAME", "VALID", "NHWC", "NCHW", "", b"x", (), [], [1], [1, 1],
    [1, 2, 2, 1], [0, 0], [[0, 0]], [[0, 0], [1, 1], [1, 1], [0, 0]], [(1, 1), (2, 2)], {}, object(), np.ones(3), np.ones((3, 3), f4),
    np.zeros((0, 3), f4), np.ones((1, 3, 3, 3), f4), ("constant", 1), ("clip", 0, 1), "relu", np.int64(2), np.array(2), np.array([2, 2]),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@ops
def test_random_junk(name):
    """Any argument may be anything: one or two at a time."""
    op = OPS[name]
    case = example(op)
    extras = ["bias", "activation", "residual", "out", "num_threads", "padding_mode", "groups", "data_format"]
    arguments = [*case.arrays, *case.args, *(extras if name != "bias_add" else ["data_format"])]
    rng = random.Random(0)
    for _ in range(600):
        changes = {rng.choice(arguments): rng.choice(JUNK) for _ in range(rng.choice((1, 2)))}
        if type(changes.get("padding")) is int and changes["padding"] == 2**31 - 1:
            continue  # legal, and large
        survives(case, **changes)


class Sizes:
    """Like a TensorShape: it gives its sizes one by one."""

    def __init__(self, *sizes):
        self.sizes = sizes

    def __iter__(self):
        return iter(self.sizes)


def test_shapes_as_frameworks_give_them():
    x, w = np.ones((1, 4, 4, 2), np.float32), np.ones((3, 3, 3, 2), np.float32)
    expected = nn.conv2d_transpose(x, w, (1, 8, 8, 3), 2)
    for shape in (Sizes(1, 8, 8, 3), np.array([1, 8, 8, 3]), iter((1, 8, 8, 3))):
        assert np.array_equal(nn.conv2d_transpose(x, w, shape, 2), expected)
    with pytest.raises(TypeError, match="every size in output_shape must be an integer, not None"):
        nn.conv2d_transpose(x, w, Sizes(None, 8, 8, 3), 2)


IMAGE, SQUARE = np.ones((1, 4, 4, 2), np.float32), np.ones((3, 3, 2, 2), np.float32)
MANY = list(range(10**5))


@pytest.mark.parametrize(
    "call",
    [
        lambda: nn.conv2d_transpose(IMAGE, SQUARE, MANY, 1),
        lambda: nn.conv2d_transpose(IMAGE, SQUARE, None, 1, output_padding=MANY),
        lambda: nn.conv2d_backprop_input(MANY, SQUARE, IMAGE, 1, "SAME"),
        lambda: nn.conv2d_backprop_filter(IMAGE, MANY, IMAGE, 1, "SAME"),
        lambda: nn.avg_pool_grad(MANY, IMAGE, 2, 2, "SAME"),
        lambda: nn.space_to_batch(IMAGE, MANY, [(0, 0)] * 2),
        lambda: nn.space_to_batch(IMAGE, 2, [(0, 0)] * 10**5),
        lambda: nn.plan(nn.conv2d, SQUARE, strides=1, padding="SAME").output_shape(MANY),
        lambda: nn.conv2d(IMAGE, SQUARE, 10**5000, "SAME"),
        lambda: nn.conv2d(IMAGE, SQUARE, [10**5000] * 4, "SAME"),
        lambda: nn.conv2d(IMAGE, SQUARE, 1, [(10**5000, 0)] * 2),
        lambda: nn.conv2d(IMAGE, SQUARE, 1, "SAME", activation=("clip", 10**5000)),
        lambda: nn.max_pool(IMAGE, 10**5000, 1, "SAME"),
        lambda: nn.conv2d_vjp(IMAGE, SQUARE, IMAGE, 1, "SAME", **{"x" * 10000: 1}),
    ],
)
def test_what_is_long_does_not_stand_in_a_message(call):
    with pytest.raises((TypeError, ValueError)) as raised:
        call()
    assert len(str(raised.value)) < 500
    assert str(raised.value).split(":")[0] in {*nn.__all__, "plan"}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: nn.conv2d(IMAGE[0], SQUARE, 1, "SAME"), r"A single image is a batch of one: input\[None\]"),
        (lambda: nn.conv2d(np.ones((1, 5, 5, 2), f4), SQUARE, 1, "SAME", "NCHW"), "Are the channels last"),
        (lambda: nn.conv2d(np.ones((1, 2, 5, 5), f4), SQUARE, 1, "SAME"), "Are the channels first"),
        (
            lambda: nn.max_pool(IMAGE, [1, 2**40, 1, 1], 1, "SAME"),
            "ksize must be between 1 and 2147483647, not 1099511627776",
        ),
        (lambda: nn.max_pool(IMAGE, 9, 1, "VALID"), "the window spans 9 .* smaller window"),
        (lambda: nn.max_pool2d(IMAGE, 2, [1, 2, 2, 2], "VALID"), r"strides=\(1, 2, 2, 2\) go over the channels"),
        (lambda: nn.conv1d(IMAGE[0], SQUARE[0], [1, 1], "SAME"), "length 1 or 3, not 2"),
        (
            lambda: nn.conv2d_backprop_input([1, 5], np.ones((3, 2, 1, 1), f4), np.ones((1, 1, 4, 1), f4), 1, "VALID"),
            r"input_sizes has only 1 \(input_sizes=",
        ),
        (lambda: nn.conv2d(IMAGE, SQUARE, 1, b"SAME"), "padding must be a string, not bytes"),
        (lambda: nn.dilation2d(IMAGE, SQUARE, 1, "SAME", "NHWC", 1), "height, width, channels.*each 1 or more"),
        (
            lambda: nn.conv2d(IMAGE.astype("i4"), SQUARE.astype("i4"), 1, "SAME", padding_mode=("constant", 2.5)),
            "whole number that int32 holds, not 2.5",
        ),
    ],
)
def test_messages_say_what_to_do(call, says):
    with pytest.raises((TypeError, ValueError), match=says):
        call()
