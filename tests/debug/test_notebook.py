"""What a notebook shows: well-formed, small, static HTML with the right numbers, all escaped."""

import base64
import re
import struct
import subprocess
import sys
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

import npformer as npf
from npformer import debug, nn
from npformer.core import facts
from npformer.debug.examples import EXAMPLES, example
from npformer.debug.views import notebook, pictures, statistics


class Page(HTMLParser):
    """The text of a page and its elements; an error where a start has no end."""

    def __init__(self, text):
        super().__init__()
        self.open, self.said, self.elements = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"{self.open} have no end"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in notebook.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.said))


def read(html):
    """The Page, after the rules that hold for all of them."""
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "style", "iframe", "object")
        assert not any(k.startswith("on") for k in attributes)
        address = attributes.get("src", attributes.get("href", "data:"))
        assert address.startswith("data:")
    assert "http" not in html and "url(" not in html
    return page


def pixels_of(address):
    """The (rows, columns, 4) bytes of a PNG in a data address."""
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        length, = struct.unpack(">I", data[at:at + 4])
        kind, body = data[at + 4:at + 8], data[at + 8:at + 8 + length]
        checksum, = struct.unpack(">I", data[at + 8 + length:at + 12 + length])
        assert checksum == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    columns, rows = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, 1 + 4 * columns)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(rows, columns, 4)


@pytest.fixture(scope="module", params=EXAMPLES)
def trace(request):
    return debug.trace(example(request.param)[1])


def test_a_trace_lists_every_step_under_its_module(trace):
    page = read(trace._repr_html_())
    assert f"{len(trace)} steps back, {len(trace.nodes)} nodes" in page.text
    assert trace.title in page.text
    for step in trace:
        name = re.escape(step.name.rpartition(".")[2])
        assert re.search(rf"\b{step.index} +\S*{name}\b", page.text), step
        assert f"|g| {facts.four_digits(facts.norm(step.upstream))}" in page.text
    for where in {step.where.rpartition(".")[2] for step in trace}:
        assert where in page.text                  # of a lone step too
    assert sum(tag == "rect" for tag, _ in page.elements) == len(pictures.layers(trace))
    assert len(trace._repr_html_()) < 5_000 + 400 * len(trace)


def test_every_step_shows_its_formula_numbers_and_ledger(trace):
    for step in trace:
        html = step._repr_html_()
        page = read(html)
        assert step.formula in page.text and statistics.call(step) in page.text
        for row in statistics.statistics(step):
            assert re.sub(r"\s+", " ", " ".join(cell for cell in row.cells() if cell)) in page.text
        assert f"who sent it ({len(step.ledger)})" in page.text
        assert len(html) < 100_000


def test_a_ledger_says_who_sent_what(trace):
    node = max((node for node in trace.nodes if node.gradient is not None),
               key=lambda node: len(node.contributions))
    page = read(trace.ledger(node)._repr_html_())
    for entry in trace.ledger(node):
        sent, running = facts.norm(entry.contribution), facts.norm(entry.running)
        numbers = f"{facts.four_digits(sent)} {facts.four_digits(running)}"
        assert f"{entry.consumer}.{entry.argument} {numbers} {entry.left}" in page.text


def test_a_map_has_the_colour_of_each_entry():
    x = npf.tensor([[1.0, -1.0, 0.5, 0.0], [2.0, 4.0, -4.0, np.nan]], dtype=npf.float64,
                   requires_grad=True)
    w = npf.tensor([[8.0, -2.0, 0.0, 4.0], [np.inf, -8.0, 1.0, np.nan]], dtype=npf.float64)
    step = next(step for step in debug.trace(lambda: (x * w).sum()) if step.op == "mul")
    page = read(step._repr_html_())
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    drawn = pixels_of(next(image["src"] for image in images if image["alt"].startswith("da")))
    assert drawn.shape == (2, 4, 4)
    assert drawn[0, 0, 3] == 255 and drawn[0, 1, 3] == 64 and drawn[0, 2, 3] == 0
    assert drawn[0, 3, 3] == 128
    # orange above zero, blue below
    assert drawn[0, 0, 0] > drawn[0, 0, 2] and drawn[1, 1, 2] > drawn[1, 1, 0]
    assert (drawn[1, 0] == drawn[1, 3]).all() and drawn[1, 3, 3] == 255  # inf and NaN stand out
    assert "1 NaN 1 inf" in page.text


