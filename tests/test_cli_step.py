"""`npformer step` as a person uses it: scripts, --do, pipes, and a session on a terminal with
keys."""

import os
import re
import select
import subprocess
import sys
import time

import pytest

pytest.importorskip("rich", reason="the command line needs the extra [cli]")

WRONG = '''
import sys
import npformer as npf
from npformer import nn
from npformer.nn import functional as F

print("hello from", __name__, sys.argv[1:])


class Cube(npf.autograd.Function):
    """y = x³.    dx = 3·g·x²"""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x ** 3

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return 2 * g * x ** 2


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(Cube.apply(self.first(x)))


model = Net().double()
optimizer = npf.optim.SGD(model.parameters(), lr=0.1)
for step in range(2):
    optimizer.zero_grad()
    try:
        logits = model(npf.randn(6, 4, dtype=npf.float64))
        F.cross_entropy(logits, npf.tensor([0, 1, 2, 0, 1, 2])).backward()
    except Exception:
        print("nobody should see this")
    print("step", step, "is over")
    optimizer.step()
'''


def npformer(*arguments, cwd=None, text=None):
    """Run `npformer step` with these arguments: (exit code, stdout, stderr)."""
    done = subprocess.run([sys.executable, "-m", "npformer", "step", *map(str, arguments)],
                          capture_output=True, text=True, cwd=cwd, input=text,
                          stdin=None if text is not None else subprocess.DEVNULL, timeout=120)
    assert "Traceback" not in done.stderr + done.stdout
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def script(tmp_path):
    """Write a script, return its name; the folder is where the command runs."""
    def write(text, name="script.py"):
        (tmp_path / name).write_text(text)
        return name
    write.folder = tmp_path
    return write


# ── scripts ───────────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_gradient_in_a_script_is_found(script):
    code, out, err = npformer(script(WRONG), "--do", "b mismatch; c; check; rule; line 1", "--",
                              "-a", "b", cwd=script.folder)
    assert code == 1 and err == ""
    assert out.startswith("hello from __main__ ['-a', 'b']\n")
    # the script was stopped when the pass was complete
    assert "is over" not in out and "nobody" not in out
    assert "breakpoint 1: mismatch\nstep 2/3 · top level · Cube\n" in out
    assert "DIFFERS from finite differences (3.3e-01)" in out
    assert "WRONG: the rule of Cube, used at script.py:30" in out
    assert "        return 2 * g * x ** 2\n" in out
    assert "→   30          return self.last(Cube.apply(self.first(x)))" in out


def test_a_later_backward_pass(script):
    code, out, _ = npformer(script(WRONG), "--backward", 2, "--do", "w", cwd=script.folder)
    assert code == 0 and out.count("is over") == 1
    code, out, err = npformer(script(WRONG), "--backward", 3, "--do", "w", cwd=script.folder)
    assert code == 2
    assert "script.py has no backward pass number 3: the script ran to its end." in err
    assert "2 backward passes" in err and "Choose an earlier pass with --backward." in err


