"""The judge: is this gradient right, and if not, what is wrong with it?"""

from importlib import import_module
from typing import TYPE_CHECKING

from .discovery import check
from .findings import KINDS, Comparison, Finding, Report
from .looking.judge import check_vjp, gradcheck
from .models import check_model
from .pytorch import against_torch

if TYPE_CHECKING:
    from . import golden as golden
    from . import mutants as mutants
    from . import strategies as strategies

__all__ = ["KINDS", "Comparison", "Finding", "Report", "against_torch", "check", "check_model",
           "check_vjp", "gradcheck"]


def __getattr__(name):
    """What most checks do without is loaded on first use."""
    if name not in ("golden", "mutants", "strategies"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{name}", __name__)
