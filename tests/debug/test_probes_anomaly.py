"""The first NaN or infinity, forwards and backwards: which operation made it, where, out of what,
and why."""

import math

import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer import nn
from npformer.core import tape


def leaf():
    return npf.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], requires_grad=True)


FORWARD = {
    "log of 0": (lambda x: x.log(), "log: its forward gave infinity in 1 of 6 entries",
                 r"log\(0\) is −∞"),
    "log of a negative": (lambda x: (x - 1).log(), "log: its forward gave NaN in 2",
                          "a negative number has no logarithm"),
    "log1p": (lambda x: (-x).log1p(), "log1p: its forward gave NaN", "below −1"),
    "0/0": (lambda x: x / x, "div: its forward gave NaN in 1 of 6", "0/0 is NaN"),
    "1/0": (lambda x: 1 / x, "div: its forward gave infinity", "a number was divided by 0"),
    "x/0": (lambda x: (x + 1) / 0, "div: its forward gave infinity", "a number was divided by 0"),
    "overflow of exp": (lambda x: (x * 100).exp(), "exp: its forward gave infinity in 5 of 6",
                        "exp overflows"),
    "root": (lambda x: (x - 3).sqrt(), "sqrt: its forward gave NaN in 3",
             "a negative number has no root"),
    "power": (lambda x: (x - 1) ** 0.5, "pow: its forward gave NaN",
              "to a power that is no integer"),
    "negative power": (lambda x: x ** -2, "pow: its forward gave infinity",
                       "0 to a negative power"),
    "overflow": (lambda x: x * 1e38 * 1e3, "mul: its forward gave infinity",
                 r"3.4e\+38, the largest number of float32, or"),
    "NaN put in": (lambda x: x * npf.tensor([math.nan, 1, 1]), "mul: its forward gave NaN",
                   "b held NaN already"),
    "0 times infinity": (lambda x: x * math.inf, "mul: its forward gave NaN", "b held infinities"),
    "a row of −∞": (lambda x: x.masked_fill(x > 2, -math.inf).softmax(-1),
                    "softmax: its forward gave NaN in 3 of 6",
                    "a row that is −∞ throughout has no softmax"),
}


@pytest.mark.parametrize("name", FORWARD)
def test_forward(name):
    function, first, why = FORWARD[name]
    words = f"(?s)^{first}.*test_probes_anomaly.py.*{why}"
    with npf.debug.detect_anomaly(), pytest.raises(npf.GraphError, match=words):
        function(leaf())


BACKWARD = {
    "root at 0 behind where": (lambda x: npf.where(x > 0, x.sqrt(), 0.0).sum(),
                               "sqrt: its backward gave x a gradient with NaN",
                               "the slope of √x at 0 is infinite"),
    "root at 0": (lambda x: x.sqrt().sum(), "sqrt: its backward gave x a gradient with infinity",
                  "the slope of √x at 0"),
    "power at 0": (lambda x: (x ** 0.5).sum(), "pow: its backward gave a a gradient with infinity",
                   "below 1 is infinite at 0"),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_backward(name):
    function, first, why = BACKWARD[name]
    with npf.debug.detect_anomaly():
        loss = function(leaf())
        with pytest.raises(npf.GraphError, match=f"(?s)^{first}.*\n  g float32.*{why}"):
            loss.backward()


def test_a_rule_of_the_users_own():
    class Wrong(npf.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g / (g - g)

    words = "Wrong: its backward gave x .*infinity"
    with npf.debug.detect_anomaly(), pytest.raises(npf.GraphError, match=words):
        Wrong.apply(leaf()).sum().backward()


def test_a_mask_of_minus_infinity_is_meant():
    x = leaf()
    with npf.debug.detect_anomaly():
        y = x.masked_fill(x > 3, -math.inf).softmax(-1)
        mask = npf.tensor([[0.0, -math.inf], [0.0, 0.0]])
        (y + F.scaled_dot_product_attention(x, x, x, mask)).sum().backward()
    assert x.grad.isfinite().all()


def test_the_module_and_the_inputs_are_named():
    class Inner(nn.Module):
        def forward(self, x, y):
            return x / y

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x, y):
            return self.inner(x, y)

    with npf.debug.detect_anomaly(), pytest.raises(npf.GraphError) as error:
        Outer()(leaf(), npf.tensor([[1.0, 2.0, 0.0]]))
    line = test_the_module_and_the_inputs_are_named.__code__.co_firstlineno + 3
    assert str(error.value) == (
        "div: its forward gave infinity in 2 of 6 entries\n"
        f"  y float32 (2, 3), in module inner, recorded at {__file__}:{line}\n"
        "  a float32 (2, 3): finite, 1 zero, 0 to 5\n"
        "  b float32 (1, 3): finite, 1 zero, 0 to 2\n"
        "  a number was divided by 0")


def test_outside_the_block_nothing_is_looked_at():
    def spoilt():
        leaf().log().sum().backward()

    before = tape.state.check, tape.state.observer
    with pytest.raises(npf.GraphError), npf.debug.detect_anomaly():
        spoilt()
    assert (tape.state.check, tape.state.observer) == before
    spoilt()


def test_pytorchs_own_looks_for_nan_backwards_alone():
    with npf.autograd.detect_anomaly():
        leaf().log().sum().backward()              # infinities forwards and backwards
        words = "(?s)gradient with NaN.*keep 0 out of the root itself"
        with pytest.raises(npf.GraphError, match=words):
            npf.where(leaf() > 0, leaf().sqrt(), 0.0).sum()
            x = leaf()
            npf.where(x > 0, x.sqrt(), 0.0).sum().backward()


def test_second_derivatives_are_looked_at_too():
    x = leaf()
    with npf.debug.detect_anomaly(), pytest.raises(npf.GraphError, match="gradient with infinity"):
        npf.autograd.grad((x ** 1.5).sum(), x, create_graph=True)[0].sum().backward()


def test_the_recorder_goes_on_inside():
    with npf.debug.recording() as recorder, npf.debug.detect_anomaly():
        leaf().exp().sum().backward()
    assert [step.op for step in recorder.trace] == ["sum", "exp"]
