"""Recording: the forward pass and one backward walk of any code, copied while they happen.

`core.tape` calls `see` for each operation that is recorded and `begin` when a backward walk starts. What they gather is
linked into a `Trace` (`debug.making`): a graph of the same kind, whose nodes keep everything.
"""

from __future__ import annotations

import weakref

import numpy as np

from ...core import devices, tape, writes
from ...core.facts import ArrayFacts, facts_of
from ...core.operation import Fused
from ...core.source import calling_variables
from .nodes import LARGEST, TracedNode


class Keeper:
    """Copies of arrays, each memory once: views of one array become views of one copy.

    So a copy lies in memory as the original did, and a gradient rule gives the same bits on it.
    """

    def __init__(self, largest) -> None:
        self.largest = largest
        self.copies: dict = {}                     # id of an owner -> (weak reference to it, its stamp, the copy)

    def keep(self, value):
        """A copy of an array, or its ArrayFacts; anything else as it is."""
        if not hasattr(value, "dtype") or isinstance(value, np.generic):
            return value
        if not isinstance(value, np.ndarray):
            return self.keep(devices.to_numpy(value))
        if value.size > self.largest:
            return facts_of(value)
        root = writes.owner(value)
        if root.nbytes > 8 * value.nbytes or not root.flags.forc:    # a piece of a data set: the rest is not ours to keep
            return value.copy(order="K")
        copied = self.copy_of(root)
        offset = value.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        return np.ndarray(value.shape, value.dtype, copied, offset, value.strides)

    def copy_of(self, root):
        """The copy of a whole array as it is now; made anew if somebody wrote into it since."""
        key, stamp = id(root), writes.stamp(root)
        known = self.copies.get(key)
        if known is None or known[1] != stamp:
            known = (weakref.ref(root, lambda _: self.copies.pop(key, None)), stamp, root.copy(order="K"))
            self.copies[key] = known
        return known[2]


class Recorder:
    """Gathers what happens while it is installed: every operation, and one backward walk.

    which: the number of the walk that is wanted, from 1; None for the last. full: called when that walk is complete.
    """

    def __init__(self, which=None, largest=LARGEST, full=None):
        self.keeper, self.which, self.count, self.full = Keeper(largest), which, 0, full
        self.seen, self.latest = 0, None           # how many operations were recorded; the last one's name and line
        self.nodes = weakref.WeakKeyDictionary()   # node of the tape -> TracedNode
        self.paths = weakref.WeakKeyDictionary()   # module -> its path
        self.seeds: list = []
        self.graph = False                         # whether the walk recorded itself (create_graph)
        self.events: list = []                     # (node, g, sent) of the wanted walk
        self.leaves: dict = {}                     # node of a parameter -> its name
        self.variables: dict = {}                  # node of any leaf -> the variable that holds it
        self.roots, self.title = {}, ""           # outermost modules, held: a function may make its model and drop it

    def see(self, node, arguments, y):
        """Copy an operation that was just recorded."""
        self.seen, self.latest = self.seen + 1, (node.op.name, node.line)
        copied = self.nodes[node] = TracedNode(node.op, node.options, (), node.wrap, self.path_of(node.scope))
        copied.line = node.line
        copied.shape, copied.dtype, copied.shapes, copied.dtypes = node.shape, node.dtype, node.shapes, node.dtypes
        copied.values = tuple(self.keeper.keep(a) for a in arguments)
        copied.value = self.keeper.keep(y)
        self.copy_kept(node, copied)
        for parent, value in zip(node.parents, copied.values):
            if parent is not None and parent.op is None:
                self.see_leaf(parent, value)

    def see_leaf(self, node, value):
        """Copy a leaf, the first time that it is seen."""
        if node not in self.nodes:
            leaf = self.nodes[node] = TracedNode()
            leaf.shape, leaf.dtype, leaf.value = node.shape, node.dtype, value

    def copy_kept(self, node, copied):
        """What the gradient rule reads, taken from what was copied already where it is the same array."""
        if isinstance(node.op, Fused):
            copied.kept = copied.values
        elif len(node.kept) == len(copied.values):
            copied.kept = tuple(None if k is None else v for k, v in zip(node.kept, copied.values))
        else:                                      # a user's Function keeps what it likes
            copied.kept = tuple(self.keeper.keep(k) for k in node.kept)
        copied.y = None if node.y is None else copied.value
        copied.saved = node.saved and {name: self.keeper.keep(v) for name, v in node.saved.items()}

    def path_of(self, scope):
        """The module's path, looked up once for each module."""
        module = scope and scope.module()
        root = scope and scope.root()
        if not module or not root:
            return ""
        if module not in self.paths:
            outer = next((path for other in self.roots if other is not root and (path := path_in(other, root))), "")
            self.paths[module] = ".".join(part for part in (outer, scope.path()) if part)
            self.roots[root] = True
        return self.paths[module]

    def begin(self, seeds):
        """A backward walk starts: gather it if it is wanted."""
        self.count += 1
        if self.which is not None and self.count != self.which:
            return None
        self.seeds, self.events = [(node, plain(g)) for node, g in seeds], []
        self.graph = any(isinstance(g, tape.Box) for _, g in seeds)
        self.leaves, self.variables = self.names_of_leaves(), variables()    # now: they may be gone when the trace is linked
        self.title = ", ".join(sorted({type(root).__name__ for root in self.outermost()}))
        return self.gather

    def gather(self, node, g, sent):
        """Note what arrived at a node and what it sent; without a node, that the walk is complete."""
        if node is not None:
            self.events.append((node, plain(g), [plain(d) for d in sent]))
        elif self.full is not None:
            self.full()

    def outermost(self):
        """The models at work that are no part of another."""
        return [root for root in self.roots if not any(path_in(other, root) for other in self.roots if other is not root)]

    def names_of_leaves(self):
        """The parameters' names, with the model's class in front where several models are at work."""
        roots = self.outermost()
        prefixes = [f"{type(root).__name__}." if len(roots) > 1 else "" for root in roots]
        return {p.node: prefix + name for root, prefix in zip(roots, prefixes) for name, p in root.named_parameters()}

    def __enter__(self):
        self.before = tape.state.observer, tape.state.watcher
        tape.state.observer, tape.state.watcher = self.see, self.begin
        return self

    def __exit__(self, *exc):
        tape.state.observer, tape.state.watcher = self.before
        self.roots = {}


