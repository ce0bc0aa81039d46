"""Losses, windows and products that npformer has never seen: right backward passes pass, one
planted slip is named."""

import numpy as np
import pytest
from strangers import Cases, sigmoid, softmax, total

from npformer.core.samples import distinct, positive, real, value

CASES = Cases()
stranger = CASES.stranger


# ── losses ────────────────────────────────────────────────────────────────────────────────────────


@stranger("sign", a=real(11, 3), p=real(11, 3), n=real(11, 3))
def triplet_loss():
    """Σ max(0, |a − p|² − |a − n|² + 1); the slip: the sign of dn."""
    def forward(a, p, n):
        return np.maximum(((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1) + 1, 0).sum()

    def backward(g, a, p, n, slip):
        on = (((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1) + 1 > 0)[:, None] * g
        return 2 * on * (n - p), 2 * on * (p - a), 2 * on * (n - a if slip else a - n)
    return forward, backward


@stranger("missing-term", "path-missing", a=real(5, 3), b=real(5, 3))
def cosine_similarity():
    """The slip: the length of a is held constant."""
    def forward(a, b):
        return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))

    def backward(g, a, b, slip):
        la, lb = np.sqrt(total(a * a)), np.sqrt(total(b * b))
        c = total(a * b) / (la * lb)
        g = g[:, None]
        return g * (b / (la * lb) - (0 if slip else c * a / la ** 2)), g * (a / (la * lb) - c * b
                                                                            / lb ** 2)
    return forward, backward


@stranger("mask-ignored", "zero", "missing-term", "path-missing", "unexplained", x=distinct(3, 5))
def huber():
    """½x² where |x| < 1, |x| − ½ elsewhere; the slip: nothing where it is linear, as if clipped."""
    def forward(x):
        return np.where(np.abs(x) < 1, x * x / 2, np.abs(x) - 0.5)

    def backward(g, x, slip):
        return g * np.where(np.abs(x) < 1, x, 0.0 if slip else np.sign(x)),
    return forward, backward


@stranger("missing-term", "path-missing", x=real(3, 5))
def focal_loss():
    """−(1 − p)²·ln p, p = σ(x); the slip: the weight (1 − p)² is held constant."""
    def forward(x):
        p = sigmoid(x)
        return -(1 - p) ** 2 * np.log(p)

    def backward(g, x, slip):
        p = sigmoid(x)
        return g * ((0 if slip else 2 * (1 - p) ** 2 * p * np.log(p)) - (1 - p) ** 3),
    return forward, backward


@stranger("path-missing", "missing-term", x=real(5, 3))
def contrastive_loss():
    """−mean ln softmax(x @ xᵀ) at the next item; the slip: one of two uses of x."""
    nxt = np.roll(np.eye(5), 1, axis=1)

    def forward(x):
        return -(nxt * np.log(softmax(x @ x.T))).sum() / 5

    def backward(g, x, slip):
        ds = g * (softmax(x @ x.T) - nxt) / 5
        return (ds if slip else ds + ds.T) @ x,
    return forward, backward


@stranger("missing-factor", "factor", x=real(5, 3), t=positive(1))
def distillation():
    """Σ softmax(c)·(−ln softmax(x/t)); the slip: dt lacks its 1/t²."""
    aim = softmax(np.arange(15.0).reshape(5, 3) % 4)

    def forward(x, t):
        return -(aim * np.log(softmax(x / t))).sum(1)

    def backward(g, x, t, slip):
        dz = g[:, None] * (softmax(x / t) - aim)
        return dz / t, -(dz * x).sum(keepdims=True).reshape(1) / (1 if slip else t ** 2)
    return forward, backward


@stranger("factor", p=real(3, 7), mu=real(7))
def gaussian_kl():
    """½·Σ (p − μ)²/7; the slip: the mean over the batch, where the forward has none."""
    def forward(p, mu):
        return ((p - mu) ** 2).sum(1) / 14

    def backward(g, p, mu, slip):
        d = g[:, None] * (p - mu) / 7
        return d / 3 if slip else d, -d.sum(0)
    return forward, backward


# ── products, windows, sums ───────────────────────────────────────────────────────────────────────


@stranger("averaged-broadcast", "factor", x=real(5, 3), w=real(2, 3, 7), z=real(5, 7))
def bilinear():
    """y = x·w·z; the slip: w's gradient is the mean over the batch."""
    def forward(x, w, z):
        return np.einsum("bi,oij,bj->bo", x, w, z)

    def backward(g, x, w, z, slip):
        dw = np.einsum("bo,bi,bj->oij", g, x, z)
        return (np.einsum("bo,oij,bj->bi", g, w, z), dw / 5 if slip else dw,
                np.einsum("bo,oij,bi->bj", g, w, x))
    return forward, backward


