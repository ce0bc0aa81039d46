"""Packages that are there for the commands alone: loaded on use, with a clear error where one is
missing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .core.errors import InputError

if TYPE_CHECKING:
    from types import ModuleType


def extra(module: str, purpose: str) -> ModuleType:
    """The module of that name; an InputError that says what to install where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InputError(f"{purpose} needs {package}, which cannot be loaded ({error}).\n"
                         "  Install it with: pip install 'npformer[cli]'") from None
