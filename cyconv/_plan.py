"""From a problem to its driver, and plans: an op with its filters packed once."""

from __future__ import annotations

import inspect
import os
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from cyconv import _isa, _problem, _runtime, _threads
from cyconv._algorithms import ALGORITHMS, NAMES, most_scratch
from cyconv._depthwise import Separable
from cyconv._op import Op
from cyconv._problem import DEPTHWISE, TRANSPOSED, Array, Epilogue, Problem, SeparableProblem, Shape, StagedFilters
from cyconv._runtime import settings

_IDENTITY = Epilogue(0, float("-inf"), float("inf"))


# ---- the choice -------------------------------------------------------------------------------------------------


def _named(name: str | None, what: str = "algorithm") -> str | None:
    if name is not None and name != "auto" and name not in NAMES:
        raise ValueError(f"{what} must be one of auto, {', '.join(NAMES)}, not {_problem.shown(name)}")
    return name


settings.algorithm = _named(os.environ.get("CYCONV_ALGORITHM") or None, "CYCONV_ALGORITHM")
forced_algorithm = settings.forced_algorithm


def set_algorithm(name: str | None) -> None:
    """Use one algorithm wherever it accepts the problem, in this whole process; "auto" or None: the best.

    Examples
    --------
    >>> import cyconv
    >>> cyconv.set_algorithm("direct")  # no transforms: sums of small integers are exact
    >>> cyconv.set_algorithm(None)
    """
    settings.algorithm = _named(name)


@contextmanager
def algorithm(name: str) -> Iterator[None]:
    """Use one algorithm, "auto" for the best, within a block wherever it accepts the problem; in this thread or task only.

    Examples
    --------
    >>> import numpy as np, cyconv
    >>> with cyconv.algorithm("direct"):
    ...     cyconv.conv1d(np.ones((1, 4, 1)), np.ones((2, 1, 1)), 1, "VALID").ravel()
    array([2., 2., 2.])
    """
    token = settings.algorithm_here.set(_named(name))
    try:
        yield
    finally:
        settings.algorithm_here.reset(token)


class Choice(NamedTuple):
    """The driver of a problem, and why it is none of the others."""

    name: str
    driver: Any
    refused: tuple[tuple[str, str], ...]


@lru_cache(maxsize=1024)
def choose(problem: Problem | SeparableProblem, forced: str | None) -> Choice:
    """The forced algorithm if it accepts the problem, or the one estimated to be the fastest; two stages have one driver."""
    if isinstance(problem, SeparableProblem):
        return Choice("separable", Separable(problem), ())
    made = {name: make(problem, name == forced) for name, make in ALGORITHMS}
    found = {name: row for name, row in made.items() if not isinstance(row, str)}
    best = forced if forced in found else min(found, key=lambda name: found[name].time)
    refused = [
        (name, row if isinstance(row, str) else f"estimated at {row.time / found[best].time:.2g} of the time")
        for name, row in made.items()
        if name != best
    ]
    return Choice(best, found[best].driver, tuple(refused))


# ---- one call ---------------------------------------------------------------------------------------------------


class Extras(NamedTuple):
    """The checked extras of one call."""

    bias: Array | None
    residual: Array | None
    epilogue: Epilogue
    target: Array | None


NO_EXTRAS = Extras(None, None, _IDENTITY, None)


def check(
    problem: Problem | SeparableProblem, dtype: Any, bias: Any, activation: Any, residual: Any, out: Any
) -> Extras:
    """The extras of an op, checked against what it makes."""
    if bias is None and activation is None and residual is None and out is None:
        return NO_EXTRAS
    op = problem.op
    return Extras(
        None if bias is None else _problem.bias_argument(op, bias, problem.out_channels, dtype, problem.dtype),
        None if residual is None else _problem.output_like(op, "residual", residual, problem.out_shape, dtype),
        _IDENTITY if activation is None else _problem.activation_argument(op, activation, problem.dtype),
        None if out is None else _problem.out_argument(op, out, problem.out_shape, dtype),
    )


