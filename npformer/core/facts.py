"""What can be said of an array's numbers: one record of facts, one norm, one way to write a number.

Steps, traces and every viewer read these. Before there was one record, a summary in the trace, a
row in the shell and an entry in the page each worked the same numbers out, and they could differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .devices import to_numpy

NOTHING = "·"                                      # stands where there is no number


@dataclass(repr=False)
class ArrayFacts:
    """The facts of an array. It also stands in a trace for an array that was too large to keep.

    min, max, mean: of the finite entries, None where there are none; norm: ‖·‖₂ of them. zeros,
    nan, inf: how many entries are so.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    min: Any
    max: Any
    mean: float | None
    norm: float
    nan: int
    inf: int
    zeros: int

    @property
    def size(self) -> int:
        """How many entries it has."""
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        """How many dims it has."""
        return len(self.shape)

    def __repr__(self):
        return (f"<{self.dtype} {self.shape}, too large to keep: "
                f"{four_digits(self.min)} to {four_digits(self.max)}, "
                f"mean {four_digits(self.mean)}, norm {four_digits(self.norm)}>")


def facts_of(array: np.ndarray | ArrayFacts) -> ArrayFacts:
    """The facts of an array; facts themselves are given back."""
    if isinstance(array, ArrayFacts):
        return array
    floating = array.dtype.kind == "f"
    nan, inf = (int(np.isnan(array).sum()), int(np.isinf(array).sum())) if floating else (0, 0)
    finite = array[np.isfinite(array)] if nan or inf else array
    some = finite.size > 0
    return ArrayFacts(
        shape=array.shape,
        dtype=array.dtype,
        min=finite.min().item() if some else None,
        max=finite.max().item() if some else None,
        mean=float(finite.mean(dtype=float)) if some else None,
        norm=norm(finite),
        nan=nan,
        inf=inf,
        zeros=array.size - int(np.count_nonzero(array)),
    )


@np.errstate(over="ignore")
def norm(value: Any) -> Any:
    """‖value‖₂ of an array or a Tensor; of facts, their own; None for what is no array.

    In float64, since the squares of float16 and float32 overflow early: 300² does in float16.
    """
    if isinstance(value, ArrayFacts):
        return value.norm
    array = getattr(value, "array", value)
    return float(np.linalg.norm(to_numpy(array).astype(float))) if hasattr(array, "dtype") else None


def four_digits(value: Any, digits: int = 4) -> str:
    """A number as every viewer writes it: four digits; whole numbers whole."""
    if value is None:
        return NOTHING
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, (int, np.integer)):
        return str(value)
    return f"{float(value):.{digits}g}"
