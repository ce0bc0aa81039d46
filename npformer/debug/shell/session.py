"""A session of the shell: where somebody stands in a trace, what they asked for, and the table of commands.

`Session.do(line)` takes a line as it was typed and returns text; it reads and prints nothing, so that anything can drive it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ...core.errors import InputError
from ..traces.rerun import Changes, rerun
from ..views import frames
from ..views.frames import Cursor

if TYPE_CHECKING:
    from ..traces.trace import Trace, TraceStep
    from ..views.conditions import Condition
    from ..views.frames import Frame


class Command(NamedTuple):
    """A command: what runs it, the names it is called by, how it is written, and the group that `help` lists it in."""

    run: Callable[[Session, str], str]
    names: tuple[str, ...]
    usage: str
    group: int

    @property
    def help(self) -> str:
        """Its documentation."""
        lines = (self.run.__doc__ or "").strip().splitlines()
        return "\n".join([lines[0], *(line.removeprefix("    ") for line in lines[1:])])


COMMANDS: dict[str, Command] = {}                  # by each of their names
GROUPS = ("move", "breakpoints", "look", "ask", "try", "session")


def command(usage: str, *names: str, group: str) -> Callable:
    """Make a function (session, the rest of the line) -> text a command. Its name is the first word of `usage`."""
    def enter(function):
        made = Command(function, (usage.split()[0].removesuffix("TEXT"), *names), usage, GROUPS.index(group))
        COMMANDS.update(dict.fromkeys(made.names, made))
        return function
    return enter


class Breakpoint(NamedTuple):
    """A condition to stop at; once: only the first time."""

    condition: Condition
    once: bool


class Question(NamedTuple):
    """Something that was asked back. judge(session, line) is the reply to an answer; None: it was no answer."""

    prompt: str
    judge: Callable[[Session, str], str | None]


class Session:
    """One person stepping through one trace. `failed`: whether a check found a gradient that is wrong."""

    def __init__(self, trace: Trace) -> None:
        self.original = self.trace = trace
        self.cursor, self.changes = Cursor(trace), Changes()
        self.breakpoints: dict[int, Breakpoint] = {}
        self.watched: str | None = None            # the name of a node
        self.question: Question | None = None
        self.sought = self.last = ""
        self.done = self.failed = False
        self.width = 110                           # characters in a line of the screen
        self.fresh = True                          # nobody has moved: the first `c` looks at the first step too

    # ── where we are ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def frame(self) -> Frame:
        """The model, the run through a module, or the step where the session stands."""
        return self.cursor.at

    @property
    def step(self) -> TraceStep:
        """The step where the session stands; an InputError on a module."""
        if self.frame.step is None:
            raise InputError(f"this is {'module ' + self.frame.path if self.frame.path else 'the whole model'}, not one "
                             "operation. `s` steps into it.")
        return self.frame.step

    @property
    def prompt(self) -> str:
        """What stands before the line that is typed next."""
        if self.question is not None:
            return self.question.prompt
        frame, last = self.frame, len(self.trace) - 1
        if frame.step is None:
            return f"({span(frame)}/{last} {frame.path or 'model'}) "
        if frame.inside_a_step:
            fused = self.trace[self.cursor.index]
            return f"(step {fused.index}/{last} {fused.op} › {frame.step.op} {frame.first}/{len(frame.trace) - 1}) "
        return f"(step {frame.first}/{last} {frame.step.where or 'top level'} · {frame.step.op}) "

    # ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def do(self, line: str) -> str:
        """What a line that was typed has to say. An empty one repeats the last command. Raises NpformerError."""
        line = line.strip() or ("" if self.question is not None else self.last)
        asked, self.question = self.question, None
        if asked is not None:
            reply = asked.judge(self, line)
            if reply is not None:
                return reply
        if not line:
            return ""
        self.last = ""                             # what was refused is not worth repeating
        name, rest = split(line)
        if name not in COMMANDS:
            self.question = asked                  # a slip of the hand is no answer
            near = difflib.get_close_matches(name, COMMANDS, 3, 0.5)
            raise InputError(f"there is no command {name!r}" + (f"; is it {' or '.join(near)}?" if near else ".")
                             + " `help` lists them.")
        before = self.frame
        text = COMMANDS[name].run(self, rest)
        self.fresh &= self.frame is before
        self.last = line
        return text

    # ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, changes: Changes) -> None:
        """Run the program again with these changes, in the place of those before; stay at the same step."""
        trace = rerun(self.original, changes) if changes else self.original
        self.trace, self.changes = trace, changes
        at, depth = self.cursor.index, len(self.frame.around)
        self.cursor = Cursor(trace)
        self.cursor.goto(at)
        while len(self.cursor.at.around) > depth and self.cursor.out():
            pass


def span(frame: Any) -> str:
    """'step 3', or 'steps 3–8': what a frame or a layer spans."""
    return f"step{'' if frame.first == frame.last else 's'} {frames.span(frame.first, frame.last)}"


def split(line: str) -> tuple[str, str]:
    """(command, the rest) of a line: `/x` and `?x` need no space."""
    if line[0] in "/?" and line != "?":
        return line[0], line[1:].strip()
    name, _, rest = line.partition(" ")
    return name, rest.strip()
