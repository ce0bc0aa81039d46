"""A Box's place in the graph: whether it needs a gradient, the gradient it has gathered, hooks,
backward, detach."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Self

from .core import dtypes, tape, writes
from .core.errors import DTypeError, GraphError, ShapeError, complaint

if TYPE_CHECKING:
    from collections.abc import Callable

    from .tensors import Tensor

_hook_numbers = itertools.count()


class HookHandle:
    """What `register_hook` returns: `.remove()` takes the hook away;
    so does leaving a `with` block."""

    def __init__(self, hooks) -> None:
        self.hooks, self.key = hooks, next(_hook_numbers)

    def remove(self) -> None:
        """Take the hook away. Doing so twice does nothing."""
        self.hooks.pop(self.key, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc):
        self.remove()


class Tracked(tape.Box):
    """What every tensor knows of the graph behind it."""

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to it."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self.requires_grad_(wanted)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Make it a leaf that gathers gradients, or (False) a constant. Returns itself."""
        if requires_grad and self.node is None:
            if not dtypes.is_float(self.array.dtype):
                raise DTypeError(
                    "requires_grad: only floating tensors can need a gradient, this one is "
                    f"{self.array.dtype}")
            self.track()
        elif not requires_grad and self.node is not None:
            if not self.is_leaf:
                raise GraphError(
                    "requires_grad = False works on leaves alone; .detach() cuts a result off its "
                    "graph")
            self.node = None
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        return self.node is None or self.node.op is None

    @property
    def grad_fn(self):
        """The node of the operation that made it; None for a leaf."""
        return None if self.is_leaf else self.node

    @property
    def grad(self) -> Tensor | None:
        """The gradient gathered so far, a Tensor or None.

        Results of operations have one after `retain_grad()` only.
        """
        return None if self.node is None else self.node.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, tape.Box) or value.shape != self.array.shape:
                raise ShapeError(
                    complaint("grad", "must be None or a Tensor of the tensor's own shape",
                              {"tensor": self, "grad": value}))
            if self.node is None:
                raise GraphError(
                    "grad: this tensor does not require a gradient; call requires_grad_() first")
        if self.node is not None:
            self.node.grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    def retain_grad(self) -> None:
        """Keep the gradient of a result too, in `.grad`."""
        if self.node is None:
            raise GraphError("retain_grad: this tensor does not require a gradient")
        self.node.retains_grad = True

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> HookHandle:
        """Call `hook(grad)` when this tensor's gradient is complete; what it returns, unless None,
        replaces it.

        Returns a handle whose `.remove()` takes the hook away.
        """
        if self.node is None:
            raise GraphError("register_hook: this tensor does not require a gradient")
        shape, wrap = self.array.shape, self.wrap

        def on_arrays(g):
            boxed = isinstance(g, tape.Box)
            new = hook(g if boxed else wrap(writes.guarded(g)))  # g may be another's gradient too
            if new is None:
                return g
            if not isinstance(new, tape.Box) or new.shape != shape:
                raise ShapeError(complaint("a tensor's hook",
                                           "must return None or a Tensor of the gradient's shape",
                                           {"gradient": g, "returned": new}))
            return new if boxed else new.array

        if self.node.hooks is None:
            self.node.hooks = {}
        handle = HookHandle(self.node.hooks)
        self.node.hooks[handle.key] = on_arrays
        return handle

    def backward(self, gradient: Tensor | None = None, retain_graph: bool | None = None,
                 create_graph: bool = False) -> None:
        """Run the backward pass from here: `npf.backprop(self, gradient)`, run to its end."""
        tape.run_backward(self, gradient, retain_graph=retain_graph, create_graph=create_graph)

    def detach(self) -> Tensor:
        """The same memory outside the graph."""
        return self.wrap(self.array)

    def detach_(self) -> Self:
        """Cut it off its graph. Returns itself."""
        self.node = None
        return self

    @property
    def data(self) -> Tensor:
        """The same memory outside the graph; assigning to it exchanges the array."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value,
                          tape.Box) or value.shape != self.array.shape and self.node is not None:
            raise ShapeError(complaint("data", "must be a Tensor of the same shape",
                                       {"tensor": self, "data": value}))
        self.array = value.array
