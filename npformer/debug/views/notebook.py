"""How a trace, a step and a ledger display themselves in a notebook: small static HTML, with inline styles and no script.

Text has the page's own colour, and numbers are shaded by transparency, so that all of it reads on dark and on light.
"""

from __future__ import annotations

import base64
import html
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core import facts
from ..traces.html import notebook_html
from ..traces.ledger import Ledger
from ..traces.trace import Trace, TraceStep
from . import pictures, source_text, statistics
from .colours import translucent
from .frames import Frame, tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..traces.ledger import Entry

BLUE, ORANGE = "#2b7fd4", "#d0680c"                # what arrived, what was sent
FAINT = "opacity:.65"
ROWS = 500                                         # the most lines of a trace, and the most entries of a ledger
CELLS = 64                                         # the most rows, and columns, of a map
DRAWN = 10                                         # the most maps of a step
EMPTY = ("img", "br")                              # elements that have no end


class Markup(str):
    """Text that is HTML already; any other text is escaped."""


def element(name: str, *inside: Any, style: str = "", **attributes: Any) -> Markup:
    """`<name style=... attribute=...>inside</name>`, everything escaped that is no Markup."""
    given = {**({"style": style} if style else {}), **attributes}
    start = "".join(f' {key}="{html.escape(str(value))}"' for key, value in given.items())
    return Markup(f"<{name}{start}>" + ("" if name in EMPTY else f"{joined(inside)}</{name}>"))


def joined(parts: Iterable[Any]) -> Markup:
    """Parts one after the other, escaped where they are no Markup."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(str(part)) for part in parts))


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], left: int = 1, styles: Iterable[str] = ()) -> Markup:
    """A table, the first `left` columns at the left edge. styles: of each row, as far as they go."""
    def line(cells, kind, style=""):
        return element("tr", *(element(kind, cell, style=f"text-align:{'left' if i < left else 'right'};"
                                       "padding:1px 10px 1px 0;white-space:nowrap") for i, cell in enumerate(cells)), style=style)
    wanted = [*styles]
    body = [line(cells, "td", wanted[i] if i < len(wanted) else "") for i, cells in enumerate(rows)]
    return element("table", line(header, "th", FAINT), *body, style="border-collapse:collapse;margin:4px 0;font-size:90%")


def details(summary: Any, *inside: Any, opened: bool = False) -> Markup:
    """What opens on a click."""
    return element("details", element("summary", summary, style="cursor:pointer"), *inside, style="margin:2px 0 2px 12px",
                   **({"open": ""} if opened else {}))


def code(*inside: Any, style: str = "") -> Markup:
    """Text in the font of code."""
    return element("code", *inside, style="background:none;white-space:pre-wrap;" + style)


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of (rows, columns, 4) bytes: red, green, blue, opacity."""
    rows, columns, _ = pixels.shape
    lines = b"".join(b"\0" + row.tobytes() for row in pixels.astype(np.uint8))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 6, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b""))


