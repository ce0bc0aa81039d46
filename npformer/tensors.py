"""Tensor: what users hold. Operators and PyTorch-named methods, a line each, over `functions` and the operations."""

import itertools

import numpy as np

from . import functions as f
from .core import arrays, tape
from .core.errors import DTypeError, GraphError, ShapeError, complaint
from .ops import elementwise, indexing, linalg

_hook_numbers = itertools.count()


class HookHandle:
    """What `register_hook` returns: `.remove()` takes the hook away; so does leaving a `with` block."""

    def __init__(self, hooks):
        self.hooks, self.key = hooks, next(_hook_numbers)

    def remove(self):
        """Take the hook away. Doing so twice does nothing."""
        self.hooks.pop(self.key, None)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()


class Tensor(tape.Box):
    """An array that remembers how it was made, if a gradient can be asked for.

    `Tensor(data)` copies data into the default float dtype; `npf.tensor(data)` keeps its dtype.
    """

    def __init__(self, data=(), node=None):
        if isinstance(data, Tensor):
            data = data.array
        super().__init__(arrays.module_for().array(data, dtype=arrays.get_default_dtype()), node)

    @classmethod
    def wrap(cls, array, node=None):
        """A Tensor around this very array."""
        self = Tensor.__new__(Tensor)
        self.array, self.node = array, node
        return self

    # ── what it is ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def shape(self):
        """The sizes of its dims, a Size."""
        return Size(self.array.shape)

    @property
    def ndim(self):
        """How many dims it has."""
        return self.array.ndim

    @property
    def dtype(self):
        """The type of its entries."""
        return self.array.dtype

    @property
    def device(self):
        """Where it lives: Device('cpu') or Device('cuda')."""
        return Device(arrays.device_of(self.array))

    @property
    def is_cuda(self):
        """Whether it lives on the GPU."""
        return arrays.device_of(self.array) == "cuda"

    # ── its place in the graph ───────────────────────────────────────────────────────────────────────────────────────

    @property
    def requires_grad(self):
        """Whether gradients flow to it."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, wanted):
        self.requires_grad_(wanted)

    def requires_grad_(self, requires_grad=True):
        """Make it a leaf that gathers gradients, or (False) a constant. Returns itself."""
        if requires_grad and self.node is None:
            if not arrays.is_float(self.dtype):
                raise DTypeError(f"requires_grad: only floating tensors can need a gradient, this one is {self.dtype}")
            self.track()
        elif not requires_grad and self.node is not None:
            if not self.is_leaf:
                raise GraphError("requires_grad = False works on leaves alone; use .detach() to cut a result off its graph")
            self.node = None
        return self

    @property
    def is_leaf(self):
        """Whether no recorded operation made it."""
        return self.node is None or self.node.op is None

    @property
    def grad_fn(self):
        """The node of the operation that made it; None for a leaf."""
        return None if self.is_leaf else self.node

    @property
    def grad(self):
        """The gradient gathered so far, a Tensor or None. Results of operations have one after `retain_grad()` only."""
        return None if self.node is None else self.node.grad

    @grad.setter
    def grad(self, value):
        if value is not None:
            if not isinstance(value, Tensor) or value.shape != self.shape:
                raise ShapeError(complaint("grad", "must be None or a Tensor of the tensor's own shape",
                                           {"tensor": self, "grad": value}))
            if self.node is None:
                raise GraphError("grad: this tensor does not require a gradient; call requires_grad_() first")
        if self.node is not None:
            self.node.grad = value

    @grad.deleter
    def grad(self):
        self.grad = None

    def retain_grad(self):
        """Keep the gradient of a result too, in `.grad`."""
        if self.node is None:
            raise GraphError("retain_grad: this tensor does not require a gradient")
        self.node.retains_grad = True

    def register_hook(self, hook):
        """Call `hook(grad)` when this tensor's gradient is complete; what it returns, unless None, replaces the gradient.

        Returns a handle whose `.remove()` takes the hook away.
        """
        if self.node is None:
            raise GraphError("register_hook: this tensor does not require a gradient")
        shape, wrap = self.array.shape, self.wrap

        def on_arrays(g):
            boxed = isinstance(g, tape.Box)
            new = hook(g if boxed else wrap(g))
            if new is None:
                return g
            if not isinstance(new, Tensor) or new.shape != shape:
                raise ShapeError(complaint("a tensor's hook", "must return None or a Tensor of the gradient's shape",
                                           {"gradient": g, "returned": new}))
            return new if boxed else new.array

        if self.node.hooks is None:
            self.node.hooks = {}
        handle = HookHandle(self.node.hooks)
        self.node.hooks[handle.key] = on_arrays
        return handle

    def backward(self, gradient=None, retain_graph=None, create_graph=False):
        """Run the backward pass from here: `npf.backprop(self, gradient)`, run to its end."""
        for _ in tape.backprop(self, gradient, retain_graph=retain_graph, create_graph=create_graph):
            pass

    def detach(self):
        """The same memory outside the graph."""
        return self.wrap(self.array)

    @property
    def data(self):
        """The same memory outside the graph; assigning to it exchanges the array."""
        return self.detach()

    @data.setter
    def data(self, value):
        if not isinstance(value, Tensor) or value.shape != self.shape and self.node is not None:
            raise ShapeError(complaint("data", "must be a Tensor of the same shape", {"tensor": self, "data": value}))
        self.array = value.array

    # ── operators ────────────────────────────────────────────────────────────────────────────────────────────────────

    def __add__(self, other):
        return binary(elementwise.add, self, other)

    def __radd__(self, other):
        return binary(elementwise.add, other, self)

    def __sub__(self, other):
        return binary(elementwise.sub, self, other)

    def __rsub__(self, other):
        return binary(elementwise.sub, other, self)

    def __mul__(self, other):
        return binary(elementwise.mul, self, other)

    def __rmul__(self, other):
        return binary(elementwise.mul, other, self)

    def __truediv__(self, other):
        return binary(elementwise.div, self, other)

    def __rtruediv__(self, other):
        return binary(elementwise.div, other, self)

    def __pow__(self, other):
        return binary(elementwise.pow, self, other)

    def __rpow__(self, other):
        return binary(elementwise.pow, other, self)

    def __mod__(self, other):
        return binary(elementwise.remainder, self, other)

    def __matmul__(self, other):
        return binary(linalg.matmul, self, other)

    def __rmatmul__(self, other):
        return binary(linalg.matmul, other, self)

    def __neg__(self):
        return elementwise.neg(self)

    def __abs__(self):
        return elementwise.abs(self)

    def __getitem__(self, index):
        return indexing.getitem(self, index=index)