@stranger("mask-leak", "mask-ignored", x=distinct(2, 6))
def maxpool():
    """Windows of two; the slip: both get the gradient."""
    def forward(x):
        return x.reshape(2, 3, 2).max(-1)

    def backward(g, x, slip):
        z = x.reshape(2, 3, 2)
        on = np.ones_like(z) if slip else z == z.max(-1, keepdims=True)
        return (g[..., None] * on).reshape(x.shape),
    return forward, backward


@stranger("factor", x=real(2, 9))
def avgpool():
    """Windows of three; the slip: not divided."""
    def forward(x):
        return x.reshape(2, 3, 3).mean(-1)

    def backward(g, x, slip):
        return np.repeat(g, 3, axis=1) / (1 if slip else 3),
    return forward, backward


@stranger("permuted", x=real(2, 11), w=real(3))
def conv1d():
    """y[t] = Σₖ x[t+k]·w[k]; the slip: the kernel's gradient turned round, as a convolution would
    have it."""
    def forward(x, w):
        return sum(x[:, k:k + 9] * w[k] for k in range(3))

    def backward(g, x, w, slip):
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        for k in range(3):
            dx[:, k:k + 9] += g * w[k]
            dw[k] = (g * x[:, k:k + 9]).sum()
        return dx, dw[::-1].copy() if slip else dw
    return forward, backward


@stranger("not-accumulated", "path-missing", x=real(2, 11), w=real(3))
def dilated_conv():
    """Every second entry; the slip: overlaps assigned."""
    def forward(x, w):
        return sum(x[:, 2 * k:2 * k + 7] * w[k] for k in range(3))

    def backward(g, x, w, slip):
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        for k in range(3):
            window = dx[:, 2 * k:2 * k + 7]
            window[...] = g * w[k] + (0 if slip else window)
            dw[k] = (g * x[:, 2 * k:2 * k + 7]).sum()
        return dx, dw
    return forward, backward


@stranger("transposed", x=real(3, 7))
def discounted_sum():
    """y[t] = Σ 0.9^(t−s)·x[s], s <= t; the slip: run forwards again."""
    powers = np.tril(0.9 ** np.maximum(np.arange(7)[:, None] - np.arange(7), 0))

    def forward(x):
        return x @ powers.T

    def backward(g, x, slip):
        return g @ (powers.T if slip else powers),
    return forward, backward


@stranger("missing-factor", x=real(3, 5))
def logsumexp():
    """The slip: every entry gets the upstream."""
    def forward(x):
        return np.log(np.exp(x).sum(1))

    def backward(g, x, slip):
        return np.repeat(g[:, None], 5, 1) * (1 if slip else softmax(x)),
    return forward, backward


@stranger("sign", "missing-factor", a=real(2, 3), b=real(5, 2))
def kron():
    """The slip: the sign of db."""
    def forward(a, b):
        return np.einsum("ij,kl->ikjl", a, b).reshape(10, 6)

    def backward(g, a, b, slip):
        g = g.reshape(2, 5, 3, 2)
        db = np.einsum("ikjl,ij->kl", g, a)
        return np.einsum("ikjl,kl->ij", g, b), -db if slip else db
    return forward, backward


@stranger("transposed", x=real(3, 3))
def inverse():
    """y = x⁻¹, dx = −yᵀ @ g @ yᵀ; the slip: y not transposed."""
    start = np.diag([3.0, -4.0, 5.0])

    def forward(x):
        return np.linalg.inv(x + start)

    def backward(g, x, slip):
        y = np.linalg.inv(x + start)
        return (-y @ g @ y if slip else -y.T @ g @ y.T),
    return forward, backward


@stranger("factor", x=real(5, 5))
def squared_distances():
    """yᵢⱼ = |xᵢ − xⱼ|²; the slip: the 2 of the square."""
    def forward(x):
        return ((x[:, None] - x) ** 2).sum(-1)

    def backward(g, x, slip):
        d = (g + g.T)[..., None] * (x[:, None] - x)
        return (1 if slip else 2) * d.sum(1),
    return forward, backward


@stranger("nonlinear", x=real(3, 5))
def straight_through():
    """y = x³, with a backward that is clipped; the slip: clipping the upstream."""
    def forward(x):
        return x ** 3

    def backward(g, x, slip):
        return 3 * (np.clip(g, -1, 1) if slip else g) * x * x,
    return forward, backward


@stranger("stale-value", "missing-term", "missing-factor", "unexplained",
          x=value(np.linspace(-2, 2, 15).reshape(3, 5)))
def sine():
    """y = sin x; the slip: the derivative is taken at the output."""
    def forward(x):
        return np.sin(x)

    def backward(g, x, slip):
        return g * np.cos(np.sin(x) if slip else x),
    return forward, backward


@pytest.mark.parametrize("name", CASES)
def test_right_backward_passes(name):
    CASES.check_right(name)


@pytest.mark.parametrize("name", CASES)
def test_the_slip_is_named(name):
    CASES.check_slip(name)
