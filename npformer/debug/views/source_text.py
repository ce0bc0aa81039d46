"""The source text of a step: the user's line, the rule, and the rule's formula."""

from __future__ import annotations

import ast
import linecache
import re
from typing import TYPE_CHECKING, NamedTuple

from ...core.operation import Fused
from ...core.source import short

if TYPE_CHECKING:
    from ..traces.trace import TraceStep


def rule_lines(step: TraceStep) -> list[str]:
    """The lines `d<argument> = ...` of the operation's docstring; of a user's Function, those of its class."""
    op = getattr(step.node.op, "live", None) or step.node.op
    text = (getattr(op, "function", None) or op).__doc__ or ""
    first, _, rest = text.partition("\n")
    found = re.search(r"(?:^|\s)(d\w+\s+= .*)", first)
    if found:
        return [found.group(1).strip()]
    block: list[str] = []
    for line in rest.splitlines():
        if re.match(r"\s*d\w+\s+= ", line) or (block and line.strip()):
            block.append(line.rstrip())
        elif block:
            break
    indent = min((len(line) - len(line.lstrip()) for line in block), default=0)
    return [line[indent:] for line in block]


class Source(NamedTuple):
    """A piece of source text. line: the number of its first line. at: the line that is meant. note: why text is missing."""

    file: str
    line: int
    lines: list[str]
    at: int
    note: str = ""

    @property
    def place(self) -> str:
        """'model.py:12', as short as the folder allows."""
        return f"{short(self.file)}:{self.at}"




def text_of(file: str) -> list[str]:
    """The lines of a file (or of a notebook's cell) as it is now; none where it is missing."""
    linecache.checkcache(file)
    return [line.rstrip("\n") for line in linecache.getlines(file)]


def user_line(step: TraceStep, around: int = 2) -> Source | None:
    """The user's line of code that made the operation, with its neighbours; None where no line was recorded."""
    if not step.source:
        return None
    file, at = step.source
    lines = text_of(file)
    if not 1 <= at <= len(lines):
        return Source(file, at, [], at, f"{file} is not here" if not lines else f"{file} has changed: it has no line {at}")
    first = max(1, at - around)
    return Source(file, first, lines[first - 1:at + around], at)


def rule_source(step: TraceStep) -> Source | None:
    """The source text of the gradient rule: a lambda's whole statement, a hand-derived backward, a Function's backward,
    a planted mistake.

    None where the code is not at hand: the trace came from a file, and the operation is the user's own.
    """
    op = step.node.op
    if hasattr(op, "planted"):
        rule = next(iter(op.planted.mistaken.values()))
    elif hasattr(op, "live"):
        rule = op.live and op.live.function.backward
    elif isinstance(op, Fused):
        rule = op.fast_backward
    else:
        rule = next((rule for rule in op.rules.values() if rule is not None), None)
    code = getattr(rule, "__code__", None)
    if code is None:
        return None
    lines = text_of(code.co_filename)
    span = statement(lines, code.co_firstlineno)
    if span is None:
        return Source(code.co_filename, code.co_firstlineno, [], code.co_firstlineno, f"{code.co_filename} is not here")
    return Source(code.co_filename, span[0], lines[span[0] - 1:span[1]], span[0])


def statement(lines: list[str], at: int) -> tuple[int, int] | None:
    """(first, last) line of the smallest statement that holds line `at`."""
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError:                            # the file was changed meanwhile
        return None
    spans = [(min([n.lineno, *(d.lineno for d in getattr(n, "decorator_list", ()))]), n.end_lineno or n.lineno)
             for n in ast.walk(tree) if isinstance(n, ast.stmt)]
    return min((s for s in spans if s[0] <= at <= s[1]), key=lambda s: s[1] - s[0], default=None)
