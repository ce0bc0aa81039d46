"""How a trace, a step and a ledger display themselves in a notebook.

Small static HTML with inline styles and no script, which a saved notebook may not run. Text has the
page's own colour, and numbers are shaded by transparency, so that all of it reads on dark and on
light.
"""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...core import facts
from ..traces.html import notebook_html
from ..traces.ledger import Entry, Ledger
from ..traces.trace import Trace, TraceStep
from . import pictures, source_text, statistics
from .colours import shade_by_opacity
from .frames import Frame, tree

BLUE, ORANGE = "#2b7fd4", "#d0680c"                # what arrived, what was sent
ROLES = {"arrived": f"color:{BLUE}", "sent": f"color:{ORANGE}"}
FAINT = "opacity:.65"
ROWS = 500                                         # the most lines of a trace, entries of a ledger
CELLS = 64                                         # the most rows, and columns, of a map
DRAWN = 10                                         # the most maps of a step
COLUMNS = 300                                      # about the most columns of the chart of norms
EMPTY = ("img", "br")                              # elements that have no end


# ── elements ─────────────────────────────────────────────────────────────────────────────────────


class Markup(str):
    """Text that is HTML already; any other text is escaped."""


def element(name: str, *inside: Any, style: str = "", **attributes: Any) -> Markup:
    """`<name style=... attribute=...>inside</name>`, everything escaped that is not Markup."""
    given = {**({"style": style} if style else {}), **attributes}
    start = "".join(f' {key}="{html.escape(str(value))}"' for key, value in given.items())
    end = "" if name in EMPTY else f"{join_markup(inside)}</{name}>"
    return Markup(f"<{name}{start}>{end}")


def join_markup(parts: Iterable[Any]) -> Markup:
    """Parts one after the other, escaped where they are not Markup."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(str(part))
                          for part in parts))


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], left: int = 1,
          styles: Iterable[str] = ()) -> Markup:
    """A table, its first `left` columns at the left edge. styles: of the rows, as far as given."""
    def line(cells, kind, style=""):
        parts = [element(kind, cell, style=f"text-align:{'left' if i < left else 'right'};"
                         "padding:1px 10px 1px 0;white-space:nowrap")
                 for i, cell in enumerate(cells)]
        return element("tr", *parts, style=style)

    wanted = [*styles]
    body = [line(cells, "td", wanted[i] if i < len(wanted) else "") for i, cells in enumerate(rows)]
    return element("table", line(header, "th", FAINT), *body,
                   style="border-collapse:collapse;margin:4px 0;font-size:90%")


def details(summary: Any, *inside: Any, opened: bool = False) -> Markup:
    return element("details", element("summary", summary, style="cursor:pointer"), *inside,
                   style="margin:2px 0 2px 12px", **({"open": ""} if opened else {}))


def code(*inside: Any, style: str = "") -> Markup:
    return element("code", *inside, style="background:none;white-space:pre-wrap;" + style)


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of (rows, columns, 4) bytes: red, green, blue, opacity. Written here, in ten
    lines, because a picture is a grid of at most 64 × 64 and nothing else of the package needs an
    image library. Each line begins with a 0: "not filtered"."""
    rows, columns, _ = pixels.shape
    lines = b"".join(b"\0" + row.tobytes() for row in pixels.astype(np.uint8))

    def chunk(kind, data):
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    size = struct.pack(">IIBBBBB", columns, rows, 8, 6, 0, 0, 0)     # 8 bits, colour with opacity
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(lines, 9))
            + chunk(b"IEND", b""))


