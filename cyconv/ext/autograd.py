"""Convolutions for HIPS autograd, differentiable to any order; arguments as in cyconv, a bias too, no activation.

>>> import autograd, autograd.numpy as np
>>> from cyconv.ext.autograd import conv2d
>>> loss = lambda w: np.sum(np.tanh(conv2d(np.ones((1, 3, 3, 1)), w, 1, "SAME")))
>>> autograd.grad(loss)(np.zeros((3, 3, 1, 2))).shape
(3, 3, 1, 2)
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from autograd.extend import defvjp, primitive

import cyconv

bias_add, bias_add_grad = primitive(cyconv.bias_add), primitive(cyconv.bias_add_grad)
defvjp(bias_add, lambda y, x, b, *a: lambda g: g, lambda y, x, b, *a: lambda g: bias_add_grad(g, *a))
defvjp(bias_add_grad, lambda y, g, *a: lambda v: bias_add(np.zeros(g.shape, g.dtype), v, *a))


def _biased(y: Any, bias: Any, extras: dict[str, Any]) -> Any:
    return y if bias is None else bias_add(y, bias, extras.get("data_format"))


def _linear(extras: dict[str, Any]) -> dict[str, Any]:
    """What takes no constant from outside the image."""
    return extras if isinstance(extras.get("padding_mode", "zeros"), str) else {**extras, "padding_mode": "zeros"}


def _bound(op: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The first four arguments of an op, and the others by name."""
    signature = inspect.signature(op)
    extras = signature.bind(*args, **kwargs).arguments
    first = [extras.pop(name) for name in list(signature.parameters)[:4]]
    for other in extras.keys() - {"padding", "data_format", "dilations", "padding_mode", "num_threads", "bias"}:
        raise TypeError(
            f"{op.__name__}: cyconv.ext.autograd takes no {other!r}; activations and sums are autograd.numpy's"
        )
    return first, extras


def _family(name: str) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """A convolution and its two gradients. All three are one trilinear form, and so the gradients of each other; a border
    of a constant is a term of the input's, which dx does not see."""
    op, dx, dw = (primitive(getattr(cyconv, name + end)) for end in ("", "_backprop_input", "_backprop_filter"))
    defvjp(
        op,
        lambda y, x, w, *a, **k: lambda g: dx(x.shape, w, g, *a, **k),
        lambda y, x, w, *a, **k: lambda g: dw(x, w.shape, g, *a, **k),
    )
    defvjp(
        dx,
        lambda y, sizes, w, g, *a, **k: lambda v: dw(v, w.shape, g, *a, **_linear(k)),
        lambda y, sizes, w, g, *a, **k: lambda v: op(v, w, *a, **_linear(k)),
        argnums=(1, 2),
    )
    defvjp(
        dw,
        lambda y, x, sizes, g, *a, **k: lambda v: dx(x.shape, v, g, *a, **k),
        lambda y, x, sizes, g, *a, **k: lambda v: op(x, v, *a, **k),
        argnums=(0, 2),
    )

    def forward(*args: Any, **kwargs: Any) -> Any:
        first, extras = _bound(getattr(cyconv, name), args, kwargs)
        bias = extras.pop("bias", None)
        return _biased(op(*first, **extras), bias, extras)

    def transposed(*args: Any, **kwargs: Any) -> Any:
        (x, filters, shape, strides), extras = _bound(getattr(cyconv, f"{name}_transpose"), args, kwargs)
        bias, padding = extras.pop("bias", None), extras.pop("padding", "SAME")
        return _biased(dx(shape, filters, x, strides, padding, **extras), bias, extras)

    return forward, transposed, dw


conv1d, conv1d_transpose, conv1d_backprop_filter = _family("conv1d")
conv2d, conv2d_transpose, conv2d_backprop_filter = _family("conv2d")
conv3d, conv3d_transpose, conv3d_backprop_filter = _family("conv3d")
depthwise_conv2d = _family("depthwise_conv2d")[0]
