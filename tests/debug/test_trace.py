"""A trace: what it records, that it repeats itself bit for bit, and its answers: ledgers, ways, why zero, why NaN."""

import json
import linecache

import numpy as np
import pytest

import npformer as npf
from npformer import debug, nn, tensorfile
from npformer.core.operation import Fused
from npformer.debug.examples import EXAMPLES, example
from npformer.debug.frames import Cursor, leaves, tree
from npformer.debug.present import short
from npformer.nn import functional as F

HERE = short(__file__)


@pytest.fixture(scope="module", params=EXAMPLES)
def run(request):
    """(model, loss function, its trace) for each built-in model."""
    model, loss = example(request.param)
    return model, loss, debug.trace(loss)


def small():
    """x, w, a relu, a norm and two uses of x: gradients from several consumers, in float64."""
    x = npf.randn(3, 5, dtype=npf.float64).requires_grad_()
    w = npf.randn(5, 5, dtype=npf.float64).requires_grad_()

    def loss():
        h = x + F.relu(x @ w)
        return (F.layer_norm(h, (5,)) * x).pow(2).sum()
    return x, w, loss


# ── what must hold of every model ────────────────────────────────────────────────────────────────────────────────────


def test_gradients_are_those_of_an_untraced_backward_bit_for_bit(run):
    model, loss, trace = run
    model.zero_grad()
    loss().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and np.array_equal(trace.gradient(name), p.grad.numpy()), name
    assert trace.unreached == []


def test_every_ledger_adds_up_to_the_gradient_exactly(run):
    for node in run[2].nodes:
        if node.gradient is not None:
            ledger = run[2].ledger(node)
            assert np.array_equal(ledger.total, node.gradient) and not ledger.hooked
            assert [e.left for e in ledger] == list(range(len(ledger)))[::-1]


def test_into_agrees_with_the_fused_rule(run):
    opened = [step.into() for step in run[2] if isinstance(step.node.op, Fused)]
    assert len(opened) > 5
    assert all(inside.agreement <= 1e-12 for inside in opened)
    assert all(np.array_equal(inside.nodes[-1].value, inside.output.detach().numpy()) for inside in opened)


def test_every_step_alone_agrees_with_finite_differences(run):
    for step in run[2]:
        assert step.check(), str(step.check())


def test_terms_add_up_to_what_a_step_sends(run):
    for step in run[2]:
        for name, terms in step.terms().items():
            expected = step.gradients[name]
            scale = max(float(np.abs(d).max()) for d in step.gradients.values())     # a key's bias gets only rounding
            assert np.abs(sum(term.value for term in terms) - expected).max() <= 1e-12 * scale


def test_it_walks_again_with_the_same_bits_after_every_look(run):
    trace = run[2]
    before = [step.upstream.copy() for step in trace]
    cursor = Cursor(trace)
    while cursor.over() or cursor.into():
        pass
    while cursor.back():
        pass
    trace.why_nan(), [trace.ledger(node) for node in trace.nodes], trace.paths(trace.nodes[0])
    assert all(np.array_equal(step.upstream, g) for step, g in zip(trace, before))
    assert trace.replay() > 2 * len(trace)


def test_saved_and_loaded_it_is_the_same(run, tmp_path):
    trace = run[2]
    trace.save(tmp_path / "a.trace")
    again = debug.Trace.load(tmp_path / "a.trace")
    assert again.diff(trace) is None and trace.diff(again) is None
    assert again.replay() == trace.replay()
    assert [(s.name, s.where, s.source, s.formula) for s in again] == [(s.name, s.where, s.source, s.formula) for s in trace]
    fused = next(step for step in again if isinstance(step.node.op, Fused))
    assert fused.into().agreement <= 1e-12 and fused.check()
    assert (tmp_path / "a.trace").stat().st_size < 4_000_000


