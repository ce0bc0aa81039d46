"""What is printed where the session stands, and the rows that several commands share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.facts import four_digits, norm
from ..views import pictures, source_text, statistics
from ..views.frames import Frame, leaves
from ..views.tables import columns
from .session import Session, span

HEAD = 9                                           # columns of "arrived", "sent", "rule" and a gap


def screen(session: Session) -> str:
    frame = session.frame
    return step_screen(session, frame.step) if frame.step else module_screen(frame, session.width)


def clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[:width - 1] + "…"


def plural(count, word):
    return f"{count} {word}{'' if count == 1 else 's'}"


def label_lines(label, lines):
    return [f"  {'' if k else label:{HEAD}}{line}" for k, line in enumerate(lines)]


def step_screen(session, step):
    """Formula, shapes, rule, the user's line, what arrived, what was sent and to whom."""
    lines = [heading(session, step), f"  {step.formula}", f"  {statistics.call(step)}"]
    lines += label_lines("rule", source_text.rule_lines(step)[:4])
    if not session.frame.inside_a_step:            # a definition's lines are npformer's own
        lines += user_line(step)
    rows = [arrived_row(session, step)]
    rows += [sent_row(step, i, d) for i, d in enumerate(step.sent) if d is not None]
    if not step.gradients:
        rows.append(("sent", "nothing", "", "", "", ""))
    lines = [clip(line, session.width) for line in lines]
    lines += [f"  {line}" for line in columns(rows[:7], left=6)]
    if len(rows) > 7:
        lines.append(f"  … and {len(rows) - 7} more")
    return "\n".join(lines)


def heading(session, step):
    """The step's place and operation, and whether its rule was changed."""
    mutant = getattr(step.node.op, "planted", None)
    patched = f"   patched: {mutant.name}" if mutant is not None else ""
    if session.frame.inside_a_step:
        fused = session.trace[session.cursor.index].op
        return f"primitive {step.index} of the definition of {fused} · {step.op}{patched}"
    last, where = len(session.trace) - 1, step.where or "top level"
    return f"step {step.index}/{last} · {where} · {step.op}{patched}"


def user_line(step):
    """The line of code that made the operation, as a list of one line, or of none."""
    source = source_text.user_line(step, around=0)
    if source is None:
        return []
    text = source.lines[0].strip() if source.lines else source.note
    return label_lines("line", [f"{source.place}   {text}"])


def arrived_row(session, step):
    consumers, note = len(step.node.contributions), []
    if consumers > 1:
        note.append(f"added up from {consumers}")
    if step.node.number in session.changes.upstream and step.trace is session.trace:
        note.append("set by hand")
    elif step.ledger.hooked:
        note.append("changed by a hook")
    return ("arrived", "g", statistics.shape_of(step.upstream),
            *describe_array("g", step.upstream), ", ".join(note))


def sent_row(step, i, d):
    parent, name = step.node.parents[i], f"d{step.node.op.name_of(i)}"
    after = sum(c.step > step.index for c in parent.contributions)
    more = f", {after} to come" if after else ""
    if not after and len(parent.contributions) > 1:
        more = ", the last"
    return ("sent", name, statistics.shape_of(d), *describe_array(name, d),
            f"to {parent.name}{more}")


def describe_array(name, array):
    """(norm, range and what is odd) of an array, in words."""
    row = statistics.row("", name, array)
    if row.norm is None:
        return "", row.note
    odd = [f"{row.zeros:.0%} zeros"] if row.zeros and row.zeros > 0.005 else []
    odd += [f"{count} {word}!" for count, word in ((row.nan, "NaN"), (row.inf, "inf")) if count]
    if row.min is None:
        return "", "  ".join(odd)
    if row.shape == "a number":                    # its norm is its size, and it has no range
        return f"= {four_digits(row.max)}", "  ".join(["", *odd])
    spread = f"{four_digits(row.min)} … {four_digits(row.max)}"
    return f"|{name}| {four_digits(row.norm)}", "  ".join([spread, *odd])


