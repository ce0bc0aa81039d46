"""`npformer step`: step through the backward pass of a script, of a built-in model, or of a saved trace."""

import os
import runpy
import shutil
import sys
from itertools import islice

from ..core.errors import InputError, NpformerError
from ..core.random_numbers import manual_seed
from ..core.source import short
from ..debug import app, recording, trace
from ..debug.examples import example
from ..debug.shell import COMMANDS, Session
from ..debug.shell.names import arrays_here
from ..debug.traces.trace import Trace
from ..extras import extra
from .script import seed_of, split_target, told

# What stands out on a terminal: a pattern, and rich's style for it.
STYLES = (
    (r"^(step|module|primitive|the whole model)\b.*", "bold"), (r"^ +(rule|line|arrived|sent|leaf|inside)\b", "cyan"),
    (r"\|\w*\| \S+", "green"), (r"\b(WRONG|DIFFERS from|patched)\b|\d+ (NaN|inf)!", "bold reverse"), (r"^→.*", "bold"),
    (r"^\*\*\* .*", "red"),
)


class Enough(BaseException):
    """The backward pass that was wanted is complete: the script need not go on. No `except Exception` stops it."""


def run(arguments):
    """Record, then write, obey --do, or ask for commands. Returns the exit code: 1 if a wrong gradient was found."""
    if arguments.app and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError("--app needs a terminal to draw on. Without one, --do 'COMMANDS' runs commands of the shell.")
    found = traced(arguments)
    if not len(found):
        raise InputError("this backward pass began at a leaf: there is no operation to step through. --backward chooses another.")
    if arguments.save is not None:
        found.save(arguments.save)
        print(f"{arguments.save}: {len(found)} steps")
    if arguments.html is not None:
        print(f"{arguments.html}: {len(found.to_html(arguments.html)) / 1e6:.1f} MB")
    if arguments.app:
        app.run(found)
        return 0
    session = Session(found)
    if arguments.do is not None:
        return obey(session, arguments.do.split(";"))
    return talk(session) if arguments.save is arguments.html is None else 0


# ── what is stepped through ──────────────────────────────────────────────────────────────────────────────────────────


def traced(arguments):
    """The Trace that the command line asks for."""
    if arguments.backward < 1:
        raise InputError(f"--backward counts backward passes from 1, got {arguments.backward}.")
    if arguments.rest and not arguments.script:
        raise InputError("what stands behind -- goes to a script; name the script.")
    if arguments.load:
        return Trace.load(arguments.load)
    seed = seed_of(arguments)
    if not arguments.script:
        return trace(example(arguments.model, seed)[1])
    path, name = split_target(arguments.script)
    if name:
        raise InputError(f"{arguments.script}: a whole script is run; leave ::{name} away.")
    manual_seed(seed)
    return of_script(os.path.abspath(path), arguments.rest, arguments.backward)


def of_script(path, rest, which):
    """Run a script as python would, up to the end of its backward pass number `which`; the Trace of that."""
    watching, ended = recording(which=which), []

    def enough():
        ended.append("complete")
        raise Enough

    watching.recorder.full = enough
    before, loaded = (sys.argv, list(sys.path)), set(sys.modules)
    sys.argv, sys.path[:0] = [path, *rest], [os.path.dirname(path)]
    try:
        with watching:
            runpy.run_path(path, run_name="__main__")
    except Enough:
        pass
    except SystemExit as stop:
        code = stop.code or 0
        ended.append(f"the script ended itself{', with exit code' if isinstance(code, int) else ':'} {code}")
    except Exception as error:                     # noqa: BLE001   the user's script may raise anything
        if "complete" not in ended:
            raise InputError(f"{short(path)} raised an error before its backward pass was complete.\n"
                             f"  {told(path, '').line(error, error.__traceback__)}\n  {so_far(watching.recorder)}") from None
    finally:
        sys.argv, sys.path[:] = before
    if "complete" not in ended:
        end = ", ".join(ended) or "the script ran to its end"
        remedy = "Call loss.backward() in it."
        if watching.recorder.count:
            remedy = "Choose an earlier pass with --backward."
        elif "torch" in set(sys.modules) - loaded:
            remedy = "It uses PyTorch. Write `import npformer as torch` in it for `import torch`."
        raise InputError(f"{short(path)} has no backward pass number {which}: {end}.\n  {so_far(watching.recorder)}\n  {remedy}")
    return watching.trace


def so_far(recorder):
    """What was recorded until a script broke off, in words."""
    if recorder.events:
        node = recorder.events[-1][0]
        return (f"Recorded: backward pass {recorder.count}, {len(recorder.events)} nodes far; the last was "
                f"{node.op.name if node.op else 'a leaf'}{at_line(node.line)}.")
    passes = f"{recorder.count} backward pass{'' if recorder.count == 1 else 'es'}"
    if recorder.latest is None:
        return f"Recorded: {passes}, and no operation that leads from a tensor with requires_grad=True."
    name, line = recorder.latest
    many = f"{recorder.seen} operation{'' if recorder.seen == 1 else 's'}"
    return f"Recorded: {passes}, {many}; the last was {name}{at_line(line)}."


def at_line(line):
    """' at model.py:12', where it is known."""
    return f" at {short(line[0])}:{line[1]}" if line else ""


# ── commands, from --do or from a person ─────────────────────────────────────────────────────────────────────────────


def obey(session, commands):
    """Run commands one after the other, each printed with its prompt. Returns the exit code."""
    for command in commands:
        if command.strip() and not session.done:
            print(f"{session.prompt}{command.strip()}")
            print(session.do(command))
    return int(session.failed)


def talk(session):
    """Ask for commands until the person leaves. Returns the exit code: 0 for a person; for a pipe as `obey`."""
    person, say = sys.stdin.isatty(), printer()
    if person:
        session.width = shutil.get_terminal_size((110, 24)).columns
        with_history(session)
    say(opening(session.trace))
    say(session.do("look"))
    while not session.done:
        try:
            text = session.do(input(session.prompt) if person else piped(session.prompt))
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


def piped(prompt):
    """A line out of a pipe or a file, printed as if somebody typed it."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    print(f"{prompt}{line.strip()}")
    return line


def opening(found):
    """What was recorded, in a few lines."""
    lines = [f"{found.title or 'A graph'}: {len(found)} steps back from the loss, {len(found.nodes)} nodes. "
             "n and s step, back goes back, help lists the rest."]
    lines += [f"no gradient reaches {', '.join(found.unreached[:4])}" + (
        f" and {len(found.unreached) - 4} more" if len(found.unreached) > 4 else "")] if found.unreached else []
    return "\n".join([*lines, *found.notes, ""])


def printer():
    """What prints a text: in colours on a terminal that shows them, plainly elsewhere."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return print
    out, Text = extra("rich.console", "The shell").Console(highlight=False), extra("rich.text", "The shell").Text

    def say(text):
        shown = Text(text)
        for pattern, style in STYLES:
            shown.highlight_regex(f"(?m){pattern}", style)
        out.print(shown, soft_wrap=True)
    return say


def with_history(session):
    """Arrow keys and Tab, where Python has readline."""
    try:
        import readline
    except ImportError:
        return

    def complete(text, k):
        first = not readline.get_line_buffer()[:readline.get_begidx()].strip()
        names = [f"{name} " for name in COMMANDS] if first else [*arrays_here(session), *session.trace.named]
        return next(islice((name for name in names if name.startswith(text)), k, None), None)

    readline.set_completer(complete)
    readline.set_completer_delims(" ")
    readline.parse_and_bind("tab: complete")