def test_forward_values_are_recorded(run):
    model, loss, trace = run
    assert float(trace.output.detach().numpy()) == pytest.approx(loss().item(), rel=1e-12)
    assert not trace.notes
    for name, p in model.named_parameters():
        assert np.array_equal(trace.find(name).value, p.detach().numpy())
    for step in trace:
        again = step.node.op.compute(*step.arguments, **step.options)
        assert np.array_equal(step.value, again)


# ── where steps come from ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_step_knows_its_module_line_and_consumers():
    model, loss = example("tiny")
    trace = debug.trace(loss)
    step = next(s for s in trace if s.op == "attention")
    assert step.where == "blocks.0" and step.name == "blocks.0.attention"
    file, line = step.source
    assert "scaled_dot_product_attention" in linecache.getline(file, line) and file.endswith("tiny.py")
    assert [e.consumer for e in step.ledger] == ["blocks.0.permute#4"]
    assert set(step.inputs) >= {"q", "k", "v"} and step.value.shape == step.upstream.shape


def test_a_part_called_by_itself_is_named_by_the_whole():
    trace = debug.trace(example("seq2seq")[1])
    assert trace.title == "EncoderDecoder"
    assert {step.where for step in trace} >= {"generator.proj", "encoder.norm"}


def test_the_value_kept_is_the_one_of_that_time():
    """An optimiser's step after the backward pass writes into the weights; the trace has them as they were."""
    model = nn.Linear(4, 3)
    before = model.weight.detach().numpy().copy()
    optimizer = npf.optim.SGD(model.parameters(), lr=1.0)
    with debug.recording() as r:
        model(npf.randn(2, 4)).pow(2).sum().backward()
        optimizer.step()
    assert not np.array_equal(model.weight.detach().numpy(), before)
    assert np.array_equal(r.trace.find("weight").value, before)
    assert r.trace.replay() > 0


def test_a_write_into_an_output_afterwards_does_not_reach_the_trace():
    x = npf.ones(3).requires_grad_()
    with debug.recording() as r:
        y = x * 2
        y.sum().backward()
        y.detach().zero_()
    assert y.tolist() == [0, 0, 0] and r.trace.find("mul").value.tolist() == [2, 2, 2]


def test_writes_between_two_uses_are_two_values():
    memory = npf.zeros(3)
    x = npf.ones(3).requires_grad_()
    with debug.recording() as r:
        y = x * memory
        with npf.no_grad():
            memory.add_(2.0)
        (y.detach() + x * memory).sum().backward()
    assert [s for s in r.trace if s.op == "mul"][0].inputs["b"].tolist() == [2, 2, 2]


def test_recording_takes_the_pass_that_is_asked_for():
    x = npf.ones(3).requires_grad_()
    with debug.recording(which=2) as r:
        for k in range(1, 4):
            (x * k).sum().backward()
    assert r.trace.gradient(x).tolist() == [2, 2, 2]
    with debug.recording() as r:
        for k in range(1, 4):
            (x * k).sum().backward()
    assert r.trace.gradient(x).tolist() == [3, 3, 3]


def test_recording_puts_back_what_was_there():
    before = npf.core.tape.state.observer, npf.core.tape.state.watcher
    with pytest.raises(ZeroDivisionError), debug.recording():
        raise ZeroDivisionError
    assert (npf.core.tape.state.observer, npf.core.tape.state.watcher) == before


def test_a_walk_under_create_graph_is_recorded_as_one():
    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    with debug.recording() as r:
        g, = npf.autograd.grad(F.softmax(x, -1).pow(2).sum(), x, create_graph=True)
        g.pow(2).sum().backward()
    assert r.recorder.count == 2
    assert np.array_equal(r.trace.gradient(x), x.grad.numpy())


# ── from a loss that is there already ────────────────────────────────────────────────────────────────────────────────


def test_a_graph_that_is_there_is_completed_from_what_the_tape_kept():
    x, w, loss = small()
    value = loss()
    trace, full = debug.trace(value), debug.trace(loss)
    assert x.grad is None and w.grad is None
    assert all(node.value is not None for node in (*trace.nodes, *full.nodes))
    assert trace.diff(full) is None
    value.backward()                               # the graph is still there
    assert np.array_equal(trace.gradient(x), x.grad.numpy())


