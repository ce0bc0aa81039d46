"""What every viewer shows of a step, as text and numbers: formula, rule, the user's line, statistics, small pictures.

The shell, the terminal app, the page and the notebook lay these out; none of them works one out again.
"""

from __future__ import annotations

import ast
import linecache
import os
import re
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core.errors import ValueRangeError, describe
from ..core.operation import Fused
from ..core.source import PACKAGE
from .record import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .tracing import Trace, TraceStep

BLOCKS = "▁▂▃▄▅▆▇█"
NOTHING = "·"                                      # stands where there is no number


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def number(value: Any, digits: int = 4) -> str:
    """A number as every viewer writes it: four digits; whole numbers whole."""
    if value is None:
        return NOTHING
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, (int, np.integer)):
        return str(value)
    return f"{float(value):.{digits}g}"


def shape_of(value: Any) -> str:
    """'(4, 16)' for an array or its Summary, 'a number' for no dims, '·' for nothing."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return NOTHING if value is None else "a number"
    return str(tuple(shape)) if len(shape) else "a number"


def call(step: TraceStep) -> str:
    """The operation with this step's shapes: 'layer_norm(x (4, 16, 64), weight (64,), eps=1e-05) → (4, 16, 64) float64'."""
    node, usual = step.node, getattr(step.node.op, "options", {})
    arguments = [f"{node.op.name_of(i)} {shape if dtype is not None or shape else describe(value)}"
                 for i, (shape, dtype, value) in enumerate(zip(node.shapes, node.dtypes, node.values))
                 if value is not None or node.parents[i] is not None]
    options = [f"{name}={option(value)}" for name, value in step.options.items()
               if (isinstance(value, float) and value) or repr(value) != repr(usual.get(name))]
    return f"{step.op}({', '.join(arguments + options)}) → {shape_of(node)} {node.dtype}"


def option(value: Any) -> str:
    """The value of an option, floats in four digits."""
    return number(value) if isinstance(value, float) else describe(value)


def rule_lines(step: TraceStep) -> list[str]:
    """The lines `d<argument> = ...` of the operation's docstring; of a user's Function, those of its class."""
    op = getattr(step.node.op, "live", None) or step.node.op
    text = (getattr(op, "function", None) or op).__doc__ or ""
    first, _, rest = text.partition("\n")
    found = re.search(r"(?:^|\s)(d\w+\s+= .*)", first)
    if found:
        return [found.group(1).strip()]
    block: list[str] = []
    for line in rest.splitlines():
        if re.match(r"\s*d\w+\s+= ", line) or (block and line.strip()):
            block.append(line.rstrip())
        elif block:
            break
    indent = min((len(line) - len(line.lstrip()) for line in block), default=0)
    return [line[indent:] for line in block]


# ── source text ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Source(NamedTuple):
    """A piece of source text. line: the number of its first line. at: the line that is meant. note: why text is missing."""

    file: str
    line: int
    lines: list[str]
    at: int
    note: str = ""

    @property
    def place(self) -> str:
        """'model.py:12', as short as the folder allows."""
        return f"{short(self.file)}:{self.at}"


def short(file: str) -> str:
    """A file's name as seen from the current folder, where that is shorter; 'npformer/...' for one of ours."""
    if file.startswith(PACKAGE):
        return "npformer/" + file.removeprefix(PACKAGE).replace(os.sep, "/")
    try:
        near = os.path.relpath(file)
    except (ValueError, OSError):                  # another drive; a folder that is gone
        return file
    return file if near.startswith("..") or len(near) > len(file) else near


def text_of(file: str) -> list[str]:
    """The lines of a file (or of a notebook's cell) as it is now; none where it is missing."""
    linecache.checkcache(file)
    return [line.rstrip("\n") for line in linecache.getlines(file)]


def user_line(step: TraceStep, around: int = 2) -> Source | None:
    """The user's line of code that made the operation, with its neighbours; None where no line was recorded."""
    if not step.source:
        return None
    file, at = step.source
    lines = text_of(file)
    if not 1 <= at <= len(lines):
        return Source(file, at, [], at, f"{file} is not here" if not lines else f"{file} has changed: it has no line {at}")
    first = max(1, at - around)
    return Source(file, first, lines[first - 1:at + around], at)


