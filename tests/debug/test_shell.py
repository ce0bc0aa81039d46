"""The shell's session: every command answers what the trace says, moving changes nothing, wrong rules are found."""

import re

import numpy as np
import pytest

import npformer as npf
from npformer import debug
from npformer.core.errors import NpformerError
from npformer.debug import present
from npformer.debug.examples import EXAMPLES, example
from npformer.debug.record import Summary
from npformer.debug.shell import COMMANDS, Session
from npformer.nn import functional as F


@pytest.fixture
def session():
    return Session(debug.trace(example("tiny")[1]))


def at(session, op):
    """The session, moved to the first step of an operation."""
    session.cursor.goto(next(step.index for step in session.trace if step.op == op))
    return session


def refused(session, line, words):
    """A line that is refused, in these words; nothing moves."""
    before = session.frame
    with pytest.raises(NpformerError, match=words):
        session.do(line)
    assert session.frame is before


# ── moving ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def bits(trace):
    """All that a trace knows, as bytes."""
    return [np.asarray(v).tobytes() for node in trace.nodes for v in (
        node.value, node.gradient, *node.values, *(node.saved or {}).values()) if isinstance(v, np.ndarray)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_stepping_to_the_end_and_back_leaves_nothing_changed(name):
    trace = debug.trace(example(name)[1])
    session, before = Session(trace), bits(trace)
    first, moves = session.do("look"), 0
    while "this is the last step" not in session.do("s"):      # into every module and every definition
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
    assert len(text.splitlines()) <= 15 and all(len(line) <= session.width for line in text.splitlines()[:7])
    step = session.step
    for words in ("step 8/25 · blocks.0.norm1 · layer_norm", "y = x̂·weight + bias", "x (4, 16, 64), weight (64,)",
                  "dx      = r · (d − mean(d) − x̂·mean(d·x̂))", "tiny.py:46   x = self.norm1(x)", "added up from 2",
                  f"|g| {np.linalg.norm(step.upstream):.4g}", f"|dweight| {np.linalg.norm(step.gradients['weight']):.4g}",
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
    assert "module blocks.0.norm1" in text and "leaf  weight" in text
    text = session.do("out")
    sums = session.trace.find("add").gradient      # all that the block sends goes to the sum of the embeddings
    assert "module blocks.0 · steps 3–22" in text and f"|d| {np.linalg.norm(sums):.4g}" in text
    for command in ("w", "l", "norms", "ledger", "check", "line", "look", "why nan", "p"):
        assert session.do(command)
    assert "4 contributions" in session.do("ledger") and "20 rules checked: 20 right, 0 wrong" in session.do("check")
    assert "norm1.weight.shape = (64,)" in session.do("p norm1.weight.shape")
    session.do("s")
    assert session.frame.path == "blocks.0.norm2" and "weight.shape = (64,)" in session.do("p weight.shape")
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
    assert "└ layer_norm" in session.do("w").replace("  ", "") and "tiny.py:46" in session.do("w")
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
    assert places == ["output_head", "blocks.0", "blocks.0.ff2", "blocks.0.ff1", "blocks.0.norm1", "blocks.0.out_proj",
                      "blocks.0.value", "blocks.0.key", "blocks.0.query", "pos_embedding", "char_embedding"]
    session.do("layer-")
    assert session.frame.path == "pos_embedding"
    session.do("?norm1")
    assert session.cursor.index == 8
    session.do("/ATTENTION")
    assert session.step.op == "attention"
    assert "no step after this one holds 'ATTENTION'" in session.do("/")
    session.do("goto 0")
    session.do("/tiny.py:56")
    assert session.step.source[1] == 56
    session.do("goto blocks.0.relu")
    assert session.step.op == "relu"
    session.do("goto -1")
    assert session.cursor.index == 25
    refused(session, "goto 99", "there is no step 99: the trace has steps 0 to 25")
    refused(session, "goto blocks.0.norm1.weight", "is no step: it is a leaf")
    refused(session, "goto", "goto which step")
    refused(session, "n x", "how many times")


def test_counts_repeats_and_unknown_commands(session):
    session.do("n 3")
    assert session.frame.path == "blocks.0"
    session.do("")
    session.do("")
    assert session.frame.path == "char_embedding"
    assert session.do("n") == "this is the last step: the walk ends here. `back` goes back."
    refused(session, "neext", "is it next")
    assert session.do("") == ""                    # what was refused is not repeated


# ── breakpoints ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_breakpoints_forwards_and_backwards(session):
    assert session.do("b op:layer_norm") == "breakpoint 1: op:layer_norm"
    session.do("tbreak op:relu")
    seen = []
    for command in ("c", "c", "c", "c", "rc", "rc"):
        session.do(command)
        seen.append(session.cursor.index)
    assert seen == [3, 6, 8, 25, 8, 3]             # relu stopped once
    assert session.do("b") == "1  op:layer_norm"
    assert session.do("clear 1") == "breakpoint 1 is gone: op:layer_norm"
    assert "no breakpoint" in session.do("b")
    refused(session, "clear 1", "there is no breakpoint 1; there are: none")
    refused(session, "b op:nothing", "no step matches")
    assert "there is no breakpoint: this is the last step" in session.do("c")


def test_what_a_newcomer_types(session):
    refused(session, "b 3", "`index == 3` holds at step 3")
    refused(session, "set target[0] = 1.5", "target is int64, so it cannot be 1.5")
    assert session.do("jac").startswith("dcross_entropy/dlogits")            # it has one gradient: no need to say which
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
    session.breakpoints.clear()                    # set from outside, so that nothing was said on setting it
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


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_p_prints_slices_shapes_parameters_gradients_and_sums(session):
    step = at(session, "attention").step
    assert session.do("p dq.shape") == "dq.shape = (4, 2, 16, 32)"
    assert session.do("p g[0, 1, 2, 3]").endswith(present.number(step.upstream[0, 1, 2, 3], 8))
    assert f"{step.inputs['q'][0, 0, 0, 0]:.4f}" in session.do("p q[0,0,0,:3]")
    assert session.do("p norm(dq) / norm(g)").endswith(
        present.number(np.linalg.norm(step.gradients["q"]) / np.linalg.norm(step.upstream), 8))
    grad = session.trace.find("blocks.0.norm1.weight").gradient
    assert session.do("p blocks.0.norm1.weight.grad[3]").endswith(present.number(grad[3], 8))
    assert session.do("p norm1.weight.shape") == "norm1.weight.shape = (64,)"
    assert session.do("p scale").endswith("0.1767767") and session.do("p") == (
        "g  q  k  v  mask  y  a  scale  dq  dk  dv  upstream  output")
    for line, words in {"p nothing": "there is no 'nothing'", "p q[9]": "index 9 is out of bounds", "p": None,
                        "p q[": "cannot be read", "p norm(zz)": "nothing is called `zz`", "p drop": "there is no 'drop'",
                        "heat scale": "is no array", "heat": "a name is needed"}.items():
        if words:
            refused(session, line, words)


def test_heat_draws_where_the_numbers_are_large(session):
    x = npf.tensor(np.diag([1.0, -2.0, 3.0]), dtype=npf.float64, requires_grad=True)
    session = Session(debug.trace(lambda: (x * x).sum()))
    session.do("goto 1")
    assert session.do("heat a").splitlines() == ["a (3, 3), -2 … 3", "  │ ▒    │", "  │  -▓  │", "  │     █│"]
    refused(session, "heat a 0", "takes an index into its first 0 dims")


def test_jacobian(session):
    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    session = at(Session(debug.trace(lambda: F.softmax(x, dim=-1).pow(2).sum())), "softmax")
    y = session.step.value
    row = np.diag(y[1]) - np.outer(y[1], y[1])
    assert f"{row[0, 1]:.4f}" in session.do("jac x 1 1")
    assert "25% of its entries are not 0" not in session.do("jac x 1 1")
    assert "33% of its entries are not 0" in session.do("jac x")
    refused(session, "jac z", "jac of which argument. x")
    large = at(Session(debug.trace(example("tiny")[1])), "attention")
    assert "dattention[0,0,0,0]/dq float64 (4, 2, 16, 32)" in large.do("jac q")


def test_rule_line_formula_stats_norms(session):
    at(session, "relu")
    assert session.do("rule").splitlines() == [
        "npformer/ops/activation.py:22", "relu.vjps(x=lambda g, y: keep(g, values(y) > 0))"]
    assert "→   63" in session.do("line") and len(session.do("line 1").splitlines()) == 4
    assert session.do("formula").splitlines() == ["max(x, 0).", "relu(x (4, 16, 128)) → (4, 16, 128) float64",
                                                  "  dx = g where x > 0, else 0"]
    stats = session.do("a")
    assert re.search(r"sent +dx +\(4, 16, 128\) +float64 .* 50%", stats)
    spark = session.do("norms").splitlines()
    norms = [layer.norm for layer in present.layers(session.trace)]
    assert spark[1].strip() == present.sparkline(norms) and spark[1][np.argmax(norms) + 2] == "█"
    assert spark[2].index("^") == 2 + next(k for k, layer in enumerate(present.layers(session.trace)) if layer.last >= 6)


def test_a_missing_source_file_is_said():
    from types import SimpleNamespace

    step = SimpleNamespace(source=("/nowhere/model.py", 3))
    assert present.user_line(step).note == "/nowhere/model.py is not here"
    step = SimpleNamespace(source=(__file__, 100_000))
    assert "has changed: it has no line 100000" in present.user_line(step).note


def test_arrays_too_large_or_not_kept_are_said_in_words():
    x = npf.randn(30, 40, dtype=npf.float64).requires_grad_()
    for trace in (debug.trace(lambda: (x * 3 + x).exp().mean(), largest=100), debug.trace((x * 3 + x).exp().mean())):
        session = Session(trace)
        for index in range(len(trace)):
            session.do(f"goto {index}")
            for command in ("look", "a", "l", "w", "formula", "rule", "ledger", "norms", "terms"):
                try:
                    assert session.do(command)
                except NpformerError as error:
                    assert "kept" in str(error) or "too large" in str(error)
    trace = debug.trace(lambda: (x * 3 + x).exp().mean(), largest=100)
    session = at(Session(trace), "exp")
    assert isinstance(session.step.value, Summary) and "too large to keep" in session.do("p y")
    refused(session, "p y[0]", "too large to keep")
    refused(session, "heat y", "too large to keep")
    refused(session, "set y = 1", "too large to keep")


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ledger_marks_what_has_come(session):
    session.do("goto 16")
    text = session.do("ledger x")
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["•", "→", "○", "○"]
    ledger = session.trace.ledger("add")
    assert [f"{np.linalg.norm(e.running):.4g}" in line for e, line in zip(ledger, text.splitlines()[1:])] == [True] * 4
    session.do("goto 0")
    assert "start" in session.do("ledger")
    refused(session, "ledger target", "is a constant here")


def test_terms_check_why_paths(session):
    at(session, "linear")
    assert "by matmul" in session.do("terms") and "agrees with finite differences" in session.do("check")
    at(session, "relu")
    zeros = int((session.step.inputs["x"] <= 0).sum())
    assert f"{zeros} of 8192 of its inputs are ≤ 0" in session.do("why zero x")
    assert "every value and every gradient is finite" in session.do("why nan")
    session.width = 300
    assert session.do("paths blocks.0.ff1.bias").count("→") == 8
    deleted = npf.models.TinyTransformer(7, 5, 8, 2, 9, residual="deleted").double()
    ids = npf.tensor([[1, 2, 3]])
    other = Session(debug.trace(lambda: deleted(ids).pow(2).mean()))
    assert "is not in the graph" in other.do("why zero blocks.0.query.weight")
    refused(other, "ledger blocks.0.query.weight", "no gradient reaches this parameter")


def test_residual_identity_at_an_addition(session):
    at(session, "add")
    text = session.do("residual")
    assert f"{np.linalg.norm(session.step.upstream):.4g}" in text
    assert float(re.search(r"within (\S+);", text).group(1)) < 1e-14
    at(session, "relu")
    assert session.do("residual") == "this step is no addition y = x + F(x); these steps are: 4, 9"


def test_the_statistics_of_an_array():
    row = present.row("input", "x", np.array([[0.0, 3.0, -4.0, 0.0], [np.nan, np.inf, 0.0, 0.0], [0.0] * 4]))
    assert (row.shape, row.norm, row.min, row.max, row.zeros, row.nan, row.inf) == ("(3, 4)", 5.0, -4.0, 3.0, 1 - 4 / 12, 1, 1)
    assert row.cells()[-2:] == ["67%", "1 NaN 1 inf"]


# ── predicting and changing ──────────────────────────────────────────────────────────────────────────────────────────


def test_predict_asks_before_it_shows(session):
    at(session, "linear")
    truth = float(session.step.gradients["bias"][3])
    assert "what is it?" in session.do("predict dbias[3]") and str(truth)[:6] not in session.do(str(-truth))
    assert session.prompt == "dbias[3] = ? "
    assert "too large, by a factor of 2" in session.do(str(2 * truth)) and session.do(str(truth)).startswith("right")
    session.do("predict dbias[3]")
    assert "sign" in session.do(str(-truth)) and session.do("17") and present.number(truth, 6) in session.do("18")
    assert session.question is None
    session.do("predict dbias[3]")
    assert session.do("").startswith("it is dbias[3] = ")
    session.do("predict dbias[3]")
    assert session.do("w").startswith("TinyTransformer") and session.question is None
    session.do("predict dbias[3]")
    refused(session, "zz", "no command 'zz'")
    assert session.prompt == "dbias[3] = ? " and session.do(str(truth)).startswith("right")
    assert session.do(f"predict dbias[3] {truth}").startswith("right")
    assert session.do(f"predict dbias[3] {truth * 1.02 + 1}").startswith("no")
    session.do("")
    refused(session, "predict dx", "an index for each dim")
    refused(session, "predict dbias[3] many", "is no number")


def test_set_a_parameter_reruns_the_program():
    model, loss = example("tiny")
    session = Session(debug.trace(loss))
    text = session.do("set blocks.0.norm1.weight[3] = 1.5")
    with npf.no_grad():
        model.blocks[0].norm1.weight[3] = 1.5
    again = debug.trace(loss)
    assert session.trace.diff(again) is None       # what the program itself computes with that weight
    assert "blocks.0.norm1.weight" in text and f"→ {again.output.item():.6g}" in text
    assert session.original.diff(session.trace) is not None
    assert "nothing differs" in session.do("reset") and session.trace is session.original


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_rerun_without_changes_gives_the_same_bits(name):
    from npformer.debug.rerun import Changes, rerun

    trace = debug.trace(example(name)[1])
    before = bits(trace)
    again = rerun(trace, Changes())
    assert trace.diff(again) is None and bits(again) == before == bits(trace)
    with npf.no_grad():
        node = next(n for n in trace.nodes if n.op is None and n.value.ndim == 2)
        same = rerun(trace, Changes(values={node.number: node.value.copy()}))       # all behind it is computed anew
    assert trace.diff(same, 1e-12) is None


def test_set_what_arrives_what_flows_and_what_is_constant(session):
    at(session, "relu")
    session.do("set g = 0")
    assert not session.step.upstream.any() and not session.trace.gradient("blocks.0.ff1.weight").any()
    assert session.trace.gradient("blocks.0.ff2.weight").any() and "set by hand" in session.do("look")
    session.do("reset")
    session.do("set x = -1")                       # nothing passes: F(x) is ff2's bias alone
    assert not session.step.value.any() and not session.trace.gradient("blocks.0.ff2.weight").any()
    session.do("reset")
    session.do("goto 0")
    session.do("set target[0] = 3")
    assert session.step.inputs["target"][0] == 3 and session.original[0].inputs["target"][0] != 3
    assert session.cursor.index == 0
    refused(session, "set target[0] = 99", "out of range")
    refused(session, "set target[0,0,0] = 1", "too many indices")
    refused(session, "set logits", "NAME.INDEX. = NUMBER")
    refused(session, "set logits = many", "is no number")
    refused(session, "set dlogits = 1", "`patch` changes rules")


def test_a_rerun_says_that_hooks_are_left_out():
    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()

    def loss():
        y = x.exp()
        y.register_hook(lambda g: g * 2)
        return y.sum()

    session = at(Session(debug.trace(loss)), "exp")
    assert "changed by a hook" in session.do("look") and "then a hook changed it" in session.do("ledger")
    assert "rerun without the hooks that changed the gradient of exp" in session.do("set x = 1")
    assert np.allclose(session.step.gradients["x"], np.e)


def test_set_reaches_into_a_users_function():
    class Scale(npf.autograd.Function):
        @staticmethod
        def forward(ctx, x, factor):
            ctx.save_for_backward(x)
            return x * x * factor

        @staticmethod
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0] * 3, None

    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    session = at(Session(debug.trace(lambda: Scale.apply(x + 0, 3).sum())), "Scale")
    assert "return 2 * g * ctx.saved_tensors[0] * 3, None" in session.do("rule")
    session.do("set x[1, 2] = 7")
    assert session.step.value[1, 2] == 3 * 49 and session.step.gradients["x"][1, 2] == 42
    assert session.step.check() and session.original[1].check()


def test_a_planted_mistake_is_found_by_mismatch():
    for name, op in (("gpt", "gelu_tanh"), ("seq2seq", "softmax"), ("tiny", "relu")):
        session = at(Session(debug.trace(example(name)[1])), op)
        there = session.cursor.index
        listed = session.do("patch").splitlines()
        assert int(listed[0].split()[0]) == len(listed) - 1 > 3
        mutant = listed[1].strip()
        text = session.do(f"patch {mutant}")
        assert mutant in text and "is the first that differs" in text
        assert "DIFFERS" in session.do("check") and "WRONG" in session.do("check") and session.failed
        assert f"patched: {mutant}" in session.do("look")
        session.do("goto 0")
        session.do("b mismatch")
        assert "breakpoint 1: mismatch" in session.do("c") and session.cursor.index == there
        assert "no breakpoint was met" in session.do("c")                           # the others are right
        refused(session, "save /tmp/never", "cannot be saved")
        session.do("unpatch")
        session.do("goto 0")
        assert "no breakpoint was met" in session.do("c")


def test_a_patched_fused_operation_disagrees_with_its_definition():
    session = at(Session(debug.trace(example("gpt")[1])), "gelu_tanh")
    session.do(f"patch {session.do('patch').splitlines()[1].strip()}")
    assert session.step.into().agreement > 1e-3
    session.do("reset")
    at(session, "reshape")
    assert "no planted mistake fits" in session.do("patch")
    at(session, "gelu_tanh")
    refused(session, "patch nonsense", "no planted mistake|which mistake")


def test_a_mistake_in_a_masked_attention_changes_only_what_it_should(session):
    at(session, "attention")
    before = session.step
    session.do("patch attention: scale missing from dq")
    assert np.allclose(session.step.gradients["q"], before.gradients["q"] * np.sqrt(32), rtol=1e-12)
    assert all(np.array_equal(session.step.gradients[k], before.gradients[k]) for k in "kv")
    assert "attention.wrong(\"scale missing from dq\"" in session.do("rule")
    assert "gradient of blocks.0.permute (" in session.do("diff") and "4 of 20 leaves" in session.do("diff")


def test_a_mistake_that_these_values_hide_is_said(session):
    session.do("goto 8")                           # a fresh norm: its weight is 1
    text = session.do("patch layer_norm: weight forgotten")
    assert "nothing differs from what was recorded" in text and "no test at this point can see it" in text
    session.do("set weight = 1.5")
    assert "DIFFERS" in session.do("check")


@pytest.mark.parametrize("op", ["cross_entropy", "linear", "layer_norm", "add", "relu", "attention", "embedding"])
def test_every_kind_of_step_of_the_first_model_has_mistakes_to_plant(session, op):
    at(session, op)
    names = [line.strip() for line in session.do("patch").splitlines()[1:]]
    seen = []
    for name in names:
        try:
            session.do(f"patch {name}")
        except NpformerError as error:             # of the wrong shape: the walk itself refuses it
            assert "a gradient of shape" in str(error) or "writes into the gradient" in str(error)
            seen.append("refused")
        else:
            seen.append("DIFFERS" in session.do("check") or "no test at this point" in session.do(f"patch {name}"))
            session.do("unpatch")
    assert len(seen) >= 4 and all(seen) and seen.count("refused") < len(seen) / 2


def test_rerun_and_diff_without_changes(session):
    assert "are the same, bit for bit" in session.do("rerun")
    assert session.do("diff") == "nothing differs from what was recorded"
    assert session.do("unpatch") == "nothing is patched" and session.do("reset") == "nothing was changed"


# ── files and help ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_save_and_load(session, tmp_path):
    session.do("set blocks.0.ff1.bias = 0.5")
    session.do(f"save {tmp_path / 'a.trace'}")
    loaded = debug.Trace.load(tmp_path / "a.trace")
    assert loaded.diff(session.trace) is None
    refused(session, "save", "into which file")
    refused(session, f"save {tmp_path}/nowhere/a", "cannot be written")


def test_help_knows_every_command(session):
    text = session.do("help")
    for name, command in COMMANDS.items():
        assert name in text and session.do(f"help {name}").startswith(command.usage)
    refused(session, "help nonsense", "there is no command")
    assert session.do("q") == "" and session.done


@pytest.mark.parametrize("line", ["p", "heat", "jac", "set", "patch x", "predict", "watch", "who", "why", "paths", "goto",
                                  "b", "clear", "export", "save", "ledger", "why zero", "/", "?", "l x", "line x", "set = 3",
                                  "p []", "p [0]", "heat g g g", "predict g", "jac", "p " + "(" * 500, "set g[ = 1", "p \x00"])
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
    assert "its code is not at hand" in session.do("rule") and "its code is not in the file" in session.do("check")
    refused(session, "set g = 2", "its code is not in the file")
    session.do("goto 0")
    session.do("b mismatch")
    assert "1 step could not be judged: step 1, Half" in session.do("c") and not session.failed
