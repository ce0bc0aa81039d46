"""What users call to get a trace: `trace(loss)`, and `with recording() as r:` around any code.

`trace(loss)` records the walk back from a loss; `trace(function)` and `recording()` record the
forward pass too, so that every value is there. A `Recorder` gathers; `link_recording` makes the
Trace of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...core import tape
from ...core.errors import GraphError, ValueRangeError
from ...tensors import Tensor
from .nodes import LARGEST
from .recorder import Recorder, copy_graph
from .trace import Trace, link_recording


class recording:
    """Record what user code does.

    `with npf.debug.recording() as r: ...; loss.backward()`, then `r.trace`.
    which: which backward pass, counted from 1 (default: the last).
    largest: arrays with more entries are summarised.
    """

    def __init__(self, which: int | None = None, largest: int = LARGEST) -> None:
        if which is not None and which < 1:
            raise ValueRangeError(f"recording(which={which!r}): backward passes are counted from 1")
        self.recorder = Recorder(which, largest)
        self.linked: Trace | None = None

    def __enter__(self):
        self.recorder.__enter__()
        return self

    def __exit__(self, *exc):
        self.recorder.__exit__(*exc)
        if exc[0] is None and self.recorder.events:
            self.linked = link_recording(self.recorder)

    @property
    def trace(self) -> Trace:
        """The recorded trace."""
        if self.linked is None:
            if not self.recorder.events:
                many = self.recorder.count
                why = (f"there were {many} backward passes" if many else
                       "no backward pass ran inside recording()")
                raise GraphError(f"nothing was recorded: {why}.\n  Call loss.backward() inside it, "
                                 "or use npf.debug.trace(loss).")
            self.linked = link_recording(self.recorder)
        return self.linked


def trace(loss: Tensor | Callable[[], Tensor], grad: Tensor | np.ndarray | None = None, *,
          largest: int = LARGEST) -> Trace:
    """Record the backward pass from `loss`; the forward pass as well, if `loss` is a function.

    loss: a Tensor with a graph behind it, or a function of no arguments that returns one. From a
    Tensor alone a trace has the values that the tape kept or that can be computed from them; from a
    function, all. grad: dL/d(loss) where the loss is more than one number. largest: arrays with
    more entries are summarised, and the trace says so.
    The graph stays as it was and no `.grad` is touched. Raises GraphError where there is no graph,
    or it was freed.
    """
    recorder = Recorder(largest=largest)
    with recorder:
        if callable(loss) and not isinstance(loss, tape.Box):
            loss = loss()
        if not isinstance(loss, tape.Box):
            raise GraphError("trace(loss): it takes a Tensor, or a function that returns one; "
                             f"got {type(loss).__name__}")
        seeds = tape.seeds_of(loss, grad, False)
        graph = tape.behind([node for node, _ in seeds])
        if any(node.freed for node in graph):
            raise GraphError("trace(loss): the graph was freed by a backward pass; call trace "
                             "before backward(), or pass retain_graph=True there")
        # Copied before the walk: after it, an array may be what a hook or a user's Function wrote.
        copy_graph(recorder, graph)
        leaves = {node: None for node in graph if node.op is None}
        for _ in tape.walk(seeds, leaves, retain_graph=True, create_graph=False):
            pass
    return link_recording(recorder)
