"""Naming what is wrong with a gradient: each recogniser knows one mistake by the mark that it leaves in the numbers.

They are tried in order, the more telling first. What none of them knows is still placed: where, how much, what pattern.
"""


import numpy as np

from .evidence import Evidence
from .findings import Finding
from .sums import wrong_products, wrong_sums
from .terms import wrong_terms
from .uses import diagonal, factor_inside, left_out, one_use_only, other_value, wrong_axis


def diagnose(evidence):
    """The findings on one wrong gradient, the most telling first; never empty."""
    for recogniser in RECOGNISERS:
        finding = recogniser(evidence)
        if finding is not None:
            return [finding]
    return [unexplained(evidence)]


def said(e, kind, text, certainty="certain", hints=(), **detail):
    """A finding on this input. The first hint is where it is."""
    detail["wrong"] = int(e.wrong.sum())
    return Finding(kind, e.name, text, detail, certainty, (f"look at d{e.name}", *hints))


# ── the whole gradient ───────────────────────────────────────────────────────────────────────────────────────────────


def zero(e):
    """a = 0"""
    if not e.a.any() and e.n.any():
        return said(e, "zero", f"d{e.name} is zero in all {e.a.size} entries; its largest true entry is "
                               f"{np.abs(e.n).max():.4g}. The path from {e.name} to the output is cut in the backward pass",
                    hints=("every input that the output depends on gets a gradient",))


def skip_path(e):
    """n − a = g, or a − n = g: for y = x + F(x)"""
    if e.g.shape != e.a.shape or e.jacobian is None:
        return None
    for kind, sign, words in (("path-missing", 1, "left out"), ("path-doubled", -1, "counted twice")):
        if e.same(e.a + sign * e.g, e.n) and not e.same(e.n, e.g) and not e.same(e.n, 2 * e.g):
            return said(e, kind, f"d{e.name} differs from the true gradient by exactly g: the path that passes {e.name} on "
                                 f"unchanged (the skip of y = x + F(x)) is {words}",
                        hints=("dL/dx = dL/dy · (1 + dF/dx)", "dx = g + (what came back through F)"))


def constant_factor(e):
    """a = c·n"""
    c = e.constant()
    if c is None:
        return None
    if abs(c + 1) < 1e-6:
        return said(e, "sign", f"d{e.name} is −1 x the true gradient in all {e.a.size} entries: the sign is wrong", c=-1.0)
    words = e.word_for(c)
    what = f"; {c:.4g} is {words}" if words else ""
    if e.broadcast and c < 1 and any(abs(c * k - 1) < 1e-6 for k in set(e.used.sum(axis=0).tolist())):
        return said(e, "averaged-broadcast", f"d{e.name} is {c:.4f} x the true gradient in all {e.a.size} entries{what}: it "
                                             "is the mean over the places where it was used, and should be the sum",
                    c=c, hints=("what is broadcast forward is summed backward", f"d{e.name} = g.sum(...)"))
    return said(e, "factor", f"d{e.name} is {c:.4f} x the true gradient in all {e.a.size} entries{what}", c=c,
                hints=(f"a constant factor of {1 / c:.4g} is missing" if c else "",))


def moved(e):
    """a has n's values in other places"""
    a, n = e.a, e.n
    if a.ndim >= 2 and a.shape[-1] == a.shape[-2] and e.same(a, np.swapaxes(n, -1, -2)):
        return said(e, "transposed", f"d{e.name} is the true gradient transposed (its last two dims exchanged)")
    if np.ptp(n) <= 1e-6 * e.scale or not np.allclose(np.sort(a, axis=None), np.sort(n, axis=None), rtol=0,
                                                      atol=RTOL_OF_SORT * e.scale):
        return None
    for axis in range(a.ndim):
        if e.same(a, np.flip(n, axis)):
            return said(e, "permuted", f"d{e.name} is the true gradient read backwards along dim {axis}")
        for shift in range(1, a.shape[axis]):
            if e.same(a, np.roll(n, shift, axis)):
                return said(e, "permuted", f"d{e.name} is the true gradient moved by {shift} along dim {axis}")
    return said(e, "permuted", f"d{e.name} has exactly the values of the true gradient, but {int(e.wrong.sum())} of "
                               f"{a.size} stand in other places: a reshape or permutation is undone in the wrong order",
                hints=("undo a permutation with its inverse; transpose back before merging dims",))


