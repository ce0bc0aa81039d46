"""A page for a very long backward pass: runs of steps are put together by module, and each group
stands where a step would, with counts and norms.

The form is that of `data.trace_data`, so that the page draws it in the same way: a group is a
"step" with a field `group`, and a "node" whose parents are groups. Measured in Chromium: 50,000
operations in a row are a page of 0.2 MB that opens in 0.4 s.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import numpy as np

from ...core import facts
from ..traces.trace import Trace, TraceStep
from .array_store import ArrayStore, finite_or_none

MOST_GROUPS = 150


def long_trace_data(trace: Trace, store: ArrayStore) -> dict:
    """The trace as groups of steps, in the form of `data.trace_data`."""
    groups = group_steps(trace)
    number = {step.node.number: k for k, group in enumerate(groups) for step in group}
    steps = [group_as_step(k, group, store) for k, group in enumerate(groups)]
    frames = [[-1, "", "", 0, len(groups) - 1, False]]
    frames += [[0, step["name"], step["name"], k, k, True] for k, step in enumerate(steps)]
    note = (f"{len(trace)} steps are too many to show one by one: they are put together by module "
            f"into {len(groups)} groups; `npformer step` and trace[k] show single ones")
    return {
        "title": trace.title or "a graph", "unreached": trace.unreached, "additions": [],
        "steps": steps, "notes": [note, *trace.notes], "frames": frames,
        "nodes": [group_as_node(k, group, steps[k], number) for k, group in enumerate(groups)],
        "layers": [[s["where"], s["group"]["arrived"], k, k] for k, s in enumerate(steps)]}


def group_steps(trace: Trace) -> list[list[TraceStep]]:
    """Runs of steps in one module, as deep in the tree of modules as gives at most MOST_GROUPS."""
    # From the deepest level up to the whole model: the first that is coarse enough is the finest
    # that fits. A run is what the walk does in one go, so a module that it enters twice is two.
    deepest = max(step.where.count(".") for step in trace) + 1
    for depth in range(deepest, -1, -1):
        names = [step.where.split(".")[:depth] for step in trace]
        pairs = groupby(zip(names, trace), lambda pair: pair[0])
        runs = [[step for _, step in run] for _, run in pairs]
        if len(runs) <= MOST_GROUPS:
            break
    # A long run is cut: a chain of operations outside any module would be a single group.
    longest = -(-len(trace) // MOST_GROUPS)
    return [run[k:k + longest] for run in runs for k in range(0, len(run), longest)]


def group_as_step(k, group, store):
    """A group in the form of a step: what arrived at its first, what was sent by its last."""
    first, last = group[0], group[-1]
    where = common_module([step.where for step in group])
    ops = Counter(step.op for step in group).most_common()
    arrays = [["arrived", "g of the first step", store.add(first.upstream), -1]]
    arrays += [["sent", f"d{name} of the last step", store.add(d), -1]
               for name, d in last.gradients.items()]
    return {
        "node": k, "name": f"{where or 'top level'}: steps {first.index} to {last.index}",
        "where": where,
        "op": f"{ops[0][0]} × {len(group)}" if len(ops) == 1 else f"{len(group)} steps",
        "call": ", ".join(f"{op} × {count}" for op, count in ops[:8]) + ", …" * (len(ops) > 8),
        "words": store.text({"formula": "", "rule": [], "code": None}), "line": store.text(None),
        "feeds": {}, "fused": False, "arrays": arrays, "group": group_facts(group)}


def group_facts(group):
    """What the page says of a group: how large the gradients were, how many were zero or odd."""
    norms = np.array([facts.norm(d) for step in group for d in step.gradients.values()])
    known = norms[np.isfinite(norms)]
    return {
        "count": len(group), "first": group[0].index, "last": group[-1].index,
        "arrived": finite_or_none(facts.norm(group[0].upstream)),
        "least": finite_or_none(known.min(initial=np.inf)),
        "most": finite_or_none(known.max(initial=-np.inf)),
        "odd": len(norms) - len(known), "zero": int((norms == 0).sum())}


def group_as_node(k, group, step, number):
    """A group in the form of a node: its parents are the groups that it got its values from."""
    parents = {number[p.number] for s in group for p in s.node.parents
               if p is not None and p.number in number}
    return {"name": step["name"], "where": step["where"], "op": step["op"],
            "shape": f"{len(group)} steps", "parents": sorted(parents - {k}), "step": k,
            "gradient": step["arrays"][0][2], "value": None, "ledger": [], "hooked": False}


def common_module(paths):
    common = paths[0].split(".")
    for path in paths:
        parts = path.split(".")
        while common != parts[:len(common)]:
            common.pop()
    return ".".join(common)
