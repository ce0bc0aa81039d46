"""Attention under PyTorch's signatures, over the fused operation.

A query that sees no key gives zeros, and gets and sends no gradient. (PyTorch's does the same,
except for multi_head_attention_forward with need_weights=True, where PyTorch gives NaN.)
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from ...core import devices
from ...core.errors import DTypeError, ShapeError, ValueRangeError, complaint
from ...core.tape import require_boxes
from ...ops import attention as ops
from ...ops.elementwise import add, mul, values, where
from ...ops.linalg import matmul
from ...ops.reduce import mean
from ...ops.shape import cat, embed, expand, narrow, permute, reshape
from .activation import draw_mask
from .checks import require_probability
from .spatial import linear

if TYPE_CHECKING:
    from ...tensors import Tensor

# ── one attention ─────────────────────────────────────────────────────────────────────────────────


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor,
                                 attn_mask: Tensor | None = None, dropout_p: float = 0.0,
                                 is_causal: bool = False, scale: float | None = None,
                                 enable_gqa: bool = False) -> Tensor:
    """softmax(q·kᵀ·scale + mask)·v.

    query (..., T, K), key (..., S, K), value (..., S, W) -> (..., T, W). attn_mask, broadcast to
    (..., T, S): boolean, True where the key is seen; or floating, added. is_causal: query t sees
    keys 0 to t. scale: default 1/√K. dropout_p: of the weights; it always acts, so pass 0 in
    evaluation. enable_gqa: key and value may have fewer heads (dim -3), each of them serving
    several of the query's.   Source: Vaswani et al. 2017, arXiv:1706.03762, equation 1.
    """
    call = "scaled_dot_product_attention(query, key, value)"
    require_boxes(call, query=query, key=key, value=value)
    require_probability(call, dropout_p)
    if enable_gqa:
        key, value = (repeat_heads(call, query, x, name)
                      for x, name in ((key, "key"), (value, "value")))
    check_attention(call, query, key, value)
    scores = shape_of_scores(query.shape, key.shape)                               # (..., T, S)
    if is_causal:
        if attn_mask is not None:
            raise ValueRangeError(f"{call}: is_causal=True and attn_mask exclude each other.\n"
                                  "  Put the causal part into the mask.")
        attn_mask = causal_mask(*scores[-2:], devices.device_of(values(query)))
    elif attn_mask is not None:
        check_mask(call, attn_mask, scores, query)
    drop = draw_mask(query, scores, dropout_p) if dropout_p > 0 else None
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    return ops.attention(query, key, value, attn_mask, drop, scale=scale)


def shape_of_scores(query, key):
    """(..., T, S) for the shapes of query and key."""
    lead = query[:-2] if query[:-2] == key[:-2] else np.broadcast_shapes(query[:-2], key[:-2])
    return (*lead, query[-2], key[-2])


@functools.lru_cache(maxsize=64)
def causal_mask(queries, keys, device):
    """True where query t may see key s: s <= t.

    One array for each size, so nobody may write into it.
    """
    mask = devices.module_for(device).tri(queries, keys, dtype=bool)
    if device == "cpu":
        mask.setflags(write=False)
    return mask


def repeat_heads(call, query, x, name):
    """key or value with each head repeated for the query heads that it serves."""
    if query.ndim < 3 or x.ndim != query.ndim or x.shape[-3] < 1 or query.shape[-3] % x.shape[-3]:
        rule = f"the query's heads (dim -3) must be a multiple of {name}'s"
        raise ShapeError(complaint(f"{call}, enable_gqa=True", rule, {"query": query, name: x}))
    times = query.shape[-3] // x.shape[-3]
    if times == 1:
        return x
    *lead, heads, length, width = x.shape
    x = expand(reshape(x, shape=(*lead, heads, 1, length, width)),
               shape=(*lead, heads, times, length, width))
    return reshape(x, shape=(*lead, heads * times, length, width))


def check_attention(call, query, key, value):
    """Raise where query, key and value do not fit each other."""
    operands = {"query": query, "key": key, "value": value}
    q, k, v = (x.shape for x in operands.values())
    if min(len(q), len(k), len(v)) < 2:
        raise ShapeError(
            complaint(call, "each must have at least two dims: (..., length, width)", operands))
    if q[-1] != k[-1]:
        raise ShapeError(complaint(call, "query and key must be of one width (last dim)", operands))
    if k[-2] != v[-2]:
        raise ShapeError(complaint(call, "key and value must be of one length (dim -2)", operands))
    if not query.dtype == key.dtype == value.dtype:
        raise DTypeError(complaint(call, "all three must have one dtype", operands))
    if not q[:-2] == k[:-2] == v[:-2] and not broadcastable(q[:-2], k[:-2], v[:-2]):
        raise ShapeError(
            complaint(call, "the dims before the last two must agree, or be 1", operands,
                      "For fewer heads in key and value use enable_gqa=True."))


def broadcastable(*shapes):
    """Whether arrays of these shapes go together: along every dim one size, or 1."""
    backwards = itertools.zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    return all(len({*sizes} - {1}) <= 1 for sizes in backwards)


def check_mask(call, mask, scores, query):
    """Raise where a mask does not broadcast to the scores, or is of a type that says nothing."""
    operands = {"query": query, "attn_mask": mask}
    shape = tuple(mask.shape)
    if len(shape) > len(scores) or any(n not in (1, m) for n, m in zip(shape[::-1], scores[::-1])):
        raise ShapeError(
            complaint(f"{call}, attn_mask", f"attn_mask must broadcast to (..., T, S) = {scores}",
                      operands))
    if mask.dtype != bool and mask.dtype != query.dtype:
        rule = ("attn_mask must be boolean (True: the key is seen), or floating like the query "
                "(added to the scores)")
        raise DTypeError(complaint(f"{call}, attn_mask", rule, operands, "Use attn_mask.bool()."))


# ── many heads ────────────────────────────────────────────────────────────────────────────────────


def multi_head_attention_forward(query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int,
                                 num_heads: int, in_proj_weight: Tensor | None,
                                 in_proj_bias: Tensor | None, bias_k: Tensor | None,
                                 bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float,
                                 out_proj_weight: Tensor, out_proj_bias: Tensor | None,
                                 training: bool = True, key_padding_mask: Tensor | None = None,
                                 need_weights: bool = True, attn_mask: Tensor | None = None,
                                 use_separate_proj_weight: bool = False,
                                 q_proj_weight: Tensor | None = None,
                                 k_proj_weight: Tensor | None = None,
                                 v_proj_weight: Tensor | None = None, *,
                                 average_attn_weights: bool = True,
                                 is_causal: bool = False) -> tuple[Tensor, Tensor | None]:
    """concat(head₁ ... head_H)·W_oᵀ + b_o, headᵢ = attention(q·W_qᵢᵀ, k·W_kᵢᵀ, v·W_vᵢᵀ), as
    PyTorch's function.

    query (T, B, C), key and value (S, B, ·), or without B; -> output (T, B, C) and weights (B, T,
    S) (with average_attn_weights=False: (B, H, T, S)), or None without need_weights. Masks are the
    other way round here than in scaled_dot_product_attention: where a boolean one is True, the key
    is NOT seen. key_padding_mask (B, S); attn_mask (T, S) or (B·H, T, S). is_causal: query t sees
    keys 0 to t; beside an attn_mask it says that this is one.
    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2.
    """
    call = "multi_head_attention_forward(query, key, value)"
    check_heads(call, query, key, value, embed_dim_to_check, num_heads)
    batched = query.ndim == 3
    if not batched:
        query, key, value = (reshape(x, shape=(x.shape[0], 1, x.shape[1]))
                             for x in (query, key, value))
        if key_padding_mask is not None:
            key_padding_mask = reshape(key_padding_mask, shape=(1, -1))
    if use_separate_proj_weight:
        q, k, v = project_separately(query, key, value,
                                     (q_proj_weight, k_proj_weight, v_proj_weight), in_proj_bias)
    else:
        q, k, v = project_separately(query, key, value, split_in_thirds(in_proj_weight),
                                     in_proj_bias)
    mask = merge_masks(call, q, k, num_heads, key_padding_mask, attn_mask, is_causal)
    q, k, v, mask = with_extra_keys(q, k, v, mask, bias_k, bias_v, add_zero_attn, num_heads)
    drop = None
    if training and dropout_p > 0:
        drop = draw_mask(q, (*q.shape[:-1], k.shape[-2]), dropout_p)
    scale, weights = 1 / math.sqrt(q.shape[-1]), None
    if need_weights:
        weights = ops.attention_weights(q, k, mask, scale=scale)                   # (B, H, T, S)
        weights = weights if drop is None else mul(weights, drop)
        y = matmul(weights, v)
        weights = mean(weights, 1) if average_attn_weights else weights
    else:
        y = ops.attention(q, k, v, mask, drop, scale=scale)                        # (B, H, T, K)
    y = reshape(permute(y, dims=(2, 0, 1, 3)), shape=tuple(query.shape[:2]) + (-1,))
    y = linear(y, out_proj_weight, out_proj_bias)                                  # (T, B, C)
    if batched:
        return y, weights
    if weights is not None:
        weights = reshape(weights, shape=weights.shape[1:])
    return reshape(y, shape=(y.shape[0], -1)), weights


def check_heads(call, query, key, value, embed_dim, num_heads):
    """Raise where the inputs of a multi-head attention do not fit."""
    operands = {"query": query, "key": key, "value": value}
    if query.ndim not in (2, 3) or key.ndim != query.ndim or value.ndim != query.ndim:
        raise ShapeError(
            complaint(call, "all three must be (length, B, width), or all (length, width)",
                      operands))
    if query.shape[-1] != embed_dim:
        raise ShapeError(complaint(call, f"query's width must be embed_dim, {embed_dim}", operands))
    if embed_dim % num_heads:
        raise ShapeError(
            complaint(call, f"embed_dim {embed_dim} must be a multiple of num_heads {num_heads}",
                      operands))
    if key.shape[:-1] != value.shape[:-1]:
        raise ShapeError(complaint(call, "key and value must agree in length and batch", operands))
    if query.ndim == 3 and query.shape[1] != key.shape[1]:
        raise ShapeError(complaint(call, "all three must have one batch (dim 1)", operands,
                                   "Shapes are (length, B, width)."))


def split_in_thirds(x):
    """The parts of in_proj's rows for query, key and value."""
    if x is None:
        return None, None, None
    width = x.shape[0] // 3
    return tuple(narrow(x, dim=0, start=i * width, length=width) for i in range(3))


