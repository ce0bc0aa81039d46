"""Planted mistakes at a step: which wrong rules of `verify.mutants` fit it, and how one is planted.

A mutant is written as a course writes it: a forward and a backward on plain arrays. Here it stands
in for the gradient rule of a step of a real model.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from inspect import signature
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import GraphError
from ...verify.mutants import SUBJECTS, Mutant
from .diff import distance
from .replay import same_bits

if TYPE_CHECKING:
    from .trace import TraceStep


def plant_mistake(op, mutant, order):
    """The operation with a mutant's wrong rules; its forward, definition and other rules stay.
    order: the numbers of the arguments that the mutant takes. What is returned is a copy of one
    operation with another `gradients`: the registry and every other step keep the right rule."""
    def gradients(node, g):
        sent, given = list(op.gradients(node, g)), g.copy()
        wrong = mutant_gradients(mutant, given, node, order)
        if not same_bits(given, g):
            raise GraphError(f"{mutant.name}: it writes into the gradient that arrived, which "
                             "others still need. Numbers alone would not show that here, and the "
                             "trace must not be written into: take another mistake")
        for i, name, d in zip(order, mutant.names, wrong):
            if name in mutant.mistaken and node.parents[i] is not None:
                sent[i] = d
        return sent

    planted = copy.copy(op)
    planted.gradients, planted.planted = gradients, mutant
    return planted


def mutant_gradients(mutant, g, node, order):
    """The gradients that a mutant's backward gives for a node's arguments. On copies: a mistake may
    be that it writes into what it gets, and the trace's arrays are the record."""
    values = [node.values[i].copy() for i in order]
    y = mutant.forward(*values, **shared_options(mutant, node))
    return mutant.backward(g, *(y[1:] if isinstance(y, tuple) else values))


def shared_options(mutant, node):
    """The options of a node that a mutant's forward takes as well: eps, scale."""
    options = {**getattr(node.op, "options", {}), **node.options}
    parameters = signature(mutant.subject.function).parameters
    return {name: options[name] for name, parameter in parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY and name in options}


def mistakes_for(step: TraceStep) -> dict[str, tuple[Mutant, tuple[int, ...]]]:
    """The planted mistakes that fit a step, by name, each with the arguments that it takes. They
    are found by trying, not by the operation's name: a mutant's subject fits where its forward
    gives the step's output on the step's inputs, and its right rule the step's gradients. A list of
    names would not do: whether a rule fits depends on the shapes, the mask and the options."""
    found = {}
    for subject in SUBJECTS.values():
        order = next((order for order in argument_orders(subject, step)
                      if reproduces_step(subject.control, step, order)), None)
        if order is None:
            continue
        for other in SUBJECTS.values():            # with a mask and without one: mistakes in the
            if other.rules == subject.rules:       # same rules are the same mistakes
                found.update({mutant.name: (replace(mutant, subject=subject), order)
                              for mutant in other.mutants})
    return found


def argument_orders(subject, step):
    """The ways to give a step's arrays to a subject: tuples of argument numbers. The kinds of dtype
    (float, int, bool) must agree, and no argument that gets a gradient may be left out."""
    arrays = [i for i, v in enumerate(step.node.values) if isinstance(v, np.ndarray)]
    needed = {i for i, d in enumerate(step.sent) if d is not None}
    kinds = [a.dtype.kind for a in subject.control.inputs()]
    for order in permutations(arrays, len(kinds)):
        if needed <= set(order) and kinds == [step.node.values[i].dtype.kind for i in order]:
            yield order


@np.errstate(all="ignore")
def reproduces_step(control, step, order):
    """Whether a right forward and backward do what the step does. The output is asked first: it
    rules nearly all subjects out, and costs no backward pass. A gradient is measured by the largest
    one of the step, because one of them may be rounding alone."""
    close = 1e-9 if step.upstream.dtype.itemsize == 8 else 1e-4
    try:
        values = [step.node.values[i] for i in order]
        y = control.forward(*values, **shared_options(control, step.node))
        y = np.asarray(y[0] if isinstance(y, tuple) else y)
        if y.shape != step.node.shape or not distance(y, np.asarray(step.value)) < close:
            return False
        found = mutant_gradients(control, step.upstream, step.node, order)
        pairs = [(d, step.sent[i]) for i, d in zip(order, found)]
        largest = max(np.abs(d).max(initial=0) for _, d in pairs if d is not None)
        return all(sent is None or np.abs(d - sent).max(initial=0) <= close * largest
                   for d, sent in pairs)
    except Exception:                              # noqa: BLE001   made for other shapes, it may raise
        return False                               # anything
