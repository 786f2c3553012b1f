"""Keras's NumPy backend with cyconv's convolutions and pools in place of JAX's, for every model and layer:

    import os; os.environ["KERAS_BACKEND"] = "numpy"
    import cyconv.ext.keras
    undo = cyconv.ext.keras.install()

>>> import keras, numpy as np
>>> from cyconv.ext.keras import install
>>> undo = install()
>>> keras.layers.Conv2D(8, 3, padding="same")(np.ones((1, 5, 5, 2), "float32")).shape
(1, 5, 5, 8)
>>> undo()
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras.src import backend
from keras.src.backend.common.backend_utils import compute_conv_transpose_padding_args_for_jax

import cyconv

if backend.backend() != "numpy":
    raise ImportError(f"keras runs on {backend.backend()}: set KERAS_BACKEND=numpy before it is imported")
from keras.src.backend.numpy import nn  # of the backend that runs, after it is known which


def _array(a: Any) -> Any:
    return np.asarray(getattr(a, "value", a))  # a variable, or an array already


def _operands(inputs: Any, kernel: Any, data_format: str | None) -> tuple[Any, Any, str]:
    """Arrays of one dtype, and the layout as cyconv names it."""
    x, w = _array(inputs), _array(kernel)
    dtype = np.result_type(x, w)
    return x.astype(dtype, copy=False), w.astype(dtype, copy=False), _layout(x, data_format)


def _layout(x: Any, data_format: str | None) -> str:
    sizes = "DHW"[5 - x.ndim :]
    return f"N{sizes}C" if backend.standardize_data_format(data_format) == "channels_last" else f"NC{sizes}"


def conv(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:
    """As keras.ops.conv."""
    x, w, layout = _operands(inputs, kernel, data_format)
    y = cyconv.convolution(x, w, strides=strides, padding=padding.upper(), data_format=layout, dilations=dilation_rate)
    if x.size and not y.size:
        raise ValueError(f"conv: an empty output: kernel.shape={w.shape} is too large for inputs.shape={x.shape}")
    return y


def depthwise_conv(inputs: Any, kernel: Any, *args: Any, **kwargs: Any) -> Any:
    """As keras.ops.depthwise_conv, whose arguments are those of `conv`."""
    return conv(inputs, _array(kernel).reshape(*kernel.shape[:-2], 1, -1), *args, **kwargs)


def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    output_padding: Any = None,
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:
    """As keras.ops.conv_transpose: its padding of an input between whose pixels are zeros, told as a crop of the output."""
    x, w, layout = _operands(inputs, kernel, data_format)
    n, axis = x.ndim - 2, layout.index("C")
    stride, dilation = (np.broadcast_to(a, n) for a in (strides, dilation_rate))
    pads = np.array(
        compute_conv_transpose_padding_args_for_jax(x.shape, w.shape, strides, padding, output_padding, dilation_rate)
    )
    crop = (np.array(w.shape[:n])[:, None] - 1) * dilation[:, None] - pads  # beyond the last window where negative
    extra, crop = np.maximum(-crop[:, 1], 0), np.insert(np.maximum(crop, 0), axis - 1, 0, axis=0)
    return cyconv.conv_transpose(
        x, w, None, stride.tolist(), [[0, 0], *crop.tolist()], layout, dilation.tolist(), output_padding=extra.tolist()
    )


def _pool(op: Callable[..., Any]) -> Callable[..., Any]:
    def pool(
        inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: str | None = None
    ) -> Any:
        x = _array(inputs)
        return op(x, pool_size, pool_size if strides is None else strides, padding.upper(), _layout(x, data_format))

    return pool


max_pool, average_pool = _pool(cyconv.max_pool), _pool(cyconv.avg_pool)


def install() -> Callable[[], None]:
    """Put them in place; what it returns puts Keras's own back."""
    ours = {f: globals()[f] for f in ("conv", "depthwise_conv", "conv_transpose", "max_pool", "average_pool")}
    theirs = {name: getattr(nn, name) for name in ours}
    vars(nn).update(ours)
    return lambda: vars(nn).update(theirs)
