"""Conditions: each form finds what a lambda finds; and what makes no sense is refused in words."""

import numpy as np
import pytest

import npformer as npf
from npformer import debug
from npformer.core.facts import ArrayFacts
from npformer.debug.examples import example
from npformer.debug.views.conditions import Condition, calculate
from npformer.nn import functional as F


@pytest.fixture(scope="module")
def tiny():
    return debug.trace(example("tiny")[1])


def found(text, trace):
    """The numbers of the steps at which a condition holds."""
    condition = Condition(text, trace)
    return [step.index for step in trace if condition.holds(step)]


BY_HAND = {
    "op:layer_norm": lambda s: s.op == "layer_norm",
    "op:l*": lambda s: s.op.startswith("l"),
    "name:blocks.0.norm*": lambda s: s.where.startswith("blocks.0.norm"),
    "name:blocks.0": lambda s: s.where == "blocks.0",
    "name:blocks.0.relu": lambda s: s.name == "blocks.0.relu",
    "norm(g) > 0.06": lambda s: np.linalg.norm(s.upstream) > 0.06,
    "norm(g) < 1e-2": lambda s: np.linalg.norm(s.upstream) < 1e-2,
    "zeros(dx) > 0.3": lambda s: "x" in s.gradients and np.mean(s.gradients["x"] == 0) > 0.3,
    "fan-out > 1": lambda s: len(s.ledger) > 1,
    "fanout == 4 and not op:linear": lambda s: len(s.ledger) == 4,
    "max(abs(dweight)) >= 2 * max(abs(g))": lambda s: "weight" in s.gradients and (
        np.abs(s.gradients["weight"]).max() >= 2 * np.abs(s.upstream).max()),
    "0.01 < norm(g) < 0.02": lambda s: 0.01 < np.linalg.norm(s.upstream) < 0.02,
    "index == 7 or index >= 24": lambda s: s.index == 7 or s.index >= 24,
    "op == 'add'": lambda s: s.op == "add",
    "any(x < -5)": lambda s: "x" in s.inputs and bool((s.inputs["x"] < -5).any()),
    "-mean(g) > 1e-7": lambda s: -np.mean(s.upstream) > 1e-7,
    "g[0, 0, :2] > 0.0005": lambda s: (
        s.upstream.ndim > 2 and bool(np.any(s.upstream[0, 0, :2] > 0.0005))),
    "norm(dx) / norm(g) > 0.9 and (op:relu or op:add or op:permute)": lambda s: (
        s.op in ("relu", "permute") and "x" in s.gradients
        and np.linalg.norm(s.gradients["x"]) > 0.9 * np.linalg.norm(s.upstream)),
}


@pytest.mark.parametrize("text", BY_HAND)
def test_a_condition_finds_what_it_says(tiny, text):
    by_hand = [step.index for step in tiny if BY_HAND[text](step)]
    assert 0 < len(by_hand) < len(tiny), "a condition that holds nowhere, or everywhere, would pass"
    assert found(text, tiny) == by_hand


def test_nan_and_inf_are_found_where_they_arise_and_a_mask_of_infinity_is_none():
    x = npf.tensor([[4.0, 0.0, 1.0]], dtype=npf.float64, requires_grad=True)
    mask = npf.tensor([[0.0, -np.inf, 0.0]], dtype=npf.float64)

    def loss():
        p = F.softmax(x + mask, dim=-1)
        return (p * (x - 4).abs().sqrt()).sum()     # slope of sqrt at 0 is infinite

    trace = debug.trace(loss)
    assert [trace[k].op for k in found("inf", trace)] == ["sqrt", "abs"]
    assert [trace[k].op for k in found("nan", trace)] == ["abs", "sub"]
    assert not found("nan", debug.trace(lambda: F.softmax(x + mask, dim=-1).log1p().sum()))
    assert not found("inf", debug.trace(lambda: F.softmax(x + mask, dim=-1).log1p().sum()))
    odd = npf.tensor([[np.nan, 1.0, 1.0]], dtype=npf.float64)
    assert found("nan", debug.trace(lambda: (x * odd).exp().sum()))


