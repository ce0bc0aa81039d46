"""The TinyTransformer as it is written in PyTorch, to compare with in tests and benchmarks."""

import torch
from torch import nn


class Block(nn.Module):
    """Post-LN: attention with its addition and norm, then the feed-forward layer with its own."""

    def __init__(self, d_model, n_heads, d_ff, residual):
        super().__init__()
        self.n_heads, self.residual = n_heads, residual
        for name in ("query", "key", "value", "out_proj"):
            setattr(self, name, nn.Linear(d_model, d_model))
        self.ff1, self.ff2 = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (layer(x).view(B, T, self.n_heads, -1).transpose(1, 2)
                   for layer in (self.query, self.key, self.value))
        scores = q @ k.transpose(-2, -1) / (C // self.n_heads) ** 0.5
        hidden = torch.tril(torch.ones(T, T)) == 0
        attention = scores.masked_fill(hidden, float("-inf")).softmax(dim=-1)
        output = self.out_proj((attention @ v).transpose(1, 2).contiguous().view(B, T, C))
        if self.residual is not True:
            output = output if self.residual is False else x
        else:
            output = x + output
        x = self.norm1(output)
        output = self.ff2(torch.relu(self.ff1(x)))
        return self.norm2(output if self.residual is False else x + output)


class TinyTransformer(nn.Module):
    """Characters (B, T) -> logits (B, T, V)."""

    def __init__(self, vocab_size=65, context=64, d_model=64, n_heads=2, d_ff=128, depth=1,
                 residual=True):
        super().__init__()
        self.char_embedding = nn.Embedding(vocab_size, d_model)
        self.pos_embedding = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList([Block(d_model, n_heads, d_ff, residual) for _ in range(depth)])
        self.output_head = nn.Linear(d_model, vocab_size)

    def forward(self, x):
        x = self.char_embedding(x) + self.pos_embedding(torch.arange(x.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.output_head(x)
