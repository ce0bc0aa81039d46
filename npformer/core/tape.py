"""The tape: what operations leave behind, and the one backward walk over it.

Reading order: `Box` is what a user holds, `Node` is what an operation leaves behind
(`core.operation` fills it), `walk` goes through the nodes backwards and yields (node, g, sent) at
each. `core.step` stands above and turns such a visit into the `Step` that users see.

A Box knows its Node; a Node knows the nodes of its arguments; nothing points the other way. So a
graph is freed by reference count alone, as soon as its last Box is gone.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from . import devices, writes
from .errors import DeviceError, DTypeError, GraphError, ShapeError, complaint, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class State(threading.local):
    """What a thread is doing: whether it records, for which module, and who looks on.

    scope: the module whose forward runs, a chain of weak references.
    observer: called as observer(node, arguments, y) for each operation that is recorded.
    check: called as check(node, g, sent) for each node of a backward walk; it may refuse what is
    sent by raising (`core.anomaly`).
    watcher: called as watcher(seeds) when a backward walk begins. It returns None, or a function
    that is called as watch(node, g, sent) for each node, and as watch(None, None, ()) at the end.
    """

    # One for each thread: `no_grad()` around an evaluation in one thread must not stop the
    # recording of a training step in another. The values below are those of a new thread.
    grad_enabled = True
    scope: Any = None
    observer: Any = None
    check: Any = None
    watcher: Any = None


state = State()
_order = itertools.count()                         # nodes are numbered as they are made


@contextlib.contextmanager
def pause_watcher():
    """Inside, no watcher is told of walks."""
    before, state.watcher = state.watcher, None
    try:
        yield
    finally:
        state.watcher = before


@contextlib.contextmanager
def add_observer(see: Callable) -> Iterator[None]:
    """Inside, see(node, arguments, y) is called for each operation that this thread records.

    An observer that was there before is called first, and goes on alone afterwards.
    """
    before = state.observer

    def both(node, arguments, y):
        if before is not None:
            before(node, arguments, y)
        see(node, arguments, y)

    state.observer = both
    try:
        yield
    finally:
        state.observer = before


class Box:
    """An array and the node that made it. Tensor adds the operators and methods."""

    def __init__(self, array, node=None):
        self.array = array
        self.node = node

    @classmethod
    def wrap(cls, array, node=None):
        """The Box that an operation on Boxes of this class returns."""
        return cls(array, node)

    def track(self) -> None:
        """Make this Box a leaf: gradients that reach it are added up in its node."""
        self.node = Node(None, {}, (), self.wrap)
        self.node.shape, self.node.dtype = self.array.shape, self.array.dtype


class Node:
    """One recorded operation, or (op None) a leaf.

    parents: for each array argument the node that made it, or None. shapes and dtypes: of the
    arguments. kept: the arguments whose values the gradient rule reads, None for the others.
    y: the output, if the rule reads it. saved: what a fused forward left for its backward, by name.
    stamps: of kept and y, to notice a write in between.
    """

    __slots__ = (
        "order", "op", "options", "parents", "wrap",
        "shapes", "dtypes", "kept", "y", "stamps", "saved", "shape", "dtype",
        "scope", "line", "freed", "grad", "hooks", "retains_grad", "__weakref__",
    )

    def __init__(self, op, options, parents, wrap):
        self.order = next(_order)
        self.op, self.options, self.parents, self.wrap = op, options, parents, wrap
        self.kept = self.shapes = self.dtypes = ()
        self.y = self.stamps = self.saved = self.scope = self.line = self.grad = self.hooks = None
        self.freed = self.retains_grad = False

    def free(self) -> tuple:
        """Let go of the arrays, which are returned, and keep the parents."""
        # The arrays are the memory; the parents cost a tuple. Without them a second walk would find
        # no way through here and answer None, where it has to say that the graph was freed.
        arrays = self.kept, self.y, self.saved
        self.kept, self.y, self.saved, self.freed = (), None, None, True
        return arrays

    def check_unchanged(self) -> None:
        """Raise GraphError if an array that the rule reads was changed since the forward pass."""
        # Only what the rule reads has a stamp: a write into an operand of `add` harms no gradient
        # and is allowed. To lock the arrays while the graph lives would forbid that as well.
        values = (*self.kept, self.y)
        for i, before in self.stamps:
            if writes.has_changed(values[i], before):
                name = self.op.name_of(i) if i < len(self.kept) else "y, its output,"
                raise GraphError(
                    f"{self.op.name}: the backward pass needs {name} as it was in the forward "
                    "pass, but it was changed in place meanwhile.\n"
                    f"  {name} {values[i].dtype} {values[i].shape}, "
                    f"recorded at {self.line_text()}\n"
                    "  Change a copy (x.clone()), or call backward() before the change.")

    def line_text(self) -> str:
        return f"{self.line[0]}:{self.line[1]}" if self.line else "an unknown line"


# ── backward: the walk ────────────────────────────────────────────────────────────────────────────


def run_backward(output: Box | Sequence[Box], grad: Box | np.ndarray | Sequence | None = None, *,
                 retain_graph: bool | None = None, create_graph: bool = False) -> None:
    """`backprop(output, grad)`, run to its end: gradients add up in the leaves."""
    for _ in walk(seeds_of(output, grad, create_graph), create_graph=create_graph,
                  retain_graph=create_graph if retain_graph is None else retain_graph):
        pass


def collect(output: Box | Sequence[Box], grad: Box | np.ndarray | Sequence | None,
            inputs: Sequence[Box], *, retain_graph: bool = True, create_graph: bool = False):
    """The gradients of `output` with respect to `inputs`, None where no path leads to one.

    inputs: Boxes. No leaf's gradient changes.
    """
    found = {x.node: None for x in inputs}
    for _ in walk(seeds_of(output, grad, create_graph), found,
                  retain_graph=retain_graph, create_graph=create_graph):
        pass
    return [found[x.node] for x in inputs]


def walk(seeds, found=None, *, retain_graph, create_graph, stop=False):
    """The backward walk: at each operation, the last one first, it yields (node, g, sent).

    g is the gradient that arrived there; sent goes to its parents, None where nothing goes.
    seeds: (node, gradient) pairs. found: a dict of nodes to be filled with their gradients; if it
    is given, only what lies on the way to them is walked, and no leaf's gradient changes.
    stop: nothing passes a node of found.
    """
    if create_graph and not state.grad_enabled:
        raise GraphError("create_graph=True under no_grad(): the walk could not be recorded. "
                         "Leave no_grad() first.")
    # pending: {node: the sum of what arrived so far}; heap: its nodes, the latest on top
    pending, heap = {}, []
    ends = [node for node, _ in seeds]
    on_the_way = None if found is None else nodes_leading_to(ends, found, stop)
    watch = None if state.watcher is None else state.watcher(seeds)

    def deliver(node, gradient):
        if node in pending:
            # Never in place. `add` gives the very array that it got to both parents, and a leaf may
            # hold it too: `+=` here would change another node's gradient, and only a graph with a
            # fork in it would show that.
            pending[node] = as_array(pending[node] + gradient)
        elif on_the_way is None or node in on_the_way:
            pending[node] = gradient
            heapq.heappush(heap, (-node.order, node))

    for node, gradient in seeds:
        deliver(node, gradient)
    while heap:
        # A node's consumers were all made after it, so they have higher numbers and are done: g is
        # final. A heap by number needs no sorting of the graph beforehand and no recursion, which
        # overflows at 1,000 operations.
        node = heapq.heappop(heap)[1]
        g = pending.pop(node)
        for hook in list(node.hooks.values()) if node.hooks else ():
            g = hook(g)
        if found is None:
            if node.op is None or node.retains_grad:
                accumulate(node, g)
        elif node in found:
            found[node] = g
        goes_on = node.op is not None and (on_the_way is None or on_the_way[node])
        sent = send(node, g, create_graph) if goes_on else ()
        for parent, d in zip(node.parents, sent):
            if d is not None:
                deliver(parent, d)
        if watch is not None:
            watch(node, g, sent)
        if goes_on:
            try:
                yield node, g, sent                # the node's arrays are there while one looks
            finally:
                # The arrays go one visit later, when the name is bound again. Freed at once, the
                # allocator gives the top of its heap back and takes it anew for the next rule:
                # some 3,000 page faults in a training step instead of 900.
                spent = None if retain_graph else node.free()  # noqa: F841
    if watch is not None:
        watch(None, None, ())


@np.errstate(all="ignore")                         # infinity and NaN are results, as in PyTorch
def send(node, g, create_graph):
    """What a node sends to each of its parents when `g` arrives; None where nothing goes."""
    # Here, and not in each rule: a rule is a formula and no more. What every rule needs (arrays
    # that are still there and unchanged, a shape and a dtype that fit, a look for NaN) is seen to
    # at the one place that all gradients pass, so that a new rule cannot forget it.
    if node.freed:
        raise GraphError(
            f"{node.op.name}: this graph was freed by an earlier backward pass "
            f"(recorded at {node.line_text()}).\n"
            "  Call the first backward with retain_graph=True, or run the forward pass again.")
    node.check_unchanged()
    sent = node.op.gradient_graph(node, g) if create_graph else node.op.gradients(node, g)
    sent = [None if parent is None or d is None else fit_to_argument(node, i, d)
            for i, (parent, d) in enumerate(zip(node.parents, sent))]
    if state.check is not None:
        state.check(node, g, sent)
    return sent


def fit_to_argument(node, i, d):
    """The gradient of argument `i` in the argument's dtype; GraphError if its shape is wrong."""
    # A wrong shape that broadcasts would pass unnoticed: (3,) added to a gradient (2, 3) gives
    # (2, 3). A wrong dtype is put right, not refused, so that a rule may ignore promotion: in
    # float32 · float64 the product is float64, and so is what its rule returns for both.
    if d.shape != node.shapes[i]:
        name = node.op.name_of(i)
        raise GraphError(f"{node.op.name}: its backward gave {name} a gradient of shape {d.shape}, "
                         f"but {name} has shape {node.shapes[i]}")
    dtype = node.dtypes[i]
    return as_array(d if d.dtype == dtype or dtype is None else d.astype(dtype))


