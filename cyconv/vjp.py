"""Vector-Jacobian products: the gradients of every op, of its fused bias, residual and activation too.

``dx, dw, db = conv2d_vjp(x, w, dy, 1, "SAME", activation="relu", bias=b, output=y)``: the arguments of the op, with the
gradient of its output behind its operands. One function makes them all from a table: the rules are those of gradients.py,
the signatures those of the ops.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cyconv import _isa, _threads
from cyconv._filter_gradient import activation_gradient
from cyconv._plan import check
from cyconv._problem import (
    ACTIVATIONS,
    Array,
    Epilogue,
    Problem,
    SeparableProblem,
    Shape,
    data_format_argument,
    forward_problem,
    groups_argument,
    operands,
    output_like,
    padding_argument,
    padding_mode_argument,
    separable_problem,
    sequence,
    shape_argument,
    shown,
    spatial_rank,
    transposed_problem,
)
from cyconv._runtime import empty
from cyconv.convolution import atrous_conv2d, bias_add, bias_operands, conv1d, conv2d, conv3d, convolution
from cyconv.depthwise import STAGES, depthwise_conv2d, separable_conv2d, staged
from cyconv.gradients import (
    _backprop_filter,
    _backprop_input,
    _channel_sums,
    conv2d_backprop_filter,
    conv2d_backprop_input,
)
from cyconv.transpose import (
    atrous_conv2d_transpose,
    check_crops,
    conv1d_transpose,
    conv2d_transpose,
    conv3d_transpose,
    conv_transpose,
)


class _Rule(NamedTuple):
    """How an op is differentiated: its kind, the rank of its images (0: by its filters), the names of its operands."""

    op: Callable[..., Any]
    kind: str
    rank: int
    names: tuple[str, ...]
    example: str


Gradients = dict[str, Callable[[], Array]]


def _undo(rule: _Rule, op: str, a: dict[str, Any], dtype: Any, problem: Problem | SeparableProblem) -> Array:
    """out_backprop past the op's activation: times its slope, taken from the op's output, or from what the activation took.

    With it the arguments that are of the output's shape, or of no account otherwise, are checked in the name of `op`.
    """
    threads = _threads.wanted(op, a["num_threads"])
    g = output_like(op, "out_backprop", a["out_backprop"], problem.out_shape, dtype)
    y = a["output"] if a["output"] is None else output_like(op, "output", a["output"], problem.out_shape, dtype)
    epilogue = check(problem, dtype, a["bias"], a["activation"], a["residual"], None).epilogue
    if not epilogue.activation:
        return g
    before = _needs_argument(epilogue)
    if y is None or before:
        plain = {k: v for k, v in a.items() if k not in ("out_backprop", "output", "wrt")}
        y = rule.op(**plain | ({"activation": None} if before else {}))
    result = empty(g.shape, g.dtype)
    y, g = np.ascontiguousarray(y), np.ascontiguousarray(g)
    activation_gradient(y, g, result, epilogue, problem.dtype, threads, _isa.current())
    return result


def _needs_argument(epilogue: Epilogue) -> bool:
    """Whether an activation's slope cannot be told from its result: silu, gelu, and a leak that turns signs around."""
    silu, leaky = ACTIVATIONS["silu"], ACTIVATIONS["leaky_relu"]
    return epilogue.activation >= silu or (epilogue.activation == leaky and epilogue.low < 0)


