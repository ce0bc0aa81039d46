"""Writing into a tensor's own memory: `add_`, `x[index] = v`, `x += y`; and what these are while
the graph is recorded.

A recorded write in place does not write: x becomes the result, and the graph keeps what it had. So
it is refused where somebody else would have to see it: for a leaf, and for a view of another
tensor's memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .core import devices, tape, writes
from .core.errors import (
    DeviceError,
    DTypeError,
    GraphError,
    IndexRangeError,
    ShapeError,
    ValueRangeError,
    complaint,
)
from .functions.indexing import getitem, index_stages
from .functions.like import bernoulli, draw_array, numpy_generator
from .functions.shaping import cat, expand, reshape
from .ops import indexing, shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from .core.random_numbers import Generator
    from .tensors import Tensor
    from .typing import Operand

# The operations whose result may be a view of their input's memory; a test goes through the
# registry for them.
VIEWS = {shape.reshape, shape.permute, shape.flip, shape.expand, shape.narrow, indexing.getitem,
         shape.move}


def is_recorded(*operands):
    """Whether an operation on these would be recorded now."""
    return tape.state.grad_enabled and any(isinstance(a, tape.Box) and a.node is not None
                                           for a in operands)


def refuse_in_graph(call, instead, *operands):
    """Raise GraphError if a write into the first operand would go past the graph."""
    if is_recorded(*operands):
        raise GraphError(
            f"{call}: a write in place cannot be differentiated, and this one has a part in the "
            "graph.\n"
            f"  Write {instead} instead, or do it under npf.no_grad().")


def store(x, y, call):
    """Write the array y into x's memory; x keeps its shape and its dtype."""
    kinds = "bui" if x.dtype.kind in "ui" else "buif" if x.dtype.kind == "f" else "b"
    if y.dtype.kind not in kinds:
        raise DTypeError(
            complaint(call, f"a result in {y.dtype} does not fit into a tensor of {x.dtype}",
                      {"self": x},
                      "Convert the tensor first, or use the form without the underscore."))
    if y.shape != x.array.shape:
        raise ShapeError(
            complaint(call, f"a result of shape {y.shape} does not fit into the tensor",
                      {"self": x}))
    write(x, Ellipsis, y, call)


def write(x, index, y, call):
    """x.array[index] = y, noted for the graphs that need x as it was.

    index: one stage, or several.
    """
    *outer, last = index if isinstance(index, list) else [index]
    if getattr(y, "ndim", 0) and devices.device_of(y) != devices.device_of(x.array):
        raise DeviceError(
            complaint(call,
                      f"the tensor is on {devices.device_of(x.array)}, what is to be written on "
                      f"{devices.device_of(y)}", {"self": x, "value": y}))
    if not getattr(x.array.flags, "writeable", True):
        raise GraphError(
            f"{call}: this tensor cannot be written to: it repeats memory (expand), or shares that "
            "of an array that is read-only.\n  Write to a copy: x.clone()")
    target = x.array
    try:
        for part in outer:                         # integers and slices alone: a view
            target = target[part]
        indexing.check_index(last, target)
        target[last] = y
    except (ValueError, IndexError) as error:
        kind = IndexRangeError if isinstance(error, IndexError) else ShapeError
        raise kind(complaint(call, str(error), {"x": x, "value": y})) from None
    writes.wrote(x.array)


def in_place(function) -> Callable[..., Tensor]:
    """The method `name_` of a function `name`: in place;
    while recording, the tensor becomes the result."""
    name = function.__name__

    def method(self, *args, **options):
        if is_recorded(self, *args, *options.values()):
            return become(self, function(self, *args, **options), f"{name}_",
                          f"Write x = x.{name}(...), or do it under npf.no_grad().")
        store(self, function(self, *args, **options).array, f"{name}_")
        return self
    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = f"`{name}`, in place. {function.__doc__}"
    return method


def become(x, y, call, remedy):
    """x, from here on, is y, a result that was recorded: x takes its array and its place in the
    graph."""
    if x.node is not None and x.is_leaf:
        raise GraphError(
            f"{call}: x is a leaf that requires a gradient, which a write in place would lose.\n"
            f"  {remedy}")
    if x.array.base is not None and (x.node is None or x.node.op in VIEWS):
        raise GraphError(
            f"{call}: x is a view of another tensor's memory, which would not see the change while "
            f"the graph is recorded.\n  {remedy}")
    if y.shape != x.shape or y.dtype != x.dtype:
        raise ShapeError(complaint(call, "the result must have x's shape and dtype",
                                   {"x": x, "result": y}, remedy))
    x.array, x.node = y.array, y.node
    return x


