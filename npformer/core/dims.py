"""Which dims of an operation's arguments line up with which of its output, in einsum's letters.

An operation says so in its block, and the page, the judge, the probes and the docs read it there:

    "...i, oi, o -> ...o"  linear: i is summed over, o is kept; ... are leading dims, as in
                           broadcasting
    "..."                  every entry by itself: elementwise
    "ab -> ac"             one dim is mixed: every entry along c reads all of b (softmax)
    "ab -> ac; b <= c"     the same, but only the entries up to its own (cumsum); the other
                           conditions are b >= c, b <= c + 1, b = c + 2, b = 4 - c
    "ab -> a1"             b is reduced, and stays as a dim of size 1
    "n?m, mp? -> n?p?"     a dim with ? may be missing, as in a gufunc's signature (NEP 20)
    "(...) -> (...)"       the same place in row-major order, as in einops (reshape)
    "[...] -> ..."         each entry of y is one of x that an index picks, as in einx (getitem)
    "... -> [...]"         each entry of x is added to one of y that an index names (put)

Where the letters depend on options or shapes, the block gives a function that names what it reads,
as a gradient rule does: `dims=lambda x_shape, dim: along(x_shape, dim, "s -> t")`.

Letters, since every reader can work out its own question from them: which cells feed a cell, what
is reduced, where two paths meet. Only what letters cannot say (cumsum, flip, an index) is added to
einsum's notation.
"""

from __future__ import annotations

import re
from functools import cache
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

from .errors import GraphError

ELEMENTWISE = "..."
FLATTENED = "(...)"
PATTERN = r"\(\.\.\.\)|(\.\.\.|\w\??|\[(\.\.\.|\w)\])*"
# s <= t + 1, s = t - 2; or s = 4 - t, which runs backwards
CONDITION = r"(\w) (<=|>=|=) ([^\W\d])(?: ([+-] \d+))?|(\w) = (\d+) - ([^\W\d])"


class Lined(NamedTuple):
    """How the dims of one argument x line up with those of y.

    x, y: a letter for each dim, "1" for a dim of size 1 that stands for a reduced one. ties: (dim
    of x, dim of y, sign, offset), where the index along x's is sign · (the index along y's) +
    offset. bounds: (dim of x, dim of y, sign, offset): the index along x's is at most (sign 1) or
    at least (−1) that along y's + offset. by_index: "" or which side an index decides: "x", "y".
    """

    x: str
    y: str
    ties: tuple[tuple[int, int, int, int], ...] = ()
    bounds: tuple[tuple[int, int, int, int], ...] = ()
    by_index: str = ""
    row_major: bool = False

    @property
    def reduced(self) -> str:
        """The letters of x that y has not: dims that are summed over, mixed or maximised."""
        if self.by_index or self.row_major:
            return ""
        return "".join(c for c in self.x if c not in self.y)

    @property
    def mixed(self) -> bool:
        """Whether y has a dim that x has not: instead of one (softmax) or a new one (linear)."""
        return any(c not in self.x and c != "1" for c in self.y)

    @property
    def once(self) -> bool:
        """Whether each entry of x is read by one entry of y at most."""
        tied = {dy for _, dy, _, _ in self.ties}
        return not self.by_index and not self.bounds and (self.row_major or all(
            d in tied or c == "1" for d, c in enumerate(self.y)))


def line_up(text: str, i: int, shapes: list[tuple], y_shape: tuple) -> Lined:
    """The dims of argument `i`, for arguments of these shapes.

    text: a pattern for each argument, or one for all arguments of a variadic operation. Raises
    GraphError where the text cannot be read, or does not fit the shapes.
    """
    arguments, y, conditions = parse(text)
    pattern = arguments[i if i < len(arguments) else -1]
    if "[" in pattern or "[" in y:
        return Lined("", "", by_index="x" if "[" in pattern else "y")
    if pattern == FLATTENED:
        return Lined("", "", row_major=True)
    missing = {c for p, shape in zip(arguments, shapes) for c in re.findall(r"(\w)\?", p)
               if len(shape) < len(re.findall(r"\w", p))}
    xs, ys = spell(pattern, len(shapes[i]), missing), spell(y, len(y_shape), missing)
    # One letter in x and y ties the two indices, unless x has size 1 there and broadcasting repeats
    # it: then its only entry feeds all of y's.
    ties = [(k, ys.index(c), 1, 0) for k, c in enumerate(xs)
            if c in ys and c != "1" and shapes[i][k] == y_shape[ys.index(c)]]
    bounds = []
    for x, relation, sign, letter, offset in conditions:
        if letter not in ys or not any(x in p for p in (xs, *arguments)):
            raise GraphError(f"dims {text!r}: a condition is about a letter of an argument and one "
                             f"of the output; {x} and {letter} are not")
        if x not in xs:
            continue                               # it is about another argument
        at = xs.index(x), ys.index(letter)
        if relation == "=":
            ties.append((*at, sign, offset))
        else:
            bounds.append((*at, 1 if relation == "<=" else -1, offset))
    return Lined(xs, ys, tuple(ties), tuple(bounds))