def variables():
    """The names by which the code that is running knows its leaves."""
    return {value.node: name for values in calling_variables() for name, value in values.items()
            if isinstance(value, tape.Box) and value.node is not None and value.node.op is None}


def path_in(outer, module):
    """The dotted name of a module inside another; '' if it is not in it."""
    return next((name for name, m in outer.named_modules() if m is module), "")


def plain(g):
    """A gradient as a NumPy array, whatever it came in."""
    return None if g is None else devices.to_numpy(g.array if isinstance(g, tape.Box) else g)


# ── a graph that was recorded before anybody watched ─────────────────────────────────────────────────────────────────


def see_again(recorder, graph):
    """Copy the nodes of `graph`, oldest first, with what the tape kept; what it did not keep is computed again."""
    kept = {}                                      # node -> its output, where a consumer or itself kept it
    for node in graph:
        if node.op is not None:
            if node.y is not None:
                kept[node] = node.y
            if len(node.kept) == len(node.parents):
                kept.update((p, a) for p, a in zip(node.parents, node.kept) if p is not None and a is not None)
    for node in graph:
        if node.op is None:
            recorder.see_leaf(node, recorder.keeper.keep(kept.get(node)))
            continue
        whole = node.kept if len(node.kept) == len(node.parents) else (None,) * len(node.parents)
        arguments = tuple(a if a is not None else kept.get(p) for a, p in zip(whole, node.parents))
        if node not in kept and known(node, arguments):
            with np.errstate(all="ignore"):
                kept[node] = np.asarray(node.op.compute(*arguments, **node.options), like=arguments[0])
        recorder.see(node, arguments, kept.get(node))


def known(node, arguments):
    """Whether all arguments of a node are there, so that its output can be computed."""
    return hasattr(node.op, "compute") and all(
        a is not None or (p is None and node.dtypes[i] is None and isinstance(node.op, Fused))
        for i, (a, p) in enumerate(zip(arguments, node.parents)))


# ── names and notes ──────────────────────────────────────────────────────────────────────────────────────────────────


def plain_name(node):
    """Module path and operation; of a leaf, that it is one."""
    return ".".join(part for part in (node.where, node.op.name) if part) if node.op else "leaf"


def unique(name, taken):
    """The name, with a number from the second time on."""
    taken[name] += 1
    return name if taken[name] == 1 else f"{name}#{taken[name]}"


def notes_on(nodes):
    """What is missing from the trace, in words."""
    large = [node for node in nodes if isinstance(node.value, ArrayFacts)]
    lost = [node for node in nodes if node.value is None]
    return ([f"{len(large)} arrays were too large to keep and are summarised, {large[0].name} {large[0].shape} first"]
            if large else []) + (
        [f"{len(lost)} values were not kept by the tape ({lost[0].name} first): record the forward pass too, with "
         "npf.debug.recording() or npf.debug.trace(function)"] if lost else [])
