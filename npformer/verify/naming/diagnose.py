"""Naming what is wrong with a gradient: each recogniser knows one mistake by the mark that it
leaves in the numbers.

They are tried in order, the more telling first. What none of them knows is still placed: where, how
much, what pattern.
"""


import numpy as np

from .accumulation import (
    broadcast_dims,
    factor_inside,
    jacobian_diagonal,
    one_use_only,
    other_copies,
    other_value,
    slices_left_out,
    sum_over_wrong_axis,
)
from .elementwise_terms import wrong_products, wrong_sums
from .evidence import Evidence
from .factors import array_factor, bare_upstream, missing_eps
from .line_terms import wrong_terms
from .paths import by_path
from .wrong_rules import by_rule, with_another_eps, with_another_mask


def diagnose(evidence):
    """The findings on one wrong gradient, the most telling first; never empty."""
    for recogniser in RECOGNISERS:
        finding = recogniser(evidence)
        if finding is not None:
            return [finding]
    return [describe_difference(evidence)]


# ── the whole gradient ────────────────────────────────────────────────────────────────────────────


def zero_gradient(e):
    """a = 0"""
    if not e.a.any() and e.n.any():
        return e.says("zero",
                      f"d{e.name} is zero in all {e.a.size} entries; its largest true entry is "
                               f"{np.abs(e.n).max():.4g}. The path from {e.name} to the output is "
                               "cut in the backward pass",
                    "certain", "every input that the output depends on gets a gradient")


def skip_path(e):
    """n − a = g, or a − n = g: for y = x + F(x)"""
    if e.g.shape != e.a.shape or e.jacobian is None:
        return None
    for kind, sign, words in (("path-missing", 1, "left out"),
                              ("path-doubled", -1, "counted twice")):
        if e.same(e.a + sign * e.g, e.n) and not e.same(e.n, e.g) and not e.same(e.n, 2 * e.g):
            return e.says(kind, f"d{e.name} differs from the true gradient by exactly g: the path "
                                 f"that passes {e.name} on unchanged (the skip of y = x + F(x)) is "
                                 f"{words}",
                        "certain", "dL/dx = dL/dy · (1 + dF/dx)",
                          "dx = g + (what came back through F)")


def constant_factor(e):
    """a = c·n"""
    c = e.constant()
    if c is None:
        return None
    if abs(c + 1) < 1e-6:
        return e.says("sign", f"d{e.name} is −1 x the true gradient in all {e.a.size} entries: the "
                              "sign is wrong", "certain",
                      "the sign of a difference: y = u − v gives dv = −g",
                      f"d{e.name} = −(what you have)", c=-1.0)
    words = e.word_for(c)
    what = f"; {c:.4g} is {words}" if words else ""
    if e.broadcast and c < 1 and any(abs(c * k - 1) < 1e-6
                                     for k in set(e.used.sum(axis=0).tolist())):
        return e.says("averaged-broadcast", f"d{e.name} is {c:.4f} x the true gradient in all "
                                             f"{e.a.size} entries{what}: it is the mean over the "
                                             "places where it was used, and should be the sum",
                    "certain", "what is broadcast forward is summed backward",
                      f"d{e.name} = (g · dy/d{e.name}).sum(axis={broadcast_dims(e)}), not .mean",
                      c=c)
    return e.says("factor", f"d{e.name} is {c:.4f} x the true gradient in all {e.a.size} "
                            f"entries{what}", "certain",
                  f"a constant factor of {1 / c:.4g} is missing",
                  f"d{e.name} = (what you have) / {c:.4g}"
                  + (f", {c:.4g} being {words}" if words else ""), c=c)


def values_elsewhere(e):
    """a has n's values in other places"""
    a, n = e.a, e.n
    if a.ndim >= 2 and a.shape[-1] == a.shape[-2] and e.same(a, np.swapaxes(n, -1, -2)):
        return e.says("transposed", f"d{e.name} is the true gradient transposed (its last two dims "
                                    "exchanged)", "certain",
                      "the gradient of a matrix has the matrix's own order of dims",
                      f"d{e.name} = np.swapaxes(what you have, -1, -2)")
    if np.ptp(n) <= 1e-6 * e.scale or not np.allclose(np.sort(a, axis=None), np.sort(n, axis=None),
                                                      rtol=0,
                                                      atol=RTOL_OF_SORT * e.scale):
        return None
    for axis in range(a.ndim):
        if e.same(a, np.flip(n, axis)):
            return e.says("permuted", f"d{e.name} is the true gradient read backwards along dim "
                                      f"{axis}", "certain",
                          "a flip is undone by the same flip",
                          f"d{e.name} = np.flip(what you have, {axis})")
        for shift in range(1, a.shape[axis]):
            if e.same(a, np.roll(n, shift, axis)):
                return e.says("permuted", f"d{e.name} is the true gradient moved by {shift} along "
                                          f"dim {axis}", "certain",
                              "a move is undone by the opposite one",
                              f"d{e.name} = np.roll(what you have, {-shift}, {axis})")
    return e.says("permuted", f"d{e.name} has exactly the values of the true gradient, but "
                               f"{int(e.wrong.sum())} of {a.size} stand in other places: a reshape "
                               "or permutation is undone in the wrong order",
                "certain",
                  "undo a permutation with its inverse; transpose back before merging dims")


