"""Deep stacks of Transformer blocks: whether they learn depends on where the norm stands and what
the skip weighs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .. import autograd, nn
from ..core.errors import ValueRangeError
from ..nn import init
from .tiny import Block, TinyTransformer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..tensors import Tensor

ARRANGEMENTS = ("post", "pre", "admin", "deepnorm", "none")


class DeepBlock(Block):
    """Attention and a feed-forward layer, each a branch F with a way round it.

    arrangement:
      "post"      x = norm(x + F(x))           Vaswani et al. 2017, arXiv:1706.03762
      "pre"       x = x + F(norm(x))           Xiong et al. 2020, arXiv:2002.04745
      "admin"     x = norm(x·ω + F(x))         Liu et al. 2020, arXiv:2004.08249; ω (C,) is
                                               learned, `admin_` starts it
      "deepnorm"  x = norm(x·α + F(x))         Wang et al. 2022, arXiv:2203.00555; α = (2N)^¼,
                                               N the depth of the stack
      "none"      x = norm(F(x))

    Every matrix starts Xavier normal, every bias 0. "deepnorm" multiplies the matrices of value,
    out_proj, ff1 and ff2 by β = (8N)^−¼.   x (B, T, C) -> (B, T, C).
    """

    def __init__(self, d_model: int, n_heads: int, d_ff: int, depth: int, arrangement: str) -> None:
        super().__init__(d_model, n_heads, d_ff, residual=arrangement != "none")
        self.arrangement = arrangement
        self.skip1: Tensor | float
        self.skip2: Tensor | float
        if arrangement == "admin":
            self.skip1, self.skip2 = (nn.Parameter(self.norm1.weight.detach().clone())
                                      for _ in range(2))
        else:
            self.skip1 = self.skip2 = (2 * depth) ** 0.25 if arrangement == "deepnorm" else 1.0
        gain = (8 * depth) ** -0.25 if arrangement == "deepnorm" else 1.0
        for layer in (self.query, self.key, self.value, self.out_proj, self.ff1, self.ff2):
            init.xavier_normal_(layer.weight, 1.0 if layer in (self.query, self.key) else gain)
            init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, C) -> (B, T, C)"""
        x = self.around(x, self.attention, self.norm1, self.skip1)
        return self.around(x, self.feed_forward, self.norm2, self.skip2)

    def around(self, x: Tensor, branch: Callable[[Tensor], Tensor], norm: nn.Module,
               skip: Tensor | float) -> Tensor:
        """One branch, its norm and its way round, as `arrangement` says.

        x (B, T, C) -> (B, T, C)
        """
        if self.arrangement == "pre":
            return x + branch(norm(x))
        if self.arrangement == "post":
            return norm(x + branch(x))
        if self.arrangement == "none":
            return norm(branch(x))
        return norm(x * skip + branch(x))


class DeepTransformer(TinyTransformer):
    """TinyTransformer with blocks of any arrangement (see DeepBlock); after those of "pre" comes
    one more norm.

    characters, integers (B, T) -> logits (B, T, V), T <= context. The other options are
    TinyTransformer's. Give a model of arrangement "admin" a batch by `admin_` before it is trained.
    """

    def __init__(self, vocab_size: int = 65, context: int = 64, d_model: int = 64, n_heads: int = 2,
                 d_ff: int = 128, depth: int = 1, arrangement: str = "post") -> None:
        if arrangement not in ARRANGEMENTS:
            raise ValueRangeError(
                "DeepTransformer: arrangement must be one of "
                f"{', '.join(map(repr, ARRANGEMENTS))}, "
                f"got {arrangement!r}")
        super().__init__(vocab_size, context, d_model, n_heads, d_ff, depth)
        self.blocks = nn.ModuleList(
            [DeepBlock(d_model, n_heads, d_ff, depth, arrangement) for _ in range(depth)])
        if arrangement == "pre":
            self.blocks.append(nn.LayerNorm(d_model))


def admin_(model: DeepTransformer, characters: Tensor) -> list[float]:
    """ωᵢ = √(1 + Σ_{j<i} Var Fⱼ), i counting the branches from the input: each skip weighs what
    came before it.

    The variances are measured in one forward pass of `characters` (B, T) with every ω = 1; every
    entry of ωᵢ is the same. Returns the list of ω's. Raises ValueRangeError for a model of another
    arrangement.
    Source: Liu et al. 2020, arXiv:2004.08249, section 4.
    """
    if any(getattr(block, "arrangement", None) != "admin" for block in model.blocks):
        raise ValueRangeError("admin_(model, characters): only an Admin model has ω's to start\n"
                              '  Build it with DeepTransformer(arrangement="admin").')
    skips = [skip for block in model.blocks for skip in (block.skip1, block.skip2)]
    ends = [layer for block in model.blocks for layer in (block.out_proj, block.ff2)]
    variances = [1.0]
    hooks = [end.register_forward_hook(lambda layer, inputs, y: variances.append(y.var().item()))
             for end in ends]
    for skip in skips:
        init.ones_(skip)
    with autograd.no_grad():
        model(characters)
    for hook in hooks:
        hook.remove()
    omegas = [math.sqrt(sum(variances[:i + 1])) for i in range(len(skips))]
    for skip, omega in zip(skips, omegas):
        init.constant_(skip, omega)
    return omegas
