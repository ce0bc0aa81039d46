"""What holds for every right backward pass and needs no true gradient.

One gradient for each input, of its shape and dtype; no write into what belongs to others, no memory
shared, the same answer again; linear in the upstream gradient g. These come first: they cost two or
three backward passes, name their mistake with certainty, and where they fail, no comparison of
numbers means anything.
"""

import numpy as np

from ..findings import Finding


def check_structure(subject, g, sent):
    """Findings on number, shape, dtype and NaN of `sent`: a gradient for each checked input."""
    found = []
    for i, d in zip(subject.checked, sent):
        name, x = subject.names[i], subject.inputs[i]
        if d is None:
            found.append(Finding("zero", name, (
                f"d{name} is None: the backward pass gives no gradient to {name} {x.shape}, though "
                "it is floating")))
            continue
        d = np.asarray(d)
        if d.shape != x.shape:
            found.append(shape_finding(name, x, d, g))
        elif d.dtype != x.dtype:
            found.append(Finding("dtype", name, f"d{name} is {d.dtype}, but {name} is {x.dtype}"))
        elif not np.isfinite(d).all():
            count = int((~np.isfinite(d)).sum())
            first = tuple(int(k) for k in np.argwhere(~np.isfinite(d))[0])
            found.append(Finding("nan", name, (
                f"d{name} holds NaN or infinity in {count} of {d.size} entries, the first at "
                f"{first}")))
    return found


def shape_finding(name, x, d, g):
    text = f"d{name} has shape {d.shape}, but {name} has {x.shape}"
    over, left = repeated_dims(x, g), repeated_dims(x, d)
    if over is not None and d.size > x.size and left is not None:
        rest = f"dims {left} of it are still to be summed"
        if d.shape == g.shape:
            rest = "it has the output's shape"
        return Finding(
            "unsummed-broadcast", name,
            f"{text}: {rest}. {name} was broadcast, so its gradient must be summed over dims "
            f"{over}",
            hints=(f"look at d{name}", "what is broadcast forward is summed backward",
                   f"d{name} = (g · dy/d{name}).sum(axis={over})"))
    if x.ndim == d.ndim == 2 and d.shape == x.shape[::-1]:
        return Finding("transposed", name, f"{text}: it is transposed")
    return Finding("shape", name, text)


def repeated_dims(x, z):
    """The dims of z along which x is repeated; None if x does not broadcast to z."""
    lead = z.ndim - x.ndim
    if lead < 0 or not all(n in (1, m) for n, m in zip(x.shape, z.shape[lead:])):
        return None
    stretched = (k + lead for k, n in enumerate(x.shape) if n == 1 < z.shape[k + lead])
    return (*range(lead), *stretched)


# ── side effects ──────────────────────────────────────────────────────────────────────────────────


def check_side_effects(subject, g):
    """Findings on writes into what belongs to others, shared memory, and answers that change."""
    inputs = [np.array(x) if isinstance(x, np.ndarray) else x for x in subject.inputs]
    upstream = g.copy()
    first, written = subject.pull(upstream, inputs)
    found = []
    here, again = np.array(subject.forward(subject.inputs)), subject.forward(subject.inputs)
    if not np.array_equal(here, again, equal_nan=True):
        found.append(Finding("not-repeatable", "", (
            "the forward pass gives another output when it is run again: it draws at random, or "
            "keeps a state. Hand over what it draws as an input")))
    if not np.array_equal(upstream, g):
        found.append(Finding("mutates", "", (
            "the backward pass writes into the upstream gradient g, which belongs to whoever "
            "computed it; another branch may still need it")))
    for name, x, before in zip(subject.names, inputs, subject.inputs):
        if isinstance(x, np.ndarray) and not np.array_equal(
                x, before, equal_nan=x.dtype.kind == "f"):
            found.append(Finding("mutates", name,
                                 f"forward or backward writes into its input {name}"))
    if written and not found:                      # a cache may hold the inputs, or g, themselves
        found.append(Finding("mutates", "", (
            f"the backward pass writes into {len(written)} of the arrays that forward saved, the "
            f"first of shape {written[0].shape}: a second backward pass would be wrong")))
    given = [(subject.names[i], d) for i, d in enumerate(first)
             if isinstance(d, np.ndarray) and d.size]
    found += find_shared_memory(given, list(zip(subject.names, inputs)))
    kept = [np.array(d) for _, d in given]
    second = subject.pull(g.copy(), inputs)[0]
    for (name, _), before in zip(given, kept):
        after = np.asarray(second[subject.names.index(name)])
        if after.shape == before.shape and not np.array_equal(before, after, equal_nan=True):
            worst = float(np.nanmax(np.abs(before - after)))
            found.append(Finding("not-repeatable", name, (
                f"d{name} changes when the same pass is run again, by up to {worst:.3g}: it keeps "
                "a state, or draws at random")))
    return found


