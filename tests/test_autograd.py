"""grad, jacobian, hessian, the recording switches and users' own Functions, against PyTorch."""

import threading

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F

torch = pytest.importorskip("torch",
                            reason="these tests compare with PyTorch, which is not installed")


def pair(*shape, seed=0, positive=False):
    """The same float64 numbers here and there, both requiring a gradient."""
    values = np.random.default_rng([seed, *shape]).standard_normal(shape)
    values = np.exp(values) if positive else values
    return npf.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)


def same(ours, theirs, rtol=1e-10):
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(),
                               rtol=rtol, atol=1e-12)


# ── grad ──────────────────────────────────────────────────────────────────────────────────────────


def test_grad_touches_no_leaf_and_agrees_with_pytorch():
    x, tx = pair(3, 4)
    w, tw = pair(4, 2)
    g, tg = pair(3, 2, seed=5)
    found = npf.autograd.grad(npf.tanh(x @ w), [w, x], grad_outputs=g)
    expected = torch.autograd.grad(torch.tanh(tx @ tw), [tw, tx], grad_outputs=tg)
    for ours, theirs in zip(found, expected):
        same(ours, theirs)
    assert x.grad is None and w.grad is None and not found[0].requires_grad


def test_grad_of_several_outputs():
    x, tx = pair(5)
    found, = npf.autograd.grad([x.sin().sum(), (x ** 3).sum()], x)
    expected, = torch.autograd.grad([tx.sin().sum(), (tx ** 3).sum()], tx)
    same(found, expected)


def test_grad_with_respect_to_a_result_inside_the_graph():
    x, _ = pair(3)
    h = x.exp()
    y = (h * h).sum() + x.sum()
    found, = npf.autograd.grad(y, h)
    np.testing.assert_allclose(found.numpy(), 2 * np.exp(x.detach().numpy()))


def test_unused_inputs():
    x, _ = pair(3)
    other = npf.zeros(2, requires_grad=True)
    with pytest.raises(npf.GraphError,
                       match=r"no path leads from the outputs to input 1 \(2,\)") as error:
        npf.autograd.grad((x * x).sum(), [x, other])
    assert "allow_unused=True" in str(error.value)
    found = npf.autograd.grad((x * x).sum(), [x, other], allow_unused=True)
    assert found[1] is None
    np.testing.assert_allclose(found[0].numpy(), 2 * x.detach().numpy())
    with pytest.raises(npf.GraphError, match="input 0 .* does not require a gradient"):
        npf.autograd.grad((x * x).sum(), npf.ones(3))


def test_only_what_lies_on_the_way_is_walked():
    """A graph that was freed beside the way does not stand in it."""
    x, _ = pair(3)
    y, _ = pair(4)
    side = y.exp().sum()
    total = (x * x).sum() + side
    side.backward()
    found, = npf.autograd.grad(total, x)
    np.testing.assert_allclose(found.numpy(), 2 * x.detach().numpy())


