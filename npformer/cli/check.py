"""`npformer check`: the gradients in a user's file, judged in a process of its own with a time limit."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from argparse import Namespace
from xml.etree import ElementTree

from ..core.errors import InputError
from ..files import write_whole
from . import mutants
from .script import seed_of, split_target
from .strict import as_json

WORKER = f"{__package__}.worker"


def run(arguments: Namespace) -> int:
    """Check, report, and return the exit code: 0 all right, 1 something is wrong, 2 something could not be run."""
    seed = seed_of(arguments)
    if arguments.mutants:
        return mutants.run(arguments)
    path, name = split_target(arguments.file)
    if not arguments.timeout > 0:
        raise InputError(f"--timeout must be a number of seconds > 0, got {arguments.timeout:g}.")
    results = judged(path, name, seed, arguments.timeout)
    statuses = [r["status"] for r in results]
    code = 1 if {"wrong", "vacuous"} & set(statuses) else 2 if "error" in statuses else 0
    if arguments.junit:
        write_whole(arguments.junit, junit(path, results))
    if arguments.json:
        print(as_json({"file": path, "seed": seed, "code": code, "results": results}))
    else:
        told = [r["text"] for r in results if r["status"] != "error"]
        print("\n".join(told), end="\n" if told else "")
    for r in results:
        if r["status"] == "error":
            sys.stderr.write(f"npformer: {r['text']}\n")
    if not arguments.json and len(results) > 1:
        words = {"right": "right", "wrong": "wrong", "vacuous": "at a point that hides mistakes", "error": "could not be run"}
        print(", ".join(f"{statuses.count(s)} {words[s]}" for s in words if s in statuses))
    return code


def judged(path, name, seed, timeout):
    """The results of all checks, in order; what could not be run is among them, with status "error"."""
    with tempfile.TemporaryDirectory() as folder:
        log, output = os.path.join(folder, "results"), os.path.join(folder, "output")
        code = in_a_process([path, name, str(seed), log], output, timeout)
        with open(output, encoding="utf-8", errors="replace") as file:
            sys.stderr.write(file.read())          # what the user's code prints must not mix with the report
        entries = []
        if os.path.exists(log):
            with open(log, encoding="utf-8") as file:
                entries = [json.loads(line) for line in file if line.endswith("\n")]
    results = [{"name": e.pop("end"), **e} for e in entries if "end" in e]
    results += [error(path, e["failed"]) for e in entries if "failed" in e]
    if code == 0 and entries and {"done", "failed"} & set(entries[-1]):
        return results
    last = entries[-1].get("begin") if entries else None
    where = f"{os.path.basename(path)}: " + (f"{last}, while it was checked," if last else "while it was imported, it")
    return [*results, error(last or path, f"{where} {manner(code, timeout)}")]


def in_a_process(arguments, output, timeout):
    """Run the worker. Returns its exit code; None if it was ended because the time was over."""
    with open(output, "wb") as file:
        process = subprocess.Popen([sys.executable, "-m", WORKER, *arguments], stdin=subprocess.DEVNULL, stdout=file,
                                   stderr=file, start_new_session=True)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            end(process)


def end(process):
    """End a process and those that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def manner(code, timeout):
    """How a process ended, in words."""
    if code is None:
        return f"gave no answer within {timeout:g} seconds and was ended.\n  Give it longer with --timeout, or smaller inputs."
    if code < 0:
        return f"died of signal {signal.Signals(-code).name}: a crash in compiled code, or too little memory."
    return f"left the process with exit code {code}."


def error(name, text):
    """The result of what could not be run."""
    return {"name": name, "status": "error", "text": text, "findings": [], "seconds": 0.0}


def junit(path, results):
    """The results as the XML that CI servers read."""
    suite = ElementTree.Element("testsuite", name=f"npformer check {path}", tests=str(len(results)), failures=str(
        sum(r["status"] in ("wrong", "vacuous") for r in results)), errors=str(
        sum(r["status"] == "error" for r in results)))
    for r in results:
        case = ElementTree.SubElement(suite, "testcase", classname=path, name=r["name"], time=f"{r['seconds']:.3f}")
        if r["status"] != "right":
            kind = r["findings"][0]["kind"] if r["findings"] else r["status"]
            tag = "error" if r["status"] == "error" else "failure"
            text = "".join(c for c in r["text"] if c.isprintable() or c == "\n")       # XML has no control characters
            ElementTree.SubElement(case, tag, type=kind, message=text.partition("\n")[0]).text = text
    return ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
