"""Picking entries: x[index] as PyTorch reads an index, gather and scatter, sorting, triangles and
diagonals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import tape
from ..core.dtypes import int64
from ..core.errors import IndexRangeError, ShapeError, complaint
from ..core.tape import Box
from ..ops import indexing as op
from ..ops.elementwise import add, values, where
from ..ops.indexing import grid, require_in_range
from ..ops.shape import cut_along, keep, permute, positive_dim, reshape
from ..ops.shape import narrow as narrow_op
from .pointwise import masked_fill, require_mask, scale
from .reduction import Chosen

if TYPE_CHECKING:
    from ..tensors import Tensor

__all__ = [
    "argsort", "diag", "diagonal", "gather", "getitem", "index_add", "index_copy", "index_fill",
    "index_select", "masked_select", "narrow", "nonzero", "scatter", "scatter_add", "select",
    "sort", "take_along_dim", "topk", "tril", "triu", "unique",
]

# ── x[index] ──────────────────────────────────────────────────────────────────────────────────────


def index_part(part, like, copy):
    """One part of an index as NumPy takes it: tensors and lists become arrays, an integer tensor
    of 0 dims an int."""
    if isinstance(part, list):
        part = np.array(part, like=like) if part else np.zeros_like(like, shape=(0,), dtype=int64)
    elif isinstance(part, range):
        part = np.array(list(part), like=like)
    part = values(part)
    if getattr(part, "ndim", None) == 0 and part.dtype.kind in "iu":
        return int(part)
    return part.copy() if copy and hasattr(part, "dtype") else part


def index_stages(index, x):
    """An index as the one or two that NumPy needs: PyTorch takes integers first, NumPy among the
    arrays."""
    recording = x.node is not None and tape.state.grad_enabled
    parts = index if isinstance(index, tuple) else (index,)
    parts = tuple(index_part(p, x.array, recording) for p in parts)
    ints = [p for p in parts if isinstance(p, int) and not isinstance(p, bool)]
    if all(p is None or p is Ellipsis or isinstance(p, (int, slice)) and not isinstance(p, bool)
           for p in parts):
        whole = len(ints) == x.ndim and Ellipsis not in parts
        # the Ellipsis makes NumPy give a view, not a number
        return [parts + (Ellipsis,) if whole else parts]
    if not ints:
        return [parts if len(parts) > 1 else parts[0]]
    first = []
    for part in parts:
        if part is Ellipsis or isinstance(part, int) and not isinstance(part, bool):
            first.append(part)
        elif part is not None:
            wide = part.ndim if getattr(getattr(part, "dtype", None), "kind", "") == "b" else 1
            first += [slice(None)] * wide
    return [tuple(first), tuple(p for p in parts if not isinstance(p, int) or isinstance(p, bool))]


def getitem(input: Tensor, index) -> Tensor:
    """input[index]: slices, None, Ellipsis, integers, integer tensors, masks, lists"""
    for part in index_stages(index, input):
        input = op.getitem(input, index=part)
    return input


def narrow(input: Tensor, dim: int, start: int | Tensor, length: int) -> Tensor:
    """The part of input from `start`, `length` long, along dim"""
    return narrow_op(input, dim=dim, start=int(start), length=length)


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The entry number `index` along dim, without that dim"""
    dim = positive_dim(dim, input.ndim, "select")
    if not input.ndim or not -input.shape[dim] <= index < input.shape[dim]:
        raise IndexRangeError(
            f"select(input, dim={dim}, index={index}): the index is out of range for input "
            f"{tuple(input.shape)}")
    return op.getitem(input, index=(*cut_along(dim, int(index), input.ndim), Ellipsis))


