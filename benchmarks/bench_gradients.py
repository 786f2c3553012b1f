"""cyconv/gradients.py: the gradients of a convolution with respect to its input and to its filters."""

import numpy as np

import cyconv as nn

from .shapes import BY_NAME, named


class Gradients:
    params = named("conv", "depthwise")
    param_names = ("layer",)
    timeout, warmup_time, repeat, sample_time = 60, 0.05, (3, 10, 0.5), 0.01

    def setup(self, name: str) -> None:
        layer = BY_NAME[name]
        self.x, (self.f,) = layer.arrays()
        op = "depthwise_conv2d" if layer.op == "depthwise" else f"conv{layer.rank}d"
        strides = (1, layer.stride, layer.stride, 1) if layer.op == "depthwise" else layer.stride
        self.rest = {"padding": layer.padding, "dilations": layer.dilation}
        self.g = np.ones_like(getattr(nn, op)(self.x, self.f, strides, **self.rest))
        self.rest["strides"] = strides
        # By name: commits of before there were gradients have other benchmarks to run.
        self.input, self.filter = getattr(nn, f"{op}_backprop_input"), getattr(nn, f"{op}_backprop_filter")

    def time_input(self, name: str) -> None:
        self.input(self.x.shape, self.f, self.g, **self.rest)

    def time_filter(self, name: str) -> None:
        self.filter(self.x, self.f.shape, self.g, **self.rest)

    def peakmem_filter(self, name: str) -> None:
        self.time_filter(name)
