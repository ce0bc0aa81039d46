"""`npformer check`: the gradients in a user's file, judged in a process with a time limit."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from ..files import write_whole
from .helpers.json_text import as_json
from .helpers.user_file import checked_seed, split_target

if TYPE_CHECKING:
    from .helpers.training_options import Commands

WORDS = {"right": "right", "wrong": "wrong", "vacuous": "at a point that hides mistakes",
         "error": "could not be run"}


def declare(commands: Commands) -> None:
    check = commands.add_parser(
        "check", help="are the gradients in a Python file right?",
        description="Judge the x_forward/x_backward pairs, the autograd.Functions and the marked "
                    "functions of a file. Exit code 0: all right; 1: something is wrong; "
                    "2: something could not be run.")
    what = check.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", metavar="FILE.py[::NAME]",
                      help="the file, or one thing in it")
    what.add_argument("--mutants", action="store_true",
                      help="try the judge itself, by planted mistakes")
    check.add_argument("--json", action="store_true", help="one line of JSON on stdout")
    check.add_argument("--junit", metavar="FILE", help="write JUnit XML there, for a CI server")
    check.add_argument("--seed", type=int, default=0, metavar="N",
                       help="of inputs and upstreams (%(default)s)")
    check.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS",
                       help="for the file (%(default)g)")


def run(arguments: argparse.Namespace) -> int:
    """Check, report, and return the exit code. 0: all right, 1: something is wrong, 2: something
    could not be run."""
    seed = checked_seed(arguments)
    if arguments.mutants:
        from .helpers.planted_mistakes import try_the_judge
        return try_the_judge(seed, arguments.json)
    path, name = split_target(arguments.file)
    if not arguments.timeout > 0:
        raise InputError(f"--timeout must be a number of seconds > 0, got {arguments.timeout:g}.")

    from .helpers.check_process import junit_xml, run_checks
    results = run_checks(path, name, seed, arguments.timeout)
    if arguments.junit:
        write_whole(arguments.junit, junit_xml(path, results))
    return report(path, seed, results, arguments.json)


def report(path: str, seed: int, results: list[dict[str, Any]], json: bool) -> int:
    """Print the results; what could not be run goes to stderr. Returns the exit code."""
    statuses = [r["status"] for r in results]
    code = 1 if {"wrong", "vacuous"} & set(statuses) else 2 if "error" in statuses else 0
    if json:
        print(as_json({"file": path, "seed": seed, "code": code, "results": results}))
    else:
        texts = [r["text"] for r in results if r["status"] != "error"]
        print("\n".join(texts), end="\n" if texts else "")
    for r in results:
        if r["status"] == "error":
            sys.stderr.write(f"npformer: {r['text']}\n")
    if not json and len(results) > 1:
        print(", ".join(f"{statuses.count(s)} {WORDS[s]}" for s in WORDS if s in statuses))
    return code