def compute(driver: Any, op: str, x: Array, filters: Any, extras: Extras, out: Any, num_threads: Any) -> Array:
    """Run a driver; through a copy where `out` overlaps what is read."""
    vector, added, epilogue, target = extras
    threads, isa = _threads.wanted(op, num_threads), _isa.current()
    try:
        if target is None:
            return driver.run(x, filters, vector, added, epilogue, None, threads, isa)  # type: ignore[no-any-return]
        staged = filters if isinstance(filters, StagedFilters) else ()
        if not target.flags.aligned or not _runtime.apart(target, x, vector, added, filters, *staged):
            target[...] = driver.run(x, filters, vector, added, epilogue, None, threads, isa)
        else:
            driver.run(x, filters, vector, added, epilogue, target, threads, isa)
    except MemoryError as error:
        if str(error).startswith(op):
            raise
        raise MemoryError(f"{op}: {error}") from None
    return out  # type: ignore[no-any-return]


class Recipe(NamedTuple):
    """An op with every argument but its arrays: what a plan keeps."""

    op: Op
    rest: tuple[Any, ...]
    filters: Array | StagedFilters
    bias: Any
    activation: Any

    def problem(self, shape: Shape, dtype: int) -> Any:
        """The problem of an input of that shape."""
        return self.op.problem(shape, self.filters.shape, dtype, *self.rest)

    def operands(self, x: Any) -> tuple[Array, Any, int]:
        """An input, the filters and their common dtype."""
        return _operands(self.op, x, self.filters)


class Deferred:
    """Stands for the input, of a dtype maybe, where an op is planned, in the name of another op maybe: it returns its recipe."""

    def __init__(self, op: str = "", dtype: Any = None) -> None:
        self.op, self.dtype = op, dtype


def called(op: Op, input: Any) -> Op:
    """The op by the name that messages have."""
    return op._replace(name=input.op) if type(input) is Deferred and input.op else op


def _operands(op: Op, x: Any, filters: Any) -> tuple[Array, Any, int]:
    """The arrays and their common dtype; those of two stages agree already."""
    f = filters.depthwise if isinstance(filters, StagedFilters) else filters
    x, f, code = _problem.operands(op.name, op.names[0], x, op.names[1], f)
    return x, filters if isinstance(filters, StagedFilters) else f, code


def execute(
    op: Op,
    how: tuple[Any, ...],
    input: Any,
    filters: Any,
    bias: Any,
    activation: Any,
    residual: Any,
    out: Any,
    num_threads: Any,
) -> Array:
    """An op: its arguments in kind, a problem of these and of the shapes, the driver for that, and a run."""
    if type(input) is Deferred:
        op = called(op, input)
    if not op.n:
        shape = _problem.array(op.name, op.names[1], filters).shape
        op = op._replace(n=_problem.spatial_rank(op.name, op.names[1], shape))
    rest = op.kind.arguments(op.name, op.names, *how)
    if type(input) is Deferred:
        kept = filters if isinstance(filters, StagedFilters) else _problem.array(op.name, op.names[1], filters)
        return Recipe(op, rest, kept, bias, activation)  # type: ignore[return-value]
    code = _runtime.common_code(input, filters)
    x, f = input, filters
    if code < 0:
        x, f, code = _operands(op, input, filters)
    problem, driver = _chosen(forced_algorithm(), op, x.shape, f.shape, code, *rest)
    extras = check(problem, x.dtype, bias, activation, residual, out)
    return compute(driver, op.name, x, f, extras, out, num_threads)


@lru_cache(maxsize=1024)
def _chosen(forced: str | None, op: Op, *arguments: Any) -> tuple[Any, Any]:
    """A problem and its driver."""
    problem = op.problem(*arguments)
    return problem, choose(problem, forced).driver


def run(problem: Problem, x: Array, filters: Array, out: Any, num_threads: Any, forced: str | None = None) -> Array:
    """A problem that has been made, by the algorithm in force or another."""
    extras = check(problem, x.dtype, None, None, None, out)
    driver = choose(problem, forced or forced_algorithm()).driver
    return compute(driver, problem.op, x, filters, extras, out, num_threads)


