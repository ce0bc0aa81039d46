"""Tables in plain text: columns aligned, numbers to the right, for any screen."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence], left: int = 1) -> str:
    """A line for the header and one for each row; the first `left` columns stand at the left."""
    return "\n".join(columns([header, *([cell(value) for value in row] for row in rows)], left))


def columns(rows: Iterable[Sequence], left: int = 1) -> list[str]:
    """Rows as lines with their columns aligned; the first `left` at the left edge, as text."""
    texts = [[str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts)]
    return ["  ".join(text.ljust(width) if i < left else text.rjust(width)
                      for i, (text, width) in enumerate(zip(line, widths))).rstrip()
            for line in texts]


def cell(value) -> str:
    """A number with four digits that count, '-' for None, anything else as its text."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def line_of(source) -> str:
    """A line of code as a table shows it: 'model.py:12'."""
    return f"{os.path.basename(source[0])}:{source[1]}" if source else "-"
