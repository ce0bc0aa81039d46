"""Commands about the session itself: write the trace to a file, help, quit."""

from __future__ import annotations

import re

from ...core.errors import InputError
from ..views.tables import columns
from .screens import clip, plural
from .session import COMMANDS, GROUPS, Session, command


@command("save FILE", group="session")
def save(session: Session, rest: str) -> str:
    """Write the trace into FILE; `npformer step --load FILE` and `Trace.load` read it."""
    if not rest:
        raise InputError("save into which file?")
    if session.changes.rules:
        raise InputError("a trace with a planted mistake cannot be saved: it would not repeat "
                         "itself. `unpatch` first")
    session.trace.save(rest)
    return f"{rest}: {plural(len(session.trace), 'step')}"


@command("export PAGE.html", group="session")
def export(session: Session, rest: str) -> str:
    """Write a page to step through in a browser: one file, no network."""
    if not rest:
        raise InputError("export into which file? `export page.html`")
    return f"{rest}: {len(session.trace.to_html(rest)) / 1e6:.1f} MB"


@command("help [COMMAND]", "h", group="session")
def help_(session: Session, rest: str) -> str:
    """The commands; what one of them does."""
    if rest:
        if rest not in COMMANDS:
            raise InputError(f"there is no command {rest!r}; `help` lists them")
        entry = COMMANDS[rest]
        also = f"   also: {', '.join(entry.names[1:])}" if entry.names[1:] else ""
        return f"{entry.usage}{also}\n    {entry.help}"
    rows, before = [], -1
    for entry in sorted(dict.fromkeys(COMMANDS.values()), key=lambda entry: entry.group):
        group = GROUPS[entry.group] if entry.group != before else ""       # once a group
        names = ", ".join([*reversed(entry.names[1:]), entry.usage])
        rows.append((group, names, first_clause(entry.help)))
        before = entry.group
    lines = [clip(text, session.width) for text in columns(rows, left=3)]
    return "\n".join([*lines, "an empty line repeats the last command; `help COMMAND` says more"])


def first_clause(text):
    return re.split(r"[:.;](?:\s|$)", " ".join(text.split()))[0]


@command("quit", "q", "exit", group="session")
def quit_(session: Session, rest: str) -> str:
    """Leave."""
    session.done = True
    return ""
