"""MultiheadAttention, with PyTorch's parameters and options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.errors import ShapeError, ValueRangeError, complaint
from ..functions.shaping import transpose
from . import functional as F
from . import init
from .functional.checks import require_probability
from .layers.basic import Linear, require_size
from .module import Module
from .parameter import empty

if TYPE_CHECKING:
    from ..core.devices import DeviceLike
    from ..core.dtypes import DType
    from ..tensors import Tensor

PROJECTIONS = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


class MultiheadAttention(Module):
    """concat(head₁ ... head_H)·W_oᵀ + b_o, headᵢ = attention(q·W_qᵢᵀ, k·W_kᵢᵀ, v·W_vᵢᵀ).

    query (T, B, C), key (S, B, kdim), value (S, B, vdim) -> output (T, B, C) and weights (B, T, S);
    with batch_first, B comes before T and S; without a batch, B is left out everywhere. embed_dim:
    C, a multiple of num_heads. dropout: of the attention weights, 0 <= dropout <= 1, default 0.
    kdim, vdim: default C. add_bias_kv: a learned key and value beside the given ones;
    add_zero_attn: one of zeros. Both are seen by every query, whatever the masks say.
    in_proj_weight (3C, C) holds W_q, W_k and W_v one above the other; they stand alone where kdim
    or vdim is not C.
    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
                 add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
                 vdim: int | None = None, batch_first: bool = False,
                 device: DeviceLike | None = None, dtype: DType | None = None) -> None:
        super().__init__()
        check_options(embed_dim, num_heads, dropout)
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        one = self.kdim == self.vdim == embed_dim
        parts = {name: (embed_dim, width)
                 for name, width in zip(PROJECTIONS, (embed_dim, self.kdim, self.vdim))}
        shapes = {"in_proj_weight": (3 * embed_dim, embed_dim) if one else None,
                  **(dict.fromkeys(PROJECTIONS) if one else parts),
                  "in_proj_bias": (3 * embed_dim,) if bias else None,
                  **dict.fromkeys(("bias_k", "bias_v"), (1, 1, embed_dim) if add_bias_kv else None)}
        for name, shape in shapes.items():
            self.register_parameter(name, None if shape is None
                                    else empty(*shape, device=device, dtype=dtype))
        self.out_proj = Linear(embed_dim, embed_dim, bias, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projections of query, key and value anew (Xavier), and set their and the
        output's bias to 0."""
        for name in ("in_proj_weight", *PROJECTIONS):
            if getattr(self, name) is not None:
                init.xavier_uniform_(getattr(self, name))
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(self, query: Tensor, key: Tensor, value: Tensor,
                key_padding_mask: Tensor | None = None, need_weights: bool = True,
                attn_mask: Tensor | None = None, average_attn_weights: bool = True,
                is_causal: bool = False) -> tuple[Tensor, Tensor | None]:
        """(output, weights); weights is None without need_weights, (B, H, T, S) without
        average_attn_weights.

        Where a boolean mask is True, the key is NOT seen; a floating one is added to the scores.
        key_padding_mask (B, S); attn_mask (T, S) or (B·H, T, S). is_causal: query t sees keys 0 to
        t; beside an attn_mask it says that this is one. A query that sees no key gets weights of 0.
        The masks are the same with batch_first.
        """
        turned = self.batch_first and query.ndim == 3
        if turned:
            check_batch_first(query, key, value)
            query, key, value = (transpose(x, 0, 1) for x in (query, key, value))
        y, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight,
            self.in_proj_bias, self.bias_k,
            self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight,
            self.out_proj.bias, self.training,
            key_padding_mask, need_weights, attn_mask, self.in_proj_weight is None,
            *(getattr(self, name) for name in PROJECTIONS),
            average_attn_weights=average_attn_weights,
            is_causal=is_causal)
        return transpose(y, 0, 1) if turned else y, weights


def check_options(embed_dim, num_heads, dropout):
    """Raise ValueRangeError where the options of MultiheadAttention make no layer."""
    require_size("MultiheadAttention", least=1, embed_dim=embed_dim, num_heads=num_heads)
    if embed_dim % num_heads:
        near = [n for n in range(1, embed_dim + 1) if embed_dim % n == 0]
        raise ValueRangeError(
            "MultiheadAttention: embed_dim must be a multiple of num_heads, to be shared out among "
            f"heads\n  embed_dim {embed_dim}\n  num_heads {num_heads}\n"
            f"  {embed_dim} can be shared by {', '.join(map(str, near))}.")
    require_probability("MultiheadAttention(dropout)", dropout)


def check_batch_first(query, key, value):
    """Raise ShapeError, with the shapes as they were given, where they cannot be turned."""
    if not (key.ndim == value.ndim == 3 and query.shape[0] == key.shape[0]
            and key.shape[:2] == value.shape[:2]):
        rule = (
            "all three must be (B, length, width) with one batch B, and key and value must agree "
            "in length and "
            "batch")
        raise ShapeError(complaint("MultiheadAttention(query, key, value), batch_first=True", rule,
                                   {"query": query, "key": key, "value": value}))
