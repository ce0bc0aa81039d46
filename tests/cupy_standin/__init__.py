"""A stand-in for CuPy, for machines without a GPU: NumPy's numbers behind CuPy's manners.

Tests put it into sys.modules as `cupy`. It behaves as CuPy does where programs written for NumPy go
wrong: no implicit conversion to NumPy, no NumPy arrays beside its own, 0-d arrays where NumPy gives
scalars, only the functions, methods and arguments that CuPy has (tests/cupy_api.txt), indices that
wrap around, ufunc.at that NumPy cannot hand a tuple to.
"""

import sys
import types

import numpy as np

from . import arrays, attach
from .api import API
from .arrays import array, ndarray, ufunc

__version__ = "stand-in"


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, copy=bool(copy), order=order or "K")


def from_dlpack(array, *, device=None, copy=None):
    return array if isinstance(array, ndarray) else ndarray(np.from_dlpack(array).copy())


def asnumpy(a, *args, **kwargs):
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def get_array_module(*args):
    return sys.modules[__name__] if any(isinstance(a, ndarray) for a in args) else np


def where(condition, x=None, y=None):
    if x is None and y is None:
        return condition.nonzero()
    parts = [condition.astype("?"), x, y]
    for p in parts:
        if not isinstance(p, (ndarray, *arrays.SCALARS)):
            raise TypeError(f"Unsupported type {type(p)}")
    return arrays.to_cupy(np.where(*map(arrays.to_numpy, parts)))


def concatenate(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    if not all(isinstance(a, ndarray) for a in tup):
        raise TypeError("Only cupy arrays can be concatenated")
    joined = np.concatenate(arrays.to_numpy(list(tup)), axis=axis, dtype=dtype, casting=casting)
    return arrays.to_cupy(joined)


def einsum(*operands, dtype=None, optimize=False):
    result = np.einsum(*map(arrays.to_numpy, operands), dtype=dtype, optimize=optimize)
    return arrays.to_cupy(result, list(arrays.sources(operands)))


def count_nonzero(a, axis=None):
    return arrays.to_cupy(np.asarray(np.count_nonzero(arrays.to_numpy(a), axis=axis)))


class Device:
    """cupy.cuda.Device: one GPU, number 0."""

    def __init__(self, device=0):
        self.id = device

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def synchronize(self):
        """Everything is done already."""

    use = synchronize


cuda = types.SimpleNamespace(
    Device=Device,
    is_available=lambda: True,
    Stream=types.SimpleNamespace(null=Device()),
    get_current_stream=Device,
    runtime=types.SimpleNamespace(
        getDeviceCount=lambda: 1, getDevice=lambda: 0, deviceSynchronize=lambda: None,
        CUDARuntimeError=RuntimeError, runtimeGetVersion=lambda: 12090,
        driverGetVersion=lambda: 12090,
        getDeviceProperties=lambda number: {"name": b"stand-in", "totalGlobalMem": 1 << 30},
        memGetInfo=lambda: (1 << 30, 1 << 30)),
)


def look_up(space, numpys, name):
    """What CuPy has under that name: its arguments in front of NumPy's function."""
    full = f"{space}.{name}"
    if full not in API:
        raise AttributeError(f"module {space!r} has no attribute {name!r}")
    if not hasattr(numpys, name):
        raise NotImplementedError(f"the stand-in does not know {full}, which CuPy has "
                                  "and NumPy has not")
    found = getattr(numpys, name)
    if API[full].is_ufunc or isinstance(found, np.ufunc):
        return ufunc(name)
    if isinstance(found, type) or not callable(found):
        return found
    return arrays.like_cupy(full, found)


class Space(types.ModuleType):
    """cupy.linalg or cupy.random."""

    def __init__(self, name, numpys):
        super().__init__(name)
        self.numpys = numpys

    def __getattr__(self, name):
        return look_up(self.__name__, self.numpys, name)


linalg, random = Space("cupy.linalg", np.linalg), Space("cupy.random", np.random)


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return globals().setdefault(name, look_up("cupy", np, name))


attach.complete_class()