def test_large_arrays_are_averaged_and_it_says_so():
    x = npf.ones(300, 200, dtype=npf.float64).requires_grad_()
    step = next(step for step in debug.trace(lambda: (x * x).sum()) if step.op == "mul")
    page = read(step._repr_html_())
    assert "means of blocks, 64 × 64" in page.text and len(step._repr_html_()) < 20_000
    assert all(pixels_of(a["src"]).shape == (64, 64, 4) for tag, a in page.elements if tag == "img")


def test_a_long_trace_and_a_long_ledger_are_cut_and_say_so():
    x = npf.ones(2, dtype=npf.float64).requires_grad_()

    def chain():
        y = x
        for _ in range(2_500):
            y = y + x * 0.001
        return y.sum()
    trace = debug.trace(chain)
    page = read(trace._repr_html_())
    assert f"trace of {len(trace):,} steps; trace[k] shows any step" in page.text
    assert len(trace._repr_html_()) < 200_000
    ledger = trace.ledger(trace.nodes[0])
    page = read(ledger._repr_html_())
    assert f"… and {len(ledger) - notebook.ROWS:,} more contributions" in page.text
    assert len(ledger._repr_html_()) < 300_000


def test_what_was_not_kept_is_said_in_words():
    summed = debug.trace(example("tiny")[1], largest=300)
    assert summed.notes[0] in read(summed._repr_html_()).text
    text = "".join(read(step._repr_html_()).text for step in summed)
    assert "too large to keep" in text
    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    kept = debug.trace(((x + 1).reshape(12) * 2).sum())
    assert "not kept by the tape" in "".join(read(step._repr_html_()).text for step in kept)
    assert "no gradient arrived" in read(debug.Ledger("x", [], None)._repr_html_()).text


def test_unreached_parameters_are_named():
    class Forgetful(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.forgotten = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            self.forgotten(x)
            return self.used(x).sum()
    model = Forgetful()
    assert "no gradient reaches forgotten.weight, forgotten.bias" in read(
        debug.trace(lambda: model(npf.ones(1, 2)))._repr_html_()).text


def test_names_from_outside_are_escaped():
    name = "</code><script>alert(1)</script><img src=x onerror=alert(2)>"

    class Strange(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module(name.replace(".", ""), nn.Linear(2, 2))

        def forward(self, x):
            return self.get_submodule(name)(x).sum()
    Strange.__name__ = "<b>&amp;"
    model = Strange()
    trace = debug.trace(lambda: model(npf.ones(3, 2)))
    for html in (trace._repr_html_(), trace[1]._repr_html_(), trace[1].ledger._repr_html_(),
                 trace.ledger(trace[1].node.parents[1])._repr_html_()):
        page = read(html)
        assert all("onerror" not in attributes for _, attributes in page.elements)
    assert "<b>&amp;" in read(trace._repr_html_()).text and name in read(trace._repr_html_()).text


def test_a_walk_of_one_leaf():
    leaf = npf.tensor(2.0, requires_grad=True)
    assert "0 steps back" in read(debug.trace(leaf)._repr_html_()).text


def test_a_step_of_an_ordinary_walk_shows_itself():
    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    first, = npf.backprop(x.softmax(-1), npf.randn(3, 4, dtype=npf.float64))
    page = first._repr_html_()
    assert page.startswith("<pre>softmax") and "y = eˣ / Σeˣ over dim." in page
    assert "test_notebook.py" in page
    assert f"|dx| {np.linalg.norm(first.gradients['x']):.4g}" in page

    class Sharp(npf.autograd.Function):
        """x <script>"""

        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    assert "x &lt;script&gt;" in next(npf.backprop(Sharp.apply(x), x.detach()))._repr_html_()


def test_a_trace_shows_itself_though_nothing_but_npformer_was_imported():
    """Its HTML is made by folders above it, which must have been loaded by then."""
    script = ("import npformer as npf; x = npf.ones(3, requires_grad=True); "
              "trace = npf.debug.trace(lambda: (x * x).sum()); "
              "print(trace._repr_html_(), trace[0]._repr_html_(), trace.ledger(x)._repr_html_()); "
              "print(trace.to_html())")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("<table") >= 2 and "<!doctype html>" in done.stdout
