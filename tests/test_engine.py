"""What the engine promises, whatever runs on it: deep chains, memory, accumulation, hooks, dtypes, threads."""

import gc
import sys
import threading
import types
import weakref

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer.core import operation, tape
from npformer.core.errors import GraphError, ShapeError
from npformer.core.samples import draw

EVERY_OPERATION = pytest.mark.parametrize("op", operation.REGISTRY.values(), ids=lambda op: op.name)
rng = np.random.default_rng(5)


def leaf(*shape, dtype=np.float64):
    return npf.tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True)


def attention_net(x, wq, wk, wv, gain, bias):
    """One head, a residual, a layer norm: fan-out at x, a fused operation, an addition."""
    q, k, v = F.linear(x, wq), F.linear(x, wk), F.linear(x, wv)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.layer_norm(x + y, (x.shape[-1],), gain, bias)


def net_inputs():
    return [leaf(2, 5, 4), leaf(4, 4), leaf(4, 4), leaf(4, 4), leaf(4), leaf(4)]


@pytest.fixture
def no_gc():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive():
    """How many nodes there are."""
    return sum(1 for thing in gc.get_objects() if type(thing) is tape.Node)


# ── deep chains ──────────────────────────────────────────────────────────────────────────────────────────────────────


def in_small_thread(work):
    """Run `work` where a recursion of any depth would overflow the stack. Returns what it returns."""
    found, before = [], threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(work()))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    return found[0]


def chain(x, length=100_000):
    for _ in range(length):
        x = x * 1.00001
    return x


def test_chain_of_100000_operations():
    def work():
        x = npf.tensor(1.5, dtype=npf.float64, requires_grad=True)
        y = chain(x)
        y.backward()
        return x.grad.item(), y.item()

    slope, value = in_small_thread(work)
    assert slope == pytest.approx(1.00001 ** 100_000, rel=1e-9)
    assert value == pytest.approx(1.5 * slope, rel=1e-9)


def test_chain_of_100000_is_freed_without_a_backward(no_gc):
    before = alive()

    def work():
        y = chain(npf.tensor(1.5, requires_grad=True))
        return alive() - before, y.item() > 0

    assert in_small_thread(work) == (100_001, True)
    assert alive() == before


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


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_graph_is_freed_by_reference_count_alone(no_gc):
    before = alive()
    inputs = net_inputs()
    y = attention_net(*inputs)
    leaves = alive() - before - len(inputs)
    assert leaves > 0
    arrays = [weakref.ref(a) for a in (y.array, y.node.saved["xhat"], y.node.parents[0].kept[0]) if a is not None]
    node = weakref.ref(y.node)
    del y
    assert node() is None and all(a() is None for a in arrays)
    assert alive() == before + len(inputs)
    del inputs
    assert alive() == before


def test_backward_lets_go_of_the_graph(no_gc):
    before, inputs = alive(), net_inputs()
    y = attention_net(*inputs)
    arrays = [weakref.ref(y.array), *(weakref.ref(y.node.saved[n]) for n in ("xhat", "r"))]
    loss = (y * y).sum()
    del y
    loss.backward()
    assert [a() for a in arrays] == [None] * 3     # though the loss, and the bare nodes behind it, are still held
    del loss
    assert alive() == before + len(inputs)


def test_graph_of_a_gradient_is_freed_by_reference_count_alone(no_gc):
    before, inputs = alive(), net_inputs()
    loss = (attention_net(*inputs) ** 2).sum()
    grads = npf.autograd.grad(loss, inputs, create_graph=True)
    penalty = sum((g * g).sum() for g in grads)
    seconds = npf.autograd.grad(penalty, inputs)
    assert all(np.isfinite(s.array).all() for s in seconds)
    del loss, grads, penalty, seconds
    assert alive() == before + len(inputs)


