"""What `flow` and `attention` have in common: they watch a model while it runs."""

from __future__ import annotations

import contextlib
from typing import Any, Self

from ...core.errors import DTypeError, complaint
from ...core.tape import add_observer
from ...nn import Module


class Watch:
    """Inside `with`, `see` is called for each recorded operation. names: {module: its path}."""

    def __init__(self, call: str, model: Module) -> None:
        if not isinstance(model, Module):
            raise DTypeError(complaint(call, "model must be a Module", {"model": model}))
        self.names = {module: path for path, module in model.named_modules()}
        self.watch = contextlib.ExitStack()

    def see(self, node: Any, arguments: Any, y: Any) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.watch.enter_context(add_observer(self.see))
        return self

    def __exit__(self, *exc):
        self.watch.close()
