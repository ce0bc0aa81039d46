"""The tabs that draw arrays: every array of a step, and the step's Jacobian. For each array a line
with its name, a scale, and the map."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from ...core import facts
from ...core.errors import NpformerError
from ...core.facts import ArrayFacts
from ..traces.trace import TraceStep
from ..views import statistics
from ..views.frames import Frame
from .heat import HeatMap, is_drawable, legend, palette
from .panels import FAINT, STRONG, click_style

BLOCK = 64                                         # the most rows and columns of a Jacobian drawn
MAPS, ROWS = 3, 16                                 # the most maps at once, and lines for each


class Choice(NamedTuple):
    """An array to draw: what part it plays, its name, and what else is to be said of it."""

    role: str
    name: str
    array: Any
    more: str = ""


class Map(Vertical):
    """One array: its name and scale, the map, and the entry that is pointed at."""

    DEFAULT_CSS = "Map > Static { height: auto; }  Map { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.choice: Choice | None = None

    def compose(self) -> ComposeResult:
        yield Static()
        yield HeatMap()

    def show(self, choice: Choice | None, index: tuple[int, ...]) -> None:
        self.choice = choice
        self.query_one(HeatMap).show(None if choice is None else choice.array, index)

    def on_heat_map_pointed(self) -> None:
        widget, head = self.query_one(HeatMap), Text()
        heat, choice = widget.map, self.choice
        if choice is not None:
            head.append(f"{choice.role} " * bool(choice.role), FAINT)
            head.append(widget.describe_cell(choice.name) or choice.name, STRONG)
            if widget.cell is None:
                note = missing_note(choice.array) if heat is None else heat.note + choice.more
                head.append(f"  {note}", FAINT)
        if heat is not None:
            width = min(24, max(self.size.width - 24, 4))
            head.append("\n").append_text(legend(heat, width, palette(self)))
        self.query_one(Static).update(head)


class ArrayView(Vertical):
    """A choice of arrays; as many as there is room for are drawn. Choice and slice stay from step
    to step: who looks at head 2 of g wants to see head 2 of the next g."""

    def __init__(self) -> None:
        super().__init__()
        self.choices: list[Choice] = []
        self.at = 0
        # Dims before the last two -> the slice that is shown, for all arrays that have these dims.
        self.slices: dict[tuple[int, ...], tuple[int, ...]] = {}

    def compose(self) -> ComposeResult:
        yield Static(classes="choices")
        for _ in range(MAPS):
            yield Map()

    def offer(self, choices: list[Choice]) -> None:
        """Arrays to choose from; the one that plays the part of the last choice is shown."""
        before = self.choices[self.at] if self.choices else None
        self.choices = choices
        ranks = [0 if before is None else 2 * (c.role == before.role) + (c.name == before.name)
                 for c in choices]
        self.at = ranks.index(max(ranks)) if ranks else 0
        self.draw()

    def choose(self, by: int) -> None:
        self.pick((self.at + by) % max(len(self.choices), 1))

    def pick(self, at: int) -> None:
        self.at = at
        self.draw()

    def slice(self, by: int) -> None:
        """The next (1) or previous (-1) slice of the array, and of all that have the same dims."""
        leading = leading_dims(self.choices[self.at].array) if self.choices else ()
        if leading:
            flat = int(np.ravel_multi_index(self.slice_of(leading), leading)) + by
            index = np.unravel_index(flat % int(np.prod(leading)), leading)
            self.slices[leading] = tuple(map(int, index))
            self.draw()

    def slice_of(self, leading):
        return self.slices.get(leading, (0,) * len(leading))

    def on_resize(self) -> None:
        self.draw()

    def draw(self) -> None:
        """Show the array that is chosen, and those after it where there is room."""
        self.query_one(".choices", Static).update(self.choice_line())
        room = min(max(self.size.height // ROWS, 1), max(len(self.choices), 1))
        for k, panel in enumerate(self.query(Map)):
            panel.display = k < room
            if k < room:
                choice = self.choices[(self.at + k) % len(self.choices)] if self.choices else None
                panel.show(choice, self.slice_of(leading_dims(choice.array) if choice else ()))

    def choice_line(self):
        line = Text("" if self.choices else "nothing to draw for a module: s goes into it", FAINT)
        for k, choice in enumerate(self.choices):
            chosen = Style(reverse=k == self.at, underline=False)
            line.append(f" {choice.name} ", click_style(f"maps('pick', {k})") + chosen)
        if len(self.choices) > 1:
            line.append("  [ ] array", FAINT)
        if self.choices and leading_dims(self.choices[self.at].array):
            line.append("  , . slice", FAINT)
        return line


def leading_dims(array: Any) -> tuple[int, ...]:
    """The sizes of the dims before the last two."""
    return array.shape[:-2] if is_drawable(array) else ()


def missing_note(array: Any) -> str:
    if array is None:
        return "was not kept by the tape"
    if isinstance(array, ArrayFacts):
        numbers = (array.min, array.max, array.mean, array.norm)
        low, high, mean, norm = map(facts.four_digits, numbers)
        return f"is too large to keep: {array.shape}, {low} to {high}, mean {mean}, norm {norm}"
    if getattr(array, "size", 1) == 0:
        return f"is empty: {array.shape}"
    return array if isinstance(array, str) else f"is {array!r}"[:200]


# ── what there is to draw ────────────────────────────────────────────────────────────────────────


def arrays_at(frame: Frame) -> list[Choice]:
    """Every array of a step; of a module, what arrives at its first step."""
    step = frame.step or (frame.trace[frame.first] if len(frame.trace) else None)
    if step is None:
        return []
    if frame.step is None:
        return [Choice("arrived", "g", step.upstream)]
    choices = [Choice(role, name, value) for role, name, value in statistics.arrays_of(step)
               if value is None or hasattr(value, "dtype")]
    order = {"arrived": 0, "sent": 1}              # the gradients first, then all others
    return sorted(choices, key=lambda choice: order.get(choice.role, 2))


def jacobians_at(frame: Frame) -> list[Choice]:
    """d(output)/d(argument) of a step as a matrix, for each argument that gets a gradient."""
    if frame.step is None:
        return []
    return [jacobian_block(frame.step, name) for name in frame.step.gradients]


def jacobian_block(step: TraceStep, name: str) -> Choice:
    """As much of one Jacobian as is drawn: all of it, or a block of the last dims at the last place
    of the dims before. The last place, because the last query of a causal attention is the one that
    sees every key; the first query sees one, and its Jacobian by q is all zeros."""
    shapes = step.node.shape, step.node.shapes[[*step.inputs].index(name)]
    for kept in range(max(map(len, shapes)), -1, -1):          # dims that are drawn
        places = [tuple(n - 1 for n in shape[:max(len(shape) - kept, 0)]) for shape in shapes]
        sizes = [int(np.prod(shape[len(place):])) for shape, place in zip(shapes, places)]
        if max(sizes) <= BLOCK:
            break
    rows, columns = places
    try:
        matrix: Any = step.jacobian(name, rows or None, columns or None).reshape(sizes)
    except NpformerError as error:
        matrix = str(error).partition("\n")[0]
    where = f", y{list(rows) or ''} down, {name}{list(columns) or ''} across"
    return Choice("", f"dy/d{name}", matrix, where)
