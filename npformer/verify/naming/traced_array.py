"""A plain NumPy function run with arrays that remember: what it computes, as a graph.

A user's forward is NumPy code, and the judge wants its graph: to walk back along single paths
(paths.py), to try wrong rules in it (wrong_rules.py), and as a second witness for the true
gradient. So the code runs once more, on Traced in the place of its arrays.

Traced is a Tensor that answers as NumPy does: `x.var(-1)`, `np.where(x > 0, x, 0)` and the like
mean what they mean in NumPy. What it does not know makes the trace fail, and a trace whose values
differ from the function's is thrown away. So nothing here has to be complete: with a graph the
judge says more, and without one it still judges by differences.
"""

import numpy as np

from ... import functions as f
from ... import interop
from ...tensors import Tensor


class Traced(Tensor):
    """A Tensor that takes NumPy's methods and functions at their NumPy meaning. copy and astype
    give the Traced itself: what they would make is another array with the same numbers, and a graph
    has no use for a second one."""

    another = False                                # whether it follows another function on purpose

    @classmethod
    def wrap(cls, array, node=None):
        x = cls.__new__(cls)
        x.array, x.node = array, node
        return x

    def __array_function__(self, function, types, args, kwargs):
        name = function.__name__
        if name in FUNCTIONS:
            return FUNCTIONS[name](*args, **kwargs)
        return interop.refuse_function(function)

    def mean(self, axis=None, keepdims=False):
        return super().mean(dim_of(self, axis), keepdim=keepdims)

    def sum(self, axis=None, keepdims=False):
        return super().sum(dim_of(self, axis), keepdim=keepdims)

    def var(self, axis=None, ddof=0, keepdims=False):
        return super().var(dim_of(self, axis), correction=ddof, keepdim=keepdims)

    def std(self, axis=None, ddof=0, keepdims=False):
        return f.sqrt(self.var(axis, ddof, keepdims))

    def max(self, axis=None, keepdims=False):
        return f.amax(self, dim_of(self, axis), keepdim=keepdims)

    def min(self, axis=None, keepdims=False):
        return f.amin(self, dim_of(self, axis), keepdim=keepdims)

    def transpose(self, *axes):
        axes = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        return self.permute(*(axes or range(self.ndim)[::-1]))

    @property
    def T(self):
        return self.transpose()

    def copy(self):
        return self

    def astype(self, *_, **__):
        return self

    def reshape(self, *shape, **_):
        return super().reshape(*shape)

    def swapaxes(self, a, b):
        return f.transpose(self, a, b)

    def repeat(self, repeats, axis=None):
        return f.repeat_interleave(self, repeats, axis)

    def dot(self, other):
        return self @ other


class Unmasked(Traced):
    """A Traced for which the mask of np.where is another: here, none at all. Followed on purpose as
    another function. If a wrong gradient is exactly that of the function with this mask, the
    mistake is in the mask."""

    another = True
    words = "its masks (np.where) left out"

    @staticmethod
    def change_mask(mask):
        return np.ones_like(mask)

    def __array_function__(self, function, types, args, kwargs):
        if function is np.where and not isinstance(args[0], Tensor):
            mask = np.broadcast_to(args[0], np.broadcast_shapes(*(np.shape(x) for x in args)))
            # People write where(mask, x, -inf) and where(~mask, -inf, x). What counts is where x,
            # the Tensor, is seen.
            if isinstance(args[1], Tensor):
                mask = self.change_mask(mask)
            else:
                mask = ~self.change_mask(~mask)
            return super().__array_function__(function, types, (mask, *args[1:]), kwargs)
        return super().__array_function__(function, types, args, kwargs)


class OneMore(Unmasked):
    """Here, each row of the mask sees one entry more behind the last one that it saw."""

    words = "a mask that is off by one: one entry more is seen"

    @staticmethod
    def change_mask(mask):
        more = mask.copy()
        more[..., 1:] |= mask[..., :-1]
        return more


class OneLess(Unmasked):
    """Here, each row of the mask sees one entry less, if that leaves it any."""

    words = "a mask that is off by one: one entry less is seen"

    @staticmethod
    def change_mask(mask):
        less = mask.copy()
        less[..., :-1] &= mask[..., 1:]
        return np.where(less.any(-1, keepdims=True), less, mask)


class Epsless(Traced):
    """A Traced to which small constants are not added: a function without its eps."""

    another = True
    words = "its small constants (eps) left out"

    def __add__(self, other):
        return self if is_eps(other) else super().__add__(other)

    __radd__ = __add__


