"""Tensors and the world outside: NumPy's functions, printing, devices and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import functions as f
from .core import devices, dtypes, tape, writes
from .core.devices import Device
from .core.errors import DeviceError, DTypeError, GraphError, ShapeError, complaint
from .ops import shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from .core.devices import DeviceLike
    from .core.dtypes import DType
    from .tensors import Tensor
    from .typing import Operand


class Size(tuple[int, ...]):
    """The sizes of a tensor's dims: a tuple that can multiply itself out."""

    __slots__ = ()

    def numel(self) -> int:
        """The product of the sizes."""
        count = 1
        for n in self:
            count *= n
        return count

    def __repr__(self):
        return f"npformer.Size({list(self)})"




# ── operators ─────────────────────────────────────────────────────────────────────────────────────


def operand(x):
    """An operand of an operator: an array from outside is noted as one that may change behind our
    back."""
    if isinstance(x, np.ndarray):
        writes.share(x)
    return x


def is_operand(x):
    """Whether an operator of Tensors can take x: a Tensor, a number, an array."""
    known = isinstance(x, (tape.Box, int, float, np.ndarray, np.generic))
    return known or hasattr(x, "__cuda_array_interface__")


def operator(function) -> Callable[[Tensor, Operand], Tensor]:
    """The method behind `x + y`."""
    def method(self, other):
        if isinstance(other, (tape.Box, int, float)):
            return function(self, other)
        return function(self, operand(other)) if is_operand(other) else NotImplemented
    method.__doc__ = function.__doc__
    return method


def reflected_operator(function) -> Callable[[Tensor, Operand], Tensor]:
    """The method behind `y + x`, y being no Tensor."""
    def method(self, other):
        return function(operand(other), self) if is_operand(other) else NotImplemented
    method.__doc__ = function.__doc__
    return method


# ── dtypes and devices ────────────────────────────────────────────────────────────────────────────


def to(x: Tensor, *args, dtype: DType | None = None,
       device: DeviceLike | None = None, copy: bool = False, non_blocking: bool = False) -> Tensor:
    """x in another dtype or on another device: to(npf.float64), to("cuda"), to("cuda",
    npf.float16), to(other).

    x itself, if nothing changes and copy is False. Gradients flow back in x's own dtype and on its
    own device.
    """
    for arg in args:
        if isinstance(arg, tape.Box):
            dtype, device = arg.array.dtype, devices.device_of(arg.array)
        elif isinstance(arg, (Device, str)) and arg not in dtypes.DTYPES:
            device = arg
        elif not isinstance(arg, bool):  # PyTorch takes non_blocking and copy by position too
            dtype = arg
    here, y = devices.device_of(x.array), x
    target = here if device is None else devices.device_name(device)
    if dtype is not None and dtypes.as_dtype(dtype) != y.dtype:
        y = shape.cast(y, dtype=dtypes.as_dtype(dtype))
    if target != here:
        y = shape.move(y, device=target, source=here)
    return shape.clone(y) if copy and y is x else y


def cast_method(dtype) -> Callable[[Tensor], Tensor]:
    """The method that converts to `dtype`."""
    def method(self):
        return to(self, dtype)
    method.__doc__ = f"In {dtype}; itself, if it is that already."
    return method


def type_(x: Tensor, dtype: DType | None = None) -> Any:
    """x in another dtype; without one: the name of x's own."""
    return str(x.dtype) if dtype is None else to(x, dtype)


def cuda(x: Tensor, device: DeviceLike = "cuda", non_blocking: bool = False) -> Tensor:
    """x on the GPU."""
    return to(x, device=device)


def cpu(x: Tensor) -> Tensor:
    """x in main memory."""
    return to(x, device="cpu")


# ── to NumPy ──────────────────────────────────────────────────────────────────────────────────────


