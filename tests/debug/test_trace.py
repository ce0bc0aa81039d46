"""A trace: what it records, where from, and that it repeats itself bit for bit."""

import linecache

import numpy as np
import pytest
from small import small

import npformer as npf
from npformer import debug, nn
from npformer.core.operation import Fused
from npformer.debug.examples import EXAMPLES, example
from npformer.debug.views.frames import Cursor
from npformer.nn import functional as F


@pytest.fixture(scope="module", params=EXAMPLES)
def run(request):
    """(model, loss function, its trace) for each built-in model."""
    model, loss = example(request.param)
    return model, loss, debug.trace(loss)


# ── what must hold of every model ─────────────────────────────────────────────────────────────────


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
    for inside in opened:
        assert np.array_equal(inside.nodes[-1].value, inside.output.detach().numpy())


def test_every_step_alone_agrees_with_finite_differences(run):
    for step in run[2]:
        assert step.check(), str(step.check())


def test_terms_add_up_to_what_a_step_sends(run):
    for step in run[2]:
        for name, terms in step.terms().items():
            expected = step.gradients[name]
            # Of all gradients of the step, because a key's bias gets rounding alone.
            scale = max(float(np.abs(d).max()) for d in step.gradients.values())
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
    for new, old in zip(again, trace, strict=True):
        assert (new.name, new.where, new.source) == (old.name, old.where, old.source)
        assert new.formula == old.formula
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


# ── where steps come from ─────────────────────────────────────────────────────────────────────────


def test_a_step_knows_its_module_line_and_consumers():
    model, loss = example("tiny")
    trace = debug.trace(loss)
    step = next(s for s in trace if s.op == "attention")
    assert step.where == "blocks.0" and step.name == "blocks.0.attention"
    file, line = step.source
    assert "scaled_dot_product_attention" in linecache.getline(file, line)
    assert file.endswith("tiny.py")
    assert [e.consumer for e in step.ledger] == ["blocks.0.permute#4"]
    assert set(step.inputs) >= {"q", "k", "v"} and step.value.shape == step.upstream.shape


def test_a_part_called_by_itself_is_named_by_the_whole():
    trace = debug.trace(example("seq2seq")[1])
    assert trace.title == "EncoderDecoder"
    assert {step.where for step in trace} >= {"generator.proj", "encoder.norm"}


def test_the_value_kept_is_the_one_of_that_time():
    """An optimiser's step after the backward pass writes into the weights, not into the trace."""
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


# ── from a loss that is there already ─────────────────────────────────────────────────────────────


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
    (lambda: 3, "it takes a Tensor"),
    (lambda: npf.ones(1), "graph"),
    (lambda: lambda: 5, "got int"),
])
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


# ── hooks, users' Functions, large arrays ─────────────────────────────────────────────────────────


def test_a_hook_shows_in_the_ledger():
    x = npf.ones(3).requires_grad_()
    y = x * 2
    y.register_hook(lambda g: g * 10)
    trace = debug.trace((y * y).sum())
    ledger = trace.ledger(y)
    assert ledger.hooked and ledger.total.tolist() == [4, 4, 4]
    assert ledger.gradient.tolist() == [40, 40, 40]
    assert "hook" in str(ledger) and trace.replay() > 0
    assert trace.gradient(x).tolist() == [80, 80, 80]


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
    assert weight.shape == (65, 64) and weight.norm == pytest.approx(np.linalg.norm(expected))
    assert "too large" in repr(weight)
    trace.save(tmp_path / "s.trace")
    again = debug.Trace.load(tmp_path / "s.trace").find("char_embedding.weight").value
    assert again == weight
