"""The keys of the terminal app, and the screen that lists them. Letters are those of the shell, as
far as they go; `window` has the actions that they name."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from .panels import STRONG


def hidden_key(key: str, action: str, tooltip: str = "", display: str | None = None) -> Binding:
    """A key that the footer leaves out; without a tooltip the list of keys leaves it out too."""
    return Binding(key, action, show=False, tooltip=tooltip, key_display=display)


KEYS = [
    Binding("n,down", "move('over')", "next", tooltip="over: the next place on this level"),
    Binding("p,up", "move('back')", "back", tooltip="back: the place before"),
    Binding("s,right", "move('into')", "into",
            tooltip="into a module, or into an operation's definition"),
    Binding("o,left", "move('out')", "out", tooltip="out: the place around this one"),
    Binding("c", "run(1)", "continue", tooltip="on to the next step where a breakpoint holds"),
    hidden_key("C", "run(-1)", "back to the last step where a breakpoint holds"),
    Binding("b", "ask('break')", "break",
            tooltip="set a breakpoint: nan, op:softmax, norm(g) > 10"),
    Binding("slash", "ask('find')", "find", tooltip="on to the next step with such a name"),
    Binding("g", "ask('goto')", "goto", tooltip="to the step of a number"),
    hidden_key("i", "tab('info')", "tab info: formula, rule, numbers, your line"),
    hidden_key("h", "tab('heat')", "tab heat: the arrays as heat maps"),
    hidden_key("l", "tab('ledger')", "tab ledger: who sent what"),
    hidden_key("j", "tab('jacobian')", "tab jacobian: of this step alone"),
    hidden_key("r", "tab('rule')", "tab rule: the source of the gradient rule"),
    hidden_key("left_square_bracket", "maps('choose', -1)", "another array to draw", "[ ]"),
    hidden_key("right_square_bracket", "maps('choose', 1)"),
    hidden_key("comma", "maps('slice', -1)",
               "another slice of an array of three dims or more", ", ."),
    hidden_key("full_stop", "maps('slice', 1)"),
    hidden_key("tab", "cells", "into the map: arrows go from cell to cell"),
    hidden_key("escape", "leave", "out of the map, or of a question"),
    hidden_key("pagedown", "page(1)", "scroll what is too long for the screen", "pgdn pgup"),
    hidden_key("pageup", "page(-1)"),
    hidden_key("1", "who(1)", "to the consumer on that line of the ledger", "1 … 9"),
    *(hidden_key(str(line), f"who({line})") for line in range(2, 10)),
    Binding("t", "other_theme", "theme", show=False, tooltip="dark or light"),
    Binding("question_mark", "keys", "keys", tooltip="this list"),
    Binding("q", "quit", "quit", tooltip="leave"),
]


class KeyList(ModalScreen):
    """The list of keys."""

    BINDINGS = [Binding("escape,question_mark,q,enter", "dismiss", "close")]
    DEFAULT_CSS = """
    KeyList { align: center middle; }
    KeyList > VerticalScroll {
        width: 70; height: auto; max-height: 100%; background: $panel; padding: 0 2;
    }
    """

    def compose(self) -> ComposeResult:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for binding in KEYS:
            keys = binding.key_display or " ".join(
                self.app.get_key_display(Binding(key, "")) for key in binding.key.split(","))
            if binding.tooltip:
                table.add_row(Text(keys, STRONG), binding.tooltip)
        with VerticalScroll():
            yield Static(table)
