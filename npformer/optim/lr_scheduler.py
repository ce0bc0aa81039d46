"""Schedules: how the learning rate changes from step to step.

t counts the scheduler's steps, from 0.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..core.errors import DTypeError, ValueRangeError, describe
from .optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable


class LRScheduler:
    """The base of every schedule: call `step()` after each `optimizer.step()` (or after each
    epoch).

    A subclass defines `rate(group, base)`: the next lr of a group whose first lr was `base`;
    self.last_epoch is t. Rates that build on group["lr"] can be combined with other schedules of
    the same optimiser.
    """

    unsaved: tuple[str, ...] = ("optimizer",)      # attributes that state_dict leaves out

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise DTypeError(
                f"{type(self).__name__}(optimizer): got {describe(optimizer)}, which is not "
                "an Optimizer")
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueRangeError(
                    f"{type(self).__name__}(last_epoch={last_epoch}): the optimiser's groups have "
                    "no 'initial_lr'; load its state_dict first")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def rate(self, group: dict[str, Any], base: float) -> float:
        """The lr of a group at t = self.last_epoch."""
        raise NotImplementedError(
            f"{type(self).__name__} has no rate: define `def rate(self, group, base)`")

    def step(self) -> None:
        """Go on to the next t and set every group's lr."""
        self.last_epoch += 1
        self.set_rates()

    def set_rates(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs):
            group["lr"] = self.rate(group, base)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def restart(self) -> None:
        """Begin at t = 0, from the first lr."""
        self.last_epoch = 0
        for group, base in zip(self.optimizer.param_groups, self.base_lrs):
            group["lr"] = base
        self.set_rates()

    def get_last_lr(self) -> list[float]:
        """The lr of each group, as it is now."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser (and functions), for load_state_dict."""
        return {name: value for name, value in self.__dict__.items() if name not in self.unsaved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state that state_dict gave.

        The lr itself stands in the optimiser's state.
        """
        self.__dict__.update(state_dict)


class LambdaLR(LRScheduler):
    """lr = base·lr_lambda(t); lr_lambda: a function, or one for each group"""

    unsaved = ("optimizer", "lr_lambdas")

    def __init__(self, optimizer: Optimizer,
                 lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
                 last_epoch: int = -1) -> None:
        groups = len(optimizer.param_groups)
        if not isinstance(lr_lambda, (list, tuple)):
            lr_lambda = [lr_lambda] * groups
        self.lr_lambdas = list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise ValueRangeError(
                f"LambdaLR: {len(self.lr_lambdas)} functions for {groups} groups of parameters")
        super().__init__(optimizer, last_epoch)

    def set_rates(self) -> None:
        for group, base, function in zip(self.optimizer.param_groups, self.base_lrs,
                                         self.lr_lambdas):
            group["lr"] = base * function(self.last_epoch)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class StepLR(LRScheduler):
    """lr ← gamma·lr every step_size steps"""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1,
                 last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, group: dict[str, Any], base: float) -> float:
        now = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return group["lr"] * self.gamma if now else group["lr"]


class MultiStepLR(LRScheduler):
    """lr ← gamma·lr at each of the milestones"""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1,
                 last_epoch: int = -1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, group: dict[str, Any], base: float) -> float:
        return group["lr"] * self.gamma ** self.milestones.count(self.last_epoch)


class ExponentialLR(LRScheduler):
    """lr ← gamma·lr at every step"""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, group: dict[str, Any], base: float) -> float:
        return group["lr"] * self.gamma if self.last_epoch > 0 else group["lr"]


class LinearLR(LRScheduler):
    """lr = base·(start_factor + (end_factor − start_factor)·min(t, total_iters) / total_iters)"""

    def __init__(self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0,
                 total_iters: int = 5, last_epoch: int = -1) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueRangeError(
                "LinearLR: 0 < start_factor <= 1 and 0 <= end_factor <= 1 must hold, got "
                f"{start_factor} and {end_factor}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * min(
            t, self.total_iters) / self.total_iters

    def rate(self, group: dict[str, Any], base: float) -> float:
        t = self.last_epoch
        if t == 0:
            return group["lr"] * self.start_factor
        return group["lr"] * (
            self.factor(t) / self.factor(t - 1)) if t <= self.total_iters else group["lr"]


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (base − eta_min)·(1 + cos(π·t / T_max)) / 2.

    Source: Loshchilov and Hutter 2016.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0,
                 last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, group: dict[str, Any], base: float) -> float:
        t, lr = self.last_epoch, group["lr"]
        if t == 0:
            return lr
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0:  # from the bottom there is no ratio
            return lr + (base - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        now, before = (1 + math.cos(math.pi * u / self.T_max) for u in (t, t - 1))
        return now / before * (lr - self.eta_min) + self.eta_min


class NoamLR(LRScheduler):
    """lr = base·d_model^(−½)·min(s^(−½), s·warmup_steps^(−3/2)), s = t + 1: up in a line, then down
    as 1/√s.

    With the optimiser's lr at 1 it is the paper's.   Source: Vaswani et al. 2017, arXiv:1706.03762,
    equation 3.
    """

    def __init__(self, optimizer: Optimizer, d_model: int, warmup_steps: int = 4000,
                 last_epoch: int = -1) -> None:
        if d_model <= 0 or warmup_steps <= 0:
            raise ValueRangeError(
                f"NoamLR: d_model and warmup_steps must be > 0, got {d_model} and {warmup_steps}")
        self.d_model, self.warmup_steps = d_model, warmup_steps
        super().__init__(optimizer, last_epoch)

    def rate(self, group: dict[str, Any], base: float) -> float:
        s = self.last_epoch + 1
        return base * self.d_model ** -0.5 * min(s ** -0.5, s * self.warmup_steps ** -1.5)


class WarmupLR(LRScheduler):
    """lr = base·t / warmup_steps up to warmup_steps; then down to 0 at total_steps along `decay`.

    decay: "linear", "cosine" (half a wave), or "constant", which stays at base; total_steps is not
    needed then.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int, total_steps=None,
                 decay: str = "linear", last_epoch: int = -1) -> None:
        if decay not in ("linear", "cosine", "constant"):
            raise ValueRangeError(
                f"WarmupLR: decay must be 'linear', 'cosine' or 'constant', got {decay!r}")
        if decay != "constant" and (total_steps is None or total_steps <= warmup_steps):
            raise ValueRangeError(
                f"WarmupLR: total_steps must be above warmup_steps ({warmup_steps}), "
                f"got {total_steps}")
        self.warmup_steps, self.total_steps, self.decay = warmup_steps, total_steps, decay
        super().__init__(optimizer, last_epoch)

    def rate(self, group: dict[str, Any], base: float) -> float:
        t = self.last_epoch
        if t < self.warmup_steps:
            return base * t / self.warmup_steps
        if self.decay == "constant":
            return base
        done = min((t - self.warmup_steps) / (self.total_steps - self.warmup_steps), 1)
        return base * (1 - done if self.decay == "linear" else (1 + math.cos(math.pi * done)) / 2)


