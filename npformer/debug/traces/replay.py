"""A trace holds itself to account: walked again, it must give the same bits. And two traces of one program are compared."""

from __future__ import annotations

import numpy as np

from ...core import tape
from ...core.errors import GraphError
from ...core.facts import ArrayFacts
from ...core.operation import Operation


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
    if trace.graph or any(isinstance(a, ArrayFacts) for a in arrays):
        return 0
    leaves: dict = {node: None for node in trace.nodes if node.op is None}
    walked = tape.walk([(trace.nodes[n], g) for n, g in trace.seeds], leaves, retain_graph=True, create_graph=False)
    count = 0
    for step, (_, g, sent) in zip(trace, walked, strict=True):
        pairs = [("what arrived", step.upstream, g),
                 *((f"d{step.node.op.name_of(i)}", d, a) for i, (d, a) in enumerate(zip(step.sent, sent)))]
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


