"""Activations. Fused where a hand-derived backward saves work; the rest are a few lines each."""

import math

import numpy as np

from ..core.dims import along
from ..core.operation import fused, primitive
from ..core.samples import distinct
from .composites import clamp
from .elementwise import (
    SATURATED,
    abs,
    add,
    div,
    erf,
    exp,
    expm1,
    logaddexp,
    mul,
    neg,
    sigmoid,
    sub,
    tanh,
    values,
    where,
)
from .erf import erf_values
from .reduce import amax, logsumexp
from .shape import keep, positive_dim, sum


@primitive(dims="...")
def relu(x):
    """max(x, 0).    dx = g where x > 0, else 0"""
    return np.maximum(x, 0)


relu.vjps(x=lambda g, y: keep(g, values(y) > 0))
relu.flat("{count} of {size} of its inputs are ≤ 0, where relu's slope is 0", x=lambda x: x <= 0)
relu.samples(distinct(3, 4))


# ── softmax ───────────────────────────────────────────────────────────────────────────────────────


@fused(dims=lambda x_shape, dim: along(x_shape, dim, "s -> t"), promotes="float")
def softmax(x, *, dim=-1):
    """y = eˣ / Σeˣ over dim.

        dx = y · (g − Σ g·y)

    any shape -> the same. A line that is all −∞ gives NaN, as in PyTorch.
    """
    e = exp(sub(x, amax(values(x), dim=dim, keepdim=True)))
    return div(e, sum(e, dim=dim, keepdim=True))


@softmax.forward
def softmax_forward(x, *, dim=-1):
    dim = positive_dim(dim, x.ndim, "softmax")
    if x.size == 0:
        return x.copy(), dict(y=x, dim=dim)
    # The largest entry is taken away first: e⁸⁹ is infinite in float32, and ∞/∞ is NaN. The
    # division is in place: of the arrays as large as x two are made instead of three, which counts
    # for memory; in time it is 1 %.
    y = np.exp(x - x.max(axis=dim, keepdims=True) if x.ndim else x - x)
    y /= y.sum(axis=dim, keepdims=True) if x.ndim else y.copy()
    return y, dict(y=y, dim=dim)


@softmax.backward
def softmax_backward(g, *, y, dim=-1):
    # y·(g − Σ g·y) as g·y − y·Σ g·y: then g·y is computed once, in an array of its own, which may
    # be written into; g belongs to the walk.
    dx = g * y
    dx -= y * (dx.sum(axis=dim, keepdims=True) if y.ndim else dx)
    return (dx,)


@fused(dims=lambda x_shape, dim: along(x_shape, dim, "s -> t"), promotes="float")
def log_softmax(x, *, dim=-1):
    """y = x − ln Σeˣ over dim.

        dx = g − eʸ · Σ g

    any shape -> the same.
    """
    return sub(x, logsumexp(x, dim=dim, keepdim=True))


@log_softmax.forward
def log_softmax_forward(x, *, dim=-1):
    dim = positive_dim(dim, x.ndim, "log_softmax")
    y = x - logsumexp(x, dim=dim, keepdim=True) if x.size else x.copy()
    return y, dict(y=y, dim=dim)


@log_softmax.backward
def log_softmax_backward(g, *, y, dim):
    return (g - np.exp(y) * (g.sum(axis=dim, keepdims=True) if y.ndim else g),)


softmax.flat(
    "its output is saturated: the largest probability is {most:.6g}, the smallest {least:.3g}",
    at="xy", x=lambda y: (y == 0) | (y == 1))
softmax.undefined("a row that is −∞ throughout has no softmax, nor has one with +∞ in it",
                  lambda x: ~np.isfinite(x))
softmax.weighs(lambda y: y)
log_softmax.flat("its output is saturated: the smallest is {least:.4g}, and e to that is 0",
                 x=lambda y: np.exp(y) == 0)
for _op in (softmax, log_softmax):
    _op.samples((3, 5), dim=-1)
    _op.samples((3, 2, 4), dim=1)
    _op.samples((3, 1), dim=-1)


# ── GELU and SiLU ─────────────────────────────────────────────────────────────────────────────────