def test_mismatch_finds_a_wrong_rule_and_no_right_one(tiny):
    class Wrong(npf.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0].cos() * 0.99

    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    trace = debug.trace(lambda: (Wrong.apply(x.exp()) * 2).sum())
    assert [trace[k].op for k in found("mismatch", trace)] == ["Wrong"]
    assert found("mismatch", tiny) == []


def test_a_wrong_gradient_that_is_small_beside_the_others_is_a_mismatch():
    x, w, b = (npf.randn(*shape, dtype=npf.float64).requires_grad_()
               for shape in ((3, 4), (2, 4), (2,)))
    trace = debug.trace(lambda: F.linear(x * 1e-9, w, b).sum())
    step = next(s for s in trace if s.op == "linear")
    assert np.abs(step.gradients["weight"]).max() < 1e-8 * np.abs(step.gradients["bias"]).max()
    assert not found("mismatch", trace)
    step.sent = [step.sent[0], step.sent[1] * 1.01, step.sent[2]]
    assert found("mismatch", trace) == [step.index]


def test_float32_rounding_is_no_mismatch():
    model, loss = example("gpt")
    trace = debug.trace(lambda: (model.float(), loss())[1])
    assert trace[0].upstream.dtype == np.float32 and found("mismatch", trace) == []


def test_steps_that_cannot_be_judged_are_counted():
    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    trace = debug.trace((x + 1).exp().sum())       # from a loss: add and sum kept no values
    trace.nodes[0].value = None
    for node in trace.nodes[1:]:
        node.values = (None,) * len(node.values)
    condition = Condition("mismatch", trace)
    assert not any(condition.holds(step) for step in trace)
    assert condition.unknown == 3
    assert "step 0, sum: the values of x were not kept" in condition.reason
    condition = Condition("g[0, 1, 2] > 0", trace)
    assert not any(condition.holds(step) for step in trace)
    assert condition.unknown == 3 and "too many indices" in condition.reason


def test_an_array_too_large_to_keep_has_its_facts_and_no_entries():
    x = npf.randn(30, 40, dtype=npf.float64).requires_grad_()
    trace = debug.trace(lambda: (x * 3).sum(), largest=100)
    assert isinstance(trace[1].inputs["a"], ArrayFacts)
    assert found("norm(a) > 1 and max(a) > 0 and zeros(a) == 0", trace) == [1]
    assert found("a[0, 0] > -1000", trace) == [] and found("sum(a) > -1e9", trace) == []


REFUSED = {
    "": "a condition is needed",
    "foo": "nothing is called `foo`",
    "norm(dxx) > 1": "is it dx or x",
    "norm(g": "cannot be read, at `(g`",
    "op:sofmax": "no step matches op:sofmax",
    "op:attentoin": "Is it attention",
    "name:blok.*": "no step matches name:blok",
    "__import__('os').system('true')": "there is no function `__import__",
    "open('x')": "there is no function `open`",
    "g.tofile": r"\.tofile is not known",
    "[x for x in g]": "ListComp has no place",
    "lambda: 1": "Lambda has no place",
    "(a := 3)": "NamedExpr has no place",
    "f'{g}'": "has no place",
    "norm(g, 1) > 2": "takes one argument",
    "norm(x=g)": "takes one argument",
    "like(op, where)": "write op:softmax",
    "x" * 9 + "(" * 300: "cannot be read",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_makes_no_sense_is_refused_at_the_door(tiny, text):
    with pytest.raises(npf.core.errors.InputError, match=REFUSED[text].replace("(", r"\(")):
        Condition(text, tiny)


def test_nothing_that_is_typed_is_run_and_huge_powers_do_not_hang(tiny):
    condition = Condition("9 ** 9 ** 9 ** 9 > 1", tiny)
    assert not condition.holds(tiny[0]) and "out of range" in condition.reason


def test_a_calculation_at_a_step(tiny):
    step = tiny[8]
    ratio = np.linalg.norm(step.gradients["x"]) / np.linalg.norm(step.upstream)
    assert calculate("norm(dx) / norm(g)", step) == ratio
    assert np.array_equal(calculate("x[0, -1, ::2] - 1", step), step.inputs["x"][0, -1, ::2] - 1)
    assert calculate("g.T.shape", step) == (64, 16, 4)
    with pytest.raises(npf.core.errors.InputError, match="whole numbers, slices"):
        calculate("x[g] + 1", step)
