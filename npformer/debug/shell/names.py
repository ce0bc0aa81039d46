"""What a person means by `dx`, `weight[0, :3]`, `blocks.0.norm1.weight.grad` or `y.shape`.

A name is looked up first among the arrays of the step where the session stands, then among the
nodes of the trace. The brackets after it are an index; they are parsed by `views.expressions`,
never run by Python.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...core.errors import InputError, NpformerError
from ...core.facts import ArrayFacts
from ..traces.nodes import TracedNode
from ..views import conditions, expressions
from ..views.statistics import arrays_of
from .session import Session

ALIASES = {"upstream": "g", "output": "y"}
PARTS = (".shape", ".dtype", ".T")


class Target(NamedTuple):
    """An array that was named. role: arrived, input, output, saved, sent, value or gradient. rest:
    the index, as typed, and .shape or the like. node: what made an input, or what a gradient is the
    gradient of."""

    label: str
    role: str
    name: str
    array: Any
    node: TracedNode | None
    rest: str

    def value(self) -> Any:
        """What the index picks out of the array. Raises InputError."""
        if self.array is None:
            raise InputError(f"{self.name}: the tape kept no value of it. Record the forward pass "
                             "too: trace a function, or use npf.debug.recording()")
        if isinstance(self.array, ArrayFacts) and self.rest:
            raise InputError(f"{self.name} was too large to keep: {self.array!r}")
        tree = expressions.parse_expression(f"x{self.rest}")
        return expressions.value_of(tree, {"x": self.array}, self.label)

    def subscript(self) -> Any:
        """The index that was typed, () where there is none. Raises InputError."""
        tree = expressions.parse_expression(f"x{self.rest}")
        if not self.rest:
            return ()
        if not hasattr(tree, "slice") or not hasattr(tree.value, "id"):
            raise InputError(f"{self.label}: one index is needed, as in {self.name}[0, 2]")
        return expressions.index_of(tree.slice)


def find_target(session: Session, text: str) -> Target:
    """The array that a text names: one of this step, else of any node. Raises InputError."""
    text = text.strip()
    if not text:
        raise InputError(
            "a name is needed: g, y, an input (x), a gradient (dx), or a parameter's name")
    local = arrays_here(session)
    # The longest name first, or `x` would be found in `xhat[0]`. What follows the name must be an
    # index or a part, or `g` would be found in `gain`.
    for name in sorted(local, key=len, reverse=True):
        rest = text.removeprefix(name).strip()
        if text.startswith(name) and (not rest or rest[0] == "[" or rest.startswith(PARTS)):
            role, array, node = local[name]
            return Target(text, role, name, array, node, rest)
    name, part, rest = split_name(text)
    node = find_node(session, name.removesuffix(".grad"))
    if name.endswith(".grad"):
        return Target(text, "gradient", f"{node.name}.grad", node.gradient, node, rest + part)
    return Target(text, "value", node.name, node.value, node, rest + part)


def split_name(text):
    """(name, .shape or the like, index) of a text that names a node."""
    name, bracket, rest = text.partition("[")
    part = next((p for p in PARTS if name.endswith(p)), "")
    return name.removesuffix(part).strip(), part, bracket + rest


def arrays_here(session):
    """{name: (role, array, node)} of everything at this step; on a module, what arrives at it."""
    step, found = session.frame.step, {}
    if step is None:
        first = session.frame.steps[:1]
        return {"g": ("arrived", first[0].upstream, first[0].node)} if first else found
    arguments = {step.node.op.name_of(i): p for i, p in enumerate(step.node.parents)}
    for role, name, array in arrays_of(step):
        node = None                                # what the forward pass saved belongs to none
        if role in ("arrived", "output"):
            node = step.node
        elif role in ("input", "sent"):
            node = arguments.get(name if role == "input" else name.removeprefix("d"))
        found.setdefault(name, (role, array, node))
    found.update({alias: found[name] for alias, name in ALIASES.items() if alias not in found})
    return found


def evaluate(session: Session, text: str) -> tuple[str, Any]:
    """(label, array or number) of what a text names or calculates. Raises InputError."""
    try:
        target = find_target(session, text)
    except NpformerError:
        # A text is a name first, and a formula only where it holds a sign: a name with a slip in
        # it must be answered with the names that are near, not with what is wrong as a formula.
        if session.frame.step is None or not any(sign in text for sign in "()+-*/<>=@"):
            raise
        return text, conditions.calculate(text, session.frame.step)
    return target.label, target.value()


def array_named(session: Session, text: str) -> tuple[str, np.ndarray]:
    """(label, array) of what a text names. InputError for a number, or what was not kept."""
    label, value = evaluate(session, text)
    if isinstance(value, ArrayFacts):
        raise InputError(f"{label} was too large to keep: {value!r}")
    if not isinstance(value, np.ndarray):
        raise InputError(f"{label} is not an array: {value}")
    return label, value


def find_node(session, name):
    """A node of the trace: by its name inside the module where we stand, else as `Trace.find`."""
    frame = session.frame
    module = frame.path if frame.step is None else frame.step.where
    inside = frame.trace.named.get(f"{module}.{name}")
    return inside or frame.trace.find(int(name) if name.isdigit() else name)


def node_named(session: Session, text: str) -> TracedNode:
    """The node that a text names: what made an input of this step, this step (y, g), or any."""
    text = text.strip()
    known = arrays_here(session).get(text)
    if known is None:
        return find_node(session, text.removesuffix(".grad"))
    if known[2] is None:
        raise InputError(f"{text} is a constant here: no gradient flows to it")
    return known[2]


def read_count(text: str, default: int, least: int = 0) -> int:
    if not text:
        return default
    if not text.isdigit() or int(text) < least:
        raise InputError(f"a whole number, {least} or more, is needed, not {text!r}")
    return int(text)
