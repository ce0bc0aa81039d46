"""`npformer step`: step through the backward pass of a script, a model, or a saved trace."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

import npformer as npf  # it loads npf.debug on first use

from ..core.errors import InputError
from ..core.random_numbers import manual_seed
from .helpers.user_file import checked_seed, split_target

if TYPE_CHECKING:
    from ..debug import Trace
    from .helpers.training_options import Commands


def declare(commands: Commands) -> None:
    step = commands.add_parser(
        "step", help="step through a backward pass, forwards and backwards in time",
        description="Record a backward pass and step through it. Exit code 0; with --do 1: a check "
                    "or a mismatch found a wrong gradient; 2: something cannot be used. What "
                    "stands behind -- goes to the script.")
    what = step.add_mutually_exclusive_group()
    what.add_argument("script", nargs="?", metavar="SCRIPT.py",
                      help="is run up to the end of its backward pass")
    what.add_argument("--model", default="tiny", metavar="NAME",
                      help="a built-in one: tiny, seq2seq, gpt, vit (%(default)s)")
    what.add_argument("--load", metavar="TRACE", help="a trace that was saved")
    step.add_argument("--backward", type=int, default=1, metavar="N",
                      help="which backward pass of the script (%(default)s)")
    step.add_argument("--seed", type=int, default=0, metavar="N",
                      help="of random numbers (%(default)s)")
    how = step.add_mutually_exclusive_group()
    how.add_argument("--app", action="store_true",
                     help="on the whole terminal: keys, mouse, arrays as heat maps")
    how.add_argument("--do", metavar="COMMANDS",
                     help="run these and exit: --do 'b nan; c; where'; `help` is one of them")
    step.add_argument("--html", metavar="PAGE.html",
                      help="write a page to step through in a browser, and exit")
    step.add_argument("--save", metavar="TRACE", help="write the trace, and exit")


def run(arguments: argparse.Namespace) -> int:
    """Record, then write, obey --do, or ask for commands. Returns the exit code: 1 if a wrong
    gradient was found."""
    if arguments.app and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError("--app needs a terminal to draw on. Without one, --do 'COMMANDS' runs "
                         "commands of the shell.")
    trace = trace_of(arguments)
    if not len(trace):
        raise InputError("this backward pass began at a leaf: there is no operation to step "
                         "through. --backward chooses another.")
    if arguments.save is not None:
        trace.save(arguments.save)
        print(f"{arguments.save}: {len(trace)} steps")
    if arguments.html is not None:
        print(f"{arguments.html}: {len(trace.to_html(arguments.html)) / 1e6:.1f} MB")
    if arguments.app:
        npf.debug.app.run(trace)
        return 0

    from .helpers.terminal import ask_for_commands, run_commands
    if arguments.do is not None:
        return run_commands(trace, arguments.do.split(";"))
    return ask_for_commands(trace) if arguments.save is arguments.html is None else 0


def trace_of(arguments: argparse.Namespace) -> Trace:
    if arguments.backward < 1:
        raise InputError(f"--backward counts backward passes from 1, got {arguments.backward}.")
    if arguments.rest and not arguments.script:
        raise InputError("what stands behind -- goes to a script; name the script.")
    if arguments.load:
        return npf.debug.Trace.load(arguments.load)
    seed = checked_seed(arguments)

    from .helpers.script_trace import trace_example, trace_script
    if not arguments.script:
        return trace_example(arguments.model, seed)
    path, name = split_target(arguments.script)
    if name:
        raise InputError(f"{arguments.script}: a whole script is run; leave ::{name} away.")
    manual_seed(seed)
    return trace_script(os.path.abspath(path), arguments.rest, arguments.backward)
