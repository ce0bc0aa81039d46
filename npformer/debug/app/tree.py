"""The tree of modules and steps at the left of the terminal app, filled where it is opened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.style import Style
from rich.text import Text
from textual.message import Message
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from ...core import facts
from ...core.errors import NpformerError
from ..views import pictures
from ..views.frames import Frame
from .heat import palette

FLOOR = 1e3                                        # the lowest block is so far below the largest
MANY = 100                                         # frames in one place; more are put into groups


class ModuleTree(Tree, can_focus=False):
    """Model, modules, operations and primitives. A block before each name stands for the gradient
    that arrives there. Lines are made when the line above is opened: a definition is a trace of its
    own, which takes time to make, and a pass may have tens of thousands of steps. Where more than
    MANY frames stand in one place they are put into groups, which hold their frames as `data`."""

    @dataclass
    class Chosen(Message):
        """Somebody clicked on a frame."""

        frame: Frame

    def __init__(self, root: Frame) -> None:
        super().__init__(root.trace.title or "graph", data=[root])
        self.auto_expand, self.guide_depth = False, 2
        self.places = {id(root): self.root}        # id of a frame -> its line, or its group's
        self.frame_of = {self.root: root}          # and back; a group's line is not in it
        self.blocks: dict[int, str] = {}           # id of a trace -> the block of each of its steps

    def on_mount(self) -> None:
        self.fill(self.root)
        self.root.expand()

    def fill(self, node: TreeNode) -> None:
        """The lines below a line, the first time that it is opened."""
        if node.children or not node.allow_expand:
            return
        frame = self.frame_of.get(node)
        self.add_lines(node, frame.children if frame is not None else node.data)

    def add_lines(self, node, frames):
        """A line for each of `frames`, or, if they are many, for groups of them."""
        size = MANY                                # of a group, so that there are at most MANY
        while len(frames) > size * MANY:
            size *= MANY
        if len(frames) > MANY:
            for k in range(0, len(frames), size):
                group = frames[k:k + size]
                line = node.add(f"steps {group[0].first}–{group[-1].last}", data=group)
                self.places.update((id(frame), line) for frame in group)
            return
        for frame in frames:
            opens = frame.opens or frame.step is None
            line = node.add(frame.label, data=[frame], allow_expand=opens)
            self.places[id(frame)], self.frame_of[line] = line, frame

    def line_of(self, frame: Frame) -> TreeNode:
        """The line of a frame; those above it are opened."""
        if id(frame) not in self.places and frame.parent is not None:
            above = self.line_of(frame.parent)
            self.fill(above)
            above.expand()
        line = self.places[id(frame)]
        while self.frame_of.get(line) is not frame:
            self.fill(line)                        # a group: its lines now know the frame better
            line.expand()
            line = self.places[id(frame)]
        return line

    def stand_at(self, frame: Frame) -> None:
        """Mark a frame's line and bring it into view."""
        line = self.line_of(frame)
        above = line.parent
        while above is not None:
            above.expand()
            above = above.parent
        if self.last_line >= 0:                    # asking numbers the lines that were just opened
            self.move_cursor(line)

    # ── what it looks like, and the mouse ────────────────────────────────────────────────────────

    def block(self, frame: Frame) -> str:
        """The norm of the gradient that arrives at a frame, beside all others of its trace."""
        trace = frame.trace
        if id(trace) not in self.blocks:
            norms = np.array([facts.norm(step.upstream) or 0.0 for step in trace])
            floor = np.max(norms[np.isfinite(norms)], initial=0) / FLOOR
            # On a logarithmic scale one gradient of 1e-17, which is rounding, would press all the
            # others into the top two blocks.
            raised = np.where(norms > 0, np.maximum(norms, floor), norms)
            self.blocks[id(trace)] = pictures.sparkline([*raised])
        return self.blocks[id(trace)][frame.first] if len(trace) else " "

    def render_label(self, node: TreeNode, base_style: Style, style: Style) -> Text:
        frame = self.frame_of.get(node)
        label = Text("" if node.allow_expand else "  ", base_style, no_wrap=True)
        if node.allow_expand:
            toggle = base_style + Style(meta={"toggle": True})
            label.append("▾ " if node.is_expanded else "▸ ", toggle)
        if frame is not None and frame.parent is not None:
            blue = Style(color="rgb({},{},{})".format(*palette(self).negative))
            label.append(f"{self.block(frame)} ", base_style + blue)
        # The end of a name tells siblings apart, so a long one is cut at its beginning.
        name = str(node.label)
        room = max(self.size.width - 2 - len(label) - 2 * depth(node), 4)
        label.append(name if len(name) <= room else "…" + name[1 - room:], style)
        return label

    def on_resize(self) -> None:
        for line in self.frame_of:
            line.refresh()                         # names are cut to the width

    def on_tree_node_expanded(self, event: Tree.NodeExpanded) -> None:
        event.stop()
        try:
            self.fill(event.node)
        except NpformerError as error:
            event.node.collapse()
            self.notify(str(error), severity="error", markup=False)

    def on_tree_node_selected(self, event: Tree.NodeSelected) -> None:
        event.stop()
        frame = self.frame_of.get(event.node)
        if frame is None:
            event.node.toggle()
        else:
            self.post_message(self.Chosen(frame))


def depth(node: TreeNode) -> int:
    count = 0
    while node.parent is not None:
        node, count = node.parent, count + 1
    return count
