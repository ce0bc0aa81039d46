"""Where two traces of one program part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.facts import ArrayFacts
from .replay import same


@dataclass
class Difference:
    """Where two traces part: in the forward pass (`value`) or the backward pass (`gradient`), at which node, how far."""

    phase: str
    name: str
    where: str
    source: tuple | None
    mine: Any
    other: Any
    error: float
    message: str

    def __str__(self):
        return self.message


def diff(mine, other, tolerance):
    """The first Difference in forward order of values, then in backward order of gradients; None if there is none."""
    for a, b in zip(mine.nodes, other.nodes):
        if (a.op and a.op.name) != (b.op and b.op.name) or a.shape != b.shape:
            return Difference("structure", a.name, a.where, a.line, a, b, float("inf"),
                              f"the graphs part at node {a.number}: {describe(a)} here, {describe(b)} there")
    if len(mine.nodes) != len(other.nodes):
        longer = max(mine.nodes, other.nodes, key=len)
        first = longer[min(len(mine.nodes), len(other.nodes))]
        return Difference("structure", first.name, first.where, first.line, len(mine.nodes), len(other.nodes), float("inf"),
                          f"one graph has {len(mine.nodes)} nodes, the other {len(other.nodes)}: {describe(first)} is the first "
                          "that only one of them has")
    pairs = [("value", a, a.value, b.value) for a, b in zip(mine.nodes, other.nodes)]
    order = sorted(mine.nodes, key=lambda node: -node.number)
    pairs += [("gradient", a, a.gradient, other.nodes[a.number].gradient) for a in order]
    largest = max((float(np.abs(step.upstream).max(initial=0)) for step in mine), default=0)
    for phase, node, x, y in pairs:
        # A gradient that is zero but for rounding (of a key's bias) is small against the others, not against itself.
        error = distance(x, y, 1e-9 * largest if phase == "gradient" else 0)
        if error > tolerance:
            return Difference(phase, node.name, node.where, node.line, x, y, error, (
                f"the {phase} of {describe(node)} is the first that differs, by {error:.2g} of its largest entry"))
    return None


def describe(node):
    """A node in words, with its shape and line."""
    line = f" ({node.line[0].rpartition('/')[2]}:{node.line[1]})" if node.line else ""
    return f"{node.name} {node.shape}{line}"


def distance(x, y, least=0.0):
    """The largest difference, relative to the largest entry (or to `least`, if that is more); infinite where only one is
    there, or shapes or NaNs differ."""
    if x is None or y is None:
        return 0.0 if x is y else float("inf")
    if isinstance(x, ArrayFacts) or isinstance(y, ArrayFacts):
        return 0.0 if repr(x) == repr(y) else float("inf")
    if x.shape != y.shape:
        return float("inf")
    if same(x, y) or x.dtype.kind != "f":
        return 0.0 if np.array_equal(x, y, equal_nan=x.dtype.kind == "f") else float("inf")
    odd = ~np.isfinite(x) | ~np.isfinite(y)
    if not np.array_equal(x[odd], y[odd], equal_nan=True):
        return float("inf")
    return float(np.abs(x - y)[~odd].max(initial=0) / max(np.abs(x[~odd]).max(initial=0), least, 1e-300))