def test_result_without_grad_holds_no_graph(no_gc):
    before, inputs = alive(), net_inputs()
    with npf.no_grad():
        y = attention_net(*inputs)
    z = attention_net(*inputs).detach()
    assert not y.requires_grad and not z.requires_grad
    assert alive() == before + len(inputs)


# ── one walk, step by step ───────────────────────────────────────────────────────────────────────────────────────────


def test_second_backward_says_what_to_do():
    x = leaf(3)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(GraphError) as caught:
        y.backward()
    assert "sum: this graph was freed by an earlier backward pass (recorded at " in str(caught.value)
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
    assert set(norm.saved) == {"xhat", "r", "weight", "bias"} and norm.source[0] == __file__
    assert list(norm.gradients) == ["x", "weight", "bias"] == list(norm.inputs)
    assert set(add.gradients) == {"a", "b"} and add.inputs == {"a": None, "b": None}    # add reads no values
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
        np.testing.assert_allclose(jacobian[row, :, row], np.diag(y[row]) - np.outer(y[row], y[row]), atol=1e-12)
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


# ── accumulation ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_gradients_add_up_at_fan_out():
    x = leaf(3)
    ((x * 2).sum() + (x * x).sum() + x.sum()).backward()
    np.testing.assert_allclose(x.grad.array, 2 + 2 * x.array + 1)
    x.sum().backward()
    np.testing.assert_allclose(x.grad.array, 2 + 2 * x.array + 2)


def no_two_share(named):
    for i, (one, a) in enumerate(named):
        for two, b in named[i + 1:]:
            assert not np.shares_memory(a, b), f"{one} and {two} are the same memory"


@EVERY_OPERATION
def test_gradients_alias_nothing_and_change_nothing(op):
    """Every .grad is an array of its own: not the upstream, not data, not another's. And nothing was written into."""
    for k in range(len(op.examples)):
        args, options = draw(op.examples[k], np.random.default_rng(k))
        xs = [npf.tensor(a).requires_grad_() if getattr(a, "dtype", None) == np.float64 and op.differentiable(i) else a
              for i, a in enumerate(args)]
        leaves = [(op.name_of(i), x) for i, x in enumerate(xs) if isinstance(x, npf.Tensor)]
        y = op(*xs, **options)
        middle = y * 1.0                           # passes its gradient on, and keeps one of its own
        middle.retain_grad(), y.retain_grad()
        upstream = np.random.default_rng(k).standard_normal(y.shape)
        before = [x.array.copy() for _, x in leaves] + [upstream.copy(), y.array.copy()]
        middle.backward(npf.Tensor.wrap(upstream))
        after = [x.array for _, x in leaves] + [upstream, y.array]
        for a, b in zip(before, after):
            np.testing.assert_array_equal(a, b)
        grads = [(f"d{n}", x.grad.array) for n, x in leaves] + [("dy", y.grad.array), ("dmiddle", middle.grad.array)]
        no_two_share([*grads, ("upstream", upstream)])
        for name, g in grads:
            for n, x in leaves:
                assert not np.shares_memory(g, x.array), f"{name} is {n}'s memory"
            assert g.flags.writeable


def test_both_operands_of_an_addition_get_arrays_of_their_own():
    a, b = leaf(3), leaf(3)
    upstream = npf.tensor(rng.standard_normal(3))
    (a + b).backward(upstream)
    no_two_share([("da", a.grad.array), ("db", b.grad.array), ("upstream", upstream.array)])
    with npf.no_grad():
        a.grad.zero_()
    np.testing.assert_array_equal(b.grad.array, upstream.array)


# ── dtypes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(2), np.array(2.5)],
                         ids=lambda n: f"{type(n).__name__}")
def test_numbers_never_promote(dtype, number):
    x = leaf(3, dtype=dtype)
    for y in (x + number, number + x, x - number, number - x, x * number, number * x, x / number, number / (x * x + 1),
              (x * x + 1) ** number, npf.maximum(x, number), npf.where(x > 0, x, number), x.clamp(max=float(number))):
        assert isinstance(y, npf.Tensor) and y.dtype == dtype
        x.grad = None
        y.sum().backward()
        assert x.grad.dtype == dtype


