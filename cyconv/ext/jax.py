"""cyconv's ops inside jax, jit, grad (reverse mode, once) and vmap (call by call); arguments, bias and activation as in cyconv.

>>> import jax, jax.numpy as jnp
>>> from cyconv.ext.jax import conv2d
>>> loss = jax.jit(lambda w: conv2d(jnp.ones((1, 3, 3, 1)), w, 1, "SAME", activation="tanh").sum())
>>> jax.grad(loss)(jnp.zeros((3, 3, 1, 2))).shape
(3, 3, 1, 2)
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import numpy as np

import cyconv

#: The operands of ops; other arrays, strides say, are no values to differentiate by.
IMAGES = {"input", "value", "residual"}
OPERANDS = {*IMAGES, "filters", "filter", "depthwise_filter", "pointwise_filter", "bias", "depthwise_bias"}


def _shape(op: Callable[..., Any], arrays: dict[str, Any], options: dict[str, Any]) -> Any:
    """What op gives for such arrays: found by running it on none of the images, or on all for the error."""
    first = next(iter(arrays.values()))
    empty = {n: np.zeros((0, *a.shape[1:]) if n in IMAGES else a.shape, a.dtype) for n, a in arrays.items()}
    less = options
    if np.shape(options.get("output_shape", ())) == (first.ndim,):
        less = options | {"output_shape": (0, *options["output_shape"][1:])}
    try:
        return jax.ShapeDtypeStruct((first.shape[0], *op(**empty, **less).shape[1:]), first.dtype)
    except (TypeError, ValueError):
        op(**{n: np.broadcast_to(np.zeros((), a.dtype), a.shape) for n, a in arrays.items()}, **options)
        raise


def _wrap(op: Callable[..., Any]) -> Callable[..., Any]:
    vjp = getattr(cyconv, f"{op.__name__}_vjp")

    @wraps(op)
    def function(*args: Any, **kwargs: Any) -> Any:
        arguments = inspect.signature(op).bind(*args, **kwargs).arguments
        if "out" in arguments:
            raise TypeError(f"{op.__name__}: cyconv.ext.jax takes no 'out': jax's arrays do not change")
        lists = {n: a for n, a in arguments.items() if n in OPERANDS and isinstance(a, (list, tuple))}
        arguments |= {n: jax.numpy.asarray(a) for n, a in lists.items()}
        arrays = {n: a for n, a in arguments.items() if n in OPERANDS and isinstance(a, (jax.Array, np.ndarray))}
        options = {n: a for n, a in arguments.items() if n not in arrays}

        def forward(*values: Any) -> Any:
            return op(**dict(zip(arrays, map(np.asarray, values))), **options)

        def backward(g: Any, *values: Any) -> Any:
            return vjp(
                **dict(zip(arrays, map(np.asarray, values))), **options, out_backprop=np.asarray(g), wrt=tuple(arrays)
            )

        call = jax.custom_vjp(
            lambda *values: jax.pure_callback(forward, _shape(op, arrays, options), *values, vmap_method="sequential")
        )
        shapes = tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays.values())
        call.defvjp(
            lambda *values: (call(*values), values),
            lambda values, g: jax.pure_callback(backward, shapes, g, *values, vmap_method="sequential"),
        )
        return call(*arrays.values())

    return function


for _name in (n.removesuffix("_vjp") for n in cyconv.__all__ if n.endswith("_vjp")):
    globals()[_name] = _wrap(getattr(cyconv, _name))
