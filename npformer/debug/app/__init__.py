"""The terminal app: a trace to walk through with keys and mouse. `npformer step --app`, or
`npf.debug.app.run(trace)`.

`window` is the app: it puts `tree`, `panels` (text), `arrays` (maps) and `widgets` together and
answers the keys of `keys`. `heat` draws an array. All but this file need textual and rich.
"""

from __future__ import annotations

from ...extras import extra
from ..traces.trace import Trace


def run(trace: Trace) -> None:
    """Open the app on a trace; returns when the user quits. InputError without textual."""
    extra("textual", "The terminal app")
    # On use: textual is optional, and slow to load.
    from .window import Stepper

    Stepper(trace).run()
