"""The shell: moving changes nothing, breakpoints stop where they should, files and help."""

import pathlib
import re

import numpy as np
import pytest
from shell_driver import at, bits, refused

import npformer as npf
from npformer import debug
from npformer.core.errors import NpformerError
from npformer.debug.examples import EXAMPLES, example
from npformer.debug.shell import COMMANDS, Session

# ── moving ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", EXAMPLES)
def test_stepping_to_the_end_and_back_leaves_nothing_changed(name):
    trace = debug.trace(example(name)[1])
    session, before = Session(trace), bits(trace)
    first, moves = session.do("look"), 0
    while "this is the last step" not in session.do("s"):      # into all modules and definitions
        moves += 1
        session.do("p")
    assert moves > len(trace)
    assert session.cursor.index == len(trace) - 1
    while session.do("out") and session.frame.parent is not None:
        pass
    session.do("goto -1")
    while "this is the first step" not in session.do("back"):
        pass
    assert session.cursor.index == 0 and session.do("look") == first
    assert bits(trace) == before and trace.replay() > len(trace)


def test_the_first_screen_teaches_in_a_few_lines(session):
    text = session.do("goto 8")
    lines = text.splitlines()
    assert len(lines) <= 15 and all(len(line) <= session.width for line in lines[:7])
    step = session.step
    for words in ("step 8/25 · blocks.0.norm1 · layer_norm", "y = x̂·weight + bias",
                  "x (4, 16, 64), weight (64,)", "dx      = r · (d − mean(d) − x̂·mean(d·x̂))",
                  "tiny.py:50   x = self.norm1(x)", "added up from 2",
                  f"|g| {np.linalg.norm(step.upstream):.4g}",
                  f"|dweight| {np.linalg.norm(step.gradients['weight']):.4g}",
                  "to blocks.0.norm1.weight"):
        assert words in text, words


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_screen_is_short(name):
    session = Session(debug.trace(example(name)[1]))
    for index in range(len(session.trace)):
        assert len(session.do(f"goto {index}").splitlines()) <= 15


def test_a_module_is_a_place_too(session):
    session.do("goto 8")
    text = session.do("out")
    assert session.frame.level == "module" and session.prompt == "(step 8/25 blocks.0.norm1) "
    assert "module blocks.0.norm1" in text and "leaf     weight" in text
    text = session.do("out")
    sums = session.trace.find("add").gradient      # all that the block sends goes there
    assert "module blocks.0 · steps 3–22" in text and f"|d| {np.linalg.norm(sums):.4g}" in text
    for command in ("w", "l", "norms", "ledger", "check", "line", "look", "why nan", "p"):
        assert session.do(command)
    assert "4 contributions" in session.do("ledger")
    assert "20 rules checked: 20 right, 0 wrong" in session.do("check")
    assert "norm1.weight.shape = (64,)" in session.do("p norm1.weight.shape")
    session.do("s")
    assert session.frame.path == "blocks.0.norm2"
    assert "weight.shape = (64,)" in session.do("p weight.shape")
    assert "the gradient of blocks.0.norm2.weight" in session.do("ledger weight")
    session.do("out")
    refused(session, "rule", "module blocks.0, not one operation. `s` steps into it")
    assert session.do("p g").startswith("g float64 (4, 16, 64)")
    refused(session, "p y", "there is no 'y'")


def test_into_a_definition_and_out(session):
    session.do("goto 8")
    text = session.do("s")
    assert "the definition of layer_norm" in text and session.frame.level == "primitive"
    assert float(re.search(r"differ by (\S+) of", text).group(1)) < 1e-12
    assert session.prompt == "(step 8/25 layer_norm › add 0/11) "
    assert "└ layer_norm" in session.do("w").replace("  ", "") and "tiny.py:50" in session.do("w")
    assert "agrees with finite differences" in session.do("check")
    refused(session, "set a = 1", "`out` first")
    refused(session, "patch", "`out` first")
    refused(session, "watch a", "`out` first")
    session.do("out")
    assert session.frame.step.op == "layer_norm"


def test_layers_search_goto(session):
    places = []
    while "no module begins" not in session.do("layer+"):
        places.append(session.frame.path)
    assert places == [
        "output_head", "blocks.0", "blocks.0.ff2", "blocks.0.ff1", "blocks.0.norm1",
        "blocks.0.out_proj", "blocks.0.value", "blocks.0.key", "blocks.0.query", "pos_embedding",
        "char_embedding"]
    session.do("layer-")
    assert session.frame.path == "pos_embedding"
    session.do("?norm1")
    assert session.cursor.index == 8
    session.do("/ATTENTION")
    assert session.step.op == "attention"
    assert "no step after this one holds 'ATTENTION'" in session.do("/")
    session.do("goto 0")
    session.do("/tiny.py:60")
    assert session.step.source[1] == 60
    session.do("goto blocks.0.relu")
    assert session.step.op == "relu"
    session.do("goto -1")
    assert session.cursor.index == 25
    refused(session, "goto 99", "there is no step 99: the trace has steps 0 to 25")
    refused(session, "goto blocks.0.norm1.weight", "is not a step: it is a leaf")
    refused(session, "goto", "goto which step")
    refused(session, "n x", "a whole number, 1 or more, is needed")


def test_counts_repeats_and_unknown_commands(session):
    session.do("n 3")
    assert session.frame.path == "blocks.0"
    session.do("")
    session.do("")
    assert session.frame.path == "char_embedding"
    assert session.do("n") == "this is the last step: the walk ends here. `back` goes back."
    refused(session, "neext", "is it next")
    assert session.do("") == ""                    # what was refused is not repeated


