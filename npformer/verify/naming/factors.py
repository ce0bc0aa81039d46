"""Factors that are arrays: an input, the output, a number for each line; missing, or too many.

What a must be multiplied by to give n is read off a / n where n is not near 0, and held against a
closed list of what people leave out or write twice (`factors`).
"""

import numpy as np

from .evidence import broadcasts_to


def ratio_of(e):
    """(where n is not near 0, a / n there and 1 elsewhere); (None, None) if few such places."""
    alive = np.abs(e.n) > 1e-4 * e.scale
    if not alive.mean() > 0.3:
        return None, None
    return alive, np.where(alive, e.a / np.where(alive, e.n, 1), 1)


def spread_upstream(e):
    """g in a's shape: as it is, spread over the line that was reduced, or over everything."""
    if e.g.ndim >= e.a.ndim:
        return e.g
    for k in range(e.a.ndim):
        if e.g.shape == e.a.shape[:k] + e.a.shape[k + 1:]:
            return np.broadcast_to(np.expand_dims(e.g, k), e.a.shape)
    return np.broadcast_to(e.g.reshape(-1)[:1], e.a.shape)


def bare_upstream(e):
    """a = g, or g spread over the line that was reduced"""
    bare = spread_upstream(e)
    if bare.shape != e.a.shape or not e.same(e.a, bare):
        return None
    same_shape = e.g.shape == e.a.shape
    if same_shape and e.mixes:
        return e.finding(
            "missing-term",
            f"d{e.name} is g itself, in all {e.a.size} entries: the other terms are missing. The "
            f"output mixes the entries of {e.name}, and that must come back too",
            "the gradient is the sum over all outputs that an entry reaches",
            f"d{e.name}ᵢ = Σₖ gₖ · dyₖ/d{e.name}ᵢ")
    if same_shape and e.jacobian is not None and np.allclose(e.jacobian[e.used], 1, atol=1e-6):
        return e.finding(
            "permuted",
            f"d{e.name} is g itself, in its order; but the output takes its entries from other "
            f"places of {e.name}, and each g belongs to where its entry came from",
            "what is looked up forward is added at the same places backward",
            f"d{e.name} = zeros; np.add.at(d{e.name}, where, g)")
    words = next((w for w, t in factors_and_inverses(e) if e.same(e.a * t, e.n)), "dy/dx")
    return e.finding(
        "missing-factor",
        f"d{e.name} is g itself: the factor {words} is missing in all {e.a.size} entries",
        "the chain rule: dL/dx = dL/dy · dy/dx", f"d{e.name} = g · {words}")


def array_factor(e):
    """a = n·T or n / T, T an array of what the operation has at hand, or a number a line."""
    alive, ratio = ratio_of(e)
    if alive is None or (np.abs(ratio[alive] - 1) < 1e-6).all():
        return None
    for words, t in factors(e):
        for kind, value in (("extra-factor", t), ("missing-factor", 1 / t)):
            if not np.isfinite(value[alive]).all() or np.ptp(value) <= 1e-9:
                continue
            if e.same(np.where(alive, e.n * value, e.a), e.a):
                return one_factor(e, kind, words, int(alive.sum()))
    for axis in range(e.a.ndim):
        even = np.ptp(ratio, axis=axis).max(initial=0) < 1e-5
        if e.a.shape[axis] > 1 and alive.all() and even:
            return factor_of_lines(e, axis, ratio.mean(axis=axis).reshape(-1))
    return None


def one_factor(e, kind, words, count):
    """The finding on a factor that is missing, or too many, in `count` entries."""
    if kind == "extra-factor":
        verb, done, mend = f"has the factor {words} too many", "times", "/"
    else:
        verb, done, mend = f"lacks the factor {words}", "divided by", "·"
    return e.finding(
        kind,
        f"d{e.name} {verb}: it is the true gradient {done} {words} in all {count} entries where "
        "that is not near 0",
        "the chain rule: each function on the way gives one factor, its derivative",
        f"d{e.name} = (what you have) {mend} ({words})")


def factor_of_lines(e, axis, c):
    """The finding if a is n times c, a number for each line along `axis`."""
    if np.isin(np.round(c, 6), (0, 1)).all():
        return e.finding("not-accumulated",
                         f"d{e.name} is right in some lines along dim {axis} and zero in "
                         f"{int((np.abs(c) < 1e-6).sum())} of {len(c)}: they get nothing",
                         "what is used several times gets a gradient from each use",
                         f"d{e.name} = g · dy/d{e.name} in every line along dim {axis}")
    return e.finding(
        "missing-factor" if np.abs(c).mean() < 1 else "extra-factor",
        f"d{e.name} is the true gradient times a number that is constant along dim {axis} and "
        f"differs from line to line (from {c.min():.4g} to {c.max():.4g}): a factor of each line, "
        "such as 1/σ, is missing, squared or too many", certainty="likely")


