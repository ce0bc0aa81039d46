"""Seeing the backward pass: viewers and probes over the steps of `npf.backprop`."""

# ruff: noqa: I001
from .anomaly import detect_anomaly as detect_anomaly
from .ledger import Ledger as Ledger, Path as Path, Reason as Reason
from .residual import Residual as Residual, Residuals as Residuals, residuals as residuals
from .tracing import Trace as Trace, TraceStep as TraceStep, recording as recording, trace as trace
