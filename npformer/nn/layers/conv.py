"""Convolutions as layers: Conv1d, Conv2d."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...core.errors import ValueRangeError, complaint
from .. import functional as F
from .. import init
from ..module import Module
from ..parameter import empty
from .basic import require_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...core.devices import DeviceLike
    from ...core.dtypes import DType
    from ...ops.shape import Shape
    from ...tensors import Tensor

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class Convolution(Module):
    """What convolutions over any number `dims` of dims share: parameters, options, and padding with
    other than zeros.

    in_channels, out_channels: multiples of groups, which do not meet. kernel_size, stride, padding,
    dilation: a number, or one for each dim; padding may be 'valid' (none) or 'same' (sizes stay).
    padding_mode: 'zeros', 'reflect', 'replicate' or 'circular'. weight (out_channels,
    in_channels/groups, kernel...) and bias start uniform in ±1/√n, n the inputs that one output
    sees.
    """

    dims: int
    function: Callable[..., Tensor]

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Shape, stride: Shape = 1,
                 padding: Shape | str = 0, dilation: Shape = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = "zeros", device: DeviceLike | None = None,
                 dtype: DType | None = None) -> None:
        super().__init__()
        require_options(type(self).__name__, in_channels, out_channels, groups, padding_mode)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = map(self._each_dim,
                                                           (kernel_size, stride, dilation))
        self.padding = padding if isinstance(padding, str) else self._each_dim(padding)
        self.padding_mode = padding_mode
        self.weight = empty(out_channels, in_channels // groups, *self.kernel_size, device=device,
                            dtype=dtype)
        self.register_parameter("bias",
                                empty(out_channels, device=device, dtype=dtype) if bias else None)
        self.reset_parameters()

    def _each_dim(self, n):
        """n as a tuple of one number a dim."""
        numbers = (n,) * self.dims if isinstance(n, int) else tuple(n)
        if len(numbers) != self.dims:
            raise ValueRangeError(
                f"{type(self).__name__}: kernel_size, stride, padding and dilation are a number, "
                f"or {self.dims}, got {n!r}")
        return numbers

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(max(math.prod(self.weight.shape[1:]), 1))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._around(), self.padding_mode), 0
        return type(self).function(input, self.weight, self.bias, self.stride, padding,
                                   self.dilation, self.groups)

    def _around(self):
        """What F.pad adds at the start and the end of each dim, the last dim first."""
        if self.padding == "valid":
            return (0, 0) * self.dims
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size)]
            ends = [(n // 2, n - n // 2) for n in totals]
        else:
            ends = [(n, n) for n in self.padding]
        return tuple(n for pair in reversed(ends) for n in pair)

    def extra_repr(self) -> str:
        text = (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
                f"stride={self.stride}")
        usual = dict(padding=(0,) * self.dims, dilation=(1,) * self.dims, groups=1)
        text += "".join(f", {name}={getattr(self, name)}" for name in usual
                        if getattr(self, name) != usual[name])
        text += "" if self.bias is not None else ", bias=False"
        return text + ("" if self.padding_mode == "zeros"
                       else f", padding_mode={self.padding_mode}")


def require_options(call, in_channels, out_channels, groups, padding_mode):
    """Raise where the options of a convolution make no layer."""
    require_size(call, in_channels=in_channels, out_channels=out_channels)
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise ValueRangeError(
            complaint(call, f"in_channels and out_channels must be multiples of groups, {groups}",
                      {"in_channels": in_channels, "out_channels": out_channels}))
    if padding_mode not in PADDING_MODES:
        raise ValueRangeError(
            f"{call}: padding_mode must be {', '.join(map(repr, PADDING_MODES))}, "
            f"got {padding_mode!r}")


class Conv1d(Convolution):
    """y[b, o, i] = bias[o] + Σ weight[o, c, u] · x[b, c, i·stride + u·dilation] over c and u.

    x (B, C, L) or (C, L) -> (B, O, L'). The options are those of Convolution.
    """

    dims, function = 1, staticmethod(F.conv1d)


class Conv2d(Convolution):
    """y[b, o, i, j] = bias[o] + Σ weight[o, c, u, v] · x[b, c, i·s + u·d, j·s + v·d]: stride s,
    dilation d.

    x (B, C, H, W) or (C, H, W) -> (B, O, H', W'). The options are those of Convolution.
    """

    dims, function = 2, staticmethod(F.conv2d)
