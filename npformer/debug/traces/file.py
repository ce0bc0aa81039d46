"""Trace files: a safetensors file with the arrays, and a description of the graph in JSON.

Every array lies in the file once: `memory` is a list of arrays, and a value is a view [n, offset in
bytes, dtype, shape, strides in bytes] of memory n. So a loaded trace lies as the recorded one did,
and its rules give the same bits.
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
from .replay import RecordedFunction

KIND = "npformer trace 1"
FACTS = ("min", "max", "mean", "norm", "nan", "inf", "zeros")
UNREADABLE = (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError)


def write_trace(trace, f):
    memory = Memory()
    nodes = [pack_node(node, memory) for node in trace.nodes]
    events = [{"node": step.node.number, "g": memory.pack(step.upstream),
               "sent": [memory.pack(d) for d in step.sent]} for step in trace]
    seeds = [[n, memory.pack(g)] for n, g in trace.seeds]
    serialize.save({"kind": KIND, "title": trace.title, "notes": trace.notes,
                    "unreached": trace.unreached, "graph": trace.graph, "nodes": nodes,
                    "events": events, "seeds": seeds, "memory": memory.arrays}, f)


def read_trace(f):
    """(nodes, seeds, events, what is said of them): what `trace.make_trace` makes a Trace of."""
    content = serialize.load(f)
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind != KIND:
        kind = "." if kind is None else f": it is {kind!r}"
        raise InputError(f"{f} is not a trace file of npformer (Trace.save writes one){kind}")
    try:
        return unpack_trace(content)
    except InputError as error:
        raise InputError(f"{f} is damaged: {error}") from None
    except UNREADABLE as error:
        raise InputError(f"{f} is damaged: its description cannot be read "
                         f"({type(error).__name__}: {error}).") from None


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


class Memory:
    """The arrays of a file: each memory once, as one flat array."""

    def __init__(self):
        self.arrays, self.places = [], {}          # places: id of an owner -> its number

    def pack(self, value):
        """A value for JSON, tagged by its kind: an array as a view of a memory."""
        if isinstance(value, ArrayFacts):
            numbers = [getattr(value, fact) for fact in FACTS]
            return {"summary": [str(value.dtype), list(value.shape), *numbers]}
        if isinstance(value, slice):
            return {"slice": [value.start, value.stop, value.step]}
        if value is Ellipsis:
            return {"ellipsis": True}
        if isinstance(value, (tuple, list)):
            return {type(value).__name__: [self.pack(v) for v in value]}
        if isinstance(value, np.generic):
            return {"value": value.item()}
        if isinstance(value, np.dtype):
            return {"dtype": str(value)}
        if not isinstance(value, np.ndarray):
            return {"value": value}
        root = writes.owner(value)
        if id(root) not in self.places:            # the trace holds it: no other array gets its id
            self.places[id(root)] = len(self.arrays)
            self.arrays.append(root.ravel(order="K"))
        offset = value.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        return {"view": [self.places[id(root)], offset, str(value.dtype), list(value.shape),
                         list(value.strides)]}


def pack_node(node, memory):
    said = {"name": node.name, "where": node.where, "line": list(node.line) if node.line else None,
            "shape": list(node.shape), "dtype": str(node.dtype), "value": memory.pack(node.value),
            "gradient": memory.pack(node.gradient), "op": None}
    if node.op is None:
        return said
    kept = [k is not None for k in node.kept] if len(node.kept) == len(node.values) else []
    return {**said, "op": node.op.name, "formula": node.op.formula,
            "arguments": [node.op.name_of(i) for i in range(len(node.parents))],
            "options": {name: memory.pack(v) for name, v in node.options.items()},
            "parents": [None if p is None else p.number for p in node.parents],
            "values": [memory.pack(v) for v in node.values],
            "dtypes": [d and str(d) for d in node.dtypes], "shapes": [list(s) for s in node.shapes],
            "kept": kept, "y": node.y is not None,
            "saved": node.saved and {name: memory.pack(v) for name, v in node.saved.items()}}


# ── reading ──────────────────────────────────────────────────────────────────────────────────────
#
# A description may fit its checksum and not its arrays: it may have been written by hand. NumPy
# makes a view of any shape and strides and reads whatever lies there, beyond the array too. So
# `unpack_view` looks at where a view begins and ends before there is one.


def unpack_trace(content):
    """(nodes, seeds, events, what is said of them) that a file's content describes."""
    memory = [m.array if isinstance(m, Tensor) else m for m in content["memory"]]
    nodes: list[TracedNode] = []
    for said in content["nodes"]:
        nodes.append(unpack_node(said, nodes, memory))
    events = []
    for k, event in enumerate(content["events"]):
        node, g = node_at(nodes, event["node"]), unpack(event["g"], memory)
        sent = [unpack(d, memory) for d in event["sent"]]
        if len(sent) != len(node.parents) or any(
                d is not None and d.shape != shape for d, shape in zip(sent, node.shapes)):
            raise InputError(f"step {k} does not fit its operation.")
        events.append((node, g, sent))
    seeds = [(node_at(nodes, n).number, unpack(g, memory)) for n, g in content["seeds"]]
    return nodes, seeds, events, {
        "title": str(content["title"]), "graph": bool(content["graph"]),
        "unreached": [*map(str, content["unreached"])], "notes": [*map(str, content["notes"])]}


