"""Driving the terminal app as a person would: keys, the mouse, and what is on the screen then."""

import asyncio
import html
import re

from textual.widgets import Input

from npformer.debug.app.window import Stepper

SMALL, LARGE = (80, 24), (200, 60)


def drive(trace, person, size=SMALL):
    """Open the app on a trace, and let `person` (a coroutine of the Pilot) use it."""
    async def session():
        async with Stepper(trace).run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            await person(pilot)
    asyncio.run(session())


async def settle(pilot):
    """Wait until all messages are answered (once), and what they changed is laid out (twice)."""
    await pilot.pause()
    await pilot.pause()


async def type_in(pilot, *keys):
    """Press keys, and wait until all that follows from them is drawn."""
    for key in keys:
        await pilot.press(key)
    await settle(pilot)


async def answer(pilot, key, text):
    """Ask a question by its key, and answer it."""
    await pilot.press(key)
    pilot.app.query_one(Input).value = text
    await type_in(pilot, "enter")


def screen(pilot):
    """What is on the screen: its lines."""
    picture = pilot.app.export_screenshot(simplify=True)
    found = re.findall(r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', picture)
    wide = 12.2                                    # of a character, in the picture's units
    lines = {}
    for x, y, text in found:
        line = lines.setdefault(float(y), [""])
        line[0] = line[0].ljust(round(float(x) / wide)) + html.unescape(text).replace("\xa0", " ")
    return [line for _, (line,) in sorted(lines.items())]


def shown(pilot):
    """The screen as one text, with each run of spaces as one."""
    return re.sub(r"\s+", " ", " ".join(screen(pilot)))


def place_of(widget, text):
    """(x, y) in a widget at which it shows a text."""
    for y in range(widget.size.height):
        line = widget.render_line(y).text
        if text in line:
            return line.index(text), y
    raise AssertionError(f"{text!r} is not shown")
