"""Where the first NaN or infinity was made: by which operation, out of what, and for which reason.

A NaN always counts. An infinity counts where an operation makes it out of finite numbers: a mask of
−∞ is meant.
"""

from __future__ import annotations

import numpy as np

from .errors import GraphError
from .facts import facts_of, four_digits


def refuse_nan(node, g, sent):
    """For `state.check`: GraphError where a node sends NaN, as PyTorch's anomaly mode has it."""
    refuse_sent(node, g, sent, ("NaN",))


def refuse_sent(node, g, sent, kinds=("NaN", "infinity")):
    """For `state.check`: raise GraphError where a rule makes NaN, or ∞ out of finite numbers."""
    values = {"g": array_of(g), **{node.op.name_of(i): a for i, a in enumerate(node.kept)}}
    values = {name: a for name, a in {**values, "y": node.y}.items() if a is not None}
    for i, d in enumerate(sent):
        kind = None if d is None else kind_made(array_of(d), values)
        if kind in kinds:
            name = node.op.name_of(i)
            raise GraphError("\n".join([
                f"{node.op.name}: its backward gave {name} a gradient with {kind} in it",
                f"  {name} {node.dtypes[i]} {node.shapes[i]}, {describe_place(node)}",
                *describe_values(values),
                f"  {reason(node.op, 'steep', values, kind, array_of(d))}"]))


def refuse_output(node, arguments, y):
    """For `state.observer`: raise GraphError where an output has a NaN, or a new infinity."""
    values = {**{node.op.name_of(i): a for i, a in enumerate(arguments)}, **node.options}
    kind = kind_made(y, values)
    if kind is not None:
        many = int((~np.isfinite(y)).sum())
        raise GraphError("\n".join([
            f"{node.op.name}: its forward gave {kind} in {many} of {y.size} entries",
            f"  y {y.dtype} {y.shape}, {describe_place(node)}",
            *describe_values(values),
            f"  {reason(node.op, 'undefined', values, kind, y)}"]))


def kind_made(array, sources):
    """"NaN", or "infinity" if one is in `array` and none was in its `sources`; else None."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return None
    if np.isnan(array).any():
        return "NaN"
    finite = all(np.isfinite(a).all() for a in sources.values() if is_number(a))
    return "infinity" if finite else None


def is_number(value):
    """Whether it is a floating array or number."""
    return isinstance(value, float) or hasattr(value, "dtype") and value.dtype.kind == "f"


def array_of(d):
    """The array of a Box, or the array itself."""
    return getattr(d, "array", d)


# ── what is said ──────────────────────────────────────────────────────────────────────────────────


def describe_place(node):
    """The module and the line that an operation was recorded in."""
    path = node.scope.path() if node.scope else ""
    return (f"in module {path}, " if path else "") + f"recorded at {node.line_text()}"


def describe_values(values):
    """A line for each floating array: what in it is unusual, and its range."""
    lines = []
    for name, a in values.items():
        if is_number(a) and getattr(a, "size", 0):
            said = facts_of(a)
            unusual = [f"{count} {what}" for count, what in (
                (said.nan, "NaN"), (said.inf, "infinite"), (said.zeros, "zero")) if count]
            ends = [] if said.min is None else [said.min, said.max]
            span = [" to ".join(map(four_digits, ends))] if ends else []
            lines.append(f"  {name} {a.dtype} {a.shape}: "
                         + ", ".join(["finite"] * (not said.nan and not said.inf) + unusual + span))
    return lines


@np.errstate(all="ignore")
def reason(op, kind, values, made, result):
    """One sentence: why an operation made `made` ("NaN" or "infinity") out of `values`.

    What its block says of it, by the first of its facts of that kind ("undefined", "steep") that
    holds; else what can be said of any operation.
    """
    named = {name: np.asarray(a, like=result) for name, a in values.items()
             if is_number(a) or isinstance(a, int)}
    for fact in getattr(op, "facts", ()):          # a user's own Function has none
        there = fact.mask(named) if fact.kind == kind else None
        if there is not None and there.any():
            return fact.words
    for test, words in ((np.isnan, "held NaN already: it came from outside what is recorded"),
                        (np.isinf, "held infinities, and ∞ − ∞, 0·∞ and ∞/∞ are NaN")):
        names = [name for name, a in named.items() if test(a).any()]
        if names:
            return f"{' and '.join(names)} {words}"
    beyond = f"beyond {np.finfo(result.dtype).max:.2g}, the largest number of {result.dtype}"
    if made == "infinity" and all(a.all() for a in named.values()):
        return f"a result is {beyond}"
    return f"a result, or one on the way to it, is {beyond}, or something was divided by 0"
