"""Module: a part of a model, with its parameters, buffers and submodules under PyTorch's names."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Self

from ..core import dtypes
from ..core.errors import DTypeError, ValueRangeError, describe
from ..core.tape import state
from ..tensors import Tensor
from . import hooks as hooking
from . import state as states
from .parameter import Parameter
from .scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..core.devices import DeviceLike
    from ..core.dtypes import DType
    from ..tracked import HookHandle
    from ..typing import Called, P, R
    from .state import IncompatibleKeys

STORES = ("_parameters", "_buffers", "_modules")


class Module:
    """The base of every layer and model: assign Parameters and Modules to attributes, and define
    `forward`.

    Calling a module runs its hooks and its forward. training: True until `eval()` is called.
    """

    _hooks = None  # a Hooks, once there is one: a call without hooks costs nothing

    def __init__(self) -> None:
        for store in STORES:
            object.__setattr__(self, store, {})
        self._transient: set[str] = set()          # buffers that state_dict leaves out
        self.training = True

    def forward(self, *args, **kwargs):
        """What the module computes; every subclass defines its own."""
        raise NotImplementedError(
            f"{type(self).__name__} has no forward: define `def forward(self, ...)` in the class")

    def __call__(self: Called[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        outer = state.scope
        me = weakref.ref(self)
        state.scope = Scope(me if outer is None else outer.root, me)
        try:
            if self._hooks is None:
                return self.forward(*args, **kwargs)
            return hooking.call(self, self._hooks, args, kwargs)
        finally:
            state.scope = outer

    # ── attributes ────────────────────────────────────────────────────────────────────────────────

    def __setattr__(self, name, value):
        kind = None
        if isinstance(value, (Parameter, Module)):
            kind = Parameter if isinstance(value, Parameter) else Module
        if kind is None:
            self._set_other(name, value)
            return
        store = "_parameters" if kind is Parameter else "_modules"
        if store not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}.{name} = {type(value).__name__}(...): "
                                 "call super().__init__() first, at the top of __init__")
        self._forget(name, but=store)
        self.__dict__[store][name] = value

    def _set_other(self, name, value):
        """Assign what is neither a Parameter nor a Module: it may stand in for one only as None,
        or as a buffer."""
        store = next((s for s in STORES if name in self.__dict__.get(s, ())), None)
        if store is None:
            object.__setattr__(self, name, value)
        else:
            self._put(store, name, value)

    def _forget(self, name, but=None):
        """Drop `name` wherever it is, except in one store; True if it was anywhere."""
        holders = [self.__dict__, *(self.__dict__.get(s, {}) for s in STORES if s != but)]
        found = [holder.pop(name) for holder in holders if name in holder]
        self.__dict__.get("_transient", set()).discard(name)
        return bool(found)

    def __getattr__(self, name):
        for store in STORES:
            entries = self.__dict__.get(store, ())
            if name in entries:
                return entries[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}",
                             name=name, obj=self)

    def __delattr__(self, name):
        if not self._forget(name):
            object.__delattr__(self, name)

    def __dir__(self):
        return sorted(
            {*super().__dir__(), *(name for s in STORES for name in self.__dict__.get(s, ()))})

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a Parameter, or None as its place."""
        self._register("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a Tensor that belongs to the state but is not learned.

        persistent=False: state_dict leaves it out.
        """
        self._register("_buffers", name, tensor)
        (self._transient.discard if persistent else self._transient.add)(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a submodule, or None as its place."""
        self._register("_modules", name, module)

    add_module = register_module

    def _register(self, store, name, value):
        if store not in self.__dict__:
            raise AttributeError(
                f"{type(self).__name__}: call super().__init__() before registering {name!r}")
        if not isinstance(name, str) or not name or "." in name:
            raise ValueRangeError(
                f"{type(self).__name__}: a name must be a string, not empty and without '.', "
                f"got {name!r}")
        if name not in self.__dict__[store] and hasattr(self, name):
            raise ValueRangeError(f"{type(self).__name__}: attribute {name!r} exists already")
        self._put(store, name, value)

    def _put(self, store, name, value):
        kind = KINDS[store]
        if value is not None and not isinstance(value, kind):
            raise DTypeError(
                f"{type(self).__name__}.{name}: it is registered as a {kind.__name__}, so it must "
                f"be a {kind.__name__} or None, got {describe(value)}")
        self.__dict__[store][name] = value

    # ── walking the tree ──────────────────────────────────────────────────────────────────────────

    def named_modules(self, memo=None, prefix: str = "",
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """(dotted name, module): this module ('') and all below it, each once unless
        remove_duplicate=False."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name,
                                               remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and every one below it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) for the modules right below this one, each once."""
        seen = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules right below this one."""
        return (child for _, child in self.named_children())

    def _named(self, store, prefix, recurse, remove_duplicate):
        seen = set()
        modules = iter([(prefix, self)])
        if recurse:
            modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for path, module in modules:
            for name, value in module.__dict__[store].items():
                if value is None or value in seen:
                    continue
                if remove_duplicate:
                    seen.add(value)
                yield f"{path}.{name}" if path else name, value

    def named_parameters(self, prefix: str = "", recurse: bool = True,
                         remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, Parameter); recurse=False: of this module alone.

        A shared one comes once, by its first name.
        """
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The Parameters, as an optimiser takes them."""
        return (value for _, value in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True,
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer)."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers."""
        return (value for _, value in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path; '' is this one."""
        return self._lookup(target, "_modules") if target else self

    def get_parameter(self, target: str) -> Parameter:
        """The Parameter at a dotted path."""
        return self._lookup(target, "_parameters")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path."""
        return self._lookup(target, "_buffers")

    def _lookup(self, target, store):
        module, path = self, target.split(".")
        for i, name in enumerate(path):
            entries = module.__dict__["_modules" if i < len(path) - 1 else store]
            if name not in entries:
                where = ".".join(path[:i]) or type(self).__name__
                raise AttributeError(
                    f"{target!r}: {where} has no {name!r}; it has {', '.join(entries) or 'none'}")
            module = entries[name]
        return module

    # ── state ─────────────────────────────────────────────────────────────────────────────────────

    def state_dict(self, *, destination: dict[str, Any] | None = None, prefix: str = "",
                   keep_vars: bool = False) -> dict[str, Any]:
        """Every parameter and persistent buffer by dotted name, sharing memory.

        keep_vars: the very tensors.
        """
        found = OrderedDict() if destination is None else destination
        for path, module in self.named_modules(prefix=prefix.removesuffix("."),
                                               remove_duplicate=False):
            entries = {**module._parameters, **module._buffers}
            for name, value in entries.items():
                if value is not None and name not in module._transient:
                    key = f"{path}.{name}" if path else name
                    found[key] = value if keep_vars else value.detach()
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any],
                        strict: bool = True) -> IncompatibleKeys:
        """Copy values in by name. Takes npformer's tensors, NumPy arrays and PyTorch's tensors.

        strict: names must match exactly. Nothing is copied unless everything fits. Returns
        (missing_keys, unexpected_keys).
        """
        return states.load(self, state_dict, strict)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call fn on every module below, then on this one. Returns this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, *args, **kwargs) -> Self:
        """Move parameters and buffers, in place: to(device), to(dtype), to(device, dtype),
        to(tensor).

        dtype: a floating one; integers keep theirs.
        """
        device, dtype = states.target(args, kwargs)
        for tensor in (*self.parameters(), *self.buffers()):
            states.convert(tensor, device, dtype)
        return self

    def type(self, dst_type: DType) -> Self:
        """Floating parameters and buffers in another floating dtype."""
        return self.to(dtype=dst_type)

    def float(self) -> Self:
        """In float32."""
        return self.to(dtype=dtypes.float32)

    def double(self) -> Self:
        """In float64."""
        return self.to(dtype=dtypes.float64)

    def half(self) -> Self:
        """In float16."""
        return self.to(dtype=dtypes.float16)

    def cuda(self, device: DeviceLike | None = None) -> Self:
        """On the GPU."""
        return self.to(device="cuda" if device is None else device)

    def cpu(self) -> Self:
        """On the CPU."""
        return self.to(device="cpu")

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and below: dropout drops, batch norm uses the batch."""
        if not isinstance(mode, bool):
            raise DTypeError(f"train(mode): mode must be True or False, got {describe(mode)}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode: train(False)."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze (False) or thaw every parameter."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop every parameter's gradient, or set it to zeros."""
        for p in self.parameters():
            states.clear_gradient(p, set_to_none)

    # ── hooks ─────────────────────────────────────────────────────────────────────────────────────

    def _own_hooks(self):
        if self._hooks is None:
            self._hooks = hooking.Hooks()
        return self._hooks

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, prepend: bool = False,
                                  with_kwargs: bool = False) -> HookHandle:
        """Call hook(module, args) before forward; what it returns, unless None, takes the place of
        args.

        with_kwargs: hook(module, args, kwargs) -> None or (args, kwargs).
        """
        return hooking.add(self._own_hooks().before_forward, hook, prepend, with_kwargs)

    def register_forward_hook(self, hook: Callable[..., Any], *, prepend: bool = False,
                              with_kwargs: bool = False) -> HookHandle:
        """Call hook(module, args, output) after forward;
        what it returns, unless None, takes the place of output."""
        return hooking.add(self._own_hooks().after_forward, hook, prepend, with_kwargs)

    def register_full_backward_hook(self, hook: Callable[..., Any],
                                    prepend: bool = False) -> HookHandle:
        """Call hook(module, grad_input, grad_output) once the gradients of the positional inputs
        are known.

        Both are tuples, None where no gradient flows. What it returns, unless None, takes the place
        of grad_input.
        """
        return hooking.add(self._own_hooks().after_backward, hook, prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any],
                                        prepend: bool = False) -> HookHandle:
        """Call hook(module, grad_output) before the module's backward;
        its answer unless None replaces it."""
        return hooking.add(self._own_hooks().before_backward, hook, prepend)

    # ── what a print shows ────────────────────────────────────────────────────────────────────────

    def extra_repr(self) -> str:
        """What a subclass wants shown between the brackets of its repr."""
        return ""

    def __repr__(self):
        extra = self.extra_repr().splitlines()
        lines = [f"({name}): {indented(repr(child))}" for name, child in self._modules.items()]
        if not lines and len(extra) <= 1:
            return f"{type(self).__name__}({''.join(extra)})"
        return "\n  ".join([f"{type(self).__name__}(", *extra, *lines]) + "\n)"


KINDS = {"_parameters": Parameter, "_buffers": Tensor, "_modules": Module}


def indented(text):
    """text with every line but the first two columns to the right."""
    return text.replace("\n", "\n  ")
