"""The blocks of a LLaMA: RMSNorm by hand, rotary positions, grouped heads, SwiGLU, and a cache."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotate_half(x: Tensor) -> Tensor:
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


def repeat_kv(x: Tensor, n_rep: int) -> Tensor:
    bs, n_kv_heads, slen, head_dim = x.shape
    if n_rep == 1:
        return x
    x = x[:, :, None, :, :].expand(bs, n_kv_heads, n_rep, slen, head_dim)
    return x.reshape(bs, -1, slen, head_dim)


class Rotary(nn.Module):
    def __init__(self, dim: int, base: float = 10000.0, longest: int = 32):
        super().__init__()
        inv_freq = 1.0 / (base ** (torch.arange(0, dim, 2) / dim))
        angles = torch.einsum("i,j->ij", torch.arange(longest).type_as(inv_freq), inv_freq)
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor, start: int) -> Tensor:
        end = start + x.shape[-2]
        return x * self.cos[start:end] + rotate_half(x) * self.sin[start:end]


class Attention(nn.Module):
    def __init__(self, dim: int, n_heads: int, n_kv_heads: int):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = n_heads, n_kv_heads, dim // n_heads
        self.wq = nn.Linear(dim, n_heads * self.head_dim, bias=False)
        self.wk = nn.Linear(dim, n_kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(dim, n_kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(n_heads * self.head_dim, dim, bias=False)
        self.rotary = Rotary(self.head_dim)
        self.cache = None

    def forward(self, x: Tensor, start: int = 0, use_cache: bool = False) -> Tensor:
        bsz, seqlen, _ = x.shape
        xq = self.wq(x).view(bsz, seqlen, self.n_heads, self.head_dim).transpose(1, 2)
        xk = self.wk(x).view(bsz, seqlen, self.n_kv_heads, self.head_dim).transpose(1, 2)
        xv = self.wv(x).view(bsz, seqlen, self.n_kv_heads, self.head_dim).transpose(1, 2)
        xq, xk = self.rotary(xq, start), self.rotary(xk, start)
        if use_cache:
            if self.cache is None:
                self.cache = (xk, xv)
            else:
                self.cache = (torch.cat((self.cache[0], xk), dim=2),
                              torch.cat((self.cache[1], xv), dim=2))
            xk, xv = self.cache
        keys = repeat_kv(xk, self.n_heads // self.n_kv_heads)
        values = repeat_kv(xv, self.n_heads // self.n_kv_heads)
        scores = torch.matmul(xq, keys.transpose(2, 3)) / self.head_dim**0.5
        if seqlen > 1:
            mask = torch.full((seqlen, seqlen), float("-inf"), device=x.device)
            mask = torch.triu(mask, diagonal=1)
            mask = torch.hstack([torch.zeros((seqlen, start), device=x.device), mask]).type_as(x)
            scores = scores + mask
        scores = F.softmax(scores.float() if scores.dtype == torch.float32 else scores,
                           dim=-1).type_as(xq)
        output = torch.matmul(scores, values)
        return self.wo(output.transpose(1, 2).contiguous().view(bsz, seqlen, -1))


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden_dim: int, multiple_of: int = 4):
        super().__init__()
        hidden_dim = multiple_of * ((2 * hidden_dim // 3 + multiple_of - 1) // multiple_of)
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.attention = Attention(dim, n_heads=4, n_kv_heads=2)
        self.feed_forward = FeedForward(dim, 4 * dim)
        self.attention_norm = RMSNorm(dim)
        self.ffn_norm = RMSNorm(dim)

    def forward(self, x: Tensor, start: int = 0, use_cache: bool = False) -> Tensor:
        h = x + self.attention(self.attention_norm(x), start, use_cache)
        return h + self.feed_forward(self.ffn_norm(h))


class Llama(nn.Module):
    def __init__(self, vocab: int = 23, dim: int = 24, n_layers: int = 2):
        super().__init__()
        self.tok_embeddings = nn.Embedding(vocab, dim)
        self.layers = torch.nn.ModuleList()
        for _ in range(n_layers):
            self.layers.append(Layer(dim))
        self.norm = RMSNorm(dim)
        self.output = nn.Linear(dim, vocab, bias=False)

    def forward(self, tokens: Tensor, start: int = 0, use_cache: bool = False) -> Tensor:
        h = self.tok_embeddings(tokens)
        for layer in self.layers:
            h = layer(h, start, use_cache)
        return self.output(self.norm(h))


def build():
    return Llama()


@torch.inference_mode()
def generate(model, prompt, length):
    tokens, start = prompt, 0
    new = prompt
    steps = []
    while tokens.shape[1] < length:
        logits = model(new, start, use_cache=True)
        start += new.shape[1]
        steps.append(logits[:, -1])
        new = torch.argmax(logits[:, -1], dim=-1, keepdim=True)
        tokens = torch.cat([tokens, new], dim=1)
    return tokens, torch.stack(steps, dim=1)


def run(model):
    tokens = (torch.arange(30).reshape(3, 10) * 7) % 23
    logits = model(tokens)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    decoded, cached = generate(model.eval(), tokens[:, :4], 14)
    with torch.no_grad():
        whole = model(decoded[:, :-1])[:, 3:]
    return {
        "keys": sorted(model.state_dict().keys()),
        "logits": logits,
        "loss": loss.item(),
        "gradients": {name: p.grad for name, p in model.named_parameters()},
        "decoded": decoded,
        "cached": cached,
        "the cache changes nothing": torch.allclose(whole, cached, rtol=1e-4, atol=1e-5),
    }


if __name__ == "__main__":
    print(run(build()))