def as_array(y, like=None):
    """NumPy gives numbers where arrays have no dims; values and gradients are always arrays."""
    return np.asarray(y, like=like) if isinstance(y, np.generic) else y


def accumulate(node, g):
    """Add `g` to the gradient that a leaf has, which is an array of its own."""
    # The first one is copied: `a + b` sends one array to both leaves, and clearing or clipping
    # a.grad in place would change b.grad. A Box, under create_graph, stays what it is: its node
    # is the way to the second derivative.
    if isinstance(g, Box):
        node.grad = g if node.grad is None else node.grad + g
    elif node.grad is None:
        node.grad = node.wrap(g.copy())
    else:
        node.grad = node.wrap(as_array(node.grad.array + g))


def nodes_leading_to(nodes, targets, stop=False):
    """The nodes behind `nodes` that lead to `targets`: {node: whether the way goes on below it}.

    stop: no way leads through a target.
    """
    # Two loops, since recursion overflows: down to what can be reached, then up from the oldest, so
    # that a node's parents are decided before it. Nothing older than the oldest target can lead to
    # one. In a chain of 50,000 operations with the target near its end that takes 8 µs; without
    # the line that cuts there, 150 ms.
    ends = targets if stop else ()
    oldest = min((target.order for target in targets), default=0)
    reached, stack = set(nodes), list(nodes)
    while stack:
        node = stack.pop()
        for parent in node.parents if node not in ends else ():
            if parent is not None and parent not in reached and parent.order >= oldest:
                reached.add(parent)
                stack.append(parent)
    way = {}
    for node in sorted(reached, key=lambda n: n.order):
        below = node not in ends and any(parent in way for parent in node.parents)
        if below or node in targets:
            way[node] = below
    return way


