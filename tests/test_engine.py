"""What the engine promises for every program: deep chains, memory, and the walk, step by step."""

import gc
import threading
import weakref

import numpy as np
import pytest
from nets import attention_net, chain, leaf, net_inputs, rng

import npformer as npf
import npformer.nn.functional as F
from npformer.core import tape
from npformer.core.errors import GraphError, ShapeError


@pytest.fixture
def no_gc():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def count_nodes():
    """How many nodes there are."""
    return sum(1 for thing in gc.get_objects() if type(thing) is tape.Node)


# ── deep chains ───────────────────────────────────────────────────────────────────────────────────


def run_in_small_thread(work):
    """Run `work` where a deep recursion would overflow the stack. Returns what it returns."""
    found, before = [], threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(work()))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    return found[0]


def test_chain_of_100000_operations():
    def work():
        x = npf.tensor(1.5, dtype=npf.float64, requires_grad=True)
        y = chain(x)
        y.backward()
        return x.grad.item(), y.item()

    slope, value = run_in_small_thread(work)
    assert slope == pytest.approx(1.00001 ** 100_000, rel=1e-9)
    assert value == pytest.approx(1.5 * slope, rel=1e-9)


def test_chain_of_100000_is_freed_without_a_backward(no_gc):
    before = count_nodes()

    def work():
        y = chain(npf.tensor(1.5, requires_grad=True))
        return count_nodes() - before, y.item() > 0

    assert run_in_small_thread(work) == (100_001, True)
    assert count_nodes() == before


def test_chain_that_fans_out_at_each_link():
    x = npf.tensor(1.0, dtype=npf.float64, requires_grad=True)
    y = x
    for _ in range(500):
        y = y * 0.5 + y * 0.5                      # 2^500 paths, 500 links
    y.backward()
    assert x.grad.item() == pytest.approx(1.0)


def test_chain_under_create_graph():
    x = npf.tensor(1.1, dtype=npf.float64, requires_grad=True)
    g, = npf.autograd.grad(chain(x, 3000), x, create_graph=True)
    h, = npf.autograd.grad(g * x, x)
    assert h.item() == pytest.approx(1.00001 ** 3000)


# ── memory ────────────────────────────────────────────────────────────────────────────────────────


def test_graph_is_freed_by_reference_count_alone(no_gc):
    before = count_nodes()
    inputs = net_inputs()
    y = attention_net(*inputs)
    leaves = count_nodes() - before - len(inputs)
    assert leaves > 0
    arrays = [weakref.ref(a) for a in (y.array, y.node.saved["xhat"], y.node.parents[0].kept[0])
              if a is not None]
    node = weakref.ref(y.node)
    del y
    assert node() is None and all(a() is None for a in arrays)
    assert count_nodes() == before + len(inputs)
    del inputs
    assert count_nodes() == before


def test_backward_lets_go_of_the_graph(no_gc):
    before, inputs = count_nodes(), net_inputs()
    y = attention_net(*inputs)
    arrays = [weakref.ref(y.array), *(weakref.ref(y.node.saved[n]) for n in ("xhat", "r"))]
    loss = (y * y).sum()
    del y
    loss.backward()
    # though the loss, and the bare nodes behind it, are still held
    assert [a() for a in arrays] == [None] * 3
    del loss
    assert count_nodes() == before + len(inputs)


def test_graph_of_a_gradient_is_freed_by_reference_count_alone(no_gc):
    before, inputs = count_nodes(), net_inputs()
    loss = (attention_net(*inputs) ** 2).sum()
    grads = npf.autograd.grad(loss, inputs, create_graph=True)
    penalty = sum((g * g).sum() for g in grads)
    seconds = npf.autograd.grad(penalty, inputs)
    assert all(np.isfinite(s.array).all() for s in seconds)
    del loss, grads, penalty, seconds
    assert count_nodes() == before + len(inputs)


def test_result_without_grad_holds_no_graph(no_gc):
    before, inputs = count_nodes(), net_inputs()
    with npf.no_grad():
        y = attention_net(*inputs)
    z = attention_net(*inputs).detach()
    assert not y.requires_grad and not z.requires_grad
    assert count_nodes() == before + len(inputs)


# ── one walk, step by step ────────────────────────────────────────────────────────────────────────


