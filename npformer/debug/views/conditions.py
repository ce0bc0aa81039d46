"""Conditions on a step, as a person types them: `op:softmax`, `name:blocks.1.*`, `nan`, `norm(g) > 10 and not mismatch`.

A condition is an expression over what a step has by name: `g` (what arrived), `y` (the output), the inputs (`x`), what
was sent (`dx`), what was saved, and the names and functions below. It is read by `ast` and worked out node by node;
nothing that a person types is ever run.
"""

from __future__ import annotations

import ast
import difflib
import operator
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import GraphError, InputError
from ...core.facts import ArrayFacts, norm
from ...core.operation import Fused
from ..traces.why import bad
from .statistics import arrays_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..traces.trace import Trace, TraceStep

AGREES = {8: 1e-9, 4: 1e-3}                        # how far a definition may be from its rule, by bytes of the dtype


class Absent(Exception):
    """A name that this step does not have, or has no numbers for: the condition does not hold here."""


# ── functions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def zeros(x):
    """The fraction of entries that are 0."""
    return x.zeros / max(x.size, 1) if isinstance(x, ArrayFacts) else 1 - np.count_nonzero(x) / max(np.size(x), 1)


def of_numbers(function, fact=None):
    """A NumPy function of an array; of one that was too large to keep, the fact that its ArrayFacts has."""
    def of(x):
        if isinstance(x, ArrayFacts):
            if fact is None:
                raise Absent
            return getattr(x, fact)
        return function(x)
    return of


FUNCTIONS: dict[str, Callable] = {
    "norm": lambda x: norm(np.asarray(x) if not isinstance(x, ArrayFacts) else x), "zeros": zeros,
    "abs": of_numbers(np.abs), "sqrt": of_numbers(np.sqrt), "log10": of_numbers(lambda x: np.log10(x)),
    "max": of_numbers(np.max, "max"), "min": of_numbers(np.min, "min"), "mean": of_numbers(np.mean, "mean"),
    "std": of_numbers(np.std), "sum": of_numbers(np.sum), "any": of_numbers(np.any), "all": of_numbers(np.all),
    "isnan": of_numbers(np.isnan), "isinf": of_numbers(np.isinf), "size": lambda x: getattr(x, "size", 1),
    "like": lambda text, pattern: any(fnmatchcase(part, pattern) for part in text.split()),
}
OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Mod: operator.mod,
    ast.Pow: operator.pow, ast.MatMult: operator.matmul, ast.USub: operator.neg, ast.UAdd: operator.pos,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def mismatch(step: TraceStep) -> bool:
    """Whether a step's rule is wrong: a fused one differs from its definition, any other from finite differences.

    Raises Absent where it cannot be known: values are missing, or the code is not at hand.
    """
    try:
        return disagrees(step) if isinstance(step.node.op, Fused) else not step.check()
    except GraphError as error:
        raise Absent(str(error)) from None


def disagrees(step):
    """Whether a fused step's definition gives another gradient to some argument than its rule."""
    inside, allowed = step.into(), AGREES.get(step.upstream.dtype.itemsize, 1e-3)
    pairs = [(d, 0 * d if inside.gradient(name) is None else inside.gradient(name)) for name, d in step.gradients.items()]
    sizes = [max(np.abs(d).max(initial=0), np.abs(other).max(initial=0)) for d, other in pairs]
    floor = 1e-6 * max(sizes, default=0)           # a gradient may be rounding alone
    return any(np.abs(d - other).max(initial=0) > allowed * max(size, floor) for (d, other), size in zip(pairs, sizes))


FACTS: dict[str, Callable[[TraceStep], Any]] = {
    "op": lambda step: step.op, "where": lambda step: step.where, "index": lambda step: step.index,
    "name": lambda step: f"{step.name} {step.where}", "fanout": lambda step: len(step.node.contributions),
    "nan": lambda step: holding(step, "nan", np.isnan), "inf": lambda step: holding(step, "inf", np.isinf), "mismatch": mismatch,
}


def holding(step, fact, test):
    """Whether a gradient at a step holds such numbers, or its output does though no input did: a mask may hold −∞ by right."""
    def holds(value):
        return bad(value) and bool(getattr(value, fact) if isinstance(value, ArrayFacts) else test(value).any())

    if any(map(holds, (step.upstream, *step.gradients.values()))):
        return True
    return holds(step.value) and not any(map(holds, step.node.values))


