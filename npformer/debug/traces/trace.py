"""A trace: one forward and one backward pass, recorded whole, to be looked at in any order.

A `Trace` is a sequence of `TraceStep`s; the first is the last operation. Its nodes are a graph like
any other, so whatever takes a loss (`residuals`, `path_lengths`) takes `trace.output`. Below the
classes stands how one is made: `link_recording` of what a Recorder gathered, `make_trace` of nodes
that are there already (out of a file, or of a rerun), `trace_definition` of a fused operation.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from ...core import facts, tape
from ...core.devices import to_numpy
from ...core.errors import GraphError, ValueRangeError
from ...core.facts import ArrayFacts
from ...core.inside import run_definition
from ...core.step import Step
from ...core.writes import memory_place
from ...tensors import Tensor
from . import file, replay
from .diff import Difference, first_difference
from .html import notebook_html, page_html
from .ledger import Ledger, PathList, find_paths, ledger_of
from .nodes import TracedNode, default_name, make_unique, notes_on, require_whole
from .recorder import Recorder, copy_graph
from .why import Reason, why_nan, why_zero


class Contribution(NamedTuple):
    """What a consumer added to a gradient: its step (-1: the walk's beginning) and argument."""

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
        """What the operation was called with, in order; GraphError if one was too large to keep."""
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
        """The trace of a fused operation's definition, for the upstream that arrived here.

        Its `.agreement` says how far its gradients are from what the hand-derived rule sent,
        relative to the largest entry that it sent.
        """
        return trace_definition(self)

    def jacobian(self, argument, rows=None, columns=None):
        require_whole(self.name, {**self.inputs, "y": self.value, **(self.saved or {})})
        return super().jacobian(argument, rows, columns)

    _repr_html_ = notebook_html


class Trace(Sequence):
    """One forward and backward pass; `trace[0]` is the first step back.

    nodes: `TracedNode`s, operations and leaves, in forward order. notes: what is missing (arrays
    that were too large to keep, values that the tape had not kept). unreached: parameters of the
    models that no gradient reaches, by name. agreement: of a trace that a step's `into()` made.
    title: of the model. graph: whether the walk recorded itself (create_graph): it went through the
    definitions of fused operations then, and their rules repeat it only up to rounding.
    """

    def __init__(self, nodes, seeds, events, *, title="", unreached=(), notes=(), graph=False):
        self.nodes, self.seeds = nodes, seeds      # seeds: what the walk began with, as
        #                                            (number of a node, gradient) pairs
        self.title, self.unreached, self.notes = title, list(unreached), list(notes)
        self.graph = graph
        self.agreement: float | None = None
        self.steps = [TraceStep(self, k, *event) for k, event in enumerate(events)]
        self.step_at = {step.node.number: step.index for step in self.steps}
        self.named = {node.name: node for node in nodes}
        self.facts: dict = {}                      # where an array lies -> (reference to it, facts)

    def __len__(self):
        return len(self.steps)

    def __getitem__(self, k):
        return self.steps[k]

    def __repr__(self):
        size = f"{len(self.steps)} steps back, {len(self.nodes)} nodes"
        return f"<trace of {self.title or 'a graph'}: {'; '.join([size, *self.notes])}>"

    _repr_html_ = notebook_html

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

    def facts_of(self, array: np.ndarray | ArrayFacts) -> ArrayFacts:
        """The facts of an array of this trace, worked out when they are first asked for.

        An output is an input of the next step and lies in the same place (`recorder.Keeper`), so
        the two share their facts. Not made while recording: most are never looked at. The weak
        reference tells whether the array is still there, since another may lie in its place later.
        """
        if not isinstance(array, np.ndarray):      # facts already, or a NumPy number
            return facts.facts_of(array)
        key = memory_place(array)
        reference, said = self.facts.get(key, (None, None))
        if reference is None or reference() is None:
            said = facts.facts_of(array)
            self.facts[key] = weakref.ref(array), said
        return said

    def find(self, x: Tensor | str | int | TracedNode) -> TracedNode:
        """A node: by its name, a part that no other name has, its number, or its Tensor."""
        if isinstance(x, TracedNode):
            return x
        if isinstance(x, (int, np.integer)):
            if not 0 <= x < len(self.nodes):
                raise ValueRangeError(
                    f"there is no node {x}: the trace has nodes 0 to {len(self.nodes) - 1}")
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
        hint = f"; {len(near)} names contain it: {', '.join(near[:6])}" if near else ""
        raise ValueRangeError(f"there is no {x!r} in the trace{hint}")

    def of_tensor(self, x):
        """The node that stands for a Tensor of the recorded graph."""
        if isinstance(x.node, TracedNode) and x.node in self.nodes:
            return x.node
        order = getattr(x.node, "order", None)
        for node in self.nodes:
            if node.order == order:
                return node
        raise GraphError("this tensor is not in the trace: nothing that leads to the loss was "
                         "computed from it")

    # ── questions ────────────────────────────────────────────────────────────────────────────────

    def gradient(self, x) -> np.ndarray | None:
        """dL/dx of a node, by name, number or Tensor; None where no gradient arrived."""
        return self.find(x).gradient

    def ledger(self, x) -> Ledger:
        """All contributions to the gradient of x, in the order of the walk, with running sums."""
        return ledger_of(self, self.find(x))

    def paths(self, a, b=None, most: int = 20) -> PathList:
        """The paths along which gradient travelled from b (default: the loss) back to a.

        The `most` shortest, each with the gradient that travelled along it; `.total` says how many
        there are.
        """
        start = self.nodes[self.seeds[0][0]] if b is None else self.find(b)
        return find_paths(self.find(a), start, most)

    def why_zero(self, x) -> Reason:
        """Why the gradient of x is zero, or zero in some entries: the operation that stopped it."""
        if isinstance(x, str) and x in self.unreached:
            return Reason(x, None, f"{x} is not in the graph: nothing that leads to the loss was "
                          "computed from it")
        return why_zero(self, self.find(x))

    def why_nan(self, x=None) -> Reason:
        """Where the NaN or infinity in the gradient of x (or anywhere) comes from."""
        return why_nan(self, None if x is None else self.find(x))

    def replay(self) -> int:
        """Walk the recorded graph again; the gradients must be the same, bit for bit.

        Returns how many were compared: 0 where arrays were too large to keep, or the walk was one
        under create_graph.
        """
        return replay.check_replay(self)

    def diff(self, other: Trace, tolerance: float = 0.0) -> Difference | None:
        """The first value, forward, or gradient, backward, in which two traces differ."""
        return first_difference(self, other, tolerance)

    # ── files ────────────────────────────────────────────────────────────────────────────────────

    def save(self, f: str | PathLike) -> None:
        """Write the trace into f, whole or not at all. See docs/debugger.md for the format."""
        file.write_trace(self, f)

    @staticmethod
    def load(f: str | PathLike) -> Trace:
        """The trace in a file that `save` wrote; nothing in the file is run.

        Raises InputError where it is damaged.
        """
        nodes, seeds, events, said = file.read_trace(f)
        trace = make_trace(nodes, seeds, events, **said)
        replay.answer_from_record(trace)
        return trace

    def to_html(self, f: str | PathLike | None = None) -> str:
        """The page: one HTML file to step through in a browser. Written into f, if given."""
        return page_html(self, f)


# ── making ───────────────────────────────────────────────────────────────────────────────────────


def link_recording(recorder):
    """The Trace of what a Recorder gathered: what lies behind the walk's seeds, nothing else."""
    graph = tape.ancestors_of([node for node, _ in recorder.seeds])
    copy_graph(recorder, graph)                    # what ran before anybody watched
    nodes = [recorder.nodes[node] for node in graph]
    numbers = {node: n for n, node in enumerate(graph)}
    taken: Counter = Counter()
    for n, (node, copied) in enumerate(zip(graph, nodes)):
        name = recorder.leaves.get(node) or recorder.variables.get(node) or default_name(copied)
        copied.number, copied.order, copied.name = n, node.order, make_unique(name, taken)
        copied.parents = tuple(None if p is None else nodes[numbers[p]] for p in node.parents)
        copied.wrap = Tensor.wrap
        copied.gradient, copied.contributions = None, []
        for parent, value in zip(copied.parents, copied.values):
            if parent is not None and parent.op is None and value is not None:
                # A Recorder sees a parameter in every pass, and an optimiser writes into it in
                # between. What this pass read is what its operations were given.
                parent.value = value
    events = []
    for node, g, sent in recorder.events:
        copied = nodes[numbers[node]]
        copied.gradient = g
        if node.op is not None:
            events.append((copied, g, sent))
    unreached = [name for node, name in recorder.leaves.items()
                 if node is not None and node not in numbers]
    trace = make_trace(nodes, [(numbers[node], g) for node, g in recorder.seeds], events,
                       title=recorder.title, notes=notes_on(nodes), graph=recorder.graph,
                       unreached=unreached)
    replay.check_replay(trace)
    return trace


def make_trace(nodes, seeds, events, **said):
    """The Trace of these nodes, with every contribution to a gradient put in its place. seeds:
    (number of a node, gradient) pairs. events: (node, what arrived, what it sent), in the order of
    the walk, so contributions stand in the order in which the walk added them up. That order
    matters: a sum of three floats has other last bits in another order."""
    for n, g in seeds:
        nodes[n].contributions.append(Contribution(-1, -1, g))
    for k, (node, _, sent) in enumerate(events):
        for i, (parent, d) in enumerate(zip(node.parents, sent)):
            if parent is not None and d is not None:
                parent.contributions.append(Contribution(k, i, d))
    return Trace(nodes, seeds, events, **said)


def trace_definition(step):
    """The trace of a fused operation's definition on the recorded values, with its agreement."""
    recorder = Recorder()
    with recorder:
        inputs, y = run_definition(step)
        boxes = {name: x for x, name in zip(inputs, step.inputs) if isinstance(x, tape.Box)}
        found = {x.node: None for x in boxes.values()}
        seeds = tape.seeds_of(y, step.upstream, False)
        for _ in tape.walk(seeds, found, retain_graph=True, create_graph=False):
            pass
    # The leaves are the operation's arguments and are called as these are. Set after the walk,
    # whose beginning takes the names of the model and of the viewer's own variables.
    recorder.leaves = {x.node: name for name, x in boxes.items()}
    trace = link_recording(recorder)
    trace.title = f"{step.name}: the definition of {step.op}"
    for node in trace.nodes:
        node.line = step.source                    # not the viewer's line that asked for it
    trace.agreement = agreement(inputs, found, step)
    return trace


def agreement(inputs, found, step):
    """How far a definition's gradients are from what the rule sent, by the largest entry sent."""
    pairs = [(x, d) for x, d in zip(inputs, step.sent) if d is not None]
    errors = [np.abs(to_numpy(found[x.node]) - d).max(initial=0) for x, d in pairs
              if isinstance(x, tape.Box)]
    largest = float(np.max([np.abs(d).max(initial=0) for _, d in pairs], initial=0.0))
    return float(np.max(errors, initial=0.0)) / max(largest, 1e-300)     # max() may lose a NaN
