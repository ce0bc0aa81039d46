"""Wrong gradients that an engine makes, whatever the operation: paths, memory, state, order and
dtype."""

import math

import numpy as np

from ...core.samples import real
from .planted import subject

# ── several paths from one input ──────────────────────────────────────────────────────────────────


@subject(x=real(3, 5), w=real(5, 5), v=real(5, 5))
def residual(x, w, v):
    """y = h + tanh(h @ v), h = x + tanh(x @ w).    dx = dh + the gradient through the first
    branch"""
    b = np.tanh(x @ w)
    c = np.tanh((x + b) @ v)
    return x + b + c, {"b": b, "c": c}


def branch_gradient(g, out, weight):
    """The gradient that a branch tanh(· @ weight) sends to its input."""
    return g * (1 - out ** 2) @ weight.T


def gradient_at_sum(g, c, v):
    """What arrives at h, from the skip and from the second branch."""
    return g + branch_gradient(g, c, v)


residual.right(x=lambda g, b, c, w, v:
                   gradient_at_sum(g, c, v) + branch_gradient(gradient_at_sum(g, c, v), b, w),
               w=lambda g, x, b, c, v: x.T @ (gradient_at_sum(g, c, v) * (1 - b ** 2)),
               v=lambda g, x, b, c: (x + b).T @ (g * (1 - c ** 2)))
residual.wrong("first skip dropped", "path-missing", "missing-term",
               x=lambda g, b, c, w, v: branch_gradient(gradient_at_sum(g, c, v), b, w))
residual.wrong("second skip dropped", "path-missing", "missing-term", "unexplained",
               x=lambda g, b, c, w, v:
                   branch_gradient(g, c, v) + branch_gradient(branch_gradient(g, c, v), b, w))
residual.wrong("branches dropped", "path-missing", "missing-term", "diagonal-jacobian",
               x=lambda g: g.copy())
residual.wrong("skip twice", "path-doubled", "wrong-coefficient",
               x=lambda g, b, c, w, v:
                   g + gradient_at_sum(g, c, v) + branch_gradient(gradient_at_sum(g, c, v), b, w))
residual.wrong("second branch's share overwritten", "path-missing", "missing-term", "unexplained",
               x=lambda g, b, w: g + branch_gradient(g, b, w))


@subject(x=real(3, 5))
def fan_out(x):
    """y = sin(x)·x.    dx = g·(x·cos x + sin x): two uses"""
    return np.sin(x) * x


fan_out.right(x=lambda g, x: g * (x * np.cos(x) + np.sin(x)))
fan_out.wrong("second use overwrites the first", "path-missing", "missing-term",
              x=lambda g, x: g * np.sin(x))
fan_out.wrong("first use only", "path-missing", "missing-term", x=lambda g, x: g * x * np.cos(x))
fan_out.wrong("one use twice", "path-doubled", "wrong-coefficient",
              x=lambda g, x: g * (2 * x * np.cos(x) + np.sin(x)))


@subject(x=real(3, 5))
def doubled(x):
    """y = h + h, h = exp(x) + exp(x).    dx = 4·g·exp(x)"""
    return 4 * np.exp(x)


doubled.right(x=lambda g, y: g * y)
doubled.wrong("each fan-out overwritten", "factor", x=lambda g, y: g * y / 4)
doubled.wrong("one fan-out overwritten", "factor", x=lambda g, y: g * y / 2)
doubled.wrong("each node run once for every path", "factor", x=lambda g, y: g * y * 2)


@subject(x=real(3, 5))
def diamond(x):
    """y = sin(h) + h², h = eˣ/2, differentiated in the order in which the walk meets the nodes"""
    h = np.exp(x) / 2
    return np.sin(h) + h ** 2, {"h": h}


diamond.right(x=lambda g, h: g * (np.cos(h) + 2 * h) * h)
diamond.wrong("h left before its second contribution came", "path-missing", "missing-term",
              x=lambda g, h: g * np.cos(h) * h)