def test_it_says_which_values_the_tape_had_not_kept():
    x = npf.randn(4).requires_grad_()
    trace = debug.trace((x + npf.ones(4)).sum())
    assert any("not kept" in note for note in trace.notes) and trace.find(x).value is None
    with pytest.raises(npf.GraphError, match="not kept"):
        trace[-1].check()


def test_not_a_scalar_needs_a_gradient():
    x = npf.randn(2, 3).requires_grad_()
    with pytest.raises(npf.GraphError, match="one number"):
        debug.trace(x * 2)
    g = npf.randn(2, 3)
    assert np.allclose(debug.trace(x * 2, g).gradient(x), 2 * g.numpy())


@pytest.mark.parametrize("make, words", [
    (lambda: 3, "it takes a Tensor"), (lambda: npf.ones(1), "graph"), (lambda: lambda: 5, "got int")])
def test_what_cannot_be_traced(make, words):
    with pytest.raises(npf.GraphError, match=words):
        debug.trace(make())


def test_a_freed_graph_is_refused():
    loss = small()[2]()
    loss.backward()
    with pytest.raises(npf.GraphError, match="freed"):
        debug.trace(loss)


def test_nothing_recorded():
    with debug.recording() as r:
        npf.ones(3).requires_grad_().sum()
    with pytest.raises(npf.GraphError, match="no backward pass ran"):
        r.trace  # noqa: B018
    with debug.recording(which=4) as r:
        npf.ones(3).requires_grad_().sum().backward()
    with pytest.raises(npf.GraphError, match="there were 1 backward passes"):
        r.trace  # noqa: B018
    with pytest.raises(npf.ValueRangeError, match="counted from 1"):
        debug.recording(which=0)


# ── hooks, users' Functions, large arrays ────────────────────────────────────────────────────────────────────────────


def test_a_hook_shows_in_the_ledger():
    x = npf.ones(3).requires_grad_()
    y = x * 2
    y.register_hook(lambda g: g * 10)
    trace = debug.trace((y * y).sum())
    ledger = trace.ledger(y)
    assert ledger.hooked and ledger.total.tolist() == [4, 4, 4] and ledger.gradient.tolist() == [40, 40, 40]
    assert "hook" in str(ledger) and trace.replay() > 0 and trace.gradient(x).tolist() == [80, 80, 80]


class Wrong(npf.autograd.Function):
    """x² whose backward forgets the 2."""

    calls = 0

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        Wrong.calls += 1
        x, = ctx.saved_tensors
        return g * x


def test_a_users_function_is_recorded_checked_and_not_called_again(tmp_path):
    x = npf.randn(4, dtype=npf.float64).requires_grad_()
    Wrong.calls = 0
    trace = debug.trace(lambda: Wrong.apply(x).sum())
    assert Wrong.calls == 1 and trace.replay() > 0 and Wrong.calls == 1
    step = next(s for s in trace if s.op == "Wrong")
    assert not step.check() and "DIFFERS" in str(step.check())
    with pytest.raises(npf.GraphError, match="nothing inside"):
        step.into()
    trace.save(tmp_path / "f.trace")
    again = debug.Trace.load(tmp_path / "f.trace")
    assert again.replay() == trace.replay()
    lost = next(s for s in again if s.op == "Wrong")
    with pytest.raises(npf.GraphError, match="its code is not in the file"):
        lost.jacobian(0)


