"""cyconv's ops on PyTorch's CPU tensors, differentiable once, also by torch.func; arguments, bias and activation as in cyconv.

>>> import torch
>>> from cyconv.ext.torch import conv2d
>>> w = torch.zeros(3, 3, 1, 2, requires_grad=True)
>>> conv2d(torch.ones(1, 3, 3, 1), w, 1, "SAME", activation="tanh").sum().backward()
>>> w.grad.shape
torch.Size([3, 3, 1, 2])
"""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import numpy as np
import torch

import cyconv


def _array(t: Any) -> Any:
    """The tensor's memory; NumPy has its bfloat16 from ml_dtypes."""
    if t.dtype != torch.bfloat16:
        return t.detach().numpy()
    import ml_dtypes

    return t.detach().view(torch.int16).numpy().view(ml_dtypes.bfloat16)


def _tensor(a: Any) -> Any:
    if a.dtype.name != "bfloat16":
        return torch.from_numpy(a)
    return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)


class _Call(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
    """y = f(*tensors); `gradient` gives those of the wanted tensors, all at once, and has None itself."""

    @staticmethod
    def forward(f: Callable[..., Any], gradient: Any, *tensors: Any) -> Any:
        y = f(*map(_array, tensors))
        return tuple(map(_tensor, y)) if gradient is None else _tensor(y)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, ctx.gradient, *tensors = inputs
        if ctx.gradient is not None:
            ctx.save_for_backward(output, *tensors)

    @staticmethod
    def backward(ctx: Any, *g: Any) -> tuple[Any, ...]:
        if ctx.gradient is None:
            raise RuntimeError("cyconv.ext.torch is differentiable once; cyconv.ext.autograd, any number of times")
        wanted = ctx.needs_input_grad[2:]
        found = iter(_Call.apply(partial(ctx.gradient, wanted), None, *g, *ctx.saved_tensors))
        return None, None, *(next(found) if needed else None for needed in wanted)

    @staticmethod
    def vmap(info: Any, in_dims: Any, f: Any, gradient: Any, *tensors: Any) -> Any:
        def row(i: int) -> Any:
            return (t if d is None else t.select(d, i) for t, d in zip(tensors, in_dims[2:]))

        done = [_Call.apply(f, gradient, *row(i)) for i in range(info.batch_size)]
        if gradient is not None:
            return torch.stack(done), 0
        return tuple(map(torch.stack, zip(*done))), (0,) * len(done[0])


def _wrap(op: Callable[..., Any]) -> Callable[..., Any]:
    vjp = getattr(cyconv, f"{op.__name__}_vjp")

    @wraps(op)
    def function(*args: Any, **kwargs: Any) -> Any:
        arguments = inspect.signature(op).bind(*args, **kwargs).arguments
        names = tuple(name for name, value in arguments.items() if isinstance(value, torch.Tensor))
        options = {name: value for name, value in arguments.items() if name not in names}

        def gradient(wanted: tuple[bool, ...], g: Any, y: Any, *arrays: Any) -> Any:
            more = {"output": y} if "activation" in options else {}
            wrt = [name for name, needed in zip(names, wanted) if needed]
            return vjp(**dict(zip(names, arrays)), **options, **more, out_backprop=g, wrt=wrt)

        return _Call.apply(
            lambda *arrays: op(**dict(zip(names, arrays)), **options), gradient, *(arguments[name] for name in names)
        )

    return function


for _name in (n.removesuffix("_vjp") for n in cyconv.__all__ if n.endswith("_vjp")):
    globals()[_name] = _wrap(getattr(cyconv, _name))
