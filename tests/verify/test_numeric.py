"""The first form of the judge: right gradients pass, wrong ones are caught and placed."""

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F


def square_with_gradient(change):
    """x², with its gradient changed by `change`."""

    class Square(npf.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            x, = ctx.saved_tensors
            return change(g * 2 * x, x)

    return Square.apply


def scale_entry(index, factor):
    def change(d, x):
        d = d.numpy().copy()
        d[index] *= factor
        return npf.tensor(d)
    return change


def test_right_gradients_pass_and_the_report_says_so():
    x, w = npf.randn(3, 5, dtype=npf.float64), npf.randn(2, 5, dtype=npf.float64)
    report = npf.gradcheck(lambda x, w: F.softmax(F.linear(x, w), -1), [x, w])
    assert report and report.findings == []
    text = str(report)
    assert text.startswith("gradcheck(<lambda>): 2 gradients are right")
    assert "dinputs[1] (2, 5)" in text


@pytest.mark.parametrize("change", [lambda d, x: d * 1.00001, lambda d, x: -d, lambda d, x: d * 0,
                                    lambda d, x: d + 1e-4 * x ** 3, scale_entry((1, 2), 1.001)])
def test_wrong_gradients_are_caught(change):
    x = npf.randn(2, 4, dtype=npf.float64, generator=npf.Generator(0))
    with pytest.raises(npf.GradientError):
        npf.gradcheck(square_with_gradient(change), x)


def test_the_worst_entry_is_named():
    x = npf.tensor(np.linspace(1, 2, 8).reshape(2, 4))
    with pytest.raises(npf.GradientError) as error:
        npf.gradcheck(square_with_gradient(scale_entry((1, 2), 1.5)), x, seed=3)
    worst = error.value.report.comparisons[0]
    assert worst.index == (1, 2) and worst.analytic == pytest.approx(1.5 * worst.numeric)
    assert "worst at (1, 2): backward says" in str(error.value)
    assert not npf.gradcheck(square_with_gradient(scale_entry((1, 2), 1.5)), x, raises=False)


def test_a_gradient_that_only_ones_would_pass_is_caught():
    """Softmax with the leading y lost: for an all-ones upstream its gradient is zero, as is the
    true one."""

    class Softmax(npf.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.softmax(-1)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            y, = ctx.saved_tensors
            return g - (g * y).sum(-1, keepdim=True)

    with pytest.raises(npf.GradientError):
        npf.gradcheck(Softmax.apply, npf.randn(3, 5, dtype=npf.float64))


def test_parameters_that_fn_closes_over_are_perturbed_in_place_and_put_back():
    layer = npf.nn.Linear(4, 3).double()
    before = layer.weight.detach().clone()
    x = npf.randn(5, 4, dtype=npf.float64)
    assert npf.gradcheck(lambda *_: F.gelu(layer(x)), list(layer.parameters()))
    assert npf.equal(before, layer.weight) and layer.weight.grad is None
    with pytest.raises(npf.GradientError):
        npf.gradcheck(lambda *_: square_with_gradient(lambda d, x: d * 2)(layer(x)),
                      list(layer.parameters()))


def test_float32_inputs_are_checked_in_float64_and_left_alone():
    x = npf.randn(3, 4)
    assert npf.gradcheck(lambda x: x.exp(), x)
    assert x.dtype == npf.float32 and not x.requires_grad


def test_what_cannot_be_checked_is_said():
    with pytest.raises(npf.DTypeError, match="no input is floating"):
        npf.gradcheck(lambda x: x, npf.arange(3))
    with pytest.raises(npf.GraphError, match="does not depend on any input"):
        npf.gradcheck(lambda x: npf.ones(3), npf.randn(3, dtype=npf.float64))
    with pytest.raises(npf.GraphError, match="fn must return a Tensor, it returned float"):
        npf.gradcheck(lambda x: 1.0, npf.randn(3, dtype=npf.float64))
    with pytest.raises(npf.DTypeError, match="fn must be a function of Tensors, got 3"):
        npf.gradcheck(3, npf.randn(3))
    with pytest.raises(npf.DTypeError,
                       match="inputs must be a Tensor, or a list of Tensors, got 4"):
        npf.gradcheck(lambda x: x, 4)
    with pytest.raises(npf.DTypeError, match="fn must return a floating Tensor, it returned int64"):
        npf.gradcheck(lambda x: x.long(), npf.randn(3))