diamond.wrong("h left twice, the first part sent again", "path-doubled", "wrong-coefficient",
              x=lambda g, h: g * (2 * np.cos(h) + 2 * h) * h)


@subject(x=real(3, 5), wq=real(5, 2), wk=real(5, 2))
def shared_input(x, wq, wk):
    """y = (x @ wq) @ (x @ wk)ᵀ: queries and keys of the same x"""
    return x @ wq @ (x @ wk).T


shared_input.right(x=lambda g, x, wq, wk: g @ (x @ wk) @ wq.T + g.T @ (x @ wq) @ wk.T,
                   wq=lambda g, x, wk: x.T @ (g @ (x @ wk)),
                   wk=lambda g, x, wq: x.T @ (g.T @ (x @ wq)))
shared_input.wrong("queries' path only", "path-missing", "missing-term",
                   x=lambda g, x, wq, wk: g @ (x @ wk) @ wq.T)
shared_input.wrong("keys' path only", "path-missing", "missing-term",
                   x=lambda g, x, wq, wk: g.T @ (x @ wq) @ wk.T)
shared_input.wrong("keys' path without its transpose", "transposed", "path-missing",
                   "wrong-coefficient", "missing-term", "unexplained",
                   x=lambda g, x, wq, wk: g @ (x @ wk) @ wq.T + g @ (x @ wq) @ wk.T)


@subject(table=real(7, 3), ids=lambda rng: np.array([2, 0, 2, 5, 3]))
def tied(table, ids):
    """y = table[ids] @ tableᵀ: one table for the first layer and the last"""
    return table[ids] @ table.T


def lookup_gradient(g, table, ids):
    found = np.zeros_like(table)
    np.add.at(found, ids, g @ table)
    return found


tied.right(table=lambda g, table, ids: lookup_gradient(g, table, ids) + g.T @ table[ids])
tied.wrong("look-up's share lost", "path-missing", "missing-term",
           table=lambda g, table, ids: g.T @ table[ids])
tied.wrong("last layer's share lost", "path-missing", "missing-term", "not-accumulated",
           table=lookup_gradient)

# ── memory, state and order ───────────────────────────────────────────────────────────────────────

memory: dict[str, np.ndarray] = {}                 # what an engine remembers that should forget


def add_for_ever(name, array):
    """The sum of this and all earlier gradients: nobody set them to zero."""
    memory[name] = memory.get(name, 0) + array
    return memory[name].copy()


def scale_in_place(array, factor):
    array *= factor
    return array.copy()


@subject(x=real(3, 5), w=real(5, 7))
def layer(x, w):
    """y = tanh(x @ w).    dx = d @ wᵀ,  dw = xᵀ @ d,  d = g·slope, slope = 1 − y²"""
    y = np.tanh(x @ w)
    return y, {"slope": 1 - y ** 2}


layer.right(x=lambda g, w, slope: (g * slope) @ w.T, w=lambda g, x, slope: x.T @ (g * slope))
layer.wrong("gradients never set to zero", "not-repeatable",
            w=lambda g, x, slope: add_for_ever("w", x.T @ (g * slope)))
layer.wrong("upstream written to", "mutates",
            x=lambda g, w, slope: (scale_in_place(g, 2.0) / 2 * slope) @ w.T)
layer.wrong("weight written to", "mutates",
            x=lambda g, w, slope: (g * slope) @ scale_in_place(w, 0.5).T * 2)
layer.wrong("weight updated before the backward pass", "stale-value", "missing-term",
            "wrong-coefficient", "unexplained",
            x=lambda g, w, slope: (g * slope) @ (w - 0.1 * np.sin(w)).T)
layer.wrong("activation overwritten by dropout", "stale-value", "wrong-coefficient", "missing-term",
            "unexplained", w=lambda g, x, y: x.T @ (g * (1 - (y / 0.7) ** 2)))
layer.wrong("input overwritten by its ReLU", "stale-value", "mask-ignored", "unexplained",
            "not-accumulated", "missing-term",
            w=lambda g, x, slope: np.maximum(x, 0).T @ (g * slope))
