"""The costs of a CNN, against numbers worked out by hand."""

from functools import partial

import numpy as np
import pytest

import cyconv as nn

SAME = {"strides": 2, "padding": "SAME", "bias": True}
# Three 3x3 layers of 100, 200 and 400 maps with stride 2 on 200 x 300 RGB images.
EXERCISE = [(nn.conv2d, (3, 3, 3, 100), SAME), (nn.conv2d, (3, 3, 100, 200), SAME), (nn.conv2d, (3, 3, 200, 400), SAME)]


def test_exercise_of_three_layers(capsys):
    """903,400 parameters; 12.6 MB for one prediction, 566 MB to keep the activations of 50 images."""
    one = nn.summary(EXERCISE, (200, 300, 3))
    assert [row.parameters for row in one.rows] == [2_800, 180_200, 720_400]
    assert one.parameters == 903_400
    assert one.parameter_bytes == 3_613_600
    assert [row.output_shape for row in one.rows] == [(1, 100, 150, 100), (1, 50, 75, 200), (1, 25, 38, 400)]
    assert [row.output_bytes for row in one.rows] == [6_000_000, 3_000_000, 1_520_000]
    # The second layer is the worst: 6 MB of input, 3 MB of output, and the parameters.
    assert one.peak_bytes == 6_000_000 + 3_000_000 + 3_613_600 == 12_613_600
    assert one.kept_bytes == 4 * 200 * 300 * 3 + 10_520_000 + 3_613_600
    assert [row.flops for row in one.rows] == [
        2 * 100 * 150 * 27 * 100,
        2 * 50 * 75 * 900 * 200,
        2 * 25 * 38 * 1800 * 400,
    ]
    many = nn.summary(EXERCISE, (200, 300, 3), batch=50)
    assert many.activation_bytes == 50 * 10_520_000 + 36_000_000 == 562_000_000
    assert many.kept_bytes == 562_000_000 + 3_613_600
    trained = nn.summary(EXERCISE, (200, 300, 3), batch=50, training=True)
    assert trained.kept_bytes == many.kept_bytes + 3_613_600 + 50 * 9_000_000 == 1_019_227_200
    assert trained.flops == 3 * many.flops
    half = nn.summary(EXERCISE, (200, 300, 3), "float16")
    assert half.peak_bytes * 2 == one.peak_bytes
    printed = capsys.readouterr().out
    assert printed.count("903,400") == 4
    assert "(50, 25, 38, 400)" in printed


def test_every_kind_of_layer():
    layers = [
        (
            nn.conv2d,
            np.ones((3, 3, 1, 8), np.float32),
            {"strides": 1, "padding": "SAME", "bias": np.ones(8, np.float32)},
        ),
        np.tanh,
        (nn.max_pool2d, {"ksize": 2, "strides": 2, "padding": "VALID"}),
        (nn.depthwise_conv2d, (3, 3, 8, 2), {"strides": 1, "padding": "VALID"}),
        (nn.separable_conv2d, (3, 3, 16, 1), (1, 1, 16, 4), {"strides": 1, "padding": "SAME", "bias": True}),
        (nn.conv2d_transpose, (2, 2, 6, 4), {"output_shape": (5, 24, 24, 6), "strides": 2}),
        (nn.conv2d, (1, 1, 3, 6), {"strides": 1, "padding": "SAME"}),  # two groups
        lambda x: x.reshape(len(x), -1),
        (np.matmul, (24 * 24 * 6, 10)),
    ]
    table = nn.summary(layers, (28, 28, 1), batch=5)
    assert [row.output_shape[1:] for row in table.rows] == [
        (28, 28, 8), (28, 28, 8), (14, 14, 8), (12, 12, 16), (12, 12, 4), (24, 24, 6), (24, 24, 6), (3456,), (10,)
    ]  # fmt: skip
    assert [row.parameters for row in table.rows] == [80, 0, 0, 144, 144 + 64 + 4, 96, 18, 0, 34560]
    flops = [28 * 28 * 72, 0, 0, 144 * 144, 144 * (144 + 64), 144 * 96, 576 * 18, 0, 34560]
    assert [row.flops for row in table.rows] == [2 * 5 * n for n in flops]
    assert table.rows[1].name == "tanh"


def test_biases_are_parameters_and_no_operations():
    how = {"strides": 1, "padding": "SAME", "bias": True, "depthwise_bias": np.ones(6, np.float32)}
    table = nn.summary([(nn.separable_conv2d, (3, 3, 3, 2), (1, 1, 6, 4), how), (nn.bias_add, (4,))], (8, 8, 3))
    assert [row.parameters for row in table.rows] == [54 + 24 + 6 + 4, 4]
    assert [row.flops for row in table.rows] == [2 * 64 * (54 + 24), 0]
    half = [np.ones(shape, np.float16) for shape in ((3, 3, 3, 2), (1, 1, 6, 4), (6,), (4,))]
    how |= {"depthwise_bias": half[2], "bias": half[3]}
    assert nn.summary([(nn.separable_conv2d, *half[:2], how)], (8, 8, 3), "float16").parameters == 54 + 24 + 6 + 4
    for none in (None, False, np.False_):
        assert nn.summary([(nn.conv2d, (3, 3, 3, 2), {**SAME, "bias": none})], (8, 8, 3)).parameters == 54


