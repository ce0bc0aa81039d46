"""Tensors out of nothing, out of Python's numbers and lists, and out of others' arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .core import devices, dtypes, writes
from .core.errors import DTypeError, ShapeError, ValueRangeError, complaint
from .functions.like import draw_array, numpy_generator, wrap_new
from .functions.literals import constructor_array, copy_array_of
from .functions.shaping import sizes_of
from .interop import to
from .tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from .core.devices import DeviceLike
    from .core.dtypes import DType
    from .core.random_numbers import Generator
    from .ops.shape import Shape

# ── from data ─────────────────────────────────────────────────────────────────────────────────────


def tensor(data, *, dtype: DType | None = None, device: DeviceLike | None = None,
           requires_grad: bool = False) -> Tensor:
    """A copy of data: numbers, nested lists, arrays, Tensors.

    Python floats become the default dtype (float32), ints int64, bools bool; arrays keep their
    dtype.
    """
    return wrap_new(Tensor, copy_array_of(data, dtype, device), requires_grad)


def as_tensor(data, dtype: DType | None = None, device: DeviceLike | None = None) -> Tensor:
    """data itself if it is a Tensor; around the same memory if it is a NumPy array; else a copy."""
    if isinstance(data, Tensor):
        return to(data, dtype=dtype, device=device)
    if isinstance(data, np.ndarray):
        return to(from_numpy(data), dtype=dtype, device=devices.device_name(device))
    return tensor(data, dtype=dtype, device=device)


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A Tensor around a NumPy array's own memory: each sees what is written into the other."""
    if not isinstance(ndarray, np.ndarray):
        raise DTypeError(f"from_numpy(ndarray): needs a NumPy array, got {type(ndarray).__name__}")
    dtypes.as_dtype(ndarray.dtype)
    writes.share(ndarray)
    return Tensor.wrap(ndarray)


def from_dlpack(ext_tensor) -> Tensor:
    """A Tensor around the memory of another library's tensor: npf.from_dlpack(torch_tensor)."""
    on_cpu = ext_tensor.__dlpack_device__()[0] == 1
    array = np.from_dlpack(ext_tensor) if on_cpu else devices.cupy().from_dlpack(ext_tensor)
    dtypes.as_dtype(array.dtype)
    writes.share(array)
    return Tensor.wrap(array)


def constructor_of_type(name: str, dtype: DType) -> Callable[..., Tensor]:
    """PyTorch's older constructor: of data, or of sizes."""
    def make(*data) -> Tensor:
        return Tensor.wrap(constructor_array(data, dtype))
    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"{name}(data): a copy of data in {dtype}; {name}(2, 3): zeros of that shape"
    return make


FloatTensor = constructor_of_type("FloatTensor", dtypes.float32)
DoubleTensor = constructor_of_type("DoubleTensor", dtypes.float64)
LongTensor = constructor_of_type("LongTensor", dtypes.int64)
IntTensor = constructor_of_type("IntTensor", dtypes.int32)
BoolTensor = constructor_of_type("BoolTensor", dtypes.bool_)


# ── constants ─────────────────────────────────────────────────────────────────────────────────────


def checked_sizes(size, call):
    """`size` as a tuple of integers >= 0."""
    sizes = sizes_of(size, call)
    if any(n < 0 for n in sizes):
        raise ShapeError(f"{call}: sizes must not be negative, got {sizes}")
    return sizes


def full_of_size(size, value, call, dtype, device, requires_grad):
    """`value` in every entry of a new tensor."""
    sizes = checked_sizes(size, call)
    dtype = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    return wrap_new(Tensor, devices.module_for(device).full(sizes, value, dtype=dtype),
                    requires_grad)


def zeros(*size: Shape, dtype: DType | None = None, device: DeviceLike | None = None,
          requires_grad: bool = False) -> Tensor:
    """Zeros of shape `size`: zeros(2, 3) or zeros((2, 3))"""
    return full_of_size(size, 0, "zeros(size)", dtype, device, requires_grad)


def ones(*size: Shape, dtype: DType | None = None, device: DeviceLike | None = None,
         requires_grad: bool = False) -> Tensor:
    """Ones of shape `size`: ones(2, 3) or ones((2, 3))"""
    return full_of_size(size, 1, "ones(size)", dtype, device, requires_grad)


