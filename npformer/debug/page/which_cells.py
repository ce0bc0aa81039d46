"""Which cells feed which: what one entry of an operation's output reads of an argument, and so where its gradient goes.

y[o] reads x[j], hence dx[j] is fed by g[o]. For most operations that is a matter of dims: dims that share a letter have
the same index, all others are free. Operations that only move numbers are asked by moving the numbers 1, 2, 3 …; a
user's own Function by its Jacobian, where that is small. Where a slope is 0 (relu, a mask, a maximum) the way is shut.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import GraphError
from ...core.facts import ArrayFacts
from ...core.operation import Operation
from ...ops.shape import positive_dim, positive_dims

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..traces.trace import TraceStep

LARGEST = 65_536                                   # entries of a map, or of a Jacobian that is looked at whole

# Arguments, then the output. * are leading dims, lined up as in broadcasting; a letter that is not in the output is free.
LETTERS = {
    "linear": ("*i", "oi", "o", "*o"),
    "attention": ("*tk", "*sk", "*sw", "*ts", "*ts", "*tw"),
    "layer_norm": ("*c", "d", "d", "*d"),
    "rms_norm": ("*c", "d", "*d"),
}
LINES = ("softmax", "log_softmax", "cumsum")       # along one dim, each entry reads the line
REDUCTIONS = ("sum", "amax", "amin", "logsumexp", "norm2")
PICKED = ("getitem", "gather", "unfold", "embedding")         # every entry of y is one entry of x
PLACED = ("put", "scatter_add", "fold")                       # every entry of x goes to one entry of y


@dataclass
class Relation:
    """When y[o] reads x[j]: all of what is said here must hold.

    ties: (dim of x, dim of y, sign, offset) for j[dim of x] = sign · o[dim of y] + offset. upto: (dim of x, dim of y) for
    j <= o. gates: (dims, mask): mask must be True at the indices that dims name, ("y", 0) or ("x", 1). picked: the flat
    place in x that each entry of y is; placed: the flat place in y to which each entry of x goes; -1 is none. pairs: a
    table, y's entries by x's. flat: both have the same place in row-major order.
    """

    ties: list[tuple[int, int, int, int]] = field(default_factory=list)
    upto: list[tuple[int, int]] = field(default_factory=list)
    gates: list[tuple[list[tuple[str, int]], np.ndarray]] = field(default_factory=list)
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
        for x_dim, y_dim in self.upto:
            holds &= j[x_dim] <= o[y_dim]
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
    """When an entry of the step's output reads an entry of its argument i; None where that is not known."""
    known = all_there(step)
    if not isinstance(step.node.op, Operation):
        return by_jacobian(step, i) if known else None
    find = RULES.get(step.op)
    if find is not None:
        return find(step, i, known)
    return letters_of(step, i) if step.op in LETTERS else entrywise(step, i, known)


def all_there(step):
    """Whether what the rule reads is in the trace."""
    return not any(isinstance(a, ArrayFacts) for a in (*step.node.kept, step.node.y, *(step.saved or {}).values()))


def by_jacobian(step, i):
    """The table of what is not 0 in the Jacobian, where it is small."""
    rows, columns = int(np.prod(step.node.shape)), int(np.prod(step.node.shapes[i]))
    if rows > 256 or rows * columns > LARGEST:
        return None
    try:
        return Relation(pairs=step.jacobian(i).reshape(rows, columns) != 0)
    except Exception:                              # noqa: BLE001   the user's backward may not take another upstream
        return None


# ── by the letters of dims ───────────────────────────────────────────────────────────────────────────────────────────


def spelled(letters, ndim):
    """Letters with * replaced by as many capitals as are left; the last capital is the innermost of the leading dims."""
    lead = ndim - len(letters.replace("*", ""))
    return letters.replace("*", ascii_uppercase[26 - lead:] if lead > 0 else "")


