"""Gradients that are sums of terms with the same coefficients everywhere: products of functions of
the entries, and products of matrices. The fewest terms that give n are found; then they are fitted
to a, and the coefficients compared."""

import math
from itertools import combinations

import numpy as np

from ...ops.erf import erf_values
from ..findings import Finding, sum_in_words


def wrong_sums(e):
    """n = Σ c·g·T for functions T of the entries alone (gelu: Φ and x·φ)."""
    g = e.g if e.g.shape == e.x.shape else np.broadcast_to(e.g.reshape(-1)[:1],
                                                           e.x.shape) if e.g.size == 1 else None
    if g is None or e.x.size < 4:
        return None
    with np.errstate(all="ignore"):
        terms = {words: g * t for words, t in elementwise_functions(e) if np.isfinite(t).all()}
    return compare_coefficients(e, terms, "g·({})")


def elementwise_functions(e):
    """(words, array) for functions of x and of the other inputs of its shape."""
    x, name = e.x, e.name
    s, t = 1 / (1 + np.exp(-x)), np.tanh(x)
    Phi, phi = 0.5 * (1 + erf_values(x / math.sqrt(2))), np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    k = math.sqrt(2 / math.pi)
    u = np.tanh(k * (x + 0.044715 * x ** 3))
    yield "1", np.ones_like(x)
    yield name, x
    yield from ((f"σ({name})", s), (f"{name}·σ'({name})", x * s * (1 - s)),
                (f"σ'({name})", s * (1 - s)))
    yield from ((f"Φ({name})", Phi), (f"{name}·φ({name})", x * phi), (f"φ({name})", phi))
    yield from ((f"½(1 + tanh u({name}))", 0.5 * (1 + u)),
                (f"½·{name}·(1 − tanh² u)·u'",
                 0.5 * x * (1 - u * u) * k * (1 + 3 * 0.044715 * x * x)),
                (f"½·{name}·(1 − tanh² u)", 0.5 * x * (1 - u * u)),
                (f"½·{name}·(1 − tanh² u)·k(1 + 0.045·{name}²)",
                0.5 * x * (1 - u * u) * k * (1 + 0.044715 * x * x)))
    yield from ((f"tanh {name}", t), (f"1 − tanh² {name}", 1 - t * t), (f"{name}²", x * x),
                (f"cos {name}", np.cos(x)),
                (f"{name}·cos {name}", x * np.cos(x)), (f"sin {name}", np.sin(x)))
    for other, z in e.inputs.items():
        if other != name and isinstance(z,
                                        np.ndarray) and z.shape == x.shape and z.dtype.kind in "fbiu":
            yield other, z.astype(float)
            yield f"{other}·{name}", z * x


def wrong_products(e):
    """n = Σ c·(a product of two matrices, one of them g or g times an input)."""
    if e.x.ndim != 2:
        return None
    plain = {name: v for name, v in e.inputs.items() if isinstance(v, np.ndarray) and v.dtype.kind
             == "f" and v.ndim <= 2}
    plain |= {"y": e.y} if e.y.ndim == 2 else {}
    mats = {name: np.atleast_2d(v) for name, v in plain.items()}
    mats |= {f"{name}ᵀ": v.T for name, v in mats.items()}
    terms = {}
    if e.g.ndim == 2:
        for word, g in (("g", e.g), ("gᵀ", e.g.T)):
            if g.shape == e.x.shape:
                terms[word] = g
            for name, v in mats.items():
                for left, right, label in ((g, v, f"{word}@{name}"), (v, g, f"{name}@{word}")):
                    if left.shape[1] == right.shape[0] and (left.shape[0],
                                                            right.shape[1]) == e.x.shape:
                        terms[label] = left @ right
        for name, ids in e.inputs.items():
            if isinstance(ids,
                          np.ndarray) and ids.dtype.kind in "iu" and ids.shape == (len(e.g),) and ids.max() < len(e.x):
                picked = np.zeros((len(e.x), len(e.g)))
                picked[ids, np.arange(len(ids))] = 1
                for word, g in [("g", e.g)] + [(f"g@{m}", e.g @ v) for m, v in mats.items()
                                               if v.shape[0] == e.g.shape[1]]:
                    if g.shape[1] == e.x.shape[1]:
                        terms[f"rows of {word} added at {name}"] = picked @ g
    elif e.g.shape == (len(e.x),):                 # a number for each row
        for name, v in mats.items():
            for other, w in mats.items():
                if v.shape[0] == len(e.x) and v.shape[1] == w.shape[0] and (v.shape[0],
                                                                            w.shape[1]) == e.x.shape:
                    terms[f"g·{name}@{other}"] = e.g[:, None] * (v @ w)
    elif e.g.size == 1:
        for name, v in mats.items():
            for other, w in mats.items():
                if v.shape[1] == w.shape[0] and (v.shape[0], w.shape[1]) == e.x.shape:
                    terms[f"g·{name}@{other}"] = e.g.reshape(-1)[0] * (v @ w)
    return compare_coefficients(e, terms, "{}")


def compare_coefficients(e, terms, form):
    """Fit n with the fewest `terms`, then a with the same and at most one more; what the
    coefficients say."""
    terms = {words: t for words, t in terms.items() if np.abs(t).max(initial=0) > 1e-9}
    n, a = e.n.reshape(-1), e.a.reshape(-1)
    for count in (2, 3) if len(terms) < 24 else (2,):
        for chosen in combinations(terms, count):
            design = np.stack([terms[w].reshape(-1) for w in chosen], axis=1)
            c, *_ = np.linalg.lstsq(design, n, rcond=None)
            if np.abs(design @ c
                      - n).max() > 1e-6 * e.scale or np.abs(c).min() < 1e-4 * np.abs(c).max():
                continue
            found, *_ = np.linalg.lstsq(design, a, rcond=None)
            if np.abs(design @ found - a).max() <= 1e-6 * e.scale:
                return verdict(e, [form.format(w) for w in chosen], c, found)
    return None


def verdict(e, chosen, true, found):
    """The first term whose coefficient in a is not what it is in n."""
    told = sum_in_words(chosen, true)
    hints = (f"look at d{e.name}",
             "every term of the sum rule and of the product rule, each with its own coefficient",
             f"d{e.name} = {told}")
    for c, d, words in zip(true, found, chosen):
        if abs(d - c) <= 1e-5 * abs(c):
            continue
        if abs(d) <= 1e-6 * abs(c):
            kind = "path-missing" if "@" in words or "rows" in words else "missing-term"
            return Finding(kind, e.name, f"d{e.name} lacks the term {words}: the true gradient is "
                                         f"{told}", {"term": words},
                           "certain", hints)
        kind = "path-doubled" if abs(d - 2
                                     * c) <= 1e-5 * abs(c) and "@" in words else "wrong-coefficient"
        return Finding(kind, e.name, f"d{e.name}: the term {words} has the coefficient {d:.4g}, "
                                     f"and should have {c:.4g}; the true gradient is {told}",
                       {"term": words}, "certain", hints)
    return None