def empty(*size: Shape, dtype: DType | None = None, device: DeviceLike | None = None,
          requires_grad: bool = False) -> Tensor:
    """A tensor of shape `size` that is there to be filled; zeros, so that a run can be repeated"""
    return full_of_size(size, 0, "empty(size)", dtype, device, requires_grad)


def full(size: Shape, fill_value: float | Tensor, *, dtype: DType | None = None,
         device: DeviceLike | None = None, requires_grad: bool = False) -> Tensor:
    """fill_value in shape `size`, in fill_value's own dtype unless another is given"""
    value = tensor(fill_value)
    return full_of_size((size,), value.item(), "full(size, fill_value)", dtype or value.dtype,
                        device, requires_grad)


def eye(n: int, m: int | None = None, *, dtype: DType | None = None,
        device: DeviceLike | None = None, requires_grad: bool = False) -> Tensor:
    """n rows and m (default n) columns with ones on the main diagonal, zeros elsewhere"""
    dtype = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    n, m = checked_sizes((n, n if m is None else m), "eye(n, m)")
    return wrap_new(Tensor, devices.module_for(device).eye(n, m, dtype=dtype), requires_grad)


def triangle_places(row, col, chosen) -> Tensor:
    """The places (row number, column number) of a matrix that are chosen: (2, how many)."""
    places = np.nonzero(chosen(np.arange(col) - np.arange(row)[:, None]))
    return Tensor.wrap(devices.move(np.stack(places).astype(dtypes.int64), None))


def tril_indices(row: int, col: int, offset: int = 0) -> Tensor:
    """The places of a matrix on and below its diagonal number `offset`: (2, how many)"""
    return triangle_places(row, col, lambda diagonal: diagonal <= offset)


def triu_indices(row: int, col: int, offset: int = 0) -> Tensor:
    """The places of a matrix on and above its diagonal number `offset`: (2, how many)"""
    return triangle_places(row, col, lambda diagonal: diagonal >= offset)


def arange(start: float, end: float | None = None, step: float = 1, *, dtype: DType | None = None,
           device: DeviceLike | None = None, requires_grad: bool = False) -> Tensor:
    """start, start + step, ... below end; int64 if all are integers. arange(end) starts at 0."""
    start, end = (0, start) if end is None else (start, end)
    start, end, step = (x.item() if hasattr(x, "item") else x for x in (start, end, step))
    if step == 0 or (end - start) * step < 0:
        raise ValueRangeError(f"arange({start}, {end}, {step}): step must lead from start to end")
    if dtype is None:
        dtype = dtypes.get_default_dtype() if any(isinstance(x, float)
                                                  for x in (start, end, step)) else dtypes.int64
    values = np.arange(start, end, step).astype(dtypes.as_dtype(dtype))
    return wrap_new(Tensor, devices.move(values, device), requires_grad)


def linspace(start: float, end: float, steps: int, *, dtype: DType | None = None,
             device: DeviceLike | None = None, requires_grad: bool = False) -> Tensor:
    """`steps` numbers from start to end, both included, at equal distances"""
    if steps < 0:
        raise ValueRangeError(
            f"linspace(start, end, steps): steps must not be negative, got {steps}")
    dtype = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    start, end = (x.item() if hasattr(x, "item") else x for x in (start, end))
    values = np.linspace(start, end, steps, dtype=np.float64).astype(dtype)
    return wrap_new(Tensor, devices.move(values, device), requires_grad)


# ── random ────────────────────────────────────────────────────────────────────────────────────────


def rand(*size: Shape, dtype: DType | None = None, device: DeviceLike | None = None,
         requires_grad: bool = False, generator: Generator | None = None) -> Tensor:
    """Uniform in [0, 1)"""
    draw = numpy_generator(generator).random
    return wrap_new(Tensor, draw_array(draw, sizes_of(size, "rand(size)"), dtype, device),
                    requires_grad)


