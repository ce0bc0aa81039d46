"""Passages of Transformer programs written for PyTorch run here, with the same numbers."""

import math

import pytest
from against_torch import agree, real


def causal_attention(torch, x, w):
    """nanoGPT's attention, by hand."""
    B, T, C = x.size()
    heads = 2
    q, k, v = (x @ w).split(C, dim=2)
    k = k.view(B, T, heads, C // heads).transpose(1, 2)
    q = q.view(B, T, heads, C // heads).transpose(1, 2)
    v = v.view(B, T, heads, C // heads).transpose(1, 2)
    bias = torch.tril(torch.ones(T, T)).view(1, 1, T, T)
    att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
    att = att.masked_fill(bias[:, :, :T, :T] == 0, float("-inf"))
    att = torch.softmax(att, dim=-1)
    y = att @ v
    return y.transpose(1, 2).contiguous().view(B, T, C)


def additive_mask(torch, x, w):
    """The mask of PyTorch's own Transformer tutorial."""
    T = x.shape[1]
    mask = torch.triu(torch.full((T, T), float("-inf"), dtype=torch.float64), diagonal=1)
    scores = torch.einsum("bqc,bkc->bqk", x, x) / x.shape[-1] ** 0.5 + mask
    return torch.matmul(scores.softmax(-1), x)


def sinusoids(torch, x, w):
    """The annotated Transformer's position encoding, written into slices."""
    d, T = x.shape[-1], x.shape[1]
    pe = torch.zeros(T, d)
    position = torch.arange(0, T).unsqueeze(1)
    div_term = torch.exp(torch.arange(0, d, 2).float() * -(math.log(10000.0) / d))
    pe[:, 0::2] = torch.sin(position * div_term)
    pe[:, 1::2] = torch.cos(position * div_term)
    pe = pe.unsqueeze(0)
    return x + pe[:, :x.size(1)].requires_grad_(False).double()


def layer_norm(torch, x, w):
    """The annotated Transformer's LayerNorm."""
    mean = x.mean(-1, keepdim=True)
    std = x.std(-1, keepdim=True)
    return w[0, :x.shape[-1]] * (x - mean) / (std + 1e-6)


def rotary(torch, x, w):
    """Rotary embeddings, the half-turn form."""
    B, T, C = x.shape
    inv = 1.0 / (10000 ** (torch.arange(0, C, 2, dtype=torch.float64) / C))
    freqs = torch.outer(torch.arange(T, dtype=torch.float64), inv)
    emb = torch.cat((freqs, freqs), dim=-1)
    x1, x2 = x.chunk(2, dim=-1)
    return x * emb.cos()[None] + torch.cat((-x2, x1), dim=-1) * emb.sin()[None, :, :]


def top_k_filter(torch, x, w):
    """nanoGPT's filter before it samples."""
    logits = x[:, -1, :].detach() / 0.8
    v, _ = torch.topk(logits, min(2, logits.size(-1)))
    logits[logits < v[:, [-1]]] = -float("Inf")
    probs = torch.softmax(logits, dim=-1)
    best = probs.argmax(-1, keepdim=True)
    ids = torch.zeros((logits.shape[0], 1), dtype=torch.long)
    return probs, torch.cat((ids, best), dim=1)


def batches(torch, x, w):
    """nanoGPT's get_batch: integers of 0 dims as the ends of slices."""
    data = torch.arange(50)
    ix = torch.tensor([3, 20, 41])
    return (torch.stack([data[i:i + 8] for i in ix]),
            torch.stack([data[i + 1:i + 1 + 8] for i in ix]), sum(int(i) for i in ix))


def cross_entropy_by_hand(torch, x, w):
    """Karpathy's steps of backprop by hand, forward part."""
    logits = x.view(-1, x.shape[-1])
    targets = torch.tensor([k % x.shape[-1] for k in range(logits.shape[0])])
    maxes = logits.max(1, keepdim=True).values
    counts = (logits - maxes).exp()
    probs = counts * counts.sum(1, keepdims=True) ** -1
    return -probs.log()[range(logits.shape[0]), targets].mean()


def residual_stream(torch, x, w):
    """A model's forward with += on its residual stream, and a loss that is summed up from 0."""
    h = x * 1.0
    total = torch.zeros((), dtype=torch.float64)
    for k in range(3):
        h += torch.tanh(x @ w[:, k:k + h.shape[-1]])
        total += h.mean() * 0.1 ** k
    return h, total


def positions_to_one_hot(torch, x, w):
    """One-hot by scatter_, and by comparing."""
    target = torch.tensor([2, 0, 1])
    one_hot = torch.zeros(3, 4).scatter_(1, target.unsqueeze(1), 1.0)
    compared = (target[:, None] == torch.arange(4)).float()
    return one_hot, compared, (one_hot.bool() & ~one_hot.bool()).any()


def memory_of_attention(torch, x, w):
    """Statistics as a training loop gathers them."""
    flat = torch.cat([p.reshape(-1) for p in (x, w)])
    norm = torch.stack([p.norm() for p in (x, w)]).norm()
    clip = torch.clamp(1.0 / (norm + 1e-6), max=1.0)
    near_one = (flat.abs() > 0.97).float().mean().detach()
    return flat * clip, near_one, flat.std(), flat.var(unbiased=False)


@pytest.mark.parametrize("program", [
    causal_attention, additive_mask, sinusoids, layer_norm, rotary, top_k_filter, batches,
    cross_entropy_by_hand, residual_stream, positions_to_one_hot, memory_of_attention])
def test_program(program):
    agree(program, real(0, 2, 5, 4), real(1, 4, 12), rtol=1e-6 if program is sinusoids else 1e-9)
