"""TensorFlow's convolution family on plain NumPy arrays: ``import cyconv as nn``, then ``nn.conv2d(...)``."""

from cyconv import _openmp as _openmp  # isort: skip  # first: it decides how OpenMP's threads wait
from cyconv._info import show_config as show_config
from cyconv._isa import available_isas as available_isas, current_isa as current_isa, isa as isa
from cyconv._plan import (
    Explanation as Explanation,
    Plan as Plan,
    algorithm as algorithm,
    explain as explain,
    plan as plan,
    set_algorithm as set_algorithm,
)
from cyconv._problem import ShapeError as ShapeError
from cyconv._threads import get_num_threads as get_num_threads, set_num_threads as set_num_threads, threads as threads
from cyconv._version import __version__ as __version__
from cyconv.convolution import (
    atrous_conv2d as atrous_conv2d,
    bias_add as bias_add,
    conv1d as conv1d,
    conv2d as conv2d,
    conv3d as conv3d,
    convolution as convolution,
)
from cyconv.depthwise import depthwise_conv2d as depthwise_conv2d, separable_conv2d as separable_conv2d
from cyconv.gradients import (
    bias_add_grad as bias_add_grad,
    conv1d_backprop_filter as conv1d_backprop_filter,
    conv1d_backprop_input as conv1d_backprop_input,
    conv2d_backprop_filter as conv2d_backprop_filter,
    conv2d_backprop_input as conv2d_backprop_input,
    conv3d_backprop_filter as conv3d_backprop_filter,
    conv3d_backprop_input as conv3d_backprop_input,
    depthwise_conv2d_backprop_filter as depthwise_conv2d_backprop_filter,
    depthwise_conv2d_backprop_input as depthwise_conv2d_backprop_input,
)
from cyconv.morphology import (
    dilation2d as dilation2d,
    dilation2d_backprop_filter as dilation2d_backprop_filter,
    dilation2d_backprop_input as dilation2d_backprop_input,
    erosion2d as erosion2d,
    erosion2d_backprop_filter as erosion2d_backprop_filter,
    erosion2d_backprop_input as erosion2d_backprop_input,
)
from cyconv.normalization import (
    local_response_normalization as local_response_normalization,
    lrn as lrn,
    lrn_grad as lrn_grad,
)
from cyconv.pooling import (
    avg_pool as avg_pool,
    avg_pool1d as avg_pool1d,
    avg_pool1d_grad as avg_pool1d_grad,
    avg_pool2d as avg_pool2d,
    avg_pool2d_grad as avg_pool2d_grad,
    avg_pool3d as avg_pool3d,
    avg_pool3d_grad as avg_pool3d_grad,
    avg_pool_grad as avg_pool_grad,
    max_pool as max_pool,
    max_pool1d as max_pool1d,
    max_pool1d_grad as max_pool1d_grad,
    max_pool2d as max_pool2d,
    max_pool2d_grad as max_pool2d_grad,
    max_pool3d as max_pool3d,
    max_pool3d_grad as max_pool3d_grad,
    max_pool_grad as max_pool_grad,
    max_pool_grad_with_argmax as max_pool_grad_with_argmax,
    max_pool_with_argmax as max_pool_with_argmax,
    pool as pool,
)
from cyconv.rearrange import (
    batch_to_space as batch_to_space,
    depth_to_space as depth_to_space,
    space_to_batch as space_to_batch,
    space_to_depth as space_to_depth,
)
from cyconv.summary import Summary as Summary, summary as summary
from cyconv.transpose import (
    atrous_conv2d_transpose as atrous_conv2d_transpose,
    conv1d_transpose as conv1d_transpose,
    conv2d_transpose as conv2d_transpose,
    conv3d_transpose as conv3d_transpose,
    conv_transpose as conv_transpose,
)
from cyconv.vjp import (
    atrous_conv2d_transpose_vjp as atrous_conv2d_transpose_vjp,
    atrous_conv2d_vjp as atrous_conv2d_vjp,
    bias_add_vjp as bias_add_vjp,
    conv1d_transpose_vjp as conv1d_transpose_vjp,
    conv1d_vjp as conv1d_vjp,
    conv2d_transpose_vjp as conv2d_transpose_vjp,
    conv2d_vjp as conv2d_vjp,
    conv3d_transpose_vjp as conv3d_transpose_vjp,
    conv3d_vjp as conv3d_vjp,
    conv_transpose_vjp as conv_transpose_vjp,
    convolution_vjp as convolution_vjp,
    depthwise_conv2d_vjp as depthwise_conv2d_vjp,
    separable_conv2d_vjp as separable_conv2d_vjp,
)

#: Every name above: each is a function or a class.
__all__ = ["__version__", *(name for name in dir() if name[0] != "_" and callable(globals()[name]))]
