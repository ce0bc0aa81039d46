"""The Vision Transformer: an image in, its class out. Where it looked, and what that was worth, can
be kept and shown.

Shapes: B batch, N tokens (the class token, then the patches), C width (embed_dim), H heads, K = C /
H.
Source: Dosovitskiy et al. 2020, arXiv:2010.11929. The parts bear the names of the usual PyTorch
models, as in `timm`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import creation, nn
from ..core import devices
from ..core.errors import GraphError, ShapeError, ValueRangeError, complaint
from ..functions import cat
from ..nn import init

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..tensors import Tensor


class PatchEmbed(nn.Module):
    """Each patch of the image through one linear layer, written as a convolution that steps from
    patch to patch.

    image (B, in_chans, height, width) -> (B, N − 1, C), row by row. img_size: height and width,
    multiples of patch_size; each a number, or two.
    """

    def __init__(self, img_size: int | tuple[int, int] = 224,
                 patch_size: int | tuple[int, int] = 16, in_chans: int = 3,
                 embed_dim: int = 768) -> None:
        super().__init__()
        self.img_size, self.patch_size = both_sides(img_size), both_sides(patch_size)
        if any(side % patch for side, patch in zip(self.img_size, self.patch_size)):
            raise ValueRangeError("PatchEmbed(img_size, patch_size): patches must fill the image\n"
                                  f"  img_size {self.img_size}\n  patch_size {self.patch_size}")
        self.in_chans = in_chans
        self.grid_size = tuple(side // patch for side, patch in zip(self.img_size, self.patch_size))
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.proj = nn.Conv2d(in_chans, embed_dim, self.patch_size, self.patch_size)

    def forward(self, x: Tensor) -> Tensor:
        wanted = (self.in_chans, *self.img_size)
        if x.ndim != 4 or tuple(x.shape[1:]) != wanted:
            raise ShapeError(
                complaint("PatchEmbed(x)", f"x must be (batch, channels, height, width) = (B, "
                          f"{', '.join(map(str, wanted))})", {"x": x},
                          "For one image, write x[None]; for grey ones without channels, x[:, "
                          "None]."))
        return self.proj(x).flatten(2).transpose(1, 2)                       # (B, N − 1, C)


def both_sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """(size, size), or size itself if it is two numbers already."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


class Attention(nn.Module):
    """y = proj(softmax(q·kᵀ·scale)·v), q, k, v the thirds of qkv(x).   x (B, N, C) -> (B, N, C).

    num_heads: C is a multiple of it. qk_scale: 1/√K unless given. attn_drop, proj_drop:
    probabilities of dropping, of the weights and of the output. After forward(x,
    register_hook=True), attention_map (B, H, N, N) holds the weights, and once a backward pass has
    come through, attn_gradients holds their gradient.
    """

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = False,
                 qk_scale: float | None = None, attn_drop: float = 0.0,
                 proj_drop: float = 0.0) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueRangeError(
                "Attention(dim, num_heads): dim must be a multiple of num_heads, to be shared out "
                f"among heads\n  dim {dim}\n  num_heads {num_heads}")
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5 if qk_scale is None else qk_scale
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.attention_map: Tensor | None = None
        self.attn_gradients: Tensor | None = None

    def forward(self, x: Tensor, register_hook: bool = False) -> Tensor:
        B, N, C = x.shape
        # (3, B, H, N, K)
        qkv = self.qkv(x).view(B, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv                                                        # (B, H, N, K) each
        attn = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)        # (B, H, N, N)
        attn = self.attn_drop(attn)
        if register_hook:
            self.attention_map, self.attn_gradients = attn, None
            if attn.requires_grad:
                attn.register_hook(self.save_attn_gradients)
        y = (attn @ v).transpose(1, 2).reshape(B, N, C)                      # (B, N, C)
        return self.proj_drop(self.proj(y))

    def save_attn_gradients(self, g: Tensor) -> None:
        """The hook on the weights: keeps their gradient, which is gone otherwise, and passes it on
        as it is."""
        self.attn_gradients = g