def tied(x_letters, y_letters, x_shape, y_shape):
    """The ties of dims with one letter; a dim of size 1 that was repeated has none."""
    xs, ys = spelled(x_letters, len(x_shape)), spelled(y_letters, len(y_shape))
    return [(k, ys.index(c), 1, 0) for k, c in enumerate(xs) if c in ys and x_shape[k] == y_shape[ys.index(c)]]


def letters_of(step, i):
    """An operation that LETTERS describes."""
    node = step.node
    *arguments, y = LETTERS[step.op]
    return Relation(tied(arguments[i], y, node.shapes[i], node.shape))


def attention(step, i, known):
    """By its letters; shut where a query's weight for a key is 0, and where a query sees one key only."""
    made = letters_of(step, i)
    if not known:
        return made
    lead = len(step.node.shape) - 1
    weights, drop = step.saved["a"], step.saved["drop"]
    used = weights if drop is None else weights * drop
    several = (weights > 0) & (weights < 1)
    mask = {0: several.any(-1), 1: several, 2: used != 0, 3: several}.get(i)
    if mask is None or mask.all():
        return made
    shape = step.node.shape[:-1] + ((weights.shape[-1],) if i else ())
    dims = [("y", d) for d in range(lead)] + ([("x", len(step.node.shapes[i]) - (1 if i == 3 else 2))] if i else [])
    if i == 3 and step.node.shapes[3][-1] == 1:    # a mask that was repeated over the keys
        return made
    made.gates.append((dims, np.broadcast_to(mask, shape)))
    return made


def matmul(step, i, known):
    """a (*nm) @ b (*mp); a 1-d array has m alone."""
    a, b = ("m" if len(shape) == 1 else letters for shape, letters in zip(step.node.shapes, ("*nm", "*mp")))
    y = "*" + "n" * ("n" in a) + "p" * ("p" in b)
    return Relation(tied((a, b)[i], y, step.node.shapes[i], step.node.shape))


def einsum(step, i, known):
    """By the equation's own letters."""
    arguments, _, y = step.options["equation"].partition("->")
    x = arguments.split(",")[i]
    return Relation([(k, y.index(c), 1, 0) for k, c in enumerate(x) if c in y])


def option(step, name):
    """An option of the call, or its default."""
    return step.options.get(name, step.node.op.options[name])


def line(step, i, known):
    """Every dim but one is tied."""
    shape = step.node.shape
    dim = positive_dim(option(step, "dim"), len(shape))
    made = Relation([(d, d, 1, 0) for d in range(len(shape)) if d != dim], [(dim, dim)] if step.op == "cumsum" and shape else [])
    if step.op == "softmax" and isinstance(step.value, np.ndarray):
        inner = (step.value > 0) & (step.value < 1)
        if not inner.all():
            made.gates += [([(side, d) for d in range(len(shape))], inner) for side in "yx"]
    return made


def reduction(step, i, known):
    """Every dim that is left is tied; shut where the slope is 0."""
    shape = step.node.shapes[0]
    dims = positive_dims(option(step, "dim"), len(shape))
    left = [d for d in range(len(shape)) if d not in dims]
    places = left if option(step, "keepdim") else range(len(left))
    return shut_at_x(step, i, known, Relation([(d, place, 1, 0) for d, place in zip(left, places)]))


def cross_entropy(step, i, known):
    """A row of logits for each item's loss, all rows for a mean; items that do not count are shut."""
    return shut_at_x(step, i, known, Relation([(0, 0, 1, 0)] if step.node.shape else []))


def batch_norm(step, i, known):
    """Everything of one channel."""
    return Relation([(0 if i else 1, 1, 1, 0)])


# ── moving ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def permute(step, i, known):
    """y's dim k is x's dim dims[k]."""
    ndim = len(step.node.shape)
    return Relation([(d % ndim, k, 1, 0) for k, d in enumerate(step.options["dims"])])


