"""Which cells feed which: what one entry of an operation's output reads of an argument, and so
where its gradient goes.

y[o] reads x[j], hence dx[j] is fed by g[o]. For most operations that is a matter of dims, which the
operation's block tells (`core.dims`): dims that share a letter have the same index, all others are
free. Where an index decides, the operation is asked by moving the numbers 1, 2, 3 …; a user's own
Function by its Jacobian, where that is small. Where a slope is 0 (relu, a mask, a maximum) the way
is shut.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...core.dims import Lined, spell
from ...core.errors import GraphError
from ...core.facts import ArrayFacts
from ...core.operation import Operation
from ..traces.trace import TraceStep
from ..traces.why import facts_on, values_at

LARGEST = 65_536  # entries of a map, or of a Jacobian that is looked at whole
ROWS = 256  # entries of an output whose Jacobian is asked for row by row

Gate = tuple[list[tuple[str, int]], np.ndarray]


@dataclass
class Relation:
    """When y[o] reads x[j]: all of what is said here must hold.

    ties, bounds: as in `core.dims.Lined`. gates: (dims, mask): mask must be True at the indices
    that dims name, ("y", 0) or ("x", 1). picked: the flat place in x that each entry of y is;
    placed: the flat place in y to which each entry of x goes; -1 is none. pairs: a table, y's
    entries by x's. flat: both have the same place in row-major order.
    """

    ties: list[tuple[int, int, int, int]] = field(default_factory=list)
    bounds: list[tuple[int, int, int, int]] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    picked: np.ndarray | None = None
    placed: np.ndarray | None = None
    pairs: np.ndarray | None = None
    flat: bool = False

    def table(self, y_shape: tuple, x_shape: tuple) -> np.ndarray:
        """The relation as a table of bools, y's entries by x's: for small arrays."""
        count = int(np.prod(y_shape)), int(np.prod(x_shape))
        o = [a[:, None] for a in np.unravel_index(np.arange(count[0]), y_shape)] if y_shape else []
        j = [a[None, :] for a in np.unravel_index(np.arange(count[1]), x_shape)] if x_shape else []
        holds = np.ones(count, bool) if self.pairs is None else self.pairs.copy()
        for x_dim, y_dim, sign, offset in self.ties:
            holds &= j[x_dim] == sign * o[y_dim] + offset
        for x_dim, y_dim, sign, offset in self.bounds:
            holds &= sign * (o[y_dim] + offset - j[x_dim]) >= 0
        for dims, mask in self.gates:
            holds &= mask[tuple((o if side == "y" else j)[dim] for side, dim in dims)]
        if self.flat:
            holds &= np.eye(count[0], dtype=bool)
        if self.picked is not None:
            holds &= self.picked.reshape(-1, 1) == np.arange(count[1])
        if self.placed is not None:
            holds &= self.placed.reshape(-1) == np.arange(count[0])[:, None]
        return holds


@np.errstate(all="ignore")                         # slopes of 1/0 are no concern of a picture
def relation(step: TraceStep, i: int) -> Relation | None:
    """When an entry of y reads an entry of the step's argument i; None where that is not known."""
    op, node = step.node.op, step.node
    read = (*node.kept, node.y, *(step.saved or {}).values())
    whole = not any(isinstance(a, ArrayFacts) for a in read)
    if not isinstance(op, Operation):
        return relation_by_jacobian(step, i) if whole else None
    try:
        lined = op.line_up(node, i)
    except GraphError:                             # dims that do not fit: the laws say so by name
        return None
    if lined.by_index:
        return relation_by_numbers(step, i, lined.by_index) if whole else None
    found = Relation(list(lined.ties), list(lined.bounds), flat=lined.row_major)
    if whole:
        found.gates = gates_of(step, i, lined)
    return found


def relation_by_jacobian(step, i):
    """The table of what is not 0 in the Jacobian, where it is small."""
    rows, columns = int(np.prod(step.node.shape)), int(np.prod(step.node.shapes[i]))
    if rows > ROWS or rows * columns > LARGEST:
        return None
    try:
        return Relation(pairs=step.jacobian(i).reshape(rows, columns) != 0)
    except Exception:  # noqa: BLE001   the user's backward may not take another upstream
        return None


