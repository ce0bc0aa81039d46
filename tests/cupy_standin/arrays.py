"""The stand-in's array: NumPy's numbers behind CuPy's manners. It imitates cupy/_core/core.pyx."""

import functools
import types
import warnings

import numpy as np

from .api import API

AT_DTYPES = ("int32", "int64", "float16", "float32", "float64", "uint32", "uint64")
SCALARS = (bool, int, float, complex, np.generic)


# ── in and out ────────────────────────────────────────────────────────────────────────────────────


def to_numpy(value):
    """The NumPy array behind a stand-in array, also in tuples and lists; others are refused."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if type(value) in (tuple, list):
        return type(value)(to_numpy(v) for v in value)
    return value


def sources(values):
    """The stand-in arrays among `values`, also inside tuples and lists."""
    for v in values:
        if isinstance(v, ndarray):
            yield v
        elif type(v) in (tuple, list):
            yield from sources(v)


def root(array):
    """The NumPy array that owns the memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def to_cupy(result, given=()):
    """A result as CuPy gives it: arrays (0-d ones too), views that know their base; everything else
    as it is."""
    if isinstance(result, (np.ndarray, np.generic, bool)):
        host = np.asarray(result)
        for source in given:
            if root(host) is root(source._host):
                return ndarray(host, source if source.base is None else source.base)
        return ndarray(host)
    if isinstance(result, (tuple, list)):
        parts = [to_cupy(r, given) for r in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def like_cupy(name, function):
    """A function or method of NumPy's, behind the arguments that CuPy's takes."""
    entry = API[name]

    @functools.wraps(function)
    def call(*args, **kwargs):
        entry.check(name, args[1:] if name.startswith("cupy.ndarray.") else args, kwargs)
        given = list(sources([*args, *kwargs.values()]))
        out = kwargs.get("out")
        result = function(*map(to_numpy, args), **{k: to_numpy(v) for k, v in kwargs.items()})
        return out if out is not None else to_cupy(result, given)
    return call


# ── ufuncs ────────────────────────────────────────────────────────────────────────────────────────


class ufunc:
    """A ufunc with the arguments and the methods that CuPy's have."""

    def __init__(self, name):
        self.name, self.of, self.entry = name, getattr(np, name), API["cupy." + name]
        self.__name__ = name

    def __call__(self, *args, out=None, dtype=None, **kwargs):
        kwargs.pop("casting", None)
        if kwargs and self.name != "matmul":
            raise TypeError(f"Wrong arguments {kwargs}")
        operands = [*args, *(() if out is None else out if isinstance(out, tuple) else (out,))]
        for x in operands:
            if not isinstance(x, (ndarray, *SCALARS)):
                raise TypeError(f"Unsupported type {type(x)}")
        target = out if out is not None else args[self.of.nin] if len(args) > self.of.nin else None
        result = self.of(*map(to_numpy, args), out=to_numpy(out), dtype=dtype, **kwargs)
        return to_cupy(result) if target is None else target

    def at(self, a, indices, b=None):
        if not self.entry.has_at:
            raise NotImplementedError(f"`cupy_{self.name}.at` is not supported yet")
        if a.dtype not in AT_DTYPES:
            raise TypeError(f"cupy.{self.name}.at only supports {', '.join(AT_DTYPES)} "
                            "as data type")
        self.of.at(a._host, index(indices, a.shape), to_numpy(b))

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        if self.name not in ("add", "multiply"):
            raise NotImplementedError(f"`cupy_{self.name}.reduce` is not supported yet")
        return to_cupy(self.of.reduce(to_numpy(array), axis=axis, dtype=dtype, out=to_numpy(out),
                                      keepdims=keepdims))

    def accumulate(self, array, axis=0, dtype=None, out=None):
        if self.name not in ("add", "multiply"):
            raise NotImplementedError(f"`cupy_{self.name}.accumulate` is not supported yet")
        return to_cupy(self.of.accumulate(to_numpy(array), axis=axis, dtype=dtype,
                                          out=to_numpy(out)))

    def reduceat(self, array, indices, axis=0, dtype=None, out=None):
        raise NotImplementedError(f"`cupy_{self.name}.reduceat` subtracts running sums: "
                                  "it loses digits, do not use it")

    def outer(self, a, b, **kwargs):
        return self(a.reshape(a.shape + (1,) * b.ndim),
                    b.reshape((1,) * a.ndim + b.shape), **kwargs)


# ── indexing ──────────────────────────────────────────────────────────────────────────────────────


def index(slices, shape):
    """An index for the NumPy array inside. Integer arrays wrap around, as on the GPU, where nobody
    checks the range.

    Stricter than CuPy in one point: a NumPy array as an index, which CuPy would copy over without a
    word, is refused.
    """
    parts = list(slices) if isinstance(slices, tuple) else [slices]
    parts = [np.asarray(to_numpy(p)) if isinstance(p, (ndarray, np.ndarray, list)) else p
             for p in parts]
    parts = [np.zeros(p.shape, np.int32) if isinstance(p, np.ndarray)
             and p.size == 0 and not is_mask(p) else p for p in parts]
    if [getattr(p, "dtype", None) for p in parts].count(np.bool_) > 1:
        raise NotImplementedError("more than one boolean array in an index")
    taken = sum(p.ndim if is_mask(p) else p is not None and p is not Ellipsis for p in parts)
    if not any(p is Ellipsis for p in parts):
        parts.append(Ellipsis)                     # so that a full index gives a 0-d array
    axis = 0
    for i, p in enumerate(parts):
        if p is Ellipsis:
            axis += len(shape) - taken
        elif isinstance(p, np.ndarray) and p.dtype.kind in "iu" and axis < len(shape):
            parts[i] = p % shape[axis] if shape[axis] else p
        axis += p.ndim if is_mask(p) else p is not None and p is not Ellipsis
    return tuple(parts)


def is_mask(part):
    return isinstance(part, np.ndarray) and part.dtype.kind == "b"


# ── the array ─────────────────────────────────────────────────────────────────────────────────────


class Flags:
    def __init__(self, host, owndata):
        self.c_contiguous, self.f_contiguous = host.flags.c_contiguous, host.flags.f_contiguous
        self.owndata = owndata

    def __getitem__(self, name):
        return getattr(self, name.lower())


class ndarray:
    """An array 'on the GPU'."""

    __module__ = "cupy"
    __slots__ = ("_host", "base", "__weakref__")
    __hash__ = None
    __array_priority__ = 100

    def __init__(self, host, base=None):
        self._host, self.base = host, base

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: Flags(self._host, self.base is None))
    device = property(lambda self: types.SimpleNamespace(id=0))
    data = property(lambda self: types.SimpleNamespace(ptr=self._host.ctypes.data, device_id=0))
    T = property(lambda self: to_cupy(self._host.T, [self]))
    mT = property(lambda self: to_cupy(self._host.mT, [self]))
    real = property(lambda self: to_cupy(self._host.real, [self]))

    # ── conversions ───────────────────────────────────────────────────────────────────────────────

    @property
    def __cuda_array_interface__(self):
        return {"shape": self.shape, "typestr": self.dtype.str,
                "data": (self.data.ptr, False), "version": 3}

    def __array__(self, dtype=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. "
                        "Please use `.get()` to construct a NumPy array explicitly.")

    def get(self, stream=None, order="C", out=None, blocking=True):
        if out is None:
            return self._host.copy()
        out[...] = self._host
        return out

    def set(self, arr, stream=None):
        self._host[...] = arr

    def item(self):
        return self._host.item()

    def tolist(self):
        return self._host.tolist()

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, **how):
        raise BufferError("the stand-in has no GPU memory to hand out")

    def __int__(self):
        return int(self.get())

    def __float__(self):
        return float(self.get())

    def __bool__(self):
        if self.size == 0:
            warnings.warn("The truth value of an empty array is ambiguous.",
                          DeprecationWarning, stacklevel=2)
        return bool(self.get())

    def __repr__(self):
        return repr(self.get())

    def __str__(self):
        return str(self.get())

    def __format__(self, spec):
        return format(self.get(), spec)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __reduce__(self):
        return array, (self.get(),)

    # ── a container ───────────────────────────────────────────────────────────────────────────────

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, slices):
        return to_cupy(self._host[index(slices, self.shape)], [self])

    def __setitem__(self, slices, value):
        self._host[index(slices, self.shape)] = to_numpy(value)

    def fill(self, value):
        if getattr(value, "shape", ()) != ():
            raise ValueError("non-scalar cupy.ndarray cannot be used for fill")
        self._host.fill(to_numpy(value))

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None or subok is not None:
            raise TypeError("casting and subok are not supported yet")
        if not copy and self.dtype == dtype:
            return self
        return ndarray(self._host.astype(dtype, order=order))

    def copy(self, order="C"):
        return ndarray(self._host.copy(order))

    def dot(self, b, out=None):
        return to_cupy(self._host.dot(to_numpy(b), to_numpy(out)))

    # ── NumPy hands its calls on to these two ─────────────────────────────────────────────────────

    def __array_ufunc__(self, of, method, *inputs, **kwargs):
        inout = inputs
        if "out" in kwargs:
            inout += kwargs["out"]
            kwargs["out"] = kwargs["out"][0]
        try:
            function = getattr(module(), of.__name__)
            function = function if method == "__call__" else getattr(function, method)
        except AttributeError:
            return NotImplemented
        if not all(isinstance(x, (ndarray, np.ndarray, *SCALARS)) for x in inout):
            return NotImplemented                  # a tuple as the index of np.add.at ends here
        if of.__name__ in ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal"):
            inputs = [x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x for x in inputs]
        return function(*inputs, **kwargs)

    def __array_function__(self, function, kinds, args, kwargs):
        try:
            space = functools.reduce(getattr, function.__module__.split(".")[1:], module())
            found = getattr(space, function.__name__)
        except AttributeError:
            return NotImplemented
        if found is function or not all(issubclass(t, (ndarray, np.ndarray)) for t in kinds):
            return NotImplemented
        return found(*args, **kwargs)


def module():
    """The stand-in for the module `cupy` itself."""
    import cupy_standin
    return cupy_standin


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """cupy.array: the one door for NumPy's arrays."""
    if isinstance(obj, ndarray):
        same = not copy and (dtype is None or obj.dtype == dtype)
        return obj if same else ndarray(obj._host.astype(dtype or obj.dtype))
    if isinstance(obj, (list, tuple)):
        obj = to_numpy(obj) if any(True for _ in sources(obj)) else obj
    return ndarray(np.array(obj, dtype=dtype, ndmin=ndmin))
