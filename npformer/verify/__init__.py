"""The judge: is this gradient right, and if not, what is wrong with it?"""

from .check import check_vjp, gradcheck
from .collecting import check
from .findings import KINDS, Comparison, Finding, Report

__all__ = ["KINDS", "Comparison", "Finding", "Report", "check", "check_vjp", "gradcheck"]