RTOL_OF_SORT = 1e-6


def jacobian_not_transposed(e):
    """a = J·g, where n = Jᵀ·g"""
    if e.jacobian is not None and e.jacobian.shape[0] == e.jacobian.shape[1]:
        turned = (e.jacobian @ e.g.reshape(-1)).reshape(e.a.shape)
        if e.same(e.a, turned) and not e.same(turned, e.n):
            return e.says("transposed", f"d{e.name} is the Jacobian times g, but must be its "
                                         "transpose times g: a matrix is not transposed, or a "
                                         "factor stands on the other side of a sum",
                        "certain", "the backward of y = A·x is Aᵀ·g")


# ── where it is wrong ─────────────────────────────────────────────────────────────────────────────


def masked_entries(e):
    """Wrong only where the true gradient is exactly zero; or only in rows that a mask touches"""
    dead = np.abs(e.n) <= 10 * e.noise
    if dead.any() and not dead.all() and not np.abs(e.a[~dead]).max() and (e.a[dead] != 0).any():
        return e.says("mask-leak", f"d{e.name} is zero in the {int((~dead).sum())} entries that "
                                    f"the output depends on, and not in the {int(dead.sum())} "
                                    "others: the mask is the wrong way round", "certain",
                      "where the forward pass stops a value, the backward pass stops its gradient",
                      f"d{e.name} = np.where(used, g · dy/d{e.name}, 0), not the other way round")
    if dead.any() and not dead.all() and e.wrong.any() and not (e.wrong & ~dead).any():
        relu = ", as a gate at x <= 0 would leave" if (e.x[e.wrong] <= 0).all() and (e.x[~dead]
                                                                                     > 0).all() else ""
        return e.says("mask-leak", f"d{e.name} is wrong in {int(e.wrong.sum())} entries, and there "
                                    "alone: the output does not depend on them, so their gradient "
                                    f"must be 0{relu}; the largest is "
                                    f"{np.abs(e.a[e.wrong]).max():.4g}",
                    "certain",
                      "where the forward pass stops a value, the backward pass stops its gradient")
    for name, mask in e.inputs.items():
        if isinstance(mask, np.ndarray) and mask.dtype == bool and e.gradient_with is not None:
            for words, other in (("as if it were all true", np.ones_like(mask)),
                                 ("turned round", ~mask),
                                 ("moved by one", np.roll(mask, 1, -1)),
                                 ("moved by one", np.roll(mask, -1, -1))):
                found = e.gradient_with(name, other)
                if found is not None and e.same(e.a, found):
                    return e.says("mask-ignored", f"d{e.name} is the gradient with {name} {words}: "
                                                   f"the backward pass does not apply the {name} "
                                                   "of the forward pass", "certain",
                                  f"where {name} stops a value, the backward pass stops its "
                                  "gradient",
                                  f"d{e.name} = np.where({name}, ..., 0), with the {name} of the "
                                  "forward pass")
        if isinstance(mask, np.ndarray) and mask.dtype == bool and mask.ndim >= 2:
            rows = mask.all(axis=-1)
            while rows.ndim > 1:
                rows = rows.all(axis=0)
            for axis in range(e.a.ndim):
                if e.a.shape[axis] == len(rows) and rows.any() and not rows.all():
                    bad = e.wrong.any(axis=tuple(k for k in range(e.a.ndim) if k != axis))
                    if (bad == ~rows).all():
                        return e.says("mask-ignored", f"d{e.name} is right in the rows (dim "
                                                       f"{axis}) that {name} leaves whole, and "
                                                       f"wrong in the {int(bad.sum())} others: the "
                                                       f"backward pass does not apply {name}",
                                      "likely")


