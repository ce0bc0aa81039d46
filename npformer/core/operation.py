"""Operations: formula, gradient rule, dims and samples in one block, and the registry of them all.

A `Primitive` has one gradient rule for each array argument. A `Fused` operation is its definition
in primitives, with a fast forward and a hand-derived backward. Called with Boxes, either runs and
leaves a `Node` on the tape. Tests, docs and the debugger read the registry: there is no second list
of operations.
"""

from __future__ import annotations

from functools import partial
from inspect import CO_VARARGS, Parameter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import devices, dtypes, writes
from .dims import ELEMENTWISE, Lined, line_up, parse
from .errors import (
    DeviceError,
    DTypeError,
    GraphError,
    IndexRangeError,
    NpformerError,
    ShapeError,
    complaint,
)
from .source import calling_line
from .tape import Box, Node, as_array, collect, pause_watcher, state

if TYPE_CHECKING:
    from collections.abc import Callable

REGISTRY: dict[str, Operation] = {}                # every operation by name


def parameter_names(function: Callable) -> tuple[str, ...]:
    """The names of a function's parameters, but for *args."""
    # Off its code: `signature` takes ten times as long, and 200 rules are read at import.
    code = function.__code__
    return code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]


class Fact(NamedTuple):
    """Something that an operation is (flat, undefined, steep) where a condition on values holds."""

    kind: str                                      # flat, undefined or steep
    words: str
    where: Callable[..., Any]
    argument: str = ""
    at: str = ""

    def mask(self, values: dict[str, Any]) -> Any:
        """Where it is so: a mask, or None where the condition reads what `values` does not have."""
        wanted = parameter_names(self.where)
        if not set(wanted) <= set(values):
            return None
        return self.where(*[values[name] for name in wanted])

    def in_words(self, name: str, mask: Any, values: dict[str, Any]) -> str:
        """The words for argument `name`, with the numbers of its mask and of the value it read."""
        read = next(iter(parameter_names(self.where)), name)
        mask, looked_at = np.asarray(mask), np.asarray(values.get(read, 0))
        some, count = looked_at.size > 0, int(mask.sum())
        return self.words.format(
            name=name, read=read, count=count, passed=mask.size - count, size=mask.size,
            least=float(looked_at.min()) if some else 0.0,
            most=float(np.abs(looked_at).max()) if some else 0.0)