def picture(value: Any, name: str, style: str = "") -> Markup:
    """A map of an array, its name, slice and range below; '' for what has no numbers to draw."""
    if not isinstance(value, np.ndarray) or value.size < 2 or value.dtype.kind not in "biuf":
        return Markup("")
    heat = pictures.heat(value, CELLS, CELLS)
    rows, columns = heat.grid.shape
    side = max(2, min(12, 220 // columns, 220 // rows))
    data = base64.b64encode(png(shade_by_opacity(heat.grid))).decode()
    words = f"{facts.four_digits(heat.low)} to {facts.four_digits(heat.high)}"
    image = element("img", src=f"data:image/png;base64,{data}", alt=f"{name}: {words}", style=(
        f"display:block;width:{columns * side}px;height:{rows * side}px;image-rendering:pixelated;"
        "border:1px solid rgba(128,128,128,.4);margin:0;max-width:none"))
    caption = element("figcaption", element("b", name, style=style), f" {heat.note}",
                      element("br"), words, style="font-size:80%")
    return element("figure", image, caption,
                   style="display:inline-block;vertical-align:top;margin:4px 14px 8px 0")


def bars(values: Sequence[float], titles: Sequence[str], height: int = 48) -> Markup:
    """Columns on a logarithmic scale, with a title each that shows under the mouse."""
    heights, low, high = pictures.heights_of(values)
    wide = max(2, min(14, 640 // max(len(values), 1)))
    rectangles = []
    for k, (size, title) in enumerate(zip(heights, titles)):
        tall = 2.0                                 # of 0, and of NaN or infinity
        if np.isfinite(size):
            tall = 6 + (height - 6) * ((size - low) / (high - low) if high > low else 1.0)
        rectangles.append(element(
            "rect", element("title", title), x=k * wide, y=f"{height - tall:.1f}", width=wide - 1,
            height=f"{tall:.1f}", fill=BLUE if np.isfinite(size) else ORANGE))
    return element("svg", *rectangles, width=len(values) * wide, height=height, role="img",
                   style="display:block;margin:4px 0",
                   **{"aria-label": "norms of the gradient, one column a layer"})


# ── what displays itself ─────────────────────────────────────────────────────────────────────────


@notebook_html.register(Ledger)
def ledger_html(ledger: Ledger) -> Markup:
    """Who sent what, with the running sum and a bar for each contribution."""
    if not len(ledger):
        return element("div", code(ledger.name), ": no gradient arrived")
    count, shown = len(ledger), list(ledger)[:ROWS]
    longest = max((facts.norm(e.contribution) or 0.0 for e in shown), default=0.0) or 1.0
    parts = [table(("consumer", "sent", "sum so far", "to come", ""),
                   [entry_cells(e, longest) for e in shown])]
    if count > ROWS:
        parts.append(element("div", f"… and {count - ROWS:,} more contributions", style=FAINT))
    if ledger.hooked:
        parts.append(element("div", "then a hook changed it", style=f"color:{ORANGE}"))
    words = f": {count:,} {'contribution' if count == 1 else 'contributions'}"
    return element("div", element("b", f"dL/d({ledger.name})"), words, *parts)


def entry_cells(entry: Entry, longest: float) -> tuple:
    size = facts.norm(entry.contribution) or 0.0
    width = max(round(90 * size / longest), 1) if np.isfinite(size) else 90
    bar = element("span", style=f"display:inline-block;height:.7em;width:{width}px;"
                  f"background:{ORANGE}")
    return (code(f"{entry.consumer}.{entry.argument}"), facts.four_digits(size),
            facts.four_digits(facts.norm(entry.running)), entry.left, bar)


@notebook_html.register(TraceStep)
def step_html(step: TraceStep) -> Markup:
    """One step: formula, rule, numbers, maps of its arrays, the user's line, its ledger."""
    rule = [element("div", code(line, style=f"color:{ORANGE}"))
            for line in source_text.rule_lines(step)]
    place = element("span", f"  step {step.index} of {len(step.trace)}, {step.name}", style=FAINT)
    rows = statistics.statistics(step)
    return element(
        "div", element("div", element("b", step.op), place), element("div", code(step.formula)),
        element("div", code(statistics.call(step), style=FAINT)), *rule,
        table(statistics.HEADERS, [row.cells() for row in rows], left=3,
              styles=[ROLES.get(row.role, "") for row in rows]),
        maps_html(step), user_line(step),
        details(f"who sent it ({len(step.ledger)})", ledger_html(step.ledger)))


def maps_html(step):
    arrays = sorted(statistics.arrays_of(step), key=lambda found: found[0] not in ROLES)
    maps = [picture(value, name, ROLES.get(role, "")) for role, name, value in arrays]
    maps = [drawing for drawing in maps if drawing]
    more = f"… and {len(maps) - DRAWN} more arrays" if len(maps) > DRAWN else ""
    return element("div", *maps[:DRAWN], more)


def user_line(step: TraceStep) -> Markup:
    found = source_text.user_line(step)
    if found is None or not found.lines:
        note = found.note if found else "no line of code was recorded"
        return element("div", note, style=FAINT)
    lines = [element("div", f"{n:5}  {text}", style="font-weight:bold" if n == found.at else FAINT)
             for n, text in enumerate(found.lines, found.line)]
    return element("div", element("span", found.place, style=FAINT), element(
        "pre", *lines, style="margin:2px 0;background:none;font-size:90%;overflow-x:auto"))


@notebook_html.register(Trace)
def trace_html(trace: Trace) -> Markup:
    """A trace: the norms of its layers, and its steps by module, to open on a click."""
    notes = [element("div", note, style=f"color:{ORANGE}") for note in trace.notes]
    if trace.unreached:
        rest = len(trace.unreached) - 20
        notes.append(element("div", "no gradient reaches ", code(", ".join(trace.unreached[:20])),
                             f" and {rest} more" if rest > 0 else ""))
    left = [ROWS]
    steps = [lines for child in tree(trace).children if (lines := frame_html(child, left))]
    if left[0] <= 0:
        steps.append(element("div", f"… {ROWS} lines of a trace of {len(trace):,} steps; trace[k] "
                             "shows any step", style=FAINT))
    sizes = f": {len(trace):,} steps back, {len(trace.nodes):,} nodes"
    return element(
        "div", element("div", element("b", trace.title or "a graph"), sizes), *notes,
        norms_html(trace),
        element("div", "‖dL/d(output)‖ of each layer, on a logarithmic scale, in the order of the "
                "walk", style=FAINT),
        details("steps", *steps, opened=len(trace) <= 40))


def norms_html(trace):
    """The chart of the norms of the layers; of very many, every second or third alone."""
    layers = pictures.layers(trace)
    layers = layers[::max(len(layers) // COLUMNS, 1)]
    titles = [f"{layer.where or 'top level'}: {facts.four_digits(layer.norm)}" for layer in layers]
    return bars([layer.norm for layer in layers], titles)


def frame_html(frame: Frame, left: list[int]) -> Markup:
    """A step is one line; a module opens. left: [lines that there may still be], shared."""
    if left[0] <= 0:
        return Markup("")
    left[0] -= 1
    norm = facts.four_digits(facts.norm(frame.trace[frame.first].upstream))
    arrived = element("span", f"  |g| {norm}", style=f"color:{BLUE}")
    lone = frame.children[0] if frame.step is None and len(frame.children) == 1 else frame
    if lone.step is None:
        span = element("span", f"  steps {frame.first} to {frame.last}", style=FAINT)
        return details(join_markup((element("b", frame.label), span, arrived)),
                       *(frame_html(child, left) for child in frame.children))
    # A module of one step (a Linear) needs no line of its own above the step's.
    name = lone.label if lone is frame else f"{frame.label}.{lone.label}"
    return element(
        "div", element("span", f"{frame.first:4}  ", style=FAINT + ";white-space:pre"), code(name),
        element("span", f"  {statistics.shape_of(lone.step.node)}", style=FAINT), arrived,
        style="margin-left:12px")
