"""Mistakes in adding up: an entry that is used several times gets a gradient from each use.

These recognisers need the Jacobian: `contributions` says what each entry of the output sends to
each entry of x, and n is their sum. A mistake in adding up is another sum of the same
contributions: some left out, some twice, the mean, over other dims.
"""

from itertools import combinations

import numpy as np


def jacobian_diagonal(e):
    """aᵢ = gᵢ·dyᵢ/dxᵢ alone, though other outputs depend on xᵢ too"""
    if e.jacobian is None or e.y.shape != e.x.shape or not e.y.ndim:
        return None
    alone = (e.g.reshape(-1) * np.diagonal(e.jacobian)).reshape(e.a.shape)
    if not e.same(e.a, alone) or e.same(alone, e.n):
        return None
    return e.finding(
        "diagonal-jacobian",
        f"d{e.name} is g times the diagonal of the Jacobian: the influence of an entry on the "
        f"other outputs is left out, in {int(e.wrong.sum())} of {e.a.size} entries",
        "softmax and the norms mix the entries of a line, so their Jacobian is a full matrix",
        f"d{e.name}ᵢ = Σₖ gₖ · dyₖ/d{e.name}ᵢ; for softmax that is y·(g − Σ g·y), not g·y·(1 − y)")


def one_use_only(e):
    """Each entry has the gradient of its last (first) use, or the mean over its uses, which differ
    in number. That is what `d[ids] = g` does, where it should add. What is wrong must be wrong only
    in entries that are used several times."""
    if e.jacobian is None:
        return None
    flat = e.contributions.reshape(-1, e.x.size)
    count = e.used.sum(axis=0)
    most = int(count.max(initial=0))
    # Where all outputs use all entries (a product, a norm), "the last use" is but the last output:
    # slices_left_out says that better.
    if most < 2 or (count == count[0]).all() and most == len(flat):
        return None
    several = (count > 1).reshape(e.a.shape)
    if (e.wrong & ~several).any():
        return None
    uses = {"last": len(flat) - 1 - e.used[::-1].argmax(axis=0), "first": e.used.argmax(axis=0)}
    for word, k in uses.items():
        if e.same(e.a, flat[k, np.arange(e.x.size)].reshape(e.a.shape)):
            return e.finding(
                "not-accumulated",
                f"d{e.name} has the gradient of the {word} use alone in the {int(e.wrong.sum())} "
                f"entries that are used several times (up to {most} times): it is assigned where "
                "it must be added",
                "a value that is used k times gets k contributions",
                f"d{e.name} += ..., or np.add.at(d{e.name}, ids, g); not d{e.name}[ids] = g")
    mean = np.where(count > 0, flat.sum(axis=0) / np.maximum(count, 1), 0).reshape(e.a.shape)
    if e.same(e.a, mean):
        return e.finding(
            "averaged-broadcast",
            f"d{e.name} is the mean over the uses of each entry (up to {most}), and must be their "
            "sum",
            "a value that is used k times gets k contributions, added up",
            f"d{e.name} = (what you have) · (uses)")
    return None


def slices_left_out(e):
    """a = Σ c_b·n_b, n_b what slice b of the output sends, with a c_b of 0 or 2. The c_b are fitted
    by least squares, for each dim of the output in turn. They mean something only if the n_b are
    independent (the rank), and if they come out whole."""
    if e.jacobian is None:
        return None
    for axis in range(e.y.ndim):
        size = e.y.shape[axis]
        if size < 2:
            continue
        of_slice = np.moveaxis(e.contributions, axis, 0).reshape(size, -1, e.x.size).sum(axis=1)
        parts = of_slice.T                         # (x.size, slices)
        if np.linalg.matrix_rank(parts, tol=1e-8 * e.scale) < size:
            continue
        c, *_ = np.linalg.lstsq(parts, e.a.reshape(-1), rcond=None)
        fits = e.same((parts @ c).reshape(e.a.shape), e.a)
        if not fits or np.abs(c - np.round(c)).max() > 1e-5:
            continue
        c = np.round(c).astype(int)
        gone, twice = np.flatnonzero(c == 0), np.flatnonzero(c > 1)
        if len(gone):
            return e.finding(
                "not-accumulated",
                f"d{e.name} leaves out what {len(gone)} of the {size} slices along dim {axis} of "
                f"the output send (indices {gone[:8].tolist()}): it must be added over all",
                "the gradient is the sum over all outputs that an entry reaches",
                f"d{e.name} = (g · dy/d{e.name}).sum over the whole of dim {axis} of the output")
        if len(twice):
            return e.finding(
                "path-doubled",
                f"d{e.name} counts slice {twice[:8].tolist()} along dim {axis} of the output "
                f"{c[twice[0]]} times")
    return None


