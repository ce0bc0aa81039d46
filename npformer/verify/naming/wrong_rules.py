"""Naming a wrong rule inside a function: each operation of the followed forward is given the
mistakes that people make.

The mistakes stand in the operation's own block, beside the right rule.

Where `paths` asks how much flows along an edge, this asks what flows: g without the derivative, the
own operand for the other, a matrix not transposed, a mask forgotten, an index assigned. What an
operation would have sent is carried down to the input and held against the gradient under test.
"""

import itertools
from inspect import signature

import numpy as np

from ...core import tape
from ...core.step import Step
from ...ops.shape import unbroadcast
from ..findings import Finding
from .paths import MOST, gradient_through, line_of, rule_of
from .traced_array import Epsless, EpsOutside, OneLess, OneMore, Unmasked


def by_rule(e):
    """a = n with another rule in one of the operations"""
    graph = e.follow() if e.follow else None
    if graph is None or e.x.size < 2 or np.abs(e.a - e.n).max() < 1e-4 * e.scale:
        return None
    y, leaf = graph
    visits = list(tape.walk([(y.node, np.asarray(e.g, dtype=float))], {leaf.node: None},
                            retain_graph=True, create_graph=False))
    way = tape.nodes_leading_to([y.node], {leaf.node: None})
    for step in itertools.starmap(Step, visits[:MOST]):
        for i, parent in enumerate(step.parents):
            if parent not in way or step.sent[i] is None:
                continue
            rest = e.n - gradient_through(parent, step.sent[i], leaf.node)
            for kind, words, sent in wrong_rules(step, i):
                if sent.shape == step.sent[i].shape and e.same(
                        rest + gradient_through(parent, sent, leaf.node), e.a):
                    return report_rule(e, step, i, kind, words)
    return None


def report_rule(e, step, i, kind, words):
    at = f"{step.op}'s d{step.node.op.name_of(i)}{line_of(step.node)}"
    return Finding(kind, e.name, f"d{e.name} is what it would be if {at} were wrong: {words}",
                   {"wrong": int(e.wrong.sum()), "operation": step.op}, "certain",
                   (f"look at d{e.name}", f"look at {at}", rule_of(step.node.op, i)))


def wrong_rules(step, i):
    """(kind, words, what would be sent) for the mistakes that people make in this operation's rule:
    those that its block tells, and for a function of one number the two that need no telling."""
    node, g, shape = step.node, step.upstream, step.node.shapes[i]
    told = getattr(node.op, "mistakes", ())
    for kind, words, rules in told:
        rule = rules.get(node.op.name_of(i))
        if rule is None:
            continue
        names = tuple(signature(rule).parameters)
        given = [node.op.value_of(name, i, g, node, step.kept, step.output) for name in names]
        # an argument that is not kept: its value cannot be in a mistake here
        if any(value is None for value in given):
            continue
        try:
            sent = np.asarray(rule(*given))
        except ValueError:  # dims that do not fit: nobody could have written that
            continue
        yield kind, words, unbroadcast(sent, shape) if node.op.elementwise else sent
    if not told and g.shape == shape:
        yield "missing-factor", "its derivative is missing, the upstream is passed on", g
        yield from stale_rules(step, i)


def stale_rules(step, i):
    """The rule with the input where the output belongs, or the other way round."""
    op, node = step.node.op, step.node
    name = op.names[0] if len(op.names) == 1 else None
    rule, reads = getattr(op, "rules", {}).get(name), getattr(op, "reads", {}).get(name, ())
    if rule is None or not {"y", name} & set(reads):
        return
    value = step.output if step.output is not None else step.kept[0]
    other = op.compute(value, **node.options)
    given = [other if read in ("y", name) else
             op.value_of(read, i, step.upstream, node, step.kept, step.output) for read in reads]
    with np.errstate(all="ignore"):
        sent = rule(*given)
    if np.shape(sent) == step.sent[i].shape:
        yield "stale-value", f"it is taken at {op.name} of the value that belongs there", sent


def with_another_mask(e):
    """a = the gradient of the same function with another mask in np.where, or with none"""
    return compare_with_variants(
        e, "mask-ignored", (Unmasked, OneMore, OneLess),
        "works with other values than the forward pass",
        "keep what the forward pass used, after the mask; where it says no, the value is a "
        "constant, and its gradient is zero")


def with_another_eps(e):
    """a = the gradient of the same function, its small constants left out, or outside the root"""
    return compare_with_variants(
        e, "missing-eps", (Epsless, EpsOutside), "has another eps than the forward pass",
        "what the forward pass computed, the backward pass uses as it is",
        f"d{e.name} with √(variance + eps), or what it is, as in the forward pass")


def compare_with_variants(e, name, kinds, words, *hints):
    """a = the gradient of the function that one of those kinds of Traced follows"""
    for kind in kinds if e.follow else ():
        graph = e.follow(kind)
        found = graph and tape.collect(graph[0], np.asarray(e.g, dtype=float), [graph[1]])[0]
        if found is not None and e.same(found, e.a) and not np.array_equal(graph[0].array, e.y):
            message = (f"d{e.name} is the gradient of the same function with {kind.words}: "
                       f"the backward pass {words}")
            return Finding(name, e.name, message, {"wrong": int(e.wrong.sum())}, "certain",
                           (f"look at d{e.name}", *hints))
    return None
