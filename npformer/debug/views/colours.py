"""Colours for numbers: blue below zero, orange above, which colour-blind readers tell apart; nothing at zero."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Palette(NamedTuple):
    """What stands for 0, −1, +1 and for what is no number, each (red, green, blue) in 0 to 255."""

    zero: tuple[int, int, int]
    negative: tuple[int, int, int]
    positive: tuple[int, int, int]
    nan: tuple[int, int, int]


DARK = Palette((34, 36, 42), (92, 184, 255), (255, 166, 54), (214, 98, 196))
LIGHT = Palette((236, 237, 240), (0, 78, 170), (186, 76, 0), (160, 30, 140))


def painted(grid: np.ndarray, palette: Palette) -> np.ndarray:
    """(rows, columns, 3) bytes for numbers in −1 to 1: zero's colour, shaded towards the sign's; NaN has its own."""
    known = np.nan_to_num(grid)
    toward = np.where(known[..., None] < 0, palette.negative, palette.positive)
    shaded = palette.zero + np.abs(np.clip(known, -1, 1))[..., None] * (toward - np.array(palette.zero))
    return np.where(np.isnan(grid)[..., None], palette.nan, shaded).round().astype(np.uint8)


def translucent(grid: np.ndarray) -> np.ndarray:
    """(rows, columns, 4) bytes for numbers in −1 to 1: the sign's colour, the more opaque the larger; for any background."""
    known = np.nan_to_num(grid)
    hue = np.where(known[..., None] < 0, (20, 112, 214), (222, 104, 8))
    seen = np.concatenate([hue, 255 * np.abs(np.clip(known, -1, 1))[..., None]], axis=-1)
    return np.where(np.isnan(grid)[..., None], (190, 60, 170, 255), seen).round().astype(np.uint8)
