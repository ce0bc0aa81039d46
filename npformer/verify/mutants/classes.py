"""Wrong gradients of softmax, log-softmax and the losses."""

import numpy as np

from ...core.samples import positive, real, value
from .planted import row_mean, row_sum, subject


@subject(x=real(5, 7))
def softmax(x):
    """y = exp(x) / Σ exp(x) over the last dim.    dx = y · (g − Σ g·y)"""
    e = np.exp(x)
    return e / row_sum(e)


probabilities = softmax.function


softmax.right(x=lambda g, y: y * (g - row_sum(g * y)))
softmax.wrong("diagonal Jacobian", "diagonal-jacobian", x=lambda g, y: g * y * (1 - y))
softmax.wrong("inner sum dropped", "missing-term", x=lambda g, y: g * y)
softmax.wrong("sum of g for the sum of g·y", "missing-factor", "wrong-coefficient", "missing-term",
              "unexplained", x=lambda g, y: y * (g - row_sum(g)))
softmax.wrong("mean for sum", "wrong-coefficient", x=lambda g, y: y * (g - row_mean(g * y)))
softmax.wrong("plus for minus", "wrong-coefficient", x=lambda g, y: y * (g + row_sum(g * y)))
softmax.wrong("leading y lost", "missing-factor", x=lambda g, y: g - row_sum(g * y))
softmax.wrong("leading y squared", "extra-factor", x=lambda g, y: y * y * (g - row_sum(g * y)))
softmax.wrong("sum over the batch", "wrong-axis", x=lambda g, y: y * (g - (g * y).sum(0)))
softmax.wrong("sum over everything", "wrong-axis", x=lambda g, y: y * (g - (g * y).sum()))
softmax.wrong("upstream forgotten", "ignores-upstream", x=lambda y: y * (1 - y))
softmax.wrong("straight through", "missing-factor", "missing-term", "unexplained",
              x=lambda g: g.copy())
softmax.wrong("inner sum twice", "wrong-coefficient", "path-doubled",
              x=lambda g, y: y * (g - 2 * row_sum(g * y)))
softmax.wrong("input for output in the sum", "missing-term", "wrong-coefficient", "unexplained",
              "stale-value", x=lambda g, x, y: y * (g - row_sum(g * x)))


@subject(x=real(5, 7))
def log_softmax(x):
    """y = x − ln Σ exp(x).    dx = g − exp(y) · Σ g"""
    return x - np.log(row_sum(np.exp(x)))


log_softmax.right(x=lambda g, y: g - np.exp(y) * row_sum(g))
log_softmax.wrong("as if Σ g were 1", "nonlinear", "ignores-upstream", "missing-factor",
                  x=lambda g, y: g - np.exp(y))
log_softmax.wrong("second term dropped", "missing-term", x=lambda g: g.copy())
log_softmax.wrong("mean for sum", "wrong-coefficient", x=lambda g, y: g - np.exp(y) * row_mean(g))
log_softmax.wrong("plus for minus", "wrong-coefficient", x=lambda g, y: g + np.exp(y) * row_sum(g))
log_softmax.wrong("sum over the batch", "wrong-axis", x=lambda g, y: g - np.exp(y) * g.sum(0))
log_softmax.wrong("log-probabilities for probabilities", "missing-term", "wrong-coefficient",
                  "unexplained", x=lambda g, y: g - y * row_sum(g))
log_softmax.wrong("g inside the sum once more", "diagonal-jacobian",
                  x=lambda g, y: g * (1 - np.exp(y)))
log_softmax.wrong("the backward of softmax", "missing-factor", "extra-factor", "unexplained",
                  x=lambda g, y: np.exp(y) * (g - row_sum(g * np.exp(y))))

# ── cross-entropy: the upstream is one number ─────────────────────────────────────────────────────

TARGET = [3, 0, 4, 3, 1, 3, 2]


def one_hot(target, p):
    """1 at the target, 0 elsewhere, in p's shape; a target below 0 counts as 0."""
    return np.eye(p.shape[-1])[np.maximum(target, 0)]


def target_log_probability(x, target):
    return log_softmax.function(x)[np.arange(len(target)), target]