def _convolution_gradients(rule: _Rule, op: str, a: dict[str, Any]) -> Gradients:
    """Of a forward, depthwise or transposed convolution."""
    (x_name, f_name), threads, depthwise = rule.names, a["num_threads"], rule.kind == "depthwise"
    x, f, code = operands(op, x_name, a[x_name], f_name, a[f_name])
    n = rule.rank or spatial_rank(op, "filters", f.shape)
    s_name, d_name = "stride" if "stride" in a else "strides", "rate" if "rate" in a else "dilations"
    how = (a[s_name], a["padding"], a["data_format"], a[d_name], None, threads, a["padding_mode"])
    steps = (
        sequence(op, s_name, how[0]),
        padding_argument(op, how[1]),
        data_format_argument(op, how[2]),
        sequence(op, d_name, how[3]),
    )
    groups = groups_argument(op, a["groups"])
    if rule.kind == "transposed":
        check_crops(op, how[6])
        sizes = shape_argument(op, "output_shape", a["output_shape"], optional=True)
        more = sequence(op, "output_padding", a.get("output_padding"))
        names = (x_name, f_name, "output_shape", d_name)
        problem = transposed_problem(op, names, n, x.shape, f.shape, code, sizes, *steps, more, groups)
    else:
        names, mode = (x_name, f_name, s_name, d_name), padding_mode_argument(op, how[6])
        problem = forward_problem(op, names, n, x.shape, f.shape, code, *steps, mode, groups, depthwise)
    g = _undo(rule, op, a, x.dtype, problem)
    layout_name = "channels_last" if problem.channels_last else "channels_first"
    gradients: Gradients = {
        "residual": lambda: g.copy(),
        "bias": lambda: _channel_sums(op, g, -1 if problem.channels_last else -1 - n, threads),
    }
    if rule.kind == "transposed":
        gradients[x_name] = lambda: convolution(g, f, *how[:2], layout_name, how[3], num_threads=threads)
        gradients[f_name] = lambda: _backprop_filter(op, n, g, f.shape, x, *how)
    else:
        gradients[x_name] = lambda: _backprop_input(op, n, x.shape, f, g, *how, depthwise)
        gradients[f_name] = lambda: _backprop_filter(op, n, x, f.shape, g, *how, depthwise)
    return gradients


def _separable_gradients(rule: _Rule, op: str, a: dict[str, Any]) -> Gradients:
    """Of the pointwise stage, and then of the depthwise one."""
    threads, data_format = a["num_threads"], a["data_format"]
    how = {k: a[k] for k in ("strides", "padding", "data_format", "dilations", "padding_mode", "groups")}
    extras = {"bias": a["depthwise_bias"], "activation": a["depthwise_activation"]}
    filters, rest = staged(op, a["input"], a["pointwise_filter"], a["depthwise_filter"], **extras, **how)
    x, f, code = operands(op, "input", a["input"], "depthwise_filter", filters.depthwise)
    problem = separable_problem(op, STAGES, 2, x.shape, filters.shape, code, *rest)
    g = _undo(rule, op, a, x.dtype, problem)
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


def _bias_gradients(rule: _Rule, op: str, a: dict[str, Any]) -> Gradients:
    """Of bias_add."""
    x, _, axis = bias_operands(op, a["value"], a["bias"], a["data_format"])
    g = output_like(op, "out_backprop", a["out_backprop"], x.shape, x.dtype)
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


def _vjp(rule: _Rule) -> Callable[..., tuple[Array, ...]]:
    """The public function of a rule: the op's signature with out_backprop behind its operands."""
    op, names = f"{rule.op.__name__}_vjp", rule.names
    gradients_of = {"separable": _separable_gradients, "bias": _bias_gradients}.get(rule.kind, _convolution_gradients)
    parameters = list(inspect.signature(rule.op).parameters.values())
    kinds = inspect.Parameter
    default = names if "bias" in names else (*names, "bias")
    signature = inspect.Signature(
        [
            *parameters[: len(names)],
            kinds("out_backprop", kinds.POSITIONAL_OR_KEYWORD),
            *(p for p in parameters[len(names) :] if p.name != "out"),
            kinds("output", kinds.KEYWORD_ONLY, default=None),
            kinds("wrt", kinds.KEYWORD_ONLY, default=default),
        ]
    )
    optional = () if rule.kind == "bias" else ("residual", *(("depthwise_bias",) if rule.kind == "separable" else ()))
    allowed = {name: name for name in (*default, *optional)} | {
        "input": names[0],
        "filters": names[1],
        "filter": names[1],
    }

    def vjp(*args: Any, **kwargs: Any) -> tuple[Array, ...]:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{op}: {str(error)[:200]}") from None
        bound.apply_defaults()
        a = bound.arguments
        wrt = a["wrt"] if isinstance(a["wrt"], (list, tuple)) else (a["wrt"],)
        for name in wrt:
            if not isinstance(name, str) or name not in allowed:
                raise ValueError(f"{op}: wrt must name some of {', '.join((*default, *optional))}, not {shown(name)}")
        a["wrt"] = [allowed[name] for name in wrt]
        gradients = gradients_of(rule, op, a)
        return tuple(gradients[name]() for name in a["wrt"])

    vjp.__name__ = vjp.__qualname__ = op
    vjp.__doc__ = _DOC.format(
        op=rule.op.__name__,
        names=", ".join(names),
        wrt=", ".join((*default, *optional)),
        default=default,
        example=rule.example,
    )
    vjp.__signature__ = signature  # type: ignore[attr-defined]
    return vjp


