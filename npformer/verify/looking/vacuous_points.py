"""Test points that hide mistakes: what they hide, and a better point near by.

At a weight that is 1 everywhere, a backward pass that forgets the weight is right. So before
anything is judged, each input is asked what its values hide (`hazards`), and the judge looks at a
better point as well. What hides in the sizes alone no other values can show: that is said, and no
more, since a batch of one may be meant, and the code written for it alone (`blind_spots`).
"""

from dataclasses import replace

import numpy as np

from ..findings import Finding
from .subject import change_inputs

NEAR_ZERO = 1e-8                                   # smaller numbers, or such above 1e8, are brought
                                                   # near 1
SHRUNK = (1e-2, 1e-4, 1e-6, 1e-8)                  # an input made so small shows whether the
                                                   # function goes on at 0


def hazards(subject, at_zero=True):
    """(place, words, a better value or None) for each input whose value would let a wrong gradient
    pass. at_zero: whether to ask after a kink at 0 as well, some ten forward passes for each input
    of one sign."""
    rng = np.random.default_rng(12345)             # the same better point at every seed
    said, better = {}, {}
    for i in range(len(subject.inputs)):
        words, value = find_doubt(subject, i, rng)
        if words:
            said[i] = words
        if value is not None:
            better[i] = value
    better = keep_accepted(subject, better)
    for i, x in enumerate(subject.inputs):
        if at_zero and has_one_sign(x) and not ends_at_zero(subject, i):
            turned = better.get(i, x) * random_signs(x.shape, rng)
            if accepts(subject, {**better, i: turned}):
                better[i] = turned
                said.setdefault(i, (
                    f"all entries of {subject.names[i]} are "
                    f"{'positive' if x.max() > 0 else 'negative'}: a backward pass that forgets a "
                    "kink at 0, as relu has, would pass"))
    return [(i, said[i], better.get(i)) for i in sorted(said)]


def keep_accepted(subject, values):
    """As many of those values as the forward pass takes together. All at once, if it does: a
    variance and its root, say, only make sense together. Only then one after the other."""
    if accepts(subject, values):
        return values
    kept = {}
    for i, value in values.items():
        if accepts(subject, {**kept, i: value}):
            kept[i] = value
    return kept


def find_doubt(subject, i, rng):
    """(what an input hides by its value, a better value or None); (None, None) if it hides
    nothing."""
    name, x = subject.names[i], subject.inputs[i]
    if not isinstance(x, np.ndarray):
        if isinstance(x, float) and x == 0.5:
            return f"{name} = 0.5: dividing by {name} and by 1 − {name} look alike", 0.3
        return None, None
    if x.size < 2:
        return None, None
    if x.dtype == bool and (x.all() or not x.any()):
        return (f"{name} is all {bool(x.all())}: a backward pass that ignores it would pass",
                random_mask(x, rng))
    if x.dtype.kind in "iu" and len(np.unique(x)) == x.size:
        better = x.copy()
        better.reshape(-1)[-1] = better.reshape(-1)[0]
        return (f"no index in {name} is repeated: a backward pass that assigns instead of adding "
                "would pass"), better
    return find_doubt_in_numbers(subject, i, rng) if x.dtype.kind == "f" else (None, None)


def find_doubt_in_numbers(subject, i, rng):
    name, x = subject.names[i], subject.inputs[i]
    top = np.abs(x).max()
    if top and not NEAR_ZERO < top < 1 / NEAR_ZERO:
        return (f"the largest entry of {name} is {top:.1e}: beside numbers near 1, rounding hides "
                "mistakes"), x / top * rng.uniform(0.7, 1.3, x.shape)
    # Near the given point, where the function is more likely to give numbers than anywhere else.
    away = rng.uniform(0.2, 0.6, x.shape) * rng.choice([-1, 1], x.shape)
    better = x + max(top, 0.5) * away
    if (x == x.flat[0]).all():
        return (f"{name} is {x.flat[0]:g} in all entries: a factor or term of {name} that is left "
                "out, or that stands in the wrong place, would pass"), better
    square = x.ndim >= 2 and x.shape[-1] == x.shape[-2] > 1
    if square and np.array_equal(x, np.swapaxes(x, -1, -2)):
        return f"{name} is symmetric: a missing transpose would pass", better
    for other, z in zip(subject.names[:i], subject.inputs[:i]):
        if isinstance(z, np.ndarray) and np.array_equal(x, z):
            return (f"{other} and {name} are equal: a backward pass that takes one for the other "
                    "would pass"), better
    return None, None