@subject(x=real(7, 5), target=value(TARGET))
def cross_entropy(x, target):
    """L = −mean ln p[target].    dx = g/N · (p − 1 at the target)"""
    return -target_log_probability(x, target).mean(), {"p": probabilities(x)}


cross_entropy.right(x=lambda g, p, target: g * (p - one_hot(target, p)) / len(target))
cross_entropy.wrong("1/N forgotten", "factor", x=lambda g, p, target: g * (p - one_hot(target, p)))
cross_entropy.wrong("divided by N·V", "factor",
                    x=lambda g, p, target: g * (p - one_hot(target, p)) / p.size)
cross_entropy.wrong("divided by V", "factor",
                    x=lambda g, p, target: g * (p - one_hot(target, p)) / p.shape[-1])
cross_entropy.wrong("sign", "sign",
                    x=lambda g, p, target: g * (one_hot(target, p) - p) / len(target))
cross_entropy.wrong("target's column only", "missing-term", "mask-ignored", "path-missing",
                    "diagonal-jacobian", "unexplained",
                    x=lambda g, p, target: g * (p - 1) * one_hot(target, p) / len(target))
cross_entropy.wrong("1 not subtracted", "missing-term", "path-missing",
                    x=lambda g, p: g * p / len(p))
cross_entropy.wrong("probabilities forgotten", "missing-term",
                    x=lambda g, p, target: -g * one_hot(target, p) / len(target))
cross_entropy.wrong("logits for probabilities", "missing-term", "wrong-coefficient", "unexplained",
                    x=lambda g, x, target: g * (x - one_hot(target, x)) / len(target))
cross_entropy.wrong("upstream forgotten", "ignores-upstream",
                    x=lambda p, target: (p - one_hot(target, p)) / len(target))
cross_entropy.wrong("through softmax once more", "extra-factor", "unexplained", "missing-factor",
                    x=lambda g, p, target:
                        softmax.rules["x"](g * (p - one_hot(target, p)) / len(target), p))


@subject(x=real(7, 5), target=value([3, 0, -100, 3, 1, -100, 2]))
def cross_entropy_with_padding(x, target):
    """L = −mean ln p[target] over the items whose target is not −100"""
    kept = target >= 0
    return -target_log_probability(x[kept], target[kept]).mean()


def kept_gradient(x, target, kept, count):
    """The right gradient for g = 1, but for which items are `kept`, and what is their `count`."""
    return (probabilities(x) - one_hot(target, x)) * np.reshape(kept, (-1, 1)) / count


cross_entropy_with_padding.right(x=lambda g, x, target:
                                     g * kept_gradient(x, target, target >= 0, (target >= 0).sum()))
cross_entropy_with_padding.wrong("padding counted in N", "factor",
                                 x=lambda g, x, target:
                                     g * kept_gradient(x, target, target >= 0, len(target)))
cross_entropy_with_padding.wrong("padding gets a gradient", "mask-leak", "mask-ignored",
                                 x=lambda g, x, target:
                                     g * kept_gradient(x, target, True, (target >= 0).sum()))


@subject(x=real(7, 5), target=value(TARGET), weight=positive(5))
def cross_entropy_weighted(x, target, weight):
    """L = −Σ wₙ·ln pₙ[target] / Σ wₙ, wₙ = weight[target]"""
    w = weight[target]
    return -(w * target_log_probability(x, target)).sum() / w.sum(), {"p": probabilities(x), "w": w}


def class_weight_gradient(g, x, y, w, target):
    """d weight[i] = g · Σ (ℓₙ − L) / Σ w over the items of class i."""
    return g * np.bincount(target, -target_log_probability(x, target) - y, x.shape[-1]) / w.sum()


cross_entropy_weighted.right(x=lambda g, p, w, target:
                                 g * (p - one_hot(target, p)) * w[:, None] / w.sum(),
                             weight=class_weight_gradient)
cross_entropy_weighted.wrong("weights forgotten", "missing-factor",
                             x=lambda g, p, w, target: g * (p - one_hot(target, p)) / w.sum())
cross_entropy_weighted.wrong("weights squared", "extra-factor",
                             x=lambda g, p, w, target:
                                 g * (p - one_hot(target, p)) * w[:, None] ** 2 / w.sum())
