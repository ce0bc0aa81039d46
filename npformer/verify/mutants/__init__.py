"""Named wrong backward passes, each with its forward, its right rule and the judge's name for it.

They prove the judge: `npformer check --mutants` and the tests hold that each is caught and named,
and that the right gradients beside them pass. They prove a test too: `unnoticed(my_test)` are those
that it lets through.
"""

from collections.abc import Callable

from . import (  # noqa: F401  (each enters its mutants in SUBJECTS)
    attention,
    classes,
    elementwise,
    engine,
    moving,
    norms,
    products,
    reductions,
)
from .planted import SUBJECTS, Mutant, Subject, subject

__all__ = ["SUBJECTS", "Mutant", "Subject", "controls", "mutants", "subject", "unnoticed"]


def mutants() -> dict[str, Mutant]:
    """Every mutant, by name: "softmax: diagonal Jacobian" and the like."""
    return {m.name: m for s in SUBJECTS.values() for m in s.mutants}


def controls() -> dict[str, Mutant]:
    """The right backward of every subject, by name."""
    return {s.control.name: s.control for s in SUBJECTS.values()}


def unnoticed(check: Callable[..., object], *subjects: str, seed: int = 0) -> list[str]:
    """The names of the mutants that a test lets through: an exercise in writing tests.

    check(forward, backward, inputs) is the test: true, or no error, where it finds the gradient
    right. It gets plain NumPy pairs, y = forward(*inputs) and gradients = backward(g, *inputs), or
    with a cache: y, cache = forward(*inputs) and backward(g, cache). subjects: names of SUBJECTS,
    all if there are none.
    """
    passed = []
    for name, mutant in mutants().items():
        if subjects and mutant.subject.name not in subjects:
            continue
        try:
            verdict = check(mutant.forward, mutant.backward, mutant.inputs(seed))
        except Exception:  # noqa: BLE001  (whatever a test raises, it has noticed)
            continue
        if verdict is None or verdict:
            passed.append(name)
    return passed
