"""Expressions that a person types: parsed into a tree, checked, and evaluated node by node.

`norm(dx) / norm(g) > 2 and op:soft*`. What a name means is the caller's to say: `conditions` gives
the names of a step.

Nothing that a person types is ever run. Python's `eval` would be ten lines, but an expression may
be pasted from anywhere, and no list of forbidden names makes `eval` safe. What is allowed is a list
of kinds of nodes, so that a kind that Python gets later is refused until it is added here.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ...core.errors import InputError
from ...core.facts import ArrayFacts, norm


class Absent(Exception):
    """A name that this step does not have, or has no numbers for: the condition does not hold."""


# ── functions ────────────────────────────────────────────────────────────────────────────────────


def zeros(x):
    """The fraction of entries that are 0."""
    if isinstance(x, ArrayFacts):
        return x.zeros / max(x.size, 1)
    return 1 - np.count_nonzero(x) / max(np.size(x), 1)


def array_function(function, fact=None):
    """A NumPy function of an array; of one that was too large to keep, what its facts say."""
    def apply(x):
        if isinstance(x, ArrayFacts):
            if fact is None:
                raise Absent
            return getattr(x, fact)
        return function(x)
    return apply


def matches(text, pattern):
    """Whether a word of the text matches a pattern, as op:soft* does."""
    return any(fnmatchcase(part, pattern) for part in text.split())


FUNCTIONS: dict[str, Callable] = {
    "norm": lambda x: norm(x if isinstance(x, ArrayFacts) else np.asarray(x)), "zeros": zeros,
    "abs": array_function(np.abs), "sqrt": array_function(np.sqrt),
    "log10": array_function(np.log10), "max": array_function(np.max, "max"),
    "min": array_function(np.min, "min"), "mean": array_function(np.mean, "mean"),
    "std": array_function(np.std), "sum": array_function(np.sum), "any": array_function(np.any),
    "all": array_function(np.all), "isnan": array_function(np.isnan),
    "isinf": array_function(np.isinf), "size": lambda x: getattr(x, "size", 1), "like": matches}
PUBLIC_FUNCTIONS = ", ".join(name for name in FUNCTIONS if name != "like")     # typed as op:...
OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Mod: operator.mod,
    ast.Div: operator.truediv, ast.Pow: operator.pow, ast.MatMult: operator.matmul,
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
ALLOWED = (ast.BoolOp, ast.And, ast.Or, ast.Not, ast.UnaryOp, ast.BinOp, ast.Compare, ast.Call,
           ast.Name, ast.Load, ast.Constant, ast.Subscript, ast.Slice, ast.Tuple, ast.Attribute,
           *OPERATORS)
ATTRIBUTES = ("shape", "dtype", "T")


# ── parsing ──────────────────────────────────────────────────────────────────────────────────────


def parse_expression(text: str) -> Any:
    """The tree of an expression; an InputError that points at what cannot be read. `op:soft*` and
    `fan-out` are not Python, and are what people type. They are written as like(op, "soft*") and
    fanout before Python's parser sees them."""
    whole = re.sub(r"\bfan[-_ ]out\b", "fanout", text.strip())
    whole = re.sub(r"\b(op|name):\s*([^\s()<>=,]+)", r'like(\1, "\2")', whole)
    if not whole:
        raise InputError(
            "a condition is needed: op:softmax, name:blocks.1.*, nan, norm(g) > 10, ...")
    try:
        tree = ast.parse(whole, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        where = (f", at `{whole[max((error.offset or 1) - 1, 0):]}`"
                 if isinstance(error, SyntaxError) else "")
        shown = text if len(text) < 100 else f"{text[:97]}..."
        raise InputError(f"`{shown}` cannot be read{where[:100]}: "
                         f"{getattr(error, 'msg', error)}") from None
    check_kinds(tree, text)
    return tree


def check_kinds(tree, text):
    """Raise InputError where an expression holds more than ALLOWED, FUNCTIONS and ATTRIBUTES."""
    for node in ast.walk(tree):
        if not isinstance(node, ALLOWED):
            raise InputError(f"`{text}`: {type(node).__name__} has no place in a condition; it is "
                             "made of names, numbers, arithmetic, comparisons, and, or, not")
        if isinstance(node, ast.Call):
            check_call(node, text)
        if isinstance(node, ast.Attribute) and node.attr not in ATTRIBUTES:
            raise InputError(f"`{text}`: .{node.attr} is not known; .shape, .dtype and .T are")


def check_call(node, text):
    """Raise InputError where a call is not that of one of FUNCTIONS, with one argument."""
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
        raise InputError(f"`{text}`: there is no function `{ast.unparse(node.func)}`; there are "
                         f"{PUBLIC_FUNCTIONS}")
    like = node.func.id == "like"
    if node.keywords or len(node.args) != (2 if like else 1):
        raise InputError(f"`{text}`: {node.func.id}(...) takes one argument")
    if like and not isinstance(node.args[1], ast.Constant):
        raise InputError(f"`{text}`: write op:softmax or name:blocks.1.*")


# ── evaluating ───────────────────────────────────────────────────────────────────────────────────


def evaluate(node: Any, names: Mapping[str, Any]) -> Any:
    """The value of an expression. Raises Absent where a name has no numbers here."""
    kind = type(node)
    if kind is ast.Constant:
        # As floats: `9 ** 9 ** 9` in Python's own integers would run for hours; floats overflow.
        is_number = isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
        return float(node.value) if is_number else node.value
    if kind is ast.Name:
        value = names[node.id]
        if value is None:
            raise Absent
        return value
    if kind is ast.BoolOp:                         # lazily: `op:relu and mismatch` is cheap so
        sides = (holds(evaluate(value, names)) for value in node.values)
        return all(sides) if isinstance(node.op, ast.And) else any(sides)
    if kind is ast.UnaryOp:
        value = evaluate(node.operand, names)
        if isinstance(node.op, ast.Not):
            return not holds(value)
        return OPERATORS[type(node.op)](require_numbers(value))
    if kind is ast.BinOp:
        left, right = (require_numbers(evaluate(side, names)) for side in (node.left, node.right))
        return OPERATORS[type(node.op)](left, right)
    if kind is ast.Compare:
        return compare_sides(node, names)
    if kind is ast.Call:
        return FUNCTIONS[node.func.id](*[evaluate(a, names) for a in node.args])
    if kind is ast.Attribute:
        return getattr(evaluate(node.value, names), node.attr)
    return require_numbers(evaluate(node.value, names))[index_of(node.slice)]


def compare_sides(node, names):
    """a < b < c, entry by entry where a side is an array."""
    sides = [require_numbers(evaluate(side, names)) for side in (node.left, *node.comparators)]
    results = [OPERATORS[type(op)](a, b) for op, a, b in zip(node.ops, sides, sides[1:])]
    return results[0] if len(results) == 1 else all(holds(result) for result in results)


def require_numbers(value):
    """The value; Absent where it is an array that was too large to keep."""
    if isinstance(value, ArrayFacts):
        raise Absent
    return value


def holds(value) -> bool:
    """Whether something holds: of an array, whether any entry does."""
    return bool(np.any(value))


def index_of(node: Any) -> Any:
    """The index that stands in brackets: numbers, slices, `...`; InputError for anything else."""
    if isinstance(node, ast.Tuple):
        return tuple(index_of(part) for part in node.elts)
    if isinstance(node, ast.Slice):
        return slice(*[None if part is None else index_of(part)
                       for part in (node.lower, node.upper, node.step)])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -index_of(node.operand)
    if isinstance(node, ast.Constant) and (
            isinstance(node.value, int) or node.value in (None, Ellipsis)):
        return node.value
    raise InputError(f"an index is made of whole numbers, slices and `...`, not "
                     f"`{ast.unparse(node)}`")


def value_of(tree: Any, names: Mapping[str, Any], call: str) -> Any:
    """The value of an expression; what goes wrong is an InputError that begins with `call`."""
    try:
        with np.errstate(all="ignore"):
            return evaluate(tree, names)
    except (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError, AttributeError,
            RecursionError) as error:
        raise InputError(f"{call}: {error}") from None
