"""Wrong gradients of the normalisations. What is taken out of d = g·weight shows only where weight
is not 1."""

import numpy as np

from ...core.samples import positive, real
from .planted import column_sum, row_mean, row_sum, subject

EPS = 0.1                                          # large enough for its place to matter


@subject(x=real(2, 3, 7), weight=positive(7), bias=real(7))
def layer_norm(x, weight, bias, *, eps=EPS):
    """y = x̂·weight + bias, x̂ = (x − μ)·r, r = 1/√(σ² + eps).

    dx = r·(d − mean(d) − x̂·mean(d·x̂)), d = g·weight;  dweight = Σ g·x̂;  dbias = Σ g
    """
    h, r = standardize(x, -1, eps)
    return h * weight + bias, {"h": h, "r": r, "eps": eps}


def standardize(x, axis, eps):
    """x̂ and r: the mean taken out, then divided by the deviation."""
    r = 1 / np.sqrt(x.var(axis, keepdims=True) + eps)
    return (x - x.mean(axis, keepdims=True)) * r, r


def norm_gradient(d, h, r, mean=1, along=1, axis=-1):
    """r·(d − mean(d) − x̂·mean(d·x̂)), with coefficients before the second and the third term."""
    means = d.mean(axis, keepdims=True), (d * h).mean(axis, keepdims=True)
    return r * (d - mean * means[0] - along * h * means[1])


layer_norm.right(x=lambda g, h, r, weight: norm_gradient(g * weight, h, r),
                 weight=lambda g, h: column_sum(g * h),
                 bias=column_sum)
layer_norm.wrong("statistics held constant", "missing-term", x=lambda g, r, weight: r * g * weight)
layer_norm.wrong("mean term dropped", "missing-term",
                 x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, mean=0))
layer_norm.wrong("projection dropped", "missing-term",
                 x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, along=0))
layer_norm.wrong("mean subtracted twice", "wrong-coefficient", "path-doubled",
                 x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, mean=2))
layer_norm.wrong("sums for means", "wrong-coefficient",
                 x=lambda g, h, r, weight:
                     norm_gradient(g * weight, h, r, mean=len(weight), along=len(weight)))
layer_norm.wrong("plus before the projection", "wrong-coefficient",
                 x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, along=-1))
layer_norm.wrong("projection halved", "wrong-coefficient",
                 x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, along=0.5))
layer_norm.wrong("weight forgotten", "missing-factor", x=lambda g, h, r: norm_gradient(g, h, r))
layer_norm.wrong("weight outside the bracket", "missing-factor", "wrong-coefficient", "transposed",
                 x=lambda g, h, r, weight: weight * norm_gradient(g, h, r))
layer_norm.wrong("r forgotten", "missing-factor",
                 x=lambda g, h, weight: norm_gradient(g * weight, h, 1.0))
layer_norm.wrong("r squared", "extra-factor",
                 x=lambda g, h, r, weight: norm_gradient(g * weight, h, r * r))
layer_norm.wrong("times the deviation", "extra-factor", "missing-factor",
                 x=lambda g, h, r, weight: norm_gradient(g * weight, h, 1 / r))
layer_norm.wrong("eps left out of r", "missing-eps", "missing-factor",
                 x=lambda g, h, x, weight:
                     norm_gradient(g * weight, h, 1 / x.std(-1, keepdims=True)))
layer_norm.wrong("eps outside the root", "missing-eps", "missing-factor",
                 x=lambda g, h, x, weight, eps:
                     norm_gradient(g * weight, h, 1 / (x.std(-1, keepdims=True) + eps)))
layer_norm.wrong("variance over n − 1", "missing-eps", "missing-factor", "unexplained",
                 x=lambda g, h, x, weight, eps:
                     norm_gradient(g * weight, h, (x.var(-1, keepdims=True, ddof=1) + eps) ** -0.5))
layer_norm.wrong("means over the batch", "wrong-axis",
                 x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, axis=(0, 1)))
layer_norm.wrong("x for x̂ in the projection", "missing-term", "wrong-coefficient", "unexplained",
                 "stale-value", x=lambda g, x, r, weight: norm_gradient(g * weight, x, r))
layer_norm.wrong("x − μ for x̂ in the projection", "wrong-coefficient", "missing-factor",
                 "unexplained",
                 x=lambda g, x, r, weight: norm_gradient(g * weight, x - row_mean(x), r))
layer_norm.wrong("diagonal Jacobian", "diagonal-jacobian",
                 x=lambda g, h, r, weight: r * g * weight * (1 - (1 + h * h) / len(weight)))
layer_norm.wrong("weight's gradient from x", "missing-term", "missing-factor", "unexplained",
                 "stale-value", weight=lambda g, x: column_sum(g * x))
layer_norm.wrong("weight's gradient from the output", "missing-factor", "extra-factor",
                 "missing-term", "stale-value", weight=lambda g, y: column_sum(g * y))
layer_norm.wrong("weight's gradient without x̂", "missing-factor", weight=column_sum)
layer_norm.wrong("weight's gradient not summed", "unsummed-broadcast", "shape",
                 weight=lambda g, h: g * h)
layer_norm.wrong("weight's gradient summed over the batch only", "unsummed-broadcast", "shape",
                 weight=lambda g, h: (g * h).sum(0))
