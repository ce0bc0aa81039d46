"""Seeing what a thread records, and walking without being seen."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ...core.errors import DTypeError, complaint
from ...core.tape import state
from ...nn import Module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def paths_of(call: str, model: Module) -> dict[Module, str]:
    """The dotted path of each module in a model; DTypeError where it is none. `call` is for the message."""
    if not isinstance(model, Module):
        raise DTypeError(complaint(call, "model must be a Module", {"model": model}))
    return {module: path for path, module in model.named_modules()}


@contextlib.contextmanager
def observing(see: Callable) -> Iterator[None]:
    """Inside, see(node, arguments, y) is called for each operation that this thread records, after whoever saw it before."""
    before = state.observer

    def both(node, arguments, y):
        if before is not None:
            before(node, arguments, y)
        see(node, arguments, y)

    state.observer = both
    try:
        yield
    finally:
        state.observer = before


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Inside, nobody sees what is recorded or walked: a probe's own walks are no part of the user's backward pass."""
    before = state.observer, state.watcher
    state.observer = state.watcher = None
    try:
        yield
    finally:
        state.observer, state.watcher = before
