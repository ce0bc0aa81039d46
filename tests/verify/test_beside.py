"""Beside PyTorch: what differs is named, with PyTorch's gradient as the truth."""

import numpy as np
import pytest

import npformer as npf
from npformer import nn
from npformer.verify import against_torch

torch = pytest.importorskip("torch", reason="it compares with PyTorch, which is not installed")
X = np.random.default_rng(0).standard_normal((5, 7))


def function(forward, backward):
    """A Function of what is given: forward(ctx, *xs), backward(ctx, g)."""
    return type("Mine", (npf.autograd.Function,),
                {"forward": staticmethod(forward), "backward": staticmethod(backward)})


def softmax(ctx, x):
    y = x.softmax(-1)
    ctx.save_for_backward(y)
    return y


def linear(ctx, x, weight, bias):
    ctx.save_for_backward(x, weight)
    return x @ weight.T + bias


def linear_backward(ctx, g):
    x, weight = ctx.saved_tensors
    return g @ weight, g.T @ x, g.mean(0)


class Linear(nn.Linear):
    def forward(self, x):
        return function(linear, linear_backward).apply(x, self.weight, self.bias)


def test_the_first_wrong_operation_is_named_with_its_line():
    diagonal = function(softmax,
                        lambda ctx, g: g * ctx.saved_tensors[0] * (1 - ctx.saved_tensors[0]))
    report = against_torch(lambda x: diagonal.apply(2 * x).exp(),
                           lambda x: (2 * x).softmax(-1).exp(), [X], raises=False)
    first = report.findings[0]
    assert (first.kind, first.detail["op"]) == ("diagonal-jacobian", "Mine")
    assert "test_beside.py" in first.message
    assert [c.ok for c in report.comparisons] == [True, False]
    assert str(report).startswith("against_torch(<lambda>): gradients of inputs[0] are wrong\n  ok "
                                  "   the output (5, 7)")


def test_a_modules_parameters_are_diagnosed():
    report = against_torch(Linear(7, 3), torch.nn.Linear(7, 3), [X], raises=False)
    assert [(f.kind, f.input) for f in report.findings][1:] == [("averaged-broadcast", "bias")]


def test_a_path_that_is_cut():
    report = against_torch(lambda x, y: x.detach() * y, lambda x, y: x * y, [X, X + 1],
                           raises=False)
    assert [(f.kind, f.input) for f in report.findings] == [("zero", "inputs[0]")]


@pytest.mark.parametrize("here, there, kind", [
    (lambda x: 2 * x.sigmoid(), torch.sigmoid, "factor"), (lambda x: -x.tanh(), torch.tanh, "sign"),
    (lambda x: x.flip(0), lambda x: x, "permuted"),
                                               (lambda x: x.sigmoid(), torch.tanh, "unexplained"),
])
def test_another_output_is_no_gradient(here, there, kind):
    report = against_torch(here, there, [X], raises=False)
    assert report.findings[0].kind == kind
    assert report.findings[0].message.startswith("the output: yours ")
    assert "the output is wrong and gradients of inputs[0] are wrong" in str(report)
    assert "doutput" not in str(report)
    assert "doutput" not in " ".join(report.hints(1) + report.hints(2) + report.hints(3))


def test_what_agrees_passes():
    report = against_torch(lambda ids, table: table[ids], lambda ids, table: table[ids],
                           [np.array([1, 2, 1]), X])
    assert report and [c.name for c in report.comparisons] == ["output", "inputs[1]"]
    assert not report.findings
    assert against_torch(nn.LayerNorm(7), torch.nn.LayerNorm(7), [X])