def rule_source(step: TraceStep) -> Source | None:
    """The source text of the gradient rule: a lambda's whole statement, a hand-derived backward, a Function's backward,
    a planted mistake.

    None where the code is not at hand: the trace came from a file, and the operation is the user's own.
    """
    op = step.node.op
    if hasattr(op, "planted"):
        rule = next(iter(op.planted.mistaken.values()))
    elif hasattr(op, "live"):
        rule = op.live and op.live.function.backward
    elif isinstance(op, Fused):
        rule = op.fast_backward
    else:
        rule = next((rule for rule in op.rules.values() if rule is not None), None)
    code = getattr(rule, "__code__", None)
    if code is None:
        return None
    lines = text_of(code.co_filename)
    span = statement(lines, code.co_firstlineno)
    if span is None:
        return Source(code.co_filename, code.co_firstlineno, [], code.co_firstlineno, f"{code.co_filename} is not here")
    return Source(code.co_filename, span[0], lines[span[0] - 1:span[1]], span[0])


def statement(lines: list[str], at: int) -> tuple[int, int] | None:
    """(first, last) line of the smallest statement that holds line `at`."""
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError:                            # the file was changed meanwhile
        return None
    spans = [(min([n.lineno, *(d.lineno for d in getattr(n, "decorator_list", ()))]), n.end_lineno or n.lineno)
             for n in ast.walk(tree) if isinstance(n, ast.stmt)]
    return min((s for s in spans if s[0] <= at <= s[1]), key=lambda s: s[1] - s[0], default=None)


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Row(NamedTuple):
    """What there is to say of one array of a step. zeros: the fraction that is 0. note: why there are no numbers."""

    role: str                                      # arrived, input, output, saved, sent
    name: str
    shape: str
    dtype: str = NOTHING
    norm: float | None = None
    min: float | None = None
    max: float | None = None
    zeros: float | None = None
    nan: int = 0
    inf: int = 0
    note: str = ""

    def cells(self) -> list[str]:
        """The row as text, one string for each of HEADERS."""
        odd = " ".join(f"{count} {word}" for count, word in ((self.nan, "NaN"), (self.inf, "inf")) if count)
        return [self.role, self.name, self.shape, self.dtype, number(self.norm), number(self.min), number(self.max),
                NOTHING if self.zeros is None else f"{self.zeros:.0%}", odd or self.note]


HEADERS = ("", "name", "shape", "dtype", "norm", "min", "max", "zeros", "")


def arrays_of(step: TraceStep) -> Iterator[tuple[str, str, Any]]:
    """(role, name, value) of everything at a step: what arrived, inputs, output, what was saved, what was sent.

    What was saved and is an input or the output as well comes once.
    """
    yield "arrived", "g", step.upstream
    yield from (("input", name, v) for (name, v), dtype in zip(step.inputs.items(), step.node.dtypes)
                if v is not None or dtype is not None)                       # an option that is None is no array
    yield "output", "y", step.value
    known = {place(value) for value in (*step.inputs.values(), step.value)}
    yield from (("saved", name, v) for name, v in (step.saved or {}).items() if v is not None and place(v) not in known)
    yield from (("sent", f"d{name}", value) for name, value in step.gradients.items())


def place(value: Any) -> tuple | int:
    """Where a value lies, and how: the same for two views of the same numbers."""
    if not isinstance(value, np.ndarray):
        return id(value)
    return value.__array_interface__["data"][0], value.shape, value.strides, value.dtype


def statistics(step: TraceStep) -> list[Row]:
    """A Row for each of `arrays_of`."""
    return [row(role, name, value) for role, name, value in arrays_of(step)]


def row(role: str, name: str, value: Any) -> Row:
    """The Row of one value: an array, its Summary, a number, or None."""
    if value is None:
        return Row(role, name, NOTHING, note="not kept by the tape")
    if isinstance(value, Summary):
        return Row(role, name, shape_of(value), str(value.dtype), value.norm, value.min, value.max,
                   value.zeros / max(value.size, 1), value.nan, value.inf, "too large to keep")
    if not hasattr(value, "dtype"):
        return Row(role, name, NOTHING, note=describe(value))
    if value.size == 0:
        return Row(role, name, shape_of(value), str(value.dtype), note="empty")
    finite = value[np.isfinite(value)] if value.dtype.kind in "fc" else value
    low, high = (finite.min(), finite.max()) if finite.size else (None, None)
    zeros = 1 - np.count_nonzero(value) / value.size
    return Row(role, name, shape_of(value), str(value.dtype), norm(finite), low, high, zeros,
               int(np.isnan(value).sum()), int(np.isinf(value).sum()))


