"""Vector-Jacobian products: the gradients of every op, of its fused bias, residual and activation too.

``dx, dw, db = conv2d_vjp(x, w, dy, 1, "SAME", activation="relu", bias=b, output=y)``: the arguments of the op, with the
gradient of its output behind its operands. One function makes them all from a table: the rules are those of gradients.py,
the signatures those of the ops.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from cyconv import _isa, _problem, _threads
from cyconv._filter_gradient import activation_gradient
from cyconv._op import bound
from cyconv._plan import Deferred, Recipe, check
from cyconv._problem import ACTIVATIONS, FORWARD, TRANSPOSED, Array, Epilogue, Problem, SeparableProblem, Shape
from cyconv._runtime import empty
from cyconv.convolution import atrous_conv2d, bias_add, bias_operands, conv1d, conv2d, conv3d, convolution
from cyconv.depthwise import depthwise_conv2d, separable_conv2d
from cyconv.gradients import (
    _backprop_filter,
    _backprop_input,
    _channel_sums,
    conv2d_backprop_filter,
    conv2d_backprop_input,
)
from cyconv.transpose import (
    atrous_conv2d_transpose,
    conv1d_transpose,
    conv2d_transpose,
    conv3d_transpose,
    conv_transpose,
)

Gradients = dict[str, Callable[[], Array]]
Vjp = Callable[..., tuple[Array, ...]]


def _plain(a: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the op itself."""
    return {k: v for k, v in a.items() if k not in ("out_backprop", "output", "wrt")}


def _undo(of: Callable[..., Any], op: str, a: dict[str, Any], dtype: Any, problem: Problem | SeparableProblem) -> Array:
    """out_backprop past the op's activation: times its slope, taken from the op's output, or from what the activation took.

    With it the arguments that are of the output's shape, or of no account otherwise, are checked in the name of `op`.
    """
    threads = _threads.wanted(op, a["num_threads"])
    g = _problem.output_like(op, "out_backprop", a["out_backprop"], problem.out_shape, dtype)
    y = a["output"]
    if y is not None:
        y = _problem.output_like(op, "output", y, problem.out_shape, dtype)
    epilogue = check(problem, dtype, a["bias"], a["activation"], a["residual"], None).epilogue
    if not epilogue.activation:
        return g
    before = _needs_argument(epilogue)
    if y is None or before:
        y = of(**_plain(a) | ({"activation": None} if before else {}))
    result = empty(g.shape, g.dtype)
    y, g = np.ascontiguousarray(y), np.ascontiguousarray(g)
    activation_gradient(y, g, result, epilogue, problem.dtype, threads, _isa.current())
    return result


def _needs_argument(epilogue: Epilogue) -> bool:
    """Whether an activation's slope cannot be told from its result: silu, gelu, and a leak that turns signs around."""
    silu, leaky = ACTIVATIONS["silu"], ACTIVATIONS["leaky_relu"]
    return epilogue.activation >= silu or (epilogue.activation == leaky and epilogue.low < 0)


def _recipe(of: Callable[..., Any], op: str, a: dict[str, Any], x: Array, **filters: Array) -> Recipe:
    """The op with its arguments in kind, checked in the name of its vector-Jacobian product."""
    return of(**_plain(a) | filters | {next(iter(a)): Deferred(op, x.dtype)})  # type: ignore[no-any-return]


def _convolution_gradients(of: Callable[..., Any], op: str, a: dict[str, Any]) -> Gradients:
    """Of a forward, depthwise or transposed convolution."""
    (x_name, f_name, *_), threads = a, a["num_threads"]
    x, f, code = _problem.operands(op, x_name, a[x_name], f_name, a[f_name])
    recipe = _recipe(of, op, a, x, **{f_name: f})
    problem, steps, transposed = recipe.problem(x.shape, code), recipe.rest[0], recipe.op.kind is TRANSPOSED
    forward = recipe.op._replace(kind=FORWARD) if transposed else recipe.op
    how = {"num_threads": threads, "padding_mode": a["padding_mode"]}
    g = _undo(of, op, a, x.dtype, problem)
    gradients: Gradients = {
        "residual": lambda: g.copy(),
        "bias": lambda: _channel_sums(op, g, -1 if problem.channels_last else -1 - problem.ndim, threads),
    }
    if transposed:
        gradients[x_name] = lambda: convolution(g, f, *steps, num_threads=threads)
        gradients[f_name] = lambda: _backprop_filter(forward, g, f.shape, x, *steps, **how)
    else:
        gradients[x_name] = lambda: _backprop_input(forward, x.shape, f, g, *steps, **how)
        gradients[f_name] = lambda: _backprop_filter(forward, x, f.shape, g, *steps, **how)
    return gradients


