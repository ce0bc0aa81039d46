"""A module's state: loading it by name, moving it between devices and dtypes."""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import devices, dtypes, writes
from ..core.errors import DTypeError, ShapeError, describe
from ..tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

IncompatibleKeys = namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])


def load(module: Any, state_dict: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
    """`Module.load_state_dict`: check everything, then copy."""
    if not hasattr(state_dict, "items"):
        raise DTypeError("load_state_dict(state_dict): it must be a dict of tensors by name, "
                         f"got {describe(state_dict)}")
    own = module.state_dict(keep_vars=True)
    missing = [name for name in own if name not in state_dict]
    unexpected = [name for name in state_dict if name not in own]
    given = {name: plain_array(name, value) for name, value in state_dict.items() if name in own}
    shapes = {name: tensor.array.shape for name, tensor in own.items()}
    problems = [
        f"size mismatch for {name}: the state_dict has {value.shape}, the module has {shapes[name]}"
                for name, value in given.items() if value.shape != shapes[name]]
    if strict:
        problems += [f"missing: {name} {shapes[name]}" for name in missing]
        problems += [f"unexpected: {name}" for name in unexpected]
    if problems:
        call = f"{type(module).__name__}.load_state_dict(state_dict)"
        raise ShapeError(
            "\n  ".join([f"{call}: it does not fit the module, and nothing was copied", *problems,
                         *strict_remedy(strict, problems)]))
    for name, value in given.items():
        overwrite(own[name], value)
    return IncompatibleKeys(missing, unexpected)


def strict_remedy(strict, problems):
    """What to do about it, where strict=False would help."""
    only_names = all(not p.startswith("size") for p in problems)
    if not strict or not only_names:
        return []
    return ["With strict=False, names that do not match are left alone."]


def plain_array(name, value):
    """The array in one entry of a state dict: npformer's, NumPy's, CuPy's or PyTorch's."""
    if isinstance(value, Tensor):
        return value.array
    if hasattr(value, "detach"):  # a PyTorch tensor: it may need a gradient, and live elsewhere
        value = value.detach().cpu()
        return np.asarray(value.float() if "bfloat16" in str(value.dtype) else value)
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return value
    if isinstance(value, (bool, int, float, list, tuple)):
        try:
            return np.asarray(value)
        except ValueError:                         # rows of unlike lengths
            raise DTypeError(
                f"load_state_dict: entry {name!r} is a list that makes no array") from None
    raise DTypeError(f"load_state_dict: entry {name!r} is not a tensor or array "
                     f"but {describe(value)}")


def overwrite(tensor, array):
    """Copy `array` into `tensor`'s own memory, in its dtype and on its device."""
    tensor.array[...] = devices.move(array, devices.device_of(tensor.array))
    writes.count_write(tensor.array)


def target(args, kwargs):
    """(device, dtype) that the arguments of `Module.to` name; None for what is to stay."""
    device, dtype = kwargs.get("device"), kwargs.get("dtype")
    for a in args:
        if isinstance(a, Tensor):
            device, dtype = a.device, a.dtype
        elif isinstance(a, (np.dtype, type)):
            dtype = a
        elif a is not None and not isinstance(a, bool):
            device = a
    dtype = dtypes.as_dtype(dtype)
    if dtype is not None and not dtypes.is_float(dtype):
        raise DTypeError(f"Module.to(dtype): dtype must be floating, got {dtype}")
    return None if device is None else devices.device_name(device), dtype


def convert(tensor, device, dtype):
    """Move a leaf, and its gradient, in place: whoever holds the tensor holds the moved one."""
    array = tensor.array if device is None else devices.move(tensor.array, device)
    if dtype is not None and dtypes.is_float(array.dtype):
        array = array.astype(dtype, copy=False)
    tensor.array = array
    if tensor.node is not None:
        tensor.node.dtype = array.dtype
        if tensor.node.grad is not None:
            convert(tensor.node.grad, device, dtype)


def clear_gradient(tensor, set_to_none):
    """Drop a leaf's gradient, or set it to zeros."""
    if tensor.grad is not None:
        tensor.grad = None if set_to_none else tensor.wrap(np.zeros_like(tensor.array))
