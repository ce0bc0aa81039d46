"""Who sent what: the ledger of a gradient, the ways by which it travelled, and why it is zero or not a number."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..core import anomaly, tape
from ..core.arrays import to_numpy
from .present import norm, number, short
from .reasons import stopped_by
from .record import Summary, TracedNode

if TYPE_CHECKING:
    from collections.abc import Sequence


class Entry(NamedTuple):
    """One line of a ledger: the consumer, what it sent, the sum so far, and how many contributions are still to come."""

    step: int                                      # of the consumer; -1: the walk began here
    consumer: str
    argument: str
    contribution: np.ndarray
    running: np.ndarray
    left: int


@dataclass
class Ledger:
    """All contributions to one gradient, in the order in which they came. `total` is the last running sum.

    hooked: whether a hook changed the sum, so that `gradient` is not `total`.
    """

    name: str
    entries: Sequence[Entry]
    gradient: np.ndarray | None

    @property
    def total(self) -> np.ndarray | None:
        """The sum of all contributions."""
        return self.entries[-1].running if self.entries else None

    @property
    def hooked(self) -> bool:
        """Whether a hook changed the gradient after it was added up."""
        total, gradient = self.total, self.gradient
        return total is not None and gradient is not None and not np.array_equal(total, gradient, equal_nan=True)

    def __len__(self):
        return len(self.entries)

    def __iter__(self):
        return iter(self.entries)

    def __str__(self):
        if not self.entries:
            return f"{self.name}: no gradient came"
        width = max(len(f"{e.consumer}.{e.argument}") for e in self.entries)
        lines = [f"{self.name}: {len(self.entries)} contribution{'s' if len(self.entries) > 1 else ''}"]
        lines += [f"  {f'{e.consumer}.{e.argument}':{width}}  sent |{size(e.contribution)}|   sum so far |{size(e.running)}|"
                  f"   {e.left} to come" for e in self.entries]
        return "\n".join(lines + (["  then a hook changed it"] if self.hooked else []))

    def _repr_html_(self):
        from .notebook import ledger_html
        return ledger_html(self)


def size(array):
    """‖array‖₂ in four digits."""
    return number(norm(array))


def ledger_of(trace, node):
    """The Ledger of a node."""
    entries, running = [], None
    for k, c in enumerate(node.contributions):
        running = c.array if running is None else tape.solid(running + c.array)
        consumer = trace[c.step].node if c.step >= 0 else None
        entries.append(Entry(c.step, consumer.name if consumer else "the start of the walk",
                             consumer.op.name_of(c.argument) if consumer else "seed", c.array, running,
                             len(node.contributions) - k - 1))
    return Ledger(node.name, entries, node.gradient)


# ── ways ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Path:
    """One way by which gradient travelled: the names it passed, from the later to the earlier, and what came by it."""

    names: list[str]
    gradient: np.ndarray

    @property
    def norm(self) -> float:
        """‖gradient‖₂"""
        return norm(self.gradient)

    def __str__(self):
        return f"|{self.norm:.4g}|  " + " → ".join(self.names)

    __repr__ = __str__


class Ways(list):
    """Some of the Paths between two values, the shortest first; `total` is how many there are in all."""

    total = 0

    def __str__(self):
        rest = self.total - len(self)
        return "\n".join([*map(str, self), *([f"and {rest:,} longer ways"] if rest else [])])


def paths(trace, a, b, most):
    """Up to `most` Paths from b back to a, the shortest first: what came by each is the product of the rules on it."""
    left = steps_left(a, b)
    found = Ways()
    if b not in left or b.gradient is None:
        return found
    found.total = left[b][1]
    tie = itertools.count()
    heap = [(left[b][0], next(tie), b, b.gradient, (b.name, None))]
    while heap and len(found) < most:              # the shortest way in all is followed first, so nothing is tried in vain
        length, _, node, g, names = heapq.heappop(heap)
        if node is a:
            found.append(Path(unrolled(names), to_numpy(g)))
            continue
        walked = length - left[node][0] + 1
        for parent, d in zip(node.parents, tape.send(node, g, False)):
            if d is not None and parent in left:
                heapq.heappush(heap, (walked + left[parent][0], next(tie), parent, d, (parent.name, names)))
    return found


def unrolled(names):
    """A list out of (last, (the one before, ...))."""
    found = []
    while names is not None:
        found.append(names[0])
        names = names[1]
    return found[::-1]


def steps_left(a, b):
    """{node on a way from b back to a: (steps to a by the shortest way, how many ways there are)}"""
    reached, stack = {b}, [b]
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent.number >= a.number and parent not in reached:
                reached.add(parent)
                stack.append(parent)
    left = {a: (0, 1)}
    for node in sorted(reached, key=lambda n: n.number):
        nearer = [left[parent] for parent in node.parents if parent in left]
        if nearer and node is not a:
            left[node] = (1 + min(steps for steps, _ in nearer), sum(count for _, count in nearer))
    return left


# ── why ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Reason:
    """An answer to "why": the node where it happens, and the words. `chain`: the names from there to what was asked for."""

    asked: str
    node: TracedNode | None
    message: str
    chain: Sequence[str] = ()

    def __str__(self):
        lines = [self.message]
        if self.node is not None and self.node.line:
            file, at = self.node.line
            lines.append(f"  at {short(file)}:{at}" + (f", in {self.node.where}" if self.node.where else ""))
        if len(self.chain) > 1:
            shown = self.chain if len(self.chain) <= 8 else [*self.chain[:4], "…", *self.chain[-3:]]
            lines.append("  " + " → ".join(shown))
        return "\n".join(lines)

    __repr__ = __str__


def why_zero(trace, node):
    """The Reason why a node's gradient is zero, followed up to the operation that stopped it."""
    if node.gradient is None:
        return Reason(node.name, node, f"no gradient came to {node.name}: no way from the loss leads to it")
    zeros = np.asarray(node.gradient) == 0
    if not zeros.any():
        return Reason(node.name, node, f"the gradient of {node.name} is zero nowhere")
    if not zeros.all():
        return partly_zero(trace, node, zeros)
    chain, at = [node.name], node
    while True:
        live = [c for c in at.contributions if np.any(c.array)]
        if live:
            return Reason(node.name, at, f"{len(live)} contributions to {at.name} cancel: each is not zero, their sum is",
                          chain[::-1])
        c = at.contributions[0]
        if c.step < 0:
            return Reason(node.name, at, "the gradient that the walk began with is zero", chain[::-1])
        step = trace[c.step]
        if np.any(step.upstream):
            words = "; ".join(dict.fromkeys(stopped_by(trace[c.step], c.argument) for c in at.contributions
                                            if c.step >= 0 and np.any(trace[c.step].upstream)))
            return Reason(node.name, step.node, f"{step.name} stops it: {words}", [step.name, *chain[::-1]])
        at = step.node
        chain.append(at.name)


