"""Picking entries and putting them back: getitem | put, gather | scatter_add, and embedding.

An index that is repeated reads one entry several times, so its gradients add up. Assigning instead
of adding is the mistake that every test point without a repeated index hides.
"""

import numpy as np

from ..core.devices import device_of, module_for
from ..core.errors import DeviceError, DTypeError, IndexRangeError, ShapeError, complaint
from ..core.operation import fused, primitive
from ..core.samples import integers, value
from .elementwise import values
from .shape import PICKED, positive_dim

# ── getitem | put ─────────────────────────────────────────────────────────────────────────────────


@primitive(dims="[...] -> ...")
def getitem(x, *, index):
    """x[index].    dx = zeros with g added at index, once for each time that an entry was read"""
    check_index(index, x)
    return x[index]


@primitive(dims="... -> [...]")
def put(x, *, index, shape):
    """Zeros of `shape` with x added at index.    dx = g[index]"""
    y = np.zeros_like(x, shape=shape)
    if is_basic(index):
        y[index] = x                               # slices never name an entry twice
    else:
        add_at(y, index, x)
    return y


def add_at(y, index, x):
    """Add x to y[index] in place, once for each time that an entry is named."""
    # `y[index] += x` would add once. np.add.at cannot pass a tuple of indices to CuPy, so the
    # module is asked for.
    module_for(device_of(y)).add.at(y, index, x)


getitem.vjps(x=lambda g, x_shape, index: put(g, index=index, shape=x_shape))
put.vjps(x=lambda g, index: getitem(g, index=index))
getitem.flat(PICKED, x=lambda: True)
getitem.samples((4, 5), index=(slice(1, None, 2), 3))
getitem.samples((4, 5), index=(None, Ellipsis, slice(None, None, -1)))
getitem.samples((4, 5), index=value([[0, 2], [2, 2]]))
getitem.samples((3, 4), index=lambda rng: (np.array([0, 1, 1]), np.array([3, 2, 2])))
getitem.samples((2, 3), index=value([[True, False, True], [False, False, True]]))
put.samples((2, 3), index=(slice(1, 5, 2),), shape=(5, 3))
put.samples((3, 2), index=value([0, 2, 2]), shape=(4, 2))


def check_index(index, x):
    """Raise for an array in an index that is on another device than x, or points outside x."""
    parts = index if isinstance(index, tuple) else (index,)
    here = device_of(x)
    for part in parts:
        if hasattr(part, "dtype") and device_of(part) != here:
            raise DeviceError(complaint(
                "x[index]",
                f"x is on {here}, and so must its index be: this one is on {device_of(part)}",
                {"x": x, "index": part}, f"Move it with .to({here!r})."))
    # NumPy raises for an index that points outside. CuPy wraps it around without a word.
    if here == "cuda":
        left = x.ndim - sum(map(dims_taken, parts))
        dim = 0
        for part in parts:
            if hasattr(part, "dtype") and part.dtype.kind in "iu" and dim < x.ndim:
                require_in_range(part, x.shape[dim], "x[index]", least=-x.shape[dim])
            dim += left if part is Ellipsis else dims_taken(part)


def dims_taken(part):
    """How many dims of x one part of an index stands for; Ellipsis takes what is left."""
    if hasattr(part, "dtype") and part.dtype == bool:
        return part.ndim
    return 0 if part is None or part is Ellipsis else 1


