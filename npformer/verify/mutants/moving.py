"""Wrong gradients of operations that only move numbers about, and of look-ups."""

import numpy as np

from ...core.samples import real, value
from .planted import subject


@subject(x=real(3, 5, 7))
def permute(x):
    """y = x with its dims in the order 2, 0, 1.    dx = g with its dims in the order 1, 2, 0"""
    return x.transpose(2, 0, 1)


permute.right(x=lambda g: g.transpose(1, 2, 0).copy())
permute.wrong("the same order again", "shape", "permuted", x=lambda g: g.transpose(2, 0, 1).copy())
permute.wrong("reshaped, not permuted", "permuted", x=lambda g: g.reshape(3, 5, 7).copy())


# With all dims of one size: there the wrong order does not show in the shape.
permute_cube = permute.at("permute_cube", x=real(3, 3, 3))
permute_cube.wrong("the same order again", "permuted", "transposed",
                   x=lambda g: g.transpose(2, 0, 1).copy())
permute_cube.wrong("no order at all", "permuted", "transposed", x=lambda g: g.copy())


@subject(x=real(5, 21))
def split_heads(x):
    """y (H, T, K) = the heads of x (T, H·K).    dx = g with the heads side by side again"""
    return x.reshape(5, 3, 7).transpose(1, 0, 2)


split_heads.right(x=lambda g: g.transpose(1, 0, 2).reshape(5, 21))
split_heads.wrong("merged without transposing back", "permuted",
                  x=lambda g: g.reshape(5, 21).copy())
split_heads.wrong("heads and widths exchanged", "permuted",
                  x=lambda g: g.transpose(1, 2, 0).reshape(5, 21))


@subject(x=real(3, 10))
def reshape(x):
    """y (5, 6) = x, row after row.    dx = g, row after row"""
    return x.reshape(5, 6)


reshape.right(x=lambda g: g.reshape(3, 10).copy())
reshape.wrong("column after column", "permuted", x=lambda g: g.reshape(3, 10, order="F").copy())
reshape.wrong("left as it came", "shape", x=lambda g: g.copy())


def pad_columns(g, before, after):
    """g with so many zeros before and after it in the last dim."""
    return np.pad(g, ((0, 0), (before, after)))


@subject(x=real(3, 7))
def narrow(x):
    """y = x[:, 2:6].    dx = g in these columns, 0 in the others"""
    return x[:, 2:6]


narrow.right(x=lambda g: pad_columns(g, 2, 1))
narrow.wrong("put back at the wrong place", "permuted", x=lambda g: pad_columns(g, 0, 3))
narrow.wrong("not padded", "shape", x=lambda g: g.copy())
narrow.wrong("filled with the mean", "mask-leak", "unexplained",
             x=lambda g:
                 pad_columns(g, 2, 1) + g.mean() * (pad_columns(np.ones_like(g), 2, 1) == 0))


@subject(x=real(3, 4))
def pad(x):
    """y = x with two zeros before and one behind.    dx = g without them"""
    return pad_columns(x, 2, 1)


pad.right(x=lambda g: g[:, 2:6].copy())
pad.wrong("cropped at the wrong side", "permuted", "unexplained", x=lambda g: g[:, 1:5].copy())
pad.wrong("not cropped", "shape", x=lambda g: g.copy())


@subject(a=real(2, 5), b=real(3, 5))
def cat(a, b):
    """y = a above b.    da = the first rows of g, db = the others"""
    return np.concatenate([a, b])


cat.right(a=lambda g, a: g[:len(a)].copy(), b=lambda g, a: g[len(a):].copy())
cat.wrong("sizes exchanged", "shape", a=lambda g: g[:3].copy(), b=lambda g: g[3:].copy())
cat.wrong("both from the start", "permuted", "unexplained", b=lambda g: g[:3].copy())


# Of one shape: there the exchanged parts do not show in the shape.
cat_of_twins = cat.at("cat_of_twins", a=real(3, 5), b=real(3, 5))
cat_of_twins.wrong("parts exchanged", "permuted", "unexplained", a=lambda g: g[3:].copy(),
                   b=lambda g: g[:3].copy())


@subject(x=real(3, 5))
def flip(x):
    """y = x, last column first.    dx = g, last column first"""
    return x[:, ::-1]


flip.right(x=lambda g: g[:, ::-1].copy())
flip.wrong("not turned round", "permuted", x=lambda g: g.copy())


@subject(x=real(3, 5))
def roll(x):
    """y = x rolled by one.    dx = g rolled by minus one"""
    return np.roll(x, 1, axis=1)


roll.right(x=lambda g: np.roll(g, -1, axis=1))
roll.wrong("rolled on", "permuted", "transposed", x=lambda g: np.roll(g, 1, axis=1))


@subject(x=real(5, 1))
def expand(x):
    """y (5, 7) = x, seven times.    dx = Σ g"""
    return np.repeat(x, 7, axis=1)


expand.right(x=lambda g: g.sum(1, keepdims=True))
expand.wrong("no sum", "unsummed-broadcast", "shape", x=lambda g: g.copy())
expand.wrong("mean for sum", "averaged-broadcast", "factor", x=lambda g: g.mean(1, keepdims=True))
expand.wrong("first copy only", "not-accumulated", "path-missing", x=lambda g: g[:, :1].copy())
expand.wrong("keepdims forgotten", "shape", x=lambda g: g.sum(1))


