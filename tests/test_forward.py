"""Every forward op against its formula in NumPy, over thousands of random problems."""

import inspect

import numpy as np
import pytest
from ops import OPS, sweep

import cyconv as nn

# How many cases of each op; together with the chunks' names they are the same in every run.
CASES = {
    "convolution": 1200,
    "conv1d": 1200,
    "conv2d": 2000,
    "conv3d": 1000,
    "atrous_conv2d": 1000,
    "depthwise_conv2d": 1400,
    "separable_conv2d": 1000,
    "conv_transpose": 800,
    "conv1d_transpose": 800,
    "conv2d_transpose": 1200,
    "conv3d_transpose": 800,
    "atrous_conv2d_transpose": 800,
    "bias_add": 400,
}
CHUNK = 200


@pytest.mark.parametrize(
    ("name", "first"), [(name, n) for name, count in CASES.items() for n in range(0, count, CHUNK)]
)
def test_equals_the_formula(name, first):
    failures = sweep(OPS[name], range(first, first + CHUNK))
    assert not failures, "\n".join(failures)


def test_at_least_five_thousand_cases():
    assert sum(CASES.values()) >= 5000
    assert CASES.keys() == OPS.keys()


# What can be passed by position, and its default: TensorFlow's, to the letter.
SIGNATURES = {
    "convolution": "input, filters, strides=None, padding='VALID', data_format=None, dilations=None, name=None",
    "conv1d": "input, filters, stride, padding, data_format='NWC', dilations=None, name=None",
    "conv2d": "input, filters, strides, padding, data_format='NHWC', dilations=None, name=None",
    "conv3d": "input, filters, strides, padding, data_format='NDHWC', dilations=None, name=None",
    "atrous_conv2d": "value, filters, rate, padding, name=None",
    "depthwise_conv2d": "input, filter, strides, padding, data_format=None, dilations=None, name=None",
    "separable_conv2d": (
        "input, depthwise_filter, pointwise_filter, strides, padding, data_format=None, dilations=None, name=None"
    ),
    "conv_transpose": (
        "input, filters, output_shape, strides, padding='SAME', data_format=None, dilations=None, name=None"
    ),
    "conv1d_transpose": (
        "input, filters, output_shape, strides, padding='SAME', data_format='NWC', dilations=None, name=None"
    ),
    "conv2d_transpose": (
        "input, filters, output_shape, strides, padding='SAME', data_format='NHWC', dilations=None, name=None"
    ),
    "conv3d_transpose": (
        "input, filters, output_shape, strides, padding='SAME', data_format='NDHWC', dilations=None, name=None"
    ),
    "atrous_conv2d_transpose": "value, filters, output_shape, rate, padding, name=None",
    "bias_add": "value, bias, data_format=None, name=None",
}


@pytest.mark.parametrize("name", OPS)
def test_positional_arguments_are_tensorflows(name):
    parameters = inspect.signature(getattr(nn, name)).parameters.values()
    positional = [p.replace(annotation=p.empty) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert ", ".join(map(str, positional)).replace(" = ", "=") == SIGNATURES[name]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters if p.name not in {q.name for q in positional})


def test_padding_modes_are_those_of_numpy_pad():
    """The index maps that oracle and kernels share no code for, against numpy.pad far beyond one period."""
    x = np.arange(1, 4, dtype=np.float32).reshape(1, 3, 1)
    identity = np.ones((1, 1, 1), np.float32)
    names = {"reflect": "reflect", "symmetric": "symmetric", "replicate": "edge", "circular": "wrap"}
    for mode, name in names.items():
        for lo, hi in ((0, 0), (1, 2), (3, 4), (8, 11)):
            y = nn.conv1d(x, identity, 1, [(lo, hi)], padding_mode=mode)
            assert np.array_equal(y[0, :, 0], np.pad(x[0, :, 0], (lo, hi), name)), (mode, lo, hi)
