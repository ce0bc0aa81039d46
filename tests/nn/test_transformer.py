"""The Transformer's layers, stacks and whole against PyTorch's: values, gradients, training."""

import numpy as np
import pytest
from against_torch import same, torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_multihead import agree, mask_of, twins

import npformer as npf
import npformer.nn.functional as F
from npformer import nn, optim
from npformer.core.errors import ShapeError, ValueRangeError

# What PyTorch warns its own users of: which of its fast paths it cannot take, and masks of two
# kinds at once.
pytestmark = [pytest.mark.filterwarnings(f"ignore:{words}")
              for words in ("enable_nested_tensor is True", "Support for mismatched")]
torch.set_num_threads(1)
B, T, S, C, H = 3, 5, 4, 6, 2

activations = st.sampled_from(["relu", "gelu", "tanh", "module"])
layer_options = st.fixed_dictionaries(dict(norm_first=st.booleans(), batch_first=st.booleans(),
                                           bias=st.booleans()))
kinds = st.sampled_from([None, "bool", "float"])


def layer(nn, kind, activation, **options):
    functional = F if nn is not torch.nn else torch.nn.functional
    chosen = {"module": nn.SiLU(), "tanh": functional.tanh}.get(activation, activation)
    return getattr(nn, kind)(C, H, dim_feedforward=7, dropout=0.0, activation=chosen, **options)


def real(seed, length, batch_first, batched=True):
    shape = (length, C) if not batched else (B, length, C) if batch_first else (length, B, C)
    return np.random.default_rng(seed).standard_normal(shape)


@settings(max_examples=40)
@given(options=layer_options, activation=activations, batched=st.booleans(), mask=kinds,
       padding=st.booleans(), seed=st.integers(0, 99))
def test_encoder_layer(options, activation, batched, mask, padding, seed):
    rng = np.random.default_rng(seed)
    mine, theirs = twins(lambda nn: layer(nn, "TransformerEncoderLayer", activation, **options),
                         seed)
    hidden = mask_of(mask or "bool", rng, *((B, T) if batched else (T,))) if padding else None
    agree(mine, theirs, [real(seed, T, options["batch_first"], batched)],
          src_mask=mask_of(mask, rng, T, T), src_key_padding_mask=hidden)


@settings(max_examples=40)
@given(options=layer_options, activation=activations, batched=st.booleans(), mask=kinds,
       padding=st.booleans(), seed=st.integers(0, 99))
def test_decoder_layer(options, activation, batched, mask, padding, seed):
    rng = np.random.default_rng(seed)
    mine, theirs = twins(lambda nn: layer(nn, "TransformerDecoderLayer", activation, **options),
                         seed)
    lead = (B,) if batched else ()
    hidden = {f"{name}_key_padding_mask": mask_of(mask or "bool", rng, *lead, n)
              if padding else None
              for name, n in (("tgt", T), ("memory", S))}
    inputs = [real(seed + i, n, options["batch_first"], batched) for i, n in enumerate((T, S))]
    agree(mine, theirs, inputs, tgt_mask=mask_of(mask, rng, T, T),
          memory_mask=mask_of(mask, rng, T, S), **hidden)


CAUSAL = np.triu(np.full((T, T), -np.inf), 1)


@pytest.mark.parametrize("is_causal", [None, True, False])
@pytest.mark.parametrize("norm", [True, False])
def test_stacks_with_a_causal_mask_and_the_hint_that_it_is_one(norm, is_causal):
    def encoder(nn):
        return nn.TransformerEncoder(layer(nn, "TransformerEncoderLayer", "relu", batch_first=True),
                                     3, nn.LayerNorm(C) if norm else None,
                                     enable_nested_tensor=False)

    def decoder(nn):
        return nn.TransformerDecoder(layer(nn, "TransformerDecoderLayer", "gelu"), 2,
                                     nn.LayerNorm(C) if norm else None)
    x, y, memory = real(0, T, True), real(1, T, False), real(2, S, False)
    agree(*twins(encoder), [x], mask=CAUSAL, is_causal=is_causal)
    agree(*twins(decoder), [y, memory], tgt_mask=CAUSAL, tgt_is_causal=is_causal)


