"""Why a gradient is zero, or not a number: the operation that did it, and the reason in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core import anomaly
from ...core.facts import ArrayFacts, facts_of
from ...core.source import short_path
from .nodes import TracedNode


@dataclass
class Reason:
    """An answer to "why": the node where it happens, and the words. `chain`: the names from there
    to what was asked for."""

    asked: str
    node: TracedNode | None
    message: str
    chain: Sequence[str] = ()

    def __str__(self):
        lines = [self.message]
        if self.node is not None and self.node.line:
            file, at = self.node.line
            where = f", in {self.node.where}" if self.node.where else ""
            lines.append(f"  at {short_path(file)}:{at}{where}")
        if len(self.chain) > 1:
            shown = self.chain if len(self.chain) <= 8 else [*self.chain[:4], "…", *self.chain[-3:]]
            lines.append("  " + " → ".join(shown))
        return "\n".join(lines)

    __repr__ = __str__


def why_zero(trace, node):
    """The Reason why a node's gradient is zero, followed up to the operation that stopped it."""
    if node.gradient is None:
        return Reason(node.name, node,
                      f"no gradient came to {node.name}: no way from the loss leads to it")
    zeros = np.asarray(node.gradient) == 0
    if not zeros.any():
        return Reason(node.name, node, f"the gradient of {node.name} is zero nowhere")
    if not zeros.all():
        return explain_some_zeros(trace, node, zeros)
    chain, at = [node.name], node
    # From consumer to consumer, towards the loss, as long as only zeros arrive: the first that gets
    # something and sends zeros has stopped it. Those between only passed zeros on.
    while True:
        live = [c for c in at.contributions if np.any(c.array)]
        if live:
            return Reason(node.name, at, f"{len(live)} contributions to {at.name} cancel: "
                                         "each is not zero, their sum is", chain[::-1])
        c = at.contributions[0]
        if c.step < 0:
            words = "the gradient that the walk began with is zero"
            return Reason(node.name, at, words, chain[::-1])
        step = trace[c.step]
        if np.any(step.upstream):
            stops = [words_of_stop(trace[c.step], c.argument) for c in at.contributions
                     if c.step >= 0 and np.any(trace[c.step].upstream)]
            words = f"{step.name} stops it: {'; '.join(dict.fromkeys(stops))}"
            return Reason(node.name, step.node, words, [step.name, *chain[::-1]])
        at = step.node
        chain.append(at.name)


def words_of_stop(step, i):
    """Why `step` sent zeros (or some) to its argument i although something arrived: a clause, as
    the operation's block has it. Where the block says nothing, the rule has the last word: it gives
    zero."""
    name, values = step.node.op.name_of(i), values_at(step)
    for fact in facts_on(step, i, "flat"):
        mask = fact.mask(values)
        if mask is not None and np.any(mask):
            return fact.in_words(name, mask, values)
    return f"its rule gives zero for {name}"


def facts_on(step, i, kind):
    """The Facts of that kind on argument i in the operation's block; a Function has none."""
    return [fact for fact in getattr(step.node.op, "facts", ())
            if (fact.kind, fact.argument) == (kind, step.node.op.name_of(i))]


def values_at(step):
    """What a Fact may name: arguments, output, options, what was saved; no summaries."""
    op = step.node.op
    values = {**getattr(op, "options", {}), **step.options, **(step.saved or {}), **step.inputs,
              "y": step.value}
    return {name: value for name, value in values.items() if not isinstance(value, ArrayFacts)}


def explain_some_zeros(trace, node, zeros):
    causes = [f"{trace[c.step].name}: {words_of_stop(trace[c.step], c.argument)}"
              for c in node.contributions if c.step >= 0 and np.any(np.asarray(c.array) == 0)]
    message = f"{int(zeros.sum())} of {zeros.size} entries of the gradient of {node.name} are zero"
    words = "; ".join(dict.fromkeys(causes))
    return Reason(node.name, node, f"{message}: {words}" if words else message)


def why_nan(trace, node):
    """The Reason of the first NaN or infinity, forward, then backward; behind `node` if given."""
    asked = node.name if node is not None else "the trace"
    wanted = None if node is None else steps_towards(trace, node)
    if node is not None and node.gradient is not None and np.isfinite(node.gradient).all():
        return Reason(asked, node, f"the gradient of {node.name} is finite everywhere")
    for n in trace.nodes:
        if is_nonfinite(n.value) and n.op is None:
            return Reason(asked, n, f"{n.name} itself holds {count_nonfinite(n.value)}")
        if is_nonfinite(n.value) and not any(is_nonfinite(v) for v in n.values):
            values = {n.op.name_of(i): v for i, v in enumerate(n.values)}
            return Reason(asked, n, f"forward: {n.name} makes {count_nonfinite(n.value)}"
                                    + explain_nonfinite("undefined", n, values, n.value))
    for step in trace:
        if wanted is not None and step.index not in wanted:
            continue
        sent = [i for i, d in enumerate(step.sent) if is_nonfinite(d)]
        if sent and not is_nonfinite(step.upstream):
            name, d = step.node.op.name_of(sent[0]), step.sent[sent[0]]
            values = {"g": step.upstream, **step.inputs, "y": step.value}
            message = (f"backward: step {step.index}, {step.name}, gets finite numbers and sends "
                       f"{name} {count_nonfinite(d)}")
            return Reason(asked, step.node,
                          message + explain_nonfinite("steep", step.node, values, d))
    if any(is_nonfinite(g) for _, g in trace.seeds):
        return Reason(asked, None, "the gradient that the walk began with is not finite")
    return Reason(asked, node, "every value and every gradient is finite")


def explain_nonfinite(fact, node, values, made):
    """Lines: the values that an operation made NaN or infinity of, and why it did."""
    known = {name: v for name, v in values.items() if v is not None}
    if any(isinstance(v, ArrayFacts) for v in (made, *known.values())) or not known:
        return "\n  its arguments are not in the trace"
    kind = "NaN" if np.isnan(made).any() else "infinity"
    why = anomaly.reason(node.op, fact, {**known, **node.options}, kind, made)
    return "\n".join(["", *anomaly.describe_values(known), f"  {why}"])


def steps_towards(trace, node):
    """The steps through which gradient came to `node`."""
    seen, stack = set(), [node]
    while stack:
        for c in stack.pop().contributions:
            if c.step >= 0 and c.step not in seen:
                seen.add(c.step)
                stack.append(trace[c.step].node)
    return seen


def is_nonfinite(value):
    """Whether an array holds NaN or infinity."""
    if value is None or not hasattr(value, "dtype") or value.dtype.kind != "f":
        return False
    if isinstance(value, ArrayFacts):
        return bool(value.nan or value.inf)
    # Not by `facts_of`: this is asked of every array of a trace, and all facts read it many times.
    return not np.isfinite(value).all()


def count_nonfinite(value):
    """How many NaN and infinities an array holds, in words."""
    said = facts_of(value)
    parts = [f"{count} {name}" for count, name in ((said.nan, "NaN"), (said.inf, "inf")) if count]
    return f"{' and '.join(parts)} of {said.size}"
