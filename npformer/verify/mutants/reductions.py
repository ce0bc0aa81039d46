"""Wrong gradients of sums, means and extremes."""

import numpy as np

from ...core.samples import distinct, real, value
from .planted import row_mean, row_sum, subject


@subject(x=real(3, 5, 7))
def sum_over_one(x):
    """y = Σ x over the middle dim.    dx = g, expanded"""
    return x.sum(1)


sum_over_one.right(x=lambda g: np.repeat(g[:, None], 5, axis=1))
sum_over_one.wrong("not expanded", "shape", x=lambda g: g.copy())
sum_over_one.wrong("divided by the size", "factor",
                   x=lambda g, x: np.repeat(g[:, None], 5, axis=1) / 5)
sum_over_one.wrong("only the first gets it", "path-missing", "missing-term", "not-accumulated",
                   "unexplained",
                   x=lambda g, x: np.where(np.arange(5)[:, None] == 0, g[:, None], 0.0))


# Of a square matrix: there the wrong dim does not show in the shape.
sum_of_square = sum_over_one.at("sum_of_square", x=real(5, 5))
sum_of_square.wrong("expanded along the other dim", "wrong-axis", "transposed",
                    x=lambda g: np.repeat(g[None], 5, axis=0))


@subject(x=real(3, 5))
def mean(x):
    """y = Σ x / n over the last dim.    dx = g/n, expanded"""
    return x.mean(1)


mean.right(x=lambda g: np.repeat(g[:, None], 5, axis=1) / 5)
mean.wrong("1/n forgotten", "factor", x=lambda g: np.repeat(g[:, None], 5, axis=1))
mean.wrong("n of the other dim", "factor", x=lambda g: np.repeat(g[:, None], 5, axis=1) / 3)
mean.wrong("n of the whole", "factor", x=lambda g: np.repeat(g[:, None], 5, axis=1) / 15)
mean.wrong("not expanded", "shape", x=lambda g: g / 5)


@subject(x=real(3, 5))
def centre(x):
    """y = x − mean(x).    dx = g − mean(g)"""
    return x - row_mean(x)


centre.right(x=lambda g: g - row_mean(g))
centre.wrong("path through the mean not summed", "diagonal-jacobian", x=lambda g: g - g / 5)
centre.wrong("mean held constant", "missing-term", "path-missing", x=lambda g: g.copy())
centre.wrong("mean subtracted twice", "wrong-coefficient", "path-doubled",
             x=lambda g: g - 2 * row_mean(g))
centre.wrong("sum for mean", "wrong-coefficient", x=lambda g: g - row_sum(g))
centre.wrong("mean over everything", "wrong-axis", x=lambda g: g - g.mean())
centre.wrong("mean over the other dim", "wrong-axis", x=lambda g: g - g.mean(0))


@subject(x=real(3, 5))
def variance(x):
    """y = mean((x − μ)²) over the last dim.    dx = 2·g·(x − μ)/n"""
    return x.var(1)


variance.right(x=lambda g, x: 2 * g[:, None] * (x - row_mean(x)) / 5)
variance.wrong("2 forgotten", "factor", x=lambda g, x: g[:, None] * (x - row_mean(x)) / 5)
variance.wrong("n − 1 for n", "factor", x=lambda g, x: 2 * g[:, None] * (x - row_mean(x)) / 4)
variance.wrong("mean not subtracted", "missing-term", "wrong-coefficient",
               x=lambda g, x: 2 * g[:, None] * x / 5)
variance.wrong("1/n forgotten", "factor", x=lambda g, x: 2 * g[:, None] * (x - row_mean(x)))


@subject(x=distinct(3, 5))
def maximum_of(x):
    """y = max x over the last dim.    dx = g where x is the greatest, shared by those that tie"""
    return x.max(1)


maximum_of.right(x=lambda g, x, y: g[:, None] * (x == y[:, None]) / row_sum(x == y[:, None]))
maximum_of.wrong("everything gets it", "mask-leak", "mask-ignored",
                 x=lambda g: np.repeat(g[:, None], 5, axis=1))
maximum_of.wrong("the least gets it", "mask-leak", "permuted",
                 x=lambda g, x: g[:, None] * (x == x.min(1)[:, None]))


# With ties: how they share is free, but they must not get more together than g.
TIES = [[1.0, 3.0, 3.0, 0.5, -1.0], [2.0, 0.3, 1.0, -2.0, 0.1], [4.0, 4.0, 1.0, 4.0, 0.2]]
maximum_with_ties = maximum_of.at("maximum_with_ties", x=value(TIES))
maximum_with_ties.wrong("each of those that tie gets all of it", "only-at-ties",
                        x=lambda g, x, y: g[:, None] * (x == y[:, None]))


@subject(x=real(3, 5))
def logsumexp(x):
    """y = ln Σ exp(x) over the last dim.    dx = g·exp(x − y)"""
    return np.log(np.exp(x).sum(1))


logsumexp.right(x=lambda g, x, y: g[:, None] * np.exp(x - y[:, None]))
logsumexp.wrong("weights forgotten", "missing-factor", x=lambda g: np.repeat(g[:, None], 5, axis=1))
logsumexp.wrong("weights not normalised", "extra-factor", "missing-factor",
                x=lambda g, x: g[:, None] * np.exp(x))


@subject(x=real(3, 5))
def cumsum(x):
    """yᵢ = Σ xⱼ for j <= i.    dxⱼ = Σ gᵢ for i >= j"""
    return np.cumsum(x, axis=1)


cumsum.right(x=lambda g: np.cumsum(g[:, ::-1], axis=1)[:, ::-1].copy())
cumsum.wrong("summed in the same direction", "transposed", "permuted",
             x=lambda g: np.cumsum(g, axis=1))
cumsum.wrong("its own entry left out", "missing-term", "path-missing",
             x=lambda g: np.cumsum(g[:, ::-1], axis=1)[:, ::-1] - g)
cumsum.wrong("not summed", "diagonal-jacobian", x=lambda g: g.copy())


@subject(x=real(3, 5))
def length(x):
    """y = √Σ x² over the last dim.    dx = g·x/y"""
    return np.sqrt((x * x).sum(1))


length.right(x=lambda g, x, y: g[:, None] * x / y[:, None])
length.wrong("1/y forgotten", "missing-factor", "extra-factor", x=lambda g, x: g[:, None] * x)
length.wrong("derivative of the square", "factor", "extra-factor", "missing-factor",
             x=lambda g, x, y: 2 * g[:, None] * x / y[:, None])
