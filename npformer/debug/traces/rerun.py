"""A trace run again with something changed: a value, what arrived somewhere, or a gradient rule.

The recorded graph is the program: what depends on a change is computed again, forward, and then the walk is made. What
was computed outside the graph (a mask, an index, a detached value) stays as it was recorded.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from inspect import signature
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from ...core import operation, tape
from ...core.errors import GraphError, NpformerError
from ...core.facts import ArrayFacts
from ...core.operation import Fused
from ...core.writes import place
from ...tensors import Tensor
from . import diff, replay
from .trace import Trace, join

if TYPE_CHECKING:
    from ...verify.mutants import Mutant
    from .trace import TraceStep


@dataclass
class Changes:
    """What is changed, by the numbers of nodes. values: an output, for all that read it. upstream: what arrives there.
    rules: a planted mistake, and which argument is which of its inputs. constants: (place, array) of what has no node."""

    values: dict[int, np.ndarray] = field(default_factory=dict)
    upstream: dict[int, np.ndarray] = field(default_factory=dict)
    rules: dict[int, tuple[Mutant, tuple[int, ...]]] = field(default_factory=dict)
    constants: dict[tuple | int, np.ndarray] = field(default_factory=dict)

    def __bool__(self):
        return bool(self.values or self.upstream or self.rules or self.constants)


def rerun(trace: Trace, changes: Changes) -> Trace:
    """The Trace of the same program with `changes`; the given one stays as it is.

    Raises GraphError where a value that is needed is not in the trace.
    """
    nodes: list = []
    for node in trace.nodes:
        nodes.append(again(node, nodes, changes))
    leaves = {node: None for node in nodes if node.op is None}
    walked = list(tape.walk([(nodes[n], g) for n, g in trace.seeds], leaves, retain_graph=True, create_graph=False))
    for node, g, _ in walked:
        node.gradient = g
    for node, g in leaves.items():
        node.gradient = g
    hooked = [node.name for node in trace.nodes if node.hooks]
    made = join(nodes, list(trace.seeds), walked, title=trace.title,
                  unreached=trace.unreached, notes=[*trace.notes, *(
                      [f"rerun without the hooks that changed the gradient of {', '.join(hooked[:3])}"] if hooked else [])])
    replay.compare(made)
    return made


def again(node, before, changes):
    """A node of the new trace, computed anew if anything that it reads has changed. before: the nodes before it."""
    new = copy.copy(node)
    new.parents = tuple(None if p is None else before[p.number] for p in node.parents)
    new.contributions, new.gradient, new.hooks = [], None, None
    if node.op is not None:
        values = tuple(value if p is None and place(value) not in changes.constants
                       else changes.constants[place(value)] if p is None
                       else flowing(value, p, before[p.number])
                       for value, p in zip(node.values, node.parents))
        if isinstance(node.op, replay.Foreign):
            new.op = copy.copy(node.op)            # it answers from the record of one trace, not of two
        if any(v is not old for v, old in zip(values, node.values)):
            compute(new, values)
    if node.number in changes.values:
        new.value = changes.values[node.number]
    if node.number in changes.upstream:
        new.hooks = {0: lambda g, given=changes.upstream[node.number]: given}
    if node.number in changes.rules:
        new.op = planted(new.op, *changes.rules[node.number])
    return new


def flowing(value, old, new):
    """The value of an argument that comes from a node: the recorded one, or the node's new value in the same dtype."""
    if new.value is old.value:
        return value
    return new.value.astype(value.dtype, copy=False) if isinstance(value, np.ndarray) else new.value


def compute(node, values):
    """Run a node's operation on new values."""
    lost = [node.op.name_of(i) for i, v in enumerate(values)
            if isinstance(v, ArrayFacts) or (v is None and node.parents[i] is not None)]
    if lost:
        raise GraphError(f"{node.name} cannot be computed again: the trace has no numbers for {', '.join(lost)}.\n  "
                         "Record the forward pass too, with npf.debug.recording() or npf.debug.trace(function), and all of it, "
                         "with a larger `largest=`.")
    kept = node.kept
    node.values = values
    if isinstance(node.op, replay.Foreign):
        made, y = function_again(node)
        node.op.live, node.op.g, node.kept = made.op, None, made.kept
    elif isinstance(node.op, Fused):
        y, node.saved = operation.run(node.op, node.op.fast_forward, values, node.options)
        node.kept = values
    else:
        y = operation.run(node.op, node.op.compute, values, node.options)
        node.kept = tuple(None if k is None else v for k, v in zip(kept, values))
    node.value = operation.as_array(y, values[0])
    node.y = None if node.y is None else node.value


