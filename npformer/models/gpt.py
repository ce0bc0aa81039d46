"""GPT-2: tokens in, the next token's logits out.

Its names and weights are laid out as GPT-2's are published.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import creation, nn
from ..core.errors import IndexRangeError, ShapeError, ValueRangeError, complaint
from ..functions import cat
from ..nn import functional as F
from ..nn import init
from . import published, sampling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..core.random_numbers import Generator
    from ..files import StrPath
    from ..nn.state import IncompatibleKeys
    from ..tensors import Tensor


class Conv1D(nn.Module):
    """y = x·W + b: a linear layer whose weight is (in, out), as GPT-2 writes it down.

    x (..., in) -> (..., out)
    """

    def __init__(self, width_in: int, width_out: int, std: float, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(init.normal_(creation.empty(width_in, width_out), std=std))
        self.register_parameter("bias", nn.Parameter(creation.zeros(width_out)) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.T, self.bias)

    def extra_repr(self) -> str:
        return f"{', '.join(map(str, self.weight.shape))}, bias={self.bias is not None}"


class Cache:
    """The keys and values (B, H, S, K) that one attention has computed for the tokens so far."""

    def __init__(self) -> None:
        self.k: Tensor | None = None
        self.v: Tensor | None = None
        self.length = 0

    def extended(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, with those of the new tokens at the end;
        they are kept for the next call."""
        if self.k is not None and self.v is not None:
            k, v = cat([self.k, k], 2), cat([self.v, v], 2)
        self.k, self.v, self.length = k, v, k.shape[2]
        return k, v


class Attention(nn.Module):
    """c_proj(attention(q, k, v)), (q, k, v) = c_attn(x); each token sees itself and those before
    it.

    x (B, T, C) -> (B, T, C). With a cache, x are the newest of S tokens, and the cache brings the
    others' keys and values.   Source: Radford et al. 2019, "Language Models are Unsupervised
    Multitask Learners".
    """

    def __init__(self, d_model: int, n_head: int, dropout: float, bias: bool, depth: int) -> None:
        super().__init__()
        self.n_head, self.dropout = n_head, dropout
        self.c_attn = Conv1D(d_model, 3 * d_model, 0.02, bias)
        self.c_proj = Conv1D(d_model, d_model, 0.02 / math.sqrt(2 * depth), bias)
        self.resid_dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        B, T, C = x.shape
        q, k, v = (part.view(B, T, self.n_head, -1).transpose(1, 2)          # (B, H, T, K)
                   for part in self.c_attn(x).chunk(3, dim=-1))
        if cache is not None:
            k, v = cache.extended(k, v)                                      # (B, H, S, K)
        places = creation.arange(k.shape[2], device=x.device)
        seen = places[-T:, None] >= places                                   # (T, S)
        y = F.scaled_dot_product_attention(q, k, v, seen, self.dropout if self.training else 0.0)
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).reshape(B, T, C)))


