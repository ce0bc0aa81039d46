"""Adam and AdamW."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import ValueRangeError
from .optimizer import Optimizer, descent_direction, require_at_least_zero

if TYPE_CHECKING:
    from ..tensors import Tensor
    from ..typing import Params


class Adam(Optimizer):
    """p ← p − lr·m̂ / (√v̂ + eps), m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ)

        m ← β₁·m + (1 − β₁)·g        v ← β₂·v + (1 − β₂)·g²        g with weight_decay·p added

    lr: default 1e-3. betas: each 0 <= β < 1. amsgrad: the largest v so far serves. maximize:
    uphill. foreach, fused: how PyTorch is to compute it; taken, and without effect.
    Source: Kingma and Ba 2014, arXiv:1412.6980, algorithm 1; amsgrad: Reddi et al. 2018.
    """

    decoupled = False  # whether the decay acts on p itself instead of on g

    def __init__(self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *,
                 maximize: bool = False, foreach: bool | None = None,
                 fused: bool | None = None) -> None:
        super().__init__(params,
                         dict(lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay,
                              amsgrad=amsgrad,
                              maximize=maximize))

    def check(self, group: dict[str, Any]) -> None:
        require_at_least_zero(self, group, "lr", "eps", "weight_decay")
        if len(group["betas"]) != 2 or not all(0 <= b < 1 for b in group["betas"]):
            raise ValueRangeError(
                f"{type(self).__name__}: betas must be two numbers, 0 <= beta < 1, "
                f"got {group['betas']}")

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        lr, (b1, b2), decay = group["lr"], group["betas"], group["weight_decay"]
        for p in params:
            state = self.state[p] or self.start_state(p, group)
            state["step"] += 1
            m, v, s = state["exp_avg"], state["exp_avg_sq"], self.scratch(p.array)
            if decay and self.decoupled:
                p.array *= 1 - lr * decay
            g = descent_direction(p, group, 0 if self.decoupled else decay)
            np.subtract(g, m, out=s)               # m += (1 − β₁)·(g − m)
            s *= 1 - b1
            m += s
            v *= b2                                # v = β₂·v + (1 − β₂)·g²
            np.multiply(g, 1 - b2, out=s)
            s *= g
            v += s
            if group["amsgrad"]:
                v = np.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
            np.sqrt(v, out=s)                      # p −= lr / (1 − β₁ᵗ) · m / (√v̂ + eps)
            s /= (1 - b2 ** state["step"]) ** 0.5
            s += group["eps"]
            np.divide(m, s, out=s)
            s *= lr / (1 - b1 ** state["step"])
            p.array -= s

    def start_state(self, p, group):
        """The state before the first step."""
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"]
        self.state[p].update(step=0, **{name: np.zeros_like(p.array) for name in names})
        return self.state[p]


class AdamW(Adam):
    """Adam whose decay acts on p itself: first p ← p·(1 − lr·weight_decay), and g stays as it is.

    weight_decay: default 0.01.   Source: Loshchilov and Hutter 2017, arXiv:1711.05101, algorithm 2.
    """

    decoupled = True

    def __init__(self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.01, amsgrad: bool = False, *,
                 maximize: bool = False, foreach: bool | None = None,
                 fused: bool | None = None) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
