"""The source text of a step: the rule's formula, the user's line, and the rule's own code."""

from __future__ import annotations

import ast
import linecache
import re
from typing import NamedTuple

from ...core.operation import Fused
from ...core.source import short_path
from ..traces.trace import TraceStep


def rule_lines(step: TraceStep) -> list[str]:
    """The lines `d<argument> = ...` of the operation's docstring; of a Function, its class's. The
    rule is read from the docstring because a test holds every gradient to be stated there, in the
    notation of the formula. A continued line belongs to the rule up to the next blank line."""
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
    """Source text. line: of its first line. at: the line meant. note: why text is missing."""

    file: str
    line: int
    lines: list[str]
    at: int
    note: str = ""

    @property
    def place(self) -> str:
        """'model.py:12', as short as the folder allows."""
        return f"{short_path(self.file)}:{self.at}"


def lines_of_file(file: str) -> list[str]:
    """The lines of a file (or of a notebook's cell) as it is now; none where it is missing."""
    linecache.checkcache(file)
    return [line.rstrip("\n") for line in linecache.getlines(file)]


def user_line(step: TraceStep, around: int = 2) -> Source | None:
    """The user's line that made the operation, with its neighbours; None if none was recorded."""
    if not step.source:
        return None
    file, at = step.source
    lines = lines_of_file(file)
    if not 1 <= at <= len(lines):
        note = f"{file} has changed: it has no line {at}" if lines else f"{file} is not here"
        return Source(file, at, [], at, note)
    first = max(1, at - around)
    return Source(file, first, lines[first - 1:at + around], at)


def rule_source(step: TraceStep) -> Source | None:
    """The source text of the gradient rule. A lambda's whole statement, a hand-derived backward, a
    Function's backward, a planted mistake. None where the code is not at hand: a user's Function,
    in a trace that was read from a file."""
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
    file, first = code.co_filename, code.co_firstlineno
    lines = lines_of_file(file)
    span = find_statement(lines, first)
    if span is None:
        return Source(file, first, [], first, f"{file} is not here")
    return Source(file, span[0], lines[span[0] - 1:span[1]], span[0])


def find_statement(lines: list[str], at: int) -> tuple[int, int] | None:
    """(first, last) line of the smallest statement that holds line `at`. `inspect.getsource` of a
    lambda gives the line that it begins on, and a primitive's rules are lambdas in one call over
    several lines. So the file is parsed, and the whole statement taken."""
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError:                            # the file was changed meanwhile
        return None
    best = None
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            decorators = [d.lineno for d in getattr(node, "decorator_list", ())]
            first, last = min([node.lineno, *decorators]), node.end_lineno or node.lineno
            if first <= at <= last and (best is None or last - first < best[1] - best[0]):
                best = first, last
    return best