def numpy_array(x, call):
    """x's array for somebody outside, who may write into it."""
    if x.node is not None:
        raise GraphError(
            f"{call}: this tensor requires a gradient, and NumPy knows nothing of graphs.\n"
            "  Use x.detach().numpy()")
    if devices.device_of(x.array) != "cpu":
        raise DeviceError(
            f"{call}: this tensor is on {devices.device_of(x.array)}; use x.cpu() first")
    writes.share(x.array)
    return x.array


def to_array(x: Tensor, dtype=None, copy=None) -> np.ndarray:
    """What np.asarray(x) and np.array(x) ask for."""
    return np.array(numpy_array(x, "np.asarray(x)"), dtype=dtype, copy=copy)


def item(x: Tensor) -> Any:
    """The one number of a tensor that holds just one."""
    if x.array.size != 1:
        raise ShapeError(
            complaint("item()", f"needs a tensor with one entry, this one has {x.array.size}",
                      {"x": x},
                      "Use tolist() for all of them."))
    return x.array.item()


def to_dlpack(x, **options):
    """x's memory for another library: torch.from_dlpack(x)."""
    if x.node is not None:
        raise GraphError(
            "__dlpack__: this tensor requires a gradient, which cannot be handed over.\n  Use "
            "x.detach()")
    writes.share(x.array)
    return x.array.__dlpack__(**options)


UFUNCS = {"subtract": f.sub, "true_divide": f.div, "divide": f.div, "power": f.pow,
          "absolute": f.abs,
          "negative": f.neg, "less": f.lt, "less_equal": f.le, "greater": f.gt,
          "greater_equal": f.ge, "equal": f.eq,
          "not_equal": f.ne, "rint": f.round, "invert": f.bitwise_not}


def apply_ufunc(ufunc, method, inputs, options):
    """What `np.exp(t)` and `array * t` do: the function of the same meaning here."""
    name = ufunc.__name__
    function = UFUNCS.get(name) or getattr(f, name, None)
    if method != "__call__" or function is None or options:
        what = f"np.{name}" if method == "__call__" else f"np.{name}.{method}"
        if options:
            what += f" with {', '.join(options)}"
        remedy = "a function of npformer"
        if function and method == "__call__":
            remedy = f"npf.{function.__name__}"
        raise DTypeError(
            f"{what} does not take Tensors.\n  Use {remedy}, or give it x.detach().numpy()")
    return function(*map(operand, inputs))


def refuse_function(function):
    """Raise the TypeError that says what to use in place of a NumPy function."""
    name = function.__name__
    other = {"concatenate": "cat", "absolute": "abs", "array_equal": "equal"}.get(name, name)
    remedy = f"npf.{other}" if hasattr(f, other) else "a function of npformer"
    raise DTypeError(
        f"np.{name} does not take Tensors.\n  Use {remedy}, or give it x.detach().numpy()")


# ── text ──────────────────────────────────────────────────────────────────────────────────────────


# what set_printoptions changes
PRINT = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80}


def text_of(x: Tensor) -> str:
    """tensor([[1.0000, 2.0000]], requires_grad=True): short for large tensors, dtype where it is
    not the usual one."""
    array = devices.to_numpy(x.array)
    body = np.array2string(array, separator=", ", prefix="tensor(", floatmode="fixed",
                           precision=PRINT["precision"],
                           threshold=PRINT["threshold"], edgeitems=PRINT["edgeitems"],
                           max_line_width=PRINT["linewidth"])
    notes = []
    if array.size == 0 and array.ndim != 1:
        notes.append(f"size={tuple(array.shape)}")
    if array.dtype not in (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool_):
        notes.append(f"dtype={array.dtype}")
    if devices.device_of(x.array) != "cpu":
        notes.append("device='cuda'")
    if not x.is_leaf:
        notes.append(f"grad_fn=<{x.node.op.name}>")
    elif x.requires_grad:
        notes.append("requires_grad=True")
    return f"tensor({', '.join([body, *notes])})"
