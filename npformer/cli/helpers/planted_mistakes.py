"""`npformer check --mutants`: the judge on trial, by planted mistakes and by right gradients."""

from __future__ import annotations

import time
from typing import Any

from ...verify import check_vjp
from ...verify.mutants import SUBJECTS
from .json_text import as_json


def try_the_judge(seed: int, json: bool) -> int:
    """Judge every planted mistake. Returns the exit code: 1 if one is missed, or a right gradient
    is not passed."""
    began, rows = time.perf_counter(), []
    for name, subject in SUBJECTS.items():
        rows += [judge_planted(name, planted, seed)
                 for planted in (subject.control, *subject.mutants)]
    mutants = [r for r in rows if r["expected"]]
    controls = [r for r in rows if not r["expected"]]
    missed = [r for r in mutants if not r["caught"]]
    blamed = [r for r in controls if r["caught"]]
    named = sum(r["found"] in r["expected"] for r in mutants)
    code = int(bool(missed or blamed))
    if json:
        print(as_json({"code": code, "seed": seed, "mutants": mutants, "controls": controls}))
        return code
    for r in mutants:
        if r["found"] not in r["expected"]:
            print(f"  {r['name']}: {r['found'] or 'not caught'}; "
                  f"it should be {' or '.join(r['expected'])}")
    for r in blamed:
        print(f"  {r['name']}: said to be {r['found']}, but it is right")
    print(f"{len(mutants)} mistakes planted in {len(SUBJECTS)} operations: "
          f"{len(mutants) - len(missed)} caught, {named} given their name "
          f"({named / len(mutants):.1%})\n"
          f"{len(controls)} right gradients: {len(controls) - len(blamed)} passed    "
          f"[{time.perf_counter() - began:.1f} s]")
    return code


def judge_planted(subject: str, planted: Any, seed: int) -> dict[str, Any]:
    report = check_vjp(planted.forward, planted.backward, planted.inputs(seed), names=planted.names,
                       seed=seed, raises=False)
    return {"subject": subject, "name": planted.name, "expected": list(planted.kinds),
            "caught": not report, "found": report.findings[0].kind if report.findings else "",
            "message": report.findings[0].message if report.findings else ""}
