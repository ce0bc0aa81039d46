"""What is printed on entering a step or a module, and the rows that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.facts import norm, number
from ..views import pictures, source_text, statistics
from ..views.frames import leaves
from ..views.tables import columns
from .session import span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..views.frames import Frame
    from .session import Session


def screen(session: Session) -> str:
    """What there is to see where the session stands."""
    frame = session.frame
    return step_screen(session, frame.step) if frame.step is not None else module_screen(frame, session.width)


def clipped(text: str, width: int) -> str:
    """A line no longer than the screen."""
    return text if len(text) <= width else text[:width - 1] + "…"


# ── one step ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def step_screen(session, step):
    """Formula, shapes, rule, the user's line, what arrived, what was sent and to whom."""
    inside = session.frame.inside_a_step
    lines = [heading(session, step), f"  {step.formula}", f"  {statistics.call(step)}"]
    lines += [f"  {'rule' if not k else '':6}{line}" for k, line in enumerate(source_text.rule_lines(step)[:4])]
    lines += [] if inside else user_line(step)
    lines = [clipped(line, session.width) for line in lines]
    rows = [arrived_row(session, step)] + [sent_row(session, step, i, d) for i, d in enumerate(step.sent) if d is not None]
    if not step.gradients:
        rows.append(("sent", "nothing", "", "", "", ""))
    return "\n".join(lines + [f"  {line}" for line in columns(rows[:7], left=6)]
                     + ([f"  … and {len(rows) - 7} more"] if len(rows) > 7 else []))


def heading(session, step):
    """The step's place and operation, and whether its rule was changed."""
    mutant = getattr(step.node.op, "planted", None)
    patched = f"   patched: {mutant.name}" if mutant is not None else ""
    if session.frame.inside_a_step:
        return f"primitive {step.index} of the definition of {session.trace[session.cursor.index].op} · {step.op}{patched}"
    return f"step {step.index}/{len(session.trace) - 1} · {step.where or 'top level'} · {step.op}{patched}"


def user_line(step):
    """The line of code that made the operation."""
    source = source_text.user_line(step, around=0)
    if source is None:
        return []
    return [f"  line  {source.place}   {source.lines[0].strip() if source.lines else source.note}"]


def arrived_row(session, step):
    """What arrived, and from how many consumers it was added up."""
    consumers = len(step.node.contributions)
    by_hand = step.node.number in session.changes.upstream and step.trace is session.trace
    hooked = ", set by hand" if by_hand else ", changed by a hook" if step.ledger.hooked else ""
    return ("came", "g", statistics.shape_of(step.upstream), *facts("g", step.upstream),
            f"added up from {consumers}{hooked}" if consumers > 1 else hooked.removeprefix(", "))


def sent_row(session, step, i, d):
    """What was sent to an argument, where it goes, and how many others are to send there."""
    parent, name = step.node.parents[i], f"d{step.node.op.name_of(i)}"
    after = sum(c.step > step.index for c in parent.contributions)
    more = f", {after} to come" if after else ", the last" if len(parent.contributions) > 1 else ""
    return ("sent", name, statistics.shape_of(d), *facts(name, d), f"to {parent.name}{more}")


def facts(name, array):
    """(norm, range and what is odd) of an array, in words."""
    row = statistics.row("", name, array)
    if row.norm is None:
        return "", row.note
    odd = [f"{row.zeros:.0%} zeros"] if row.zeros and row.zeros > 0.005 else []
    odd += [f"{count} {word}!" for count, word in ((row.nan, "NaN"), (row.inf, "inf")) if count]
    spread = "" if row.shape == "a number" else f"{number(row.min)} … {number(row.max)}"
    if row.min is None:
        return "", "  ".join(odd)
    return f"|{name}| {number(row.norm)}" if spread else f"= {number(row.max)}", "  ".join([spread, *odd])


# ── a module ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def module_screen(frame: Frame, width: int) -> str:
    """A run through a module: what is inside, what came, what left, and the gradients of its parameters."""
    steps = frame.steps
    if not steps:
        return "no step: nothing here leads to a parameter or to an input that requires a gradient"
    outgoing, parameters = sent_out(frame)
    name = f"module {frame.path}" if frame.path else f"the whole model{': ' + frame.trace.title if frame.trace.title else ''}"
    rows = [("came", "g", statistics.shape_of(steps[0].upstream), *facts("g", steps[0].upstream), f"at {steps[0].name}")]
    rows += [("sent", "d", statistics.shape_of(d), *facts("d", d), f"to {node.name}") for node, d in outgoing[:4]]
    rows += [("sent", "", f"{len(outgoing) - 4} more", "", "", "")] if len(outgoing) > 4 else []
    inside = ", ".join(child.label or child.path for child in frame.children)
    lines = [f"{name} · {span(frame)}", clipped(f"  inside  {inside}", width)]
    lines += [f"  {line}" for line in columns(rows, left=6)]
    shown = [(node.name.removeprefix(frame.path + "."), statistics.shape_of(node), f"|d| {number(norm(d))}")
             for node, d in parameters[:6]]
    lines += [f"  {'leaf' if not k else '':4}  {line}" for k, line in enumerate(columns(shown, left=3))]
    return "\n".join(lines + ([f"        … and {len(parameters) - 6} more"] if len(parameters) > 6 else []))


def sent_out(frame):
    """([(node, what the frame sent it)] outside the frame, [(leaf, what the frame sent it)]): sums over the frame's steps."""
    sums = {}
    for step in frame.steps:
        for parent, d in zip(step.node.parents, step.sent):
            if d is not None and not frame.first <= frame.trace.step_at.get(parent.number, -1) <= frame.last:
                sums[parent] = d if parent not in sums else sums[parent] + d
    pairs = list(sums.items())
    return [p for p in pairs if p[0].op is not None], [p for p in pairs if p[0].op is None]


def plural(count, word):
    """'1 step', '2 steps'."""
    return f"{count} {word}{'' if count == 1 else 's'}"


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def frame_row(frame: Frame, here: bool) -> tuple[str, ...]:
    """A frame in a list: where, what, how large what came."""
    arrived = frame.steps[0].upstream if frame.steps else None
    what = frame.step.op if frame.step is not None else f"{frame.label}/"
    return ("→" if here else " ", frame.span, what, statistics.shape_of(arrived), f"|g| {number(norm(arrived))}")


def rows_around(items: Sequence, at: int, around: int) -> Sequence:
    """The items near a place: 2·around + 1 of them, where there are so many."""
    first = max(0, min(at - around, len(items) - 2 * around - 1))
    return items[first:first + 2 * around + 1]


def module_frames(root: Frame) -> list[Frame]:
    """Every run through a module, in the order of the walk."""
    found = dict.fromkeys(frame for leaf in leaves(root) for frame in leaf.around[-2::-1])
    return list(found)


SHADES, FAINT = "░▒▓█", 0.05                       # below that share of the largest, a cell is left empty


def shades(heat: pictures.Heat) -> list[str]:
    """A heat map in characters, two a cell: a minus where it is negative, and a shade for the size."""
    lines = []
    for row in heat.grid:
        lines.append("".join("!!" if not np.isfinite(v) else "  " if abs(v) < FAINT else
                             ("-" if v < 0 else " ") + SHADES[min(int(abs(v) * len(SHADES)), len(SHADES) - 1)] for v in row))
    return lines
