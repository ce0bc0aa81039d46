"""MultiheadAttention against PyTorch's, over all options and masks."""

import copy

import numpy as np
import pytest
from against_torch import pair, same, torch
from hypothesis import given
from hypothesis import strategies as st

import npformer as npf
from npformer import nn
from npformer.core.errors import DTypeError, ShapeError, ValueRangeError

torch.set_num_threads(1)
B, T, S, C, H = 3, 5, 4, 6, 2


def twins(make, seed=0):
    """make(nn) here and in PyTorch, with the same names and random weights, in float64."""
    theirs = make(torch.nn).double()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(rng.normal(0.1, 0.6, tuple(p.shape))))
    mine = make(nn).double()
    names = [[name for name, _ in m.named_parameters()] for m in (mine, theirs)]
    assert names[0] == names[1]
    mine.load_state_dict(theirs.state_dict())
    return mine, theirs


def agree(mine, theirs, arrays, seed=0, **options):
    """Assert the same outputs, and the same gradients of all inputs and parameters."""
    pairs = [pair(a) for a in arrays]
    here, there = ({k: pair(v, False)[i] if isinstance(v, np.ndarray) else v
                    for k, v in options.items()}
                   for i in (0, 1))
    ys, zs = mine(*(m for m, _ in pairs), **here), theirs(*(t for _, t in pairs), **there)
    ys, zs = (list(y) if isinstance(y, tuple) else [y] for y in (ys, zs))
    rng = np.random.default_rng(seed)
    total_y = total_z = 0
    for y, z in zip(ys, zs, strict=True):
        if z is None:
            assert y is None
            continue
        same(y, z)
        upstream = rng.standard_normal(tuple(z.shape))
        total_y = total_y + (y * npf.tensor(upstream)).sum()
        total_z = total_z + (z * torch.tensor(upstream)).sum()
    total_y.backward(), total_z.backward()
    for i, (m, t) in enumerate(pairs):
        if t.grad is not None:
            same(m.grad, t.grad, what=f"the gradient of input {i}")
    for (name, p), q in zip(mine.named_parameters(), theirs.parameters()):
        assert (p.grad is None) == (q.grad is None), name
        # a bias of the keys moves no weight: its gradient is 0 but for noise
        if q.grad is not None:
            scale = max(q.grad.abs().max().item(), total_z.abs().item(), 1)
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9,
                                       atol=1e-10 * scale, err_msg=name)


def mask_of(kind, rng, *shape):
    """A mask as PyTorch's modules take it; the first key is always seen, some key never."""
    if kind is None:
        return None
    hidden = rng.random(shape) < 0.4
    hidden[..., -1] = True
    hidden[..., 0] = False
    if kind == "bool":
        return hidden
    return np.where(hidden, rng.choice([-np.inf, -0.7], shape), rng.normal(0, 1, shape))


kinds = st.sampled_from([None, "bool", "float"])


@given(bias=st.booleans(), add_bias_kv=st.booleans(), add_zero_attn=st.booleans(),
       kdim=st.sampled_from([None, 3, C]), vdim=st.sampled_from([None, 7]),
       batch_first=st.booleans(), batched=st.booleans(), need_weights=st.booleans(),
       average=st.booleans(), attn=kinds, padding=st.booleans(), per_head=st.booleans(),
       seed=st.integers(0, 99))
def test_multihead_attention(bias, add_bias_kv, add_zero_attn, kdim, vdim, batch_first, batched,
                             need_weights, average, attn, padding, per_head, seed):
    rng = np.random.default_rng(seed)
    mine, theirs = twins(lambda nn: nn.MultiheadAttention(
        C, H, bias=bias, add_bias_kv=add_bias_kv, add_zero_attn=add_zero_attn, kdim=kdim, vdim=vdim,
        batch_first=batch_first), seed)

    def shape(length, width):
        if not batched:
            return length, width
        return (B, length, width) if batch_first else (length, B, width)
    inputs = [rng.standard_normal(shape(n, width))
              for n, width in ((T, C), (S, kdim or C), (S, vdim or C))]
    heads = (B if batched else 1) * H
    mask = mask_of(attn, rng, *((heads, T, S) if per_head else (T, S)))
    hidden = None
    if padding:  # of attn_mask's kind: PyTorch warns where they differ
        hidden = mask_of(attn or "bool", rng, *((B, S) if batched else (S,)))
    agree(mine, theirs, inputs, key_padding_mask=hidden, attn_mask=mask, need_weights=need_weights,
          average_attn_weights=average)