def project_separately(query, key, value, weights, in_proj_bias):
    """query, key and value, each projected by its own weight."""
    return [linear(x, w, b)
            for x, w, b in zip((query, key, value), weights, split_in_thirds(in_proj_bias))]


def with_extra_keys(q, k, v, mask, bias_k, bias_v, add_zero_attn, num_heads):
    """q, k, v split into heads, after the learned key (bias_k, bias_v) and the zero key were
    added, which all see."""
    extra = 0
    if bias_k is not None:
        k, v = (cat(x, expand(b, shape=(1, *x.shape[1:])), dim=0)
                for x, b in ((k, bias_k), (v, bias_v)))
        extra += 1
    if add_zero_attn:
        k, v = (embed(x, dim=0, start=0, size=x.shape[0] + 1) for x in (k, v))
        extra += 1
    if mask is not None and extra:
        before = mask.shape[-1]
        mask = embed(mask, dim=mask.ndim - 1, start=0, size=before + extra)
        if mask.dtype == bool:
            values(mask)[..., before:] = True
    return *(heads_first(x, num_heads) for x in (q, k, v)), mask


def heads_first(x, num_heads):
    """(length, B, C) -> (B, H, length, K)"""
    length, batch, width = x.shape
    return permute(reshape(x, shape=(length, batch, num_heads, width // num_heads)),
                   dims=(1, 2, 0, 3))


def merge_masks(call, q, k, num_heads, key_padding_mask, attn_mask, is_causal):
    """One mask, as the operation takes it, out of PyTorch's two; None if nothing is hidden."""
    queries, batch, keys = q.shape[0], q.shape[1], k.shape[0]
    if attn_mask is None:
        mask = causal_mask(queries, keys, devices.device_of(values(q))) if is_causal else None
    else:
        shapes = {2: (queries, keys), 3: (batch * num_heads, queries, keys)}
        if tuple(attn_mask.shape) != shapes.get(attn_mask.ndim):
            raise ShapeError(
                complaint(f"{call}, attn_mask", f"attn_mask must be {shapes[2]} or {shapes[3]}",
                          {"query": q, "key": k, "attn_mask": attn_mask}))
        mask = mask_of_seen(call, "attn_mask", attn_mask, q)
        if mask.ndim == 3:
            mask = reshape(mask, shape=(batch, num_heads, queries, keys))
    if key_padding_mask is None:
        return mask
    if tuple(key_padding_mask.shape) != (batch, keys):
        raise ShapeError(
            complaint(f"{call}, key_padding_mask", f"key_padding_mask must be {(batch, keys)}",
                      {"key": k, "key_padding_mask": key_padding_mask}))
    padding = reshape(mask_of_seen(call, "key_padding_mask", key_padding_mask, q),
                      shape=(batch, 1, 1, keys))
    return padding if mask is None else join_masks(mask, padding, q.dtype)


def mask_of_seen(call, name, mask, q):
    """A mask in the sense of scaled_dot_product_attention: a boolean one turned round."""
    if mask.dtype == bool:
        return ~values(mask)
    if mask.dtype != q.dtype:
        rule = (f"{name} must be boolean (True: the key is not seen), or floating like the query "
                "(added to the scores)")
        raise DTypeError(
            complaint(f"{call}, {name}", rule, {"query": q, name: mask}, f"Use {name}.bool()."))
    return mask


def join_masks(a, b, dtype):
    """The two masks as one."""
    if a.dtype == bool and b.dtype == bool:
        return a & b
    return add(
        *(where(m, dtype.type(0), dtype.type(-math.inf)) if m.dtype == bool else m for m in (a, b)))
