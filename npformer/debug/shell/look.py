"""Commands that show: where we are, the rule, numbers, pictures in characters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core import facts
from ...core.errors import InputError
from ...core.facts import ArrayFacts, four_digits
from ...core.source import short_path
from ..views import expressions, pictures, source_text, statistics
from ..views.tables import columns
from . import screens
from .names import array_named, arrays_here, evaluate, read_count
from .session import Session, command, span

LARGE_JACOBIAN = 250_000                           # entries beyond which one row of it is computed


# ── the place ────────────────────────────────────────────────────────────────────────────────────


@command("look", "screen", group="look")
def look(session: Session, rest: str) -> str:
    """What was printed on coming here, once more."""
    return screens.screen(session)


@command("where", "w", group="look")
def where(session: Session, rest: str) -> str:
    """The modules around this place, from the model inwards, and the user's line."""
    rows = []
    for k, frame in enumerate([*reversed(session.frame.around), session.frame]):
        name = frame.step.op if frame.step is not None else frame.label
        indent = f"{'  ' * (k - 1)}└ " if k else ""
        rows.append((indent + (name or frame.trace.title or "the model"), span(frame)))
    return "\n".join([*columns(rows, left=2), line(session, "0")])


@command("list [AROUND]", "l", group="look")
def list_(session: Session, rest: str) -> str:
    """The steps and modules beside this one, and how large a gradient arrived at each."""
    frame, around = session.frame, read_count(rest, 5)
    if frame.parent is None:
        rows = [screens.frame_row(f, False) for f in frame.children[:2 * around + 1]]
        return "\n".join(columns(rows, left=5))
    siblings = frame.parent.children
    shown = screens.rows_around(siblings, siblings.index(frame), around)
    title = [f"in {frame.parent.path or 'the model'}:"] if frame.parent.step is None else []
    rows = [screens.frame_row(f, f is frame) for f in shown]
    return "\n".join(title + columns(rows, left=5))


@command("norms", group="look")
def norms(session: Session, rest: str) -> str:
    """How large the gradient is at each layer of the walk, as a line and as a table around here."""
    layers, index = pictures.layers(session.trace), session.cursor.index
    sizes = [layer.norm for layer in layers]
    here = next((k for k, layer in enumerate(layers) if layer.first <= index <= layer.last), 0)
    rows = [("→" if layer is layers[here] else " ", layer.where or "top level", span(layer),
             f"|g| {four_digits(layer.norm)}") for layer in screens.rows_around(layers, here, 8)]
    return "\n".join([
        f"‖g‖ where the walk enters each module, {four_digits(max(sizes))} to "
        f"{four_digits(min(sizes))}, logarithmic:",
        f"  {pictures.sparkline(sizes, 100)}", f"  {pictures.marker(len(layers), here, 100)}",
        *columns(rows, left=4)])


# ── source text ──────────────────────────────────────────────────────────────────────────────────


@command("formula", "f", group="look")
def formula(session: Session, rest: str) -> str:
    """What the operation computes, with this step's shapes, and the lines of its rule."""
    step = session.step
    rule_lines = [f"  {text}" for text in source_text.rule_lines(step)]
    return "\n".join([step.formula, statistics.call(step), *rule_lines])


@command("rule", group="look")
def rule(session: Session, rest: str) -> str:
    """The source text of the gradient rule that was used here."""
    source = source_text.rule_source(session.step)
    if source is None:
        return f"{session.step.op}: its code is not at hand; the trace was read from a file"
    return "\n".join([f"{short_path(source.file)}:{source.line}", *(source.lines or [source.note])])


@command("line [AROUND]", group="look")
def line(session: Session, rest: str) -> str:
    """The user's line of code that made this operation, with its neighbours."""
    step = session.frame.step or (session.frame.steps[0] if session.frame.steps else None)
    if session.frame.inside_a_step:
        step = session.trace[session.cursor.index]
    source = step and source_text.user_line(step, read_count(rest, 3))
    if not source:
        return "no line of code was recorded for this step"
    if not source.lines:
        return f"{source.place}: {source.note}"
    numbered = [f"{'→' if n == source.at else ' '} {n:4}  {text}"
                for n, text in enumerate(source.lines, source.line)]
    return "\n".join([source.place, *numbered])


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


@command("stats", "a", group="look")
def stats(session: Session, rest: str) -> str:
    """Every array of this step: what arrived, inputs, output, what was saved, what was sent."""
    rows = statistics.statistics(session.step)
    return "\n".join(columns([statistics.HEADERS, *(row.cells() for row in rows)], left=4))