def reshape(step, i, known):
    """The same place in row-major order."""
    return Relation(flat=True)


def shifted(step, i, known):
    """flip, narrow, embed, cat: one dim runs backwards, or is offset."""
    shape, options = step.node.shapes[i], step.options
    ties = {d: (d, d, 1, 0) for d in range(len(shape))}
    if step.op == "flip":
        ties.update({d: (d, d, -1, shape[d] - 1) for d in positive_dims(options["dims"], len(shape))})
        return Relation(list(ties.values()))
    dim = positive_dim(option(step, "dim"), len(shape))
    if step.op == "cat":
        offset = -sum(s[dim] for s in step.node.shapes[:i])
    else:
        start = options["start"]
        offset = start + shape[dim] * (start < 0) if step.op == "narrow" else -start
    ties[dim] = (dim, dim, 1, offset)
    return Relation(list(ties.values()))


def picked(step, i, known):
    """Where each entry of y was read: the operation itself on the numbers 1, 2, 3 …"""
    shape = step.node.shapes[i]
    if not known or int(np.prod(step.node.shape)) > LARGEST:
        return None
    values = list(step.node.values)
    if any(v is None for k, v in enumerate(values) if k != i):
        return None
    values[i] = np.arange(1, int(np.prod(shape)) + 1, dtype=float).reshape(shape)
    return Relation(picked=np.asarray(step.node.op.compute(*values, **step.options)).astype(int) - 1)


def placed(step, i, known):
    """Where each entry of x goes: the rule itself on the numbers 1, 2, 3 …"""
    shape = step.node.shape
    if not known or int(np.prod(step.node.shapes[i])) > LARGEST:
        return None
    numbers = np.arange(1, int(np.prod(shape)) + 1, dtype=float).reshape(shape)
    return Relation(placed=np.asarray(ruled(step, i, numbers)).astype(int) - 1)


# ── entry by entry, and what is shut ─────────────────────────────────────────────────────────────────────────────────


def entrywise(step, i, known):
    """y[o] reads the entry of x in the same place; shut where the slope is 0."""
    node = step.node
    made = Relation(tied("*", "*", node.shapes[i], node.shape))
    if known:
        full = {"kept": tuple(None if a is None else np.broadcast_to(a, node.shape) for a in node.kept),
                "shapes": (node.shape,) * len(node.shapes)}
        open_ = ruled(step, i, np.ones(node.shape, node.dtype), **full) != 0
        if not np.all(open_):
            made.gates.append(([("y", d) for d in range(len(node.shape))], np.asarray(open_)))
    return made


def shut_at_x(step, i, known, made):
    """The relation, shut at the entries of x whose slope is 0. Each entry of x is read once."""
    if known:
        open_ = np.asarray(ruled(step, i, np.ones(step.node.shape, step.node.dtype)) != 0)
        if not open_.all():
            made.gates.append(([("x", d) for d in range(open_.ndim)], open_))
    return made


def ruled(step, i, g, **changed: Any):
    """What the step's rule sends to argument i for the upstream g."""
    view = copy.copy(step.node)
    view.parents = tuple(p if k == i else None for k, p in enumerate(view.parents))
    for name, value in changed.items():
        setattr(view, name, value)
    d = step.node.op.gradients(view, g)[i]
    if d is None:
        raise GraphError(f"{step.op}: argument {i} gets no gradient")
    return d


RULES: dict[str, Callable] = {
    "attention": attention, "matmul": matmul, "einsum": einsum, "cross_entropy": cross_entropy, "batch_norm": batch_norm,
    "permute": permute, "reshape": reshape, **dict.fromkeys(("flip", "narrow", "embed", "cat"), shifted),
    **dict.fromkeys(LINES, line), **dict.fromkeys(REDUCTIONS, reduction), **dict.fromkeys(PICKED, picked),
    **dict.fromkeys(PLACED, placed),
}
