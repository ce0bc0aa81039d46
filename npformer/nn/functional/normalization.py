"""Normalisations under PyTorch's signatures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...core import writes
from ...core.errors import ShapeError, complaint
from ...core.tape import require_boxes
from ...ops import normalization as ops
from ...ops.composites import clamp, rsqrt
from ...ops.elementwise import add, div, mul, sub, values
from ...ops.reduce import norm
from ...ops.shape import reshape, sum
from .checks import require_float

if TYPE_CHECKING:
    from ...ops.shape import Shape
    from ...tensors import Tensor


def layer_norm(input: Tensor, normalized_shape: Shape, weight: Tensor | None = None,
               bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """x̂·weight + bias, x̂ = (x − μ) / √(σ² + eps), over the last dims, which must be
    `normalized_shape`.

    input (..., *normalized_shape), weight and bias of normalized_shape or None.
    Source: Ba et al. 2016, arXiv:1607.06450.
    """
    shape = check_normalized_shape("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    if len(shape) == 1:
        return ops.layer_norm(input, weight, bias, eps=eps)
    return reshape(ops.layer_norm(*as_last_dim(shape, input, weight, bias), eps=eps),
                   shape=input.shape)


def rms_norm(input: Tensor, normalized_shape: Shape, weight: Tensor | None = None,
             eps: float | None = None) -> Tensor:
    """x̂·weight, x̂ = x / √(mean(x²) + eps), over the last dims. eps: default the dtype's spacing
    at 1.

    input (..., *normalized_shape), weight of that shape or None.   Source: Zhang and Sennrich 2019,
    arXiv:1910.07467.
    """
    shape = check_normalized_shape("rms_norm", input, normalized_shape, weight=weight)
    eps = float(np.finfo(input.dtype).eps) if eps is None else eps
    if len(shape) == 1:
        return ops.rms_norm(input, weight, eps=eps)
    return reshape(ops.rms_norm(*as_last_dim(shape, input, weight), eps=eps), shape=input.shape)


def check_normalized_shape(call, input, normalized_shape, **parameters):
    """normalized_shape as a tuple, once it is sure that everything fits it."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    require_boxes(f"{call}(input, normalized_shape)", input=input)
    require_float(f"{call}(input, normalized_shape)", "input", input)
    if not shape or tuple(input.shape[-len(shape):]) != shape:
        asked = f"{call}(input, normalized_shape={shape})"
        width = ""
        if shape:
            width = f"Did you build it for {shape} and feed it {tuple(input.shape[-len(shape):])}?"
        raise ShapeError(
            complaint(asked, "input's last dims must be normalized_shape", {"input": input}, width))
    for name, p in parameters.items():
        if p is not None and tuple(p.shape) != shape:
            raise ShapeError(complaint(f"{call}(input, normalized_shape={shape}, {name})",
                                       f"{name} must have the shape normalized_shape",
                                       {"input": input, name: p}))
    return shape


def as_last_dim(shape, input, *parameters):
    """input and parameters with the normalised dims made one."""
    lead = tuple(input.shape[:input.ndim - len(shape)])
    flat = [None if p is None else reshape(p, shape=(-1,)) for p in parameters]
    return reshape(input, shape=(*lead, math.prod(shape))), *flat


def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
               weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
               momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """x̂·weight + bias, x̂ = (x − μ) / √(σ² + eps), a mean and a variance for each channel (dim 1).

    training: μ and σ² are the batch's, and running ← (1 − momentum)·running + momentum·(μ, unbiased
    σ²), in place; else the running ones serve. input (B, C, ...), the others (C,) or None.
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167.
    """
    require_float("batch_norm(input)", "input", input)
    if input.ndim < 2:
        raise ShapeError(
            complaint("batch_norm(input)", "input needs a batch and a channel dim: (B, C, ...)",
                      {"input": input}))
    channels = input.shape[1]
    given = dict(running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    for name, v in given.items():
        if v is not None and tuple(v.shape) != (channels,):
            raise ShapeError(complaint(f"batch_norm(input, {name})",
                                       f"{name} needs one entry a channel, {channels}",
                                       {"input": input, name: v}))
    if training:
        if math.prod(input.shape) == channels:
            rule = "a variance needs more than one value a channel"
            raise ShapeError(complaint("batch_norm(input, training=True)", rule, {"input": input},
                                       "Use a larger batch, or eval()."))
        move_running_statistics(values(input), running_mean, running_var, momentum)
        return ops.batch_norm(input, weight, bias, eps=eps)
    if running_mean is None or running_var is None:
        raise ShapeError(
            "batch_norm(input, training=False): it needs running_mean and running_var.\n"
            "  Give both, or pass training=True.")
    mean, var, weight, bias = (ops.channels(v, input) for v in given.values())
    return ops.affine(mul(sub(input, mean), rsqrt(add(var, eps))), weight, bias)


def move_running_statistics(x, running_mean, running_var, momentum):
    """Move the running statistics towards the batch's, in place."""
    dims = ops.others(x)
    for running, now in ((running_mean, x.mean(axis=dims)),
                         (running_var, x.var(axis=dims, ddof=1))):
        if running is not None:
            r = values(running)
            r *= 1 - momentum
            r += momentum * now
            writes.wrote(r)


# ── directions ────────────────────────────────────────────────────────────────────────────────────


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(‖x‖ₚ, eps) along dim"""
    return div(input, clamp(norm(input, p, dim, keepdim=True), min=eps))


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Σ x1·x2 / (‖x1‖·‖x2‖) along dim, each norm at least eps; x1 and x2 broadcast"""
    return sum(mul(normalize(x1, dim=dim, eps=eps), normalize(x2, dim=dim, eps=eps)), dim=dim)
