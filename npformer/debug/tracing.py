"""A trace: one forward and one backward pass, recorded whole, to be looked at in any order and as often as one likes.

A `Trace` is a sequence of `TraceStep`s, the first is the last operation; `debug.making` makes them. Its nodes are a graph
like any other, so whatever takes a loss (`residuals`, `path_lengths`) takes `trace.output`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core import tape
from ..core.errors import GraphError, ValueRangeError
from ..core.step import Step
from ..tensors import Tensor
from . import replay
from .ledger import Ledger, Reason, Ways, ledger_of, paths, why_nan, why_zero
from .record import Summary, TracedNode, require_whole

if TYPE_CHECKING:
    from os import PathLike

    from .replay import Difference


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
    def ledger(self) -> Ledger:
        """Who sent what to this operation's output."""
        return ledger_of(self.trace, self.node)

    def into(self) -> Trace:
        """The trace of a fused operation's definition, for the upstream that arrived here. `.agreement` of it says how
        far its gradients are from what the hand-derived rule sent, relative to the largest entry that it sent."""
        from .making import inside
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
