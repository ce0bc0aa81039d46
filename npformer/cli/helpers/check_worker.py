"""The process in which `npformer check` runs a user's code.

    python -m npformer.cli.helpers.check_worker FILE NAME SEED RESULTS

It writes a line of JSON to RESULTS before and after each check, so that whoever waits for it knows
at which check it was when it hangs or dies.
"""

import dataclasses
import difflib
import sys
import time

from ...core.errors import InputError
from ...verify.discovery import checkables
from .json_text import as_json
from .user_file import explain_errors, load


def main(path: str, name: str, seed: str, results: str) -> None:
    with open(results, "w", encoding="utf-8") as file:
        def say(**entry):
            file.write(as_json(entry) + "\n")
            file.flush()

        try:
            chosen = choose(checkables(load(path)), path, name)
        except InputError as error:
            say(failed=str(error))
            return
        for checkable in chosen:
            say(begin=checkable.name)
            say(**judge(path, checkable, int(seed)))
        say(done=True)


def choose(found, path, name):
    """Those that are called `name`, or all; an InputError if that is none."""
    if not found:
        raise InputError(f"{path}: there is nothing to check in it. What is found: x_forward and "
                         "x_backward with x_inputs(rng),\n  subclasses of npf.autograd.Function, "
                         "and functions marked with @npf.verify.check(inputs=...).")
    chosen = [c for c in found if not name or name in (c.name, getattr(c.forward, "__name__", ""))]
    if not chosen:
        names = [c.name for c in found]
        near = difflib.get_close_matches(name, names, n=1)
        guess = f"; is it {near[0]}?" if near else ""
        raise InputError(f"{path} has nothing called {name!r} to check{guess}\n"
                         f"  It has: {', '.join(names)}")
    return chosen


def judge(path, checkable, seed):
    began = time.perf_counter()
    try:
        with explain_errors(path, f"{checkable.name} cannot be checked"):
            report = checkable.run(seed)
    except InputError as error:
        return {"end": checkable.name, "status": "error", "text": str(error), "findings": [],
                "seconds": time.perf_counter() - began}
    wrong = report.wrong or not all(c.ok for c in report.comparisons)
    status = "right" if report else "wrong" if wrong else "vacuous"
    return {"end": checkable.name, "status": status, "text": str(report),
            "findings": [dataclasses.asdict(f) for f in report.findings],
            "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    main(*sys.argv[1:])
