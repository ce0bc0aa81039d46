"""Naming a wrong rule inside a function: each operation of the followed forward is given the slips that people make.

Where `paths` asks how much flows along an edge, this asks what flows: g without the derivative, the own operand for the
other, a matrix not transposed, a mask forgotten, an index assigned. What an operation would have sent is carried down to
the input and held against the gradient under test.
"""

import itertools

import numpy as np

from ...core import tape
from ...core.step import Step
from ...ops.shape import unbroadcast
from ..findings import Finding
from .paths import MOST, flow, place_of, rule_of
from .traced_array import Epsless, EpsOutside, OneLess, OneMore, Unmasked


def by_rule(e):
    """a = n with another rule in one of the operations"""
    graph = e.follow() if e.follow else None
    if graph is None or e.x.size < 2 or np.abs(e.a - e.n).max() < 1e-4 * e.scale:
        return None
    y, leaf = graph
    visits = list(tape.walk([(y.node, np.asarray(e.g, dtype=float))], {leaf.node: None}, retain_graph=True,
                           create_graph=False))
    way = tape.leading_to([y.node], {leaf.node: None})
    for step in itertools.starmap(Step, visits[:MOST]):
        for i, parent in enumerate(step.parents):
            if parent not in way or step.sent[i] is None:
                continue
            rest = e.n - flow(parent, step.sent[i], leaf.node)
            for kind, words, sent in slips(step, i):
                if sent.shape == step.sent[i].shape and e.same(rest + flow(parent, sent, leaf.node), e.a):
                    return told(e, step, i, kind, words)
    return None


def told(e, step, i, kind, words):
    """The finding on one operation's rule."""
    at = f"{step.op}'s d{step.node.op.name_of(i)}{place_of(step.node)}"
    return Finding(kind, e.name, f"d{e.name} is what it would be if {at} were wrong: {words}",
                   {"wrong": int(e.wrong.sum()), "operation": step.op}, "certain",
                   (f"look at d{e.name}", f"look at {at}", rule_of(step.node.op, i)))


def slips(step, i):
    """(kind, words, what would be sent) for the mistakes that people make in this operation's rule."""
    g, kept, shape = step.upstream, step.kept, step.node.shapes[i]
    own, other = kept[i], kept[1 - i] if len(kept) == 2 else None
    if step.op == "matmul" and other is not None:
        yield from unturned(g, other, i)
    elif step.op in ("mul", "div"):
        yield "missing-factor", "the other operand is missing from it", unbroadcast(g, shape)
        if own is not None:
            yield "extra-factor", "it has its own value where the other operand belongs", unbroadcast(g * own, shape)
        if step.op == "div" and i == 1 and own is not None:
            yield "missing-factor", "the other operand's square is not squared", unbroadcast(step.sent[i] * own, shape)
        if step.op == "div" and i == 0 and other is not None:
            yield "extra-factor", "it multiplies by what it should divide by", unbroadcast(g * other, shape)
    elif step.op in ("where", "maximum", "minimum"):
        yield "mask-leak", "it gets the upstream where it was not chosen, too", unbroadcast(g, shape)
    elif step.op in ("amax", "amin"):
        yield "mask-leak", "every entry gets the upstream", g + np.zeros(shape) if g.ndim == len(shape) else g
    elif step.op in ("permute", "reshape", "transpose"):
        yield "permuted", "the upstream is put into shape row by row", g.reshape(shape)
    elif g.shape == shape:
        yield "missing-factor", "its derivative is missing, the upstream is passed on", g
        yield from misplaced(step, i)


def unturned(g, other, i):
    """A product's rule with the matrix not transposed, or with the factors exchanged."""
    turned = np.swapaxes(other, -1, -2)
    for words, product in (("the other matrix is not transposed", (g, other) if i == 0 else (other, g)),
                           ("its factors stand in the wrong order", (turned, g) if i == 0 else (g, turned))):
        if product[0].shape[-1] == product[1].shape[max(product[1].ndim - 2, 0)]:
            try:
                yield "transposed", words, product[0] @ product[1]
            except ValueError:                     # batch dims that do not fit: nobody could have written that
                continue


def misplaced(step, i):
    """The rule of a function of one number with the input where the output belongs, or the other way round."""
    op, node = step.node.op, step.node
    name = op.names[0] if len(op.names) == 1 else None
    rule, reads = getattr(op, "rules", {}).get(name), getattr(op, "reads", {}).get(name, ())
    if rule is None or not {"y", name} & set(reads):
        return
    value = step.output if step.output is not None else step.kept[0]
    other = op.compute(value, **node.options)
    with np.errstate(all="ignore"):
        sent = rule(*[other if read in ("y", name)
                      else op.value_of(read, i, step.upstream, node, step.kept, step.output) for read in reads])
    if np.shape(sent) == step.sent[i].shape:
        yield "stale-value", f"it is taken at {op.name} of the value that belongs there", sent


def with_another_mask(e):
    """a = the gradient of the same function with another mask in np.where: none, or one that is off by one"""
    return of_another(e, "mask-ignored", (Unmasked, OneMore, OneLess), "works with other values than the forward pass",
                      "keep what the forward pass used, after the mask; where it says no, the value is a constant, and its "
                      "gradient is zero")


def with_another_eps(e):
    """a = the gradient of the same function with its small constants left out, or outside the root"""
    return of_another(e, "missing-eps", (Epsless, EpsOutside), "has another eps than the forward pass",
                      "what the forward pass computed, the backward pass uses as it is",
                      f"d{e.name} with √(variance + eps), or what it is, as in the forward pass")


def of_another(e, name, kinds, words, *hints):
    """a = the gradient of the function that one of those kinds of Traced follows"""
    for kind in kinds if e.follow else ():
        graph = e.follow(kind)
        found = graph and tape.collect(graph[0], np.asarray(e.g, dtype=float), [graph[1]])[0]
        if found is not None and e.same(found, e.a) and not np.array_equal(graph[0].array, e.y):
            return Finding(name, e.name, f"d{e.name} is the gradient of the same function with {kind.words}: the backward pass "
                                         f"{words}", {"wrong": int(e.wrong.sum())}, "certain", (f"look at d{e.name}", *hints))
    return None