def test_large_arrays_are_summarised_and_it_says_so(tmp_path):
    model, loss = example("tiny")
    trace = debug.trace(loss, largest=1000)
    assert "too large to keep" in trace.notes[0]
    weight = trace.find("char_embedding.weight").value
    expected = model.char_embedding.weight.detach().numpy()
    assert weight.shape == (65, 64) and weight.norm == pytest.approx(np.linalg.norm(expected)) and "too large" in repr(weight)
    trace.save(tmp_path / "s.trace")
    assert debug.Trace.load(tmp_path / "s.trace").find("char_embedding.weight").value.norm == weight.norm


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ways_add_up_to_the_gradient():
    x, _, loss = small()
    trace = debug.trace(loss)
    ways = trace.paths(x, most=100)
    assert len(ways) == ways.total > 2
    assert np.allclose(sum(way.gradient for way in ways), trace.gradient(x), rtol=1e-12)
    assert [len(way.names) for way in ways] == sorted(len(way.names) for way in ways)
    assert len(trace.paths(x, most=2)) == 2 and f"{ways.total - 2} longer" in str(trace.paths(x, most=2))


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
    assert reason.node.op.name == op and phase in str(reason) and words in str(reason) and HERE in str(reason)
    assert "finite" in str(debug.trace(lambda: (x * 2).sum()).why_nan())


def test_diff_finds_where_two_runs_part():
    model, loss = example("tiny")
    one = debug.trace(loss)
    assert one.diff(debug.trace(loss)) is None
    with npf.no_grad():
        model.blocks[0].ff1.weight[3, 5] += 1e-9
    changed = one.diff(debug.trace(loss))
    assert changed.phase == "value" and changed.name == "blocks.0.ff1.weight" and 0 < changed.error < 1e-7
    assert one.diff(debug.trace(loss), tolerance=1e-6) is None
    other = one.diff(debug.trace(example("gpt")[1]))
    assert other.phase == "structure"


def test_diff_of_gradients_alone():
    x = npf.ones(3).requires_grad_()
    one, two = debug.trace(lambda: x * 2, npf.ones(3)), debug.trace(lambda: x * 2, npf.tensor([1.0, 1.0, 2.0]))
    found = one.diff(two)
    assert found.phase == "gradient" and found.name == "mul" and str(found).startswith("the gradient of mul")


def test_find():
    model, loss = example("tiny")
    trace = debug.trace(loss)
    assert trace.find(model.output_head.weight) is trace.find("output_head.weight") is trace.find("head.weight")
    assert trace.find(0) is trace.nodes[0]
    for what, words in (("nothing", "there is no 'nothing'"), ("norm", "names contain it"), (10**6, "nodes 0 to")):
        with pytest.raises(npf.ValueRangeError, match=words):
            trace.find(what)
    with pytest.raises(npf.GraphError, match="not in the trace"):
        trace.find(npf.ones(3).requires_grad_())


# ── a step by itself ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_blocks_of_a_jacobian():
    x, w, loss = small()
    step = next(s for s in debug.trace(loss) if s.op == "layer_norm")
    whole = step.jacobian("x")
    assert whole.shape == (3, 5, 3, 5) and np.allclose(np.einsum("ij,ijkl->kl", step.upstream, whole), step.gradients["x"])
    assert np.array_equal(step.jacobian("x", rows=(1, 2)), whole[1, 2])
    assert np.array_equal(step.jacobian("x", columns=(0, 3)), whole[..., 0, 3])
    assert np.array_equal(step.jacobian(0, rows=1, columns=(slice(None), 2)), whole[1][..., 2])
    for bad, words in (({"argument": "y"}, "no argument 'y'"), ({"argument": "x", "rows": 7}, "rows=7")):
        with pytest.raises(npf.ValueRangeError, match=words):
            step.jacobian(**bad)


def test_a_large_jacobian_is_asked_for_in_parts():
    trace = debug.trace(example("tiny")[1])
    step = trace.find("output_head.linear")
    step = trace[trace.step_at[step.number]]
    with pytest.raises(npf.ValueRangeError, match="Ask for a part"):
        step.jacobian("weight")
    assert step.jacobian("weight", rows=(0, 0, 3)).shape == (65, 64)


def test_a_step_of_an_ordinary_walk_opens_too():
    x, _, loss = small()
    for step in npf.backprop(loss()):
        if step.op == "layer_norm":
            inside = step.into()
            assert [s.op for s in inside][:2] != [] and all(s.upstream is not None for s in inside)
            assert len(step.terms()["x"]) > 1 and step.check()
            break
    with pytest.raises(npf.GraphError, match="is a primitive"):
        next(npf.backprop(loss())).into()


