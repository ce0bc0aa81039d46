"""Naming the path that a wrong gradient forgot, or counted twice: the forward is followed, and each
edge tried.

The true gradient is a sum over paths. If a backward pass multiplies what flows along one edge u ->
p by c, then a − n = (c − 1)·(the gradient that flows through that edge): so the difference is held
against the flow of every edge. c = 0: forgotten; c = 2: counted twice; c = −1: a sign; others: a
factor in one term.
"""

import re
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from ...core import tape
from ...core.operation import Operation
from ..findings import Finding

MOST = 200                                         # edges: beyond, a graph is not searched
PAIRS = 60                                         # edges of which pairs are tried as well


@dataclass
class Edge:
    """What flows from an operation to one of its arguments, and from there on to the input."""

    node: object
    argument: int
    flow: np.ndarray  # the part of the input's true gradient that comes this way
    reduces: bool  # whether a reduction lies below, between the argument and the input

    @property
    def words(self):
        op = self.node.op
        return f"the path through {op.name}'s {op.name_of(self.argument)}{line_of(self.node)}"

    @property
    def is_term(self):
        """Whether its part is a term of a product rule or a statistic, not one of several uses."""
        mistakes = getattr(self.node.op, "mistakes", ())
        return self.reduces or any(kind == "missing-factor" for kind, _, _ in mistakes)


def line_of(node):
    return f" ({Path(node.line[0]).name}:{node.line[1]})" if node.line else ""


def rule_of(op, argument):
    """An operation's formula and its rule for an argument: "div: a / b, da = g / b"."""
    name, text = op.name_of(argument), op.__doc__ or ""
    rule = re.search(rf"\bd{re.escape(name)}\s+= .*?(?=,?\s\s|\n|$)", text)
    said = text.split("    d", 1)[0].strip().split("\n")[0].rstrip(".")
    return f"{op.name}: {said}{f', {rule[0]}' if rule else ''}"


def gradient_through(node, arriving, target):
    """The gradient of `target` if `arriving` is all that reaches `node`."""
    found = {target: None}
    for _ in tape.walk([(node, arriving)], found, retain_graph=True, create_graph=False):
        pass
    return found[target]


def reduces_below(node, target):
    """Whether an operation from `node` to `target` adds up dims of the only array that it takes."""
    lined = [n.op.line_up(n, 0) for n in tape.nodes_leading_to([node], {target: None})
             if isinstance(n.op, Operation) and len(n.parents) == 1]
    return any(one.reduced and not one.mixed for one in lined)


def edges(y, g, target):
    """The Edges from y to the target node, nearest to y first; [] if there are too many."""
    found = {target: None}
    visits = list(tape.walk([(y.node, np.asarray(g, dtype=float))], found, retain_graph=True,
                            create_graph=False))
    pairs = [(node, i, sent) for node, _, sent in visits
             for i, p in enumerate(node.parents) if p is not None and sent[i] is not None]
    if len(pairs) > MOST:
        return []
    way = tape.nodes_leading_to([y.node], found)
    return [Edge(node, i, gradient_through(node.parents[i], sent[i], target),
                 reduces_below(node.parents[i], target))
            for node, i, sent in pairs if node.parents[i] in way]


def distinct_edges(found, same, n):
    """Edges whose flows differ from each other, from nothing, and from the whole: each stands for a
    chain of them."""
    kept = []
    for e in found:
        tells_nothing = not np.any(e.flow) or same(e.flow, n)
        if not tells_nothing and not any(same(e.flow, k.flow) for k in kept):
            kept.append(e)
    return kept


def find_mistaken_paths(y, g, target, a, n, same):
    """[(Edge, c)] such that a = n + Σ (c − 1)·flow, one edge or two that are forgotten; [] if no
    such edges are known. same(u, v): whether two gradients agree to within the noise."""
    found = distinct_edges(edges(y, g, target), same, n)
    r = a - n
    for e in found:
        c = float((r * e.flow).sum() / (e.flow * e.flow).sum())
        if same(n + c * e.flow, a):
            return [(e, c + 1)]
    for e, f in combinations(found[:PAIRS], 2):
        if same(n - e.flow - f.flow, a):
            return [(e, 0.0), (f, 0.0)]
    return []


def by_path(e):
    """a = n + Σ (c − 1)·(what flows along an edge): a path forgotten, doubled or reweighted."""
    graph = e.follow() if e.follow else None
    if graph is None or np.abs(e.a - e.n).max() < 1e-4 * e.scale:
        return None
    y, leaf = graph
    found = find_mistaken_paths(y, e.g, leaf.node, e.a, e.n, e.same)
    # anything fits so few numbers
    if not found or e.x.size < 3 and abs(found[0][1] - round(found[0][1])) > 1e-6:
        return None
    kind, text = finding_text(e.name, found)
    facts = {"wrong": int(e.wrong.sum()), "coefficients": [c for _, c in found]}
    return Finding(kind, e.name, text, facts, "certain",
                   (f"look at d{e.name}",
                    "the gradient is the sum over all paths from the output to the input; look at "
                    + " and ".join(edge.words for edge, _ in found),
                    f"d{e.name} = Σ over all paths; there, "
                    + "; ".join(rule_of(edge.node.op, edge.argument) for edge, _ in found)))


def finding_text(name, mistaken):
    """(kind, sentence) for what mistaken_paths found."""
    (edge, c), *more = mistaken
    words = " and ".join(e.words for e, _ in mistaken)
    if abs(c) < 1e-6:
        kind = "missing-term" if edge.is_term else "path-missing"
        return kind, f"d{name} is the true gradient without what comes along {words}: " + (
            "they are left out" if more else "it is left out")
    if abs(c - 2) < 1e-6 and not edge.is_term:
        return "path-doubled", f"d{name} counts twice what comes along {words}"
    return "wrong-coefficient", f"d{name} has {c:.5g} x what comes along {words}; it must be 1 x"
