"""Looking rows up by index, and the other way round: one_hot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core import dtypes
from ...core.errors import DTypeError, IndexRangeError, ShapeError, complaint
from ...core.tape import require_boxes
from ...ops import indexing as ops
from ...ops.elementwise import values, where

if TYPE_CHECKING:
    from ...tensors import Tensor


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """y[..., :] = weight[input[...], :]. padding_idx: a row that gets no gradient; negative ones
    count from the end.

    input integers (...), weight (V, C) -> (..., C).
    """
    call = "embedding(input, weight)"
    require_boxes(call, input=input, weight=weight)
    if weight.ndim != 2:
        raise ShapeError(complaint(call, "weight must be a table (V, C)", {"weight": weight}))
    if input.dtype.kind not in "iu":
        raise DTypeError(complaint(call, "input must hold indices (integers)", {"input": input},
                                   "Use input.long()."))
    y = ops.embedding(input, weight)
    if padding_idx is None:
        return y
    padding = values(input) == row_number(call, padding_idx, weight.shape[0])
    return where(padding[..., None], values(y), y)  # read there as a constant


def row_number(call, padding_idx, count):
    """padding_idx counted from the front."""
    if not -count <= padding_idx < count:
        raise IndexRangeError(
            f"{call}: padding_idx {padding_idx} is out of range for a table of {count} rows")
    return padding_idx % count


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 where the last dim's number is the entry, else 0. num_classes: default −1, the largest
    entry plus one.

    integers (...) -> int64 (..., num_classes).
    """
    index = values(tensor)
    call = f"one_hot(tensor, num_classes={num_classes})"
    if index.dtype.kind not in "iu":
        raise DTypeError(complaint(call, "tensor must hold classes (integers)", {"tensor": tensor},
                                   "Use tensor.long()."))
    if num_classes == -1:
        if index.size == 0:
            raise ShapeError(
                complaint(call, "an empty tensor does not tell how many classes there are",
                          {"tensor": tensor}, "Give num_classes."))
        num_classes = int(index.max()) + 1
    ops.require_in_range(index, num_classes, call)
    hot = index[..., None] == np.arange(num_classes, like=index)
    return tensor.wrap(hot.astype(dtypes.int64))
