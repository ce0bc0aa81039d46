"""Recording: the forward pass and one backward walk of any code, copied while they happen.

`core.tape` calls `copy_operation` for each operation that is recorded and `begin_walk` when a
backward walk starts. What they gather is linked into a `Trace` (`trace.link_recording`): a graph of
the same kind, whose nodes keep everything.
"""

from __future__ import annotations

import weakref

import numpy as np

from ...core import devices, tape, writes
from ...core.facts import facts_of
from ...core.operation import Fused
from ...core.source import calling_variables
from .nodes import LARGEST, TracedNode


class Keeper:
    """Copies of arrays, each memory once: views of one array become views of one copy.

    The first reason is the bits. A matrix product gives other last bits for a transposed argument
    than for a contiguous one, so a copy must lie in memory as the original did. With plain copies
    in C order the replay of a small GPT fails at a linear in its MLP.
    The second is size. Most values are views of others (q, k and v of one projection, every
    reshape), and each value is the output of one operation and the argument of the next: for a GPT
    of 4 layers this keeps 10 MiB, a copy for each use 35 MiB.
    """

    def __init__(self, largest) -> None:
        self.largest = largest
        self.copies: dict = {}                     # id of an owner -> (weak reference, stamp, copy)

    def keep(self, value):
        """A copy of an array, or its ArrayFacts; anything else as it is."""
        if not hasattr(value, "dtype") or isinstance(value, np.generic):
            return value
        if not isinstance(value, np.ndarray):
            return self.keep(devices.to_numpy(value))
        if value.size > self.largest:
            return facts_of(value)
        root = writes.owner(value)
        # A batch is a small piece of a data set. To copy all of the owner for it would cost the
        # whole data set, so such a piece is copied alone. (A view of memory with gaps likewise:
        # its offsets would not be those of the copy.)
        if root.nbytes > 8 * value.nbytes or not root.flags.forc:
            return value.copy(order="K")
        copied = self.copy_of(root)
        offset = value.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        return np.ndarray(value.shape, value.dtype, copied, offset, value.strides)

    def copy_of(self, root):
        """The copy of a whole array as it is now; a new one if somebody wrote into it since. The
        stamp tells of a write: an optimiser's step between two passes, `x += 1` between two uses.
        The weak reference drops the entry when the array dies, because its id may then be given to
        another array, which would be taken for this one."""
        key, stamp = id(root), writes.stamp(root)
        entry = self.copies.get(key)
        if entry is None or entry[1] != stamp:
            alive = weakref.ref(root, lambda _: self.copies.pop(key, None))
            entry = self.copies[key] = (alive, stamp, root.copy(order="K"))
        return entry[2]


class Recorder:
    """Gathers what happens while it is installed: every operation, and one backward walk. which:
    the number of the walk that is wanted, from 1; None for the last. full: called when that walk is
    complete."""

    def __init__(self, which=None, largest=LARGEST, full=None):
        self.keeper, self.which, self.count, self.full = Keeper(largest), which, 0, full
        self.seen, self.latest = 0, None           # how many operations; the last one's name, line
        self.nodes = weakref.WeakKeyDictionary()   # node of the tape -> TracedNode
        self.paths = weakref.WeakKeyDictionary()   # module -> its path
        self.seeds: list = []
        self.graph = False                         # whether the walk recorded itself (create_graph)
        self.events: list = []                     # (node, g, sent) of the wanted walk
        self.leaves: dict = {}                     # node of a parameter -> its name
        self.variables: dict = {}                  # node of any leaf -> the variable that holds it
        self.title = ""
        self.roots: dict = {}                      # outermost modules; held, since a function may
        #                                            make its model and drop it

    def __enter__(self):
        self.before = tape.state.observer, tape.state.watcher
        tape.state.observer, tape.state.watcher = self.copy_operation, self.begin_walk
        return self

    def __exit__(self, *exc):
        tape.state.observer, tape.state.watcher = self.before
        self.roots = {}

    # ── forward ──────────────────────────────────────────────────────────────────────────────────

    def copy_operation(self, node, arguments, y):
        self.seen, self.latest = self.seen + 1, (node.op.name, node.line)
        copied = self.nodes[node] = TracedNode(node.op, node.options, (), node.wrap,
                                               self.path_of(node.scope))
        copied.line, copied.shape, copied.dtype = node.line, node.shape, node.dtype
        copied.shapes, copied.dtypes = node.shapes, node.dtypes
        copied.values = tuple(self.keeper.keep(a) for a in arguments)
        copied.value = self.keeper.keep(y)
        self.copy_kept(node, copied)
        for parent, value in zip(node.parents, copied.values):
            if parent is not None and parent.op is None:
                self.copy_leaf(parent, value)

    def copy_leaf(self, node, value):
        if node not in self.nodes:
            leaf = self.nodes[node] = TracedNode()
            leaf.shape, leaf.dtype, leaf.value = node.shape, node.dtype, value

    def copy_kept(self, node, copied):
        """Give the copy what the gradient rule reads: the copies made already, where they fit."""
        if isinstance(node.op, Fused):
            copied.kept = copied.values
        elif len(node.kept) == len(copied.values):
            copied.kept = tuple(None if k is None else v for k, v in zip(node.kept, copied.values))
        else:                                      # a user's Function keeps what it likes
            copied.kept = tuple(self.keeper.keep(k) for k in node.kept)
        copied.y = None if node.y is None else copied.value
        copied.saved = node.saved and {name: self.keeper.keep(v) for name, v in node.saved.items()}

    def path_of(self, scope):
        module = scope and scope.module()
        root = scope and scope.root()
        if not module or not root:
            return ""
        if module not in self.paths:
            # `model.generator(y)`, called by itself, makes the part its own outermost module. If
            # the whole model ran before, the part is named as the model names it.
            outer = next((path for other in self.roots
                          if other is not root and (path := path_in(other, root))), "")
            self.paths[module] = ".".join(part for part in (outer, scope.path()) if part)
            self.roots[root] = True
        return self.paths[module]

    # ── backward ─────────────────────────────────────────────────────────────────────────────────

    def begin_walk(self, seeds):
        """A backward walk starts: gather it if it is wanted. Names are taken now. A trace is linked
        later, when the function that made the model may have returned: its variables are gone then,
        and with them what `x` was called. Earlier, at each operation, would mean to look through
        every caller's variables thousands of times."""
        self.count += 1
        if self.which is not None and self.count != self.which:
            return None
        self.seeds, self.events = [(node, gradient_array(g)) for node, g in seeds], []
        self.graph = any(isinstance(g, tape.Box) for _, g in seeds)
        self.leaves, self.variables = self.names_of_leaves(), names_of_variables()
        self.title = ", ".join(sorted({type(root).__name__ for root in self.outermost()}))
        return self.note_visit

    def note_visit(self, node, g, sent):
        """Note what arrived at a node and what it sent; without a node, the walk is complete."""
        if node is not None:
            self.events.append((node, gradient_array(g), [gradient_array(d) for d in sent]))
        elif self.full is not None:
            self.full()

    def outermost(self):
        """The models at work that are no part of another."""
        return [root for root in self.roots
                if not any(path_in(other, root) for other in self.roots if other is not root)]

    def names_of_leaves(self):
        """The parameters' names; the model's class in front where several models are at work."""
        roots = self.outermost()
        prefixes = [f"{type(root).__name__}." if len(roots) > 1 else "" for root in roots]
        return {p.node: prefix + name for root, prefix in zip(roots, prefixes)
                for name, p in root.named_parameters()}


