"""What every viewer shows of a step, as text and numbers: formula, rule, the user's line, statistics, small pictures.

The shell, the terminal app, the page and the notebook lay these out; none of them works one out again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ...core.errors import describe
from ...core.facts import NOTHING, facts_of, number
from ...core.writes import place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..traces.trace import TraceStep



# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def shape_of(value: Any) -> str:
    """'(4, 16)' for an array or its ArrayFacts, 'a number' for no dims, '·' for nothing."""
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


# ── source text ──────────────────────────────────────────────────────────────────────────────────────────────────────


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


def statistics(step: TraceStep) -> list[Row]:
    """A Row for each of `arrays_of`."""
    return [row(role, name, value) for role, name, value in arrays_of(step)]


def row(role: str, name: str, value: Any) -> Row:
    """The Row of one value: an array, its facts, a number, or None."""
    if value is None:
        return Row(role, name, NOTHING, note="not kept by the tape")
    if not hasattr(value, "dtype"):
        return Row(role, name, NOTHING, note=describe(value))
    if value.size == 0:
        return Row(role, name, shape_of(value), str(value.dtype), note="empty")
    said = facts_of(value)
    return Row(role, name, shape_of(value), str(value.dtype), said.norm, said.min, said.max, said.zeros / said.size, said.nan,
               said.inf, "too large to keep" if said is value else "")
