"""Inside one step of a backward pass: its Jacobian, its definition step by step, the terms of its
rule, and a check.

Each looks at a `Step` alone, on the values that it was recorded with. `Step` has a method for each;
they stand here because an ordinary backward pass needs none of them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from . import devices, tape
from .errors import GraphError, ValueRangeError
from .facts import norm
from .numeric import Truth, one_sided, true_gradient
from .operation import Fused, Primitive

LARGE = 4_000_000                                  # entries of a Jacobian that is built at once
LOOKED_AT = 60  # entries of an input that `check` holds against finite differences
PATHS = 40  # ways through a definition that `terms` tells apart


def argument_number(step, argument):
    """The place of an argument that gets a gradient, given by number or name."""
    names = [step.node.op.name_of(i) for i in range(len(step.parents))]
    i = names.index(argument) if argument in names else argument
    if not isinstance(i, int) or not -len(names) <= i < len(names):
        raise ValueRangeError(f"{step.op} has no argument {argument!r}; its arguments are {', '.join(names)}")
    if step.parents[i] is None:
        raise GraphError(f"{step.op}: no gradient flows to {names[i]}, so it has no Jacobian here")
    return i % len(names)


def values_of(step):
    """The arguments of a step, all of them; a GraphError where the tape kept only what its rule
    reads."""
    lost = [step.node.op.name_of(i) for i, a in enumerate(step.arguments)
            if a is None and not isinstance(step.node.op, Fused) and step.node.shapes[i] != ()]
    if lost or not step.arguments:
        raise GraphError(f"{step.op}: the values of {', '.join(lost) or 'its arguments'} were not kept, since its gradient "
                         "rule does not read them.\n  Record them with npf.debug.recording() or npf.debug.trace(function).")
    return step.arguments


# ── the Jacobian ──────────────────────────────────────────────────────────────────────────────────


def jacobian(step, argument, rows=None, columns=None):
    """d(output)/d(argument), or the block of it that `rows` (of the output) and `columns` (of the
    argument) choose."""
    i = argument_number(step, argument)
    node = step.node
    rows, columns = (chosen(name, index, node_shape) for name, index, node_shape in (
        ("rows", rows, node.shape), ("columns", columns, node.shapes[i])))
    if rows.size * columns.size > LARGE:
        raise ValueRangeError(f"{step.op}: d(output)/d{node.op.name_of(i)} is {node.shape} x {node.shapes[i]}, "
                              f"{rows.size * columns.size:,} entries.\n  Ask for a part: "
                              "jacobian(argument, rows=0) or jacobian(argument, rows=..., columns=...)")
    view = copy.copy(node)  # the walk may have freed the node; the step has what it kept
    view.kept, view.y, view.saved, view.parents = step.kept, step.output, step.saved, step.parents
    one_hot = np.zeros_like(step.upstream, shape=(int(np.prod(node.shape)),))
    block = np.empty((rows.size, columns.size), step.upstream.dtype)
    for k, row in enumerate(rows.reshape(-1)):
        one_hot[row] = 1
        with np.errstate(all="ignore"):            # infinity is a slope too
            line = devices.to_numpy(node.op.gradients(view, one_hot.reshape(node.shape))[i])
        block[k] = line.reshape(-1)[columns.reshape(-1)]
        one_hot[row] = 0
    return block.reshape(rows.shape + columns.shape)


def chosen(name, index, shape):
    """The flat places that `index` chooses in an array of that shape."""
    places = np.arange(int(np.prod(shape))).reshape(shape)
    try:
        return places if index is None else np.asarray(places[index])
    except IndexError as error:
        raise ValueRangeError(f"jacobian(..., {name}={index!r}): {error}") from None


# ── the definition, and the terms of a rule ───────────────────────────────────────────────────────


def run_definition(step):
    """(inputs, y): the definition of a fused operation, run and recorded on the step's values."""
    op, node = step.node.op, step.node
    if not isinstance(op, Fused):
        kind = "a primitive: its rule is one line" if isinstance(op, Primitive) else "an operation of the user's own"
        raise GraphError(f"{op.name} is {kind}, and there is nothing inside to step through.")
    inputs = [a if p is None else node.wrap(a) for a, p in zip(values_of(step), step.parents)]
    before, tape.state.grad_enabled = tape.state.grad_enabled, True
    try:
        for x, parent in zip(inputs, step.parents):
            if parent is not None:
                x.track()
        return inputs, op.definition(*inputs, **node.options)
    finally:
        tape.state.grad_enabled = before


@dataclass
class Term:
    """One additive term of a gradient rule: what comes by one way through the definition, output
    first."""

    way: str
    value: np.ndarray

    @property
    def norm(self) -> float:
        """‖value‖₂"""
        return norm(self.value)

    def __repr__(self):
        return f"Term({self.way}: {self.norm:.4g})"


