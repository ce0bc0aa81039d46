"""What several functions here ask of their arguments, and the words in which they refuse."""

import warnings

from ...core.dtypes import is_float
from ...core.errors import DTypeError, ShapeError, ValueRangeError, complaint
from ...core.tape import Box
from ...inplace import become, is_recorded, store
from ...ops.reduce import mean
from ...ops.shape import cast, sum

REDUCTIONS = ("mean", "sum", "none")


def require_probability(call, p):
    """Raise unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        raise ValueRangeError(f"{call}: p is a probability, so it must be from 0 to 1, got {p!r}")


def require_float(call, name, x):
    """Raise unless x is floating."""
    if not is_float(x.dtype):
        raise DTypeError(
            complaint(call, f"{name} must be floating", {name: x}, f"Use {name}.float()."))


def require_same_shape(call, **tensors):
    """Raise unless both tensors have one shape."""
    (first, a), (second, b) = tensors.items()
    if a.shape != b.shape:
        raise ShapeError(complaint(call, f"{second} must have the shape of {first}", tensors))


def warn_if_broadcast(call, input, target):
    """Warn where a loss is about to broadcast, which is hardly ever meant."""
    if input.shape != target.shape:
        warnings.warn(
            f"{call}: target {tuple(target.shape)} differs from input {tuple(input.shape)}, so "
            "they are broadcast.\n  That is hardly ever meant: give both one shape.", stacklevel=4)


def require_reduction(call, reduction, known=REDUCTIONS):
    """Raise unless `reduction` is one of those known."""
    if reduction not in known:
        raise ValueRangeError(
            f"{call}: reduction must be one of {', '.join(map(repr, known))}, got {reduction!r}")


def reduce_loss(loss, reduction):
    """loss, its sum or its mean, as `reduction` says."""
    return loss if reduction == "none" else sum(loss) if reduction == "sum" else mean(loss)


def cast_to(x, dtype):
    """x in `dtype`, unless that is None."""
    return x if dtype is None else cast(x, dtype=dtype)


def finish_in_place(input, y, inplace):
    """y; with `inplace`, as `input` itself, which then holds y."""
    if not inplace or not isinstance(input, Box):
        return y
    if is_recorded(input):
        return become(input, y, "inplace=True", "Leave inplace out.")
    store(input, y.array, "inplace=True")
    return input