def index_vector(index, size, call):
    """A vector of indices, checked, as an array of its own: the backward pass reads it too."""
    index = values(index)
    if index.dtype.kind not in "iu" or index.ndim > 1:
        raise ShapeError(complaint(call, "index must be a vector of integers", {"index": index}))
    require_in_range(index, size, call)
    return index.reshape(-1).copy()


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The entries along dim that `index` (a vector of integers) names, in its order"""
    dim = positive_dim(dim, input.ndim, "index_select")
    return op.getitem(input,
                      index=cut_along(dim, index_vector(index, input.shape[dim], "index_select"),
                                  input.ndim))


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *,
              alpha: float = 1) -> Tensor:
    """input with alpha·source[i] added at its entry index[i] along dim, as often as an entry is
    named"""
    dim = positive_dim(dim, input.ndim, "index_add")
    rows = index_vector(index, input.shape[dim], "index_add")
    if source.shape != (*input.shape[:dim], rows.size, *input.shape[dim + 1:]):
        raise ShapeError(complaint(f"index_add(input, {dim}, index, source)",
                                   "source must have input's shape, and along dim index's length",
                                   {"input": input, "index": index, "source": source}))
    return add(input,
               op.put(scale(source, alpha), index=cut_along(dim, rows, input.ndim),
                      shape=tuple(input.shape)))


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """input with source[i] in place of its entry index[i] along dim;
    of several for one place, the last"""
    dim = positive_dim(dim, input.ndim, "index_copy")
    rows = index_vector(index, input.shape[dim], "index_copy")
    if source.shape != (*input.shape[:dim], rows.size,
                        *input.shape[dim + 1:]) or source.dtype != input.dtype:
        raise ShapeError(complaint(f"index_copy(input, {dim}, index, source)",
                                   "source must have input's dtype and shape, and along dim "
                                   "index's length",
                                   {"input": input, "index": index, "source": source}))
    writer = np.full_like(rows, -1, shape=(input.shape[dim],))
    writer[rows] = np.arange(rows.size, like=rows)
    if not rows.size:
        return add(input, 0)
    new = op.getitem(source, index=cut_along(dim, np.maximum(writer, 0), input.ndim))
    return where((writer >= 0).reshape(-1, *[1] * (input.ndim - 1 - dim)), new, input)


def index_fill(input: Tensor, dim: int, index: Tensor, value: float | Tensor) -> Tensor:
    """input with `value` at the entries along dim that `index` names"""
    dim = positive_dim(dim, input.ndim, "index_fill")
    chosen = np.zeros_like(input.array, shape=(input.shape[dim],), dtype=bool)
    chosen[index_vector(index, input.shape[dim], "index_fill")] = True
    return masked_fill(input, chosen.reshape(-1, *[1] * (input.ndim - 1 - dim)), value)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The entries of input where mask is true, in a row"""
    require_mask(mask, "masked_select(input, mask)")
    return op.getitem(input, index=np.broadcast_to(values(mask), input.shape).copy())


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Where input is not 0: a row of indices for each such entry;
    as_tuple: a vector for each dim"""
    found = np.nonzero(input.array)
    return tuple(map(input.wrap, found)) if as_tuple else input.wrap(np.stack(found, axis=-1))


# ── gather and scatter ────────────────────────────────────────────────────────────────────────────


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """y[i, j] = input[index[i, j], j] for dim 0, input[i, index[i, j]] for dim 1"""
    return op.gather(input, index, dim=dim)


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather`, with input and indices broadcast along the other dims;
    dim None: of the flat input"""
    if dim is None:
        return op.gather(reshape(input, shape=(-1,)), reshape(indices, shape=(-1,)), dim=0)
    dim = positive_dim(dim, input.ndim, "take_along_dim")
    shape = tuple(max(m, n) if d != dim else m
                  for d, (m, n) in enumerate(zip(indices.shape, input.shape)))
    return op.gather(input, np.broadcast_to(values(indices), shape), dim=dim)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """input with src[i, j] added at [index[i, j], j] for dim 0, at [i, index[i, j]] for dim 1"""
    if any(m > n for m, n in zip(index.shape, src.shape)) or src.ndim != input.ndim:
        raise ShapeError(complaint("scatter_add(input, dim, index, src)",
                                   "src must be at least as large as index",
                                   {"input": input, "index": index, "src": src}))
    return op.scatter_add(input, index, src, dim=dim)


def scatter(input: Tensor, dim: int, index: Tensor, src: Tensor | None = None, *,
            value: float | None = None) -> Tensor:
    """input with src[i, j] (or a number) put at [index[i, j], j] for dim 0;
    of several for one place, the last"""
    places = grid(values(index), dim, input.shape, "scatter")
    writer = np.full_like(input.array, -1, dtype=int64)
    writer[places] = np.arange(values(index).size, like=writer).reshape(index.shape)
    source = src if value is None else value
    if isinstance(source, Box):
        part = op.getitem(source, index=tuple(slice(n) for n in index.shape))
        source = op.getitem(reshape(part, shape=(-1,)), index=np.maximum(writer, 0))
    return where(writer >= 0, source, input)


