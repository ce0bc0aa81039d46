"""Factors that are arrays: an input, the output, a number for each line; missing, or too many."""

import numpy as np


def ratio_of(e):
    """(where n says anything, a / n there and 1 elsewhere); (None, None) where too little of n
    does."""
    alive = np.abs(e.n) > 1e-4 * e.scale
    if not alive.mean() > 0.3:
        return None, None
    return alive, np.where(alive, e.a / np.where(alive, e.n, 1), 1)


def bare_upstream(e):
    """a = g, or g spread over the line that was reduced"""
    bare = e.g
    if e.g.ndim < e.a.ndim:
        bare = next((np.broadcast_to(np.expand_dims(e.g, k), e.a.shape) for k in range(e.a.ndim)
                     if e.g.shape == e.a.shape[:k] + e.a.shape[k + 1:]),
                    np.broadcast_to(e.g.reshape(-1)[:1], e.a.shape))
    if bare.shape != e.a.shape or not e.same(e.a, bare):
        return None
    if e.g.shape == e.a.shape and e.jacobian is not None and e.used.sum() > e.x.size:
        return e.says("missing-term", f"d{e.name} is g itself, in all {e.a.size} entries: the "
                                      "other terms are missing. The output mixes the entries of "
                                      f"{e.name}, and that must come back too", "certain",
                      "the gradient is the sum over all outputs that an entry reaches",
                      f"d{e.name}ᵢ = Σₖ gₖ · dyₖ/d{e.name}ᵢ")
    if e.g.shape == e.a.shape and e.jacobian is not None and np.allclose(e.jacobian[e.used], 1,
                                                                         atol=1e-6):
        return e.says("permuted", f"d{e.name} is g itself, in its order; but the output takes its "
                                  f"entries from other places of {e.name}, and each g belongs to "
                                  "where its entry came from", "certain",
                      "what is looked up forward is added at the same places backward",
                      f"d{e.name} = zeros; np.add.at(d{e.name}, where, g)")
    words = next((w for w, t in inverses(e) if e.same(e.a * t, e.n)), "dy/dx")
    return e.says("missing-factor", f"d{e.name} is g itself: the factor {words} is missing in all "
                                    f"{e.a.size} entries", "certain",
                  "the chain rule: dL/dx = dL/dy · dy/dx", f"d{e.name} = g · {words}")


def array_factor(e):
    """a = n·T or n / T for an array T made of what the operation has at hand, or for a number a
    line"""
    alive, ratio = ratio_of(e)
    if alive is None or (np.abs(ratio[alive] - 1) < 1e-6).all():
        return None
    for words, t in factors(e):
        for kind, value in (("extra-factor", t), ("missing-factor", 1 / t)):
            if np.isfinite(value[alive]).all() and np.ptp(value) > 1e-9 and e.same(
                    np.where(alive, e.n * value, e.a), e.a):
                verb = "has the factor {} too many" if kind == "extra-factor" else "lacks the factor {}"
                over = kind == "extra-factor"
                return e.says(kind, f"d{e.name} {verb.format(words)}: it is the true gradient "
                                    f"{'times' if over else 'divided by'} {words} in all "
                                    f"{int(alive.sum())} entries that say anything", "certain",
                              "the chain rule: each function on the way gives one factor, its "
                              "derivative",
                              f"d{e.name} = (what you have) {'/' if over else '·'} ({words})")
    for axis in range(e.a.ndim):
        if e.a.shape[axis] > 1 and alive.all() and np.ptp(ratio, axis=axis).max(initial=0) < 1e-5:
            return factor_of_lines(e, axis, ratio.mean(axis=axis).reshape(-1))


def factor_of_lines(e, axis, c):
    """a is n times c, a number for each line along `axis`."""
    if np.isin(np.round(c, 6), (0, 1)).all():
        return e.says("not-accumulated",
                      f"d{e.name} is right in some lines along dim {axis} and zero in "
                                         f"{int((np.abs(c) < 1e-6).sum())} of {len(c)}: they get "
                                         "nothing", "certain",
                      "what is used several times gets a gradient from each use",
                      f"d{e.name} = g · dy/d{e.name} in every line along dim {axis}")
    kind = "missing-factor" if np.abs(c).mean() < 1 else "extra-factor"
    return e.says(kind, f"d{e.name} is the true gradient times a number that is constant along dim "
                        f"{axis} and differs from line to line (from {c.min():.4g} to "
                        f"{c.max():.4g}): a factor of each line, such as 1/σ, is missing, squared "
                        "or too many", "likely")


def missing_eps(e):
    """(a/n)² = (v + eps) / v along a line, v the variance or the mean square there: eps was left
    out of 1/√(v + eps)"""
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
                guess = v * (np.abs(c) ** power - 1)
                if np.ptp(guess) < 1e-3 * np.abs(guess).max() and np.abs(guess).max() > 1e-9:
                    return e.says("missing-eps", f"d{e.name} is the gradient for 1/√{words}, where "
                                                  f"the forward pass has 1/√({words} + "
                                                  f"{guess.mean():.3g}): eps is left out", "likely",
                                  "what the forward pass computed, the backward pass uses as it is",
                                  f"r = 1/√({words} + {guess.mean():.3g})")
    return None


def inverses(e):
    """factors(e), and one over each."""
    with np.errstate(all="ignore"):
        for words, t in factors(e):
            yield words, t
            yield f"1/{words}", 1 / t


def factors(e):
    """(words, array of x's shape) for what may be missing or too many."""
    base = [("the output y", e.y), ("the upstream g", e.g)] + [
        (name, v) for name, v in e.inputs.items() if isinstance(v, np.ndarray) and v.dtype.kind
                                                               == "f"]
    with np.errstate(all="ignore"):
        s = 1 / (1 + np.exp(-e.x))
        yield f"σ'({e.name})", s * (1 - s)
        for words, v in base:
            if v.ndim > e.a.ndim or any(n not in (1, m)
                                        for n, m in zip(v.shape[::-1], e.a.shape[::-1])):
                continue
            v = np.broadcast_to(v, e.a.shape)
            for form, t in (("{}", v), ("{}²", v * v), ("(1 + {})", 1 + v), ("(1 − {})", 1 - v),
                            ("{}/2", v / 2),
                            ("2·{}", 2 * v), ("√{}", np.sqrt(np.abs(v))),
                            ("e^{}", np.exp(np.minimum(v, 50))),
                            ("−{}", -v), ("−{}²", -v * v)):
                yield form.format(words), t
        pairs = [(w, np.broadcast_to(v, e.a.shape)) for w, v in base
                 if v.ndim <= e.a.ndim
                 and all(n in (1, m) for n, m in zip(v.shape[::-1], e.a.shape[::-1]))]
        for words, v in pairs:
            for other, u in pairs:
                if words != other:
                    yield f"{words} / {other}", v / u
                    yield f"({words} − {other})", v - u
