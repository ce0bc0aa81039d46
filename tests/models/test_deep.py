"""DeepTransformer against the same in PyTorch, against PyTorch's own layers where they exist."""

import numpy as np
import pytest

import npformer as npf
from npformer import optim
from npformer.core.errors import ValueRangeError
from npformer.models import DeepTransformer
from npformer.models.deep import ARRANGEMENTS, admin_
from npformer.nn import functional as F

SIZES = dict(vocab_size=11, context=7, d_model=12, n_heads=3, d_ff=20)
DEPTH = 3


def characters(count, seed=0):
    """Random but learnable: three times out of four the next one is this one's successor."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        ids = rng.integers(0, 11, (4, 8))
        for t in range(7):
            known = rng.random(4) < 0.75
            ids[known, t + 1] = (ids[known, t] * 3 + 1) % 11
        yield ids[:, :-1], ids[:, 1:]


def model(arrangement, depth=DEPTH):
    npf.manual_seed(1)
    ours = DeepTransformer(depth=depth, arrangement=arrangement, **SIZES).double()
    if arrangement == "admin":
        admin_(ours, npf.tensor(next(characters(1, seed=5))[0]))
    return ours


def twin_of(torch, ours, arrangement):
    """The same model in PyTorch, written down anew, with a copy of the weights."""
    from tiny_torch import Block
    from tiny_torch import TinyTransformer as Tiny

    class Twin(Block):
        def __init__(self):
            super().__init__(12, 3, 20, True)
            self.alpha = (2 * DEPTH) ** 0.25
            if arrangement == "admin":
                self.skip1, self.skip2 = (torch.nn.Parameter(torch.ones(12)) for _ in range(2))

        def attention(self, x):
            q, k, v = (layer(x).unflatten(-1, (3, 4)).transpose(1, 2)
                       for layer in (self.query, self.key, self.value))
            y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out_proj(y.transpose(1, 2).flatten(2))

        def feed_forward(self, x):
            return self.ff2(torch.relu(self.ff1(x)))

        def around(self, x, branch, norm, skip):
            if arrangement == "pre":
                return x + branch(norm(x))
            return norm({"post": x, "none": 0, "admin": skip * x,
                         "deepnorm": self.alpha * x}[arrangement] + branch(x))

        def forward(self, x):
            x = self.around(x, self.attention, self.norm1, getattr(self, "skip1", 1))
            x = self.around(x, self.feed_forward, self.norm2, getattr(self, "skip2", 1))
            return x

    theirs = Tiny(11, 7, 12, 3, 20, DEPTH)
    theirs.blocks = torch.nn.ModuleList([Twin() for _ in range(DEPTH)])
    if arrangement == "pre":
        theirs.blocks.append(torch.nn.LayerNorm(12))
    theirs.double().load_state_dict({name: torch.tensor(p.numpy())
                                     for name, p in ours.state_dict().items()})
    return theirs


def losses(torch, ours, theirs, x, y):
    return (F.cross_entropy(ours(npf.tensor(x)).flatten(0, 1), npf.tensor(y).flatten()),
            torch.nn.functional.cross_entropy(theirs(torch.tensor(x)).flatten(0, 1),
                                              torch.tensor(y).flatten()))


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_outputs_and_gradients_are_pytorchs(torch, arrangement):
    ours = model(arrangement)
    theirs = twin_of(torch, ours, arrangement)
    (x, y), = characters(1)
    np.testing.assert_allclose(ours(npf.tensor(x)).detach().numpy(),
                               theirs(torch.tensor(x)).detach().numpy(), rtol=1e-9, atol=1e-11)
    for loss in losses(torch, ours, theirs, x, y):
        loss.backward()
    wanted = dict(theirs.named_parameters())
    assert set(wanted) == {name for name, _ in ours.named_parameters()}
    for name, p in ours.named_parameters():
        scale = wanted[name].grad.abs().max().item()
        np.testing.assert_allclose(p.grad.numpy(), wanted[name].grad.numpy(), rtol=1e-9,
                                   atol=1e-9 * scale + 1e-16)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_training_follows_pytorchs_for_50_steps(torch, arrangement):
    ours = model(arrangement)
    theirs = twin_of(torch, ours, arrangement)
    optimizers = (optim.Adam(ours.parameters(), lr=3e-3),
                  torch.optim.Adam(theirs.parameters(), lr=3e-3))
    seen = []
    for x, y in characters(50):
        pair = losses(torch, ours, theirs, x, y)
        for loss, optimizer in zip(pair, optimizers):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seen.append([loss.item() for loss in pair])
    seen = np.array(seen)
    assert np.abs(seen[:, 0] - seen[:, 1]).max() < 1e-7
    assert seen[-5:, 0].mean() < 0.95 * seen[:5, 0].mean()  # it learned: equal losses say something


@pytest.mark.parametrize("arrangement", ["post", "pre"])
def test_a_block_is_pytorchs_encoder_layer(torch, arrangement):
    block = model(arrangement).blocks[0]
    layer = torch.nn.TransformerEncoderLayer(12, 3, 20, dropout=0, batch_first=True,
                                             norm_first=arrangement == "pre")
    state = {name: torch.tensor(p.numpy()) for name, p in block.state_dict().items()}
    names = dict(linear1="ff1", linear2="ff2", norm1="norm1", norm2="norm2")
    mapped = {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for theirs, ours in names.items()
              for kind in ("weight", "bias")}
    for kind in ("weight", "bias"):
        mapped[f"self_attn.in_proj_{kind}"] = torch.cat([state[f"{n}.{kind}"]
                                                         for n in ("query", "key", "value")])
        mapped[f"self_attn.out_proj.{kind}"] = state[f"out_proj.{kind}"]
    layer.double().load_state_dict(mapped)
    x = np.random.default_rng(0).standard_normal((2, 5, 12))
    hidden = torch.nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    expected = layer(torch.tensor(x), src_mask=hidden, is_causal=True)
    np.testing.assert_allclose(block(npf.tensor(x)).detach().numpy(), expected.detach().numpy(),
                               rtol=1e-9, atol=1e-12)


def test_admin_weighs_each_skip_by_what_came_before_it():
    ours = model("admin")
    x = npf.tensor(next(characters(1, seed=5))[0])
    omegas = admin_(ours, x)
    assert omegas == admin_(ours, x)                           # what ω was before does not matter
    assert omegas[0] == 1 and all(a < b for a, b in zip(omegas, omegas[1:]))
    assert len(omegas) == 2 * DEPTH
    for omega, skip in zip(omegas,
                           (s for block in ours.blocks for s in (block.skip1, block.skip2))):
        assert skip.requires_grad and (skip.detach().numpy() == omega).all()
    branch = ours.blocks[0].attention  # the first branch is measured where ω = 1 does not reach
    embedded = ours.char_embedding(x) + ours.pos_embedding(npf.arange(7))
    assert omegas[1] == pytest.approx((1 + branch(embedded).var().item()) ** 0.5, rel=1e-12)


def test_deepnorm_starts_and_weighs_as_its_paper_says():
    npf.manual_seed(0)
    ours = DeepTransformer(d_model=96, d_ff=192, depth=8, arrangement="deepnorm")
    block = ours.blocks[3]
    assert block.skip1 == block.skip2 == pytest.approx(16 ** 0.25)
    for layer, gain in [(block.query, 1), (block.key, 1), (block.value, 64 ** -0.25),
                        (block.out_proj, 64 ** -0.25), (block.ff1, 64 ** -0.25),
                        (block.ff2, 64 ** -0.25)]:
        wanted = gain * (2 / sum(layer.weight.shape)) ** 0.5
        assert layer.weight.std().item() == pytest.approx(wanted, rel=0.05)
        assert not layer.bias.detach().numpy().any()


def test_no_arrangement_sees_a_later_character():
    for arrangement in ARRANGEMENTS:
        ours, x = model(arrangement), npf.randint(0, 11, (2, 7))
        changed = x.clone()
        changed[:, 4:] = (x[:, 4:] + 1) % 11
        before, after = ours(x).detach().numpy(), ours(changed).detach().numpy()
        np.testing.assert_array_equal(before[:, :4], after[:, :4])
        assert (before[:, 4:] != after[:, 4:]).any()


def test_options_that_make_no_model():
    with pytest.raises(ValueRangeError,
                       match="arrangement must be one of 'post', 'pre'.*got 'sandwich'"):
        DeepTransformer(arrangement="sandwich")
    with pytest.raises(ValueRangeError, match="depth must be an integer >= 1"):
        DeepTransformer(depth=0)
    with pytest.raises(ValueRangeError, match="only an Admin model has"):
        admin_(DeepTransformer(arrangement="post"), npf.zeros(2, 3, dtype=npf.int64))