BROKEN = {
    "x = npf.randn(3, 4, requires_grad=True)\ny = x.exp()\nz = y @ npf.randn(3, 3)\n"
    "z.sum().backward()": [
        "script.py raised an error before its backward pass was complete",
        "line 4, `z = y @ npf.randn(3, 3)`: ShapeError: matmul(a, b)",
        "1 operation; the last was exp at script.py:3"],
    "x = npf.randn(3, requires_grad=True)\nprint(x.exp().sum().item())": [
        "has no backward pass number 1: the script ran to its end",
        "2 operations; the last was sum at script.py:3", "Call loss.backward() in it."],
    "import sys, types\nsys.modules['torch'] = types.ModuleType('torch')": [
        "It uses PyTorch", "`import npformer as torch`"],
    "npf.randn((), requires_grad=True).backward()": ["this backward pass began at a leaf"],
    "raise SystemExit(3)": ["the script ended itself, with exit code 3", "no operation"],
    "x = npf.randn(3, requires_grad=True)\n(x * 2).backward()": [
        "GraphError: backprop: the output has shape (3,)"],
    "def broken(:\n    pass": ["line 2: SyntaxError"],
    "with npf.no_grad():\n    npf.randn(3, requires_grad=True).sum().backward()": [
        "GraphError", "requires_grad=True"],
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_scripts_that_cannot_be_stepped_through_say_why(script, text):
    code, _, err = npformer(script("import npformer as npf\n" + text), "--do", "w",
                            cwd=script.folder)
    assert code == 2 and len(re.findall("^npformer: ", err, flags=re.M)) == 1
    for words in BROKEN[text]:
        assert words in err, err


def test_an_error_within_a_backward_pass_says_how_far_the_pass_got(script):
    text = WRONG.replace("return 2 * g * x ** 2", "raise ValueError('oh')")
    text = text.replace("Exception", "ZeroDivisionError")
    code, _, err = npformer(script(text), "--do", "w", cwd=script.folder)
    assert code == 2 and "`raise ValueError('oh')`: ValueError: oh" in err
    assert "Recorded: backward pass 1, 2 nodes far; the last was linear at script.py:30." in err


def test_a_script_finds_its_neighbours_and_arguments_before_the_dashes_are_ours(script):
    script("import npformer as npf\nx = npf.ones(3, requires_grad=True)", "neighbour.py")
    name = script("from neighbour import x\nimport sys\nprint(sys.argv)\nx.exp().sum().backward()")
    code, out, _ = npformer("--do", "p g", name, cwd=script.folder)
    assert code == 0 and "script.py']" in out
    code, _, err = npformer(name, "extra", "--do", "w", cwd=script.folder)
    assert code == 2 and "unrecognized arguments: extra" in err


# ── --do, pipes, files ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model, words", [
    ("tiny", "TinyTransformer"), ("gpt", "GPT"), ("seq2seq", "EncoderDecoder"),
    ("vit", "VisionTransformer")])
def test_built_in_models_need_no_script(model, words):
    code, out, err = npformer("--model", model, "--do", "b nan; b mismatch; c; where")
    assert code == 0 and err == "" and words in out
    assert "no breakpoint was met: this is the last step" in out


def test_do_prints_each_command_and_stops_at_what_it_cannot_do():
    code, out, err = npformer("--do", "n; nonsense; n")
    assert code == 2 and "there is no command 'nonsense'" in err
    assert out.startswith("(step 0/25 top level · cross_entropy) n\nstep 1/25")
    assert out.count("\nstep") == 1
    assert "\x1b" not in out


def test_a_planted_mistake_makes_do_fail():
    code, out, _ = npformer("--do", "goto 6; patch")
    mutant = out.splitlines()[-1].strip()
    code, out, _ = npformer("--do", f"goto 6; patch {mutant}; goto 0; b mismatch; c; w")
    assert code == 1 and f"step 6/25 · blocks.0 · relu   patched: {mutant}" in out
    assert npformer("--do", "b mismatch; c; check; out; check")[0] == 0


def test_a_pipe_is_obeyed_and_errors_do_not_end_it():
    code, out, err = npformer(text="n\nfoo\npredict dx[0, 0, 0]\n99\n\np g.shape\n")
    assert code == 0 and err == ""
    assert "*** there is no command 'foo'" in out and "g.shape = (64, 65)" in out
    assert "dx[0, 0, 0] = ? 99\nno: " in out and "it is dx[0, 0, 0] = " in out


def test_seeds_save_load_html(tmp_path):
    first, second = (npformer("--seed", seed, "--do", "p y")[1] for seed in (1, 2))
    assert first != second and npformer("--seed", 1, "--do", "p y")[1] == first
    saved, page = tmp_path / "a.trace", tmp_path / "a.html"
    assert npformer("--save", saved, "--html", page)[1].splitlines()[0] == f"{saved}: 26 steps"
    assert page.read_text().lower().startswith("<!doctype html>")
    code, out, _ = npformer("--load", saved, "--do", "goto 8; check; rerun")
    assert code == 0 and "dweight agrees" in out and "the same, bit for bit" in out
    saved.write_bytes(saved.read_bytes()[:500])
    code, _, err = npformer("--load", saved, "--do", "w")
    assert code == 2 and "is truncated, damaged" in err


