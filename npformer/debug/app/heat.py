"""Arrays as heat maps in a terminal, and the value under the mouse or the cell cursor in words.

A character of a terminal is about twice as high as wide. "▀" fills its upper half with the
foreground colour and leaves the background in the lower half, so each character shows two square
pixels of any two colours: twice the rows, and no letters that look like patterns of their own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from ...core import facts
from ..views import pictures
from ..views.colours import DARK, LIGHT, shade_grid

SIDE = 8                                           # the largest cell, in pixels
HALF = "▀"                                         # foreground above, background below
ARROWS = (("up", -1, 0), ("down", 1, 0), ("left", 0, -1), ("right", 0, 1))


def palette(widget: Widget):
    return DARK if widget.app.current_theme.dark else LIGHT


class HeatMap(Widget, can_focus=True):
    """The last two dims of an array, at `index` of the dims before."""

    BINDINGS = [Binding(key, f"cell({down}, {across})", show=False) for key, down, across in ARROWS]
    DEFAULT_CSS = "HeatMap { height: 1fr; }"

    class Pointed(Message):
        """The cell cursor moved, or there is another picture."""

    def __init__(self) -> None:
        super().__init__()
        self.array: Any = None
        self.index: tuple[int, ...] = ()
        self.map: pictures.Heat | None = None
        self.cell: tuple[int, int] | None = None
        self.side = (1, 1)                         # of a cell, in pixels: across, down
        self.pixels = np.zeros((0, 0, 3), np.uint8)

    def show(self, array: Any, index: tuple[int, ...]) -> None:
        self.array, self.index, self.cell = array, index, None
        self.fit()

    def on_resize(self) -> None:
        self.fit()

    def fit(self) -> None:
        """Choose the size of a cell: the slice fills the space; if too large, a cell is a mean."""
        width, height = self.size.width, 2 * self.size.height      # in pixels
        self.map = None
        if is_drawable(self.array) and width and height:
            rows, columns = np.atleast_2d(self.array[self.index]).shape
            # Cells are square, up to SIDE. But where one side has room for a single pixel, the
            # other may still have 2: or a map of few rows and very many columns (or the other way
            # round) would be a strip that is half as thick.
            down = round_to_lines(min(height // rows, SIDE))
            across = min(width // columns, max(down, 2))
            self.side = max(across, 1), max(round_to_lines(min(down, max(across, 2))), 1)
            self.map = pictures.heat(self.array, height // self.side[1], width // self.side[0],
                                     self.index)
        self.paint()

    def paint(self) -> None:
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
        """The pixels of rows 2y and 2y + 1, as one line of characters."""
        rows = self.pixels[2 * y:2 * y + 2].tolist()
        if not rows:
            return Strip.blank(self.size.width, self.rich_style)
        if len(rows) == 1:                         # an odd number of rows: below is background
            return Strip([Segment(HALF, self.rich_style + Style(color=rgb(a))) for a in rows[0]])
        return Strip([Segment(HALF, half_block_style(tuple(above), tuple(below)))
                      for above, below in zip(*rows)])

    # ── the cell that is pointed at ──────────────────────────────────────────────────────────────

    def on_mouse_move(self, event: events.MouseMove) -> None:
        # The mouse knows lines, not pixels: where cells are one pixel high it reaches every other
        # row, and the arrow keys reach them all.
        self.point(2 * event.y // self.side[1], event.x // self.side[0])

    def on_leave(self) -> None:
        self.point(-1, -1)

    def action_cell(self, down: int, across: int) -> None:
        """Move the cell cursor; it begins at the first cell."""
        if self.map is None:
            return
        if self.cell is None:
            self.point(0, 0)
            return
        (row, column), (rows, columns) = self.cell, self.map.values.shape
        self.point(min(max(row + down, 0), rows - 1), min(max(column + across, 0), columns - 1))

    def point(self, row: int, column: int) -> None:
        """Put the cell cursor there; nowhere, if there is no such cell."""
        cell = None
        if self.map is not None:
            rows, columns = self.map.values.shape
            cell = (row, column) if 0 <= row < rows and 0 <= column < columns else None
        if cell != self.cell:
            self.cell = cell
            self.paint()

    def describe_cell(self, name: str) -> str:
        """The entry under the cell cursor, or the mean of its block: 'g[0, 3, 5] = 0.01234'."""
        if self.map is None or self.cell is None:
            return ""
        flat = np.atleast_2d(self.array[self.index]).shape
        places = [block_range(pictures.edges(size, count), at)
                  for size, count, at in zip(flat, self.map.values.shape, self.cell)]
        # A vector is drawn as one row and a number as one cell: only as many indices are said as
        # the array has dims.
        ndim = self.array.ndim
        places = [*map(str, self.index), *places][-ndim:] if ndim else []
        mean = "mean " if any(":" in p for p in places) else ""
        place = f"[{', '.join(places)}]" if places else ""
        return f"{name}{place} = {mean}{facts.four_digits(self.map.values[self.cell], 6)}"


def round_to_lines(pixels: int) -> int:
    """The even number below: a cell of 2, 4, 6 or 8 pixels fills whole lines, so that the mouse,
    which knows lines alone, always points at one cell. 1 stays: two cells in a line."""
    return pixels if pixels < 2 else pixels - pixels % 2


def block_range(edges: np.ndarray, at: int) -> str:
    """The entries of block `at`: '3', or '3:7'."""
    first, end = int(edges[at]), int(edges[at + 1])
    return str(first) if end - first == 1 else f"{first}:{end}"


def rgb(colour) -> Color:
    """A terminal's colour from red, green and blue."""
    return Color.from_rgb(*map(int, colour))


@lru_cache(maxsize=1 << 14)
def half_block_style(above, below):
    """The style of a character that shows two pixels. Cached, since a map has few pairs of colours
    and very many characters: a map of 200 x 50 characters takes 139 ms with a new Style for each,
    1.6 ms with these."""
    return Style(color=rgb(above), bgcolor=rgb(below))


def is_drawable(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.size > 0 and array.dtype.kind in "biuf"


def legend(heat: pictures.Heat, width: int, colours) -> Text:
    largest = float(np.abs(heat.values[np.isfinite(heat.values)]).max(initial=0))
    all_finite = np.isfinite(heat.grid).all()
    if all_finite and not largest:
        return Text("all 0")
    start = -1.0 if heat.signed else 0.0
    bar = Text(f"{facts.four_digits(-largest) if heat.signed else '0'} ", no_wrap=True)
    for shade in shade_grid(np.linspace(start, 1.0, width)[None], colours)[0]:
        bar.append("█", Style(color=rgb(shade)))
    bar.append(f" {facts.four_digits(largest)}")
    if not all_finite:
        bar.append("  █", Style(color=rgb(colours.nan))).append(" NaN or inf")
    return bar
