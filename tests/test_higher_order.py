"""Derivatives of derivatives, to the third order, through fused operations' definitions."""

import types

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F


def third_order(lib, F, function, xs, vs):
    """The first, second and third derivatives along fixed directions, all inputs together."""
    found, f = [], function(F, *xs)
    for order in range(3):
        gradients = lib.autograd.grad(f, xs, create_graph=True)
        found += gradients
        f = sum((g * v).sum() for g, v in zip(gradients, vs[order]))
    return found


def layer_norm_in_pytorch(x, shape, weight, bias, eps):
    """The definition. The third derivative in x of PyTorch 2.13's own layer_norm is wrong; this
    one's is right."""
    centred = x - x.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + eps).rsqrt() * weight + bias


FUNCTIONS = {
    "softmax": (lambda F, x: (F.softmax(x, dim=-1) ** 2).sum(), [(3, 4)]),
    "log_softmax": (lambda F, x: (F.log_softmax(x, dim=0) ** 2).sum(), [(3, 4)]),
    "layer_norm": (lambda F, x, w, b: (F.layer_norm(x, (5,), w, b, 0.1) ** 3).sum(),
                   [(3, 5), (5,), (5,)]),
    "attention": (lambda F, q, k, v: (
        F.scaled_dot_product_attention(q, k, v, is_causal=True) ** 2).sum(),
                  [(2, 4, 3), (2, 4, 3), (2, 4, 5)]),
    "gelu": (lambda F, x: F.gelu(x).exp().sum(), [(7,)]),
    "gelu_tanh": (lambda F, x: F.gelu(x, approximate="tanh").exp().sum(), [(7,)]),
    "silu": (lambda F, x: F.silu(x).exp().sum(), [(7,)]),
    "linear": (lambda F, x, w, b: (F.linear(x, w, b) ** 3).sum(), [(2, 3, 4), (5, 4), (5,)]),
    "rms_norm": (lambda F, x, w: (F.rms_norm(x, (5,), w, 0.1) ** 3).sum(), [(3, 5), (5,)]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_third_order_agrees_with_pytorch(name):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is the outsider that the derivatives are compared with")
    function, shapes = FUNCTIONS[name]
    theirs = types.SimpleNamespace(**{**vars(torch.nn.functional),
                                      "layer_norm": layer_norm_in_pytorch})
    local = np.random.default_rng(len(name))
    data = [local.standard_normal(s) for s in shapes]
    directions = [[local.standard_normal(s) for s in shapes] for _ in range(3)]
    ours = third_order(npf, F, function, [npf.tensor(a, requires_grad=True) for a in data],
                       [[npf.tensor(v) for v in vs] for vs in directions])
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = third_order(torch, theirs, function,
                               [torch.tensor(a, requires_grad=True) for a in data],
                               [[torch.tensor(v) for v in vs] for vs in directions])
    for a, b in zip(ours, expected, strict=True):
        expected = b.detach().numpy()
        np.testing.assert_allclose(a.detach().numpy(), expected, rtol=1e-9,
                                   atol=1e-9 * np.abs(expected).max())