class Names(dict):
    """What a name means at a step; looked up when it is asked for, since some are costly."""

    def __init__(self, step: TraceStep) -> None:
        super().__init__()
        for _, name, value in arrays_of(step):
            if name not in FACTS:                  # gather has an argument `index`
                self.setdefault(name, value)
        self.step = step

    def __missing__(self, name):
        if name not in FACTS:
            raise Absent
        return FACTS[name](self.step)


def names_in(trace: Trace) -> set[str]:
    """Every name that some step of the trace has."""
    return {name for step in trace for name in Names(step)}


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def parsed(text: str) -> Any:
    """The expression that a text is; an InputError that points at what cannot be read."""
    whole = re.sub(r"\bfan[-_ ]out\b", "fanout", text.strip())
    whole = re.sub(r"\b(op|name):\s*([^\s()<>=,]+)", r'like(\1, "\2")', whole)
    if not whole:
        raise InputError("a condition is needed: op:softmax, name:blocks.1.*, nan, norm(g) > 10, ...")
    try:
        tree = ast.parse(whole, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        where = f", at `{whole[max((error.offset or 1) - 1, 0):]}`" if isinstance(error, SyntaxError) else ""
        shown = text if len(text) < 100 else f"{text[:97]}..."
        raise InputError(f"`{shown}` cannot be read{where[:100]}: {getattr(error, 'msg', error)}") from None
    check_kinds(tree, text)
    return tree


def check_kinds(tree, text):
    """Raise InputError where an expression holds more than names, numbers, arithmetic, comparisons, functions, indices."""
    allowed = (ast.BoolOp, ast.And, ast.Or, ast.Not, ast.UnaryOp, ast.BinOp, ast.Compare, ast.Call, ast.Name, ast.Load,
               ast.Constant, ast.Subscript, ast.Slice, ast.Tuple, ast.Attribute, *OPERATORS)
    for node in ast.walk(tree):
        if not isinstance(node, allowed):
            raise InputError(f"`{text}`: {type(node).__name__} has no place in a condition; it is made of names, numbers, "
                             "arithmetic, comparisons, and, or, not")
        if isinstance(node, ast.Call) and (not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS):
            raise InputError(f"`{text}`: there is no function `{ast.unparse(node.func)}`; there are "
                             f"{', '.join(f for f in FUNCTIONS if f != 'like')}")
        if isinstance(node, ast.Call) and (node.keywords or len(node.args) != (2 if node.func.id == "like" else 1)):
            raise InputError(f"`{text}`: {node.func.id}(...) takes one thing")
        if isinstance(node, ast.Call) and node.func.id == "like" and not isinstance(node.args[1], ast.Constant):
            raise InputError(f"`{text}`: write op:softmax or name:blocks.1.*")
        if isinstance(node, ast.Attribute) and node.attr not in ("shape", "dtype", "T"):
            raise InputError(f"`{text}`: .{node.attr} is not known; .shape, .dtype and .T are")


def check_names(tree, text, known):
    """Raise InputError where an expression uses a name that nothing has."""
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in functions and node.id not in known:
            near = difflib.get_close_matches(node.id, known, 3, 0.5)
            raise InputError(f"`{text}`: nothing is called `{node.id}`"
                             + (f"; is it {' or '.join(near)}?" if near else "")
                             + f"\n  Names: {', '.join(FACTS)}; g, y, inputs (x), gradients (dx), and what was saved."
                             f"\n  Functions: {', '.join(f for f in FUNCTIONS if f != 'like')}."
                             "\n  Patterns: op:soft*, name:blocks.1.*")


def check_patterns(tree, text, trace):
    """Raise InputError where op:... or name:... matches no step of the trace."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.func.id == "like":
            fact, pattern = node.args[0].id, node.args[1].value
            if not any(FUNCTIONS["like"](FACTS[fact](step), pattern) for step in trace):
                there = list(dict.fromkeys(step.op if fact == "op" else step.where for step in trace))
                near = difflib.get_close_matches(pattern, there, 3, 0.4)
                hint = f"Is it {' or '.join(near)}?" if near else f"There are {', '.join(filter(None, there))[:200]}"
                raise InputError(f"`{text}`: no step matches {fact}:{pattern}. {hint}")


# ── working out ──────────────────────────────────────────────────────────────────────────────────────────────────────


def worked_out(node: Any, names: Mapping[str, Any]) -> Any:
    """The value of an expression. Raises Absent where a name has no numbers here."""
    kind = type(node)
    if kind is ast.Constant:
        return float(node.value) if isinstance(node.value, (int, float)) and not isinstance(node.value, bool) else node.value
    if kind is ast.Name:
        value = names[node.id]
        if value is None:
            raise Absent
        return value
    if kind is ast.BoolOp:
        lazily = (truth(worked_out(v, names)) for v in node.values)
        return all(lazily) if isinstance(node.op, ast.And) else any(lazily)
    if kind is ast.UnaryOp:
        value = worked_out(node.operand, names)
        return not truth(value) if isinstance(node.op, ast.Not) else OPERATORS[type(node.op)](plain(value))
    if kind is ast.BinOp:
        return OPERATORS[type(node.op)](plain(worked_out(node.left, names)), plain(worked_out(node.right, names)))
    if kind is ast.Compare:
        return compared(node, names)
    if kind is ast.Call:
        return FUNCTIONS[node.func.id](*[worked_out(a, names) for a in node.args])
    if kind is ast.Attribute:
        return getattr(worked_out(node.value, names), node.attr)
    return plain(worked_out(node.value, names))[index_of(node.slice)]


def compared(node, names):
    """a < b < c, entry by entry where a side is an array."""
    sides = [plain(worked_out(side, names)) for side in (node.left, *node.comparators)]
    results = [OPERATORS[type(op)](a, b) for op, a, b in zip(node.ops, sides, sides[1:])]
    return results[0] if len(results) == 1 else all(truth(r) for r in results)


def plain(value):
    """A value to reckon with; Absent where an array was too large to keep."""
    if isinstance(value, ArrayFacts):
        raise Absent
    return value


def truth(value) -> bool:
    """Whether something holds: of an array, whether any entry does."""
    return bool(np.any(value))


def index_of(node: Any) -> Any:
    """The index that stands in brackets: numbers, slices, `...`; an InputError for anything else."""
    if isinstance(node, ast.Tuple):
        return tuple(index_of(part) for part in node.elts)
    if isinstance(node, ast.Slice):
        return slice(*[None if part is None else index_of(part) for part in (node.lower, node.upper, node.step)])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -index_of(node.operand)
    if isinstance(node, ast.Constant) and (isinstance(node.value, int) or node.value in (None, Ellipsis)):
        return node.value
    raise InputError(f"an index is made of whole numbers, slices and `...`, not `{ast.unparse(node)}`")


# ── what the shell uses ──────────────────────────────────────────────────────────────────────────────────────────────


class Condition:
    """A condition that was read and found to make sense for a trace.

    unknown: how many steps could not be judged by it; reason: why, of the last one.
    """

    def __init__(self, text: str, trace: Trace) -> None:
        self.text, self.tree = text.strip(), parsed(text)
        if isinstance(self.tree, ast.Constant):
            raise InputError(f"`{self.text}` says nothing of a step. `index == 3` holds at step 3, op:softmax at every softmax")
        check_names(self.tree, text, names_in(trace) | set(FACTS))
        check_patterns(self.tree, text, trace)
        self.about_rules = any(isinstance(n, ast.Name) and n.id == "mismatch" for n in ast.walk(self.tree))
        self.unknown, self.reason = 0, ""

    def holds(self, step: TraceStep) -> bool:
        """Whether the condition holds at a step."""
        try:
            return truth(value_of(self.tree, Names(step), f"step {step.index}, {step.op}"))
        except Absent as why:                      # that a step has no dx says nothing; an unchecked rule should be known
            self.unknown += self.about_rules
            self.reason = self.reason or f"step {step.index}, {str(why) or f'{step.op}: not all it needs is in the trace'}"
        except InputError as error:
            self.unknown, self.reason = self.unknown + 1, str(error)
        return False


def value_of(tree: Any, names: Mapping[str, Any], call: str) -> Any:
    """The value of an expression; what goes wrong in it is an InputError that begins with `call`."""
    try:
        with np.errstate(all="ignore"):
            return worked_out(tree, names)
    except (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError, AttributeError, RecursionError) as error:
        raise InputError(f"{call}: {error}") from None


def calculated(text: str, step: TraceStep, more: Sequence[str] = ()) -> Any:
    """The value of an expression at a step: what `p` prints. more: names to suggest. Raises InputError."""
    tree = parsed(text)
    names = Names(step)
    check_names(tree, text, {*names, *FACTS, *more})
    try:
        return value_of(tree, names, f"`{text}`")
    except Absent:
        raise InputError(f"`{text}`: the numbers for this are not in the trace") from None