def test_check_finds_a_planted_mistake():
    trace = debug.trace(small()[2])
    step = next(s for s in trace if s.op == "matmul")
    step.sent = [step.sent[0], step.sent[1] * (1 + 1e-4)]
    assert not step.check() and step.check().wrong == ["b"] and step.check().errors["b"] == pytest.approx(1e-4, rel=0.01)


def test_check_of_a_masked_softmax():
    """Scores of −∞ have no slope; the others are looked at, and a wrong gradient among them is seen."""
    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    mask = npf.ones(3, 4).tril() > 0
    trace = debug.trace(lambda: F.softmax(x.masked_fill(~mask, -float("inf")), -1).pow(2).sum())
    step = next(s for s in trace if s.op == "softmax")
    assert step.check() and 0 < step.check().errors["x"] < 1e-8
    step.sent = [step.sent[0] * 1.01]
    assert not step.check() and step.check().errors["x"] == pytest.approx(0.0099, rel=0.01)


def test_a_check_in_float32_takes_rounding_for_no_mistake():
    """A key's bias gets a sum that cancels, and an array of zeros has zero gradients; a wrong one is still seen."""
    model, x = npf.models.TinyTransformer(11, context=5, d_model=8, n_heads=2, d_ff=12), npf.randint(0, 11, (3, 5))
    model.output_head.weight.data.zero_()
    for step in debug.trace(lambda: F.cross_entropy(model(x).flatten(0, 1), x.flatten())):
        assert step.check(), str(step.check())
        assert getattr(step.node.op, "definition", None) is None or step.into().agreement < 1e-5
    model = npf.models.TinyTransformer(11, context=5, d_model=8, n_heads=2, d_ff=12)
    trace = debug.trace(lambda: F.cross_entropy(model(x).flatten(0, 1), x.flatten()))
    for step in trace:
        assert step.check(), str(step.check())
    step = next(s for s in trace if s.where == "blocks.0.key")
    assert np.abs(step.gradients["bias"]).max() < 1e-4 * np.abs(step.upstream).max()
    step.sent = [step.sent[0], step.sent[1] * 1.01, step.sent[2] + 0.01 * np.abs(step.upstream).sum()]
    assert step.check().wrong == ["weight", "bias"]


def test_a_check_of_scores_that_are_masked_before_the_softmax():
    """Nothing comes to a score of −∞, so it says nothing; the others are held to it."""
    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    hidden = npf.tensor([0.0, 0.0, -float("inf"), 0.0], dtype=npf.float64)
    for masked in (lambda: x + hidden, lambda: x.masked_fill(hidden < 0, -float("inf"))):
        step = debug.trace(lambda masked=masked: F.softmax(masked(), -1).pow(2).sum())[3]
        assert step.op in ("add", "where") and step.check() and max(step.check().errors.values()) < 1e-8
        step.sent = [None if d is None else d * 1.01 for d in step.sent]
        assert not step.check()


def test_a_check_of_nan_is_no_pass():
    step = debug.trace(small()[2])[0]
    step.sent = [np.full_like(step.sent[0], np.nan)]
    assert not step.check()


def test_a_check_where_there_is_no_slope():
    """√0 has none: it is left out. Where nothing is left, or NaN arrived, that is said, and no rule is called wrong."""
    x = npf.tensor([0.0, 4.0, 9.0], dtype=npf.float64).requires_grad_()
    trace = debug.trace(lambda: (x.sqrt() * 2).sum())
    step = trace[-1]
    assert step.op == "sqrt" and np.isinf(step.sent[0][0]) and step.check()
    step.sent = [step.sent[0] + [0.0, 0.0, 0.01]]
    assert not step.check()
    with pytest.raises(npf.GraphError, match="no finite slope in x"):
        debug.trace(lambda: x[:1].sqrt().sum())[1].check()
    with pytest.raises(npf.GraphError, match="what arrived holds NaN or infinity"):
        debug.trace(lambda: (x * 3).sqrt().sum())[-1].check()


