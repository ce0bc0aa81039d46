"""Inside one step of a backward pass: its Jacobian, its definition, its rule's terms, and a check.

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
from .numeric import Truth, one_sided_slopes, true_gradient
from .operation import Fused, Primitive

LARGE = 4_000_000                                  # entries of a Jacobian that is built at once
LOOKED_AT = 60                                     # entries of an input that `check` looks at
PATHS = 40                                         # ways through a definition told apart


def argument_number(step, argument):
    """The place of an argument that gets a gradient, given by number or name."""
    names = [step.node.op.name_of(i) for i in range(len(step.parents))]
    i = names.index(argument) if argument in names else argument
    if not isinstance(i, int) or not -len(names) <= i < len(names):
        raise ValueRangeError(f"{step.op} has no argument {argument!r}; "
                              f"its arguments are {', '.join(names)}")
    if step.parents[i] is None:
        raise GraphError(f"{step.op}: no gradient flows to {names[i]}, so it has no Jacobian here")
    return i % len(names)


def values_of(step):
    """All arguments of a step; GraphError where the tape kept only what its rule reads."""
    lost = [step.node.op.name_of(i) for i, a in enumerate(step.arguments)
            if a is None and not isinstance(step.node.op, Fused) and step.node.shapes[i] != ()]
    if lost or not step.arguments:
        raise GraphError(
            f"{step.op}: the values of {', '.join(lost) or 'its arguments'} were not kept, "
            "since its gradient rule does not read them.\n"
            "  Record them with npf.debug.recording() or npf.debug.trace(function).")
    return step.arguments


# ── the Jacobian ──────────────────────────────────────────────────────────────────────────────────


def jacobian(step, argument, rows=None, columns=None):
    """d(output)/d(argument), or the block that `rows` (of the output) and `columns` choose."""
    i, node = argument_number(step, argument), step.node
    rows = flat_places("rows", rows, node.shape)
    columns = flat_places("columns", columns, node.shapes[i])
    if rows.size * columns.size > LARGE:
        raise ValueRangeError(
            f"{step.op}: d(output)/d{node.op.name_of(i)} is {node.shape} x {node.shapes[i]}, "
            f"{rows.size * columns.size:,} entries.\n  Ask for a part: "
            "jacobian(argument, rows=0) or jacobian(argument, rows=..., columns=...)")
    # Row by row, out of the rule itself: the rule is g ↦ gᵀJ, so a g that is 1 at one entry of the
    # output gives that entry's row, exactly as the backward pass has it. Finite differences would
    # give columns, of the operation and not of its rule: a wrong rule would look right.
    # The walk may have freed the node meanwhile; the step still holds what it kept.
    view = copy.copy(node)
    view.kept, view.y, view.saved, view.parents = step.kept, step.output, step.saved, step.parents
    one_hot = np.zeros_like(step.upstream, shape=(int(np.prod(node.shape)),))
    block = np.empty((rows.size, columns.size), step.upstream.dtype)
    for k, row in enumerate(rows.reshape(-1)):
        one_hot[row] = 1
        with np.errstate(all="ignore"):            # infinity is a slope too
            d = node.op.gradients(view, one_hot.reshape(node.shape))[i]
        block[k] = devices.to_numpy(d).reshape(-1)[columns.reshape(-1)]
        one_hot[row] = 0
    return block.reshape(rows.shape + columns.shape)


def flat_places(name, index, shape):
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
        kind = ("a primitive: its rule is one line" if isinstance(op, Primitive)
                else "an operation of the user's own")
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


@dataclass(eq=False, repr=False)
class Term:
    """One term of a gradient: what one way through the definition adds, named output first."""

    way: str
    value: np.ndarray

    @property
    def norm(self) -> float:
        """‖value‖₂"""
        return norm(self.value)

    def __repr__(self):
        return f"Term({self.way}: {self.norm:.4g})"


def terms(step):
    """{argument: [Term, ...]}: what each way through the definition adds to its gradient.

    The terms of an argument add up to its gradient. A primitive, and a definition with too many
    ways, has one term: the whole.
    """
    names = {i: step.node.op.name_of(i) for i, d in enumerate(step.sent) if d is not None}
    whole = {name: [Term(step.op, step.sent[i])] for i, name in names.items()}
    if not isinstance(step.node.op, Fused):
        return whole
    # Each way by itself, and not the walk: the walk adds up what meets at a node before it goes on,
    # and the sum no longer says who sent what. layer_norm has 4 ways to its x, gelu_tanh has 5;
    # forks one after another multiply them, hence the limit.
    inputs, y = run_definition(step)
    found = {inputs[i].node: {} for i in names}    # leaf -> way -> what it adds there
    ways = [(y.node, step.upstream, ())]
    while ways:
        node, g, way = ways.pop()
        if node.op is None:
            label = " ← ".join(reversed(way))
            found[node][label] = found[node].get(label, 0) + g
            continue
        for parent, d in zip(node.parents, tape.send(node, g, False)):
            if d is not None:
                ways.append((parent, d, (*way, node.op.name)))
        if len(ways) > PATHS:
            return whole
    shortest_first = {i: sorted(found[inputs[i].node].items(), key=lambda item: len(item[0]))
                      for i in names}
    return {name: [Term(way, g) for way, g in shortest_first[i]] for i, name in names.items()}


# ── finite differences of one step ────────────────────────────────────────────────────────────────


@dataclass(eq=False)
class StepCheck:
    """What `step.check()` found. True if every gradient is right.

    errors: the largest error of each gradient, relative to its largest entry. wrong: the arguments
    whose gradient differs.
    """

    op: str
    errors: dict[str, float]
    wrong: list[str]

    def __bool__(self):
        return not self.wrong

    def __str__(self):
        verdict = lambda name: "DIFFERS from" if name in self.wrong else "agrees with"
        return f"{self.op}: " + ", ".join(
            f"d{name} {verdict(name)} finite differences ({error:.1e})"
            for name, error in self.errors.items())


def check(step):
    """This step's rule against finite differences of its operation, for the upstream that arrived.

    Entries at which the operation has no finite slope (√x at 0, a score of −∞) are left out.
    GraphError where nothing is left.
    """
    name, found = step.node.op.name_of, list(compare_gradients(step, values_of(step)))
    return StepCheck(step.op, {name(h.argument): float(h.error.max(initial=0)) for h in found},
                     [name(h.argument) for h in found if h.wrong.any()])


class ComparedGradient(NamedTuple):
    """One gradient of a step, held against finite differences at truth.places.

    sent: its entries there. error: relative to the largest. wrong: where it is more than rounding.
    """

    argument: int
    truth: Truth
    sent: np.ndarray
    error: np.ndarray
    wrong: np.ndarray


def compare_gradients(step, arguments):
    """A Held for each gradient that a step sent, at a few places of each.

    GraphError where that cannot be done.
    """
    in_float64 = lambda a: np.array(devices.to_numpy(a), dtype=float)
    op, g = step.node.op, in_float64(step.upstream)
    values = [a if not hasattr(a, "dtype")
              else in_float64(a) if a.dtype.kind == "f"
              else np.array(devices.to_numpy(a)) for a in arguments]
    if not np.isfinite(g).all():
        raise GraphError(f"{op.name}: what arrived holds NaN or infinity, "
                         "so there is nothing to hold its rule against")
    compute = lambda xs: np.asarray(op.compute(*xs, **step.options), dtype=float)
    with np.errstate(all="ignore"):
        # A masked score is −∞, and g is 0 there: its difference, −∞ − (−∞), would make Σ g·dy NaN.
        counts = np.isfinite(compute(values)) | (g != 0)
    forward = lambda xs: np.where(counts, compute(xs), 0.0)
    for i, d in enumerate(step.sent):
        if d is not None:
            yield compare_gradient(step, forward, values, i, in_float64(d).reshape(-1), g)


def compare_gradient(step, forward, values, i, a, g):
    """The ComparedGradient of argument i, to which the step sent `a`."""
    with np.errstate(all="ignore"):
        truth = true_gradient(forward, values, i, g, places_to_look_at(a))
    there = np.isfinite(truth.gradient)
    if not there.any() and there.size:
        raise GraphError(f"{step.op}: it has no finite slope in {step.node.op.name_of(i)} here, "
                         "so there is nothing to hold its rule against")
    truth = truth.only(there)
    # An error counts beside the largest entry. That alone took the gradient of a key's bias for
    # wrong in float32: its terms cancel, it is 0, and what the step sent is rounding. So the scale
    # is at least what rounding in the step's dtype, coarser than the truth's, can leave behind.
    dtype = step.upstream.dtype
    allowed = 1e-6 if dtype.itemsize == 8 else 1e-3
    coarser = np.finfo(dtype).eps / np.finfo(float).eps
    scale = max(np.abs(truth.gradient).max(initial=0), np.abs(a[np.isfinite(a)]).max(initial=0),
                coarser * truth.rounding.max(initial=0) / allowed, 1e-300)
    sent = a[truth.places]
    error = np.abs(sent - truth.gradient) / scale
    wrong = ~(error <= allowed + 3 * truth.noise / scale)
    for k in np.flatnonzero(wrong):
        if is_kink(forward, values, i, truth.places[k], g, sent[k], 1e-5 * scale):
            error[k], wrong[k] = 0, False
    return ComparedGradient(i, truth, sent, error, wrong)


def is_kink(forward, values, i, place, g, slope, slack):
    """Whether the slopes to the left and right differ there, and `slope` lies between them."""
    # relu at 0 has slopes 0 and 1; central differences say ½ and our rule says 0. Any value between
    # the two is a subgradient, so none of them is called wrong. Only entries that failed are looked
    # at: this costs three more forward passes for each.
    at = np.unravel_index(place, values[i].shape)
    low, high = sorted(one_sided_slopes(forward, values, values[i], at, g))
    return high - low > slack and low - slack <= slope <= high + slack


def places_to_look_at(a):
    """Flat places worth a look: all of a small array; of a large one the largest, and some more."""
    if a.size <= LOOKED_AT:
        return np.arange(a.size)
    largest = np.argsort(-np.abs(a))[:LOOKED_AT // 2]
    evenly = np.linspace(0, a.size - 1, LOOKED_AT // 2).astype(int)
    return np.unique([*largest, *evenly])
