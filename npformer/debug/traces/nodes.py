"""What a trace is made of: nodes that keep everything. An `ArrayFacts` stands for an array that was too large to keep."""

from __future__ import annotations

from ...core import tape
from ...core.errors import GraphError
from ...core.facts import ArrayFacts

LARGEST = 4_000_000                                # entries of an array that a trace keeps, unless told otherwise


def require_whole(name, arrays):
    """Raise GraphError where one of a step's arrays was too large to keep."""
    large = [array for array, value in arrays.items() if isinstance(value, ArrayFacts)]
    if large:
        raise GraphError(f"{name}: too large to keep were {', '.join(large)}, and this needs their numbers.\n"
                         "  Record the trace with a larger `largest`.")


class Place:
    """A module's path that stays when the module is gone; a Node's scope."""

    __slots__ = ("where",)

    def __init__(self, where):
        self.where = where

    def path(self):
        """The path."""
        return self.where


class TracedNode(tape.Node):
    """A node that keeps everything: `values` (its arguments), `value` (its output), what came back and from whom.

    number: its place in the forward pass. name: of a parameter, or module and operation. where: the module's path.
    gradient: dL/d(value), after hooks; None if no gradient came. contributions: what it was added up from.
    """

    __slots__ = ("number", "name", "values", "value", "gradient", "contributions")

    def __init__(self, op=None, options=(), parents=(), wrap=tape.Box.wrap, where=""):
        super().__init__(op, dict(options), parents, wrap)
        self.number, self.name, self.values, self.value, self.scope = -1, "", (), None, Place(where)
        self.gradient, self.contributions, self.stamps = None, [], ()

    @property
    def where(self) -> str:
        """The path of the module whose forward made it; '' outside any."""
        return self.scope.path()

    def __repr__(self):
        return f"<node {self.number}: {self.name} {self.shape}>"

    def free(self):
        """A trace is walked as often as somebody likes: it is never freed."""