@subject(x=real(5))
def tile(x):
    """y = x, x, x.    dxᵢ = gᵢ + gᵢ₊₅ + gᵢ₊₁₀"""
    return np.tile(x, 3)


tile.right(x=lambda g: g.reshape(3, 5).sum(0))
tile.wrong("as if each entry were repeated", "wrong-axis", "permuted",
           x=lambda g: g.reshape(5, 3).sum(1))
tile.wrong("last copy only", "not-accumulated", "path-missing", x=lambda g: g[10:].copy())

# ── look-ups: an entry may be used many times ─────────────────────────────────────────────────────

# 2 three times, 0 twice, 3 and 5 once, 1, 4 and 6 never
IDS = [2, 0, 2, 5, 3, 2, 0]


def uses(weight, ids):
    """How often each row was read, at least 1."""
    return np.maximum(np.bincount(ids.reshape(-1), minlength=len(weight)), 1)[:, None]


def scatter_add(g, weight, ids):
    """Zeros with every row of g added at its index."""
    found = np.zeros_like(weight)
    np.add.at(found, ids, g)
    return found


def scatter_assign(g, weight, ids):
    """What people write who forget that an index can repeat: the last row wins."""
    found = np.zeros_like(weight)
    found[ids] = g
    return found


def scatter_through_buffer(g, weight, ids):
    """The same mistake: NumPy reads all of the left side before it writes."""
    found = np.zeros_like(weight)
    found[ids] += g
    return found


def scatter_first(g, weight, ids):
    """The first row of each index wins."""
    return scatter_assign(g.reshape(-1, g.shape[-1])[::-1], weight, ids.reshape(-1)[::-1])


@subject(weight=real(7, 3), ids=value(IDS))
def embedding(weight, ids):
    """y = weight[ids].    dweight[i] = Σ g over the places where ids is i"""
    return weight[ids]


embedding.right(weight=scatter_add)
embedding.wrong("assigned", "not-accumulated", weight=scatter_assign)
embedding.wrong("added through a buffer", "not-accumulated", weight=scatter_through_buffer)
embedding.wrong("first use only", "not-accumulated", "path-missing", weight=scatter_first)
embedding.wrong("divided by the count", "averaged-broadcast", "not-accumulated", "missing-factor",
                "wrong-coefficient",
                weight=lambda g, weight, ids: scatter_add(g, weight, ids) / uses(weight, ids))
embedding.wrong("one row too far", "permuted",
                weight=lambda g, weight, ids: scatter_add(g, weight, (ids + 1) % len(weight)))
embedding.wrong("rows of the upstream as they come", "permuted", "not-accumulated", "unexplained",
                weight=lambda g: g.copy())
embedding.wrong("divided by the number of places", "factor",
                weight=lambda g, weight, ids: scatter_add(g, weight, ids) / ids.size)
embedding.wrong("counted twice where it repeats", "wrong-coefficient", "path-doubled",
                "extra-factor",
                weight=lambda g, weight, ids: scatter_add(g, weight, ids) * uses(weight, ids))


@subject(weight=real(7, 3), ids=value(IDS))
def embedding_with_padding(weight, ids):
    """y = weight[ids], and 0 where ids is 2"""
    return np.where((ids == 2)[:, None], 0.0, weight[ids])


embedding_with_padding.right(weight=lambda g, weight, ids:
                                 scatter_add(g * (ids != 2)[:, None], weight, ids))
embedding_with_padding.wrong("the padding row gets a gradient", "mask-leak", "mask-ignored",
                             weight=scatter_add)


@subject(x=real(3, 5), places=value([[0, 2, 2, 4], [1, 1, 1, 0], [3, 4, 0, 3]]))
def gather(x, places):
    """y[i, j] = x[i, places[i, j]].    dx[i, k] = Σ g over the places that are k"""
    return np.take_along_axis(x, places, 1)


def gather_gradient(g, places, add):
    """Zeros with g added, or put, at its places in each row."""
    found = np.zeros((3, 5))
    for row, (at, values) in enumerate(zip(places, g)):
        for k, v in zip(at, values):
            found[row, k] = v + add * found[row, k]
    return found


gather.right(x=lambda g, places: gather_gradient(g, places, 1))
gather.wrong("assigned", "not-accumulated", x=lambda g, places: gather_gradient(g, places, 0))


def windows(x):
    """x (B, T) -> (B, T − 2, 3)"""
    return np.stack([x[:, k:k + x.shape[1] - 2] for k in range(3)], axis=-1)


@subject(x=real(2, 7))
def unfold(x):
    """y[b, t] = x[b, t], x[b, t+1], x[b, t+2].    dx[b, s] = Σ g[b, s−k, k]"""
    return windows(x)


unfold.right(x=lambda g: sum(pad_columns(g[..., k], k, 2 - k) for k in range(3)))
unfold.wrong("overlaps assigned", "not-accumulated", "path-missing",
             x=lambda g: np.concatenate([g[..., 0], g[:, -1, 1:]], axis=1))
unfold.wrong("overlaps averaged", "averaged-broadcast", "missing-factor", "wrong-coefficient",
             "not-accumulated", x=lambda g: unfold.rules["x"](g) / np.array([1, 2, 3, 3, 3, 2, 1]))