def layer_norm_by_hand(x, shape, weight, bias):
    """Layer norm in single operations: PyTorch's own layer_norm has a wrong third derivative."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / ((centred * centred).mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


def layer_norm_of(m, x):
    return (m.layer_norm if m is F else layer_norm_by_hand)(x, (5,), x[0] + 1.5, x[1])


def attention_of(m, x):
    q, k, v = x[None, None], 1.3 * x[None, None], x[None, None] ** 2
    if m is F:
        return m.scaled_dot_product_attention(q, k, v)
    # the others have no second derivative
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return m.scaled_dot_product_attention(q, k, v)


CURVES = {
    "softmax": (lambda m, x: m.softmax(x, -1)),
    "log_softmax": (lambda m, x: m.log_softmax(x, -1)),
    "gelu": (lambda m, x: m.gelu(x)),
    "gelu_tanh": (lambda m, x: m.gelu(x, approximate="tanh")),
    "silu": (lambda m, x: m.silu(x)),
    "layer_norm": layer_norm_of,
    "attention": attention_of,
    "linear": (lambda m, x: m.linear(x, x[:3] ** 2, x[0, :3])),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_of_any_order_through_fused_operations(name, order):
    """d/dx Σ g·d/dx Σ g·..., each with another random g."""
    x, tx = pair(4, 5)
    ys = CURVES[name](F, x), CURVES[name](torch.nn.functional, tx)
    for k in range(order):
        g, tg = pair(*ys[0].shape, seed=k + 10)
        ours, = npf.autograd.grad((ys[0] * g.detach()).sum(), x, create_graph=True)
        theirs, = torch.autograd.grad((ys[1] * tg.detach()).sum(), tx, create_graph=True)
        same(ours, theirs, rtol=1e-8)
        ys = ours, theirs


@pytest.mark.filterwarnings("ignore:Using backward\\(\\) with create_graph=True:UserWarning")
def test_create_graph_leaves_a_differentiable_grad():
    x, tx = pair(3)
    for t in (x, tx):
        (t ** 3).sum().backward(create_graph=True)
        first = t.grad
        t.grad = None
        (first * first).sum().backward()
    same(x.grad, tx.grad)


@pytest.mark.parametrize("ask, words", [
    (lambda x: npf.autograd.grad(x.sum(), 4), "grad(outputs, inputs): it takes Tensors, got 4"),
    (lambda x: npf.autograd.grad(3.0, x), "backprop(output): it takes Tensors, got 3.0"),
    (lambda x: list(npf.backprop([x.sum(), None])), "backprop(output): it takes Tensors, got None"),
    (lambda x: npf.autograd.jacobian(npf.exp, [x, "x"]),
     "jacobian(func, inputs): it takes Tensors, got 'x'"),
])
def test_what_is_no_tensor(ask, words):
    with pytest.raises(npf.DTypeError) as caught:
        ask(pair(3)[0])
    assert str(caught.value) == words


def test_create_graph_needs_recording():
    x, _ = pair(3)
    y = (x * x).sum()
    with npf.no_grad(), pytest.raises(npf.GraphError, match="create_graph=True under no_grad"):
        npf.autograd.grad(y, x, create_graph=True)


# ── jacobian and hessian ──────────────────────────────────────────────────────────────────────────


def test_jacobian_agrees_with_pytorch():
    x, tx = pair(2, 3)
    w, tw = pair(3, 4)
    found = npf.autograd.jacobian(lambda a, b: npf.tanh(a @ b), (x, w))
    expected = torch.autograd.functional.jacobian(lambda a, b: torch.tanh(a @ b), (tx, tw))
    for ours, theirs in zip(found, expected):
        assert tuple(ours.shape) == tuple(theirs.shape)
        same(ours, theirs)
    assert x.grad is None


def test_jacobian_of_something_constant_is_zero():
    found = npf.autograd.jacobian(lambda x: npf.ones(2), npf.ones(3))
    assert found.shape == (2, 3) and not found.numpy().any()


def test_hessian_agrees_with_pytorch():
    x, tx = pair(4)
    y, ty = pair(2, 2)
    ours = npf.autograd.hessian(lambda a: (a.softmax(-1) * a ** 2).sum(), x)
    same(ours, torch.autograd.functional.hessian(lambda a: (a.softmax(-1) * a ** 2).sum(), tx))
    found = npf.autograd.hessian(lambda a, b: (a.exp()[:2] @ b).sum() ** 2, (x, y))
    expected = torch.autograd.functional.hessian(lambda a, b: (a.exp()[:2] @ b).sum() ** 2,
                                                 (tx, ty))
    for row, other in zip(found, expected):
        for ours, theirs in zip(row, other):
            same(ours, theirs)
    with pytest.raises(npf.ShapeError, match="func must return one number"):
        npf.autograd.hessian(lambda a: a * a, x)


# ── recording on and off ──────────────────────────────────────────────────────────────────────────


def test_switches_nest_and_are_decorators():
    x = npf.ones(2, requires_grad=True)
    with npf.no_grad():
        assert not npf.is_grad_enabled() and not (x * 2).requires_grad
        with npf.enable_grad():
            assert (x * 2).requires_grad
        assert not npf.is_grad_enabled()
    assert npf.is_grad_enabled()

    @npf.no_grad()
    def quiet(t):
        """its docstring"""
        return t * 2

    @npf.no_grad
    def bare(t):
        return t * 2

    assert not quiet(x).requires_grad and not bare(x).requires_grad
    assert quiet.__doc__ == "its docstring"
    with npf.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), npf.no_grad():
        raise ZeroDivisionError
    assert npf.is_grad_enabled()


def test_grad_mode_is_per_thread():
    seen = []
    with npf.no_grad():
        thread = threading.Thread(target=lambda: seen.append(npf.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


# ── Function ──────────────────────────────────────────────────────────────────────────────────────


def make_functions(module):
    """The same user's operations, written once, for npformer or PyTorch."""

    class Cube(module.autograd.Function):
        """x³"""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x ** 3

        @staticmethod
        def backward(ctx, g):
            x, = ctx.saved_tensors
            return g * 3 * x ** 2

    class Exponential(module.autograd.Function):
        """Saves its own output."""

        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            y, = ctx.saved_tensors
            return g * y

    class SumAndProduct(module.autograd.Function):
        """Two outputs, an option, and an input that may need no gradient."""

        @staticmethod
        def forward(ctx, a, b, scale):
            ctx.save_for_backward(a, b)
            ctx.scale = scale
            return a + b, a * b * scale

        @staticmethod
        def backward(ctx, g_sum, g_product):
            a, b = ctx.saved_tensors
            da = g_sum + g_product * b * ctx.scale if ctx.needs_input_grad[0] else None
            db = g_sum + g_product * a * ctx.scale if ctx.needs_input_grad[1] else None
            return da, db, None

    return Cube, Exponential, SumAndProduct


