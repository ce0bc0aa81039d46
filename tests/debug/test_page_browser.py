"""The page in a real browser: every test of tests/browser/*.mjs, one by one."""

import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer import nn
from npformer.debug.examples import example

HERE = pathlib.Path(__file__).parent.parent / "browser"
WEB = HERE.parent.parent / "web"
CASES = [pytest.param(path.name, name, page, id=name) for path in sorted(HERE.glob("*.mjs"))
         for name, page in re.findall(r'^test\("(.+?)", "(\w+)"', path.read_text("utf-8"), re.M)]
EVIL = "</script><img src=x onerror=alert(1)>"


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────


def tiny():
    return npf.debug.trace(example("tiny")[1])


def values():
    """A product with known numbers after a softmax: da = g · b = 1 · (row·10 + column + 0.5)."""
    x = npf.tensor(np.arange(12.0).reshape(3, 4) / 7, requires_grad=True)
    b = npf.tensor(np.arange(3.0)[:, None] * 10 + np.arange(4.0) + 0.5)
    return npf.debug.trace(lambda: F.softmax(x, -1) * b, np.ones((3, 4)))


def signs():
    b = npf.tensor([[-2.0, 0.0, 2.0]])
    return npf.debug.trace(lambda: npf.zeros(1, 3, requires_grad=True) * b, np.ones((1, 3)))


def hostile():
    """Every name that a user can give holds a tag."""
    name = "a<img src=x onerror=harmed=1>"
    kind = type(EVIL, (nn.Module,), {"forward": lambda self, x: double(self._modules[name](x))})
    double = type(EVIL, (npf.autograd.Function,), {
        "__doc__": f"{EVIL} twice.    dx = {EVIL}", "forward": staticmethod(lambda ctx, x: x + x),
        "backward": staticmethod(lambda ctx, g: g + g)}).apply
    model = kind()
    model.add_module(name, nn.Linear(3, 2))
    file = {"model": model, "npf": npf}            # a program in a file with such a name
    exec(compile("loss = lambda: model(npf.randn(4, 3)).sum()", f"{EVIL}.py", "exec"), file)
    return npf.debug.trace(file["loss"])


def bare():
    """A trace of a loss alone, of which the tape kept nothing: a sum needs no values."""
    x, y = npf.randn(3, requires_grad=True), npf.randn(3, requires_grad=True)
    return npf.debug.trace((x + y).sum())


def summaries():
    return npf.debug.trace(example("tiny")[1], largest=100)


def odd():
    x = npf.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    return npf.debug.trace(lambda: npf.log(x) * x, np.array([1.0, np.inf, 2.0]))


class Wide(nn.Module):
    """A skip around a box so wide that the way around it leaves the graph."""

    def __init__(self):
        super().__init__()
        self.a_branch_with_a_long_name = nn.Linear(3, 3)

    def forward(self, x):
        return x + self.a_branch_with_a_long_name(x)


def swinging():
    x = npf.randn(2, 3, requires_grad=True)
    return npf.debug.trace(lambda: Wide()(x).sum())


class Deep(nn.Module):
    """Three layers, each of very many operations."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Many() for _ in range(3)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x.sum()


class Many(nn.Module):
    def forward(self, x):
        for _ in range(900):
            x = x + 0.001
        return x


def long():
    return npf.debug.trace(lambda: Deep()(npf.randn(3, requires_grad=True)))


def flat():
    def chain(x=None):
        x = npf.randn(3, requires_grad=True)
        for _ in range(400):
            x = x * 1.001
        return x.sum()
    return npf.debug.trace(chain)


# ── the browser ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """page name -> its file, written when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def file(name):
        if name not in made:
            npf.manual_seed(0)
            made[name] = folder / f"{name}.html"
            globals()[name]().to_html(made[name])
        return made[name]
    return file


@pytest.fixture(scope="module")
def browser():
    """A Chromium that runs one test after another, driven by Node."""
    names = "chromium", "chromium-browser", "google-chrome"
    chromium = next(filter(None, map(shutil.which, names)), None)
    needed = {"Chromium": chromium, "Node": shutil.which("node"),
              "playwright-core": (WEB / "node_modules/playwright-core").exists()}
    missing = [what for what, there in needed.items() if not there]
    if missing:
        pytest.skip(f"THE PAGE IS NOT TESTED in a browser: {', '.join(missing)} missing. "
                    "Run `make browser` first.")
    with subprocess.Popen(["node", str(HERE / "driver.mjs"), chromium], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          encoding="utf-8") as process:
        if process.stdout.readline() != "ready\n":
            pytest.fail(f"the browser does not start:\n{process.stderr.read()[-3000:]}")
        yield process
        process.stdin.close()


@pytest.mark.parametrize("module, name, page", CASES)
def test_page(browser, pages, module, name, page):
    question = {"module": module, "test": name, "file": str(pages(page))}
    browser.stdin.write(json.dumps(question) + "\n")
    browser.stdin.flush()
    answer = json.loads(browser.stdout.readline())
    assert "ok" in answer, answer["error"]


def test_there_are_tests():
    assert len(CASES) >= 25
