"""Functions that rearrange: shapes, orders, repetition. They compute nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import DTypeError, IndexRangeError, ShapeError, ValueRangeError, complaint
from ..core.tape import Box, require_boxes
from ..ops import shape as op
from ..ops.elementwise import values
from ..ops.indexing import getitem
from ..ops.shape import positive_dim, positive_dims
from .pointwise import with_numpy_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..ops.shape import Dim, Shape
    from ..tensors import Tensor

__all__ = [
    "broadcast_tensors", "broadcast_to", "cat", "chunk", "concat", "concatenate", "expand",
    "expand_as", "flatten", "flip", "hstack", "meshgrid", "moveaxis", "movedim", "permute",
    "ravel", "repeat", "repeat_interleave", "reshape", "roll", "split", "squeeze", "stack",
    "swapaxes", "swapdims", "t", "tile", "transpose", "unbind", "unflatten", "unsqueeze", "view",
    "view_as", "vstack",
]


def sizes_of(sizes, call):
    """The sizes in f(2, 3), f((2, 3)) and f([2, 3]) alike, as a tuple of ints."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = sizes[0]
    try:
        return tuple([n.__index__() for n in sizes])
    except AttributeError:
        raise DTypeError(f"{call}: sizes and dims must be integers, got {sizes!r}") from None


# ── shape ─────────────────────────────────────────────────────────────────────────────────────────


def reshape(input: Tensor, *shape: Shape) -> Tensor:
    """The same numbers in another shape, as reshape(x, 2, 3) or reshape(x, (2, 3));
    one size may be -1"""
    sizes = sizes_of(shape, "reshape(input, shape)")
    known = math.prod(n for n in sizes if n != -1)
    size = input.array.size
    if sizes.count(-1) > 1 or any(n < -1 for n in sizes) or (
            size != known if -1 not in sizes else known == 0 or size % known):
        rule = f"{size} entries do not fit into shape {sizes}"
        raise ShapeError(complaint("reshape(input, shape)", rule, {"input": input}))
    return op.reshape(input, shape=sizes)


def view(input: Tensor, *shape: Shape) -> Tensor:
    """`reshape`: the memory is shared where NumPy can share it"""
    if len(shape) == 1 and isinstance(shape[0], (np.dtype, type)):
        raise DTypeError(
            f"view({shape[0]}): bits are not read as another dtype here; .to(dtype) converts the "
            "numbers")
    return reshape(input, *shape)


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """input in other's shape"""
    return reshape(input, other.shape)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dims from start_dim to end_dim made one"""
    first, last = (positive_dim(d, input.ndim, "flatten") for d in (start_dim, end_dim))
    if first > last:
        raise IndexRangeError(
            f"flatten(input, {start_dim}, {end_dim}): start_dim must not come after end_dim")
    merged = math.prod(input.shape[first:last + 1])
    return op.reshape(input, shape=(*input.shape[:first], merged, *input.shape[last + 1:]))


def ravel(input: Tensor) -> Tensor:
    """All dims made one"""
    return op.reshape(input, shape=(input.array.size,))


def unflatten(input: Tensor, dim: int, sizes: Shape) -> Tensor:
    """One dim cut into several, whose sizes multiply to its own; one may be -1"""
    dim = positive_dim(dim, input.ndim, "unflatten")
    parts = sizes_of((sizes,), "unflatten(input, dim, sizes)")
    known = math.prod(n for n in parts if n != -1)
    if -1 in parts and known:
        parts = tuple(input.shape[dim] // known if n == -1 else n for n in parts)
    if math.prod(parts) != input.shape[dim] or min(parts, default=0) < 0:
        raise ShapeError(complaint(f"unflatten(input, {dim}, {parts})",
                                   f"sizes must multiply to {input.shape[dim]}",
                                   {"input": input}))
    return op.reshape(input, shape=(*input.shape[:dim], *parts, *input.shape[dim + 1:]))


def squeeze(input: Tensor, dim: Dim | None = None) -> Tensor:
    """input without its dims of size 1: all of them, or those named by dim that have size 1"""
    dims = positive_dims(dim, input.ndim, "squeeze") if dim != () else ()
    return op.reshape(input,
                      shape=tuple(n for i, n in enumerate(input.shape) if n != 1 or i not in dims))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """input with a new dim of size 1 at `dim`"""
    dim = positive_dim(dim, input.ndim + 1, "unsqueeze")
    return op.reshape(input, shape=(*input.shape[:dim], 1, *input.shape[dim:]))


def expand(input: Tensor, *sizes: Shape) -> Tensor:
    """input repeated, without a copy, along new leading dims and dims of size 1; -1 keeps a size"""
    asked = sizes_of(sizes, "expand(input, sizes)")
    lead = len(asked) - input.ndim
    wanted = tuple(input.shape[i - lead] if n == -1 and i >= lead else n
                   for i, n in enumerate(asked))
    if lead < 0 or any(n < 0 for n in wanted) or any(m not in (1, n)
                                                     for m, n in zip(input.shape, wanted[lead:])):
        rule = "only new leading dims and dims of size 1 can be repeated"
        raise ShapeError(complaint(f"expand(input, {asked})", rule, {"input": input}))
    return op.expand(input, shape=wanted)


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """input expanded to other's shape"""
    return expand(input, other.shape)