@pytest.mark.parametrize("arguments, words", [
    (["--model", "nonsense"], "the built-in ones are tiny"),
    (["nowhere.py"], "there is no such file"), (["script.txt"], "is not a Python file"),
    (["--backward", "0"], "counts backward passes from 1"), (["--load", "nowhere"], "nowhere"),
    (["--model", "tiny", "--load", "x"], "not allowed with"), (["--", "a"], "name the script"),
    (["--seed", "-1"], "--seed must be an integer"),
    (["--html", "/nowhere/a.html"], "cannot be written"),
    (["--save", "/nowhere/a"], "cannot be written"),
])
def test_bad_input_gets_one_message(arguments, words):
    code, _, err = npformer(*arguments, *([] if "--" in arguments else ["--do", "w"]))
    assert code == 2 and words in err


# ── a terminal ────────────────────────────────────────────────────────────────────────────────────


# The terminal must be the one that sends Ctrl-C; forking here instead would be unsafe beside other
# threads.
ON_A_TERMINAL = ("import fcntl, runpy, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
                 "runpy.run_module('npformer', None, '__main__')")


class Terminal:
    """A session on a pseudo-terminal: keys in, what the screen shows out."""

    def __init__(self, *arguments):
        self.fd, other = os.openpty()
        around = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        around |= {"TERM": "xterm-256color", "COLUMNS": "90", "LINES": "40", "INPUTRC": "/dev/null"}
        self.process = subprocess.Popen([sys.executable, "-c", ON_A_TERMINAL, "step", *arguments],
                                        stdin=other, stdout=other, stderr=other,
                                        start_new_session=True, env=around)
        os.close(other)
        self.shown = ""
        self.until(r"\(step.*\) $")

    def until(self, pattern, seconds=60, give_up=pytest.fail):
        """Read until the end of the screen matches."""
        end, came, new = time.monotonic() + seconds, b"", ""
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    came += os.read(self.fd, 65536)
                except OSError:                    # the other side has ended
                    break
            # All of it anew: a read may end in the middle of a character, or of an escape sequence.
            new = re.sub(r"\x1b\[\?\d+[hl]|\r", "", came.decode(errors="replace"))
            if re.search(pattern, re.sub(r"\x1b\[[\d;]*m", "", new)):
                break
        else:
            give_up(f"waited for {pattern!r}, saw:\n{self.shown}{new}")
        self.shown += new
        return new

    def type(self, keys, pattern=r"\(steps? [^\n]*\) $"):
        """Press keys; what the screen shows until the next prompt."""
        os.write(self.fd, keys.encode())
        return self.until(pattern)

    def interrupt(self):
        """Press Ctrl-C, as impatiently as people do: readline does not see one that comes while it
        draws. Not faster than that: on a busy machine a second one, a second later, met the answer
        to the first, and ended the program."""
        prompt, shown = r"\(steps? [^\n]*\) $", ""
        for _ in range(10):
            os.write(self.fd, b"\x03")
            shown += self.until(prompt, 6, give_up=lambda words: None)
            if re.search(prompt, re.sub(r"\x1b\[[\d;]*m", "", shown)):
                break
        return shown

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        os.close(self.fd)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pseudo-terminal on Windows")
def test_a_session_with_keys():
    pytest.importorskip("readline", reason="this Python has no readline: no history, no Tab")
    with Terminal("--model", "tiny") as terminal:
        keys_on(terminal)
        assert terminal.process.wait(60) == 0


def keys_on(terminal):
    """What a person does in a minute, and what the screen shows for it."""
    assert "TinyTransformer: 26 steps back from the loss" in terminal.shown
    assert "\x1b[1mstep 0/25 · top level · cross_entropy\x1b[0m" in terminal.shown       # bold
    assert "step 1/25" in terminal.type("n\n")
    assert "module output_head" in terminal.type("\n")  # an empty line: once more
    assert "*** there is no command 'nonsense'" in terminal.type("nonsense\n")
    assert "module blocks.0" in terminal.type("\x1b[A\x1b[A\n")  # history: nonsense, then n
    assert "step 13/25" in terminal.type("goto 13\n")
    assert "saved    a " in terminal.type("sta\t\n")                                    # Tab: stats
    terminal.type("p not this", "not this$")
    assert "stopped; `q` leaves" in terminal.interrupt()  # Ctrl-C drops the line
    assert "what is it?" in terminal.type("predict dq[0,0,1,1]\n", r"= \? $")
    assert "no: " in terminal.type("12345\n", r"= \? $")
    assert "it is dq[0,0,1,1] = " in terminal.type("\n")
    os.write(terminal.fd, b"\x04")  # Ctrl-D leaves