def terms(step):
    """{argument: [Term, ...]}: what each way through the definition adds to its gradient; they add
    up to it."""
    names = {i: step.node.op.name_of(i) for i, d in enumerate(step.sent) if d is not None}
    if not isinstance(step.node.op, Fused):
        return {name: [Term(step.op, step.sent[i])] for i, name in names.items()}
    inputs, y = run_definition(step)
    found = {inputs[i].node: {} for i in names}    # leaf -> way -> what came by it
    ways = [(y.node, step.upstream, ())]
    while ways:  # every way by itself: at a fork the gradient goes both ways, whole
        node, g, way = ways.pop()
        if node.op is None:
            label = " ← ".join(reversed(way))
            found[node][label] = found[node].get(label, 0) + g
            continue
        sent = [(p, d) for p, d in zip(node.parents, tape.send(node, g, False)) if d is not None]
        ways += [(p, d, (*way, node.op.name)) for p, d in sent]
        if len(ways) > PATHS:
            return {name: [Term(step.op, step.sent[i])] for i, name in names.items()}
    return {name: [Term(way, g) for way, g in sorted(found[inputs[i].node].items(), key=lambda item: len(item[0]))]
            for i, name in names.items()}


# ── finite differences of one step ────────────────────────────────────────────────────────────────


@dataclass
class StepCheck:
    """What `step.check()` found: the largest error of each gradient, relative to its largest entry.
    True if all is right."""

    op: str
    errors: dict[str, float]
    wrong: list[str]                               # the arguments whose gradient differs

    def __bool__(self):
        return not self.wrong

    def __str__(self):
        return f"{self.op}: " + ", ".join(
            f"d{name} {'DIFFERS from' if name in self.wrong else 'agrees with'} finite differences ({error:.1e})"
            for name, error in self.errors.items())


def check(step):
    """This step's rule against central differences of its operation, with the upstream that
    arrived.

    Entries at which the operation has no finite slope (√x at 0, a score of −∞) are left out.
    GraphError where nothing is left.
    """
    name, found = step.node.op.name_of, list(held(step, values_of(step)))
    return StepCheck(step.op, {name(h.argument): float(h.error.max(initial=0)) for h in found},
                     [name(h.argument) for h in found if h.wrong.any()])


class Held(NamedTuple):
    """One gradient of a step, held against finite differences at truth.places.

    sent: its entries there. error: relative to the largest. wrong: where it is more than rounding.
    """

    argument: int
    truth: Truth
    sent: np.ndarray
    error: np.ndarray
    wrong: np.ndarray


def held(step, arguments):
    """A Held for each gradient that a step sent, at a few places of each. GraphError where that
    cannot be done."""
    values = [np.array(devices.to_numpy(a), dtype=float if a.dtype.kind == "f" else None) if hasattr(a, "dtype") else a
              for a in arguments]
    g, op = np.asarray(devices.to_numpy(step.upstream), dtype=float), step.node.op
    if not np.isfinite(g).all():
        raise GraphError(f"{op.name}: what arrived holds NaN or infinity, so there is nothing to hold its rule against")
    compute = lambda xs: np.asarray(op.compute(*xs, **step.options), dtype=float)      # noqa: E731
    with np.errstate(all="ignore"):
        # a masked score is −∞, and no gradient comes to it
        counts = np.isfinite(compute(values)) | (g != 0)
    forward = lambda xs: np.where(counts, compute(xs), 0.0)            # noqa: E731
    for i, d in enumerate(step.sent):
        if d is not None:
            yield one_held(step, forward, values, i, np.asarray(devices.to_numpy(d), dtype=float).reshape(-1), g)


def one_held(step, forward, values, i, a, g):
    """The Held of argument i, to which the step sent `a`."""
    with np.errstate(all="ignore"):
        truth = true_gradient(forward, values, i, g, spread(a))
    there = np.isfinite(truth.gradient)
    if not there.any() and there.size:
        raise GraphError(f"{step.op}: it has no finite slope in {step.node.op.name_of(i)} here, so there is nothing to hold its "
                         "rule against")
    truth = truth.only(there)
    dtype = step.upstream.dtype
    allowed, coarser = (1e-6 if dtype.itemsize == 8 else 1e-3), np.finfo(dtype).eps / np.finfo(float).eps
    # A gradient whose terms cancel, as those of a key's bias do, is small against them, not against
    # itself.
    scale = max(np.abs(truth.gradient).max(initial=0), np.abs(a[np.isfinite(a)]).max(initial=0),
                coarser * truth.rounding.max(initial=0) / allowed, 1e-300)
    sent = a[truth.places]
    error = np.abs(sent - truth.gradient) / scale
    wrong = ~(error <= allowed + 3 * truth.noise / scale)
    for k in np.flatnonzero(wrong):
        if on_a_kink(forward, values, i, truth.places[k], g, sent[k], 1e-5 * scale):
            error[k], wrong[k] = 0, False
    return Held(i, truth, sent, error, wrong)


def on_a_kink(forward, values, i, place, g, slope, slack):
    """Whether the slopes to the left and right differ there, and `slope` lies between them: then
    any such value will do."""
    low, high = sorted(one_sided(forward, values, values[i], np.unravel_index(place, values[i].shape), g))
    return high - low > slack and low - slack <= slope <= high + slack


def spread(a):
    """Flat places worth a look: all of a small array; the largest entries and evenly spread ones of
    a large one."""
    if a.size <= LOOKED_AT:
        return np.arange(a.size)
    return np.unique([*np.argsort(-np.abs(a))[:LOOKED_AT // 2], *np.linspace(0, a.size - 1, LOOKED_AT // 2).astype(int)])
