"""Switches that programs set once, at their top: what is printed, what is checked, how exact a
product is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .core import devices, random_numbers
from .core.errors import ValueRangeError
from .interop import PRINT

if TYPE_CHECKING:
    from collections.abc import Callable

PROFILES = {"default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
            "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
            "full": {"precision": 4, "threshold": 10 ** 12, "edgeitems": 3, "linewidth": 80}}


def set_printoptions(precision: int | None = None, threshold: int | None = None,
                     edgeitems: int | None = None, linewidth: int | None = None,
                     profile: str | None = None, sci_mode: bool | None = None) -> None:
    """How tensors are printed: decimals, from how many entries on shortened, entries at each end,
    columns in a line.

    profile: "default", "short" or "full", from which the others depart. sci_mode: taken and without
    effect; numbers are never written with an exponent.
    """
    if profile is not None and profile not in PROFILES:
        raise ValueRangeError(
            f"set_printoptions(profile): one of {', '.join(PROFILES)}, got {profile!r}")
    PRINT.update(PROFILES[profile] if profile else {})
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems,
             "linewidth": linewidth}
    PRINT.update({name: value for name, value in given.items() if value is not None})


def set_default_device(device) -> None:
    """Where new tensors live from now on: "cpu" or "cuda"."""
    devices.set_backend(devices.device_name(device))


def set_float32_matmul_precision(precision: str) -> None:
    """Taken as in PyTorch, and without effect: products of float32 are always computed in float32,
    the "highest"."""
    if precision not in ("highest", "high", "medium"):
        raise ValueRangeError(
            f"set_float32_matmul_precision: 'highest', 'high' or 'medium', got {precision!r}")


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Taken as in PyTorch, and without effect: the CPU's results are deterministic."""


def compile(model: Any = None, **options: Any) -> Any | Callable:
    """The model or function itself: there is no compiler here, and a program that asks for one
    runs as it is."""
    return (lambda function: function) if model is None else model


def get_rng_state() -> dict[str, Any]:
    """The state of the generator that random functions use, for `set_rng_state`."""
    return random_numbers.default_generator.get_state()


def set_rng_state(new_state: dict[str, Any]) -> None:
    """Go on drawing from a state that `get_rng_state` gave."""
    random_numbers.default_generator.set_state(new_state)
