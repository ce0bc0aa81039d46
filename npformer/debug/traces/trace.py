"""A trace: one forward and one backward pass, recorded whole, to be looked at in any order and as often as one likes.

A `Trace` is a sequence of `TraceStep`s, the first is the last operation; `recording` and `link` make them. Its nodes are a graph
like any other, so whatever takes a loss (`residuals`, `path_lengths`) takes `trace.output`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...core import tape
from ...core.devices import to_numpy
from ...core.errors import GraphError, ValueRangeError
from ...core.facts import ArrayFacts
from ...core.inside import run_definition
from ...core.step import Step
from ...tensors import Tensor
from . import diff, file, replay
from .html import notebook_html, page_html
from .ledger import Ledger, Ways, ledger_of, paths
from .nodes import TracedNode, require_whole
from .recorder import Recorder, notes_on, plain_name, see_again, unique
from .why import Reason, why_nan, why_zero

if TYPE_CHECKING:
    from os import PathLike

    from .diff import Difference


class Contribution(NamedTuple):
    """What one consumer added to a gradient: its step, and which argument of it the value was (-1: the walk's seed)."""

    step: int
    argument: int
    array: np.ndarray


class TraceStep(Step):
    """A `Step` of a trace: it keeps all its inputs and its output, and knows its place."""

    __slots__ = ("trace", "index")
    trace: Trace
    index: int

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
    def ledger(self) -> Ledger:
        """Who sent what to this operation's output."""
        return ledger_of(self.trace, self.node)

    def into(self) -> Trace:
        """The trace of a fused operation's definition, for the upstream that arrived here. `.agreement` of it says how
        far its gradients are from what the hand-derived rule sent, relative to the largest entry that it sent."""
        return trace_definition(self)

    def jacobian(self, argument, rows=None, columns=None):
        require_whole(self.name, {**self.inputs, "y": self.value, **(self.saved or {})})
        return super().jacobian(argument, rows, columns)

    def _repr_html_(self):
        return notebook_html(self)


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
        return notebook_html(self)

    @property
    def output(self) -> Tensor:
        """What the walk began from, in the trace's own graph: for anything that takes a loss."""
        node = self.nodes[self.seeds[0][0]]
        return Tensor.wrap(self.value(node), node)

    def value(self, node):
        """A node's value; a GraphError where there is none."""
        if node.value is None or isinstance(node.value, ArrayFacts):
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

    def ledger(self, x) -> Ledger:
        """All contributions to the gradient of x, in the order in which they came, with the running sum."""
        return ledger_of(self, self.find(x))

    def paths(self, a, b=None, most: int = 20) -> Ways:
        """The ways by which gradient travelled from b (default: the loss) back to a, each with what came by it: the
        `most` shortest; `.total` says how many there are."""
        return paths(self, self.find(a), self.nodes[self.seeds[0][0]] if b is None else self.find(b), most)

    def why_zero(self, x) -> Reason:
        """Why the gradient of x is zero, or is zero in some entries: the operation that stopped it."""
        if isinstance(x, str) and x in self.unreached:
            return Reason(x, None, f"{x} is not in the graph: nothing that leads to the loss was computed from it")
        return why_zero(self, self.find(x))

    def why_nan(self, x=None) -> Reason:
        """Where the NaN or infinity in the gradient of x (or anywhere) comes from: the first operation that made it."""
        return why_nan(self, None if x is None else self.find(x))

    def replay(self) -> int:
        """Walk the recorded graph again; the gradients must be the same, bit for bit. Returns how many were compared: none
        where arrays were too large to keep, or the walk was one under create_graph."""
        return replay.compare(self)

    def diff(self, other: Trace, tolerance: float = 0.0) -> Difference | None:
        """Where two traces of the same program part: the first value, forward, or gradient, backward, that differs."""
        return diff.diff(self, other, tolerance)

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def save(self, f: str | PathLike) -> None:
        """Write the trace into f: a safetensors file with a description, whole or not at all. See docs/debugger.md."""
        file.write(self, f)

    @staticmethod
    def load(f: str | PathLike) -> Trace:
        """The trace in a file that `save` wrote. Raises InputError where it is damaged; nothing in it is run."""
        nodes, seeds, events, facts = file.read(f)
        trace = join(nodes, seeds, events, **facts)
        replay.settle(trace)
        return trace

    def to_html(self, f: str | PathLike | None = None) -> str:
        """The page: one self-contained HTML file to step through in a browser. Written into f, if given; returned."""
        return page_html(self, f)


def link(recorder):
    """The Trace of what a Recorder gathered: nodes numbered, named and joined, every contribution in its place."""
    graph = tape.behind([node for node, _ in recorder.seeds])
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
    made = join(nodes, [(numbers[node], g) for node, g in recorder.seeds], events, title=recorder.title, notes=notes_on(nodes),
                  graph=recorder.graph,
                  unreached=[name for node, name in recorder.leaves.items() if node is not None and node not in numbers])
    replay.compare(made)
    return made


def join(nodes, seeds, events, **facts):
    """The Trace of these nodes, with every contribution in its place."""
    for n, g in seeds:
        nodes[n].contributions.append(Contribution(-1, -1, g))
    for k, (node, _, sent) in enumerate(events):
        for i, (parent, d) in enumerate(zip(node.parents, sent)):
            if parent is not None and d is not None:
                parent.contributions.append(Contribution(k, i, d))
    return Trace(nodes, seeds, events, **facts)


def trace_definition(step):
    """The trace of a fused operation's definition on the recorded values, with its agreement."""
    recorder = Recorder()
    with recorder:
        inputs, y = run_definition(step)
        for x, name in zip(inputs, step.inputs):
            if isinstance(x, tape.Box):
                recorder.leaves[x.node] = name
        leaves = {x.node: None for x in inputs if isinstance(x, tape.Box)}
        before = dict(recorder.leaves)
        for _ in tape.walk(tape.seeds_of(y, step.upstream, False), leaves, retain_graph=True, create_graph=False):
            pass
    recorder.leaves = before
    made = link(recorder)
    made.title = f"{step.name}: the definition of {step.op}"
    for node in made.nodes:
        node.line = step.source                    # not the viewer's line that asked for it
    largest = max((float(np.abs(d).max(initial=0)) for d in step.sent if d is not None), default=0.0)
    made.agreement = max((float(np.abs(to_numpy(leaves[x.node]) - d).max(initial=0)) for x, d in zip(inputs, step.sent)
                          if d is not None and isinstance(x, tape.Box)), default=0.0) / max(largest, 1e-300)
    return made
