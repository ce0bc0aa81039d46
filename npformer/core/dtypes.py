"""Dtypes: which there are, which is the default, and in which one several operands are computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import DTypeError

float16, float32, float64 = map(np.dtype, ("float16", "float32", "float64"))
int8, int16, int32, int64 = map(np.dtype, ("int8", "int16", "int32", "int64"))
uint8, bool_ = map(np.dtype, ("uint8", "bool"))
DTYPES = {str(d): d for d in (float16, float32, float64, int8, int16, int32, int64, uint8, bool_)}
_default = {"dtype": float32}

DType = np.dtype | type | str                      # npf.float32, np.float32, float, "float32"


def get_default_dtype() -> np.dtype:
    """The dtype that Python floats become: float32 unless `set_default_dtype` said otherwise."""
    return _default["dtype"]


def set_default_dtype(dtype: DType) -> None:
    """Make Python floats become `dtype` (a floating dtype) from now on."""
    found = as_dtype(dtype)
    if not is_float(found):
        raise DTypeError(f"set_default_dtype: the default must be a floating dtype, got {found}")
    _default["dtype"] = found


def as_dtype(dtype: DType | None) -> Any:
    """A NumPy dtype for any name of one: npf.float32, np.float32, 'float32', float; None for None.

    `float` is the default dtype, as in PyTorch, and not NumPy's float64.
    """
    if dtype is None:
        return None
    if dtype is float:
        return get_default_dtype()
    try:
        found = DTYPES.get(str(np.dtype(dtype)))
    except TypeError:
        found = None
    if found is None:
        raise DTypeError(f"dtype {dtype!r} is not supported.\n  Known: {', '.join(DTYPES)}")
    return found


def is_float(dtype: np.dtype) -> bool:
    """Whether gradients can flow through arrays of this dtype."""
    return dtype.kind == "f"


def promote(operands, floating=False):
    """The operands of an elementwise operation, brought to the dtype that PyTorch computes in.

    Category decides first (bool < int < float); within it arrays with dims outrank 0-d ones, which
    outrank Python numbers; then the wider wins. So float32 (3,) with float64 () stays float32, and
    int64 with float32 is float32. `floating` lifts integers to the default float dtype (exp, sqrt,
    division).
    """
    # NumPy's own promotion would not do: a float64 loss scale, 0-d, would make a whole float32
    # model float64, and int64 with float32 is float64 there. The first loop decides the usual case,
    # one floating dtype, in 0.3 µs; the search behind it takes nearly 3 µs, a tenth of recording a
    # small operation.
    common = None
    for a in operands:
        dtype = getattr(a, "dtype", None)
        if dtype is None or dtype is common:
            continue
        if dtype.kind != "f" or common is not None:
            break
        common = dtype
    else:
        if common is not None:
            return operands
    target = _result_dtype(operands)
    if floating and target.kind != "f":
        target = get_default_dtype()
    return [a.astype(target) if hasattr(a, "dtype") and a.dtype != target else a for a in operands]


def _result_dtype(operands):
    category_of = {"b": 0, "u": 1, "i": 1, "f": 2}
    best = {}                                      # (category, priority) -> the widest dtype
    for a in operands:
        if hasattr(a, "dtype"):
            dtype, priority = a.dtype, 2 if a.ndim else 1
        else:
            priority = 0
            dtype = (bool_ if isinstance(a, bool)
                     else int64 if isinstance(a, int)
                     else get_default_dtype())
        key = (category_of[dtype.kind], priority)
        best[key] = np.promote_types(best[key], dtype) if key in best else dtype
    category = max(key[0] for key in best)
    return best[max(key for key in best if key[0] == category)]