def test_second_backward_says_what_to_do():
    x = leaf(3)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(GraphError) as caught:
        y.backward()
    words = "sum: this graph was freed by an earlier backward pass (recorded at "
    assert words in str(caught.value)
    assert f"{__file__}:" in str(caught.value) and "retain_graph=True" in str(caught.value)


def test_second_backward_meets_a_freed_part():
    x = leaf(3)
    shared = x * x
    shared.sum().backward()
    with pytest.raises(GraphError, match="^mul: this graph was freed"):
        (shared * 2).sum().backward()


def test_retain_graph_adds_up():
    x = leaf(3)
    y = (x * x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.array, 6 * x.array ** 2)


def test_backward_is_the_loop_run_to_its_end():
    inputs = net_inputs()
    loss = (attention_net(*inputs) ** 2).sum()
    for _ in npf.backprop(loss, retain_graph=True):
        pass
    stepped = [x.grad.array for x in inputs]
    for x in inputs:
        x.grad = None
    loss.backward()
    for x, g in zip(inputs, stepped):
        np.testing.assert_array_equal(x.grad.array, g)


def test_partial_walk():
    x = leaf(3)
    loss = (x.exp() * 2).sum()
    steps = npf.backprop(loss)
    assert [next(steps).op, next(steps).op] == ["sum", "mul"]
    assert x.grad is None
    steps.close()
    with pytest.raises(GraphError, match="^sum: this graph was freed"):
        loss.backward()
    kept = (x.exp() * 2).sum()
    next(npf.backprop(kept, retain_graph=True))
    kept.backward()
    np.testing.assert_allclose(x.grad.array, 2 * np.exp(x.array))


def test_steps_of_an_attention_net():
    inputs = net_inputs()
    y = attention_net(*inputs)
    upstream = rng.standard_normal(y.shape)
    steps = list(npf.backprop(y, npf.tensor(upstream)))
    assert [s.op for s in steps] == ["layer_norm", "add", "attention", "linear", "linear", "linear"]
    norm, add, attention, *linears = steps
    np.testing.assert_array_equal(norm.upstream, upstream)
    assert norm.formula.startswith("y = x̂·weight + bias") and norm.options == {"eps": 1e-5}
    assert set(norm.saved) == {"xhat", "r", "weight", "bias"} and norm.source[0].endswith("nets.py")
    assert list(norm.gradients) == ["x", "weight", "bias"] == list(norm.inputs)
    # add reads no values
    assert set(add.gradients) == {"a", "b"} and add.inputs == {"a": None, "b": None}
    np.testing.assert_array_equal(add.upstream, norm.gradients["x"])
    np.testing.assert_array_equal(attention.upstream, add.gradients["b"])
    assert set(attention.gradients) == {"q", "k", "v"} and attention.saved["a"].shape == (2, 5, 5)
    total = add.gradients["a"] + sum(s.gradients["x"] for s in linears)
    np.testing.assert_allclose(inputs[0].grad.array, total, rtol=1e-12)
    assert "layer_norm" in repr(norm) and "dx (2, 5, 4)" in repr(norm)


def test_local_jacobian_of_a_step():
    x = leaf(2, 3)
    step = next(npf.backprop(F.softmax(x, dim=-1), npf.ones(2, 3, dtype=npf.float64)))
    jacobian = step.jacobian("x")
    assert jacobian.shape == (2, 3, 2, 3)
    y = step.saved["y"]
    for row in range(2):
        np.testing.assert_allclose(jacobian[row, :, row],
                                   np.diag(y[row]) - np.outer(y[row], y[row]), atol=1e-12)
        np.testing.assert_array_equal(jacobian[row, :, 1 - row], 0)
    np.testing.assert_array_equal(step.jacobian(0), jacobian)


def test_backward_without_a_graph_or_a_scalar():
    with pytest.raises(GraphError, match="no graph behind it"):
        npf.ones(3).backward()
    with pytest.raises(GraphError, match=r"shape \(3,\), not one number"):
        (leaf(3) * 2).backward()
    with pytest.raises(ShapeError, match="grad must have the shape of output"):
        (leaf(3) * 2).backward(npf.ones(4, dtype=npf.float64))


def test_several_outputs_at_once():
    x = leaf(3)
    a, b = x * 2, x * x
    u, v = (npf.tensor(rng.standard_normal(3)) for _ in range(2))
    for _ in npf.backprop([a, b], [u, v]):
        pass
    np.testing.assert_allclose(x.grad.array, 2 * u.array + 2 * x.array * v.array)
