"""`npformer check --mutants`: the judge on trial, by the planted mistakes and by the right gradients beside them."""

import time
from argparse import Namespace

from ..verify import check_vjp
from ..verify.mutants import SUBJECTS
from .strict import as_json


def run(arguments: Namespace) -> int:
    """Judge every planted mistake. Returns the exit code: 1 if one is missed, or a right gradient is not passed."""
    began, rows = time.perf_counter(), []
    for name, subject in SUBJECTS.items():
        rows += [tried(name, planted, arguments.seed) for planted in (subject.control, *subject.mutants)]
    mutants, controls = ([r for r in rows if bool(r["expected"]) is wanted] for wanted in (True, False))
    missed, blamed = [r for r in mutants if not r["caught"]], [r for r in controls if r["caught"]]
    named = sum(r["found"] in r["expected"] for r in mutants)
    if arguments.json:
        print(as_json({"code": int(bool(missed or blamed)), "seed": arguments.seed, "mutants": mutants, "controls": controls}))
        return int(bool(missed or blamed))
    for r in mutants:
        if r["found"] not in r["expected"]:
            print(f"  {r['name']}: {r['found'] or 'not caught'}; it should be {' or '.join(r['expected'])}")
    for r in blamed:
        print(f"  {r['name']}: said to be {r['found']}, but it is right")
    print(f"{len(mutants)} mistakes planted in {len(SUBJECTS)} operations: {len(mutants) - len(missed)} caught, {named} given "
          f"their name ({named / len(mutants):.1%})\n{len(controls)} right gradients: {len(controls) - len(blamed)} passed    "
          f"[{time.perf_counter() - began:.1f} s]")
    return int(bool(missed or blamed))


def tried(subject, planted, seed):
    """What the judge says of one planted mistake, or of a right gradient."""
    report = check_vjp(planted.forward, planted.backward, planted.inputs(seed), names=planted.names, seed=seed, raises=False)
    return {"subject": subject, "name": planted.name, "expected": list(planted.kinds), "caught": not report,
            "found": report.findings[0].kind if report.findings else "",
            "message": report.findings[0].message if report.findings else ""}
