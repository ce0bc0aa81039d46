"""The judge against wrong gradients known by name: each is caught, nearly all are named; the right
ones pass."""

from functools import cache

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer.core.operation import REGISTRY, Fused
from npformer.verify import mutants as library

MUTANTS, CONTROLS = library.mutants(), library.controls()


@cache
def judge_mutant(name, seed=0):
    mutant = MUTANTS.get(name) or CONTROLS[name]
    return npf.verify.check_vjp(mutant.forward, mutant.backward, mutant.inputs(seed),
                                names=mutant.names, seed=seed,
                                raises=False)


def test_there_are_enough_over_all_that_has_a_hand_written_backward():
    assert len(MUTANTS) >= 120
    fused = {name for name, op in REGISTRY.items() if isinstance(op, Fused)
             and op.__module__.startswith("npformer")}
    assert fused - {name for name, s in library.SUBJECTS.items() if s.mutants} == set()
    planted = {kind for m in MUTANTS.values() for kind in m.kinds}
    assert planted <= set(npf.verify.KINDS)
    # These two are no mistakes, but test points at which nothing can be seen.
    missing = set(npf.verify.KINDS) - planted - {"vacuous", "kink"}
    assert not missing, f"{sorted(missing)}: plant a mistake that must get this name"


@pytest.mark.parametrize("name", CONTROLS)
def test_right_gradients_pass(name):
    for seed in range(3):
        report = judge_mutant(name, seed)
        assert report and not report.findings, report


@pytest.mark.parametrize("name", MUTANTS)
def test_each_is_caught(name):
    report = judge_mutant(name)
    assert not report and report.wrong, report
    assert len(str(report).splitlines()) <= 3 * len(MUTANTS[name].names) + 8


def test_nearly_all_get_their_right_name_first():
    others = {name: judge_mutant(name).wrong[0] for name, m in MUTANTS.items()
              if judge_mutant(name).wrong[0].kind not in m.kinds}
    listing = "\n".join(f"{name}: {finding}" for name, finding in others.items())
    assert len(others) <= 0.02 * len(MUTANTS), listing


def test_the_message_has_the_numbers_in_it():
    finding = judge_mutant("attention: scale missing from dq").wrong[0]
    assert finding.kind == "factor" and "1.732" in finding.message and finding.input == "q"
    finding = judge_mutant("layer_norm: mean subtracted twice").wrong[0]
    assert finding.kind in ("wrong-coefficient", "path-doubled") and "2" in finding.message


@pytest.mark.parametrize("name, ours", {
    "linear": lambda x, w, b: F.linear(x, w, b), "softmax": lambda x: F.softmax(x, -1),
    "log_softmax": lambda x: F.log_softmax(x, -1), "gelu": F.gelu,
                                        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu, "layer_norm": lambda x, w, b: F.layer_norm(x, (7,), w, b, eps=0.1),
    "rms_norm": lambda x, w: F.rms_norm(x, (7,), w, eps=0.1),
    "batch_norm": lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=0.1),
    "attention": F.scaled_dot_product_attention, "cross_entropy": F.cross_entropy,
    "causal_attention": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    "cross_entropy_smoothed": lambda x, t: F.cross_entropy(x, t, label_smoothing=0.3),
    "cross_entropy_with_padding": F.cross_entropy, "embedding": lambda w, i: F.embedding(i, w),
}.items())
def test_they_are_mutants_of_npformers_own_operations(name, ours):
    subject = CONTROLS[f"{name}: right"]
    inputs = subject.inputs(5)
    y = subject.forward(*inputs)
    y = y[0] if isinstance(y, tuple) else y
    np.testing.assert_allclose(ours(*map(npf.from_numpy, map(np.asarray, inputs))).numpy(), y,
                               rtol=1e-10, atol=1e-12)


def check_sum_of_output(forward, backward, inputs):
    """The checker of many courses: it sums the output, so the upstream is all ones."""
    y = forward(*inputs)
    ones = np.ones(np.shape(y[0] if isinstance(y, tuple) else y))
    sent = backward(ones, y[1]) if isinstance(y, tuple) else backward(ones, *inputs)
    for x, d in zip(inputs, sent):
        if x.dtype.kind != "f":
            continue
        for place in np.ndindex(x.shape):
            before, ends = x[place], []
            for step in (1e-5, -1e-5):
                x[place] = before + step
                z = forward(*inputs)
                ends.append(np.sum(z[0] if isinstance(z, tuple) else z))
            x[place] = before
            if abs((ends[0] - ends[1]) / 2e-5 - d[place]) > 1e-5:
                return False
    return True


def test_a_checker_that_sums_the_output_lets_many_through():
    missed = library.unnoticed(check_sum_of_output, "softmax", "permute_cube", "split_heads",
                               "reshape", "roll",
                               "log_softmax")
    assert {"permute_cube: the same order again", "split_heads: merged without transposing back",
            "log_softmax: the backward of softmax"} & set(missed)
    assert len(missed) >= 6, missed


def test_an_exercise_counts_a_raised_error_as_noticed():
    def strict(forward, backward, inputs):
        raise AssertionError

    assert library.unnoticed(strict, "softmax") == []
    assert len(library.unnoticed(lambda *_: None,
                                 "softmax")) == len(library.SUBJECTS["softmax"].mutants)


def test_a_mutant_needs_a_kind_and_a_known_input():
    with pytest.raises(ValueError, match="softmax: oops"):
        library.SUBJECTS["softmax"].wrong("oops", x=lambda g: g)
    with pytest.raises(ValueError, match="unknown"):
        library.SUBJECTS["softmax"].wrong("oops", "sign", z=lambda g: g)


@pytest.mark.parametrize("change",
                         [lambda a: a * 1e-3, lambda a: a * 1e-6, lambda a: a * 10,
                          lambda a: a * 1e6,
                          lambda a: a.astype(np.float32), np.asfortranarray],
                         ids=["small", "tiny", "large", "huge", "float32", "by columns"])
@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")             # of exp, at the huge ones
def test_right_gradients_at_awkward_points_are_never_called_wrong(name, change):
    control = CONTROLS[name]
    inputs = [change(a) if a.dtype.kind == "f" else a for a in control.inputs(7)]
    try:
        report = npf.verify.check_vjp(control.forward, control.backward, inputs, raises=False)
    except npf.GraphError as error:
        assert "NaN or infinity" in str(error)
        return
    assert all(c.ok for c in report.comparisons) and {f.kind
                                                      for f in report.findings} <= {"vacuous",
                                                                                    "kink"}, report


@pytest.mark.parametrize("kind", npf.verify.KINDS)
def test_the_third_hint_is_a_formula(kind):
    """Of the kind by itself, and of every mutant that gets that name: and not the message again."""
    bare = npf.verify.Finding(kind, "w", "what is seen")
    assert ("=" in bare.hint(3) or kind == "vacuous") and "{" not in bare.hint(3)
    for name in MUTANTS:
        finding = judge_mutant(name).wrong[0]
        if finding.kind == kind:
            hints = [finding.hint(tier) for tier in (1, 2, 3)]
            assert len({*hints, finding.message}) == 4 and "=" in hints[2], (name, hints)
