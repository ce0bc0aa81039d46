"""The tape: operations, the nodes that record them, and the one backward walk.

Reading order: `Box` is what a user holds, `Node` is what an operation leaves behind, `Operation` is a formula with its
gradient rule, `backprop` walks the nodes backwards and yields one `Step` for each.

A Box knows its Node; a Node knows the nodes it came from; nothing points the other way. So a graph is freed by
reference count alone, as soon as nobody holds its last Box.
"""

import heapq
import itertools
import threading
from functools import partial
from inspect import Parameter, signature

import numpy as np

from . import arrays
from .errors import DeviceError, DTypeError, GraphError, NpformerError, ShapeError, complaint
from .source import calling_line


class State(threading.local):
    """What a thread is doing: whether it records, and inside which module's forward (a chain of weak references)."""

    grad_enabled = True
    scope = None


state = State()
_order = itertools.count()                         # a node made later has a higher number: numbers sort the graph


class Box:
    """An array and the node that says where it came from. Tensor adds the operators and methods."""

    def __init__(self, array, node=None):
        self.array = array
        self.node = node

    @classmethod
    def wrap(cls, array, node=None):
        """The Box that an operation on Boxes of this class returns."""
        return cls(array, node)

    def track(self):
        """Make this Box a leaf: gradients that reach it are added up in its node."""
        self.node = Node(None, {}, (), self.wrap)
        self.node.shape, self.node.dtype = self.array.shape, self.array.dtype


class Node:
    """One recorded operation, or (op None) a leaf.

    parents: for each array argument the node it came from, or None. shapes and dtypes: of the arguments. kept: the
    arguments whose values the gradient rule reads, None for the others; y: the output, if the rule reads it. saved:
    what a fused forward left for its backward, by name. stamps: of kept and y, to notice a write in between.
    """

    __slots__ = ("order", "op", "options", "parents", "wrap", "shapes", "dtypes", "kept", "y", "stamps", "saved",
                 "shape", "dtype", "scope", "line", "freed", "grad", "hooks", "retains_grad", "__weakref__")

    def __init__(self, op, options, parents, wrap):
        self.order = next(_order)
        self.op, self.options, self.parents, self.wrap = op, options, parents, wrap
        self.kept = self.shapes = self.dtypes = ()
        self.y = self.stamps = self.saved = self.scope = self.line = self.grad = self.hooks = None
        self.freed = self.retains_grad = False

    def free(self):
        """Let go of arrays and parents. What remains can say that it was freed."""
        self.parents, self.kept, self.y, self.saved, self.freed = (), (), None, None, True

    def check_unchanged(self):
        """Raise GraphError if an array that the gradient rule reads was written into since the forward pass."""
        values = (*self.kept, self.y)
        for i, before in self.stamps:
            if arrays.changed_since(values[i], before):
                name = self.op.name_of(i) if i < len(self.kept) else "y, its output,"
                raise GraphError(
                    f"{self.op.name}: the backward pass needs {name} as it was in the forward pass, but it was changed "
                    f"in place meanwhile.\n  {name} {arrays.np.dtype(values[i].dtype)} {values[i].shape}, recorded at "
                    f"{self.line_text()}\n  Change a copy (x.clone()), or call backward() before the change.")

    def line_text(self):
        return f"{self.line[0]}:{self.line[1]}" if self.line else "an unknown line"


# ── operations ───────────────────────────────────────────────────────────────────────────────────────────────────────

REGISTRY = {}                                      # every operation by name: tests, docs and the debugger read it


