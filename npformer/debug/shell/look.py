"""Commands that show: where we are, the rule, numbers, pictures in characters."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core import facts
from ...core.errors import InputError
from ...core.facts import ArrayFacts, number
from ...core.source import short
from ..views import expressions, pictures, source_text, statistics
from ..views.tables import columns
from . import screens
from .names import array_named, at_step, numbers
from .session import COMMANDS, GROUPS, command, span

if TYPE_CHECKING:
    from .session import Session


@command("look", "screen", group="look")
def look(session: Session, rest: str) -> str:
    """What was printed on coming here, once more."""
    return screens.screen(session)


@command("where", "w", group="look")
def where(session: Session, rest: str) -> str:
    """The modules around this place, from the model inwards, and the user's line."""
    rows = []
    for k, frame in enumerate([*reversed(session.frame.around), session.frame]):
        name = (frame.step.op if frame.step is not None else frame.label) or frame.trace.title or "the model"
        rows.append((f"{'  ' * (k - 1) + '└ ' if k else ''}{name}", span(frame)))
    return "\n".join(columns(rows, left=2) + [text for text in [line(session, "0")] if text])


@command("list [AROUND]", "l", group="look")
def list_(session: Session, rest: str) -> str:
    """The steps and modules beside this one, and how large a gradient came to each."""
    frame, around = session.frame, number_in(rest, 5)
    if frame.parent is None:
        return "\n".join(columns([screens.frame_row(f, False) for f in frame.children[:2 * around + 1]], left=5))
    siblings = frame.parent.children
    shown = screens.rows_around(siblings, siblings.index(frame), around)
    title = [f"in {frame.parent.path or 'the model'}:"] if frame.parent.step is None else []
    return "\n".join(title + columns([screens.frame_row(f, f is frame) for f in shown], left=5))


def number_in(rest, otherwise):
    """A whole number that was typed, or else a default."""
    if rest and not rest.isdigit():
        raise InputError(f"a whole number is needed, not {rest!r}")
    return int(rest) if rest else otherwise


@command("formula", "f", group="look")
def formula(session: Session, rest: str) -> str:
    """What the operation computes, with this step's shapes, and the lines of its rule."""
    step = session.step
    return "\n".join([step.formula, statistics.call(step), *(f"  {text}" for text in source_text.rule_lines(step))])


@command("rule", group="look")
def rule(session: Session, rest: str) -> str:
    """The source text of the gradient rule that was used here."""
    source = source_text.rule_source(session.step)
    if source is None:
        return f"{session.step.op}: its code is not at hand; the trace came from a file"
    return "\n".join([f"{short(source.file)}:{source.line}", *(source.lines or [source.note])])


@command("line [AROUND]", group="look")
def line(session: Session, rest: str) -> str:
    """The user's line of code that made this operation, with its neighbours."""
    step = session.frame.step or (session.frame.steps[0] if session.frame.steps else None)
    if session.frame.inside_a_step:
        step = session.trace[session.cursor.index]
    source = step and source_text.user_line(step, number_in(rest, 3))
    if not source:
        return "no line of code was recorded for this step"
    if not source.lines:
        return f"{source.place}: {source.note}"
    numbered = [f"{'→' if n == source.at else ' '} {n:4}  {text}" for n, text in enumerate(source.lines, source.line)]
    return "\n".join([source.place, *numbered])


@command("stats", "a", group="look")
def stats(session: Session, rest: str) -> str:
    """Every array of this step: what arrived, inputs, output, what was saved, what was sent."""
    rows = statistics.statistics(session.step)
    return "\n".join(columns([statistics.HEADERS, *(row.cells() for row in rows)], left=4))


@command("p NAME[INDEX]", "print", group="look")
def p(session: Session, rest: str) -> str:
    """Print numbers: `p g[0, :3]`, `p weight`, `p dx.shape`, `p blocks.0.norm1.weight.grad`, `p norm(dx) / norm(g)`.

    NAME is g (what arrived), y (the output), an input, d and an input's name, what was saved, or any node of the trace:
    its value, or with .grad its gradient. `p` alone lists the names of this step.
    """
    if not rest:
        return "  ".join(at_step(session)) if session.frame.step else screens.screen(session)
    label, value = numbers(session, rest)
    return f"{label} {shown(value)}"


def shown(value: Any) -> str:
    """A value that was asked for."""
    if isinstance(value, ArrayFacts):
        return repr(value)
    if not isinstance(value, np.ndarray):
        return f"= {number(value, 8) if isinstance(value, (int, float, np.number)) else value}"
    if value.ndim == 0:
        return f"= {number(value[()], 8)}"
    text = np.array2string(value, precision=4, max_line_width=100, threshold=120, edgeitems=3, suppress_small=False)
    return f"{value.dtype} {value.shape}, norm {number(facts.norm(value))}\n{text}"