class Operation:
    """A formula and how gradients pass through it.

    Call it with Boxes to record it, with arrays to compute it.
    """

    promotes = None                                # "common" or "float": see dtypes.promote

    def __init__(self, function: Callable, dims: str | Callable | None = None,
                 promotes: str | None = None) -> None:
        self.name = function.__name__.rstrip("_")
        self.function = self.__wrapped__ = function
        self.compute = function                    # from arrays to the output array
        self.promotes = promotes
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.__module__ = function.__module__
        code, names = function.__code__, parameter_names(function)
        self.variadic = (code.co_varnames[len(names)]
                         if code.co_flags & CO_VARARGS else None)
        self.names = names[:code.co_argcount]
        defaults = function.__kwdefaults__ or {}
        self.options = {name: defaults.get(name, Parameter.empty)
                        for name in names[code.co_argcount:]}
        self.examples: list[tuple] = []
        self.facts: list[Fact] = []
        self.mistakes: list[tuple[str, str, dict[str, Callable]]] = []
        self.weights: tuple[Callable, str | None] | None = None
        self.set_dims(dims)
        REGISTRY[self.name] = self

    def __repr__(self):
        return f"<{type(self).__name__.lower()} {self.name}>"

    def __call__(self, *args, **options):
        for a in args:
            if isinstance(a, Box):
                return record(self, args, options)
        try:
            return self.compute(*args, **options)
        except (TypeError, AttributeError) as error:
            if isinstance(error, NpformerError):
                raise
            self.fail(error, args)                 # an argument is neither a Tensor nor an array

    def name_of(self, i: int) -> str:
        """The name of array argument `i`; those of a variadic operation are numbered."""
        return f"{self.variadic}[{i}]" if self.variadic else self.names[i]

    def samples(self, *args, **options) -> None:
        """Note an example for the laws.

        args: a shape, or a function of a random generator, for each array. options: as they are.
        """
        self.examples.append((args, options))

    # ── what else is known of it ──────────────────────────────────────────────────────────────────

    def set_dims(self, dims):
        """Take the dims, and refuse an operation that says nothing of them.

        A default of "entry by entry" was tried: an operation that forgot its dims was then drawn
        wrongly in the page, and nothing failed.
        """
        if dims is None:
            raise GraphError(f"{self.name}: which dims of its arguments line up with which of its "
                             "output? Say so in its block: dims='...' if each entry stands alone, "
                             "else letters as in einsum (core.dims)")
        self.dims = dims
        if isinstance(dims, str) and dims != ELEMENTWISE:
            patterns = parse(dims)[0]
            if not self.variadic and len(patterns) != len(self.names):
                raise GraphError(f"{self.name}: dims {dims!r} has {len(patterns)} patterns, but "
                                 f"its array arguments are {', '.join(self.names)}")
        self.dims_read = () if isinstance(dims, str) else parameter_names(dims)
        known = {"i", "shapes", *self.options, *(f"{name}_shape" for name in self.names)}
        unknown = set(self.dims_read) - known
        if unknown:
            raise GraphError(f"{self.name}: its dims read {sorted(unknown)}; they may read "
                             f"{sorted(known)}")

    def line_up(self, node, i: int) -> Lined:
        """How the dims of argument `i` of a node line up with those of the node's output."""
        return line_up(self.dims_of(node, i), i, node.shapes, node.shape)

    def dims_of(self, node, i: int = 0) -> str:
        """The dims in letters, for a node's shapes and options.

        i: the argument, where a variadic operation lines up each in its own way.
        """
        if isinstance(self.dims, str):
            return self.dims
        return self.dims(*[self.value_of(name, i, None, node, (), None) for name in self.dims_read])

    @property
    def elementwise(self) -> bool:
        """Whether each entry of the output reads one entry of each argument, in its own place."""
        return self.dims == ELEMENTWISE

    def flat(self, words: str, at: str = "", **where: Callable) -> None:
        """Say where no gradient passes to an argument: by its name, a condition on named values.

        words: the reason; {count} of {size} entries are so, {name} is the argument, {read} the
        value that was looked at, {least} and {most} its extremes. at: whose entries the condition
        is about, where it shuts the way for them: letters of the dims, or "xy" where x and y have
        the same.
        """
        self.require_arguments("flat", where)
        for name, condition in where.items():
            self.facts.append(Fact("flat", words, condition, name, at))

    def undefined(self, words: str, where: Callable) -> None:
        """Say where the value is NaN or infinite, by a condition on named values, and why."""
        self.facts.append(Fact("undefined", words, where))

    def steep(self, words: str, where: Callable) -> None:
        """Say where the gradient rule makes NaN or infinity, and why."""
        self.facts.append(Fact("steep", words, where))

    def mistake(self, kind: str, words: str, **rules: Callable) -> None:
        """Note a wrong rule that people write, by argument, as in `vjps`: the judge tries it.

        kind: one of verify's findings. words: what is wrong.
        """
        self.require_arguments("mistake", rules)
        self.mistakes.append((kind, words, rules))

    def require_arguments(self, call, named):
        """Raise GraphError where a keyword of a call in the block names no array argument."""
        unknown = set(named) - {self.variadic, *self.names}
        if unknown:
            raise GraphError(f"{self.name}.{call}(...): {sorted(unknown)} are not among its array "
                             f"arguments, {sorted({self.variadic, *self.names} - {None})}")

    def weighs(self, weights: Callable, argument: str | None = None) -> None:
        """Say that `weights`, of the values that it names, add up to 1 over their last dim.

        argument: the one that is weighted with them; None if they are the output.
        """
        self.weights = weights, argument

    def value_of(self, name, i, g, node, kept, y):
        """What a rule means by `name`, when asked for the gradient of argument `i` of `node`."""
        if name == "g":
            return g
        if name in self.options:
            return node.options.get(name, self.options[name])
        if name == "y":
            return y
        if name in self.names:
            return kept[self.names.index(name)]
        if name.endswith("_shape"):
            return node.shapes[self.names.index(name.removesuffix("_shape"))]
        return {"i": i, "shapes": node.shapes, "arrays": kept}[name]

    # ── words ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def formula(self):
        """The first sentence of the docstring: what the operation computes."""
        return (self.__doc__ or self.name).split("    d", 1)[0].splitlines()[0].strip()

    def fail(self, error, args):
        """Raise `error`, which the array library raised, in the words of this operation."""
        self.check_devices(args)
        operands = {self.name_of(i): a for i, a in enumerate(args)}
        call = f"{self.name}({', '.join(operands)})"
        kind = (DTypeError if isinstance(error, TypeError)
                else IndexRangeError if isinstance(error, IndexError)
                else ShapeError)
        rule = str(error)
        plain = [name for name, a in operands.items() if not hasattr(a, "dtype")]
        if plain and isinstance(error, AttributeError):
            kind, rule = DTypeError, f"{' and '.join(plain)} must be a Tensor"
        if "broadcast" in rule:
            rule = ("the shapes do not broadcast: from the last dim on, sizes must be equal, "
                    "or one of them 1")
        raise kind(complaint(call, rule, operands, self.shapes_line())) from error

    def check_devices(self, args):
        """Raise DeviceError unless all arrays among the arguments live on one device."""
        operands = {self.name_of(i): a for i, a in enumerate(args)}
        homes = {name: devices.device_of(a) for name, a in operands.items()
                 if hasattr(a, "dtype") and not isinstance(a, np.generic)}
        if len(set(homes.values())) > 1:
            places = ", ".join(f"{name} on {home}" for name, home in homes.items())
            raise DeviceError(complaint(f"{self.name}({', '.join(operands)})",
                                        f"the arrays must live on one device: {places}", operands,
                                        "Move one with .to('cuda') or .cpu()."))

    def shapes_line(self):
        """The docstring's line of shapes, as a remedy."""
        lines = [line.strip() for line in self.__doc__.splitlines()]
        return next((f"It takes {line}" for line in lines if "->" in line), "")


