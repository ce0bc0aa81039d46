"""What docs/probes.md shows is what the probes print."""

import contextlib
import io
import re
from pathlib import Path

import pytest

import npformer as npf

PAGE = Path(__file__).parents[2] / "docs" / "probes.md"


def words(line):
    """A line without its numbers, which differ in the last digit from machine to machine."""
    return re.sub(r"[-+]?[\d.,]+(e[-+]?\d+)?|\s+", " ", line).split()


def test_the_examples_print_what_the_page_shows():
    names = {}
    parts = re.findall(r"```(python|text)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    printed, shown = "", []
    for kind, text in parts:
        if kind == "text":
            shown = [words(line) for line in text.splitlines()
                     if line != "..." and "example.py" not in line]
            lines = [words(line) for line in printed.splitlines()]
            assert [line for line in shown if line not in lines] == []
            continue
        out = io.StringIO()
        anomaly = (pytest.raises(npf.GraphError) if "detect_anomaly" in text else
                   contextlib.nullcontext())
        with contextlib.redirect_stdout(out), anomaly as error:
            exec(text, names)
        printed = out.getvalue() + (f"GraphError: {error.value}" if error else "")
    assert shown
