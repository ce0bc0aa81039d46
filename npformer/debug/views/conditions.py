"""Conditions on a step, as a person types them: `op:softmax`, `norm(g) > 10 and not mismatch`.

A condition is an expression (`expressions`) over what a step has by name: `g` (what arrived), `y`
(the output), the inputs (`x`), what was sent (`dx`), what was saved, and the facts below.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.errors import GraphError, InputError
from ...core.facts import ArrayFacts
from ...core.operation import Fused
from ..traces.trace import Trace, TraceStep
from ..traces.why import is_nonfinite
from .expressions import PUBLIC_FUNCTIONS, Absent, holds, matches, parse_expression, value_of
from .statistics import arrays_of

AGREES = {8: 1e-9, 4: 1e-3}                        # how far a definition may be from its rule, by
#                                                    bytes of the dtype


def mismatch(step: TraceStep) -> bool:
    """Whether a step's rule is wrong. A fused rule is wrong where it differs from its definition,
    any other where it differs from finite differences. Raises Absent where it cannot be known:
    values are missing, or the code is."""
    try:
        fused = isinstance(step.node.op, Fused)
        return differs_from_definition(step) if fused else not step.check()
    except GraphError as error:
        raise Absent(str(error)) from None


def differs_from_definition(step):
    """Whether a fused step's definition gives another gradient to some argument than its rule. Each
    gradient is measured by its own largest entry, because a wrong one may be small beside the
    others (dweight beside dbias). But one that is 0 up to rounding, as a key's bias has it, would
    differ from itself by any amount; so the measure is a millionth of the largest one at least."""
    inside = step.into()
    pairs = []
    for name, d in step.gradients.items():
        by_definition = inside.gradient(name)
        pairs.append((d, np.zeros_like(d) if by_definition is None else by_definition))
    sizes = [max(np.abs(d).max(initial=0), np.abs(other).max(initial=0)) for d, other in pairs]
    least = 1e-6 * max(sizes, default=0)
    allowed = AGREES.get(step.upstream.dtype.itemsize, 1e-3)
    return any(np.abs(d - other).max(initial=0) > allowed * max(size, least)
               for (d, other), size in zip(pairs, sizes))


def holds_odd_numbers(step, fact, test):
    """Whether a gradient at a step holds NaN (or infinity), or its output does and no input does.
    The output alone would not do: a mask holds −∞ because it must, and the output of each step
    behind a NaN holds NaN. The step to find is the one that made it."""
    def has_some(value):
        if not is_nonfinite(value):
            return False
        return bool(getattr(value, fact) if isinstance(value, ArrayFacts) else test(value).any())

    if any(map(has_some, (step.upstream, *step.gradients.values()))):
        return True
    return has_some(step.value) and not any(map(has_some, step.node.values))


FACTS: dict[str, Callable[[TraceStep], Any]] = {
    "op": lambda step: step.op, "where": lambda step: step.where,
    "index": lambda step: step.index, "name": lambda step: f"{step.name} {step.where}",
    "fanout": lambda step: len(step.node.contributions),
    "nan": lambda step: holds_odd_numbers(step, "nan", np.isnan),
    "inf": lambda step: holds_odd_numbers(step, "inf", np.isinf),
    "mismatch": mismatch}


class Names(dict):
    """What a name means at a step; looked up when it is asked for, since some are costly."""

    def __init__(self, step: TraceStep) -> None:
        super().__init__()
        for _, name, value in arrays_of(step):
            if name not in FACTS:                  # gather has an argument `index`
                self.setdefault(name, value)
        self.step = step

    def __missing__(self, name):
        if name not in FACTS:
            raise Absent
        return FACTS[name](self.step)


def names_in(trace: Trace) -> set[str]:
    return {name for step in trace for name in Names(step)}


def check_names(tree, text, names):
    """Raise InputError where an expression uses a name that no step has."""
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in functions and node.id not in names:
            near = difflib.get_close_matches(node.id, names, 3, 0.5)
            hint = f"; is it {' or '.join(near)}?" if near else ""
            raise InputError(
                f"`{text}`: nothing is called `{node.id}`{hint}\n  Names: {', '.join(FACTS)}; g, "
                "y, inputs (x), gradients (dx), and what was saved.\n  Functions: "
                f"{PUBLIC_FUNCTIONS}.\n  Patterns: op:soft*, name:blocks.1.*")


def check_patterns(tree, text, trace):
    """Raise InputError where op:... or name:... matches no step of the trace."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or node.func.id != "like":
            continue
        fact, pattern = node.args[0].id, node.args[1].value
        if any(matches(FACTS[fact](step), pattern) for step in trace):
            continue
        there = list(dict.fromkeys(step.op if fact == "op" else step.where for step in trace))
        near = difflib.get_close_matches(pattern, there, 3, 0.4)
        hint = (f"Is it {' or '.join(near)}?" if near else
                f"There are {', '.join(filter(None, there))[:200]}")
        raise InputError(f"`{text}`: no step matches {fact}:{pattern}. {hint}")


class Condition:
    """A condition that was read and found to make sense for a trace. Names and patterns are checked
    against the trace at once: a breakpoint with a typing mistake would else never be met, and
    whoever waits for it would take the silence for an answer. unknown: how many steps could not be
    judged by it; reason: why, of the first."""

    def __init__(self, text: str, trace: Trace) -> None:
        self.text, self.tree = text.strip(), parse_expression(text)
        if isinstance(self.tree, ast.Constant):
            raise InputError(f"`{self.text}` does not speak of a step. `index == 3` holds at step "
                             "3, op:softmax at every softmax")
        check_names(self.tree, text, names_in(trace) | set(FACTS))
        check_patterns(self.tree, text, trace)
        self.about_rules = any(isinstance(node, ast.Name) and node.id == "mismatch"
                               for node in ast.walk(self.tree))
        self.unknown, self.reason = 0, ""

    def holds(self, step: TraceStep) -> bool:
        try:
            return holds(value_of(self.tree, Names(step), f"step {step.index}, {step.op}"))
        except Absent as error:
            # That a step has no dx is an answer: no. That a rule could not be checked is none.
            self.unknown += self.about_rules
            why = str(error) or f"{step.op}: not all it needs is in the trace"
            self.reason = self.reason or f"step {step.index}, {why}"
        except InputError as error:
            self.unknown, self.reason = self.unknown + 1, str(error)
        return False


def calculate(text: str, step: TraceStep, more: Sequence[str] = ()) -> Any:
    """The value of an expression at a step, for `p`. more: names to suggest. Raises InputError."""
    tree = parse_expression(text)
    names = Names(step)
    check_names(tree, text, {*names, *FACTS, *more})
    try:
        return value_of(tree, names, f"`{text}`")
    except Absent:
        raise InputError(f"`{text}`: the numbers for this are not in the trace") from None