class Primitive(Operation):
    """An operation with a gradient rule for each array argument, for arrays and Boxes alike."""

    def __init__(self, function, dims=None, promotes=None):
        super().__init__(function, dims, promotes)
        self.rules = {}                            # by argument name: the rule,
        self.reads = {}                            # and the names of what it reads
        self._plans = {}                           # what `plan` found, by which arguments

    def vjps(self, **rules: Callable | None) -> None:
        """Set the gradient rules, by argument name; `None` says that the argument is not
        differentiable.

        A rule names what it reads, out of: `g` (the gradient that arrives), `y` (the output), the
        arguments, their shapes as `<name>_shape`, and the options. Only values that a rule reads
        are kept for the backward pass. The rule of a variadic operation may read `i`, the number of
        the argument, and `shapes` or `arrays` of them all.
        """
        arguments = {self.variadic} if self.variadic else set(self.names)
        if set(rules) != arguments:
            raise GraphError(f"{self.name}: rules for {sorted(rules)}, but its array arguments are "
                             f"{sorted(arguments)}")
        self.rules = rules
        self.reads = {name: parameter_names(rule)
                      for name, rule in rules.items() if rule is not None}
        known = {"g", "y", *self.names, *(f"{name}_shape" for name in self.names), *self.options}
        known |= {"i", "shapes", "arrays"} if self.variadic else set()
        for name in set().union(*self.reads.values()) - known:
            raise GraphError(f"{self.name}: a rule reads {name!r}, "
                             "which is no argument or option")

    def plan(self, wanted, count):
        """(which arguments to keep, whether to keep y), when the `wanted` ones get gradients."""
        # Only what the rules of those arguments read: x·2 keeps no array at all for dx = g·2. A
        # small operation asks this thousands of times with one answer, and to work it out takes
        # 1.5 µs, to look it up 0.1 µs.
        if wanted not in self._plans:
            names = [self.variadic] if self.variadic else [self.names[i] for i in wanted]
            read = set().union(*(self.reads[name] for name in names))
            if self.variadic:
                kept = ("arrays" in read,) * count
            else:
                kept = tuple(name in read for name in self.names[:count])
            self._plans[wanted] = (kept, "y" in read)
        return self._plans[wanted]

    def differentiable(self, i: int) -> bool:
        """Whether argument `i` has a gradient rule."""
        if not self.rules:                         # else its gradient would be missing, and no word
            raise GraphError(f"{self.name}: it has no gradient rules; write {self.name}.vjps(...) "
                             "into its block")
        return self.rules.get(self.variadic or self.names[i]) is not None

    def keep(self, node, args, y, wanted):
        """Store in `node` what the rules of the `wanted` arguments will read."""
        # The signatures of the rules decide. A list of saved arrays beside the rules would have to
        # be kept in step with them, and one array too many would cost memory unnoticed.
        kept, keep_y = self.plan((len(args),) if self.variadic else wanted, len(args))
        node.kept = tuple([a if k else None for a, k in zip(args, kept)])
        node.y = y if keep_y else None

    def gradients(self, node, g):
        """A list of arrays: the gradient of each argument that needs one, None for the others."""
        return self._apply(node, g, node.kept, node.y)

    def gradient_graph(self, node, g):
        """The same as Boxes, recorded, so that they can be differentiated again."""
        # The rule is the same one; only what it reads is boxed. A box around what was kept hangs on
        # the node that made it, and one around y on this node itself: through them the second
        # derivative finds its way to the arguments.
        kept = tuple([a if p is None or a is None else node.wrap(a, p)
                      for a, p in zip(node.kept, node.parents)])
        return self._apply(node, g, kept, None if node.y is None else node.wrap(node.y, node))

    def _apply(self, node, g, kept, y):
        sent = []
        for i, parent in enumerate(node.parents):
            name = self.variadic or self.names[i]
            sent.append(None if parent is None else self.rules[name](
                *[self.value_of(n, i, g, node, kept, y) for n in self.reads[name]]))
        return sent