def _rule(op: Callable[..., Any], kind: str, rank: int, x: Shape, w: Shape, g: Shape, args: str) -> _Rule:
    names = tuple(inspect.signature(op).parameters)[:2]
    example = f""">>> x, w, g = np.ones({x}), np.ones({w}), np.ones({g})
    >>> [d.shape for d in nn.{op.__name__}_vjp(x, w, g, {args})]
    [{x}, {w}, {g[-1:]}]"""
    return _Rule(op, kind, rank, names, example)


_SEPARABLE = """>>> x, g = np.ones((1, 4, 4, 2)), np.ones((1, 4, 4, 5))
    >>> depthwise, pointwise = np.ones((3, 3, 2, 1)), np.ones((1, 1, 2, 5))
    >>> [d.shape for d in nn.separable_conv2d_vjp(x, depthwise, pointwise, g, 1, "SAME")]
    [(1, 4, 4, 2), (3, 3, 2, 1), (1, 1, 2, 5), (5,)]"""
_BIAS_ADD = """>>> dx, db = nn.bias_add_vjp(np.ones((3, 2)), np.zeros(2), np.ones((3, 2)))
    >>> db
    array([3., 3.])"""

convolution_vjp = _vjp(_rule(convolution, "forward", 0, (1, 4, 2), (3, 2, 5), (1, 2, 5), "1"))
conv1d_vjp = _vjp(_rule(conv1d, "forward", 1, (1, 4, 2), (3, 2, 5), (1, 4, 5), '1, "SAME"'))
conv2d_vjp = _vjp(_rule(conv2d, "forward", 2, (1, 4, 4, 2), (3, 3, 2, 5), (1, 2, 2, 5), '2, "SAME"'))
conv3d_vjp = _vjp(_rule(conv3d, "forward", 3, (1, 4, 4, 4, 2), (3, 3, 3, 2, 5), (1, 2, 2, 2, 5), '1, "VALID"'))
atrous_conv2d_vjp = _vjp(_rule(atrous_conv2d, "forward", 2, (1, 4, 4, 2), (3, 3, 2, 5), (1, 4, 4, 5), '2, "SAME"'))
conv_transpose_vjp = _vjp(_rule(conv_transpose, "transposed", 0, (1, 2, 2), (3, 5, 2), (1, 4, 5), "(1, 4, 5), 2"))
conv1d_transpose_vjp = _vjp(_rule(conv1d_transpose, "transposed", 1, (1, 2, 2), (3, 5, 2), (1, 4, 5), "(1, 4, 5), 2"))
conv2d_transpose_vjp = _vjp(
    _rule(conv2d_transpose, "transposed", 2, (1, 2, 2, 2), (3, 3, 5, 2), (1, 4, 4, 5), "(1, 4, 4, 5), 2")
)
conv3d_transpose_vjp = _vjp(
    _rule(conv3d_transpose, "transposed", 3, (1, 2, 2, 2, 2), (3, 3, 3, 5, 2), (1, 4, 4, 4, 5), "(1, 4, 4, 4, 5), 2")
)
atrous_conv2d_transpose_vjp = _vjp(
    _rule(atrous_conv2d_transpose, "transposed", 2, (1, 4, 4, 2), (3, 3, 5, 2), (1, 4, 4, 5), '(1, 4, 4, 5), 2, "SAME"')
)
depthwise_conv2d_vjp = _vjp(
    _rule(depthwise_conv2d, "depthwise", 2, (1, 4, 4, 2), (3, 3, 2, 2), (1, 4, 4, 4), '1, "SAME"')
)
separable_conv2d_vjp = _vjp(
    _Rule(separable_conv2d, "separable", 2, ("input", "depthwise_filter", "pointwise_filter"), _SEPARABLE)
)
bias_add_vjp = _vjp(_Rule(bias_add, "bias", 0, ("value", "bias"), _BIAS_ADD))
