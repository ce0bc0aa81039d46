"""Matrix products, and einsum in all of PyTorch's forms."""

from __future__ import annotations

import math
import string
from typing import TYPE_CHECKING

from ..core.errors import DTypeError, ShapeError, complaint
from ..core.tape import Box
from ..ops import linalg as op
from ..ops.elementwise import add
from ..ops.shape import permute, positive_dim, reshape
from .indexing import diagonal
from .pointwise import scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..ops.shape import Dim
    from ..tensors import Tensor

__all__ = [
    "addmm", "baddbmm", "bmm", "dot", "einsum", "matmul", "mm", "mv", "outer", "tensordot",
]


def require_ndims(call, **operands):
    """Raise unless each operand, given as name=(tensor, ndim), has that many dims."""
    if any(x.ndim != ndim for x, ndim in operands.values()):
        rule = ", ".join(f"{name} must have {ndim} dim{'s' * (ndim != 1)}"
                         for name, (_, ndim) in operands.items())
        raise ShapeError(complaint(f"{call}({', '.join(operands)})", rule,
                                   {n: x for n, (x, _) in operands.items()},
                                   "matmul takes any number of dims."))


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """input @ other: (…, N, M) @ (…, M, P) -> (…, N, P), batch dims broadcast"""
    return op.matmul(input, other)


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """input @ mat2 of two matrices: (N, M) @ (M, P) -> (N, P)"""
    require_ndims("mm", input=(input, 2), mat2=(mat2, 2))
    return op.matmul(input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """input @ mat2 of two stacks of matrices: (B, N, M) @ (B, M, P) -> (B, N, P)"""
    require_ndims("bmm", input=(input, 3), mat2=(mat2, 3))
    if input.shape[0] != mat2.shape[0]:
        raise ShapeError(complaint("bmm(input, mat2)", "both stacks must be equally long",
                                   {"input": input, "mat2": mat2}))
    return op.matmul(input, mat2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """input @ vec of a matrix and a vector: (N, M) @ (M,) -> (N,)"""
    require_ndims("mv", input=(input, 2), vec=(vec, 1))
    return op.matmul(input, vec)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Σ input·tensor of two vectors of equal length"""
    require_ndims("dot", input=(input, 1), tensor=(tensor, 1))
    return op.matmul(input, tensor)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """y[i, j] = input[i] · vec2[j]"""
    require_ndims("outer", input=(input, 1), vec2=(vec2, 1))
    return reshape(input, shape=(-1, 1)) * reshape(vec2, shape=(1, -1))


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1,
          alpha: float = 1) -> Tensor:
    """beta·input + alpha·(mat1 @ mat2)"""
    return add(scale(input, beta), scale(mm(mat1, mat2), alpha))


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1,
            alpha: float = 1) -> Tensor:
    """beta·input + alpha·(batch1 @ batch2), for stacks of matrices"""
    return add(scale(input, beta), scale(bmm(batch1, batch2), alpha))


def tensordot(a: Tensor, b: Tensor, dims: int | Sequence[Dim] = 2) -> Tensor:
    """Σ a·b over pairs of dims: the last `dims` of a with the first of b, or dims = (dims of a,
    dims of b)"""
    if isinstance(dims, int):
        dims = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    over_a, over_b = ([positive_dim(d, x.ndim, "tensordot")
                       for d in (ds if isinstance(ds, (list, tuple)) else [ds])]
                      for x, ds in zip((a, b), dims))
    if [a.shape[d] for d in over_a] != [b.shape[d] for d in over_b]:
        raise ShapeError(complaint(f"tensordot(a, b, dims=({over_a}, {over_b}))",
                                   "the paired dims must have the same sizes", {"a": a, "b": b}))
    free_a, free_b = ([d for d in range(x.ndim) if d not in over]
                      for x, over in ((a, over_a), (b, over_b)))
    size = math.prod(a.shape[d] for d in over_a)
    left, right = ([x.shape[d] for d in free] for x, free in ((a, free_a), (b, free_b)))
    rows = reshape(permute(a, dims=(*free_a, *over_a)), shape=(math.prod(left), size))
    columns = reshape(permute(b, dims=(*over_b, *free_b)), shape=(size, math.prod(right)))
    return reshape(op.matmul(rows, columns), shape=(*left, *right))


# ── einsum ────────────────────────────────────────────────────────────────────────────────────────


def einsum(equation, *operands) -> Tensor:
    """Σ of products, letters naming dims: einsum("bij,bjk->bik", a, b).

    equation: a letter for each dim of each operand, "..." for any dims, spaces anywhere. A letter
    twice in one operand takes its diagonal. Without "->" the output has the letters that occur
    once, in alphabetical order, after "...". Also einsum(a, [0, 1], b, [1, 2], [0, 2]), and all
    operands in one list. Raises ShapeError, with the equation, where letters and dims do not fit.
    """
    if isinstance(equation, Box):
        equation, operands = from_sublists(equation, *operands)
    elif len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    left, arrow, out = equation.replace(" ", "").partition("->")
    call = f"einsum({equation!r})"
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ShapeError(
            complaint(call, f"the equation has {len(terms)} operands, but {len(operands)} came",
                      {f"operands[{i}]": x for i, x in enumerate(operands)}))
    terms, out = without_ellipsis(terms, out if arrow else None, operands, call)
    require_fit(terms, out, operands, call)
    sizes: dict[str, int] = {}
    for term, x in zip(terms, operands):
        for letter, n in zip(term, x.shape):
            sizes[letter] = max(sizes.get(letter, 1), n) if n else 0
    simple = [simplify_operand(term, x, sizes) for term, x in zip(terms, operands)]
    equation = ",".join(term for term, _ in simple) + "->" + out
    return op.einsum(*(x for _, x in simple), equation=equation)


def from_sublists(*args):
    """("ab,bc->ac", [x, y]) from (x, [0, 1], y, [1, 2], [0, 2])."""
    def letters(places):
        return "".join("..." if p is Ellipsis else string.ascii_letters[p] for p in places)

    operands, terms = args[:len(args) // 2 * 2:2], [letters(places) for places in args[1::2]]
    return ",".join(terms) + ("->" + letters(args[-1]) if len(args) % 2 else ""), operands


def without_ellipsis(terms, out, operands, call):
    """The terms and the output with letters for the dims that "..." stands for, and for an output
    left out."""
    written = "".join(terms) + (out or "")
    spare = [c for c in string.ascii_letters if c not in written]
    dots = [x.ndim - len(term.replace("...", "")) for term, x in zip(terms, operands)
            if "..." in term]
    if min(dots, default=0) < 0 or max(dots, default=0) > len(spare):
        raise ShapeError(complaint(call, "a term has more letters than its operand has dims",
                                   {term: x for term, x in zip(terms, operands)}))
    rest = spare[:max(dots, default=0)]
    if out is None:
        once = [c for c in sorted(set(written) - {"."}) if written.count(c) == 1]
        out = "..." * bool(dots) + "".join(once)
    filled = []
    for term, x in zip(terms, operands):
        count = x.ndim - len(term.replace("...", ""))
        filled.append(
            term.replace("...", "".join(rest[len(rest) - count:]) if "..." in term else ""))
    return filled, out.replace("...", "".join(rest))


def require_fit(terms, out, operands, call):
    """Raise unless every dim has a letter, letters agree on their size or have 1, and the output's
    occur once."""
    named = {f"operands[{i}] ({term})": x for i, (term, x) in enumerate(zip(terms, operands))}
    if any(not c.isascii() or not c.isalpha() for c in "".join(terms) + out):
        raise ShapeError(
            complaint(call, "an equation is made of letters, ',', '->', '...' and spaces", named))
    if any(len(term) != x.ndim for term, x in zip(terms, operands)):
        raise ShapeError(complaint(call, "each operand needs a letter for each of its dims", named))
    if len(set(out)) != len(out) or set(out) - set("".join(terms)):
        raise ShapeError(
            complaint(call,
                      f"each letter of the output ({out}) must occur once there, and in an operand",
                      named))
    seen = {}
    for term, x in zip(terms, operands):
        for letter, n in zip(term, x.shape):
            if n != 1 and seen.setdefault(letter, n) != n:
                raise ShapeError(
                    complaint(call,
                              f"letter {letter!r} stands for sizes {seen[letter]} and {n}", named))
    if len({x.dtype for x in operands}) > 1:
        raise DTypeError(complaint(call, "all operands must have one dtype", named))


def simplify_operand(term, x, sizes):
    """The term and its operand without repeated letters (their diagonal is taken) and dims of size
    1 to broadcast."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first = term.index(letter)
            second = term.index(letter, first + 1)
            if x.shape[first] != x.shape[second]:
                raise ShapeError(
                    complaint("einsum", f"letter {letter!r} takes a diagonal of unequal dims",
                              {term: x}))
            x = diagonal(x, dim1=first, dim2=second)
            term = term[:first] + term[first + 1:second] + term[second + 1:] + letter
    wide = [i for i, letter in enumerate(term) if x.shape[i] == sizes[letter]]
    if len(wide) < len(term):
        x = reshape(x, shape=tuple(x.shape[i] for i in wide))
        term = "".join(term[i] for i in wide)
    return term, x