def is_basic(index):
    """Whether an index is made of integers, slices, None and Ellipsis alone."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis
               or isinstance(p, (int, np.integer, slice)) and not isinstance(p, bool)
               for p in parts)


# ── gather | scatter_add ──────────────────────────────────────────────────────────────────────────


@primitive(dims="[...], ... -> ...")
def gather(x, index, *, dim):
    """y[i, j] = x[index[i, j], j] (dim 0), y[i, j] = x[i, index[i, j]] (dim 1).

        dx = g added at index

    x, and index with as many dims, integers -> index's shape
    Along the dims but `dim`, index may be shorter than x.
    """
    return x[grid(index, dim, x.shape, "gather")]


@primitive(dims="..., ..., ... -> [...]")
def scatter_add(x, index, source, *, dim):
    """x with source[i, j] added at x[index[i, j], j] (dim 0).

        dx = g        dsource = g gathered at index
    """
    y = x.copy()
    part = source[tuple(slice(n) for n in index.shape)]
    add_at(y, grid(index, dim, x.shape, "scatter_add"), part)
    return y


gather.vjps(
    x=lambda g, index, x_shape, dim: scatter_add(
        np.zeros_like(values(g), shape=x_shape), index, g, dim=dim),
    index=None,
)
scatter_add.vjps(
    x=lambda g: g,
    index=None,
    source=lambda g, index, source_shape, dim: put(
        gather(g, index, dim=dim), index=tuple(slice(n) for n in index.shape), shape=source_shape),
)
gather.flat(PICKED, x=lambda: True)
gather.samples((4, 3), integers(4, 5, 2), dim=0)
gather.samples((2, 5), value([[0, 0, 3], [4, 4, 4]]), dim=-1)
scatter_add.samples((4, 3), integers(4, 5, 2), (6, 3), dim=0)


def grid(index, dim, shape, call):
    """The full index arrays that say `index` along dim and "the same place" along the others."""
    dim = positive_dim(dim, len(shape), call)
    if index.dtype.kind not in "iu":
        raise DTypeError(f"{call}: index must hold integers, got {index.dtype}")
    if index.ndim != len(shape) or any(
            i != dim and n > shape[i] for i, n in enumerate(index.shape)):
        raise ShapeError(f"{call}: index must have as many dims as x, "
                         f"and be no longer than x except along dim {dim}\n"
                         f"  x {tuple(shape)}\n  index {index.shape}")
    require_in_range(index, shape[dim], call)
    same_place = [np.arange(n, like=index).reshape([-1 if k == i else 1 for k in range(index.ndim)])
                  for i, n in enumerate(index.shape)]
    return (*same_place[:dim], index, *same_place[dim + 1:])


def require_in_range(index, size, call, least=0):
    """Raise IndexRangeError unless every entry of `index` is from `least` to size - 1."""
    if index.size and not (least <= int(index.min()) and int(index.max()) < size):
        worst = int(index.max()) if int(index.max()) >= size else int(index.min())
        raise IndexRangeError(f"{call}: index {worst} is out of range: "
                              f"it must be from {least} to {size - 1}")


# ── embedding ─────────────────────────────────────────────────────────────────────────────────────


@fused(dims="..., [v]c -> ...c")
def embedding(indices, weight):
    """y[..., :] = weight[indices[...], :].

        dweight = for each row, Σ g over every place where the row was read

    indices integers (...), weight (V, C) -> (..., C).
    """
    return getitem(weight, index=indices)


embedding.constant("indices")


@embedding.forward
def embedding_forward(indices, weight):
    if indices.dtype.kind not in "iu":
        raise DTypeError("embedding(indices, weight): indices must hold integers, "
                         f"got {indices.dtype}; use .long()")
    require_in_range(indices, weight.shape[0], "embedding(indices, weight)")
    return weight[indices], dict(indices=indices, weight=weight)


@embedding.backward
def embedding_backward(g, *, indices, weight):
    return None, add_rows(g.reshape(-1, g.shape[-1]), indices.reshape(-1), len(weight))


def add_rows(rows, places, count):
    """A table of `count` rows; row k is the sum of the rows whose place is k."""
    # Sorted, equal places stand in runs, and each run is added up whole. For 2,048 rows of 64
    # float32 into a table of 65 that takes 0.4 ms, and np.add.at 1.6 ms. A product with the one-hot
    # matrix of the places takes 0.3 ms there, and 82 ms instead of 1.2 for a table of 5,000.
    table = np.zeros_like(rows, shape=(count, rows.shape[1]))
    if device_of(rows) == "cuda":
        add_at(table, places, rows)                # CuPy's reduceat loses digits in running sums
    elif len(places):
        order = np.argsort(places, kind="stable")
        places = places[order]
        starts = np.flatnonzero(np.diff(places, prepend=places[:1] - 1))
        table[places[starts]] = np.add.reduceat(rows[order], starts, axis=0)
    return table


embedding.flat(PICKED, weight=lambda: True)
embedding.samples(value([[1, 3, 1], [0, 1, 4]]), (6, 2))