class Fused(Operation):
    """An operation that *is* its definition in primitives, with a fast forward and backward.

    The hand-derived backward gets by name what the forward saved. The node keeps the arguments too
    (mostly the same arrays), so that `create_graph` can walk the definition.
    """

    def __init__(self, function, dims=None, promotes=None):
        super().__init__(function, dims, promotes)
        self.definition = function
        self.fast_forward = self.fast_backward = None
        self.fixed = frozenset()                   # arguments that get no gradient

    def constant(self, *names: str) -> None:
        """Say which array arguments are not differentiable (indices, masks)."""
        self.fixed = frozenset(names)

    def forward(self, function: Callable) -> Callable:
        """Decorate the fast forward: it returns y and a dict of what the backward needs."""
        self.fast_forward = function
        self.compute = lambda *args, **options: function(*args, **options)[0]
        return function

    def backward(self, function: Callable) -> Callable:
        """Decorate the hand-derived backward: (g, *, what was saved) -> one gradient an argument.

        If it takes `needs` as well, it gets a bool for each argument and may answer None where that
        is False.
        """
        self.fast_backward = function
        self.partial = "needs" in parameter_names(function)
        return function

    def differentiable(self, i: int) -> bool:
        return self.names[i] not in self.fixed

    def keep(self, node, args, y, wanted):
        # y only if the backward saved it: then it gets a stamp, and a user who writes into the
        # output of a softmax hears of it.
        node.kept = args
        node.y = y if any(array is y for array in node.saved.values()) else None

    def gradients(self, node, g):
        if self.partial:
            return self.fast_backward(g, needs=[p is not None for p in node.parents], **node.saved)
        return self.fast_backward(g, **node.saved)

    def gradient_graph(self, node, g):
        # The definition is run again and walked, so hand-written backward code is never itself
        # differentiated. Each argument enters through `identity`, a node of its own: one Tensor
        # given as two arguments (attention of x, x, x) has one node, and its gradients by the two
        # ways could not be told apart there.
        inputs = [a if p is None else identity(node.wrap(a, p))
                  for a, p in zip(node.kept, node.parents)]
        y = self.definition(*inputs, **node.options)
        boxes = [x for x, p in zip(inputs, node.parents) if p is not None]
        with pause_watcher():                          # it is part of the walk that is under way
            found = collect(y, g, boxes, create_graph=True)
        return [None if p is None else found.pop(0) for p in node.parents]


