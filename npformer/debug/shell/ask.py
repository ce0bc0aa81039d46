"""Commands that answer: who sent what, by which way, why it is zero, whether the rule is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core import facts
from ...core.errors import GraphError, InputError
from ...core.facts import number
from ..probes.residual import additions_in, identity_at
from ..traces.why import is_nonfinite
from ..views import source_text
from ..views.tables import columns
from . import screens
from .names import node_named
from .session import command

if TYPE_CHECKING:
    from .session import Session


@command("ledger [NAME]", group="ask")
def ledger(session: Session, rest: str) -> str:
    """All that was added up to the gradient of NAME, who sent it, and what is still to come. NAME: an input of this step,
    a parameter, any node; alone, it is about this step's output."""
    if rest:
        return table(session, node_named(session, rest))
    if session.frame.step is not None:
        return table(session, session.frame.step.node)
    outgoing, _ = screens.sent_out(session.frame)
    if not outgoing:
        return f"{session.frame.path or 'the model'} sends nothing but to its parameters"
    return "\n".join(table(session, node) for node, _ in outgoing[:6])


def table(session, node):
    """The ledger of a node as lines: • has come, → comes at this step, ○ is still to come."""
    found = session.frame.trace.ledger(node)
    if not found.entries:
        return f"{node.name}: no gradient came"
    now = session.frame.last
    rows = [("→" if e.step == now else "•" if e.step < now else "○", "start" if e.step < 0 else f"step {e.step}",
             f"{e.consumer}.{e.argument}" if e.step >= 0 else e.consumer, f"sent {number(facts.norm(e.contribution))}",
             f"sum so far {number(facts.norm(e.running))}", f"{e.left} to come") for e in found]
    total = [f"  then a hook changed it to {number(facts.norm(found.gradient))}"] if found.hooked else []
    head = f"the gradient of {node.name} {node.shape}: {screens.plural(len(rows), 'contribution')}, norms"
    return "\n".join([head, *(f"  {text}" for text in columns(rows, left=6)), *total])


@command("terms", group="ask")
def terms(session: Session, rest: str) -> str:
    """The additive terms of each gradient that was sent: what every way through the definition adds."""
    step = session.step
    lines = []
    for name, found in step.terms().items():
        lines.append(f"d{name}  |d{name}| {number(facts.norm(step.gradients[name]))}")
        lines += [f"    {text}" for text in columns(
            [(f"|{number(term.norm)}|", f"by {term.way}") for term in found[:12]], left=2)]
        lines += [f"    … and {len(found) - 12} more"] if len(found) > 12 else []
    return "\n".join(lines) or "nothing was sent"


@command("check", group="ask")
def check(session: Session, rest: str) -> str:
    """This step's rule against finite differences of its operation, and against its definition; on a module, of every step
    in it. A rule that is wrong makes `npformer step --do` end with exit code 1."""
    steps = [session.frame.step] if session.frame.step is not None else session.frame.steps
    lines = [checked(session, step) for step in steps]
    if len(lines) == 1:
        return lines[0][1]
    wrong, unknown = [[text for verdict, text in lines if verdict is which] for which in (False, None)]
    return "\n".join([*wrong, *unknown[:3], f"{screens.plural(len(lines), 'rule')} checked: "
                      f"{len(lines) - len(wrong) - len(unknown)} right, {len(wrong)} wrong"
                      + (f", {len(unknown)} could not be checked" if unknown else "")])


def checked(session, step):
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
        text += f"\n  WRONG: the rule of {step.op}, used at {source.place if source else 'an unknown line'}; `rule` shows it"
    return bool(found), text


@command("why [zero|nan] [NAME]", group="ask")
def why(session: Session, rest: str) -> str:
    """Why the gradient of NAME is zero, or where its NaN or infinity comes from. `why nan` alone looks for the first in the
    whole trace, `why` alone is about this step's output."""
    kind, _, name = rest.partition(" ")
    if kind not in ("zero", "nan"):
        kind, name = "", rest
    trace = session.frame.trace
    if name in trace.unreached:
        return str(trace.why_zero(name))
    node = node_named(session, name) if name else (
        session.frame.step.node if session.frame.step is not None and kind != "nan" else None)
    if not kind:
        kind = "nan" if node is None or is_nonfinite(node.gradient) else "zero"
    reason = trace.why_nan(node) if kind == "nan" else trace.why_zero(node) if node is not None else None
    if reason is None:
        raise InputError("why zero of what? `why zero NAME`: a parameter, or an input of a step")
    index = trace.step_at.get(reason.node.number) if reason.node is not None else None
    there = f"\n  `goto {index}` goes there" if index is not None and index != session.cursor.index else ""
    return f"{reason}{there}"


@command("paths A [B]", group="ask")
def paths(session: Session, rest: str) -> str:
    """The ways by which gradient travelled from B, or from the loss, back to A, and what came by each."""
    if not rest:
        raise InputError("paths to what? `paths NAME`, or `paths NAME FROM`")
    a, *b = [node_named(session, name) for name in rest.split()[:2]]
    found = session.frame.trace.paths(a, b[0] if b else None, most=12)
    if not found:
        return f"no gradient travelled to {a.name}"
    return "\n".join(columns([(f"|{number(path.norm)}|", screens.clipped(" → ".join(path.names), session.width + 40))
                                      for path in found], left=2))


@command("residual", group="ask")
def residual(session: Session, rest: str) -> str:
    """The residual identity where this step is an addition y = x + F(x): dL/dx = dL/dy + dL/dy·dF/dx."""
    additions: dict[Any, Any] = additions_in(session.trace.nodes)
    step = session.frame.step
    if step is None or session.frame.inside_a_step or step.node not in additions:
        there = sorted(session.trace.step_at[node.number] for node in additions if node.number in session.trace.step_at)
        others = f"; these steps are: {', '.join(map(str, there))}" if there else ", and no step of this trace is"
        return f"this step is no addition y = x + F(x){others}"
    found = identity_at(additions[step.node], np.asarray(step.upstream))
    rows = [("came", "dL/dy, which the skip passes on", number(facts.norm(found.through_skip))),
            ("branch", "dL/dy · dF/dx, which the branch adds", number(facts.norm(found.through_branch))),
            ("sum", "dL/dx by way of y, as the walk finds it", number(facts.norm(found.total)))]
    return "\n".join([f"y = x + F(x), where x is {additions[step.node].x.name}; dL/dx = dL/dy · (1 + dF/dx)",
                      *(f"  {text}" for text in columns(rows, left=2)),
                      f"  the two add up to the sum within {found.error:.1e}; the angle between them is {found.angle:.1f}°"])
