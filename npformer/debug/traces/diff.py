"""Where two traces of one program part: the first node, value or gradient that differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.facts import ArrayFacts
from .replay import same_bits


@dataclass
class Difference:
    """Where two traces part. phase: 'structure', 'value' (forward) or 'gradient' (backward). name,
    where, source: of the node. mine, other: what each trace has there. error: the largest
    difference, relative to the largest entry."""

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


def first_difference(mine, other, tolerance):
    """The first Difference: values in forward order, then gradients in backward order; or None.
    Values come first because a wrong value makes all gradients behind it differ: the first gradient
    that differs says where a rule is to blame only if every value is the same."""
    found = structure_difference(mine, other)
    if found is not None:
        return found
    pairs = [("value", a, a.value, b.value) for a, b in zip(mine.nodes, other.nodes)]
    pairs += [("gradient", a, a.gradient, other.nodes[a.number].gradient)
              for a in sorted(mine.nodes, key=lambda node: -node.number)]
    largest = max((float(np.abs(step.upstream).max(initial=0)) for step in mine), default=0)
    for phase, node, x, y in pairs:
        # The gradient of a key's bias is 0, and what is there is rounding. Measured against itself,
        # rounding may differ by any amount; so it is measured against 1e-9 of the largest gradient.
        error = distance(x, y, 1e-9 * largest if phase == "gradient" else 0)
        if error > tolerance:
            return Difference(phase, node.name, node.where, node.line, x, y, error, (
                f"the {phase} of {describe_node(node)} is the first that differs, by {error:.2g} "
                "of its largest entry"))
    return None


def structure_difference(mine, other):
    """The first node that is another operation or shape, or that only one of the traces has."""
    for a, b in zip(mine.nodes, other.nodes):
        if (a.op and a.op.name) != (b.op and b.op.name) or a.shape != b.shape:
            return Difference("structure", a.name, a.where, a.line, a, b, float("inf"), (
                f"the graphs part at node {a.number}: {describe_node(a)} here, "
                f"{describe_node(b)} there"))
    here, there = len(mine.nodes), len(other.nodes)
    if here == there:
        return None
    first = max(mine.nodes, other.nodes, key=len)[min(here, there)]
    return Difference("structure", first.name, first.where, first.line, here, there, float("inf"), (
        f"one graph has {here} nodes, the other {there}: {describe_node(first)} is the first that "
        "only one of them has"))


def describe_node(node):
    line = f" ({node.line[0].rpartition('/')[2]}:{node.line[1]})" if node.line else ""
    return f"{node.name} {node.shape}{line}"


def distance(x, y, least=0.0):
    """The largest difference, relative to the largest entry, or to `least` if that is more.
    Infinite where only one of the two is there, or where shapes, NaNs or infinities differ."""
    if x is None or y is None:
        return 0.0 if x is y else float("inf")
    if isinstance(x, ArrayFacts) or isinstance(y, ArrayFacts):
        return 0.0 if repr(x) == repr(y) else float("inf")
    if x.shape != y.shape:
        return float("inf")
    if same_bits(x, y) or x.dtype.kind != "f":
        return 0.0 if np.array_equal(x, y, equal_nan=x.dtype.kind == "f") else float("inf")
    odd = ~np.isfinite(x) | ~np.isfinite(y)
    if not np.array_equal(x[odd], y[odd], equal_nan=True):
        return float("inf")
    largest = max(np.abs(x[~odd]).max(initial=0), least, 1e-300)
    return float(np.abs(x - y)[~odd].max(initial=0) / largest)
