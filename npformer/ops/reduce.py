"""Reductions beyond the sum: extremes, logsumexp, running sums, norms; composites such as the mean.
"""

import math

import numpy as np

from ..core.dims import along
from ..core.errors import DTypeError, ShapeError
from ..core.operation import primitive
from ..core.samples import distinct
from .elementwise import LOSES, abs, exp, mul, pow, sqrt, sub, values, where
from .shape import (
    expand,
    flip,
    kept_shape,
    narrow,
    permute,
    positive_dim,
    positive_dims,
    reduced_shape,
    reshape,
    sum,
)


def expand_back(y, shape, dim):
    """A reduced y (or g) with its dims back, repeated to the `shape` of the input."""
    return expand(reshape(y, shape=kept_shape(shape, dim)), shape=shape)


def require_entries(x, dim, call):
    """Raise where a reduction that has no value for nothing would get nothing."""
    if x.size == 0 and any(x.shape[d] == 0 for d in positive_dims(dim, x.ndim)):
        raise ShapeError(f"{call}(x, dim={dim}): x {tuple(x.shape)} has no entries along dim, "
                         f"and {call} of nothing is not defined")


# ── extremes ──────────────────────────────────────────────────────────────────────────────────────


@primitive(dims=lambda x_shape, dim, keepdim: along(x_shape, dim, "s ->", keepdim))
def amax(x, *, dim=None, keepdim=False):
    """The largest entry along dim.    dx = g at the largest entries, shared equally among ties"""
    require_entries(x, dim, "amax")
    return x.max(axis=positive_dims(dim, x.ndim), keepdims=keepdim)


@primitive(dims=lambda x_shape, dim, keepdim: along(x_shape, dim, "s ->", keepdim))
def amin(x, *, dim=None, keepdim=False):
    """The smallest entry along dim.    dx = g at the smallest entries, shared equally among ties"""
    require_entries(x, dim, "amin")
    return x.min(axis=positive_dims(dim, x.ndim), keepdims=keepdim)


for _op in (amax, amin):
    _op.vjps(x=lambda g, y, x, x_shape, dim:
             expand_back(g, x_shape, dim) * _share(x, y, x_shape, dim))
    _op.flat(LOSES, x=lambda: True)
    _op.mistake("mask-leak", "every entry gets the upstream",
                x=lambda g, x_shape, dim: expand_back(g, x_shape, dim))
    _op.samples(distinct(2, 3, 4))
    _op.samples(distinct(2, 3, 4), dim=1)
    _op.samples(distinct(2, 3, 4), dim=(0, -1), keepdim=True)


def _share(x, y, shape, dim):
    """1 at the chosen entry; 1/k at each of k that tie."""
    chosen = values(x) == expand_back(values(y), shape, dim)
    dims = positive_dims(dim, len(shape))
    return chosen / chosen.sum(axis=dims, keepdims=True, dtype=values(x).dtype)


# ── sums of a kind ────────────────────────────────────────────────────────────────────────────────


@primitive(dims=lambda x_shape, dim, keepdim: along(x_shape, dim, "s ->", keepdim),
           promotes="float")
def logsumexp(x, *, dim, keepdim=False):
    """ln Σ eˣ over dim, without overflow.    dx = g·e^(x − y)"""
    dims = positive_dims(dim, x.ndim)
    require_entries(x, dim, "logsumexp")
    top = x.max(axis=dims, keepdims=True)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    with np.errstate(divide="ignore"):             # all −∞: ln 0 = −∞ is the answer
        y = np.log(np.exp(x - top).sum(axis=dims, keepdims=True)) + top
    return y if keepdim else y.squeeze(dims)


logsumexp.vjps(x=lambda g, y, x, x_shape, dim: expand_back(g, x_shape, dim) * exp(
    x - expand_back(where(np.isfinite(values(y)), y, 0.0), x_shape, dim)))
logsumexp.samples((2, 5), dim=-1)
logsumexp.samples((2, 3, 4), dim=(0, 1), keepdim=True)


@primitive(dims=lambda x_shape, dim: along(x_shape, dim, "s -> t; s <= t"))
def cumsum(x, *, dim):
    """Running sums along dim.    dx = running sums of g from the end"""
    dim = positive_dim(dim, x.ndim, "cumsum")
    return np.cumsum(x, axis=dim) if x.ndim else x.copy()