def node_at(nodes, n):
    """nodes[n], which must be there already: so no file can describe a graph with a circle."""
    if type(n) is not int or not 0 <= n < len(nodes):
        raise InputError(f"it names a node {n!r}, which is not there.")
    return nodes[n]


def unpack_node(said, nodes, memory):
    """The node that `pack_node` described; its parents stand before it."""
    node = TracedNode(where=str(said["where"]), wrap=Tensor.wrap)
    node.number, node.name, node.shape = len(nodes), str(said["name"]), shape_of(said["shape"])
    node.dtype = np.dtype(said["dtype"])
    node.line = (str(said["line"][0]), int(said["line"][1])) if said["line"] else None
    node.value, node.gradient = unpack(said["value"], memory), unpack(said["gradient"], memory)
    if said["op"] is None:
        return node
    names = [str(name) for name in said["arguments"]]
    node.op = find_operation(said, names)
    node.options = {str(name): unpack(v, memory) for name, v in said["options"].items()}
    node.parents = tuple(None if n is None else node_at(nodes, n) for n in said["parents"])
    node.values = tuple(unpack(v, memory) for v in said["values"])
    node.shapes = tuple(map(shape_of, said["shapes"]))
    node.dtypes = tuple(d and np.dtype(d) for d in said["dtypes"])
    lists = node.parents, node.values, node.shapes, node.dtypes
    if any(len(entries) != len(names) for entries in lists):
        raise InputError(f"node {node.number}, {node.name}, has lists of different lengths.")
    node.kept = tuple(v if k else None for v, k in zip(node.values, said["kept"]))
    node.y = node.value if said["y"] else None
    node.saved = said["saved"] and {str(k): unpack(v, memory) for k, v in said["saved"].items()}
    return node


def find_operation(said, names):
    """The registered operation that a file names; else one that only knows what was recorded. The
    arguments' names must agree, because a user's Function may have the name of one of ours."""
    op = REGISTRY.get(said["op"])
    if isinstance(op, Operation) and names and (
            op.variadic is not None or tuple(names) == op.names[:len(names)]):
        return op
    return RecordedFunction(str(said["op"]), str(said["formula"]), names)


def shape_of(numbers):
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise InputError(f"{numbers!r} is not a shape.")
    return tuple(numbers)


def unpack(packed, memory):
    (kind, content), = packed.items()
    if kind == "view":
        return unpack_view(memory, *content)
    if kind == "summary":
        dtype, shape, *numbers = content
        said = dict(zip(FACTS, numbers, strict=True))
        return ArrayFacts(shape_of(shape), np.dtype(dtype), **said)
    if kind in ("tuple", "list"):
        parts = [unpack(part, memory) for part in content]
        return tuple(parts) if kind == "tuple" else parts
    if kind == "slice":
        return slice(*content)
    if kind == "dtype":
        return np.dtype(content)
    return {"value": content, "ellipsis": Ellipsis}[kind]


def unpack_view(memory, n, offset, dtype, shape, strides):
    """A view of memory n, none of whose entries lies outside it. A stride may be 0 (broadcast) or
    negative (flipped), so the lowest and the highest byte are found dim by dim. Python's integers
    cannot overflow, whatever the file says."""
    if type(n) is not int or not 0 <= n < len(memory) or type(offset) is not int:
        raise InputError(f"it names a memory {n!r}, which is not there.")
    shape, dtype = shape_of(shape), np.dtype(dtype)
    if (len(strides) != len(shape) or not all(type(s) is int for s in strides)
            or dtype.kind not in "biuf"):          # an object would be an address to follow
        raise InputError("a view does not fit its memory.")
    if not math.prod(shape):
        return np.empty(shape, dtype)
    reach = [(size - 1) * stride for size, stride in zip(shape, strides)]
    low = offset + sum(min(r, 0) for r in reach)
    high = offset + sum(max(r, 0) for r in reach) + dtype.itemsize
    if low < 0 or high > memory[n].nbytes:
        raise InputError("a view reaches outside its memory.")
    return np.ndarray(shape, dtype, memory[n], offset, strides)
