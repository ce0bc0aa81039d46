"""Gradients that are sums of terms: which term is missing from a, or has the wrong coefficient.

The gradients of softmax, the norms and the classification losses are, along each line of some dim, sums of few known
lines: g, g·y, y, x, 1 ... with a coefficient for each line of numbers. The fewest terms that give the true gradient n
everywhere are found by least squares; then the same terms are fitted to a, and the coefficients compared.
"""

from itertools import combinations

import numpy as np

from .findings import Finding

MOST = 3                                           # terms that n may have


def wrong_terms(e):
    """The finding on a missing term or a wrong coefficient, or None."""
    if not e.x.ndim or e.x.size < 6:
        return None
    for axis in sorted(range(e.x.ndim), reverse=True):
        if e.x.shape[axis] < 4 or e.x.size // e.x.shape[axis] < 2:
            continue
        terms = dict(candidates(e, axis))
        rows = {words: lines(t, axis) for words, t in terms.items()}
        chosen, true = fewest(rows, lines(e.n, axis), e)
        if chosen is None:
            continue
        for extra in [()] + [(extra,) for extra in rows if extra not in chosen]:
            found, error = fit([rows[w] for w in (*chosen, *extra)], lines(e.a, axis))
            if error <= 1e-6 * e.scale:
                return verdict(e, axis, chosen, extra, true, found)
        for other in [(k,) for k in range(e.x.ndim)] + [tuple(k for k in range(e.x.ndim) if k != axis)]:
            joint = {w: jointly(terms[w], other) for w in chosen}
            if axis not in other and jointly(e.a, other).shape[1] > len(chosen) and fit(
                    list(joint.values()), jointly(e.a, other))[1] <= 1e-6 * e.scale:
                return Finding("wrong-axis", e.name, f"d{e.name} has the right terms along dims {other}, but the output mixes "
                                                     f"the entries along dim {axis}: it is summed over the wrong dim", {},
                               "certain", (f"look at d{e.name}", f"sum over dim {axis}, with keepdims"))
    return None


def jointly(t, dims):
    """t as rows that run along all of `dims`."""
    t = np.moveaxis(t, dims, range(t.ndim - len(dims), t.ndim))
    return t.reshape(-1, int(np.prod(t.shape[t.ndim - len(dims):])))


def lines(t, axis):
    """t as rows along `axis`."""
    return jointly(t, (axis,))


def candidates(e, axis):
    """(words, array of x's shape) for the lines that a gradient may be made of."""
    yield "1 (a constant along the line)", np.ones_like(e.x)
    yield f"{e.name} − mean({e.name})", e.x - e.x.mean(axis=axis, keepdims=True)
    with np.errstate(all="ignore"):
        p = np.exp(e.x - e.x.max(axis=axis, keepdims=True))
        p /= p.sum(axis=axis, keepdims=True)
    if e.y.shape == e.x.shape:
        yield "g", e.g
        yield "y", e.y
        yield "g·y", e.g * e.y
        yield "g·y²", e.g * e.y ** 2
        if np.abs(e.y).max() < 50:
            yield "e^y", np.exp(e.y)
        for name, w in e.inputs.items():
            if name != e.name and isinstance(w, np.ndarray) and w.dtype.kind == "f" and w.ndim <= e.x.ndim and all(
                    n in (1, m) for n, m in zip(w.shape[::-1], e.x.shape[::-1])):
                yield f"g·{name}", e.g * w
                yield name, np.broadcast_to(w, e.x.shape)
    else:
        yield f"softmax({e.name})", p
        for name, ids in e.inputs.items():
            if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and ids.shape == e.x.shape[:axis] + e.x.shape[axis + 1:]:
                places = np.arange(e.x.shape[axis]).reshape([-1 if k == axis else 1 for k in range(e.x.ndim)])
                yield f"1 at {name}", (np.expand_dims(ids, axis) == places).astype(float)


def fit(terms, rows):
    """Coefficients (lines, terms) that fit `rows` best, and the largest error."""
    design = np.stack(terms, axis=-1)              # (lines, length, terms)
    c = (np.linalg.pinv(design) @ rows[..., None])[..., 0]
    return c, float(np.abs((design @ c[..., None])[..., 0] - rows).max())


def fewest(terms, rows, e):
    """The fewest terms that give `rows` everywhere, and their coefficients; (None, None) if MOST do not."""
    for count in range(1, min(MOST, rows.shape[1] - 2) + 1):
        for chosen in combinations(terms, count):
            c, error = fit([terms[w] for w in chosen], rows)
            if error <= 1e-6 * e.scale and np.abs(c).max(axis=0).min() > 1e-6:
                return chosen, c
    return None, None


def verdict(e, axis, chosen, extra, true, found):
    """What the coefficients say."""
    told = " + ".join(f"c·({w})" for w in chosen)
    hints = (f"look at d{e.name}", f"along dim {axis} the true gradient is {told}")
    if extra and np.abs(found[:, -1]).max() > 1e-6:
        for k, words in enumerate(chosen):         # one term stands in for another
            if np.abs(found[:, k]).max() < 1e-6 * np.abs(true[:, k]).max():
                lost = words.removeprefix(extra[0]).strip("·") if words.startswith(extra[0]) else ""
                if lost:
                    return Finding("missing-factor", e.name, f"d{e.name} has a term along {extra[0]} where the true gradient "
                                                             f"has {words}: the factor {lost} is missing", {}, "certain", hints)
        return Finding("wrong-coefficient", e.name, f"d{e.name} holds a term along {extra[0]} that the true gradient does not "
                                                    f"have (along dim {axis} that one is {told})", {}, "likely", hints)
    for k, words in enumerate(chosen):
        t, a = true[:, k], found[:, k]
        alive = np.abs(t) > 1e-6 * np.abs(t).max()
        ratio = a[alive] / t[alive]
        if np.abs(ratio - 1).max() < 1e-5:
            continue
        if np.abs(ratio).max() < 1e-6:
            return Finding("missing-term", e.name, f"d{e.name} lacks the term along {words}: the true gradient is {told} along "
                                                   f"dim {axis}, and here its coefficient is 0", {"term": words}, "certain",
                           hints)
        even = np.ptp(ratio) < 1e-4 * np.abs(ratio).max()
        everything = (t.sum(), t.mean()) if len(a) > 1 and np.ptp(a) < 1e-6 * np.abs(a).max() else ()
        if not even and any(abs(a[0] - whole) < 1e-5 * abs(whole) for whole in everything):
            return Finding("wrong-axis", e.name, f"d{e.name}: the term along {words} has the same coefficient in every line, as "
                                                 "if it were summed over all entries; each line along dim "
                                                 f"{axis} must have its own", {"term": words}, "certain", hints)
        size = e.word_for(float(ratio.mean())) if even else ""
        how = (f"{ratio.mean():.4f} x what it should be" + (f" ({size})" if size else "") if even else
               f"between {ratio.min():.3g} and {ratio.max():.3g} x what it should be, another for each line")
        return Finding("wrong-coefficient", e.name, f"d{e.name}: the term along {words} has a coefficient that is {how}; the "
                                                    f"true gradient is {told} along dim {axis}", {"term": words}, "certain",
                       hints)
    return None