def test_a_parameter_has_the_value_of_its_pass():
    w = npf.ones(3, requires_grad=True)
    with debug.recording(which=2) as r:
        for _ in range(3):
            (w * w).sum().backward()
            with npf.no_grad():
                w.add_(1)
    assert r.trace.find("w").value.tolist() == [2, 2, 2] and r.trace.gradient("w").tolist() == [4, 4, 4]


def test_leaves_outside_any_module_bear_the_names_of_variables():
    """The nearest one; a parameter keeps its own name, and what is not used is not reported as a parameter."""
    def loss_of(scale):
        mine = npf.ones(4, requires_grad=True)
        return (layer(x * mine) * scale).sum()

    layer, x = nn.Linear(4, 2), npf.randn(3, 4, requires_grad=True)
    weight, factor, unused = layer.weight, npf.ones(2, requires_grad=True), npf.ones(2, requires_grad=True)
    with debug.recording() as r:
        loss_of(factor).backward()
    names = [node.name for node in r.trace.nodes if node.op is None]
    assert sorted(names) == ["bias", "factor", "leaf", "weight", "x"]        # `mine` was gone when the walk began
    assert r.trace.unreached == [] and weight is layer.weight and unused.grad is None


def test_a_model_that_its_function_made_and_dropped_names_its_parameters():
    def loss():
        model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
        return model(npf.randn(4, 3)).sum()

    def run():
        with debug.recording() as r:
            loss().backward()
        return r.trace
    for trace in (debug.trace(loss), run()):
        assert trace.title == "Sequential" and trace.find("0.weight").gradient.shape == (2, 3)
        assert [node.name for node in trace.nodes if node.op is None] == ["0.weight", "0.bias"]


def test_gradients_whose_squares_overflow_have_norms():
    x = npf.full((4,), 1e30, requires_grad=True)
    trace = debug.trace(lambda: (x * 1e6 * x).sum())
    assert trace[-1].terms()["a"][0].norm == pytest.approx(2e36) and trace.paths(x)[0].norm == pytest.approx(2e36)
    assert "sent |2e+36|" in str(trace.ledger(x))


def test_a_walk_under_create_graph_can_be_traced(tmp_path):
    """It goes through definitions, whose last bits are others than the fused rules'."""
    net = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 1)).double()
    x = npf.randn(5, 3, dtype=npf.float64).requires_grad_()
    with debug.recording(which=1) as first:
        slope, = npf.autograd.grad(net(x).sum(), x, create_graph=True)
        (slope.norm(dim=-1) - 1).pow(2).mean().backward()
    trace = first.trace
    assert trace.graph and trace.replay() == 0 and np.array_equal(trace.gradient(x), slope.detach().numpy())
    assert all(step.check() for step in trace)
    trace.save(tmp_path / "a")
    assert debug.Trace.load(tmp_path / "a").replay() == 0
    with debug.recording() as second:
        slope, = npf.autograd.grad(net(x).sum(), x, create_graph=True)
        (slope.norm(dim=-1) - 1).pow(2).mean().backward()
    assert not second.trace.graph and second.trace.replay() > 30 and all(step.check() for step in second.trace)


def test_replay_finds_a_changed_gradient():
    trace = debug.trace(small()[2])
    trace[2].sent[0] = np.nextafter(trace[2].sent[0], np.inf)
    with pytest.raises(npf.GraphError, match="does not repeat itself: at step 2"):
        trace.replay()


# ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_frames_are_the_four_levels():
    trace = debug.trace(example("gpt")[1])
    root = tree(trace)
    assert root.level == "model" and (root.first, root.last) == (0, len(trace) - 1)
    assert [leaf.step.index for leaf in leaves(root)] == list(range(len(trace)))
    block = next(frame for frame in root.children if frame.path == "h.1")
    assert block.level == "module" and block.steps == trace[block.first:block.last + 1]
    assert {c.label for c in block.children} >= {"mlp", "attn", "ln_1"}
    cursor = Cursor(trace)
    cursor.goto(next(s.index for s in trace if s.op == "layer_norm"))
    assert cursor.at.level == "operation" and cursor.into() and cursor.at.level == "primitive"
    assert cursor.out() and cursor.at.step.op == "layer_norm"


