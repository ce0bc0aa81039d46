"""Positions in attention by einsum: ALiBi, relative buckets, a sliding window, and sinusoids."""

import math

import torch
import torch.nn as nn


def alibi_slopes(n_heads):
    start = 2 ** (-(2 ** -(math.log2(n_heads) - 3)))
    return torch.tensor([start * start**i for i in range(n_heads)])


def relative_bucket(relative, num_buckets=8, max_distance=20):
    """T5's buckets: small distances each for themselves, larger ones in a logarithm."""
    n = torch.clamp(-relative, min=0)
    max_exact = num_buckets // 2
    is_small = n < max_exact
    scale = (num_buckets - max_exact) / math.log(max_distance / max_exact)
    large = max_exact + (torch.log(n.float().clamp(min=1) / max_exact) * scale).long()
    large = torch.min(large, torch.full_like(large, num_buckets - 1))
    return torch.where(is_small, n, large)


class Attention(nn.Module):
    def __init__(self, dim=12, heads=4, window=3):
        super().__init__()
        self.heads, self.window = heads, window
        self.w = nn.Parameter(torch.empty(3, heads, dim, dim // heads))
        self.out = nn.Parameter(torch.empty(heads, dim // heads, dim))
        self.relative = nn.Embedding(8, heads)
        self.register_buffer("slopes", alibi_slopes(heads))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.xavier_normal_(self.w)
        nn.init.kaiming_uniform_(self.out, a=math.sqrt(5))
        with torch.no_grad():
            self.out *= 2.0
            self.relative.weight.uniform_(-0.5, 0.5)

    def bias(self, length, kind):
        i = torch.arange(length)
        distance = i[None, :] - i[:, None]
        if kind == "alibi":
            return self.slopes[:, None, None] * distance.clamp(max=0)
        if kind == "buckets":
            return self.relative(relative_bucket(distance)).permute(2, 0, 1)
        bias = torch.zeros(self.heads, length, length)
        return bias.masked_fill(distance.abs() > self.window, -torch.inf)

    def forward(self, x, kind):
        q, k, v = torch.einsum("btc,nhck->nbhtk", x, self.w).unbind(0)
        scores = torch.einsum("bhtk,bhsk->bhts", q, k) / math.sqrt(q.shape[-1])
        scores = scores + self.bias(x.shape[1], kind)
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1)
        y = torch.einsum("bhts,bhsk,hkc->btc", weights, v, self.out)
        return y, weights


def sinusoids(length, dim):
    position = torch.arange(length).unsqueeze(1)
    angle = position / torch.pow(10000.0, torch.arange(0, dim, 2) / dim)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def build():
    return Attention()


def run(model):
    x = torch.linspace(0, 9, 2 * 7 * 12).sin().reshape(2, 7, 12) + sinusoids(7, 12)
    x.requires_grad_()
    results = {}
    for kind in ("alibi", "buckets", "window"):
        model.zero_grad()
        y, weights = model(x, kind=kind)
        loss = -torch.log(weights.diagonal(dim1=-2, dim2=-1)).mean() + (y**2).mean()
        loss.backward()
        results[kind] = {"output": y, "weights": weights, "loss": loss.item(),
                         "slope": model.slopes,
                         "gradients": {n: p.grad for n, p in model.named_parameters()
                                       if p.grad is not None}}
    results["dx"] = x.grad
    turned = sinusoids(9, 6)[2:, :2] @ rotation(-2.0)
    results["a shift is a turn"] = torch.allclose(turned, sinusoids(7, 6)[:, :2], atol=1e-5)
    return results


def rotation(angle):
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]])


if __name__ == "__main__":
    print(run(build()))