RTOL_OF_SORT = 1e-6


def untransposed(e):
    """a = J·g, where n = Jᵀ·g"""
    if e.jacobian is not None and e.jacobian.shape[0] == e.jacobian.shape[1]:
        turned = (e.jacobian @ e.g.reshape(-1)).reshape(e.a.shape)
        if e.same(e.a, turned) and not e.same(turned, e.n):
            return said(e, "transposed", f"d{e.name} is the Jacobian times g, but must be its transpose times g: a matrix is "
                                         "not transposed, or a factor stands on the other side of a sum",
                        hints=("the backward of y = A·x is Aᵀ·g",))


# ── where it is wrong ────────────────────────────────────────────────────────────────────────────────────────────────


def at_masked_entries(e):
    """Wrong only where the true gradient is exactly zero; or only in rows that a mask touches"""
    dead = np.abs(e.n) <= 10 * e.noise
    if dead.any() and not dead.all() and not np.abs(e.a[~dead]).max() and (e.a[dead] != 0).any():
        return said(e, "mask-leak", f"d{e.name} is zero in the {int((~dead).sum())} entries that the output depends on, and not "
                                    f"in the {int(dead.sum())} others: the mask is the wrong way round")
    if dead.any() and not dead.all() and e.wrong.any() and not (e.wrong & ~dead).any():
        relu = ", as a gate at x <= 0 would leave" if (e.x[e.wrong] <= 0).all() and (e.x[~dead] > 0).all() else ""
        return said(e, "mask-leak", f"d{e.name} is wrong in {int(e.wrong.sum())} entries, and there alone: the output does "
                                    f"not depend on them, so their gradient must be 0{relu}; the largest is "
                                    f"{np.abs(e.a[e.wrong]).max():.4g}",
                    hints=("where the forward pass stops a value, the backward pass stops its gradient",))
    for name, mask in e.inputs.items():
        if isinstance(mask, np.ndarray) and mask.dtype == bool and e.gradient_with is not None:
            for words, other in (("as if it were all true", np.ones_like(mask)), ("turned round", ~mask),
                                 ("moved by one", np.roll(mask, 1, -1)), ("moved by one", np.roll(mask, -1, -1))):
                found = e.gradient_with(name, other)
                if found is not None and e.same(e.a, found):
                    return said(e, "mask-ignored", f"d{e.name} is the gradient with {name} {words}: the backward pass does not "
                                                   f"apply the {name} of the forward pass")
        if isinstance(mask, np.ndarray) and mask.dtype == bool and mask.ndim >= 2:
            rows = mask.all(axis=-1)
            while rows.ndim > 1:
                rows = rows.all(axis=0)
            for axis in range(e.a.ndim):
                if e.a.shape[axis] == len(rows) and rows.any() and not rows.all():
                    bad = e.wrong.any(axis=tuple(k for k in range(e.a.ndim) if k != axis))
                    if (bad == ~rows).all():
                        return said(e, "mask-ignored", f"d{e.name} is right in the rows (dim {axis}) that {name} leaves "
                                                       f"whole, and wrong in the {int(bad.sum())} others: the backward pass "
                                                       f"does not apply {name}", "likely")


def at_looked_up_rows(e):
    """Wrong in exactly the rows that an index names"""
    if e.a.ndim < 2:
        return None
    bad = set(np.flatnonzero(e.wrong.any(axis=tuple(range(1, e.a.ndim)))).tolist())
    for name, ids in e.inputs.items():
        if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and bad and bad == set(ids.reshape(-1).tolist()):
            return said(e, "path-missing", f"d{e.name} is wrong in exactly the {len(bad)} rows that {name} looks up, and right in "
                                           f"the others: what comes back through {name} is left out, or counted wrongly", "likely")


def at_ties(e):
    """Wrong only where entries of x tie"""
    values, counts = np.unique(e.x, return_counts=True)
    tied = np.isin(e.x, values[counts > 1])
    if e.wrong.any() and tied.any() and not tied.all() and not (e.wrong & ~tied).any():
        return said(e, "only-at-ties", f"d{e.name} is wrong in {int(e.wrong.sum())} entries, all among the {int(tied.sum())} "
                                       "that tie with another: only the convention at ties differs", "likely")


# ── factors that are arrays ──────────────────────────────────────────────────────────────────────────────────────────


