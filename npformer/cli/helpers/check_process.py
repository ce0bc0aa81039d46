"""The process in which `npformer check` runs a user's file, its time limit, and its results."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import Any
from xml.etree import ElementTree

WORKER = f"{__package__}.check_worker"
Result = dict[str, Any]


def run_checks(path: str, name: str, seed: int, timeout: float) -> list[Result]:
    """The results of all checks, in order; what could not be run has the status "error"."""
    with tempfile.TemporaryDirectory() as folder:
        log, output = os.path.join(folder, "results"), os.path.join(folder, "output")
        code = run_worker([path, name, str(seed), log], output, timeout)
        with open(output, encoding="utf-8", errors="replace") as file:
            sys.stderr.write(file.read())          # a user's print must not mix with the report
        entries = []
        if os.path.exists(log):
            with open(log, encoding="utf-8") as file:
                entries = [json.loads(line) for line in file if line.endswith("\n")]
    results = [{"name": e.pop("end"), **e} for e in entries if "end" in e]
    results += [failed_result(path, e["failed"]) for e in entries if "failed" in e]
    if code == 0 and entries and {"done", "failed"} & set(entries[-1]):
        return results
    last = entries[-1].get("begin") if entries else None
    when = f"{last}, while it was checked," if last else "while it was imported, it"
    where = f"{os.path.basename(path)}: {when}"
    return [*results, failed_result(last or path, f"{where} {describe_end(code, timeout)}")]


def run_worker(arguments: list[str], output: str, timeout: float) -> int | None:
    """Run the worker. Returns its exit code; None if it was ended because the time was over."""
    with open(output, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", WORKER, *arguments],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            end_process(process)


def end_process(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def describe_end(code: int | None, timeout: float) -> str:
    if code is None:
        return (f"gave no answer within {timeout:g} seconds and was ended.\n"
                "  Give it longer with --timeout, or smaller inputs.")
    if code < 0:
        return (f"died of signal {signal.Signals(-code).name}: a crash in compiled code, "
                "or too little memory.")
    return f"left the process with exit code {code}."


def failed_result(name: str, text: str) -> Result:
    return {"name": name, "status": "error", "text": text, "findings": [], "seconds": 0.0}


def junit_xml(path: str, results: list[Result]) -> bytes:
    failures = sum(r["status"] in ("wrong", "vacuous") for r in results)
    errors = sum(r["status"] == "error" for r in results)
    suite = ElementTree.Element("testsuite", name=f"npformer check {path}", tests=str(len(results)),
                                failures=str(failures), errors=str(errors))
    for r in results:
        case = ElementTree.SubElement(suite, "testcase", classname=path, name=r["name"],
                                      time=f"{r['seconds']:.3f}")
        if r["status"] != "right":
            kind = r["findings"][0]["kind"] if r["findings"] else r["status"]
            tag = "error" if r["status"] == "error" else "failure"
            # XML has no control characters
            text = "".join(c for c in r["text"] if c.isprintable() or c == "\n")
            first = text.partition("\n")[0]
            ElementTree.SubElement(case, tag, type=kind, message=first).text = text
    return ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
