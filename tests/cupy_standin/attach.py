"""What the stand-in's array gets from lists: operators, and the methods that CuPy's list has and
NumPy can answer."""

import numpy as np

from .api import API
from .arrays import like_cupy, module, ndarray, to_cupy

COMPARISONS = {"greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le",
               "equal": "eq", "not_equal": "ne"}
ARITHMETIC = {"add": "add", "subtract": "sub", "multiply": "mul", "matmul": "matmul",
              "true_divide": "truediv", "floor_divide": "floordiv", "remainder": "mod",
              "power": "pow", "left_shift": "lshift", "right_shift": "rshift", "bitwise_and": "and",
              "bitwise_or": "or", "bitwise_xor": "xor"}
UNARY = {"negative": "neg", "positive": "pos", "absolute": "abs", "invert": "invert"}


def defers(other):
    """Whether the other operand wants its own operator to be asked (NEP 13)."""
    return getattr(other, "__array_ufunc__", module) is None


def operator(name, short):
    """The operators of one ufunc, as in core.pyx: its own kind directly, all else through NumPy."""
    own, numpys = getattr(module(), name), getattr(np, name)

    def op(self, other):
        if isinstance(other, ndarray):
            return own(self, other)
        if other is None and short in ("eq", "ne"):
            return to_cupy(np.full(self.shape, short == "ne"))
        return NotImplemented if defers(other) else numpys(self, other)

    setattr(ndarray, f"__{short}__", op)
    if name in ARITHMETIC:
        setattr(ndarray, f"__r{short}__",
                lambda self, other: NotImplemented if defers(other) else numpys(other, self))
    if f"cupy.ndarray.__i{short}__" in API:
        setattr(ndarray, f"__i{short}__", lambda self, other: own(self, other, out=self))


def unary(name, short):
    own = getattr(module(), name)
    setattr(ndarray, f"__{short}__", lambda self: own(self))


def methods():
    """Every other method that CuPy's list has: NumPy's, behind CuPy's arguments."""
    for name in API:
        short = name.removeprefix("cupy.ndarray.")
        new = short != name and not short.startswith("__") and not hasattr(ndarray, short)
        if new and hasattr(np.ndarray, short):
            method = getattr(np.ndarray, short)
            if callable(method) and not isinstance(method, property):
                setattr(ndarray, short, like_cupy(name, method))


def complete_class():
    """Give the class what is made from lists; called once the module can answer for its names."""
    for name, short in {**ARITHMETIC, **COMPARISONS}.items():
        operator(name, short)
    for name, short in UNARY.items():
        unary(name, short)
    methods()
    public = {n for n in vars(ndarray) if not n.startswith("_")}
    if missing := public - {n.removeprefix("cupy.ndarray.") for n in API}:
        raise TypeError(f"CuPy's ndarray has no {sorted(missing)}")
