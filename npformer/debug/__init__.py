"""Seeing the backward pass: viewers and probes over the steps of `npf.backprop`."""

from .probe import Residual, residuals

__all__ = ["Residual", "residuals"]
