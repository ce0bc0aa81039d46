"""Random numbers: one generator whose seed means the same on every device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .errors import ValueRangeError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Generator:
    """A source of random numbers with a state that can be saved: `Generator().manual_seed(0)`.

    Draws are made by NumPy's PCG64 on the CPU and moved to the device, so that a seed means the
    same on both.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.numpy = np.random.Generator(np.random.PCG64(seed))

    def manual_seed(self, seed: int) -> Self:
        """Start again from `seed`, an integer >= 0. Returns the generator."""
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueRangeError(f"manual_seed(seed): seed must be an integer >= 0, got {seed!r}")
        self.numpy.bit_generator.state = np.random.PCG64(int(seed)).state
        return self

    def get_state(self) -> dict[str, Any]:
        """The state as a dict of numbers and strings, for `set_state` or a JSON file."""
        return dict(self.numpy.bit_generator.state)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `get_state` gave."""
        self.numpy.bit_generator.state = state


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the generator that every random function uses unless it is given another. Returns it."""
    return default_generator.manual_seed(seed)