def find_shared_memory(given, inputs):
    found = []
    for k, (name, d) in enumerate(given):
        for other, e in given[:k]:
            if np.shares_memory(d, e):
                found.append(Finding("aliases", name, (
                    f"d{name} and d{other} are the same memory: adding to one in place changes the "
                    "other")))
        for other, x in inputs:
            if isinstance(x, np.ndarray) and np.shares_memory(d, x):
                found.append(Finding("aliases", name, (
                    f"d{name} is the memory of the input {other}: adding to the gradient in place "
                    "changes the input")))
    return found


# ── linearity ─────────────────────────────────────────────────────────────────────────────────────


def check_linearity(subject, g, sent, rng):
    """Findings on a backward pass b that is not linear in g: b(0) = 0 and b(2g + 3h) = 2·b(g) +
    3·b(h) must hold. b(0) costs a backward pass, and says something new only where b(g) = b(h); so
    it is asked for only there."""
    h = rng.standard_normal(g.shape)
    at_h, at_both = subject.gradients(h), subject.gradients(2 * g + 3 * h)
    at_zero = subject.gradients(0 * g) if any(map(is_close, sent, at_h)) else at_h
    sizes = (float(np.abs(np.asarray(d, dtype=float)).max(initial=0))
             for d in sent if d is not None)
    largest = max(sizes, default=0)
    found = []
    for k, i in enumerate(subject.checked):
        name = subject.names[i]
        if any(s[k] is None for s in (sent, at_zero, at_h, at_both)):
            continue
        a, zero, b, both = (np.asarray(s[k], dtype=float) for s in (sent, at_zero, at_h, at_both))
        if not (a.shape == zero.shape == b.shape == both.shape) or not np.isfinite(both).all():
            continue
        # A gradient that is zero in truth (that of attention's key bias) is rounding, which is
        # linear in nothing: so beside the largest of all inputs, too.
        scale = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0), 1e-12 * largest, 1e-300)
        off = np.abs(both - 2 * a - 3 * b).max(initial=0)
        if is_close(a, b) and np.abs(zero).max(initial=0) > 1e-9 * scale:
            found.append(Finding(
                "ignores-upstream", name,
                f"d{name} is the same whatever gradient arrives, even for g = 0: multiply by g",
                hints=(f"look at d{name}", "the chain rule: dL/dx = dL/dy · dy/dx",
                       f"d{name} = g · ...")))
        elif off > 0.02 * scale:                   # less is rounding: a matter of precision
            found.append(Finding("nonlinear", name, (
                f"d{name} is not linear in g: b(2g + 3h) differs from 2·b(g) + 3·b(h) by "
                f"{off / scale:.2g} of its largest entry. Does a condition read g where it should "
                "read x?")))
    return found


def is_close(a, b):
    if a is None or b is None or np.shape(a) != np.shape(b):
        return False
    largest = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0))
    return bool(np.abs(np.subtract(a, b)).max(initial=0) <= 1e-9 * largest)