def random_mask(mask, rng):
    """A mask of that shape with true and false entries; the first of each line is true, since a
    softmax over a line without any is NaN."""
    better = rng.random(mask.shape) < 0.6
    better[..., 0] = True
    if better.all():
        better[..., -1] = False
    return better


# ── inputs of one sign ────────────────────────────────────────────────────────────────────────────


def has_one_sign(x):
    """Whether x is on one side of 0 without a reason. There is a reason for a mask of zeros and
    ones, for probabilities (lines that add up to 1) and for a sorted line, such as times: with
    other signs these would be no such thing any more."""
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or x.size < 2:
        return False
    if not np.isfinite(x).all() or x.min() < 0 < x.max():
        return False
    if not x.all() and len(np.unique(x)) < 3:
        return False
    if any(np.allclose(x.sum(axis=k), 1) for k in range(x.ndim)):
        return False
    return not (x.ndim == 1 and x.size > 2 and (np.diff(x) > 0).all())


def random_signs(shape, rng):
    signs = rng.choice([-1.0, 1.0], shape)
    signs.flat[0], signs.flat[-1] = 1, -1
    return signs


def ends_at_zero(subject, i):
    """Whether the function ends as an input shrinks to 0, as log and the root do: then no other
    sign is meant, and a NaN at a negative entry would say nothing of the backward pass. It ends
    where it gives no finite numbers, or where it gets ever steeper: the change from k·x to 2·k·x,
    beside k, grows as k shrinks."""
    x, slopes = subject.inputs[i], []
    for scale in (1, *SHRUNK):
        near, far = (output_with(subject, {i: k * scale * x}) for k in (1, 2))
        if near is None or far is None:
            return True
        slopes.append(float(np.abs(far - near).max(initial=0)) / scale)
    return max(slopes) > 8 * slopes[0]


def output_with(subject, values):
    """The output with other values for some inputs; None where it is not finite, or where the
    values are refused."""
    with change_inputs(subject, values), np.errstate(all="ignore"):
        try:
            y = np.array(subject.forward(subject.inputs), dtype=float)
        except Exception:                          # noqa: BLE001  (anything may go wrong there)
            return None
    return y if np.isfinite(y).all() else None


def accepts(subject, values):
    return not values or output_with(subject, values) is not None


# ── what the sizes hide ───────────────────────────────────────────────────────────────────────────


def blind_spots(subject, look):
    """The findings on what hides in the sizes: "possible", for the sizes may be those that are
    meant. look(subject) -> (comparisons, findings). Where the functions take larger arrays as well,
    those are looked at: what is right there hides nothing, and what is wrong there is told. Without
    that, every example with a batch of one would come with a warning that helps nobody."""
    lone, thin = [], {}                            # single indices; {place: dims of size 1}
    for i, x in enumerate(subject.inputs):
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu" or 1 not in x.shape:
            continue
        if x.size == 1 and x.dtype.kind in "iu":
            lone.append(i)
        dims = [k for k, n in enumerate(x.shape)
                if n == 1 and (i in lone or not is_broadcast(subject, i, k))]
        if dims:
            thin[i] = dims
    told = judge_larger(subject, thin, look) if thin and subject.raw is not None else ""
    if told is None:
        return []
    found, broad = [], [f"{subject.names[i]} {subject.inputs[i].shape}"
                        for i in thin if i not in lone]
    if broad:
        more = ["..."] if len(broad) > 4 else []
        found.append(
            f"of size 1 along a dim: {', '.join([*broad[:4], *more])}. A mean there in place of a "
            "sum, or a factor of the size that is left out (1/n, 1/√n), would pass")
    if lone:
        found.append(f"{' and '.join(subject.names[i] for i in lone)} holds one index: a backward "
                     "pass that assigns instead of adding would pass")
    return [Finding("vacuous", "", words + (told or "; sizes above 1 would tell"),
                    certainty="possible") for words in found]