@fused(dims="...", promotes="float")
def gelu(x):
    """y = x·Φ(x), Φ(x) = ½·(1 + erf(x/√2)).

        dx = g · (Φ(x) + x·φ(x)),  φ(x) = e^(−x²/2) / √2π

    any shape -> the same.   Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """
    return x * 0.5 * (1 + erf(x * (1 / math.sqrt(2))))


@gelu.forward
def gelu_forward(x):
    Phi = 0.5 * (1 + erf_values(x * (1 / math.sqrt(2))))
    return x * Phi, dict(x=x, Phi=Phi)


@gelu.backward
def gelu_backward(g, *, x, Phi):
    phi = np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return (g * (Phi + x * phi),)


_K, _A = math.sqrt(2 / math.pi), 0.044715


@fused(dims="...", promotes="float")
def gelu_tanh(x):
    """y = ½·x·(1 + t), t = tanh(k·(x + a·x³)), k = √(2/π), a = 0.044715.

        dx = g · (½·(1 + t) + ½·x·(1 − t²)·k·(1 + 3a·x²))

    any shape -> the same.   Source: Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2.
    """
    return 0.5 * x * (1 + tanh(_K * (x + _A * x * x * x)))


@gelu_tanh.forward
def gelu_tanh_forward(x):
    t = np.tanh(_K * (x + _A * x * x * x))
    return 0.5 * x * (1 + t), dict(x=x, t=t)


@gelu_tanh.backward
def gelu_tanh_backward(g, *, x, t):
    return (g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * _K * (1 + 3 * _A * x * x)),)


@fused(dims="...", promotes="float")
def silu(x):
    """y = x·σ(x).

        dx = g · (s + y·(1 − s)),  s = σ(x)

    any shape -> the same.   Source: Elfwing et al. 2017, arXiv:1702.03118.
    """
    return x * sigmoid(x)


@silu.forward
def silu_forward(x):
    s = sigmoid(x)
    return x * s, dict(s=s, y=x * s)


@silu.backward
def silu_backward(g, *, s, y):
    return (g * (s + y * (1 - s)),)


for _op in (gelu, gelu_tanh, silu):
    _op.flat(SATURATED, x=lambda x: True)
    _op.samples((3, 5))
    _op.samples(())


# ── composites ────────────────────────────────────────────────────────────────────────────────────


def leaky_relu(x, negative_slope=0.01):
    """x where x > 0, else slope·x"""
    return where(values(x) > 0, x, mul(x, negative_slope))


def elu(x, alpha=1.0):
    """x where x > 0, else α·(eˣ − 1)"""
    return where(values(x) > 0, x, mul(expm1(clamp(x, max=0)), alpha))


def selu(x):
    """λ·elu(x, α), with the λ and α that keep mean 0 and variance 1.

    Source: Klambauer et al. 2017, arXiv:1706.02515.
    """
    return mul(elu(x, 1.6732632423543772), 1.0507009873554805)


def celu(x, alpha=1.0):
    """x where x > 0, else α·(e^(x/α) − 1)"""
    return where(values(x) > 0, x, mul(expm1(mul(clamp(x, max=0), 1 / alpha)), alpha))


def softplus(x, beta=1.0, threshold=20.0):
    """ln(1 + e^(βx)) / β; x itself where βx > threshold"""
    scaled = mul(x, beta)
    return where(values(scaled) > threshold, x, mul(logaddexp(scaled, 0.0), 1 / beta))


def logsigmoid(x):
    """ln σ(x) = −ln(1 + e⁻ˣ)"""
    return neg(logaddexp(neg(x), 0.0))


def mish(x):
    """x·tanh(softplus(x)).   Source: Misra 2019, arXiv:1908.08681."""
    return mul(x, tanh(softplus(x)))


def hardtanh(x, min_val=-1.0, max_val=1.0):
    """x limited to [min_val, max_val]; no gradient at the limits themselves, as in PyTorch"""
    inside = (values(x) > min_val) & (values(x) < max_val)
    return where(inside, x, np.clip(values(x), min_val, max_val))


def relu6(x):
    """x limited to [0, 6]"""
    return hardtanh(x, 0.0, 6.0)


def softsign(x):
    """x / (1 + |x|)"""
    return div(x, add(abs(x), 1))


def tanhshrink(x):
    """x − tanh(x)"""
    return sub(x, tanh(x))


def softmin(x, dim=-1):
    """softmax(−x)"""
    return softmax(neg(x), dim=dim)


