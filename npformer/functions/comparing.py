"""Comparisons, tests and logic.

No gradient flows through them, so they work on the arrays and wrap the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core.devices import device_of
from ..core.dtypes import promote
from ..core.errors import DeviceError, DTypeError, ShapeError, complaint
from ..ops.elementwise import values
from .pointwise import box_among

if TYPE_CHECKING:
    from ..tensors import Tensor
    from ..typing import Operand

__all__ = [
    "allclose", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "eq", "equal", "ge",
    "gt", "is_floating_point", "isclose", "isfinite", "isinf", "isnan", "le", "logical_and",
    "logical_not", "logical_or", "logical_xor", "lt", "ne",
]


def compare_entries(ufunc, input, other):
    """ufunc of both, at the dtype that PyTorch compares in."""
    box = box_among(input, other)
    a, b = promote((values(input), values(other)))
    try:
        return box.wrap(np.asarray(ufunc(a, b), like=box.array))
    except (ValueError, TypeError):
        kind, rule = ShapeError, "the shapes cannot be broadcast together"
        if len({device_of(x) for x in (a, b) if hasattr(x, "dtype")}) > 1:
            kind = DeviceError
            rule = f"the arrays must live on one device: {device_of(a)} and {device_of(b)}"
        raise kind(complaint(f"{ufunc.__name__}(input, other)", rule,
                             {"input": input, "other": other})) from None


def eq(input: Tensor, other: Operand) -> Tensor:
    """input == other, entry by entry"""
    return compare_entries(np.equal, input, other)


def ne(input: Tensor, other: Operand) -> Tensor:
    """input != other, entry by entry"""
    return compare_entries(np.not_equal, input, other)


def lt(input: Tensor, other: Operand) -> Tensor:
    """input < other, entry by entry"""
    return compare_entries(np.less, input, other)


def le(input: Tensor, other: Operand) -> Tensor:
    """input <= other, entry by entry"""
    return compare_entries(np.less_equal, input, other)


def gt(input: Tensor, other: Operand) -> Tensor:
    """input > other, entry by entry"""
    return compare_entries(np.greater, input, other)


def ge(input: Tensor, other: Operand) -> Tensor:
    """input >= other, entry by entry"""
    return compare_entries(np.greater_equal, input, other)


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and the same entries: one bool"""
    return input.shape == other.shape and bool((values(input) == values(other)).all())


def isclose(input: Tensor, other: Operand, rtol: float = 1e-5, atol: float = 1e-8,
            equal_nan: bool = False) -> Tensor:
    """|input − other| <= atol + rtol·|other|, entry by entry"""
    return input.wrap(np.asarray(np.isclose(values(input), values(other), rtol, atol, equal_nan),
                                 like=input.array))


def allclose(input: Tensor, other: Operand, rtol: float = 1e-5, atol: float = 1e-8,
             equal_nan: bool = False) -> bool:
    """Whether `isclose` holds everywhere: one bool"""
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())


def map_entries(ufunc, input):
    """ufunc of each entry, for integers too."""
    return input.wrap(np.asarray(ufunc(input.array), like=input.array))


def isnan(input: Tensor) -> Tensor:
    """Where input is not a number"""
    return map_entries(np.isnan, input)


def isinf(input: Tensor) -> Tensor:
    """Where input is infinite"""
    return map_entries(np.isinf, input)


def isfinite(input: Tensor) -> Tensor:
    """Where input is neither infinite nor NaN"""
    return map_entries(np.isfinite, input)


# ── logic ─────────────────────────────────────────────────────────────────────────────────────────


def logical_and(input: Tensor, other: Operand) -> Tensor:
    """Where both are not 0"""
    return compare_entries(np.logical_and, input, other)


def logical_or(input: Tensor, other: Operand) -> Tensor:
    """Where at least one is not 0"""
    return compare_entries(np.logical_or, input, other)


def logical_xor(input: Tensor, other: Operand) -> Tensor:
    """Where just one is not 0"""
    return compare_entries(np.logical_xor, input, other)


def logical_not(input: Tensor) -> Tensor:
    """Where input is 0"""
    return map_entries(np.logical_not, input)


def compare_bits(ufunc, input, other):
    """ufunc of bools or integers; floats have no bits to speak of."""
    for operand in (input, other):
        if isinstance(operand, float) or getattr(operand, "dtype", np.dtype(bool)).kind == "f":
            raise DTypeError(
                complaint(f"{ufunc.__name__}(input, other)", "both must be bools or integers",
                          {"input": input, "other": other}, "Compare first: (a > 0) & (b > 0)."))
    return compare_entries(ufunc, input, other)


def bitwise_and(input: Tensor, other: Operand) -> Tensor:
    """input & other: "and" for masks, bit by bit for integers"""
    return compare_bits(np.bitwise_and, input, other)


def bitwise_or(input: Tensor, other: Operand) -> Tensor:
    """input | other: "or" for masks, bit by bit for integers"""
    return compare_bits(np.bitwise_or, input, other)


def bitwise_xor(input: Tensor, other: Operand) -> Tensor:
    """input ^ other: "just one" for masks, bit by bit for integers"""
    return compare_bits(np.bitwise_xor, input, other)


def bitwise_not(input: Tensor) -> Tensor:
    """~input: "not" for masks, bit by bit for integers"""
    if input.dtype.kind == "f":
        raise DTypeError(
            complaint("bitwise_not(input)", "input must hold bools or integers", {"input": input}))
    return map_entries(np.invert, input)


def is_floating_point(input: Tensor) -> bool:
    """Whether input's dtype is a floating one"""
    return input.dtype.kind == "f"