layer.wrong("random noise left in", "not-repeatable",
            x=lambda g, w, slope:
                (g * slope) @ w.T + np.random.default_rng().normal(size=(3, 5)) * 1e-3)
layer.wrong("loss scale left in", "factor", x=lambda g, w, slope: 1024 * (g * slope) @ w.T,
            w=lambda g, x, slope: 1024 * x.T @ (g * slope))
layer.wrong("learning rate left in", "factor", w=lambda g, x, slope: 1e-3 * x.T @ (g * slope))
layer.wrong("step taken for gradient", "sign", "factor", w=lambda g, x, slope: -x.T @ (g * slope))
layer.wrong("clipped by norm", "nonlinear",
            w=lambda g, x, slope: (lambda dw: dw / max(np.abs(dw).max(), 0.1))(x.T @ (g * slope)))
layer.wrong("clipped entry by entry", "nonlinear",
            w=lambda g, x, slope: np.clip(x.T @ (g * slope), -0.5, 0.5))
layer.wrong("weight decay added", "nonlinear", "ignores-upstream",
            w=lambda g, x, w, slope: x.T @ (g * slope) + 0.1 * w)
layer.wrong("derivative of the activation skipped", "missing-term", "missing-factor", "unexplained",
            x=lambda g, w: g @ w.T)
layer.wrong("single precision", "dtype", "precision",
            w=lambda g, x, slope: (x.T @ (g * slope)).astype(np.float32))
layer.wrong("computed in half precision", "precision",
            w=lambda g, x, slope: (x.T @ (g * slope)).astype(np.float16).astype(np.float64))
layer.wrong("computed in single precision", "precision",
            x=lambda g, w, slope:
                ((g * slope).astype(np.float32) @ w.T.astype(np.float32)).astype(np.float64))
layer.wrong("a NaN where nothing is wrong", "nan",
            x=lambda g, w, slope: np.where(np.arange(5) == 3, np.nan, (g * slope) @ w.T))
layer.wrong("an infinity", "nan",
            w=lambda g, x, slope: np.where(np.arange(7) == 0, np.inf, x.T @ (g * slope)))
layer.wrong("no gradient for the weight", "zero", "shape", w=lambda g: None)
layer.wrong("one entry wrong", "unexplained",
            x=lambda g, w, slope: (g * slope) @ w.T + g[0, 0] * np.eye(3, 5) * (np.arange(5) == 1))
layer.wrong("a small systematic error", "factor", "unexplained",
            x=lambda g, w, slope: (g * slope) @ w.T * (1 + 1e-5))


@subject(x=real(3, 5), w=real(3, 5))
def gate(x, w):
    """y = x·w, with what the engine kept.    dx = g·w,  dw = g·x"""
    return x * w, {}


gate.right(x=lambda g, w: g * w, w=lambda g, x: g * x)
gate.wrong("gradients in another order", "permuted", "extra-factor", "missing-factor",
           "unexplained", x=lambda g, x: g * x,
           w=lambda g, w: g * w)
gate.wrong("input sorted after the forward pass", "stale-value", "missing-factor", "unexplained",
           w=lambda g, x: g * np.sort(x, axis=1))
gate.wrong("the saved array itself handed out", "mutates", "aliases",
           w=lambda g, x: np.multiply(g, x, out=x))
gate.wrong("one buffer for both gradients", "mutates", "aliases", x=lambda g, w: g * w,
           w=lambda g, x: np.multiply(g, x, out=g))


@subject(x=real(3, 5), y=real(3, 5))
def join(x, y):
    """z = x + y, of one shape.    dx = g,  dy = g"""
    return x + y


join.right(x=lambda g: g, y=lambda g: g.copy())
join.wrong("the same array to both", "aliases", x=lambda g: g, y=lambda g: g)
join.wrong("two views of the upstream", "aliases", x=lambda g: g, y=lambda g: g[:])
join.wrong("upstream halved between them", "factor", x=lambda g: g / 2, y=lambda g: g / 2)
join.wrong("normalised upstream", "nonlinear", x=lambda g: g / math.sqrt((g * g).sum() + 1e-9))