def test_both_kinds_of_mask_at_once():
    rng = np.random.default_rng(0)
    mine, theirs = twins(lambda nn: nn.MultiheadAttention(C, H))
    inputs = [rng.standard_normal((n, B, C)) for n in (T, S, S)]
    options = dict(attn_mask=mask_of("float", rng, T, S),
                   key_padding_mask=mask_of("bool", rng, B, S))
    with pytest.warns(UserWarning, match="mismatched"):                        # PyTorch's
        agree(mine, theirs, inputs, **options)


def test_a_float_mask_gets_its_gradient():
    rng = np.random.default_rng(0)
    mine, theirs = twins(lambda nn: nn.MultiheadAttention(C, H))
    x, mask = rng.standard_normal((T, B, C)), rng.standard_normal((T, T))
    (m, t), (a, b) = pair(mask), pair(x)
    mine(a, a, a, attn_mask=m)[0].pow(2).sum().backward()
    theirs(b, b, b, attn_mask=t)[0].pow(2).sum().backward()
    same(m.grad, t.grad)
    same(a.grad, b.grad)


@pytest.mark.parametrize("need_weights", [True, False])
def test_is_causal(need_weights):
    rng = np.random.default_rng(0)
    mine, theirs = twins(lambda nn: nn.MultiheadAttention(C, H, batch_first=True))
    x = rng.standard_normal((B, T, C))
    causal = np.triu(np.ones((T, T), bool), 1)
    for mask in (causal, np.where(causal, -np.inf, 0.0)):
        agree(copy.deepcopy(mine), copy.deepcopy(theirs), [x] * 3, attn_mask=mask, is_causal=True,
              need_weights=need_weights)
    with_mask = mine(*[npf.tensor(x)] * 3, attn_mask=npf.tensor(causal))[0]
    same(mine(*[npf.tensor(x)] * 3, is_causal=True)[0], torch.tensor(with_mask.detach().numpy()))


def test_a_query_that_sees_nothing_gets_zeros_and_sends_no_gradient():
    npf.manual_seed(0)
    layer = nn.MultiheadAttention(C, H, batch_first=True).double()
    x = npf.randn(B, T, C, dtype=npf.float64).requires_grad_()
    hidden = npf.zeros(B, T, dtype=npf.bool)
    hidden[1] = True
    for mask in (hidden, npf.zeros(B, T, dtype=npf.float64).masked_fill(hidden, -npf.inf)):
        for need_weights in (True, False):
            x.grad = None
            y, weights = layer(x, x, x, key_padding_mask=mask, need_weights=need_weights)
            assert npf.equal(y[1], layer.out_proj.bias.expand(T, C)) and not npf.equal(y[0], y[1])
            if need_weights:
                assert weights[1].abs().sum() == 0
                assert npf.allclose(weights[[0, 2]].sum(-1), npf.ones(2, T).double())
            y.pow(2).sum().backward()
            assert x.grad[1].abs().sum() == 0 and x.grad[0].abs().sum() > 0
            assert x.grad.isfinite().all()


def test_dropout_drops_weights_in_training_only():
    npf.manual_seed(0)
    layer = nn.MultiheadAttention(C, H, dropout=0.5)
    x = npf.randn(40, B, C)
    dropped = layer(x, x, x, average_attn_weights=False)[1]
    kept = layer.eval()(x, x, x, average_attn_weights=False)[1]
    assert 0.4 < (dropped == 0).float().mean() < 0.6
    assert npf.allclose(dropped[dropped > 0], 2 * kept[dropped > 0], rtol=1e-5)
    assert npf.allclose(kept.sum(-1), npf.ones(B, H, 40), atol=1e-5)


