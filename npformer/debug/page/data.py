"""What a page knows of a trace, as plain dicts and lists for JSON. `web/` lays it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core import facts
from ...core.errors import NpformerError
from ...core.facts import ArrayFacts
from ...core.operation import Fused
from ..probes.residual import additions_in, residuals
from ..views import pictures, source_text, statistics
from ..views.frames import tree
from .array_store import WHOLE, Store, finite
from .which_cells import LARGEST, relation

if TYPE_CHECKING:
    from ..traces.trace import Trace, TracedNode, TraceStep
    from ..views.frames import Frame
    from .which_cells import Relation

INSIDE = 80_000                                    # entries of arrays for definitions; there is no room for more
MOST_ADDITIONS = 200                               # whose identity is worked out


def of_trace(trace: Trace, store: Store) -> dict:
    """A trace and, as far as there is room, the definitions of its fused steps."""
    data = one_trace(trace, store)
    data["additions"] = additions(trace, store)
    fused = [step for step in trace if isinstance(step.node.op, Fused)]
    first = {step.op: step for step in reversed(fused)}
    room = store.entries_to_show + INSIDE
    for step in sorted(fused, key=lambda s: first[s.op] is not s):     # one of each operation before the second of any
        data["steps"][step.index]["inside"] = definition(step, store, room)
    return data


def one_trace(trace, store):
    """A trace, without what is inside its steps."""
    return {
        "title": trace.title or "a graph", "notes": trace.notes, "unreached": trace.unreached,
        "nodes": [of_node(trace, node, store) for node in trace.nodes],
        "steps": [of_step(step, store) for step in trace],
        "frames": of_frames(tree(trace)),
        "layers": [[layer.where, finite(layer.norm), layer.first, layer.last] for layer in pictures.layers(trace)],
    }


def of_node(trace: Trace, node: TracedNode, store: Store) -> dict:
    """A node of the graph, and who added what to its gradient."""
    ledger = trace.ledger(node)
    return {
        "name": node.name, "where": node.where, "op": node.op.name if node.op else None,
        "shape": statistics.shape_of(node), "parents": [p.number if p is not None else None for p in node.parents],
        "step": trace.step_at.get(node.number), "gradient": store.add(node.gradient), "value": store.add(node.value),
        "ledger": [[e.step, e.consumer, e.argument, store.add(e.contribution), finite(facts.norm(e.running))]
                   for e in ledger],
        "hooked": ledger.hooked,
    }


def of_step(step: TraceStep, store: Store) -> dict:
    """A step: words, source text, arrays with their roles, and which cells feed which."""
    places = {name: i for i, name in enumerate(step.inputs)}
    number = {"input": lambda name: places[name], "sent": lambda name: places[name[1:]]}
    return {
        "node": step.node.number, "name": step.name, "where": step.where, "op": step.op, "call": statistics.call(step),
        "words": words(step, store), "line": store.text(of_source(source_text.user_line(step))),
        "arrays": [[role, name, store.add(value), number.get(role, lambda _: -1)(name)]
                   for role, name, value in statistics.arrays_of(step)],
        "feeds": {i: of_relation(relation(step, i), step, i, store) for i, d in enumerate(step.sent) if d is not None},
        "fused": isinstance(step.node.op, Fused),
    }


def words(step: TraceStep, store: Store) -> int:
    """The number of what is said of the operation itself: formula, rule, the rule's source text."""
    key = getattr(step.node.op, "live", None) or step.node.op
    if key not in store.words:
        store.words[key] = store.text({"formula": step.formula, "rule": source_text.rule_lines(step),
                                       "code": of_source(source_text.rule_source(step))})
    return store.words[key]


def of_source(source: source_text.Source | None) -> dict | None:
    """A piece of source text; of its file the short name alone, since a page is handed on."""
    return source and {"place": source.place, "line": source.line, "lines": source.lines, "at": source.at, "note": source.note}


def of_relation(found: Relation | None, step: TraceStep, i: int, store: Store) -> dict | None:
    """A Relation; a table of single entries only where these are shown one by one, a gate only where it is small."""
    if found is None:
        return None
    whole = max(np.prod(step.node.shape), np.prod(step.node.shapes[i])) <= WHOLE
    said: dict[str, Any] = {"ties": found.ties, "bounds": found.bounds}
    for name in ("picked", "placed", "pairs"):
        table = getattr(found, name)
        if table is not None:
            if not whole:
                return None
            said[name] = store.blob(np.packbits(table) if table.dtype == bool else table.astype("<i4"))
    if found.flat:
        said["flat"] = True
    said["gates"] = [[dims, list(mask.shape), store.blob(np.packbits(mask))]
                     for dims, mask in found.gates if mask.size <= LARGEST]
    return said


def of_frames(root: Frame) -> list[list]:
    """[number of the frame around, label, path, first step, last step, whether it is a single step], outermost first."""
    found, stack = [], [(root, -1)]
    while stack:
        frame, parent = stack.pop()
        found.append([parent, frame.label, frame.path, frame.first, frame.last, frame.step is not None])
        here = len(found) - 1
        if frame.step is None:
            stack += [(child, here) for child in reversed(frame.children)]
    return found


def additions(trace: Trace, store: Store) -> list[dict]:
    """Each y = x + F(x): its nodes, and the numbers of the identity where they can be had."""
    found: list[Any] = list(additions_in(trace.nodes).values())
    said = [{"node": a.node.number, "x": a.x.number, "skip": a.skip.number, "branches": [b.number for b in a.branches]}
            for a in found]
    if len(found) > MOST_ADDITIONS or any(isinstance(a, ArrayFacts) for node in trace.nodes for a in node.values):
        return said
    try:
        records = residuals(trace.output)
    except NpformerError:                          # values that the tape did not keep
        return said
    reached = [entry for entry, a in zip(said, found) if a.node.gradient is not None]
    if len(reached) == len(records):
        for entry, r in zip(reversed(reached), records):
            entry.update(arrays=[[words, store.add(a)] for words, a in (
                ("dL/dy, what came", r.upstream), ("what the skip passes on", r.through_skip),
                ("dL/dy · dF/dx, what the branch adds", r.through_branch), ("dL/dx, the total", r.total))],
                error=finite(r.error), cosine=finite(r.cosine))
    return said


def definition(step: TraceStep, store: Store, room: int) -> dict | str:
    """The trace of a fused step's definition; words where it is left out."""
    if store.entries_to_show > room:
        return f"left out, to keep the page small: trace[{step.index}].into() shows it in Python"
    if any(isinstance(a, ArrayFacts) for a in step.node.values):
        return "its arrays were too large to keep"
    try:
        inside = step.into()
    except NpformerError as error:
        return str(error)
    return {**one_trace(inside, store), "agreement": finite(inside.agreement)}
