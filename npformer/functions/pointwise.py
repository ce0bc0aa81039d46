"""Functions of each entry alone, with broadcasting."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.dtypes import is_float, promote
from ..core.errors import DTypeError, ValueRangeError, complaint
from ..core.tape import Box, require_boxes
from ..ops import activation, composites
from ..ops import elementwise as op
from ..ops.elementwise import values
from ..ops.shape import cast
from ..ops.shape import clone as copy_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.dtypes import DType
    from ..tensors import Tensor
    from ..typing import Operand, P, R

__all__ = [
    "abs", "absolute", "add", "addcdiv", "addcmul", "ceil", "clamp", "clamp_max", "clamp_min",
    "clip", "clone", "cos", "div", "divide", "erf", "exp", "exp2", "expm1", "floor",
    "floor_divide", "lerp", "log", "log10", "log1p", "log2", "log_softmax", "logaddexp",
    "masked_fill", "maximum", "minimum", "mul", "multiply", "neg", "negative", "pow",
    "reciprocal", "relu", "remainder", "round", "rsqrt", "sigmoid", "sign", "sin", "softmax",
    "sqrt", "square", "sub", "subtract", "tanh", "true_divide", "trunc", "where",
]


def of_input(op: Callable) -> Callable[[Tensor], Tensor]:
    """An operation on one array under PyTorch's argument name, `input`."""
    def function(input):
        if not isinstance(input, Box):
            require_boxes(f"{op.__name__}(input)", input=input)
        return op(input)
    function.__name__ = function.__qualname__ = op.__name__
    function.__doc__ = op.__doc__
    return function


def with_numpy_names(function: Callable[P, R]) -> Callable[P, R]:
    """PyTorch takes NumPy's argument names too: axis for dim, keepdims for keepdim."""
    @functools.wraps(function)
    def renamed(*args, **options):
        for theirs, ours in (("axis", "dim"), ("keepdims", "keepdim")):
            if theirs in options:
                options[ours] = options.pop(theirs)
        return function(*args, **options)
    return renamed


def box_among(*operands):
    """The first Tensor among the operands: it makes the result."""
    return next(a for a in operands if isinstance(a, Box))


exp = of_input(op.exp)
expm1 = of_input(op.expm1)
log = of_input(op.log)
log1p = of_input(op.log1p)
sqrt = of_input(op.sqrt)
rsqrt = of_input(composites.rsqrt)
square = of_input(composites.square)
reciprocal = of_input(composites.reciprocal)
sin = of_input(op.sin)
cos = of_input(op.cos)
tanh = of_input(op.tanh)
sigmoid = of_input(op.sigmoid)
erf = of_input(op.erf)
abs = of_input(op.abs)
sign = of_input(op.sign)
floor = of_input(op.floor)
ceil = of_input(op.ceil)
neg = of_input(op.neg)
relu = of_input(activation.relu)
clone = of_input(copy_of)
absolute = abs
negative = neg


# ── arithmetic ────────────────────────────────────────────────────────────────────────────────────


def scale(other, alpha):
    """alpha·other, and other itself for the usual alpha of 1."""
    return other if alpha == 1 else op.mul(other, alpha)


