"""What is given away: the source archive holds every file, and the facts about a release agree."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import npformer

ROOT = Path(__file__).parents[1]


def in_root(*command):
    """The standard output of a command that is run in the project's root."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sdist_holds_every_file_that_git_tracks(tmp_path):
    """setuptools writes the list of an sdist's files without building it: the truth, in a
    second."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("there is no git here to say which files there are")
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("there is no setuptools here to say what an sdist holds")
    in_root(sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "egg_info",
            "--egg-base", str(tmp_path))
    held = (tmp_path / "npformer.egg-info" / "SOURCES.txt").read_text(encoding="utf-8").splitlines()
    tracked = [name for name in in_root("git", "ls-files", "-z").split("\0")
               if name and (ROOT / name).exists()]
    assert len(tracked) > 300
    assert sorted(set(tracked) - set(held)) == [], "say in MANIFEST.in that they belong to it"
    assert [name for name in held if "node_modules" in name or "__pycache__" in name] == []


def test_the_version_stands_in_the_changelog_and_the_citation():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(.+?)\] - (\d{4}-\d\d-\d\d)$", changelog, re.M)
    version, date = released[0]
    assert re.search(r"^## \[Unreleased\]$", changelog, re.M)
    assert version == npformer.__version__
    assert f"\nversion: {version}\n" in citation and f"\ndate-released: {date}\n" in citation
