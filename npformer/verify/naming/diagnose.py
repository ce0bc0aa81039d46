"""Naming what is wrong with a gradient: each recogniser knows one mistake by the mark that it
leaves in the numbers.

A recogniser takes the Evidence and returns a Finding, or None. RECOGNISERS, at the end, is their
order. What none of them knows is still placed: where, how much, what pattern.
"""

import numpy as np

from .accumulation import (
    broadcast_dims,
    factor_inside,
    jacobian_diagonal,
    one_use_only,
    other_copies,
    slices_left_out,
    sum_over_wrong_axis,
)
from .elementwise_terms import wrong_products, wrong_sums
from .factors import array_factor, bare_upstream, missing_eps, other_value
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
    if e.a.any() or not e.n.any():
        return None
    return e.finding(
        "zero",
        f"d{e.name} is zero in all {e.a.size} entries; its largest true entry is "
        f"{np.abs(e.n).max():.4g}. The path from {e.name} to the output is cut in the backward "
        "pass",
        "every input that the output depends on gets a gradient")


def skip_path(e):
    """n − a = g, or a − n = g: for y = x + F(x)"""
    if e.g.shape != e.a.shape or e.jacobian is None:
        return None
    for kind, sign, words in (("path-missing", 1, "left out"),
                              ("path-doubled", -1, "counted twice")):
        # n = g or 2g would be y = x or y = x + x: no skip past anything.
        if e.same(e.a + sign * e.g, e.n) and not e.same(e.n, e.g) and not e.same(e.n, 2 * e.g):
            return e.finding(
                kind,
                f"d{e.name} differs from the true gradient by exactly g: the path that passes "
                f"{e.name} on unchanged (the skip of y = x + F(x)) is {words}",
                "dL/dx = dL/dy · (1 + dF/dx)", "dx = g + (what comes back through F)")
    return None


def constant_factor(e):
    """a = c·n"""
    c = e.constant()
    if c is None:
        return None
    times = f"d{e.name} is {c:.4f} x the true gradient in all {e.a.size} entries"
    if abs(c + 1) < 1e-6:
        return e.finding(
            "sign",
            f"d{e.name} is −1 x the true gradient in all {e.a.size} entries: the sign is wrong",
            "the sign of a difference: y = u − v gives dv = −g", f"d{e.name} = −(what you have)",
            c=-1.0)
    words = e.words_for(c)
    what = f"; {c:.4g} is {words}" if words else ""
    counts = set(e.used.sum(axis=0).tolist()) if e.broadcast and c < 1 else ()
    if any(abs(c * k - 1) < 1e-6 for k in counts):
        return e.finding(
            "averaged-broadcast",
            f"{times}{what}: it is the mean over the places where it was used, and should be the "
            "sum",
            "what is broadcast forward is summed backward",
            f"d{e.name} = (g · dy/d{e.name}).sum(axis={broadcast_dims(e)}), not .mean", c=c)
    return e.finding(
        "factor", f"{times}{what}", f"a constant factor of {1 / c:.4g} is missing",
        f"d{e.name} = (what you have) / {c:.4g}" + (f", {c:.4g} being {words}" if words else ""),
        c=c)


def values_elsewhere(e):
    """a has n's values in other places"""
    a, n = e.a, e.n
    square = a.ndim >= 2 and a.shape[-1] == a.shape[-2]
    if square and e.same(a, np.swapaxes(n, -1, -2)):
        return e.finding(
            "transposed",
            f"d{e.name} is the true gradient transposed (its last two dims exchanged)",
            "the gradient of a matrix has the matrix's own order of dims",
            f"d{e.name} = np.swapaxes(what you have, -1, -2)")
    if np.ptp(n) <= 1e-6 * e.scale:                # all values alike: no place can be told
        return None
    ordered = np.sort(a, axis=None), np.sort(n, axis=None)
    if not np.allclose(*ordered, rtol=0, atol=1e-6 * e.scale):
        return None
    for axis in range(a.ndim):
        if e.same(a, np.flip(n, axis)):
            return e.finding(
                "permuted", f"d{e.name} is the true gradient read backwards along dim {axis}",
                "a flip is undone by the same flip", f"d{e.name} = np.flip(what you have, {axis})")
        for shift in range(1, a.shape[axis]):
            if e.same(a, np.roll(n, shift, axis)):
                return e.finding(
                    "permuted", f"d{e.name} is the true gradient moved by {shift} along dim {axis}",
                    "a move is undone by the opposite one",
                    f"d{e.name} = np.roll(what you have, {-shift}, {axis})")
    return e.finding(
        "permuted",
        f"d{e.name} has exactly the values of the true gradient, but {int(e.wrong.sum())} of "
        f"{a.size} stand in other places: a reshape or permutation is undone in the wrong order",
        "undo a permutation with its inverse; transpose back before merging dims")