@np.errstate(over="ignore")
def norm(value: Any) -> Any:
    """‖value‖₂; a Summary's own; None for what is no array."""
    if isinstance(value, Summary):
        return value.norm
    return float(np.linalg.norm(np.asarray(value, dtype=float))) if hasattr(value, "dtype") else None


# ── layers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Layer(NamedTuple):
    """A run of steps in one module: ‖dL/d(output)‖ where the walk enters it, and the steps `first` to `last`."""

    where: str
    norm: float
    first: int
    last: int


def layers(trace: Trace) -> list[Layer]:
    """The runs through modules, in the order of the walk: the last module first."""
    runs = [list(steps) for _, steps in groupby(trace, lambda step: step.where)]
    return [Layer(run[0].where, norm(run[0].upstream) or 0.0, run[0].index, run[-1].index) for run in runs]


def sparkline(values: Sequence[float], width: int | None = None, log: bool = True) -> str:
    """The values as blocks, the largest full; on a logarithmic scale unless told otherwise. ! is NaN or infinity.

    width: the most characters; each stands for the largest of its values.
    """
    shown = np.asarray(values, dtype=float)
    if width is not None and len(shown) > width:
        shown = np.maximum.reduceat(shown, edges(len(shown), width)[:-1])
    with np.errstate(all="ignore"):
        heights = np.log10(np.abs(shown)) if log else shown
    finite = heights[np.isfinite(heights)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    places = (heights - low) / (high - low) * (len(BLOCKS) - 1) if high > low else np.full(len(heights), 3.0)
    return "".join("!" if not np.isfinite(v) else BLOCKS[int(round(p))] if np.isfinite(h) else BLOCKS[0]
                   for v, h, p in zip(shown, heights, places))


def marker(count: int, at: int, width: int | None = None) -> str:
    """A ^ to stand below the place `at` of a sparkline of `count` values."""
    return " " * (at if width is None or count <= width else at * width // count) + "^"


# ── heat maps ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Heat(NamedTuple):
    """A 2-d slice as a grid that fits. values: the mean of each block. grid: the same from 0 to 1, or from −1 to 1 where
    there are negative numbers; NaN where a block has no finite mean. low, high: the slice's own. note: what is shown."""

    values: np.ndarray
    grid: np.ndarray
    low: float
    high: float
    signed: bool
    note: str


def heat(array: Any, rows: int = 16, columns: int = 64, index: int | tuple = ()) -> Heat:
    """A heat map of the last two dims, at `index` (default: 0s) of the dims before, in at most rows × columns blocks.

    Raises ValueRangeError for what is no array of numbers, and for an index that points outside.
    """
    if array is None or isinstance(array, Summary) or not hasattr(array, "dtype"):
        raise ValueRangeError(f"there is nothing to draw: {array!r}" if array is not None else
                              "there is nothing to draw: the value was not kept")
    leading = max(array.ndim - 2, 0)
    index = (index if isinstance(index, tuple) else (index,)) or (0,) * leading
    if len(index) != leading or any(not -n <= i < n for i, n in zip(index, array.shape)):
        raise ValueRangeError(f"a heat map of an array of shape {array.shape} takes an index into its first {leading} "
                              f"dims, {array.shape[:leading]}; got {index}")
    flat = np.atleast_2d(np.asarray(array[index], dtype=float))
    down, across = edges(flat.shape[0], rows), edges(flat.shape[1], columns)
    if not flat.size:
        return Heat(flat, flat, 0.0, 0.0, False, f"{array.shape}: empty")
    with np.errstate(all="ignore"):
        values = np.add.reduceat(np.add.reduceat(flat, down[:-1], 0), across[:-1], 1)
        values = values / np.outer(np.diff(down), np.diff(across))
    finite = flat[np.isfinite(flat)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    largest = np.abs(values[np.isfinite(values)]).max(initial=0) or 1.0
    grid = np.where(np.isfinite(values), values / largest, np.nan)
    return Heat(values, grid, low, high, low < 0, slice_words(array, index, flat, values))


def slice_words(array, index, flat, values):
    """What a heat map shows, in words."""
    part = f"[{', '.join(map(str, index))}] of " if index else ""
    blocks = "" if values.shape == flat.shape else f", means of blocks, {values.shape[0]} × {values.shape[1]}"
    return f"{part}{array.shape}{blocks}"


def edges(size: int, most: int) -> np.ndarray:
    """Where each of at most `most` blocks of nearly equal size begins, and the end."""
    count = max(1, min(size, most))
    return np.arange(count + 1) * size // count