def broadcast_to(input: Tensor, size: Shape) -> Tensor:
    """`expand` to the shape `size`"""
    return expand(input, size)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All tensors expanded to the one shape that they broadcast to"""
    try:
        shape = np.broadcast_shapes(*(t.shape for t in tensors))
    except ValueError:
        raise ShapeError(
            complaint("broadcast_tensors(tensors)", "the shapes cannot be broadcast together",
                      {f"tensors[{i}]": t for i, t in enumerate(tensors)})) from None
    return tuple(op.expand(t, shape=shape) for t in tensors)


# ── order of dims and entries ─────────────────────────────────────────────────────────────────────


def permute(input: Tensor, *dims: Dim) -> Tensor:
    """y's dim i is input's dim dims[i]"""
    dims = sizes_of(dims, "permute(input, dims)")
    if sorted(positive_dim(d, input.ndim, "permute") for d in dims) != list(range(input.ndim)):
        raise ShapeError(complaint(f"permute(input, {dims})",
                                   f"dims must name each of the {input.ndim} dims once",
                                   {"input": input}))
    return op.permute(input, dims=dims)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """input with two dims exchanged"""
    dims = list(range(input.ndim))
    a, b = (positive_dim(d, input.ndim, "transpose") for d in (dim0, dim1))
    if dims:
        dims[a], dims[b] = b, a
    return op.permute(input, dims=tuple(dims))


swapaxes = swapdims = transpose


def t(input: Tensor) -> Tensor:
    """A matrix transposed; less than 2 dims stay as they are"""
    if input.ndim > 2:
        raise ShapeError(complaint("t(input)", "input must have at most 2 dims", {"input": input},
                                   "Use .mT for stacks of matrices, or transpose(dim0, dim1)."))
    return op.permute(input, dims=tuple(reversed(range(input.ndim))))


def movedim(input: Tensor, source: Dim, destination: Dim) -> Tensor:
    """input with the dims `source` moved to the places `destination`;
    the others keep their order"""
    places = [[positive_dim(d, input.ndim, "movedim")
               for d in (ds if isinstance(ds, (tuple, list)) else (ds,))]
              for ds in (source, destination)]
    if len(places[0]) != len(places[1]) or any(len(set(ds)) != len(ds) for ds in places):
        raise ShapeError(complaint(f"movedim(input, {source}, {destination})",
                                   "source and destination must name equally many dims, each once",
                                   {"input": input}))
    order = [d for d in range(input.ndim) if d not in places[0]]
    for to, d in sorted(zip(places[1], places[0])):
        order.insert(to, d)
    return op.permute(input, dims=tuple(order))


moveaxis = movedim


def flip(input: Tensor, *dims: Dim) -> Tensor:
    """input read backwards along dims"""
    if dims in (((),), ([],)):
        return input.clone()
    return op.flip(input, dims=sizes_of(dims, "flip(input, dims)"))


def roll(input: Tensor, shifts: Dim, dims: Dim | None = None) -> Tensor:
    """input moved along dims by shifts; what falls off the end comes in at the start.

    dims None: as one flat row
    """
    if dims is None:
        return op.reshape(roll(ravel(input), shifts, 0), shape=input.shape)
    shifts, dims = (x if isinstance(x, (tuple, list)) else (x,) for x in (shifts, dims))
    if len(shifts) != len(dims):
        raise ShapeError(
            f"roll(input, shifts, dims): {len(shifts)} shifts for {len(dims)} dims; give one for "
            "each")
    for shift, dim in zip(shifts, dims):
        n = input.shape[positive_dim(dim, input.ndim, "roll")]
        k = shift % n if n else 0
        if k:
            input = op.cat(op.narrow(input, dim=dim, start=n - k, length=k),
                           op.narrow(input, dim=dim, start=0, length=n - k), dim=dim)
    return input


def tensors_of(tensors, call):
    """The Tensors of a list or tuple, as a tuple."""
    if not hasattr(tensors, "__iter__"):
        raise DTypeError(f"{call}: tensors must be a list or tuple of Tensors, got {tensors!r}")
    tensors = tuple(tensors)
    require_boxes(call, **{f"tensors[{i}]": t for i, t in enumerate(tensors)})
    return tensors


# ── joining and cutting ───────────────────────────────────────────────────────────────────────────


@with_numpy_names
def cat(tensors: Iterable[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after another along dim; a tensor of shape (0,) adds nothing"""
    tensors = tensors_of(tensors, "cat(tensors)")
    if not tensors:
        raise ShapeError("cat(tensors): there must be at least one tensor")
    if any(t.ndim == 0 for t in tensors):
        raise ShapeError("cat(tensors): tensors of 0 dims cannot be joined; use stack")
    return op.cat(*([t for t in tensors if tuple(t.shape) != (0,)] or tensors), dim=dim)


