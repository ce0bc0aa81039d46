"""Wrong gradients of matrix products."""

import numpy as np

from ...core.samples import real
from .planted import T, column_sum, subject


@subject(x=real(2, 5, 3), weight=real(7, 3), bias=real(7))
def linear(x, weight, bias):
    """y = x @ weightᵀ + bias.    dx = g @ weight,  dweight = gᵀ @ x,  dbias = Σ g"""
    return x @ weight.T + bias


def weight_gradient(g, x):
    """gᵀ @ x, over all that came before the last dim."""
    return g.reshape(-1, g.shape[-1]).T @ x.reshape(-1, x.shape[-1])


linear.right(x=lambda g, weight: g @ weight, weight=weight_gradient, bias=column_sum)
linear.wrong("weight's gradient transposed", "transposed", "shape",
             weight=lambda g, x: weight_gradient(g, x).T.copy())
linear.wrong("weight's gradient divided by the batch", "averaged-broadcast", "factor",
             weight=lambda g, x: weight_gradient(g, x) / len(g))
linear.wrong("weight's gradient not summed over the batch", "unsummed-broadcast", "shape",
             weight=lambda g, x: T(g) @ x)
linear.wrong("weight's gradient from the first of the batch", "not-accumulated", "path-missing",
             weight=lambda g, x: g[0].T @ x[0])
linear.wrong("mean for the bias", "averaged-broadcast", "factor",
             bias=lambda g: column_sum(g) * g.shape[-1] / g.size)
linear.wrong("bias summed over the batch only", "unsummed-broadcast", "shape",
             bias=lambda g: g.sum(0))
linear.wrong("bias summed over everything", "wrong-axis",
             bias=lambda g: np.full(g.shape[-1], g.sum()))
linear.wrong("sign of the bias", "sign", bias=lambda g: -column_sum(g))
linear.wrong("bias forgotten", "zero", bias=lambda g: np.zeros(g.shape[-1]))
linear.wrong("input severed", "zero", x=lambda g, x: np.zeros_like(x))
linear.wrong("upstream forgotten", "ignores-upstream",
             weight=lambda g, x: weight_gradient(np.ones_like(g), x))
linear.wrong("gradients in another order", "shape", x=lambda g, x: weight_gradient(g, x),
             weight=lambda g, weight: g @ weight)


@subject(x=real(5, 5), weight=real(5, 5))
def linear_square(x, weight):
    """y = x @ weightᵀ, all square"""
    return x @ weight.T


linear_square.right(x=lambda g, weight: g @ weight, weight=lambda g, x: g.T @ x)
linear_square.wrong("weight's gradient transposed", "transposed", weight=lambda g, x: x.T @ g)
linear_square.wrong("weight transposed as in the forward", "transposed",
                    x=lambda g, weight: g @ weight.T)
linear_square.wrong("neither transposed", "transposed", "unexplained", weight=lambda g, x: g @ x)


@subject(a=real(2, 5, 3), b=real(3, 7))
def matmul_shared(a, b):
    """y = a @ b, b shared by the batch.    da = g @ bᵀ,  db = Σ aᵀ @ g"""
    return a @ b


matmul_shared.right(a=lambda g, b: g @ b.T, b=lambda g, a: (T(a) @ g).sum(0))
matmul_shared.wrong("not summed over the batch", "unsummed-broadcast", "shape",
                    b=lambda g, a: T(a) @ g)
matmul_shared.wrong("mean over the batch", "averaged-broadcast", "factor",
                    b=lambda g, a: (T(a) @ g).mean(0))
matmul_shared.wrong("first of the batch only", "not-accumulated", "path-missing",
                    b=lambda g, a: a[0].T @ g[0])
matmul_shared.wrong("sums multiplied, not products summed", "wrong-axis", "missing-factor",
                    "unexplained", b=lambda g, a: a.sum(0).T @ g.sum(0))


@subject(a=real(2, 5, 5), b=real(2, 5, 5))
def matmul_square(a, b):
    """y = a @ b, all square.    da = g @ bᵀ,  db = aᵀ @ g"""
    return a @ b


matmul_square.right(a=lambda g, b: g @ T(b), b=lambda g, a: T(a) @ g)
matmul_square.wrong("b not transposed", "transposed", a=lambda g, b: g @ b)
matmul_square.wrong("a not transposed", "transposed", b=lambda g, a: a @ g)
matmul_square.wrong("operands exchanged", "transposed", "unexplained", a=lambda g, b: T(b) @ g)
matmul_square.wrong("result transposed", "transposed", b=lambda g, a: T(T(a) @ g).copy())
matmul_square.wrong("da and db exchanged", "permuted", "unexplained", "missing-factor",
                    a=lambda g, a: T(a) @ g,
                    b=lambda g, b: g @ T(b))


@subject(x=real(2, 5), matrix=real(5, 5))
def quadratic(x, matrix):
    """y = Σᵢⱼ xᵢ·mᵢⱼ·xⱼ.    dx = g·(m + mᵀ)·x,  dm = Σ g·x·xᵀ"""
    return np.einsum("bi,ij,bj->b", x, matrix, x)


quadratic.right(x=lambda g, x, matrix: g[:, None] * (x @ (matrix + matrix.T)),
                matrix=lambda g, x: np.einsum("b,bi,bj->ij", g, x, x))
quadratic.wrong("one of two uses of x", "path-missing", "missing-term",
                x=lambda g, x, matrix: g[:, None] * (x @ matrix.T))
quadratic.wrong("as if the matrix were symmetric", "path-doubled", "wrong-coefficient",
                "path-missing", x=lambda g, x, matrix: 2 * g[:, None] * (x @ matrix.T))
quadratic.wrong("first of the batch only", "not-accumulated", "path-missing",
                matrix=lambda g, x: g[0] * np.outer(x[0], x[0]))


@subject(x=real(5, 3))
def gram(x):
    """y = x @ xᵀ.    dx = (g + gᵀ) @ x"""
    return x @ x.T


gram.right(x=lambda g, x: (g + g.T) @ x)
gram.wrong("one of two uses", "path-missing", "missing-term", x=lambda g, x: g @ x)
gram.wrong("one use, doubled", "path-doubled", "wrong-coefficient", "path-missing",
           x=lambda g, x: 2 * g @ x)
gram.wrong("a use too many", "path-doubled", "wrong-coefficient", x=lambda g, x: (2 * g + g.T) @ x)
gram.wrong("halved, as for symmetric matrices", "factor", x=lambda g, x: (g + g.T) @ x / 2)


@subject(a=real(5), b=real(7))
def outer(a, b):
    """yᵢⱼ = aᵢ·bⱼ.    da = g @ b,  db = gᵀ @ a"""
    return np.outer(a, b)


outer.right(a=lambda g, b: g @ b, b=lambda g, a: a @ g)
outer.wrong("other operand forgotten", "missing-factor", "wrong-axis", "unexplained",
            a=lambda g: g.sum(1))
outer.wrong("not contracted", "unsummed-broadcast", "shape", b=lambda g, a: g * a[:, None])
outer.wrong("mean for sum", "averaged-broadcast", "factor", b=lambda g, a: a @ g / 5)
