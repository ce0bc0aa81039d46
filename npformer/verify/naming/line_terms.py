"""Gradients that are sums of terms along lines: which term is missing from a, or has the wrong
coefficient.

The gradients of softmax, the norms and the classification losses are, along each line of some dim,
sums of few known arrays: g, g·y, y, x, 1 ... with a coefficient for each line. softmax's
y·(g − Σ g·y), say, is 1·(g·y) + c·y, where c = −Σ g·y is another number in every line. Nobody has
to know the operation: the fewest terms that give the true gradient n everywhere are found by least
squares; then the same terms are fitted to a, and the coefficients compared.
"""

import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np

from ..findings import Finding, sum_in_words
from .evidence import broadcasts_to

MOST = 3                                           # terms that n may have
ONE = "1 (a constant along the line)"

# What is known by the terms of its gradient: {the terms, with x for the input: the formula}.
FORMULAS = {
    frozenset({"g·y", "y"}): "dx = y·(g − Σ g·y)",
    frozenset({"g", "e^y"}): "dx = g − e^y·Σ g",
    frozenset({"g", "y"}): "dx = r·(g − y·Σ g·y)",
    frozenset({"g", "x"}): "dx = r·(g − x̂·mean(g·x̂)), x̂ = x·r",
    frozenset({"g", "x − mean(x)", ONE}):
        "dx = r·(g − mean(g) − x̂·mean(g·x̂)), x̂ = (x − mean(x))·r",
    frozenset({"softmax(x)", "1 at target"}): "dx = g·(softmax(x) − 1 at target)",
}


def wrong_terms(e):
    """The finding on a missing term, a wrong coefficient or a sum over the wrong dims, or None."""
    if not e.x.ndim or e.x.size < 6:
        return None
    tried = [(e, dims) for dims in dims_of_lines(e.x.ndim)]
    tried += [(view, tuple(range(2, view.x.ndim))) for view in channel_groups(e)]
    # The longest first: what has one coefficient along a long line has one along every part of it,
    # and a norm over two dims would be taken for one over the last alone.
    for view, dims in sorted(tried, key=lambda pair: -line_length(*pair)):
        # A short line proves nothing, three terms fit any three numbers; nor does a single line.
        if line_length(view, dims) >= 4 and e.x.size // line_length(view, dims) >= 2:
            found = terms_along(view, dims)
            if found is not None:
                return found
    return None


def terms_along(e, dims):
    """The finding if n is a sum of known terms along `dims`, and a another; else None."""
    terms = dict(candidate_terms(e, dims))
    rows = {words: as_rows(t, dims) for words, t in terms.items()}
    chosen, true = fewest_terms(rows, as_rows(e.n, dims), e)
    if chosen is None:
        return None
    line = dims_in_words(e, dims)
    hints = (f"look at d{e.name}", f"along {line} the true gradient is {sum_in_words(chosen)}",
             gradient_formula(e.name, chosen, true))
    # Before a is fitted with a term more: a sum that went over other dims often leaves something
    # that one more term happens to fit.
    finding = over_other_dims(e, dims, {w: terms[w] for w in chosen}, true, hints)
    if finding is not None:
        return finding
    for extra in [(), *((w,) for w in rows if w not in chosen)]:
        found, error = fit([rows[w] for w in (*chosen, *extra)], as_rows(e.a, dims))
        if error <= 1e-6 * e.scale:
            if extra and np.abs(found[:, -1]).max() > 1e-6:
                return foreign_term(e, line, chosen, extra[0], true, found, hints)
            return wrong_coefficient(e, line, chosen, true, found, hints)
    return None


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────


def dims_of_lines(ndim):
    """The dims that a line may run along: each alone; the last few together; all but dim 1."""
    yield from ((k,) for k in reversed(range(ndim)))
    yield from (tuple(range(k, ndim)) for k in range(1, ndim - 1))
    if ndim > 2:
        yield (0, *range(2, ndim))


def line_length(e, dims):
    return math.prod(e.x.shape[k] for k in dims)


