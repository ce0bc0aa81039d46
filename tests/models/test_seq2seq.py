"""The encoder-decoder against PyTorch's; its masks; greedy and beam decoding against searches."""

import functools
import itertools

import numpy as np
import pytest

import npformer as npf
from npformer import optim
from npformer.core.errors import DTypeError, IndexRangeError, ShapeError, ValueRangeError
from npformer.models import beam_decode, greedy_decode, make_model
from npformer.models.seq2seq import (
    LayerNorm,
    MultiHeadAttention,
    PositionalEncoding,
    attention,
    padding_mask,
    subsequent_mask,
    target_mask,
)
from npformer.models.smoothing import LabelSmoothing
from npformer.nn import functional as F

SIZES = dict(N=2, d_model=12, d_ff=20, h=3)
SOURCE, TARGET, PAD = 11, 9, 0


def small_model(**options):
    npf.manual_seed(0)
    return make_model(SOURCE, TARGET, **SIZES, dropout=0.0, **options).double()


def pair(torch):
    """(ours, PyTorch's) with the same weights."""
    from models_torch import Seq2Seq, give_equal_weights

    torch.manual_seed(0)
    theirs = Seq2Seq(SOURCE, TARGET, SIZES["N"], SIZES["d_model"], SIZES["d_ff"],
                     SIZES["h"]).double()
    return give_equal_weights(small_model(), theirs)


def sentences(rng, batch, words, lengths):
    """Random words (batch, longest) with padding behind; the first row is full, the second as short
    as it can be."""
    x = rng.integers(1, words, (batch, lengths[1]))
    ends = rng.integers(*lengths, batch)
    ends[:2] = lengths[1], lengths[0]
    x[np.arange(lengths[1]) >= ends[:, None]] = PAD
    return x


def masks_of(library, src, tgt):
    """The two masks, built here without the functions that are tested."""
    seen = (tgt != PAD)[:, None, :] & np.tri(tgt.shape[1], dtype=bool)
    return library.tensor((src != PAD)[:, None, :]), library.tensor(seen)


def smoothed_by_hand(torch, logp, target, smoothing):
    """Label smoothing as PyTorch's kl_div has it, word by word."""
    q = torch.full_like(logp, smoothing / (logp.shape[-1] - 2))
    q[torch.arange(len(target)), target] = 1 - smoothing
    q[:, PAD] = 0
    q[target == PAD] = 0
    return torch.nn.functional.kl_div(logp, q, reduction="sum")


# ── against PyTorch ───────────────────────────────────────────────────────────────────────────────


def test_output_loss_and_gradients_are_pytorchs(torch):
    ours, theirs = pair(torch)
    rng = np.random.default_rng(0)
    src, tgt = sentences(rng, 4, SOURCE, (3, 7)), sentences(rng, 4, TARGET, (2, 6))
    given, wanted = tgt[:, :-1], tgt[:, 1:]
    x = ours(npf.tensor(src), npf.tensor(given), padding_mask(npf.tensor(src)),
             target_mask(npf.tensor(given)))
    expected = theirs(torch.tensor(src), torch.tensor(given), *masks_of(torch, src, given))
    np.testing.assert_allclose(x.detach().numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-9)
    loss = LabelSmoothing(TARGET, PAD, 0.1)(ours.generator(x).flatten(0, 1),
                                            npf.tensor(wanted).flatten())
    other = smoothed_by_hand(torch, theirs.generator(expected).flatten(0, 1),
                             torch.tensor(wanted).flatten(), 0.1)
    assert loss.item() == pytest.approx(other.item(), rel=1e-9)
    loss.backward()
    other.backward()
    for (name, p), (theirs_name, q) in zip(sorted(ours.named_parameters()),
                                           sorted(theirs.named_parameters())):
        scale = q.grad.abs().max().item()
        assert name == theirs_name
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9,
                                   atol=1e-9 * scale + 1e-16, err_msg=name)


