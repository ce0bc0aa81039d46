"""Four zoom levels, model > module > operation > the primitives of its definition; and a cursor.

A backward pass is a sequence of steps; the module paths of the steps make it a tree. A `Frame` is a
place in that tree: the model, one run through a module, or one step. A fused step has frames inside
as well: those of its definition.

The tree is that of the walk, not that of the model. A module whose steps do not follow one another
(a block adds its skip after its branch ran) has several frames, one for each run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...core.errors import ValueRangeError
from ...core.operation import Fused
from ..traces.trace import Trace, TraceStep


class Frame:
    """A place in a trace; `first` and `last` are the steps that it spans. path: the module's path,
    or the step's name. step: where it is a single step. level: 'model', 'module', 'operation' or
    'primitive'."""

    def __init__(self, trace: Trace, path: str, parent: Frame | None, first: int,
                 step: TraceStep | None = None) -> None:
        self.trace, self.path, self.parent, self.step = trace, path, parent, step
        self.first = self.last = first
        self.inner: Any = None if self.opens else []          # None: not opened yet

    @property
    def opens(self) -> bool:
        """Whether it is a fused step, whose definition can be stepped through."""
        return self.step is not None and isinstance(self.step.node.op, Fused)

    @property
    def children(self) -> list[Frame]:
        """The frames inside, first step first. Those of a fused step are made when they are asked
        for: its definition must be run and walked for them, and in a tree of hundreds of steps few
        are opened."""
        if self.inner is None and self.step is not None:
            self.inner = tree(self.step.into()).children
            for child in self.inner:
                child.parent = self
        return self.inner

    @property
    def level(self) -> str:
        if self.step is not None:
            return "primitive" if self.inside_a_step else "operation"
        return "model" if self.parent is None else "module"

    @property
    def inside_a_step(self) -> bool:
        return any(frame.step is not None for frame in self.around)

    @property
    def around(self) -> list[Frame]:
        """The frames around it, the innermost first; the last is the model."""
        return [] if self.parent is None else [self.parent, *self.parent.around]

    @property
    def span(self) -> str:
        return span(self.first, self.last)

    @property
    def label(self) -> str:
        """Its name without what its parent's name says already."""
        outer = "" if self.parent is None or self.parent.step is not None else self.parent.path
        return self.path.removeprefix(outer + ".") if outer else self.path

    @property
    def steps(self) -> list[TraceStep]:
        return self.trace.steps[self.first:self.last + 1]

    def __repr__(self):
        return f"<{self.level} {self.path or 'the model'}: steps {self.first} to {self.last}>"


def tree(trace: Trace) -> Frame:
    """The frames of a trace: the model, with the runs through its modules inside. One pass over the
    steps. `open_frames` are the frames around the step at hand, the model first: those that the
    next step's path does not share are closed, those that it adds are opened."""
    modules = {step.where for step in trace}
    root = Frame(trace, "", None, 0)
    root.last = len(trace) - 1
    open_frames = [root]
    for step in trace:
        # A module that only calls others (the list of blocks) has no step of its own. As a level it
        # would be one press of a key more, with nothing to see, so it is left out.
        path = [p for p in path_prefixes(step.where) if p in modules]
        while len(open_frames) - 1 > len(path) or any(
                frame.path != p for frame, p in zip(open_frames[1:], path)):
            open_frames.pop()
        for p in path[len(open_frames) - 1:]:
            frame = Frame(trace, p, open_frames[-1], step.index)
            open_frames[-1].inner.append(frame)
            open_frames.append(frame)
        open_frames[-1].inner.append(Frame(trace, step.name, open_frames[-1], step.index, step))
        for frame in open_frames:
            frame.last = max(frame.last, step.index)
    return root


def span(first: int, last: int) -> str:
    """The numbers of some steps: '5', '5–22'."""
    return str(first) if first == last else f"{first}–{last}"


def path_prefixes(path):
    """'a', 'a.b', 'a.b.c' of 'a.b.c'."""
    parts = path.split(".") if path else []
    return [".".join(parts[:k]) for k in range(1, len(parts) + 1)]


def leaves(frame: Frame) -> Iterator[Frame]:
    """The single steps in a frame, in order, without opening any."""
    stack = [frame]
    while stack:
        at = stack.pop()
        if at.step is not None:
            yield at
        else:
            stack.extend(reversed(at.children))


class Cursor:
    """A place in a trace. Every move returns True; where there is nothing to move to, False."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.root = trace, tree(trace)
        self.by_index = list(leaves(self.root))
        self.at: Frame = self.root.children[0] if self.root.children else self.root

    @property
    def index(self) -> int:
        """The number of the step of the trace (not of a definition) where the cursor stands."""
        return next(frame.first for frame in (self.at, *self.at.around) if not frame.inside_a_step)

    def over(self) -> bool:
        """The next frame on this level, or on the nearest one above that has another."""
        return self.move_along(1)

    def back(self) -> bool:
        """The frame before, on this level, or on the nearest one above that has one."""
        return self.move_along(-1)

    def move_along(self, by):
        frame = self.at
        while frame.parent is not None:
            siblings = frame.parent.children
            place = siblings.index(frame) + by
            if 0 <= place < len(siblings):
                self.at = siblings[place]
                return True
            frame = frame.parent
        return False

    def into(self) -> bool:
        """The first frame inside: a module's first step, or that of a fused step's definition."""
        if not self.at.children:
            return False
        self.at = self.at.children[0]
        return True

    def out(self) -> bool:
        if self.at.parent is None:
            return False
        self.at = self.at.parent
        return True

    def goto(self, index: int) -> bool:
        """The step of that number; negative ones count from the end. ValueRangeError if none."""
        if not -len(self.by_index) <= index < len(self.by_index):
            raise ValueRangeError(
                f"there is no step {index}: the trace has steps 0 to {len(self.by_index) - 1}")
        self.at = self.by_index[index]
        return True

    def run(self, accepts: Callable[[TraceStep], object], by: int = 1) -> bool:
        """On (by 1) or back (by -1) to the nearest step that `accepts` says yes to; else stays. At
        a module's frame its first step has not been looked at yet, so going on begins with it."""
        start = self.index + (by if by < 0 or self.at.step is not None else 0)
        for index in range(start, len(self.by_index) if by > 0 else -1, by):
            if accepts(self.trace[index]):
                return self.goto(index)
        return False
