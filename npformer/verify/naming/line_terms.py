"""Gradients that are sums of terms: which term is missing from a, or has the wrong coefficient.

The gradients of softmax, the norms and the classification losses are, along each line of some dim,
sums of few known
lines: g, g·y, y, x, 1 ... with a coefficient for each line of numbers. The fewest terms that give
the true gradient n everywhere are found by least squares; then the same terms are fitted to a, and
the coefficients compared.
"""

import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np

from ..findings import Finding, sum_in_words

MOST = 3                                           # terms that n may have
ONE = "1 (a constant along the line)"

# What is known by the terms of its gradient: {the terms, x for the input, w for a weight: the
# formula}.
FORMULAS = {
    frozenset({"g·y", "y"}): "dx = y·(g − Σ g·y)",
    frozenset({"g", "e^y"}): "dx = g − e^y·Σ g",
    frozenset({"g", "y"}): "dx = r·(g − y·Σ g·y)",
    frozenset({"g", "x"}): "dx = r·(g − x̂·mean(g·x̂)), x̂ = x·r",
    frozenset({"g", "x − mean(x)",
               ONE}): "dx = r·(g − mean(g) − x̂·mean(g·x̂)), x̂ = (x − mean(x))·r",
    frozenset({"softmax(x)", "1 at target"}): "dx = g·(softmax(x) − 1 at target)",
}


def wrong_terms(e):
    """The finding on a missing term, a wrong coefficient, or a sum over the wrong dims; None if
    there is no such thing."""
    if not e.x.ndim or e.x.size < 6:
        return None
    tried = [(e, dims) for dims in lines_of(e.x.ndim)] + [(view, tuple(range(2, view.x.ndim)))
                                                          for view in channel_groups(e)]
    # The longest first: what has one coefficient along a long line has one along every part of it.
    for view, dims in sorted(tried, key=lambda pair: -line_length(*pair)):
        if line_length(view, dims) >= 4 and e.x.size // line_length(view, dims) >= 2:
            found = terms_along(view, dims)
            if found is not None:
                return found
    return None


def line_length(e, dims):
    """How many entries a line along `dims` has."""
    return math.prod(e.x.shape[k] for k in dims)


def lines_of(ndim):
    """The dims that a line may run along: each alone; the last few together; all but dim 1."""
    yield from ((k,) for k in reversed(range(ndim)))
    yield from (tuple(range(k, ndim)) for k in range(1, ndim - 1))
    if ndim > 2:
        yield (0, *range(2, ndim))