def jacobian_not_transposed(e):
    """a = J·g, where n = Jᵀ·g"""
    if e.jacobian is None or e.jacobian.shape[0] != e.jacobian.shape[1]:
        return None
    turned = (e.jacobian @ e.g.reshape(-1)).reshape(e.a.shape)
    if not e.same(e.a, turned) or e.same(turned, e.n):
        return None
    return e.finding(
        "transposed",
        f"d{e.name} is the Jacobian times g, but must be its transpose times g: a matrix is not "
        "transposed, or a factor stands on the other side of a sum",
        "the backward of y = A·x is Aᵀ·g")


# ── where it is wrong ─────────────────────────────────────────────────────────────────────────────


def dead_entries(e):
    """Wrong only where the true gradient is exactly zero, or right only there"""
    dead = np.abs(e.n) <= 10 * e.noise
    if not dead.any() or dead.all():
        return None
    rule = "where the forward pass stops a value, the backward pass stops its gradient"
    if not np.abs(e.a[~dead]).max() and (e.a[dead] != 0).any():
        return e.finding(
            "mask-leak",
            f"d{e.name} is zero in the {int((~dead).sum())} entries that the output depends on, "
            f"and not in the {int(dead.sum())} others: the mask is the wrong way round",
            rule, f"d{e.name} = np.where(used, g · dy/d{e.name}, 0), not the other way round")
    if not e.wrong.any() or (e.wrong & ~dead).any():
        return None
    like_relu = (e.x[e.wrong] <= 0).all() and (e.x[~dead] > 0).all()
    relu = ", as a gate at x <= 0 would leave" if like_relu else ""
    return e.finding(
        "mask-leak",
        f"d{e.name} is wrong in {int(e.wrong.sum())} entries, and there alone: the output does not "
        f"depend on them, so their gradient must be 0{relu}; the largest is "
        f"{np.abs(e.a[e.wrong]).max():.4g}", rule)


def another_mask(e):
    """a is the gradient with another mask; or wrong only in rows that a mask touches. A mask that
    is an input is asked about by its name: the true gradient is computed again with the masks that
    people use by mistake."""
    for name, mask in e.arrays("b"):
        others = (("as if it were all true", np.ones_like(mask)), ("turned round", ~mask),
                  ("moved by one", np.roll(mask, 1, -1)), ("moved by one", np.roll(mask, -1, -1)))
        for words, other in others if e.gradient_with is not None else ():
            found = e.gradient_with(name, other)
            if found is not None and e.same(e.a, found):
                return e.finding(
                    "mask-ignored",
                    f"d{e.name} is the gradient with {name} {words}: the backward pass does not "
                    f"apply the {name} of the forward pass",
                    f"where {name} stops a value, the backward pass stops its gradient",
                    f"d{e.name} = np.where({name}, ..., 0), with the {name} of the forward pass")
        found = masked_rows(e, name, mask) if mask.ndim >= 2 else None
        if found is not None:
            return found
    return None


def masked_rows(e, name, mask):
    """The finding if a is wrong in exactly the rows that a mask does not leave whole."""
    whole = mask.all(axis=-1)
    while whole.ndim > 1:
        whole = whole.all(axis=0)
    for axis in range(e.a.ndim):
        if e.a.shape[axis] != len(whole) or whole.all() or not whole.any():
            continue
        bad = wrong_along(e, axis)
        if (bad == ~whole).all():
            return e.finding(
                "mask-ignored",
                f"d{e.name} is right in the rows (dim {axis}) that {name} leaves whole, and wrong "
                f"in the {int(bad.sum())} others: the backward pass does not apply {name}",
                certainty="likely")
    return None


def wrong_along(e, axis):
    """For each index of that dim, whether something is wrong there."""
    return e.wrong.any(axis=tuple(k for k in range(e.a.ndim) if k != axis))


def looked_up_rows(e):
    """Wrong in exactly the rows that an index names"""
    if e.a.ndim < 2:
        return None
    bad = set(np.flatnonzero(wrong_along(e, 0)).tolist())
    for name, ids in e.arrays("iu"):
        if bad and bad == set(ids.reshape(-1).tolist()):
            return e.finding(
                "path-missing",
                f"d{e.name} is wrong in exactly the {len(bad)} rows that {name} looks up, and "
                f"right in the others: what comes back through {name} is left out, or counted "
                "wrongly",
                certainty="likely")
    return None


