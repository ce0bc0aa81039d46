"""The judge: is this gradient right, and if not, what is wrong with it?"""

from .collecting import check
from .findings import KINDS, Comparison, Finding, Report
from .judge import check_vjp, gradcheck
from .models import against_torch, check_model

__all__ = ["KINDS", "Comparison", "Finding", "Report", "against_torch", "check", "check_model", "check_vjp", "gradcheck"]
