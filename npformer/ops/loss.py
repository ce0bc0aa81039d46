"""Cross-entropy, fused. The other losses are composites, in nn.functional, where their options are.
"""

import numpy as np

from ..core.dtypes import is_float
from ..core.errors import DTypeError, IndexRangeError, ShapeError
from ..core.operation import fused
from ..core.samples import integers, value
from .activation import log_softmax
from .elementwise import div, mul, neg
from .indexing import gather
from .reduce import mean
from .shape import keep, reshape, sum


@fused(dims=lambda reduction: "nv, n, v -> n" if reduction == "none" else "nv, n, v ->")
def cross_entropy(logits, target, weight, *,
                  ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """L = Σ wₙ·ℓₙ / Σ wₙ, ℓₙ = −ln pₙ[targetₙ], p = softmax(logits); nats per item.

        dlogits = (g / Σ w) · (wₙ·p − w·q),  q is 1 at the target

    logits (N, V), target integers (N,), weight (V,) or None -> one number, or (N,) for "none"

    Items whose target is ignore_index count nowhere. label_smoothing ε: 0 <= ε <= 1; then q is
    1 − ε + ε/V at the target and ε/V elsewhere.
    Source: Szegedy et al. 2015, arXiv:1512.00567, section 7.
    """
    valid, safe, w, total = weights_of(target, weight, ignore_index, logits)
    logp = log_softmax(logits, dim=-1)             # (N, V)
    chosen = reshape(gather(logp, safe[:, None], dim=1), shape=safe.shape)
    loss = mul(neg(chosen), w * (1 - label_smoothing))
    if label_smoothing:
        spread = logp if weight is None else mul(logp, weight)
        loss = loss + mul(neg(keep(mean(spread, 1), valid)), label_smoothing)
    if reduction == "none":
        return loss
    return sum(loss) if reduction == "sum" else div(sum(loss), total)


cross_entropy.constant("target", "weight")


def weights_of(target, weight, ignore_index, logits):
    """(which items count, their targets, the weight of each, the sum of the weights)"""
    # An item that does not count gets target 0 and weight 0, so that nothing has to be cut out: the
    # arrays keep their shape, and its gradient is an exact 0.
    valid = target != ignore_index
    safe = np.where(valid, target, 0)
    if weight is None:
        w = valid.astype(logits.dtype)
    else:
        w = np.where(valid, weight[safe], weight.dtype.type(0))
    return valid, safe, w, w.sum()


def check_cross_entropy(logits, target, weight, ignore_index):
    """Raise where logits and target do not fit, before anything is computed."""
    if not is_float(logits.dtype):
        raise DTypeError("cross_entropy(logits, target): logits must be floating, "
                         f"got {logits.dtype}")
    if logits.ndim != 2 or target.shape != logits.shape[:1]:
        raise ShapeError("cross_entropy(logits, target): logits (N, V) need N targets\n"
                         f"  logits {logits.shape}\n  target {target.shape}")
    if target.dtype.kind not in "iu":
        raise DTypeError("cross_entropy(logits, target): class indices must be integers, "
                         f"got {target.dtype}")
    if weight is not None and weight.shape != logits.shape[1:]:
        raise ShapeError("cross_entropy(logits, target, weight): weight needs one entry a class\n"
                         f"  logits {logits.shape}\n  weight {weight.shape}")
    bad = (target != ignore_index) & ((target < 0) | (target >= logits.shape[1]))
    if bad.any():
        raise IndexRangeError(
            f"cross_entropy(logits, target): label {int(target[bad][0])} is out of range: "
            f"it must be from 0 to {logits.shape[1] - 1}, or ignore_index ({ignore_index})")


@cross_entropy.forward
def cross_entropy_forward(logits, target, weight, *,
                          ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    # −ln p is taken as ln Σ e^s − s of the shifted logits s, never as the logarithm of p, which is
    # 0 in float32 where s is below −104 or so: the loss would be infinite. p itself is what the
    # backward needs, so it is made in the same pass, in place.
    check_cross_entropy(logits, target, weight, ignore_index)
    valid, safe, w, total = weights_of(target, weight, ignore_index, logits)
    items = np.arange(len(safe), like=safe)
    shifted = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(shifted)
    sums = p.sum(axis=1, keepdims=True)
    p /= sums
    lse = np.log(sums[:, 0])
    loss = (lse - shifted[items, safe]) * w * (1 - label_smoothing)
    if label_smoothing:
        if weight is None:
            spread = lse - shifted.mean(axis=1)
        else:
            spread = ((lse[:, None] - shifted) * weight).mean(axis=1)
        loss += np.where(valid, spread, spread.dtype.type(0)) * label_smoothing
    saved = dict(p=p, w=w, valid=valid, target=safe, weight=weight, label_smoothing=label_smoothing,
                 total=total if reduction == "mean" else None)
    if reduction == "none":
        return loss, saved
    with np.errstate(invalid="ignore"):            # no item counts: 0/0 = NaN, as in PyTorch
        return (loss.sum() if reduction == "sum" else loss.sum() / total), saved


@cross_entropy.backward
def cross_entropy_backward(g, *, p, w, valid, target, weight, label_smoothing, total):
    each = g if total is None else g / total       # what arrives at each item's loss
    items = np.arange(len(target), like=target)
    if not label_smoothing:
        # q is 1 at one place of a row: taken away there, and no (N, V) array of zeros is made.
        scale = each * w
        dlogits = p * scale[:, None]
        dlogits[items, target] -= scale
        return dlogits, None, None
    share = label_smoothing / p.shape[1]           # what smoothing gives each class
    q = np.zeros_like(p)
    q[items, target] = w * (1 - label_smoothing)
    if weight is None:
        q += (valid * p.dtype.type(share))[:, None]
    else:
        q += valid[:, None] * (weight * share)
    dlogits = p * q.sum(axis=1, keepdims=True) - q
    dlogits *= each[:, None] if each.ndim else each
    return dlogits, None, None


_weight = value([0.5, 1.5, 2.0, 0.7, 1.1])
cross_entropy.samples((7, 5), integers(5, 7), None)
cross_entropy.samples((7, 5), value([0, 4, -100, 4, 1, 2, -100]), _weight, label_smoothing=0.2)
cross_entropy.samples((7, 5), integers(5, 7), None, reduction="sum", label_smoothing=0.1)
cross_entropy.samples((7, 5), value([0, 4, 3, 4, 1, 2, 3]), _weight,
                      ignore_index=3, reduction="none")
