"""Arrays as heat maps in a terminal: two cells a character, the value under the mouse or the cell cursor in words."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.binding import Binding
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from ...core import facts
from ..views import pictures
from ..views.colours import DARK, LIGHT, shade_grid

if TYPE_CHECKING:
    from textual import events

SIDE = 8                                           # the largest cell, in halves of a character
HALF = "▀"                                         # foreground above, background below


def palette(widget: Widget):
    """The colours for the theme that the app has now."""
    return DARK if widget.app.current_theme.dark else LIGHT


class HeatMap(Widget, can_focus=True):
    """The last two dims of an array, at `index` of the dims before."""

    BINDINGS = [Binding(key, f"cell({down}, {across})", show=False)
                for key, down, across in (("up", -1, 0), ("down", 1, 0), ("left", 0, -1), ("right", 0, 1))]
    DEFAULT_CSS = "HeatMap { height: 1fr; }"

    class Pointed(Message):
        """The cell cursor moved."""

    def __init__(self) -> None:
        super().__init__()
        self.array: Any = None
        self.index: tuple[int, ...] = ()
        self.map: pictures.Heat | None = None
        self.cell: tuple[int, int] | None = None
        self.side = (1, 1)                         # of a cell: columns of characters, halves of a line
        self.pixels = np.zeros((0, 0, 3), np.uint8)

    def show(self, array: Any, index: tuple[int, ...]) -> None:
        """Show another array, or another slice of it."""
        self.array, self.index, self.cell = array, index, None
        self.fit()

    def on_resize(self) -> None:
        self.fit()

    def fit(self) -> None:
        """Choose the size of a cell, so that the slice fills the space; larger slices are averaged over blocks."""
        width, height = self.size.width, 2 * self.size.height
        self.map = None
        if drawable(self.array) and width and height:
            rows, columns = np.atleast_2d(self.array[self.index]).shape
            down = even(min(height // rows, SIDE))
            across = min(width // columns, max(down, 2))
            self.side = max(across, 1), max(even(min(down, max(across, 2))), 1)
            self.map = pictures.heat(self.array, height // self.side[1], width // self.side[0], self.index)
        self.paint()

    def paint(self) -> None:
        """Work out the colour of every half character."""
        colours = palette(self)
        self.pixels = np.zeros((0, 0, 3), np.uint8)
        if self.map is not None:
            cells = shade_grid(self.map.grid, colours)
            if self.cell is not None:
                cells[self.cell] = 255 if colours is DARK else 0
            self.pixels = cells.repeat(self.side[1], 0).repeat(self.side[0], 1)
        self.refresh()
        self.post_message(self.Pointed())

    def render_line(self, y: int) -> Strip:
        above, below = (self.pixels[r] if r < len(self.pixels) else None for r in (2 * y, 2 * y + 1))
        if above is None:
            return Strip.blank(self.size.width, self.rich_style)
        if below is None:
            return Strip([Segment(HALF, self.rich_style + Style(color=rgb(a))) for a in above])
        return Strip([Segment(HALF, two_cells(tuple(a), tuple(b))) for a, b in zip(above.tolist(), below.tolist())])

    # ── the cell that is pointed at ──────────────────────────────────────────────────────────────────────────────────

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self.point(2 * event.y // self.side[1], event.x // self.side[0])

    def on_leave(self) -> None:
        self.point(-1, -1)

    def action_cell(self, down: int, across: int) -> None:
        """Move the cell cursor; it begins at the first cell."""
        if self.map is not None:
            row, column = self.cell or (0, 0)
            rows, columns = self.map.values.shape
            moved = (row + down, column + across) if self.cell else (0, 0)
            self.point(min(max(moved[0], 0), rows - 1), min(max(moved[1], 0), columns - 1))

    def point(self, row: int, column: int) -> None:
        """Put the cell cursor there; nowhere, if there is no such cell."""
        inside = self.map is not None and 0 <= row < self.map.values.shape[0] and 0 <= column < self.map.values.shape[1]
        cell = (row, column) if inside else None
        if cell != self.cell:
            self.cell = cell
            self.paint()

    def words(self, name: str) -> str:
        """The entry under the cell cursor, or the mean of the block: 'g[0, 3, 5] = 0.01234'."""
        if self.map is None or self.cell is None:
            return ""
        flat = np.atleast_2d(self.array[self.index]).shape
        places = [span(pictures.edges(size, count), at)
                  for size, count, at in zip(flat, self.map.values.shape, self.cell)]
        places = [*map(str, self.index), *places][-max(self.array.ndim, 0):] if self.array.ndim else []
        value = self.map.values[self.cell]
        mean = "mean " if any(":" in p for p in places) else ""
        place = f"[{', '.join(places)}]" if places else ""
        return f"{name}{place} = {mean}{facts.number(value, 6)}"


def even(count: int) -> int:
    """The even number below, so that a cell fills whole lines; 1 stays."""
    return count if count < 2 else count - count % 2


def span(edges: np.ndarray, at: int) -> str:
    """The entries of block `at`: '3', or '3:7'."""
    first, end = int(edges[at]), int(edges[at + 1])
    return str(first) if end - first == 1 else f"{first}:{end}"


def rgb(colour) -> Color:
    """A terminal's colour."""
    return Color.from_rgb(*map(int, colour))


@lru_cache(maxsize=1 << 14)
def two_cells(above, below):
    """The style of a character that shows two cells."""
    return Style(color=rgb(above), bgcolor=rgb(below))


def drawable(array: Any) -> bool:
    """Whether there are numbers to draw."""
    return isinstance(array, np.ndarray) and array.size > 0 and array.dtype.kind in "biuf"


def legend(heat: pictures.Heat, width: int, colours) -> Text:
    """A bar of the colours with the numbers that they stand for."""
    largest = float(np.abs(heat.values[np.isfinite(heat.values)]).max(initial=0))
    if np.isfinite(heat.grid).all() and not largest:
        return Text("all 0")
    ends = (-1.0 if heat.signed else 0.0), 1.0
    shades = shade_grid(np.linspace(*ends, width)[None], colours)[0]
    bar = Text(f"{facts.number(-largest) if heat.signed else '0'} ", no_wrap=True)
    for shade in shades:
        bar.append("█", Style(color=rgb(shade)))
    bar.append(f" {facts.number(largest)}")
    if not np.isfinite(heat.grid).all():
        bar.append("  █", Style(color=rgb(colours.nan)))
        bar.append(" NaN or inf")
    return bar
