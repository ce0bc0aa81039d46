"""What a block does to the gradients that pass it: the singular values of its Jacobian, with its skips and without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import plot
from ..autograd import enable_grad
from ..core import tape
from ..core.arrays import is_float, to_numpy
from ..core.errors import DTypeError, GraphError, ValueRangeError, complaint
from .lengths import by_degree
from .residual import additions_in, gradients_at, graph_of
from .tables import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..tensors import Tensor
    from ..typing import StrPath

EXACT = 1024                                       # entries of the smaller of x and y up to which all values are computed
ACCURACY = 1e-6                                    # of the values that Lanczos finds, relative to the largest


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
        axes.plot(places[:rank(self.values)], self.values[:rank(self.values)], color=plot.COLOURS[0],
                  label="dy/dx" if self.branches is None else "with the skips")
        if self.branches is not None:
            known = rank(self.branches)
            axes.plot(places[:known], self.branches[:known], color=plot.COLOURS[2], linestyle="--",
                      label=f"skips cut, {known} of {len(places)} above rounding")
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
            "rank": rank(values)}


def rank(values):
    """How many of them are more than what rounding makes of 0."""
    return int((values > values[0] * len(values) * np.finfo(values.dtype).eps).sum())


def leading(values):
    """What a table says where only the largest are known."""
    return {f"number {k}": float(values[k - 1]) for k in (1, 2, 5, 10, 20, 50, 100) if k <= len(values)}


def jacobian_spectrum(block: Callable[[Tensor], Tensor], x: Tensor, count: int = 20) -> Spectrum:
    """The singular values of dy/dx, y = block(x): by how much each direction of a gradient grows or shrinks on its way.

    Beside them those with the skips cut: at every y = x + F(x) inside, only F's part is passed on, on the same values. For
    block(x) = x + F(x) these are the spectra of 1 + dF/dx and of dF/dx. block: a module or function of one Tensor; in
    training mode dropout is drawn once. x: a floating Tensor; a batch of one sample is enough, since samples do not mix.

    Up to 1,024 entries of x or y: all values, from the whole Jacobian. Above: the `count` largest, by Golub-Kahan-Lanczos
    bidiagonalisation, which may miss copies of a value that occurs more than once. Raises DTypeError, ValueRangeError,
    GraphError (y does not depend on x).
    Source: Golub and Kahan 1965, SIAM J. Numer. Anal. 2, 205.
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
        found, steps, bounds = zip(*(lanczos(pull, x, y, min(count, *shape)) for pull in pulls))
        method = f"the largest, by {max(steps)} steps of Lanczos, each within {max(bounds):.0e}"
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


def lanczos(pull, x, y, count):
    """(the `count` largest singular values of J, how many steps it took, the largest error that they may have).

    J·V = U·B, B bidiagonal, whose singular values come near J's. J·v comes out of pull as well: Jᵀg is linear in g, so its
    own backward pass is v ↦ J·v. U and V are made orthogonal to all earlier columns again, because rounding spoils that.
    β·|last entries of B's left vectors| bounds the errors.
    """
    g = y.detach().requires_grad_()
    with enable_grad():
        pulled = pull(g, create_graph=True)

    def J(v):
        return to_numpy(tape.collect(pulled, np.asarray(v.reshape(x.shape), like=x.array), [g])[0]).reshape(-1)

    def JT(u):
        return to_numpy(pull(np.asarray(u.reshape(y.shape), like=y.array))).reshape(-1)

    rng, size = np.random.default_rng(0), min(x.array.size, y.array.size)
    V, U, alphas, betas = [], [], [], [0.0]
    for k in range(1, min(size, 10 * count + 100) + 1):
        if betas[-1] == 0:                         # the first step; or what was begun with is used up, and one starts anew
            v = orthogonal(rng.standard_normal(x.array.size).astype(x.array.dtype), V)
            V.append(v / np.linalg.norm(v))
        u, alpha = unit(orthogonal(J(V[-1]) - (betas[-1] * U[-1] if U else 0), U), alphas)
        U.append(u)
        alphas.append(alpha)
        v, beta = unit(orthogonal(JT(u) - alpha * V[-1], V), alphas)
        betas.append(beta)
        if k >= count and (k % 10 == 0 or k == size or beta == 0):
            left, values, _ = np.linalg.svd(np.diag(alphas) + np.diag(betas[1:-1], 1))
            bound = float(beta * np.abs(left[-1, :count]).max())
            if bound <= ACCURACY * values[0]:
                break
        if beta:
            V.append(v)
    return values[:count].astype(x.array.dtype), k, bound


def unit(v, scales):
    """v / |v| and |v|; zeros and 0 where nothing but rounding is left of v, at the scale of the numbers before."""
    length = float(np.linalg.norm(v))
    if length <= 100 * np.finfo(v.dtype).eps * max(scales, default=0.0):
        return np.zeros_like(v), 0.0
    return v / (length or 1), length


def orthogonal(v, basis):
    """v without its parts along `basis`, taken away twice: once leaves what rounding made of them."""
    if basis:
        Q = np.array(basis)
        for _ in range(2):
            v = v - Q.T @ (Q @ v)
    return v