def judge_larger(subject, thin, look):
    """What is wrong where the thin dims have size 3, in words; None if nothing is, '' if that
    cannot be known."""
    rng, inputs = np.random.default_rng(12345), list(subject.inputs)
    for i, dims in thin.items():
        for k in dims:
            inputs[i] = np.repeat(inputs[i], 3, axis=k)
        if inputs[i].dtype.kind == "f":
            inputs[i] = inputs[i] * rng.uniform(0.7, 1.3, inputs[i].shape)
    try:
        with np.errstate(all="ignore"):
            comparisons, findings = look(replace(subject, inputs=inputs, follow=None))
    except Exception:                              # noqa: BLE001  (nobody promised those shapes)
        return ""
    wrong = [f for f in findings if f.kind not in ("vacuous", "kink")]
    if wrong:
        return f". With size 3 there, it does: {wrong[0]}"
    return None if all(c.ok for c in comparisons) else ""


def is_broadcast(subject, i, k):
    """Whether input i has size 1 along dim k to be broadcast there, which hides nothing: against an
    array that is larger, with the same output if it is as large itself.

    A function of Tensors cannot be asked with other sizes (it may close over its inputs), so the
    output's shape must do; where the output is one number, as a loss, not even that tells, and a
    model's parameters are believed to be broadcast.
    """
    x, y = subject.inputs[i], np.asarray(subject.forward(subject.inputs))
    if subject.raw is None and y.size > 1:
        return is_wider(y, x, k)
    others = [z for j, z in enumerate(subject.inputs)
              if isinstance(z, np.ndarray) and (subject.raw or j not in subject.checked)]
    if subject.raw is None:
        return i in subject.checked or any(is_wider(z, x, k) for z in others)
    return any(is_wider(z, x, k)
               and same_output_if_wide(subject, i, k, z.shape[k - x.ndim], y, z is y)
               for z in [y, *others])


def is_wider(z, x, k):
    """Whether x broadcasts against z, and is repeated for it along dim k."""
    return z.ndim >= x.ndim - k and z.shape[k - x.ndim] > 1 and all(
        1 in (m, n) or m == n for m, n in zip(x.shape[::-1], z.shape[::-1]))


def same_output_if_wide(subject, i, k, size, y, repeats):
    """Whether the output stays y if input i is repeated to that size along dim k. repeats: or gives
    more of the same, as that of a function that repeats its input does."""
    wide = list(subject.inputs)
    wide[i] = np.repeat(wide[i], size, axis=k)
    with np.errstate(all="ignore"):
        try:
            found = np.asarray(subject.raw(wide))
        except Exception:                          # noqa: BLE001  (nobody promised that shape)
            return False
    if repeats and found.ndim == y.ndim:
        found = found[tuple(slice(n) for n in y.shape)]
    return found.shape == y.shape and np.allclose(found, y, equal_nan=True)


# ── what is said ──────────────────────────────────────────────────────────────────────────────────


def mark_elsewhere(findings, names):
    others = ", ".join([*names[:3], "..."] if len(names) > 4 else names)
    note = f" (seen with other values of {others}: those given hide it)"
    return [f if f.kind in ("vacuous", "kink") else replace(f, message=f.message + note)
            for f in findings]


def hazard_finding(words):
    return Finding("vacuous", "", f"{words}; the check cannot tell. Give it another test point")


def silent_finding(name, shape, scale):
    """The finding on an input whose true gradient is zero, or so small beside the output that
    rounding hides it."""
    what = "is zero"
    if scale >= 1e-12:
        what = f"(up to {scale:.1e}) is hidden by the output's rounding"
    return Finding("vacuous", name, (
        f"the true gradient of {name} {shape} {what} at this point, so any mistake that scales it "
        "would pass"))
