"""Operations that npformer has never seen, in plain NumPy: the right backward passes, one planted slip is named.

Each case is a forward and a backward; the backward takes `slip`, and where that is true it makes one mistake.
"""

from functools import partial

import numpy as np
import pytest

import npformer as npf
from npformer.core.samples import distinct, positive, real, value

CASES = {}


def stranger(*kinds, **draws):
    """Note a case: `make()` gives (forward, backward); kinds are what its slip may be called, the best first."""
    def note(make):
        CASES[make.__name__] = (*make(), kinds, draws)
    return note


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def total(x):
    return x.sum(-1, keepdims=True)


def mean(x):
    return x.mean(-1, keepdims=True)


# ── normalisations ───────────────────────────────────────────────────────────────────────────────────────────────────


@stranger("missing-term", x=real(2, 6, 5), weight=positive(6))
def group_norm():
    """Three groups of two channels; the slip: the mean is held constant."""
    def parts(x):
        z = x.reshape(2, 3, 10)
        r = 1 / np.sqrt(z.var(-1, keepdims=True) + 0.1)
        return (z - mean(z)) * r, r

    def forward(x, weight):
        return parts(x)[0].reshape(x.shape) * weight[:, None]

    def backward(g, x, weight, slip):
        h, r = parts(x)
        d = (g * weight[:, None]).reshape(h.shape)
        dx = r * (d - (0 if slip else mean(d)) - h * mean(d * h))
        return dx.reshape(x.shape), (g * h.reshape(x.shape)).sum((0, 2))
    return forward, backward


@stranger("unsummed-broadcast", "shape", x=real(2, 3, 7), weight=positive(3))
def instance_norm():
    """The slip: the weight's gradient is not summed over the batch."""
    def parts(x):
        r = 1 / np.sqrt(x.var(-1, keepdims=True) + 0.1)
        return (x - mean(x)) * r, r

    def forward(x, weight):
        return parts(x)[0] * weight[:, None]

    def backward(g, x, weight, slip):
        h, r = parts(x)
        d = g * weight[:, None]
        dx = r * (d - mean(d) - h * mean(d * h))
        return dx, (g * h).sum(-1) if slip else (g * h).sum((0, 2))
    return forward, backward


@stranger("missing-term", "path-missing", x=real(5, 3))
def l2_normalise():
    """The slip: the length is held constant."""
    def forward(x):
        return x / np.sqrt(total(x * x))

    def backward(g, x, slip):
        n = np.sqrt(total(x * x))
        y = x / n
        return (g if slip else g - y * total(g * y)) / n,
    return forward, backward


@stranger("missing-term", "path-missing", v=real(5, 3), s=positive(5))
def weight_norm():
    """w = s·v/|v|; the slip: the length is held constant."""
    def forward(v, s):
        return s[:, None] * v / np.sqrt(total(v * v))

    def backward(g, v, s, slip):
        n = np.sqrt(total(v * v))
        u = v / n
        return s[:, None] / n * (g - (0 if slip else u * total(g * u))), (g * u).sum(-1)
    return forward, backward


@stranger("wrong-coefficient", "missing-factor", "factor", x=real(7, 3))
def standardise():
    """Columns to mean 0 and variance 1 over n − 1; the slip: the projection is divided by n."""
    def forward(x):
        return (x - x.mean(0)) / x.std(0, ddof=1)

    def backward(g, x, slip):
        s = x.std(0, ddof=1)
        h = (x - x.mean(0)) / s
        return (g - g.mean(0) - h * (g * h).sum(0) / (7 if slip else 6)) / s,
    return forward, backward


@stranger("missing-term", "path-missing", x=real(3, 5, 7))
def local_response():
    """y = x / (1 + Σ x² over the channels); the slip: the denominator is held constant."""
    def forward(x):
        return x / (1 + (x * x).sum(1, keepdims=True))

    def backward(g, x, slip):
        n = 1 + (x * x).sum(1, keepdims=True)
        return g / n - (0 if slip else 2 * x * (g * x).sum(1, keepdims=True) / n ** 2),
    return forward, backward


# ── recurrent cells and gates ────────────────────────────────────────────────────────────────────────────────────────


@stranger("path-missing", "missing-term", x=real(2, 3), h=real(2, 5), w=real(10, 8))
def gru_cell():
    """The slip: the path of h through h + z·(c − h) is left out."""
    def parts(x, h, w):
        z = sigmoid(np.concatenate([x, h], 1) @ w[:5].T)
        c = np.tanh(np.concatenate([x, h], 1) @ w[5:].T)
        return z, c

    def forward(x, h, w):
        z, c = parts(x, h, w)
        return h + z * (c - h)

    def backward(g, x, h, w, slip):
        z, c = parts(x, h, w)
        both = np.concatenate([x, h], 1)
        dz, dc = g * (c - h) * z * (1 - z), g * z * (1 - c * c)
        dboth = dz @ w[:5] + dc @ w[5:]
        dw = np.concatenate([dz.T @ both, dc.T @ both])
        return dboth[:, :3], dboth[:, 3:] + (0 if slip else g * (1 - z)), dw
    return forward, backward