# ── order ─────────────────────────────────────────────────────────────────────────────────────────


def sorting_order(input, dim, descending):
    """The indices that sort input along dim; equals keep their order."""
    dim = positive_dim(dim, input.ndim, "sort")
    if not input.ndim:
        return np.zeros_like(input.array, dtype=int64)
    if not descending:
        return np.argsort(input.array, axis=dim, kind="stable")
    places = np.argsort(np.flip(input.array, dim), axis=dim, kind="stable")
    return input.shape[dim] - 1 - np.flip(places, dim)


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that sort input along dim; equals always keep their order"""
    return input.wrap(sorting_order(input, dim, descending))


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Chosen:
    """input sorted along dim: a namedtuple (values, indices); equals always keep their order"""
    indices = sorting_order(input, dim, descending)
    return Chosen(op.gather(input, indices, dim=dim) if input.ndim else input, input.wrap(indices))


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Chosen:
    """The k largest (or smallest) entries along dim, in order: a namedtuple (values, indices)"""
    size = input.shape[positive_dim(dim, input.ndim, "topk")] if input.ndim else 1
    if not 0 <= k <= size:
        raise IndexRangeError(
            f"topk(input, k={k}, dim={dim}): k must be from 0 to {size}, the size of that dim")
    indices = sorting_order(input, dim, largest)
    if input.ndim:
        indices = indices[cut_along(dim, slice(k), input.ndim)]
    return Chosen(op.gather(input, indices, dim=dim) if input.ndim else input, input.wrap(indices))


def unique(input: Tensor, sorted: bool = True, return_inverse=False, return_counts=False,
           dim: int | None = None) -> Any:
    """The different entries of input, in order;
    with their places in it and how often they come, if asked for"""
    found = np.unique(input.array, return_inverse=return_inverse, return_counts=return_counts,
                      axis=dim)
    return tuple(map(input.wrap, found)) if isinstance(found, tuple) else input.wrap(found)


# ── triangles and diagonals ───────────────────────────────────────────────────────────────────────


def diagonal_offsets(input, call):
    """column − row of each place in a matrix of input's last two dims."""
    if input.ndim < 2:
        raise ShapeError(
            complaint(f"{call}(input)", "input must have at least 2 dims", {"input": input}))
    rows, columns = (np.arange(n, like=input.array) for n in input.shape[-2:])
    return columns - rows[:, None]


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """input with 0 above the diagonal number `diagonal` (0: the main one, 1: the one above it)"""
    return keep(input, diagonal_offsets(input, "tril") <= diagonal)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """input with 0 below the diagonal number `diagonal` (0: the main one, 1: the one above it)"""
    return keep(input, diagonal_offsets(input, "triu") >= diagonal)


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The entries whose places in dim1 and dim2 differ by `offset`, as a new last dim"""
    first, second = (positive_dim(d, input.ndim, "diagonal") for d in (dim1, dim2))
    if first == second:
        raise ShapeError(
            complaint(f"diagonal(input, {offset}, {dim1}, {dim2})", "needs two different dims",
                      {"input": input}))
    rest = [d for d in range(input.ndim) if d not in (first, second)]
    rows, columns = input.shape[first], input.shape[second]
    length = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    start = offset if offset >= 0 else -offset * columns
    flat = reshape(permute(input, dims=(*rest, first, second)),
                   shape=(*(input.shape[d] for d in rest), rows * columns))
    last = start + (length - 1) * (columns + 1) + 1
    return op.getitem(flat,
                      index=(Ellipsis, slice(start, last, columns + 1) if length else slice(0)))


diagonal_of = diagonal                            # `diag` has an argument of the same name


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A vector's entries on the diagonal of a matrix of zeros; of a matrix: its diagonal"""
    if input.ndim == 2:
        return diagonal_of(input, diagonal)
    if input.ndim != 1:
        raise ShapeError(complaint("diag(input)", "input must have 1 or 2 dims", {"input": input}))
    size = input.shape[0] + abs(diagonal)
    places = np.arange(input.shape[0], like=input.array)
    return op.put(input, index=(places + max(-diagonal, 0), places + max(diagonal, 0)),
                  shape=(size, size))