def channel_groups(e):
    """e with dim 1 as several groups of channels, as GroupNorm has it."""
    if e.x.ndim < 2 or e.y.shape != e.x.shape:
        return
    n, c, *rest = e.x.shape
    inputs = {name: np.broadcast_to(v, e.x.shape) for name, v in e.arrays("f")
              if broadcasts_to(v, e.x.shape)}
    for count in range(2, c):
        if c % count == 0:
            shape = (n, count, c // count, *rest)
            parts = {part: getattr(e, part).reshape(shape)
                     for part in ("x", "a", "n", "noise", "g", "y")}
            yield replace(e, **parts, jacobian=None, follow=None,
                          inputs={name: v.reshape(shape) for name, v in inputs.items()})


def dims_in_words(e, dims):
    """Dims in words; those of a grouped view with its shape."""
    words = f"dim {dims[0]}" if len(dims) == 1 else f"dims {dims}"
    return words if e.jacobian is not None else f"{words} of {e.name} as {e.x.shape}"


def as_rows(t, dims):
    """t as rows that run along all of `dims`."""
    kept = t.ndim - len(dims)
    t = np.moveaxis(t, dims, range(kept, t.ndim))
    return t.reshape(-1, math.prod(t.shape[kept:]))


def spread(numbers, shape, dims):
    """A number for each line along `dims` as an array that broadcasts to `shape`."""
    kept = [n for k, n in enumerate(shape) if k not in dims]
    return np.expand_dims(numbers.reshape(kept), dims)


# ── terms ─────────────────────────────────────────────────────────────────────────────────────────


def candidate_terms(e, dims):
    """(words, array of x's shape) for the terms that a gradient may be made of."""
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
        yield from targets(e, dims)


def weights(e):
    """(name, array) for the other floating inputs that broadcast to x's shape."""
    return [(name, v) for name, v in e.arrays("f")
            if name != e.name and broadcasts_to(v, e.x.shape)]


def targets(e, dims):
    """(words, 1 at each line's target and 0 elsewhere) for indices that name one entry a line."""
    if len(dims) > 1:
        return
    dim, = dims
    places = np.arange(e.x.shape[dim]).reshape([-1 if k == dim else 1 for k in range(e.x.ndim)])
    for name, ids in e.arrays("iu"):
        if ids.shape == e.x.shape[:dim] + e.x.shape[dim + 1:]:
            yield f"1 at {name}", (np.expand_dims(ids, dim) == places).astype(float)


def fit(terms, rows):
    """Coefficients (lines, terms) that fit `rows` best, and the largest error."""
    design = np.stack(terms, axis=-1)              # (lines, length, terms)
    c = (np.linalg.pinv(design) @ rows[..., None])[..., 0]
    return c, float(np.abs((design @ c[..., None])[..., 0] - rows).max())


def fewest_terms(terms, rows, e):
    """The fewest terms that give `rows` everywhere, and their coefficients; (None, None) if MOST do
    not. All are tried, one term, then two, then three: layer_norm's 12 candidates are 298 small
    fits at the most. A term that no line needs (its coefficients are all 0) belongs to a shorter
    sum."""
    for count in range(1, min(MOST, rows.shape[1] - 2) + 1):
        for chosen in combinations(terms, count):
            c, error = fit([terms[w] for w in chosen], rows)
            if error <= 1e-6 * e.scale and np.abs(c).max(axis=0).min() > 1e-6:
                return chosen, c
    return None, None


def gradient_formula(name, chosen, true):
    plain = {name: "x", f"{name} − mean({name})": "x − mean(x)", f"softmax({name})": "softmax(x)"}

    def in_general(w):
        if w.startswith("g·") and w[2:] not in ("y", "y²"):    # g times a weight: g, to the norm
            return "g"
        return "1 at target" if w.startswith("1 at ") else plain.get(w, w)

    known = FORMULAS.get(frozenset(map(in_general, chosen)))
    if known is None:
        # One number where it is the same in all lines; None, a c in the sum, where it is not.
        even = [float(c[0]) if np.ptp(c) <= 1e-5 * np.abs(c).max() else None for c in true.T]
        return (f"d{name} = {sum_in_words(chosen, even)}"
                + (", c a number for each line" if None in even else ""))
    weight = next((f", with {w} for g" for w in chosen if w.startswith("g·") and w != "g·y"), "")
    input_ = f" (x is {name})" if name != "x" and "x" in known[2:] else ""
    return known.replace("dx", f"d{name}") + weight + input_


# ── what is wrong ─────────────────────────────────────────────────────────────────────────────────


def over_other_dims(e, dims, terms, true, hints):
    """The finding if the sums in a's coefficients go over other dims than `dims`; None if they do
    not.

    n = c·D − r·M₁ − r²·T·M₂, as in the norms: D the term with g, whose coefficient c belongs to a
    line, M a sum over the line. Then a − c·D must be made of r and r²·T with coefficients that are
    constant along other dims.

    A first version fitted a with the same terms along the other dims. That was enough for softmax,
    where all of a is made of such sums, but a norm's c (its r) stays a number for each line of
    `dims` however wrong the sums are, and fits along no other dim. So what is right, c·D, is taken
    off first, and the line's own r is put back into the terms (1, c, or c over a weight, since
    c·D may be r·g·weight). The sums may stray together, or one of them alone.
    """
    local = [w for w in terms if w == "g" or w.startswith("g·")]
    if len(local) != 1 or len(terms) < 2:
        return None
    coefficient = {w: spread(true[:, k], e.x.shape, dims) for k, w in enumerate(terms)}
    parts = {w: coefficient[w] * t for w, t in terms.items()}
    sums = [w for w in terms if w not in local]
    c = coefficient[local[0]]
    with np.errstate(all="ignore"):
        scales = [np.ones_like(c), c, *(c / w for _, w in weights(e))]
    scales = [r for r in scales if np.isfinite(r).all()]
    others = [ks for count in range(1, e.x.ndim + 1) for ks in combinations(range(e.x.ndim), count)
              if ks != dims]
    alone = [[w] for w in sums] if len(sums) > 1 else []
    for strayed in [sums, *alone]:
        rest = e.a - sum(part for w, part in parts.items() if w not in strayed)
        if np.abs(rest).max() <= 1e-6 * e.scale:   # nothing is left: these terms are missing
            continue
        for r, other in product(scales, others):
            kept = [as_rows(terms[w] * (r if w == ONE else r * r), other) for w in strayed]
            if kept[0].shape[1] <= len(kept):      # so few numbers fit anything
                continue
            if fit(kept, as_rows(rest, other))[1] <= 1e-6 * e.scale:
                return Finding("wrong-axis", e.name, (
                    f"d{e.name} has the right terms, but a sum or a mean in the coefficient of "
                    f"{' and of '.join(strayed)} goes over {dims_in_words(e, other)}, where the "
                    f"output mixes the entries along {dims_in_words(e, dims)}"),
                    {}, "certain", hints)
    return None


def foreign_term(e, line, chosen, extra, true, found, hints):
    """The finding if a needs a term that n does not have."""
    for k, words in enumerate(chosen):             # does it stand in for another, cut short?
        gone = np.abs(found[:, k]).max() < 1e-6 * np.abs(true[:, k]).max()
        lost = words.removeprefix(extra).strip("·") if words.startswith(extra) else ""
        if gone and lost:
            return Finding("missing-factor", e.name, (
                f"d{e.name} has a term along {extra} where the true gradient has {words}: the "
                f"factor {lost} is missing"), {}, "certain", hints)
    return Finding("wrong-coefficient", e.name, (
        f"d{e.name} holds a term along {extra} that the true gradient does not have (along {line} "
        f"that one is {sum_in_words(chosen)})"), {}, "likely", hints)


def wrong_coefficient(e, line, chosen, true, found, hints):
    told = sum_in_words(chosen)
    for k, words in enumerate(chosen):
        t, a = true[:, k], found[:, k]
        alive = np.abs(t) > 1e-6 * np.abs(t).max()
        ratio = a[alive] / t[alive]
        if np.abs(ratio - 1).max() < 1e-5:
            continue
        if np.abs(ratio).max() < 1e-6:
            return Finding("missing-term", e.name, (
                f"d{e.name} lacks the term along {words}: the true gradient is {told} along "
                f"{line}, and here its coefficient is 0"), {"term": words}, "certain", hints)
        even = np.ptp(ratio) < 1e-4 * np.abs(ratio).max()
        one_for_all = len(a) > 1 and np.ptp(a) < 1e-6 * np.abs(a).max()
        everything = (t.sum(), t.mean()) if one_for_all and not even else ()
        if any(abs(a[0] - whole) < 1e-5 * abs(whole) for whole in everything):
            return Finding("wrong-axis", e.name, (
                f"d{e.name}: the term along {words} has the same coefficient in every line, as if "
                f"it were summed over all entries; each line along {line} must have its own"),
                {"term": words}, "certain", hints)
        if even:
            size = e.words_for(float(ratio.mean()))
            how = f"{ratio.mean():.4f} x what it should be" + (f" ({size})" if size else "")
        else:
            how = (f"between {ratio.min():.3g} and {ratio.max():.3g} x what it should be, another "
                   "for each line")
        return Finding("wrong-coefficient", e.name, (
            f"d{e.name}: the term along {words} has a coefficient that is {how}; the true gradient "
            f"is {told} along {line}"), {"term": words}, "certain", hints)
    return None
