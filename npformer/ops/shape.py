"""Moving data: reshape, permute, and the adjoint pairs sum | expand, narrow | embed, cat.

An adjoint pair is two operations that are each other's gradient.
"""

from collections.abc import Sequence
from string import ascii_lowercase

import numpy as np

from ..core import devices
from ..core.dims import along
from ..core.dtypes import as_dtype
from ..core.errors import IndexRangeError, ShapeError
from ..core.operation import primitive
from ..core.samples import mask

# ── dims, as users write them ─────────────────────────────────────────────────────────────────────


def positive_dim(dim, ndim, call="dim"):
    """`dim` counted from the front: -1 is ndim - 1. A 0-d array counts as 1-d, as in PyTorch."""
    span = max(ndim, 1)
    if not isinstance(dim, (int, np.integer)) or not -span <= dim < span:
        raise IndexRangeError(f"{call}: dim {dim!r} is out of range for an array of {ndim} dims; "
                              f"it must be from {-span} to {span - 1}")
    return int(dim) % span


def positive_dims(dim, ndim, call="dim"):
    """A sorted tuple of dims counted from the front; None or () stands for all of them."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    several = dim if isinstance(dim, (tuple, list)) else (dim,)
    dims = [positive_dim(d, ndim, call) for d in several]
    if len(set(dims)) != len(dims):
        raise IndexRangeError(f"{call}: dim {dim!r} names a dim twice")
    return tuple(sorted(dims)) if ndim else ()


def reduced_shape(shape, dims, keepdim):
    """The shape after reducing `dims`."""
    return tuple(1 if i in dims else n for i, n in enumerate(shape) if keepdim or i not in dims)


def kept_shape(shape, dim):
    """The shape after reducing `dim` with keepdim=True."""
    return reduced_shape(shape, positive_dims(dim, len(shape)), True)


def unbroadcast(g, shape):
    """The adjoint of broadcasting `shape` up to g's shape: sum over every dim that was repeated.

    Broadcasting reads one entry many times, so its gradient is the sum of what each reading sends.
    Two things go wrong in hand-written ones: dims that broadcasting put in front are summed but
    dims of size 1 are not; or a dim of size 1 that met another of size 1 is summed over, which
    changes nothing and costs a copy.
    """
    if g.shape == shape:                           # the usual case: g itself, and no copy
        return g
    lead = g.ndim - len(shape)
    stretched = (i + lead for i, n in enumerate(shape) if n == 1 and g.shape[i + lead] != 1)
    repeated = (*range(lead), *stretched)
    return reshape(sum(g, dim=repeated, keepdim=True) if repeated else g, shape=shape)


ROW_BY_ROW = "the upstream is put into shape row by row"
PICKED = "only the entries of {name} that were picked get a gradient"


# ── shape alone ───────────────────────────────────────────────────────────────────────────────────


@primitive(dims="...")
def cast(x, *, dtype):
    """x in another dtype.    dx = g in x's dtype"""
    return x.astype(as_dtype(dtype))


cast.vjps(x=lambda g: g)                           # the walk casts: see core.tape.fitted
cast.samples((2, 3), dtype="float64")


@primitive(dims="...")
def clone(x):
    """x, in memory of its own.    dx = g"""
    return x.copy()


clone.vjps(x=lambda g: g)
clone.samples((2, 3))


@primitive(dims="...")
def move(x, *, device, source):
    """x on another device, from `source`.    dx = g on the device that x came from"""
    return devices.move(x, device)


move.vjps(x=lambda g, device, source: move(g, device=source, source=device))
move.samples((2, 3), device="cpu", source="cpu")


@primitive(dims="(...) -> (...)")
def reshape(x, *, shape):
    """The same numbers, in row-major order, in another shape.    dx = g in x's shape

    x any shape -> shape; one entry of shape may be -1.
    """
    return x.reshape(shape)


reshape.vjps(x=lambda g, x_shape: reshape(g, shape=x_shape))
reshape.mistake("permuted", ROW_BY_ROW, x=lambda g, x_shape: g.reshape(x_shape))
reshape.samples((2, 3, 4), shape=(4, 6))
reshape.samples((2, 3), shape=(-1,))
reshape.samples((1,), shape=())


@primitive(dims=lambda dims: permuted(dims))
def permute(x, *, dims):
    """y's dim i is x's dim dims[i].

        dx = g with the dims put back (the inverse permutation, not the same one)
    """
    return x.transpose(dims)


permute.vjps(x=lambda g, dims: permute(g, dims=inverse(dims)))
permute.mistake("permuted", ROW_BY_ROW, x=lambda g, x_shape: g.reshape(x_shape))
permute.samples((2, 3, 4), dims=(2, 0, 1))
permute.samples((2, 3), dims=(-1, 0))


def permuted(dims):
    """The letters of a permutation: (2, 0, 1) is "abc -> cab"."""
    letters = ascii_lowercase[:len(dims)]
    return f"{letters} -> {''.join(letters[d] for d in dims)}"


def inverse(dims):
    """The permutation that undoes `dims`."""
    back = [0] * len(dims)
    for i, d in enumerate(dims):
        back[d % len(dims)] = i
    return tuple(back)


@primitive(dims=lambda x_shape, dims: along(x_shape, dims, "s -> t; s = n - 1 - t"))
def flip(x, *, dims):
    """x read backwards along dims.    dx = g flipped again"""
    return np.flip(x, positive_dims(dims, x.ndim, "flip"))


flip.vjps(x=lambda g, dims: flip(g, dims=dims))
flip.samples((2, 3, 4), dims=(0, 2))
flip.samples((3,), dims=0)


# ── sum | expand ──────────────────────────────────────────────────────────────────────────────────


