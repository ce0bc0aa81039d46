"""Functions that gather many entries into one: sums, means, extremes, norms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core.dtypes import int64, is_float
from ..core.errors import DTypeError, ValueRangeError
from ..core.tape import Box, require_boxes
from ..ops import elementwise, shape
from ..ops import reduce as op
from ..ops.elementwise import values
from ..ops.indexing import gather
from ..ops.shape import cast, positive_dim, positive_dims
from .pointwise import with_numpy_names

if TYPE_CHECKING:
    from ..core.dtypes import DType
    from ..ops.shape import Dim
    from ..tensors import Tensor

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "bincount", "count_nonzero", "cumsum",
    "logsumexp", "max", "mean", "min", "norm", "prod", "std", "sum", "var",
]


class Chosen(NamedTuple):
    """What max, min, sort and topk along a dim return: the entries, and where they stood."""

    values: Tensor
    indices: Tensor


def convert_input(input, dtype, widen=False):
    """input in `dtype`, if one was asked for;
    `widen`: else bools and integers as int64, in which PyTorch adds up."""
    require_boxes("a reduction of input", input=input)
    if dtype is None and widen and not is_float(input.dtype):
        dtype = int64
    return input if dtype is None or input.dtype == dtype else cast(input, dtype=dtype)


@with_numpy_names
def sum(input: Tensor, dim: Dim | None = None, keepdim: bool = False, *,
        dtype: DType | None = None) -> Tensor:
    """Σ input over dim (None: all); dtype: what input is converted to first"""
    return shape.sum(convert_input(input, dtype, widen=True), dim=dim, keepdim=keepdim)


@with_numpy_names
def mean(input: Tensor, dim: Dim | None = None, keepdim: bool = False, *,
         dtype: DType | None = None) -> Tensor:
    """Σ input / N over dim (None: all); dtype: what input is converted to first"""
    return op.mean(convert_input(input, dtype), dim, keepdim)


@with_numpy_names
def prod(input: Tensor, dim: Dim | None = None, keepdim: bool = False, *,
         dtype: DType | None = None) -> Tensor:
    """Π input over dim (None: all); dtype: what input is converted to first"""
    return op.prod(convert_input(input, dtype, widen=True), dim, keepdim)


@with_numpy_names
def cumsum(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Running sums along dim; dtype: what input is converted to first"""
    return op.cumsum(convert_input(input, dtype, widen=True), dim=dim)


