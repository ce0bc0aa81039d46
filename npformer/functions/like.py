"""New tensors made after another: of its shape, or with its dtype and on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core import devices, dtypes, random_numbers
from ..core.errors import DTypeError, ValueRangeError
from .shaping import sizes_of

if TYPE_CHECKING:
    from ..core.devices import DeviceLike
    from ..core.dtypes import DType
    from ..core.random_numbers import Generator
    from ..ops.shape import Shape
    from ..tensors import Tensor

__all__ = [
    "bernoulli", "empty_like", "full_like", "new_empty", "new_full", "new_ones", "new_zeros",
    "ones_like", "rand_like", "randn_like", "zeros_like",
]


def wrap_new(input, array, requires_grad=False):
    """A Tensor like input around a new array."""
    y = input.wrap(array)
    return y.requires_grad_() if requires_grad else y


def full_of_shape(input, shape, value, dtype, device, requires_grad):
    """`value` everywhere, with input's dtype and device unless told otherwise."""
    module = devices.module_for(devices.device_of(input.array) if device is None else device)
    dtype = input.dtype if dtype is None else dtypes.as_dtype(dtype)
    return wrap_new(input, module.full(shape, value, dtype=dtype), requires_grad)


def zeros_like(input: Tensor, *, dtype: DType | None = None, device: DeviceLike | None = None,
               requires_grad: bool = False) -> Tensor:
    """Zeros of input's shape, dtype and device, unless told otherwise"""
    return full_of_shape(input, input.array.shape, 0, dtype, device, requires_grad)


def ones_like(input: Tensor, *, dtype: DType | None = None, device: DeviceLike | None = None,
              requires_grad: bool = False) -> Tensor:
    """Ones of input's shape, dtype and device, unless told otherwise"""
    return full_of_shape(input, input.array.shape, 1, dtype, device, requires_grad)


def full_like(input: Tensor, fill_value: float, *, dtype: DType | None = None,
              device: DeviceLike | None = None, requires_grad: bool = False) -> Tensor:
    """fill_value in input's shape, dtype and device, unless told otherwise"""
    return full_of_shape(input, input.array.shape, fill_value, dtype, device, requires_grad)


empty_like = zeros_like


def new_zeros(input: Tensor, *size: Shape, dtype: DType | None = None,
              device: DeviceLike | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros of shape `size` with input's dtype and device, unless told otherwise"""
    return full_of_shape(input, sizes_of(size, "new_zeros(size)"), 0, dtype, device, requires_grad)


def new_ones(input: Tensor, *size: Shape, dtype: DType | None = None,
             device: DeviceLike | None = None, requires_grad: bool = False) -> Tensor:
    """Ones of shape `size` with input's dtype and device, unless told otherwise"""
    return full_of_shape(input, sizes_of(size, "new_ones(size)"), 1, dtype, device, requires_grad)


def new_full(input: Tensor, size: Shape, fill_value: float, *, dtype: DType | None = None,
             device: DeviceLike | None = None, requires_grad: bool = False) -> Tensor:
    """fill_value in shape `size` with input's dtype and device, unless told otherwise"""
    return full_of_shape(input, sizes_of((size,), "new_full(size, fill_value)"), fill_value, dtype,
                         device, requires_grad)


new_empty = new_zeros


# ── random ────────────────────────────────────────────────────────────────────────────────────────


def draw_array(draw, shape, dtype, device):
    """`draw(shape, dtype)` of a NumPy generator, in any floating dtype, on `device`."""
    dtype = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    if not dtypes.is_float(dtype):
        raise DTypeError(
            f"random numbers are drawn in a floating dtype, not in {dtype}; use randint for "
            "integers")
    native = dtype if dtype in (dtypes.float32, dtypes.float64) else dtypes.float32
    drawn = np.asarray(draw(size=shape, dtype=native))
    return devices.move(drawn.astype(dtype, copy=False), device)


def numpy_generator(generator):
    """The NumPy generator inside `generator`, or the one that manual_seed seeds."""
    return (generator or random_numbers.default_generator).numpy


def rand_like(input: Tensor, *, dtype: DType | None = None, device: DeviceLike | None = None,
              requires_grad: bool = False, generator: Generator | None = None) -> Tensor:
    """Uniform in [0, 1), of input's shape, dtype and device, unless told otherwise"""
    array = draw_array(numpy_generator(generator).random, input.shape, dtype or input.dtype,
                       device or devices.device_of(input.array))
    return wrap_new(input, array, requires_grad)


def randn_like(input: Tensor, *, dtype: DType | None = None, device: DeviceLike | None = None,
               requires_grad: bool = False, generator: Generator | None = None) -> Tensor:
    """Standard normal, of input's shape, dtype and device, unless told otherwise"""
    array = draw_array(numpy_generator(generator).standard_normal, input.shape,
                       dtype or input.dtype,
                       device or devices.device_of(input.array))
    return wrap_new(input, array, requires_grad)


def bernoulli(input: Tensor, p: float | None = None, *,
              generator: Generator | None = None) -> Tensor:
    """1 with probability input (or with probability p, in input's shape), else 0"""
    chance = input.array if p is None else p
    if not np.all((chance >= 0) & (chance <= 1)):
        raise ValueRangeError("bernoulli(input): probabilities must be from 0 to 1")
    u = devices.move(numpy_generator(generator).random(input.array.shape),
                    devices.device_of(input.array))
    return input.wrap((np.asarray(u, like=input.array) < chance).astype(input.dtype))
