"""Small pictures made of numbers: sparklines and heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import ValueRangeError
from ...core.facts import ArrayFacts, norm
from ..traces.trace import Trace

BLOCKS = "▁▂▃▄▅▆▇█"


class Layer(NamedTuple):
    """A run of steps in one module, `first` to `last`; norm: ‖dL/d(output)‖ where it begins."""

    where: str
    norm: float
    first: int
    last: int


def layers(trace: Trace) -> list[Layer]:
    """The runs through modules, in the order of the walk: the last module first."""
    runs = [list(steps) for _, steps in groupby(trace, lambda step: step.where)]
    return [Layer(run[0].where, norm(run[0].upstream) or 0.0, run[0].index, run[-1].index)
            for run in runs]


def sparkline(values: Sequence[float], width: int | None = None, log: bool = True) -> str:
    """The values as blocks, the largest full; logarithmic unless told otherwise. ! stands for NaN
    or infinity. width: the most characters; each stands for the largest of its values, so that a
    peak is not averaged away."""
    shown = np.asarray(values, dtype=float)
    if width is not None and len(shown) > width:
        shown = np.maximum.reduceat(shown, edges(len(shown), width)[:-1])
    heights, low, high = heights_of(shown, log)
    places = ((heights - low) / (high - low) * (len(BLOCKS) - 1) if high > low else
              np.full(len(heights), 3.0))
    line = ""
    for value, height, at in zip(shown, heights, places):
        if not np.isfinite(value):
            line += "!"
        else:                                      # the logarithm of 0 is −∞: the lowest block
            line += BLOCKS[int(round(at)) if np.isfinite(height) else 0]
    return line


def heights_of(values: Sequence[float] | np.ndarray,
               log: bool = True) -> tuple[np.ndarray, float, float]:
    """(heights, the lowest, the highest): how high to draw each value; −∞ for 0 if logarithmic."""
    with np.errstate(all="ignore"):
        heights = np.log10(np.abs(values)) if log else np.asarray(values, dtype=float)
    low, high = finite_range(heights)
    return heights, low, high


def finite_range(array: np.ndarray) -> tuple[float, float]:
    """(the smallest, the largest) of the finite numbers; 0s where there are none."""
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def marker(count: int, at: int, width: int | None = None) -> str:
    """A ^ to stand below the place `at` of a sparkline of `count` values."""
    return " " * (at if width is None or count <= width else at * width // count) + "^"


class Heat(NamedTuple):
    """A 2-d slice as a grid that fits. values: the mean of each block. grid: the same, divided by
    the largest size, so within −1 to 1; NaN where a block has no finite mean. low, high: of the
    slice itself. signed: whether it has negative numbers. note: what is shown."""

    values: np.ndarray
    grid: np.ndarray
    low: float
    high: float
    signed: bool
    note: str


def heat(array: Any, rows: int = 16, columns: int = 64, index: int | tuple = ()) -> Heat:
    """A heat map of the last two dims, in at most rows × columns blocks. index: into the dims
    before, 0s by default. Raises ValueRangeError for what is not an array of numbers, and for an
    index that points outside."""
    if array is None:
        raise ValueRangeError("there is nothing to draw: the value was not kept")
    if isinstance(array, ArrayFacts) or not hasattr(array, "dtype"):
        raise ValueRangeError(f"there is nothing to draw: {array!r}")
    leading = max(array.ndim - 2, 0)
    index = (index if isinstance(index, tuple) else (index,)) or (0,) * leading
    if len(index) != leading or any(not -n <= i < n for i, n in zip(index, array.shape)):
        raise ValueRangeError(
            f"a heat map of an array of shape {array.shape} takes an index into its first "
            f"{leading} dims, {array.shape[:leading]}; got {index}")
    flat = np.atleast_2d(np.asarray(array[index], dtype=float))
    down, across = edges(flat.shape[0], rows), edges(flat.shape[1], columns)
    if not flat.size:
        return Heat(flat, flat, 0.0, 0.0, False, f"{array.shape}: empty")
    # Means and not single entries: every tenth entry of an array that repeats itself would show a
    # pattern that is not there.
    with np.errstate(all="ignore"):
        values = np.add.reduceat(np.add.reduceat(flat, down[:-1], 0), across[:-1], 1)
        values = values / np.outer(np.diff(down), np.diff(across))
    low, high = finite_range(flat)
    largest = np.abs(values[np.isfinite(values)]).max(initial=0) or 1.0
    grid = np.where(np.isfinite(values), values / largest, np.nan)
    return Heat(values, grid, low, high, low < 0, slice_words(array, index, flat, values))


def slice_words(array, index, flat, values):
    part = f"[{', '.join(map(str, index))}] of " if index else ""
    rows, columns = values.shape
    blocks = "" if values.shape == flat.shape else f", means of blocks, {rows} × {columns}"
    return f"{part}{array.shape}{blocks}"


def edges(size: int, most: int) -> np.ndarray:
    """Where each of at most `most` blocks of nearly equal size begins, and the end."""
    count = max(1, min(size, most))
    return np.arange(count + 1) * size // count
