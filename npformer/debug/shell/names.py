"""What a person means by `dx`, `weight[0, :3]`, `blocks.0.norm1.weight.grad` or `y.shape` at a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...core.errors import InputError, NpformerError
from ...core.facts import ArrayFacts
from ..traces.nodes import TracedNode
from ..views import conditions, expressions
from ..views.statistics import arrays_of

if TYPE_CHECKING:
    from .session import Session

ALIASES = {"upstream": "g", "output": "y"}
PARTS = (".shape", ".dtype", ".T")


class Target(NamedTuple):
    """An array that was named. role: arrived, input, output, saved, sent, value or gradient. rest: the index, as typed."""

    label: str
    role: str
    name: str
    array: Any
    node: TracedNode | None                        # that it belongs to: what made an input, what a gradient is of
    rest: str

    def picked(self) -> Any:
        """What the index picks out of the array. Raises InputError."""
        if self.array is None:
            raise InputError(f"{self.name}: the tape kept no value of it. Record the forward pass too: trace a function, or "
                             "use npf.debug.recording()")
        if isinstance(self.array, ArrayFacts) and self.rest:
            raise InputError(f"{self.name} was too large to keep: {self.array!r}")
        return expressions.value_of(expressions.parse_expression(f"x{self.rest}"), {"x": self.array}, self.label)

    def chosen(self) -> Any:
        """The index that was typed, () where there is none. Raises InputError."""
        tree = expressions.parse_expression(f"x{self.rest}")
        if not self.rest:
            return ()
        if not hasattr(tree, "slice") or not hasattr(tree.value, "id"):
            raise InputError(f"{self.label}: one index is needed, as in {self.name}[0, 2]")
        return expressions.index_of(tree.slice)


def target(session: Session, text: str) -> Target:
    """The array that a text names: something of this step first, then any node of the trace. Raises InputError."""
    text = text.strip()
    if not text:
        raise InputError("a name is needed: g, y, an input (x), a gradient (dx), or a parameter's name")
    local = at_step(session)
    for name in sorted(local, key=len, reverse=True):
        rest = text.removeprefix(name).strip()
        if text.startswith(name) and (not rest or rest[0] == "[" or rest.startswith(PARTS)):
            role, array, node = local[name]
            return Target(text, role, name, array, node, rest)
    name, part, rest = cut(text)
    gradient = name.endswith(".grad")
    node = somewhere(session, name.removesuffix(".grad"))
    return Target(text, "gradient" if gradient else "value", node.name + (".grad" if gradient else ""),
                  node.gradient if gradient else node.value, node, rest + part)


def somewhere(session, name):
    """A node of the trace: by the name that it has inside the module where we stand, else as `Trace.find` does."""
    frame = session.frame
    inside = frame.trace.named.get(f"{frame.path if frame.step is None else frame.step.where}.{name}")
    return inside or frame.trace.find(int(name) if name.isdigit() else name)


def cut(text):
    """(name, .shape or the like, index) of a text that names a node."""
    name, bracket, rest = text.partition("[")
    part = next((p for p in PARTS if name.endswith(p)), "")
    return name.removesuffix(part).strip(), part, bracket + rest


def at_step(session):
    """{name: (role, array, node)} of everything at this step; on a module, what came to it."""
    step, found = session.frame.step, {}
    if step is None:
        first = session.frame.steps[:1]
        return {"g": ("arrived", first[0].upstream, first[0].node)} if first else found
    names = {step.node.op.name_of(i): p for i, p in enumerate(step.node.parents)}
    for role, name, array in arrays_of(step):
        node = {"arrived": step.node, "output": step.node, "input": names.get(name),
                "sent": names.get(name.removeprefix("d"))}.get(role)
        found.setdefault(name, (role, array, node))
    found.update({alias: found[name] for alias, name in ALIASES.items() if alias not in found})
    return found


def node_named(session: Session, text: str) -> TracedNode:
    """The node that a text names: what an input of this step came from, this step itself (y, g), or any other."""
    text = text.strip()
    known = at_step(session).get(text)
    if known is None:
        return somewhere(session, text.removesuffix(".grad"))
    if known[2] is None:
        raise InputError(f"{text} is a constant here: no gradient flows to it")
    return known[2]


def numbers(session: Session, text: str) -> tuple[str, Any]:
    """(label, array or number) of what a text names or works out. Raises InputError."""
    try:
        found = target(session, text)
    except NpformerError:
        if session.frame.step is None or not any(sign in text for sign in "()+-*/<>=@"):
            raise
        return text, conditions.calculate(text, session.frame.step)
    return found.label, found.picked()


def array_named(session: Session, text: str) -> tuple[str, np.ndarray]:
    """(label, array) of what a text names; an InputError for a number, or what was too large to keep."""
    label, value = numbers(session, text)
    if isinstance(value, ArrayFacts):
        raise InputError(f"{label} was too large to keep: {value!r}")
    if not isinstance(value, np.ndarray):
        raise InputError(f"{label} is no array: {value}")
    return label, value