def test_is_causal_alone_hides_the_later_keys():
    npf.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(C, H, 7, dropout=0), 2).double()
    x = npf.randn(T, B, C, dtype=npf.float64)
    same(encoder(x, is_causal=True),
         torch.tensor(encoder(x, mask=npf.tensor(CAUSAL)).detach().numpy()))


@settings(max_examples=15)
@given(options=layer_options, batched=st.booleans(), padding=st.booleans(), seed=st.integers(0, 99))
def test_transformer(options, batched, padding, seed):
    rng = np.random.default_rng(seed)
    mine, theirs = twins(lambda nn: nn.Transformer(C, H, 2, 1, 7, dropout=0.0, layer_norm_eps=1e-4,
                                                   **options), seed)
    lead = (B,) if batched else ()
    hidden = {f"{name}_key_padding_mask": mask_of("bool", rng, *lead, n) if padding else None
              for name, n in (("src", S), ("tgt", T), ("memory", S))}
    inputs = [real(seed + i, n, options["batch_first"], batched) for i, n in enumerate((S, T))]
    agree(mine, theirs, inputs, src_mask=mask_of("bool", rng, S, S), tgt_mask=np.isinf(CAUSAL),
          tgt_is_causal=True, memory_mask=mask_of("bool", rng, T, S), **hidden)


def test_evaluation_agrees_where_nothing_is_padded():
    x = real(0, T, True)
    mine, theirs = twins(
        lambda nn: nn.TransformerEncoder(nn.TransformerEncoderLayer(C, H, 7, batch_first=True), 2))
    hidden = np.zeros((B, T), bool)
    hidden[0, 3:] = hidden[2, 4:] = True
    with torch.no_grad(), pytest.warns(UserWarning, match="nested"):  # PyTorch's own prototype
        expected = theirs.eval()(torch.tensor(x), src_key_padding_mask=torch.tensor(hidden)).numpy()
    found = mine.eval()(npf.tensor(x), src_key_padding_mask=npf.tensor(hidden)).detach().numpy()
    # PyTorch cuts to the longest sequence, and has zeros where padded
    kept = ~hidden[:, :expected.shape[1]]
    np.testing.assert_allclose(found[:, :expected.shape[1]][kept], expected[kept],
                               rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm_first", [True, False])
def test_second_derivatives(norm_first):
    def penalty(lib, model, x, memory):
        x, memory = (lib.tensor(v).requires_grad_() for v in (x, memory))
        y = model(x, memory, tgt_mask=lib.tensor(np.isinf(CAUSAL)))
        dx, dmemory = lib.autograd.grad(y.sin().sum(), [x, memory], create_graph=True)
        ((dx ** 2).sum() + (dmemory ** 3).sum()).backward()
        return [x.grad, memory.grad, *(p.grad for p in model.parameters())]
    mine, theirs = twins(lambda nn: layer(nn, "TransformerDecoderLayer", "gelu",
                                          norm_first=norm_first))
    x, memory = real(0, T, False), real(1, S, False)
    # the one of PyTorch's that can
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = penalty(torch, theirs, x, memory)
    for found, wanted in zip(penalty(npf, mine, x, memory), expected, strict=True):
        assert (found is None) == (wanted is None)
        if wanted is not None:
            np.testing.assert_allclose(found.numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-9)


def test_a_users_layer_in_a_stack_and_a_users_stack():
    class Twice(nn.Module):
        def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
            return 2 * src

    class Add(nn.Module):
        def forward(self, tgt, memory, **masks):
            return tgt + memory.sum()
    x = npf.ones(2, 1, 4)
    encoder = nn.TransformerEncoder(Twice(), 3)
    assert npf.equal(encoder(x), 8 * x)
    whole = nn.Transformer(4, 1, custom_encoder=encoder, custom_decoder=Add())
    assert npf.equal(whole(x, x), x + 64)


# ── state, starting values, text ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [{}, dict(bias=False, norm_first=True),
                                     dict(activation="gelu", batch_first=True)])