def test_layouts():
    first = {"strides": 2, "padding": "SAME", "bias": True, "data_format": "NCHW"}
    table = nn.summary([(nn.conv2d, (3, 3, 3, 100), first)], (3, 200, 300))
    assert table.rows[0][1:4] == ((1, 100, 100, 150), 2_800, 2 * 100 * 150 * 2700)

    leading = nn.summary([(nn.conv2d, (3, 3, 100, 4), first | {"strides": 1})], (7, 100, 6, 5))
    assert leading.rows[0][1:4] == ((1, 7, 4, 6, 5), 3_604, 2 * 7 * 6 * 5 * 3_600)


def test_layers_that_change_the_batch():
    blocks = {"block_shape": [2, 2], "paddings": [[0, 0], [0, 0]]}
    same = {"strides": 1, "padding": "SAME"}
    table = nn.summary([(nn.space_to_batch, blocks), (nn.conv2d, (3, 3, 3, 2), same)], (8, 8, 3), batch=3)
    assert [row.output_shape for row in table.rows] == [(12, 4, 4, 3), (12, 4, 4, 2)]
    assert [row.output_bytes for row in table.rows] == [4 * 3 * 8 * 8 * 3, 4 * 3 * 8 * 8 * 2]
    assert table.flops == 2 * 3 * 64 * 54
    assert nn.summary([lambda x: x.reshape(-1, 10)], (20, 3), batch=2).rows[0].output_shape == (12, 10)


def test_options_bound_beforehand():
    """The op is told by its name: a transposed one has its operations at the input's positions."""
    up = partial(nn.conv2d_transpose, output_shape=None, strides=2, data_format="NCHW")
    assert nn.summary([(up, (3, 3, 4, 2), {"bias": True})], (2, 8, 8)).rows[0] == nn.summary(
        [(nn.conv2d_transpose, (3, 3, 4, 2), {**up.keywords, "bias": True})], (2, 8, 8)
    ).rows[0] == ("conv2d_transpose", (1, 4, 16, 16), 76, 2 * 64 * 72, 304, 4096)  # fmt: skip


def test_refuses_in_words():
    for layers, shape, word in (
        ([(nn.conv2d, (3, 3, 4, 8), {"strides": 1, "padding": "SAME"})], (8, 8, 3), "channels"),
        ([], (8, 8, 3), "layers"),
        ([("conv2d",)], (8, 8, 3), "op"),
        ([(nn.conv2d, "3x3", {})], (8, 8, 3), "shape"),
        ([(nn.conv2d, (3, 3, 3, 8), {**SAME, "bias": np.ones(7, np.float32)})], (8, 8, 3), "bias"),
        ([np.tanh], (8, 0, 3), "input_shape"),
        ([np.tanh], (8, 2.5, 3), "input_shape"),
        ([np.tanh], None, "input_shape"),
        ([np.tanh], 8, "input_shape"),
        ([lambda x: 3], (8, 8, 3), "summary: <lambda>"),
        ([np.sum], (8, 8, 3), "summary: sum"),
        ([(nn.max_pool_with_argmax, {"ksize": 2, "strides": 2, "padding": "SAME"})], (8, 8, 3), "gives 2 arrays"),
        ([(nn.conv2d_transpose, (3, 3, 8, 3), {"output_shape": 3, "strides": 2})], (8, 8, 3), "output_shape"),
    ):
        with pytest.raises((ValueError, TypeError), match=word):
            nn.summary(layers, shape)
    with pytest.raises(TypeError, match=r"^summary: dtype"):
        nn.summary([np.tanh], (8, 8, 3), dtype="float31")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"layers": None}, "layers must be a sequence of layers, not None"),
        ({"training": np.ones(2)}, "training must be True or False"),
        ({"dtype": None}, "dtype must be a type of numbers, not None"),
        ({"dtype": "V0"}, "dtype must be a type of numbers"),
        ({"dtype": object}, "dtype must be a type of numbers"),
        ({"input_shape": (1,) * 100}, "input_shape should have a few numbers"),
    ],
)
def test_arguments_that_are_refused(arguments, says):
    arguments = {
        "layers": [(nn.conv2d, (3, 3, 3, 8), {"strides": 1, "padding": "SAME"})],
        "input_shape": (8, 8, 3),
        **arguments,
    }
    with pytest.raises((TypeError, ValueError), match=f"^summary: {says}"):
        nn.summary(**arguments)