class Operation:
    """A formula and how gradients pass through it. Call it with Boxes to record it, with arrays to compute it."""

    promotes = None                                # None: dtypes as they come; "common", "float": see arrays.promote

    def __init__(self, function, promotes=None):
        self.name = function.__name__.rstrip("_")
        self.function = function
        self.compute = function                    # from arrays to the output array
        self.promotes = promotes
        self.__doc__, self.__name__, self.__wrapped__ = function.__doc__, function.__name__, function
        self.__module__ = function.__module__
        parameters = signature(function).parameters.values()
        self.variadic = next((p.name for p in parameters if p.kind is Parameter.VAR_POSITIONAL), None)
        self.names = tuple(p.name for p in parameters if p.kind is Parameter.POSITIONAL_OR_KEYWORD)
        self.defaults = {p.name: p.default for p in parameters
                         if p.kind is Parameter.KEYWORD_ONLY and p.default is not Parameter.empty}
        self.examples = []
        REGISTRY[self.name] = self

    def __repr__(self):
        return f"<{type(self).__name__.lower()} {self.name}>"

    def __call__(self, *args, **options):
        for a in args:
            if isinstance(a, Box):
                return record(self, args, options)
        return self.compute(*args, **options)

    def name_of(self, i):
        """The name of array argument `i`; those of a variadic operation are numbered."""
        return f"{self.variadic}[{i}]" if self.variadic else self.names[i]

    def samples(self, *args, **options):
        """Note an example for the laws: shapes, or functions of a random generator, for arrays; options as they are."""
        self.examples.append((args, options))

    @property
    def formula(self):
        """The first sentence of the docstring: what the operation computes."""
        return self.__doc__.split("    d", 1)[0].splitlines()[0].strip()

    def fail(self, error, args):
        """Raise `error`, which an array library raised in the depths, in the words of this operation."""
        operands = {self.name_of(i): a for i, a in enumerate(args)}
        call = f"{self.name}({', '.join(operands)})"
        devices = {arrays.device_of(a) for a in args if hasattr(a, "dtype") and a.ndim}
        if len(devices) > 1:
            where = ", ".join(f"{n} on {arrays.device_of(a)}" for n, a in operands.items() if hasattr(a, "dtype"))
            raise DeviceError(complaint(call, f"the arrays must live on one device: {where}", operands,
                                        "Move one with .to('cuda') or .cpu().")) from error
        kind = (DTypeError if isinstance(error, TypeError) else ShapeError)
        raise kind(complaint(call, f"{error}", operands, self.shapes_line())) from error

    def shapes_line(self):
        """The docstring's line of shapes, as a remedy."""
        lines = [line.strip() for line in self.__doc__.splitlines()]
        return next((f"It takes {line}" for line in lines if "->" in line), "")


