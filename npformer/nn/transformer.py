"""The encoder-decoder Transformer under PyTorch's names: its layers, their stacks, and the whole.

Masks mean the same in all of them: where a boolean mask is True, the key is NOT seen; a floating
one is added to the scores. Shapes are (T, B, C), with batch_first (B, T, C), without a batch (T,
C).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import devices, dtypes
from ..core.errors import ShapeError, ValueRangeError, complaint
from ..tensors import Tensor
from . import functional as F
from . import init
from .layers.basic import Dropout, Linear
from .layers.containers import ModuleList
from .layers.normalization import LayerNorm
from .module import Module
from .multihead import MultiheadAttention

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.devices import DeviceLike
    from ..core.dtypes import DType

# those that have a name; any function of one tensor will do
ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


class TransformerLayer(Module):
    """What the two kinds of layer share: their parts, and each sublayer's way round itself.

    x = norm(x + sublayer(x)), or with norm_first  x = x + sublayer(norm(x)).
    """

    attentions: tuple[str, ...] = ("self_attn",)

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: str | Callable[[Tensor], Tensor] = F.relu,
                 layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
                 bias: bool = True, device: DeviceLike | None = None,
                 dtype: DType | None = None) -> None:
        super().__init__()
        made: dict[str, Any] = dict(device=device, dtype=dtype)
        for name in self.attentions:
            setattr(self, name,
                    MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first,
                                       **made))
        self.linear1 = Linear(d_model, dim_feedforward, bias, **made)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **made)
        self.norm_first = norm_first
        sublayers = range(1, len(self.attentions) + 2)  # the attentions, and the feed-forward one
        for i in sublayers:
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps, bias=bias, **made))
        for i in sublayers:
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = activation_of(type(self).__name__, activation)

    def _residual(self, x, norm, sublayer):
        """x (T, B, C) -> (T, B, C)"""
        return x + sublayer(norm(x)) if self.norm_first else norm(x + sublayer(x))

    def _feed_forward(self, x):
        """linear2(activation(linear1(x))).   x (T, B, C) -> (T, B, F) -> (T, B, C)"""
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


def activation_of(call, activation):
    """The function that `activation` names, or is."""
    if callable(activation):
        return activation
    if activation not in ACTIVATIONS:
        raise ValueRangeError(
            f"{call}: activation must be {', '.join(map(repr, ACTIVATIONS))} or a function, "
            f"got {activation!r}")
    return ACTIVATIONS[activation]


class TransformerEncoderLayer(TransformerLayer):
    """x = norm1(x + self_attn(x)); x = norm2(x + linear2(activation(linear1(x)))).

    src (T, B, C) -> (T, B, C). d_model: C, a multiple of nhead. dim_feedforward: F. dropout: of the
    attention's weights, inside the feed-forward part and of both branches. activation: "relu",
    "gelu", or a function. norm_first:
    x = x + sublayer(norm(x)) instead. bias: whether the linear layers and the norms have one.
    Source: Vaswani et al. 2017, arXiv:1706.03762, figure 1; norm_first: Xiong et al. 2020,
    arXiv:2002.04745.
    """

    def forward(self, src: Tensor, src_mask: Tensor | None = None,
                src_key_padding_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """src_mask (T, T) or (B·H, T, T), src_key_padding_mask (B, T).

        is_causal: see MultiheadAttention.
        """
        x = self._residual(src, self.norm1,
                           lambda x: self._sa_block(x, src_mask, src_key_padding_mask, is_causal))
        return self._residual(x, self.norm2, self._ff_block)

    def _sa_block(self, x, attn_mask, key_padding_mask, is_causal=False):
        y, _ = self.self_attn(x, x, x, key_padding_mask, False, attn_mask, is_causal=is_causal)
        return self.dropout1(y)

    def _ff_block(self, x):
        return self.dropout2(self._feed_forward(x))


class TransformerDecoderLayer(TransformerLayer):
    """x = norm1(x + self_attn(x)); x = norm2(x + multihead_attn(x, memory)); x = norm3(x +
    feed_forward(x)).

    tgt (T, B, C), memory (S, B, C) -> (T, B, C). The options are those of TransformerEncoderLayer.
    Source: Vaswani et al. 2017, arXiv:1706.03762, figure 1.
    """

    attentions = ("self_attn", "multihead_attn")

    def forward(self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
                memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
                memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool = False,
                memory_is_causal: bool = False) -> Tensor:
        """tgt_mask (T, T), memory_mask (T, S), or each with B·H before;
        the padding masks (B, T) and (B, S)."""
        x = self._residual(tgt, self.norm1,
                           lambda x: self._sa_block(x, tgt_mask, tgt_key_padding_mask,
                                                    tgt_is_causal))
        x = self._residual(x, self.norm2,
                           lambda x: self._mha_block(x, memory, memory_mask,
                                                     memory_key_padding_mask,
                                                     memory_is_causal))
        return self._residual(x, self.norm3, self._ff_block)

    _sa_block: Callable[..., Tensor] = TransformerEncoderLayer._sa_block

    def _mha_block(self, x, mem, attn_mask, key_padding_mask, is_causal=False):
        y, _ = self.multihead_attn(x, mem, mem, key_padding_mask, False, attn_mask,
                                   is_causal=is_causal)
        return self.dropout2(y)

    def _ff_block(self, x):
        return self.dropout3(self._feed_forward(x))


# ── stacks ────────────────────────────────────────────────────────────────────────────────────────


class TransformerStack(Module):
    """What both stacks share: copies of a layer, one after another, and a norm at the end, if
    there is one."""

    def __init__(self, layer, num_layers, norm):
        super().__init__()
        if not isinstance(num_layers, int) or num_layers < 0:
            raise ValueRangeError(
                f"{type(self).__name__}: num_layers must be an integer >= 0, got {num_layers!r}")
        self.layers = ModuleList([copy.deepcopy(layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def _through(self, x, *args):
        """x through all layers, each of which gets the same `args`."""
        for layer in self.layers:
            x = layer(x, *args)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(TransformerStack):
    """norm(layer_N(... layer_1(src))), the layers being copies of encoder_layer.   src (T, B, C) ->
    (T, B, C).

    norm: a module, or None. All copies start with the same weights. enable_nested_tensor and
    mask_check are taken and ignored: they choose among ways to compute the same. (One difference:
    in evaluation PyTorch's nested tensors give zeros at padded places, which nobody should read.)
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None,
                 enable_nested_tensor: bool = True, mask_check: bool = True) -> None:
        super().__init__(encoder_layer, num_layers, norm)

    def forward(self, src: Tensor, mask: Tensor | None = None,
                src_key_padding_mask: Tensor | None = None,
                is_causal: bool | None = None) -> Tensor:
        """is_causal: every query t sees src 0 to t; beside a mask it says that this is one.

        None: as the mask says.
        """
        return self._through(src, mask, src_key_padding_mask, bool(is_causal))


