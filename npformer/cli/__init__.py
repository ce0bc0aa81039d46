"""The command `npformer`: a file here is a command, with its options, its help and its work.

`declare(commands)` adds its parser, `run(arguments)` does the work and returns the exit code. All
are loaded to print `npformer --help`; what is slow to load (debug, verify) is loaded in `run`.
Bad input gets one clear message and exit code 2.
"""

import argparse
import os
import sys

from ..core import devices, threads
from ..core.errors import NpformerError
from . import check, compare, demo, golden, info, residual, step, train

INTERRUPTED = 130                                  # a shell's code for what Ctrl-C ended

# In the order of `npformer --help`. A command is called as its file is.
COMMANDS = {module.__name__.rpartition(".")[2]: module
            for module in (train, residual, demo, step, check, golden, compare, info)}


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code. 0; 1 if a check fails, 2 for what cannot be used, 130
    after Ctrl-C."""
    argv, rest = split_script_arguments(sys.argv[1:] if argv is None else list(argv))
    arguments = parser().parse_args(argv)
    arguments.rest = rest
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")   # where · or × cannot be shown stands a ?
    try:
        if arguments.command != "info":            # it says why a backend cannot work
            devices.backend_from_environment()
        if "threads" in arguments:
            threads.set_num_threads(arguments.threads)
        code = COMMANDS[arguments.command].run(arguments)
        sys.stdout.flush()
        return code
    except NpformerError as error:
        return complain(str(error), code=getattr(error, "exit_code", 2))
    except MemoryError as error:
        return complain(f"there is not enough memory ({error}).\n"
                        "  Try a smaller --batch, --context or --depth.")
    except KeyboardInterrupt:
        return complain("stopped.", INTERRUPTED)
    except BrokenPipeError:                        # `npformer demo | head` is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def split_script_arguments(argv: list[str]) -> tuple[list[str], list[str]]:
    """(npformer's own arguments, those after -- for the script that `npformer step` runs)."""
    end = argv.index("--") if argv[:1] == ["step"] and "--" in argv else len(argv)
    return argv[:end], argv[end + 1:]


def complain(text: str, code: int = 2) -> int:
    """Say on stderr what is wrong; returns the exit code."""
    sys.stderr.write(f"npformer: {text}\n")
    return code


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="npformer", description="A Transformer on NumPy with a backward pass to read.")
    top.add_argument("--version", action="version", version=f"npformer {info.package_version()}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS.values():
        command.declare(commands)
    return top
