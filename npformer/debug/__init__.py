"""Seeing the backward pass: viewers and probes over the steps of `npf.backprop`."""

from .anomaly import detect_anomaly as detect_anomaly
from .residual import Residual as Residual, Residuals as Residuals, residuals as residuals
