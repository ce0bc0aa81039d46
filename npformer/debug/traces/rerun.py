"""A trace run again with something changed: a value, what arrived somewhere, or a gradient rule.

The recorded graph is the program: what depends on a change is computed again, forward, and then the
walk is made. What was computed outside the graph (a mask, an index, a detached value) stays as it
was recorded, since nothing says what it was computed from.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ...core import operation, tape
from ...core.errors import GraphError, NpformerError
from ...core.facts import ArrayFacts
from ...core.operation import Fused
from ...core.writes import memory_place
from ...tensors import Tensor
from .mistakes import plant_mistake
from .replay import RecordedFunction, check_replay
from .trace import Trace, make_trace

if TYPE_CHECKING:
    from ...verify.mutants import Mutant


@dataclass
class Changes:
    """What is changed, by the numbers of nodes. values: an output, for all that read it. upstream:
    what arrives there. rules: a planted mistake, and which argument is which of its inputs.
    constants: by the place where it lies (writes.place), an argument that has no node."""

    values: dict[int, np.ndarray] = field(default_factory=dict)
    upstream: dict[int, np.ndarray] = field(default_factory=dict)
    rules: dict[int, tuple[Mutant, tuple[int, ...]]] = field(default_factory=dict)
    constants: dict[tuple | int, np.ndarray] = field(default_factory=dict)

    def __bool__(self):
        return bool(self.values or self.upstream or self.rules or self.constants)


def rerun(trace: Trace, changes: Changes) -> Trace:
    """The Trace of the same program with `changes`. GraphError where a needed value is missing."""
    nodes: list = []
    for node in trace.nodes:
        nodes.append(rerun_node(node, nodes, changes))
    gradients = {node: None for node in nodes if node.op is None}
    seeds = [(nodes[n], g) for n, g in trace.seeds]
    events = list(tape.walk(seeds, gradients, retain_graph=True, create_graph=False))
    for node, g, _ in events:
        node.gradient = g
    for node, g in gradients.items():
        node.gradient = g
    notes = list(trace.notes)
    hooked = [node.name for node in trace.nodes if node.hooks]
    if hooked:                                     # all that is known of a hook is what it did once
        notes.append("rerun without the hooks that changed the gradient of "
                     + ", ".join(hooked[:3]))
    again = make_trace(nodes, list(trace.seeds), events, title=trace.title,
                       unreached=trace.unreached, notes=notes)
    check_replay(again)
    return again


def rerun_node(node, before, changes):
    """A node of the new trace; its value is computed anew if anything that it reads has changed.
    before: the nodes before it. A node that reads nothing new keeps the recorded arrays, the very
    objects: that is how the nodes behind it see that nothing changed, and why a rerun without
    changes gives the same bits."""
    new = copy.copy(node)
    new.parents = tuple(None if p is None else before[p.number] for p in node.parents)
    new.contributions, new.gradient, new.hooks = [], None, None
    if node.op is not None:
        values = tuple(new_argument(value, parent, before, changes)
                       for value, parent in zip(node.values, node.parents))
        if isinstance(node.op, RecordedFunction):
            new.op = copy.copy(node.op)            # it answers from the record of one trace alone
        if any(v is not old for v, old in zip(values, node.values)):
            compute_node(new, values)
    if node.number in changes.values:
        new.value = changes.values[node.number]
    if node.number in changes.upstream:
        new.hooks = {0: lambda g, given=changes.upstream[node.number]: given}
    if node.number in changes.rules:
        new.op = plant_mistake(new.op, *changes.rules[node.number])
    return new


def new_argument(value, parent, before, changes):
    """An argument as the rerun has it; the recorded object itself where nothing changed. parent:
    the recorded node that it came from, None for a constant. An argument has its parent's numbers,
    but is an object of its own, and may be in another dtype (float32 into a float64 product). So
    what is compared is the parent's value, and the new one is given that dtype."""
    if parent is None:
        return changes.constants.get(memory_place(value), value)
    new = before[parent.number].value
    if new is parent.value:
        return value
    return new.astype(value.dtype, copy=False) if isinstance(value, np.ndarray) else new


def compute_node(node, values):
    lost = [node.op.name_of(i) for i, v in enumerate(values)
            if isinstance(v, ArrayFacts) or (v is None and node.parents[i] is not None)]
    if lost:
        raise GraphError(
            f"{node.name} cannot be computed again: the trace has no numbers for "
            f"{', '.join(lost)}.\n  Record the forward pass too, with npf.debug.recording() or "
            "npf.debug.trace(function), and all of it, with a larger `largest=`.")
    node.values = values
    if isinstance(node.op, RecordedFunction):
        called, y = call_function(node)
        node.op.live, node.op.g, node.kept = called.op, None, called.kept
    elif isinstance(node.op, Fused):
        y, node.saved = operation.run(node.op, node.op.fast_forward, values, node.options)
        node.kept = values
    else:
        y = operation.run(node.op, node.op.compute, values, node.options)
        node.kept = tuple(None if k is None else v for k, v in zip(node.kept, values))
    node.value = tape.as_array(y, values[0])
    node.y = None if node.y is None else node.value


def call_function(node):
    """(node of the tape, output) of a user's Function, called on a node's new values."""
    live, found = node.op.require_live(), []
    inputs = [Tensor.wrap(v) if hasattr(v, "dtype") else v for v in node.values]
    for x, parent in zip(inputs, node.parents):
        if parent is not None:
            x.track()
    with tape.add_observer(lambda called, _, y: found.append((called, y))):
        try:
            live.function.apply(*inputs)
        except NpformerError:
            raise
        except Exception as error:                 # noqa: BLE001   the user's code may raise anything
            raise GraphError(f"{node.op.name}.forward cannot run on the new values: "
                             f"{type(error).__name__}: {error}") from error
    # A Function's forward may run operations of npformer, which are seen as well: take its own.
    return next((called, y) for called, y in found if type(called.op) is type(live))
