"""cyconv/pooling.py: windows of maxima and means, and their gradients, beside a copy of what they read and write."""

import numpy as np

import cyconv as nn

from .measure import seconds

#: name: (input shape, ksize, stride); a shape is never changed.
SHAPES = {
    "vgg16.2x2": ((1, 224, 224, 64), 2, 2),
    "resnet50.3x3s2": ((1, 112, 112, 64), 3, 2),
    "inceptionv3.3x3s1": ((1, 35, 35, 288), 3, 1),
    "global.7x7": ((1, 7, 7, 2048), 7, 7),
    "rgb.2x2": ((1, 1080, 1920, 3), 2, 2),
}


class Pooling:
    params = (list(SHAPES), ["NHWC", "NCHW"])
    param_names = ("layer", "data_format")
    timeout, warmup_time, repeat, sample_time = 60, 0.05, (3, 10, 0.5), 0.01

    def setup(self, name: str, data_format: str) -> None:
        shape, self.ksize, self.stride = SHAPES[name]
        if data_format == "NCHW":
            shape = (shape[0], shape[3], *shape[1:3])
        self.x = np.random.default_rng(0).standard_normal(shape, np.float32)
        self.rest = (self.ksize, self.stride, "VALID", data_format)
        self.y = nn.max_pool2d(self.x, *self.rest)
        self.g = np.ones_like(self.y)

    def time_max_pool(self, name: str, data_format: str) -> None:
        nn.max_pool2d(self.x, *self.rest)

    def time_avg_pool(self, name: str, data_format: str) -> None:
        nn.avg_pool2d(self.x, *self.rest)

    def time_max_pool_grad(self, name: str, data_format: str) -> None:
        nn.max_pool2d_grad(self.x, self.y, self.g, *self.rest)

    def time_avg_pool_grad(self, name: str, data_format: str) -> None:
        nn.avg_pool2d_grad(self.x.shape, self.g, *self.rest)

    def track_times_a_copy(self, name: str, data_format: str) -> float:
        """max_pool's time over that of copying its input and its output."""
        x, y = np.empty_like(self.x), np.empty_like(self.y)

        def copy() -> None:
            np.copyto(x, self.x)
            np.copyto(y, self.y)

        out = np.empty_like(self.y)
        return seconds(lambda: nn.max_pool2d(self.x, *self.rest, out=out)) / seconds(copy)

    track_times_a_copy.unit = "times"
