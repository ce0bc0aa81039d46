"""Tensor: what users hold. Operators and PyTorch-named methods, a line each, over `functions` and the operations."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

from . import functions as f
from . import inplace, interop
from .core import devices, dtypes
from .core.devices import Device
from .core.errors import DTypeError, GraphError, ShapeError, complaint
from .functions.literals import constructed
from .inplace import augmented, in_place
from .interop import Size, casting, operator, reflected
from .ops import elementwise, linalg
from .ops.shape import positive_dim
from .tracked import Tracked

if TYPE_CHECKING:
    import builtins  # Tensor's methods int, float and bool hide the types in its body
    from collections.abc import Iterator

    import numpy as np

    from .typing import Operand

equals, differs = operator(f.eq), operator(f.ne)   # type checkers see == only as a method with a `def` of its own


class Tensor(Tracked):
    """An array that remembers how it was made, if a gradient can be asked for.

    `Tensor(data)` copies data into the default float dtype, `Tensor(2, 3)` is zeros of that shape; `npf.tensor(data)`
    keeps data's dtype.
    """

    def __init__(self, *data) -> None:
        super().__init__(constructed(data, dtypes.get_default_dtype()))

    @classmethod
    def wrap(cls, array, node=None) -> Tensor:
        """A Tensor around this very array."""
        self = Tensor.__new__(Tensor)
        self.array, self.node = array, node
        return self

    # ── what it is ───────────────────────────────────────────────────────────────────────────────────────────────────

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

    # ── operators ────────────────────────────────────────────────────────────────────────────────────────────────────

    __add__, __radd__, __iadd__ = operator(elementwise.add), reflected(elementwise.add), augmented(f.add, "+")
    __sub__, __rsub__, __isub__ = operator(elementwise.sub), reflected(elementwise.sub), augmented(f.sub, "-")
    __mul__, __rmul__, __imul__ = operator(elementwise.mul), reflected(elementwise.mul), augmented(f.mul, "*")
    __truediv__, __rtruediv__ = operator(elementwise.div), reflected(elementwise.div)
    __pow__, __rpow__, __ipow__ = operator(elementwise.pow), reflected(elementwise.pow), augmented(f.pow, "**")
    __mod__, __rmod__ = operator(elementwise.remainder), reflected(elementwise.remainder)
    __matmul__, __rmatmul__ = operator(linalg.matmul), reflected(linalg.matmul)
    __floordiv__, __rfloordiv__ = operator(f.floor_divide), reflected(f.floor_divide)
    __itruediv__ = augmented(f.div, "/")
    __neg__, __abs__ = f.neg, f.abs
    __lt__, __le__, __gt__, __ge__ = map(operator, (f.lt, f.le, f.gt, f.ge))
    __and__, __or__, __xor__ = map(operator, (f.bitwise_and, f.bitwise_or, f.bitwise_xor))
    __rand__, __ror__, __rxor__, __invert__ = __and__, __or__, __xor__, f.bitwise_not
    __hash__ = object.__hash__
    __getitem__, __setitem__ = f.getitem, inplace.setitem

    def __eq__(self, other) -> Tensor:  # type: ignore[override]    # object's gives a bool
        return equals(self, other)

    def __ne__(self, other) -> Tensor:  # type: ignore[override]
        return differs(self, other)

    def __bool__(self) -> builtins.bool:
        if self.array.size != 1:
            raise ShapeError(complaint("bool(x)", f"the truth of {self.array.size} entries is ambiguous", {"x": self},
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
            raise DTypeError(f"only integer tensors of one entry can be used as an index, this one is {self.dtype}")
        return int(self.item())

    def __format__(self, how):
        return format(self.item(), how) if not self.ndim and how else format(str(self), how)

    __repr__ = interop.text_of

    # ── the world outside ────────────────────────────────────────────────────────────────────────────────────────────

    item, to, type, cuda, cpu = interop.item, interop.to, interop.type_, interop.cuda, interop.cpu
    double, float, half = map(casting, (dtypes.float64, dtypes.float32, dtypes.float16))
    long, int, short, char, byte = map(casting, (dtypes.int64, dtypes.int32, dtypes.int16, dtypes.int8, dtypes.uint8))
    bool = casting(dtypes.bool_)
    __array__, __dlpack__ = interop.to_array, interop.to_dlpack

    def type_as(self, other: Tensor) -> Tensor:
        """In other's dtype."""
        return self.to(other.dtype)

    def numpy(self, *, force: builtins.bool = False) -> np.ndarray:
        """The array itself, not a copy; only outside the graph and on the CPU, unless force=True."""
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
            raise GraphError("only leaves can be copied deeply or pickled, this tensor is a result of "
                             f"{self.node.op.name}.\n  Use x.detach(), or x.clone() to stay in the graph")
        state = {name: value for name, value in self.__dict__.items() if name not in ("array", "node")}
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

    # ── size and memory ──────────────────────────────────────────────────────────────────────────────────────────────

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
        return self.array.ctypes.data if devices.device_of(self.array) == "cpu" else self.array.data.ptr

    nelement, ndimension, is_floating_point = numel, dim, f.is_floating_point

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

    # ── functions as methods ─────────────────────────────────────────────────────────────────────────────────────────

    add, sub, mul, div, pow, neg, remainder = f.add, f.sub, f.mul, f.div, f.pow, f.neg, f.remainder
    subtract, multiply, divide, true_divide, floor_divide = f.sub, f.mul, f.div, f.div, f.floor_divide
    abs, absolute, sign, floor, ceil, round, trunc = f.abs, f.abs, f.sign, f.floor, f.ceil, f.round, f.trunc
    exp, expm1, log, log1p, sqrt, rsqrt = f.exp, f.expm1, f.log, f.log1p, f.sqrt, f.rsqrt
    square, reciprocal, negative = f.square, f.reciprocal, f.neg
    sin, cos, tanh, sigmoid, erf = f.sin, f.cos, f.tanh, f.sigmoid, f.erf
    relu, softmax, log_softmax, logaddexp = f.relu, f.softmax, f.log_softmax, f.logaddexp
    clamp, clip, clamp_min, clamp_max = f.clamp, f.clip, f.clamp_min, f.clamp_max
    maximum, minimum, masked_fill, lerp = f.maximum, f.minimum, f.masked_fill, f.lerp
    addcmul, addcdiv, clone = f.addcmul, f.addcdiv, f.clone

    eq, ne, lt, le, gt, ge = f.eq, f.ne, f.lt, f.le, f.gt, f.ge
    equal, allclose, isclose, isnan, isinf, isfinite = f.equal, f.allclose, f.isclose, f.isnan, f.isinf, f.isfinite
    logical_and, logical_or, logical_xor, logical_not = f.logical_and, f.logical_or, f.logical_xor, f.logical_not
    bitwise_and, bitwise_or, bitwise_xor, bitwise_not = f.bitwise_and, f.bitwise_or, f.bitwise_xor, f.bitwise_not

    sum, mean, prod, cumsum, var, std = f.sum, f.mean, f.prod, f.cumsum, f.var, f.std
    amax, amin, max, min, argmax, argmin = f.amax, f.amin, f.max, f.min, f.argmax, f.argmin
    logsumexp, norm, any, all = f.logsumexp, f.norm, f.any, f.all
    count_nonzero, bincount = f.count_nonzero, f.bincount

    matmul, mm, bmm, mv, dot, outer = f.matmul, f.mm, f.bmm, f.mv, f.dot, f.outer
    addmm, baddbmm = f.addmm, f.baddbmm

    reshape, view, view_as, flatten, ravel, unflatten = f.reshape, f.view, f.view_as, f.flatten, f.ravel, f.unflatten
    squeeze, unsqueeze, expand, expand_as = f.squeeze, f.unsqueeze, f.expand, f.expand_as
    broadcast_to, permute, transpose = f.broadcast_to, f.permute, f.transpose
    swapaxes, swapdims = f.swapaxes, f.swapdims
    t, movedim, moveaxis, flip, roll = f.t, f.movedim, f.moveaxis, f.flip, f.roll
    split, chunk, unbind, repeat, tile = f.split, f.chunk, f.unbind, f.repeat, f.tile
    repeat_interleave, tril, triu, diagonal, diag = f.repeat_interleave, f.tril, f.triu, f.diagonal, f.diag

    gather, index_select, select, narrow, index_add = f.gather, f.index_select, f.select, f.narrow, f.index_add
    scatter, scatter_add, masked_select, nonzero = f.scatter, f.scatter_add, f.masked_select, f.nonzero
    index_fill, index_copy, reshape_as = f.index_fill, f.index_copy, f.view_as
    log2, log10, exp2 = f.log2, f.log10, f.exp2
    take_along_dim, topk, sort, argsort, unique = f.take_along_dim, f.topk, f.sort, f.argsort, f.unique
    new_zeros, new_ones, new_full, new_empty = f.new_zeros, f.new_ones, f.new_full, f.new_empty
    new_tensor, bernoulli = f.new_tensor, f.bernoulli

    def where(self, condition: Tensor, other: Operand) -> Tensor:
        """Itself where condition is true, else other."""
        return f.where(condition, self, other)

    # ── in place ─────────────────────────────────────────────────────────────────────────────────────────────────────

    add_, sub_, mul_, div_, pow_, neg_ = map(in_place, (f.add, f.sub, f.mul, f.div, f.pow, f.neg))
    exp_, log_, sqrt_, rsqrt_, abs_ = map(in_place, (f.exp, f.log, f.sqrt, f.rsqrt, f.abs))
    square_, reciprocal_, sigmoid_, tanh_, relu_ = map(in_place, (f.square, f.reciprocal, f.sigmoid, f.tanh, f.relu))
    clamp_, clamp_min_, clamp_max_ = map(in_place, (f.clamp, f.clamp_min, f.clamp_max))
    floor_, ceil_, round_, sign_ = map(in_place, (f.floor, f.ceil, f.round, f.sign))
    masked_fill_, lerp_, addcmul_, addcdiv_ = map(in_place, (f.masked_fill, f.lerp, f.addcmul, f.addcdiv))
    scatter_, scatter_add_, index_add_ = map(in_place, (f.scatter, f.scatter_add, f.index_add))
    tril_, triu_, clip_, index_fill_ = in_place(f.tril), in_place(f.triu), clamp_, in_place(f.index_fill)
    index_copy_ = in_place(f.index_copy)
    fill_, zero_, copy_ = inplace.fill_, inplace.zero_, inplace.copy_
    uniform_, normal_, bernoulli_ = inplace.uniform_, inplace.normal_, inplace.bernoulli_

    def detach_(self) -> Self:
        """Cut it off its graph. Returns itself."""
        self.node = None
        return self
