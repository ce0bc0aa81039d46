"""Tensor: what users hold. Operators, memory, ways to NumPy; `x.exp()` and its like: `methods`."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from . import functions as f
from . import inplace, interop
from .core import devices, dtypes
from .core.devices import Device
from .core.errors import DTypeError, GraphError, ShapeError, complaint
from .functions.literals import constructor_array
from .inplace import augmented_operator
from .interop import Size, cast_method, operator, reflected_operator
from .methods import Methods
from .ops import elementwise, linalg
from .ops.shape import positive_dim

if TYPE_CHECKING:
    import builtins  # Tensor's methods int, float and bool hide the types in its body
    from collections.abc import Iterator

    import numpy as np

    from .typing import Operand

# type checkers see == only as a method with a `def` of its own
equals, differs = operator(f.eq), operator(f.ne)


class Tensor(Methods):
    """An array that remembers how it was made, if a gradient can be asked for.

    `Tensor(data)` copies data into the default float dtype, `Tensor(2, 3)` is zeros of that shape;
    `npf.tensor(data)` keeps data's dtype.
    """

    def __init__(self, *data) -> None:
        super().__init__(constructor_array(data, dtypes.get_default_dtype()))

    @classmethod
    def wrap(cls, array, node=None) -> Tensor:
        """A Tensor around this very array."""
        self = Tensor.__new__(Tensor)
        self.array, self.node = array, node
        return self

    # ── what it is ────────────────────────────────────────────────────────────────────────────────

    @property
    def shape(self) -> Size:
        """The sizes of its dims, a Size."""
        return Size(self.array.shape)

    @property
    def ndim(self) -> builtins.int:
        """How many dims it has."""
        return self.array.ndim

    @property
    def dtype(self) -> np.dtype:
        """The type of its entries."""
        return self.array.dtype

    @property
    def device(self) -> Device:
        """Where it lives: Device('cpu') or Device('cuda')."""
        return Device(devices.device_of(self.array))

    @property
    def is_cuda(self) -> builtins.bool:
        """Whether it lives on the GPU."""
        return devices.device_of(self.array) == "cuda"

    # ── operators ─────────────────────────────────────────────────────────────────────────────────

    __add__ = operator(elementwise.add)
    __radd__ = reflected_operator(elementwise.add)
    __iadd__ = augmented_operator(f.add, "+")
    __sub__ = operator(elementwise.sub)
    __rsub__ = reflected_operator(elementwise.sub)
    __isub__ = augmented_operator(f.sub, "-")
    __mul__ = operator(elementwise.mul)
    __rmul__ = reflected_operator(elementwise.mul)
    __imul__ = augmented_operator(f.mul, "*")
    __truediv__ = operator(elementwise.div)
    __rtruediv__ = reflected_operator(elementwise.div)
    __pow__ = operator(elementwise.pow)
    __rpow__ = reflected_operator(elementwise.pow)
    __ipow__ = augmented_operator(f.pow, "**")
    __mod__ = operator(elementwise.remainder)
    __rmod__ = reflected_operator(elementwise.remainder)
    __matmul__ = operator(linalg.matmul)
    __rmatmul__ = reflected_operator(linalg.matmul)
    __floordiv__ = operator(f.floor_divide)
    __rfloordiv__ = reflected_operator(f.floor_divide)
    __itruediv__ = augmented_operator(f.div, "/")
    __neg__ = f.neg
    __abs__ = f.abs
    __lt__ = operator(f.lt)
    __le__ = operator(f.le)
    __gt__ = operator(f.gt)
    __ge__ = operator(f.ge)
    __and__ = operator(f.bitwise_and)
    __or__ = operator(f.bitwise_or)
    __xor__ = operator(f.bitwise_xor)
    __rand__ = __and__
    __ror__ = __or__
    __rxor__ = __xor__
    __invert__ = f.bitwise_not
    __hash__ = object.__hash__
    __getitem__ = f.getitem
    __setitem__ = inplace.setitem

    def __eq__(self, other) -> Tensor:  # type: ignore[override]    # object's gives a bool
        return equals(self, other)

    def __ne__(self, other) -> Tensor:  # type: ignore[override]
        return differs(self, other)

    def __bool__(self) -> builtins.bool:
        if self.array.size != 1:
            raise ShapeError(
                complaint("bool(x)", f"the truth of {self.array.size} entries is ambiguous",
                          {"x": self},
                          "Use x.any() or x.all()."))
        return bool(self.array.item())

    def __len__(self) -> builtins.int:
        if not self.ndim:
            raise DTypeError("len(x): a tensor of 0 dims has no length; x.numel() counts entries")
        return self.array.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(f.unbind(self))

    def __contains__(self, value) -> builtins.bool:
        return bool((self == value).any())

    def __float__(self) -> builtins.float:
        return float(self.item())

    def __int__(self) -> builtins.int:
        return int(self.item())

    def __index__(self) -> builtins.int:
        if dtypes.is_float(self.dtype):
            raise DTypeError(
                f"only integer tensors of one entry can be used as an index, this one is "
                f"{self.dtype}")
        return int(self.item())

    def __format__(self, how):
        return format(self.item(), how) if not self.ndim and how else format(str(self), how)

    __repr__ = interop.text_of

    # ── the world outside ─────────────────────────────────────────────────────────────────────────

    item = interop.item
    to = interop.to
    type = interop.type_
    cuda = interop.cuda
    cpu = interop.cpu
    double = cast_method(dtypes.float64)
    float = cast_method(dtypes.float32)
    half = cast_method(dtypes.float16)
    long = cast_method(dtypes.int64)
    int = cast_method(dtypes.int32)
    short = cast_method(dtypes.int16)
    char = cast_method(dtypes.int8)
    byte = cast_method(dtypes.uint8)
    bool = cast_method(dtypes.bool_)
    __array__ = interop.to_array
    __dlpack__ = interop.to_dlpack

    def type_as(self, other: Tensor) -> Tensor:
        """In other's dtype."""
        return self.to(other.dtype)

    def numpy(self, *, force: builtins.bool = False) -> np.ndarray:
        """The array itself, not a copy; only outside the graph and on the CPU, unless
        force=True."""
        return interop.numpy_array(self.detach().cpu() if force else self, "numpy()")

    def tolist(self) -> Any:
        """The entries as Python numbers in nested lists."""
        return self.array.tolist()

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return interop.apply_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function, types, args, kwargs):
        interop.refuse_function(function)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __getstate__(self):
        if not self.is_leaf:
            raise GraphError(
                "only leaves can be copied deeply or pickled, this tensor is a result of "
                f"{self.node.op.name}.\n  Use x.detach(), or x.clone() to stay in the "
                "graph")
        state = {name: value for name, value in self.__dict__.items()
                 if name not in ("array", "node")}
        return devices.to_numpy(self.array), str(self.device), self.requires_grad, self.grad, state

    def __setstate__(self, state):
        array, device, requires_grad, grad, rest = state
        self.__dict__.update(rest)
        self.array, self.node = devices.move(array, device), None
        if requires_grad:
            self.track()
            self.grad = grad

    def __deepcopy__(self, memo):
        array, device, requires_grad, *rest = self.__getstate__()
        new = memo[id(self)] = self.__class__.__new__(self.__class__)
        new.__setstate__((array.copy(), device, requires_grad, *copy.deepcopy(rest, memo)))
        return new

    def __copy__(self):
        new = self.__class__.__new__(self.__class__)
        new.__dict__.update(self.__dict__)
        return new

    # ── size and memory ───────────────────────────────────────────────────────────────────────────

    def size(self, dim: builtins.int | None = None) -> Any:
        """The sizes of all dims, or of one."""
        return self.shape if dim is None else self.array.shape[positive_dim(dim, self.ndim, "size")]

    def dim(self) -> builtins.int:
        """How many dims it has."""
        return self.array.ndim

    def numel(self) -> builtins.int:
        """How many entries it has."""
        return self.array.size

    def element_size(self) -> builtins.int:
        """Bytes per entry."""
        return self.array.itemsize

    def stride(self, dim=None) -> Any:
        """How many entries lie between neighbours along each dim, or along one."""
        steps = tuple(n // self.array.itemsize for n in self.array.strides)
        return steps if dim is None else steps[dim]

    def is_contiguous(self) -> builtins.bool:
        """Whether the entries lie in memory in row-major order, without gaps."""
        return self.array.flags.c_contiguous

    def contiguous(self) -> Tensor:
        """Itself if contiguous, else a copy that is."""
        return self if self.is_contiguous() else f.clone(self)

    def data_ptr(self) -> builtins.int:
        """The address of the first entry."""
        return self.array.ctypes.data if devices.device_of(
            self.array) == "cpu" else self.array.data.ptr

    nelement = numel
    ndimension = dim

    @property
    def nbytes(self) -> builtins.int:
        """Bytes of all entries."""
        return self.array.nbytes

    @property
    def itemsize(self) -> builtins.int:
        """Bytes per entry."""
        return self.array.itemsize

    @property
    def T(self) -> Tensor:
        """The dims in reverse order; a matrix transposed."""
        return f.permute(self, *reversed(range(self.ndim)))

    @property
    def mT(self) -> Tensor:
        """The last two dims exchanged."""
        return f.transpose(self, -2, -1)

    def where(self, condition: Tensor, other: Operand) -> Tensor:
        """Itself where condition is true, else other."""
        return f.where(condition, self, other)
