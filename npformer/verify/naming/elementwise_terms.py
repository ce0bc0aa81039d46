"""Gradients that are sums of terms with the same coefficients everywhere: products of functions of
the entries (`wrong_sums`), and products of matrices (`wrong_products`).

As in line_terms.py, the fewest terms that give n are found, then fitted to a, and the coefficients
compared. Here one coefficient holds for all entries, so there are more numbers to fit and more
candidates can be tried before one fits by chance.
"""

import math
from itertools import combinations

import numpy as np

from ...ops.erf import erf_values
from ..findings import Finding, sum_in_words

MANY = 24                                          # candidates of which no three are tried together


def wrong_sums(e):
    """n = Σ c·g·T for functions T of the entries alone (gelu: Φ and x·φ)."""
    if e.x.size < 4:
        return None
    if e.g.shape == e.x.shape:
        g = e.g
    elif e.g.size == 1:                            # a loss: one number arrives for all
        g = np.broadcast_to(e.g.reshape(-1)[:1], e.x.shape)
    else:
        return None
    with np.errstate(all="ignore"):
        terms = {words: g * t for words, t in elementwise_functions(e) if np.isfinite(t).all()}
    return compare_coefficients(e, terms, "g·({})")


def elementwise_functions(e):
    """(words, array) for functions of x and of the other inputs of its shape: those of which the
    derivatives of the usual activations are made, whole and with a factor left out."""
    x, name = e.x, e.name
    s, t = 1 / (1 + np.exp(-x)), np.tanh(x)
    Phi = 0.5 * (1 + erf_values(x / math.sqrt(2)))
    phi = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    # gelu_tanh: u is tanh of k·(x + 0.044715·x³), and half the derivative of x·u stands before it
    k = math.sqrt(2 / math.pi)
    u = np.tanh(k * (x + 0.044715 * x ** 3))
    half = 0.5 * x * (1 - u * u)
    yield from (
        ("1", np.ones_like(x)),
        (name, x),
        (f"σ({name})", s),
        (f"{name}·σ'({name})", x * s * (1 - s)),
        (f"σ'({name})", s * (1 - s)),
        (f"Φ({name})", Phi),
        (f"{name}·φ({name})", x * phi),
        (f"φ({name})", phi),
        (f"½(1 + tanh u({name}))", 0.5 * (1 + u)),
        (f"½·{name}·(1 − tanh² u)·u'", half * k * (1 + 3 * 0.044715 * x * x)),
        (f"½·{name}·(1 − tanh² u)", half),
        (f"½·{name}·(1 − tanh² u)·k(1 + 0.045·{name}²)", half * k * (1 + 0.044715 * x * x)),
        (f"tanh {name}", t),
        (f"1 − tanh² {name}", 1 - t * t),
        (f"{name}²", x * x),
        (f"cos {name}", np.cos(x)),
        (f"{name}·cos {name}", x * np.cos(x)),
        (f"sin {name}", np.sin(x)))
    for other, z in e.arrays("fbiu"):
        if other != name and z.shape == x.shape:
            yield other, z.astype(float)
            yield f"{other}·{name}", z * x


# ── products of matrices ──────────────────────────────────────────────────────────────────────────


def wrong_products(e):
    """n = Σ c·(a product of two matrices, one of them g or g times an input). Which products there
    may be depends on g's shape alone: a matrix, as for y = x @ w; a number for each row, as for
    xᵀ·m·x; or one number, as for a loss. Each is held against x's shape, so that few of the many
    orders and transposes are left to fit."""
    if e.x.ndim != 2:
        return None
    matrices = {name: np.atleast_2d(v) for name, v in e.arrays("f") if v.ndim <= 2}
    if e.y.ndim == 2:
        matrices["y"] = e.y
    matrices |= {f"{name}ᵀ": v.T for name, v in matrices.items()}
    if e.g.ndim == 2:
        terms = dict(products_with_upstream(e, matrices)) | dict(added_rows(e, matrices))
    elif e.g.shape == (len(e.x),):
        terms = dict(scaled_products(e, matrices, e.g[:, None]))
    elif e.g.size == 1:
        terms = dict(scaled_products(e, matrices, e.g.reshape(-1)[0]))
    else:
        return None
    return compare_coefficients(e, terms, "{}")