def path_in(outer, module):
    """The dotted name of a module inside another; '' if it is not in it."""
    return next((name for name, m in outer.named_modules() if m is module), "")


def names_of_variables():
    """{node of a leaf: the name by which the code that is running knows it}"""
    return {value.node: name for values in calling_variables() for name, value in values.items()
            if isinstance(value, tape.Box) and value.node is not None and value.node.op is None}


def gradient_array(g):
    """A gradient as a NumPy array: under create_graph it is a Box, on a GPU it is CuPy's."""
    return None if g is None else devices.to_numpy(g.array if isinstance(g, tape.Box) else g)


# ── a graph that was recorded before anybody watched ─────────────────────────────────────────────


def copy_graph(recorder, graph):
    """Copy the nodes of `graph`, oldest first, that the recorder has not seen while they ran.

    They ran before anybody watched, so their values are looked for in what the tape kept: each
    consumer keeps the arguments that its rule reads. What no rule reads is computed again where all
    arguments are there. What cannot be had stays None, and the trace's notes say how many values.
    """
    graph = [node for node in graph if node not in recorder.nodes]
    outputs = kept_outputs(graph)
    for node in graph:
        if node.op is None:
            recorder.copy_leaf(node, recorder.keeper.keep(outputs.get(node)))
            continue
        arguments = tuple(a if a is not None else outputs.get(parent)
                          for a, parent in zip(kept_arguments(node), node.parents))
        if node not in outputs and can_compute(node, arguments):
            with np.errstate(all="ignore"):
                y = node.op.compute(*arguments, **node.options)
            outputs[node] = np.asarray(y, like=arguments[0])
        recorder.copy_operation(node, arguments, outputs.get(node))


def kept_outputs(graph):
    """{node: its output} for the nodes whose output they or a consumer of theirs kept."""
    outputs = {}
    for node in graph:
        if node.y is not None:
            outputs[node] = node.y
        for parent, a in zip(node.parents, kept_arguments(node)):
            if parent is not None and a is not None:
                outputs[parent] = a
    return outputs


def kept_arguments(node):
    """The arguments that the tape kept, None for the others; none at all of a user's Function. A
    Function keeps what it likes, in any number and order; which argument is which is not known."""
    return node.kept if len(node.kept) == len(node.parents) else (None,) * len(node.parents)


def can_compute(node, arguments):
    """Whether all arguments of a node are there, so that its output can be computed. An argument
    that is None, has no dtype and no node was None in the call as well: an option of a fused
    operation, such as a missing bias."""
    return hasattr(node.op, "compute") and all(
        a is not None or (p is None and node.dtypes[i] is None and isinstance(node.op, Fused))
        for i, (a, p) in enumerate(zip(arguments, node.parents)))