def missing_eps(e):
    """(a/n)² = (v + eps) / v along a line, v the variance or the mean square there: eps was left
    out of 1/√(v + eps). The ratio gives an eps for each line, and there is a finding only if all
    lines give the same one. The power is 2 where r = 1/√(v + eps) is a factor of the gradient once,
    and 2/3 where it is there three times, as in the derivative of r itself."""
    alive, ratio = ratio_of(e)
    if alive is None or e.y.shape != e.x.shape or not alive.mean() > 0.9:
        return None
    for axis in range(e.x.ndim):
        c = np.where(alive, ratio, 1).max(axis=axis, keepdims=True)
        if e.x.shape[axis] < 3 or not np.allclose(np.where(alive, ratio, c), c, rtol=1e-4):
            continue
        for words, v in (("variance", e.x.var(axis=axis, keepdims=True)),
                         ("mean square", (e.x ** 2).mean(axis=axis, keepdims=True))):
            for power in (2, 2 / 3):
                eps = v * (np.abs(c) ** power - 1)
                if np.ptp(eps) < 1e-3 * np.abs(eps).max() and np.abs(eps).max() > 1e-9:
                    return e.finding(
                        "missing-eps",
                        f"d{e.name} is the gradient for 1/√{words}, where the forward pass has "
                        f"1/√({words} + {eps.mean():.3g}): eps is left out",
                        "what the forward pass computed, the backward pass uses as it is",
                        f"r = 1/√({words} + {eps.mean():.3g})", certainty="likely")
    return None


def other_value(e):
    """y is a function of each entry alone, and a is g·φ(x) where n is g·φ(y), or the other way
    round"""
    if e.jacobian is None or e.mixes or e.y.shape != e.x.shape:
        return None
    forms = {"{}": lambda t: t, "1 − {}²": lambda t: 1 - t * t,
             "{}·(1 − {})": lambda t: t * (1 - t), "1/{}": lambda t: 1 / t,
             "1 − {}": lambda t: 1 - t, "e^{}": np.exp, "2·{}": lambda t: 2 * t,
             "1/(2·{})": lambda t: 1 / (2 * t), "cos {}": np.cos, "sin {}": np.sin}
    of_input, of_output = ("the input", e.x, e.name), ("the output", e.y, "y")
    with np.errstate(all="ignore"):
        for form, phi in forms.items():
            for (here, t, _), (there, u, right) in ((of_input, of_output), (of_output, of_input)):
                if e.same(e.g * phi(t), e.a) and e.same(e.g * phi(u), e.n):
                    return e.finding(
                        "stale-value",
                        f"d{e.name} is g·({form.replace('{}', 't')}) with t {here}, but t must be "
                        f"{there}: the right formula at the wrong value",
                        "a derivative may be written in the input or in the output, but not in one "
                        "for the other",
                        f"d{e.name} = g·({form.replace('{}', right)})")
    return None


# ── what may be missing or too many ───────────────────────────────────────────────────────────────


def factors_and_inverses(e):
    with np.errstate(all="ignore"):
        for words, t in factors(e):
            yield words, t
            yield f"1/{words}", 1 / t


def factors(e):
    """(words, array of x's shape) that may be missing or too many, the likelier first."""
    base = [("the output y", e.y), ("the upstream g", e.g), *e.arrays("f")]
    base = [(words, np.broadcast_to(v, e.a.shape)) for words, v in base
            if broadcasts_to(v, e.a.shape)]
    with np.errstate(all="ignore"):
        s = 1 / (1 + np.exp(-e.x))
        yield f"σ'({e.name})", s * (1 - s)
        for words, v in base:
            yield from ((words, v), (f"{words}²", v * v), (f"(1 + {words})", 1 + v),
                        (f"(1 − {words})", 1 - v), (f"{words}/2", v / 2), (f"2·{words}", 2 * v),
                        (f"√{words}", np.sqrt(np.abs(v))),
                        (f"e^{words}", np.exp(np.minimum(v, 50))),
                        (f"−{words}", -v), (f"−{words}²", -v * v))
        for words, v in base:
            for other, u in base:
                if words != other:
                    yield f"{words} / {other}", v / u
                    yield f"({words} − {other})", v - u