def ancestors_of(outputs):
    """Every node behind the nodes `outputs`, and these, oldest first."""
    found, stack = set(outputs), list(outputs)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in found:
                found.add(parent)
                stack.append(parent)
    return sorted(found, key=lambda node: node.order)


def require_boxes(call, **operands):
    """Raise DTypeError where an operand is no Tensor."""
    for name, x in operands.items():
        if not isinstance(x, Box):
            remedy = ("Does a forward before it return nothing?" if x is None
                      else "Make one with npf.tensor(...) or npf.from_numpy(...).")
            raise DTypeError(complaint(call, f"{name} must be a Tensor", {name: x}, remedy))


def as_list(boxes, call):
    """One Box or several, as a list; DTypeError for anything else."""
    listed = [boxes] if isinstance(boxes, Box) or not hasattr(boxes, "__iter__") else list(boxes)
    for x in listed:
        if not isinstance(x, Box):
            raise DTypeError(f"{call}: it takes Tensors, got {describe(x)}")
    return listed


def seeds_of(output, grad, create_graph):
    """The (node, gradient) pairs that a walk starts from; GraphError or ShapeError where none can.

    A gradient of another dtype is brought to the output's.
    """
    # All of them are checked before the walk begins: an error at the second output must not leave
    # the gradients of the first in the leaves, where the next backward() would add to them.
    outputs = as_list(output, "backprop(output)")
    if grad is None:
        grads = [None] * len(outputs)
    else:
        grads = list(grad) if isinstance(grad, (list, tuple)) else [grad]
    if len(grads) != len(outputs):
        raise GraphError(f"backprop: {len(outputs)} outputs but {len(grads)} gradients; "
                         "give one for each")
    return [seed_of(y, g, create_graph) for y, g in zip(outputs, grads)]


def seed_of(y, g, create_graph):
    """(node, gradient) for one output and the gradient given for it; None is 1 for one number."""
    if y.node is None:
        raise GraphError("backprop: this tensor has no graph behind it: nothing that led to it has "
                         "requires_grad=True, or it was made under no_grad() or by detach().")
    if g is None:
        if y.array.size != 1:
            raise GraphError(f"backprop: the output has shape {y.array.shape}, not one number.\n"
                             "  Reduce it (loss.mean()), or give the gradient that arrives: "
                             "backward(g), g of the same shape.")
        g = np.ones_like(y.array)
    values = g.array if isinstance(g, Box) else np.asarray(g, dtype=y.array.dtype, like=y.array)
    if values.shape != y.array.shape:
        raise ShapeError(complaint("backprop(output, grad)", "grad must have the shape of output",
                                   {"output": y.array, "grad": values}))
    there, here = devices.device_of(values), devices.device_of(y.array)
    if there != here:
        raise DeviceError(f"backprop: output is on {here}, its gradient on {there}.\n"
                          "  Move one with .to('cuda') or .cpu().")
    if create_graph:
        return y.node, g if isinstance(g, Box) else y.wrap(values.astype(y.array.dtype, copy=False))
    return y.node, values.astype(y.array.dtype, copy=False)
