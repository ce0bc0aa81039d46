"""What the terminal app says of a place in a trace, as rich text: the step, its rule, the residual
identity; a module; a ledger."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.style import Style
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text
from textual.theme import Theme

from ...core import facts
from ..probes.residual import Addition, Residual, identity_at
from ..traces.ledger import Ledger
from ..traces.trace import Trace, TraceStep
from ..traces.why import is_nonfinite
from ..views import pictures, source_text, statistics
from ..views.colours import Palette
from ..views.frames import Frame

LONG = 2_000                                       # nodes of a branch, walked while somebody waits
ROOMY = 70                                         # columns from which a table shows all it has
STRONG, FAINT = Style(bold=True), Style(dim=True)


class Look:
    """How things are drawn: the width in columns, colours for a dark or a light screen."""

    def __init__(self, width: int, theme: Theme, colours: Palette) -> None:
        self.width, self.background = width, theme.background
        self.code = "github-dark" if theme.dark else "friendly"
        self.arrived, self.sent, self.odd = (
            Style(color="rgb({},{},{})".format(*colour))
            for colour in (colours.negative, colours.positive, colours.nan))

    def style_of(self, role: str) -> Style:
        """What arrived is blue and what was sent orange, everywhere."""
        return {"arrived": self.arrived, "sent": self.sent}.get(role, Style())


def click_style(action: str) -> Style:
    return Style(meta={"@click": f"app.{action}"}, underline=True)


def heading(text: str) -> Text:
    return Text(f"\n{text}", STRONG)


def bare_table(**options: Any) -> Table:
    return Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style=FAINT, **options)


def residual_at(step: TraceStep, additions: Mapping[Any, Addition]) -> Residual | str:
    """The identity at an addition y = x + F(x), or why it is not worked out; '' at other steps."""
    addition: Any = additions.get(step.node)
    if addition is None:
        return ""
    far = addition.node.number - addition.x.number
    if far > LONG:
        return f"x is {far:,} nodes back, too far to walk at each key; npf.debug.residuals does it"
    return identity_at(addition, step.upstream)


def step_panel(step: TraceStep, level: str, residual: Residual | str, look: Look) -> RenderableType:
    """An operation: formula, rule, arrays, the identity if it is an addition, the user's line."""
    formulas = Table.grid(padding=(0, 2, 0, 0))
    formulas.add_row(Text("forward", FAINT), Text(step.formula.rstrip(".")))
    formulas.add_row("", Text(statistics.call(step), FAINT))
    formulas.add_row(Text("backward", FAINT), rule_text(step, look))
    place = f"  {level}, step {step.index} of {len(step.trace)}"
    parts: list[RenderableType] = [Text.assemble((step.op, STRONG), (place, FAINT)), formulas,
                                   Text(""), statistics_table(step, look)]
    if residual:
        parts.append(heading("residual: dL/dx = dL/dy + dL/dy·dF/dx"))
        parts += ([Text(residual, FAINT)] if isinstance(residual, str) else
                  identity_bars(residual, look))
    parts += [heading("your line"), *source_lines(source_text.user_line(step), look)]
    return Group(*parts)


def rule_text(step, look):
    """The formulas of the gradients, each on its line. Docstrings line their "=" up, and put two
    formulas on a line with at least three spaces between."""
    lines = [re.sub(r"\s+= ", " = ", line) for line in source_text.rule_lines(step)]
    parts = [part for line in lines for part in re.split(r"(?<=\S)\s{3,}", line)]
    no_formula = "a rule with no formula in words; r shows its source"
    return Text("\n".join(parts) or no_formula, look.sent)


def statistics_table(step, look):
    """The table of statistics; a narrow one leaves out dtype, min and max."""
    rows = statistics.statistics(step)
    shown = [*range(len(statistics.HEADERS))] if look.width >= ROOMY else [0, 1, 2, 4, 7, 8]
    if not any(row.cells()[-1] for row in rows):   # a column of notes with nothing in it
        shown = shown[:-1]
    table = bare_table(expand=False)
    for i in shown:
        table.add_column(statistics.HEADERS[i], no_wrap=i < 8,
                         justify="left" if i in (0, 1, 2, 3, 8) else "right")
    for row in rows:
        cells = row.cells()
        style = look.odd if row.nan or row.inf else look.style_of(row.role)
        table.add_row(*(cells[i] for i in shown), style=style)
    return table


def identity_bars(residual, look):
    """The three numbers of dL/dx = dL/dy + dL/dy·dF/dx, as bars of one scale."""
    arrived, branch, total = residual.norms
    longest, room, lines = max(arrived, branch, total) or 1.0, max(look.width - 34, 8), []
    for words, value, style in (("arrived, by the skip", arrived, look.arrived),
                                ("the branch adds", branch, look.sent),
                                ("sum: |dL/dx|", total, Style())):
        bar = "━" * max(round(value / longest * room), int(value > 0))
        lines.append(Text.assemble((f"{words:20}", FAINT), f"{facts.four_digits(value):>10}  ",
                                   (bar, style)))
    defined = residual.angle == residual.angle     # NaN where one of the two is 0
    angle = f"angle between the two {residual.angle:.1f}°, " if defined else ""
    return [*lines, Text(f"{angle}error {residual.error:.0e}", FAINT)]


