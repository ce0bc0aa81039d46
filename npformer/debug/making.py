"""Making traces: from a loss, from a function that computes one, or from whatever user code does inside `recording()`.

`trace(loss)` records the walk back from a loss; `trace(function)` and `with recording() as r:` record the forward pass
too, so that every value is there. What a `Recorder` gathered is linked into a `Trace` in one place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from ..core import tape
from ..core.arrays import to_numpy
from ..core.errors import GraphError, ValueRangeError
from ..core.inside import unfolded
from ..tensors import Tensor
from . import replay
from .record import LARGEST, Recorder, notes_on, plain_name, see_again, unique
from .tracing import Contribution, Trace


class recording:
    """Record what user code does: `with npf.debug.recording() as r: ...; loss.backward()`, then `r.trace`.

    which: which backward pass, counted from 1 (default: the last). largest: arrays with more entries are summarised.
    """

    def __init__(self, which: int | None = None, largest: int = LARGEST) -> None:
        if which is not None and which < 1:
            raise ValueRangeError(f"recording(which={which!r}): backward passes are counted from 1")
        self.recorder = Recorder(which, largest)
        self.made: Trace | None = None

    def __enter__(self):
        self.recorder.__enter__()
        return self

    def __exit__(self, *exc):
        self.recorder.__exit__(*exc)
        if exc[0] is None and self.recorder.events:
            self.made = linked(self.recorder)

    @property
    def trace(self) -> Trace:
        """The recorded trace."""
        if self.made is None:
            if not self.recorder.events:
                many = self.recorder.count
                raise GraphError("nothing was recorded: " + (
                    f"there were {many} backward passes" if many else "no backward pass ran inside recording()")
                    + ".\n  Call loss.backward() inside it, or use npf.debug.trace(loss).")
            self.made = linked(self.recorder)
        return self.made


def trace(loss: Tensor | Callable[[], Tensor], grad: Tensor | np.ndarray | None = None, *,
          largest: int = LARGEST) -> Trace:
    """Record the backward pass from `loss`, and, where `loss` is a function that computes it, the forward pass as well.

    loss: a Tensor with a graph behind it, or a function of no arguments that returns one. From a Tensor alone a trace
    has the values that the tape kept or that can be computed from them; from a function, all. grad: dL/d(loss) where
    the loss is no single number. largest: arrays with more entries are summarised, and the trace says so.
    The graph stays as it was and no `.grad` is touched. Raises GraphError where there is no graph, or it was freed.
    """
    recorder = Recorder(largest=largest)
    with recorder:
        if callable(loss) and not isinstance(loss, tape.Box):
            loss = loss()
        if not isinstance(loss, tape.Box):
            raise GraphError(f"trace(loss): it takes a Tensor, or a function that returns one; got {type(loss).__name__}")
        seeds = tape.seeds_of(loss, grad, False)
        graph = tape.behind([node for node, _ in seeds])
        unseen = [node for node in graph if node not in recorder.nodes]
        if any(node.freed for node in graph):
            raise GraphError("trace(loss): the graph was freed by a backward pass; call trace before backward(), "
                             "or pass retain_graph=True there")
        see_again(recorder, unseen)
        leaves = {node: None for node in graph if node.op is None}
        for _ in tape.walk(seeds, leaves, retain_graph=True, create_graph=False):
            pass
    return linked(recorder)


def linked(recorder):
    """The Trace of what a Recorder gathered: nodes numbered, named and joined, every contribution in its place."""
    graph = tape.behind([node for node, _ in recorder.seeds])
    see_again(recorder, [node for node in graph if node not in recorder.nodes])
    nodes = [recorder.nodes[node] for node in graph]
    numbers = {node: n for n, node in enumerate(graph)}
    taken = Counter()
    for n, (node, copied) in enumerate(zip(graph, nodes)):
        copied.number, copied.order = n, node.order
        copied.parents = tuple(None if p is None else nodes[numbers[p]] for p in node.parents)
        copied.wrap = Tensor.wrap
        copied.name = unique(recorder.leaves.get(node) or recorder.variables.get(node) or plain_name(copied), taken)
        copied.gradient, copied.contributions = None, []
        for parent, value in zip(copied.parents, copied.values):
            if parent is not None and parent.op is None and value is not None:
                parent.value = value               # as this pass read it; a Recorder sees a parameter in every pass
    events = []
    for node, g, sent in recorder.events:
        copied = nodes[numbers[node]]
        copied.gradient = g
        if node.op is not None:
            events.append((copied, g, sent))
    made = joined(nodes, [(numbers[node], g) for node, g in recorder.seeds], events, title=recorder.title, notes=notes_on(nodes),
                  graph=recorder.graph,
                  unreached=[name for node, name in recorder.leaves.items() if node is not None and node not in numbers])
    replay.compare(made)
    return made


def joined(nodes, seeds, events, **facts):
    """The Trace of these nodes, with every contribution in its place."""
    for n, g in seeds:
        nodes[n].contributions.append(Contribution(-1, -1, g))
    for k, (node, _, sent) in enumerate(events):
        for i, (parent, d) in enumerate(zip(node.parents, sent)):
            if parent is not None and d is not None:
                parent.contributions.append(Contribution(k, i, d))
    return Trace(nodes, seeds, events, **facts)


def inside(step):
    """The trace of a fused operation's definition on the recorded values, with its agreement."""
    recorder = Recorder()
    with recorder:
        inputs, y = unfolded(step)
        for x, name in zip(inputs, step.inputs):
            if isinstance(x, tape.Box):
                recorder.leaves[x.node] = name
        leaves = {x.node: None for x in inputs if isinstance(x, tape.Box)}
        before = dict(recorder.leaves)
        for _ in tape.walk(tape.seeds_of(y, step.upstream, False), leaves, retain_graph=True, create_graph=False):
            pass
    recorder.leaves = before
    made = linked(recorder)
    made.title = f"{step.name}: the definition of {step.op}"
    for node in made.nodes:
        node.line = step.source                    # not the viewer's line that asked for it
    largest = max((float(np.abs(d).max(initial=0)) for d in step.sent if d is not None), default=0.0)
    made.agreement = max((float(np.abs(to_numpy(leaves[x.node]) - d).max(initial=0)) for x, d in zip(inputs, step.sent)
                          if d is not None and isinstance(x, tape.Box)), default=0.0) / max(largest, 1e-300)
    return made