cumsum.vjps(x=lambda g, dim: flip(cumsum(flip(g, dims=(dim,)), dim=dim), dims=(dim,)))
cumsum.samples((2, 5), dim=1)
cumsum.samples((4, 3), dim=-2)


@primitive(dims=lambda x_shape, dim, keepdim: along(x_shape, dim, "s ->", keepdim),
           promotes="float")
def norm2(x, *, dim=None, keepdim=False):
    """√Σx² over dim.    dx = g·x / y, and 0 where y = 0"""
    return np.sqrt((x * x).sum(axis=positive_dims(dim, x.ndim), keepdims=keepdim))


norm2.vjps(x=lambda g, y, x, x_shape, dim: x * expand_back(
    where(values(y) == 0, 0.0, g / where(values(y) == 0, 1.0, y)), x_shape, dim))
norm2.samples((2, 3, 4))
norm2.samples((2, 3, 4), dim=(0, 2), keepdim=True)


# ── composites ────────────────────────────────────────────────────────────────────────────────────


def count_entries(shape, dim):
    """How many entries a reduction over dim adds up."""
    return math.prod(shape[d] for d in positive_dims(dim, len(shape)))


def mean(x, dim=None, keepdim=False):
    """Σ x / N over dim"""
    if values(x).dtype.kind != "f":
        raise DTypeError(f"mean(x): x must be floating, got {values(x).dtype}; "
                         "use x.float().mean()")
    n = count_entries(x.shape, dim)
    return mul(sum(x, dim=dim, keepdim=keepdim), 1 / n if n else math.nan)


def var(x, dim=None, correction=1, keepdim=False):
    """Σ (x − mean)² / (N − correction) over dim"""
    centred = sub(x, mean(x, dim, keepdim=True)) if x.ndim else sub(x, x)
    left = count_entries(x.shape, dim) - correction
    squares = sum(mul(centred, centred), dim=dim, keepdim=keepdim)
    return mul(squares, 1 / left if left > 0 else math.nan)


def std(x, dim=None, correction=1, keepdim=False):
    """√var, with slope 0 where there is no spread, as PyTorch has it"""
    spread = var(x, dim, correction, keepdim)
    none = values(spread) == 0
    return where(none, 0.0, sqrt(where(none, 1.0, spread)))


def prod(x, dim=None, keepdim=False):
    """Π x over dim, by halves: exact in value and in every derivative, also where entries are 0."""
    # The formula with a quotient, dx = g·y/x, is 0/0 at an entry that is 0. Halves are multiplied
    # until one entry is left, so mul's own rule is all that is needed.
    shape = x.shape
    dims = positive_dims(dim, x.ndim)
    others = tuple(d for d in range(x.ndim) if d not in dims)
    if dims:
        x = reshape(permute(x, dims=others + dims),
                    shape=(*(shape[d] for d in others), count_entries(shape, dim)))
        if x.shape[-1] == 0:
            x = sum(x, dim=-1, keepdim=True) + 1   # the product of nothing
        while x.shape[-1] > 1:
            half = x.shape[-1] // 2
            y = mul(narrow(x, dim=-1, start=0, length=half),
                    narrow(x, dim=-1, start=half, length=half))
            if x.shape[-1] % 2:                    # the odd one out is multiplied into the first
                last = narrow(x, dim=-1, start=2 * half, length=1)
                y = mul(y, where(np.arange(half, like=values(y)) == 0, last, 1))
            x = y
    return reshape(x, shape=reduced_shape(shape, dims, keepdim))


def norm(x, p=2, dim=None, keepdim=False):
    """(Σ |x|ᵖ)^(1/p) over dim; p = inf: max |x|; p = -inf: min |x|; p = 0: how many are not 0"""
    if p in (2, "fro", None):
        return norm2(x, dim=dim, keepdim=keepdim)
    if p == math.inf:
        return amax(abs(x), dim=dim, keepdim=keepdim)
    if p == -math.inf:
        return amin(abs(x), dim=dim, keepdim=keepdim)
    if p == 1:
        return sum(abs(x), dim=dim, keepdim=keepdim)
    if p == 0:
        return sum(where(values(x) != 0, 1.0, mul(x, 0.0)), dim=dim, keepdim=keepdim)
    return power_at_0(sum(power_at_0(abs(x), p), dim=dim, keepdim=keepdim), 1 / p)


def power_at_0(x, p):
    """xᵖ for x >= 0, with value and slope 0 where x = 0, also where p < 1"""
    zero = values(x) == 0
    return where(zero, 0.0, pow(where(zero, 1.0, x), p))
