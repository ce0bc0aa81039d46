"""What a page knows of a trace, as plain dicts and lists for JSON. `web/` lays it out.

Arrays, words and bitmaps go into an `ArrayStore`; what stands here are their numbers. The keys of
the dicts are read by `web/src`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import facts
from ...core.errors import NpformerError
from ...core.facts import ArrayFacts
from ...core.operation import Fused
from ..probes.residual import additions_in, residuals
from ..traces.trace import Trace, TracedNode, TraceStep
from ..views import pictures, source_text, statistics
from ..views.frames import Frame, tree
from .array_store import WHOLE, ArrayStore, finite_or_none
from .which_cells import LARGEST, Relation, relation

INSIDE = 80_000                                    # entries of arrays that definitions may add
MOST_ADDITIONS = 200                               # beyond which their identities are left out


def trace_data(trace: Trace, store: ArrayStore) -> dict:
    """A trace and, as far as there is room, the definitions of its fused steps."""
    data = trace_without_definitions(trace, store)
    data["additions"] = addition_data(trace, store)
    fused = [step for step in trace if isinstance(step.node.op, Fused)]
    # A definition of attention alone has more arrays than its step; those of all steps of a GPT
    # would crowd out the trace itself, whose arrays share one budget with them (ArrayStore). So
    # definitions get a fixed room on top of what the trace takes. The first step of each operation
    # is served before the second of any: where room ends, each can be opened at least once.
    first = {step.op: step for step in reversed(fused)}
    room = store.entries_to_show + INSIDE
    for step in sorted(fused, key=lambda s: first[s.op] is not s):
        data["steps"][step.index]["inside"] = definition_data(step, store, room)
    return data


def trace_without_definitions(trace, store):
    """A trace, without what is inside its steps. A definition is a trace in this form too."""
    return {
        "title": trace.title or "a graph", "notes": trace.notes, "unreached": trace.unreached,
        "nodes": [node_data(trace, node, store) for node in trace.nodes],
        "steps": [step_data(step, store) for step in trace], "frames": frame_rows(tree(trace)),
        "layers": [[layer.where, finite_or_none(layer.norm), layer.first, layer.last]
                   for layer in pictures.layers(trace)]}


def definition_data(step: TraceStep, store: ArrayStore, room: int) -> dict | str:
    """The trace of a fused step's definition; words where it is left out."""
    if store.entries_to_show > room:
        return f"left out, to keep the page small: trace[{step.index}].into() shows it in Python"
    if any(isinstance(a, ArrayFacts) for a in step.node.values):
        return "its arrays were too large to keep"
    try:
        inside = step.into()
    except NpformerError as error:
        return str(error)
    return {**trace_without_definitions(inside, store),
            "agreement": finite_or_none(inside.agreement)}


def node_data(trace: Trace, node: TracedNode, store: ArrayStore) -> dict:
    ledger = trace.ledger(node)
    return {
        "name": node.name, "where": node.where, "op": node.op.name if node.op else None,
        "shape": statistics.shape_of(node), "step": trace.step_at.get(node.number),
        "parents": [p.number if p is not None else None for p in node.parents],
        "gradient": store.add(node.gradient), "value": store.add(node.value),
        "ledger": [[e.step, e.consumer, e.argument, store.add(e.contribution),
                    finite_or_none(facts.norm(e.running))] for e in ledger],
        "hooked": ledger.hooked}


def step_data(step: TraceStep, store: ArrayStore) -> dict:
    """A step: words, source text, arrays with their roles, and which cells feed which."""
    places = {name: i for i, name in enumerate(step.inputs)}
    arrays = []
    for role, name, value in statistics.arrays_of(step):
        # The number of the argument that an array belongs to; -1 for what belongs to none.
        argument = places[name] if role == "input" else places[name[1:]] if role == "sent" else -1
        arrays.append([role, name, store.add(value), argument])
    return {
        "node": step.node.number, "name": step.name, "where": step.where, "op": step.op,
        "call": statistics.call(step), "words": operation_words(step, store),
        "line": store.text(source_data(source_text.user_line(step))), "arrays": arrays,
        "feeds": {i: relation_data(relation(step, i), step, i, store)
                  for i, d in enumerate(step.sent) if d is not None},
        "fused": isinstance(step.node.op, Fused)}


