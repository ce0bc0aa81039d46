"""From Python's numbers and lists to arrays, in the dtypes that PyTorch would choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core import devices, dtypes
from ..core.errors import DTypeError, ShapeError, ValueRangeError, describe
from ..core.tape import Box
from .like import wrap_new

if TYPE_CHECKING:
    from ..core.devices import DeviceLike
    from ..core.dtypes import DType
    from ..tensors import Tensor

__all__ = ["new_tensor"]


def array_of(data):
    """data as an array: Python floats in the default dtype, ints in int64;
    arrays and Tensors as they are, no copy."""
    if isinstance(data, Box):
        return data.array
    if hasattr(data, "__cuda_array_interface__"):
        return devices.cupy().asarray(data)
    first = data
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    try:
        array = np.asarray(nested_arrays(data))
    except ValueError as error:
        raise ShapeError(
            "tensor(data): the lists are ragged: those of one level must be equally long.\n"
            f"  {error}") from None
    except OverflowError:
        raise ValueRangeError("tensor(data): an integer does not fit into int64") from None
    if array.dtype.kind not in "buif":
        raise DTypeError(
            f"tensor(data): data must be numbers, or nested lists of numbers, got {describe(data)}")
    if array.dtype == np.float64 and not isinstance(data, np.ndarray):
        dtype = getattr(first, "dtype", None)  # a list of float64 numbers or arrays stays float64
        array = array.astype(dtype if dtype is not None and dtypes.is_float(dtype)
                             else dtypes.get_default_dtype())
    return array


def nested_arrays(data):
    """Nested lists with the arrays of the Tensors in them."""
    if isinstance(data, (list, tuple)):
        return [nested_arrays(x) for x in data]
    return devices.to_numpy(data.array) if isinstance(data, Box) else data


def copy_array_of(data, dtype=None, device=None):
    """data as an array of its own.

    dtype: data's own by default; device: the default, unless data is on the GPU.
    """
    array = array_of(data)
    array = array.astype(dtypes.as_dtype(array.dtype if dtype is None else dtype), copy=True)
    return array if device is None and devices.device_of(array) == "cuda" else devices.move(array,
                                                                                          device)


def constructor_array(data, dtype):
    """What Tensor(...) and LongTensor(...) are given, as an array: sizes, which make zeros, or one
    thing to copy."""
    if data and all(type(n) is int for n in data):
        return devices.module_for().zeros(data, dtype=dtype)
    return copy_array_of(data[0] if len(data) == 1 else data, dtype)


def new_tensor(input: Tensor, data, *, dtype: DType | None = None, device: DeviceLike | None = None,
               requires_grad: bool = False) -> Tensor:
    """A copy of data with input's dtype and device, unless told otherwise"""
    array = copy_array_of(data, dtype or input.dtype, device or devices.device_of(input.array))
    return wrap_new(input, array, requires_grad)
