"""The residual identity, observed: for y = x + F(x), dL/dx by way of y is dL/dy · (1 + dF/dx)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core import tape
from ..core.arrays import to_numpy
from ..core.errors import GraphError

if TYPE_CHECKING:
    from ..tensors import Tensor


@dataclass
class Residual:
    """One addition y = x + F(x), and the three numbers of the identity: upstream + through_branch = total."""

    where: str                                     # the path of the module that adds
    source: tuple                                  # (file, line) of the addition
    upstream: np.ndarray                           # dL/dy: what came, and what the skip passes on unchanged
    through_branch: np.ndarray                     # dL/dy · dF/dx: what the branch adds
    total: np.ndarray                              # dL/dx by way of y, as the backward pass finds it

    @property
    def error(self) -> float:
        """|total − (upstream + through_branch)|, relative to |total|."""
        return float(np.linalg.norm(self.total - (self.upstream + self.through_branch))
                     / max(np.linalg.norm(self.total), np.finfo(self.total.dtype).tiny))

    @property
    def cosine(self) -> float:
        """The cosine of the angle between what the skip passes on and what the branch adds; NaN if either is zero."""
        lengths = np.linalg.norm(self.upstream) * np.linalg.norm(self.through_branch)
        return float((self.upstream * self.through_branch).sum() / lengths) if lengths else float("nan")

    def __str__(self):
        place = self.where or f"{self.source[0]}:{self.source[1]}"
        return (f"{place}: |dL/dy| {np.linalg.norm(self.upstream):.4g}  + |dL/dy·dF/dx| "
                f"{np.linalg.norm(self.through_branch):.4g}  = |dL/dx| {np.linalg.norm(self.total):.4g}"
                f"   (cosine {self.cosine:+.3f}, error {self.error:.1e})")


def residuals(loss: Tensor) -> list[Residual]:
    """The identity dL/dx = dL/dy · (1 + dF/dx) at every addition y = x + F(x) behind `loss`, last first.

    The additions are found in the graph: one operand is an ancestor of the other, and neither was broadcast. The
    graph stays as it was, and no `.grad` is touched; call it before `loss.backward()`. Returns a list of `Residual`.

    Raises GraphError where there is no graph, or it was freed.
    """
    additions = [(node, *pair) for node in graph_of(loss) if (pair := skip_and_branch(node))]
    upstream = {node: None for node, _, _ in additions}
    run(tape.walk(tape.seeds_of(loss, None, False), upstream, retain_graph=True, create_graph=False))
    records: list[Residual] = []
    for node, skip, branch in additions:
        g = upstream[node]
        if g is None:
            continue
        total, through = {skip: None}, {skip: None}
        run(tape.walk([(node, g)], total, retain_graph=True, create_graph=False))
        run(tape.walk([(branch, g)], through, retain_graph=True, create_graph=False))
        records.append(Residual(node.scope.path() if node.scope else "", node.line,
                                to_numpy(g), to_numpy(through[skip]), to_numpy(total[skip])))
    return records


def run(steps):
    """Exhaust a backward walk whose steps nobody looks at."""
    for _ in steps:
        pass


def graph_of(loss):
    """Every node behind `loss`, latest first."""
    if loss.node is None:
        raise GraphError("residuals(loss): loss has no graph behind it; nothing that led to it requires a gradient")
    if loss.node.freed:
        raise GraphError("residuals(loss): the graph was freed by a backward pass; call residuals before backward(), "
                         "or pass retain_graph=True there")
    found, stack = {loss.node}, [loss.node]
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in found:
                found.add(parent)
                stack.append(parent)
    return sorted(found, key=lambda node: -node.order)


def skip_and_branch(node):
    """(x's node, F(x)'s node) if `node` is an addition x + F(x); None otherwise."""
    if node.op is None or node.op.name != "add" or None in node.parents or node.shapes[0] != node.shapes[1]:
        return None
    skip, branch = sorted(node.parents, key=lambda parent: parent.order)
    return (skip, branch) if skip is not branch and is_ancestor(skip, branch) else None


def is_ancestor(old, new):
    """Whether `new` was computed from `old`. A node older than `old` cannot lead to it, so none is looked at."""
    seen, stack = set(), [new]
    while stack:
        for parent in stack.pop().parents:
            if parent is old:
                return True
            if parent is not None and parent.order > old.order and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return False