@stranger("path-missing", "missing-term", "zero", a=real(2, 20), c=real(2, 5))
def lstm_cell():
    """From four gates' sums a and the cell c to h; the slip: the forget gate is taken for 1 in dc."""
    def parts(a, c):
        i, f, o, u = sigmoid(a[:, :5]), sigmoid(a[:, 5:10]), sigmoid(a[:, 10:15]), np.tanh(a[:, 15:])
        return i, f, o, u, np.tanh(f * c + i * u)

    def forward(a, c):
        i, f, o, u, t = parts(a, c)
        return o * t

    def backward(g, a, c, slip):
        i, f, o, u, t = parts(a, c)
        d = g * o * (1 - t * t)
        da = np.concatenate([d * u * i * (1 - i), 0 * d if slip else d * c * f * (1 - f), g * t * o * (1 - o),
                             d * i * (1 - u * u)], 1)
        return da, d * f
    return forward, backward


@stranger("path-missing", "missing-term", x=real(3, 5), w=real(5, 5))
def highway():
    """y = t·tanh(x) + (1 − t)·x, t = σ(x @ w); the slip: the carried x sends nothing back."""
    def forward(x, w):
        t = sigmoid(x @ w)
        return t * np.tanh(x) + (1 - t) * x

    def backward(g, x, w, slip):
        t, u = sigmoid(x @ w), np.tanh(x)
        dt = g * (u - x) * t * (1 - t)
        return dt @ w.T + g * t * (1 - u * u) + (0 if slip else g * (1 - t)), x.T @ dt
    return forward, backward


@stranger("missing-factor", "permuted", "unexplained", x=real(3, 10))
def glu():
    """y = a·σ(b), x = a, b; the slip: the gate's gradient lacks a."""
    def forward(x):
        return x[:, :5] * sigmoid(x[:, 5:])

    def backward(g, x, slip):
        a, s = x[:, :5], sigmoid(x[:, 5:])
        return np.concatenate([g * s, g * (1 if slip else a) * s * (1 - s)], 1),
    return forward, backward


@stranger("missing-factor", "missing-term", "wrong-coefficient", x=real(3, 5), beta=positive(5))
def swish_with_beta():
    """y = x·σ(β·x); the slip: dβ lacks one x."""
    def forward(x, beta):
        return x * sigmoid(beta * x)

    def backward(g, x, beta, slip):
        s = sigmoid(beta * x)
        return g * (s + beta * x * s * (1 - s)), (g * x * (1 if slip else x) * s * (1 - s)).sum(0)
    return forward, backward


@stranger("sign", x=real(3, 5))
def softplus():
    """y = ln(1 + eˣ); the slip: its sign."""
    def forward(x):
        return np.log1p(np.exp(x))

    def backward(g, x, slip):
        return -g * sigmoid(x) if slip else g * sigmoid(x),
    return forward, backward


@stranger("missing-factor", "averaged-broadcast", "factor", x=distinct(3, 5, 2), slope=positive(5))
def prelu():
    """One slope a channel; the slip: the mean over batch and places."""
    def forward(x, slope):
        return np.where(x > 0, x, slope[:, None] * x)

    def backward(g, x, slope, slip):
        ds = np.where(x > 0, 0.0, g * x)
        return np.where(x > 0, g, slope[:, None] * g), ds.mean((0, 2)) if slip else ds.sum((0, 2))
    return forward, backward


# ── attention's relatives ────────────────────────────────────────────────────────────────────────────────────────────


@stranger("unsummed-broadcast", "shape", "averaged-broadcast", s=real(2, 3, 5, 5), slope=positive(3))
def alibi():
    """y = softmax(s − slope·distance); the slip: the mean over batch and places."""
    away = np.abs(np.arange(5)[:, None] - np.arange(5))

    def forward(s, slope):
        return softmax(s - slope[:, None, None] * away)

    def backward(g, s, slope, slip):
        y = softmax(s - slope[:, None, None] * away)
        ds = y * (g - total(g * y))
        return ds, -(ds * away).mean((0, 2, 3)) if slip else -(ds * away).sum((0, 2, 3))
    return forward, backward


@stranger("transposed", "sign", "wrong-coefficient", x=real(5, 4))
def rope():
    """Neighbouring pairs turned by place·frequency; the slip: turned on, not back."""
    angle = np.arange(5)[:, None] * np.array([1.0, 0.3]) + 0.2

    def turn(x, angle):
        y = np.empty_like(x)
        a, b = x[:, 0::2], x[:, 1::2]
        y[:, 0::2] = a * np.cos(angle) - b * np.sin(angle)
        y[:, 1::2] = a * np.sin(angle) + b * np.cos(angle)
        return y

    def forward(x):
        return turn(x, angle)

    def backward(g, x, slip):
        return turn(g, angle if slip else -angle),
    return forward, backward