def tied_entries(e):
    """Wrong only where entries of x tie"""
    values, counts = np.unique(e.x, return_counts=True)
    tied = np.isin(e.x, values[counts > 1])
    if not e.wrong.any() or not tied.any() or tied.all() or (e.wrong & ~tied).any():
        return None
    return e.finding(
        "only-at-ties",
        f"d{e.name} is wrong in {int(e.wrong.sum())} entries, all among the {int(tied.sum())} that "
        "tie with another: only the convention at ties differs", certainty="likely")


# ── small differences, and the rest ───────────────────────────────────────────────────────────────


def coarse_dtype(e):
    """Everywhere a little wrong, as far as a shorter dtype reaches"""
    worst = np.abs(e.a - e.n).max() / e.scale
    for dtype, limit in ((np.float16, 3e-2), (np.float32, 1e-4)):
        # Its numbers are those of the shorter dtype; or it was computed in it and multiplied since.
        exact = np.array_equal(e.a, e.a.astype(dtype))
        if worst < limit and (exact or worst < 3e-6 and dtype == np.float32):
            return e.finding(
                "precision",
                f"d{e.name} is right to {worst:.1e} of its largest entry, as far as "
                f"{dtype.__name__} reaches: something is computed in {dtype.__name__}")
    return None


def small_difference(e):
    """Everywhere a little wrong: the gradient of a slightly different function"""
    worst = np.abs(e.a - e.n).max() / e.scale
    if worst >= 0.03 or e.wrong.mean() <= 0.3:
        return None
    return e.finding(
        "missing-eps",
        f"d{e.name} is off by a little in {int(e.wrong.sum())} of {e.a.size} entries (at most "
        f"{worst:.1e} of the largest): it is the gradient of a slightly different function. Is a "
        "small constant (eps) left out or put elsewhere, or an approximation differentiated?",
        certainty="likely")


def describe_difference(e):
    """Where and how much, when no name fits"""
    order = np.argsort(-np.abs(e.a - e.n), axis=None)[:3]
    worst = "; ".join(f"at {tuple(int(v) for v in np.unravel_index(k, e.a.shape))} "
                      f"{e.a.reshape(-1)[k]:.6g}, true {e.n.reshape(-1)[k]:.6g}" for k in order)
    length, true_length = np.linalg.norm(e.a), max(np.linalg.norm(e.n), 1e-300)
    alike = float((e.a * e.n).sum() / max(length * true_length, 1e-300))
    return e.finding(
        "unexplained",
        f"d{e.name} is wrong in {int(e.wrong.sum())} of {e.a.size} entries{pattern(e)}; the worst: "
        f"{worst}. Its cosine with the true gradient is {alike:.3f}, its length "
        f"{length / true_length:.3g} x the true one", cosine=alike)


def pattern(e):
    r = np.where(e.wrong, e.a - e.n, 0)
    for axis in range(e.a.ndim):
        bad = wrong_along(e, axis)
        if bad.any() and not bad.all():
            return f", all at indices {np.flatnonzero(bad)[:8].tolist()} of dim {axis}"
        if e.a.shape[axis] > 1 and np.ptp(r, axis=axis).max() < 1e-5 * e.scale:
            return (f"; the error is constant along dim {axis}: a term that was averaged or summed "
                    "along it is wrong")
    if e.a.ndim >= 2 and np.isfinite(r).all():
        singular = np.linalg.svd(r.reshape(-1, r.shape[-1]), compute_uv=False)
        if len(singular) > 1 and singular[1] < 1e-5 * singular[0]:
            return "; the error is an outer product (rank one)"
    for word, there in (("positive", e.x > 0), ("negative", e.x < 0)):
        if there.any() and not there.all() and not (e.wrong & ~there).any():
            return f", all where {e.name} is {word}"
    return ""


# The order decides the name, for one gradient may bear several marks. Tried on the 359 planted
# mistakes: in the reverse order 94 lose their right name.
# - zero, coarse dtype and constant come first: a gradient that is scaled fits most of the rest.
# - The fits with free coefficients (wrong_terms, wrong_sums, wrong_products) come late, since with
#   them something fits by chance sooner: put first, they take the names of 54.
# - by_path before these, as it names the user's own line (last, 2 lose their name), but after the
#   constant (first, 5 do: a constant is a wrong weight of the last path, too).
# - by_rule is slow, it walks back from each operation for each slip; earlier, 5 lose their name.
# - small_difference is a guess.
RECOGNISERS = (
    zero_gradient, coarse_dtype, skip_path, constant_factor, values_elsewhere, jacobian_diagonal,
    by_path, one_use_only, slices_left_out, dead_entries, another_mask, tied_entries,
    looked_up_rows, sum_over_wrong_axis, other_copies, bare_upstream, factor_inside, missing_eps,
    with_another_eps, array_factor, other_value, wrong_terms, wrong_sums, wrong_products,
    jacobian_not_transposed, with_another_mask, by_rule, small_difference)