def products(matrices, others, shape):
    """(word, word, product) for each matrix with each of the others, if it has that shape."""
    for word, v in matrices.items():
        for other, w in others.items():
            if v.shape[1] == w.shape[0] and (v.shape[0], w.shape[1]) == shape:
                yield word, other, v @ w


def products_with_upstream(e, matrices):
    """(words, array) for g, its transpose, and their products with a matrix from either side."""
    for word, g in (("g", e.g), ("gᵀ", e.g.T)):
        if g.shape == e.x.shape:
            yield word, g
        # One matrix after the other, so that the term that is likelier meant comes first.
        for name, v in matrices.items():
            for left, right in (({word: g}, {name: v}), ({name: v}, {word: g})):
                for first, second, product in products(left, right, e.x.shape):
                    yield f"{first}@{second}", product


def added_rows(e, matrices):
    """(words, array) for the rows of g, or of g times a matrix, added where an index has them."""
    upstream = {"g": e.g} | {f"g@{name}": e.g @ v for name, v in matrices.items()
                             if v.shape[0] == e.g.shape[1]}
    for name, ids in e.arrays("iu"):
        if ids.shape != (len(e.g),) or ids.max() >= len(e.x):
            continue
        place = np.zeros((len(e.x), len(e.g)))     # 1 where a row of g belongs to a row of x
        place[ids, np.arange(len(ids))] = 1
        for word, g in upstream.items():
            if g.shape[1] == e.x.shape[1]:
                yield f"rows of {word} added at {name}", place @ g


def scaled_products(e, matrices, g):
    """(words, array) for products of two matrices, times g: a number for each row, or for all."""
    for first, second, product in products(matrices, matrices, e.x.shape):
        yield f"g·{first}@{second}", g * product


# ── coefficients ──────────────────────────────────────────────────────────────────────────────────


def compare_coefficients(e, terms, form):
    """Fit n with the fewest `terms`, two or three, then a with the same; what the coefficients say.
    One term alone would be a factor, which factors.py names better. A fit whose smallest
    coefficient is next to nothing is one with fewer terms. Of MANY candidates and more only pairs
    are tried: three of them fit by chance, and 24 have 2,024 triples to 276 pairs."""
    terms = {words: t.reshape(-1) for words, t in terms.items() if np.abs(t).max(initial=0) > 1e-9}
    n, a = e.n.reshape(-1), e.a.reshape(-1)
    for count in (2, 3) if len(terms) < MANY else (2,):
        for chosen in combinations(terms, count):
            design = np.stack([terms[w] for w in chosen], axis=1)
            true, *_ = np.linalg.lstsq(design, n, rcond=None)
            if np.abs(design @ true - n).max() > 1e-6 * e.scale:
                continue
            if np.abs(true).min() < 1e-4 * np.abs(true).max():
                continue
            found, *_ = np.linalg.lstsq(design, a, rcond=None)
            if np.abs(design @ found - a).max() <= 1e-6 * e.scale:
                return wrong_coefficient(e, [form.format(w) for w in chosen], true, found)
    return None


def wrong_coefficient(e, chosen, true, found):
    told = sum_in_words(chosen, true)
    hints = (f"look at d{e.name}",
             "every term of the sum rule and of the product rule, each with its own coefficient",
             f"d{e.name} = {told}")
    for c, d, words in zip(true, found, chosen):
        a_path = "@" in words or "rows" in words   # a product of matrices is a use of x
        if abs(d - c) <= 1e-5 * abs(c):
            continue
        if abs(d) <= 1e-6 * abs(c):
            return Finding("path-missing" if a_path else "missing-term", e.name,
                           f"d{e.name} lacks the term {words}: the true gradient is {told}",
                           {"term": words}, "certain", hints)
        twice = abs(d - 2 * c) <= 1e-5 * abs(c) and "@" in words
        return Finding("path-doubled" if twice else "wrong-coefficient", e.name, (
            f"d{e.name}: the term {words} has the coefficient {d:.4g}, and should have {c:.4g}; "
            f"the true gradient is {told}"), {"term": words}, "certain", hints)
    return None
