"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import ValueRangeError
from .optimizer import Optimizer, descent_direction, require_at_least_zero

if TYPE_CHECKING:
    from ..tensors import Tensor
    from ..typing import Params


class SGD(Optimizer):
    """p ← p − lr·b, b ← momentum·b + (1 − dampening)·(g + weight_decay·p); the first b is the
    gradient itself.

    lr: default 1e-3. nesterov: p ← p − lr·(g + momentum·b). maximize: uphill. foreach, fused:
    taken, and without effect.   Source: Sutskever et al. 2013.
    """

    def __init__(self, params: Params, lr: float = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, fused: bool | None = None) -> None:
        super().__init__(params,
                         dict(lr=lr, momentum=momentum, dampening=dampening,
                              weight_decay=weight_decay,
                              nesterov=nesterov, maximize=maximize))

    def check(self, group: dict[str, Any]) -> None:
        require_at_least_zero(self, group, "lr", "momentum", "weight_decay")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueRangeError("SGD: nesterov=True needs momentum > 0 and dampening 0")

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        for p in params:
            g = descent_direction(p, group, group["weight_decay"])
            s = self.scratch(p.array)
            if momentum:
                b = self.state[p].get("momentum_buffer")
                if b is None:
                    b = self.state[p]["momentum_buffer"] = g.copy()
                else:
                    b *= momentum
                    np.multiply(g, 1 - group["dampening"], out=s)
                    b += s
                g = g + momentum * b if group["nesterov"] else b
            np.multiply(g, lr, out=s)
            p.array -= s
