"""Who sent what: the ledger of a gradient, the ways by which it travelled, and why it is zero or not a number."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...core import tape
from ...core.devices import to_numpy
from ...core.facts import norm, number
from .html import notebook_html

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
        return notebook_html(self)


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