class Mlp(nn.Module):
    """y = drop(fc2(drop(act(fc1(x))))), for each token alone.   x (..., in_features) -> (...,
    out_features).

    hidden_features, out_features: in_features unless given. act_layer: makes the activation. drop:
    a probability.
    """

    def __init__(self, in_features: int, hidden_features: int | None = None,
                 out_features: int | None = None, act_layer: Callable[[], nn.Module] = nn.GELU,
                 drop: float = 0.0) -> None:
        super().__init__()
        hidden_features = hidden_features or in_features
        self.fc1 = nn.Linear(in_features, hidden_features)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden_features, out_features or in_features)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.act(self.fc1(x)))
        return self.drop(self.fc2(x))


class Block(nn.Module):
    """x = x + attn(norm1(x)); x = x + mlp(norm2(x)).   x (B, N, C) -> (B, N, C)"""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = False,
                 drop: float = 0.0, attn_drop: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, qkv_bias, attn_drop=attn_drop, proj_drop=drop)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop=drop)

    def forward(self, x: Tensor, register_hook: bool = False) -> Tensor:
        x = x + self.attn(self.norm1(x), register_hook)
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """logits = head(norm(blocks([cls_token, patch_embed(image)] + pos_embed))), of the class token
    alone.

    img_size, patch_size, in_chans: see PatchEmbed. num_classes: how many logits. embed_dim: width
    C, a multiple of num_heads. depth: blocks. mlp_ratio: the hidden width of the Mlp, in widths C.
    drop_rate, attn_drop_rate: probabilities of dropping, of outputs and of attention's weights. The
    defaults make ViT-B/16.

    image (B, in_chans, height, width) -> logits (B, num_classes). register_hook: every block's
    attention keeps its map and, after the backward pass, the map's gradient (see Attention).
    """

    def __init__(self, img_size: int | tuple[int, int] = 224,
                 patch_size: int | tuple[int, int] = 16, in_chans: int = 3, num_classes: int = 1000,
                 embed_dim: int = 768, depth: int = 12, num_heads: int = 12, mlp_ratio: float = 4.0,
                 qkv_bias: bool = True, drop_rate: float = 0.0,
                 attn_drop_rate: float = 0.0) -> None:
        super().__init__()
        if depth < 1:
            raise ValueRangeError(
                f"VisionTransformer: depth must be an integer >= 1, got {depth!r}")
        self.patch_embed = PatchEmbed(img_size, patch_size, in_chans, embed_dim)
        self.cls_token = nn.Parameter(creation.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(
            creation.zeros(1, 1 + self.patch_embed.num_patches, embed_dim))
        self.pos_drop = nn.Dropout(drop_rate)
        self.blocks = nn.ModuleList(
            [Block(embed_dim, num_heads, mlp_ratio, qkv_bias, drop_rate, attn_drop_rate)
             for _ in range(depth)])
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Linear(embed_dim, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights anew: linear layers by Xavier's rule, their biases 0;
        class token and places with std 0.02."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    init.zeros_(module.bias)
        for token in (self.cls_token, self.pos_embed):
            init.trunc_normal_(token, std=0.02)

    def forward(self, image: Tensor, register_hook: bool = False) -> Tensor:
        patches = self.patch_embed(image)                                    # (B, N − 1, C)
        cls = self.cls_token.expand(len(image), -1, -1)                      # (B, 1, C)
        x = self.pos_drop(cat([cls, patches], 1) + self.pos_embed)           # (B, N, C)
        for block in self.blocks:
            x = block(x, register_hook)                                      # (B, N, C)
        return self.head(self.norm(x)[:, 0])                                 # (B, num_classes)


def relevance(model: VisionTransformer) -> Tensor:
    """R ← R + Ā·R from R = 1, block by block, Ā = mean over heads of max(∇A ⊙ A, 0): what each
    token added to what was differentiated.   -> (B, N, N); [:, 0, 1:] is what each patch gave to
    the class token.

    Call it after model(image, register_hook=True) and the backward pass of one class's logits.
    Raises GraphError where either is missing.   Source: Chefer et al. 2021, arXiv:2103.15679,
    equations 5 and 6.
    """
    R = None
    for block in model.blocks:
        A, dA = block.attn.attention_map, block.attn.attn_gradients
        if dA is None:
            raise GraphError(
                "relevance(model): no attention gradients are kept.\n  Call model(image, "
                "register_hook=True), then backward() from the logits of one class.")
        part = np.maximum(A.array * dA.array, 0).mean(axis=1)                # (B, N, N)
        if R is None:
            R = devices.module_for(devices.device_of(part)).eye(part.shape[-1], dtype=part.dtype)
        R = R + part @ R
    return A.wrap(R)
