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
from cyconv.transpose import (
    atrous_conv2d_transpose,
    conv1d_transpose,
    conv2d_transpose,
    conv3d_transpose,
    conv_transpose,
)

__all__ = [
    "Explanation",
    "Plan",
    "ShapeError",
    "__version__",
    "algorithm",
    "atrous_conv2d",
    "atrous_conv2d_transpose",
    "available_isas",
    "bias_add",
    "conv1d",
    "conv1d_transpose",
    "conv2d",
    "conv2d_transpose",
    "conv3d",
    "conv3d_transpose",
    "conv_transpose",
    "convolution",
    "current_isa",
    "depthwise_conv2d",
    "explain",
    "get_num_threads",
    "isa",
    "plan",
    "separable_conv2d",
    "set_algorithm",
    "set_num_threads",
    "show_config",
    "threads",
]
