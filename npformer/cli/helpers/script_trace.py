"""What `npformer step` steps through: the backward pass of a built-in model or of a script."""

from __future__ import annotations

import os
import runpy
import sys

from ...core.errors import InputError
from ...core.source import short_path
from ...debug import Trace, recording, trace
from ...debug.examples import example
from .user_file import line_of_error


class PassComplete(BaseException):
    """The backward pass that was wanted is complete: the script need not go on. No `except
    Exception` in the script stops it."""


def trace_example(model: str, seed: int) -> Trace:
    return trace(example(model, seed)[1])


def trace_script(path: str, rest: list[str], which: int) -> Trace:
    """Run a script as python would, up to the end of its backward pass number `which`."""
    watching, ended = recording(which=which), []

    def stop_script():
        ended.append("complete")
        raise PassComplete

    watching.recorder.full = stop_script
    before, loaded = (sys.argv, list(sys.path)), set(sys.modules)
    sys.argv, sys.path[:0] = [path, *rest], [os.path.dirname(path)]
    try:
        with watching:
            runpy.run_path(path, run_name="__main__")
    except PassComplete:
        pass
    except SystemExit as stop:
        code = stop.code or 0
        exit_code = f", with exit code {code}" if isinstance(code, int) else f": {code}"
        ended.append(f"the script ended itself{exit_code}")
    except Exception as error:                     # noqa: BLE001   a script may raise anything
        if "complete" not in ended:
            raise InputError(f"{short_path(path)} raised an error before its backward pass was "
                             f"complete.\n  {line_of_error(path, error)}\n"
                             f"  {describe_recording(watching.recorder)}") from None
    finally:
        sys.argv, sys.path[:] = before
    if "complete" not in ended:
        end = ", ".join(ended) or "the script ran to its end"
        remedy = "Call loss.backward() in it."
        if watching.recorder.count:
            remedy = "Choose an earlier pass with --backward."
        elif "torch" in set(sys.modules) - loaded:
            remedy = "It uses PyTorch. Write `import npformer as torch` in it for `import torch`."
        raise InputError(f"{short_path(path)} has no backward pass number {which}: {end}.\n"
                         f"  {describe_recording(watching.recorder)}\n  {remedy}")
    return watching.trace


def describe_recording(recorder):
    if recorder.events:
        node = recorder.events[-1][0]
        return (f"Recorded: backward pass {recorder.count}, {len(recorder.events)} nodes far; "
                f"the last was {node.op.name if node.op else 'a leaf'}{at_line(node.line)}.")
    passes = f"{recorder.count} backward pass{'' if recorder.count == 1 else 'es'}"
    if recorder.latest is None:
        return (f"Recorded: {passes}, and no operation that leads from a tensor with "
                "requires_grad=True.")
    name, line = recorder.latest
    many = f"{recorder.seen} operation{'' if recorder.seen == 1 else 's'}"
    return f"Recorded: {passes}, {many}; the last was {name}{at_line(line)}."


def at_line(line):
    """' at model.py:12', where it is known."""
    return f" at {short_path(line[0])}:{line[1]}" if line else ""
