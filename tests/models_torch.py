"""The encoder-decoder and the Vision Transformer in PyTorch, kept short, to compare with."""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Heads(nn.Module):
    def __init__(self, h, c):
        super().__init__()
        self.h, self.linears = h, nn.ModuleList([nn.Linear(c, c) for _ in range(4)])

    def forward(self, q, k, v, mask):
        q, k, v = (f(x).unflatten(-1, (self.h, -1)).movedim(-2, 1)
                   for f, x in zip(self.linears, (q, k, v)))
        scores = torch.einsum("bhtk,bhsk->bhts", q, k) / math.sqrt(q.shape[-1])
        self.attn = torch.softmax(scores + torch.where(mask[:, None], 0.0, -1e9), -1)
        y = torch.einsum("bhts,bhsk->bthk", self.attn, v)
        return self.linears[3](y.flatten(2))


class Norm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a_2, self.b_2 = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

    def forward(self, x):
        d = x - x.mean(-1, keepdim=True)
        std = torch.sqrt((d * d).sum(-1, keepdim=True) / (x.shape[-1] - 1))
        return self.a_2 * d / (std + 1e-6) + self.b_2


class Connected(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = Norm(c)


class Feed(nn.Module):
    def __init__(self, c, f):
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(c, f), nn.Linear(f, c)

    def forward(self, x):
        return self.w_2(torch.relu(self.w_1(x)))


class Layer(nn.Module):
    """An encoder's layer, or with `cross` a decoder's."""

    def __init__(self, h, c, f, cross):
        super().__init__()
        self.self_attn, self.feed_forward = Heads(h, c), Feed(c, f)
        if cross:
            self.src_attn = Heads(h, c)
        self.sublayer = nn.ModuleList([Connected(c) for _ in range(3 if cross else 2)])

    def forward(self, x, own, memory=None, other=None):
        n = self.sublayer[0].norm(x)
        x = x + self.self_attn(n, n, n, own)
        if memory is not None:
            x = x + self.src_attn(self.sublayer[1].norm(x), memory, memory, other)
        return x + self.feed_forward(self.sublayer[-1].norm(x))


class Stack(nn.Module):
    def __init__(self, layers, c):
        super().__init__()
        self.layers, self.norm = nn.ModuleList(layers), Norm(c)

    def forward(self, x, *masks):
        for layer in self.layers:
            x = layer(x, *masks)
        return self.norm(x)


class Words(nn.Module):
    def __init__(self, vocab, c):
        super().__init__()
        self.lut = nn.Embedding(vocab, c)

    def forward(self, x):
        return self.lut(x) * math.sqrt(self.lut.embedding_dim)


class Places(nn.Module):
    def __init__(self, c, longest=5000):
        super().__init__()
        angle = torch.arange(longest)[:, None] / 10000 ** (torch.arange(0, c, 2) / c)
        self.register_buffer("pe", torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[None])

    def forward(self, x):
        return x + self.pe[:, :x.shape[1]]


class Generator(nn.Module):
    def __init__(self, c, vocab):
        super().__init__()
        self.proj = nn.Linear(c, vocab)

    def forward(self, x):
        return torch.log_softmax(self.proj(x), -1)


class Seq2Seq(nn.Module):
    def __init__(self, source, target, n, c, f, h):
        super().__init__()
        self.encoder = Stack([Layer(h, c, f, False) for _ in range(n)], c)
        self.decoder = Stack([Layer(h, c, f, True) for _ in range(n)], c)
        self.src_embed = nn.Sequential(Words(source, c), Places(c))
        self.tgt_embed = nn.Sequential(Words(target, c), Places(c))
        self.generator = Generator(c, target)

    def forward(self, src, tgt, src_mask, tgt_mask):
        memory = self.encoder(self.src_embed(src), src_mask)
        return self.decoder(self.tgt_embed(tgt), tgt_mask, memory, src_mask)


# ── the Vision Transformer ────────────────────────────────────────────────────────────────────────


class ViTAttention(nn.Module):
    def __init__(self, c, h):
        super().__init__()
        self.h, self.qkv, self.proj = h, nn.Linear(c, 3 * c), nn.Linear(c, c)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (self.h, -1)).movedim(-2, 1)
                   for part in self.qkv(x).chunk(3, -1))
        self.map = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1)
        if self.map.requires_grad:
            self.map.retain_grad()
        return self.proj((self.map @ v).movedim(1, 2).flatten(2))


class ViTMlp(nn.Module):
    def __init__(self, c, f):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c, f), nn.Linear(f, c)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class ViTBlock(nn.Module):
    def __init__(self, c, h, f):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(c, 1e-6), nn.LayerNorm(c, 1e-6)
        self.attn, self.mlp = ViTAttention(c, h), ViTMlp(c, f)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViTPatches(nn.Module):
    def __init__(self, patch, channels, c):
        super().__init__()
        self.proj = nn.Conv2d(channels, c, patch, patch)


class ViT(nn.Module):
    def __init__(self, tokens, patch, channels, classes, c, depth, h, f):
        super().__init__()
        self.patch_embed = ViTPatches(patch, channels, c)
        self.cls_token = nn.Parameter(torch.randn(1, 1, c))
        self.pos_embed = nn.Parameter(torch.randn(1, tokens, c))
        self.blocks = nn.ModuleList([ViTBlock(c, h, f) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(c, 1e-6), nn.Linear(c, classes)

    def forward(self, image):
        patches = self.patch_embed.proj(image).flatten(2).mT
        x = torch.cat([self.cls_token.expand(len(image), -1, -1), patches], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def give_equal_weights(ours, theirs):
    """Both models, ours with their weights, of which none stays a fresh norm's ones and zeros."""
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(0.1 * torch.randn_like(p))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs
