"""A user's Python file, named on the command line as FILE.py or FILE.py::name."""

import importlib.util
import os
import sys
import traceback

from ..core.errors import InputError


def split_target(target):
    """(path, name) of FILE.py::name; name '' where none is given. An InputError if there is no such file."""
    path, _, name = target.partition("::")
    if not path.endswith(".py"):
        raise InputError(f"{path!r} is no Python file: its name must end in .py (FILE.py or FILE.py::name).")
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such file.")
    return path, name


def seed_of(arguments):
    """--seed, an integer >= 0."""
    if arguments.seed < 0:
        raise InputError(f"--seed must be an integer >= 0, got {arguments.seed}.")
    return arguments.seed


def load(path):
    """The module in a file; an InputError that says which line of it fails, if it cannot be run."""
    name = f"checked_{os.path.splitext(os.path.basename(path))[0]}"        # json.py must not stand in for json
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with told(path, "it cannot be imported"):
        spec.loader.exec_module(module)
    return module


class told:
    """Turns whatever goes wrong inside the block into an InputError that names the line of the user's file."""

    def __init__(self, path, what):
        self.path, self.what = os.path.abspath(path), what

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None or isinstance(error, (KeyboardInterrupt, InputError)):
            return False
        raise InputError(f"{os.path.basename(self.path)}: {self.what}.\n  {self.line(error, trace)}") from None

    def line(self, error, trace):
        """The error in a line, with the innermost line of the user's file."""
        if isinstance(error, SyntaxError) and error.filename:
            return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
        lines = [frame for frame in traceback.extract_tb(trace) if os.path.abspath(frame.filename) == self.path]
        place = f"line {lines[-1].lineno}, `{lines[-1].line}`: " if lines else ""
        return f"{place}{type(error).__name__}: {error}".rstrip(": ")
