"""cyconv's ops on PyTorch's CPU tensors (not of bfloat16), differentiable once; arguments, bias and activation as in cyconv.

>>> import torch
>>> from cyconv.ext.torch import conv2d
>>> w = torch.zeros(3, 3, 1, 2, requires_grad=True)
>>> conv2d(torch.ones(1, 3, 3, 1), w, 1, "SAME", activation="tanh").sum().backward()
>>> w.grad.shape
torch.Size([3, 3, 1, 2])
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.autograd.function import once_differentiable

import cyconv


class _Op(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
    """y = op(**tensors, **options), the tensors by name."""

    @staticmethod
    def forward(
        ctx: Any, op: Callable[..., Any], names: tuple[str, ...], options: dict[str, Any], *tensors: Any
    ) -> Any:
        arrays = {name: t.detach().numpy() for name, t in zip(names, tensors)}
        y = torch.from_numpy(op(**arrays, **options))
        ctx.op, ctx.names, ctx.options = op, names, options
        ctx.save_for_backward(y, *tensors)
        return y

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, misc, unused-ignore]
    def backward(ctx: Any, g: Any) -> tuple[Any, ...]:
        y, *tensors = ctx.saved_tensors
        arrays = {name: t.detach().numpy() for name, t in zip(ctx.names, tensors)}
        wanted = [name for name, needed in zip(ctx.names, ctx.needs_input_grad[3:]) if needed]
        vjp = getattr(cyconv, f"{ctx.op.__name__}_vjp")
        more = {"output": y.numpy()} if "activation" in ctx.options else {}
        found = dict(zip(wanted, vjp(**arrays, **ctx.options, **more, out_backprop=g.numpy(), wrt=wanted)))
        return None, None, None, *(torch.from_numpy(found[name]) if name in found else None for name in ctx.names)


def _wrap(op: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(op)
    def function(*args: Any, **kwargs: Any) -> Any:
        arguments = inspect.signature(op).bind(*args, **kwargs).arguments
        names = tuple(name for name, value in arguments.items() if isinstance(value, torch.Tensor))
        options = {name: value for name, value in arguments.items() if name not in names}
        return _Op.apply(op, names, options, *(arguments[name] for name in names))

    return function


for _name in (n.removesuffix("_vjp") for n in cyconv.__all__ if n.endswith("_vjp")):
    globals()[_name] = _wrap(getattr(cyconv, _name))
