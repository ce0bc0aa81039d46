"""Asking for derivatives: grad, jacobian, hessian; switching recording on and off;
and a user's own operation."""

from __future__ import annotations

import functools
from inspect import signature
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .core import tape, writes
from .core.anomaly import refuse_nan
from .core.errors import GraphError, ShapeError, complaint
from .core.source import calling_line
from .ops.indexing import getitem
from .ops.shape import cat, reshape
from .tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .typing import P, R

__all__ = ["Function", "backward", "detect_anomaly", "enable_grad", "functional", "grad",
           "hessian", "inference_mode",
           "is_grad_enabled", "jacobian", "no_grad", "set_detect_anomaly", "set_grad_enabled"]


# ── recording on and off ──────────────────────────────────────────────────────────────────────────


class set_grad_enabled:
    """Record (True) or not (False) in this thread from here on;
    in a `with` block, until its end."""

    def __init__(self, mode: bool) -> None:
        self.before = tape.state.grad_enabled
        self.mode = tape.state.grad_enabled = bool(mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc):
        tape.state.grad_enabled = self.before


class set_detect_anomaly:
    """Stop a backward pass of this thread at the first NaN that it makes, naming the operation and
    its line (True).

    From here on; in a `with` block, until its end. check_nan=False: do not look for NaN.
    (`npf.debug.detect_anomaly` looks at the forward pass and for infinities as well.)
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = tape.state.check
        tape.state.check = refuse_nan if mode and check_nan else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc):
        tape.state.check = self.before


def detect_anomaly(check_nan: bool = True) -> set_detect_anomaly:
    """`with detect_anomaly():` stops a backward pass inside the block at the first NaN that it
    makes."""
    return set_detect_anomaly(True, check_nan)


class _GradMode:
    """A context manager, and a decorator, that sets whether this thread records."""

    enabled = True

    def __init__(self, function=None):
        self.before = []  # a stack: one object may be entered again inside itself
        self.function = function

    # an instance, or the function that a bare decorator wraps
    def __new__(cls, function=None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)

    def __enter__(self) -> Self:
        self.before.append(tape.state.grad_enabled)
        tape.state.grad_enabled = self.enabled
        return self

    def __exit__(self, *exc):
        tape.state.grad_enabled = self.before.pop()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def inside(*args, **kwargs):
            with type(self)():
                return function(*args, **kwargs)
        return inside


class no_grad(_GradMode):
    """Record nothing inside: results need no gradient, and tensors can be changed in place."""

    enabled = False


class enable_grad(_GradMode):
    """Record inside, also within no_grad."""


inference_mode = no_grad


def is_grad_enabled() -> bool:
    """Whether this thread records."""
    return tape.state.grad_enabled


# ── derivatives ───────────────────────────────────────────────────────────────────────────────────


def backward(tensors: Tensor | Sequence[Tensor],
             grad_tensors: Tensor | Sequence[Tensor] | None = None,
             retain_graph: bool | None = None, create_graph: bool = False) -> None:
    """Walk back from one tensor or several; gradients add up in the leaves' `.grad`."""
    tape.run_backward(tensors, grad_tensors, retain_graph=retain_graph, create_graph=create_graph)


def grad(outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor],
         grad_outputs: Tensor | Sequence[Tensor] | None = None, retain_graph: bool | None = None,
         create_graph: bool = False, allow_unused: bool = False) -> tuple[Tensor, ...]:
    """d(outputs)/d(inputs), weighted by grad_outputs: a tuple of Tensors, one for each input. No
    `.grad` is touched.

    outputs, inputs: a Tensor or several. grad_outputs: the gradient that arrives at each output; 1
    for scalars. create_graph: the result can itself be differentiated. allow_unused: None for an
    input that no path leads to; otherwise that is a GraphError.
    """
    leaves: list[Tensor] = tape.several(inputs, "grad(outputs, inputs)")
    for i, x in enumerate(leaves):
        if x.node is None:
            raise GraphError(
                f"grad(outputs, inputs): input {i} {tuple(x.shape)} does not require a gradient; "
                "call requires_grad_() on it before it is used")
    found = tape.collect(outputs, grad_outputs, leaves, create_graph=create_graph,
                         retain_graph=create_graph if retain_graph is None else retain_graph)
    for i, (x, g) in enumerate(zip(leaves, found)):
        if g is None and not allow_unused:
            raise GraphError(
                f"grad(outputs, inputs): no path leads from the outputs to input {i} "
                f"{tuple(x.shape)}.\n"
                "  Pass allow_unused=True to get None for it.")
    whole = (g if g is None or isinstance(g, Tensor) else x.wrap(g) for x, g in zip(leaves, found))
    # None comes only to those who pass allow_unused=True
    return tuple(whole)  # type: ignore[arg-type]


