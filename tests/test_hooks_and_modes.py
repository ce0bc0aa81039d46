"""Hooks on tensors, retain_grad, and whether anything is recorded, in this thread and in others."""

import sys
import threading

import numpy as np
import pytest
from nets import attention_net, leaf, net_inputs

import npformer as npf
from npformer.core.errors import GraphError, ShapeError

# ── hooks ─────────────────────────────────────────────────────────────────────────────────────────


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


def test_hook_cannot_write_into_a_gradient_that_others_share():
    """The gradient of a + b is one array for both; a hook that doubles it in place would double the
    other's, too."""
    a, b = leaf(3), leaf(3)
    x, y = a * 2, b * 3
    handle = x.register_hook(lambda g: g.mul_(2))
    with pytest.raises(GraphError, match="cannot be written to"):
        (x + y).sum().backward()
    handle.remove()
    x, y = a * 2, b * 3
    x.register_hook(lambda g: g * 2)
    (x + y).sum().backward()
    assert (a.grad.array == 4).all() and (b.grad.array == 3).all()


def test_hook_of_the_wrong_shape_is_refused():
    x = leaf(3)
    x.register_hook(lambda g: npf.ones(2, dtype=npf.float64))
    with pytest.raises(ShapeError,
                       match="a tensor's hook: must return None or a Tensor of the "
                             "gradient's shape"):
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


# ── grad mode ─────────────────────────────────────────────────────────────────────────────────────


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


def test_threads_run_backward_passes_at_once():
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