class Primitive(Operation):
    """An operation with a gradient rule for each array argument, which works on arrays and on Boxes alike."""

    def __init__(self, function, promotes=None):
        super().__init__(function, promotes)
        self.rules = {}
        self._plans = {}

    def vjps(self, **rules):
        """Set the gradient rules, by argument name; `None` says that the argument is not differentiable.

        A rule names what it reads, out of: `g` (the gradient that arrives), `y` (the output), the arguments, their
        shapes as `<name>_shape`, and the options. Only values that a rule reads are kept for the backward pass. The
        rule of a variadic operation gets `i`, the number of the argument, as well, and `shapes` or `arrays` of them all.
        """
        wanted = {self.variadic} if self.variadic else set(self.names)
        if set(rules) != wanted:
            raise GraphError(f"{self.name}: rules for {sorted(rules)}, but its array arguments are {sorted(wanted)}")
        self.rules = rules
        self._readers = {name: self._reader(rule) for name, rule in rules.items() if rule is not None}

    def _reader(self, rule):
        """How to fetch what `rule` names, from (i, g, node) with the kept values possibly wrapped."""
        sources = {"g": lambda i, g, node, kept, y: g, "y": lambda i, g, node, kept, y: y,
                   "i": lambda i, g, node, kept, y: i, "shapes": lambda i, g, node, kept, y: node.shapes}
        for position, name in enumerate(self.names):
            sources[name] = lambda i, g, node, kept, y, p=position: kept[p]
            sources[name + "_shape"] = lambda i, g, node, kept, y, p=position: node.shapes[p]
        if self.variadic:
            sources["arrays"] = lambda i, g, node, kept, y: kept
        read = list(signature(rule).parameters)
        for name in read:
            if name not in sources:
                if name not in signature(self.function).parameters:
                    raise GraphError(f"{self.name}: a rule reads {name!r}, which is no argument or option")
                default = self.defaults.get(name)
                sources[name] = lambda i, g, node, kept, y, n=name, d=default: node.options.get(n, d)
        fetch = [sources[name] for name in read]
        return set(read), lambda *context: rule(*[f(*context) for f in fetch])

    def plan(self, wanted, count):
        """Which arguments to keep (a tuple of bools), and whether to keep y, when `wanted` arguments get gradients."""
        if wanted not in self._plans:
            if self.variadic:
                read = self._readers[self.variadic][0]
                kept = ("arrays" in read,) * count
            else:
                read = set().union(*(self._readers[self.names[i]][0] for i in wanted))
                kept = tuple(name in read for name in self.names[:count])
            self._plans[wanted] = (kept, "y" in read)
        return self._plans[wanted]

    def differentiable(self, i):
        """Whether argument `i` has a gradient rule."""
        return self.rules.get(self.variadic or self.names[i]) is not None

    def keep(self, node, args, y, wanted):
        """Store in `node` what the rules of the `wanted` arguments will read."""
        kept, keep_y = self.plan(wanted if not self.variadic else (len(args),), len(args))
        node.kept = tuple([a if k else None for a, k in zip(args, kept)])
        node.y = y if keep_y else None

    def gradients(self, node, g):
        """The gradient of each argument that needs one, as arrays: a list with None for the others."""
        return self._apply(node, g, node.kept, node.y)

    def gradient_graph(self, node, g):
        """The same as Boxes, recorded, so that they can be differentiated again."""
        kept = tuple([a if p is None or a is None else node.wrap(a, p) for a, p in zip(node.kept, node.parents)])
        return self._apply(node, g, kept, None if node.y is None else node.wrap(node.y, node))

    def _apply(self, node, g, kept, y):
        return [None if parent is None else self._readers[self.variadic or self.names[i]][1](i, g, node, kept, y)
                for i, parent in enumerate(node.parents)]


class Fused(Operation):
    """An operation that *is* its definition in primitives; a fast forward and a hand-derived backward hang on it.

    The backward gets by name what the forward saved. Its node keeps the arguments too (mostly the same arrays), so that
    `create_graph` can walk the definition.
    """

    def __init__(self, function, promotes=None):
        super().__init__(function, promotes)
        self.definition = function
        self.fast_forward = self.fast_backward = None
        self.fixed = frozenset()                   # arguments that get no gradient

    def constant(self, *names):
        """Say which array arguments are not differentiable (indices, masks)."""
        self.fixed = frozenset(names)

    def forward(self, function):
        """Decorate the fast forward: it returns y and a dict of what the backward needs, by name."""
        self.fast_forward = function
        self.compute = lambda *args, **options: function(*args, **options)[0]
        return function

    def backward(self, function):
        """Decorate the hand-derived backward: (g, *, what was saved) -> a gradient for each array argument.

        If it takes `needs` as well, it gets a bool for each argument and may answer None where that is False.
        """
        self.fast_backward = function
        self.partial = "needs" in signature(function).parameters
        return function

    def differentiable(self, i):
        return self.names[i] not in self.fixed

    def keep(self, node, args, y, wanted):
        node.kept = args

    def gradients(self, node, g):
        if self.partial:
            return self.fast_backward(g, needs=[p is not None for p in node.parents], **node.saved)
        return self.fast_backward(g, **node.saved)

    def gradient_graph(self, node, g):
        inputs = [a if p is None else identity(node.wrap(a, p)) for a, p in zip(node.kept, node.parents)]
        y = self.definition(*inputs, **node.options)
        boxes = [x for x, p in zip(inputs, node.parents) if p is not None]
        found = collect(y, g, boxes, create_graph=True)
        return [None if p is None else found.pop(0) for p in node.parents]


