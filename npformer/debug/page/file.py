"""The page: a trace as one self-contained HTML file, to step through in a browser.

The data is JSON (`data`), the script and style are built from `web/` by `make page` and ship with
npformer. The file asks for nothing from anywhere: its own policy forbids it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from pathlib import Path

from ...core.errors import GraphError
from ...files import StrPath, write_whole
from ..traces.html import page_html
from ..traces.trace import Trace
from ..views.colours import DARK, LIGHT
from .array_store import ArrayStore
from .data import trace_data
from .long_traces import long_trace_data

MOST_STEPS = 2_000                                 # more steps than that are grouped by module
BUILT = Path(__file__).parent / "built"


@page_html.register(Trace)
def to_html(trace: Trace, f: StrPath | None = None) -> str:
    """The page of a trace, written into f if given. Raises GraphError without steps, InputError."""
    if not len(trace):
        raise GraphError("to_html: the trace has no steps: the loss is a leaf, and there is "
                         "nothing to step through")
    text = page_text(f"{trace.title or 'a graph'} · npformer", page_data(trace))
    if f is not None:
        write_whole(os.fspath(f), text.encode(errors="replace"))
    return text


def page_data(trace: Trace) -> dict:
    store = ArrayStore()
    describe = long_trace_data if len(trace) > MOST_STEPS else trace_data
    described = describe(trace, store)
    arrays = store.encode()                        # adds blobs, so it stands before `blobs` below
    return {"palette": {"dark": DARK._asdict(), "light": LIGHT._asdict()}, "trace": described,
            "arrays": arrays, "texts": list(store.texts), "blobs": list(store.blobs)}


def page_text(title: str, data: dict) -> str:
    """The HTML file. No name that a user gave can end the script or begin a tag: each < in the data
    is written as \\u003c, which JSON reads as <."""
    style, script = ((BUILT / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    policy = ("default-src 'none'; img-src data:; "
              f"style-src {fingerprint(style)}; script-src {fingerprint(script)}")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>{style}</style>
</head>
<body>
<noscript>This page needs JavaScript: it draws the trace from the data inside this file.</noscript>
<div id="app"></div>
<script type="application/json" id="data">{text}</script>
<script>{script}</script>
</body>
</html>
"""


def fingerprint(text: str) -> str:
    """The hash by which a page's policy names a style or script of its own."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
