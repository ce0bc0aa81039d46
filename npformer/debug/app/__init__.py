"""The terminal app: walk through a trace with keys and mouse. `npformer step --app`, or `npf.debug.app.run(trace)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...extras import extra

if TYPE_CHECKING:
    from ..traces.trace import Trace


def run(trace: Trace) -> None:
    """Open the app on a trace; returns when the user quits. Raises InputError where textual is not installed."""
    extra("textual", "The terminal app")
    from .window import Stepper
    Stepper(trace).run()