@EVERY_OPERATION
def test_float32_stays_float32_in_value_and_gradient(op):
    if op.name == "cast":
        return
    for k in range(len(op.examples)):
        args, options = draw(op.examples[k], np.random.default_rng(k), np.float32)
        xs = [npf.tensor(a).requires_grad_() if getattr(a, "dtype", None) == np.float32 and op.differentiable(i) else a
              for i, a in enumerate(args)]
        y = op(*xs, **options)
        assert y.dtype == np.float32
        (y * y).sum().backward()
        for i, x in enumerate(xs):
            if isinstance(x, npf.Tensor):
                assert x.grad.dtype == np.float32, f"d{op.name_of(i)}"


def test_mixed_precision_brings_each_gradient_back_to_its_own_dtype():
    a, b = leaf(3, dtype=np.float32), leaf(3, dtype=np.float64)
    y = a * b
    assert y.dtype == np.float64
    y.sum().backward()
    assert a.grad.dtype == np.float32 and b.grad.dtype == np.float64


# ── hooks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_hook_sees_the_whole_gradient_and_replaces_it():
    x, seen = leaf(3), []
    y = x * 2

    def hook(g):
        seen.append(g.array.copy())
        return g * 10

    handle = y.register_hook(hook)
    (y + y).sum().backward()
    assert len(seen) == 1 and (seen[0] == 2).all()         # after both paths added up
    assert (x.grad.array == 40).all()
    handle.remove()
    handle.remove()
    x.grad = None
    y = x * 2
    with y.register_hook(hook):
        pass
    y.sum().backward()
    assert (x.grad.array == 2).all() and len(seen) == 1


def test_hooks_of_a_leaf_run_in_their_order():
    x, order = leaf(3), []
    x.register_hook(lambda g: order.append("first") or g + 1)
    second = x.register_hook(lambda g: order.append("second") or g * 2)
    x.sum().backward()
    assert order == ["first", "second"] and (x.grad.array == 4).all()
    second.remove()
    x.grad = None
    x.sum().backward()
    assert (x.grad.array == 2).all()


def test_hook_that_returns_none_only_looks():
    x = leaf(3)
    x.register_hook(lambda g: None)
    x.sum().backward()
    assert (x.grad.array == 1).all()


def test_hook_of_the_wrong_shape_is_refused():
    x = leaf(3)
    x.register_hook(lambda g: npf.ones(2, dtype=npf.float64))
    with pytest.raises(ShapeError, match="a tensor's hook: must return None or a Tensor of the gradient's shape"):
        x.sum().backward()


def test_hook_is_differentiated_under_create_graph():
    x = leaf(3)
    y = x * 3
    y.register_hook(lambda g: g * x)
    g, = npf.autograd.grad(y.sum(), x, create_graph=True)
    np.testing.assert_allclose(g.array, 3 * x.array)
    h, = npf.autograd.grad(g.sum(), x)
    np.testing.assert_allclose(h.array, [3, 3, 3])


def test_retain_grad():
    x = leaf(3)
    y = x * 2
    z = y * y
    y.retain_grad()
    z.sum().backward()
    np.testing.assert_allclose(y.grad.array, 2 * y.array)
    assert z.grad is None and not y.is_leaf
    with pytest.raises(GraphError, match="does not require a gradient"):
        npf.ones(3).retain_grad()


# ── grad mode ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_grad_mode_nests_and_is_put_back():
    x = leaf(3)
    with npf.no_grad():
        assert not (x * 2).requires_grad
        with npf.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), npf.no_grad():
        raise ZeroDivisionError
    assert npf.is_grad_enabled()

    @npf.no_grad()
    def silent(x):
        return x * 2

    assert not silent(x).requires_grad and (x * 2).requires_grad