@stranger("factor", q=real(5, 3), k=real(7, 3), v=real(7, 2))
def attention_with_temperature():
    """softmax(q @ kᵀ / 0.6) @ v; the slip: dk lacks 1/0.6."""
    def forward(q, k, v):
        return softmax(q @ k.T / 0.6) @ v

    def backward(g, q, k, v, slip):
        a = softmax(q @ k.T / 0.6)
        da = g @ v.T
        ds = a * (da - total(da * a))
        return ds @ k / 0.6, ds.T @ q / (1 if slip else 0.6), a.T @ g
    return forward, backward


@stranger("not-accumulated", "path-missing", q=real(5, 6), k=real(7, 3))
def grouped_heads():
    """Two query heads share one key head; the slip: only the first sends to the keys."""
    def forward(q, k):
        return np.stack([q[:, :3] @ k.T, q[:, 3:] @ k.T])

    def backward(g, q, k, slip):
        dk = g[0].T @ q[:, :3] + (0 if slip else g[1].T @ q[:, 3:])
        return np.concatenate([g[0] @ k, g[1] @ k], 1), dk
    return forward, backward


@stranger("path-missing", "missing-term", q=real(5, 3), k=real(5, 3), v=real(5, 2))
def linear_attention():
    """y = φ(q) @ (φ(k)ᵀ @ v) / (φ(q)·Σ φ(k)), φ = exp; the slip: dk lacks the denominator's path."""
    def forward(q, k, v):
        fq, fk = np.exp(q), np.exp(k)
        return fq @ (fk.T @ v) / (fq @ fk.sum(0))[:, None]

    def backward(g, q, k, v, slip):
        fq, fk = np.exp(q), np.exp(k)
        n = (fq @ fk.sum(0))[:, None]
        y = fq @ (fk.T @ v) / n
        dtop, dn = g / n, -total(g * y) / n
        dfq = dtop @ (fk.T @ v).T + dn * fk.sum(0)
        dfk = v @ (fq.T @ dtop).T + (0 if slip else (fq * dn).sum(0))
        return dfq * fq, dfk * fk, fk @ (fq.T @ dtop)
    return forward, backward


@stranger("not-accumulated", "path-missing", table=real(7, 2))
def relative_positions():
    """bias[i, j] = table[j − i + 3]; the slip: assigned, not added."""
    index = np.arange(4) - np.arange(4)[:, None] + 3

    def forward(table):
        return table[index]

    def backward(g, table, slip):
        d = np.zeros_like(table)
        if slip:
            d[index] = g
        else:
            np.add.at(d, index, g)
        return d,
    return forward, backward


# ── losses ───────────────────────────────────────────────────────────────────────────────────────────────────────────


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
        return g * (b / (la * lb) - (0 if slip else c * a / la ** 2)), g * (a / (la * lb) - c * b / lb ** 2)
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


# ── products, windows, sums ──────────────────────────────────────────────────────────────────────────────────────────


@stranger("averaged-broadcast", "factor", x=real(5, 3), w=real(2, 3, 7), z=real(5, 7))
def bilinear():
    """y = x·w·z; the slip: w's gradient is the mean over the batch."""
    def forward(x, w, z):
        return np.einsum("bi,oij,bj->bo", x, w, z)

    def backward(g, x, w, z, slip):
        dw = np.einsum("bo,bi,bj->oij", g, x, z)
        return (np.einsum("bo,oij,bj->bi", g, w, z), dw / 5 if slip else dw, np.einsum("bo,oij,bi->bj", g, w, x))
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
    """y[t] = Σₖ x[t+k]·w[k]; the slip: the kernel's gradient turned round, as a convolution would have it."""
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


@stranger("stale-value", "missing-term", "missing-factor", "unexplained", x=value(np.linspace(-2, 2, 15).reshape(3, 5)))
def sine():
    """y = sin x; the slip: the derivative is taken at the output."""
    def forward(x):
        return np.sin(x)

    def backward(g, x, slip):
        return g * np.cos(np.sin(x) if slip else x),
    return forward, backward


def judged(name, slip, seed=0):
    forward, backward, kinds, draws = CASES[name]
    rng = np.random.default_rng(seed)
    inputs = [draw(rng) for draw in draws.values()]
    return npf.verify.check_vjp(forward, partial(backward, slip=slip), inputs, names=list(draws), raises=False)


def test_there_are_enough():
    assert len(CASES) >= 25


@pytest.mark.parametrize("name", CASES)
def test_right_backward_passes(name):
    for seed in range(3):
        report = judged(name, False, seed)
        assert report and not report.findings, report


@pytest.mark.parametrize("name", CASES)
def test_the_slip_is_named(name):
    report = judged(name, True)
    assert not report
    assert report.wrong[0].kind in CASES[name][2], report


@pytest.mark.parametrize("name", ["gru_cell", "triplet_loss", "group_norm"])
def test_it_raises_unless_told_not_to(name):
    forward, backward, _, draws = CASES[name]
    inputs = [draw(np.random.default_rng(0)) for draw in draws.values()]
    with pytest.raises(npf.GradientError) as error:
        npf.verify.check_vjp(forward, partial(backward, slip=True), inputs)
    assert error.value.findings and len(str(error.value).splitlines()) < 40
