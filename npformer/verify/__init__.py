"""The judge: is this gradient right, and if not, where is it wrong?"""

from .numeric import Report, gradcheck

__all__ = ["Report", "gradcheck"]