@primitive(dims=lambda x_shape, dim, keepdim: along(x_shape, dim, "s ->", keepdim))
def sum(x, *, dim=None, keepdim=False):
    """Σ x over dim.    dx = g, the same for every entry that was added"""
    return x.sum(axis=positive_dims(dim, x.ndim, "sum"), keepdims=keepdim)


sum.vjps(x=lambda g, x_shape, dim: expand(
    reshape(g, shape=kept_shape(x_shape, dim)), shape=x_shape))
sum.samples((2, 3, 4))
sum.samples((2, 3, 4), dim=1)
sum.samples((2, 3, 4), dim=(0, -1), keepdim=True)
sum.samples((2, 1), dim=1)


@primitive(dims="...")
def expand(x, *, shape):
    """x repeated along new dims and along dims of size 1, up to `shape`.

        dx = Σ g over the repeated dims
    """
    return np.broadcast_to(x, shape)


expand.vjps(x=lambda g, x_shape: unbroadcast(g, x_shape))
expand.samples((2, 1, 4), shape=(5, 2, 3, 4))
expand.samples((1,), shape=(3, 2))


# ── narrow | embed, cat ───────────────────────────────────────────────────────────────────────────


def cut_along(dim, cut, ndim):
    """The index that applies `cut` to one dim and leaves the others whole."""
    return (slice(None),) * positive_dim(dim, ndim) + (cut,)


def from_front(start, size):
    """Where a part begins that starts at `start`, which may be counted from the end."""
    return start % max(size, 1)


@primitive(dims=lambda x_shape, dim, start: along(
    x_shape, dim, f"s -> t; s = t + {from_front(start, x_shape[dim])}"))
def narrow(x, *, dim, start, length):
    """The part of x from start to start + length along dim.    dx = g with zeros on both sides"""
    size = x.shape[positive_dim(dim, x.ndim, "narrow")]
    begin = start + size if start < 0 else start
    if length < 0 or not 0 <= begin <= size - length:
        raise IndexRangeError(f"narrow(x, dim={dim}, start={start}, length={length}): "
                              f"dim {dim} has {size} entries")
    return x[cut_along(dim, slice(begin, begin + length), x.ndim)]


narrow.vjps(x=lambda g, x_shape, dim, start: embed(
    g, dim=dim, start=from_front(start, x_shape[dim]), size=x_shape[dim]))
narrow.flat(PICKED, x=lambda: True)
narrow.samples((5, 3), dim=0, start=1, length=2)
narrow.samples((2, 7), dim=-1, start=-3, length=2)


@primitive(dims=lambda x_shape, dim, start: along(x_shape, dim, f"s -> t; s = t - {start}"))
def embed(x, *, dim, start, size):
    """Zeros of length `size` along dim, with x at `start`.    dx = g's part from start on"""
    shape = list(x.shape)
    shape[dim] = size
    y = np.zeros_like(x, shape=tuple(shape))
    y[cut_along(dim, slice(start, start + x.shape[dim]), x.ndim)] = x
    return y


embed.vjps(x=lambda g, x_shape, dim, start: narrow(g, dim=dim, start=start, length=x_shape[dim]))
embed.samples((2, 3), dim=1, start=2, size=6)
embed.samples((2, 3), dim=-2, start=0, size=3)


@primitive(dims=lambda i, shapes, dim: along(
    shapes[i], dim, f"s -> t; s = t - {offset(shapes, i, dim)}"), promotes="common")
def cat(*tensors, dim=0):
    """The tensors one after another along dim.    dtensors = the parts of g in the same order"""
    dim = positive_dim(dim, tensors[0].ndim, "cat")
    first = tensors[0].shape
    for i, t in enumerate(tensors):
        if t.ndim != len(first) or any(
                a != b for d, (a, b) in enumerate(zip(t.shape, first)) if d != dim):
            raise ShapeError(f"cat(tensors, dim={dim}): "
                             f"all shapes must agree except along dim {dim}\n"
                             f"  tensors[0] {first}\n  tensors[{i}] {t.shape}")
    return np.concatenate(tensors, axis=dim)


cat.vjps(tensors=lambda g, i, shapes, dim: narrow(
    g, dim=dim, start=offset(shapes, i, dim), length=shapes[i][dim]))
cat.samples((2, 3), (2, 1), (2, 4), dim=1)
cat.samples((3,), (2,))
cat.samples((2, 3), (1, 3), dim=-2)


def offset(shapes, i, dim):
    """Where tensor `i` begins along dim. A loop: `sum` is an operation in this file."""
    start = 0
    for shape in shapes[:i]:
        start += shape[dim]
    return start


# ── triangles ─────────────────────────────────────────────────────────────────────────────────────


@primitive(dims="...")
def keep(x, mask):
    """x where mask is true, 0 elsewhere.    dx = g where mask is true, 0 elsewhere"""
    if x.dtype.kind != "f":
        return x * mask
    # x's bits, and-ed with all ones or with none. A product with the mask would keep ∞ and NaN
    # (0·∞ is NaN); np.where is right, and takes about 10 times as long.
    bits = f"i{x.dtype.itemsize}"
    return (x.view(bits) & -mask.astype(bits)).view(x.dtype)


keep.vjps(x=lambda g, mask, x_shape: unbroadcast(keep(g, mask), x_shape), mask=None)
keep.flat("the mask takes {name} in {passed} of {size} places", x=lambda mask: ~mask)
keep.samples((3, 4), mask(3, 4))
keep.samples((2, 3, 3), mask(3, 3))


Shape = int | Sequence[int]                        # sizes: f(2, 3) and f((2, 3)) alike
Dim = int | Sequence[int]                          # one dim, or several