@command("p NAME[INDEX]", "print", group="look")
def p(session: Session, rest: str) -> str:
    """Print numbers: `p g[0, :3]`, `p weight`, `p dx.shape`, `p blocks.0.norm1.weight.grad`,
    `p norm(dx) / norm(g)`.

    NAME is g (what arrived), y (the output), an input, d and an input's name, what was saved, or
    any node of the trace: its value, or with .grad its gradient. `p` alone lists the names of this
    step.
    """
    if not rest:
        return "  ".join(arrays_here(session)) if session.frame.step else screens.screen(session)
    label, value = evaluate(session, rest)
    return f"{label} {format_value(value)}"


def format_value(value: Any) -> str:
    if isinstance(value, ArrayFacts):
        return repr(value)
    if not isinstance(value, np.ndarray):
        return f"= {four_digits(value, 8) if isinstance(value, (int, float, np.number)) else value}"
    if value.ndim == 0:
        return f"= {four_digits(value[()], 8)}"
    text = np.array2string(value, precision=4, max_line_width=100, threshold=120, edgeitems=3,
                           suppress_small=False)
    return f"{value.dtype} {value.shape}, norm {four_digits(facts.norm(value))}\n{text}"


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


@command("heat NAME [INDEX]", group="look")
def heat(session: Session, rest: str) -> str:
    """Draw NAME in characters: dark where large, - where negative. INDEX chooses in the dims before
    the last two: `heat g 0`, `heat a 0,1`."""
    name = rest
    index: tuple[int, ...] = ()
    before, _, last = rest.rpartition(" ")
    if before and last.replace(",", "").replace("-", "").isdigit():
        name, index = before, tuple(int(i) for i in last.split(",") if i)
    label, array = array_named(session, name)
    return draw_heat(label, pictures.heat(array, 16, 40, index))


def draw_heat(label, heat):
    return "\n".join([f"{label} {heat.note}, {four_digits(heat.low)} … {four_digits(heat.high)}",
                      *(f"  │{row}│" for row in screens.shade_rows(heat))])


@command("jac ARGUMENT [ROWS [COLUMNS]]", "jacobian", group="look")
def jac(session: Session, rest: str) -> str:
    """The Jacobian d(output)/d(ARGUMENT) of this step alone: `jac x`; `jac x 0,0` for that part of
    the output alone, `jac x 0,0 1` for that part and that part of the argument. A large one is
    shown for one entry of the output."""
    step = session.step
    only = list(step.gradients)[0] if len(step.gradients) == 1 else ""
    argument, *parts = rest.split() or [only]
    if argument not in step.inputs:
        raise InputError(f"jac of which argument? {', '.join(step.gradients)}")
    shape = dict(zip(step.inputs, step.node.shapes))[argument]
    if not parts and math.prod(shape) * math.prod(step.node.shape) > LARGE_JACOBIAN:
        parts = [",".join("0" * len(step.node.shape))]
    rows, columns = ([read_index(text) for text in parts] + [None, None])[:2]
    block = step.jacobian(argument, rows, columns)
    of, by = [f"[{part}]" for part in parts] + [""] * (2 - len(parts))
    words = f"d{step.op}{of}/d{argument}{by}"
    flat = jacobian_matrix(block, step.node.shape, rows)
    if flat.size <= 64:
        return f"{words} {format_value(block)}"
    diagonal = flat.shape[0] == flat.shape[1] and not np.any(flat - np.diag(np.diag(flat)))
    note = "  (diagonal: each entry of the output depends on one of the input)" * bool(diagonal)
    share = np.count_nonzero(flat) / flat.size
    return (f"{words} {block.dtype} {block.shape}, {share:.0%} of its entries are not 0{note}\n"
            + draw_heat(f"as {flat.shape[0]} × {flat.shape[1]}:", pictures.heat(flat, 16, 40)))


def jacobian_matrix(block, y_shape, rows):
    """A block of a Jacobian, dims of the output before dims of the argument, as a matrix. One row
    for each entry of the output that was asked for. Where that is a single entry, the matrix would
    be one line: it is drawn in the argument's own shape instead."""
    part = y_shape if rows is None else np.empty(y_shape, bool)[rows].shape
    height = math.prod(part)
    if height > 1 or block.ndim < 2:
        return block.reshape(height, -1)
    return block.reshape(-1, block.shape[-1])


def read_index(text):
    """An index as it is typed without brackets: `0,:3`."""
    return expressions.index_of(expressions.parse_expression(f"x[{text}]").slice)
