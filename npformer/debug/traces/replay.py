"""A trace holds itself to account: walked again, it must give the same gradients, bit for bit.

So a trace is more than a log. Its nodes are a graph that works, and every viewer, probe or rerun
that walks it sees the pass that was recorded.
"""

from __future__ import annotations

import numpy as np

from ...core import tape
from ...core.errors import GraphError
from ...core.facts import ArrayFacts
from ...core.operation import Operation


class RecordedFunction:
    """Stands for a user's Function: for the upstream that was recorded it gives what was recorded.
    The user's backward may count its calls, draw random numbers or print, and it is not in a trace
    file. So a replay does not call it. Only for another upstream (`jacobian`, a rerun) the code is
    called, while the program that defined it runs. live: that operation, None out of a file."""

    definition = None

    def __init__(self, name, formula, names, live=None):
        self.name, self.formula, self.names, self.live = name, formula, names, live
        self.g, self.sent = None, ()

    def name_of(self, i):
        return self.names[i]

    def compute(self, *values, **options):
        return self.require_live().compute(*values, **options)

    def gradients(self, node, g):
        return list(self.sent) if same_bits(g, self.g) else self.require_live().gradients(node, g)

    def require_live(self):
        """The operation itself; GraphError where its code is not at hand."""
        if self.live is None:
            raise GraphError(f"{self.name} is a Function of the program that was traced; its code "
                             "is not in the file; only the gradients that it gave then are known")
        return self.live


def answer_from_record(trace):
    """Make a trace one that can be walked though it holds code of the user's. Users' Functions
    answer from the record. A hook is code as well, and no trace file holds it; what it did is
    known, since the contributions do not add up to the gradient. In its place stands a hook that
    returns the recorded gradient."""
    for step in trace:
        op = step.node.op
        if not isinstance(op, (Operation, RecordedFunction)):
            names = [op.name_of(i) for i in range(len(step.node.parents))]
            op = step.node.op = RecordedFunction(op.name, op.formula, names, op)
        if isinstance(op, RecordedFunction):
            op.g, op.sent = step.upstream, step.sent
    for node in trace.nodes:
        if node.contributions and not same_bits(sum_contributions(node), node.gradient):
            node.hooks = {0: lambda g, fixed=node.gradient: fixed}


def sum_contributions(node):
    """The sum of a node's contributions, added in the order in which they arrived."""
    total = node.contributions[0].array
    for contribution in node.contributions[1:]:
        total = tape.as_array(total + contribution.array)
    return total


def check_replay(trace):
    """Walk the trace's graph; GraphError at the first gradient that is not the recorded one.

    Bit for bit, without a tolerance: the same program on the same numbers has no reason to differ,
    and a tolerance would hide an array that was written into behind npformer's back.
    Returns how many gradients were compared. That is 0 where arrays that the rules need were too
    large to keep, and of a walk under create_graph: that one went through the definitions of fused
    operations, whose last bits differ from those of the rules.
    """
    answer_from_record(trace)
    arrays = (a for step in trace for a in (*step.node.values, *(step.node.saved or {}).values()))
    if trace.graph or any(isinstance(a, ArrayFacts) for a in arrays):
        return 0
    leaves: dict = {node: None for node in trace.nodes if node.op is None}
    seeds = [(trace.nodes[n], g) for n, g in trace.seeds]
    walked = tape.walk(seeds, leaves, retain_graph=True, create_graph=False)
    count = 0
    for step, (node, g, sent) in zip(trace, walked, strict=True):
        pairs = [("what arrived", step.upstream, g)]
        pairs += [(f"d{node.op.name_of(i)}", recorded, d)
                  for i, (recorded, d) in enumerate(zip(step.sent, sent))]
        for what, recorded, d in pairs:
            count += 1
            if not same_bits(recorded, d):
                raise GraphError(f"the trace does not repeat itself: at step {step.index}, "
                                 f"{step.name}, {what} is not what was recorded. Was an array "
                                 "written into behind npformer's back, or a rule changed?")
    for leaf, g in leaves.items():
        if not same_bits(g, leaf.gradient):
            raise GraphError(f"the trace does not repeat itself: the gradient of {leaf.name} is "
                             "not what was recorded")
    return count + len(leaves)


def same_bits(a, b):
    """Whether two gradients are the same numbers of the same dtype; NaN is the same as NaN."""
    if a is None or b is None:
        return a is b
    return a is b or (a.shape == b.shape and a.dtype == b.dtype
                      and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