def test_moving():
    trace = debug.trace(example("tiny")[1])
    cursor = Cursor(trace)
    passed = [cursor.at.path]
    while cursor.over():
        passed.append(cursor.at.path)
    assert passed == ["cross_entropy", "reshape", "output_head", "blocks.0", "add", "pos_embedding", "char_embedding"]
    assert not cursor.over()
    assert cursor.run(lambda s: s.op == "attention", -1) and cursor.at.step.op == "attention"
    assert not cursor.run(lambda s: s.op == "attention") and cursor.at.step.op == "attention"
    assert cursor.into() and cursor.run(lambda s: s.op == "add") and cursor.at.path == "add"
    assert cursor.goto(-1) and cursor.index == len(trace) - 1
    with pytest.raises(npf.ValueRangeError, match="there is no step 99"):
        cursor.goto(99)


# ── damaged files ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_of_something_else(tmp_path):
    npf.save({"kind": "something"}, tmp_path / "x")
    with pytest.raises(npf.InputError, match="no trace file.*it is 'something'"):
        debug.Trace.load(tmp_path / "x")
    npf.save(npf.ones(3), tmp_path / "x")
    with pytest.raises(npf.InputError, match="no trace file"):
        debug.Trace.load(tmp_path / "x")
    with pytest.raises(npf.InputError, match="cannot be read"):
        debug.Trace.load(tmp_path / "absent")


def test_damage_is_noticed(tmp_path):
    path = tmp_path / "a.trace"
    debug.trace(small()[2]).save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in rng.integers(0, len(content), 20):
        path.write_bytes(content[:cut])
        with pytest.raises(npf.InputError):
            debug.Trace.load(path)
    for place in rng.integers(8, len(content), 40):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1:])
        with pytest.raises(npf.InputError):
            debug.Trace.load(path)


def test_a_lying_description_is_refused(tmp_path):
    """Somebody may write a description that fits its checksum and not its arrays."""
    path = tmp_path / "a.trace"
    debug.trace(small()[2]).save(path)
    whole = npf.load(path)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        lie = json.loads(json.dumps({k: v for k, v in whole.items() if k != "memory"}))
        distort(lie, rng)
        npf.save({**lie, "memory": whole["memory"]}, path)
        try:
            debug.Trace.load(path)
        except npf.InputError:
            refused += 1                           # anything else that is raised fails the test
    assert refused > 50


def distort(tree_, rng):
    """Change one number, name or list, somewhere."""
    at = tree_
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = keys[rng.integers(len(keys))]
        if isinstance(at[key], (dict, list)) and len(at[key]) and rng.random() < 0.9:
            at = at[key]
            continue
        at[key] = [10**9, -1, "nonsense", None, [], {"view": [0, 0, "float64", [10**6], [8]]}][rng.integers(6)]
        return


def test_a_view_cannot_reach_outside_its_memory():
    from npformer.debug.tracefile import view_of
    memory = [np.arange(6.0)]
    assert view_of(memory, 0, 8, "float64", [2, 2], [16, 8]).tolist() == [[1, 2], [3, 4]]
    for offset, shape, strides in ((-8, [1], [8]), (0, [7], [8]), (8, [2, 3], [24, 8]), (0, [2], [-8]), (0, [2], [10**18])):
        with pytest.raises(npf.InputError, match="outside"):
            view_of(memory, 0, offset, "float64", shape, strides)
    with pytest.raises(npf.InputError, match="does not fit"):
        view_of(memory, 0, 0, "object", [1], [8])


def test_the_file_is_a_safetensors_file(tmp_path):
    debug.trace(small()[2]).save(tmp_path / "a.trace")
    found, metadata = tensorfile.read(tmp_path / "a.trace")
    assert found and metadata["format"] == "npformer 1"