# ── an input that is broadcast ────────────────────────────────────────────────────────────────────


def sent_by_each_output(e):
    """g·dy/dx of each entry of the output, in its shape, where each uses one entry of x at most."""
    return e.contributions.reshape(-1, e.x.size).sum(axis=1).reshape(e.y.shape)


def broadcast_dims(e):
    lead = e.y.ndim - e.x.ndim
    return tuple(k for k in range(e.y.ndim) if k < lead or e.x.shape[k - lead] == 1 < e.y.shape[k])


def sum_over_wrong_axis(e):
    """x is used entry by entry, and a sums g·dy/dx over other dims than were broadcast."""
    if not e.broadcast or e.a.size == 1:
        return None
    each = sent_by_each_output(e)
    for count in range(1, e.y.ndim + 1):
        for axes in combinations(range(e.y.ndim), count):
            for word, reduce in (("summed", np.sum), ("averaged", np.mean)):
                total = reduce(each, axis=axes)
                if total.size not in (1, e.a.size):
                    continue
                shape = () if total.size == 1 else e.a.shape
                spread = np.broadcast_to(total.reshape(shape), e.a.shape)
                if e.same(e.a, spread) and not e.same(spread, e.n):
                    return e.finding(
                        "wrong-axis",
                        f"d{e.name} is {word} over dims {axes} of the output, which are not those "
                        f"along which {e.name} was broadcast",
                        "sum over the dims that were broadcast, and no others",
                        f"d{e.name} = (g · dy/d{e.name}).sum(axis={broadcast_dims(e)})")
    return None


def other_copies(e):
    """x is repeated along a dim, and a adds up the wrong copies: those side by side for those a
    length apart, or vice versa. np.tile and np.repeat give arrays of one shape, and so do the two
    ways to sum them."""
    if not e.broadcast or e.y.ndim != e.x.ndim:
        return None
    each = sent_by_each_output(e)
    for axis, (n, many) in enumerate(zip(e.x.shape, e.y.shape)):
        longer = e.x.shape[:axis] + (many,) + e.x.shape[axis + 1:]
        if n < 2 or many == n or many % n or e.y.shape != longer:
            continue
        copies, line = many // n, np.moveaxis(each, axis, -1)
        tiled, repeated = f"({copies}, {n}).sum(0)", f"({n}, {copies}).sum(1)"
        for form, right, total in (
                (repeated, tiled, line.reshape(*line.shape[:-1], n, copies).sum(-1)),
                (tiled, repeated, line.reshape(*line.shape[:-1], copies, n).sum(-2))):
            if e.same(np.moveaxis(total, -1, axis), e.a):
                return e.finding(
                    "wrong-axis",
                    f"d{e.name} adds up the wrong copies: along dim {axis} g is taken as {form}, "
                    f"where it must be {right}",
                    "tile puts copies of the whole one after another, repeat puts the copies of "
                    "each entry side by side",
                    f"d{e.name} = g.reshape{right} along dim {axis}")
    return None


def factor_inside(e):
    """x is used entry by entry, and a = Σ g·t where n = Σ g·dy/dx: another factor inside the sum"""
    if not e.broadcast or e.y.ndim < e.x.ndim:
        return None
    lead = e.y.ndim - e.x.ndim
    axes = tuple(k for k in range(e.y.ndim) if k < lead or e.x.shape[k - lead] == 1)
    factors = {"nothing": np.ones_like(e.y), "the output y": e.y}
    factors |= {name: v for name, v in e.inputs.items()
                if isinstance(v, np.ndarray) and v.shape == e.y.shape}
    for words, t in factors.items():
        total = (e.g * t).sum(axis=axes)
        if total.size != e.a.size or not e.same(total.reshape(e.a.shape), e.a):
            continue
        text = f"the sum of g·{words}, which is not the factor that belongs there"
        if words == "nothing":
            text = "the sum of g alone: the factor inside the sum is missing"
        return e.finding("missing-factor", f"d{e.name} is {text}",
                         "the factor belongs inside the sum: Σ g · dy/dw",
                         f"d{e.name} = (g · dy/d{e.name}).sum(axis={axes})")
    return None
