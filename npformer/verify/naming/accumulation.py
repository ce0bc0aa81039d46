"""Mistakes in adding up: an entry that is used several times gets a gradient from each use."""

from itertools import combinations

import numpy as np


def jacobian_diagonal(e):
    """aᵢ = gᵢ·dyᵢ/dxᵢ alone, though other outputs depend on xᵢ too"""
    if e.jacobian is None or e.y.shape != e.x.shape or e.jacobian.shape[0] != e.jacobian.shape[1] or not e.y.ndim:
        return None
    alone = (e.g.reshape(-1) * np.diagonal(e.jacobian)).reshape(e.a.shape)
    if e.same(e.a, alone) and not e.same(alone, e.n):
        return e.says("diagonal-jacobian", f"d{e.name} is g times the diagonal of the Jacobian: "
                                            "the influence of an entry on the other outputs is "
                                            f"left out, in {int(e.wrong.sum())} of {e.a.size} "
                                            "entries",
                    "certain", "softmax and the norms mix the entries of a line, so their Jacobian "
                               "is a full matrix",
                    f"d{e.name}ᵢ = Σₖ gₖ · dyₖ/d{e.name}ᵢ; for softmax that is y·(g − Σ g·y), not "
                    "g·y·(1 − y)")


def one_use_only(e):
    """Each entry has the gradient of its last (first) use, or the mean over its uses, which differ
    in number"""
    if e.jacobian is None:
        return None
    flat = e.contributions.reshape(-1, e.x.size)
    count = e.used.sum(axis=0)
    if count.max(initial=0) < 2 or (count == count[0]).all() and count[0] == len(flat):
        return None
    several = (count > 1).reshape(e.a.shape)
    if (e.wrong & ~several).any():
        return None
    picks = {"last": len(flat) - 1 - e.used[::-1].argmax(axis=0), "first": e.used.argmax(axis=0)}
    for word, k in picks.items():
        if e.same(e.a, flat[k, np.arange(e.x.size)].reshape(e.a.shape)):
            return e.says("not-accumulated",
                          f"d{e.name} has the gradient of the {word} use alone in the "
                                              f"{int(e.wrong.sum())} entries that are used several "
                                              f"times (up to {int(count.max())} times): it is "
                                              "assigned where it must be added", "certain",
                        "a value that is used k times gets k contributions",
                        f"d{e.name} += ..., or np.add.at(d{e.name}, ids, g); not d{e.name}[ids] = "
                        "g")
    mean = np.where(count > 0, flat.sum(axis=0) / np.maximum(count, 1), 0).reshape(e.a.shape)
    if e.same(e.a, mean):
        return e.says("averaged-broadcast", f"d{e.name} is the mean over the uses of each entry "
                                             f"(up to {int(count.max())}), and must be their sum",
                      "certain",
                      "a value that is used k times gets k contributions, added up",
                      f"d{e.name} = (what you have) · (uses)")


def slices_left_out(e):
    """a = Σ c_b·n_b, n_b what slice b of the output sends, with a c_b of 0 or 2"""
    if e.jacobian is None or not e.y.ndim:
        return None
    for axis in range(e.y.ndim):
        if e.y.shape[axis] < 2:
            continue
        parts = np.moveaxis(e.contributions, axis, 0).reshape(e.y.shape[axis], -1,
                                                              e.x.size).sum(axis=1)
        parts = parts[:, :].reshape(len(parts), -1).T                  # (x.size, slices)
        if np.linalg.matrix_rank(parts, tol=1e-8 * e.scale) < parts.shape[1]:
            continue
        c, *_ = np.linalg.lstsq(parts, e.a.reshape(-1), rcond=None)
        if not e.same((parts @ c).reshape(e.a.shape), e.a) or np.abs(c - np.round(c)).max() > 1e-5:
            continue
        c = np.round(c).astype(int)
        gone, twice = np.flatnonzero(c == 0), np.flatnonzero(c > 1)
        if len(gone):
            return e.says("not-accumulated", f"d{e.name} leaves out what {len(gone)} of the "
                                              f"{len(c)} slices along dim {axis} of the output "
                                              f"send (indices {gone[:8].tolist()}): it must be "
                                              "added over all",
                          "certain",
                          "the gradient is the sum over all outputs that an entry reaches",
                          f"d{e.name} = (g · dy/d{e.name}).sum over the whole of dim {axis} of the "
                          "output")
        if len(twice):
            return e.says("path-doubled", f"d{e.name} counts slice {twice[:8].tolist()} along dim "
                                           f"{axis} of the output {c[twice[0]]} times")