# ---- plans ------------------------------------------------------------------------------------------------------


def _with_unit(value: float, unit: str) -> str:
    """Three digits and a decimal prefix: 1.16 MFLOP, 548 B, 2.02 us."""
    prefixes = ((9, "G"), (6, "M"), (3, "k"), (0, ""), (-3, "m"), (-6, "u"))
    power, prefix = next((p for p in prefixes if value >= 0.9995 * 10.0 ** p[0]), (0, ""))
    return f"{value / 10.0**power:.3g} {prefix}{unit}"


class Explanation(NamedTuple):
    """What a call will do; print it."""

    op: str
    algorithm: str
    refused: tuple[tuple[str, str], ...]
    output_shape: tuple[int, ...]
    flops: float
    nbytes: int
    packed_bytes: int
    workspace_bytes: int
    threads: int
    isa: str
    predicted_seconds: float
    phases: str = ""  #: of a strided transposed convolution some of whose phases are direct: how many

    def __str__(self) -> str:
        how = f"{self.algorithm} ({self.phases})" if self.phases else self.algorithm
        lines = [
            f"{self.op} -> {self.output_shape}: {how}, {self.isa}, {self.threads} thread{'s' * (self.threads > 1)}",
            f"  {_with_unit(self.flops, 'FLOP')} as a direct convolution; {_with_unit(self.nbytes, 'B')} of arrays",
            f"  {_with_unit(self.packed_bytes, 'B')} of packed filters, at most {_with_unit(self.workspace_bytes, 'B')} of scratch",
            f"  about {_with_unit(self.predicted_seconds, 's')}, from the measured peaks of this machine",
        ]
        return "\n".join([*lines, *(f"  not {name}: {why}" for name, why in self.refused)])


@lru_cache(maxsize=8)
def _peaks(isa: int) -> tuple[float, float]:
    """(FMA peak of one thread in FLOP/s, bytes a second of a copy), measured once in 20 ms."""
    block = np.ones(1 << 22, np.uint8)
    target = np.empty_like(block)
    best = min(timeit.repeat(lambda: np.copyto(target, block), number=1))
    return _runtime.fma_peak(0.01, isa) * 1e9, 2 * block.nbytes / best


def _owned(value: Any) -> Any:
    """A copy of an array, or of what is read as one: nobody else can write to it."""
    if isinstance(value, np.generic) or not (isinstance(value, memoryview) or hasattr(value, "__array__")):
        return value
    if getattr(value, "requires_grad", False):
        return value  # the op refuses it, in words
    value = np.asanyarray(value).copy()
    value.flags.writeable = False
    return value