def test_initialisation_is_pytorchs_and_state_goes_both_ways(options):
    sizes = dict(d_model=24, nhead=4, num_encoder_layers=2, num_decoder_layers=2,
                 dim_feedforward=40)
    mine, theirs = nn.Transformer(**sizes, **options), torch.nn.Transformer(**sizes, **options)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in mine.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    for p, q in zip(mine.parameters(), theirs.parameters()):
        a, b = p.detach().numpy(), q.detach().numpy()
        assert a.shape == b.shape and a.dtype == b.dtype
        assert a.std() == pytest.approx(b.std(), rel=0.3)
        assert np.abs(a).max() == pytest.approx(np.abs(b).max(), rel=0.3)
    theirs.load_state_dict({name: torch.from_numpy(value.numpy())
                            for name, value in mine.state_dict().items()})
    for name, value in mine.state_dict().items():
        same(value, theirs.state_dict()[name])
    assert repr(mine) == repr(theirs).replace("NonDynamicallyQuantizable", "")


def test_the_copies_in_a_stack_start_equal_and_part_ways():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(C, H, 7), 2)
    first, second = encoder.layers
    assert npf.equal(first.linear1.weight, second.linear1.weight)
    assert first.linear1.weight is not second.linear1.weight
    with npf.no_grad():
        first.linear1.weight += 1
    assert not npf.equal(first.linear1.weight, second.linear1.weight)


@pytest.mark.parametrize("dtype", [npf.float32, npf.float64])
def test_the_subsequent_mask(dtype):
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=dtype)
    same(mask, torch.nn.Transformer.generate_square_subsequent_mask(
        5, dtype=getattr(torch, str(dtype))))


@pytest.mark.parametrize("kind, count",
                         [("TransformerEncoderLayer", 4), ("TransformerDecoderLayer", 6)])
def test_dropout_acts_in_all_its_places_in_training(kind, count):
    """Each attention's weights, the feed-forward part, and each branch."""
    npf.manual_seed(0)
    block = getattr(nn, kind)(C, H, 7, dropout=0.5)
    inputs = [npf.randn(n, B, C) for n in (T, S)][:1 + (count == 6)]
    places = [(m, "p") for m in block.modules() if isinstance(m, nn.Dropout)]
    places += [(m, "dropout") for m in block.modules() if isinstance(m, nn.MultiheadAttention)]
    assert len(places) == count and all(getattr(m, name) == 0.5 for m, name in places)
    assert not npf.equal(block(*inputs), block(*inputs))
    for chosen in places:                          # each one alone makes two passes differ
        for m, name in places:
            setattr(m, name, 0.5 if (m, name) == chosen else 0.0)
        assert not npf.equal(block.train()(*inputs), block(*inputs)), chosen
        assert npf.equal(block.eval()(*inputs), block(*inputs))


@pytest.mark.parametrize("dtype", [npf.float32, npf.float64])
def test_the_dtype_stays_in_values_and_gradients(dtype):
    model = nn.Transformer(C, H, 1, 1, 7, dtype=dtype)
    src, tgt = (npf.randn(n, B, C, dtype=dtype, requires_grad=True) for n in (S, T))
    y = model(src, tgt, tgt_mask=model.generate_square_subsequent_mask(T, dtype=dtype),
              memory_is_causal=True)
    y.sum().backward()
    gradients = [p.grad for p in (src, tgt, *model.parameters())]
    assert {x.dtype for x in (y, *gradients)} == {np.dtype(dtype)}


