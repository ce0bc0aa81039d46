"""A trace: one forward and one backward pass, recorded whole, to be looked at in any order and as often as one likes.

`trace(loss)` records the walk back from a loss; `trace(function)` and `with recording() as r:` record the forward pass
too, so that every value is there. A `Trace` is a sequence of `TraceStep`s, the first is the last operation; its nodes
are a graph like any other, so whatever takes a loss (`residuals`, `path_lengths`) takes `trace.output`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core import tape
from ..core.arrays import to_numpy
from ..core.errors import GraphError, ValueRangeError
from ..core.inside import unfolded
from ..core.step import Step
from ..tensors import Tensor
from . import ledger, replay
from .record import LARGEST, Recorder, Summary, TracedNode, notes_on, plain_name, require_whole, see_again, unique

if TYPE_CHECKING:
    from os import PathLike


class Contribution(NamedTuple):
    """What one consumer added to a gradient: its step, and which argument of it the value was (-1: the walk's seed)."""

    step: int
    argument: int
    array: np.ndarray


class TraceStep(Step):
    """A `Step` of a trace: it keeps all its inputs and its output, and knows its place."""

    __slots__ = ("trace", "index")

    def __init__(self, trace, index, node, upstream, sent):
        super().__init__(node, upstream, sent)
        self.trace, self.index = trace, index

    @property
    def inputs(self) -> dict[str, Any]:
        """All arguments by name."""
        return {self.node.op.name_of(i): a for i, a in enumerate(self.node.values)}

    @property
    def arguments(self) -> tuple:
        """What the operation was called with, in order. A GraphError where an array was too large to keep."""
        require_whole(self.name, self.inputs)
        return self.node.values

    @property
    def value(self):
        """The output."""
        return self.node.value

    @property
    def name(self) -> str:
        """Its name in the trace: 'blocks.0.relu'."""
        return self.node.name

    @property
    def ledger(self) -> ledger.Ledger:
        """Who sent what to this operation's output."""
        return ledger.of(self.trace, self.node)

    def into(self) -> Trace:
        """The trace of a fused operation's definition, for the upstream that arrived here. `.agreement` of it says how
        far its gradients are from what the hand-derived rule sent, relative to the largest entry that it sent."""
        return inside(self)

    def jacobian(self, argument, rows=None, columns=None):
        require_whole(self.name, {**self.inputs, "y": self.value, **(self.saved or {})})
        return super().jacobian(argument, rows, columns)

    def _repr_html_(self):
        from .notebook import step_html
        return step_html(self)


class Trace(Sequence):
    """One forward and backward pass. `trace[0]` is the first step back; `trace.nodes` are in forward order.

    nodes: `TracedNode`s, operations and leaves. notes: what somebody should know of it (arrays that were too large to
    keep, values that the tape had not kept). unreached: parameters of the models that no gradient reaches, by name.
    agreement: of a trace that a step's `into()` made. title: of the model. graph: whether the walk recorded itself
    (create_graph): it went through the definitions of fused operations then, and their rules repeat it but for rounding.
    """

    def __init__(self, nodes, seeds, events, *, title="", unreached=(), notes=(), graph=False):
        self.nodes, self.seeds = nodes, seeds      # seeds: (number of a node, gradient) pairs that the walk began with
        self.title, self.unreached, self.notes, self.graph = title, list(unreached), list(notes), graph
        self.agreement: float | None = None
        self.steps = [TraceStep(self, k, *event) for k, event in enumerate(events)]
        self.step_at = {step.node.number: step.index for step in self.steps}
        self.named = {node.name: node for node in nodes}

    def __len__(self):
        return len(self.steps)

    def __getitem__(self, k):
        return self.steps[k]

    def __repr__(self):
        return (f"<trace of {self.title or 'a graph'}: {len(self.steps)} steps back, {len(self.nodes)} nodes"
                + (f"; {'; '.join(self.notes)}" if self.notes else "") + ">")

    def _repr_html_(self):
        from .notebook import trace_html
        return trace_html(self)

    @property
    def output(self) -> Tensor:
        """What the walk began from, in the trace's own graph: for anything that takes a loss."""
        node = self.nodes[self.seeds[0][0]]
        return Tensor.wrap(self.value(node), node)

    def value(self, node):
        """A node's value; a GraphError where there is none."""
        if node.value is None or isinstance(node.value, Summary):
            raise GraphError(f"{node.name}: its value is not in the trace. {'; '.join(self.notes)}")
        return node.value

    def find(self, x: Tensor | str | int | TracedNode) -> TracedNode:
        """A node by its name, its number, the Tensor that it stands for, or a unique part of its name."""
        if isinstance(x, TracedNode):
            return x
        if isinstance(x, (int, np.integer)):
            if not 0 <= x < len(self.nodes):
                raise ValueRangeError(f"there is no node {x}: the trace has nodes 0 to {len(self.nodes) - 1}")
            return self.nodes[x]
        if isinstance(x, tape.Box):
            return self.of_tensor(x)
        if x in self.named:
            return self.named[x]
        near = [name for name in self.named if x in name]
        if len(near) == 1:
            return self.named[near[0]]
        if x in self.unreached:
            raise GraphError(f"{x}: no gradient reaches this parameter, so it is not in the trace")
        raise ValueRangeError(f"there is no {x!r} in the trace"
                              + (f"; {len(near)} names contain it: {', '.join(near[:6])}" if near else ""))

    def of_tensor(self, x):
        """The node that stands for a Tensor of the recorded graph."""
        if isinstance(x.node, TracedNode) and x.node in self.nodes:
            return x.node
        order = getattr(x.node, "order", None)
        for node in self.nodes:
            if node.order == order:
                return node
        raise GraphError("this tensor is not in the trace: nothing that leads to the loss was computed from it")

    # ── questions ────────────────────────────────────────────────────────────────────────────────────────────────────

    def gradient(self, x) -> np.ndarray | None:
        """dL/dx of a node, by name, number or Tensor; None where no gradient came."""
        return self.find(x).gradient

    def ledger(self, x) -> ledger.Ledger:
        """All contributions to the gradient of x, in the order in which they came, with the running sum."""
        return ledger.of(self, self.find(x))

    def paths(self, a, b=None, most: int = 20) -> ledger.Ways:
        """The ways by which gradient travelled from b (default: the loss) back to a, each with what came by it: the
        `most` shortest; `.count` says how many there are."""
        return ledger.paths(self, self.find(a), self.nodes[self.seeds[0][0]] if b is None else self.find(b), most)

    def why_zero(self, x) -> ledger.Reason:
        """Why the gradient of x is zero, or is zero in some entries: the operation that stopped it."""
        if isinstance(x, str) and x in self.unreached:
            return ledger.Reason(x, None, f"{x} is not in the graph: nothing that leads to the loss was computed from it")
        return ledger.why_zero(self, self.find(x))

    def why_nan(self, x=None) -> ledger.Reason:
        """Where the NaN or infinity in the gradient of x (or anywhere) comes from: the first operation that made it."""
        return ledger.why_nan(self, None if x is None else self.find(x))

    def replay(self) -> int:
        """Walk the recorded graph again; the gradients must be the same, bit for bit. Returns how many were compared: none
        where arrays were too large to keep, or the walk was one under create_graph."""
        return replay.compare(self)

    def diff(self, other: Trace, tolerance: float = 0.0) -> replay.Difference | None:
        """Where two traces of the same program part: the first value, forward, or gradient, backward, that differs."""
        return replay.diff(self, other, tolerance)

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def save(self, f: str | PathLike) -> None:
        """Write the trace into f: a safetensors file with a description, whole or not at all. See docs/debugger.md."""
        from .tracefile import save
        save(self, f)

    @staticmethod
    def load(f: str | PathLike) -> Trace:
        """The trace in a file that `save` wrote. Raises InputError where it is damaged; nothing in it is run."""
        from .tracefile import load
        return load(f)

    def to_html(self, f: str | PathLike | None = None) -> str:
        """The page: one self-contained HTML file to step through in a browser. Written into f, if given; returned."""
        from .page import to_html
        return to_html(self, f)


# ── making one ───────────────────────────────────────────────────────────────────────────────────────────────────────


class recording:
    """Record what user code does: `with npf.debug.recording() as r: ...; loss.backward()`, then `r.trace`.

    which: which backward pass, counted from 1 (default: the last). largest: arrays with more entries are summarised.
    """

    def __init__(self, which: int | None = None, largest: int = LARGEST) -> None:
        if which is not None and which < 1:
            raise ValueRangeError(f"recording(which={which!r}): backward passes are counted from 1")
        self.recorder, self.made = Recorder(which, largest), None

    def __enter__(self):
        self.recorder.__enter__()
        return self

    def __exit__(self, *exc):
        self.recorder.__exit__(*exc)
        if exc[0] is None and self.recorder.events:
            self.made = linked(self.recorder)

    @property
    def trace(self) -> Trace:
        """The recorded trace."""
        if self.made is None:
            if not self.recorder.events:
                many = self.recorder.count
                raise GraphError("nothing was recorded: " + (
                    f"there were {many} backward passes" if many else "no backward pass ran inside recording()")
                    + ".\n  Call loss.backward() inside it, or use npf.debug.trace(loss).")
            self.made = linked(self.recorder)
        return self.made


def trace(loss: Tensor | Callable[[], Tensor], grad: Tensor | np.ndarray | None = None, *,
          largest: int = LARGEST) -> Trace:
    """Record the backward pass from `loss`, and, where `loss` is a function that computes it, the forward pass as well.

    loss: a Tensor with a graph behind it, or a function of no arguments that returns one. From a Tensor alone a trace
    has the values that the tape kept or that can be computed from them; from a function, all. grad: dL/d(loss) where
    the loss is no single number. largest: arrays with more entries are summarised, and the trace says so.
    The graph stays as it was and no `.grad` is touched. Raises GraphError where there is no graph, or it was freed.
    """
    recorder = Recorder(largest=largest)
    with recorder:
        if callable(loss) and not isinstance(loss, tape.Box):
            _held, loss = loss, loss()             # its models, until the walk has taken the names from them
        if not isinstance(loss, tape.Box):
            raise GraphError(f"trace(loss): it takes a Tensor, or a function that returns one; got {type(loss).__name__}")
        seeds = tape.seeds_of(loss, grad, False)
        graph = behind([node for node, _ in seeds])
        unseen = [node for node in graph if node not in recorder.nodes]
        if any(node.freed for node in graph):
            raise GraphError("trace(loss): the graph was freed by a backward pass; call trace before backward(), "
                             "or pass retain_graph=True there")
        see_again(recorder, unseen)
        leaves = {node: None for node in graph if node.op is None}
        for _ in tape.walk(seeds, leaves, retain_graph=True, create_graph=False):
            pass
    return linked(recorder)


def behind(outputs):
    """Every node behind `outputs`, oldest first."""
    found, stack = set(outputs), list(outputs)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in found:
                found.add(parent)
                stack.append(parent)
    return sorted(found, key=lambda node: node.order)


def linked(recorder):
    """The Trace of what a Recorder gathered: nodes numbered, named and joined, every contribution in its place."""
    graph = behind([node for node, _ in recorder.seeds])
    see_again(recorder, [node for node in graph if node not in recorder.nodes])
    nodes = [recorder.nodes[node] for node in graph]
    numbers = {node: n for n, node in enumerate(graph)}
    taken = Counter()
    for n, (node, copied) in enumerate(zip(graph, nodes)):
        copied.number, copied.order = n, node.order
        copied.parents = tuple(None if p is None else nodes[numbers[p]] for p in node.parents)
        copied.wrap = Tensor.wrap
        copied.name = unique(recorder.leaves.get(node) or recorder.variables.get(node) or plain_name(copied), taken)
        copied.gradient, copied.contributions = None, []
        for parent, value in zip(copied.parents, copied.values):
            if parent is not None and parent.op is None and value is not None:
                parent.value = value               # as this pass read it; a Recorder sees a parameter in every pass
    events = []
    for node, g, sent in recorder.events:
        copied = nodes[numbers[node]]
        copied.gradient = g
        if node.op is not None:
            events.append((copied, g, sent))
    made = joined(nodes, [(numbers[node], g) for node, g in recorder.seeds], events, title=recorder.title, notes=notes_on(nodes),
                  graph=recorder.graph,
                  unreached=[name for node, name in recorder.leaves.items() if node is not None and node not in numbers])
    replay.compare(made)
    return made


def joined(nodes, seeds, events, **facts):
    """The Trace of these nodes, with every contribution in its place."""
    for n, g in seeds:
        nodes[n].contributions.append(Contribution(-1, -1, g))
    for k, (node, _, sent) in enumerate(events):
        for i, (parent, d) in enumerate(zip(node.parents, sent)):
            if parent is not None and d is not None:
                parent.contributions.append(Contribution(k, i, d))
    return Trace(nodes, seeds, events, **facts)


def inside(step):
    """The trace of a fused operation's definition on the recorded values, with its agreement."""
    recorder = Recorder()
    with recorder:
        inputs, y = unfolded(step)
        for x, name in zip(inputs, step.inputs):
            if isinstance(x, tape.Box):
                recorder.leaves[x.node] = name
        leaves = {x.node: None for x in inputs if isinstance(x, tape.Box)}
        before = dict(recorder.leaves)
        for _ in tape.walk(tape.seeds_of(y, step.upstream, False), leaves, retain_graph=True, create_graph=False):
            pass
    recorder.leaves = before
    made = linked(recorder)
    made.title = f"{step.name}: the definition of {step.op}"
    for node in made.nodes:
        node.line = step.source                    # not the viewer's line that asked for it
    largest = max((float(np.abs(d).max(initial=0)) for d in step.sent if d is not None), default=0.0)
    made.agreement = max((float(np.abs(to_numpy(leaves[x.node]) - d).max(initial=0)) for x, d in zip(inputs, step.sent)
                          if d is not None and isinstance(x, tape.Box)), default=0.0) / max(largest, 1e-300)
    return made
