"""nn.init: the distributions' limits and moments are PyTorch's; and nn.utils."""

import math

import numpy as np
import pytest
from against_torch import same, torch

import npformer as npf
from npformer import nn

SHAPES = [(60, 80), (30, 20, 3, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name,options", [
    ("uniform_", dict(a=-0.3, b=0.7)), ("normal_", dict(mean=0.4, std=0.2)),
    ("xavier_uniform_", dict(gain=1.5)), ("xavier_normal_", {}), ("kaiming_uniform_", dict(a=0.3)),
    ("kaiming_uniform_", dict(mode="fan_out", nonlinearity="relu")),
    ("kaiming_normal_", {}), ("kaiming_normal_", dict(mode="fan_out", nonlinearity="tanh")),
    ("trunc_normal_", dict(mean=0.2, std=1.5, a=-1.0, b=2.0))])
def test_random_fillings(name, options, shape):
    x = npf.empty(*shape)
    assert getattr(nn.init, name)(x, **options) is x
    torch.manual_seed(0)
    theirs = getattr(torch.nn.init, name)(torch.empty(shape), **options).numpy()
    mine = x.numpy()
    spread = theirs.std()
    assert mine.dtype == np.float32 and mine.shape == shape
    assert abs(mine.mean() - theirs.mean()) < 0.08 * spread
    assert abs(mine.std() - spread) < 0.05 * spread
    if "normal" not in name or "trunc" in name:
        assert abs(mine.max() - theirs.max()) < 0.05 * spread
        assert abs(mine.min() - theirs.min()) < 0.05 * spread


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5), (6, 2, 2)])
def test_orthogonal(shape):
    x = nn.init.orthogonal_(npf.empty(*shape, dtype=npf.float64), gain=2.0)
    x = x.numpy().reshape(shape[0], -1)
    few = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
    assert np.allclose(few, 4 * np.eye(len(few)))


def test_constants():
    x = npf.empty(3, 4)
    assert (nn.init.constant_(x, 2.5) == 2.5).all() and (nn.init.ones_(x) == 1).all()
    assert (nn.init.zeros_(x) == 0).all()
    assert nn.init.eye_(x).tolist() == np.eye(3, 4).tolist()


@pytest.mark.parametrize("name,param", [
    ("linear", None), ("tanh", None), ("relu", None), ("selu", None), ("sigmoid", None),
    ("leaky_relu", None), ("leaky_relu", 0.3), ("conv2d", None)])
def test_gains(name, param):
    assert nn.init.calculate_gain(name, param) == pytest.approx(
        torch.nn.init.calculate_gain(name, param), rel=1e-15)


def test_generators_and_the_graph():
    weight = nn.Linear(3, 4).weight
    first = nn.init.normal_(weight, generator=npf.Generator(5)).tolist()
    assert nn.init.normal_(weight, generator=npf.Generator(5)).tolist() == first
    assert weight.requires_grad and weight.is_leaf
    y = (weight * weight).sum()
    nn.init.zeros_(weight)
    with pytest.raises(npf.GraphError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize("call", [
    lambda: nn.init.xavier_uniform_(npf.empty(3)), lambda: nn.init.eye_(npf.empty(3)),
    lambda: nn.init.calculate_gain("relux"),
    lambda: nn.init.kaiming_normal_(npf.empty(3, 3), mode="fan"),
    lambda: nn.init.trunc_normal_(npf.empty(3), a=2.0, b=1.0),
    lambda: nn.init.trunc_normal_(npf.empty(3), a=80.0, b=90.0)])
def test_refusals(call):
    with pytest.raises(npf.NpformerError):
        call()


# ── utils ─────────────────────────────────────────────────────────────────────────────────────────


def parameters():
    """The same parameters with gradients, here and in PyTorch; the last has none."""
    rng = np.random.default_rng(0)
    mine, theirs = [], []
    for shape in ((3, 4), (5,), (), (2, 2)):
        value, grad = rng.standard_normal(shape), rng.standard_normal(shape)
        mine.append(nn.Parameter(npf.tensor(value)))
        theirs.append(torch.nn.Parameter(torch.tensor(value)))
        if shape != (2, 2):
            mine[-1].grad, theirs[-1].grad = npf.tensor(grad), torch.tensor(grad)
    return mine, theirs


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, math.inf])
def test_clip_grad_norm(max_norm, norm_type):
    mine, theirs = parameters()
    same(nn.utils.clip_grad_norm_(mine, max_norm, norm_type),
         torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type))
    for p, q in zip(mine[:3], theirs):
        same(p.grad, q.grad)


def test_clipping_at_the_edges():
    assert nn.utils.clip_grad_norm_([nn.Parameter(npf.ones(2))], 1.0).item() == 0
    p = nn.Parameter(npf.ones(2))
    p.grad = npf.tensor([npf.inf, 1.0])
    with pytest.raises(npf.ValueRangeError, match="the gradients' norm is inf"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    mine, theirs = parameters()
    nn.utils.clip_grad_value_(mine, 0.3), torch.nn.utils.clip_grad_value_(theirs, 0.3)
    for p, q in zip(mine[:3], theirs):
        same(p.grad, q.grad)


def test_vectors_of_parameters():
    mine, theirs = parameters()
    vector = nn.utils.parameters_to_vector(mine)
    same(vector, torch.nn.utils.parameters_to_vector(theirs))
    assert vector.requires_grad
    nn.utils.vector_to_parameters(npf.arange(22, dtype=npf.float64), mine)
    assert mine[1].tolist() == [12.0, 13.0, 14.0, 15.0, 16.0]
    with pytest.raises(npf.ShapeError, match="vec must have 22 entries"):
        nn.utils.vector_to_parameters(npf.zeros(21), mine)
