"""What every viewer shows of a step in words and numbers: its call, and a row for each array.

The shell, the terminal app, the page and the notebook lay these out; none of them works one out
again. The step's source text stands in `source_text`, small pictures in `pictures`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ...core.errors import describe
from ...core.facts import NOTHING, ArrayFacts, facts_of, four_digits
from ...core.writes import memory_place
from ..traces.trace import TraceStep

HEADERS = ("", "name", "shape", "dtype", "norm", "min", "max", "zeros", "")


def shape_of(value: Any) -> str:
    """'(4, 16)' for an array or its ArrayFacts, 'a number' for no dims, '·' for nothing."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return NOTHING if value is None else "a number"
    return str(tuple(shape)) if len(shape) else "a number"


def call(step: TraceStep) -> str:
    """'layer_norm(x (4, 16, 64), weight (64,), eps=0.001) → (4, 16, 64) float64'. An option stands
    there if it differs from its default, and a float that is not 0 always: eps, scale, p."""
    node, defaults = step.node, getattr(step.node.op, "options", {})
    parts = []
    for i, (shape, dtype, value) in enumerate(zip(node.shapes, node.dtypes, node.values)):
        if value is None and node.parents[i] is None:
            continue                               # an argument that was left out
        is_array = dtype is not None or shape
        parts.append(f"{node.op.name_of(i)} {shape if is_array else describe(value)}")
    for name, value in step.options.items():
        if (isinstance(value, float) and value) or repr(value) != repr(defaults.get(name)):
            parts.append(f"{name}={option_text(value)}")
    return f"{step.op}({', '.join(parts)}) → {shape_of(node)} {node.dtype}"


def option_text(value: Any) -> str:
    return four_digits(value) if isinstance(value, float) else describe(value)


class Row(NamedTuple):
    """One array of a step. role: arrived, input, ...; zeros: a fraction; note: why no numbers."""

    role: str
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
        odd = [f"{count} {word}" for count, word in ((self.nan, "NaN"), (self.inf, "inf")) if count]
        zeros = NOTHING if self.zeros is None else f"{self.zeros:.0%}"
        sizes = map(four_digits, (self.norm, self.min, self.max))
        return [*self[:4], *sizes, zeros, " ".join(odd) or self.note]


def arrays_of(step: TraceStep) -> Iterator[tuple[str, str, Any]]:
    """(role, name, value) of everything at a step, in the order in which it is used. What arrived,
    inputs, output, what the forward saved, what was sent. Many operations save an input or the
    output for their backward; these are listed once. They are found by where they lie
    (`writes.place`), not by `is`: a trace has a view of its own for each use of an array."""
    yield "arrived", "g", step.upstream
    for (name, value), dtype in zip(step.inputs.items(), step.node.dtypes):
        if value is not None or dtype is not None:           # not an option that is None
            yield "input", name, value
    yield "output", "y", step.value
    listed = {memory_place(value) for value in (*step.inputs.values(), step.value)}
    for name, value in (step.saved or {}).items():
        if value is not None and memory_place(value) not in listed:
            yield "saved", name, value
    for name, value in step.gradients.items():
        yield "sent", f"d{name}", value


def statistics(step: TraceStep) -> list[Row]:
    return [row(*found, facts=step.trace.facts_of) for found in arrays_of(step)]


def row(role: str, name: str, value: Any, facts: Callable[[Any], ArrayFacts] = facts_of) -> Row:
    """The Row of an array, its facts, a number, or None. facts: gives an array's facts."""
    if value is None:
        return Row(role, name, NOTHING, note="not kept by the tape")
    if not hasattr(value, "dtype"):
        return Row(role, name, NOTHING, note=describe(value))
    if value.size == 0:
        return Row(role, name, shape_of(value), str(value.dtype), note="empty")
    said = facts(value)
    return Row(role, name, shape_of(value), str(value.dtype), said.norm, said.min, said.max,
               said.zeros / said.size, said.nan, said.inf,
               "too large to keep" if said is value else "")