def array_factor(e):
    """a = n·T or n / T for an array T made of what the operation has at hand"""
    alive = np.abs(e.n) > 1e-4 * e.scale
    if not alive.any() or not alive.mean() > 0.3:
        return None
    ratio = np.where(alive, e.a / np.where(alive, e.n, 1), 1)
    if (np.abs(ratio[alive] - 1) < 1e-6).all():
        return None
    bare = e.g
    if e.g.ndim < e.a.ndim:                        # a reduction: g stands for a whole line
        bare = next((np.broadcast_to(np.expand_dims(e.g, k), e.a.shape) for k in range(e.a.ndim)
                     if e.g.shape == e.a.shape[:k] + e.a.shape[k + 1:]), np.broadcast_to(e.g.reshape(-1)[:1], e.a.shape))
    if bare.shape == e.a.shape and e.same(e.a, bare):
        if e.g.shape == e.a.shape and e.jacobian is not None and e.used.sum() > e.x.size:
            return said(e, "missing-term", f"d{e.name} is g itself, in all {e.a.size} entries: the other terms are missing. The "
                                           f"output mixes the entries of {e.name}, and that must come back too")
        words = next((w for w, t in inverses(e) if e.same(e.a * t, e.n)), "dy/dx")
        return said(e, "missing-factor", f"d{e.name} is g itself: the factor {words} is missing in all {e.a.size} entries",
                    hints=("the chain rule: dL/dx = dL/dy · dy/dx", f"d{e.name} = g · {words}"))
    eps = missing_eps(e, ratio, alive)
    if eps is not None:
        return eps
    for words, t in factors(e):
        with np.errstate(all="ignore"):
            for kind, value in (("extra-factor", t), ("missing-factor", 1 / t)):
                if np.isfinite(value[alive]).all() and np.ptp(value) > 1e-9 and e.same(
                        np.where(alive, e.n * value, e.a), e.a):
                    verb = "has the factor {} too many" if kind == "extra-factor" else "lacks the factor {}"
                    return said(e, kind, f"d{e.name} {verb.format(words)}: it is the true gradient "
                                         f"{'times' if kind == 'extra-factor' else 'divided by'} {words} in all "
                                         f"{int(alive.sum())} entries that say anything")
    for axis in range(e.a.ndim):
        if e.a.shape[axis] > 1 and alive.all() and np.ptp(ratio, axis=axis).max(initial=0) < 1e-5:
            c = ratio.mean(axis=axis).reshape(-1)
            if np.isin(np.round(c, 6), (0, 1)).all():
                return said(e, "not-accumulated", f"d{e.name} is right in some lines along dim {axis} and zero in "
                                                  f"{int((np.abs(c) < 1e-6).sum())} of {len(c)}: they get nothing")
            kind = "missing-factor" if np.abs(c).mean() < 1 else "extra-factor"
            return said(e, kind, f"d{e.name} is the true gradient times a number that is constant along dim {axis} and "
                                 f"differs from line to line (from {c.min():.4g} to {c.max():.4g}): a factor of each line, "
                                 "such as 1/σ, is missing, squared or too many", "likely")


def missing_eps(e, ratio, alive):
    """ratio² = (v + eps) / v along a line, v the variance or the mean square there: eps was left out of 1/√(v + eps)"""
    if e.y.shape != e.x.shape or not alive.mean() > 0.9:
        return None
    for axis in range(e.x.ndim):
        c = np.where(alive, ratio, 1).max(axis=axis, keepdims=True)
        if e.x.shape[axis] < 3 or not np.allclose(np.where(alive, ratio, c), c, rtol=1e-4):
            continue
        for words, v in (("variance", e.x.var(axis=axis, keepdims=True)), ("mean square", (e.x ** 2).mean(axis=axis, keepdims=True))):
            for power in (2, 2 / 3):
                guess = v * (np.abs(c) ** power - 1)
                if np.ptp(guess) < 1e-3 * np.abs(guess).max() and np.abs(guess).max() > 1e-9:
                    return said(e, "missing-eps", f"d{e.name} is the gradient for 1/√{words}, where the forward pass has "
                                                  f"1/√({words} + {guess.mean():.3g}): eps is left out", "likely")
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
        (name, v) for name, v in e.inputs.items() if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    with np.errstate(all="ignore"):
        s = 1 / (1 + np.exp(-e.x))
        yield f"σ'({e.name})", s * (1 - s)
        for words, v in base:
            if v.ndim > e.a.ndim or any(n not in (1, m) for n, m in zip(v.shape[::-1], e.a.shape[::-1])):
                continue
            v = np.broadcast_to(v, e.a.shape)
            for form, t in (("{}", v), ("{}²", v * v), ("(1 + {})", 1 + v), ("(1 − {})", 1 - v), ("{}/2", v / 2),
                            ("2·{}", 2 * v), ("√{}", np.sqrt(np.abs(v))), ("e^{}", np.exp(np.minimum(v, 50))),
                            ("−{}", -v), ("−{}²", -v * v)):
                yield form.format(words), t
        pairs = [(w, np.broadcast_to(v, e.a.shape)) for w, v in base
                 if v.ndim <= e.a.ndim and all(n in (1, m) for n, m in zip(v.shape[::-1], e.a.shape[::-1]))]
        for words, v in pairs:
            for other, u in pairs:
                if words != other:
                    yield f"{words} / {other}", v / u
                    yield f"({words} − {other})", v - u