def _separable_gradients(of: Callable[..., Any], op: str, a: dict[str, Any]) -> Gradients:
    """Of the pointwise stage, and then of the depthwise one."""
    threads, data_format = a["num_threads"], a["data_format"]
    how = {k: a[k] for k in ("strides", "padding", "data_format", "dilations", "padding_mode", "groups")}
    extras = {"bias": a["depthwise_bias"], "activation": a["depthwise_activation"]}
    x = _problem.array(op, "input", a["input"], getattr(a["depthwise_filter"], "dtype", None))
    recipe = _recipe(of, op, a, x)
    filters: Any = recipe.filters
    f, (x, _, code) = filters.depthwise, recipe.operands(x)
    problem = recipe.problem(x.shape, code)
    g = _undo(of, op, a, x.dtype, problem)
    point, between, first = filters.pointwise, filters.epilogue, how | extras | {"num_threads": threads}
    channels = 3 if problem.first.channels_last else 1

    @lru_cache(1)
    def middle() -> Array:
        return depthwise_conv2d(x, f, **first)

    @lru_cache(1)
    def inner() -> dict[str, Array]:
        """The gradients of the depthwise stage."""
        shape = [point.shape[2] if axis == channels else size for axis, size in enumerate(g.shape)]
        passed = conv2d_backprop_input(shape, point, g, 1, "VALID", data_format, num_threads=threads)
        output = middle() if between.activation and not _needs_argument(between) else None
        wrt = [name for name in ("input", "depthwise_filter", "depthwise_bias") if name in a["wrt"]]
        names = [name.replace("depthwise_", "") for name in wrt]
        return dict(zip(wrt, depthwise_conv2d_vjp(x, f, passed, **first, output=output, wrt=names)))

    return {
        "input": lambda: inner()["input"],
        "depthwise_filter": lambda: inner()["depthwise_filter"],
        "depthwise_bias": lambda: inner()["depthwise_bias"],
        "pointwise_filter": lambda: conv2d_backprop_filter(
            middle(), point.shape, g, 1, "VALID", data_format, num_threads=threads
        ),
        "residual": lambda: g.copy(),
        "bias": lambda: _channel_sums(op, g, channels, threads),
    }


def _bias_gradients(of: Callable[..., Any], op: str, a: dict[str, Any]) -> Gradients:
    """Of bias_add."""
    x, _, axis = bias_operands(op, a["value"], a["bias"], a["data_format"])
    g = _problem.output_like(op, "out_backprop", a["out_backprop"], x.shape, x.dtype)
    return {"value": lambda: g.copy(), "bias": lambda: _channel_sums(op, g, axis, None)}


_DOC = """The vector-Jacobian product of `{op}`: its gradients for a given gradient of its output.

For each argument a named in `wrt`: ``sum_o out_backprop[o] * d {op}(...)[o] / d a``.

    Parameters
    ----------
    {names}, out_backprop : array
        The op's operands, and the gradient with respect to its output, of the output's shape and dtype.
    ...
        Every other argument of `{op}` but `out`; bias, activation and residual as in the call.
    output : array, optional
        What the op gave: saves computing it again where there is an activation.
    wrt : sequence of str
        Of {wrt}: by default {default}.

    Returns
    -------
    tuple of ndarray
        The gradients, in the order of `wrt`, each of its argument's shape.

    Raises
    ------
    ShapeError, ValueError, TypeError
        As of `{op}`, and where out_backprop is not of the output's shape.

    Notes
    -----
    The activation's slope is taken from the output, or for silu, gelu and a negative leak from what they are given, which
    is computed again; at the ends of a clamp (relu, relu6, clip) it is 0, as TensorFlow has it.

    Examples
    --------
    >>> import numpy as np, cyconv as nn
    {example}
"""


