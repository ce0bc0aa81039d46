"""Modules that hold others: Sequential, ModuleList, ModuleDict, ParameterList."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import TYPE_CHECKING, Self

from ...core.errors import DTypeError, IndexRangeError, describe
from ..module import Module, indented
from ..parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView

    from ...tensors import Tensor


class Identity(Module):
    """y = x. Takes and ignores any arguments, so that it can stand in for another layer."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Numbered(Module):
    """What Sequential, ModuleList and ParameterList share: entries under the names '0', '1', ..."""

    _store = "_modules"

    def _name(self, index):
        """The name of entry `index`, counted from the end if negative."""
        names = list(self.__dict__[self._store])
        if not -len(names) <= index < len(names):
            raise IndexRangeError(f"{type(self).__name__}[{index}]: it has {len(names)} entries")
        return names[index]

    def __getitem__(self, index):
        entries = self.__dict__[self._store]
        if isinstance(index, slice):
            return self._like(list(entries.values())[index])
        return entries[self._name(index)]

    def _like(self, entries):
        """Another one of these."""
        return type(self)(entries)

    def __setitem__(self, index, entry):
        setattr(self, self._name(index), entry)

    def __delitem__(self, index):
        entries = list(self)
        del entries[index]
        self._refill(entries)

    def _refill(self, entries):
        self.__dict__[self._store].clear()
        self.extend(entries)

    def __len__(self) -> int:
        return len(self.__dict__[self._store])

    def __iter__(self):
        return iter(self.__dict__[self._store].values())

    def append(self, entry) -> Self:
        """Add an entry at the end."""
        return self.extend([entry])

    def extend(self, entries: Iterable) -> Self:
        """Add entries at the end."""
        for entry in entries:
            self._check(entry)
            setattr(self, str(len(self)), entry)
        return self

    def insert(self, index: int, entry) -> Self:
        """Add an entry before entry `index`."""
        entries = list(self)
        entries.insert(index, entry)
        self._refill(entries)
        return self

    def pop(self, index: int = -1):
        """Take an entry out."""
        entry = self[index]
        del self[index]
        return entry

    def __iadd__(self, entries):
        return self.extend(entries)

    def __add__(self, entries):
        return self._like([*self, *entries])

    def _check(self, entry):
        if not isinstance(entry, Module):
            raise DTypeError(
                f"{type(self).__name__}: every entry must be a Module, got {describe(entry)}")


class Sequential(Numbered):
    """Modules called one after another: Sequential(a, b, ...) or Sequential(OrderedDict(name=a,
    ...))."""

    def __init__(self, *modules) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], OrderedDict):
            for name, module in modules[0].items():
                self._check(module)
                self.register_module(name, module)
        else:
            self.extend(modules)

    def __getitem__(self, index):
        if isinstance(index, slice):               # a part keeps the names
            return type(self)(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)

    def _like(self, entries):
        return type(self)(*entries)

    def forward(self, input: Tensor) -> Tensor:
        for module in self:
            input = module(input)
        return input


class ModuleList(Numbered):
    """A list of modules whose parameters are found; calling them is up to you."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __repr__(self):
        """Equal neighbours are shown once: (0-5): 6 x Block(...)."""
        runs = []
        for text, group in itertools.groupby(enumerate(map(repr, self)), key=lambda pair: pair[1]):
            numbers = [i for i, _ in group]
            first, count = numbers[0], len(numbers)
            runs.append(f"({first}): {indented(text)}" if count == 1 else
                        f"({first}-{first + count - 1}): {count} x {indented(text)}")
        return "\n  ".join(
            [f"{type(self).__name__}(", *runs]) + "\n)" if runs else f"{type(self).__name__}()"


class ParameterList(Numbered):
    """A list of Parameters; Tensors become Parameters."""

    _store = "_parameters"

    def __init__(self, values: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.extend(values)

    def extend(self, entries):
        """Add entries at the end."""
        return super().extend(entry if isinstance(entry, Parameter) else Parameter(entry)
                              for entry in entries)

    def _check(self, entry):
        """Parameter itself refused what is no Tensor."""

    def extra_repr(self) -> str:
        return "\n".join(f"({i}): Parameter of {describe(p)}" for i, p in enumerate(self))


class ModuleDict(Module):
    """Modules under names of your choice, whose parameters are found; calling them is up to you."""

    def __init__(self, modules=None) -> None:
        super().__init__()
        self.update(modules or {})

    def update(self, modules) -> None:
        """Add modules from a dict, or from (name, module) pairs."""
        for name, module in (modules.items() if hasattr(modules, "items") else modules):
            self[name] = module

    def __getitem__(self, name: str) -> Module:
        return self._modules[name]

    def __setitem__(self, name, module):
        self.register_module(name, module)

    def __delitem__(self, name):
        del self._modules[name]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name) -> bool:
        return name in self._modules

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> ValuesView[Module]:
        """The modules."""
        return self._modules.values()

    def items(self) -> ItemsView[str, Module]:
        """(name, module) pairs."""
        return self._modules.items()

    def pop(self, name: str) -> Module:
        """Take a module out."""
        return self._modules.pop(name)

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()