class Plan(_runtime.Quick):
    """An op with its filters packed: call it with an input. Made by `plan`; immutable, picklable, thread-safe.

    Filters are packed the first time an algorithm meets them, once for each algorithm that its inputs call for, not for
    each shape.
    """

    __slots__ = ("_arguments", "_op", "_packed", "_recipe")

    def __init__(
        self, op: Callable[..., Any], filters: tuple[Any, ...], arguments: dict[str, Any], caller: str = "plan"
    ) -> None:
        try:
            parameters = list(inspect.signature(op).parameters)
        except (TypeError, ValueError):  # it has none that can be asked for
            parameters = []
        name = getattr(op, "__name__", _problem.shown(op))
        no_plan = f"{caller}: {name} is no convolution of this package, like cyconv.conv2d: it has no filters to pack"
        if "residual" not in parameters or "out_backprop" in parameters:
            raise TypeError(no_plan)
        filters = tuple(_owned(f) for f in filters)
        self._op = op
        self._arguments = (filters, {k: _owned(v) for k, v in arguments.items()})
        names, rest = parameters[1 : len(filters) + 1], dict(self._arguments[1])
        self._threads = rest.pop("num_threads", None)
        allowed = [p for p in parameters[1:] if p not in (*names, "residual", "out")]
        for argument in rest:
            if argument not in allowed:
                raise TypeError(
                    f"{caller}: {name} takes no {_problem.shown(argument)} here; it takes {', '.join(allowed)}"
                )
        if "output_shape" in parameters:
            rest.setdefault("output_shape", None)  # the input will decide it
        try:
            self._recipe: Recipe = op(Deferred(), **dict(zip(names, filters, strict=False)), **rest)
        except AttributeError as error:
            raise TypeError(no_plan) from error
        if not isinstance(self._recipe, Recipe):
            raise TypeError(no_plan)
        self._wanted(None)
        self._check()
        self._packed: dict[Any, Any] = {}
        self._last = ()

    @property
    def op(self) -> Callable[..., Any]:
        """The op that was planned."""
        return self._op

    def __reduce__(self) -> tuple[Any, ...]:
        return Plan, (self.op, *self._arguments)

    def _check(self) -> None:
        """What can be said of the arguments before there is an input."""
        (op, kind, n, names), (steps, *_), filters, bias, activation = self._recipe
        _problem.moves(op, names, steps, n, _problem.layout(op, steps[2], n))
        code, dtype = _problem.dtype_code(op, names[1], filters.dtype), filters.dtype
        _problem.activation_argument(op, activation, code)
        filters = filters.pointwise if isinstance(filters, StagedFilters) else filters
        _problem.filter_shape(op, names[1], filters.shape, n)
        if bias is not None:
            channels = filters.shape[-1] * (filters.shape[-2] if kind is DEPTHWISE else 1)
            if kind is TRANSPOSED:  # the input tells how many groups there are
                channels = _problem.array(op, "bias", bias, dtype).size
            _problem.bias_argument(op, bias, channels, dtype, code)

    def _bind(self, x: Array) -> tuple[Any, ...]:
        """(shape, dtype, ISA, forced algorithm) of inputs like x; (output's shape, driver's run, packed filters, bias,
        epilogue) that `Quick` runs; (problem, driver, extras)."""
        recipe, isa, forced = self._recipe, _isa.current(), forced_algorithm()
        code = recipe.operands(x)[2]
        problem, driver = _chosen(forced, recipe.op, x.shape, recipe.filters.shape, code, *recipe.rest)
        key = (driver.layout, problem.in_channels, isa)  # filters tell the channels of a group, not how many groups
        if key not in self._packed:
            self._packed[key] = driver.pack(recipe.filters, isa)
        extras = check(problem, x.dtype, recipe.bias, recipe.activation, None, None)
        self._last = (
            x.shape, x.dtype, isa, forced, problem.out_shape, driver.run, self._packed[key], extras.bias,
            tuple(extras.epilogue), problem, driver, extras,
        )  # fmt: skip
        return self._last

    def _call(self, x: Any, out: Any, residual: Any, num_threads: int | None) -> Array:
        recipe, last = self._recipe, self._last
        x = _problem.array(recipe.op.name, recipe.op.names[0], x, recipe.filters.dtype)
        if not last or (x.shape, x.dtype, _isa.current(), forced_algorithm()) != last[:4]:
            last = self._bind(x)
        packed, (problem, driver, extras) = last[6], last[9:]
        if residual is not None or out is not None:
            more = check(problem, x.dtype, None, None, residual, out)
            extras = Extras(extras.bias, more.residual, extras.epilogue, more.target)
        num_threads = self._threads if num_threads is None else num_threads
        return compute(driver, recipe.op.name, x, packed, extras, out, num_threads)

    def _problem(self, shape: Any) -> Problem | SeparableProblem:
        """The problem of an input of that shape."""
        recipe, op = self._recipe, self._recipe.op
        code = _problem.dtype_code(op.name, op.names[1], recipe.filters.dtype)
        return recipe.problem(_problem.shape_argument(op.name, "shape", shape), code)  # type: ignore[no-any-return]

    def _wanted(self, num_threads: int | None) -> int:
        """The threads of a call."""
        return _threads.wanted(self._recipe.op.name, self._threads if num_threads is None else num_threads)

    def output_shape(self, shape: Any) -> tuple[int, ...]:
        """The shape of the output for an input of that shape."""
        made: tuple[int, ...] = self._problem(shape).out_shape
        return made

    def flops(self, shape: Any) -> float:
        """Floating-point operations for an input of that shape, counted as a direct convolution."""
        return float(choose(self._problem(shape), "direct").driver.flops)

    @property
    def nbytes(self) -> int:
        """Bytes of the filters: as they were given, and as they have been packed so far."""
        return int(self._recipe.filters.nbytes + sum(packed.nbytes for packed in self._packed.values()))

    def workspace_bytes(self, shape: Any, num_threads: int | None = None) -> int:
        """The most bytes of scratch of one call, over all its threads."""
        problem = self._problem(shape)
        driver = choose(problem, forced_algorithm()).driver
        return most_scratch(problem, driver, self._wanted(num_threads), _isa.current())

    def explain(self, shape: Any, num_threads: int | None = None) -> Explanation:
        """The algorithm for an input of that shape, why none of the others, and what it costs."""
        problem, filters, isa = self._problem(shape), self._recipe.filters, _isa.current()
        check(problem, filters.dtype, self._recipe.bias, self._recipe.activation, None, None)
        name, driver, refused = choose(problem, forced_algorithm())
        threads = self._wanted(num_threads)
        size = filters.dtype.itemsize
        arrays = size * (prod(problem.batch) * problem.in_channels * prod(problem.sizes) + prod(problem.out_shape))
        peak, bandwidth = _peaks(isa)
        work = driver.work / (peak * 0.85 * threads * (0.5 if size == 8 else 1))
        return Explanation(
            problem.op, name, refused, problem.out_shape, driver.flops, arrays + filters.nbytes,
            driver.pack(filters, isa).nbytes, most_scratch(problem, driver, threads, isa), threads, _isa.current_isa(),
            max(work, arrays / bandwidth) + 2e-6, getattr(driver, "phases", ""),
        )  # fmt: skip

    def __repr__(self) -> str:
        op, filters = self._recipe.op.name, self._recipe.filters
        return f"cyconv.plan({op}, filters {filters.shape} {filters.dtype}, {self.nbytes} bytes)"


