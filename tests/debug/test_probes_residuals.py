"""The residual identity, at every addition x + F(x) that a model holds."""

import numpy as np
import pytest
from residual_models import CASES, COUNTS

import npformer as npf
import npformer.nn.functional as F
from npformer import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

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
    # What leaves one addition arrives at the one before it, and at last it is the gradient of x.
    for later, earlier in zip(records, records[1:]):
        np.testing.assert_array_equal(later.total, earlier.upstream)
    loss.backward()
    np.testing.assert_array_equal(records[-1].total, x.grad.numpy())


@pytest.mark.parametrize("name", CASES)
def test_the_identity_holds_in_every_model(name):
    case = CASES[name]()
    records = npf.debug.residuals(case.loss())
    assert len(records) == COUNTS[name]
    for r in records:
        assert r.error <= 1e-14, r
        assert min(r.norms) > 0 and 0 < r.angle < 180
        if "admin" not in name and "deepnorm" not in name:
            np.testing.assert_array_equal(r.through_skip, r.upstream)


def test_a_scaled_skip_passes_on_its_share():
    """y = α·x + F(x), as DeepNorm and Admin have it: the skip passes on α·dL/dy."""
    x = npf.randn(4, 3, dtype=npf.float64, requires_grad=True)
    weight = npf.randn(3, dtype=npf.float64, requires_grad=True)
    for alpha in (1.7, weight):
        record, = npf.debug.residuals((x * alpha + x.tanh()).exp().sum())
        factor = alpha.detach().numpy() if alpha is weight else alpha
        np.testing.assert_array_equal(record.through_skip, record.upstream * factor)
        assert record.error < 1e-15
    # Rotary positions multiply with an array that is not a weight: x·cos + rotated(x)·sin does not
    # count.
    cos = npf.randn(4, 3, dtype=npf.float64)
    assert npf.debug.residuals((x * cos + x.flip(1) * cos).exp().sum()) == []


def test_two_branches_side_by_side_are_one_addition():
    x = npf.randn(4, 3, dtype=npf.float64, requires_grad=True)
    h = x.clone()
    for y in (h + h.sin() + h.exp(), h + (h.sin() + h.exp()), h.sin() + h + h.exp()):
        record = npf.debug.residuals((y ** 2).sum())[0]
        slopes = np.cos(x.detach().numpy()) + np.exp(x.detach().numpy())
        np.testing.assert_allclose(record.through_branch, record.upstream * slopes, rtol=1e-13)
        assert record.error < 1e-15


def test_a_term_from_elsewhere_is_no_branch():
    x, z = (npf.randn(4, 3, dtype=npf.float64, requires_grad=True) for _ in range(2))
    record, = npf.debug.residuals(((x + x.sin()) + z.exp()).exp().sum())
    expected = record.upstream * np.cos(x.detach().numpy())
    np.testing.assert_allclose(record.through_branch, expected, rtol=1e-13)
    assert npf.debug.residuals((x + x.mean(0)).exp().sum()) == []        # broadcast


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
    with pytest.raises(npf.DTypeError, match=r"residuals\(loss\): loss must be a Tensor"):
        npf.debug.residuals(3.0)
    y = x + x.tanh()
    with pytest.raises(npf.GraphError, match=r"shape \(3,\), not one number"):
        npf.debug.residuals(y)
    g = npf.randn(3)
    np.testing.assert_array_equal(npf.debug.residuals(y, g)[0].upstream, g.numpy())


def test_hooks_of_the_user_see_no_walk_of_a_probe_as_a_trace():
    x = npf.randn(3, requires_grad=True)
    with npf.debug.recording() as recorder:
        loss = (x + x.tanh()).sum()
        npf.debug.residuals(loss)
        loss.backward()
    assert [step.op for step in recorder.trace] == ["sum", "add", "tanh"]


def test_a_record_reads_well():
    x = npf.randn(3, dtype=npf.float64, requires_grad=True)
    text = str(npf.debug.residuals((x + x.tanh()).sum())[0])
    assert "|dL/dy| 1.732" in text and "error" in text
    model = stack(2)
    records = npf.debug.residuals(model(npf.randn(4, 6, dtype=npf.float64)).sum())
    head, *lines = str(records).splitlines()
    assert head.split() == [
        "module", "line", "|dL/dy|", "|dL/dy·dF/dx|", "|dL/dx|", "angle", "error"]
    assert [line.split()[0] for line in lines] == ["1"]      # the first block's x needs no gradient
    assert len({len(line) for line in lines}) == 1 and "test_probes_residuals.py:" in lines[0]
    assert str(npf.debug.residuals(x.sum())) == "no addition y = x + F(x) in this graph"


def test_the_picture_is_drawn(tmp_path):
    x = npf.randn(4, 6, dtype=npf.float64, requires_grad=True)
    npf.debug.residuals(stack(3)(x).sum()).plot(tmp_path / "residuals.png")
    assert (tmp_path / "residuals.png").stat().st_size > 10_000
    with pytest.raises(npf.GraphError, match="no addition"):
        npf.debug.residuals(x.sum()).plot(tmp_path / "empty.png")