@cache
def parse(text: str) -> tuple[tuple[str, ...], str, tuple[tuple[str, str, int, str, int], ...]]:
    """(a pattern for each argument, that of the output, the conditions); GraphError if it is none.

    A condition is (letter of x, relation, sign, letter of y, offset).
    """
    equation, *parts = (part.strip() for part in text.split(";"))
    left, arrow, right = equation.partition("->")
    arguments, y = tuple(part.strip() for part in left.split(",")), right.strip()
    if not arrow and equation != ELEMENTWISE:
        raise GraphError(f"dims {text!r}: there is no '->'; it is like 'ab, bc -> ac'")
    for pattern in (*arguments, y):
        if re.fullmatch(PATTERN, pattern) is None:
            raise GraphError(f"dims {text!r}: {pattern!r} is no pattern; it is letters, one for "
                             "each dim, with ... for leading dims, or (...), or [...]")
    if FLATTENED in (*arguments, y) and set(arguments) | {y} != {FLATTENED}:
        raise GraphError(f"dims {text!r}: (...) stands for all dims, on both sides: "
                         f"'{FLATTENED} -> {FLATTENED}'")
    conditions = []
    for part in parts:
        found = re.fullmatch(CONDITION, part)
        if found is None:
            raise GraphError(f"dims {text!r}: {part!r} is no condition; "
                             "it is like 's <= t', 's >= t - 1', 's = t + 2' or 's = 4 - t'")
        x, relation, same, added, mirror, constant, other = found.groups()
        if other is None:
            offset = int((added or "0").replace(" ", ""))
            conditions.append((x, relation or "=", 1, same, offset))
        else:
            conditions.append((mirror, "=", -1, other, int(constant)))
    return arguments, y if arrow else ELEMENTWISE, tuple(conditions)


def spell(pattern: str, ndim: int, missing: set[str]) -> str:
    """A letter for each dim: `...` becomes as many capitals as are left."""
    # Z is the innermost, so that leading dims of two arguments line up from the right, as
    # broadcasting lines them up, whatever their number.
    letters = re.sub(r"(\w)\?", lambda m: "" if m[1] in missing else m[1], pattern)
    named = letters.replace("...", "")
    lead = ndim - len(named)
    if lead and "..." not in letters:
        raise GraphError(f"dims {pattern!r}: {len(named)} letters for an array of {ndim} dims")
    return letters.replace("...", ascii_uppercase[26 - lead:] if lead > 0 else "")


def along(shape: tuple, dim, pattern: str, keepdim: bool = False) -> str:
    """The dims of an operation along `dim` of an array of this shape; the other dims are kept.

    dim: one, several, or None for all. pattern: "s -> t" mixes, "s ->" reduces; n in a condition is
    the size of the dim.
    """
    if dim is None or dim == ():
        dim = range(len(shape))
    dims = dim if isinstance(dim, (tuple, list, range)) else (dim,)
    chosen = {d % len(shape) for d in dims} if shape else set()
    xs = ascii_lowercase[:len(shape)]
    equation, *conditions = (part.strip() for part in pattern.split(";"))
    mixes = bool(equation.partition("->")[2].strip())
    other = {c: c.upper() for d, c in enumerate(xs) if d in chosen}
    gone = "1" if keepdim else ""
    ys = "".join(c if c not in other else other[c] if mixes else gone for c in xs)
    said = []
    for s, t in other.items():
        last = str(shape[xs.index(s)] - 1)
        said += [condition.replace("n - 1", last).replace("s", s, 1).replace("t", t)
                 for condition in conditions]
    return "; ".join([f"{xs} -> {ys}", *said])
