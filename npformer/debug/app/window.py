"""The window of the terminal app: the tree at the left, the step at the right.

Every key is an action here (`keys` says which); what is drawn stands in `panels` and `arrays`. The
actions move one Cursor, as the shell's commands do, and `arrive` draws the place where it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Group
from rich.style import Style
from rich.text import Text
from textual.app import App, ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Static, TabbedContent, TabPane, Tabs

from ...core.errors import NpformerError
from ..probes.residual import Addition, additions_in
from ..traces.trace import Trace
from ..views.conditions import Condition
from ..views.frames import Cursor, Frame, leaves
from . import panels
from .arrays import ArrayView, arrays_at, jacobians_at
from .heat import HeatMap, palette, rgb
from .keys import KEYS, KeyList
from .tree import ModuleTree
from .widgets import THEMES, Layers, Prompt

WIDE = 140                                         # columns that have room for step and tabs
MOVES = {                                          # and what is said where one leads nowhere
    "over": "this is the last step", "back": "this is the first step",
    "into": "there is nothing inside: its rule is one line (r shows it)",
    "out": "this is the whole model"}


class Stepper(App):
    """Walk through a trace: the tree of modules, steps and definitions, and one place in it."""

    TITLE = "npformer step --app"
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = ""                                # letters and arrows are for walking
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-medium"), (WIDE, "-wide")]
    CSS = """
    #title { height: 1; background: $panel; padding: 0 1; }
    ModuleTree {
        width: 27; border-right: solid $panel; background: $background; padding: 0;
        scrollbar-size: 1 1;
    }
    VerticalScroll { scrollbar-size: 1 1; }
    #side { width: 1fr; padding: 0 1; display: none; border-right: solid $panel; }
    TabbedContent { width: 1fr; }
    TabPane { padding: 0 1; }
    Tabs, #tabs-list-bar, #tabs-list { height: 1; }
    Underline { display: none; }
    Tab.-active { background: $primary; color: $background; text-style: bold; }
    .choices { height: auto; link-style: none; link-background: $background; }
    Layers { height: 2; padding: 0 1; }
    .-medium ModuleTree { width: 36; }
    .-wide ModuleTree { width: 40; }
    .-wide TabbedContent { width: 1.25fr; max-width: 80; }
    .-wide #side { display: block; }
    """
    BINDINGS = [*KEYS]

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace, self.cursor = trace, Cursor(trace)
        self.breakpoints: dict[str, Condition] = {}
        self.search_text = ""
        self.additions: dict[Any, Addition] | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        with Horizontal():
            yield ModuleTree(self.cursor.root)
            with VerticalScroll(id="side", can_focus=False):
                yield Static()
            with TabbedContent(initial="info"):
                for name in ("info", "heat", "ledger", "jacobian", "rule"):
                    with TabPane(f"[u]{name[0]}[/u]{name[1:]}", id=name):
                        if name in ("heat", "jacobian"):
                            yield ArrayView()
                        else:
                            with VerticalScroll(can_focus=False):
                                yield Static()
        yield Layers(self.trace)
        yield Prompt()
        yield Footer(compact=True)

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = THEMES[0].name
        self.query_one(Tabs).can_focus = False     # the arrows walk; a letter or click opens a tab
        self.theme_changed_signal.subscribe(self, lambda _: self.draw())
        self.call_after_refresh(self.arrive)

    # ── drawing ───────────────────────────────────────────────────────────────────────────────────

    @property
    def frame(self) -> Frame:
        return self.cursor.at

    @property
    def arrays(self) -> ArrayView | None:
        """The maps of the tab that is open, if it has any."""
        tabs = self.query_one(TabbedContent)
        if not tabs.active:
            return None
        return next(iter(tabs.get_pane(tabs.active).query(ArrayView)), None)

    def arrive(self) -> None:
        """Show the place where the cursor stands now."""
        self.query_one(ModuleTree).stand_at(self.frame)
        for area in self.query(VerticalScroll):
            area.scroll_home(animate=False)
        self.draw()

    def draw(self) -> None:
        """Draw title, layers, the tab that is open, and on a wide screen the step beside it."""
        self.query_one("#title", Static).update(self.title_line())
        self.query_one(Layers).stand_at(self.cursor.index)
        tabs = self.query_one(TabbedContent)
        if self.size.width >= WIDE:
            below = ["ledger"] if self.frame.step else []
            self.draw_panel(self.query_one("#side"), "info", *below)
        if self.arrays is not None:
            choices_at = arrays_at if tabs.active == "heat" else jacobians_at
            self.arrays.offer(choices_at(self.frame))
        elif tabs.active:
            self.draw_panel(tabs.get_pane(tabs.active), tabs.active)

    def draw_panel(self, area, *names):
        look = panels.Look(max(area.size.width - 3, 30), self.current_theme, palette(self))
        area.query_one(Static).update(Group(*(self.panel(name, look) for name in names)))

    def panel(self, name, look):
        if name == "rule":
            return panels.rule_panel(self.frame, look)
        if name == "ledger":
            return panels.ledger_panel(panels.ledgers_at(self.frame), self.frame, look)
        frame, step = self.frame, self.frame.step
        if step is None:
            return panels.module_panel(frame, look)
        if self.additions is None:                 # found once, when they are first needed
            self.additions = additions_in(self.trace.nodes)
        return panels.step_panel(step, frame.level, panels.residual_at(step, self.additions), look)

    def title_line(self):
        frame, colours = self.frame, palette(self)
        name = frame.path or self.trace.title or "graph"
        steps = f"  step{'' if frame.step else 's'} {frame.span} of {len(frame.trace)}"
        line = Text.assemble((name, Style(bold=True)), steps, no_wrap=True, overflow="ellipsis")
        line.append(f"  {panels.definition_note(frame.trace)}", Style(color=rgb(colours.positive)))
        stops = f"  stops at {', '.join(self.breakpoints)}" if self.breakpoints else ""
        line.append(stops, Style(color=rgb(colours.negative)))
        return line

    # ── moving ────────────────────────────────────────────────────────────────────────────────────

    def action_move(self, word: str) -> None:
        """One of the cursor's moves: over, back, into, out."""
        if not self.go(getattr(self.cursor, word)):
            self.say(MOVES[word])

    def go(self, move: Callable[[], bool]) -> bool:
        """Make a move and show where it leads; False, with no word, where it leads nowhere."""
        try:
            moved = move()
        except NpformerError as error:
            self.complain(error)
            return True
        if moved:
            self.arrive()
        return moved

    def say(self, text: str) -> None:
        """Tell the user something. No markup: a name in the text may look like it."""
        self.notify(text, markup=False)

    def complain(self, error: Exception) -> None:
        self.notify(str(error), severity="error", markup=False)

    def stand(self, frame: Frame) -> None:
        self.cursor.at = frame
        self.arrive()

    def action_goto_step(self, index: int) -> None:
        """Go to a step of the trace that is shown: of the whole, or of a definition."""
        frame = self.frame
        while frame.parent is not None and frame.parent.trace is frame.trace:
            frame = frame.parent
        if frame.parent is not None:               # in a definition, whose fused step is around it
            inside = (leaf for child in frame.parent.children for leaf in leaves(child))
            self.stand(next(leaf for leaf in inside if leaf.first == index))
        else:
            self.go(lambda: self.cursor.goto(index))

    def action_who(self, line: int) -> None:
        """Go to the consumer on that line of the first ledger."""
        entries = [e for ledger in panels.ledgers_at(self.frame)[:1] for e in ledger]
        found = entries[line - 1:line]
        if found and found[0].step >= 0:
            self.action_goto_step(found[0].step)
        else:
            self.say(f"the ledger has no line {line} that leads to a step")

    def action_run(self, by: int) -> None:
        """On (1) or back (-1) to the next step at which a breakpoint holds."""
        if not self.breakpoints:
            self.say("there is no breakpoint: b sets one")
        elif not self.seek(lambda step: any(b.holds(step) for b in self.breakpoints.values()), by):
            self.say(f"no {'later' if by > 0 else 'earlier'} step: {', '.join(self.breakpoints)}")

    def seek(self, accepts, by=1):
        """Go to the next step that is accepted, if there is one."""
        return self.go(lambda: self.cursor.run(accepts, by))

    def on_module_tree_chosen(self, event: ModuleTree.Chosen) -> None:
        self.stand(event.frame)

    def on_layers_chosen(self, event: Layers.Chosen) -> None:
        self.go(lambda: self.cursor.goto(event.step))

    # ── questions ─────────────────────────────────────────────────────────────────────────────────

    def action_ask(self, what: str) -> None:
        again = f"; nothing: {self.search_text} again" if self.search_text else ""
        hints = {"find": f"part of a name{again}", "goto": "number of a step",
                 "break": "nan, op:softmax, norm(g) > 10, ...; nothing: clear all"}
        self.query_one(Prompt).ask(what, hints[what])

    def on_prompt_answered(self, event: Prompt.Answered) -> None:
        self.action_leave()
        getattr(self, f"answer_{event.what}")(event.text)

    def answer_find(self, text: str) -> None:
        self.search_text = text or self.search_text
        if self.search_text and not self.seek(lambda step: self.search_text in step.name):
            self.say(f"no later step has {self.search_text!r} in its name")

    def answer_goto(self, text: str) -> None:
        try:
            index = int(text)
        except ValueError:
            self.complain(ValueError(f"{text!r} is not a number of a step"))
        else:
            self.go(lambda: self.cursor.goto(index))

    def answer_break(self, text: str) -> None:
        """One more condition to stop at; nothing clears them all."""
        try:
            if text:
                self.breakpoints = {**self.breakpoints, text: Condition(text, self.trace)}
            else:
                self.breakpoints = {}
        except NpformerError as error:
            self.complain(error)
        self.draw()

    def action_leave(self) -> None:
        self.query_one(Prompt).display = False
        self.set_focus(None)

    # ── tabs, maps, themes ────────────────────────────────────────────────────────────────────────

    def action_tab(self, name: str) -> None:
        if name != "info" or self.size.width < WIDE:
            self.query_one(TabbedContent).active = name

    def on_tabbed_content_tab_activated(self) -> None:
        self.draw()

    def on_resize(self) -> None:
        """A wide screen has the step beside the tabs, and needs no tab for it."""
        tabs = self.query_one(TabbedContent)
        if self.size.width >= WIDE:
            tabs.hide_tab("info")
            tabs.active = "heat" if tabs.active == "info" else tabs.active
        else:
            tabs.show_tab("info")
        self.call_after_refresh(self.draw)

    def action_page(self, by: int) -> None:
        for area in self.query(VerticalScroll):
            area.scroll_relative(y=by * (area.size.height - 2), animate=False)

    def action_maps(self, what: str, number: int) -> None:
        """A method of the maps that are shown, by name: choose, slice, pick."""
        if self.arrays:
            getattr(self.arrays, what)(number)

    def action_cells(self) -> None:
        if self.arrays:
            self.arrays.query_one(HeatMap).focus()

    def action_other_theme(self) -> None:
        self.theme = next(theme.name for theme in THEMES if theme.name != self.theme)

    def action_keys(self) -> None:
        self.push_screen(KeyList())

