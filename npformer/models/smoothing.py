"""The loss that an encoder-decoder is trained with: words that are nearly right are not wholly
wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import nn
from ..core.errors import ShapeError, ValueRangeError, complaint
from ..functions import zeros_like
from ..nn import functional as F
from ..nn.functional.checks import require_probability

if TYPE_CHECKING:
    from ..tensors import Tensor


class LabelSmoothing(nn.Module):
    """L = Σ q·(ln q − x), q: 1 − smoothing for the right word, the rest shared equally by the
    others but the padding.

    x: log-probabilities (N, V), target integers (N,) -> one number, the sum over all targets that
    are not padding_idx; divide it by their count. size: V, >= 3. smoothing: 0 <= smoothing < 1; 0
    leaves the plain cross-entropy. A model that is surer than q pays for it.   Source: Szegedy et
    al. 2015, arXiv:1512.00567, section 7.
    """

    def __init__(self, size: int, padding_idx: int = 0, smoothing: float = 0.0) -> None:
        super().__init__()
        require_probability("LabelSmoothing(smoothing)", smoothing)
        if size < 3:
            raise ValueRangeError(
                f"LabelSmoothing(size): two words and the padding: size must be >= 3, got {size}")
        self.size, self.padding_idx, self.smoothing = size, padding_idx, smoothing

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.size or target.shape != x.shape[:1]:
            raise ShapeError(complaint("LabelSmoothing(x, target)",
                                       f"x must be (N, {self.size}) and target (N,)",
                                       {"x": x, "target": target},
                                       "Flatten batch and time: x.view(-1, V)."))
        q = zeros_like(x.detach()) + self.smoothing / (self.size - 2)        # (N, V)
        q = q.scatter(1, target.unsqueeze(1), value=1 - self.smoothing)
        q[:, self.padding_idx] = 0
        q = q.masked_fill((target == self.padding_idx).unsqueeze(1), 0)
        return F.kl_div(x, q, reduction="sum")
