"""Each demo runs, and fails if its claim is false."""

import os
import pathlib
import subprocess
import sys

import pytest

DEMOS = pathlib.Path(__file__).parent.parent / "demos"


@pytest.mark.parametrize("path", sorted(DEMOS.glob("*.py")), ids=lambda path: path.stem)
def test_demo(path, tmp_path):
    """Small, and in a folder of its own, where its picture goes."""
    done = subprocess.run([sys.executable, "-W", "error", str(path), "--small"],
                          capture_output=True, text=True, timeout=120, cwd=tmp_path,
                          env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


def test_the_table_names_each_demo():
    table = (DEMOS / "README.md").read_text()
    for path in DEMOS.glob("*.py"):
        assert f"| `{path.name}` |" in table
