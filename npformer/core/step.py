"""One step of a backward pass, as a reader looks at it, and the loop that yields it.

`core.tape.walk` visits nodes; here a visit becomes a `Step`, which knows the formula, the names and
the questions that one can ask. `loss.backward()` runs the same walk and makes no Step: nobody would
look at it.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from . import inside
from .facts import norm
from .tape import Box, seeds_of, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from .inside import StepCheck, Term


class Step:
    """One operation of a backward pass: what arrived, the rule, and what was sent to its inputs.

    `upstream` is dL/d(output); `gradients` has dL/d(input) by argument name. `inputs` and `output`
    are there where the gradient rule reads their values, else None: memory is part of the design.
    `saved` is what the forward pass left for the backward pass, by name.
    """

    __slots__ = ("node", "kept", "output", "saved", "upstream", "sent", "parents")

    def __init__(self, node, upstream, sent):
        # The walk frees the node after this step; a Step that is kept in a list still answers.
        self.node, self.upstream, self.sent = node, upstream, sent
        self.kept, self.output, self.saved = node.kept, node.y, node.saved
        self.parents = node.parents

    @property
    def op(self) -> str:
        """The operation's name: 'softmax'."""
        return self.node.op.name

    @property
    def formula(self) -> str:
        """What the operation computes."""
        return self.node.op.formula

    @property
    def options(self) -> dict[str, Any]:
        """The options of the call: `{'dim': -1}`."""
        return self.node.options

    @property
    def inputs(self) -> dict[str, np.ndarray | None]:
        """The arguments by name, where their values were kept."""
        return {self.node.op.name_of(i): a for i, a in enumerate(self.kept)}

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """dL/d(input) for each input that needs it, by argument name."""
        return {self.node.op.name_of(i): d for i, d in enumerate(self.sent) if d is not None}

    @property
    def where(self) -> str:
        """The path of the module whose forward ran it: 'blocks.0.attention'; '' outside of one."""
        return self.node.scope.path() if self.node.scope else ""

    @property
    def source(self) -> tuple[str, int] | None:
        """The user's line of code that made it: (file, line number)."""
        return self.node.line

    @property
    def arguments(self) -> tuple:
        """What the operation was called with, in order; None where the value was not kept."""
        return self.kept

    def jacobian(self, argument: int | str, rows: Any = None, columns: Any = None) -> np.ndarray:
        """d(output)/d(argument) of this step alone, of shape output.shape + input.shape.

        argument: number or name. rows, columns: an index into the output and into the argument that
        chooses a part: `rows=(0, 3)` is one entry of a 2-d output. Raises ValueRangeError for more
        than 4,000,000 entries at once.
        """
        return inside.jacobian(self, argument, rows, columns)

    def into(self) -> Sequence[Step]:
        """The steps of a fused operation's definition, on its recorded values and upstream."""
        _, y = inside.run_definition(self)
        return list(backprop(y, y.wrap(self.upstream), retain_graph=True))

    def terms(self) -> dict[str, list[Term]]:
        """The terms of each gradient, by argument: what each way through the definition adds."""
        return inside.terms(self)

    def check(self) -> StepCheck:
        """This step alone against finite differences of its operation."""
        return inside.check(self)

    def __repr__(self):
        sent = ", ".join(f"d{name} {d.shape}" for name, d in self.gradients.items())
        return f"Step({self.op} at {self.where or 'top level'}: g {self.node.shape} -> {sent})"

    def _repr_html_(self):
        """What a notebook shows: the formula, what arrived, what was sent, and the user's line."""
        lines = [f"{self.op}    {self.where}".rstrip(), f"  {self.formula}"]
        rows = [("arrived", "g", self.upstream)]
        rows += [("sent", f"d{name}", d) for name, d in self.gradients.items()]
        for what, name, d in rows:
            lines.append(f"  {what:7}  {name:10} {d.shape!s:18} |{name}| {norm(d):.4g}")
        if self.source:
            lines.append(f"  line     {self.source[0]}:{self.source[1]}")
        return f"<pre>{escape(chr(10).join(lines))}</pre>"


def backprop(output: Box | Sequence[Box], grad: Box | np.ndarray | Sequence | None = None, *,
             retain_graph: bool | None = None, create_graph: bool = False) -> Iterator[Step]:
    """Walk back from `output`, last operation first, yielding a `Step` for each; gradients add up
    in the leaves.

    output: a Tensor, or several. grad: dL/d(output), 1 for a scalar output. retain_graph: keep the
    graph for another walk (default: as create_graph). create_graph: record the walk itself, so that
    gradients can be differentiated.

    Raises GraphError where no gradient can flow, or where the graph was freed by an earlier walk.
    """
    for visit in walk(seeds_of(output, grad, create_graph), create_graph=create_graph,
                      retain_graph=create_graph if retain_graph is None else retain_graph):
        yield Step(*visit)
