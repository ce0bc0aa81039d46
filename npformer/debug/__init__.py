"""Seeing the backward pass: viewers and probes over the steps of `npf.backprop`."""

from .anomaly import detect_anomaly as detect_anomaly
from .ledger import Ledger as Ledger
from .ledger import Path as Path
from .ledger import Reason as Reason
from .residual import Residual as Residual
from .residual import Residuals as Residuals
from .residual import residuals as residuals
from .tracing import Trace as Trace
from .tracing import TraceStep as TraceStep
from .tracing import recording as recording
from .tracing import trace as trace
