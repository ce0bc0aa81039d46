"""The flow of gradients over training: every number against one computed by hand, and every verdict
with its cause planted."""

import math

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer import nn, optim
from npformer.models import TinyTransformer


class Faded(npf.autograd.Function):
    """The identity forwards; backwards a factor."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.factor, None


class Net(nn.Module):
    """Two layers and a relu between them; `factor` multiplies the gradient on its way to the first.
    """

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(Faded.apply(F.relu(self.first(x)), self.factor))


def trained(model, steps=3, lr=0.1, seed=1):
    """(the flow, copies of the gradients and weights of each step)"""
    npf.manual_seed(seed)
    optimizer, seen = optim.SGD(model.parameters(), lr=lr), []
    with npf.debug.gradient_flow(model) as flow:
        for _ in range(steps):
            optimizer.zero_grad()
            (model(npf.randn(5, 4)) ** 2).mean().backward()
            seen.append({name: (p.grad.numpy().copy(), p.detach().numpy().copy())
                         for name, p in model.named_parameters() if p.grad is not None})
            flow.step(optimizer)
    return flow, seen


def test_the_numbers_are_those_of_the_step():
    flow, seen = trained(Net())
    assert flow.layers == ["", "first", "last"] and len(flow.records) == 3
    for record, step in zip(flow.records, seen):
        for layer in ("first", "last"):
            grads, weights = zip(step[f"{layer}.weight"], step[f"{layer}.bias"])
            g, w = (math.sqrt(sum((a.astype(float) ** 2).sum() for a in arrays))
                    for arrays in (grads, weights))
            size = sum(a.size for a in grads)
            found = record[layer]
            assert found.gradient == pytest.approx(g, rel=1e-5)
            assert found.parameter == pytest.approx(w, rel=1e-5)
            assert found.rms == pytest.approx(g / math.sqrt(size), rel=1e-5)
            assert found.update == pytest.approx(0.1 * g / w, rel=1e-4)      # SGD: Δw = −lr·g
    np.testing.assert_allclose(flow.over_time("last", "gradient"),
                               [r["last"].gradient for r in flow.records])
    assert np.isnan(flow.over_time("", "gradient")).all() and flow.reference == "last"


def test_dead_units_are_counted():
    model = Net()
    model.first.bias.data = npf.tensor([9.0, -100, 9, 9, -100, 9])
    flow, _ = trained(model, lr=0.0)
    for record in flow.records:
        assert (record[""].dead, record[""].units) == (2, 6)
    assert "2 of 6" in str(flow).splitlines()[1]
    # A unit that is not 0 in one of two accumulated batches is alive; images have their units along
    # dim 1.
    with npf.debug.gradient_flow(model) as flow:
        for sign in (1.0, -1.0):
            t = npf.tensor([[-sign, sign, -1.0]], requires_grad=True)
            model.forward = lambda x, t=t: F.relu(t)
            model(None)
        assert flow.alive[""].tolist() == [True, True, False]
        image = npf.ones(2, 3, 2, 2) * npf.tensor([1.0, -1.0, 2.0]).reshape(3, 1, 1)
        model.forward = lambda x: F.relu(image.requires_grad_())
        flow.alive.clear()
        model(None)
        assert flow.alive[""].tolist() == [True, False, True]


@pytest.mark.parametrize("factor, verdict", [
    (1e-6, "vanishing"), (1.0, "ok"), (1e6, "exploding"), (0.0, "no gradient"),
    (math.nan, "not finite"), (math.inf, "not finite")])
def test_verdicts(factor, verdict):
    flow, _ = trained(Net(factor), steps=1)
    assert [flow.verdict(layer) for layer in ("first", "last", "")] == [verdict, "ok", ""]
    assert verdict in str(flow).splitlines()[2]


def test_a_severed_layer_and_a_frozen_one():
    model = TinyTransformer(7, 5, 8, 2, 12, residual="deleted")
    model.output_head.bias.requires_grad_(False)
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad])
    ids = npf.randint(0, 7, (2, 5))
    flow = npf.debug.gradient_flow(model)
    F.cross_entropy(model(ids).reshape(-1, 7), ids.reshape(-1)).backward()
    flow.step(optimizer)                           # without the `with` block: all but dead units
    assert flow.verdict("blocks.0.query") == "no gradient"
    assert flow.records[0]["blocks.0.query"].gradient is None
    assert flow.records[0]["blocks.0.query"].update == 0 and flow.verdict("blocks.0.ff1") == "ok"
    assert "blocks.0" not in flow.layers and len(flow.parameters["output_head"]) == 1


def test_the_observer_before_is_put_back_and_served():
    seen = []
    before = npf.core.tape.state.observer
    with npf.debug.gradient_flow(Net()), npf.debug.recording() as recorder:
        (npf.randn(3, requires_grad=True) * 2).sum().backward()
    assert npf.core.tape.state.observer is before and not seen and len(recorder.trace) == 2
    with pytest.raises(ZeroDivisionError), npf.debug.gradient_flow(Net()):
        raise ZeroDivisionError
    assert npf.core.tape.state.observer is before


def test_the_picture_is_drawn(tmp_path):
    flow, _ = trained(Net())
    flow.plot(tmp_path / "flow.png")
    assert (tmp_path / "flow.png").stat().st_size > 10_000


def test_what_cannot_be_done_is_worded(tmp_path):
    with pytest.raises(npf.GraphError, match="no parameter of the model requires a gradient"):
        npf.debug.gradient_flow(nn.ReLU())
    with pytest.raises(npf.DTypeError, match=r"gradient_flow\(model\): model must be a Module"):
        npf.debug.gradient_flow("model")
    flow = npf.debug.gradient_flow(Net())
    words = r"Call it after loss.backward\(\) and before zero_grad\(\)"
    with pytest.raises(npf.GraphError, match=words):
        flow.step(optim.SGD(flow.parameters["first"], lr=0.1))
    with pytest.raises(npf.DTypeError, match="optimizer must have a method step"):
        flow.step(None)
    assert str(flow) == "no step recorded: call flow.step(optimizer) where optimizer.step() stood"
    with pytest.raises(npf.GraphError, match="no step recorded"):
        flow.plot(tmp_path / "flow.png")
