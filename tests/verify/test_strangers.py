"""Layers that npformer has never seen, in plain NumPy: right backward passes pass, one planted slip
is named."""

from functools import partial

import numpy as np
import pytest
from strangers import Cases, mean, sigmoid, softmax, total

import npformer as npf
from npformer.core.samples import distinct, positive, real

CASES = Cases()
stranger = CASES.stranger


# ── normalisations ────────────────────────────────────────────────────────────────────────────────


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


# ── recurrent cells and gates ─────────────────────────────────────────────────────────────────────


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
    """From four gates' sums a and the cell c to h; the slip: the forget gate is taken for 1 in
    dc."""
    def parts(a, c):
        i, f, o, u = sigmoid(a[:, :5]), sigmoid(a[:, 5:10]), sigmoid(a[:, 10:15]), np.tanh(a[:,
                                                                                             15:])
        return i, f, o, u, np.tanh(f * c + i * u)

    def forward(a, c):
        i, f, o, u, t = parts(a, c)
        return o * t

    def backward(g, a, c, slip):
        i, f, o, u, t = parts(a, c)
        d = g * o * (1 - t * t)
        da = np.concatenate([d * u * i * (1 - i), 0 * d if slip else d * c * f * (1 - f),
                             g * t * o * (1 - o),
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


# ── attention's relatives ─────────────────────────────────────────────────────────────────────────


@stranger("unsummed-broadcast", "shape", "averaged-broadcast", s=real(2, 3, 5, 5),
          slope=positive(3))
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
    """y = φ(q) @ (φ(k)ᵀ @ v) / (φ(q)·Σ φ(k)), φ = exp; the slip: dk lacks the denominator's
    path."""
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


@pytest.mark.parametrize("name", CASES)
def test_right_backward_passes(name):
    CASES.check_right(name)


@pytest.mark.parametrize("name", CASES)
def test_the_slip_is_named(name):
    CASES.check_slip(name)


@pytest.mark.parametrize("name", ["gru_cell", "alibi", "group_norm"])
def test_it_raises_unless_told_not_to(name):
    forward, backward, _, draws = CASES[name]
    inputs = [draw(np.random.default_rng(0)) for draw in draws.values()]
    with pytest.raises(npf.GradientError) as error:
        npf.verify.check_vjp(forward, partial(backward, slip=True), inputs)
    assert error.value.findings and len(str(error.value).splitlines()) < 40
