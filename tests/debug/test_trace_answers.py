"""What a trace answers: ledgers, ways, why zero, why NaN, where two runs part."""

import numpy as np
import pytest
from small import small

import npformer as npf
from npformer import debug, nn
from npformer.core.source import short
from npformer.debug.examples import example
from npformer.nn import functional as F

HERE = short(__file__)


def test_ways_add_up_to_the_gradient():
    x, _, loss = small()
    trace = debug.trace(loss)
    ways = trace.paths(x, most=100)
    assert len(ways) == ways.total > 2
    assert np.allclose(sum(way.gradient for way in ways), trace.gradient(x), rtol=1e-12)
    assert [len(way.names) for way in ways] == sorted(len(way.names) for way in ways)
    assert len(trace.paths(x, most=2)) == 2
    assert f"{ways.total - 2} longer" in str(trace.paths(x, most=2))


def test_ways_through_a_deep_residual_net_come_at_once():
    x = npf.randn(4, dtype=npf.float64).requires_grad_()

    def loss():
        y = x
        for _ in range(40):
            y = y + npf.tanh(y) * 0.1
        return y.sum()
    ways = debug.trace(loss).paths(x, most=3)
    assert ways.total == 2 ** 40 and len(ways) == 3 and len(ways[0].names) == 42


@pytest.mark.parametrize("make, op, words", [
    (lambda x: F.relu(x - 100), "relu", "12 of 12 of its inputs are ≤ 0"),
    (lambda x: npf.tanh(x * 1e4 + 1e6), "tanh", "saturated"),
    (lambda x: x * npf.zeros(3, 4), "mul", "multiplied by zero"),
    (lambda x: npf.floor(x), "floor", "flat"),
    (lambda x: npf.where(npf.zeros(3, 4) > 0, x, npf.ones(3, 4)), "where", "0 of 12"),
])
def test_why_zero(make, op, words):
    x = npf.rand(3, 4, dtype=npf.float64).requires_grad_()
    reason = debug.trace(lambda: (make(x * 2) + 1).sum()).why_zero(x)
    assert reason.node.op.name == op and words in str(reason) and HERE in str(reason)


def test_why_zero_in_other_cases():
    x, y = npf.ones(3).requires_grad_(), npf.ones(3).requires_grad_()
    assert "cancel" in str(debug.trace(lambda: (x - x).sum()).why_zero(x))
    assert "zero nowhere" in str(debug.trace(lambda: (x * y).sum()).why_zero(x))
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    part = debug.trace(lambda: model[0](x).sum() + model(x).sum() * 0 + 1)
    assert "multiplied by zero" in str(part.why_zero("1.weight"))
    some = debug.trace(lambda: F.relu(x * npf.tensor([1.0, -1.0, 2.0])).sum()).why_zero(x)
    assert "1 of 3 entries" in str(some)


def test_parameters_that_no_gradient_reaches_are_named():
    model = npf.models.TinyTransformer(residual="deleted")
    ids = npf.randint(0, 65, (2, 8))
    trace = debug.trace(lambda: model(ids).sum())
    assert "blocks.0.query.weight" in trace.unreached
    assert "not in the graph" in str(trace.why_zero("blocks.0.query.weight"))


@pytest.mark.parametrize("make, op, phase, words", [
    (lambda x: npf.log(x - x.detach()), "log", "forward", "12 zero"),
    (lambda x: npf.exp(x * 1e3), "exp", "forward", "overflows"),
    (lambda x: x / (x.detach() - x.detach()), "div", "forward", "divided by 0"),
    (lambda x: npf.sqrt(x - x.detach()), "sqrt", "backward", "at 0 is infinite"),
])
def test_why_nan(make, op, phase, words):
    x = (npf.rand(3, 4, dtype=npf.float64) + 1).requires_grad_()
    reason = debug.trace(lambda: (make(x) * 2).sum()).why_nan()
    assert reason.node.op.name == op and phase in str(reason) and words in str(reason)
    assert HERE in str(reason)
    assert "finite" in str(debug.trace(lambda: (x * 2).sum()).why_nan())


def test_diff_finds_where_two_runs_part():
    model, loss = example("tiny")
    one = debug.trace(loss)
    assert one.diff(debug.trace(loss)) is None
    with npf.no_grad():
        model.blocks[0].ff1.weight[3, 5] += 1e-9
    changed = one.diff(debug.trace(loss))
    assert changed.phase == "value" and changed.name == "blocks.0.ff1.weight"
    assert 0 < changed.error < 1e-7
    assert one.diff(debug.trace(loss), tolerance=1e-6) is None
    other = one.diff(debug.trace(example("gpt")[1]))
    assert other.phase == "structure"


def test_diff_of_gradients_alone():
    x = npf.ones(3).requires_grad_()
    one = debug.trace(lambda: x * 2, npf.ones(3))
    two = debug.trace(lambda: x * 2, npf.tensor([1.0, 1.0, 2.0]))
    found = one.diff(two)
    assert found.phase == "gradient" and found.name == "mul"
    assert str(found).startswith("the gradient of mul")


def test_find():
    model, loss = example("tiny")
    trace = debug.trace(loss)
    by_tensor, by_name = trace.find(model.output_head.weight), trace.find("output_head.weight")
    assert by_tensor is by_name is trace.find("head.weight")
    assert trace.find(0) is trace.nodes[0]
    for what, words in (("nothing", "there is no 'nothing'"), ("norm", "names contain it"),
                        (10**6, "nodes 0 to")):
        with pytest.raises(npf.ValueRangeError, match=words):
            trace.find(what)
    with pytest.raises(npf.GraphError, match="not in the trace"):
        trace.find(npf.ones(3).requires_grad_())


def test_facts_of_an_array_are_made_once_and_never_another_array_s():
    trace = debug.trace(small()[2])
    producer = next(node for node in trace.nodes if node.op and node.op.name == "relu")
    consumer = next(step for step in trace if producer in step.node.parents)
    read = consumer.node.values[consumer.node.parents.index(producer)]
    assert read is not producer.value and trace.facts_of(read) is trace.facts_of(producer.value)
    for k in range(20):                            # memory that is freed is used again at once
        assert trace.facts_of(np.full((3, 5), float(k))).max == k
