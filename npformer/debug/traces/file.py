"""Trace files: a safetensors file with the arrays, and a description of the graph in JSON beside them.

Every array lies in the file once: `memory` is a list of arrays, and a value is a view [n, offset in bytes, dtype, shape,
strides in bytes] of memory n. So a loaded trace lies as the recorded one did, and its rules give the same bits.
What is read is checked before a view is made; nothing in a file is run.
"""

from __future__ import annotations

import math

import numpy as np

from ... import serialize
from ...core import writes
from ...core.errors import InputError
from ...core.facts import ArrayFacts
from ...core.operation import REGISTRY, Operation
from ...tensors import Tensor
from .nodes import TracedNode
from .replay import Foreign

KIND = "npformer trace 1"
FACTS = ("min", "max", "mean", "norm", "nan", "inf", "zeros")


def write(trace, f):
    """Write a trace into f, whole or not at all."""
    memory = Memory()
    nodes = [node_facts(node, memory) for node in trace.nodes]
    events = [{"node": step.node.number, "g": memory.view(step.upstream), "sent": [memory.view(d) for d in step.sent]}
              for step in trace]
    serialize.save({
        "kind": KIND, "title": trace.title, "notes": trace.notes, "unreached": trace.unreached, "graph": trace.graph,
        "nodes": nodes, "events": events, "seeds": [[n, memory.view(g)] for n, g in trace.seeds], "memory": memory.found}, f)


def read(f):
    """(nodes, seeds, events, facts) of the trace in a file: what `trace.join` makes a Trace of."""
    content = serialize.load(f)
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise InputError(f"{f} is no trace file of npformer (Trace.save writes one)"
                         + (f": it is {content['kind']!r}" if isinstance(content, dict) and "kind" in content else "."))
    try:
        return rebuild(content)
    except InputError as error:
        raise InputError(f"{f} is damaged: {error}") from None
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{f} is damaged: its description cannot be read ({type(error).__name__}: {error}).") from None


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Memory:
    """The arrays of a file: each memory once, as one flat array."""

    def __init__(self):
        self.found, self.places = [], {}

    def view(self, value):
        """How a value is written: an array as a view of a memory, a ArrayFacts as facts, anything else tagged as it is."""
        if isinstance(value, ArrayFacts):
            return {"summary": [str(value.dtype), list(value.shape), *[getattr(value, fact) for fact in FACTS]]}
        if isinstance(value, slice):
            return {"slice": [value.start, value.stop, value.step]}
        if value is Ellipsis:
            return {"ellipsis": True}
        if isinstance(value, (tuple, list)):
            return {type(value).__name__: [self.view(v) for v in value]}
        if isinstance(value, np.generic):
            return {"value": value.item()}
        if isinstance(value, np.dtype):
            return {"dtype": str(value)}
        if not isinstance(value, np.ndarray):
            return {"value": value}
        root = writes.owner(value)
        if id(root) not in self.places:
            self.places[id(root)] = len(self.found)
            self.found.append(root.ravel(order="K"))
        offset = value.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        return {"view": [self.places[id(root)], offset, str(value.dtype), list(value.shape), list(value.strides)]}


def node_facts(node, memory):
    """What a file says of a node."""
    facts = {"name": node.name, "where": node.where, "line": list(node.line) if node.line else None,
             "shape": list(node.shape), "dtype": str(node.dtype), "value": memory.view(node.value),
             "gradient": memory.view(node.gradient), "op": None}
    if node.op is None:
        return facts
    return {**facts, "op": node.op.name, "formula": node.op.formula,
            "arguments": [node.op.name_of(i) for i in range(len(node.parents))],
            "options": {name: memory.view(v) for name, v in node.options.items()},
            "parents": [None if p is None else p.number for p in node.parents],
            "values": [memory.view(v) for v in node.values], "dtypes": [d and str(d) for d in node.dtypes],
            "shapes": [list(s) for s in node.shapes],
            "kept": [k is not None for k in node.kept] if len(node.kept) == len(node.values) else [],
            "y": node.y is not None,
            "saved": node.saved and {name: memory.view(v) for name, v in node.saved.items()}}


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def rebuild(content):
    """(nodes, seeds, events, facts) that a file's content describes."""
    memory = [m.array if isinstance(m, Tensor) else m for m in content["memory"]]
    nodes: list[TracedNode] = []
    for facts in content["nodes"]:
        nodes.append(node_of(facts, nodes, memory))
    events = []
    for k, event in enumerate(content["events"]):
        node, g = at(nodes, event["node"]), value_of(event["g"], memory)
        sent = [value_of(d, memory) for d in event["sent"]]
        if len(sent) != len(node.parents) or any(d is not None and d.shape != s for d, s in zip(sent, node.shapes)):
            raise InputError(f"step {k} does not fit its operation.")
        events.append((node, g, sent))
    seeds = [(at(nodes, n).number, value_of(g, memory)) for n, g in content["seeds"]]
    return nodes, seeds, events, dict(title=str(content["title"]), unreached=[str(name) for name in content["unreached"]],
                                      notes=[str(note) for note in content["notes"]], graph=bool(content["graph"]))