def primitive(function=None, *, promotes=None):
    """Make a function of arrays an operation; its rules follow with `.vjps(...)`."""
    return Primitive(function, promotes) if function else partial(Primitive, promotes=promotes)


def fused(function=None, *, promotes=None):
    """Make a definition in primitives an operation; `@op.forward` and `@op.backward` follow."""
    return Fused(function, promotes) if function else partial(Fused, promotes=promotes)


# ── forward: recording ───────────────────────────────────────────────────────────────────────────────────────────────


def record(op, args, options):
    """Run `op` on the arrays inside `args`; leave a node behind if a gradient can ever be asked for."""
    box, parents, wanted = None, [], []
    values = list(args)
    for i, a in enumerate(args):
        if isinstance(a, Box):
            values[i] = a.array
            parents.append(a.node)
            if a.node is not None and op.differentiable(i):
                wanted.append(i)
            box = box or a
        else:
            parents.append(None)
            if isinstance(a, np.generic):
                values[i] = a.item()               # a NumPy number counts as a Python number: it promotes nothing
    if op.promotes:
        values = arrays.promote(values, op.promotes == "float")
    if not (wanted and state.grad_enabled):
        return box.wrap(as_array(run(op, op.compute, values, options), box.array))
    saved = None
    if isinstance(op, Fused):
        y, saved = run(op, op.fast_forward, values, options)
    else:
        y = run(op, op.compute, values, options)
    y = as_array(y, box.array)
    if len(wanted) < len(parents):
        parents = [p if i in wanted else None for i, p in enumerate(parents)]
    node = Node(op, options, tuple(parents), box.wrap)
    node.saved, node.shape, node.dtype = saved, y.shape, y.dtype
    node.shapes = tuple([getattr(v, "shape", ()) for v in values])
    node.dtypes = tuple([getattr(a, "dtype", None) for a in args])
    op.keep(node, tuple(values), y, tuple(wanted))
    node.stamps = [(i, arrays.stamp(a)) for i, a in enumerate((*node.kept, node.y)) if hasattr(a, "dtype")]
    node.scope, node.line = state.scope, calling_line()
    return box.wrap(y, node)


def run(op, function, values, options):
    """Call an operation's forward; what goes wrong in the depths is said in the operation's words."""
    try:
        return function(*values, **options)
    except NpformerError:
        raise
    except (ValueError, TypeError, IndexError, RuntimeError, AttributeError) as error:
        op.fail(error, values)


def as_array(y, like):
    """NumPy's reductions give numbers; a Box always holds an array."""
    return y if type(y) is type(like) else np.asarray(y, like=like)


@primitive
def identity(x):
    """x.    dx = g"""
    return x


identity.vjps(x=lambda g: g)
identity.samples((2, 3))


# ── backward: the walk ───────────────────────────────────────────────────────────────────────────────────────────────


