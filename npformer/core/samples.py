"""What a sample of an operation is made of: functions that draw an array from a random generator.

A plain shape in `op.samples(...)` stands for `real(*shape)`. Values keep their distance from kinks
and ties, so that finite differences mean something there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable


def real(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Standard normal."""
    return lambda rng: rng.standard_normal(shape)


def positive(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Uniform in [0.5, 2)."""
    return lambda rng: rng.uniform(0.5, 2.0, shape)


def distinct(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Away from zero and from each other: no ties, no kinks at 0."""
    size = int(np.prod(shape))
    return lambda rng: ((rng.permutation(size) + 0.75 - size // 2) * 0.37).reshape(shape)


def integers(high: int, *shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Integers in [0, high)."""
    return lambda rng: rng.integers(0, high, shape)


def mask(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Bools; where there is more than one, some are false. The first of each last dim is true."""
    def draw(rng):
        chosen = rng.random(shape) < 0.6
        if chosen.size > 1:
            chosen[..., -1] = False
            chosen[..., 0] = True
        return chosen
    return draw


def value(array) -> Callable[[np.random.Generator], np.ndarray]:
    """That very array."""
    return lambda rng: np.array(array)


def draw(example, rng, dtype=np.float64):
    """(args, options) of one sample with its arrays drawn, floating ones in `dtype`."""
    args, options = example
    drawn = []
    for a in args:
        if isinstance(a, tuple):
            a = real(*a)
        if callable(a):
            a = a(rng)
            a = a.astype(dtype) if a.dtype.kind == "f" else a
        drawn.append(a)
    return drawn, {name: o(rng) if callable(o) else o for name, o in options.items()}