def add(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """input + alpha·other"""
    return op.add(input, scale(other, alpha))


def sub(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """input − alpha·other"""
    return op.sub(input, scale(other, alpha))


def mul(input: Operand, other: Operand) -> Tensor:
    """input · other"""
    return op.mul(input, other)


@np.errstate(all="ignore")  # infinity and NaN are results, as in PyTorch, no warnings
def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """input / other; rounding_mode "floor" rounds the quotient down, "trunc" towards zero (then no
    gradient flows)."""
    if rounding_mode is None:
        return op.div(input, other)
    if rounding_mode not in ("floor", "trunc"):
        raise ValueRangeError(
            f"div: rounding_mode must be None, 'floor' or 'trunc', got {rounding_mode!r}")
    a, b = promote((values(input), values(other)))
    if not is_float(getattr(a, "dtype", None) or b.dtype) and (np.equal(b, 0)).any():
        raise ValueRangeError(
            f"div(input, other, rounding_mode={rounding_mode!r}): an integer was divided by zero")
    y = np.floor_divide(a, b)
    if rounding_mode == "trunc":
        if is_float(y.dtype):
            y = np.trunc(np.true_divide(a, b))
        else:
            y = np.where((y < 0) & (y * b != a), y + 1, y)
    return box_among(input, other).wrap(y)


def floor_divide(input: Operand, other: Operand) -> Tensor:
    """⌊input / other⌋, outside the graph"""
    return div(input, other, rounding_mode="floor")


def pow(input: Operand, exponent: Operand) -> Tensor:
    """input to the power of exponent; either may be a number"""
    return op.pow(input, exponent)


def remainder(input: Operand, other: Operand) -> Tensor:
    """input − ⌊input/other⌋·other: the remainder with other's sign"""
    return op.remainder(input, other)


def maximum(input: Operand, other: Operand) -> Tensor:
    """The larger of input and other; where they tie the gradient is shared"""
    return op.maximum(input, other)


def minimum(input: Operand, other: Operand) -> Tensor:
    """The smaller of input and other; where they tie the gradient is shared"""
    return op.minimum(input, other)


def logaddexp(input: Tensor, other: Operand) -> Tensor:
    """ln(eⁱⁿᵖᵘᵗ + eᵒᵗʰᵉʳ), without overflow"""
    return op.logaddexp(input, other)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest number with so many decimals, even at halves"""
    return op.round(input) if decimals == 0 else op.div(op.round(op.mul(input, 10.0 ** decimals)),
                                                        10.0 ** decimals)


def trunc(input: Tensor) -> Tensor:
    """input without its fraction: rounded towards zero"""
    return op.mul(op.sign(input), op.floor(op.abs(input)))


def lerp(input: Tensor, end: Operand, weight: Operand) -> Tensor:
    """input + weight·(end − input)"""
    return op.add(input, op.mul(weight, op.sub(end, input)))


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value·tensor1·tensor2"""
    return op.add(input, scale(op.mul(tensor1, tensor2), value))


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value·tensor1/tensor2"""
    return op.add(input, scale(op.div(tensor1, tensor2), value))


multiply = mul
subtract = sub
divide = div
true_divide = div


def log2(input: Tensor) -> Tensor:
    """The logarithm to base 2"""
    return op.div(op.log(input), math.log(2))


def log10(input: Tensor) -> Tensor:
    """The logarithm to base 10"""
    return op.div(op.log(input), math.log(10))


def exp2(input: Tensor) -> Tensor:
    """2 to the power of input"""
    return op.exp(op.mul(input, math.log(2)))


# ── choosing ──────────────────────────────────────────────────────────────────────────────────────


def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """input limited to [min, max]; a bound that is None does not limit"""
    if min is None and max is None:
        raise ValueRangeError("clamp(input, min, max): give at least one of min and max")
    return composites.clamp(input, min, max)


def clamp_min(input: Tensor, min: Operand) -> Tensor:
    """input, but nowhere below min"""
    return composites.clamp(input, min=min)


def clamp_max(input: Tensor, max: Operand) -> Tensor:
    """input, but nowhere above max"""
    return composites.clamp(input, max=max)


clip = clamp


def require_mask(mask, call):
    """Raise unless `mask` holds bools."""
    if getattr(getattr(values(mask), "dtype", None), "kind", None) != "b":
        raise DTypeError(complaint(call, "the mask must hold bools", {"mask": mask},
                                   "Make one by comparing: x > 0."))


def where(condition: Tensor, input: Operand | None = None, other: Operand | None = None) -> Any:
    """input where condition is true, else other;
    `where(condition)` alone: the indices of what is true, a tuple"""
    if input is None and other is None:
        return tuple(condition.wrap(index) for index in np.nonzero(values(condition)))
    if input is None or other is None:
        raise DTypeError("where(condition, input, other): give both input and other, or neither")
    require_mask(condition, "where(condition, input, other)")
    return op.where(condition, input, other)


def masked_fill(input: Tensor, mask: Tensor | np.ndarray, value: Operand) -> Tensor:
    """input with `value` where mask is true. Its dtype stays."""
    require_mask(mask, "masked_fill(input, mask, value)")
    if not is_float(input.dtype) and (isinstance(value, float)
                                      or is_float(getattr(value, "dtype", np.dtype(bool)))):
        raise DTypeError(complaint("masked_fill(input, mask, value)",
                                   "a float does not fit into integers or bools",
                                   {"input": input, "value": value},
                                   "Convert first: input.float()."))
    y = op.where(mask, value, input)
    return y if y.dtype == input.dtype else cast(y, dtype=input.dtype)


# ── activations that PyTorch has among its tensor functions too ───────────────────────────────────


@with_numpy_names
def softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """eˣ / Σeˣ over dim; dtype: what input is converted to first"""
    return activation.softmax(input if dtype is None else cast(input, dtype=dtype), dim=dim)


@with_numpy_names
def log_softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """x − ln Σeˣ over dim; dtype: what input is converted to first"""
    return activation.log_softmax(input if dtype is None else cast(input, dtype=dtype), dim=dim)
