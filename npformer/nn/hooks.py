"""What a module calls around its forward: hooks before it, after it, and on the gradients that
pass it backwards."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from ..core.errors import ShapeError
from ..core.operation import identity
from ..core.tape import state
from ..ops.shape import cast, cat, narrow, reshape
from ..tensors import Tensor
from ..tracked import HookHandle

if TYPE_CHECKING:
    from collections.abc import Callable


class Hooks:
    """The hooks of one module, in the order in which they run.

    Each is kept as (function, with_kwargs).
    """

    def __init__(self):
        self.before_forward, self.after_forward = OrderedDict(), OrderedDict()
        self.before_backward, self.after_backward = OrderedDict(), OrderedDict()


def add(hooks, function: Callable, prepend: bool, with_kwargs: bool = False) -> HookHandle:
    """Put `function` last, or first, among `hooks`; returns the handle that removes it."""
    handle = HookHandle(hooks)
    hooks[handle.key] = (function, with_kwargs)
    if prepend:
        hooks.move_to_end(handle.key, last=False)
    return handle


def call(module, hooks, args, kwargs):
    """module.forward between its hooks, in PyTorch's order."""
    for hook, with_kwargs in list(hooks.before_forward.values()):
        changed = hook(module, args, kwargs) if with_kwargs else hook(module, args)
        if changed is None:
            continue
        if not with_kwargs:
            args = as_tuple(changed)
        elif isinstance(changed, tuple) and len(changed) == 2:
            args, kwargs = changed
        else:
            raise ShapeError("a forward pre-hook with kwargs must return None or (args, kwargs), "
                             f"got {type(changed).__name__}")
    watch = state.grad_enabled and (hooks.before_backward or hooks.after_backward)
    gates = Gates(module, hooks, args) if watch else None
    result = module.forward(*(gates.args if gates else args), **kwargs)
    for hook, with_kwargs in list(hooks.after_forward.values()):
        changed = hook(module, args, kwargs, result) if with_kwargs else hook(module, args, result)
        result = result if changed is None else changed
    return gates.leave(result) if gates else result


def as_tuple(x):
    """x, in a tuple unless it is one."""
    return x if isinstance(x, tuple) else (x,)


# ── gradients ─────────────────────────────────────────────────────────────────────────────────────


class Gates:
    """Two gates in the graph, around a module's inputs and its outputs, where its backward hooks
    see the gradients.

    Where several tensors pass a gate together, one that gets no gradient shows zeros.
    """

    def __init__(self, module, hooks, args):
        self.module, self.hooks, self.count = module, hooks, len(args)
        self.grad_output = None
        self.watched = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
        self.args = replace_items(args, self.watched,
                                  gradient_gate([args[i] for i in self.watched],
                                                self.inputs_arrived))

    def leave(self, result):
        """The module's result, past the second gate."""
        results = as_tuple(result)
        watched = [i for i, r in enumerate(results) if isinstance(r, Tensor) and r.requires_grad]

        def outputs_arrived(grads):
            grad_output = replace_items((None,) * len(results), watched, grads)
            for hook, _ in list(self.hooks.before_backward.values()):
                grad_output = self.answer(hook(self.module, grad_output), grad_output,
                                          "full backward pre-hook")
            self.grad_output = grad_output
            if not self.watched:
                self.inputs_arrived([])
            return [grad_output[i] for i in watched]

        passed = replace_items(results, watched,
                               gradient_gate([results[i] for i in watched], outputs_arrived))
        return passed if isinstance(result, tuple) else passed[0]

    def inputs_arrived(self, grads):
        """Call the backward hooks; returns the gradients as they leave them."""
        grad_input = replace_items((None,) * self.count, self.watched, grads)
        if self.grad_output is None:  # the gradient came by another way than through the outputs
            return grads
        for hook, _ in list(self.hooks.after_backward.values()):
            grad_input = self.answer(hook(self.module, grad_input, self.grad_output), grad_input,
                                     "full backward hook")
        return [grad_input[i] for i in self.watched]

    def answer(self, changed, grads, kind):
        """What a hook returned, in place of `grads` unless it is None."""
        if changed is None:
            return grads
        changed = as_tuple(changed)
        if len(changed) != len(grads):
            raise ShapeError(
                f"{type(self.module).__name__}: a {kind} must return None or as many gradients as "
                f"it got: {len(grads)}, not {len(changed)}")
        return tuple(g if c is None else c for c, g in zip(changed, grads))


def replace_items(items, places, new):
    """A tuple of `items`, with `new` at `places`."""
    items = list(items)
    for place, item in zip(places, new):
        items[place] = item
    return tuple(items)


def gradient_gate(tensors, on_gradients):
    """The same tensors, past a point where `on_gradients` gets all their gradients at once and may
    replace them."""
    if not tensors:
        return []
    if len(tensors) == 1:
        inner = identity(tensors[0])  # one step further in: hooks on the tensor itself come first
        inner.register_hook(lambda g: on_gradients([g])[0])
        return [identity(inner)]

    def parts(line):
        found, start = [], 0
        for t in tensors:
            part = reshape(narrow(line, dim=0, start=start, length=t.array.size),
                           shape=t.array.shape)
            found.append(part if part.dtype == t.dtype else cast(part, dtype=t.dtype))
            start += t.array.size
        return found

    line = flat_entries(tensors)
    line.register_hook(lambda g: flat_entries(on_gradients(parts(g))))
    return parts(line)


def flat_entries(tensors):
    """The tensors' entries, one after another."""
    return cat(*[reshape(t, shape=(-1,)) for t in tensors])