def relation_by_numbers(step, i, side):
    """Which entry goes where, asked of the operation itself, on the numbers 1, 2, 3 … in place of
    entries.

    An index may be a slice, a mask, several arrays, or the patches of an image. A formula for each
    was tried, and each was wrong for some index. 0 comes back where nothing was read. The numbers
    are asked twice, the second time from the largest down: an operation that computes something
    (1 + 2 is no place, and the largest of two is another one backwards) answers differently, and
    nothing is known then. side "x": an entry of y was read at some place of x, and the
    forward pass tells which; "y": an entry of x went to some place of y, and the gradient rule
    tells which.
    """
    source, moved = step.node.shapes[i], step.node.shape
    if side == "y":
        source, moved = moved, source
    values = list(step.node.values)
    if int(np.prod(moved)) > LARGEST or any(v is None for k, v in enumerate(values) if k != i):
        return None
    count = int(np.prod(source))
    up = np.arange(1, count + 1, dtype=float).reshape(source)

    def ask(numbers):
        if side == "y":
            return np.asarray(send_to(step, i, numbers))
        values[i] = numbers
        return np.asarray(step.node.op.compute(*values, **step.options))

    there, back = ask(up), ask(count + 1 - up)
    if not np.array_equal(np.where(there == 0, 0, count + 1 - there), back):
        return None
    places = there.astype(int) - 1
    return Relation(picked=places) if side == "x" else Relation(placed=places)


# ── where the way is shut ─────────────────────────────────────────────────────────────────────────


def gates_of(step: TraceStep, i: int, lined: Lined) -> list[Gate]:
    """Masks that are False where the slope is 0. Where each entry of y reads one entry of x, or
    each entry of x is read once, the rule itself tells: sent an upstream of ones, it answers with
    the slopes. Elsewhere slopes add up and may cancel, so that the block must say where it is
    flat."""
    node = step.node
    if node.op.elementwise:
        # As if nothing had been broadcast: the rule then adds nothing up, and answers for each
        # entry of y.
        kept = tuple(None if a is None else np.broadcast_to(a, node.shape) for a in node.kept)
        slopes, side = send_to(step, i, np.ones(node.shape, node.dtype), kept=kept,
                               shapes=(node.shape,) * len(node.shapes)), "y"
    elif lined.once:
        slopes, side = send_to(step, i, np.ones(node.shape, node.dtype)), "x"
    else:
        return [gate for fact in facts_on(step, i, "flat") if fact.at
                for gate in gates_by_letter(step, fact, lined)]
    way = np.asarray(slopes) != 0
    return [] if way.all() else [([(side, d) for d in range(way.ndim)], way)]


def gates_by_letter(step, fact, lined):
    """The gates of a Fact whose `at` has letters: y's entries where y has the letter, else x's."""
    mask = fact.mask(values_at(step))
    if mask is None or not mask.any():
        return
    if fact.at == "xy":
        yield from (([(side, d) for d in range(mask.ndim)], ~mask) for side in fact.at)
        return
    dims, x_shape = [], step.node.shapes[step.node.op.names.index(fact.argument)]
    for k, letter in enumerate(spell(fact.at, mask.ndim, set())):
        side, letters = ("y", lined.y) if letter in lined.y else ("x", lined.x)
        at = letters.find(letter)
        if at < 0 or (side == "x" and x_shape[at] != mask.shape[k]):
            return                                 # a mask repeated over the keys shuts no entry
        dims.append((side, at))
    yield dims, ~mask


def send_to(step, i, g, **changed: Any):
    """What the step's rule sends to argument i for the upstream g, its node changed as said."""
    view = copy.copy(step.node)
    view.parents = tuple(p if k == i else None for k, p in enumerate(view.parents))
    for name, value in changed.items():
        setattr(view, name, value)
    d = step.node.op.gradients(view, g)[i]
    if d is None:
        raise GraphError(f"{step.op}: argument {i} gets no gradient")
    return d