def looked_up_rows(e):
    """Wrong in exactly the rows that an index names"""
    if e.a.ndim < 2:
        return None
    bad = set(np.flatnonzero(e.wrong.any(axis=tuple(range(1, e.a.ndim)))).tolist())
    for name, ids in e.inputs.items():
        if isinstance(ids,
                      np.ndarray) and ids.dtype.kind in "iu" and bad and bad == set(ids.reshape(-1).tolist()):
            return e.says("path-missing", f"d{e.name} is wrong in exactly the {len(bad)} rows that "
                                          f"{name} looks up, and right in the others: what comes "
                                          f"back through {name} is left out, or counted wrongly",
                          "likely")


def tied_entries(e):
    """Wrong only where entries of x tie"""
    values, counts = np.unique(e.x, return_counts=True)
    tied = np.isin(e.x, values[counts > 1])
    if e.wrong.any() and tied.any() and not tied.all() and not (e.wrong & ~tied).any():
        return e.says("only-at-ties", f"d{e.name} is wrong in {int(e.wrong.sum())} entries, all "
                                       f"among the {int(tied.sum())} that tie with another: only "
                                       "the convention at ties differs", "likely")


# ── small differences, and the rest ───────────────────────────────────────────────────────────────


def coarse_dtype(e):
    """Everywhere a little wrong, as far as a shorter dtype reaches"""
    worst = np.abs(e.a - e.n).max() / e.scale
    for dtype, limit in ((np.float16, 3e-2), (np.float32, 1e-4)):
        if worst < limit and (np.array_equal(e.a, e.a.astype(dtype)) or worst < 3e-6 and dtype
                              == np.float32):
            return e.says("precision", f"d{e.name} is right to {worst:.1e} of its largest entry, "
                                        f"as far as {dtype.__name__} reaches: something is "
                                        f"computed in {dtype.__name__}")


def small_difference(e):
    """Everywhere a little wrong: the gradient of a slightly different function"""
    worst = np.abs(e.a - e.n).max() / e.scale
    if worst < 0.03 and e.wrong.mean() > 0.3:
        return e.says("missing-eps", f"d{e.name} is off by a little in {int(e.wrong.sum())} of "
                                      f"{e.a.size} entries (at most {worst:.1e} of the largest): "
                                      "it is the gradient of a slightly different function. Is a "
                                      "small constant (eps) left out or put elsewhere, or an "
                                      "approximation differentiated?",
                    "likely")


def describe_difference(e):
    """Where and how much, when no name fits"""
    order = np.argsort(-np.abs(e.a - e.n), axis=None)[:3]
    worst = "; ".join(f"at {tuple(int(v) for v in np.unravel_index(k, e.a.shape))} "
                      f"{e.a.reshape(-1)[k]:.6g}, true {e.n.reshape(-1)[k]:.6g}" for k in order)
    alike = float((e.a * e.n).sum() / max(np.linalg.norm(e.a) * np.linalg.norm(e.n), 1e-300))
    return e.says("unexplained", f"d{e.name} is wrong in {int(e.wrong.sum())} of {e.a.size} "
                                  f"entries{pattern(e)}; the worst: {worst}. Its cosine with the "
                                  f"true gradient is {alike:.3f}, its length "
                                  f"{np.linalg.norm(e.a) / max(np.linalg.norm(e.n), 1e-300):.3g} x "
                                  "the true one",
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
    if e.a.ndim >= 2 and np.isfinite(r).all():
        flat = r.reshape(-1, r.shape[-1])
        singular = np.linalg.svd(flat, compute_uv=False)
        if len(singular) > 1 and singular[1] < 1e-5 * singular[0]:
            return "; the error is an outer product (rank one)"
    signs = {"positive": e.x > 0, "negative": e.x < 0}
    for word, chosen in signs.items():
        if chosen.any() and not chosen.all() and not (e.wrong & ~chosen).any():
            return f", all where {e.name} is {word}"
    return ""


RECOGNISERS = (zero_gradient, coarse_dtype, skip_path, constant_factor, values_elsewhere,
               jacobian_diagonal, by_path, one_use_only, slices_left_out, masked_entries,
               tied_entries, looked_up_rows, sum_over_wrong_axis, other_copies, bare_upstream,
               factor_inside, missing_eps, with_another_eps,
               array_factor, other_value, wrong_terms, wrong_sums, wrong_products,
               jacobian_not_transposed, with_another_mask, by_rule,
               small_difference)

__all__ = ["Evidence", "diagnose"]
