"""The options that `npformer train`, `residual` and `demo` have in common."""

from __future__ import annotations

import argparse
import dataclasses
import os
from typing import TYPE_CHECKING, Any

from ...train import Config

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

# What is not given stays away from the arguments, so that Config's defaults hold.
TRAINING: dict[str, dict[str, Any]] = {
    "--steps": dict(type=int, metavar="N", help="how many steps of Adam"),
    "--batch": dict(type=int, metavar="N", help="sequences in a step"),
    "--lr": dict(type=float, metavar="X", help="step size of Adam"),
    "--seed": dict(type=int, metavar="N", help="of the weights and of the batches"),
    "--context": dict(type=int, metavar="N", help="characters in a sequence"),
    "--dtype": dict(choices=("float32", "float64"), help="of the weights"),
}


def add_training_command(commands: Commands, name: str, help: str,
                         options: dict[str, dict[str, Any]]) -> argparse.ArgumentParser:
    """A command that takes a text FILE and `options`, whose names and defaults are Config's."""
    command = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    command.add_argument("text", nargs="?", metavar="FILE", default=argparse.SUPPRESS,
                         help="a UTF-8 text (the topics of Python's own help)")
    for option, how in options.items():
        default = how.get("default", getattr(Config, option.strip("-").replace("-", "_")))
        how = {"default": argparse.SUPPRESS, **how, "help": f"{how['help']} ({default})"}
        command.add_argument(option, **how)
    return command


def add_machine_options(command: argparse.ArgumentParser) -> None:
    """Where a command writes (runs/<its name> by default), and how many cores it may use. One
    thread by default: matrices of this size gain little from a second core, and where another
    program wants that core, BLAS's threads wait for each other and a step takes ten times as
    long."""
    default = os.path.join("runs", command.prog.split()[-1])
    command.add_argument("--out", default=default, metavar="DIR",
                         help="where to write (%(default)s)")
    command.add_argument("--threads", type=int, default=1, metavar="N",
                         help="threads of BLAS (%(default)s)")


def config_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of Config that were given, by name. A text by its whole path: a run may be
    resumed from anywhere."""
    names = {field.name for field in dataclasses.fields(Config)}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    return {**given, "text": os.path.abspath(given["text"])} if "text" in given else given