def channel_groups(e):
    """e with dim 1 as several groups of channels, as GroupNorm has it."""
    if e.x.ndim < 2 or e.y.shape != e.x.shape:
        return
    n, c, *rest = e.x.shape
    fits = {name: np.broadcast_to(v, e.x.shape) for name, v in e.inputs.items()
            if isinstance(v, np.ndarray) and broadcasts_to(v, e.x)}
    for count in range(2, c):
        if c % count == 0:
            shape = (n, count, c // count, *rest)
            yield replace(e, inputs={name: v.reshape(shape) for name, v in fits.items()},
                          jacobian=None, follow=None,
                          **{part: getattr(e, part).reshape(shape)
                             for part in ("x", "a", "n", "noise", "g", "y")})


def broadcasts_to(v, x):
    """Whether v is floating and broadcasts to x's shape."""
    return v.dtype.kind == "f" and v.ndim <= x.ndim and all(n in (1, m)
                                                            for n, m in zip(v.shape[::-1],
                                                                            x.shape[::-1]))


def terms_along(e, dims):
    """The finding if the true gradient is a sum of known terms along `dims`, and the one under test
    another."""
    terms = dict(candidates(e, dims))
    rows = {words: as_rows(t, dims) for words, t in terms.items()}
    chosen, true = fewest(rows, as_rows(e.n, dims), e)
    if chosen is None:
        return None
    hints = (f"look at d{e.name}", f"along {dims_in_words(e, dims)} the true gradient is "
                                   f"{sum_in_words(chosen)}",
             gradient_formula(e.name, chosen, true))
    moved = over_other_dims(e, dims, {w: terms[w] for w in chosen}, true, hints)
    if moved is not None:
        return moved
    for extra in [()] + [(extra,) for extra in rows if extra not in chosen]:
        found, error = fit([rows[w] for w in (*chosen, *extra)], as_rows(e.a, dims))
        if error <= 1e-6 * e.scale:
            return verdict(e, dims_in_words(e, dims), chosen, extra, true, found, hints)
    return None


def over_other_dims(e, dims, terms, true, hints):
    """The finding if the sums in a's coefficients go over other dims than `dims`; None if they do
    not.

    n = c·D − r·M₁ − r²·T·M₂, as in the norms: D the term with g, whose coefficient c belongs to a
    line, M sums over the line. Then a − c·D must be made of r and r²·T with coefficients that are
    constant along other dims.
    """
    local, *more = [w for w in terms if w == "g" or w.startswith("g·")] or [None]
    if local is None or more or len(terms) < 2:
        return None
    parts = {w: spread(true[:, k], e.x.shape, dims) * t for k, (w, t) in enumerate(terms.items())}
    sums = [w for w in terms if w != local]
    c = spread(true[:, list(terms).index(local)], e.x.shape, dims)
    with np.errstate(all="ignore"):
        scales = [r for r in (np.ones_like(c), c, *(c / w for _, w in weights(e)))
                  if np.isfinite(r).all()]
    others = [ks for count in range(1, e.x.ndim + 1) for ks in combinations(range(e.x.ndim), count)
              if ks != dims]
    for strayed in [sums, *([w] for w in sums if len(sums) > 1)]:
        rest = e.a - sum(part for w, part in parts.items() if w not in strayed)
        for r, other in product(scales, others if np.abs(rest).max() > 1e-6 * e.scale else ()):
            kept = [as_rows(terms[w] * (r if w == ONE else r * r), other) for w in strayed]
            if kept[0].shape[1] > len(kept) and fit(kept,
                                                    as_rows(rest, other))[1] <= 1e-6 * e.scale:
                return Finding("wrong-axis", e.name, f"d{e.name} has the right terms, but a sum or "
                                                     "a mean in the coefficient of "
                                                     f"{' and of '.join(strayed)} goes over "
                                                     f"{dims_in_words(e, other)}, where the output "
                                                     "mixes the entries along "
                                                     f"{dims_in_words(e, dims)}", {}, "certain",
                               hints)
    return None


def gradient_formula(name, chosen, true):
    """The gradient that has these terms with these coefficients: its formula where it is known,
    else their sum."""
    plain = {name: "x", f"{name} − mean({name})": "x − mean(x)", f"softmax({name})": "softmax(x)"}
    known = FORMULAS.get(frozenset("g" if w.startswith("g·") and w[2:] not in ("y", "y²") else
                                   "1 at target" if w.startswith("1 at ") else plain.get(w, w)
                                   for w in chosen))
    if known is None:
        even = [float(c[0]) if np.ptp(c) <= 1e-5 * np.abs(c).max() else None for c in true.T]
        return f"d{name} = {sum_in_words(chosen, even)}" + (", c a number for each line"
                                                            if None in even else "")
    weight = next((f", with {w} for g" for w in chosen if w.startswith("g·") and w != "g·y"), "")
    return known.replace("dx",
                         f"d{name}") + weight + (f" (x is {name})" if name != "x"
                                                 and "x" in known[2:] else "")


def spread(numbers, shape, dims):
    """A number for each line along `dims` as an array that broadcasts to `shape`."""
    kept = [n for k, n in enumerate(shape) if k not in dims]
    return np.expand_dims(numbers.reshape(kept), dims)


def dims_in_words(e, dims):
    """Dims in words; those of a grouped view with its shape."""
    words = f"dim {dims[0]}" if len(dims) == 1 else f"dims {dims}"
    return words if e.jacobian is not None else f"{words} of {e.name} as {e.x.shape}"


def as_rows(t, dims):
    """t as rows that run along all of `dims`."""
    t = np.moveaxis(t, dims, range(t.ndim - len(dims), t.ndim))
    return t.reshape(-1, int(np.prod(t.shape[t.ndim - len(dims):])))


def candidates(e, dims):
    """(words, array of x's shape) for the lines that a gradient may be made of."""
    yield ONE, np.ones_like(e.x)
    yield f"{e.name} − mean({e.name})", e.x - e.x.mean(axis=dims, keepdims=True)
    if e.y.shape == e.x.shape:
        yield from (("g", e.g), ("y", e.y), ("g·y", e.g * e.y), ("g·y²", e.g * e.y ** 2))
        if np.abs(e.y).max() < 50:
            yield "e^y", np.exp(e.y)
        for name, w in weights(e):
            yield f"g·{name}", e.g * w
            yield name, np.broadcast_to(w, e.x.shape)
        yield e.name, e.x
    else:
        p = np.exp(e.x - e.x.max(axis=dims, keepdims=True))
        yield f"softmax({e.name})", p / p.sum(axis=dims, keepdims=True)
        for name, ids in e.inputs.items():
            if isinstance(ids,
                          np.ndarray) and ids.dtype.kind in "iu" and len(dims) == 1 and ids.shape == tuple(
               np.delete(e.x.shape, dims[0])):
                places = np.arange(e.x.shape[dims[0]]).reshape([-1 if k == dims[0] else 1
                                                                for k in range(e.x.ndim)])
                yield f"1 at {name}", (np.expand_dims(ids, dims[0]) == places).astype(float)


def weights(e):
    """(name, array) for the other floating inputs that broadcast to x's shape."""
    return [(name, v) for name, v in e.inputs.items() if name != e.name
            and isinstance(v, np.ndarray) and broadcasts_to(v, e.x)]


def fit(terms, rows):
    """Coefficients (lines, terms) that fit `rows` best, and the largest error."""
    design = np.stack(terms, axis=-1)              # (lines, length, terms)
    c = (np.linalg.pinv(design) @ rows[..., None])[..., 0]
    return c, float(np.abs((design @ c[..., None])[..., 0] - rows).max())


def fewest(terms, rows, e):
    """The fewest terms that give `rows` everywhere, and their coefficients; (None, None) if MOST do
    not."""
    for count in range(1, min(MOST, rows.shape[1] - 2) + 1):
        for chosen in combinations(terms, count):
            c, error = fit([terms[w] for w in chosen], rows)
            if error <= 1e-6 * e.scale and np.abs(c).max(axis=0).min() > 1e-6:
                return chosen, c
    return None, None


def verdict(e, line, chosen, extra, true, found, hints):
    """What the coefficients say."""
    told = sum_in_words(chosen)
    if extra and np.abs(found[:, -1]).max() > 1e-6:
        for k, words in enumerate(chosen):         # one term stands in for another
            if np.abs(found[:, k]).max() < 1e-6 * np.abs(true[:, k]).max():
                lost = words.removeprefix(extra[0]).strip("·") if words.startswith(extra[0]) else ""
                if lost:
                    return Finding("missing-factor", e.name,
                                   f"d{e.name} has a term along {extra[0]} where the true gradient "
                                                             f"has {words}: the factor {lost} is "
                                                             "missing", {}, "certain", hints)
        return Finding("wrong-coefficient", e.name,
                       f"d{e.name} holds a term along {extra[0]} that the true gradient does not "
                                                    f"have (along {line} that one is {told})", {},
                       "likely", hints)
    for k, words in enumerate(chosen):
        t, a = true[:, k], found[:, k]
        alive = np.abs(t) > 1e-6 * np.abs(t).max()
        ratio = a[alive] / t[alive]
        if np.abs(ratio - 1).max() < 1e-5:
            continue
        if np.abs(ratio).max() < 1e-6:
            return Finding("missing-term", e.name, f"d{e.name} lacks the term along {words}: the "
                                                   f"true gradient is {told} along {line}, and "
                                                   "here its coefficient is 0", {"term": words},
                           "certain",
                           hints)
        even = np.ptp(ratio) < 1e-4 * np.abs(ratio).max()
        everything = (t.sum(),
                      t.mean()) if len(a) > 1 and np.ptp(a) < 1e-6 * np.abs(a).max() else ()
        if not even and any(abs(a[0] - whole) < 1e-5 * abs(whole) for whole in everything):
            return Finding("wrong-axis", e.name, f"d{e.name}: the term along {words} has the same "
                                                 "coefficient in every line, as if it were summed "
                                                 f"over all entries; each line along {line} must "
                                                 "have its own", {"term": words}, "certain", hints)
        size = e.words_for(float(ratio.mean())) if even else ""
        how = (f"{ratio.mean():.4f} x what it should be" + (f" ({size})" if size else "") if even
               else
               f"between {ratio.min():.3g} and {ratio.max():.3g} x what it should be, another for "
               "each line")
        return Finding("wrong-coefficient", e.name,
                       f"d{e.name}: the term along {words} has a coefficient that is {how}; the "
                                                    f"true gradient is {told} along {line}",
                       {"term": words}, "certain",
                       hints)
    return None
