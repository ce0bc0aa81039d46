"""A session of the shell: where a person stands in a trace, what they asked for, the commands.

`Session.do(line)` takes a line as it was typed and returns text. It reads and prints nothing, so
that a terminal, a script (`npformer step --do`) and a test can drive it in the same way.

The other files of this folder hold the commands, a file a group: each enters its functions in
COMMANDS with the decorator `command`. `names` says what a typed name means, `screens` what is
printed at a place.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

from ...core.errors import InputError
from ..traces.rerun import Changes, rerun
from ..traces.trace import Trace, TraceStep
from ..views import frames
from ..views.conditions import Condition
from ..views.frames import Cursor, Frame


class Command(NamedTuple):
    """A command: what runs it, its names, how it is written, and the group `help` lists it in."""

    run: Callable[[Session, str], str]
    names: tuple[str, ...]
    usage: str
    group: int

    @property
    def help(self) -> str:
        """The function's docstring, without the indent that it has in the code."""
        lines = (self.run.__doc__ or "").strip().splitlines()
        return "\n".join([lines[0], *(line.removeprefix("    ") for line in lines[1:])])


COMMANDS: dict[str, Command] = {}                  # by each of their names
GROUPS = ("move", "breakpoints", "look", "ask", "try", "session")


def command(usage: str, *names: str, group: str) -> Callable:
    """Make a function (session, the rest of the line) -> text a command. Its name is the first word
    of `usage`; `names` are others that it answers to."""
    def enter(function):
        name = usage.split()[0].removesuffix("TEXT")       # `/TEXT` is the command `/`
        entry = Command(function, (name, *names), usage, GROUPS.index(group))
        COMMANDS.update(dict.fromkeys(entry.names, entry))
        return function
    return enter


class Breakpoint(NamedTuple):
    """A condition to stop at; once: only the first time."""

    condition: Condition
    once: bool


class Question(NamedTuple):
    """What the session asked. judge(session, line): the reply, or None if it is no answer."""

    prompt: str
    judge: Callable[[Session, str], str | None]


class Session:
    """One person stepping through one trace. `failed`: whether a check found a wrong gradient."""

    def __init__(self, trace: Trace) -> None:
        self.original = self.trace = trace
        self.cursor, self.changes = Cursor(trace), Changes()
        self.breakpoints: dict[int, Breakpoint] = {}
        self.watched: str | None = None            # the name of a node
        self.question: Question | None = None
        self.search_text = self.last_line = ""
        self.done = self.failed = False
        self.width = 110                           # characters in a line of the screen
        self.at_start = True                       # the first `c` must look at the first step too

    # ── where we are ─────────────────────────────────────────────────────────────────────────────

    @property
    def frame(self) -> Frame:
        """The model, the run through a module, or the step where the session stands."""
        return self.cursor.at

    @property
    def step(self) -> TraceStep:
        """The step where the session stands; an InputError on a module."""
        if self.frame.step is None:
            place = f"module {self.frame.path}" if self.frame.path else "the whole model"
            raise InputError(f"this is {place}, not one operation. `s` steps into it.")
        return self.frame.step

    @property
    def prompt(self) -> str:
        if self.question is not None:
            return self.question.prompt
        frame, last = self.frame, len(self.trace) - 1
        if frame.step is None:
            return f"({span(frame)}/{last} {frame.path or 'model'}) "
        if frame.inside_a_step:
            fused, inner_last = self.trace[self.cursor.index], len(frame.trace) - 1
            return (f"(step {fused.index}/{last} {fused.op} › "
                    f"{frame.step.op} {frame.first}/{inner_last}) ")
        return f"(step {frame.first}/{last} {frame.step.where or 'top level'} · {frame.step.op}) "

    # ── lines ────────────────────────────────────────────────────────────────────────────────────

    def do(self, line: str) -> str:
        """The reply to a typed line; an empty one repeats the last. Raises NpformerError."""
        # While a question is open an empty line is an answer (it gives up), never a repetition.
        line = line.strip() or ("" if self.question is not None else self.last_line)
        asked, self.question = self.question, None
        if asked is not None:
            reply = asked.judge(self, line)
            if reply is not None:
                return reply
        if not line:
            return ""
        # Cleared before the command runs: if it raises, an empty line must not raise again.
        self.last_line = ""
        name, rest = split_line(line)
        if name not in COMMANDS:
            # A mistyped line is not an answer: the question stays open. A command that is known
            # drops it, since the person wants to do something else.
            self.question = asked
            near = difflib.get_close_matches(name, COMMANDS, 3, 0.5)
            guess = f"; is it {' or '.join(near)}?" if near else "."
            raise InputError(f"there is no command {name!r}{guess} `help` lists them.")
        before = self.frame
        text = COMMANDS[name].run(self, rest)
        self.at_start &= self.frame is before
        self.last_line = line
        return text

    # ── changes ──────────────────────────────────────────────────────────────────────────────────

    def apply(self, changes: Changes) -> None:
        """Run the recorded program with these changes instead of those before, and stay here."""
        # Always from the original: a rerun of a rerun would make `unpatch` and `reset` depend on
        # the order in which things were changed.
        trace = rerun(self.original, changes) if changes else self.original
        self.trace, self.changes = trace, changes
        # A frame belongs to its trace, so the old cursor is of no use. What the two traces share
        # is the numbering of the steps and the tree above them: go to the same step, then up to
        # the level where we stood, which may have been a module.
        at, depth = self.cursor.index, len(self.frame.around)
        self.cursor = Cursor(trace)
        self.cursor.goto(at)
        while len(self.cursor.at.around) > depth and self.cursor.out():
            pass


def span(frame: Any) -> str:
    """'step 3', or 'steps 3–8': the steps of a frame or a layer."""
    return f"step{'' if frame.first == frame.last else 's'} {frames.span(frame.first, frame.last)}"


def split_line(line: str) -> tuple[str, str]:
    """(command, the rest) of a line: `/x` and `?x` need no space."""
    if line[0] in "/?":
        return line[0], line[1:].strip()
    name, _, rest = line.partition(" ")
    return name, rest.strip()