def test_training_follows_pytorchs_for_50_steps(torch):
    ours, theirs = pair(torch)
    mine = optim.Adam(ours.parameters(), lr=0.5, betas=(0.9, 0.98), eps=1e-9)
    schedule = optim.lr_scheduler.NoamLR(mine, d_model=SIZES["d_model"], warmup_steps=20)
    other = torch.optim.Adam(theirs.parameters(), lr=0.5, betas=(0.9, 0.98), eps=1e-9)
    warm_up = torch.optim.lr_scheduler.LambdaLR(
        other, lambda t: SIZES["d_model"] ** -0.5 * min((t + 1) ** -0.5, (t + 1) * 20 ** -1.5))
    smoothing, rng = LabelSmoothing(TARGET, PAD, 0.1), np.random.default_rng(1)
    losses, expected = [], []
    for _ in range(50):
        src = sentences(rng, 8, TARGET, (3, 6))
        # to copy, after a first word
        tgt = np.concatenate([np.ones((8, 1), dtype=src.dtype), src], 1)
        given, wanted = tgt[:, :-1], tgt[:, 1:]
        x = ours(npf.tensor(src), npf.tensor(given), *masks_of(npf, src, given))
        loss = smoothing(ours.generator(x).flatten(0, 1),
                         npf.tensor(wanted).flatten()) / int((wanted != PAD).sum())
        mine.zero_grad()
        loss.backward()
        mine.step()
        schedule.step()
        losses.append(loss.item())
        x = theirs(torch.tensor(src), torch.tensor(given), *masks_of(torch, src, given))
        loss = smoothed_by_hand(torch, theirs.generator(x).flatten(0, 1),
                                torch.tensor(wanted).flatten(), 0.1)
        loss = loss / int((wanted != PAD).sum())
        other.zero_grad()
        loss.backward()
        other.step()
        warm_up.step()
        expected.append(loss.item())
    assert np.mean(expected[-5:]) < 0.9 * expected[0]  # it learned: equal losses say something
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_label_smoothing_is_cross_entropy_but_for_the_entropy_of_q(torch, smoothing):
    """KL = cross-entropy − entropy; PyTorch's cross_entropy takes q itself as its target."""
    logits, target = np.random.default_rng(2).standard_normal((5, 7)), np.array([3, 0, 6, 1, 3])
    mine = npf.tensor(logits, requires_grad=True)
    loss = LabelSmoothing(7, PAD, smoothing)(F.log_softmax(mine, dim=-1), npf.tensor(target))
    loss.backward()
    kept = target != PAD
    q = np.full((kept.sum(), 7), smoothing / 5)
    q[np.arange(kept.sum()), target[kept]] = 1 - smoothing
    q[:, PAD] = 0
    theirs = torch.tensor(logits, requires_grad=True)
    other = torch.nn.functional.cross_entropy(theirs[torch.tensor(kept)], torch.tensor(q),
                                              reduction="sum")
    other.backward()
    entropy = -(q[q > 0] * np.log(q[q > 0])).sum()
    assert loss.item() == pytest.approx(other.item() - entropy, rel=1e-9)
    np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), rtol=1e-9, atol=1e-12)
    assert (mine.grad.numpy()[target == PAD] == 0).all()


def test_a_row_without_spread_has_a_finite_norm_and_gradient(torch):
    x = npf.tensor([[2.0, 2.0, 2.0], [1.0, 2.0, 4.0]], dtype=npf.float64, requires_grad=True)
    LayerNorm(3).double()(x)[:, 0].sum().backward()
    t = torch.tensor(x.detach().numpy(), requires_grad=True)
    ((t - t.mean(-1, keepdim=True)) / (t.std(-1, keepdim=True) + 1e-6))[:, 0].sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-9)


# ── masks and places ──────────────────────────────────────────────────────────────────────────────


def test_masks():
    x = npf.tensor([[3, 4, 0], [5, 0, 0]])
    assert padding_mask(x).tolist() == [[[True, True, False]], [[True, False, False]]]
    assert subsequent_mask(3).tolist() == [np.tri(3, dtype=bool).tolist()]
    assert target_mask(x)[1].tolist() == [[True, False, False]] * 3


def test_no_later_word_changes_an_earlier_output():
    model, rng = small_model(), np.random.default_rng(3)
    src = npf.tensor(rng.integers(1, SOURCE, (2, 5)))
    tgt = npf.tensor(rng.integers(1, TARGET, (2, 6)))
    changed = tgt.clone()
    changed[:, 4:] = tgt[:, 4:] % (TARGET - 1) + 1
    before, after = (model(src, t, padding_mask(src), target_mask(t)).detach().numpy()
                     for t in (tgt, changed))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert np.abs(before[:, 4:] - after[:, 4:]).max(axis=-1).min() > 1e-3


def test_padding_changes_nothing():
    """Words that nobody sees, of any value, in the source and behind the target."""
    model, rng = small_model(), np.random.default_rng(4)
    src, tgt = rng.integers(1, SOURCE, (2, 4)), rng.integers(1, TARGET, (2, 5))
    alone = model(npf.tensor(src), npf.tensor(tgt), *masks_of(npf, src, tgt)).detach().numpy()
    src, tgt = (np.pad(x, [(0, 0), (0, 3)]) for x in (src, tgt))
    padded = model(npf.tensor(src), npf.tensor(tgt), *masks_of(npf, src, tgt)).detach().numpy()
    np.testing.assert_allclose(padded[:, :5], alone, rtol=1e-12, atol=1e-13)