class MLP(nn.Module):
    """c_proj(gelu(c_fc(x))), with the tanh form of GELU.   x (B, T, C) -> (B, T, F) -> (B, T, C)"""

    def __init__(self, d_model: int, d_ff: int, dropout: float, bias: bool, depth: int) -> None:
        super().__init__()
        self.c_fc = Conv1D(d_model, d_ff, 0.02, bias)
        self.c_proj = Conv1D(d_ff, d_model, 0.02 / math.sqrt(2 * depth), bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")))


class Block(nn.Module):
    """x = x + attn(ln_1(x)); x = x + mlp(ln_2(x)): the norms stand before the branches.

    x (B, T, C) -> (B, T, C)
    """

    def __init__(self, d_model: int, n_head: int, d_ff: int, dropout: float, bias: bool, eps: float,
                 depth: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(d_model, eps, bias=bias)
        self.attn = Attention(d_model, n_head, dropout, bias, depth)
        self.ln_2 = nn.LayerNorm(d_model, eps, bias=bias)
        self.mlp = MLP(d_model, d_ff, dropout, bias, depth)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), cache)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """logits = ln_f(blocks(wte(ids) + wpe(places))) · wteᵀ.

    vocab_size: how many tokens there are, V. context: the longest sequence. n_layer: blocks, >= 1.
    n_head: heads. d_model: width C, a multiple of n_head. dropout: probability, 0 <= p < 1. bias:
    whether layers and norms have one. d_ff: width F of the feed-forward layers, 4·C unless given.
    eps: of the norms. The defaults make GPT-2 (124M).

    ids, integers (B, T) -> logits (B, T, V), T <= context. Weights start normal with std 0.02;
    those that end a branch are smaller by √(2·n_layer), because so many branches add up. The head
    is tied: it is wte's own weight.
    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3.
    """

    def __init__(self, vocab_size: int = 50257, context: int = 1024, n_layer: int = 12,
                 n_head: int = 12, d_model: int = 768, dropout: float = 0.0, bias: bool = True,
                 d_ff: int | None = None, eps: float = 1e-5) -> None:
        super().__init__()
        check_options(n_layer, n_head, d_model)
        self.context = context
        d_ff = 4 * d_model if d_ff is None else d_ff
        self.wte = nn.Embedding(vocab_size, d_model)
        self.wpe = nn.Embedding(context, d_model)
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList(
            [Block(d_model, n_head, d_ff, dropout, bias, eps, n_layer) for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(d_model, eps, bias=bias)
        for table in (self.wte, self.wpe):
            init.normal_(table.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, T) -> logits (B, T, V)"""
        return self.logits(self.hidden(ids))

    def hidden(self, ids: Tensor, cache: list[Cache] | None = None) -> Tensor:
        """What the blocks make of ids: (B, T) -> (B, T, C). cache: see `new_cache`."""
        before = cache[0].length if cache else 0
        self.check_ids(ids, before)
        places = creation.arange(before, before + ids.shape[1], device=ids.device)
        x = self.drop(self.wte(ids) + self.wpe(places))                      # (B, T, C)
        for n, block in enumerate(self.h):
            x = block(x, cache[n] if cache else None)                        # (B, T, C)
        return self.ln_f(x)

    def logits(self, x: Tensor) -> Tensor:
        """x·Wᵀ, W the table of the token embedding.   x (..., C) -> (..., V)"""
        return F.linear(x, self.wte.weight)

    def new_cache(self) -> list[Cache]:
        """An empty cache: hidden(ids, cache) adds ids' keys and values, so that the next call needs
        only what is new.

        hidden(ids[:, :5], cache), then hidden(ids[:, 5:], cache), give the two parts of
        hidden(ids).
        """
        return [Cache() for _ in self.h]

    def check_ids(self, ids: Tensor, before: int) -> None:
        """Raise where ids are no batch of sequences, or reach past the context."""
        if ids.ndim != 2:
            raise ShapeError(
                complaint("GPT(ids)", "ids must have 2 dims, (batch, time)", {"ids": ids},
                          "For one sequence, write ids[None]."))
        length = before + ids.shape[1]
        if length > self.context:
            raise IndexRangeError(complaint(
                "GPT(ids)", f"the model sees at most {self.context} tokens at once, not {length}",
                {"ids": ids},
                f"Pass ids[:, -{self.context}:], or build it with context={length}."))

    def generate(self, ids: Tensor, max_new_tokens: int, temperature: float = 1.0,
                 top_k: int | None = None, top_p: float | None = None,
                 generator: Generator | None = None, use_cache: bool = True) -> Tensor:
        """ids with max_new_tokens more, each drawn from softmax(logits / temperature) given those
        before it.

        ids (B, T) -> (B, T + max_new_tokens). temperature: >= 0; 0 takes the likeliest token.
        top_k: draw among the k likeliest. top_p: among the fewest that have this probability
        together, 0 < top_p <= 1. generator: an npf.Generator, default that of manual_seed.
        use_cache: keep keys and values, so that a step costs one token; the draws are the same.
        Where the text outgrows the context, each step sees its last `context` tokens, numbered
        anew, and costs a whole pass. Dropout is off. No graph is recorded.
        """
        return sampling.generate(self, ids, max_new_tokens, temperature, top_k, top_p, generator,
                                 use_cache)

    def load_state_dict(self, state_dict: Mapping[str, Any],
                        strict: bool = True) -> IncompatibleKeys:
        """As every module's. Also takes the other forms in which GPT-2's weights go round: with
        `transformer.` before each name, with the head a second time (lm_head.weight), with the
        causal masks (attn.bias, attn.masked_bias)."""
        return super().load_state_dict(published.plain(state_dict), strict)

    @classmethod
    def from_safetensors(cls, path: StrPath, n_head: int | None = None,
                         dropout: float | None = None) -> GPT:
        """The GPT-2 in a safetensors file, or in `model.safetensors` in a folder, in evaluation
        mode.

        A config.json beside it says what the model is; without one the shapes do, with heads 64
        wide as in every published GPT-2. n_head, dropout: where given, in place of what was found.
        dtype: the file's; half precision becomes float32. Raises InputError where it cannot be read
        or is no GPT-2, ShapeError naming all entries that are missing or of the wrong shape.
        """
        weights = published.read(path)
        options = published.options(path, weights, n_head=n_head, dropout=dropout)
        model = cls(**options).to(published.dtype_of(weights))
        try:
            model.load_state_dict(weights)
        except ShapeError as error:
            raise ShapeError(f"{path} does not hold the GPT-2 that it should.\n  {error}") from None
        return model.eval()


def check_options(n_layer: int, n_head: int, d_model: int) -> None:
    """Raise ValueRangeError where the options of GPT make no model."""
    if n_head < 1 or d_model % n_head:
        raise ValueRangeError(
            "GPT: d_model must be a multiple of n_head, to be shared out among heads\n"
            f"  d_model {d_model}\n  n_head {n_head}")
    if n_layer < 1:
        raise ValueRangeError(f"GPT: n_layer must be an integer >= 1, got {n_layer!r}")