concat = concatenate = cat


@with_numpy_names
def stack(tensors: Iterable[Tensor], dim: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new dim"""
    parts = tensors_of(tensors, "stack(tensors)")
    if not parts:
        raise ShapeError("stack(tensors): there must be at least one tensor")
    if any(t.shape != parts[0].shape for t in parts):
        raise ShapeError(complaint("stack(tensors)", "all tensors must have one shape",
                                   {f"tensors[{i}]": t for i, t in enumerate(parts)}))
    return op.cat(*(unsqueeze(t, dim) for t in parts), dim=dim)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors side by side: along dim 1, and along dim 0 for vectors"""
    tensors = [op.reshape(t, shape=(1,)) if t.ndim == 0 else t for t in tensors]
    return cat(tensors, 0 if tensors and tensors[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors one below the other: along dim 0, vectors as rows"""
    return cat([op.reshape(t, shape=(1, -1)) if t.ndim < 2 else t for t in tensors], 0)


def split(input: Tensor, split_size_or_sections: int | Sequence[int],
          dim: int = 0) -> tuple[Tensor, ...]:
    """input cut along dim into parts of one size (the last may be smaller), or of the sizes in a
    list; a tuple"""
    dim = positive_dim(dim, input.ndim, "split")
    n, sections = input.shape[dim] if input.ndim else 1, split_size_or_sections
    if isinstance(sections, int):
        if sections < 1:
            raise ValueRangeError(
                f"split(input, {sections}): the size of a part must be at least 1")
        sections = [min(sections, n - start) for start in range(0, n, sections)] or [0]
    if sum(sections) != n or min(sections) < 0:
        raise ShapeError(
            f"split(input, {list(sections)}, dim={dim}): the sizes must add up to {n}, they give "
            f"{sum(sections)}")
    starts = [sum(sections[:i]) for i in range(len(sections))]
    return tuple(op.narrow(input, dim=dim, start=start, length=k)
                 for start, k in zip(starts, sections))


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """input cut along dim into at most `chunks` parts of equal size, the last may be smaller;
    a tuple"""
    if chunks < 1:
        raise ValueRangeError(f"chunk(input, {chunks}): there must be at least 1 part")
    n = input.shape[positive_dim(dim, input.ndim, "chunk")]
    return split(input, max(-(-n // chunks), 1), dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The entries of input along dim, each without that dim; a tuple"""
    if not input.ndim:
        raise ShapeError("unbind(input): a tensor of 0 dims has no entries to go through")
    dim = positive_dim(dim, input.ndim, "unbind")
    return tuple(getitem(input, index=(*op.cut_along(dim, i, input.ndim), Ellipsis))
                 for i in range(input.shape[dim]))


# ── repetition ────────────────────────────────────────────────────────────────────────────────────


def repeat(input: Tensor, *sizes: Shape) -> Tensor:
    """input copied sizes[i] times along dim i; more sizes than dims make new leading dims"""
    times = sizes_of(sizes, "repeat(input, sizes)")
    if len(times) < input.ndim or any(n < 0 for n in times):
        raise ShapeError(complaint(f"repeat(input, {times})",
                                   "there must be a number >= 0 for each dim of input",
                                   {"input": input}))
    shape = (1,) * (len(times) - input.ndim) + tuple(input.shape)
    lined_up = op.reshape(input, shape=tuple(k for n in shape for k in (1, n)))
    spread = op.expand(lined_up, shape=tuple(k for pair in zip(times, shape) for k in pair))
    return op.reshape(spread, shape=tuple(r * n for r, n in zip(times, shape)))


def tile(input: Tensor, *dims: Dim) -> Tensor:
    """`repeat`, where missing leading numbers count as 1"""
    times = sizes_of(dims, "tile(input, dims)")
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


def repeat_interleave(input: Tensor, repeats: int | Tensor, dim: int | None = None) -> Tensor:
    """Each entry along dim repeated: `repeats` times, or repeats[i] times (a tensor).

    dim None: of the flat input
    """
    if dim is None:
        input, dim = ravel(input), 0
    dim = positive_dim(dim, input.ndim, "repeat_interleave")
    n = input.shape[dim]
    counts = values(repeats)
    if isinstance(repeats, Box) and (counts.dtype.kind not in "iu" or counts.ndim > 1
                                     or counts.size not in (1, n)):
        raise ShapeError(complaint("repeat_interleave(input, repeats, dim)",
                                   f"repeats must be an integer, or one for each of the {n} "
                                   f"entries along dim {dim}",
                                   {"input": input, "repeats": repeats}))
    counts = [repeats] if isinstance(repeats, int) else counts.reshape(-1).tolist()
    if min(counts, default=0) < 0:
        raise ValueRangeError("repeat_interleave(input, repeats): repeats must not be negative")
    places = np.repeat(np.arange(n, like=input.array), counts)
    return getitem(input, index=op.cut_along(dim, places, input.ndim))


def meshgrid(*tensors, indexing: str = "ij") -> tuple[Tensor, ...]:
    """For vectors of lengths N, M ...: tensors of shape (N, M, ...) that repeat each along the
    others; a tuple"""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise ValueRangeError(f"meshgrid(tensors): indexing must be 'ij' or 'xy', got {indexing!r}")
    count = len(tensors)
    shape = tuple(t.array.size for t in tensors)
    grids = [op.expand(op.reshape(t, shape=tuple(-1 if k == i else 1 for k in range(count))),
                       shape=shape)
             for i, t in enumerate(tensors)]
    return tuple(transpose(g, 0, 1) if indexing == "xy" and count > 1 else g for g in grids)
