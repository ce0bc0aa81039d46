"""Matrix products: matmul and einsum, and the linear layer's fused form."""

import numpy as np

from ..core.errors import DTypeError, ShapeError, complaint
from ..core.operation import fused, primitive
from .elementwise import TIMES_ZERO, add
from .shape import expand, permute, reshape, unbroadcast


def T(x):
    """x with its last two dims exchanged."""
    return permute(x, dims=tuple(range(x.ndim - 2)) + (x.ndim - 1, x.ndim - 2))


@primitive(dims="...n?m, ...mp? -> ...n?p?")
def matmul(a, b):
    """a @ b.    da = g @ bᵀ,  db = aᵀ @ g  (summed over batch dims that were broadcast)

    a (..., N, M), b (..., M, P) -> (..., N, P); a 1-d array counts as a row (a) or a column (b).
    """
    if a.dtype != b.dtype:
        raise DTypeError(f"matmul(a, b): both must have one dtype, got {a.dtype} and {b.dtype}; "
                         "convert one with .to(...)")
    if a.ndim and b.ndim and a.shape[-1] != b.shape[max(b.ndim - 2, 0)]:
        raise ShapeError(complaint(
            "matmul(a, b)", "a's last dim must equal b's last but one (a 1-d b's only one)",
            {"a": a, "b": b}))
    return a @ b


matmul.vjps(
    a=lambda g, b, a_shape, b_shape: _matmul_da(g, b, a_shape, b_shape),
    b=lambda g, a, a_shape, b_shape: _matmul_db(g, a, a_shape, b_shape),
)
matmul.flat(TIMES_ZERO, a=lambda b: b == 0, b=lambda a: a == 0)
matmul.mistake("transposed", "the other matrix is not transposed",
               a=lambda g, b: g @ b, b=lambda g, a: a @ g)
matmul.mistake("transposed", "its factors stand in the wrong order",
               a=lambda g, b: T(b) @ g, b=lambda g, a: g @ T(a))
matmul.samples((2, 3), (3, 4))
matmul.samples((5, 2, 3), (3, 4))
matmul.samples((2, 3), (5, 3, 4))
matmul.samples((5, 1, 2, 3), (4, 3, 2))
matmul.samples((3,), (3,))
matmul.samples((3,), (5, 3, 4))
matmul.samples((5, 2, 3), (3,))


def _as_matrices(g, a_shape, b_shape):
    """g with the dims that 1-d operands lost."""
    if len(b_shape) == 1:
        g = reshape(g, shape=(*g.shape, 1))
    if len(a_shape) == 1:
        g = reshape(g, shape=(*g.shape[:-1], 1, g.shape[-1]))
    return g


def _matmul_da(g, b, a_shape, b_shape):
    if len(b_shape) == 1:
        b = reshape(b, shape=(-1, 1))
    da = _as_matrices(g, a_shape, b_shape) @ T(b)
    matrix_shape = (1, *a_shape) if len(a_shape) == 1 else a_shape
    return reshape(unbroadcast(da, matrix_shape), shape=a_shape)


def _matmul_db(g, a, a_shape, b_shape):
    if len(a_shape) == 1:
        a = reshape(a, shape=(1, -1))
    g = _as_matrices(g, a_shape, b_shape)
    # One matrix b for a whole stack of a's, the usual weight: Σ aᵀ @ g over the stack is one
    # product over all rows. For (32, 64, 128) of both in float32 it takes 1.1 ms instead of 1.3,
    # and no stack of 32 gradients as large as b is made to be summed.
    if len(b_shape) == 2 and g.ndim > 2 and len(a_shape) == g.ndim:
        return T(reshape(a, shape=(-1, a.shape[-1]))) @ reshape(g, shape=(-1, g.shape[-1]))
    db = T(a) @ g
    matrix_shape = (*b_shape, 1) if len(b_shape) == 1 else b_shape
    return reshape(unbroadcast(db, matrix_shape), shape=b_shape)


# ── einsum ────────────────────────────────────────────────────────────────────────────────────────


@primitive(dims=lambda equation: equation)
def einsum(*operands, equation):
    """Σ of products, letters naming dims.

        doperands = einsum of g with the others, to the operand's letters

    equation as in NumPy, with the output written out and each letter at most once in an operand
    (`npf.einsum` brings any other form to this one).
    """
    return np.einsum(equation, *operands, optimize=len(operands) > 2 or bool(operands[0].ndim > 1))


einsum.vjps(
    operands=lambda g, i, arrays, shapes, equation: _einsum_d(g, i, arrays, shapes, equation),
)
einsum.samples((2, 3), (3, 4), equation="ij,jk->ik")
einsum.samples((2, 3, 4), equation="ijk->k")
einsum.samples((2, 3), (4, 2, 3), (4,), equation="ij,bij,b->j")


def _einsum_d(g, i, arrays, shapes, equation):
    # A letter of operand i that neither g nor another operand has was summed alone: no einsum can
    # bring it back, so the gradient is found without it and repeated along it.
    ins, out = equation.split("->")
    ins = ins.split(",")
    others = [k for k in range(len(ins)) if k != i]
    seen = set(out).union(*(ins[k] for k in others))
    found = "".join(c for c in ins[i] if c in seen)
    swapped = ",".join([out, *(ins[k] for k in others)]) + "->" + found
    d = einsum(g, *[arrays[k] for k in others], equation=swapped)
    if found != ins[i]:
        d = reshape(d, shape=tuple(n if c in seen else 1 for c, n in zip(ins[i], shapes[i])))
    return expand(d, shape=shapes[i])


# ── linear ────────────────────────────────────────────────────────────────────────────────────────


@fused(dims="...i, oi, o -> ...o")
def linear(x, weight, bias):
    """y = x·Wᵀ + b.

        dx = g·W        dweight = gᵀ·x        dbias = Σ g        (both over all dims but the last)

    x (..., in), weight (out, in), bias (out,) or None -> (..., out).
    """
    y = matmul(x, permute(weight, dims=(1, 0)))
    return y if bias is None else add(y, bias)


@linear.forward
def linear_forward(x, weight, bias):
    if x.dtype != weight.dtype:
        raise DTypeError("linear(x, weight): both must have one dtype, "
                         f"got {x.dtype} and {weight.dtype}")
    if x.ndim == 0 or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(complaint("linear(x, weight)", "x's last dim must equal weight's second",
                                   {"x": x, "weight": weight}))
    rows = x.reshape(-1, x.shape[-1])              # one large product, not a stack of small ones
    y = rows @ weight.T
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], weight.shape[0]), dict(x=x, weight=weight, bias=bias)


@linear.backward
def linear_backward(g, *, x, weight, bias, needs=(True, True, True)):
    rows = g.reshape(-1, g.shape[-1])
    dx = (rows @ weight).reshape(x.shape) if needs[0] else None
    dweight = rows.T @ x.reshape(-1, x.shape[-1]) if needs[1] else None
    dbias = column_sum(g) if needs[2] and bias is not None else None
    return dx, dweight, dbias


def column_sum(g):
    """Σ g over all dims but the last, as a product with a vector of ones: BLAS adds rows faster."""
    rows = g.reshape(-1, g.shape[-1])
    return np.ones_like(g, shape=len(rows)) @ rows


linear.flat(TIMES_ZERO, x=lambda weight: weight == 0, weight=lambda x: x == 0)
linear.samples((2, 5, 3), (4, 3), (4,))
linear.samples((3,), (4, 3), (4,))
linear.samples((2, 3), (1, 3), None)