def jacobian(func: Callable[..., Tensor], inputs: Tensor | Sequence[Tensor],
             create_graph: bool = False) -> Any:
    """d func(*inputs) / d inputs[i], of shape output.shape + input.shape; a tuple of them if
    `inputs` is a tuple.

    func: from Tensors to one Tensor. One backward pass for each entry of the output.
    """
    alone = isinstance(inputs, Tensor)
    xs = [_leaf(x, create_graph) for x in tape.several(inputs, "jacobian(func, inputs)")]
    with enable_grad():
        y = func(*xs)
    if not isinstance(y, Tensor):
        raise GraphError(
            f"jacobian(func, inputs): func must return a Tensor, it returned {type(y).__name__}")
    rows: list[list[Tensor]] = [[] for _ in xs]
    if y.node is not None:
        flat = reshape(y, shape=(-1,))
        for k in range(flat.array.size):
            one = getitem(flat, index=k)
            found = grad(one, xs, retain_graph=True, create_graph=create_graph, allow_unused=True)
            for row, d, x in zip(rows, found, xs):
                row.append(x.wrap(np.zeros_like(x.array)) if d is None else d)
    shape = tuple(y.shape)
    result = tuple(
        reshape(cat(*[reshape(d, shape=(1, -1)) for d in row]), shape=shape + tuple(x.shape)) if row
        else x.wrap(np.zeros_like(x.array, shape=shape + tuple(x.shape)))
        for row, x in zip(rows, xs))
    return result[0] if alone else result


def hessian(func: Callable[..., Tensor], inputs: Tensor | Sequence[Tensor],
            create_graph: bool = False) -> Any:
    """The second derivatives of a scalar func(*inputs): input.shape + input.shape;
    for several, a tuple of tuples."""
    alone = isinstance(inputs, Tensor)

    def slope(*xs):
        y = func(*xs)
        if y.array.size != 1:
            raise ShapeError(complaint("hessian(func, inputs)", "func must return one number",
                                       {"func(*inputs)": y}))
        found: Sequence[Tensor | None] = [None] * len(xs)
        if y.node is not None:
            found = grad(y, xs, create_graph=True, allow_unused=True)
        return [x.wrap(np.zeros_like(x.array)) if d is None else d for x, d in zip(xs, found)]

    if alone:
        return jacobian(lambda x: slope(x)[0], inputs, create_graph)
    return tuple(jacobian(lambda *xs, i=i: slope(*xs)[i], tuple(inputs), create_graph)
                 for i in range(len(inputs)))


def _leaf(x, keep_graph):
    return x if keep_graph and x.node is not None else x.detach().requires_grad_()


functional = SimpleNamespace(jacobian=jacobian, hessian=hessian)  # as in torch.autograd.functional


# ── a user's own operation ────────────────────────────────────────────────────────────────────────