def test_a_query_that_sees_nothing_gets_zeros_and_sends_no_gradient():
    q, k, v = (npf.randn(2, n, 4, dtype=npf.float64, requires_grad=True) for n in (3, 5, 5))
    mask = npf.ones(2, 3, 5, dtype=npf.int64)
    mask[1, 2] = 0
    y, p = attention(q, k, v, mask)
    assert (y[1, 2] == 0).all() and (p[1, 2] == 0).all()
    assert npf.allclose(p.sum(-1)[0], npf.ones(3, dtype=npf.float64))
    (y * npf.randn(2, 3, 4, dtype=npf.float64)).sum().backward()
    assert (q.grad[1, 2] == 0).all() and (q.grad[0] != 0).all() and not npf.isnan(k.grad).any()


def test_dropout_acts_on_the_weights_in_training_alone():
    npf.manual_seed(0)
    layer, x = MultiHeadAttention(2, 8, dropout=0.4), npf.randn(3, 5, 8)
    layer(x, x, x)
    dropped = layer.attn.numpy()
    layer.eval()
    layer(x, x, x)
    whole = layer.attn.numpy()
    assert 0.2 < (dropped == 0).mean() < 0.6 and (whole > 0).all()
    np.testing.assert_allclose(dropped[dropped > 0], whole[dropped > 0] / 0.6, rtol=1e-5)


