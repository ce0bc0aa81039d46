"""Optimizer: parameter groups with their options, state for each parameter, and how both are
saved."""

from __future__ import annotations

import copy
from collections import defaultdict
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import enable_grad
from ..core import devices, writes
from ..core.errors import DTypeError, GraphError, ShapeError, ValueRangeError, complaint, describe
from ..core.operation import as_array
from ..nn.state import plain_array
from ..tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..typing import Params


class Optimizer:
    """The base of every optimiser. params: Parameters, or dicts of "params" and options that differ
    from the defaults.

    A subclass defines `update(group, params)`, which writes into params[i].array.
    """

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor) or not hasattr(params, "__iter__"):
            raise DTypeError(
                "an optimiser takes several parameters: give it a list, or model.parameters()")
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._scratch: dict[tuple, np.ndarray] = {}
        groups: list = list(params)
        if not groups:
            raise ValueRangeError(f"{type(self).__name__}: it got an empty list of parameters.\n"
                                  "  A generator such as model.parameters() is used up by the "
                                  "first loop over it.")
        for group in groups if isinstance(groups[0], dict) else [dict(params=groups)]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Optimise more parameters: a dict of "params" and of options that differ from the
        defaults."""
        if not isinstance(param_group, dict):
            raise DTypeError(
                f"add_param_group: a group is a dict with the key 'params', got "
                f"{describe(param_group)}")
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        known = {p for group in self.param_groups for p in group["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise DTypeError(f"{type(self).__name__}: it optimises Tensors, got {describe(p)}")
            if not p.is_leaf:
                raise GraphError(complaint(type(self).__name__,
                                           "it optimises leaves, not the result of an operation",
                                           {"parameter": p},
                                           "Optimise what it was made of, or a detached copy."))
            if p in known or sum(p is q for q in params) > 1:
                raise ValueRangeError(
                    complaint(type(self).__name__, "a parameter comes twice", {"parameter": p}))
        group = {**self.defaults, **param_group, "params": params}
        self.check(group)
        self.param_groups.append(group)

    def check(self, group: dict[str, Any]) -> None:
        """Raise where an option of a group is out of range."""

    def step(self, closure: Callable[[], Any] | None = None):
        """Change every parameter that has a gradient.

        closure: computes the loss anew and returns it; so does step.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            self.update(group, params)
            for p in params:
                writes.wrote(p.array)
        return loss

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """One step for the parameters of a group that have gradients."""
        raise NotImplementedError(
            f"{type(self).__name__} has no update: define `def update(self, group, params)`")

    def scratch(self, array):
        """An array of the same shape and kind, for passing results; it is used again and again."""
        key = (type(array), array.shape, array.dtype)
        if key not in self._scratch:
            self._scratch[key] = np.empty_like(array)
        return self._scratch[key]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or set them to zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = None if set_to_none else p.wrap(np.zeros_like(p.array))

    # ── saving ────────────────────────────────────────────────────────────────────────────────────

    def state_dict(self) -> dict[str, Any]:
        """As PyTorch's: {"state": {number of a parameter: its state}, "param_groups": [options,
        "params": numbers]}."""
        numbers = {p: i
                   for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
        return {
            "state": {numbers[p]: {name: Tensor.wrap(v) if is_array(v) else v
                                   for name, v in entries.items()}
                      for p, entries in self.state.items() if p in numbers},
            "param_groups": [{**group, "params": [numbers[p] for p in group["params"]]}
                             for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state that state_dict gave, here or in PyTorch; arrays are copied."""
        groups, saved = self.param_groups, state_dict["param_groups"]
        lengths = [len(g["params"]) for g in groups], [len(g["params"]) for g in saved]
        if lengths[0] != lengths[1]:
            raise ShapeError(
                f"{type(self).__name__}.load_state_dict: the groups have {lengths[0]} parameters, "
                f"the state_dict's {lengths[1]}")
        params = {i: p for old, group in zip(saved, groups)
                  for i, p in zip(old["params"], group["params"])}
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for i, entries in state_dict["state"].items():
            p = params[int(i)]
            state[p] = {name: self.restore_entry(p, name, v) for name, v in entries.items()}
        self.state = state
        self.param_groups = [{**copy.deepcopy(options_of(old)), "params": group["params"]}
                             for old, group in zip(saved, groups)]

    def restore_entry(self, p, name, value):
        """One entry of a parameter's state: the number of steps, or an array like the parameter."""
        if name == "step" or value is None:
            return value if value is None else int(value)
        array = plain_array(name, value)
        if array.shape != p.array.shape:
            raise ShapeError(
                f"{type(self).__name__}.load_state_dict: {name} has shape {array.shape}, its "
                f"parameter {p.array.shape}")
        return devices.move(array, devices.device_of(p.array)).astype(p.array.dtype, copy=True)

    def __repr__(self):
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines += [f"Parameter Group {i}",
                      *(f"    {k}: {v}" for k, v in sorted(options_of(group).items()))]
        return "\n".join([*lines, ")"])


def options_of(group):
    """A group without its parameters."""
    return {name: value for name, value in group.items() if name != "params"}


def is_array(value):
    """Whether an entry of a parameter's state is an array rather than a number."""
    return hasattr(value, "shape")


def require_at_least_zero(optimizer, group, *names):
    """Raise unless these options of a group are >= 0."""
    for name in names:
        if not isinstance(group[name], (Real, Tensor)) or not group[name] >= 0:
            raise ValueRangeError(
                f"{type(optimizer).__name__}: {name} must be >= 0, got {group[name]!r}")


def descent_direction(p, group, weight_decay):
    """Which way is down for p: dL/dp, its sign turned if L is to be maximised, plus
    weight_decay·p."""
    g = -p.grad.array if group["maximize"] else p.grad.array
    return as_array(g + weight_decay * p.array if weight_decay else g, p.array)
