"""What a block does to the gradients that pass it: the singular values of its Jacobian, with its skips and without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ... import plot
from ...autograd import enable_grad
from ...core import tape
from ...core.devices import to_numpy
from ...core.dtypes import is_float
from ...core.errors import DTypeError, GraphError, ValueRangeError, complaint
from ..views.tables import table
from .lengths import by_degree
from .residual import additions_in, gradients_at, graph_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...files import StrPath
    from ...tensors import Tensor

EXACT = 1024                                       # entries of the smaller of x and y up to which all values are computed
ACCURACY = 1e-6                                    # of the values that the iteration finds, relative to the largest


@dataclass
class Spectrum:
    """Singular values of dy/dx, the largest first. branches: the same with every skip cut; None if there is no skip in it.

    shape: (entries of y, entries of x). method: how they were found.
    """

    values: np.ndarray
    branches: np.ndarray | None
    shape: tuple[int, int]
    method: str

    def __str__(self):
        columns = [("with the skips", self.values)] if self.branches is not None else [("dy/dx", self.values)]
        columns += [("skips cut", self.branches)] if self.branches is not None else []
        told = summary if len(self.values) == min(self.shape) else leading
        found = [told(values) for _, values in columns]
        rows = [(name, *(column[name] for column in found)) for name in found[0]]
        return (f"{table((f'dy/dx, {self.shape[0]} x {self.shape[1]}', *(name for name, _ in columns)), rows)}\n"
                f"{len(self.values)} singular values, {self.method}")

    def plot(self, path: StrPath, title: str = "Singular values of a block's Jacobian") -> None:
        """The values in their order, with the skips and with them cut, against 1: what passes unchanged."""
        picture = plot.figure()
        axes = picture.add_subplot()
        places = np.arange(1, len(self.values) + 1)
        lines = [("dy/dx" if self.branches is None else "with the skips", self.values), ("skips cut", self.branches)]
        for k, (label, values) in enumerate(lines):
            if values is not None:                 # far below the largest there is nothing but rounding
                axes.plot(places, np.where(values > 1e-9 * values[0], values, np.nan), plot.STYLES[k],
                          color=plot.COLOURS[2 * k], label=label)
        axes.axhline(1, color="grey", linewidth=0.8)
        axes.set_yscale("log")
        axes.legend(frameon=False)
        plot.style(axes, title, "number", "singular value")
        plot.save(picture, path)


def summary(values):
    """What a table says of all singular values."""
    with np.errstate(divide="ignore"):
        middle = float(np.exp(np.log(values).mean()))
    return {"largest": float(values[0]), "median": float(np.median(values)), "smallest": float(values[-1]),
            "geometric mean": middle, "from 1/2 to 2": f"{((values >= 0.5) & (values <= 2)).mean():.0%}",
            "below 1e-6 of largest": str(int((values <= 1e-6 * values[0]).sum()))}


def leading(values):
    """What a table says where only the largest are known."""
    return {f"number {k}": float(values[k - 1]) for k in (1, 2, 5, 10, 20, 50, 100) if k <= len(values)}


def jacobian_spectrum(block: Callable[[Tensor], Tensor], x: Tensor, count: int = 20) -> Spectrum:
    """The singular values of dy/dx, y = block(x): by how much each direction of a gradient grows or shrinks on its way.

    Beside them those with the skips cut: at every y = x + F(x) inside, only F's part is passed on, on the same values. For
    block(x) = x + F(x) these are the spectra of 1 + dF/dx and of dF/dx. block: a module or function of one Tensor; in
    training mode dropout is drawn once. x: a floating Tensor; a batch of one sample is enough, since samples do not mix.

    Up to 1,024 entries of x or y: all values, from the whole Jacobian. Above: the `count` largest, by a block Krylov
    iteration. Raises DTypeError, ValueRangeError, GraphError (y does not depend on x).
    Source: Musco and Musco 2015, arXiv:1504.05477, algorithm 2.
    """
    call = "jacobian_spectrum(block, x)"
    tape.require_boxes(call, x=x)
    if not is_float(x.dtype):
        raise DTypeError(complaint(call, "x must be floating", {"x": x}, "Pass what the embedding made of the integers."))
    if not isinstance(count, int) or count < 1:
        raise ValueRangeError(f"{call}: count must be an integer >= 1, got {count!r}")
    with enable_grad():
        x = x.detach().clone().requires_grad_()
        y = block(x)
    tape.require_boxes(call, **{"block(x)": y})
    if y.node is None or not x.array.size or not y.array.size or gradients_at(
            [(y.node, np.ones_like(y.array))], [x.node])[x.node] is None:
        raise GraphError(complaint(call, "block(x) does not depend on x", {"x": x, "block(x)": y}))
    additions = {node: a for node, a in additions_in(graph_of(y, call)).items() if node.order > x.node.order}

    def whole(g, create_graph=False):
        return gradients_at([(y.node, g)], [x.node], create_graph=create_graph)[x.node]

    def cut(g, create_graph=False):
        parts = [d for d, _ in by_degree([(y.node, g)], additions, x.node, False, create_graph).values()]
        return sum(parts[1:], parts[0])

    pulls = [whole] + [cut] * bool(additions)
    shape = y.array.size, x.array.size
    if min(shape) <= EXACT:
        found, method = tuple(dense(pull, x, y) for pull in pulls), "all of them, from the whole Jacobian"
    else:
        found, bounds, products = zip(*(krylov(pull, x, y, min(count, *shape)) for pull in pulls))
        method = f"the largest, each within {max(bounds):.0e}, from {max(products)} products with dy/dx and its transpose"
    return Spectrum(found[0], found[1] if additions else None, shape, method)


def dense(pull, x, y):
    """All singular values of J; pull(g) = Jᵀg gives a row of it for each one-hot g."""
    J = np.empty((y.array.size, x.array.size), x.array.dtype)
    one_hot = np.zeros_like(y.array)
    flat = one_hot.reshape(-1)
    for k in range(flat.size):
        flat[k] = 1
        J[k] = to_numpy(pull(one_hot)).reshape(-1)
        flat[k] = 0
    return np.linalg.svd(J, compute_uv=False)


def krylov(pull, x, y, count):
    """(the `count` largest singular values of J, the largest error that they may have, how many products it took).

    Q spans J·Ω, (J·Jᵀ)·J·Ω, ..., for a random Ω with more columns than values are wanted, so that a value which occurs
    several times is found as often; the singular values of Qᵀ·J come near J's. J·v comes out of pull as well: Jᵀg is linear
    in g, so its own backward pass is v ↦ J·v. What J·z leaves outside of Q bounds the error of z's value.
    """
    g = y.detach().requires_grad_()
    with enable_grad():
        pulled = pull(g, create_graph=True)

    def J(v):
        return to_numpy(tape.collect(pulled, np.asarray(v.reshape(x.shape), like=x.array), [g])[0]).reshape(-1)

    def JT(u):
        return to_numpy(pull(np.asarray(u.reshape(y.shape), like=y.array))).reshape(-1)

    size = min(x.array.size, y.array.size)
    wide = np.random.default_rng(0).standard_normal((min(count + 8, size), x.array.size)).astype(x.array.dtype)
    Q, rows = np.zeros((0, y.array.size), x.array.dtype), np.zeros((0, x.array.size), x.array.dtype)
    W, values, bound, products = rows, np.zeros(0), np.inf, 0
    while True:
        R = np.array([J(v) for v in wide])
        products += len(wide)
        for _ in range(2):                         # twice: once leaves what rounding made of the parts along Q
            R = R - (R @ Q.T) @ Q
        if len(values):
            left = np.linalg.norm(W[-len(wide):, :count].T @ R, axis=1)
            bound = float((left / np.maximum(values[:count], np.finfo(R.dtype).tiny)).max())
            if bound <= ACCURACY * values[0] or len(Q) >= 20 * (count + 8):
                break
        _, lengths, new = np.linalg.svd(R, full_matrices=False)
        new = new[lengths > 100 * np.finfo(R.dtype).eps * max(lengths.max(), values.max(initial=0))][:size - len(Q)]
        if not len(new):
            bound = 0.0
            break
        wide = np.array([JT(u) for u in new])
        products += len(new)
        Q, rows = np.concatenate([Q, new]), np.concatenate([rows, wide])
        W, values, _ = np.linalg.svd(rows, full_matrices=False)
    found = np.pad(values, (0, max(0, count - len(values))))[:count]       # what was not found is 0
    return found.astype(x.array.dtype), bound, products