def function_again(node):
    """(node of the tape, output) of a user's Function, called again on a node's values."""
    live, found = node.op.alive(), []
    inputs = [Tensor.wrap(v) if hasattr(v, "dtype") else v for v in node.values]
    for x, parent in zip(inputs, node.parents):
        if parent is not None:
            x.track()
    with tape.observing(lambda made, _, y: found.append((made, y))):
        try:
            live.function.apply(*inputs)
        except NpformerError:
            raise
        except Exception as error:                 # noqa: BLE001   the user's code may raise anything
            raise GraphError(f"{node.op.name}.forward cannot run on the new values: {type(error).__name__}: {error}") from error
    return next((made, y) for made, y in found if type(made.op) is type(live))


# ── planted mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────


def planted(op, mutant, order):
    """The operation with a mutant's wrong rules; forward, definition and the other rules stay. order: the arguments that
    the mutant takes."""
    def gradients(node, g):
        sent, given = list(op.gradients(node, g)), g.copy()
        wrong = pulled(mutant, given, node, order)
        if not replay.same(given, g):
            raise GraphError(f"{mutant.name}: it writes into the gradient that arrived, which others still need. Numbers alone "
                             "would not show that here, and the trace must not be written into: take another mistake")
        for i, name, d in zip(order, mutant.names, wrong):
            if name in mutant.mistaken and node.parents[i] is not None:
                sent[i] = d
        return sent

    made = copy.copy(op)
    made.gradients, made.planted = gradients, mutant
    return made


def pulled(mutant, g, node, order):
    """The gradients that a mutant's backward gives for a node's arguments, on copies: it may write into what it gets."""
    values = [node.values[i].copy() for i in order]
    y = mutant.forward(*values, **shared_options(mutant, node))
    return mutant.backward(g, *(y[1:] if isinstance(y, tuple) else values))


def shared_options(mutant, node):
    """The options of a node that a mutant's forward takes as well: eps, scale."""
    known = {**getattr(node.op, "options", {}), **node.options}
    return {name: known[name] for name, p in signature(mutant.subject.function).parameters.items()
            if p.kind is p.KEYWORD_ONLY and name in known}


def fitting(step: TraceStep) -> dict[str, tuple[Mutant, tuple[int, ...]]]:
    """The planted mistakes that can be tried at a step, by name, each with the arguments that it takes.

    A subject fits where its forward gives the step's output on the step's inputs, and its right rule the step's gradients.
    """
    from ...verify.mutants import SUBJECTS

    found = {}
    for subject in SUBJECTS.values():
        order = next((o for o in orders(subject, step) if fits(subject.control, step, o)), None)
        if order is not None:                      # with a mask or without one: the mistakes in one rule are the same
            found.update({mutant.name: (replace(mutant, subject=subject), order)
                          for other in SUBJECTS.values() if other.rules == subject.rules for mutant in other.mutants})
    return found


def orders(subject, step):
    """The ways to give a step's arrays to a subject so that kinds agree and nothing that gets a gradient is left out."""
    places = [i for i, v in enumerate(step.node.values) if isinstance(v, np.ndarray)]
    needed = {i for i, d in enumerate(step.sent) if d is not None}
    kinds = [a.dtype.kind for a in subject.control.inputs()]
    for order in permutations(places, len(kinds)):
        if needed <= set(order) and all(step.node.values[i].dtype.kind == k for i, k in zip(order, kinds)):
            yield order


@np.errstate(all="ignore")
def fits(control, step, order):
    """Whether a right forward and backward do what the step does."""
    values = [step.node.values[i] for i in order]
    close = 1e-9 if step.upstream.dtype.itemsize == 8 else 1e-4
    try:
        y = control.forward(*values, **shared_options(control, step.node))
        y = y[0] if isinstance(y, tuple) else y
        if np.shape(y) != step.node.shape or not diff.distance(np.asarray(y), np.asarray(step.value)) < close:
            return False
        pairs = [(d, step.sent[i]) for i, d in zip(order, pulled(control, step.upstream, step.node, order))]
        largest = max(np.abs(d).max(initial=0) for _, d in pairs if d is not None)      # a gradient may be rounding alone
        return all(sent is None or np.abs(d - sent).max(initial=0) <= close * largest for d, sent in pairs)
    except Exception:                              # noqa: BLE001   written for other shapes, it may raise anything
        return False
