"""Activations under PyTorch's signatures, and dropout.

inplace=True leaves the result in `input` as well.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from ...core import devices, random_numbers
from ...core.errors import ShapeError, ValueRangeError, complaint
from ...core.tape import require_boxes
from ...functions.like import draw_array
from ...ops import activation as ops
from ...ops import elementwise
from ...ops.elementwise import mul, values
from ...ops.shape import narrow, positive_dim
from .checks import cast_to, finish_in_place, require_probability

if TYPE_CHECKING:
    from ...core.dtypes import DType
    from ...tensors import Tensor


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)"""
    return finish_in_place(input, ops.relu(input), inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x limited to [0, 6]"""
    return finish_in_place(input, ops.relu6(input), inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope·x"""
    return finish_in_place(input, ops.leaky_relu(input, negative_slope), inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else α·(eˣ − 1).   Source: Clevert et al. 2015, arXiv:1511.07289."""
    return finish_in_place(input, ops.elu(input, alpha), inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """λ·elu(x, α), with the constants that keep mean 0 and variance 1.   Source: Klambauer et al.

    2017.
    """
    return finish_in_place(input, ops.selu(input), inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else α·(e^(x/α) − 1).   Source: Barron 2017, arXiv:1704.07483."""
    return finish_in_place(input, ops.celu(input, alpha), inplace)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x·σ(x), also called swish.   Source: Elfwing et al. 2017, arXiv:1702.03118."""
    return finish_in_place(input, ops.silu(input), inplace)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a·σ(b), where a and b are the halves of input along dim.   Source: Dauphin et al.

    2016, arXiv:1612.08083.
    """
    dim = positive_dim(dim, input.ndim, "glu(input, dim)")
    if input.ndim == 0 or input.shape[dim] % 2:
        raise ShapeError(
            complaint(f"glu(input, dim={dim})", "the dim is halved, so its size must be even",
                      {"input": input}))
    half = input.shape[dim] // 2
    a, b = (narrow(input, dim=dim, start=start, length=half) for start in (0, half))
    return mul(a, elementwise.sigmoid(b))


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·tanh(softplus(x)).   Source: Misra 2019, arXiv:1908.08681."""
    return finish_in_place(input, ops.mish(input), inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0,
             inplace: bool = False) -> Tensor:
    """x limited to [min_val, max_val]; no gradient at the limits themselves"""
    if min_val > max_val:
        raise ValueRangeError(
            f"hardtanh(input, min_val={min_val}, max_val={max_val}): min_val must not exceed "
            "max_val")
    return finish_in_place(input, ops.hardtanh(input, min_val, max_val), inplace)


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """x·Φ(x), Φ the normal distribution's; approximate="tanh": ½·x·(1 + tanh(√(2/π)·(x +
    0.044715·x³)))

    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """
    if approximate not in ("none", "tanh"):
        raise ValueRangeError(
            f"gelu(input, approximate): approximate must be 'none' or 'tanh', got {approximate!r}")
    return ops.gelu(input) if approximate == "none" else ops.gelu_tanh(input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """ln(1 + e^(βx)) / β; x itself where βx > threshold"""
    return ops.softplus(input, beta, threshold)


def logsigmoid(input: Tensor) -> Tensor:
    """ln σ(x)"""
    return ops.logsigmoid(input)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)"""
    return ops.softsign(input)


def tanhshrink(input: Tensor) -> Tensor:
    """x − tanh(x)"""
    return ops.tanhshrink(input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e⁻ˣ)"""
    return elementwise.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)"""
    return elementwise.tanh(input)


# ── softmax ───────────────────────────────────────────────────────────────────────────────────────


def softmax(input: Tensor, dim: int | None = None, *, dtype: DType | None = None) -> Tensor:
    """eˣ / Σeˣ over dim. dtype: compute and answer in it."""
    return ops.softmax(cast_to(input, dtype), dim=dim_or_default("softmax", input, dim))


def softmin(input: Tensor, dim: int | None = None, *, dtype: DType | None = None) -> Tensor:
    """softmax(−x) over dim"""
    return ops.softmin(cast_to(input, dtype), dim=dim_or_default("softmin", input, dim))


def log_softmax(input: Tensor, dim: int | None = None, *, dtype: DType | None = None) -> Tensor:
    """x − ln Σeˣ over dim"""
    return ops.log_softmax(cast_to(input, dtype), dim=dim_or_default("log_softmax", input, dim))


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10,
                   dim: int = -1) -> Tensor:
    """softmax((logits + γ) / tau) over dim, γ drawn from Gumbel(0, 1): a soft draw from the classes

    tau: > 0, the lower the harder. hard: one-hot forwards, the soft draw's gradient backwards. eps:
    not used.
    Source: Jang et al. 2016, arXiv:1611.01144.
    """
    if not tau > 0:
        raise ValueRangeError(f"gumbel_softmax(logits, tau): tau must be > 0, got {tau}")
    exponential = random_numbers.default_generator.numpy.standard_exponential        # γ = −ln of it
    draw = draw_array(exponential, logits.array.shape, logits.dtype,
                      devices.device_of(logits.array))
    y = ops.softmax((logits - logits.wrap(np.log(draw))) / tau, dim=dim)
    if not hard:
        return y
    best = y.array.argmax(axis=dim, keepdims=True)
    place = [1] * y.ndim
    place[dim] = -1
    chosen = np.arange(y.array.shape[dim], like=best).reshape(place) == best
    return y + y.wrap(chosen.astype(y.dtype) - y.array)


def dim_or_default(call, input, dim):
    """dim; where it was left out, what PyTorch takes then, with a warning."""
    require_boxes(f"{call}(input)", input=input)
    if dim is not None:
        return dim
    dim = 0 if input.ndim in (0, 1, 3) else 1
    warnings.warn(f"{call}(input): dim was not given, and dim={dim} was taken, as in PyTorch.\n"
                  "  Say which dim is to sum to 1: dim=-1 for the last.", stacklevel=3)
    return dim


# ── dropout ───────────────────────────────────────────────────────────────────────────────────────


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """x·m / (1 − p), m random: 0 with probability p, else 1; x itself unless training.

    p: probability of dropping, 0 <= p <= 1, default 0.5.   Source: Srivastava et al. 2014, JMLR 15.
    """
    require_probability("dropout(input, p)", p)
    if not training or p == 0:
        return input
    return finish_in_place(input, mul(input, draw_mask(input, input.shape, p)), inplace)


def draw_mask(like, shape, p):
    """An array of 0 (with probability p) and 1/(1 − p), in the dtype and on the device of
    `like`."""
    scale = 1 / (1 - p) if p < 1 else 0.0
    random = random_numbers.default_generator.numpy.random

    def draw(size, dtype):
        return (random(size, np.float32) >= p) * dtype.type(scale)
    return draw_array(draw, tuple(shape), values(like).dtype, devices.device_of(values(like)))