def augmented_operator(function, symbol: str) -> Callable[[Tensor, Operand], Tensor]:
    """The operator `x += y` (or -=, ...): in place;
    while recording, x becomes the result of x + y."""
    call = f"x {symbol}= y"

    def operator(self, other):
        if is_recorded(self, other):
            return become(self, function(self, other), call, f"Write x = x {symbol} y.")
        store(self, function(self, other).array, call)
        return self
    operator.__doc__ = call
    return operator


def setitem(x: Tensor, index, value: Operand) -> None:
    """x[index] = value, converted to x's dtype; while recording, x becomes the result."""
    call = "x[index] = value"
    if is_recorded(x, value):
        become(x, replace_entries(x, index, value), call,
               "Write x = npf.where(mask, value, x), or npf.stack(parts).")
        return
    array = (value.array if isinstance(value, tape.Box)
             else np.asarray(value, dtype=x.dtype, like=x.array))
    write(x, index_stages(index, x), array, call)


def replace_entries(x, index, value):
    """x with value in place of x[index]: both laid end to end, and each entry fetched from where
    it now comes from."""
    size = x.array.size
    source = x.wrap(np.arange(size, like=x.array).reshape(x.array.shape))
    part = getitem(source, index).array
    if not isinstance(value, tape.Box):
        value = x.wrap(np.asarray(value, dtype=x.dtype, like=x.array))
    elif value.dtype != x.dtype:
        value = shape.cast(value, dtype=x.dtype)
    extra = value.ndim - part.ndim
    # one more leading dim of size 1 is let pass, as by NumPy
    if extra > 0 and set(value.shape[:extra]) == {1}:
        value = reshape(value, value.shape[extra:])
    setitem(source, index,
            x.wrap(np.arange(size, size + part.size, like=x.array).reshape(part.shape)))
    entries = cat([reshape(x, (-1,)), reshape(expand(value, part.shape), (-1,))])
    return getitem(entries, source)


def fill_(self: Tensor, value: Operand) -> Tensor:
    """Every entry becomes `value`, a number or a tensor of 0 dims."""
    if is_recorded(self, value):
        return become(self, replace_entries(self, Ellipsis, value), "fill_",
                      "Write x = npf.full_like(x, value), or do it under npf.no_grad().")
    write(self, Ellipsis, value.array if isinstance(value, tape.Box) else value, "fill_")
    return self


def zero_(self: Tensor) -> Tensor:
    """Every entry becomes 0."""
    return fill_(self, 0)


def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """The entries of src (broadcast, converted to this tensor's dtype, from any device) replace
    these."""
    if is_recorded(self, src):
        here, there = devices.device_of(self.array), devices.device_of(src.array)
        moved = src if here == there else shape.move(src, device=here, source=there)
        return become(self, replace_entries(self, Ellipsis, moved), "copy_",
                      "Write x = src.clone(), or do it under npf.no_grad().")
    write(self, Ellipsis, devices.move(src.array, devices.device_of(self.array)), "copy_")
    return self


def fill_at_random(self, draw, call):
    """Every entry drawn anew."""
    refuse_in_graph(call, "npf.rand_like(x) or npf.randn_like(x)", self)
    write(self, Ellipsis,
          draw_array(draw, self.array.shape, self.dtype, devices.device_of(self.array)), call)
    return self


def uniform_(self: Tensor, from_: float = 0.0, to: float = 1.0, *,
             generator: Generator | None = None) -> Tensor:
    """Every entry drawn uniformly from [from_, to)."""
    if from_ > to:
        raise ValueRangeError(
            f"uniform_(from_, to): from_ must not exceed to, got {from_} and {to}")
    random = numpy_generator(generator).random
    return fill_at_random(self, lambda size,
                          dtype: random(size, dtype) * dtype.type(to - from_) + dtype.type(from_),
                          "uniform_")


def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *,
            generator: Generator | None = None) -> Tensor:
    """Every entry drawn from the normal distribution of that mean and standard deviation."""
    if std < 0:
        raise ValueRangeError(f"normal_(mean, std): std must not be negative, got {std}")
    normal = numpy_generator(generator).standard_normal
    return fill_at_random(self, lambda size, dtype: normal(size, dtype) * dtype.type(std) +
                          dtype.type(mean), "normal_")


def bernoulli_(self: Tensor, p: float = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Every entry becomes 1 with probability p, else 0."""
    refuse_in_graph("bernoulli_", "npf.bernoulli(npf.full_like(x, p))", self)
    write(self, Ellipsis, bernoulli(self, p, generator=generator).array, "bernoulli_")
    return self
