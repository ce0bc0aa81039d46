"""Wrong gradients of attention, of positions and of rotations."""

import math

import numpy as np

from ...core.samples import mask, positive, real, value
from .classes import probabilities
from .planted import T, row_sum, subject


def scale_or_default(q, scale):
    """1/√K, unless another scale is asked for."""
    return 1 / math.sqrt(q.shape[-1]) if scale is None else scale


def scores_gradient(g, v, a, drop=1.0):
    """ds = a·(da − Σ da·a), da = g @ vᵀ·drop, drop a mask over 1 − p, or 1 without dropout."""
    da = g @ T(v) * drop
    return a * (da - row_sum(da * a))


@subject(q=real(2, 5, 3), k=real(2, 7, 3), v=real(2, 7, 11))
def attention(q, k, v, *, scale=None):
    """y = softmax(q @ kᵀ·scale) @ v, scale = 1/√K.

    dv = aᵀ @ g;  ds = a·(da − Σ da·a), da = g @ vᵀ;  dq = ds @ k·scale;  dk = dsᵀ @ q·scale
    """
    scale = scale_or_default(q, scale)
    a = probabilities(q @ T(k) * scale)
    return a @ v, {"a": a, "scale": scale}


attention.right(q=lambda g, k, v, a, scale: scores_gradient(g, v, a) @ k * scale,
                k=lambda g, q, v, a, scale: T(scores_gradient(g, v, a)) @ q * scale,
                v=lambda g, a: T(a) @ g)
attention.wrong("scale missing from dq", "factor",
                q=lambda g, k, v, a: scores_gradient(g, v, a) @ k)
attention.wrong("scale missing from dk", "factor",
                k=lambda g, q, v, a: T(scores_gradient(g, v, a)) @ q)
attention.wrong("scale missing from both", "factor",
                q=lambda g, k, v, a: scores_gradient(g, v, a) @ k,
                k=lambda g, q, v, a: T(scores_gradient(g, v, a)) @ q)
attention.wrong("scaled twice", "factor",
                q=lambda g, k, v, a, scale: scores_gradient(g, v, a) @ k * scale ** 2)
attention.wrong("divided by 1/√K where it should multiply", "factor",
                k=lambda g, q, v, a, scale: T(scores_gradient(g, v, a)) @ q / scale)
attention.wrong("scale of the values' width", "factor",
                q=lambda g, k, v, a: scores_gradient(g, v, a) @ k / math.sqrt(v.shape[-1]))
attention.wrong("softmax as a diagonal", "diagonal-jacobian", "missing-term", "unexplained",
                q=lambda g, k, v, a, scale: g @ T(v) * a * (1 - a) @ k * scale)
attention.wrong("softmax's sum dropped", "missing-term",
                q=lambda g, k, v, a, scale: g @ T(v) * a @ k * scale)
attention.wrong("weights held constant in dk", "zero", k=lambda g, k: np.zeros_like(k))
attention.wrong("scores for weights in dv", "stale-value", "missing-term", "unexplained",
                "missing-factor", v=lambda g, q, k, scale: T(q @ T(k) * scale) @ g)
attention.wrong("sign of dq", "sign",
                q=lambda g, k, v, a, scale: -scores_gradient(g, v, a) @ k * scale)
attention.wrong("dv averaged over the queries", "averaged-broadcast", "factor",
                v=lambda g, a: T(a) @ g / g.shape[-2])
attention.wrong("softmax's sum over the queries", "wrong-axis", "wrong-coefficient", "unexplained",
                q=lambda g, k, v, a, scale:
                    (a * (g @ T(v) - (g @ T(v) * a).sum(-2, keepdims=True))) @ k * scale)
attention.wrong("leading weight lost in ds", "missing-factor", "unexplained",
                q=lambda g, k, v, a, scale: (g @ T(v) - row_sum(g @ T(v) * a)) @ k * scale)
attention.wrong("dk from the first query only", "not-accumulated", "path-missing",
                k=lambda g, q, v, a, scale:
                    scale * T(scores_gradient(g, v, a)[..., :1, :]) @ q[..., :1, :])
attention.wrong("dk and dv exchanged", "shape", k=lambda g, a: T(a) @ g,
                v=lambda g, q, v, a, scale: T(scores_gradient(g, v, a)) @ q * scale)
attention.wrong("batch items exchanged", "permuted", v=lambda g, a: (T(a) @ g)[::-1].copy())


def causal_mask(q, ahead=0):
    """True where a query sees a key: up to its own position, or some positions `ahead`."""
    return np.tril(np.ones((q.shape[-2], q.shape[-2]), bool), ahead)


def masked_weights(q, k, seen, scale):
    """The weights of a square attention in which only `seen` keys count."""
    return probabilities(np.where(seen, q @ T(k) * scale, -np.inf))


@subject(q=real(2, 5, 3), k=real(2, 5, 3), v=real(2, 5, 3))
def causal_attention(q, k, v, *, scale=None):
    """As attention; a query sees the keys up to its own position"""
    scale = scale_or_default(q, scale)
    a = masked_weights(q, k, causal_mask(q), scale)
    return a @ v, {"a": a, "unmasked": probabilities(q @ T(k) * scale), "scale": scale}


causal_attention.right(**attention.rules)
causal_attention.wrong("mask forgotten, weights computed again", "mask-ignored", "mask-leak",
                       "stale-value", v=lambda g, unmasked: T(unmasked) @ g)
causal_attention.wrong("mask forgotten in dq", "mask-ignored", "mask-leak", "stale-value",
                       "unexplained",
                       q=lambda g, k, v, unmasked, scale:
                           scores_gradient(g, v, unmasked) @ k * scale)
