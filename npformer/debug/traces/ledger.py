"""Who sent what: the ledger of a gradient, and the paths along which it travelled."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...core import tape
from ...core.devices import to_numpy
from ...core.facts import four_digits, norm
from .html import notebook_html


class Entry(NamedTuple):
    """One line of a ledger: the consumer, what it sent, the sum so far, how many are to come."""

    step: int                                      # of the consumer; -1: the walk began here
    consumer: str
    argument: str
    contribution: np.ndarray
    running: np.ndarray
    left: int


@dataclass
class Ledger:
    """All contributions to one gradient, in the order of the walk; `total` is the last running sum.

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
        return (total is not None and gradient is not None
                and not np.array_equal(total, gradient, equal_nan=True))

    def __len__(self):
        return len(self.entries)

    def __iter__(self):
        return iter(self.entries)

    def __str__(self):
        if not self.entries:
            return f"{self.name}: no gradient arrived"
        senders = [f"{e.consumer}.{e.argument}" for e in self.entries]
        width = max(map(len, senders))
        lines = [f"{self.name}: {len(self)} contribution{'s' if len(self) > 1 else ''}"]
        for sender, e in zip(senders, self.entries):
            lines.append(f"  {sender:{width}}  sent |{four_digits(norm(e.contribution))}|   "
                         f"sum so far |{four_digits(norm(e.running))}|   {e.left} to come")
        return "\n".join(lines + (["  then a hook changed it"] if self.hooked else []))

    _repr_html_ = notebook_html


def ledger_of(trace, node):
    """The Ledger of a node. The running sums are added here as the walk adds them: in its order,
    never in place. So the last one is the node's gradient to the bit, if no hook changed it."""
    entries, running = [], None
    for k, c in enumerate(node.contributions):
        running = c.array if running is None else tape.as_array(running + c.array)
        if c.step < 0:
            consumer, argument = "the start of the walk", "seed"
        else:
            sender = trace[c.step].node
            consumer, argument = sender.name, sender.op.name_of(c.argument)
        entries.append(Entry(c.step, consumer, argument, c.array, running,
                             len(node.contributions) - k - 1))
    return Ledger(node.name, entries, node.gradient)


# ── paths ────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Path:
    """One path of a gradient: the names it passed, the last operation first, and what arrived."""

    names: list[str]
    gradient: np.ndarray

    @property
    def norm(self) -> float:
        """‖gradient‖₂"""
        return norm(self.gradient)

    def __str__(self):
        return f"|{self.norm:.4g}|  " + " → ".join(self.names)

    __repr__ = __str__


class PathList(list):
    """Some of the Paths between two values, the shortest first; `total` says how many there are."""

    total = 0

    def __str__(self):
        rest = self.total - len(self)
        return "\n".join([*map(str, self), *([f"and {rest:,} longer paths"] if rest else [])])


def find_paths(a, b, most):
    """Up to `most` Paths from b back to a, the shortest first.

    A net of n residual blocks has 2ⁿ paths, so they cannot all be made and sorted. `steps_left`
    says beforehand how far each node is from a. The heap is ordered by the length that a started
    path will have in the end, and only nodes that lead to a go in: so the paths are completed in
    order of length, each that is started can be completed, and three of 2⁴⁰ take as long as three.

    What travels along a path is b's gradient, sent through the rule of each node on it. The rules
    are linear in what arrives, so the gradients of all paths add up to the gradient of a.
    """
    left = steps_left(a, b)
    found = PathList()
    if b not in left or b.gradient is None:
        return found
    found.total = left[b][1]
    ties = itertools.count()                       # nodes of one length cannot be compared
    heap = [(left[b][0], next(ties), b, b.gradient, (b.name, None))]
    while heap and len(found) < most:
        length, _, node, g, names = heapq.heappop(heap)
        if node is a:
            found.append(Path(list_names(names), to_numpy(g)))
            continue
        walked = length - left[node][0] + 1
        for parent, d in zip(node.parents, tape.send(node, g, False)):
            if d is not None and parent in left:
                # (last, (the one before, ...)): paths share their beginnings, so a longer path is
                # one pair more, not a copy of a list.
                heapq.heappush(heap, (walked + left[parent][0], next(ties), parent, d,
                                      (parent.name, names)))
    return found


def list_names(names):
    """A list, first name first, out of the pairs (last, (the one before, ...))."""
    found = []
    while names is not None:
        name, names = names
        found.append(name)
    return found[::-1]


def steps_left(a, b):
    """{node on a path from b back to a: (steps to a by the shortest path, how many paths)}"""
    reached, stack = {b}, [b]
    while stack:
        for parent in stack.pop().parents:         # what was made before a cannot lead to it
            if parent is not None and parent.number >= a.number and parent not in reached:
                reached.add(parent)
                stack.append(parent)
    left = {a: (0, 1)}
    for node in sorted(reached, key=lambda n: n.number):
        nearer = [left[parent] for parent in node.parents if parent in left]
        if nearer and node is not a:
            left[node] = (1 + min(steps for steps, _ in nearer), sum(many for _, many in nearer))
    return left
