"""Each demo runs, and fails if its claim is false."""

import pathlib
import subprocess
import sys

import pytest

DEMOS = pathlib.Path(__file__).parent.parent / "demos"


@pytest.mark.parametrize("path", sorted(DEMOS.glob("*.py")), ids=lambda path: path.stem)
def test_demo(path):
    done = subprocess.run([sys.executable, "-W", "error", str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


def test_the_table_names_each_demo():
    table = (DEMOS / "README.md").read_text()
    for path in DEMOS.glob("*.py"):
        assert f"| `{path.name}` |" in table