def test_functions_of_users_agree_with_pytorch_to_second_order():
    results = []
    for module, (x, y) in ((npf, (pair(3)[0], pair(3, seed=9)[0])),
                           (torch, (pair(3)[1], pair(3, seed=9)[1]))):
        Cube, Exponential, SumAndProduct = make_functions(module)
        s, p = SumAndProduct.apply(Cube.apply(x), Exponential.apply(y), 0.7)
        loss = (s * p).sum()
        first = module.autograd.grad(loss, [x, y], create_graph=True)
        second = module.autograd.grad((first[0] * first[1]).sum(), [x, y])
        results.append([loss, *first, *second])
    for ours, theirs in zip(*results, strict=True):
        same(ours, theirs)


def test_a_function_shows_up_in_backprop():
    Cube, _, _ = make_functions(npf)
    x, _ = pair(3)
    steps = list(npf.backprop(Cube.apply(x).sum()))
    assert [s.op for s in steps] == ["sum", "Cube"] and steps[1].formula == "x³"


def test_mistakes_in_a_function_are_worded():
    class Wrong(npf.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, g):
            return g

    x, y = pair(3)[0], pair(3, seed=1)[0]
    with pytest.raises(npf.GraphError,
                       match="Wrong.backward returned 1 gradients for 2 inputs of forward"):
        Wrong.apply(x, y).sum().backward()
    Wrong.backward = staticmethod(lambda ctx, g: (g, g.sum()))
    with pytest.raises(npf.ShapeError,
                       match=r"gradient 1 has shape \(\), but input 1 has shape \(3,\)"):
        Wrong.apply(x, y).sum().backward()
    Wrong.backward = staticmethod(lambda ctx, g: (g, 1.0))
    with pytest.raises(npf.GraphError, match="gradient 1 is a float, not a Tensor"):
        Wrong.apply(x, y).sum().backward()


def test_a_saved_tensor_that_was_changed_is_noticed():
    Cube, _, _ = make_functions(npf)
    x, _ = pair(3)
    h = x * 1.5
    y = Cube.apply(h).sum()
    with npf.no_grad():
        h.mul_(2)
    with pytest.raises(npf.GraphError, match="changed in place"):
        y.backward()


def test_outputs_marked_as_constant_need_no_gradient():
    class Rank(npf.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            order = x.argsort()
            ctx.mark_non_differentiable(order)
            return x * 2, order

        @staticmethod
        def backward(ctx, g, _):
            return g * 2

    x, _ = pair(4)
    y, order = Rank.apply(x)
    assert y.requires_grad and not order.requires_grad and order.dtype == npf.int64
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * np.ones(4))
