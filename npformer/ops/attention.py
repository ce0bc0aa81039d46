"""Scaled dot-product attention: softmax(q·kᵀ·scale + mask)·v, with a backward of three stages."""

import math

import numpy as np

from ..core.operation import fused
from ..core.samples import mask, value
from .activation import softmax, softmax_backward, softmax_forward
from .elementwise import add, mul, values, where
from .linalg import T, matmul
from .shape import unbroadcast

MASKED = -math.inf


def attention_weights(q, k, mask, *, scale):
    """softmax((q @ kᵀ)·scale, masked), and 0 where a query has no key.

    q (..., T, K), k (..., S, K) -> (..., T, S)
    """
    s = mul(matmul(q, T(k)), scale)                # (..., T, S)
    blind = None
    if mask is not None:
        given = values(mask)
        if given.dtype == bool:
            s, allowed = where(mask, s, MASKED), given
        else:
            s, allowed = add(s, mask), given > MASKED
        blind = ~allowed.any(axis=-1, keepdims=True)
        s = where(blind, 0.0, s)
    a = softmax(s, dim=-1)
    return a if blind is None else where(blind, 0.0, a)


@fused(dims="...tk, ...sk, ...sw, ...ts, ...ts -> ...tw")
def attention(q, k, v, mask, drop, *, scale):
    """y = (softmax(s)·drop) @ v, s = (q @ kᵀ)·scale, masked.

        dv = (a·drop)ᵀ @ g              da = (g @ vᵀ)·drop
        ds = a · (da − Σ da·a)          dmask = ds, if mask is floating
        dq = ds @ k · scale             dk = dsᵀ @ q · scale

    q (..., T, K), k (..., S, K), v (..., S, W) -> (..., T, W)

    mask: None, or of a shape that broadcasts to (..., T, S). Where a boolean one is False, the key
    is hidden from the query; a floating one is added to s, and dmask is summed where it was
    broadcast. A query with no key gives zeros, and sends and gets no gradient.
    drop: None, or 0 and 1/(1 − p) at random, of shape (..., T, S).
    Source: Vaswani et al. 2017, arXiv:1706.03762, equation 1.
    """
    a = attention_weights(q, k, mask, scale=scale)
    return matmul(a if drop is None else mul(a, drop), v)


attention.constant("drop")


def weights_used(a, drop):
    """The weights that v is summed with: a, after dropout."""
    return a if drop is None else a * drop


@attention.forward
def attention_forward(q, k, v, mask, drop, *, scale):
    # k·qᵀ, looked at transposed, and not q·kᵀ: the numbers are the same, but the keys S then lie
    # far apart in memory and the queries side by side, so that the maximum and the sum over S run
    # along whole rows. 1.1 times as fast on (32, 4, 64, 64) in float32. What follows must keep
    # that layout: a copy in row-major order would lose it.
    s = T(np.matmul(k, T(q)))                      # (..., T, S)
    s *= scale
    if mask is None:
        a = softmax_forward(s)[0]
    else:
        # A query with no key has scores of −∞ alone, whose softmax is 0/0. It gets zeros, and so no
        # gradient: NaN there would spread to every weight, although the query has no part in them.
        blind = ~(mask if mask.dtype == bool else mask > MASKED).any(axis=-1, keepdims=True)
        s = np.where(mask, s, s.dtype.type(MASKED)) if mask.dtype == bool else s + mask
        if blind.any():
            zero = s.dtype.type(0)
            a = np.where(blind, zero, softmax_forward(np.where(blind, zero, s))[0])
        else:
            a = softmax_forward(s)[0]
    saved = dict(q=q, k=k, v=v, mask=mask, drop=drop, a=a, scale=scale)
    return np.matmul(weights_used(a, drop), v), saved


@attention.backward
def attention_backward(g, *, q, k, v, mask, drop, a, scale):
    # forward was: y = (a·drop) @ v
    dv = unbroadcast(np.matmul(T(weights_used(a, drop)), g), v.shape)
    da = np.matmul(g, T(v))                        # (..., T, S)
    if drop is not None:
        da *= drop
    # forward was: a = softmax(s), and 0 where a query has no key: there a = 0 makes ds = 0
    ds, = softmax_backward(da, y=a)
    dmask = unbroadcast(ds, mask.shape) if mask is not None and mask.dtype != bool else None
    # forward was: s = (q @ kᵀ)·scale
    ds *= scale
    dq = unbroadcast(np.matmul(ds, k), q.shape)
    dk = unbroadcast(np.matmul(T(ds), q), k.shape)
    return dq, dk, dv, dmask, None


NO_CHOICE = "its weights are zero there, or one key has all the weight"
attention.flat(NO_CHOICE, at="...t", q=lambda a: ((a == 0) | (a == 1)).all(-1))
attention.flat(NO_CHOICE, at="...ts",
               k=lambda a: (a == 0) | (a == 1), mask=lambda a: (a == 0) | (a == 1))
attention.flat(NO_CHOICE, at="...ts", v=lambda a, drop: weights_used(a, drop) == 0)
attention.weighs(lambda a, drop: weights_used(a, drop), "v")
attention.samples((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6), None, None, scale=0.5)
attention.samples((2, 3, 5, 4), (2, 1, 7, 4), (2, 1, 7, 6), mask(5, 7), None, scale=0.5)
attention.samples((2, 4, 3), (2, 4, 3), (2, 4, 3),
                  value(np.tril(np.ones((4, 4), bool))), None, scale=0.3)
attention.samples((3, 4, 3), (3, 5, 3), (3, 5, 2), (3, 1, 5),
                  lambda rng: (rng.random((3, 4, 5)) < 0.7) / 0.7, scale=0.6)
attention.samples((3, 2), (4, 2), (4, 5),
                  value(np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]]) > 0), None, scale=1.0)
