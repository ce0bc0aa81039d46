"""The residual identity, observed: for y = x + F(x), dL/dx through y is dL/dy · (1 + dF/dx).

Additions y = x + F(x) are found in the graph, not by the name of a module: a plus sign in any
user's model counts, and a module named Residual does not. `additions_in` finds them, `identity_at`
takes one apart; path_lengths, jacobian_spectrum and every viewer use the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ... import plot
from ...core import tape
from ...core.devices import to_numpy
from ...core.errors import GraphError
from ...core.facts import norm
from ...core.operation import is_call_of
from ...files import StrPath
from ...ops.elementwise import add, mul
from ...tensors import Tensor
from ..views.tables import line_of, table

# ── finding the additions ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Addition:
    """One y = x + F(x) in a graph, by its nodes: y, x, what bypasses the branches (x, or α·x), and
    F(x). y = x + F₁(x) + F₂(x) is one addition with two branches."""

    node: tape.Node
    x: tape.Node
    skip: tape.Node
    branches: tuple[tape.Node, ...]


def additions_in(nodes) -> dict[tape.Node, Addition]:
    """Each addition y = x + F(x) among `nodes`, which stand oldest first, by its node."""
    found: dict[tape.Node, Addition] = {}
    for node in nodes:
        addition = addition_at(node, found)
        if addition is not None:
            found[node] = addition
    return found


def addition_at(node, earlier):
    """The Addition that `node` is, or None: x, α·x or x + F(x), plus something made from x."""
    # An operand that is broadcast (a bias, a position) passes no gradient on unchanged.
    if not is_call_of(node, add) or None in node.parents or node.shapes[0] != node.shapes[1]:
        return None
    first, second = node.parents
    if first is second:                            # x + x is 2·x
        return None
    both_ways = (first, second), (second, first)
    # The plain form first: in h + F(h) with h = 2·z, x is h, though z would fit the scaled form.
    for skip, branch in both_ways:
        if is_ancestor(skip, branch):
            return Addition(node, skip, skip, (branch,))
    for skip, branch in both_ways:
        for x in scaled_operands(skip):
            if is_ancestor(x, branch):             # α·x + F(x)
                return Addition(node, x, skip, (branch,))
    # (x + F(x)) + G(x), attention and feed-forward side by side: x + F(x) is not an ancestor of
    # G(x), but its x is. It is one addition with two branches.
    for inner, branch in both_ways:
        before = earlier.get(inner)
        if before is not None and is_ancestor(before.x, branch):
            return Addition(node, before.x, before.skip, (*before.branches, branch))
    return None


def scaled_operands(node):
    """What `node` may be α times of, α one number or a learned weight (DeepNorm, Admin). The factor
    must be a single number or a leaf. A product with an array that was computed is not a scaled
    skip: a gate x·sigmoid(z), or rotary positions x·cos + rotated(x)·sin."""
    if not is_call_of(node, mul):
        return []
    found = []
    for x, factor, shape in zip(node.parents, node.parents[::-1], node.shapes[::-1]):
        is_factor = shape == () if factor is None else factor.op is None
        if x is not None and is_factor:
            found.append(x)
    return found


def is_ancestor(old, new):
    """Whether `new` was computed from `old`. Nodes are numbered as they are made, so a node older
    than `old` cannot lead to it and is not looked at: the search ends at x, and costs the size of
    the branch, not of the graph below."""
    seen, stack = set(), [new]
    while stack:
        for parent in stack.pop().parents:
            if parent is old:
                return True
            if parent is not None and parent.order > old.order and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return False


def graph_of(loss, call):
    """Every node behind `loss`, oldest first. GraphError: there is no graph, or it was freed."""
    tape.require_boxes(call, loss=loss)
    if loss.node is None:
        raise GraphError(f"{call}: loss has no graph behind it; nothing that led to it requires a "
                         "gradient")
    if loss.node.freed:
        name = call.partition("(")[0]
        raise GraphError(f"{call}: the graph was freed by a backward pass; call {name} before "
                         "backward(), or pass retain_graph=True there")
    return tape.ancestors_of([loss.node])


def gradients_at(seeds, nodes, stop=False, create_graph=False):
    """{node: its gradient from `seeds`, or None}; stop: nothing passes another of `nodes`."""
    found = dict.fromkeys(nodes)
    # A probe's own walks are not part of the user's backward pass: whoever records that
    # (npf.debug.recording) must not see these.
    before, tape.state.observer = tape.state.observer, None
    try:
        with tape.pause_watcher():
            for _ in tape.walk(seeds, found, retain_graph=True, create_graph=create_graph,
                               stop=stop):
                pass
    finally:
        tape.state.observer = before
    return found


# ── the probe ─────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Residual:
    """One addition y = x + F(x), and the numbers of the identity: through_skip + through_branch =
    total.

    where, source: the path of the module that adds, and (file, line) of the addition.
    upstream: dL/dy, what arrived. through_skip: what the skip passes on, upstream itself (of
    y = α·x + F(x): α·upstream). through_branch: dL/dy · dF/dx, what the branch adds. total: dL/dx
    through y, as the backward pass finds it.
    """

    where: str
    source: tuple
    upstream: np.ndarray
    through_skip: np.ndarray
    through_branch: np.ndarray
    total: np.ndarray

    @property
    def norms(self) -> tuple[float, float, float]:
        """|dL/dy|, |dL/dy·dF/dx|, |dL/dx|"""
        return norm(self.upstream), norm(self.through_branch), norm(self.total)

    @property
    def error(self) -> float:
        """|total − (through_skip + through_branch)|, relative to |total|."""
        least = float(np.finfo(self.total.dtype).tiny)         # a total of 0 has an error of 0
        return norm(self.total - (self.through_skip + self.through_branch)) / max(
            norm(self.total), least)

    @property
    def cosine(self) -> float:
        """The cosine of the angle between what the skip passes on and what the branch adds; NaN if
        either is zero."""
        lengths = norm(self.through_skip) * norm(self.through_branch)
        if not lengths:
            return float("nan")
        return float((self.through_skip * self.through_branch).sum() / lengths)

    @property
    def angle(self) -> float:
        """That angle, in degrees: below 90 the branch strengthens what the skip passes on, above it
        works against it."""
        return float(np.degrees(np.arccos(np.clip(self.cosine, -1, 1))))

    def __str__(self):
        arrived, branch, total = self.norms
        return (f"{self.where or line_of(self.source)}: |dL/dy| {arrived:.4g}  + "
                f"|dL/dy·dF/dx| {branch:.4g}  = |dL/dx| {total:.4g}   "
                f"(cosine {self.cosine:+.3f}, error {self.error:.1e})")


class Residuals(list):
    """The list of `Residual` records, the last addition first. str() is a table."""

    def __str__(self):
        if not self:
            return "no addition y = x + F(x) in this graph"
        head = ("module", "line", "|dL/dy|", "|dL/dy·dF/dx|", "|dL/dx|", "angle", "error")
        rows = [(r.where or "top level", line_of(r.source), *r.norms, f"{r.angle:.1f}°",
                 f"{r.error:.0e}") for r in self]
        return table(head, rows, left=2)

    def plot(self, path: StrPath,
             title: str = "dL/dx = dL/dy + dL/dy·dF/dx at each addition") -> None:
        """The three norms from the first addition to the last; below, the angle between the two
        parts."""
        if not self:
            raise GraphError(f"residuals(loss).plot: {self}")
        picture = plot.figure(8, 5.5)
        above, below = picture.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        places = np.arange(len(self), 0, -1)
        labels = ("arrived: dL/dy, which the skip passes on", "the branch adds: dL/dy·dF/dx",
                  "the sum: dL/dx")
        for k, label in enumerate(labels):
            above.plot(places, [r.norms[k] for r in self], plot.STYLES[k], color=plot.COLOURS[k],
                       marker=plot.MARKERS[k], label=label)
        above.set_yscale("log")
        above.legend(frameon=False)
        below.plot(places, [r.angle for r in self], color=plot.COLOURS[4], marker="v")
        below.axhline(90, color="grey", linewidth=0.8)
        below.set_yticks((0, 45, 90, 135, 180))
        plot.style(above, title, "", "‖gradient‖")
        below.xaxis.get_major_locator().set_params(integer=True)
        plot.style(below, "Angle between the two: above 90° the branch works against the skip",
                   "addition", "degrees")
        plot.save(picture, path)


def residuals(loss: Tensor, grad: Tensor | None = None) -> Residuals:
    """dL/dx = dL/dy · (1 + dF/dx) at every addition y = x + F(x) behind `loss`, last first.

    The additions are found in the graph: one operand was computed from the other, and neither was
    broadcast. x + F(x) + G(x) counts as one, with the branch F + G; so does α·x + F(x), α a number
    or a learned weight. grad: dL/d(loss), where loss is not one number. The graph stays as it was,
    and no `.grad` is touched; call it before `loss.backward()`.

    Returns a list of `Residual`: print it for a table, `.plot(path)` for a picture. Raises
    GraphError where there is no graph, or it was freed.
    """
    additions = additions_in(graph_of(loss, "residuals(loss)"))
    upstream = gradients_at(tape.seeds_of(loss, grad, False), additions)
    return Residuals(identity_at(a, upstream[node]) for node, a in reversed(additions.items())
                     if upstream[node] is not None)


def identity_at(a: Addition, g: np.ndarray) -> Residual:
    """The identity at one addition, for the gradient g = dL/dy that arrives there. Three walks of
    their own, from y, from F(x) and from α·x down to x. The sum is not computed from its parts, or
    `error` could not find anything: it holds the walk itself to the identity. What reaches x from
    elsewhere (x is used twice) is in none of the three."""
    total = gradients_at([(a.node, g)], [a.x])[a.x]
    through = gradients_at([(branch, g) for branch in a.branches], [a.x])[a.x]
    skip = g if a.skip is a.x else gradients_at([(a.skip, g)], [a.x])[a.x]
    where = a.node.scope.path() if a.node.scope else ""
    return Residual(where, a.node.line, *(to_numpy(d) for d in (g, skip, through, total)))
