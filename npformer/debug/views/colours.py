"""Colours for numbers: blue below zero, orange above, nothing at zero.

Blue and orange, because colour-blind readers tell them apart; red and green many do not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Palette(NamedTuple):
    """What stands for 0, −1, +1 and NaN, each (red, green, blue) in 0 to 255."""

    zero: tuple[int, int, int]
    negative: tuple[int, int, int]
    positive: tuple[int, int, int]
    nan: tuple[int, int, int]


DARK = Palette((34, 36, 42), (92, 184, 255), (255, 166, 54), (214, 98, 196))
LIGHT = Palette((236, 237, 240), (0, 78, 170), (186, 76, 0), (160, 30, 140))


def shade_grid(grid: np.ndarray, palette: Palette) -> np.ndarray:
    """(rows, columns, 3) bytes for numbers in −1 to 1: from zero's colour towards the sign's."""
    numbers = np.nan_to_num(grid)[..., None]
    toward = np.where(numbers < 0, palette.negative, palette.positive) - np.array(palette.zero)
    shaded = palette.zero + np.abs(np.clip(numbers, -1, 1)) * toward
    return np.where(np.isnan(grid)[..., None], palette.nan, shaded).round().astype(np.uint8)


def shade_by_opacity(grid: np.ndarray) -> np.ndarray:
    """(rows, columns, 4) bytes for numbers in −1 to 1: the larger a number, the more opaque. For a
    notebook, whose background may be dark or light and is not ours to know."""
    numbers = np.nan_to_num(grid)[..., None]
    hue = np.where(numbers < 0, (20, 112, 214), (222, 104, 8))
    shaded = np.concatenate([hue, 255 * np.abs(np.clip(numbers, -1, 1))], axis=-1)
    return np.where(np.isnan(grid)[..., None], (190, 60, 170, 255), shaded).round().astype(np.uint8)
