"""The arrays of a page: each content once, small ones whole, large ones as means of blocks, all as base64."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..views.pictures import edges
from ..views.statistics import row

if TYPE_CHECKING:
    from collections.abc import Sequence

WHOLE = 4096                                       # entries that are shown one by one: 64 × 64
LEAST = 192                                        # what an array is cut down to in a page with very many
BUDGET = 4_500_000                                 # characters of all arrays together, which cut WHOLE down
PER_ENTRY = 4                                      # characters of base64: three bytes


class Store:
    """Gathers the arrays of a page and numbers them; `encoded` writes them."""

    def __init__(self) -> None:
        self.entries: list[dict] = []              # what is said of each array: shape, dtype, norm, ...
        self.arrays: list[np.ndarray | None] = []  # the array itself, where there is one
        self.known: dict = {}                      # an array's content -> its number
        self.blobs: dict[str, int] = {}            # base64 -> its number
        self.words: dict = {}                      # operation -> the number of what is said of it
        self.texts: dict[str, int] = {}            # JSON -> its number: words that many steps share
        self.entries_to_show = 0

    def add(self, value: Any) -> int | None:
        """The number of an array, of its ArrayFacts, or of a number; None for what was not kept."""
        if value is None:
            return None
        if not isinstance(value, np.ndarray):
            return self.append(value, None)
        content = hashlib.blake2b(np.ascontiguousarray(value).data).digest(), value.shape, value.dtype
        if content not in self.known:
            self.known[content] = self.append(value, value)
        return self.known[content]

    def append(self, value, array):
        """A new entry."""
        said = row("", "", value)
        self.entries.append({
            "shape": list(getattr(value, "shape", ())), "dtype": said.dtype, "norm": finite(said.norm), "min": finite(said.min),
            "max": finite(said.max), "zeros": finite(said.zeros), "nan": said.nan, "inf": said.inf, "note": said.note})
        self.arrays.append(array)
        self.entries_to_show += 0 if array is None else min(array.size, WHOLE)
        return len(self.entries) - 1

    def norm(self, number: int | None) -> float | None:
        """‖·‖₂ of an array by its number."""
        return None if number is None else self.entries[number]["norm"]

    def text(self, value: Any) -> int:
        """The number of words (anything for JSON) that many steps share."""
        return self.texts.setdefault(json.dumps(value), len(self.texts))

    def blob(self, array: np.ndarray) -> int:
        """The number of an array's bytes in base64; equal bytes are kept once."""
        text = base64.b64encode(np.ascontiguousarray(array).data).decode()
        return self.blobs.setdefault(text, len(self.blobs))

    def encoded(self) -> list[dict]:
        """The entries, each with its bytes: `blob` and `kind` (f3, i4, u1), and `blocks` where means stand for it."""
        largest = self.cut()
        for entry, array in zip(self.entries, self.arrays):
            if array is None or not array.size:
                continue
            if array.size <= largest:
                entry["kind"], numbers = plain(array)
            else:
                entry["kind"], entry["blocks"] = "f3", fitting(array.shape, largest)
                numbers = three_bytes(averaged(array, entry["blocks"]))
            entry["blob"] = self.blob(numbers)
        return self.entries

    def cut(self) -> int:
        """How many entries are shown whole, so that all arrays together stay within BUDGET."""
        sizes = [a.size for a in self.arrays if a is not None]
        largest = WHOLE
        while largest > LEAST and sum(min(size, largest) for size in sizes) * PER_ENTRY > BUDGET:
            largest //= 2
        return largest


def finite(value: Any) -> float | None:
    """A number as the page shows it, in seven digits; NaN and infinity, which JSON has not, are none."""
    return float(f"{value:.7g}") if value is not None and math.isfinite(value) else None


def plain(array):
    """(kind, numbers): an array's entries as a page keeps them."""
    if array.dtype == bool:
        return "u1", array.astype(np.uint8)
    if array.dtype.kind in "iu" and np.abs(array.astype(float)).max() < 2 ** 31:
        return "i4", array.astype("<i4")
    return "f3", three_bytes(array)


def three_bytes(array):
    """float32 without the last byte, rounded: 16 bits that count, four to five digits."""
    with np.errstate(over="ignore"):
        short = array.reshape(-1).astype("<f4")
    bits = short.view("<u4") + np.where(np.isfinite(short), np.uint32(0x80), np.uint32(0))
    return bits.astype("<u4").view(np.uint8).reshape(-1, 4)[:, 1:]


def fitting(shape: Sequence[int], most: int) -> list[int]:
    """How many blocks along each dim, so that there are at most `most`: the longest dim is halved until it fits."""
    counts = list(shape)
    while math.prod(counts) > most:
        longest = counts.index(max(counts))
        counts[longest] = (counts[longest] + 1) // 2
    return counts


def averaged(array, counts):
    """The mean of each block."""
    mean = array.astype(float)
    with np.errstate(all="ignore"):
        for dim, (size, count) in enumerate(zip(array.shape, counts)):
            ends = edges(size, count)
            lengths = np.diff(ends).reshape([-1 if d == dim else 1 for d in range(array.ndim)])
            mean = np.add.reduceat(mean, ends[:-1], dim) / lengths
    return mean