def picture(value: Any, name: str, style: str = "") -> Markup:
    """A map of an array with its name, slice and range below; '' for what has no numbers to draw."""
    if not isinstance(value, np.ndarray) or value.size < 2 or value.dtype.kind not in "biuf":
        return Markup("")
    heat = pictures.heat(value, CELLS, CELLS)
    rows, columns = heat.grid.shape
    side = max(2, min(12, 220 // columns, 220 // rows))
    address = "data:image/png;base64," + base64.b64encode(png(translucent(heat.grid))).decode()
    words = f"{facts.number(heat.low)} to {facts.number(heat.high)}"
    image = element("img", src=address, alt=f"{name}: {words}", style=(
        f"display:block;width:{columns * side}px;height:{rows * side}px;image-rendering:pixelated;"
        "border:1px solid rgba(128,128,128,.4);margin:0;max-width:none"))
    return element("figure", image, element(
        "figcaption", element("b", name, style=style), f" {heat.note}", element("br"), words, style="font-size:80%"),
        style="display:inline-block;vertical-align:top;margin:4px 14px 8px 0")


def bars(values: Sequence[float], titles: Sequence[str], height: int = 48) -> Markup:
    """Columns on a logarithmic scale, with a title each that shows under the mouse."""
    with np.errstate(all="ignore"):
        heights = np.log10(np.abs(np.asarray(values, dtype=float)))
    finite = heights[np.isfinite(heights)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    wide = max(2, min(14, 640 // max(len(values), 1)))
    drawn = []
    for k, (size, title) in enumerate(zip(heights, titles)):
        tall = 6 + (height - 6) * ((size - low) / (high - low) if high > low else 1.0) if np.isfinite(size) else 2.0
        drawn.append(element("rect", element("title", title), x=k * wide, y=f"{height - tall:.1f}", width=wide - 1,
                             height=f"{tall:.1f}", fill=BLUE if np.isfinite(size) else ORANGE))
    return element("svg", *drawn, width=len(values) * wide, height=height, style="display:block;margin:4px 0",
                   role="img", **{"aria-label": "norms of the gradient, one column a layer"})


# ── what displays itself ─────────────────────────────────────────────────────────────────────────────────────────────


@notebook_html.register(Ledger)
def ledger_html(ledger: Ledger) -> Markup:
    """Who sent what, with the running sum and a bar for each contribution."""
    if not len(ledger):
        return element("div", code(ledger.name), ": no gradient came")
    entries = [*ledger]
    longest = max((facts.norm(e.contribution) or 0.0 for e in entries[:ROWS]), default=0.0) or 1.0
    shown = table(("consumer", "sent", "sum so far", "to come", ""), [entry_cells(e, longest) for e in entries[:ROWS]])
    more = [element("div", f"… and {len(entries) - ROWS:,} more contributions", style=FAINT)] if len(entries) > ROWS else []
    hooked = [element("div", "then a hook changed it", style=f"color:{ORANGE}")] if ledger.hooked else []
    many = "contribution" if len(entries) == 1 else "contributions"
    return element("div", element("b", f"dL/d({ledger.name})"), f": {len(entries):,} {many}", shown, *more, *hooked)


def entry_cells(entry: Entry, longest: float) -> tuple:
    """One line of a ledger."""
    size = facts.norm(entry.contribution) or 0.0
    part = size / longest if np.isfinite(size) else 1.0
    bar = element("span", style=f"display:inline-block;height:.7em;width:{max(round(90 * part), 1)}px;background:{ORANGE}")
    return (code(f"{entry.consumer}.{entry.argument}"), facts.number(size),
            facts.number(facts.norm(entry.running)), entry.left, bar)


@notebook_html.register(TraceStep)
def step_html(step: TraceStep) -> Markup:
    """One step: formula, rule, numbers, maps of its arrays, the user's line, the ledger of its output."""
    rule = [element("div", code(line, style=f"color:{ORANGE}")) for line in source_text.rule_lines(step)]
    rows = statistics.statistics(step)
    colours = {"arrived": f"color:{BLUE}", "sent": f"color:{ORANGE}"}
    maps = [picture(value, name, colours.get(role, "")) for role, name, value in sorted(
        statistics.arrays_of(step), key=lambda found: found[0] not in colours)]
    drawn = [drawing for drawing in maps if drawing]
    return element(
        "div", element("div", element("b", step.op), element(
            "span", f"  step {step.index} of {len(step.trace)}, {step.name}", style=FAINT)),
        element("div", code(step.formula)), element("div", code(statistics.call(step), style=FAINT)), *rule,
        table(statistics.HEADERS, [row.cells() for row in rows], left=3, styles=[colours.get(row.role, "") for row in rows]),
        element("div", *drawn[:DRAWN], f"… and {len(drawn) - DRAWN} more arrays" if len(drawn) > DRAWN else ""),
        user_line(step), details(f"who sent it ({len(step.ledger)})", ledger_html(step.ledger)))


def user_line(step: TraceStep) -> Markup:
    """The user's line of code with its neighbours, or why it is not here."""
    found = source_text.user_line(step)
    if found is None or not found.lines:
        return element("div", found.note if found else "no line of code was recorded", style=FAINT)
    lines = [element("div", f"{found.line + k:5}  {text}", style="font-weight:bold" if found.line + k == found.at else FAINT)
             for k, text in enumerate(found.lines)]
    return element("div", element("span", found.place, style=FAINT), element(
        "pre", *lines, style="margin:2px 0;background:none;font-size:90%;overflow-x:auto"))


@notebook_html.register(Trace)
def trace_html(trace: Trace) -> Markup:
    """A trace: the norms of its layers, and its steps by module, to open on a click."""
    layers = pictures.layers(trace)
    stride = max(len(layers) // 300, 1)            # columns for the eye: beyond this many, each stands for several
    shown = layers[::stride]
    notes = [element("div", note, style=f"color:{ORANGE}") for note in trace.notes]
    if trace.unreached:
        notes.append(element("div", "no gradient reaches ", code(", ".join(trace.unreached[:20])),
                             f" and {len(trace.unreached) - 20} more" if len(trace.unreached) > 20 else ""))
    left = [ROWS]
    steps = [lines for child in tree(trace).children if (lines := frame_html(child, left))]
    if left[0] <= 0:
        steps.append(element("div", f"… {ROWS} lines of a trace of {len(trace):,} steps; trace[k] shows any step", style=FAINT))
    return element(
        "div", element("div", element("b", trace.title or "a graph"), f": {len(trace):,} steps back, {len(trace.nodes):,} nodes"),
        *notes, bars([layer.norm for layer in shown], [
            f"{layer.where or 'top level'}: {facts.number(layer.norm)}" for layer in shown]),
        element("div", "‖dL/d(output)‖ of each layer, on a logarithmic scale, in the order of the walk", style=FAINT),
        details("steps", *steps, opened=len(trace) <= 40))


def frame_html(frame: Frame, left: list[int]) -> Markup:
    """The lines of a frame: a step is one line; a module opens. left: how many lines there may still be."""
    if left[0] <= 0:
        return Markup("")
    left[0] -= 1
    arrived = element("span", f"  |g| {facts.number(facts.norm(frame.trace[frame.first].upstream))}", style=f"color:{BLUE}")
    lone = frame.children[0] if frame.step is None and len(frame.children) == 1 else frame
    step, name = lone.step, frame.label if lone is frame else f"{frame.label}.{lone.label}"
    if step is not None:                           # a module of one step needs no line of its own
        return element("div", element("span", f"{frame.first:4}  ", style=FAINT + ";white-space:pre"), code(name),
                       element("span", f"  {statistics.shape_of(step.node)}", style=FAINT), arrived, style="margin-left:12px")
    summary = element("b", frame.label), element("span", f"  steps {frame.first} to {frame.last}", style=FAINT), arrived
    return details(joined(summary), *(frame_html(child, left) for child in frame.children))
