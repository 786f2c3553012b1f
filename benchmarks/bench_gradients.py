"""cyconv/gradients.py: the gradients of a convolution with respect to its input and to its filters."""

import numpy as np

import cyconv as nn

from .shapes import BY_NAME, named

INPUT = {1: nn.conv1d_backprop_input, 2: nn.conv2d_backprop_input, 3: nn.conv3d_backprop_input}
FILTER = {1: nn.conv1d_backprop_filter, 2: nn.conv2d_backprop_filter, 3: nn.conv3d_backprop_filter}
FORWARD = {1: nn.conv1d, 2: nn.conv2d, 3: nn.conv3d}


class Gradients:
    params = named("conv", "depthwise")
    param_names = ("layer",)
    timeout, warmup_time, repeat, sample_time = 60, 0.05, (3, 10, 0.5), 0.01

    def setup(self, name: str) -> None:
        layer = BY_NAME[name]
        self.x, (self.f,) = layer.arrays()
        depthwise = layer.op == "depthwise"
        strides = (1, layer.stride, layer.stride, 1) if depthwise else layer.stride
        self.rest = {"padding": layer.padding, "dilations": layer.dilation}
        forward = nn.depthwise_conv2d if depthwise else FORWARD[layer.rank]
        self.g = np.ones_like(forward(self.x, self.f, strides, **self.rest))
        self.rest["strides"] = strides
        self.input = nn.depthwise_conv2d_backprop_input if depthwise else INPUT[layer.rank]
        self.filter = nn.depthwise_conv2d_backprop_filter if depthwise else FILTER[layer.rank]

    def time_input(self, name: str) -> None:
        self.input(self.x.shape, self.f, self.g, **self.rest)

    def time_filter(self, name: str) -> None:
        self.filter(self.x, self.f.shape, self.g, **self.rest)

    def peakmem_filter(self, name: str) -> None:
        self.time_filter(name)
