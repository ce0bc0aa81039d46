"""The losses of nn.functional as modules; reduction: "mean" (default), "sum" or "none"."""

from .. import functional as F
from ..functional.checks import require_reduction
from ..module import Module


class Loss(Module):
    """A loss of (input, target) as a module: `function`, called with the options that it was made with."""

    function = None

    def __init__(self, reduction="mean", weights=None, **options):
        super().__init__()
        self.reduction = reduction
        for name, weight in (weights or {}).items():
            self.register_buffer(name, weight)
        for name, value in options.items():
            setattr(self, name, value)
        self._options = ("reduction", *(weights or {}), *options)
        self.check()

    def check(self):
        """Refuse a reduction that is not known, before the first batch."""
        require_reduction(type(self).__name__, self.reduction)

    def forward(self, input, target):
        return type(self).function(input, target, **{name: getattr(self, name) for name in self._options})


class CrossEntropyLoss(Loss):
    """−ln softmax(x)[target], in nats per item, or against probabilities; see nn.functional.cross_entropy"""
    function = staticmethod(F.cross_entropy)

    def __init__(self, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(reduction, dict(weight=weight), ignore_index=ignore_index, label_smoothing=label_smoothing)


class NLLLoss(Loss):
    """−x[target], x log-probabilities"""
    function = staticmethod(F.nll_loss)

    def __init__(self, weight=None, *, ignore_index=-100, reduction="mean"):
        super().__init__(reduction, dict(weight=weight), ignore_index=ignore_index)


class MSELoss(Loss):
    """(x − t)²"""
    function = staticmethod(F.mse_loss)

    def __init__(self, *, reduction="mean"):
        super().__init__(reduction)


class L1Loss(Loss):
    """|x − t|"""
    function = staticmethod(F.l1_loss)

    def __init__(self, *, reduction="mean"):
        super().__init__(reduction)


class SmoothL1Loss(Loss):
    """d²/2β where |d| < β, else |d| − β/2, d = x − t"""
    function = staticmethod(F.smooth_l1_loss)

    def __init__(self, *, reduction="mean", beta=1.0):
        super().__init__(reduction, beta=beta)


class HuberLoss(Loss):
    """d²/2 where |d| <= δ, else δ·(|d| − δ/2), d = x − t"""
    function = staticmethod(F.huber_loss)

    def __init__(self, reduction="mean", delta=1.0):
        super().__init__(reduction, delta=delta)


class KLDivLoss(Loss):
    """t·(ln t − x), x log-probabilities; reduction "batchmean" as well"""
    function = staticmethod(F.kl_div)

    def __init__(self, *, reduction="mean", log_target=False):
        super().__init__(reduction, log_target=log_target)

    def check(self):
        """kl_div checks its reduction itself."""


class BCELoss(Loss):
    """−(t·ln x + (1 − t)·ln(1 − x)), x probabilities"""
    function = staticmethod(F.binary_cross_entropy)

    def __init__(self, weight=None, *, reduction="mean"):
        super().__init__(reduction, dict(weight=weight))


class BCEWithLogitsLoss(Loss):
    """−(t·ln σ(x) + (1 − t)·ln(1 − σ(x)))"""
    function = staticmethod(F.binary_cross_entropy_with_logits)

    def __init__(self, weight=None, *, reduction="mean", pos_weight=None):
        super().__init__(reduction, dict(weight=weight, pos_weight=pos_weight))
