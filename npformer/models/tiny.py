"""TinyTransformer: characters in, the next character's logits out.

One block, as it is taught first, or a stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import creation, nn
from ..core.errors import IndexRangeError, ShapeError, ValueRangeError, complaint
from ..nn import functional as F
from ..nn.layers.basic import require_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..nn.state import IncompatibleKeys
    from ..tensors import Tensor

FORMS = (True, False, "deleted")                   # what `residual` may be


class Block(nn.Module):
    """x = norm1(x + attention(x)); x = norm2(x + feed_forward(x)): a Transformer block with the
    norms after the sums.

    x (B, T, C) -> (B, T, C).   Source: Vaswani et al. 2017, arXiv:1706.03762, figure 1.
    """

    def __init__(self, d_model: int, n_heads: int, d_ff: int, residual: bool | str) -> None:
        super().__init__()
        self.n_heads, self.residual = n_heads, residual
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)
        self.norm1 = nn.LayerNorm(d_model)
        self.ff1 = nn.Linear(d_model, d_ff)
        self.ff2 = nn.Linear(d_ff, d_model)
        self.norm2 = nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, C) -> (B, T, C)"""
        output = self.attention(x)                 # (B, T, C)
        if self.residual is True:
            x = x + output
        elif self.residual is False:
            x = output
        x = self.norm1(x)  # "deleted" comes here without the attention's output
        output = self.feed_forward(x)              # (B, T, C)
        x = output if self.residual is False else x + output
        return self.norm2(x)

    def attention(self, x: Tensor) -> Tensor:
        """Each position gathers from itself and those before it.   x (B, T, C) -> (B, T, C)"""
        B, T, C = x.shape
        Q = self.query(x).view(B, T, self.n_heads, -1).transpose(1, 2)       # (B, H, T, K)
        K = self.key(x).view(B, T, self.n_heads, -1).transpose(1, 2)         # (B, H, T, K)
        V = self.value(x).view(B, T, self.n_heads, -1).transpose(1, 2)       # (B, H, T, K)
        output = F.scaled_dot_product_attention(Q, K, V, is_causal=True)     # (B, H, T, K)
        output = output.transpose(1, 2).reshape(B, T, C)                     # (B, T, C)
        return self.out_proj(output)

    def feed_forward(self, x: Tensor) -> Tensor:
        """ff2(relu(ff1(x))).   x (B, T, C) -> (B, T, F) -> (B, T, C)"""
        return self.ff2(F.relu(self.ff1(x)))


class TinyTransformer(nn.Module):
    """logits = output_head(blocks(char_embedding(characters) + pos_embedding(places))).

    vocab_size: how many characters there are, V. context: the longest sequence. d_model: width C, a
    multiple of n_heads. d_ff: width F of the feed-forward layer. depth: how many blocks, >= 1.
    residual, at a block's additions:
      True       x = x + F(x)
      False      x = F(x): the skip is gone, the branch stays
      "deleted"  the line `x = x + output` after attention is deleted: what attention
                 computes goes nowhere, so no gradient reaches query, key, value and out_proj. The
                 feed-forward layer's addition stays.

    characters, integers (B, T) -> logits (B, T, V), T <= context.
    """

    def __init__(self, vocab_size: int = 65, context: int = 64, d_model: int = 64, n_heads: int = 2,
                 d_ff: int = 128, depth: int = 1, residual: bool | str = True) -> None:
        super().__init__()
        require_size("TinyTransformer", least=1, vocab_size=vocab_size, context=context,
                     d_model=d_model,
                     n_heads=n_heads, d_ff=d_ff, depth=depth)
        check_options(d_model, n_heads, residual)
        self.context = context
        self.char_embedding = nn.Embedding(vocab_size, d_model)
        self.pos_embedding = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList([Block(d_model, n_heads, d_ff, residual) for _ in range(depth)])
        self.output_head = nn.Linear(d_model, vocab_size)

    def forward(self, characters: Tensor) -> Tensor:
        """characters (B, T) -> logits (B, T, V)"""
        if characters.ndim != 2 or not characters.shape[1]:
            raise ShapeError(complaint(
                "TinyTransformer(characters)",
                "characters must have 2 dims, (batch, time), and time 1 or more",
                {"characters": characters}, "For one sequence, write characters[None]."))
        T = characters.shape[1]
        if T > self.context:
            raise IndexRangeError(complaint(
                "TinyTransformer(characters)",
                f"the model sees at most {self.context} characters at once, not {T}",
                {"characters": characters},
                f"Pass characters[:, -{self.context}:], or build it with context={T}."))
        places = creation.arange(T, device=characters.device)
        x = self.char_embedding(characters) + self.pos_embedding(places)     # (B, T, C)
        for block in self.blocks:
            x = block(x)                           # (B, T, C)
        return self.output_head(x)                 # (B, T, V)

    def load_state_dict(self, state_dict: Mapping[str, Any],
                        strict: bool = True) -> IncompatibleKeys:
        """As every module's. A model of one block also takes the names of the same model written
        down without a Block: `query.weight` for `blocks.0.query.weight`."""
        if len(self.blocks) == 1:
            state_dict = {name if name.partition(".")[0] in self._modules
                          else f"blocks.0.{name}": value
                          for name, value in state_dict.items()}
        return super().load_state_dict(state_dict, strict)


def check_options(d_model, n_heads, residual):
    """Raise ValueRangeError where the options of TinyTransformer make no model."""
    if d_model % n_heads:
        raise ValueRangeError(
            f"TinyTransformer: d_model must be a multiple of n_heads, to be shared out among "
            "heads\n"
            f"  d_model {d_model}\n  n_heads {n_heads}")
    if residual is not True and residual is not False and residual != "deleted":
        raise ValueRangeError(
            f"TinyTransformer: residual must be True, False or 'deleted', got {residual!r}")
