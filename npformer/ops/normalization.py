"""Normalisations: of a vector (layer_norm, rms_norm) and over a batch (batch_norm).

The backward pass of each is a projection: x̂ has mean 0 and length √n, so the parts of d = g·weight
that would change either are taken out. They show only where weight differs from 1 and g from a
constant; test there.
"""

from string import ascii_lowercase

import numpy as np

from ..core.operation import fused
from ..core.samples import positive
from .composites import rsqrt
from .elementwise import add, div, mul, sqrt, sub
from .linalg import column_sum
from .reduce import mean
from .shape import reshape


def mean_square(x, dim):
    """mean(x²) over dim, kept"""
    return mean(mul(x, x), dim, keepdim=True)


def affine(xhat, weight, bias):
    """x̂·weight + bias, either of which may be None"""
    if weight is not None:
        xhat = mul(xhat, weight)
    return xhat if bias is None else add(xhat, bias)


@fused(dims="...c, d, d -> ...d")
def layer_norm(x, weight, bias, *, eps=1e-5):
    """y = x̂·weight + bias, x̂ = (x − μ)·r, r = 1/√(σ² + eps), over the last dim.

        dx      = r · (d − mean(d) − x̂·mean(d·x̂)),  d = g·weight
        dweight = Σ g·x̂        dbias = Σ g        (Σ over all dims but the last)

    x (..., C), weight (C,) or None, bias (C,) or None -> (..., C).
    Source: Ba et al. 2016, arXiv:1607.06450.
    """
    centred = sub(x, mean(x, -1, keepdim=True))
    return affine(mul(centred, rsqrt(add(mean_square(centred, -1), eps))), weight, bias)


@layer_norm.forward
def layer_norm_forward(x, weight, bias, *, eps=1e-5):
    xhat = x - row_mean(x)
    r = 1 / np.sqrt(row_mean(xhat * xhat) + eps)
    xhat *= r
    return affine(xhat, weight, bias), dict(xhat=xhat, r=r, weight=weight, bias=bias)


@layer_norm.backward
def layer_norm_backward(g, *, xhat, r, weight, bias):
    d = g if weight is None else g * weight
    dx = d - row_mean(d)
    dx -= xhat * row_mean(d * xhat)
    dx *= r
    dweight = None if weight is None else column_sum(g * xhat)
    dbias = None if bias is None else column_sum(g)
    return dx, dweight, dbias


def row_mean(x):
    """The mean over the last dim, kept."""
    # A product with a vector of 1/n: BLAS adds short rows 3 to 6 times as fast as x.mean does.
    return (x @ np.full_like(x, 1 / max(x.shape[-1], 1), shape=x.shape[-1:]))[..., None]


@fused(dims="...c, d -> ...d")
def rms_norm(x, weight, *, eps=1e-6):
    """y = x̂·weight, x̂ = x·r, r = 1/√(mean(x²) + eps), over the last dim.

        dx      = r · (d − x̂·mean(d·x̂)),  d = g·weight
        dweight = Σ g·x̂        (over all dims but the last)

    x (..., C), weight (C,) or None -> (..., C).
    Source: Zhang and Sennrich 2019, arXiv:1910.07467.
    """
    return affine(mul(x, rsqrt(add(mean_square(x, -1), eps))), weight, None)


@rms_norm.forward
def rms_norm_forward(x, weight, *, eps=1e-6):
    r = 1 / np.sqrt(row_mean(x * x) + eps)
    xhat = x * r
    return affine(xhat, weight, None), dict(xhat=xhat, r=r, weight=weight)


@rms_norm.backward
def rms_norm_backward(g, *, xhat, r, weight):
    d = g if weight is None else g * weight
    dx = d - xhat * row_mean(d * xhat)
    dx *= r
    return dx, None if weight is None else column_sum(g * xhat)


for _shape in ((2, 5, 7), (3, 4), (6,)):
    layer_norm.samples(_shape, positive(_shape[-1]), _shape[-1:], eps=0.1)
    rms_norm.samples(_shape, positive(_shape[-1]), eps=0.1)
layer_norm.undefined("a row has no variance, and eps is 0: 0/0 is NaN",
                     lambda x, eps: (x.var(-1) == 0) & (eps == 0))
layer_norm.samples((2, 7), None, None)
layer_norm.samples((2, 7), positive(7), None)
rms_norm.samples((2, 7), None)


# ── batch norm ────────────────────────────────────────────────────────────────────────────────────


@fused(dims=lambda x_shape: batch_dims(len(x_shape)))
def batch_norm(x, weight, bias, *, eps=1e-5):
    """y = x̂·weight + bias, x̂ = (x − μ)·r, r = 1/√(σ² + eps), over every dim but the channel, dim 1.

        dx      = r · (d − mean(d) − x̂·mean(d·x̂)),  d = g·weight
        dweight = Σ g·x̂        dbias = Σ g        (Σ and mean over every dim but 1)

    x (B, C, ...), weight (C,) or None, bias (C,) or None -> (B, C, ...).
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167.
    """
    dims = others(x)
    centred = sub(x, mean(x, dims, keepdim=True))
    xhat = div(centred, sqrt(add(mean_square(centred, dims), eps)))
    return affine(xhat, channels(weight, x), channels(bias, x))


def batch_dims(ndim):
    """Statistics over all dims but the channel mix these: "ncab, c, c -> mcAB"."""
    rest = ascii_lowercase[:ndim - 2].replace("c", "z")
    return f"nc{rest}, c, c -> mc{rest.upper()}"


def others(x):
    """Every dim but 1."""
    return (0, *range(2, x.ndim))


def channels(v, x):
    """A value a channel, of a shape that lines up with x's dim 1."""
    return None if v is None else reshape(v, shape=(1, -1) + (1,) * (x.ndim - 2))


@batch_norm.forward
def batch_norm_forward(x, weight, bias, *, eps=1e-5):
    xhat = x - x.mean(axis=others(x), keepdims=True)
    r = 1 / np.sqrt((xhat * xhat).mean(axis=others(x), keepdims=True) + eps)
    xhat *= r
    y = affine(xhat, channels(weight, x), channels(bias, x))
    return y, dict(xhat=xhat, r=r, weight=weight, bias=bias)


@batch_norm.backward
def batch_norm_backward(g, *, xhat, r, weight, bias):
    dims = others(g)
    d = g if weight is None else g * channels(weight, g)
    dx = d - d.mean(axis=dims, keepdims=True) - xhat * (d * xhat).mean(axis=dims, keepdims=True)
    dx *= r
    dweight = None if weight is None else (g * xhat).sum(axis=dims)
    dbias = None if bias is None else g.sum(axis=dims)
    return dx, dweight, dbias


batch_norm.samples((5, 3), positive(3), (3,), eps=0.1)
batch_norm.samples((4, 3, 5), positive(3), (3,), eps=0.1)
batch_norm.samples((3, 2, 4), None, None)