class Step:
    """One operation of a backward pass, as `backprop` yields it: what arrived, the rule, what was sent on.

    `upstream` is dL/d(output); `gradients` has dL/d(input) by argument name. `inputs` and `output` are there where
    the gradient rule reads their values, else None: memory is part of the design. `saved` is what the forward pass
    left for the backward pass, by name.
    """

    __slots__ = ("node", "kept", "output", "saved", "upstream", "sent", "parents")

    def __init__(self, node, upstream, sent):
        self.node, self.upstream, self.sent = node, upstream, sent
        self.kept, self.output, self.saved, self.parents = node.kept, node.y, node.saved, node.parents

    @property
    def op(self):
        """The operation's name: 'softmax'."""
        return self.node.op.name

    @property
    def formula(self):
        """What the operation computes."""
        return self.node.op.formula

    @property
    def options(self):
        """The options of the call: `{'dim': -1}`."""
        return self.node.options

    @property
    def inputs(self):
        """The arguments by name, where their values were kept."""
        return {self.node.op.name_of(i): a for i, a in enumerate(self.kept)}

    @property
    def gradients(self):
        """dL/d(input) for each input that needs it, by argument name."""
        return {self.node.op.name_of(i): d for i, d in enumerate(self.sent) if d is not None}

    @property
    def where(self):
        """The path of the module whose forward ran it: 'blocks.0.attention'; '' outside any module."""
        return self.node.scope.path() if self.node.scope else ""

    @property
    def source(self):
        """The user's line of code that made it: (file, line number)."""
        return self.node.line

    def jacobian(self, argument):
        """d(output)/d(argument) of this step alone, of shape output.shape + input.shape; `argument`: number or name."""
        node = self.node
        i = argument if isinstance(argument, int) else list(self.inputs).index(argument)
        if self.parents[i] is None:
            raise GraphError(f"{self.op}: no gradient flows to {node.op.name_of(i)}, so it has no Jacobian here")
        view = Node(node.op, node.options, self.parents, node.wrap)
        view.kept, view.y, view.saved, view.shapes = self.kept, self.output, self.saved, node.shapes
        one_hot = np.zeros_like(self.upstream, shape=(self.upstream.size,))
        rows = []
        for k in range(one_hot.size):
            one_hot[k] = 1
            rows.append(np.array(node.op.gradients(view, one_hot.reshape(node.shape))[i]))
            one_hot[k] = 0
        return np.stack(rows).reshape(node.shape + node.shapes[i])

    def __repr__(self):
        sent = ", ".join(f"d{name} {d.shape}" for name, d in self.gradients.items())
        return f"Step({self.op} at {self.where or 'top level'}: g {self.node.shape} -> {sent})"


def backprop(output, grad=None, *, retain_graph=None, create_graph=False):
    """Walk back from `output`, last operation first, yielding a `Step` for each; gradients add up in the leaves' `.grad`.

    output: a Tensor, or several. grad: dL/d(output), 1 for a scalar output. retain_graph: keep the graph for another
    walk (default: as create_graph). create_graph: record the walk itself, so that gradients can be differentiated.

    Raises GraphError where no gradient can flow, or where the graph was freed by an earlier walk.
    """
    seeds = _seeds(output, grad, create_graph)
    yield from walk(seeds, retain_graph=create_graph if retain_graph is None else retain_graph,
                    create_graph=create_graph)


def collect(output, grad, inputs, *, retain_graph=True, create_graph=False):
    """The gradients of `output` with respect to `inputs` (Boxes), as a list, None where no path leads; no leaf is touched."""
    found = {x.node: None for x in inputs}
    for _ in walk(_seeds(output, grad, create_graph), found, retain_graph=retain_graph, create_graph=create_graph):
        pass
    return [found[x.node] for x in inputs]