# ── small differences, and the rest ──────────────────────────────────────────────────────────────────────────────────


def small(e):
    """Everywhere a little wrong: rounding, or a slightly different function"""
    worst = np.abs(e.a - e.n).max() / e.scale
    for dtype, limit in ((np.float16, 3e-2), (np.float32, 1e-4)):
        if worst < limit and (np.array_equal(e.a, e.a.astype(dtype)) or worst < 3e-6 and dtype == np.float32):
            return said(e, "precision", f"d{e.name} is right to {worst:.1e} of its largest entry, as far as {dtype.__name__} "
                                        f"reaches: something is computed in {dtype.__name__}")
    if worst < 0.03 and e.wrong.mean() > 0.3:
        return said(e, "missing-eps", f"d{e.name} is off by a little in {int(e.wrong.sum())} of {e.a.size} entries (at most "
                                      f"{worst:.1e} of the largest): it is the gradient of a slightly different function. Is "
                                      "a small constant (eps) left out or put elsewhere, or an approximation differentiated?",
                    "likely")


def unexplained(e):
    """Where and how much, when no name fits"""
    order = np.argsort(-np.abs(e.a - e.n), axis=None)[:3]
    worst = "; ".join(f"at {tuple(int(v) for v in np.unravel_index(k, e.a.shape))} {e.a.reshape(-1)[k]:.6g}, true "
                      f"{e.n.reshape(-1)[k]:.6g}" for k in order)
    alike = float((e.a * e.n).sum() / max(np.linalg.norm(e.a) * np.linalg.norm(e.n), 1e-300))
    return said(e, "unexplained", f"d{e.name} is wrong in {int(e.wrong.sum())} of {e.a.size} entries{pattern(e)}; the worst: "
                                  f"{worst}. Its cosine with the true gradient is {alike:.3f}, its length "
                                  f"{np.linalg.norm(e.a) / max(np.linalg.norm(e.n), 1e-300):.3g} x the true one",
                "certain", cosine=alike)


def pattern(e):
    """What the wrong entries have in common."""
    r = np.where(e.wrong, e.a - e.n, 0)
    for axis in range(e.a.ndim):
        bad = e.wrong.any(axis=tuple(k for k in range(e.a.ndim) if k != axis))
        if bad.any() and not bad.all():
            return f", all at indices {np.flatnonzero(bad)[:8].tolist()} of dim {axis}"
        if e.a.shape[axis] > 1 and np.ptp(r, axis=axis).max() < 1e-5 * e.scale:
            return f"; the error is constant along dim {axis}: a term that was averaged or summed along it is wrong"
    if e.a.ndim >= 2:
        flat = r.reshape(-1, r.shape[-1])
        singular = np.linalg.svd(flat, compute_uv=False)
        if len(singular) > 1 and singular[1] < 1e-5 * singular[0]:
            return "; the error is an outer product (rank one)"
    signs = {"positive": e.x > 0, "negative": e.x < 0}
    for word, chosen in signs.items():
        if chosen.any() and not chosen.all() and not (e.wrong & ~chosen).any():
            return f", all where {e.name} is {word}"
    return ""


RECOGNISERS = (zero, skip_path, constant_factor, moved, diagonal, one_use_only, left_out, at_masked_entries, at_ties, at_looked_up_rows,
               wrong_axis, factor_inside, array_factor, other_value, wrong_terms, wrong_sums, wrong_products,
               untransposed, small)

__all__ = ["Evidence", "diagnose"]
