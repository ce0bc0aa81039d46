"""A step by itself: its Jacobian, definition, terms and check; and the frames around it."""

import numpy as np
import pytest
from small import small

import npformer as npf
from npformer import debug, nn
from npformer.debug.examples import example
from npformer.debug.views.frames import Cursor, leaves, tree
from npformer.nn import functional as F

# ── a step by itself ──────────────────────────────────────────────────────────────────────────────


def test_blocks_of_a_jacobian():
    x, w, loss = small()
    step = next(s for s in debug.trace(loss) if s.op == "layer_norm")
    whole = step.jacobian("x")
    assert whole.shape == (3, 5, 3, 5)
    assert np.allclose(np.einsum("ij,ijkl->kl", step.upstream, whole), step.gradients["x"])
    assert np.array_equal(step.jacobian("x", rows=(1, 2)), whole[1, 2])
    assert np.array_equal(step.jacobian("x", columns=(0, 3)), whole[..., 0, 3])
    assert np.array_equal(step.jacobian(0, rows=1, columns=(slice(None), 2)), whole[1][..., 2])
    for bad, words in (({"argument": "y"}, "no argument 'y'"),
                       ({"argument": "x", "rows": 7}, "rows=7")):
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
    assert not step.check() and step.check().wrong == ["b"]
    assert step.check().errors["b"] == pytest.approx(1e-4, rel=0.01)


def test_check_of_a_masked_softmax():
    """Scores of −∞ have no slope; among the others a wrong gradient is seen."""
    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    mask = npf.ones(3, 4).tril() > 0
    trace = debug.trace(lambda: F.softmax(x.masked_fill(~mask, -float("inf")), -1).pow(2).sum())
    step = next(s for s in trace if s.op == "softmax")
    assert step.check() and 0 < step.check().errors["x"] < 1e-8
    step.sent = [step.sent[0] * 1.01]
    assert not step.check() and step.check().errors["x"] == pytest.approx(0.0099, rel=0.01)


def test_a_check_in_float32_takes_rounding_for_no_mistake():
    """A key's bias gets a sum that cancels, and an array of zeros has zero gradients.

    A wrong one is still seen.
    """
    model = npf.models.TinyTransformer(11, context=5, d_model=8, n_heads=2, d_ff=12)
    x = npf.randint(0, 11, (3, 5))
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
    wrong_bias = step.sent[2] + 0.01 * np.abs(step.upstream).sum()
    step.sent = [step.sent[0], step.sent[1] * 1.01, wrong_bias]
    assert step.check().wrong == ["weight", "bias"]


def test_a_check_of_scores_that_are_masked_before_the_softmax():
    """Nothing comes to a score of −∞, so it says nothing; the others are held to it."""
    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    hidden = npf.tensor([0.0, 0.0, -float("inf"), 0.0], dtype=npf.float64)
    for masked in (lambda: x + hidden, lambda: x.masked_fill(hidden < 0, -float("inf"))):
        step = debug.trace(lambda masked=masked: F.softmax(masked(), -1).pow(2).sum())[3]
        assert step.op in ("add", "where") and step.check()
        assert max(step.check().errors.values()) < 1e-8
        step.sent = [None if d is None else d * 1.01 for d in step.sent]
        assert not step.check()


def test_a_check_of_nan_is_no_pass():
    step = debug.trace(small()[2])[0]
    step.sent = [np.full_like(step.sent[0], np.nan)]
    assert not step.check()


def test_a_check_where_there_is_no_slope():
    """√0 has none: it is left out. Where nothing is left, or NaN arrived, the check says so.

    It calls no rule wrong then.
    """
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
    assert r.trace.find("w").value.tolist() == [2, 2, 2]
    assert r.trace.gradient("w").tolist() == [4, 4, 4]


def test_leaves_outside_any_module_bear_the_names_of_variables():
    """The nearest one; a parameter keeps its own name, and what is not used is no parameter."""
    def loss_of(scale):
        mine = npf.ones(4, requires_grad=True)
        return (layer(x * mine) * scale).sum()

    layer, x = nn.Linear(4, 2), npf.randn(3, 4, requires_grad=True)
    weight, factor = layer.weight, npf.ones(2, requires_grad=True)
    unused = npf.ones(2, requires_grad=True)
    with debug.recording() as r:
        loss_of(factor).backward()
    names = [node.name for node in r.trace.nodes if node.op is None]
    # "leaf": the variable `mine` was gone when the walk began.
    assert sorted(names) == ["bias", "factor", "leaf", "weight", "x"]
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
    assert trace[-1].terms()["a"][0].norm == pytest.approx(2e36)
    assert trace.paths(x)[0].norm == pytest.approx(2e36)
    assert "sent |2e+36|" in str(trace.ledger(x))


def test_a_walk_under_create_graph_can_be_traced(tmp_path):
    """It goes through definitions, whose last bits are others than the fused rules'."""
    net = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 1)).double()
    x = npf.randn(5, 3, dtype=npf.float64).requires_grad_()
    with debug.recording(which=1) as first:
        slope, = npf.autograd.grad(net(x).sum(), x, create_graph=True)
        (slope.norm(dim=-1) - 1).pow(2).mean().backward()
    trace = first.trace
    assert trace.graph and trace.replay() == 0
    assert np.array_equal(trace.gradient(x), slope.detach().numpy())
    assert all(step.check() for step in trace)
    trace.save(tmp_path / "a")
    assert debug.Trace.load(tmp_path / "a").replay() == 0
    with debug.recording() as second:
        slope, = npf.autograd.grad(net(x).sum(), x, create_graph=True)
        (slope.norm(dim=-1) - 1).pow(2).mean().backward()
    assert not second.trace.graph and second.trace.replay() > 30
    assert all(step.check() for step in second.trace)


def test_replay_finds_a_changed_gradient():
    trace = debug.trace(small()[2])
    trace[2].sent[0] = np.nextafter(trace[2].sent[0], np.inf)
    with pytest.raises(npf.GraphError, match="does not repeat itself: at step 2"):
        trace.replay()


# ── frames ────────────────────────────────────────────────────────────────────────────────────────


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
    assert passed == ["cross_entropy", "reshape", "output_head", "blocks.0", "add",
                      "pos_embedding", "char_embedding"]
    assert not cursor.over()
    assert cursor.run(lambda s: s.op == "attention", -1) and cursor.at.step.op == "attention"
    assert not cursor.run(lambda s: s.op == "attention") and cursor.at.step.op == "attention"
    assert cursor.into() and cursor.run(lambda s: s.op == "add") and cursor.at.path == "add"
    assert cursor.goto(-1) and cursor.index == len(trace) - 1
    with pytest.raises(npf.ValueRangeError, match="there is no step 99"):
        cursor.goto(99)