def test_on_the_gpu_as_on_the_cpu(cupy):
    model = nn.Transformer(C, H, 1, 1, 7, dropout=0.0).double()
    src, tgt = (npf.randn(n, B, C, dtype=npf.float64) for n in (S, T))
    hidden = npf.zeros(B, S, dtype=npf.bool)
    hidden[1, 2:] = True

    def run(device):
        model.to(device).zero_grad()
        mask = model.generate_square_subsequent_mask(T, device=device, dtype=npf.float64)
        y = model(src.to(device), tgt.to(device), src_is_causal=True, tgt_mask=mask,
                  memory_key_padding_mask=hidden.to(device))
        y.pow(2).sum().backward()
        results = [y, *(p.grad for p in model.parameters())]
        assert {x.device for x in results} == {npf.device(device)}
        return [x.detach().cpu().numpy().copy() for x in results]
    for a, b in zip(run("cpu"), run("cuda"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


# ── training ──────────────────────────────────────────────────────────────────────────────────────


class Copier:
    """Embeds, transforms, unembeds: written once, for either library."""

    def __new__(cls, lib, nn):
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed, self.places = nn.Embedding(9, 8), nn.Embedding(6, 8)
                self.transformer = nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, batch_first=True)
                self.head = nn.Linear(8, 9)

            def forward(self, src, tgt):
                x, y = (self.embed(ids) + self.places(lib.arange(ids.shape[1]))
                        for ids in (src, tgt))
                mask = self.transformer.generate_square_subsequent_mask(tgt.shape[1], dtype=x.dtype)
                return self.head(self.transformer(x, y, tgt_mask=mask,
                                                  src_key_padding_mask=src == 0,
                                                  memory_key_padding_mask=src == 0))
        return Model()


def losses_of(lib, model, optimizer, functional, batches):
    """One loss a step, of training the model to write src in reverse."""
    losses = []
    for src, tgt in batches:
        src, tgt = lib.tensor(src), lib.tensor(tgt)
        logits = model(src, tgt[:, :-1])
        loss = functional.cross_entropy(logits.reshape(-1, 9), tgt[:, 1:].reshape(-1),
                                        ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_training_follows_pytorchs_for_50_adam_steps():
    torch.manual_seed(0)
    theirs = Copier(torch, torch.nn).double()
    mine = Copier(npf, nn).double()
    mine.load_state_dict(theirs.state_dict())
    rng, batches = np.random.default_rng(0), []
    for _ in range(50):
        src = rng.integers(2, 9, (16, 5))
        lengths = rng.integers(2, 6, 16)
        src[np.arange(5) >= lengths[:, None]] = 0
        turned = np.array([[1, *row[:n][::-1], *[0] * (5 - n)] for row, n in zip(src, lengths)])
        batches.append((src, turned))
    found = losses_of(npf, mine, optim.Adam(mine.parameters(), lr=5e-3), F, batches)
    expected = losses_of(torch, theirs, torch.optim.Adam(theirs.parameters(), lr=5e-3),
                         torch.nn.functional, batches)
    assert expected[-1] < 0.9 * expected[0]        # it learned: equal losses say something
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    for (name, p), q in zip(mine.named_parameters(), theirs.parameters()):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-6,
                                   atol=1e-8, err_msg=name)


# ── mistakes ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make, words", [
    (lambda: nn.TransformerEncoderLayer(6, 4),
     "multiple of num_heads(.|\n)*embed_dim 6\n  num_heads 4"),
    (lambda: nn.TransformerEncoderLayer(6, 2, activation="tanhh"),
     "TransformerEncoderLayer: activation must be 'relu', 'gelu' or a function, got 'tanhh'"),
    (lambda: nn.TransformerDecoderLayer(6, 2, dropout=-0.1), "from 0 to 1, got -0.1"),
    (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2), -1),
     "num_layers must be an integer >= 0, got -1"),
])
def test_options_that_make_no_module(make, words):
    with pytest.raises(ValueRangeError, match=words):
        make()


@pytest.mark.parametrize("src, tgt, words", [
    ((S, B, C), (T, B + 1, C), r"one batch \(dim 1\)"),
    ((S, B, C), (T, B, C + 1), "of width d_model, 6"),
    ((S, B, C), (T, C), "both must have 3 dims, or both 2"),
])
def test_inputs_that_do_not_fit(src, tgt, words):
    with pytest.raises(ShapeError, match=words):
        nn.Transformer(C, H, 1, 1, 7)(npf.zeros(*src), npf.zeros(*tgt))


@pytest.mark.parametrize("masks, words", [
    (dict(src_mask=npf.zeros(T, S)), r"attn_mask must be \(4, 4\) or \(6, 4, 4\)"),
    (dict(tgt_mask=npf.zeros(S, S)), r"attn_mask must be \(5, 5\) or \(6, 5, 5\)"),
    (dict(memory_mask=npf.zeros(S, T)), r"attn_mask must be \(5, 4\) or \(6, 5, 4\)"),
    (dict(src_key_padding_mask=npf.zeros(S, B)), r"key_padding_mask must be \(3, 4\)"),
    (dict(src_key_padding_mask=npf.zeros(B, S, dtype=npf.int64)),
     "key_padding_mask must be boolean"),
])
def test_masks_that_do_not_fit(masks, words):
    with pytest.raises((ShapeError, TypeError), match=words):
        nn.Transformer(C, H, 1, 1, 7)(npf.zeros(S, B, C), npf.zeros(T, B, C), **masks)