cross_entropy_weighted.wrong("divided by N", "factor",
                             x=lambda g, p, w, target:
                                 g * (p - one_hot(target, p)) * w[:, None] / len(target))
cross_entropy_weighted.wrong("weight on the target alone", "wrong-coefficient", "missing-factor",
                             "unexplained",
                             x=lambda g, p, w, target:
                                 g * (p - one_hot(target, p) * w[:, None]) / w.sum())

E = 0.3                                            # how much the smoothing gives away


@subject(x=real(7, 5), target=value(TARGET))
def cross_entropy_smoothed(x, target):
    """L = −mean Σ q·ln p, q = 0.7 at the target + 0.3/V everywhere.    dx = g/N · (p − q)"""
    log_p = log_softmax.function(x)
    return -(smooth_target(target, x) * log_p).sum(1).mean(), {"p": probabilities(x)}


def smooth_target(target, p):
    """q: what the smoothing makes of the 1 at the target and the 0 elsewhere."""
    return (1 - E) * one_hot(target, p) + E / p.shape[-1]


cross_entropy_smoothed.right(x=lambda g, p, target:
                                 g * (p - smooth_target(target, p)) / len(target))
cross_entropy_smoothed.wrong("smoothing forgotten", "wrong-coefficient", "missing-term",
                             "unexplained",
                             x=lambda g, p, target: g * (p - one_hot(target, p)) / len(target))
cross_entropy_smoothed.wrong("even share forgotten", "missing-term", "unexplained",
                             x=lambda g, p, target:
                                 g * (p - (1 - E) * one_hot(target, p)) / len(target))
cross_entropy_smoothed.wrong("shared by the other classes only", "wrong-coefficient", "unexplained",
                             x=lambda g, p, target: g / len(target) * (
                                 p - (1 - E) * one_hot(target, p)
                                 - E / (p.shape[-1] - 1) * (1 - one_hot(target, p))))

# ── other losses ──────────────────────────────────────────────────────────────────────────────────


@subject(x=real(3, 5), target=real(3, 5))
def mse(x, target):
    """L = mean (x − target)².    dx = 2·g·(x − target)/n,  dtarget = −dx"""
    return ((x - target) ** 2).mean()


mse.right(x=lambda g, x, target: 2 * g * (x - target) / 15,
          target=lambda g, x, target: 2 * g * (target - x) / 15)
mse.wrong("2 forgotten", "factor", x=lambda g, x, target: g * (x - target) / 15)
mse.wrong("divided by the batch only", "factor", x=lambda g, x, target: 2 * g * (x - target) / 3)
mse.wrong("sign", "sign", x=lambda g, x, target: 2 * g * (target - x) / 15)
mse.wrong("target's gradient left out", "zero", "shape", target=lambda g: None)
mse.wrong("square of the error", "extra-factor",
          x=lambda g, x, target: 2 * g * (x - target) ** 2 / 15)
mse.wrong("target not subtracted", "missing-term", x=lambda g, x: 2 * g * x / 15)


@subject(x=real(3, 5),
         target=value(np.array([[1, 0, 0, 1, 1], [0, 0, 1, 0, 1], [1, 1, 0, 1, 0]]) * 1.0))
def bce_with_logits(x, target):
    """L = −mean (t·ln s + (1 − t)·ln(1 − s)), s = 1/(1 + exp(−x)).    dx = g·(s − t)/n,  dt =
    −g·x/n"""
    s = 1 / (1 + np.exp(-x))
    return -(target * np.log(s) + (1 - target) * np.log(1 - s)).mean(), {"s": s}


bce_with_logits.right(x=lambda g, s, target: g * (s - target) / 15, target=lambda g, x: -g * x / 15)
bce_with_logits.wrong("through the sigmoid once more", "extra-factor",
                      x=lambda g, s, target: g * (s - target) * s * (1 - s) / 15)
bce_with_logits.wrong("target not subtracted", "missing-term", x=lambda g, s: g * s / 15)
bce_with_logits.wrong("positives only", "extra-factor", "path-missing", "missing-term",
                      x=lambda g, s, target: g * (s - 1) * target / 15)
bce_with_logits.wrong("1/n forgotten", "factor", x=lambda g, s, target: g * (s - target))
