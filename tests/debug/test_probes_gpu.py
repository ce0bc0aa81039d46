"""The probes on CuPy's arrays give NumPy's numbers, as NumPy arrays."""

import copy

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer import optim
from npformer.models import TinyTransformer

ids = np.random.default_rng(0).integers(0, 11, (2, 5))


@pytest.fixture
def pair(cupy):
    """A model on the CPU and its copy on the GPU."""
    model = TinyTransformer(11, 5, 8, 2, 12, depth=2).double()
    return model, copy.deepcopy(model).to("cuda")


def loss_of(model):
    x = npf.tensor(ids, device=next(model.parameters()).device)
    return F.cross_entropy(model(x).reshape(-1, 11), x.reshape(-1))


def close(there, here):
    assert type(there) is type(here) is np.ndarray
    np.testing.assert_allclose(there, here, rtol=1e-9, atol=1e-12)


def test_residuals_and_path_lengths(pair):
    here, there = (npf.debug.residuals(loss_of(model)) for model in pair)
    for a, b in zip(there, here, strict=True):
        close(a.total, b.total)
        close(a.through_branch, b.through_branch)
    here, there = (npf.debug.path_lengths(loss_of(model)) for model in pair)
    for a, b in zip(there.gradients, here.gradients, strict=True):
        close(a, b)


def test_gradient_flow(pair):
    flows = []
    for model in pair:
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        with npf.debug.gradient_flow(model) as flow:
            for _ in range(2):
                optimizer.zero_grad()
                loss_of(model).backward()
                flow.step(optimizer)
        flows.append(flow)
    assert str(flows[0]) == str(flows[1])


def test_attention(pair):
    found = []
    for model in pair:
        with npf.debug.attention(model) as maps:
            loss = loss_of(model)
        loss.backward()
        found.append(maps)
    for here, there in zip(*found, strict=True):
        close(there.weights, here.weights)
        close(there.gradient, here.gradient)


@pytest.mark.parametrize("exact", [1024, 3])
def test_jacobian_spectrum(pair, exact, monkeypatch):
    monkeypatch.setattr(npf.debug.probes.spectrum, "EXACT", exact)
    x = npf.randn(1, 3, 8, dtype=npf.float64)
    here, there = (npf.debug.jacobian_spectrum(model.blocks[0], x.to(device), 5)
                   for model, device in zip(pair, ("cpu", "cuda")))
    close(there.values, here.values)
    close(there.branches, here.branches)


def test_detect_anomaly(cupy):
    said = []
    for device in ("cpu", "cuda"):
        for spoil in (lambda x: x.log(), lambda x: x.sqrt().sum().backward(),
                      lambda x: (x * 100).exp()):
            with npf.debug.detect_anomaly(), pytest.raises(npf.GraphError) as error:
                spoil(npf.tensor([[0.0, 1.0], [2.0, 3.0]], device=device, requires_grad=True))
            said.append(str(error.value))
    assert said[:3] == said[3:]
