"""What docs/debugger.md shows is what the debugger prints: every session is typed again, every
piece of Python run again."""

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the command line needs the extra [cli]")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "debugger.md").read_text(encoding="utf-8")
# Whole numbers are counts and places, and are compared as words.
NUMBER = re.compile(r"[-+]?\d+\.\d+(?:e[-+]?\d+)?|[-+]?\d+e[-+]?\d+")
ROUNDING = 1e-9                                    # smaller is rounding: machines differ
PROMPT = re.compile(r"^(?:\(steps? [^\n]*?\)|[^\n]* = \?) (.+)$")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the page's own files and the demos, where its sessions run."""
    (tmp_path / "demos").symlink_to(ROOT / "demos")
    for text, name in re.findall(r"```python\n(# (\w+\.py)\n.*?)```", PAGE, re.S):
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sessions():
    """(command, the lines shown) of each session; one that is shown in pieces is put together."""
    found = []
    for text in re.findall(r"```text\n(.*?)```", PAGE, re.S):
        if text.startswith("$ npformer"):
            command, _, text = text.partition("\n")
            found.append((command.removeprefix("$ npformer "), []))
        elif not PROMPT.match(text.splitlines()[0]):
            continue
        found[-1][1].extend(text.splitlines())
    return found


def agree(shown, printed):
    """Whether lines are the same: words and whole numbers exactly, other numbers to 1 %, of
    rounding errors only that they are there."""
    pairs = list(zip(*(map(float, NUMBER.findall(line)) for line in (shown, printed))))
    if any(abs(a) < ROUNDING for a, _ in pairs):   # how many of these are exactly 0 is chance too
        shown, printed = (re.sub(r"\d+% zeros", "", line) for line in (shown, printed))
    return NUMBER.sub("#", shown).split() == NUMBER.sub("#", printed).split() and all(
        abs(a - b) <= 0.01 * abs(a) or max(abs(a), abs(b)) < ROUNDING for a, b in pairs)


def missing(shown, printed):
    """The first shown line that is not where it should be; '...' stands for any lines. None if all
    are."""
    printed, free = [line for line in printed if line.strip()], False
    for line in (line for line in shown if line.strip()):
        if line == "...":
            free = True
            continue
        while free and printed and not agree(line, printed[0]):
            printed.pop(0)
        if not printed or not agree(line, printed.pop(0)):
            return line
        free = False
    return None if free or not printed else f"nothing, but there is {printed[0]!r}"


@pytest.mark.parametrize("number", range(len(sessions())))
def test_a_session_prints_what_the_page_shows(folder, number):
    command, shown = sessions()[number]
    typed = [] if "--do" in command else [m[1] for m in map(PROMPT.match, shown) if m]
    done = subprocess.run([sys.executable, "-m", "npformer", *shlex.split(command)],
                          capture_output=True, text=True, cwd=folder, timeout=120,
                          input="".join(f"{line}\n" for line in typed))
    assert done.stderr == ""
    assert done.returncode == int("WRONG" in done.stdout)
    lines = done.stdout.splitlines()
    # Typed lines end at one more prompt.
    assert missing(shown, lines[:-1] if typed else lines) is None


def test_every_session_of_the_page_is_typed():
    assert len(sessions()) == PAGE.count("$ npformer") == 4


def test_python_prints_what_the_page_shows(folder):
    names, printed, compared = {}, [], 0
    for kind, text in re.findall(r"```(python|text)\n(.*?)```", PAGE, re.S):
        if kind == "python" and not text.startswith("# "):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(text, names)
            printed = out.getvalue().splitlines()
        elif kind == "text" and printed:
            assert missing(text.splitlines(), printed) is None
            printed, compared = [], compared + 1
    assert compared == 6 and not printed


def test_the_code_that_is_shown_is_the_demo_s():
    demo = (ROOT / "demos" / "find_the_bug.py").read_text(encoding="utf-8")
    texts = re.findall(r"```text\n(.*?)```", PAGE, re.S)
    shown = next(text for text in texts if text.startswith("class"))
    assert shown in demo


def test_a_wrong_line_is_noticed():
    shown = ["a 1.234 b", "...", "c 7"]
    assert missing(shown, ["a 1.2345 b", "x", "y", "c 7"]) is None
    assert missing(shown, ["a 1.3 b", "c 7"]) == "a 1.234 b"
    assert missing(shown, ["a 1.234 b", "c 8"]) == "c 7"
    assert missing(["a"], ["a", "b"]) == "nothing, but there is 'b'"
    assert agree("|d| 1e-18  2% zeros", "|d| 3.5e-17")
    assert not agree("|d| 1e-18", "|d| 1e-3") and not agree("1% 0.5", "2% 0.5")
