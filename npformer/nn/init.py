"""Starting values: every function fills a tensor in place and returns it.

generator: default that of manual_seed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..core import devices, writes
from ..core.errors import ShapeError, ValueRangeError, complaint
from ..functions.like import draw_array, numpy_generator

if TYPE_CHECKING:
    from ..core.random_numbers import Generator
    from ..tensors import Tensor

__all__ = ["calculate_gain", "constant_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_",
           "ones_", "orthogonal_", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_",
           "zeros_"]


def fill(tensor, values):
    """Write `values` into tensor's memory, past the graph."""
    tensor.array[...] = values
    writes.wrote(tensor.array)
    return tensor


def fill_from(tensor, draw):
    """Fill with `draw(size, dtype)`."""
    return fill(tensor,
                draw_array(draw, tensor.array.shape, tensor.dtype, devices.device_of(tensor.array)))


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0,
             generator: Generator | None = None) -> Tensor:
    """Uniform in [a, b)"""
    random = numpy_generator(generator).random
    return fill_from(tensor, lambda size,
                     dtype: random(size, dtype) * dtype.type(b - a) + dtype.type(a))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0,
            generator: Generator | None = None) -> Tensor:
    """Normal with that mean and standard deviation"""
    normal = numpy_generator(generator).standard_normal
    return fill_from(tensor, lambda size,
                     dtype: normal(size, dtype) * dtype.type(std) + dtype.type(mean))


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0,
                  b: float = 2.0, generator: Generator | None = None) -> Tensor:
    """Normal, what falls outside [a, b] drawn again"""
    if not a < b:
        raise ValueRangeError(f"trunc_normal_(tensor, a={a}, b={b}): a must be below b")
    numpy = numpy_generator(generator)
    inside = [math.erf((limit - mean) / (std * math.sqrt(2))) for limit in (a, b)]
    if inside[1] - inside[0] < 1e-4:
        raise ValueRangeError(
            f"trunc_normal_(tensor, mean={mean}, std={std}, a={a}, b={b}): hardly any of the "
            "distribution lies between a and b")

    def draw(size, dtype):
        x = numpy.normal(mean, std, size)
        outside = (x < a) | (x > b)
        while outside.any():
            x[outside] = numpy.normal(mean, std, int(outside.sum()))
            outside = (x < a) | (x > b)
        return x.astype(dtype)
    return fill_from(tensor, draw)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """val everywhere"""
    return fill(tensor, val)


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere"""
    return fill(tensor, 1)


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere"""
    return fill(tensor, 0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix, of 2 dims"""
    if tensor.ndim != 2:
        raise ShapeError(complaint("eye_(tensor)", "tensor must have two dims", {"tensor": tensor}))
    module = devices.module_for(devices.device_of(tensor.array))
    return fill(tensor, module.eye(*tensor.array.shape, dtype=tensor.dtype))


# ── by the number of inputs and outputs ───────────────────────────────────────────────────────────

GAINS = {"linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0,
         "conv_transpose2d": 1.0,
         "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By what factor the weights before a nonlinearity should be larger.

    param: leaky_relu's slope, default 0.01.
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in GAINS:
        raise ValueRangeError(
            f"calculate_gain({nonlinearity!r}): known are leaky_relu, {', '.join(GAINS)}")
    return GAINS[nonlinearity]


def fans(tensor, call):
    """(inputs, outputs) of one unit: a weight is (out, in, ...), and what follows is read by
    each."""
    if tensor.ndim < 2:
        raise ShapeError(complaint(call, "tensor must have at least two dims, (out, in, ...)",
                                   {"tensor": tensor}))
    outs, ins, *rest = tensor.array.shape
    return ins * math.prod(rest), outs * math.prod(rest)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0,
                    generator: Generator | None = None) -> Tensor:
    """Uniform in ±gain·√(6 / (in + out)).   Source: Glorot and Bengio 2010."""
    bound = gain * math.sqrt(6 / sum(fans(tensor, "xavier_uniform_(tensor)")))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation gain·√(2 / (in + out)).   Source: Glorot and Bengio 2010."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor, "xavier_normal_(tensor)"))),
                   generator)


def kaiming_std(tensor, a, mode, nonlinearity, call):
    """gain / √fan"""
    if mode not in ("fan_in", "fan_out"):
        raise ValueRangeError(f"{call}: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return calculate_gain(nonlinearity,
                          a) / math.sqrt(max(fans(tensor, call)[mode == "fan_out"], 1))


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in",
                     nonlinearity: str = "leaky_relu",
                     generator: Generator | None = None) -> Tensor:
    """Uniform in ±gain·√(3 / fan). a: leaky_relu's slope.   Source: He et al.

    2015, arXiv:1502.01852.
    """
    bound = math.sqrt(3) * kaiming_std(tensor, a, mode, nonlinearity, "kaiming_uniform_(tensor)")
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in",
                    nonlinearity: str = "leaky_relu", generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation gain / √fan. a: leaky_relu's slope.   Source: He et al.

    2015, arXiv:1502.01852.
    """
    return normal_(tensor, 0.0,
                   kaiming_std(tensor, a, mode, nonlinearity, "kaiming_normal_(tensor)"), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """A matrix with orthonormal rows or columns, whichever are fewer, times gain.

    Source: Saxe et al. 2013.
    """
    fans(tensor, "orthogonal_(tensor)")
    rows, columns = tensor.array.shape[0], math.prod(tensor.array.shape[1:])
    wide = rows < columns
    flat = numpy_generator(generator).standard_normal((columns, rows) if wide else (rows, columns))
    q, r = np.linalg.qr(flat)
    q *= np.sign(np.diag(r))  # without it, q would not be uniform over the orthogonal matrices
    values = (q.T if wide else q).reshape(tensor.array.shape) * gain
    return fill(tensor, devices.move(values.astype(tensor.dtype), devices.device_of(tensor.array)))