def walk(seeds, found=None, *, retain_graph, create_graph):
    """The backward walk. seeds: (node, gradient) pairs. found: if given, a dict of nodes that are to be filled with
    gradients; only what lies on the way to them is walked, and no leaf is touched."""
    pending, heap = {}, []
    on_the_way = None if found is None else leading_to([node for node, _ in seeds], found)

    def deliver(node, gradient):
        if node in pending:
            pending[node] = pending[node] + gradient      # never in place: the arrays may be somebody else's too
        else:
            pending[node] = gradient
            heapq.heappush(heap, (-node.order, node))      # the latest operation comes first

    for node, gradient in seeds:
        deliver(node, gradient)
    while heap:
        node = heapq.heappop(heap)[1]
        g = pending.pop(node)                      # all its consumers came later, so they are done: g is final
        if node.hooks:
            for hook in list(node.hooks.values()):
                g = hook(g)
        if found is not None and node in found:
            found[node] = g
        if found is None and (node.op is None or node.retains_grad):
            accumulate(node, g)
        if node.op is None or (found is not None and not on_the_way[node]):
            continue
        if node.freed:
            raise GraphError(
                f"{node.op.name}: this graph was freed by an earlier backward pass (recorded at {node.line_text()}).\n"
                "  Call the first backward with retain_graph=True, or run the forward pass again.")
        node.check_unchanged()
        sent = node.op.gradient_graph(node, g) if create_graph else node.op.gradients(node, g)
        sent = [d if p is None else fitted(node, i, d) for i, (p, d) in enumerate(zip(node.parents, sent))]
        for parent, d in zip(node.parents, sent):
            if parent is not None and d is not None and (found is None or parent in on_the_way):
                deliver(parent, d)
        step = Step(node, g, sent)
        if not retain_graph:
            node.free()
        yield step


def fitted(node, i, d):
    """The gradient of argument `i` in the argument's dtype; an error if a rule made it another shape."""
    if d is None:
        return None
    if d.shape != node.shapes[i]:
        raise GraphError(f"{node.op.name}: its backward gave {node.op.name_of(i)} a gradient of shape {d.shape}, "
                         f"but {node.op.name_of(i)} has shape {node.shapes[i]}")
    dtype = node.dtypes[i]
    return d if d.dtype == dtype or dtype is None else d.astype(dtype)


def accumulate(node, g):
    """Add `g` to the gradient that a leaf has, as an array of its own: nobody else's gradient is that array."""
    if isinstance(g, Box):
        node.grad = g if node.grad is None else node.grad + g
    elif node.grad is None:
        node.grad = node.wrap(g.copy())
    else:
        node.grad = node.wrap(node.grad.array + g)


def leading_to(nodes, targets):
    """Which of the nodes behind `nodes` lead to `targets`: a dict of those on the way; True where one goes on below."""
    reached, stack = set(nodes), list(nodes)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in reached:
                reached.add(parent)
                stack.append(parent)
    way = {}
    for node in sorted(reached, key=lambda n: n.order):
        below = any(parent in way for parent in node.parents)
        if below or node in targets or node.freed:
            way[node] = below or node.freed
    return way


def _seeds(output, grad, create_graph):
    outputs = list(output) if isinstance(output, (list, tuple)) else [output]
    grads = list(grad) if isinstance(grad, (list, tuple)) else [grad] * len(outputs) if grad is None else [grad]
    if len(grads) != len(outputs):
        raise GraphError(f"backprop: {len(outputs)} outputs but {len(grads)} gradients; give one for each")
    seeds = []
    for y, g in zip(outputs, grads):
        if y.node is None:
            raise GraphError("backprop: this tensor has no graph behind it: nothing that led to it has requires_grad=True, "
                             "or it was made under no_grad() or by detach().")
        if g is None:
            if y.array.size != 1:
                raise GraphError(f"backprop: the output has shape {y.array.shape}, not one number.\n"
                                 "  Reduce it (loss.mean()), or give the gradient that arrives: backward(g), "
                                 "g of the same shape.")
            g = np.ones_like(y.array)
        values = g.array if isinstance(g, Box) else np.asarray(g, dtype=y.array.dtype, like=y.array)
        if values.shape != y.array.shape:
            raise ShapeError(complaint("backprop(output, grad)", "grad must have the shape of output",
                                       {"output": y.array, "grad": values}))
        if arrays.device_of(values) != arrays.device_of(y.array):
            raise DeviceError(f"backprop: output is on {arrays.device_of(y.array)}, its gradient on "
                              f"{arrays.device_of(values)}")
        values = values.astype(y.array.dtype, copy=False)
        seeds.append((y.node, (g if isinstance(g, Box) else y.wrap(values)) if create_graph else values))
    return seeds
