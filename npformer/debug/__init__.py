"""Seeing the backward pass: viewers and probes over the steps of `npf.backprop`.

The folders, from the ground up: `traces` (record, keep, replay and ask one pass), `views` (what
every viewer shows of it), `probes` (questions to a whole model), and the viewers `shell`, `app`
and `page`.
"""

# ruff: noqa: I001
from . import app as app
from .traces.ledger import Ledger as Ledger, Path as Path
from .traces.why import Reason as Reason
from .traces.recording import recording as recording, trace as trace
from .probes.anomaly import detect_anomaly as detect_anomaly
from .probes.attention import (
    AttentionMap as AttentionMap, AttentionMaps as AttentionMaps, attention as attention)
from .probes.flow import (
    GradientFlow as GradientFlow, LayerFlow as LayerFlow, gradient_flow as gradient_flow)
from .probes.lengths import PathLengths as PathLengths, path_lengths as path_lengths
from .probes.residual import Residual as Residual, Residuals as Residuals, residuals as residuals
from .probes.spectrum import Spectrum as Spectrum, jacobian_spectrum as jacobian_spectrum
from .traces.trace import Trace as Trace, TraceStep as TraceStep

# These two give a trace its `_repr_html_` and `to_html` when they load (see `traces.html`). Without
# them here, `trace.to_html()` would fail for whoever imports nothing but npformer.
from .page import file as _page
from .views import notebook as _notebook

del _page, _notebook
