"""The losses of nn.functional as modules; reduction: "mean" (default), "sum" or "none"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import functional as F
from ..functional.checks import require_reduction
from ..module import Module

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...tensors import Tensor


class Loss(Module):
    """A loss of (input, target) as a module: `function`, called with the options that it was made
    with."""

    function: Callable[..., Tensor]

    def __init__(self, reduction="mean", weights=None, **options):
        super().__init__()
        self.reduction = reduction
        for name, weight in (weights or {}).items():
            self.register_buffer(name, weight)
        for name, value in options.items():
            setattr(self, name, value)
        self._options = ("reduction", *(weights or {}), *options)
        self.check()

    def check(self) -> None:
        """Refuse a reduction that is not known, before the first batch."""
        require_reduction(type(self).__name__, self.reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return type(self).function(input, target,
                                   **{name: getattr(self, name) for name in self._options})


class CrossEntropyLoss(Loss):
    """−ln softmax(x)[target], in nats per item, or against probabilities;
    see nn.functional.cross_entropy"""
    function = staticmethod(F.cross_entropy)

    def __init__(self, weight: Tensor | None = None, *, ignore_index: int = -100,
                 reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__(reduction, dict(weight=weight), ignore_index=ignore_index,
                         label_smoothing=label_smoothing)


class NLLLoss(Loss):
    """−x[target], x log-probabilities"""
    function = staticmethod(F.nll_loss)

    def __init__(self, weight: Tensor | None = None, *, ignore_index: int = -100,
                 reduction: str = "mean") -> None:
        super().__init__(reduction, dict(weight=weight), ignore_index=ignore_index)


class MSELoss(Loss):
    """(x − t)²"""
    function = staticmethod(F.mse_loss)

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)


class L1Loss(Loss):
    """|x − t|"""
    function = staticmethod(F.l1_loss)

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)


class SmoothL1Loss(Loss):
    """d²/2β where |d| < β, else |d| − β/2, d = x − t"""
    function = staticmethod(F.smooth_l1_loss)

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction, beta=beta)


class HuberLoss(Loss):
    """d²/2 where |d| <= δ, else δ·(|d| − δ/2), d = x − t"""
    function = staticmethod(F.huber_loss)

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction, delta=delta)


class KLDivLoss(Loss):
    """t·(ln t − x), x log-probabilities; reduction "batchmean" as well"""
    function = staticmethod(F.kl_div)

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction, log_target=log_target)

    def check(self) -> None:
        """kl_div checks its reduction itself."""


class BCELoss(Loss):
    """−(t·ln x + (1 − t)·ln(1 − x)), x probabilities"""
    function = staticmethod(F.binary_cross_entropy)

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction, dict(weight=weight))


class BCEWithLogitsLoss(Loss):
    """−(t·ln σ(x) + (1 − t)·ln(1 − σ(x)))"""
    function = staticmethod(F.binary_cross_entropy_with_logits)

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean",
                 pos_weight: Tensor | None = None) -> None:
        super().__init__(reduction, dict(weight=weight, pos_weight=pos_weight))