class Context:
    """What `forward` leaves for `backward`: by `save_for_backward(*tensors)`, or as any
    attribute."""

    def __init__(self):
        self.needs_input_grad = ()
        self._saved, self._constant = (), frozenset()
        self._outputs = {}  # place among the saved -> place among the outputs
        self._restore = None  # while backward runs: gives an output back, with its node

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors (inputs, outputs or others) for the backward pass."""
        self._saved = tensors

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """Say that these outputs need no gradient."""
        self._constant = frozenset(id(y) for y in outputs)

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """What `save_for_backward` kept, in its order."""
        if self._restore is None:
            return self._saved
        return tuple(self._restore(self._outputs[i]) if i in self._outputs else s
                     for i, s in enumerate(self._saved))


class _FunctionOperation:
    """Stands where a registered operation stands in a node, for one call of a user's Function."""

    def __init__(self, function, ctx, shapes):
        self.function, self.ctx, self.shapes = function, ctx, shapes
        self.name = function.__name__
        self.formula = (function.__doc__
                        or f"{self.name}, a Function of the user's").strip().splitlines()[0]

    def name_of(self, i):
        """As `forward` calls it; inputs[i] of a forward(ctx, *inputs)."""
        parameters = list(signature(self.function.forward).parameters.values())[1:]
        named = [p.name for p in parameters
                 if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        return named[i] if i < len(named) else f"inputs[{i}]"

    def compute(self, *arrays):
        """The forward on plain arrays, the outputs laid end to end as in the graph;
        nothing is recorded."""
        with no_grad():
            result = self.function.forward(Context(),
                                           *[Tensor.wrap(a) if hasattr(a, "dtype") else a
                                             for a in arrays])
        outputs = [y.array for y in (result if isinstance(result, tuple) else (result,))]
        return outputs[0] if len(outputs) == 1 else np.concatenate([y.reshape(-1) for y in outputs])

    def gradients(self, node, g):
        with no_grad():
            return [None if d is None else d.array for d in self._backward(node, node.wrap(g))]

    def gradient_graph(self, node, g):
        with enable_grad():
            return self._backward(node, g)

    def _backward(self, node, g):
        # A saved output is given its node back for the time of this call: kept longer, it would
        # close a circle.
        self.ctx._restore = lambda k: split_flat(node.wrap(node.y, node), self.shapes)[k]
        try:
            sent = self.function.backward(self.ctx, *split_flat(g, self.shapes))
        finally:
            self.ctx._restore = None
        sent = list(sent) if isinstance(sent, (tuple, list)) else [sent]
        if len(sent) != len(node.parents):
            raise GraphError(
                f"{self.name}.backward returned {len(sent)} gradients for {len(node.parents)} "
                f"inputs of forward; return one for each, None where there is none")
        for i, (d, parent) in enumerate(zip(sent, node.parents)):
            if d is not None and not isinstance(d, Tensor):
                raise GraphError(
                    f"{self.name}.backward: gradient {i} is a {type(d).__name__}, not a Tensor")
            if d is not None and parent is not None and tuple(d.shape) != node.shapes[i]:
                raise ShapeError(
                    f"{self.name}.backward: gradient {i} has shape {tuple(d.shape)}, but input {i} "
                    f"has shape {node.shapes[i]}")
        return sent


def split_flat(g, shapes):
    """The gradients of several outputs, out of one for all of them laid end to end;
    a single output's is g itself."""
    if len(shapes) == 1:
        return [g]
    parts, at = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        parts.append(reshape(getitem(g, index=slice(at, at + size)), shape=shape))
        at += size
    return parts


class Function:
    """A user's own operation, with its gradient written by hand.

        class Cube(npf.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x ** 3

            @staticmethod
            def backward(ctx, g):
                x, = ctx.saved_tensors
                return g * 3 * x ** 2

        y = Cube.apply(x)

    `forward` runs unrecorded; `backward` gets the gradient of each output and returns one for each
    input of forward, None where there is none. Under create_graph the backward is recorded, so it
    can be differentiated if it is made of Tensor operations.
    """

    @staticmethod
    def forward(ctx, *args):
        raise NotImplementedError("a Function needs a static method forward(ctx, *inputs)")

    @staticmethod
    def backward(ctx, *grads):
        raise NotImplementedError("a Function needs a static method backward(ctx, *gradients)")

    @classmethod
    def apply(cls, *args):
        """Run the operation on `args` and record it."""
        ctx = Context()
        parents = tuple(a.node if isinstance(a, Tensor) else None for a in args)
        ctx.needs_input_grad = tuple(p is not None for p in parents)
        recording = tape.state.grad_enabled and any(ctx.needs_input_grad)
        with no_grad():
            result = cls.forward(ctx, *args)
        outputs = result if isinstance(result, tuple) else (result,)
        for y in outputs:
            if not isinstance(y, Tensor):
                raise GraphError(
                    f"{cls.__name__}.forward must return Tensors, it returned {type(y).__name__}")
        if not recording:
            return result
        made = cls._record(ctx, args, parents, outputs)
        return made if isinstance(result, tuple) else made[0]

    @classmethod
    def _record(cls, ctx, args, parents, outputs):
        """Leave a node behind.

        Several outputs are one array laid end to end, from which each is cut again.
        """
        op = _FunctionOperation(cls, ctx, [y.array.shape for y in outputs])
        array = outputs[0].array if len(outputs) == 1 else np.concatenate(
            [y.array.reshape(-1) for y in outputs])
        node = tape.Node(op, {}, parents, outputs[0].wrap)
        node.shape, node.dtype = array.shape, array.dtype
        node.shapes = tuple(a.array.shape if isinstance(a, Tensor) else () for a in args)
        node.dtypes = tuple(a.array.dtype if isinstance(a, Tensor) else None for a in args)
        node.kept, node.y = tuple(s.array for s in ctx._saved), array
        node.stamps = [(i, writes.stamp(a)) for i, a in enumerate(node.kept)]
        node.scope, node.line = tape.state.scope, calling_line()
        if tape.state.observer is not None:
            tape.state.observer(node, [a.array if isinstance(a, Tensor) else a for a in args],
                                array)
        ctx._outputs = {i: k for i, s in enumerate(ctx._saved) for k, y in enumerate(outputs)
                        if y is s}
        made = split_flat(Tensor.wrap(array, node), op.shapes)
        return tuple(y if id(y) in ctx._constant else m for y, m in zip(outputs, made))
