"""The commands of `npformer step`, from --do, from a pipe, or from a person at a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from itertools import islice

from ...core.errors import NpformerError
from ...debug import Trace
from ...debug.shell import COMMANDS, Session
from ...debug.shell.names import arrays_here
from ...extras import extra

# What stands out on a terminal: a pattern, and rich's style for it.
STYLES = (
    (r"^(step|module|primitive|the whole model)\b.*", "bold"),
    (r"^ +(rule|line|arrived|sent|leaf|inside)\b", "cyan"),
    (r"\|\w*\| \S+", "green"),
    (r"\b(WRONG|DIFFERS from|patched)\b|\d+ (NaN|inf)!", "bold reverse"),
    (r"^→.*", "bold"),
    (r"^\*\*\* .*", "red"),
)


def run_commands(trace: Trace, commands: Iterable[str]) -> int:
    """Run commands one after the other, each printed with its prompt. Returns the exit code."""
    session = Session(trace)
    for command in commands:
        if command.strip() and not session.done:
            print(f"{session.prompt}{command.strip()}")
            print(session.do(command))
    return int(session.failed)


def ask_for_commands(trace: Trace) -> int:
    """Ask for commands until the person leaves. Returns the exit code: 0 for a person; for a pipe
    as `run_commands`."""
    session, person, say = Session(trace), sys.stdin.isatty(), printer()
    if person:
        session.width = shutil.get_terminal_size((110, 24)).columns
        complete_names(session)
    say(opening_text(trace))
    say(session.do("look"))
    while not session.done:
        try:
            line = input(session.prompt) if person else read_piped_line(session.prompt)
            text = session.do(line)
            if text:
                say(text)
        except EOFError:
            print()
            break
        except KeyboardInterrupt:
            session.question = None
            say("\n*** stopped; `q` leaves")
        except NpformerError as error:
            say(f"*** {error}")
    return 0 if person else int(session.failed)


def read_piped_line(prompt: str) -> str:
    """A line out of a pipe or a file, printed as if somebody typed it."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    print(f"{prompt}{line.strip()}")
    return line


def opening_text(trace: Trace) -> str:
    lines = [f"{trace.title or 'A graph'}: {len(trace)} steps back from the loss, "
             f"{len(trace.nodes)} nodes. n and s step, back goes back, help lists the rest."]
    if trace.unreached:
        more = f" and {len(trace.unreached) - 4} more" if len(trace.unreached) > 4 else ""
        lines.append(f"no gradient reaches {', '.join(trace.unreached[:4])}{more}")
    return "\n".join([*lines, *trace.notes, ""])


def printer() -> Callable[[str], None]:
    """What prints a text: in colours on a terminal that shows them, without elsewhere."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return print
    out = extra("rich.console", "The shell").Console(highlight=False)
    Text = extra("rich.text", "The shell").Text

    def say(text: str) -> None:
        shown = Text(text)
        for pattern, style in STYLES:
            shown.highlight_regex(f"(?m){pattern}", style)
        out.print(shown, soft_wrap=True)
    return say


def complete_names(session):
    """Arrow keys and Tab, where Python has readline."""
    try:
        import readline
    except ImportError:
        return

    def complete(text, k):
        first = not readline.get_line_buffer()[:readline.get_begidx()].strip()
        commands = [f"{name} " for name in COMMANDS]
        names = commands if first else [*arrays_here(session), *session.trace.named]
        return next(islice((name for name in names if name.startswith(text)), k, None), None)

    readline.set_completer(complete)
    readline.set_completer_delims(" ")
    readline.parse_and_bind("tab: complete")
