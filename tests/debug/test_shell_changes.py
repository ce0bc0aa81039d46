"""The shell: predicting numbers, changing values and rules, and running again."""

import numpy as np
import pytest
from shell_driver import at, bits, refused

import npformer as npf
from npformer import debug
from npformer.core import facts
from npformer.core.errors import NpformerError
from npformer.debug.examples import EXAMPLES, example
from npformer.debug.shell import Session


def test_predict_asks_before_it_shows(session):
    at(session, "linear")
    truth = float(session.step.gradients["bias"][3])
    assert "what is it?" in session.do("predict dbias[3]")
    assert str(truth)[:6] not in session.do(str(-truth))
    assert session.prompt == "dbias[3] = ? "
    assert "too large, by a factor of 2" in session.do(str(2 * truth))
    assert session.do(str(truth)).startswith("right")
    session.do("predict dbias[3]")
    assert "sign" in session.do(str(-truth)) and session.do("17")
    assert facts.four_digits(truth, 6) in session.do("18")
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
    refused(session, "predict dbias[3] many", "is not a number")


def test_set_a_parameter_reruns_the_program():
    model, loss = example("tiny")
    session = Session(debug.trace(loss))
    text = session.do("set blocks.0.norm1.weight[3] = 1.5")
    with npf.no_grad():
        model.blocks[0].norm1.weight[3] = 1.5
    again = debug.trace(loss)
    assert session.trace.diff(again) is None       # what the program computes with that weight
    assert "blocks.0.norm1.weight" in text and f"→ {again.output.item():.6g}" in text
    assert session.original.diff(session.trace) is not None
    assert "nothing differs" in session.do("reset") and session.trace is session.original


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_rerun_without_changes_gives_the_same_bits(name):
    from npformer.debug.traces.rerun import Changes, rerun

    trace = debug.trace(example(name)[1])
    before = bits(trace)
    again = rerun(trace, Changes())
    assert trace.diff(again) is None and bits(again) == before == bits(trace)
    with npf.no_grad():
        node = next(n for n in trace.nodes if n.op is None and n.value.ndim == 2)
        # All that was computed from it is computed anew.
        same = rerun(trace, Changes(values={node.number: node.value.copy()}))
    assert trace.diff(same, 1e-12) is None


def test_set_what_arrives_what_flows_and_what_is_constant(session):
    at(session, "relu")
    session.do("set g = 0")
    assert not session.step.upstream.any()
    assert not session.trace.gradient("blocks.0.ff1.weight").any()
    assert session.trace.gradient("blocks.0.ff2.weight").any()
    assert "set by hand" in session.do("look")
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
    refused(session, "set logits = many", "is not a number")
    refused(session, "set dlogits = 1", "`patch` changes rules")


def test_a_rerun_says_that_hooks_are_left_out():
    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()

    def loss():
        y = x.exp()
        y.register_hook(lambda g: g * 2)
        return y.sum()

    session = at(Session(debug.trace(loss)), "exp")
    assert "changed by a hook" in session.do("look")
    assert "then a hook changed it" in session.do("ledger")
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
        text = session.do("check")
        assert "DIFFERS" in text and "WRONG" in text and session.failed
        assert f"patched: {mutant}" in session.do("look")
        session.do("goto 0")
        session.do("b mismatch")
        assert "breakpoint 1: mismatch" in session.do("c") and session.cursor.index == there
        assert "no breakpoint was met" in session.do("c")      # the others are right
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
    text = session.do("diff")
    assert "gradient of blocks.0.permute (" in text and "4 of 20 leaves" in text


def test_a_mistake_that_these_values_hide_is_said(session):
    session.do("goto 8")                           # a fresh norm: its weight is 1
    text = session.do("patch layer_norm: weight forgotten")
    assert "nothing differs from what was recorded" in text
    assert "no test at this point can see it" in text
    session.do("set weight = 1.5")
    assert "DIFFERS" in session.do("check")


@pytest.mark.parametrize("op", ["cross_entropy", "linear", "layer_norm", "add", "relu",
                                "attention", "embedding"])
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
            seen.append("DIFFERS" in session.do("check") or
                        "no test at this point" in session.do(f"patch {name}"))
            session.do("unpatch")
    assert len(seen) >= 4 and all(seen) and seen.count("refused") < len(seen) / 2


def test_rerun_and_diff_without_changes(session):
    assert "are the same, bit for bit" in session.do("rerun")
    assert session.do("diff") == "nothing differs from what was recorded"
    assert session.do("unpatch") == "nothing is patched"
    assert session.do("reset") == "nothing was changed"
