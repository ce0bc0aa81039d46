"""The encoder-decoder Transformer, from the bottom up: a sequence in, another sequence out, one
token after the other.

Reading order: attention, the layers, the two stacks, the two ends, the model, and its masks.
Shapes: B batch, S source length, T target length, C model width (d_model), H heads, K = C / H, F
feed-forward width, V words. A mask is True, or not 0, where a key is seen. A query that sees no key
gets zeros.

Source: Vaswani et al. 2017, arXiv:1706.03762. The parts and their names are those of "The Annotated
Transformer" (Rush
2018), so its weights load here; as there, the norm stands before each sublayer, and not after the
sum as in the paper.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

from .. import creation, nn
from ..core.errors import DTypeError, IndexRangeError, ShapeError, ValueRangeError, complaint
from ..nn import functional as F
from ..nn import init

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..tensors import Tensor

# ── attention ─────────────────────────────────────────────────────────────────────────────────────


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None,
              dropout: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """y = p·v, p = softmax(q·kᵀ / √K); returns y and the weights p.

    query (..., T, K), key (..., S, K), value (..., S, K) -> (..., T, K) and (..., T, S). mask:
    broadcast to (..., T, S). dropout: a module that p passes through.   Source: equation 1.
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))       # (..., T, S)
    if mask is not None:
        check_mask(mask, scores, query, key)
        hidden = mask == 0
        # not −∞, which would leave NaN where all keys are hidden
        scores = scores.masked_fill(hidden, -1e9)
    p = scores.softmax(dim=-1)
    if mask is not None:
        p = p.masked_fill(hidden, 0)               # a change only in rows where all keys are hidden
    if dropout is not None:
        p = dropout(p)
    return p @ value, p


def check_mask(mask: Tensor, scores: Tensor, query: Tensor, key: Tensor) -> None:
    """Raise ShapeError unless mask broadcasts to the scores."""
    shape, wanted = tuple(mask.shape), tuple(scores.shape)
    if len(shape) > len(wanted) or any(n not in (1, m) for n, m in zip(shape[::-1], wanted[::-1])):
        raise ShapeError(complaint("attention(query, key, value, mask)",
                                   f"mask must broadcast to the scores, {wanted}",
                                   {"query": query, "key": key, "mask": mask},
                                   "padding_mask(src) is for keys from src, target_mask(tgt) for "
                                   "keys from tgt."))


class MultiHeadAttention(nn.Module):
    """y = concat(head₁ ... head_h)·W_oᵀ + b_o, headᵢ = attention(q·W_qᵢᵀ, k·W_kᵢᵀ, v·W_vᵢᵀ).

    query (B, T, C), key and value (B, S, C), mask (B, T, S), any of them 1 -> (B, T, C). h: how
    many heads; d_model, C: a multiple of h. dropout: of the weights, a probability. linears: W_q,
    W_k, W_v, W_o, each with its bias. attn: the weights (B, H, T, S) of the last call, outside the
    graph.   Source: section 3.2.2.
    """

    def __init__(self, h: int, d_model: int, dropout: float = 0.1) -> None:
        super().__init__()
        if h < 1 or d_model % h:
            raise ValueRangeError(
                "MultiHeadAttention(h, d_model): d_model must be a multiple of h, to be shared out "
                f"among heads\n  h {h}\n  d_model {d_model}")
        self.h, self.d_k = h, d_model // h
        self.linears = clones(nn.Linear(d_model, d_model), 4)
        self.attn: Tensor | None = None
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor,
                mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            if not hasattr(mask, "unsqueeze"):
                raise DTypeError(complaint("MultiHeadAttention(mask)",
                                           "mask must be a tensor, or None", {"mask": mask}))
            mask = mask.unsqueeze(1)  # (B, 1, T, S): the same for each head
        *inputs, output = self.linears
        # (B, H, T, K), (B, H, S, K) twice
        q, k, v = (linear(x).view(len(x), -1, self.h, self.d_k).transpose(1, 2)
                   for linear, x in zip(inputs, (query, key, value)))
        y, p = attention(q, k, v, mask, self.dropout)                        # (B, H, T, K)
        self.attn = p.detach()
        y = y.transpose(1, 2).reshape(len(query), -1, self.h * self.d_k)     # (B, T, C)
        return output(y)


# ── the other layers ──────────────────────────────────────────────────────────────────────────────


