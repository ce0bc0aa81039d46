"""The residual identity, at every addition x + F(x) that a model holds."""

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


def stack(depth, width=6):
    npf.manual_seed(0)
    return nn.Sequential(*[Block(width) for _ in range(depth)]).double()


def test_every_residual_addition_is_found_and_the_identity_holds():
    model = stack(3)
    x = npf.randn(4, 6, dtype=npf.float64, requires_grad=True)
    y = model(x)
    loss = (y * npf.randn(4, 6, dtype=npf.float64)).sum()
    records = npf.debug.residuals(loss)
    assert [r.where for r in records] == ["2", "1", "0"]
    for r in records:
        assert r.error < 1e-15
        np.testing.assert_allclose(r.total, r.upstream + r.through_branch, rtol=1e-13)
        assert np.abs(r.through_branch).max() > 1e-3 and -1 < r.cosine < 1
    # what leaves one addition is what comes to the one before it, and at last the gradient of x itself
    for later, earlier in zip(records, records[1:]):
        np.testing.assert_array_equal(later.total, earlier.upstream)
    loss.backward()
    np.testing.assert_array_equal(records[-1].total, x.grad.numpy())


def test_the_branch_term_is_dF_dx_transposed_times_upstream():
    model = stack(1)
    x = npf.randn(6, dtype=npf.float64, requires_grad=True)
    record, = npf.debug.residuals((model(x) ** 2).sum())
    branch = npf.autograd.jacobian(lambda t: model(t) - t, x).numpy()
    np.testing.assert_allclose(record.through_branch, record.upstream @ branch, rtol=1e-10)


def test_additions_that_are_no_residuals_are_left_out():
    x = npf.randn(3, 4, requires_grad=True)
    bias = npf.randn(4, requires_grad=True)
    other = npf.randn(3, 4, requires_grad=True)
    h = x * 2 + bias                               # broadcast, and no ancestor
    h = h + other.exp()                            # two branches from different leaves
    assert npf.debug.residuals((h + h).sum()) == []
    found = npf.debug.residuals((h + h.sin()).sum())
    assert len(found) == 1 and found[0].source[0] == __file__


def test_the_graph_is_left_as_it_was():
    x = npf.randn(3, requires_grad=True)
    loss = (x + x.tanh()).sum()
    npf.debug.residuals(loss)
    assert x.grad is None
    loss.backward()
    with pytest.raises(npf.GraphError, match="call residuals before backward"):
        npf.debug.residuals(loss)
    with pytest.raises(npf.GraphError, match="no graph behind it"):
        npf.debug.residuals(npf.ones(()))


def test_a_record_reads_well():
    x = npf.randn(3, dtype=npf.float64, requires_grad=True)
    text = str(npf.debug.residuals((x + x.tanh()).sum())[0])
    assert "|dL/dy| 1.732" in text and "error" in text