def partly_zero(trace, node, zeros):
    """The Reason where some entries of a gradient are zero."""
    causes = [f"{trace[c.step].name}: {stopped_by(trace[c.step], c.argument)}" for c in node.contributions
              if c.step >= 0 and np.any(np.asarray(c.array) == 0)]
    return Reason(node.name, node, f"{int(zeros.sum())} of {zeros.size} entries of the gradient of {node.name} are zero"
                  + (f": {'; '.join(dict.fromkeys(causes))}" if causes else ""))


def why_nan(trace, node):
    """The Reason of the first NaN or infinity: in the forward pass, else in the backward pass; behind `node` if given."""
    asked = node.name if node is not None else "the trace"
    wanted = None if node is None else ancestors_and_consumers(trace, node)
    if node is not None and node.gradient is not None and np.isfinite(node.gradient).all():
        return Reason(asked, node, f"the gradient of {node.name} is finite everywhere")
    for n in trace.nodes:
        if bad(n.value) and n.op is None:
            return Reason(asked, n, f"{n.name} itself holds {kinds(n.value)}")
        if bad(n.value) and not any(bad(v) for v in n.values):
            return Reason(asked, n, f"forward: {n.name} makes {kinds(n.value)}" + explained(
                anomaly.VALUES, n, {n.op.name_of(i): v for i, v in enumerate(n.values)}, n.value))
    for step in trace:
        if wanted is not None and step.index not in wanted:
            continue
        sent = [i for i, d in enumerate(step.sent) if bad(d)]
        if sent and not bad(step.upstream):
            name, d = step.node.op.name_of(sent[0]), step.sent[sent[0]]
            values = {"g": step.upstream, **step.inputs, "y": step.value}
            return Reason(asked, step.node, f"backward: step {step.index}, {step.name}, gets finite numbers and sends {name} "
                          + kinds(d) + explained(anomaly.SLOPES, step.node, values, d))
    if any(bad(g) for _, g in trace.seeds):
        return Reason(asked, None, "the gradient that the walk began with is not finite")
    return Reason(asked, node, "every value and every gradient is finite")


def explained(rules, node, values, made):
    """Lines: the values that an operation made NaN or infinity of, and why it did."""
    known = {name: v for name, v in values.items() if v is not None}
    if any(isinstance(v, Summary) for v in (made, *known.values())) or not known:
        return "\n  its arguments are not in the trace"
    kind = "NaN" if np.isnan(made).any() else "infinity"
    why = anomaly.reason(rules, node.op.name, {**known, **node.options}, kind, made)
    return "\n".join(["", *anomaly.facts(known), f"  {why}"])


def ancestors_and_consumers(trace, node):
    """The steps through which gradient came to `node`."""
    seen, stack = set(), [node]
    while stack:
        for c in stack.pop().contributions:
            if c.step >= 0 and c.step not in seen:
                seen.add(c.step)
                stack.append(trace[c.step].node)
    return seen


def bad(value):
    """Whether an array holds NaN or infinity."""
    if value is None or not hasattr(value, "dtype") or value.dtype.kind != "f":
        return False
    return bool(value.nan or value.inf) if hasattr(value, "inf") else not np.isfinite(value).all()


def kinds(value):
    """How many NaN and infinities an array holds, in words."""
    nan = value.nan if hasattr(value, "nan") else int(np.isnan(value).sum())
    inf = value.inf if hasattr(value, "inf") else int(np.isinf(value).sum())
    parts = [f"{count} {name}" for count, name in ((nan, "NaN"), (inf, "inf")) if count]
    return f"{' and '.join(parts)} of {value.size}"