@command("heat NAME [INDEX]", group="look")
def heat(session: Session, rest: str) -> str:
    """Draw NAME in characters: dark where large, - where negative. INDEX chooses in the dims before the last two:
    `heat g 0`, `heat a 0,1`."""
    name, places = rest, ""
    if rest and rest.split()[-1].replace(",", "").replace("-", "").isdigit() and " " in rest:
        name, _, places = rest.rpartition(" ")
    label, array = array_named(session, name)
    return drawn(label, pictures.heat(array, 16, 40, tuple(int(i) for i in places.split(",") if i)))


def drawn(label, picture):
    """A heat map in characters, with its range."""
    return "\n".join([f"{label} {picture.note}, {number(picture.low)} … {number(picture.high)}",
                      *(f"  │{row}│" for row in screens.shades(picture))])


@command("jac ARGUMENT [ROWS [COLUMNS]]", "jacobian", group="look")
def jac(session: Session, rest: str) -> str:
    """The Jacobian d(output)/d(ARGUMENT) of this step alone: `jac x`; `jac x 0,0` for that part of the output alone,
    `jac x 0,0 1` for that part and that part of the argument. A large one is shown for one entry of the output."""
    step = session.step
    argument, *parts = rest.split() or (list(step.gradients) if len(step.gradients) == 1 else [""])
    if argument not in step.inputs:
        raise InputError(f"jac of which argument? {', '.join(step.gradients)}")
    shape = dict(zip(step.inputs, step.node.shapes))[argument]
    if not parts and math.prod(shape) * math.prod(step.node.shape) > 250_000:
        parts = [",".join("0" * len(step.node.shape))]
    rows, columns = ([index(text) for text in parts] + [None, None])[:2]
    block = step.jacobian(argument, rows, columns)
    words = f"d{step.op}{f'[{parts[0]}]' if parts else ''}/d{argument}{f'[{parts[1]}]' if parts[1:] else ''}"
    height = math.prod(np.empty(step.node.shape, bool)[rows].shape) if parts else math.prod(step.node.shape)
    flat = block.reshape(height, -1) if height > 1 or block.ndim < 2 else block.reshape(-1, block.shape[-1])
    if flat.size <= 64:
        return f"{words} {shown(block)}"
    diagonal = flat.shape[0] == flat.shape[1] and not np.any(flat - np.diag(np.diag(flat)))
    note = "  (diagonal: each entry of the output depends on one of the input)" if diagonal else ""
    return (f"{words} {block.dtype} {block.shape}, {np.count_nonzero(flat) / flat.size:.0%} of its entries are not 0{note}\n"
            + drawn(f"as {flat.shape[0]} × {flat.shape[1]}:", pictures.heat(flat, 16, 40)))


def index(text):
    """An index as it is typed without brackets: `0,:3`."""
    return expressions.index_of(expressions.parse_expression(f"x[{text}]").slice)


@command("norms", group="look")
def norms(session: Session, rest: str) -> str:
    """How large the gradient is at each layer of the walk, as a line and as a table around this place."""
    found = pictures.layers(session.trace)
    here = next((k for k, layer in enumerate(found) if layer.first <= session.cursor.index <= layer.last), 0)
    spark = pictures.sparkline([layer.norm for layer in found], 100)
    norms = [layer.norm for layer in found]
    rows = [("→" if layer is found[here] else " ", layer.where or "top level", span(layer), f"|g| {number(layer.norm)}")
            for layer in screens.rows_around(found, here, 8)]
    return "\n".join([f"‖g‖ where the walk enters each module, {number(max(norms))} to {number(min(norms))}, logarithmic:",
                      f"  {spark}", f"  {pictures.marker(len(found), here, 100)}", *columns(rows, left=4)])


# ── help ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@command("help [COMMAND]", "h", group="session")
def help_(session: Session, rest: str) -> str:
    """The commands; what one of them does."""
    if rest:
        if rest not in COMMANDS:
            raise InputError(f"there is no command {rest!r}; `help` lists them")
        found = COMMANDS[rest]
        return f"{found.usage}{'   also: ' + ', '.join(found.names[1:]) if found.names[1:] else ''}\n    {found.help}"
    commands = dict.fromkeys(COMMANDS.values())
    rows = [(GROUPS[c.group], ", ".join([*reversed(c.names[1:]), c.usage]), first_clause(c.help))
            for c in sorted(commands, key=lambda c: c.group)]
    shown = [("" if k and rows[k - 1][0] == row[0] else row[0], *row[1:]) for k, row in enumerate(rows)]
    lines = [screens.clipped(text, session.width) for text in columns(shown, left=3)]
    return "\n".join([*lines, "an empty line repeats the last command; `help COMMAND` says more"])


def first_clause(text):
    """A documentation up to the first colon or full stop."""
    return re.split(r"[:.;](?:\s|$)", " ".join(text.split()))[0]


@command("quit", "q", "exit", group="session")
def quit_(session: Session, rest: str) -> str:
    """Leave."""
    session.done = True
    return ""
