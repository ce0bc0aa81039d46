"""Normalisations as layers: LayerNorm, RMSNorm, BatchNorm1d."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...core import devices, dtypes
from ...core.errors import ShapeError, complaint
from ...tensors import Tensor
from .. import functional as F
from .. import init
from ..module import Module
from ..parameter import empty

if TYPE_CHECKING:
    from ...core.devices import DeviceLike
    from ...core.dtypes import DType
    from ...ops.shape import Shape


def sizes(normalized_shape):
    """normalized_shape as a tuple."""
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)


class LayerNorm(Module):
    """x̂·weight + bias, x̂ = (x − μ) / √(σ² + eps), over the last dims, of normalized_shape.

    weight starts at 1, bias at 0. elementwise_affine=False: neither; bias=False: weight alone.
    Source: Ba et al. 2016, arXiv:1607.06450.
    """

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True, device: DeviceLike | None = None,
                 dtype: DType | None = None) -> None:
        super().__init__()
        self.normalized_shape, self.eps, self.elementwise_affine = sizes(
            normalized_shape), eps, elementwise_affine
        for name, wanted in (("weight", elementwise_affine), ("bias", elementwise_affine and bias)):
            self.register_parameter(name, empty(*self.normalized_shape, device=device, dtype=dtype)
                                    if wanted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}")


class RMSNorm(Module):
    """x̂·weight, x̂ = x / √(mean(x²) + eps), over the last dims, of normalized_shape.

    weight starts at 1. eps: default the dtype's spacing at 1.   Source: Zhang and Sennrich 2019,
    arXiv:1910.07467.
    """

    def __init__(self, normalized_shape: Shape, eps: float | None = None,
                 elementwise_affine: bool = True, device: DeviceLike | None = None,
                 dtype: DType | None = None) -> None:
        super().__init__()
        self.normalized_shape, self.eps, self.elementwise_affine = sizes(
            normalized_shape), eps, elementwise_affine
        self.register_parameter("weight", empty(*self.normalized_shape, device=device, dtype=dtype)
                                if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}")


class BatchNorm1d(Module):
    """x̂·weight + bias, x̂ = (x − μ) / √(σ² + eps), a mean and a variance for each channel (dim 1).

    x (B, C) or (B, C, L). In training they are the batch's, and running_mean and running_var follow
    by `momentum` (None: the mean over all batches so far); after eval() the running ones serve.
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True, track_running_stats: bool = True,
                 device: DeviceLike | None = None, dtype: DType | None = None, *,
                 bias: bool = True) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, empty(num_features, device=device, dtype=dtype) if wanted
                                    else None)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name,
                                 empty(num_features, device=device, dtype=dtype,
                                       requires_grad=False).detach()
                                 if track_running_stats else None)
        count = devices.module_for(device).zeros((),
                                                dtype=dtypes.int64) if track_running_stats else None
        self.register_buffer("num_batches_tracked", None if count is None else Tensor.wrap(count))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """weight 1, bias 0, and nothing seen yet."""
        self.reset_running_stats()
        self._reset(weight=1, bias=0)

    def reset_running_stats(self) -> None:
        """Forget what was seen: running_mean 0, running_var 1."""
        self._reset(running_mean=0, running_var=1, num_batches_tracked=0)

    def _reset(self, **entries: float) -> None:
        for name, value in entries.items():
            if getattr(self, name) is not None:
                init.constant_(getattr(self, name), value)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (2, 3):
            raise ShapeError(
                complaint("BatchNorm1d", "input must be (B, C) or (B, C, L)", {"input": input}))
        momentum = self.momentum
        if self.training and self.track_running_stats:
            init.fill(self.num_batches_tracked, self.num_batches_tracked.array + 1)
            if momentum is None:
                momentum = 1 / int(self.num_batches_tracked.array)
        use_batch = self.training or self.running_mean is None
        follow = self.training and self.track_running_stats
        return F.batch_norm(input, self.running_mean if follow or not use_batch else None,
                            self.running_var if follow or not use_batch else None, self.weight,
                            self.bias, use_batch,
                            math.nan if momentum is None else momentum, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}")