def _vjp(
    of: Callable[..., Any],
    rule: Callable[..., Gradients],
    example: str,
    operands: int = 2,
    optional: tuple[str, ...] = ("residual",),
) -> Vjp:
    """The public function of an op and its rule: the op's signature with out_backprop behind its operands."""
    op, parameters, kinds = f"{of.__name__}_vjp", list(inspect.signature(of).parameters.values()), inspect.Parameter
    names = tuple(p.name for p in parameters[:operands])
    default = names if "bias" in names else (*names, "bias")
    signature = inspect.Signature(
        [
            *parameters[:operands],
            kinds("out_backprop", kinds.POSITIONAL_OR_KEYWORD),
            *(p for p in parameters[operands:] if p.name != "out"),
            kinds("output", kinds.KEYWORD_ONLY, default=None),
            kinds("wrt", kinds.KEYWORD_ONLY, default=default),
        ]
    )
    allowed = {name: name for name in (*default, *optional)}
    allowed |= {"input": names[0], "filters": names[1], "filter": names[1]}

    def vjp(*args: Any, **kwargs: Any) -> tuple[Array, ...]:
        call = bound(op, signature, args, kwargs)
        call.apply_defaults()
        a = call.arguments
        wrt = a["wrt"] if isinstance(a["wrt"], (list, tuple)) else (a["wrt"],)
        for name in wrt:
            if not isinstance(name, str) or name not in allowed:
                raise ValueError(
                    f"{op}: wrt must name some of {', '.join((*default, *optional))}, not {_problem.shown(name)}"
                )
        a["wrt"] = [allowed[name] for name in wrt]
        gradients = rule(of, op, a)
        return tuple(gradients[name]() for name in a["wrt"])

    vjp.__name__ = vjp.__qualname__ = op
    vjp.__doc__ = _DOC.format(
        op=of.__name__,
        names=", ".join(names),
        wrt=", ".join((*default, *optional)),
        default=default,
        example=example,
    )
    vjp.__signature__ = signature  # type: ignore[attr-defined]
    return vjp


def _of_convolution(op: Callable[..., Any], x: Shape, w: Shape, g: Shape, args: str) -> Vjp:
    """Of a forward, depthwise or transposed convolution, by an example's shapes and arguments."""
    example = f""">>> x, w, g = np.ones({x}), np.ones({w}), np.ones({g})
    >>> [d.shape for d in nn.{op.__name__}_vjp(x, w, g, {args})]
    [{x}, {w}, {g[-1:]}]"""
    return _vjp(op, _convolution_gradients, example)


_SEPARABLE = """>>> x, g = np.ones((1, 4, 4, 2)), np.ones((1, 4, 4, 5))
    >>> depthwise, pointwise = np.ones((3, 3, 2, 1)), np.ones((1, 1, 2, 5))
    >>> [d.shape for d in nn.separable_conv2d_vjp(x, depthwise, pointwise, g, 1, "SAME")]
    [(1, 4, 4, 2), (3, 3, 2, 1), (1, 1, 2, 5), (5,)]"""
_BIAS_ADD = """>>> dx, db = nn.bias_add_vjp(np.ones((3, 2)), np.zeros(2), np.ones((3, 2)))
    >>> db
    array([3., 3.])"""

convolution_vjp = _of_convolution(convolution, (1, 4, 2), (3, 2, 5), (1, 2, 5), "1")
conv1d_vjp = _of_convolution(conv1d, (1, 4, 2), (3, 2, 5), (1, 4, 5), '1, "SAME"')
conv2d_vjp = _of_convolution(conv2d, (1, 4, 4, 2), (3, 3, 2, 5), (1, 2, 2, 5), '2, "SAME"')
conv3d_vjp = _of_convolution(conv3d, (1, 4, 4, 4, 2), (3, 3, 3, 2, 5), (1, 2, 2, 2, 5), '1, "VALID"')
atrous_conv2d_vjp = _of_convolution(atrous_conv2d, (1, 4, 4, 2), (3, 3, 2, 5), (1, 4, 4, 5), '2, "SAME"')
conv_transpose_vjp = _of_convolution(conv_transpose, (1, 2, 2), (3, 5, 2), (1, 4, 5), "(1, 4, 5), 2")
conv1d_transpose_vjp = _of_convolution(conv1d_transpose, (1, 2, 2), (3, 5, 2), (1, 4, 5), "(1, 4, 5), 2")
conv2d_transpose_vjp = _of_convolution(conv2d_transpose, (1, 2, 2, 2), (3, 3, 5, 2), (1, 4, 4, 5), "(1, 4, 4, 5), 2")
conv3d_transpose_vjp = _of_convolution(
    conv3d_transpose, (1, 2, 2, 2, 2), (3, 3, 3, 5, 2), (1, 4, 4, 4, 5), "(1, 4, 4, 4, 5), 2"
)
atrous_conv2d_transpose_vjp = _of_convolution(
    atrous_conv2d_transpose, (1, 4, 4, 2), (3, 3, 5, 2), (1, 4, 4, 5), '(1, 4, 4, 5), 2, "SAME"'
)
depthwise_conv2d_vjp = _of_convolution(depthwise_conv2d, (1, 4, 4, 2), (3, 3, 2, 2), (1, 4, 4, 4), '1, "SAME"')
separable_conv2d_vjp = _vjp(separable_conv2d, _separable_gradients, _SEPARABLE, 3, ("residual", "depthwise_bias"))
bias_add_vjp = _vjp(bias_add, _bias_gradients, _BIAS_ADD, optional=())