class PositionwiseFeedForward(nn.Module):
    """y = w_2(dropout(relu(w_1(x)))), for each position alone.

    x (B, T, C) -> (B, T, F) -> (B, T, C)
    """

    def __init__(self, d_model: int, d_ff: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.w_1 = nn.Linear(d_model, d_ff)
        self.w_2 = nn.Linear(d_ff, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(self.dropout(self.w_1(x).relu()))


class LayerNorm(nn.Module):
    """y = a_2·(x − mean) / (std + eps) + b_2 over the last dim.   x (..., C) -> (..., C).

    Not quite nn.LayerNorm: std divides by C − 1, and eps is added to it, not to the variance.
    features: C, >= 2.
    """

    def __init__(self, features: int, eps: float = 1e-6) -> None:
        super().__init__()
        if features < 2:
            raise ValueRangeError(
                f"LayerNorm(features): one number has no spread, so features >= 2, got {features}")
        self.a_2 = nn.Parameter(creation.ones(features))
        self.b_2 = nn.Parameter(creation.zeros(features))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)            # (..., 1)
        std = x.std(-1, keepdim=True)              # (..., 1)
        return self.a_2 * (x - mean) / (std + self.eps) + self.b_2


class SublayerConnection(nn.Module):
    """y = x + dropout(sublayer(norm(x))): whatever the sublayer is, the gradient also passes
    beside it.   (B, T, C)"""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.norm = LayerNorm(size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return x + self.dropout(sublayer(self.norm(x)))


def clones(module: nn.Module, N: int) -> nn.ModuleList:
    """N copies of a module, equal at first, each with parameters of its own."""
    return nn.ModuleList([copy.deepcopy(module) for _ in range(N)])


# ── the two stacks ────────────────────────────────────────────────────────────────────────────────


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward layer, each connected so.

    x (B, S, C), mask (B, 1, S) -> (B, S, C)
    """

    def __init__(self, size: int, self_attn: nn.Module, feed_forward: nn.Module,
                 dropout: float) -> None:
        super().__init__()
        self.self_attn, self.feed_forward = self_attn, feed_forward
        self.sublayer = clones(SublayerConnection(size, dropout), 2)
        self.size = size

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.sublayer[0](x, lambda x: self.self_attn(x, x, x, mask))
        return self.sublayer[1](x, self.feed_forward)


class Encoder(nn.Module):
    """N layers, and a last norm: before it nothing has tamed the sum.

    x (B, S, C), mask (B, 1, S) -> (B, S, C)
    """

    def __init__(self, layer: nn.Module, N: int) -> None:
        super().__init__()
        self.layers = clones(layer, N)
        self.norm = LayerNorm(layer.size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


class DecoderLayer(nn.Module):
    """Self-attention on what was written so far, cross-attention on the source, then the
    feed-forward layer.

    x (B, T, C), memory (B, S, C), src_mask (B, 1, S), tgt_mask (B, T, T) -> (B, T, C)
    """

    def __init__(self, size: int, self_attn: nn.Module, src_attn: nn.Module,
                 feed_forward: nn.Module, dropout: float) -> None:
        super().__init__()
        self.self_attn, self.src_attn, self.feed_forward = self_attn, src_attn, feed_forward
        self.sublayer = clones(SublayerConnection(size, dropout), 3)
        self.size = size

    def forward(self, x: Tensor, memory: Tensor, src_mask: Tensor | None,
                tgt_mask: Tensor | None) -> Tensor:
        x = self.sublayer[0](x, lambda x: self.self_attn(x, x, x, tgt_mask))
        x = self.sublayer[1](x, lambda x: self.src_attn(x, memory, memory, src_mask))
        return self.sublayer[2](x, self.feed_forward)


class Decoder(nn.Module):
    """N layers, and a last norm.   x (B, T, C), memory (B, S, C) -> (B, T, C)"""

    def __init__(self, layer: nn.Module, N: int) -> None:
        super().__init__()
        self.layers = clones(layer, N)
        self.norm = LayerNorm(layer.size)

    def forward(self, x: Tensor, memory: Tensor, src_mask: Tensor | None,
                tgt_mask: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, memory, src_mask, tgt_mask)
        return self.norm(x)


# ── the two ends ──────────────────────────────────────────────────────────────────────────────────


class Embeddings(nn.Module):
    """y = lut[x]·√C: as large as the positions that are added to it.

    x integers (B, T) -> (B, T, C)
    """

    def __init__(self, d_model: int, vocab: int) -> None:
        super().__init__()
        self.lut = nn.Embedding(vocab, d_model)
        self.d_model = d_model

    def forward(self, x: Tensor) -> Tensor:
        return self.lut(x) * math.sqrt(self.d_model)


class PositionalEncoding(nn.Module):
    """y = dropout(x + pe), pe[t, 2i] = sin(t / 10000^(2i/C)), pe[t, 2i + 1] = cos(t /
    10000^(2i/C)).   x (B, T, C).

    pe (1, max_len, C) is a buffer: saved and moved with the model, never trained.   Source: section
    3.5.
    """

    def __init__(self, d_model: int, dropout: float, max_len: int = 5000) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        t = creation.arange(max_len).unsqueeze(1)                            # (max_len, 1)
        angle = t * (creation.arange(0, d_model, 2) * (-math.log(10000.0) / d_model)).exp()
        pe = creation.zeros(max_len, d_model)
        pe[:, 0::2] = angle.sin()
        pe[:, 1::2] = angle[:, :d_model // 2].cos()  # an odd C has one sine more
        self.register_buffer("pe", pe.unsqueeze(0))

    def forward(self, x: Tensor) -> Tensor:
        T, max_len = x.size(1), self.pe.size(1)
        if T > max_len:
            raise IndexRangeError(
                complaint("PositionalEncoding(x)", f"there are {max_len} positions, and x has {T}",
                          {"x": x}, f"Build it with max_len={T}."))
        return self.dropout(x + self.pe[:, :T])


class Generator(nn.Module):
    """ln p = log_softmax(proj(x)): each word's log-probability.   x (..., C) -> (..., V)"""

    def __init__(self, d_model: int, vocab: int) -> None:
        super().__init__()
        self.proj = nn.Linear(d_model, vocab)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.proj(x), dim=-1)


# ── the model ─────────────────────────────────────────────────────────────────────────────────────


class EncoderDecoder(nn.Module):
    """x = decode(encode(src), tgt); generator(x) are the log-probabilities of the words that follow
    tgt's.

    src integers (B, S), tgt integers (B, T), src_mask (B, 1, S), tgt_mask (B, T, T) -> x (B, T, C).
    The generator is left to the caller, because decoding needs it for the last position alone.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, src_embed: nn.Module,
                 tgt_embed: nn.Module, generator: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.src_embed, self.tgt_embed = src_embed, tgt_embed
        self.generator = generator

    def forward(self, src: Tensor, tgt: Tensor, src_mask: Tensor | None,
                tgt_mask: Tensor | None) -> Tensor:
        return self.decode(self.encode(src, src_mask), src_mask, tgt, tgt_mask)

    def encode(self, src: Tensor, src_mask: Tensor | None) -> Tensor:
        """What the decoder is to know of the source.   src (B, S) -> memory (B, S, C)"""
        check_words("src", src)
        return self.encoder(self.src_embed(src), src_mask)

    def decode(self, memory: Tensor, src_mask: Tensor | None, tgt: Tensor,
               tgt_mask: Tensor | None) -> Tensor:
        """memory (B, S, C), tgt (B, T) -> (B, T, C)"""
        check_words("tgt", tgt)
        return self.decoder(self.tgt_embed(tgt), memory, src_mask, tgt_mask)


def check_words(name: str, x: Tensor) -> None:
    """Raise ShapeError unless x is a batch of sequences."""
    if x.ndim != 2:
        raise ShapeError(complaint(f"EncoderDecoder({name})",
                                   f"{name} must have 2 dims, (batch, length)", {name: x},
                                   f"For one sequence, write {name}[None]."))


def make_model(src_vocab: int, tgt_vocab: int, N: int = 6, d_model: int = 512, d_ff: int = 2048,
               h: int = 8, dropout: float = 0.1) -> EncoderDecoder:
    """An EncoderDecoder with fresh weights: matrices drawn by Xavier's rule, biases as nn.Linear
    has them.

    src_vocab, tgt_vocab: how many words there are on each side. N: layers of each stack. d_model:
    width C, a multiple of h. d_ff: width F. h: heads. dropout: everywhere, in attention too; a
    probability. The defaults make the paper's base model.
    """
    attn = MultiHeadAttention(h, d_model, dropout)
    feed_forward = PositionwiseFeedForward(d_model, d_ff, dropout)
    position = PositionalEncoding(d_model, dropout)
    new = copy.deepcopy
    model = EncoderDecoder(
        Encoder(EncoderLayer(d_model, new(attn), new(feed_forward), dropout), N),
        Decoder(DecoderLayer(d_model, new(attn), new(attn), new(feed_forward), dropout), N),
        nn.Sequential(Embeddings(d_model, src_vocab), new(position)),
        nn.Sequential(Embeddings(d_model, tgt_vocab), new(position)),
        Generator(d_model, tgt_vocab))
    for p in model.parameters():  # without this, the clones of a stack would all start alike
        if p.dim() > 1:
            init.xavier_uniform_(p)
    return model


# ── its masks ─────────────────────────────────────────────────────────────────────────────────────


def padding_mask(x: Tensor, pad: int = 0) -> Tensor:
    """True where a word stands and no padding.   x integers (B, S) -> (B, 1, S)"""
    return (x != pad).unsqueeze(-2)


def subsequent_mask(size: int) -> Tensor:
    """True where position t may see position s: s <= t.   -> (1, T, T)"""
    t = creation.arange(size)
    return (t.unsqueeze(1) >= t).unsqueeze(0)


def target_mask(tgt: Tensor, pad: int = 0) -> Tensor:
    """Each position sees itself and the words before it, no padding.

    tgt integers (B, T) -> (B, T, T)
    """
    return padding_mask(tgt, pad) & subsequent_mask(tgt.size(-1)).to(tgt.device)
