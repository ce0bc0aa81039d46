"""Two functions that give a trace its HTML; folders above this one add what they do.

A trace answers `_repr_html_()` and `to_html()`, but the code that draws it stands in `views` and
`page`, which import traces. If a trace imported them as well, the imports would go in a circle.
`functools.singledispatch` is the standard library's answer: the function stands here, and a higher
folder registers the case of a class when it loads. `npformer.debug` loads those folders.
"""

from __future__ import annotations

import html
from functools import singledispatch


@singledispatch
def notebook_html(thing) -> str:
    """What a notebook shows of a trace, a step or a ledger (`views.notebook` registers them)."""
    return f"<pre>{html.escape(str(thing))}</pre>"


@singledispatch
def page_html(trace, f=None) -> str:
    """The page of a trace, written into f if it is given (`page.file` registers it)."""
    raise NotImplementedError(f"there is no page for {type(trace).__name__}: import npformer.debug")
