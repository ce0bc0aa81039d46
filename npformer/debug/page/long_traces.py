"""A page for a very long backward pass: its steps are put together by module, and each group has counts and norms."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from ...core import facts
from .array_store import Store, finite

if TYPE_CHECKING:
    from ..traces.trace import Trace, TraceStep

MOST_GROUPS = 150


def of_large(trace: Trace, store: Store) -> dict:
    """The trace as groups of steps, in the form of `data.of_trace`: each group stands where a step would."""
    groups = grouped(trace)
    number = {step.node.number: k for k, group in enumerate(groups) for step in group}
    steps = [of_group(k, group, store) for k, group in enumerate(groups)]
    end = len(groups) - 1
    return {
        "title": trace.title or "a graph", "unreached": trace.unreached, "additions": [], "steps": steps,
        "notes": [f"{len(trace)} steps are too many to show one by one: they are put together by module into {len(groups)} "
                  "groups; `npformer step` and trace[k] show single ones", *trace.notes],
        "nodes": [of_node(k, group, step, groups, number) for k, (group, step) in enumerate(zip(groups, steps))],
        "frames": [[-1, "", "", 0, end, False], *([0, step["name"], step["name"], k, k, True] for k, step in enumerate(steps))],
        "layers": [[step["where"], step["group"]["arrived"], k, k] for k, step in enumerate(steps)],
    }


def grouped(trace: Trace) -> list[list[TraceStep]]:
    """Runs of steps in one module, as deep as leaves no more than MOST_GROUPS; long runs are cut."""
    runs: list[list[TraceStep]] = []
    for depth in range(max(step.where.count(".") for step in trace) + 1, -1, -1):
        names = [".".join(step.where.split(".")[:depth]) for step in trace]
        runs = [[step for _, step in run] for _, run in groupby(zip(names, trace), lambda pair: pair[0])]
        if len(runs) <= MOST_GROUPS:
            break
    longest = -(-len(trace) // MOST_GROUPS)
    return [run[k:k + longest] for run in runs for k in range(0, len(run), longest)]


def of_group(k, group, store):
    """A group of steps as one."""
    first, last = group[0], group[-1]
    norms = np.array([facts.norm(d) for step in group for d in step.gradients.values()])
    known = norms[np.isfinite(norms)]
    where = shared([step.where for step in group])
    ops = Counter(step.op for step in group).most_common()
    words = {"formula": "", "rule": [], "code": None}
    return {
        "node": k, "name": f"{where or 'top level'}: steps {first.index} to {last.index}", "where": where,
        "op": f"{ops[0][0]} × {len(group)}" if len(ops) == 1 else f"{len(group)} steps",
        "call": ", ".join(f"{op} × {count}" for op, count in ops[:8]) + (", …" if len(ops) > 8 else ""),
        "words": store.text(words), "line": store.text(None), "feeds": {}, "fused": False,
        "arrays": [["arrived", "g of the first step", store.add(first.upstream), -1],
                   *(["sent", f"d{name} of the last step", store.add(d), -1] for name, d in last.gradients.items())],
        "group": {"count": len(group), "first": first.index, "last": last.index, "arrived": finite(facts.norm(first.upstream)),
                  "least": finite(known.min(initial=np.inf)), "most": finite(known.max(initial=-np.inf)),
                  "odd": len(norms) - len(known), "zero": int((norms == 0).sum())},
    }


def of_node(k, group, step, groups, number):
    """A group as a node of the graph: its parents are the groups that it got its values from."""
    parents = {number[p.number] for s in group for p in s.node.parents if p is not None and p.number in number} - {k}
    return {"name": step["name"], "where": step["where"], "op": step["op"], "shape": f"{len(group)} steps",
            "parents": sorted(parents), "step": k, "gradient": step["arrays"][0][2], "value": None, "ledger": [], "hooked": False}


def shared(paths):
    """The module path that all have in common."""
    common = paths[0].split(".")
    for path in paths:
        parts = path.split(".")
        while common != parts[:len(common)]:
            common.pop()
    return ".".join(common)
