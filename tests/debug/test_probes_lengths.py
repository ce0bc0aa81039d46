"""The gradient by the number of branches it passed through, compared with every product of
Jacobians, and with scaled branches."""

import itertools
import math

import numpy as np
import pytest
from residual_models import CASES, COUNTS

import npformer as npf
import npformer.nn.functional as F
from npformer import nn


def jacobian(function, at):
    """d function / d at as a matrix."""
    return npf.autograd.jacobian(function, at.detach()).numpy().reshape(at.numel(), at.numel())


def by_products(g, factors):
    """Σ over all subsets of k factors: the products of these dF and of 1 for the others. 2ⁿ
    products, the last first."""
    parts = [np.zeros_like(g) for _ in range(len(factors) + 1)]
    for chosen in itertools.product((False, True), repeat=len(factors)):
        row = g
        for taken, (norm, dF) in zip(chosen, reversed(factors)):
            row = row @ norm
            row = row @ dF if taken else row
        parts[sum(chosen)] = parts[sum(chosen)] + row
    return parts


@pytest.mark.parametrize("normed", [False, True])
def test_it_is_the_sum_over_all_ways(normed):
    """n = 3 blocks y = x + F(x), or y = norm(x + F(x)): all 8 products of explicit Jacobians."""
    layers = [nn.Linear(5, 5).double() for _ in range(3)]
    norms = [nn.LayerNorm(5).double() if normed else nn.Identity() for _ in layers]
    for norm in norms if normed else ():
        norm.weight.data = npf.randn(5, dtype=npf.float64)
    x = start = npf.randn(5, dtype=npf.float64, requires_grad=True)
    factors = []
    for layer, norm in zip(layers, norms):
        def branch(t, layer=layer):
            return F.tanh(layer(t)) * 2
        s = x + branch(x)
        factors.append((jacobian(norm, s), jacobian(branch, x)))
        x = norm(s)
    weights = npf.randn(5, dtype=npf.float64)
    found = npf.debug.path_lengths((x * weights).sum())
    expected = by_products(weights.numpy(), factors)
    assert found.paths == [1, 3, 3, 1]
    for a, b in zip(found.gradients, expected):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    d, = npf.autograd.grad((x * weights).sum(), start)
    np.testing.assert_allclose(found.total, d.numpy(), rtol=1e-12)


class Weighed(npf.autograd.Function):
    """The identity forwards; backwards t times the gradient."""

    @staticmethod
    def forward(ctx, x, t):
        ctx.t = t
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.t, None


@pytest.mark.parametrize("name", [name for name in CASES if COUNTS[name]])
def test_the_parts_are_the_coefficients_of_a_polynomial(name):
    """With each branch's gradient times t, the gradient at the start is Σ_k t^k g_k: in every
    model, for several t."""
    case, t = CASES[name](), [1.0]
    for branch in case.branches:
        branch.register_forward_hook(lambda module, args, y: Weighed.apply(y, t[0]))
    found = npf.debug.path_lengths(*case.started())
    assert found.error <= 1e-12
    for t[0] in (1.0, 0.0, -0.7, 1.9):
        d = npf.autograd.grad(*case.started())[0].numpy()
        expected = sum(t[0] ** k * g for k, g in enumerate(found.gradients))
        np.testing.assert_allclose(expected, d, rtol=1e-9, atol=1e-12 * np.abs(d).max())


@pytest.mark.parametrize("name", [name for name in CASES if COUNTS[name] and "coder" not in name])
def test_a_single_stream_has_binomially_many_ways(name):
    case, n = CASES[name](), COUNTS[name]
    loss, start = case.started()
    found = npf.debug.path_lengths(loss, start)
    assert found.paths == [math.comb(n, k) for k in range(n + 1)]
    if "deleted" not in name:                      # there the oldest x is behind the first norm
        np.testing.assert_array_equal(npf.debug.path_lengths(loss).gradient, found.gradient)


def test_the_ways_through_an_encoder_and_a_decoder():
    """From the source every way leads through cross-attention at least once; from the target a way
    may lead through no branch."""
    for name, reached in (("encoder", False), ("decoder", True)):
        found = npf.debug.path_lengths(*CASES[name]().started())
        assert (found.paths[0] == 1, found.gradients[0].any()) == (reached, reached)
        assert all(found.paths[1:]) and found.norms[1:].all()