def operation_words(step: TraceStep, store: ArrayStore) -> int:
    """The number of what is said of the operation: formula, rule, the rule's source text."""
    key = getattr(step.node.op, "live", None) or step.node.op
    if key not in store.words:                     # source text is looked up once an operation
        store.words[key] = store.text({
            "formula": step.formula, "rule": source_text.rule_lines(step),
            "code": source_data(source_text.rule_source(step))})
    return store.words[key]


def source_data(source: source_text.Source | None) -> dict | None:
    """A piece of source text; of its file only the short name, since pages are handed to others."""
    return source and {"place": source.place, "line": source.line, "lines": source.lines,
                       "at": source.at, "note": source.note}


def relation_data(found: Relation | None, step: TraceStep, i: int,
                  store: ArrayStore) -> dict | None:
    """A Relation; None where it cannot be shown. A table says which single entry goes where. Where
    the page shows means of blocks there are no single entries, so such a relation is left out. Ties
    of dims and gates hold for blocks as well; a gate that is too large for a page is left out, and
    then too many cells are marked, not wrong ones."""
    if found is None:
        return None
    whole = max(np.prod(step.node.shape), np.prod(step.node.shapes[i])) <= WHOLE
    data: dict[str, Any] = {"ties": found.ties, "bounds": found.bounds}
    for name in ("picked", "placed", "pairs"):
        table = getattr(found, name)
        if table is None:
            continue
        if not whole:
            return None
        data[name] = store.blob(np.packbits(table) if table.dtype == bool else table.astype("<i4"))
    if found.flat:
        data["flat"] = True
    data["gates"] = [[dims, list(mask.shape), store.blob(np.packbits(mask))]
                     for dims, mask in found.gates if mask.size <= LARGEST]
    return data


def frame_rows(root: Frame) -> list[list]:
    """[number of the frame around, label, path, first, last, whether one step], outermost first."""
    rows: list[list] = []
    stack = [(root, -1)]
    while stack:
        frame, parent = stack.pop()
        here, single = len(rows), frame.step is not None
        rows.append([parent, frame.label, frame.path, frame.first, frame.last, single])
        if not single:                             # a step's definition has frames of its own
            stack += [(child, here) for child in reversed(frame.children)]
    return rows


def addition_data(trace: Trace, store: ArrayStore) -> list[dict]:
    """Each y = x + F(x): its nodes, and the numbers of the identity where they can be had."""
    additions: list[Any] = list(additions_in(trace.nodes).values())
    data = [{"node": a.node.number, "x": a.x.number, "skip": a.skip.number,
             "branches": [b.number for b in a.branches]} for a in additions]
    # Each identity is a walk of its own through its branch, so very many take long.
    lost = any(isinstance(a, ArrayFacts) for node in trace.nodes for a in node.values)
    if len(additions) > MOST_ADDITIONS or lost:
        return data
    try:
        records = residuals(trace.output)
    except NpformerError:                          # values that the tape did not keep
        return data
    # Records have the last addition first, and none for one that no gradient reached.
    reached = [entry for entry, a in zip(data, additions) if a.node.gradient is not None]
    if len(reached) != len(records):
        return data
    for entry, r in zip(reversed(reached), records):
        entry["arrays"] = [[words, store.add(a)] for words, a in (
            ("dL/dy, what arrived", r.upstream), ("what the skip passes on", r.through_skip),
            ("dL/dy · dF/dx, what the branch adds", r.through_branch),
            ("dL/dx, the total", r.total))]
        entry["error"], entry["cosine"] = finite_or_none(r.error), finite_or_none(r.cosine)
    return data
