"""Where the first NaN or infinity came from: told to the operation that made it, out of what, and for which reason.

A NaN always counts. An infinity counts where an operation makes it out of finite numbers: a mask of −∞ is meant.
"""

from __future__ import annotations

from inspect import signature

import numpy as np

from .errors import GraphError


def refuse_nan(node, g, sent):
    """For `state.check`: raise GraphError where a node sends NaN to one of its parents, as PyTorch's anomaly mode does."""
    refuse_sent(node, g, sent, ("NaN",))


def refuse_sent(node, g, sent, kinds=("NaN", "infinity")):
    """For `state.check`: raise GraphError where a gradient rule makes a NaN, or an infinity out of finite numbers."""
    kept = (*node.kept, node.y)
    values = {"g": plain(g), **{node.op.name_of(i) if i < len(node.kept) else "y": a
                                for i, a in enumerate(kept) if a is not None}}
    for i, d in enumerate(sent):
        kind = None if d is None else made(plain(d), values)
        if kind in kinds:
            name = node.op.name_of(i)
            raise GraphError("\n".join([
                f"{node.op.name}: its backward gave {name} a gradient with {kind} in it",
                f"  {name} {node.dtypes[i]} {node.shapes[i]}, {place(node)}", *facts(values),
                f"  {reason(SLOPES, node.op.name, values, kind, plain(d))}"]))


def refuse_output(node, arguments, y):
    """For `state.observer`: raise GraphError where an operation's output holds a NaN, or an infinity that it made."""
    values = {**{node.op.name_of(i): a for i, a in enumerate(arguments)}, **node.options}
    kind = made(y, values)
    if kind is not None:
        raise GraphError("\n".join([
            f"{node.op.name}: its forward gave {kind} in {int((~np.isfinite(y)).sum())} of {y.size} entries",
            f"  y {y.dtype} {y.shape}, {place(node)}", *facts(values),
            f"  {reason(VALUES, node.op.name, values, kind, y)}"]))


def made(array, sources):
    """"NaN" or "infinity", if `array` holds one that was made of `sources`; None if it was in them, or there is none."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return None
    if np.isnan(array).any():
        return "NaN"
    return "infinity" if all(np.isfinite(a).all() for a in sources.values() if is_number(a)) else None


def is_number(value):
    """Whether it is a floating array or number."""
    return isinstance(value, float) or hasattr(value, "dtype") and value.dtype.kind == "f"


def plain(d):
    """The array of a Box, or the array itself."""
    return getattr(d, "array", d)


# ── what is said ─────────────────────────────────────────────────────────────────────────────────────────────────────


def place(node):
    """The module and the line that an operation was recorded in."""
    path = node.scope.path() if node.scope else ""
    return (f"in module {path}, " if path else "") + f"recorded at {node.line_text()}"


def facts(values):
    """A line for each floating array: what in it is unusual, and its range."""
    lines = []
    for name, a in values.items():
        if is_number(a) and getattr(a, "size", 0):
            unusual = [f"{int(found.sum())} {what}" for what, found in (
                ("NaN", np.isnan(a)), ("infinite", np.isinf(a)), ("zero", a == 0)) if found.any()]
            finite = a[np.isfinite(a)]
            span = [f"{float(finite.min()):.4g} to {float(finite.max()):.4g}"] if finite.size else []
            lines.append(f"  {name} {a.dtype} {a.shape}: "
                         + ", ".join(["finite"] * (finite.size == a.size) + unusual + span))
    return lines


@np.errstate(all="ignore")
def reason(rules, op, values, kind, result):
    """One sentence: why an operation made what it made of `values`."""
    named = {name: np.asarray(a, like=result) for name, a in values.items() if is_number(a) or isinstance(a, int)}
    for name, applies, words in rules:
        if name == op and set(signature(applies).parameters) <= set(named):
            if applies(**{n: named[n] for n in signature(applies).parameters}).any():
                return words
    for test, words in ((np.isnan, "held NaN already: it came from outside what is recorded"),
                        (np.isinf, "held infinities, and ∞ − ∞, 0·∞ and ∞/∞ are NaN")):
        names = [name for name, a in named.items() if test(a).any()]
        if names:
            return f"{' and '.join(names)} {words}"
    beyond = f"beyond {np.finfo(result.dtype).max:.2g}, the largest number of {result.dtype}"
    if kind == "infinity" and all(a.all() for a in named.values()):
        return f"a result is {beyond}"
    return f"a result, or one on the way to it, is {beyond}, or something was divided by 0"


# (operation, where its arguments are such, then it is for this reason). A rule names the arguments that it looks at.
VALUES = (
    ("log", lambda x: x < 0, "a negative number has no logarithm"),
    ("log", lambda x: x == 0, "log(0) is −∞: add a small number, or clamp before it; of a softmax, take log_softmax"),
    ("log1p", lambda x: x < -1, "log(1 + x) of x below −1: a negative number has no logarithm"),
    ("log1p", lambda x: x == -1, "log(1 + x) at x = −1 is −∞"),
    ("sqrt", lambda x: x < 0, "a negative number has no root"),
    ("div", lambda a, b: (a == 0) & (b == 0), "0/0 is NaN"),
    ("div", lambda b: b == 0, "a number was divided by 0"),
    ("pow", lambda a, b: (a < 0) & (b % 1 != 0), "a negative number to a power that is no integer is NaN"),
    ("pow", lambda a, b: (a == 0) & (b < 0), "0 to a negative power is infinite"),
    ("exp", lambda x: x > np.log(np.finfo(x.dtype).max), "exp overflows: subtract the largest entry first, as softmax does"),
    ("expm1", lambda x: x > np.log(np.finfo(x.dtype).max), "exp overflows: subtract the largest entry first"),
    ("layer_norm", lambda x, eps: (x.var(-1) == 0) & (eps == 0), "a row has no variance, and eps is 0: 0/0 is NaN"),
    ("softmax", lambda x: ~np.isfinite(x), "a row that is −∞ throughout has no softmax, nor has one with +∞ in it"),
)
SLOPES = (
    ("sqrt", lambda y: y == 0, "the slope of √x at 0 is infinite, and 0·∞ is NaN. A `where` after it does not help: keep 0 "
                               "out of the root itself"),
    ("log", lambda x: x == 0, "the slope of log x at 0 is infinite, and 0·∞ is NaN. A `where` after it does not help: keep 0 "
                              "out of the logarithm itself"),
    ("div", lambda b: b == 0, "a number was divided by 0. A `where` after it does not help: keep 0 out of the divisor itself"),
    ("pow", lambda a: a == 0, "the slope of a power below 1 is infinite at 0, and 0·∞ is NaN"),
)
