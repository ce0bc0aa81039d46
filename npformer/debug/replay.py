"""A trace holds itself to account: walked again, it must give the same bits. And two traces of one program are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import tape
from ..core.errors import GraphError
from ..core.operation import Operation
from .record import Summary


class Foreign:
    """Stands for a user's Function, whose backward is theirs: for the recorded upstream it gives the recorded answer.

    Its code is not called again for that, nor is it in a trace file.
    """

    definition = None

    def __init__(self, name, formula, names, live=None):
        self.name, self.formula, self.names, self.live = name, formula, names, live
        self.g, self.sent = None, ()

    def name_of(self, i):
        return self.names[i]

    def compute(self, *values, **options):
        return self.alive().compute(*values, **options)

    def gradients(self, node, g):
        return list(self.sent) if same(g, self.g) else self.alive().gradients(node, g)

    def alive(self):
        """The operation itself, while the program that defined it runs."""
        if self.live is None:
            raise GraphError(f"{self.name} is a Function of the program that was traced; its code is not in the file, so only "
                             "what it sent then is known")
        return self.live


def settle(trace):
    """Make a linked trace one that can be walked: users' Functions answer from the record, hooks do what they did."""
    for step in trace:
        if not isinstance(step.node.op, (Operation, Foreign)):
            live, count = step.node.op, len(step.node.parents)
            step.node.op = Foreign(live.name, live.formula, [live.name_of(i) for i in range(count)], live)
        if isinstance(step.node.op, Foreign):
            step.node.op.g, step.node.op.sent = step.upstream, step.sent
    for node in trace.nodes:
        if node.contributions and not same(added(node), node.gradient):
            node.hooks = {0: lambda g, fixed=node.gradient: fixed}


def added(node):
    """The sum of a node's contributions, in the order in which they came."""
    total = node.contributions[0].array
    for c in node.contributions[1:]:
        total = tape.solid(total + c.array)
    return total


def compare(trace):
    """Walk the trace's graph; raise GraphError at the first gradient that is not the recorded one, bit for bit.

    Returns how many gradients were compared: 0 where arrays that the rules need were too large to keep, and of a walk under
    create_graph.
    """
    settle(trace)
    arrays = (a for step in trace for a in (*step.node.values, *(step.node.saved or {}).values()))
    if trace.graph or any(isinstance(a, Summary) for a in arrays):
        return 0
    leaves: dict = {node: None for node in trace.nodes if node.op is None}
    walked = tape.walk([(trace.nodes[n], g) for n, g in trace.seeds], leaves, retain_graph=True, create_graph=False)
    count = 0
    for step, again in zip(trace, walked, strict=True):
        pairs = [("what arrived", step.upstream, again.upstream),
                 *((f"d{step.node.op.name_of(i)}", d, a) for i, (d, a) in enumerate(zip(step.sent, again.sent)))]
        for what, recorded, found in pairs:
            count += 1
            if not same(recorded, found):
                raise GraphError(f"the trace does not repeat itself: at step {step.index}, {step.name}, {what} is not what was "
                                 "recorded. Was an array written into behind npformer's back, or a rule changed?")
    for node, g in leaves.items():
        if not same(g, node.gradient):
            raise GraphError(f"the trace does not repeat itself: the gradient of {node.name} is not what was recorded")
    return count + len(leaves)


def same(a, b):
    """Whether two gradients are the same bits; NaN is NaN."""
    if a is None or b is None:
        return a is b
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


# ── two traces ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Difference:
    """Where two traces part: in the forward pass (`value`) or the backward pass (`gradient`), at which node, how far."""

    phase: str
    name: str
    where: str
    source: tuple | None
    mine: Any
    other: Any
    error: float
    message: str

    def __str__(self):
        return self.message


def diff(mine, other, tolerance):
    """The first Difference in forward order of values, then in backward order of gradients; None if there is none."""
    for a, b in zip(mine.nodes, other.nodes):
        if (a.op and a.op.name) != (b.op and b.op.name) or a.shape != b.shape:
            return Difference("structure", a.name, a.where, a.line, a, b, float("inf"),
                              f"the graphs part at node {a.number}: {describe(a)} here, {describe(b)} there")
    if len(mine.nodes) != len(other.nodes):
        longer = max(mine.nodes, other.nodes, key=len)
        first = longer[min(len(mine.nodes), len(other.nodes))]
        return Difference("structure", first.name, first.where, first.line, len(mine.nodes), len(other.nodes), float("inf"),
                          f"one graph has {len(mine.nodes)} nodes, the other {len(other.nodes)}: {describe(first)} is the first "
                          "that only one of them has")
    pairs = [("value", a, a.value, b.value) for a, b in zip(mine.nodes, other.nodes)]
    order = sorted(mine.nodes, key=lambda node: -node.number)
    pairs += [("gradient", a, a.gradient, other.nodes[a.number].gradient) for a in order]
    largest = max((float(np.abs(step.upstream).max(initial=0)) for step in mine), default=0)
    for phase, node, x, y in pairs:
        # A gradient that is zero but for rounding (of a key's bias) is small against the others, not against itself.
        error = distance(x, y, 1e-9 * largest if phase == "gradient" else 0)
        if error > tolerance:
            return Difference(phase, node.name, node.where, node.line, x, y, error, (
                f"the {phase} of {describe(node)} is the first that differs, by {error:.2g} of its largest entry"))
    return None


def describe(node):
    """A node in words, with its shape and line."""
    line = f" ({node.line[0].rpartition('/')[2]}:{node.line[1]})" if node.line else ""
    return f"{node.name} {node.shape}{line}"


def distance(x, y, least=0.0):
    """The largest difference, relative to the largest entry (or to `least`, if that is more); infinite where only one is
    there, or shapes or NaNs differ."""
    if x is None or y is None:
        return 0.0 if x is y else float("inf")
    if isinstance(x, Summary) or isinstance(y, Summary):
        return 0.0 if repr(x) == repr(y) else float("inf")
    if x.shape != y.shape:
        return float("inf")
    if same(x, y) or x.dtype.kind != "f":
        return 0.0 if np.array_equal(x, y, equal_nan=x.dtype.kind == "f") else float("inf")
    odd = ~np.isfinite(x) | ~np.isfinite(y)
    if not np.array_equal(x[odd], y[odd], equal_nan=True):
        return float("inf")
    return float(np.abs(x - y)[~odd].max(initial=0) / max(np.abs(x[~odd]).max(initial=0), least, 1e-300))