class TransformerDecoder(TransformerStack):
    """norm(layer_N(... layer_1(tgt, memory), memory)), the layers being copies of decoder_layer.

    tgt (T, B, C), memory (S, B, C) -> (T, B, C). norm: a module, or None. All copies start with the
    same weights.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
                memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
                memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool | None = None,
                memory_is_causal: bool = False) -> Tensor:
        """The masks are those of TransformerDecoderLayer, the same for each layer.

        tgt_is_causal None: as tgt_mask.
        """
        return self._through(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask,
                             memory_key_padding_mask,
                             bool(tgt_is_causal), bool(memory_is_causal))


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────


class Transformer(Module):
    """decoder(tgt, encoder(src)).   src (S, B, C), tgt (T, B, C) -> (T, B, C).

    d_model: C, a multiple of nhead. num_encoder_layers, num_decoder_layers: depth. custom_encoder,
    custom_decoder: modules to use in place of the stacks. The other options are those of
    TransformerEncoderLayer. Both stacks end in a LayerNorm. Every matrix starts Xavier uniform.
    Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6,
                 num_decoder_layers: int = 6, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: str | Callable[[Tensor], Tensor] = F.relu,
                 custom_encoder: Module | None = None, custom_decoder: Module | None = None,
                 layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
                 bias: bool = True, device: DeviceLike | None = None,
                 dtype: DType | None = None) -> None:
        super().__init__()
        made = dict(device=device, dtype=dtype)
        options = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps,
                   batch_first, norm_first, bias)

        def stack(kind, layer, depth):
            return kind(layer(*options, **made), depth,
                        LayerNorm(d_model, layer_norm_eps, bias=bias, **made))
        self.encoder = (stack(TransformerEncoder, TransformerEncoderLayer, num_encoder_layers)
                        if custom_encoder is None else custom_encoder)
        self.decoder = (stack(TransformerDecoder, TransformerDecoderLayer, num_decoder_layers)
                        if custom_decoder is None else custom_decoder)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every matrix anew."""
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)

    def forward(self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None,
                tgt_mask: Tensor | None = None, memory_mask: Tensor | None = None,
                src_key_padding_mask: Tensor | None = None,
                tgt_key_padding_mask: Tensor | None = None,
                memory_key_padding_mask: Tensor | None = None, src_is_causal: bool | None = None,
                tgt_is_causal: bool | None = None, memory_is_causal: bool = False) -> Tensor:
        """Masks for the encoder (src_), for the decoder among themselves (tgt_) and towards the
        encoder (memory_)."""
        self._check(src, tgt)
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask,
                              is_causal=src_is_causal)
        return self.decoder(tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                            tgt_key_padding_mask=tgt_key_padding_mask,
                            memory_key_padding_mask=memory_key_padding_mask,
                            tgt_is_causal=tgt_is_causal, memory_is_causal=memory_is_causal)

    def _check(self, src, tgt):
        """Raise ShapeError where src and tgt do not fit each other or the model."""
        call, operands = "Transformer(src, tgt)", {"src": src, "tgt": tgt}
        if src.ndim not in (2, 3) or tgt.ndim != src.ndim:
            raise ShapeError(
                complaint(call, "both must have 3 dims, or both 2 (no batch)", operands))
        batch = 0 if self.batch_first else 1
        if src.ndim == 3 and src.shape[batch] != tgt.shape[batch]:
            form = "(B, T, C)" if self.batch_first else "(T, B, C)"
            raise ShapeError(complaint(call, f"both must have one batch (dim {batch})", operands,
                                       f"Shapes are {form} with batch_first={self.batch_first}."))
        if not src.shape[-1] == tgt.shape[-1] == self.d_model:
            raise ShapeError(
                complaint(call, f"both must be of width d_model, {self.d_model}", operands))

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: DeviceLike | None = None,
                                        dtype: DType | None = None) -> Tensor:
        """The causal mask (sz, sz) that is added to scores: 0 where query t may see key s, s <= t,
        else −∞."""
        module = devices.module_for(device)
        dtype = dtypes.as_dtype(dtype) or dtypes.get_default_dtype()
        return Tensor.wrap(np.triu(module.full((sz, sz), -np.inf, dtype=dtype), 1))
