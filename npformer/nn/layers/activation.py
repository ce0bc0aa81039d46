"""The activations of nn.functional as modules; their options are attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import functional as F
from ..module import Module

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...tensors import Tensor


class Activation(Module):
    """A function of one tensor as a module: `function`, called with the options that it was made
    with."""

    function: Callable[..., Tensor]

    def __init__(self, **options) -> None:
        super().__init__()
        self._options = tuple(options)
        for name, value in options.items():
            setattr(self, name, value)

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, **{name: getattr(self, name) for name in self._options})

    def extra_repr(self) -> str:
        shown = [name for name in self._options if name != "inplace" or self.inplace]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)


class ReLU(Activation):
    """max(x, 0)"""
    function = staticmethod(F.relu)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class ReLU6(Activation):
    """x limited to [0, 6]"""
    function = staticmethod(F.relu6)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class LeakyReLU(Activation):
    """x where x > 0, else negative_slope·x"""
    function = staticmethod(F.leaky_relu)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(negative_slope=negative_slope, inplace=inplace)


class ELU(Activation):
    """x where x > 0, else α·(eˣ − 1)"""
    function = staticmethod(F.elu)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(alpha=alpha, inplace=inplace)


class SELU(Activation):
    """λ·elu(x, α), with the constants that keep mean 0 and variance 1"""
    function = staticmethod(F.selu)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class CELU(Activation):
    """x where x > 0, else α·(e^(x/α) − 1)"""
    function = staticmethod(F.celu)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(alpha=alpha, inplace=inplace)


class GELU(Activation):
    """x·Φ(x); approximate="tanh": by tanh"""
    function = staticmethod(F.gelu)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__(approximate=approximate)


class SiLU(Activation):
    """x·σ(x)"""
    function = staticmethod(F.silu)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class Mish(Activation):
    """x·tanh(softplus(x))"""
    function = staticmethod(F.mish)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class Hardtanh(Activation):
    """x limited to [min_val, max_val]"""
    function = staticmethod(F.hardtanh)

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(min_val=min_val, max_val=max_val, inplace=inplace)


class Softplus(Activation):
    """ln(1 + e^(βx)) / β"""
    function = staticmethod(F.softplus)

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__(beta=beta, threshold=threshold)


class LogSigmoid(Activation):
    """ln σ(x)"""
    function = staticmethod(F.logsigmoid)


class Softsign(Activation):
    """x / (1 + |x|)"""
    function = staticmethod(F.softsign)


class Tanhshrink(Activation):
    """x − tanh(x)"""
    function = staticmethod(F.tanhshrink)


class Sigmoid(Activation):
    """1 / (1 + e⁻ˣ)"""
    function = staticmethod(F.sigmoid)


class Tanh(Activation):
    """(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)"""
    function = staticmethod(F.tanh)


class GLU(Activation):
    """a·σ(b), where a and b are the halves of x along dim"""
    function = staticmethod(F.glu)

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim=dim)


class Softmax(Activation):
    """eˣ / Σeˣ over dim"""
    function = staticmethod(F.softmax)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__(dim=dim)


class Softmin(Activation):
    """softmax(−x) over dim"""
    function = staticmethod(F.softmin)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__(dim=dim)


class LogSoftmax(Activation):
    """x − ln Σeˣ over dim"""
    function = staticmethod(F.log_softmax)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__(dim=dim)


class CosineSimilarity(Module):
    """Σ x1·x2 / (‖x1‖·‖x2‖) along dim, each norm at least eps"""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
