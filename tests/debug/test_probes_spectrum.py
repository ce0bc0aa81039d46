"""Singular values of a block's Jacobian, compared with dense ones that are built in another way,
and those of the iteration with all of them."""

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer import nn
from npformer.debug.probes import spectrum
from npformer.models.deep import DeepBlock
from npformer.models.gpt import Block


def singular(function, x):
    J = npf.autograd.jacobian(function, x.detach()).numpy()
    return np.linalg.svd(J.reshape(-1, x.numel()), compute_uv=False)


def residual(width=7):
    W = npf.randn(width, width, dtype=npf.float64) * 0.4
    return lambda t: F.tanh(t @ W)


def test_with_the_skip_and_without():
    """Of y = x + F(x): the spectra of 1 + dF and of dF."""
    branch, x = residual(), npf.randn(2, 7, dtype=npf.float64)
    found = npf.debug.jacobian_spectrum(lambda t: t + branch(t), x)
    np.testing.assert_allclose(found.values, singular(lambda t: t + branch(t), x), rtol=1e-10)
    np.testing.assert_allclose(found.branches, singular(branch, x), rtol=1e-9, atol=1e-14)
    assert found.shape == (14, 14) and found.method == "all of them, from the whole Jacobian"


def test_two_skips_are_both_cut():
    """Of y = h + G(h), h = norm(x + F(x)): the product of dG, the norm's Jacobian and dF, at the
    values with the skips."""
    branch, second, norm = residual(), residual(), nn.LayerNorm(7).double()
    x = npf.randn(7, dtype=npf.float64)

    def block(t):
        h = norm(t + branch(t))
        return h + second(h)

    found = npf.debug.jacobian_spectrum(block, x)
    h = norm(x + branch(x)).detach()
    J = (npf.autograd.jacobian(second, h).numpy()
         @ npf.autograd.jacobian(norm, x + branch(x)).numpy()
         @ npf.autograd.jacobian(branch, x).numpy())
    values = np.linalg.svd(J, compute_uv=False)
    np.testing.assert_allclose(found.branches, values, rtol=1e-8, atol=1e-13)
    np.testing.assert_allclose(found.values, singular(block, x), rtol=1e-8, atol=1e-13)


def test_without_a_skip_and_not_square():
    layer = nn.Linear(6, 4).double()
    found = npf.debug.jacobian_spectrum(layer, npf.randn(6, dtype=npf.float64))
    values = np.linalg.svd(layer.weight.detach().numpy(), compute_uv=False)
    np.testing.assert_allclose(found.values, values, rtol=1e-12)
    assert found.branches is None and found.shape == (4, 6)
    assert "skips cut" not in str(found)


@pytest.mark.parametrize("build", [
    lambda: Block(8, 2, 16, 0.0, True, 1e-5, 1), lambda: DeepBlock(8, 2, 16, 1, "post"),
    lambda: nn.Linear(8, 5)], ids=["pre-LN", "post-LN", "linear"])
def test_the_iteration_finds_the_largest(build, monkeypatch):
    block, x = build().double(), npf.randn(1, 6, 8, dtype=npf.float64)
    whole = npf.debug.jacobian_spectrum(block, x)
    monkeypatch.setattr(spectrum, "EXACT", 3)
    found = npf.debug.jacobian_spectrum(block, x, count=5)
    assert found.method.startswith("the largest, each within") and len(found.values) == 5
    np.testing.assert_allclose(found.values, whole.values[:5], rtol=1e-5)
    if whole.branches is not None:
        np.testing.assert_allclose(found.branches, whole.branches[:5], rtol=1e-5)
    every = npf.debug.jacobian_spectrum(block, x, count=99)
    np.testing.assert_allclose(every.values, whole.values, rtol=1e-9, atol=1e-12)
    assert str(found).splitlines()[1].startswith("number 1")


def test_values_that_repeat_are_found_as_often(monkeypatch):
    monkeypatch.setattr(spectrum, "EXACT", 3)
    scales = npf.tensor([2.0] * 5 + [0.5] * 5 + [0.0] * 2, dtype=npf.float64)
    x = npf.randn(12, dtype=npf.float64)
    found = npf.debug.jacobian_spectrum(lambda t: t * scales, x, count=12)
    np.testing.assert_allclose(found.values, scales.numpy(), atol=1e-12)
    zero = npf.debug.jacobian_spectrum(lambda t: t * 0.0, npf.randn(12), count=4)
    assert zero.values.tolist() == [0, 0, 0, 0] and zero.values.dtype == np.float32


def test_float32_dropout_and_the_users_tensor_stay_as_they_are():
    block = Block(8, 2, 16, 0.3, True, 1e-5, 1)
    x = npf.randn(1, 3, 8, requires_grad=True)
    found = npf.debug.jacobian_spectrum(block, x)
    assert found.values.dtype == np.float32 and x.grad is None
    assert all(p.grad is None for p in block.parameters())
    fresh = npf.randn(1, 3, 8)
    npf.debug.jacobian_spectrum(block, fresh)
    assert not fresh.requires_grad
    with npf.no_grad():
        assert npf.debug.jacobian_spectrum(block.eval(), x).branches is not None


def test_the_table_and_the_picture(tmp_path):
    found = npf.debug.jacobian_spectrum(lambda t: t + t * 0.01, npf.ones(4, dtype=npf.float64))
    lines = [line.split() for line in str(found).splitlines()]
    assert lines[0] == ["dy/dx,", "4", "x", "4", "with", "the", "skips", "skips", "cut"]
    assert lines[1] == ["largest", "1.01", "0.01"]
    assert lines[-2] == ["below", "1e-6", "of", "largest", "0", "0"]
    found.plot(tmp_path / "spectrum.png")
    assert (tmp_path / "spectrum.png").stat().st_size > 10_000


def test_what_cannot_be_asked_is_worded():
    x = npf.randn(3)
    with pytest.raises(npf.DTypeError, match=r"x must be floating\n  x int64 \(3,\)"):
        npf.debug.jacobian_spectrum(nn.Embedding(3, 2), npf.arange(3))
    for constant in (lambda t: npf.ones(3), lambda t: t.detach() * npf.ones(3, requires_grad=True)):
        with pytest.raises(npf.GraphError, match=r"block\(x\) does not depend on x"):
            npf.debug.jacobian_spectrum(constant, x)
    with pytest.raises(npf.GraphError, match="does not depend on x"):
        npf.debug.jacobian_spectrum(lambda t: t * 2, npf.zeros(0))
    with pytest.raises(npf.DTypeError, match=r"block\(x\) must be a Tensor"):
        npf.debug.jacobian_spectrum(lambda t: (t, t), x)
    with pytest.raises(npf.ValueRangeError, match="count must be an integer >= 1, got 0"):
        npf.debug.jacobian_spectrum(lambda t: t, x, count=0)
    with pytest.raises(npf.DTypeError, match="x must be a Tensor"):
        npf.debug.jacobian_spectrum(lambda t: t, np.ones(3))