class OneCycleLR(LRScheduler):
    """lr from max_lr/div_factor up to max_lr in the first pct_start of the steps, then down to
    1/final_div_factor of the first; momentum (or β₁) from max_momentum down to base_momentum and
    back, unless cycle_momentum is False.

    total_steps, or epochs·steps_per_epoch. max_lr: a number, or one for each group.
    anneal_strategy: "cos" or "linear". three_phase: down to the first lr as slowly as up, and only
    then further.   Source: Smith and Topin 2017, arXiv:1708.07120.
    """

    def __init__(self, optimizer: Optimizer, max_lr: float | Sequence[float],
                 total_steps: int | None = None, epochs: int | None = None,
                 steps_per_epoch: int | None = None, pct_start: float = 0.3,
                 anneal_strategy: str = "cos", cycle_momentum: bool = True,
                 base_momentum: float = 0.85, max_momentum: float = 0.95, div_factor: float = 25.0,
                 final_div_factor: float = 1e4, three_phase: bool = False,
                 last_epoch: int = -1) -> None:
        steps = total_steps if total_steps is not None else (epochs or 0) * (steps_per_epoch or 0)
        if steps < 1 or not 0 <= pct_start <= 1 or anneal_strategy not in ("cos", "linear"):
            raise ValueRangeError(
                "OneCycleLR: needs total_steps >= 1 (or epochs and steps_per_epoch), 0 <= "
                "pct_start <= 1 "
                f"and anneal_strategy 'cos' or 'linear', got {steps} steps, "
                f"{pct_start!r}, {anneal_strategy!r}")
        self.total_steps, self.linear = steps, anneal_strategy == "linear"
        peak = pct_start * steps - 1
        self.ends = [peak, 2 * peak, steps - 1] if three_phase else [peak, steps - 1]
        self.cycle_momentum = cycle_momentum
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        groups = getattr(optimizer, "param_groups", [])
        highest = list(max_lr) if isinstance(max_lr, Sequence) else [max_lr] * len(groups)
        if len(highest) != len(groups):
            raise ValueRangeError(
                f"OneCycleLR: {len(highest)} entries of max_lr for {len(groups)} groups of "
                "parameters")
        for group, top in zip(groups, highest):
            if last_epoch == -1:
                first = top / div_factor
                group.update(max_lr=top, initial_lr=first, min_lr=first / final_div_factor)
        super().__init__(optimizer, last_epoch)

    def between(self, first: float, top: float, last: float) -> float:
        """The value at t on the way first -> top -> last, or first -> top -> first -> last."""
        stops, start = [first, top, last] if len(self.ends) == 2 else [first, top, first, last], 0.0
        for k, end in enumerate(self.ends):
            if self.last_epoch <= end or k == len(self.ends) - 1:
                done = (self.last_epoch - start) / (end - start)
                share = done if self.linear else (1 - math.cos(math.pi * done)) / 2
                return stops[k] + (stops[k + 1] - stops[k]) * share
            start = end
        return last

    def set_rates(self) -> None:
        if self.last_epoch > self.total_steps:
            raise ValueRangeError(
                f"OneCycleLR: step {self.last_epoch}, but it was made for {self.total_steps} steps")
        momentum = self.between(self.max_momentum, self.base_momentum, self.max_momentum)
        for group in self.optimizer.param_groups:
            group["lr"] = self.between(group["initial_lr"], group["max_lr"], group["min_lr"])
            if self.cycle_momentum and "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            elif self.cycle_momentum:
                group["momentum"] = momentum
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class SequentialLR(LRScheduler):
    """One schedule after another: schedulers[i] serves from milestones[i − 1] on, where it starts
    at its own t = 0."""

    unsaved = ("optimizer", "schedulers")

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler],
                 milestones: Sequence[int], last_epoch: int = -1) -> None:
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ValueRangeError(
                f"SequentialLR: {len(schedulers)} schedules need {max(len(schedulers) - 1, 0)} "
                f"milestones between them, got {len(milestones)}")
        if any(s.optimizer is not optimizer for s in schedulers):
            raise ValueRangeError(
                "SequentialLR: all schedules must be of the optimiser that it is given")
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer, last_epoch)

    def set_rates(self) -> None:
        i = bisect_right(self.milestones, self.last_epoch)
        if self.last_epoch == 0 or i and self.milestones[i - 1] == self.last_epoch:
            self.schedulers[i].restart()
        else:
            self.schedulers[i].step()
        self._last_lr = self.schedulers[i].get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """As for the others, with the states of the schedules in it."""
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self.schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state that state_dict gave."""
        rest = dict(state_dict)
        for scheduler, state in zip(self.schedulers, rest.pop("schedulers")):
            scheduler.load_state_dict(state)
        super().load_state_dict(rest)