def plan(op: Callable[..., Any], *filters: Any, **arguments: Any) -> Plan:
    """An op with its filters packed once, for many inputs.

    Parameters
    ----------
    op : function
        A convolution of this package, e.g. ``cyconv.conv2d``.
    *filters : array
        Its filters; copied.
    **arguments
        The op's other arguments but the input, `out` and `residual`: those belong to the call, and so may
        `num_threads`. For a transposed op `output_shape` may be left out where the input decides it.

    Returns
    -------
    Plan
        Call it: ``p(x, out=None, residual=None, num_threads=None)``.

    Examples
    --------
    >>> import numpy as np, cyconv
    >>> p = cyconv.plan(cyconv.conv2d, np.ones((3, 3, 1, 2), np.float32), strides=1, padding="SAME", activation="relu")
    >>> p(np.ones((1, 5, 5, 1), np.float32)).shape
    (1, 5, 5, 2)
    >>> p.output_shape((7, 9, 9, 1))
    (7, 9, 9, 2)
    """
    return Plan(op, filters, arguments)


def explain(op: Callable[..., Any], input: Any, *filters: Any, **arguments: Any) -> Explanation:
    """What a call would do: the algorithm and why none of the others, FLOPs, bytes, scratch, threads, time.

    Parameters
    ----------
    op, *filters, **arguments
        As of `plan`.
    input : array
        Only its shape and dtype matter.

    Examples
    --------
    >>> import numpy as np, cyconv
    >>> e = cyconv.explain(cyconv.conv2d, np.ones((1, 8, 8, 4)), np.ones((3, 3, 4, 4)), strides=1, padding="SAME")
    >>> e.algorithm, e.output_shape
    ('direct', (1, 8, 8, 4))
    """
    made = Plan(op, filters, arguments, "explain")
    return made.explain(made._recipe.operands(input)[0].shape)