def test_grad_mode_is_per_thread():
    x, found = leaf(3), []
    inside, done = threading.Event(), threading.Event()

    def other():
        with npf.no_grad():
            inside.set()
            done.wait(10)
            found.append((x * 2).requires_grad)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(10)
    found.append((x * 2).requires_grad)            # while the other thread records nothing
    done.set()
    thread.join()
    assert found == [True, False]


def test_threads_walk_at_once():
    def work(found):
        inputs = net_inputs()
        loss = (attention_net(*inputs) ** 2).sum()
        loss.backward(retain_graph=True)
        first = [x.grad.array.copy() for x in inputs]
        for _ in range(20):
            for x in inputs:
                x.grad = None
            loss.backward(retain_graph=True)
            found.append(all((x.grad.array == g).all() for x, g in zip(inputs, first)))

    results = [[] for _ in range(4)]
    threads = [threading.Thread(target=work, args=(r,)) for r in results]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(before)
    assert all(len(r) == 20 and all(r) for r in results)


# ── derivatives of derivatives ───────────────────────────────────────────────────────────────────────────────────────


def third_order(lib, F, function, xs, vs):
    """The first, second and third derivatives along fixed directions, all inputs together."""
    found, f = [], function(F, *xs)
    for order in range(3):
        gradients = lib.autograd.grad(f, xs, create_graph=True)
        found += gradients
        f = sum((g * v).sum() for g, v in zip(gradients, vs[order]))
    return found


def layer_norm_in_pytorch(x, shape, weight, bias, eps):
    """The definition. The third derivative in x of PyTorch 2.13's own layer_norm is wrong; that of this one is right."""
    centred = x - x.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + eps).rsqrt() * weight + bias


FUNCTIONS = {
    "softmax": (lambda F, x: (F.softmax(x, dim=-1) ** 2).sum(), [(3, 4)]),
    "log_softmax": (lambda F, x: (F.log_softmax(x, dim=0) ** 2).sum(), [(3, 4)]),
    "layer_norm": (lambda F, x, w, b: (F.layer_norm(x, (5,), w, b, 0.1) ** 3).sum(), [(3, 5), (5,), (5,)]),
    "attention": (lambda F, q, k, v: (F.scaled_dot_product_attention(q, k, v, is_causal=True) ** 2).sum(),
                  [(2, 4, 3), (2, 4, 3), (2, 4, 5)]),
    "gelu": (lambda F, x: F.gelu(x).exp().sum(), [(7,)]),
    "gelu_tanh": (lambda F, x: F.gelu(x, approximate="tanh").exp().sum(), [(7,)]),
    "silu": (lambda F, x: F.silu(x).exp().sum(), [(7,)]),
    "linear": (lambda F, x, w, b: (F.linear(x, w, b) ** 3).sum(), [(2, 3, 4), (5, 4), (5,)]),
    "rms_norm": (lambda F, x, w: (F.rms_norm(x, (5,), w, 0.1) ** 3).sum(), [(3, 5), (5,)]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_third_order_agrees_with_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is the outsider that the derivatives are compared with")
    function, shapes = FUNCTIONS[name]
    theirs = types.SimpleNamespace(**{**vars(torch.nn.functional), "layer_norm": layer_norm_in_pytorch})
    local = np.random.default_rng(len(name))
    data = [local.standard_normal(s) for s in shapes]
    directions = [[local.standard_normal(s) for s in shapes] for _ in range(3)]
    ours = third_order(npf, F, function, [npf.tensor(a, requires_grad=True) for a in data],
                       [[npf.tensor(v) for v in vs] for vs in directions])
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = third_order(torch, theirs, function, [torch.tensor(a, requires_grad=True) for a in data],
                               [[torch.tensor(v) for v in vs] for vs in directions])
    for a, b in zip(ours, expected, strict=True):
        expected = b.detach().numpy()
        np.testing.assert_allclose(a.detach().numpy(), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