def correction_of(dim, unbiased, correction, call):
    """(dim, correction) of var and std in any of PyTorch's three spellings."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise ValueRangeError(f"{call}: give unbiased or correction, not both")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    return dim, correction


@with_numpy_names
def var(input: Tensor, dim: Dim | bool | None = None, unbiased: bool | None = None,
        keepdim: bool = False, *, correction: int | None = None) -> Tensor:
    """Σ (input − mean)² / (N − correction) over dim;
    correction 1 by default, 0 for unbiased=False"""
    dim, correction = correction_of(dim, unbiased, correction, "var(input)")
    return op.var(input, dim, correction, keepdim)


@with_numpy_names
def std(input: Tensor, dim: Dim | bool | None = None, unbiased: bool | None = None,
        keepdim: bool = False, *, correction: int | None = None) -> Tensor:
    """√var"""
    dim, correction = correction_of(dim, unbiased, correction, "std(input)")
    return op.std(input, dim, correction, keepdim)


@with_numpy_names
def logsumexp(input: Tensor, dim: Dim, keepdim: bool = False) -> Tensor:
    """ln Σ eⁱⁿᵖᵘᵗ over dim, without overflow"""
    return op.logsumexp(input, dim=dim, keepdim=keepdim)


@with_numpy_names
def norm(input: Tensor, p: float | str = "fro", dim: Dim | None = None, keepdim: bool = False,
         dtype: DType | None = None) -> Tensor:
    """(Σ |input|ᵖ)^(1/p) over dim; p = inf, -inf: the largest, smallest |input|;
    p = 0: how many are not 0"""
    if p == "nuc":
        raise ValueRangeError(
            "norm(input, p='nuc'): the nuclear norm is not here; p is a number or 'fro'")
    return op.norm(convert_input(input, dtype), p, dim, keepdim)


# ── extremes ──────────────────────────────────────────────────────────────────────────────────────


@with_numpy_names
def amax(input: Tensor, dim: Dim | None = None, keepdim: bool = False) -> Tensor:
    """The largest entry over dim; ties share the gradient"""
    return op.amax(input, dim=dim, keepdim=keepdim)


@with_numpy_names
def amin(input: Tensor, dim: Dim | None = None, keepdim: bool = False) -> Tensor:
    """The smallest entry over dim; ties share the gradient"""
    return op.amin(input, dim=dim, keepdim=keepdim)


def find_extreme(input, dim, keepdim, whole, between, place):
    """What max and min have in common: all entries, two tensors, or (values, indices) along dim."""
    if isinstance(dim, Box):
        return between(input, dim)
    if dim is None:
        return whole(input)
    indices = place(input, dim, keepdim=True)
    if not input.ndim:
        return Chosen(input, indices)
    chosen = gather(input, indices.array, dim=dim)
    if not keepdim:
        dim = positive_dim(dim, input.ndim)
        rest = input.shape[:dim] + input.shape[dim + 1:]
        chosen, indices = shape.reshape(chosen,
                                        shape=rest), indices.wrap(indices.array.reshape(rest))
    return Chosen(chosen, indices)


@with_numpy_names
def max(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *,
        other: Tensor | None = None) -> Any:
    """The largest entry; with dim: a namedtuple (values, indices) along it;
    with a second tensor: `maximum` of both"""
    return find_extreme(input, dim if other is None else other, keepdim, op.amax,
                        elementwise.maximum, argmax)


@with_numpy_names
def min(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *,
        other: Tensor | None = None) -> Any:
    """The smallest entry; with dim: a namedtuple (values, indices) along it;
    with a second tensor: `minimum` of both"""
    return find_extreme(input, dim if other is None else other, keepdim, op.amin,
                        elementwise.minimum, argmin)


def index_of_extreme(find, input, dim, keepdim, call):
    """Where find (np.argmax, np.argmin) finds its entry."""
    op.require_entries(input.array, dim, call)
    if dim is not None:
        dim = positive_dim(dim, input.ndim, call)
    if not input.ndim:
        return input.wrap(np.zeros_like(input.array, dtype=int64))
    return input.wrap(np.asarray(find(input.array, axis=dim, keepdims=keepdim), like=input.array))


@with_numpy_names
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the largest entry along dim; None: its index in the flattened input"""
    return index_of_extreme(np.argmax, input, dim, keepdim, "argmax")


@with_numpy_names
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the smallest entry along dim; None: its index in the flattened input"""
    return index_of_extreme(np.argmin, input, dim, keepdim, "argmin")


# ── counting ──────────────────────────────────────────────────────────────────────────────────────


def reduce_array(find, input, dim, keepdim, call):
    """find (np.any, np.all, np.count_nonzero) over dim."""
    dims = None if dim is None else positive_dims(dim, input.ndim, call)
    return input.wrap(
        np.asarray(find(values(input), axis=dims, keepdims=keepdim), like=input.array))


@with_numpy_names
def any(input: Tensor, dim: Dim | None = None, keepdim: bool = False) -> Tensor:
    """Whether some entry over dim is not 0"""
    return reduce_array(np.any, input, dim, keepdim, "any")


@with_numpy_names
def all(input: Tensor, dim: Dim | None = None, keepdim: bool = False) -> Tensor:
    """Whether no entry over dim is 0"""
    return reduce_array(np.all, input, dim, keepdim, "all")


@with_numpy_names
def count_nonzero(input: Tensor, dim: Dim | None = None) -> Tensor:
    """How many entries over dim are not 0"""
    return reduce_array(lambda x, axis, keepdims: (x != 0).sum(axis=axis, keepdims=keepdims),
                        input, dim, False,
                        "count_nonzero")


def bincount(input: Tensor, weights=None, minlength: int = 0) -> Tensor:
    """How often each integer from 0 on occurs in input (1-d); with weights: the sum of theirs"""
    negative = input.array.size and input.array.min() < 0
    if input.dtype.kind not in "iu" or input.ndim != 1 or negative:
        raise DTypeError(
            f"bincount(input): input must be one row of integers >= 0, got {input.dtype} "
            f"{tuple(input.shape)}")
    return input.wrap(
        np.bincount(input.array, None if weights is None else weights.array, minlength))
