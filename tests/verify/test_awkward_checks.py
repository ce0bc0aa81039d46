"""The judge at its door: what cannot be judged is refused in one sentence, and functions that
misbehave are named."""

import subprocess
import sys

import numpy as np
import pytest

import npformer as npf
from npformer import nn
from npformer.verify import against_torch, check_model, check_vjp

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 5))


def square(x):
    return x * x


def square_backward(g, x):
    return 2 * g * x


def test_one_array_need_not_stand_in_a_list():
    assert check_vjp(square, square_backward, X)


@pytest.mark.parametrize("forward, inputs, options, words", [
    (square, [X + 1j], {}, "input 0 is complex"),
    (lambda x: x + 1j, [X], {}, "it returned complex128"),
    (lambda x: None, [X], {}, "it returned NoneType"),
    (lambda x: np.float32(x) ** 2, [X], {}, "forward made float32 of float64 inputs"),
    (lambda x: "y", [X], {}, "it returned str"),
    (square, [X], {"cache": True}, r"forward must return \(y, cache\), it returned ndarray"),
    (lambda x: (x * x, x), [X], {"cache": False}, "it returned tuple"),
])
def test_what_cannot_be_judged_is_refused(forward, inputs, options, words):
    with pytest.raises(npf.DTypeError, match=words):
        check_vjp(forward, square_backward, inputs, **options)


def test_each_input_has_one_name():
    with pytest.raises(npf.ShapeError, match="2 names for 1 inputs"):
        check_vjp(square, square_backward, [X], names=["x", "y"])


def test_a_model_is_checked_at_tensors():
    with pytest.raises(npf.DTypeError, match="input 0 must be a Tensor, got ndarray"):
        check_model(nn.Linear(5, 3), lambda y: y.sum(), [X])
    with pytest.raises(npf.DTypeError, match="input 0 must be a Tensor, got int"):
        check_model(nn.Linear(5, 3), lambda y: y.sum(), 3)
    with pytest.raises(npf.GraphError,
                       match=r"loss_fn must return a Tensor of one number, it returned \(4, 3\)"):
        check_model(nn.Linear(5, 3), lambda y: y, npf.randn(4, 5))


def test_a_forward_pass_that_writes_into_its_input_is_named():
    report = check_vjp(lambda x: np.square(x, out=x), square_backward, [X], names=["x"],
                       raises=False)
    assert report.wrong[0].kind == "mutates" and report.wrong[0].input == "x"


def test_a_backward_pass_that_writes_into_its_cache_is_named():
    """The gradient is right, once."""
    def backward(g, y):
        y *= g
        return y

    def forward(x):
        y = np.exp(x)
        return y.copy(), y

    report = check_vjp(forward, backward, [X], raises=False)
    assert [f.kind for f in report.wrong] == ["mutates"]
    assert "arrays that forward saved" in report.wrong[0].message
    assert check_vjp(forward, lambda g, y: g * y, [X])


def test_a_forward_pass_that_draws_at_random_is_named():
    report = check_vjp(lambda x: x * RNG.random(x.shape), square_backward, [X], raises=False)
    assert report.wrong[0].kind == "not-repeatable"
    assert "the forward pass gives another output" in report.wrong[0].message


@pytest.mark.parametrize("dq, right",
                         [(lambda g, q, k: g @ k, True), (lambda g, q, k: g @ q, False)])
def test_equal_inputs_are_looked_at_apart(dq, right):
    """At q = k, one taken for the other would pass."""
    report = check_vjp(lambda q, k: q @ k.T, lambda g, q, k: (dq(g, q, k), g.T @ q), [X, X],
                       names=["q", "k"], raises=False)
    assert bool(report) is right
    assert [c.name for c in report.comparisons if not c.ok] == ([] if right else ["q"])


def test_each_finding_has_a_hint_in_each_tier():
    report = check_vjp(lambda x, y: x * y, lambda g, x, y: (g * y * x, -g * x), [X, X + 1],
                       names=["x", "y"], raises=False)
    assert [f.kind for f in report.wrong] == ["extra-factor", "sign"]
    for tier in (1, 2, 3):
        assert len(report.hints(tier)) == 2 and all(report.hints(tier))
    assert report.hints(1) == ["look at dx", "look at dy"]
    for tier in (0, 4, "where"):
        with pytest.raises(npf.ValueRangeError, match="the tiers are 1"):
            report.hints(tier)


def test_against_torch_names_its_witness():
    torch = pytest.importorskip("torch", reason="it compares with PyTorch, which is not installed")
    report = against_torch(lambda x: x.sigmoid(), torch.tanh, [X], raises=False)
    assert "PyTorch says" in str(report) and "finite differences" not in str(report)


def test_what_loads_on_first_use_is_there():
    """In a fresh process: here, another test may have loaded it."""
    program = """
import npformer as npf
assert callable(npf.verify.mutants.unnoticed) and callable(npf.verify.golden.golden)
assert npf.verify.strategies.masks
assert not hasattr(npf.verify, "nothing")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