causal_attention.wrong("mask off by one", "mask-ignored", "mask-leak", "stale-value",
                       v=lambda g, q, k, scale:
                           T(masked_weights(q, k, causal_mask(q, 1), scale)) @ g)
causal_attention.wrong("weights not transposed in dv", "transposed", "mask-leak", "mask-ignored",
                       v=lambda g, a: a @ g)
causal_attention.wrong("scores' gradient not transposed in dk", "transposed", "mask-leak",
                       "unexplained",
                       k=lambda g, q, v, a, scale: scores_gradient(g, v, a) @ q * scale)
causal_attention.wrong("future rows of dv emptied", "missing-term", "path-missing", "zero",
                       "unexplained", "diagonal-jacobian",
                       v=lambda g, a: np.einsum("...tt,...tw->...tw", a, g))


@subject(q=real(5, 3), k=real(7, 3), v=real(7, 2), seen=mask(5, 7),
         drop=lambda rng: (rng.random((5, 7)) < 0.7) / 0.7)
def attention_with_dropout(q, k, v, seen, drop, *, scale=None):
    """As attention; y = (a·drop) @ v, where a query sees some keys only"""
    scale = scale_or_default(q, scale)
    a = masked_weights(q, k, seen, scale)
    return (a * drop) @ v, {"a": a, "scale": scale}


attention_with_dropout.right(q=lambda g, k, v, a, drop, scale:
                                 scores_gradient(g, v, a, drop) @ k * scale,
                             k=lambda g, q, v, a, drop, scale:
                                 T(scores_gradient(g, v, a, drop)) @ q * scale,
                             v=lambda g, a, drop: T(a * drop) @ g,
                             drop=lambda g, v, a: g @ T(v) * a)
attention_with_dropout.wrong("weights before dropout in dv", "mask-ignored", "mask-leak",
                             "missing-factor", "unexplained", v=lambda g, a: T(a) @ g)
attention_with_dropout.wrong("dropout forgotten in ds", "mask-ignored", "mask-leak",
                             "missing-factor", "unexplained",
                             q=lambda g, k, v, a, scale: scores_gradient(g, v, a) @ k * scale)
attention_with_dropout.wrong("1/(1 − p) forgotten in dv", "factor",
                             v=lambda g, a, drop: T(a * (drop > 0)) @ g)
attention_with_dropout.wrong("dropped weights in the softmax's backward", "wrong-coefficient",
                             "extra-factor", "unexplained", "missing-term",
                             q=lambda g, k, v, a, drop, scale:
                                 scores_gradient(g, v, a * drop) @ k * scale)

BLIND = [[1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 1]]


@subject(s=real(4, 3), seen=value(np.array(BLIND, bool)))
def masked_softmax(s, seen):
    """y = softmax of what is seen; a row that sees nothing gives zeros, and gets none"""
    e = np.exp(s) * seen
    return e / np.maximum(row_sum(e), 1e-30)


masked_softmax.right(s=lambda g, y: y * (g - row_sum(g * y)))
masked_softmax.wrong("NaN where a row sees nothing", "nan",
                     s=lambda g, y, seen:
                         np.where(seen.any(-1, keepdims=True), y, np.nan) * (g - row_sum(g * y)))
masked_softmax.wrong("mask forgotten", "mask-ignored", "mask-leak", "stale-value",
                     s=lambda g, s: probabilities(s) * (g - row_sum(g * probabilities(s))))
masked_softmax.wrong("gradient leaks into what is not seen", "mask-leak", "mask-ignored",
                     s=lambda g, y, seen: np.where(seen, y * (g - row_sum(g * y)), g))


@subject(x=real(2, 5, 3), position=real(7, 3))
def positions(x, position):
    """y = x + the first rows of position.    dposition = Σ g over the batch, 0 in the other rows"""
    return x + position[:5]


positions.right(x=lambda g: g.copy(),
                position=lambda g: np.concatenate([g.sum(0), np.zeros((2, 3))]))
positions.wrong("mean over the batch", "averaged-broadcast", "factor",
                position=lambda g: np.concatenate([g.mean(0), np.zeros((2, 3))]))
positions.wrong("first of the batch only", "not-accumulated", "path-missing",
                position=lambda g: np.concatenate([g[0], np.zeros((2, 3))]))
positions.wrong("rows not used get the last one's", "mask-leak", "unexplained",
                position=lambda g: np.concatenate([g.sum(0), g.sum(0)[-2:]]))
positions.wrong("not padded", "shape", position=lambda g: g.sum(0))


def rotate_pairs(x, angle):
    """The pairs (first half, second half) of x turned by angle."""
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle),
                           a * np.sin(angle) + b * np.cos(angle)], axis=-1)


@subject(x=real(5, 6), angle=positive(5, 3))
def rotate(x, angle):
    """y = x turned by angle, pair by pair.    dx = g turned back"""
    return rotate_pairs(x, angle)


rotate.right(x=lambda g, angle: rotate_pairs(g, -angle),
             angle=lambda g, y: (g[:, 3:] * y[:, :3] - g[:, :3] * y[:, 3:]))
rotate.wrong("turned on", "transposed", "wrong-coefficient", "sign", "unexplained",
             x=lambda g, angle: rotate_pairs(g, angle))
rotate.wrong("not turned", "missing-term", "missing-factor", "diagonal-jacobian", "unexplained",
             x=lambda g: g.copy())
rotate.wrong("angle's sign", "sign", angle=lambda g, y: (g[:, :3] * y[:, 3:] - g[:, 3:] * y[:, :3]))
rotate.wrong("angle's gradient from the input", "stale-value", "unexplained",
             angle=lambda g, x: (g[:, 3:] * x[:, :3] - g[:, :3] * x[:, 3:]))
