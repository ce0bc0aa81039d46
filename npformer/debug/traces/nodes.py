"""What a trace is made of: nodes that keep everything.

An `ArrayFacts` (core.facts) stands for an array that was too large to keep.
"""

from __future__ import annotations

from ...core import tape
from ...core.errors import GraphError
from ...core.facts import ArrayFacts

LARGEST = 4_000_000                                # entries of an array, unless told otherwise


def require_whole(name, arrays):
    """Raise GraphError where one of a step's arrays was too large to keep."""
    large = [array for array, value in arrays.items() if isinstance(value, ArrayFacts)]
    if large:
        raise GraphError(f"{name}: too large to keep were {', '.join(large)}, and this needs their "
                         "numbers.\n  Record the trace with a larger `largest`.")


class ModulePath:
    """A module's path as text: a node's scope in a trace. The tape's Scope asks the module for its
    path, and holds it weakly. A trace outlives its model, so it writes the path down."""

    __slots__ = ("where",)

    def __init__(self, where):
        self.where = where

    def path(self):
        return self.where


class TracedNode(tape.Node):
    """A node that keeps everything: `values` (its arguments), `value` (its output), its gradient.
    number: its place in the forward pass. name: of a parameter, or module and operation. where: the
    module's path. gradient: dL/d(value), after hooks; None if no gradient arrived. contributions:
    what the gradient was added up from."""

    __slots__ = ("number", "name", "values", "value", "gradient", "contributions")

    def __init__(self, op=None, options=(), parents=(), wrap=tape.Box.wrap, where=""):
        super().__init__(op, dict(options), parents, wrap)
        self.number, self.name, self.scope = -1, "", ModulePath(where)
        self.values, self.value, self.gradient, self.contributions = (), None, None, []
        self.stamps = ()                           # nobody writes into the copies: nothing to check

    @property
    def where(self) -> str:
        """The path of the module whose forward made it; '' outside any."""
        return self.scope.path()

    def __repr__(self):
        return f"<node {self.number}: {self.name} {self.shape}>"

    def free(self):
        """Keep the arrays: a trace may be walked again at any time."""


def default_name(node):
    """Module path and operation, 'blocks.0.relu'; 'leaf' for a leaf that no variable names."""
    return ".".join(part for part in (node.where, node.op.name) if part) if node.op else "leaf"


def make_unique(name, taken):
    """The name, with a number from the second time on. taken: a Counter of the names so far."""
    taken[name] += 1
    return name if taken[name] == 1 else f"{name}#{taken[name]}"


def notes_on(nodes):
    """What is missing from the trace of these nodes, in words."""
    notes = []
    large = [node for node in nodes if isinstance(node.value, ArrayFacts)]
    lost = [node for node in nodes if node.value is None]
    if large:
        notes.append(f"{len(large)} arrays were too large to keep and are summarised, "
                     f"{large[0].name} {large[0].shape} first")
    if lost:
        notes.append(
            f"{len(lost)} values were not kept by the tape ({lost[0].name} first): record the "
            "forward pass too, with npf.debug.recording() or npf.debug.trace(function)")
    return notes
