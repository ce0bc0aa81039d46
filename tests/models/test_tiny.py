"""TinyTransformer against the same model written down in PyTorch, layer by layer."""

import numpy as np
import pytest

import npformer as npf
from npformer import optim
from npformer.core.errors import IndexRangeError, ShapeError, ValueRangeError
from npformer.models import TinyTransformer
from npformer.nn import functional as F

SEVERED = {"query", "key", "value", "out_proj"}
FORMS = [True, False, "deleted"]


def pair(torch, residual, dtype, seed=0):
    """(ours, PyTorch's) with the same weights."""
    torch.manual_seed(seed)
    from tiny_torch import TinyTransformer as Twin

    theirs = Twin(residual=residual).to(getattr(torch, dtype))
    ours = TinyTransformer(residual=residual).to(getattr(npf, dtype))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def batches(count, batch, context, seed=0):
    """Random but learnable: this character fixes the next one, three times out of four."""
    rng = np.random.default_rng(seed)
    follows = rng.permutation(65)
    for _ in range(count):
        ids = rng.integers(0, 65, (batch, context + 1))
        for t in range(context):
            known = rng.random(batch) < 0.75
            ids[known, t + 1] = follows[ids[known, t]]
        yield ids[:, :-1], ids[:, 1:]


@pytest.mark.parametrize("residual", FORMS)
def test_loss_and_gradients_are_pytorchs(torch, residual):
    ours, theirs = pair(torch, residual, "float64")
    (x, y), = batches(1, 3, 64)
    logits, expected = ours(npf.tensor(x)), theirs(torch.tensor(x))
    np.testing.assert_allclose(logits.detach().numpy(), expected.detach().numpy(),
                               rtol=1e-9, atol=1e-12)
    F.cross_entropy(logits.view(-1, 65), npf.tensor(y).view(-1)).backward()
    torch.nn.functional.cross_entropy(expected.view(-1, 65), torch.tensor(y).view(-1)).backward()
    wanted = dict(theirs.named_parameters())
    assert set(wanted) == {name for name, _ in ours.named_parameters()}
    for name, p in ours.named_parameters():
        if wanted[name].grad is None:
            assert p.grad is None, name
        else:
            scale = wanted[name].grad.abs().max().item()
            np.testing.assert_allclose(p.grad.numpy(), wanted[name].grad.numpy(), rtol=1e-9,
                                       atol=1e-9 * scale + 1e-16)


def test_a_model_of_one_block_takes_the_names_of_one_written_without_blocks(torch):
    ours, theirs = pair(torch, True, "float64")
    flat = {name.removeprefix("blocks.0."): value.numpy()
            for name, value in theirs.state_dict().items()}
    assert "query.weight" in flat
    other = TinyTransformer().double()
    other.load_state_dict(flat)
    assert all(npf.equal(p, q) for p, q in zip(ours.parameters(), other.parameters()))
    with pytest.raises(RuntimeError, match="norm1.weight"):
        TinyTransformer(depth=2).load_state_dict(flat)


@pytest.mark.parametrize("residual", FORMS)
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-6), ("float32", 1e-3)])
def test_training_follows_pytorchs_for_200_steps(torch, residual, dtype, tolerance):
    ours, theirs = pair(torch, residual, dtype)
    our_adam = optim.Adam(ours.parameters(), lr=1e-3)
    their_adam = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    losses, expected = [], []
    for x, y in batches(200, 4, 24):
        loss = F.cross_entropy(ours(npf.tensor(x)).view(-1, 65), npf.tensor(y).view(-1))
        our_adam.zero_grad()
        loss.backward()
        our_adam.step()
        losses.append(loss.item())
        loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)).view(-1, 65),
                                                 torch.tensor(y).view(-1))
        their_adam.zero_grad()
        loss.backward()
        their_adam.step()
        expected.append(loss.item())
    assert expected[-1] < 0.8 * expected[0]        # it learned: equal losses say something
    assert np.abs(np.subtract(losses, expected)).max() < tolerance


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("residual", FORMS)
def test_only_the_deleted_line_severs_the_graph(residual, depth):
    npf.manual_seed(0)
    model = TinyTransformer(vocab_size=11, context=8, d_model=12, n_heads=3, d_ff=20, depth=depth,
                            residual=residual)
    x, y = npf.randint(0, 11, (2, 8)), npf.randint(0, 11, (2, 8))
    F.cross_entropy(model(x).view(-1, 11), y.view(-1)).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    blocks = [f"blocks.{n}." for n in range(depth)]
    cut = {f"{at}{layer}.{kind}" for at in blocks for layer in SEVERED
           for kind in ("weight", "bias")}
    assert without == (cut if residual == "deleted" else set())


def test_attention_sees_no_later_character():
    npf.manual_seed(0)
    model = TinyTransformer(depth=2)
    x = npf.randint(0, 65, (2, 10))
    changed = x.clone()
    changed[:, 6:] = (x[:, 6:] + 1) % 65
    before, after = model(x).detach().numpy(), model(changed).detach().numpy()
    np.testing.assert_array_equal(before[:, :6], after[:, :6])
    assert np.abs(before[:, 6:] - after[:, 6:]).max(axis=-1).min() > 1e-3


def test_a_short_sequence_works_and_a_long_one_is_refused():
    model = TinyTransformer(context=8)
    assert model(npf.zeros(3, 1, dtype=npf.int64)).shape == (3, 1, 65)
    with pytest.raises(IndexRangeError, match="the model sees at most 8 characters at once, not 9"):
        model(npf.zeros(3, 9, dtype=npf.int64))
    with pytest.raises(ShapeError, match="characters must have 2 dims"):
        model(npf.zeros(8, dtype=npf.int64))
    with pytest.raises(ShapeError, match="and time 1 or more"):
        model(npf.zeros(3, 0, dtype=npf.int64))
    with pytest.raises(IndexError):
        model(npf.full((1, 2), 65))


@pytest.mark.parametrize("options, words", [
    (dict(d_model=64, n_heads=3), "multiple of n_heads"),
    (dict(depth=0), "depth must be an integer >= 1"),
    (dict(depth=1.5), "depth must be an integer >= 1, got 1.5"),
    (dict(n_heads=0), "n_heads must be an integer >= 1"),
    (dict(context=0), "context must be an integer >= 1"),
    (dict(vocab_size=-1), "vocab_size must be an integer >= 1"),
    (dict(residual="delete"), "must be True, False or 'deleted', got 'delete'"),
    (dict(residual=1), "must be True, False or 'deleted', got 1"),
])
def test_options_that_make_no_model(options, words):
    with pytest.raises(ValueRangeError, match=words):
        TinyTransformer(**options)