def randn(*size: Shape, dtype: DType | None = None, device: DeviceLike | None = None,
          requires_grad: bool = False, generator: Generator | None = None) -> Tensor:
    """Standard normal"""
    draw = numpy_generator(generator).standard_normal
    return wrap_new(Tensor, draw_array(draw, sizes_of(size, "randn(size)"), dtype, device),
                    requires_grad)


def normal(mean=0.0, std=1.0, size: Shape | None = None, *, dtype: DType | None = None,
           device: DeviceLike | None = None, generator: Generator | None = None) -> Tensor:
    """Normal with that mean and standard deviation: numbers and a size, or tensors that give each
    entry its own"""
    if size is None:
        like = mean if isinstance(mean, Tensor) else std
        size, dtype, device = like.shape, dtype or like.dtype, device or like.device
    return randn(size, dtype=dtype, device=device, generator=generator) * std + mean


def randint(low: int, high=None, size=None, *, dtype: DType | None = None,
            device: DeviceLike | None = None, generator: Generator | None = None) -> Tensor:
    """Integers from low to high − 1: randint(high, size) or randint(low, high, size)"""
    if size is None or isinstance(high, (tuple, list)):
        low, high, size = 0, low, (size if size is not None else high)
    if low >= high:
        raise ValueRangeError(
            f"randint(low, high, size): low must be below high, got {low} and {high}")
    values = numpy_generator(generator).integers(low, high,
                                                 sizes_of((size,), "randint(low, high, size)"))
    return Tensor.wrap(
        devices.move(np.asarray(values).astype(dtypes.as_dtype(dtype) or dtypes.int64), device))


def randint_like(input: Tensor, low: int, high: int | None = None, *, dtype: DType | None = None,
                 device: DeviceLike | None = None, generator: Generator | None = None) -> Tensor:
    """Integers from low to high − 1 (or from 0 to low − 1), of input's shape and dtype unless told
    otherwise"""
    low, high = (0, low) if high is None else (low, high)
    dtype, device = dtype or input.dtype, device or input.device
    return randint(low, high, input.shape, dtype=dtype, device=device, generator=generator)


def randperm(n: int, *, dtype: DType | None = None, device: DeviceLike | None = None,
             generator: Generator | None = None) -> Tensor:
    """The integers from 0 to n − 1 in random order"""
    values = numpy_generator(generator).permutation(n).astype(dtypes.as_dtype(dtype)
                                                              or dtypes.int64)
    return Tensor.wrap(devices.move(values, device))


def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *,
                generator: Generator | None = None) -> Tensor:
    """num_samples indices drawn with the weights in each row of input (one row or several), with
    replacement or not"""
    weights = devices.to_numpy(input.array).astype(np.float64)
    call = f"multinomial(input, {num_samples})"
    if weights.ndim not in (1, 2) or not dtypes.is_float(input.dtype):
        raise ShapeError(complaint(call, "input must be a row of floating weights, or several",
                                   {"input": input}))
    if not np.isfinite(weights).all() or (weights < 0).any() or (weights.sum(axis=-1) <= 0).any():
        raise ValueRangeError(
            complaint(call, "weights must be finite and >= 0, not all 0 in a row",
                      {"input": input}))
    if num_samples < 1 or not replacement and num_samples > (weights > 0).sum(axis=-1).min():
        raise ValueRangeError(f"{call}: cannot draw {num_samples} without replacement from "
                              f"{(weights > 0).sum(axis=-1).min()} weights that are not 0")
    random = numpy_generator(generator)
    if replacement:
        shares = np.cumsum(weights, axis=-1).reshape(-1, weights.shape[-1])
        shares /= shares[:, -1:]  # the last becomes 1 exactly, and u stays below it
        u = random.random((len(shares), num_samples))
        indices = np.stack(
            [np.searchsorted(row, point, side="right") for row, point in zip(shares, u)])
        indices = indices.reshape(*weights.shape[:-1], num_samples)
    else:  # the earliest arrivals of Poisson processes with these rates
        with np.errstate(divide="ignore"):
            arrival = random.standard_exponential(weights.shape) / weights
        indices = np.argsort(arrival, axis=-1, kind="stable")[..., :num_samples]
    return input.wrap(devices.move(indices, devices.device_of(input.array)))
