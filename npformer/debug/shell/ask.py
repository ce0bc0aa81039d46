"""Commands that answer: who sent what, on which way, why it is zero, whether the rule is right."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import facts
from ...core.errors import GraphError, InputError
from ...core.facts import four_digits
from ..probes.residual import additions_in, identity_at
from ..traces.why import is_nonfinite
from ..views import source_text
from ..views.tables import columns
from . import screens
from .names import node_named
from .session import Session, command

# ── sums ─────────────────────────────────────────────────────────────────────────────────────────


@command("ledger [NAME]", group="ask")
def ledger(session: Session, rest: str) -> str:
    """All that was added up to the gradient of NAME, who sent it, and what is still to come. NAME:
    an input of this step, a parameter, any node; alone, it is about this step's output."""
    if rest:
        return format_ledger(session, node_named(session, rest))
    if session.frame.step is not None:
        return format_ledger(session, session.frame.step.node)
    outgoing, _ = screens.outgoing_gradients(session.frame)
    if not outgoing:
        return f"{session.frame.path or 'the model'} sends nothing but to its parameters"
    return "\n".join(format_ledger(session, node) for node, _ in outgoing[:6])


def format_ledger(session, node):
    """The ledger of a node as lines: • has arrived, → arrives at this step, ○ is still to come."""
    found = session.frame.trace.ledger(node)
    if not found.entries:
        return f"{node.name}: no gradient arrived"
    now, rows = session.frame.last, []
    for e in found:
        mark = "→" if e.step == now else "•" if e.step < now else "○"
        started = e.step < 0                       # given to `backward`, and sent by no step
        rows.append((mark, "start" if started else f"step {e.step}",
                     e.consumer if started else f"{e.consumer}.{e.argument}",
                     f"sent {four_digits(facts.norm(e.contribution))}",
                     f"sum so far {four_digits(facts.norm(e.running))}", f"{e.left} to come"))
    count = screens.plural(len(rows), "contribution")
    lines = [f"the gradient of {node.name} {node.shape}: {count}, norms"]
    lines += [f"  {text}" for text in columns(rows, left=6)]
    if found.hooked:
        lines.append(f"  then a hook changed it to {four_digits(facts.norm(found.gradient))}")
    return "\n".join(lines)


@command("terms", group="ask")
def terms(session: Session, rest: str) -> str:
    """The additive terms of each gradient that was sent: what every way through the definition
    adds."""
    step, lines = session.step, []
    for name, found in step.terms().items():
        lines.append(f"d{name}  |d{name}| {four_digits(facts.norm(step.gradients[name]))}")
        rows = [(f"|{four_digits(term.norm)}|", f"by {term.way}") for term in found[:12]]
        lines += [f"    {text}" for text in columns(rows, left=2)]
        if len(found) > 12:
            lines.append(f"    … and {len(found) - 12} more")
    return "\n".join(lines) or "nothing was sent"


# ── is the rule right? ───────────────────────────────────────────────────────────────────────────


@command("check", group="ask")
def check(session: Session, rest: str) -> str:
    """This step's rule against finite differences of its operation, and against its definition; on
    a module, of every step in it. A rule that is wrong makes `npformer step --do` end with exit
    code 1."""
    frame = session.frame
    answers = [check_step(session, step) for step in ([frame.step] if frame.step else frame.steps)]
    if len(answers) == 1:
        return answers[0][1]
    wrong = [text for verdict, text in answers if verdict is False]
    unknown = [text for verdict, text in answers if verdict is None]
    right = len(answers) - len(wrong) - len(unknown)
    total = (f"{screens.plural(len(answers), 'rule')} checked: {right} right, {len(wrong)} wrong"
             + (f", {len(unknown)} could not be checked" if unknown else ""))
    return "\n".join([*wrong, *unknown[:3], total])


def check_step(session, step):
    """(True, False, or None where it cannot be known; the words) of one step."""
    place = f"step {step.index}, "
    try:
        found = step.check()
    except GraphError as error:
        return None, f"{place}{error}"
    session.failed |= not found
    text = place + str(found).replace(", ", ",\n    ")
    if not found:
        source = source_text.user_line(step, 0)
        text += (f"\n  WRONG: the rule of {step.op}, used at "
                 f"{source.place if source else 'an unknown line'}; `rule` shows it")
    return bool(found), text


# ── why, and on which ways ───────────────────────────────────────────────────────────────────────


@command("why [zero|nan] [NAME]", group="ask")
def why(session: Session, rest: str) -> str:
    """Why the gradient of NAME is zero, or where its NaN or infinity comes from. `why nan` alone
    looks for the first in the whole trace, `why` alone is about this step's output."""
    kind, _, name = rest.partition(" ")
    if kind not in ("zero", "nan"):
        kind, name = "", rest
    trace, node = session.frame.trace, None
    if name in trace.unreached:
        return str(trace.why_zero(name))
    if name:
        node = node_named(session, name)
    elif session.frame.step is not None and kind != "nan":
        node = session.frame.step.node
    if not kind:
        kind = "nan" if node is None or is_nonfinite(node.gradient) else "zero"
    if kind == "zero" and node is None:
        raise InputError("why zero of what? `why zero NAME`: a parameter, or an input of a step")
    reason = trace.why_nan(node) if kind == "nan" else trace.why_zero(node)
    index = trace.step_at.get(reason.node.number) if reason.node is not None else None
    elsewhere = index is not None and index != session.cursor.index
    return f"{reason}\n  `goto {index}` goes there" if elsewhere else f"{reason}"


@command("paths A [B]", group="ask")
def paths(session: Session, rest: str) -> str:
    """The ways on which gradient travelled from B, or from the loss, back to A, and what each
    brought."""
    if not rest:
        raise InputError("paths to what? `paths NAME`, or `paths NAME FROM`")
    a, *b = [node_named(session, name) for name in rest.split()[:2]]
    found = session.frame.trace.paths(a, b[0] if b else None, most=12)
    if not found:
        return f"no gradient travelled to {a.name}"
    rows = [(f"|{four_digits(path.norm)}|",
             screens.clip(" → ".join(path.names), session.width + 40)) for path in found]
    return "\n".join(columns(rows, left=2))


@command("residual", group="ask")
def residual(session: Session, rest: str) -> str:
    """The residual identity where this step is an addition y = x + F(x): dL/dx = dL/dy +
    dL/dy·dF/dx."""
    additions: dict[Any, Any] = additions_in(session.trace.nodes)
    step = session.frame.step
    if step is None or session.frame.inside_a_step or step.node not in additions:
        reached = (session.trace.step_at.get(node.number) for node in additions)
        there = sorted(index for index in reached if index is not None)
        others = (f"; these steps are: {', '.join(map(str, there))}" if there else
                  ", and no step of this trace is")
        return f"this step is not an addition y = x + F(x){others}"
    addition = additions[step.node]
    found = identity_at(addition, np.asarray(step.upstream))
    rows = [(name, words, four_digits(facts.norm(array))) for name, words, array in (
        ("arrived", "dL/dy, which the skip passes on", found.through_skip),
        ("branch", "dL/dy · dF/dx, which the branch adds", found.through_branch),
        ("sum", "dL/dx through y, as the walk finds it", found.total))]
    return "\n".join([
        f"y = x + F(x), where x is {addition.x.name}; dL/dx = dL/dy · (1 + dF/dx)",
        *(f"  {text}" for text in columns(rows, left=2)), "  the two add up to the sum within "
        f"{found.error:.1e}; the angle between them is {found.angle:.1f}°"])