def test_positional_encoding_is_a_saved_buffer():
    layer = PositionalEncoding(7, 0.0, max_len=9)
    assert list(layer.state_dict()) == ["pe"] and not list(layer.parameters())
    t, i = np.arange(9)[:, None], np.arange(7)
    angle = t / 10000 ** (2 * (i // 2) / 7)
    np.testing.assert_allclose(layer.pe.numpy()[0],
                               np.where(i % 2, np.cos(angle), np.sin(angle)), atol=1e-6)
    with pytest.raises(IndexRangeError, match="there are 9 positions, and x has 10"):
        layer(npf.zeros(1, 10, 7))


def test_clones_are_equal_in_size_and_apart_in_memory():
    model = small_model()
    first, second = (layer.self_attn.linears[0].weight for layer in model.encoder.layers)
    assert not npf.equal(first, second)            # Xavier's rule drew each anew
    assert len({p.data_ptr() for p in model.parameters()}) == len(list(model.parameters()))


# ── decoding ──────────────────────────────────────────────────────────────────────────────────────


def next_words(model, src, words):
    """ln p of the word after `words` (a list), for one source (1, S)."""
    tgt = npf.tensor([words])
    with npf.no_grad():
        x = model(src, tgt, padding_mask(src), subsequent_mask(len(words)))
        return model.generator(x[:, -1]).numpy()[0]


def sharp_model():
    """A small model whose words differ clearly in probability."""
    model = small_model()
    with npf.no_grad():
        model.generator.proj.weight *= 3.0
    return model


@pytest.mark.parametrize("end", [None, 2])
def test_greedy_is_the_likeliest_word_again_and_again(end):
    model, src = sharp_model(), npf.tensor(sentences(np.random.default_rng(5), 6, SOURCE, (2, 5)))
    got = greedy_decode(model, src, padding_mask(src), 8, 1, end, PAD)
    rows = []
    for n in range(6):
        words = [1]
        while len(words) < 8 and words[-1] != end:
            words.append(int(next_words(model, src[n:n + 1], words).argmax()))
        rows.append(words)
    width = max(map(len, rows))
    assert got.tolist() == [row + [PAD] * (width - len(row)) for row in rows]
    assert len({tuple(row) for row in rows}) > 1   # the sources matter


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_beam_of_width_1_is_greedy(alpha):
    model, src = sharp_model(), npf.tensor(sentences(np.random.default_rng(6), 5, SOURCE, (2, 5)))
    words, scores = beam_decode(model, src, padding_mask(src), 7, 1, 1, 2, PAD, alpha)
    greedy = greedy_decode(model, src, padding_mask(src), 7, 1, 2, PAD)
    assert words[:, 0].tolist() == greedy.tolist()
    assert scores.shape == (5, 1)


@pytest.mark.parametrize("alpha", [0.0, 1.3])
def test_a_beam_that_holds_all_texts_finds_the_best_of_all(alpha):
    """Every text of up to 3 words after the start, its score added up by hand."""
    model, src, end = sharp_model(), npf.tensor([[4, 7, 2]]), 2
    after = functools.cache(lambda words: next_words(model, src, [1, *words]))
    found = {}
    for text in itertools.product(range(TARGET), repeat=3):
        text = text[:text.index(end) + 1] if end in text else text
        steps = [after(text[:i])[word] for i, word in enumerate(text)]
        found[text] = sum(steps) / ((5 + len(text)) / 6) ** alpha
    best = sorted(found, key=found.get, reverse=True)[:5]
    words, scores = beam_decode(model, src, padding_mask(src), 4, 1, TARGET ** 2 + 1,
                                end, PAD, alpha)
    assert [tuple(row[1:1 + len(text)]) for row, text in zip(words[0].tolist(), best)] == best
    np.testing.assert_allclose(scores[0, :5].numpy(), [found[text] for text in best], rtol=1e-9)


def test_a_beam_wider_than_all_texts_marks_the_rest():
    src = npf.tensor([[4, 7]])
    words, scores = beam_decode(small_model(), src, padding_mask(src), 2, 1, TARGET + 3)
    assert npf.isinf(scores[0]).sum() == 3
    assert sorted(words[0, :TARGET, 1].tolist()) == list(range(TARGET))


def test_no_source_mask_hides_nothing():
    model, src = small_model(), npf.tensor([[4, 7, 2]])
    expected = greedy_decode(model, src, padding_mask(src), 5, 1)
    assert (greedy_decode(model, src, None, 5, 1) == expected).all()


def test_decoding_leaves_the_model_in_its_mode_and_repeats():
    npf.manual_seed(0)
    model = make_model(SOURCE, TARGET, **SIZES, dropout=0.5)
    src = npf.tensor([[4, 7, 2]])
    first, second = (greedy_decode(model, src, padding_mask(src), 9, 1) for _ in range(2))
    assert npf.equal(first, second) and model.training
    assert all(p.grad is None for p in model.parameters())


def test_training_and_decoding_run_on_the_gpus_arrays(cupy):
    model, rng = sharp_model(), np.random.default_rng(7)
    src = npf.tensor(sentences(rng, 3, SOURCE, (2, 5)))
    tgt = npf.tensor(sentences(rng, 3, TARGET, (2, 4)))
    results = []
    for device in ("cpu", "cuda"):
        model.to(device).zero_grad()
        x, y = src.to(device), tgt.to(device)
        logp = model.generator(model(x, y, padding_mask(x), target_mask(y)))
        loss = LabelSmoothing(TARGET, PAD, 0.1)(logp.flatten(0, 1), y.flatten())
        loss.backward()
        words, scores = beam_decode(model, x, padding_mask(x), 6, 1, 3, 2, PAD, 0.6)
        for tensor in (words, scores, model.generator.proj.weight.grad):
            assert tensor.device.type == device
        results.append((loss.item(), words.tolist(), scores.tolist()))
    assert results[0][1] == results[1][1]
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-12)
    np.testing.assert_allclose(results[0][2], results[1][2], rtol=1e-12)


# ── mistakes ──────────────────────────────────────────────────────────────────────────────────────


def test_mistakes_are_worded():
    model, src, tgt = small_model(), npf.tensor([[4, 7, 2]]), npf.tensor([[1, 5]])
    with pytest.raises(ValueRangeError, match="d_model must be a multiple of h"):
        MultiHeadAttention(5, 12)
    with pytest.raises(ShapeError, match=r"mask must broadcast to the scores, \(1, 3, 3, 3\)"):
        model(src, tgt, padding_mask(tgt), target_mask(tgt))
    with pytest.raises(DTypeError, match="mask must be a tensor, or None"):
        model(src, tgt, "hidden", None)
    with pytest.raises(ShapeError, match="src must have 2 dims"):
        model(src[0], tgt, None, None)
    with pytest.raises(IndexError):
        model(npf.tensor([[SOURCE]]), tgt, None, None)
    with pytest.raises(ValueRangeError, match="features >= 2, got 1"):
        LayerNorm(1)
    with pytest.raises(ValueRangeError, match="p is a probability"):
        LabelSmoothing(5, PAD, 1.5)
    with pytest.raises(ValueRangeError, match="size must be >= 3"):
        LabelSmoothing(2, PAD)
    with pytest.raises(ShapeError, match=r"x must be \(N, 9\) and target \(N,\)"):
        LabelSmoothing(TARGET, PAD)(npf.zeros(2, 3, TARGET), npf.zeros(2, 3, dtype=npf.int64))
    for options, words in [(dict(width=0), "width must be an integer >= 1"),
                           (dict(alpha=-1), "alpha must be")]:
        with pytest.raises(ValueRangeError, match=words):
            beam_decode(model, src, padding_mask(src), 5, 1, **options)
    with npf.no_grad():
        model.generator.proj.weight[0, 0] = npf.nan
    with pytest.raises(ValueRangeError, match="log-probabilities hold NaN"):
        greedy_decode(model, src, padding_mask(src), 5, 1)
