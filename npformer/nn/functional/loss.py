"""Losses under PyTorch's signatures.

reduction: "mean" (default), "sum" or "none", an entry each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import DTypeError, ShapeError, ValueRangeError, complaint
from ...core.tape import require_boxes
from ...ops import loss as ops
from ...ops.activation import log_softmax
from ...ops.composites import square
from ...ops.elementwise import abs, add, div, exp, log, logaddexp, mul, neg, sub, values, where
from ...ops.indexing import gather
from ...ops.shape import permute, reshape, sum
from .checks import (
    REDUCTIONS,
    reduce_loss,
    require_float,
    require_reduction,
    require_same_shape,
    warn_if_broadcast,
)

if TYPE_CHECKING:
    from ...tensors import Tensor

# ── classes ───────────────────────────────────────────────────────────────────────────────────────


def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, *,
                  ignore_index: int = -100, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:
    """L = Σ wₙ·ℓₙ / Σ wₙ, ℓₙ = −ln softmax(x)ₙ[targetₙ], in nats per item; or ℓₙ = −Σ_c w_c·qₙ_c·ln
    softmax(x)ₙ_c.

    input (N, C), (C,) or (N, C, d1, ...). target: class indices, as input without C; or
    probabilities q, of input's shape, in floating point (their mean is over items). weight (C,): of
    each class. ignore_index: a label that counts nowhere. label_smoothing ε: 0 <= ε <= 1, default
    0.   Source: Szegedy et al. 2015, arXiv:1512.00567.
    """
    call = "cross_entropy(input, target)"
    require_boxes(call, input=input, target=target)
    require_reduction(call, reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueRangeError(
            f"{call}: label_smoothing must be from 0 to 1, got {label_smoothing!r}")
    if tuple(target.shape) == tuple(input.shape) and target.dtype.kind == "f":
        return soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    rows, labels = rows_and_labels(call, input, target, weight)
    loss = ops.cross_entropy(rows, labels, weight, ignore_index=ignore_index,
                             label_smoothing=float(label_smoothing),
                             reduction=reduction)
    return reshape(loss, shape=target.shape) if reduction == "none" else loss


def soft_cross_entropy(input, target, weight, reduction, label_smoothing):
    """Cross-entropy against probabilities: −Σ_c w_c·q_c·ln p_c, q smoothed."""
    dim = class_dim("cross_entropy(input, target)", input, weight)
    size = input.shape[dim]
    if label_smoothing:
        target = add(mul(target, 1 - label_smoothing), label_smoothing / size)
    logp = log_softmax(input, dim=dim)
    if weight is not None:
        logp = mul(logp, reshape(weight, shape=(-1,) + (1,) * (input.ndim - 1 - dim)))
    loss = neg(sum(mul(target, logp), dim=dim))
    return mul(sum(loss),
               1 / max(values(loss).size, 1)) if reduction == "mean" else reduce_loss(loss,
                                                                                      reduction)


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, *,
             ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """−Σ wₙ·xₙ[targetₙ] / Σ wₙ: x holds log-probabilities, as log_softmax gives them.

    input (N, C), (C,) or (N, C, d1, ...); target: class indices, as input without C.
    """
    call = "nll_loss(input, target)"
    require_reduction(call, reduction)
    rows, labels = rows_and_labels(call, input, target, weight)
    ops.check_cross_entropy(rows, labels, values(weight), ignore_index)
    _, safe, w, total = ops.weights_of(labels, values(weight), ignore_index, rows)
    loss = mul(neg(reshape(gather(rows, safe[:, None], dim=1), shape=safe.shape)), w)
    if reduction == "none":
        return reshape(loss, shape=target.shape)
    if reduction == "sum":
        return sum(loss)
    with np.errstate(invalid="ignore"):            # no item counts: 0/0 = NaN, as in PyTorch
        return div(sum(loss), total)


def class_dim(call, input, weight=None):
    """Where the classes are: dim 1, or dim 0 of one item alone."""
    if input.ndim == 0:
        raise ShapeError(
            complaint(call, "input needs a dim of classes: (C,) or (N, C, ...)", {"input": input}))
    dim = min(input.ndim - 1, 1)
    if weight is not None and tuple(weight.shape) != (input.shape[dim],):
        raise ShapeError(
            complaint(call, "weight needs one entry a class", {"input": input, "weight": weight}))
    return dim


def rows_and_labels(call, input, target, weight):
    """input as rows (N, C) and target as labels (N,), whatever dims they came in."""
    dim = class_dim(call, input, weight)
    require_float(call, "input", input)
    expected = (*input.shape[:dim], *input.shape[dim + 1:])
    if tuple(target.shape) != expected:
        raise ShapeError(
            complaint(call,
                      f"for input {tuple(input.shape)}, target must hold class indices {expected}",
                      {"input": input, "target": target}, shape_hint(input, target)))
    if target.dtype.kind not in "iu":
        raise DTypeError(
            complaint(call,
                      "target must hold class indices (integers), or probabilities of "
                      "input's shape",
                      {"input": input, "target": target}, "Use target.long() for class indices."))
    if input.ndim > 2:
        input = permute(input, dims=(0, *range(2, input.ndim), 1))
    rows = input if input.ndim == 2 else reshape(input, shape=(-1, input.shape[-1]))
    return rows, values(target).reshape(-1)


def shape_hint(input, target):
    """What a wrong shape of target suggests."""
    if input.ndim == 3 and tuple(target.shape) == tuple(input.shape[:2]):
        return ("The classes must be dim 1. For (B, T, V) logits: input.view(-1, V) and "
                "target.view(-1).")
    return ""


# ── distances ─────────────────────────────────────────────────────────────────────────────────────


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean",
             weight: Tensor | None = None) -> Tensor:
    """(x − t)²"""
    return distance_loss("mse_loss", input, target, reduction, weight, square)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean",
            weight: Tensor | None = None) -> Tensor:
    """|x − t|"""
    return distance_loss("l1_loss", input, target, reduction, weight, abs)


def distance_loss(name, input, target, reduction, weight, of_difference):
    """of_difference(x − t), reduced; a weighted mean divides by Σ weight."""
    call = f"{name}(input, target)"
    require_reduction(call, reduction)
    warn_if_broadcast(call, input, target)
    loss = of_difference(sub(input, target))
    if weight is None:
        return reduce_loss(loss, reduction)
    require_same_shape(f"{name}(input, target, weight)", input=input, weight=weight)
    loss = mul(loss, weight)
    return div(sum(loss), sum(weight)) if reduction == "mean" else reduce_loss(loss, reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean",
                   beta: float = 1.0) -> Tensor:
    """d²/2β where |d| < β, else |d| − β/2, d = x − t. beta: >= 0, default 1; at 0 it is l1_loss"""
    if beta < 0:
        raise ValueRangeError(
            f"smooth_l1_loss(input, target, beta): beta must be >= 0, got {beta!r}")
    return distance_loss("smooth_l1_loss", input, target, reduction, None,
                         abs if beta == 0 else lambda d: where(
        np.abs(values(d)) < beta, mul(square(d), 0.5 / beta), sub(abs(d), 0.5 * beta)))


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0,
               weight: Tensor | None = None) -> Tensor:
    """d²/2 where |d| <= δ, else δ·(|d| − δ/2), d = x − t. delta: > 0, default 1"""
    if delta <= 0:
        raise ValueRangeError(f"huber_loss(input, target, delta): delta must be > 0, got {delta!r}")
    require_reduction("huber_loss(input, target)", reduction)
    loss = distance_loss("huber_loss", input, target, "none", None, lambda d: where(
        np.abs(values(d)) <= delta, mul(square(d), 0.5), mul(sub(abs(d), 0.5 * delta), delta)))
    if weight is not None:
        require_same_shape("huber_loss(input, target, weight)", input=input, weight=weight)
        loss = mul(loss, weight)
    return reduce_loss(loss, reduction)


# ── distributions ─────────────────────────────────────────────────────────────────────────────────


def kl_div(input: Tensor, target: Tensor, reduction: str = "mean",
           log_target: bool = False) -> Tensor:
    """t·(ln t − x), x log-probabilities; log_target: eᵗ·(t − x).

    reduction: "batchmean" (Σ / B) as well
    """
    call = "kl_div(input, target)"
    require_reduction(call, reduction, (*REDUCTIONS, "batchmean"))
    if log_target:
        loss = mul(exp(target), sub(target, input))
    else:
        some = values(target) > 0                  # 0·ln 0 counts as 0
        loss = sub(where(some, mul(target, log(where(some, target, 1.0))), 0.0), mul(target, input))
    if reduction == "batchmean":
        return div(sum(loss), input.shape[0] if input.ndim else 1)
    return reduce_loss(loss, reduction)


def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, *,
                         reduction: str = "mean") -> Tensor:
    """−(t·ln x + (1 − t)·ln(1 − x)), each logarithm at least −100; x probabilities"""
    call = "binary_cross_entropy(input, target)"
    require_reduction(call, reduction)
    require_same_shape(call, input=input, target=target)
    x = values(input)
    if x.size and not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueRangeError(
            complaint(call, "input must hold probabilities, from 0 to 1", {"input": input},
                      "For logits use binary_cross_entropy_with_logits."))
    loss = neg(
        add(mul(target, floored_log(input)), mul(sub(1, target), floored_log(sub(1, input)))))
    return reduce_loss(loss if weight is None else mul(loss, weight), reduction)


def floored_log(x):
    """max(ln x, −100); no gradient where it is cut off"""
    tiny = values(x) < 3.7e-44
    return where(tiny, -100.0, log(where(tiny, 1.0, x)))


def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None, *,
                                     reduction: str = "mean",
                                     pos_weight: Tensor | None = None) -> Tensor:
    """−(w₊·t·ln σ(x) + (1 − t)·ln(1 − σ(x))), exact in both tails.

    pos_weight w₊: broadcast to input
    """
    call = "binary_cross_entropy_with_logits(input, target)"
    require_reduction(call, reduction)
    require_same_shape(call, input=input, target=target)
    miss = logaddexp(neg(input), 0.0)              # −ln σ(x)
    if pos_weight is not None:
        miss = mul(miss, add(mul(sub(pos_weight, 1), target), 1))
    loss = add(mul(sub(1, target), input), miss)
    return reduce_loss(loss if weight is None else mul(loss, weight), reduction)
