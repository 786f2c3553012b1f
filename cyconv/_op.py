"""Public ops that differ in name, rank or kind only: one function, with their signature, computes a family of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from cyconv._problem import NAMES, Names

P = ParamSpec("P")
R = TypeVar("R")

_signature = lru_cache(inspect.signature)


class Op(NamedTuple):
    """What tells an op from others: name, kind, spatial axes, 0 where its arguments tell these, and what it calls them."""

    name: str
    kind: Any
    n: int
    names: Names = NAMES

    def problem(self, *arguments: Any) -> Any:
        """Of a convolution: the problem of shapes, a dtype and the arguments that its kind has checked."""
        return self.kind.problem(self.name, self.names, self.n, *arguments)


def bound(op: str, signature: inspect.Signature, args: Any, kwargs: Any) -> inspect.BoundArguments:
    """The arguments of a call by name, or Python's words of why they do not fit."""
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{op}: {str(error)[:200]}") from None


def op_of(
    family: Callable[Concatenate[Op, P], R], kind: Any, n: int, data_format: str | None = None
) -> Callable[[Callable[[], None]], Callable[P, R]]:
    """Makes an op of the function below, which is a name and a docstring: of its family the one of a kind and a rank."""

    def decorate(described: Callable[[], None]) -> Callable[P, R]:
        op = Op(described.__name__, kind, n)

        @wraps(described)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return family(op, *args, **kwargs)
            except TypeError as error:
                if str(error).startswith(f"{family.__name__}()"):
                    bound(op.name, signature, args, kwargs)
                raise

        signature = _signature(family)
        layout = {"data_format": data_format}
        parameters = [p.replace(default=layout.get(p.name, p.default)) for p in list(signature.parameters.values())[1:]]
        call.__signature__ = signature = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        call.__annotations__ = dict(list(family.__annotations__.items())[1:])
        return call

    return decorate