def test_side_by_side_branches_count_once():
    """x + F(x) + G(x) is 1 + dF + dG: two ways, of length 0 and 1."""
    x = npf.randn(4, dtype=npf.float64, requires_grad=True)
    found = npf.debug.path_lengths((x + x.sin() + x.exp()).sum())
    assert found.paths == [1, 1]
    values = x.detach().numpy()
    np.testing.assert_allclose(found.gradients[1], np.cos(values) + np.exp(values))
    # and a branch with a residual inside itself: 1 + (1 + dG)·dF has the lengths 0, 1 and 2
    h = x.tanh()
    inner = npf.debug.path_lengths((x + (h + h ** 3)).sum(), x)
    assert inner.paths == [1, 1, 1]
    slope = 1 - np.tanh(x.detach().numpy()) ** 2
    np.testing.assert_allclose(inner.gradients[1], slope)
    np.testing.assert_allclose(inner.gradients[2], 3 * h.detach().numpy() ** 2 * slope)


def test_dropout_float32_and_an_upstream():
    npf.manual_seed(3)
    x = npf.randn(2, 40, requires_grad=True)
    y = x + F.dropout(x.sin(), 0.5)
    y = y + F.dropout(y.exp(), 0.3)
    g = npf.randn(2, 40)
    found = npf.debug.path_lengths(y, grad=g)
    assert [a.dtype for a in found.gradients] == [np.float32] * 3 and found.error < 1e-6
    np.testing.assert_array_equal(found.gradients[0], g.numpy())
    d, = npf.autograd.grad(y, x, g)
    np.testing.assert_allclose(found.total, d.numpy(), rtol=1e-5)


def test_nothing_is_left_behind():
    x = npf.randn(5, requires_grad=True)
    loss = (x + x.tanh()).sum()
    npf.debug.path_lengths(loss)
    assert x.grad is None
    loss.backward()


def test_shares_norms_and_the_table():
    x = npf.tensor([1.0, 2.0], dtype=npf.float64, requires_grad=True)
    y = x + 3 * x
    y = y + 2 * y                                  # (1 + 2)(1 + 3) = 1 + (2 + 3) + 6
    found = npf.debug.path_lengths(y.sum())
    np.testing.assert_allclose(found.gradients, [[1, 1], [5, 5], [6, 6]])
    np.testing.assert_allclose(found.norms, math.sqrt(2) * np.array([1, 5, 6]))
    np.testing.assert_allclose(found.shares, np.array([1, 5, 6]) / 12)
    lines = str(found).splitlines()
    assert lines[2].split() == ["1", "2", "50.0%", "7.071", "41.7%", "+41.7%", "3.536"]
    assert lines[-1] == "|Σ g_k| = |dL/dx| = 16.97, error 0e+00"


def test_a_gradient_of_zero_has_no_shares():
    x = npf.randn(3, requires_grad=True)
    found = npf.debug.path_lengths(((x + x.tanh()) * 0).sum())
    assert np.isnan(found.shares).all() and found.error == 0
    assert str(found).splitlines()[1].split() == ["0", "1", "50.0%", "0", "-", "-", "0"]


def test_a_length_that_no_way_has(tmp_path):
    """From the source no way avoids every branch."""
    found = npf.debug.path_lengths(*CASES["encoder"]().started())
    assert np.isnan(found.per_path[0]) and not np.isnan(found.per_path[1:]).any()
    assert str(found).splitlines()[1].split() == ["0", "0", "0.0%", "0", "0.0%", "+0.0%", "-"]
    found.plot(tmp_path / "lengths.png")
    assert (tmp_path / "lengths.png").stat().st_size > 10_000


def test_what_cannot_be_asked_is_worded():
    x = npf.randn(3, requires_grad=True)
    words = r"no addition y = x \+ F\(x\) behind loss, so no residual stream"
    with pytest.raises(npf.GraphError, match=words):
        npf.debug.path_lengths(x.exp().sum())
    plain = npf.debug.path_lengths(x.exp().sum(), start=x)
    assert plain.paths == [1] and plain.error == 0
    loss = (x + x.tanh()).sum()
    for stranger in (npf.randn(3, requires_grad=True), npf.randn(3)):
        with pytest.raises(npf.GraphError, match="no path leads from loss to start"):
            npf.debug.path_lengths(loss, start=stranger)
    with pytest.raises(npf.DTypeError, match="start must be a Tensor"):
        npf.debug.path_lengths(loss, start=np.ones(3))
    with pytest.raises(npf.GraphError, match="not one number"):
        npf.debug.path_lengths(x + x.tanh())
    loss.backward()
    words = r"freed by a backward pass; call path_lengths before backward\(\)"
    with pytest.raises(npf.GraphError, match=words):
        npf.debug.path_lengths(loss)
