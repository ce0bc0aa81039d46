"""What the documents say is what the code does."""

import doctest
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

import npformer
from npformer import cli
from npformer.core.operation import REGISTRY, Fused

ROOT = Path(__file__).parents[1]


def writer(name):
    """The script that writes a page of docs/, as a module."""
    spec = importlib.util.spec_from_file_location(f"{name}_page", ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_operations_is_in_step_with_the_registry():
    written = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert written == writer("operations").table(), "run python docs/operations.py"


def test_the_page_of_public_names_is_in_step_with_the_package():
    written = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert written == writer("api").page(), "run python docs/api.py"


def test_the_example_in_the_package_docstring_runs():
    result = doctest.testmod(npformer)
    assert result.attempted >= 4 and result.failed == 0


def test_links_between_documents_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "demos").glob("*.md")]
    targets = [(page, target) for page in pages
               for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
               if "://" not in target]
    assert len(targets) > 30
    for page, target in targets:
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_python_in_the_readme_runs():
    """The first example as it stands; the second one ends in the error that it shows."""
    first, second = re.findall(r"```python\n(.*?)```",
                               (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    names = {}
    exec(first, names)
    assert names["x"].grad.shape == (4, 6)
    try:
        exec(second, names)
    except npformer.GradientError as error:
        assert "WRONG dinput (3, 5): largest error" in str(error)
    else:
        raise AssertionError("the wrong softmax of the README passed the check")


def test_the_session_in_the_readme_is_real(capsys):
    command, shown = re.search(r"```text\n\$ npformer (step .*?)\n(.*?)```",
                               (ROOT / "README.md").read_text(encoding="utf-8"),
                               re.S).groups()
    assert cli.main(shlex.split(command)) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [line.rstrip() for line in shown.splitlines() if line.strip()] == printed


def test_every_kind_of_finding_is_in_the_table():
    page = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")
    assert [kind for kind in npformer.verify.KINDS if f"| `{kind}` |" not in page] == []


def test_the_table_of_findings_says_what_the_judge_says():
    """Of what is drawn at random, and of lines in a file, all but the number."""
    page = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")
    mutants = npformer.verify.mutants.mutants()
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    for kind, says, example, message in rows:
        assert says == npformer.verify.KINDS[kind].says
        if example in mutants:
            m = mutants[example]
            found = npformer.verify.check_vjp(m.forward, m.backward, m.inputs(0), names=m.names,
                                              raises=False).wrong[0]
            told = re.sub(r" \(test_docs.py:\d+\)", "", found.message)
            told, message = (re.sub(r"up to [\d.]+", "", text) for text in (told, message))
            assert (found.kind, told) == (kind, message)
    assert sum(example in mutants for _, _, example, _ in rows) >= len(npformer.verify.KINDS) - 2


def test_the_example_of_the_judge_says_what_the_page_says():
    source, told = re.search(r"```python\n(import numpy.*?)```\n\n```text\n(.*?)```",
                             (ROOT / "docs" / "verify.md").read_text(encoding="utf-8"),
                             re.S).groups()
    names = {}
    exec(source.replace("print(", "report = ("), names)
    for line in told.splitlines():  # the sentences; errors of 1e-11 depend on the machine
        if "WRONG" in line or "factor" in line or "wrong" in line:
            assert line.strip() in str(names["report"]), line


# ── the numbers that the README states ────────────────────────────────────────────────────────────

# What README.md says, with its number in the place of (N), and what is true. Numbers that a bench
# measured are not here: they depend on the machine.
COUNTED = {
    r"(N) operations with a rule of their own": lambda: len(REGISTRY),
    r"own, (N) of them fused": lambda: sum(isinstance(op, Fused) for op in REGISTRY.values()),
    r"\*\* (N) kinds of findings": lambda: len(npformer.verify.KINDS),
    r"of (N) kinds; plain NumPy": lambda: len(npformer.verify.KINDS),
    r"tried on (N) planted mistakes": lambda: len(npformer.verify.mutants.mutants()),
    r"demos/README.md\): (N) scripts": lambda: len(list((ROOT / "demos").glob("*.py"))),
    r"and (N) \[probes\]": lambda: len(re.findall("^## ", text_of("docs/probes.md"), re.M)),
    r"probes.md\): (N) questions": lambda: len(re.findall("^## ", text_of("docs/probes.md"), re.M)),
}
ROUGHLY = {
    r"the engine is about (N) lines": lambda: lines_in("core"),
    r"the operations about (N)": lambda: lines_in("ops"),
}
WORDS = {word: n
         for n, word in enumerate("zero one two three four five six seven eight nine ten".split())}


def text_of(name):
    """A text file of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def lines_in(folder):
    """The lines of the Python files in a folder of the package."""
    return sum(len(path.read_text(encoding="utf-8").splitlines())
               for path in (ROOT / "npformer" / folder).rglob("*.py"))


def number_in_readme(pattern):
    """The number that the README has in a sentence."""
    readme = " ".join(text_of("README.md").split())
    found = re.findall(pattern.replace("(N)", r"([\d,]+|[a-z]+)"), readme)
    assert len(found) == 1, f"README.md says {pattern!r} {len(found)} times"
    return WORDS[found[0]] if found[0] in WORDS else int(found[0].replace(",", ""))


@pytest.mark.parametrize("pattern", COUNTED)
def test_numbers_in_the_readme_are_counted(pattern):
    assert number_in_readme(pattern) == COUNTED[pattern]()


@pytest.mark.parametrize("pattern", ROUGHLY)
def test_sizes_in_the_readme_are_right_within_a_tenth(pattern):
    true = ROUGHLY[pattern]()
    assert abs(number_in_readme(pattern) - true) <= true / 10, f"it is {true}"


def test_files_that_the_map_names_are_there():
    """docs/design.md and CONTRIBUTING.md name files from the root, or from npformer/."""
    seen = 0
    for page in (ROOT / "docs" / "design.md", ROOT / "CONTRIBUTING.md"):
        for name in re.findall(r"`((?:[\w.]+/)*\w+\.(?:py|md|toml|cfg))`", page.read_text("utf-8")):
            places = (f"npformer/**/{name}", name, f"docs/{name}")
            assert any(any(ROOT.glob(place)) for place in places), f"{page.name}: no {name}"
            seen += 1
    assert seen > 40