def module_screen(frame: Frame, width: int) -> str:
    """A module: what is inside, what arrived, what was sent, the gradients of its parameters."""
    steps = frame.steps
    if not steps:
        return "no step: nothing here leads to a parameter or to an input that requires a gradient"
    outgoing, parameters = outgoing_gradients(frame)
    title = f": {frame.trace.title}" if frame.trace.title else ""
    name = f"module {frame.path}" if frame.path else f"the whole model{title}"
    inside = ", ".join(child.label or child.path for child in frame.children)
    rows = [("arrived", "g", statistics.shape_of(steps[0].upstream),
             *describe_array("g", steps[0].upstream), f"at {steps[0].name}")]
    rows += [("sent", "d", statistics.shape_of(d), *describe_array("d", d), f"to {node.name}")
             for node, d in outgoing[:4]]
    if len(outgoing) > 4:
        rows.append(("sent", "", f"{len(outgoing) - 4} more", "", "", ""))
    leaf_rows = [(node.name.removeprefix(frame.path + "."), statistics.shape_of(node),
                  f"|d| {four_digits(norm(d))}") for node, d in parameters[:6]]
    lines = [f"{name} · {span(frame)}"]
    lines += [clip(line, width) for line in label_lines("inside", [inside])]
    lines += [f"  {line}" for line in columns(rows, left=6)]
    lines += label_lines("leaf", columns(leaf_rows, left=3))
    if len(parameters) > 6:
        lines += label_lines("", [f"… and {len(parameters) - 6} more"])
    return "\n".join(lines)


def outgoing_gradients(frame):
    """([(node, d)], [(leaf, d)]): what a frame sent to the nodes outside it, and to leaves. A node
    may get something from several of the frame's steps, so each d is their sum. What one step of
    the frame sent to another is not in it."""
    sums, at = {}, frame.trace.step_at
    for step in frame.steps:
        for parent, d in zip(step.node.parents, step.sent):
            if d is None or frame.first <= at.get(parent.number, -1) <= frame.last:
                continue
            sums[parent] = d if parent not in sums else sums[parent] + d
    pairs = list(sums.items())
    return [p for p in pairs if p[0].op is not None], [p for p in pairs if p[0].op is None]


def frame_row(frame: Frame, here: bool) -> tuple[str, ...]:
    arrived = frame.steps[0].upstream if frame.steps else None
    what = frame.step.op if frame.step is not None else f"{frame.label}/"
    return ("→" if here else " ", frame.span, what, statistics.shape_of(arrived),
            f"|g| {four_digits(norm(arrived))}")


def rows_around(items: Sequence, at: int, around: int) -> Sequence:
    """The items near a place: 2·around + 1 of them, where there are so many."""
    first = max(0, min(at - around, len(items) - 2 * around - 1))
    return items[first:first + 2 * around + 1]


def module_frames(root: Frame) -> list[Frame]:
    # From each step the modules around it, from the outermost inwards, but without the model
    # itself, which is the last of them; a dict keeps the first place of each.
    return list(dict.fromkeys(frame for leaf in leaves(root) for frame in leaf.around[-2::-1]))


SHADES, FAINT = "░▒▓█", 0.05                       # below that share of the largest: left empty


def shade_rows(heat: pictures.Heat) -> list[str]:
    """A heat map in characters, two a cell: a minus where it is negative, a shade for the size.
    Two, because a character is about twice as high as wide; the first is free for the sign, which a
    screen without colour could not show otherwise."""
    return ["".join(map(shade, row)) for row in heat.grid]


def shade(value):
    """One cell, from −1 to 1; NaN and infinity are !!."""
    if not np.isfinite(value):
        return "!!"
    if abs(value) < FAINT:
        return "  "
    size = min(int(abs(value) * len(SHADES)), len(SHADES) - 1)
    return ("-" if value < 0 else " ") + SHADES[size]
