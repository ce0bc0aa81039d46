"""The judge: is this gradient right, and if not, what is wrong with it?

From the ground up: findings.py (what a check says); naming/ (which mistake would give these
numbers); looking/ (measuring, and the judge itself, who asks naming/); then what checks something
whole with them: models.py, pytorch.py, golden/, discovery.py for `npformer check`. mutants/ are
mistakes planted to try the judge, strategies.py draws inputs for hypothesis.
"""

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
    """What most checks do without is loaded on first use: some 50 ms for golden, 20 for mutants and
    100 for strategies, which needs hypothesis, a package that may be absent."""
    if name not in ("golden", "mutants", "strategies"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{name}", __name__)
