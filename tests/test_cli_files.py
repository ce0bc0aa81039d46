"""A command is declared in its own file of npformer/cli, and nowhere else."""

import argparse
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

from npformer import cli

HOME = pathlib.Path(cli.__file__).parent
README = pathlib.Path(__file__).parents[1] / "README.md"
FILES = sorted(path.stem for path in HOME.glob("*.py") if path.stem != "__init__")


def declared_by(module):
    """The names of the commands that a file declares."""
    commands = argparse.ArgumentParser().add_subparsers()
    module.declare(commands)
    return list(commands.choices)


def test_every_file_is_a_command_or_lies_among_the_helpers():
    assert set(FILES) == set(cli.COMMANDS), (
        f"{sorted(set(FILES) ^ set(cli.COMMANDS))}: a file in npformer/cli is a command, "
        "gathered in cli/__init__.py; what helps commands belongs into npformer/cli/helpers")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_file_declares_exactly_the_command_of_its_name(name):
    assert declared_by(cli.COMMANDS[name]) == [name]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_has_the_shape_of_all_commands(name):
    module = cli.COMMANDS[name]
    assert str(inspect.signature(module.run)) == "(arguments: 'argparse.Namespace') -> 'int'"
    assert str(inspect.signature(module.declare)) == "(commands: 'Commands') -> 'None'"
    assert module.__doc__.startswith(f"`npformer {name}`: ")


def test_helpers_declare_nothing():
    helpers = list((HOME / "helpers").glob("*.py"))
    assert helpers
    for path in helpers:
        assert "def declare(" not in path.read_text(), (
            f"{path.name} declares a command: move it up into npformer/cli")


def test_the_readme_names_every_command():
    lines = README.read_text().splitlines()
    table = "\n".join(line for line in lines if line.startswith("| `npformer "))
    for name in cli.COMMANDS:
        assert re.search(rf"`npformer {name}\b", table), f"README's table lacks `npformer {name}`"


def test_help_loads_neither_the_debugger_nor_the_judge():
    script = ("import sys; from npformer.cli import parser; parser().format_help(); "
              "slow = ('npformer.debug', 'npformer.verify', 'rich', 'matplotlib'); "
              "print(*[name for name in sys.modules if name.startswith(slow)])")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=True)
    assert not done.stdout.split(), "load it in `run`: --help reads every command's file"
