"""How what a trace is made of shows itself as HTML. Viewers stand above traces, so each enters its way here when it loads.

A trace must answer `_repr_html_()` and `to_html()` without an import of the viewers: they import traces, and the two
would go in a circle. `functools.singledispatch` is the standard library's answer: a function to which a higher floor
adds the case of a class.
"""

from __future__ import annotations

import html
from functools import singledispatch


@singledispatch
def notebook_html(thing) -> str:
    """What a notebook shows of a trace, a step or a ledger (`debug.views.notebook` adds these)."""
    return f"<pre>{html.escape(str(thing))}</pre>"


@singledispatch
def page_html(trace, f=None) -> str:
    """The page of a trace, written into f if it is given (`debug.page` adds it)."""
    raise NotImplementedError(f"no viewer has entered a page for {type(trace).__name__}: import npformer.debug")