@pytest.mark.parametrize("options", [{}, dict(kdim=5), dict(bias=False), dict(add_bias_kv=True)])
def test_initialisation_is_pytorchs_and_state_goes_both_ways(options):
    theirs = torch.nn.MultiheadAttention(48, 4, **options)
    mine = nn.MultiheadAttention(48, 4, **options)
    for (name, p), q in zip(mine.named_parameters(), theirs.parameters()):
        assert p.shape == tuple(q.shape) and p.dtype == npf.float32
        for statistic in ("std", "max", "min"):
            a, b = (getattr(x.detach().numpy(), statistic)() for x in (p, q))
            rel = 0.25 if "bias_" not in name else 0.6
            assert a == pytest.approx(b, rel=rel), (name, statistic)
    theirs.load_state_dict({name: torch.from_numpy(value.numpy())
                            for name, value in mine.state_dict().items()})
    for name, value in mine.state_dict().items():
        same(value, theirs.state_dict()[name])
    assert repr(mine) == repr(theirs).replace("NonDynamicallyQuantizable", "")


# ── mistakes ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options, words", [
    (dict(embed_dim=10, num_heads=4),
     "a multiple of num_heads(.|\n)*embed_dim 10\n  num_heads 4(.|\n)*1, 2, 5, 10"),
    (dict(embed_dim=0, num_heads=1), "embed_dim must be an integer >= 1, got 0"),
    (dict(embed_dim=4, num_heads=0), "num_heads must be an integer >= 1, got 0"),
    (dict(embed_dim=4, num_heads=2.0), "num_heads must be an integer >= 1, got 2.0"),
    (dict(embed_dim=4, num_heads=2, dropout=1.5), "from 0 to 1, got 1.5"),
])
def test_options_that_make_no_layer(options, words):
    with pytest.raises(ValueRangeError, match=words):
        nn.MultiheadAttention(**options)


@pytest.mark.parametrize("error, words, query, key, value, options", [
    (ShapeError, "query's width must be embed_dim, 6", (T, B, 5), (S, B, C), (S, B, C), {}),
    (ShapeError, "agree in length and batch", (T, B, C), (S, B, C), (S + 1, B, C), {}),
    (ShapeError, "one batch", (T, B, C), (S, B + 1, C), (S, B + 1, C), {}),
    (ShapeError, "all three must be", (T, B, C), (S, C), (S, C), {}),
    (ShapeError, r"attn_mask must be \(5, 4\) or \(6, 5, 4\)", (T, B, C), (S, B, C), (S, B, C),
     dict(attn_mask=np.zeros((S, T), bool))),
    (ShapeError, r"attn_mask must be \(5, 4\) or \(6, 5, 4\)", (T, B, C), (S, B, C), (S, B, C),
     dict(attn_mask=np.zeros((B, T, S), bool))),
    (ShapeError, r"key_padding_mask must be \(3, 4\)", (T, B, C), (S, B, C), (S, B, C),
     dict(key_padding_mask=np.zeros((S, B), bool))),
    (DTypeError, "attn_mask must be boolean", (T, B, C), (S, B, C), (S, B, C),
     dict(attn_mask=np.zeros((T, S), np.int64))),
    (DTypeError, r"Use key_padding_mask.bool\(\)", (T, B, C), (S, B, C), (S, B, C),
     dict(key_padding_mask=np.zeros((B, S), np.int64))),
])
@pytest.mark.parametrize("batch_first", [False, True])
def test_inputs_that_do_not_fit(error, words, query, key, value, options, batch_first):
    layer = nn.MultiheadAttention(C, H, batch_first=batch_first)
    inputs = [npf.zeros(*shape) for shape in (query, key, value)]
    if batch_first:
        inputs = [x.transpose(0, 1) if x.ndim == 3 else x for x in inputs]
    with pytest.raises(error, match=words):
        layer(*inputs, **{name: npf.tensor(mask) for name, mask in options.items()})