def at(nodes, n):
    """nodes[n], where n must be there already."""
    if type(n) is not int or not 0 <= n < len(nodes):
        raise InputError(f"it speaks of a node {n!r}, which is not there.")
    return nodes[n]


def node_of(facts, nodes, memory):
    """A node out of its facts; its parents stand before it."""
    name = facts["op"]
    node = TracedNode(where=str(facts["where"]), wrap=Tensor.wrap)
    node.number, node.name, node.shape = len(nodes), str(facts["name"]), shape_of(facts["shape"])
    node.dtype = np.dtype(facts["dtype"])
    node.line = (str(facts["line"][0]), int(facts["line"][1])) if facts["line"] else None
    node.value, node.gradient = value_of(facts["value"], memory), value_of(facts["gradient"], memory)
    if name is None:
        return node
    known = REGISTRY.get(name)
    names = [str(n) for n in facts["arguments"]]
    op = known if isinstance(known, Operation) and fits(known, names) else Foreign(str(name), str(facts["formula"]), names)
    node.op, node.options = op, {str(k): value_of(v, memory) for k, v in facts["options"].items()}
    node.parents = tuple(None if n is None else at(nodes, n) for n in facts["parents"])
    node.values = tuple(value_of(v, memory) for v in facts["values"])
    node.shapes, node.dtypes = tuple(map(shape_of, facts["shapes"])), tuple(d and np.dtype(d) for d in facts["dtypes"])
    if not len(names) == len(node.parents) == len(node.values) == len(node.shapes) == len(node.dtypes):
        raise InputError(f"node {node.number}, {node.name}, has lists of different lengths.")
    node.kept = tuple(v if k else None for v, k in zip(node.values, facts["kept"]))
    node.y = node.value if facts["y"] else None
    node.saved = facts["saved"] and {str(k): value_of(v, memory) for k, v in facts["saved"].items()}
    return node


def fits(op, names):
    """Whether a registered operation takes arguments of these names."""
    return len(names) >= 1 and (op.variadic is not None or tuple(names) == op.names[:len(names)])


def shape_of(numbers):
    """A shape out of a list."""
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise InputError(f"{numbers!r} is no shape.")
    return tuple(numbers)


def value_of(packed, memory):
    """The value that `Memory.view` described."""
    (kind, content), = packed.items()
    if kind == "view":
        return view_of(memory, *content)
    if kind == "summary":
        dtype, shape, *numbers = content
        return ArrayFacts(shape_of(shape), np.dtype(dtype), **dict(zip(FACTS, numbers, strict=True)))
    if kind in ("tuple", "list"):
        parts = [value_of(part, memory) for part in content]
        return tuple(parts) if kind == "tuple" else parts
    if kind == "slice":
        return slice(*content)
    return {"value": content, "ellipsis": Ellipsis}[kind] if kind != "dtype" else np.dtype(content)


def view_of(memory, n, offset, dtype, shape, strides):
    """A view of memory n, none of whose entries lies outside it."""
    if type(n) is not int or not 0 <= n < len(memory) or type(offset) is not int:
        raise InputError(f"it speaks of a memory {n!r}, which is not there.")
    shape, dtype = shape_of(shape), np.dtype(dtype)
    if len(strides) != len(shape) or not all(type(s) is int for s in strides) or dtype.kind not in "biuf":
        raise InputError("a view does not fit its memory.")
    reach = [(size - 1) * stride for size, stride in zip(shape, strides)]
    low, high = offset + sum(min(r, 0) for r in reach), offset + sum(max(r, 0) for r in reach) + dtype.itemsize
    if math.prod(shape) and (low < 0 or high > memory[n].nbytes):
        raise InputError("a view reaches outside its memory.")
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, memory[n], offset, strides)