# ── breakpoints ───────────────────────────────────────────────────────────────────────────────────


def test_breakpoints_forwards_and_backwards(session):
    assert session.do("b op:layer_norm") == "breakpoint 1: op:layer_norm"
    session.do("tbreak op:relu")
    seen = []
    for command in ("c", "c", "c", "c", "rc", "rc"):
        session.do(command)
        seen.append(session.cursor.index)
    assert seen == [3, 6, 8, 25, 8, 3]             # relu stopped once
    assert session.do("b") == session.do("breakpoints") == "1  op:layer_norm"
    assert session.do("clear 1") == "breakpoint 1 is gone: op:layer_norm"
    assert "no breakpoint" in session.do("b")
    refused(session, "clear 1", "there is no breakpoint 1; there are: none")
    refused(session, "b op:nothing", "no step matches")
    assert "there is no breakpoint: this is the last step" in session.do("c")


def test_what_a_newcomer_types(session):
    refused(session, "b 3", "`index == 3` holds at step 3")
    refused(session, "set target[0] = 1.5", "target is int64, so it cannot be 1.5")
    assert session.do("jac").startswith("dcross_entropy/dlogits")      # it has one gradient alone
    assert "float64 (64, 64)" in session.do("p dlogits @ logits.T")
    session.do("goto 2")
    session.do("out")
    assert "g float64 (4, 16, 65)" in session.do("p g") and "g " in session.do("heat g")


def test_continue_leaves_the_first_step_where_a_breakpoint_holds(session):
    session.do("b norm(g) > 0.1")
    indices = [(session.do("c"), session.cursor.index)[1] for _ in range(4)]
    assert indices == [0, 1, 2, 25] and "this is the last step" in session.do("c")


def test_continue_sees_the_first_step_and_the_inside_of_modules(session):
    session.do("b index == 0")
    session.breakpoints.clear()                    # set from outside, so that nothing was said
    session.do("tbreak op:cross_entropy")
    assert "breakpoint 1: op:cross_entropy" in session.do("c") and session.cursor.index == 0
    session.do("n 3")
    session.do("b op:layer_norm")
    session.do("c")
    assert session.cursor.index == 3
    assert "it holds here" in session.do("b norm(g) > 0")


def test_watch_and_who_follow_a_gradient_that_is_added_up(session):
    session.do("goto 9")
    node = session.trace.find("add")
    assert "from step 9, 16, 19, 22" in session.do("watch a")
    seen = []
    while "nothing more" not in session.do("watch"):
        seen.append(session.cursor.index)
    assert seen == [16, 19, 22] == [c.step for c in node.contributions][1:]
    assert "add gets a contribution here" in session.do("rc") and session.cursor.index == 19
    text = session.do("who add")
    assert session.cursor.index == 16 and "contribution 2 of 4" in text
    session.do("goto 0")
    assert "contribution 4 of 4" in session.do("who add") and session.cursor.index == 22
    refused(session, "who bias.nothing", "there is no")
    session.do("clear")
    assert session.watched is None


# ── files and help ────────────────────────────────────────────────────────────────────────────────


def test_save_and_load(session, tmp_path):
    session.do("set blocks.0.ff1.bias = 0.5")
    session.do(f"save {tmp_path / 'a.trace'}")
    loaded = debug.Trace.load(tmp_path / "a.trace")
    assert loaded.diff(session.trace) is None
    refused(session, "save", "into which file")
    refused(session, f"save {tmp_path}/nowhere/a", "cannot be written")


def test_help_knows_every_command(session):
    text = session.do("help")
    typed = "".join(p.read_text() for p in pathlib.Path(__file__).parent.glob("test_*.py"))
    for name, command in COMMANDS.items():
        assert command.run.__doc__, f"{name}: its docstring is what `help {name}` says"
        tried = any(re.search(rf"[\"';] ?{re.escape(n)}(?!\w)", typed) for n in command.names)
        assert tried, f"{name}: no test types it"
        assert name in text and session.do(f"help {name}").startswith(command.usage)
    refused(session, "help nonsense", "there is no command")
    assert session.do("q") == "" and session.done


@pytest.mark.parametrize("line", [
    "p", "heat", "jac", "set", "patch x", "predict", "watch", "who", "why", "paths", "goto", "b",
    "clear", "export", "save", "ledger", "why zero", "/", "?", "l x", "line x", "set = 3", "p []",
    "p [0]", "heat g g g", "predict g", "jac", "p " + "(" * 500, "set g[ = 1", "p \x00"])
def test_nonsense_is_answered_in_words(session, line):
    try:
        assert isinstance(session.do(line), str)
    except NpformerError as error:
        assert 5 < len(str(error)) < 700


def test_a_users_function_out_of_a_file_is_known_by_what_it_sent(tmp_path):
    class Half(npf.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x / 2

        @staticmethod
        def backward(ctx, g):
            return g

    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    debug.trace(lambda: Half.apply(x.exp()).sum()).save(tmp_path / "a.trace")
    session = at(Session(debug.Trace.load(tmp_path / "a.trace")), "Half")
    assert "its code is not at hand" in session.do("rule")
    assert "its code is not in the file" in session.do("check")
    refused(session, "set g = 2", "its code is not in the file")
    session.do("goto 0")
    session.do("b mismatch")
    assert "1 step could not be judged: step 1, Half" in session.do("c") and not session.failed
