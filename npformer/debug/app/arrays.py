"""The tabs that draw arrays: every array of a step, and the step's Jacobian. A line of names, a scale, the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.style import Style
from rich.text import Text
from textual.containers import Vertical
from textual.widgets import Static

from ...core import facts
from ...core.errors import NpformerError
from ...core.facts import ArrayFacts
from ..views import statistics
from .heat import HeatMap, drawable, legend, palette
from .panels import FAINT, STRONG, click

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from ..traces.trace import TraceStep
    from ..views.frames import Frame

BLOCK = 64                                         # the most rows, and columns, of a Jacobian that are drawn
MAPS, ROWS = 3, 16                                 # the most maps at once, and the rows that one should have


class Shown(NamedTuple):
    """Something to draw: what part it plays, its name, and what else is to be said of it."""

    role: str
    name: str
    array: Any
    more: str = ""


class Map(Vertical):
    """One array: its name and scale, the map, and the entry that is pointed at."""

    DEFAULT_CSS = "Map > Static { height: auto; }  Map { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.shown: Shown | None = None

    def compose(self) -> ComposeResult:
        yield Static()
        yield HeatMap()

    def show(self, shown: Shown | None, index: tuple[int, ...]) -> None:
        """Draw an array at a slice, or nothing."""
        self.shown = shown
        self.query_one(HeatMap).show(None if shown is None else shown.array, index)

    def on_heat_map_pointed(self) -> None:
        """The cell cursor moved, or there is another picture: say what it is, or the entry, and the scale."""
        widget, head = self.query_one(HeatMap), Text()
        heat, shown = widget.map, self.shown
        if shown is not None:
            head.append(f"{shown.role} " * bool(shown.role), FAINT)
            head.append(widget.words(shown.name) or shown.name, STRONG)
            if widget.cell is None:
                head.append(f"  {missing(shown.array) if heat is None else heat.note + shown.more}", FAINT)
        if heat is not None:
            head.append("\n")
            head.append_text(legend(heat, min(24, max(self.size.width - 24, 4)), palette(self)))
        self.query_one(Static).update(head)


class ArrayView(Vertical):
    """A choice of arrays; as many as there is room for are drawn. Choice and slice stay from step to step."""

    def __init__(self) -> None:
        super().__init__()
        self.choices: list[Shown] = []
        self.at = 0
        self.slices: dict[tuple[int, ...], tuple[int, ...]] = {}       # of arrays whose dims before the last two are these

    def compose(self) -> ComposeResult:
        yield Static(classes="choices")
        for _ in range(MAPS):
            yield Map()

    def offer(self, choices: list[Shown]) -> None:
        """Arrays to choose from; the one that plays the part of the last choice is shown."""
        before = self.choices[self.at] if self.choices else None
        self.choices = choices
        ranks = [0 if before is None else 2 * (c.role == before.role) + (c.name == before.name) for c in choices]
        self.at = ranks.index(max(ranks)) if ranks else 0
        self.draw()

    def choose(self, by: int) -> None:
        """The next (1) or previous (-1) array."""
        self.pick((self.at + by) % max(len(self.choices), 1))

    def pick(self, at: int) -> None:
        """The array of that number."""
        self.at = at
        self.draw()

    def slice(self, by: int) -> None:
        """The next (1) or previous (-1) slice of an array of more than two dims, and of all that have the same dims."""
        leading = leading_dims(self.choices[self.at].array) if self.choices else ()
        if leading:
            flat = int(np.ravel_multi_index(self.slices.get(leading, (0,) * len(leading)), leading)) + by
            self.slices[leading] = tuple(map(int, np.unravel_index(flat % int(np.prod(leading)), leading)))
            self.draw()

    def on_resize(self) -> None:
        self.draw()

    def draw(self) -> None:
        """Show the array that is chosen, and those after it where there is room."""
        names = Text("" if self.choices else "nothing to draw for a module: s goes into it", FAINT)
        for k, choice in enumerate(self.choices):
            names.append(f" {choice.name} ", click(f"pick({k})") + Style(reverse=k == self.at, underline=False))
        if len(self.choices) > 1:
            names.append("  [ ] array", FAINT)
        if self.choices and leading_dims(self.choices[self.at].array):
            names.append("  , . slice", FAINT)
        self.query_one(".choices", Static).update(names)
        room = min(max(self.size.height // ROWS, 1), max(len(self.choices), 1))
        for k, panel in enumerate(self.query(Map)):
            panel.display = k < room
            if k < room:
                shown = self.choices[(self.at + k) % len(self.choices)] if self.choices else None
                leading = leading_dims(shown.array) if shown else ()
                panel.show(shown, self.slices.get(leading, (0,) * len(leading)))


def leading_dims(array: Any) -> tuple[int, ...]:
    """The sizes of the dims before the last two."""
    return array.shape[:-2] if drawable(array) else ()


def missing(array: Any) -> str:
    """Why there is no picture, in words."""
    if array is None:
        return "was not kept by the tape"
    if isinstance(array, ArrayFacts):
        return f"is too large to keep: {array.shape}, {facts.number(array.min)} to {facts.number(array.max)}, " \
               f"mean {facts.number(array.mean)}, norm {facts.number(array.norm)}"
    if isinstance(array, str):
        return array
    if getattr(array, "size", 1) == 0:
        return f"is empty: {array.shape}"
    return f"is {array!r}"[:200]


def arrays_at(frame: Frame) -> list[Shown]:
    """Every array of a step; of a module, what arrives at its first step."""
    step = frame.step or (frame.trace[frame.first] if len(frame.trace) else None)
    if step is None:
        return []
    if frame.step is None:
        return [Shown("arrived", "g", step.upstream)]
    shown = [Shown(*found) for found in statistics.arrays_of(step) if found[2] is None or hasattr(found[2], "dtype")]
    return sorted(shown, key=lambda s: ("arrived", "sent").index(s.role) if s.role in ("arrived", "sent") else 2)


def jacobians_at(frame: Frame) -> list[Shown]:
    """d(output)/d(argument) of a step for each argument that gets a gradient, as a matrix; a block of a large one."""
    return [] if frame.step is None else [block(frame.step, name) for name in frame.step.gradients]


def block(step: TraceStep, name: str) -> Shown:
    """As much of one Jacobian as is drawn: all of it, or the block of the last dims at the last place of those before.

    The last, because the last query of a causal attention is the one that sees every key.
    """
    shapes = step.node.shape, step.node.shapes[[*step.inputs].index(name)]
    for kept in range(max(map(len, shapes)), -1, -1):
        places = [tuple(n - 1 for n in shape[:max(len(shape) - kept, 0)]) for shape in shapes]
        sizes = [int(np.prod(shape[len(place):])) for shape, place in zip(shapes, places)]
        if max(sizes) <= BLOCK:
            break
    rows, columns = places
    try:
        matrix: Any = step.jacobian(name, rows or None, columns or None).reshape(sizes)
    except NpformerError as error:
        matrix = str(error).partition("\n")[0]
    return Shown("", f"dy/d{name}", matrix, f", y{list(rows) or ''} down, {name}{list(columns) or ''} across")
