"""Small parts of the terminal app: its two themes, the row of layers at the bottom, and the line in
which a question is answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.theme import Theme
from textual.widgets import Input, Static

from ...core import facts
from ..traces.trace import Trace
from ..views import pictures
from ..views.colours import DARK, LIGHT
from .heat import palette, rgb
from .panels import FAINT


def make_theme(name, colours, background, panel, foreground) -> Theme:
    """A theme in which what arrives and what is sent have the colours of the heat maps."""
    return Theme(name=name, dark=colours is DARK, primary=rgb(colours.negative).name,
                 accent=rgb(colours.positive).name, background=background, surface=background,
                 panel=panel, foreground=foreground)


THEMES = [make_theme("night", DARK, "#16181d", "#262a32", "#d8dbe2"),
          make_theme("day", LIGHT, "#fbfbfc", "#e4e6ea", "#1d2026")]


class Layers(Static):
    """‖dL/d(output)‖ of each layer as a row of blocks, in the order of the walk."""

    @dataclass
    class Chosen(Message):
        """Somebody clicked on a layer."""

        step: int

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.runs, self.index = pictures.layers(trace), 0

    def on_resize(self) -> None:
        self.stand_at(self.index)

    def places(self) -> tuple[np.ndarray, int]:
        """With which layer each block begins, and how many columns a block has."""
        width = max(self.content_size.width, 1)
        begins = pictures.edges(len(self.runs), width)[:-1]
        return begins, max(min(width // len(begins), 6), 1)

    def stand_at(self, index: int) -> None:
        self.index = index
        if not self.runs:
            return
        at = next((k for k, layer in enumerate(self.runs) if layer.last >= index),
                  len(self.runs) - 1)
        begins, columns = self.places()
        norms, here = [layer.norm for layer in self.runs], self.runs[at]
        colours = palette(self)
        other, marked = Style(color=rgb(colours.negative)), Style(color=rgb(colours.positive))
        line = Text(no_wrap=True, overflow="crop")
        marked_block = int(np.searchsorted(begins, at, "right")) - 1
        for k, block in enumerate(pictures.sparkline(norms, len(begins))):
            line.append(block * columns, marked if k == marked_block else other)
        line.append(f"\n{here.where or 'top level'} {facts.four_digits(here.norm)}", marked)
        low, high = facts.four_digits(min(norms)), facts.four_digits(max(norms))
        line.append(f"   |g| of each layer, {low} to {high}", FAINT)
        self.update(line)

    def on_click(self, event: events.Click) -> None:
        begins, columns = self.places()
        block = (event.x - self.styles.padding.left) // columns
        if self.runs and event.y == 0 and 0 <= block < len(begins):
            self.post_message(self.Chosen(self.runs[begins[block]].first))


class Prompt(Horizontal):
    """The line at the bottom in which a question is answered; away while there is none."""

    DEFAULT_CSS = """
    Prompt { display: none; height: 1; background: $panel; padding: 0 1; }
    Prompt > Static { width: auto; padding-right: 1; color: $accent; }
    Prompt > Input { background: $panel; width: 1fr; }
    """

    @dataclass
    class Answered(Message):
        """Somebody pressed Enter."""

        what: str
        text: str

    def compose(self) -> ComposeResult:
        yield Static()
        yield Input(compact=True)

    def ask(self, what: str, hint: str) -> None:
        self.what, self.display = what, True
        self.query_one(Static).update(f"{what}:")
        answer = self.query_one(Input)
        answer.value, answer.placeholder = "", hint
        answer.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Answered(self.what, event.value.strip()))