layer_norm.wrong("bias's gradient averaged", "averaged-broadcast", "factor",
                 bias=lambda g: column_sum(g) * g.shape[-1] / g.size)
layer_norm.wrong("bias's gradient from the first of the batch", "not-accumulated", "path-missing",
                 bias=lambda g: g[0].sum(0))
layer_norm.wrong("bias's gradient times weight", "extra-factor",
                 bias=lambda g, weight: column_sum(g * weight))


@subject(x=real(2, 3, 7), weight=positive(7))
def rms_norm(x, weight, *, eps=EPS):
    """y = x̂·weight, x̂ = x·r, r = 1/√(mean(x²) + eps).

    dx = r·(d − x̂·mean(d·x̂)), d = g·weight;  dweight = Σ g·x̂
    """
    r = 1 / np.sqrt(row_mean(x * x) + eps)
    return x * r * weight, {"h": x * r, "r": r, "eps": eps}


rms_norm.right(x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, mean=0),
               weight=lambda g, h: column_sum(g * h))
rms_norm.wrong("root held constant", "missing-term", x=lambda g, r, weight: r * g * weight)
rms_norm.wrong("as in layer_norm", "missing-term", "wrong-coefficient", "unexplained",
               x=lambda g, h, r, weight: norm_gradient(g * weight, h, r))
rms_norm.wrong("r³ for r in the projection's place", "missing-factor", "wrong-coefficient",
               "unexplained",
               x=lambda g, x, r, weight: r * g * weight - r * x * row_mean(g * weight * x))
rms_norm.wrong("sum for mean", "wrong-coefficient",
               x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, 0, len(weight)))
rms_norm.wrong("plus for minus", "wrong-coefficient",
               x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, 0, -1))
rms_norm.wrong("weight forgotten", "missing-factor",
               x=lambda g, h, r: norm_gradient(g, h, r, mean=0))
rms_norm.wrong("weight outside the bracket", "missing-factor", "wrong-coefficient", "transposed",
               x=lambda g, h, r, weight: weight * norm_gradient(g, h, r, mean=0))
rms_norm.wrong("eps left out of r", "missing-eps", "missing-factor",
               x=lambda g, h, x, weight:
                   norm_gradient(g * weight, h, 1 / np.sqrt(row_mean(x * x)), mean=0))
rms_norm.wrong("weight's gradient from x", "missing-factor", "unexplained", "stale-value",
               weight=lambda g, x: column_sum(g * x))
rms_norm.wrong("mean over everything", "wrong-axis",
               x=lambda g, h, r, weight: r * (g * weight - h * (g * weight * h).mean()))


@subject(x=real(11, 3), weight=positive(3), bias=real(3))
def batch_norm(x, weight, bias):
    """As layer_norm, with the statistics of each column over the batch"""
    h, r = standardize(x, 0, EPS)
    return h * weight + bias, {"h": h, "r": r}


batch_norm.right(x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, axis=0),
                 weight=lambda g, h: (g * h).sum(0),
                 bias=column_sum)
batch_norm.wrong("as in evaluation: statistics held constant", "missing-term",
                 x=lambda g, r, weight: r * g * weight)
batch_norm.wrong("mean term dropped", "missing-term",
                 x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, mean=0, axis=0))
batch_norm.wrong("variance held constant", "missing-term",
                 x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, along=0, axis=0))
batch_norm.wrong("means over the features", "wrong-axis",
                 x=lambda g, h, r, weight: norm_gradient(g * weight, h, r))
batch_norm.wrong("sums for means", "wrong-coefficient",
                 x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, 11, 11, axis=0))
batch_norm.wrong("n − 1 in one of the means", "wrong-coefficient",
                 x=lambda g, h, r, weight: norm_gradient(g * weight, h, r, along=1.1, axis=0))
batch_norm.wrong("weight forgotten", "missing-factor",
                 x=lambda g, h, r: norm_gradient(g, h, r, axis=0))
batch_norm.wrong("r forgotten", "missing-factor",
                 x=lambda g, h, weight: norm_gradient(g * weight, h, 1.0, axis=0))
batch_norm.wrong("bias's gradient averaged", "averaged-broadcast", "factor",
                 bias=lambda g: g.mean(0))
batch_norm.wrong("weight's gradient averaged", "averaged-broadcast", "factor",
                 weight=lambda g, h: (g * h).mean(0))


@subject(x=real(3, 5))
def normalize(x):
    """y = x / √Σ x².    dx = (g − y·Σ g·y) / √Σ x²"""
    length = np.sqrt(row_sum(x * x))
    return x / length, {"length": length}


normalize.right(x=lambda g, y, length: (g - y * row_sum(g * y)) / length)
normalize.wrong("length held constant", "missing-term", x=lambda g, length: g / length)
normalize.wrong("x for y in the projection", "wrong-coefficient", "missing-factor", "unexplained",
                "extra-factor", x=lambda g, x, length: (g - x * row_sum(g * x)) / length)
normalize.wrong("1/length forgotten", "missing-factor", x=lambda g, y: g - y * row_sum(g * y))
normalize.wrong("diagonal Jacobian", "diagonal-jacobian",
                x=lambda g, y, length: g * (1 - y * y) / length)
