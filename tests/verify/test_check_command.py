"""`npformer check`: what it finds in a file, its exit codes, its formats, and code that crashes,
hangs or is no code."""

import json
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

for needed in ("rich", "matplotlib"):
    pytest.importorskip(needed, reason="the command line needs the extra [cli]")

from npformer.cli import main  # noqa: E402

HEAD = """
import os, sys, time
import numpy as np
import npformer as npf
"""
TANH = """
def tanh_forward(x):
    return np.tanh(x)

def tanh_backward(g, x):
    print("a word from the user's code")
    return g * (1 - np.tanh(x) ** 2)

def tanh_inputs(rng):
    return [rng.standard_normal((2, 3))]
"""
SOFTMAX = """
def softmax_forward(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    y = e / e.sum(-1, keepdims=True)
    return y, (y,)

def softmax_backward(g, cache):
    y, = cache
    return g * y * (1 - y)

def softmax_inputs(rng):
    return {"logits": rng.standard_normal((3, 5))}
"""
FUNCTION = """
class Cube(npf.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x ** 3

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return g * 3 * x ** 2

Cube_inputs = [np.linspace(-1, 1.5, 6).reshape(2, 3)]
"""
MARKED = """
@npf.verify.check(inputs=lambda rng: [rng.standard_normal((3, 4)), 2.0])
def swish(x, k):
    return x * (k * x).sigmoid()

def backward(g, x):
    return -2 * g * x

@npf.verify.check(inputs=[np.arange(1.0, 5.0)], backward=backward)
def square(x):
    return x * x
"""


@pytest.fixture
def check(tmp_path, capsys):
    """Checks a file with that text: (exit code, stdout, stderr)."""
    def run(text, *options, name=""):
        path = tmp_path / "ops.py"
        path.write_text(HEAD + text)
        code = main(["check", f"{path}{name}", *options])
        seen = capsys.readouterr()
        assert "Traceback" not in seen.out + seen.err
        return code, seen.out, seen.err
    return run


def test_right_gradients_are_code_0(check):
    code, out, err = check(TANH + FUNCTION)
    assert code == 0 and "tanh: " in out and "Cube: " in out and out.endswith("2 right\n")
    assert "a word from the user's code" in err and "a word" not in out


def test_wrong_gradients_are_code_1_and_are_named(check):
    code, out, _ = check(SOFTMAX + TANH + MARKED)
    assert code == 1 and "diagonal-jacobian: dlogits" in out and "sign: dx is −1 x" in out
    assert "swish: " in out and "2 right, 2 wrong" in out


def test_one_thing_in_a_file(check):
    assert check(SOFTMAX + TANH, name="::tanh")[0] == 0
    code, out, _ = check(SOFTMAX + TANH, name="::softmax_forward")
    assert code == 1 and "tanh" not in out
    code, _, err = check(SOFTMAX + TANH, name="::sofmax")
    assert code == 2 and "nothing called 'sofmax'" in err and "is it softmax?" in err


def test_a_point_that_hides_mistakes_is_no_pass(check):
    code, out, _ = check("""
def scale_forward(x, gamma):
    return x * gamma

def scale_backward(g, x, gamma):
    return 0 * x, (g * x).sum(axis=0)

def scale_inputs(rng):
    return [rng.standard_normal((3, 4)), np.zeros(4)]
""")
    assert code == 1 and out


def test_json_is_one_line_for_programs(check):
    code, out, _ = check(SOFTMAX + TANH, "--json", "--seed", "3")
    told = json.loads(out)
    assert code == told["code"] == 1 and told["seed"] == 3 and out.count("\n") == 1
    assert [(r["name"], r["status"]) for r in told["results"]] == [("softmax", "wrong"),
                                                                   ("tanh", "right")]
    assert told["results"][0]["findings"][0]["kind"] == "diagonal-jacobian"


def test_junit_for_servers(check, tmp_path):
    path = tmp_path / "report.xml"
    check(SOFTMAX + TANH + "def bad_forward(x): pass\ndef bad_backward(g, x): pass", "--junit",
          str(path))
    suite = ElementTree.parse(path).getroot()
    assert suite.attrib["tests"] == "3" and suite.attrib["failures"] == "1"
    assert suite.attrib["errors"] == "1"
    assert suite.find("testcase[@name='softmax']/failure").attrib["type"] == "diagonal-jacobian"
    assert suite.find("testcase[@name='tanh']")[:] == []


