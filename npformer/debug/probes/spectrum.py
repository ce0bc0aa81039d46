"""What a block does to the gradients that pass it: the singular values of its Jacobian, with its
skips and without them.

J = dy/dx is used as two functions, g -> Jᵀ·g (a backward pass) and v -> J·v (the backward pass of
that one). A small J is written out and decomposed; of a large one the largest values are found
from products alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ... import plot
from ...autograd import enable_grad
from ...core import tape
from ...core.devices import to_numpy
from ...core.dtypes import is_float
from ...core.errors import DTypeError, GraphError, ValueRangeError, complaint
from ...files import StrPath
from ...tensors import Tensor
from ..views.tables import table
from .lengths import split_by_degree
from .residual import additions_in, gradients_at, graph_of

EXACT = 1024                                       # entries of x or y up to which J is written out
ACCURACY = 1e-6                                    # of the iteration, relative to the largest value
EXTRA = 8                                          # columns beyond the values that are wanted
MOST_ROUNDS = 20                                   # of the iteration


@dataclass
class Spectrum:
    """Singular values of dy/dx, the largest first. branches: the same with every skip cut; None
    where there is no skip. shape: (entries of y, entries of x). method: how they were found.
    """

    values: np.ndarray
    branches: np.ndarray | None
    shape: tuple[int, int]
    method: str

    def __str__(self):
        columns = [("dy/dx" if self.branches is None else "with the skips", self.values)]
        if self.branches is not None:
            columns.append(("skips cut", self.branches))
        describe = summarise_all if len(self.values) == min(self.shape) else summarise_largest
        described = [describe(values) for _, values in columns]
        rows = [(name, *(column[name] for column in described)) for name in described[0]]
        head = (f"dy/dx, {self.shape[0]} x {self.shape[1]}", *(name for name, _ in columns))
        return f"{table(head, rows)}\n{len(self.values)} singular values, {self.method}"

    def plot(self, path: StrPath, title: str = "Singular values of a block's Jacobian") -> None:
        """The values in their order, with the skips and with them cut, against 1: what passes
        unchanged."""
        picture = plot.figure()
        axes = picture.add_subplot()
        places = np.arange(1, len(self.values) + 1)
        lines = [("dy/dx" if self.branches is None else "with the skips", self.values),
                 ("skips cut", self.branches)]
        for k, (label, values) in enumerate(lines):
            if values is not None:                 # far below the largest is rounding
                seen = np.where(values > 1e-9 * values[0], values, np.nan)
                axes.plot(places, seen, plot.STYLES[k], color=plot.COLOURS[2 * k], label=label)
        axes.axhline(1, color="grey", linewidth=0.8)
        axes.set_yscale("log")
        axes.legend(frameon=False)
        plot.style(axes, title, "number", "singular value")
        plot.save(picture, path)


def summarise_all(values):
    with np.errstate(divide="ignore"):
        geometric_mean = float(np.exp(np.log(values).mean()))
    return {"largest": float(values[0]), "median": float(np.median(values)),
            "smallest": float(values[-1]), "geometric mean": geometric_mean,
            "from 1/2 to 2": f"{((values >= 0.5) & (values <= 2)).mean():.0%}",
            "below 1e-6 of largest": str(int((values <= 1e-6 * values[0]).sum()))}


def summarise_largest(values):
    places = [k for k in (1, 2, 5, 10, 20, 50, 100) if k <= len(values)]
    return {f"number {k}": float(values[k - 1]) for k in places}


def jacobian_spectrum(block: Callable[[Tensor], Tensor], x: Tensor, count: int = 20) -> Spectrum:
    """The singular values of dy/dx, y = block(x): by how much each direction of a gradient grows or
    shrinks on its way.

    Beside them those with the skips cut: at every y = x + F(x) inside, only F's part is passed on,
    on the same values. For block(x) = x + F(x) these are the spectra of 1 + dF/dx and of dF/dx.
    block: a module or function of one Tensor; in training mode dropout is drawn once. x: a floating
    Tensor; a batch of one sample is enough, since samples do not mix.

    Up to 1,024 entries of x or y: all values, from the whole Jacobian. Above: the `count` largest,
    by a block Krylov iteration. Raises DTypeError, ValueRangeError, GraphError (y does not depend
    on x).
    Source: Musco and Musco 2015, arXiv:1504.05477, algorithm 2.
    """
    call = "jacobian_spectrum(block, x)"
    x, y = run_block(call, block, x, count)
    additions = additions_in(graph_of(y, call))
    additions = {node: a for node, a in additions.items() if node.order > x.node.order}

    def pull_back(g, create_graph=False):
        """Jᵀ·g"""
        return gradients_at([(y.node, g)], [x.node], create_graph=create_graph)[x.node]

    def pull_back_without_skips(g, create_graph=False):
        """The same through the branches alone: what came on any number of them, added up."""
        parts = [d for d, _ in split_by_degree([(y.node, g)], additions, x.node, False,
                                               create_graph).values()]
        return sum(parts[1:], parts[0])

    pulls = [pull_back] + [pull_back_without_skips] * bool(additions)
    shape = y.array.size, x.array.size
    if min(shape) <= EXACT:
        found = [all_singular_values(pull, x, y) for pull in pulls]
        method = "all of them, from the whole Jacobian"
    else:
        results = [largest_singular_values(pull, x, y, min(count, *shape)) for pull in pulls]
        found, bounds, products = ([*column] for column in zip(*results))
        method = (f"the largest, each within {max(bounds):.0e}, from {max(products)} products "
                  "with dy/dx and its transpose")
    return Spectrum(found[0], found[1] if additions else None, shape, method)


def run_block(call, block, x, count):
    """(x, y): a copy of x of its own, and block(x) with its graph. Raises what `call` raises."""
    tape.require_boxes(call, x=x)
    if not is_float(x.dtype):
        raise DTypeError(complaint(call, "x must be floating", {"x": x},
                                   "Pass what the embedding made of the integers."))
    if not isinstance(count, int) or count < 1:
        raise ValueRangeError(f"{call}: count must be an integer >= 1, got {count!r}")
    with enable_grad():
        x = x.detach().clone().requires_grad_()
        y = block(x)
    tape.require_boxes(call, **{"block(x)": y})
    reached = None
    if y.node is not None and x.array.size and y.array.size:
        reached = gradients_at([(y.node, np.ones_like(y.array))], [x.node])[x.node]
    if reached is None:
        raise GraphError(complaint(call, "block(x) does not depend on x", {"x": x, "block(x)": y}))
    return x, y


def all_singular_values(pull, x, y):
    """All singular values of J; pull(g) = Jᵀ·g gives a row of it for each one-hot g."""
    J = np.empty((y.array.size, x.array.size), x.array.dtype)
    one_hot = np.zeros_like(y.array)
    flat = one_hot.reshape(-1)
    for k in range(flat.size):
        flat[k] = 1
        J[k] = to_numpy(pull(one_hot)).reshape(-1)
        flat[k] = 0
    return np.linalg.svd(J, compute_uv=False)


def products_with(pull, x, y):
    """(v -> J·v, u -> Jᵀ·u) on flat NumPy arrays, out of pull(g) = Jᵀ·g alone. Jᵀ·g is linear in g,
    so its derivative by g, applied to v, is v ↦ J·v: the backward pass of the backward pass. It is
    recorded once, at g = y (any g would do), and walked for each v."""
    g = y.detach().requires_grad_()
    with enable_grad():
        pulled = pull(g, create_graph=True)

    def J(v):
        v = np.asarray(v.reshape(x.shape), like=x.array)
        return to_numpy(tape.collect(pulled, v, [g])[0]).reshape(-1)

    def JT(u):
        return to_numpy(pull(np.asarray(u.reshape(y.shape), like=y.array))).reshape(-1)

    return J, JT


def largest_singular_values(pull, x, y, count):
    """(the `count` largest singular values of J, the largest error that they may have, how many
    products it took), by a block Krylov iteration.

    The rows of Q span J·Ω, (J·Jᵀ)·J·Ω, ..., for a random Ω; the singular values of Q·J approach
    the largest of J, since J·Jᵀ turns everything towards their directions. Ω has more columns than
    values are wanted. With a single column (Golub-Kahan, Lanczos) a value that occurs several times
    is found once in exact arithmetic, and its copies only late, out of rounding: of 4 equal values
    in a 200 x 200 matrix, 60 steps had found 3. Blocks of 14 columns found all 4 in 8 rounds.
    """
    J, JT = products_with(pull, x, y)
    size = min(x.array.size, y.array.size)
    random = np.random.default_rng(0)
    wide = random.standard_normal((min(count + EXTRA, size), x.array.size)).astype(x.array.dtype)
    Q = np.zeros((0, y.array.size), x.array.dtype)
    rows = np.zeros((0, x.array.size), x.array.dtype)          # Q·J
    W, values, bound, products = rows, np.zeros(0), np.inf, 0
    while True:
        R = np.array([J(v) for v in wide])
        products += len(wide)
        # Leave what is new in J·v. Without this Q's rows are not orthogonal and the values wrong
        # (8.1 for 3, in that trial). Done once, up to 6e-13 of the old rows stays; twice, 3e-15.
        for _ in range(2):
            R = R - (R @ Q.T) @ Q
        if len(values):
            # (Q·J)ᵀ·w = s·z holds for a singular pair of Q·J, so all that is wrong with it is what
            # J·z has outside of Q: its norm bounds the error of s. Only the newest rows have any.
            left = np.linalg.norm(W[-len(wide):, :count].T @ R, axis=1)
            least = np.finfo(R.dtype).tiny
            bound = float((left / np.maximum(values[:count], least)).max())
            if bound <= ACCURACY * values[0] or len(Q) >= MOST_ROUNDS * (count + EXTRA):
                break
        _, lengths, new = np.linalg.svd(R, full_matrices=False)
        longest = max(lengths.max(), values.max(initial=0))
        new = new[lengths > 100 * np.finfo(R.dtype).eps * longest]         # the rest is rounding
        new = new[:size - len(Q)]
        if not len(new):                           # Q holds all that J can reach
            bound = 0.0
            break
        wide = np.array([JT(u) for u in new])
        products += len(new)
        Q, rows = np.concatenate([Q, new]), np.concatenate([rows, wide])
        W, values, _ = np.linalg.svd(rows, full_matrices=False)
    found = np.pad(values, (0, max(0, count - len(values))))[:count]       # not found: it is 0
    return found.astype(x.array.dtype), bound, products
