"""A user's Python file, named on the command line as FILE.py or FILE.py::name."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from types import ModuleType

from ...core.errors import InputError


def split_target(target: str) -> tuple[str, str]:
    """(path, name) of FILE.py::name; name '' where none is given. An InputError if there is no such
    file."""
    path, _, name = target.partition("::")
    if not path.endswith(".py"):
        raise InputError(f"{path!r} is not a Python file: its name must end in .py "
                         "(FILE.py or FILE.py::name).")
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such file.")
    return path, name


def checked_seed(arguments: argparse.Namespace) -> int:
    """--seed, an integer >= 0."""
    if arguments.seed < 0:
        raise InputError(f"--seed must be an integer >= 0, got {arguments.seed}.")
    return arguments.seed


def load(path: str) -> ModuleType:
    """The module in a file; an InputError that says which line of it fails, if it cannot be run."""
    # json.py of a user must not stand in for the module json
    name = f"checked_{os.path.splitext(os.path.basename(path))[0]}"
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: Python does not know how to load it.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with explain_errors(path, "it cannot be imported"):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def explain_errors(path: str, what: str) -> Iterator[None]:
    """Turn any error of the block into an InputError that names the line of the user's file."""
    try:
        yield
    except (KeyboardInterrupt, InputError):
        raise
    except BaseException as error:                 # noqa: BLE001   a user's file may call sys.exit
        name, line = os.path.basename(path), line_of_error(path, error)
        raise InputError(f"{name}: {what}.\n  {line}") from None


def line_of_error(path: str, error: BaseException) -> str:
    """The error in a line, with the innermost line of the user's file."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    path = os.path.abspath(path)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__)
             if os.path.abspath(frame.filename) == path]
    place = f"line {lines[-1].lineno}, `{lines[-1].line}`: " if lines else ""
    return f"{place}{type(error).__name__}: {error}".rstrip(": ")