def source_lines(found, look, mark=True):
    """A piece of source text with its line numbers; mark: the line that is meant."""
    if found is None:
        return [Text("no line of code was recorded", FAINT)]
    if not found.lines:
        return [Text(found.note, FAINT)]
    code = Syntax("\n".join(found.lines), "python", theme=look.code, line_numbers=True,
                  start_line=found.line, highlight_lines={found.at} if mark else None,
                  background_color=look.background, dedent=True)
    return [Text(found.place, FAINT), code]


def rule_panel(frame: Frame, look: Look) -> RenderableType:
    if frame.step is None:
        return Text("A module has no rule of its own: step into it.", FAINT)
    found = source_text.rule_source(frame.step)
    if found is None:
        return Text(f"The source of {frame.step.op}'s rule is not at hand.", FAINT)
    return Group(rule_text(frame.step, look), Text(""), *source_lines(found, look, mark=False))


def module_panel(frame: Frame, look: Look, most: int = 200) -> RenderableType:
    """The model or a module: what arrives at each part of it, in the order of the walk."""
    name = frame.path or frame.trace.title or "the whole graph"
    table = bare_table()
    for name in ("steps", "part", "|g| arrives", ""):
        table.add_column(name, justify="right" if name == "|g| arrives" else "left")
    children = frame.children[:most]
    arrived = [facts.norm(child.trace[child.first].upstream) or 0.0 for child in children]
    for child, size, block in zip(children, arrived, pictures.sparkline(arrived)):
        label = Text.assemble((child.label, click_style(f"goto_step({child.first})")))
        table.add_row(Text(child.span, FAINT), label, facts.four_digits(size),
                      Text(block, look.arrived))
    notes = []
    if frame.parent is None:
        notes += [Text(f"\n{note}", look.odd) for note in frame.trace.notes]
    if len(frame.children) > most:
        notes.append(Text(f"… and {len(frame.children) - most:,} more: the tree has them", FAINT))
    if frame.parent is None and frame.trace.unreached:
        notes += [heading("no gradient reaches"), Text(", ".join(frame.trace.unreached), look.odd)]
    place = f"  {frame.level}, its parts in the order of the walk"
    return Group(Text.assemble((name, STRONG), (place, FAINT)), Text(""), table, *notes)


def definition_note(trace: Trace) -> str:
    """How well a definition's gradients agree with the rule's; '' for any other trace."""
    if trace.agreement is None:
        return ""
    how = f"to {trace.agreement:.1e}" if trace.agreement else "exactly"
    return f"{trace.title.partition(': ')[2]} agrees with its rule {how}"


def ledgers_at(frame: Frame) -> list[Ledger]:
    """The ledger of a step's output, then of each of its inputs; of a module, of its first step."""
    if not len(frame.trace):
        return []
    node = frame.trace[frame.first].node
    inputs = [parent for parent in node.parents if parent is not None] if frame.step else []
    return [frame.trace.ledger(n) for n in dict.fromkeys([node, *inputs])]


def ledger_panel(ledgers: list[Ledger], frame: Frame, look: Look) -> RenderableType:
    """Who sent what to a step's output and to its inputs; a click on a consumer goes there."""
    parts: list[RenderableType] = []
    for k, ledger in enumerate(ledgers):
        parts.append(heading(f"dL/d({ledger.name})"))
        parts += ledger_table(ledger, frame, look, digits=k == 0)
    return Group(*parts, Text("\nA digit or a click goes to the consumer.", FAINT))


def ledger_table(ledger, frame, look, digits):
    """One ledger. digits: number its lines; what this very step sent has the colour of `sent`."""
    if not len(ledger):
        return [Text("no gradient arrived", FAINT)]
    table = bare_table()
    for name, justify in (("", "right"), ("consumer", "left"), ("sent", "right"),
                          ("sum so far", "right"), ("to come", "right")):
        table.add_column(name, justify=justify, overflow="fold")
    for k, e in select_entries(list(ledger), frame):
        if e is None:
            table.add_row("", Text(f"… {k:,} more", FAINT))
            continue
        mine = look.sent if e.step == frame.first and frame.step else Style()
        style = look.odd if is_nonfinite(e.contribution) else mine
        link = mine + click_style(f"goto_step({e.step})") if e.step >= 0 else FAINT
        table.add_row(Text(str(k + 1) if digits and k < 9 else "", FAINT),
                      Text.assemble((f"{e.consumer}.{e.argument}", link)),
                      Text(facts.four_digits(facts.norm(e.contribution)), style),
                      Text(facts.four_digits(facts.norm(e.running)), style),
                      Text(str(e.left), FAINT))
    return [table, *([Text("then a hook changed it", look.odd)] if ledger.hooked else [])]


def select_entries(entries, frame):
    """(number, entry) of each entry of a ledger; where there are more than 40, of those at both
    ends and around this step's, and (how many, None) where some are left out."""
    mine = next((k for k, e in enumerate(entries) if e.step == frame.first), 0)
    end = len(entries)
    kept = [k for k in range(end) if end <= 40 or k < 12 or k >= end - 3 or abs(k - mine) <= 3]
    for k, before in zip(kept, [-1, *kept]):
        if k > before + 1:
            yield k - before - 1, None
        yield k, entries[k]