class EpsOutside(Epsless):
    """Here, small constants are added outside the root: √x + eps for √(x + eps)."""

    words = "its small constants (eps) outside the root"
    eps = 0.0

    def __add__(self, other):
        x = self.wrap(self.array, self.node) if is_eps(other) else super().__add__(other)
        x.eps = other if is_eps(other) else 0.0
        return x

    __radd__ = __add__

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        y = super().__array_ufunc__(ufunc, method, *inputs, **options)
        return f.add(y, self.eps) if ufunc is np.sqrt and self.eps else y


def is_eps(x):
    return isinstance(x, float) and 0 < x <= 0.1


def dim_of(x, axis):
    """NumPy's axis as dims: None means all."""
    return tuple(range(x.ndim)) if axis is None else axis


def pad(x, width, *_, **__):
    """np.pad with zeros: zeros joined before and behind, dim by dim."""
    for axis, (before, after) in enumerate(width if np.ndim(width) == 2 else [width] * x.ndim):
        shape = list(x.shape)
        parts = []
        for n in (before, after):
            shape[axis] = n
            parts.append(np.zeros(shape))
        x = f.cat([Traced.wrap(parts[0]), x, Traced.wrap(parts[1])], dim=axis)
    return x


def split(x, parts, axis=0):
    """np.split: into so many equal parts, or at these indices."""
    n = x.shape[axis]
    places = range(0, n + 1, n // parts) if isinstance(parts, int) else [0, *parts, n]
    return list(f.split(x, [int(size) for size in np.diff(places)], dim=axis))


def call_method(name):
    """np.name(x, ...) as x.name(...)."""
    return lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs)


def as_traced(xs):
    return [x if isinstance(x, Traced) else Traced.wrap(np.asarray(x)) for x in xs]


FUNCTIONS = {
    **{name: call_method(name)
       for name in ("mean", "sum", "var", "std", "max", "min", "transpose", "reshape", "swapaxes",
                    "repeat", "copy")},
    "amax": call_method("max"), "amin": call_method("min"),
    "where": lambda c, a, b: f.where(*as_traced([c, a, b])),
    "concatenate": lambda xs, axis=0: f.cat(as_traced(xs), dim=axis),
    "stack": lambda xs, axis=0: f.stack(as_traced(xs), dim=axis),
    "split": split,
    "clip": lambda x, low=None, high=None: f.clamp(x, low, high),
    "roll": lambda x, shift, axis=None: f.roll(x, shift, axis),
    "tile": lambda x, reps: f.tile(x, reps if isinstance(reps, tuple) else (reps,)),
    "flip": lambda x, axis=None: f.flip(x, dim_of(x, axis)),
    "einsum": lambda form, *xs: f.einsum(form, *as_traced(xs)),
    "outer": lambda a, b: f.outer(*as_traced([a, b])),
    "dot": lambda a, b: as_traced([a])[0] @ b,
    "cumsum": lambda x, axis=0: f.cumsum(x, axis),
    "expand_dims": lambda x, axis: x.unsqueeze(axis),
    "squeeze": lambda x, axis=None: x.squeeze() if axis is None else x.squeeze(axis),
    "broadcast_to": lambda x, shape: x.expand(*shape),
    "take_along_axis": lambda x, at, axis: f.gather(x, axis, Traced.wrap(np.asarray(at))),
    "zeros_like": lambda x, **_: np.zeros(x.shape), "ones_like": lambda x, **_: np.ones(x.shape),
    "shape": lambda x: x.shape, "ndim": lambda x: x.ndim, "size": lambda x, axis=None: x.numel(),
    "pad": pad,
}


def trace(forward, inputs, checked, kind=Traced):
    """(y, the Traced inputs by place) of forward(*inputs), or None where it cannot be followed.

    forward: from arrays to an array, or a pair whose first is one. checked: the places of the
    inputs to follow. kind: Unmasked and the like follow another function on purpose, so their
    values need not be the function's.
    """
    leaves = {i: kind.wrap(np.array(inputs[i])) for i in checked}
    for leaf in leaves.values():
        leaf.track()
    try:
        y = forward(*[leaves.get(i, x) for i, x in enumerate(inputs)])
        true = forward(*[x.copy() if isinstance(x, np.ndarray) else x for x in inputs])
    except Exception:                              # noqa: BLE001  (somebody else's function)
        return None
    y, true = (v[0] if isinstance(v, tuple) else v for v in (y, true))
    if not isinstance(y, Tensor) or y.node is None or y.shape != np.shape(true):
        return None
    close = kind.another or np.allclose(y.array, true, rtol=1e-9, atol=1e-12)
    return (y, leaves) if close else None
