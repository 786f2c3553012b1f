"""TensorFlow's convolution family on plain NumPy arrays: ``import cyconv as nn``, then ``nn.conv2d(...)``."""

from cyconv import _openmp as _openmp  # isort: skip  # first: it decides how OpenMP's threads wait
from cyconv._info import show_config
from cyconv._isa import available_isas, current_isa, isa
from cyconv._plan import Explanation, Plan, algorithm, explain, plan, set_algorithm
from cyconv._problem import ShapeError
from cyconv._threads import get_num_threads, set_num_threads, threads
from cyconv._version import __version__
from cyconv.convolution import atrous_conv2d, bias_add, conv1d, conv2d, conv3d, convolution
from cyconv.depthwise import depthwise_conv2d, separable_conv2d
from cyconv.gradients import (
    bias_add_grad,
    conv1d_backprop_filter,
    conv1d_backprop_input,
    conv2d_backprop_filter,
    conv2d_backprop_input,
    conv3d_backprop_filter,
    conv3d_backprop_input,
    depthwise_conv2d_backprop_filter,
    depthwise_conv2d_backprop_input,
)
from cyconv.transpose import (
    atrous_conv2d_transpose,
    conv1d_transpose,
    conv2d_transpose,
    conv3d_transpose,
    conv_transpose,
)
from cyconv.vjp import (
    atrous_conv2d_transpose_vjp,
    atrous_conv2d_vjp,
    bias_add_vjp,
    conv1d_transpose_vjp,
    conv1d_vjp,
    conv2d_transpose_vjp,
    conv2d_vjp,
    conv3d_transpose_vjp,
    conv3d_vjp,
    conv_transpose_vjp,
    convolution_vjp,
    depthwise_conv2d_vjp,
    separable_conv2d_vjp,
)

__all__ = [
    "Explanation",
    "Plan",
    "ShapeError",
    "__version__",
    "algorithm",
    "atrous_conv2d",
    "atrous_conv2d_transpose",
    "atrous_conv2d_transpose_vjp",
    "atrous_conv2d_vjp",
    "available_isas",
    "bias_add",
    "bias_add_grad",
    "bias_add_vjp",
    "conv1d",
    "conv1d_backprop_filter",
    "conv1d_backprop_input",
    "conv1d_transpose",
    "conv1d_transpose_vjp",
    "conv1d_vjp",
    "conv2d",
    "conv2d_backprop_filter",
    "conv2d_backprop_input",
    "conv2d_transpose",
    "conv2d_transpose_vjp",
    "conv2d_vjp",
    "conv3d",
    "conv3d_backprop_filter",
    "conv3d_backprop_input",
    "conv3d_transpose",
    "conv3d_transpose_vjp",
    "conv3d_vjp",
    "conv_transpose",
    "conv_transpose_vjp",
    "convolution",
    "convolution_vjp",
    "current_isa",
    "depthwise_conv2d",
    "depthwise_conv2d_backprop_filter",
    "depthwise_conv2d_backprop_input",
    "depthwise_conv2d_vjp",
    "explain",
    "get_num_threads",
    "isa",
    "plan",
    "separable_conv2d",
    "separable_conv2d_vjp",
    "set_algorithm",
    "set_num_threads",
    "show_config",
    "threads",
]