def test_the_judge_itself_can_be_tried(capsys, monkeypatch):
    from npformer.verify.mutants import SUBJECTS, Mutant
    for name in set(SUBJECTS) - {"softmax", "layer_norm"}:
        monkeypatch.delitem(SUBJECTS, name)
    assert main(["check", "--mutants"]) == 0
    assert "2 right gradients: 2 passed" in capsys.readouterr().out
    assert main(["check", "--mutants", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["controls"]) == 2 and all(m["caught"] for m in told["mutants"])
    SUBJECTS["softmax"].mutants.append(Mutant("softmax: no mistake at all", SUBJECTS["softmax"],
                                              ("sign",),
                                              SUBJECTS["softmax"].rules))
    try:
        assert main(["check", "--mutants"]) == 1
    finally:
        SUBJECTS["softmax"].mutants.pop()
    assert "softmax: no mistake at all: not caught; it should be sign" in capsys.readouterr().out


# ── what could not be run ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text, words", [
    ("def f(:", "line 5: SyntaxError"),
    ("undefined", "line 5, `undefined`: NameError: name 'undefined' is not defined"),
    ("sys.exit(0)", "line 5, `sys.exit(0)`: SystemExit"),
    ("os._exit(0)", "while it was imported, it left the process with exit code 0"),
    ("os.abort()", "died of signal SIGABRT"),
    ("x = 1", "there is nothing to check in it"),
    ("def f_forward(x): return x\ndef f_backward(g, x): return g", "def f_inputs(rng)"),
    ("def f_forward(x): return x.nope\ndef f_backward(g, x): return g\nf_inputs = [np.ones(3)]",
     "line 5, `def f_forward(x): return x.nope`: AttributeError"),
    ("def f_forward(x): return x\ndef f_backward(g): return g\nf_inputs = [np.ones(3)]",
     "TypeError: f_backward()"),
    ("def f_forward(x): return x\ndef f_backward(g, x): os.abort()\nf_inputs = [np.ones(3)]",
     "f, while it was checked, died of signal SIGABRT"),
], ids=lambda text: text.split("\n")[0][:20])
def test_what_cannot_be_run_is_code_2_and_one_message(check, text, words):
    code, out, err = check(text)
    assert code == 2 and words in err and err.count("npformer: ") == 1 and out == ""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(),
                    reason="needs /proc to see which processes run")
def test_a_hang_is_ended_with_all_that_it_started(check, tmp_path):
    began = time.monotonic()
    code, out, err = check(TANH + f"""
import subprocess
def slow_forward(x):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open({str(tmp_path / 'child')!r}, "w").write(str(child.pid))
    time.sleep(60)

def slow_backward(g, x):
    return g

slow_inputs = [np.ones(3)]
""", "--timeout", "4")
    assert code == 2 and time.monotonic() - began < 20
    assert "slow, while it was checked, gave no answer within 4 seconds" in err and "tanh: " in out
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while is_running(child):
        assert time.monotonic() < deadline, "the process that the user's code started still runs"
        time.sleep(0.1)


def is_running(pid):
    """Whether a process is there, and not only because nobody asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("arguments, words", [
    (["nowhere.py"], "there is no such file"),
    (["ops.txt"], "must end in .py"),
    ([__file__, "--timeout", "0"], "--timeout must be"),
    ([__file__, "--seed", "-1"], "--seed must be an integer >= 0, got -1"),
    (["--mutants", "--seed", "-1"], "--seed must be"),
])
def test_bad_arguments_are_code_2(capsys, arguments, words):
    assert main(["check", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_file_named_like_a_module_hides_nothing(tmp_path):
    (tmp_path / "json.py").write_text(HEAD + TANH)
    done = subprocess.run([sys.executable, "-m", "npformer", "check", str(tmp_path / "json.py")],
                          capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0 and "tanh: " in done.stdout