def is_call_of(node, op: Operation) -> bool:
    """Whether a node was made by `op`, or by a copy of it with another rule: the name decides."""
    return node.op is not None and node.op.name == op.name


def primitive(function=None, *, dims=None, promotes=None):
    """Make a function of arrays an operation; its rules follow with `.vjps(...)`.

    dims: see `core.dims`. promotes: see `dtypes.promote`.
    """
    make = partial(Primitive, dims=dims, promotes=promotes)
    return make(function) if function else make


def fused(function=None, *, dims=None, promotes=None):
    """Make a definition in primitives an operation; `@op.forward` and `@op.backward` follow.

    dims: see `core.dims`. promotes: see `dtypes.promote`.
    """
    make = partial(Fused, dims=dims, promotes=promotes)
    return make(function) if function else make


# ── forward: recording ────────────────────────────────────────────────────────────────────────────


def record(op, args, options):
    """Run `op` on the arrays inside `args`; leave a node if a gradient can ever be asked for."""
    # Everything a node holds is set here, so that an operation which no gradient can ask for leaves
    # nothing: under no_grad there is no node, and what a fused forward saved is dropped at once.
    # kept holds the promoted arrays (the rule is about those), dtypes the arguments' own.
    box, values, parents, wanted = unwrap_arguments(op, args)
    if op.promotes:
        values = dtypes.promote(values, op.promotes == "float")
    recording, saved = state.grad_enabled and wanted, None
    if recording and isinstance(op, Fused):
        y, saved = run(op, op.fast_forward, values, options)
    else:
        y = run(op, op.compute, values, options)
    y = as_array(y, box.array)
    if not recording:
        return box.wrap(y)
    parents = tuple([p if i in wanted else None for i, p in enumerate(parents)])
    node = Node(op, options, parents, box.wrap)
    node.saved, node.shape, node.dtype = saved, y.shape, y.dtype
    node.shapes = tuple([getattr(v, "shape", ()) for v in values])
    node.dtypes = tuple([getattr(a, "dtype", None) for a in args])
    op.keep(node, tuple(values), y, tuple(wanted))
    node.stamps = [(i, writes.stamp(a)) for i, a in enumerate((*node.kept, node.y))
                   if hasattr(a, "dtype")]
    node.scope, node.line = state.scope, calling_line()
    if state.observer is not None:
        state.observer(node, values, y)
    return box.wrap(y, node)


def unwrap_arguments(op, args):
    """(the first Box among `args`, the arrays in them, their nodes, which get a gradient)"""
    box, values, parents, wanted = None, list(args), [], []
    for i, a in enumerate(args):
        if isinstance(a, Box):
            values[i] = a.array
            parents.append(a.node)
            if a.node is not None and op.differentiable(i):
                wanted.append(i)
            box = a if box is None else box
        else:
            parents.append(None)
            if isinstance(a, np.number):
                values[i] = a.item()               # like a Python number, it promotes nothing
    home = type(box.array)
    for a in values:
        if type(a) is not home and hasattr(a, "dtype"):
            op.check_devices(values)
    return box, values, parents, wanted


@np.errstate(all="ignore")                         # infinity and NaN are results, as in PyTorch
def run(op, function, values, options):
    """Call an operation's forward; an array library's error is raised in the operation's words."""
    try:
        return function(*values, **options)
    except (NpformerError, NotImplementedError):   # the array library says what it cannot do
        raise
    except (ValueError, TypeError, IndexError, RuntimeError, AttributeError) as error:
        op.fail(error, values)


@primitive(dims="...")
def identity(x):
    """x.    dx = g"""
    return x


identity.vjps(x=lambda g: g)
identity.samples((2, 3))