def sum_over_wrong_axis(e):
    """x is used entry by entry, and a sums g·dy/dx over other dims than those that were
    broadcast"""
    if not e.broadcast:
        return None
    each = e.contributions.reshape(-1, e.x.size).sum(axis=1).reshape(e.y.shape)
    for r in range(e.y.ndim + 1):
        for axes in combinations(range(e.y.ndim), r):
            if not axes:
                continue
            for word, total in (("summed", each.sum(axis=axes)),
                                ("averaged", each.mean(axis=axes))):
                if total.size in (1, e.a.size):
                    spread = np.broadcast_to(total.reshape(() if total.size == 1 else e.a.shape),
                                             e.a.shape)
                    if total.size > 1 or e.a.size > 1:
                        if e.same(e.a, spread) and not e.same(spread, e.n):
                            return e.says("wrong-axis", f"d{e.name} is {word} over dims {axes} of "
                                                         "the output, which are not those along "
                                                         f"which {e.name} was broadcast", "certain",
                                        "sum over the dims that were broadcast, and no others",
                                        f"d{e.name} = (g · "
                                        f"dy/d{e.name}).sum(axis={broadcast_dims(e)})")


def broadcast_dims(e):
    """The dims of the output along which x was broadcast."""
    lead = e.y.ndim - e.x.ndim
    return tuple(k for k in range(e.y.ndim) if k < lead or e.x.shape[k - lead] == 1 < e.y.shape[k])


def other_copies(e):
    """x is repeated along a dim, and a adds up the wrong copies: those side by side for those a
    length apart, or vice versa"""
    if not e.broadcast or e.y.ndim != e.x.ndim:
        return None
    each = e.contributions.reshape(-1, e.x.size).sum(axis=1).reshape(e.y.shape)
    for axis, (n, many) in enumerate(zip(e.x.shape, e.y.shape)):
        if n < 2 or many == n or many % n or e.y.shape != e.x.shape[:axis] + (many,) + e.x.shape[axis + 1:]:
            continue
        copies, line = many // n, np.moveaxis(each, axis, -1)
        for form, total in ((f"({n}, {copies}).sum(1)",
                             line.reshape(*line.shape[:-1], n, copies).sum(-1)),
                            (f"({copies}, {n}).sum(0)",
                             line.reshape(*line.shape[:-1], copies, n).sum(-2))):
            if e.same(np.moveaxis(total, -1, axis), e.a):
                right = f"({copies}, {n}).sum(0)" if form.endswith("(1)") else f"({n}, {copies}).sum(1)"
                return e.says("wrong-axis", f"d{e.name} adds up the wrong copies: along dim {axis} "
                                            f"g is taken as {form}, where it must be {right}",
                              "certain", "tile puts copies of the whole one after another, "
                            "repeat puts the copies of each entry side by side",
                              f"d{e.name} = g.reshape{right} along dim {axis}")


def factor_inside(e):
    """x is used entry by entry, and a = Σ g·t where n = Σ g·dy/dx: another factor inside the sum"""
    if not e.broadcast or e.y.ndim < e.x.ndim:
        return None
    lead = e.y.ndim - e.x.ndim
    axes = tuple(k for k in range(e.y.ndim) if k < lead or e.x.shape[k - lead] == 1)
    for words, t in [("nothing", np.ones_like(e.y)), ("the output y", e.y), *(
            (name, v) for name, v in e.inputs.items() if isinstance(v, np.ndarray) and v.shape
                                                                              == e.y.shape)]:
        total = (e.g * t).sum(axis=axes)
        if total.size == e.a.size and e.same(total.reshape(e.a.shape), e.a):
            text = ("the sum of g alone: the factor inside the sum is missing" if words == "nothing"
                    else
                    f"the sum of g·{words}, which is not the factor that belongs there")
            return e.says("missing-factor", f"d{e.name} is {text}", "certain",
                          "the factor belongs inside the sum: Σ g · dy/dw",
                          f"d{e.name} = (g · dy/d{e.name}).sum(axis={axes})")


def other_value(e):
    """y is a function of each entry alone, and a is g·φ(x) where n is g·φ(y), or the other way
    round"""
    if e.jacobian is None or e.y.shape != e.x.shape or e.used.sum() > e.x.size:
        return None
    shapes = {"{}": lambda t: t, "1 − {}²": lambda t: 1 - t * t,
              "{}·(1 − {})": lambda t: t * (1 - t),
              "1/{}": lambda t: 1 / t, "1 − {}": lambda t: 1 - t, "e^{}": np.exp,
              "2·{}": lambda t: 2 * t,
              "1/(2·{})": lambda t: 1 / (2 * t), "cos {}": np.cos, "sin {}": np.sin}
    with np.errstate(all="ignore"):
        for form, phi in shapes.items():
            for (here, t), (there, u) in ((("the input", e.x), ("the output", e.y)),
                                          (("the output", e.y), ("the input", e.x))):
                if e.same(e.g * phi(t), e.a) and e.same(e.g * phi(u), e.n):
                    return e.says("stale-value", f"d{e.name} is g·({form.replace('{}', 't')}) with "
                                                  f"t {here}, but t must be {there}: the right "
                                                  "formula at the wrong value", "certain",
                                  "a derivative may be written in the input or in the output, but "
                                  "not in one for the other",
                                  f"d{e.name} = "
                                  f"g·({form.replace('{}', 'y' if there == 'the output' else e.name)})")
