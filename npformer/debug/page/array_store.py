"""The arrays of a page: each content once, small ones whole, large ones as means of blocks, all as
base64.

An array is gathered first (`ArrayStore.add`) and written last (`ArrayStore.encode`): only when all
are known can be said how many entries of each fit into a page.

Measured: of the arrays that a page asks for, 3 in 4 have the content of another one (a step's
output is the next one's input, what one sends is what arrives at the next). A TinyTransformer has
152 arrays instead of 579, a GPT of 12 blocks 964 instead of 3,483. With every entry that GPT would
be 70 MB of base64; its page is 3.8 MB.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..views.pictures import edges
from ..views.statistics import row

WHOLE = 4096                                       # entries that are shown one by one: 64 × 64
LEAST = 192                                        # never fewer, however many arrays there are
BUDGET = 4_500_000                                 # characters of all arrays together
PER_ENTRY = 4                                      # characters of base64: three bytes


class ArrayStore:
    """Gathers the arrays of a page and numbers them; `encode` writes them."""

    def __init__(self) -> None:
        self.entries: list[dict] = []              # facts of each array: shape, dtype, norm, ...
        self.arrays: list[np.ndarray | None] = []  # the array itself, where there is one
        self.known: dict = {}                      # an array's content -> its number
        self.blobs: dict[str, int] = {}            # base64 -> its number
        self.words: dict = {}                      # operation -> the number of its words
        self.texts: dict[str, int] = {}            # JSON -> its number: words that steps share
        self.entries_to_show = 0

    def add(self, value: Any) -> int | None:
        """The number of an array, of its ArrayFacts, or of a number; None for what was not kept."""
        if value is None:
            return None
        if not isinstance(value, np.ndarray):
            return self.append(value, None)
        # By content, and not by the place in memory, which would cost less: definitions are made
        # while the page is written, their arrays die, and the next array may lie at the same place.
        # A page did show wrong numbers that way.
        digest = hashlib.blake2b(np.ascontiguousarray(value).data).digest()
        content = digest, value.shape, value.dtype
        if content not in self.known:
            self.known[content] = self.append(value, value)
        return self.known[content]

    def append(self, value, array):
        facts = row("", "", value)
        self.entries.append({
            "shape": list(getattr(value, "shape", ())), "dtype": facts.dtype,
            "norm": finite_or_none(facts.norm), "min": finite_or_none(facts.min),
            "max": finite_or_none(facts.max), "zeros": finite_or_none(facts.zeros),
            "nan": facts.nan, "inf": facts.inf, "note": facts.note})
        self.arrays.append(array)
        self.entries_to_show += 0 if array is None else min(array.size, WHOLE)
        return len(self.entries) - 1

    def text(self, value: Any) -> int:
        """The number of words (anything for JSON) that many steps share."""
        return self.texts.setdefault(json.dumps(value), len(self.texts))

    def blob(self, array: np.ndarray) -> int:
        """The number of an array's bytes in base64; equal bytes are kept once."""
        text = base64.b64encode(np.ascontiguousarray(array).data).decode()
        return self.blobs.setdefault(text, len(self.blobs))

    def encode(self) -> list[dict]:
        """The entries with bytes: `blob`, `kind` (f3, i4, u1), `blocks` where they are means."""
        most = self.most_entries()
        for entry, array in zip(self.entries, self.arrays):
            if array is None or not array.size:
                continue
            if array.size <= most:
                entry["kind"], numbers = choose_bytes(array)
            else:
                entry["kind"], entry["blocks"] = "f3", block_counts(array.shape, most)
                numbers = three_bytes(block_means(array, entry["blocks"]))
            entry["blob"] = self.blob(numbers)
        return self.entries

    def most_entries(self) -> int:
        """The most entries of an array that are shown, so that all together stay within BUDGET. One
        limit for all: large arrays lose detail, for which a map on the screen has little room
        anyway, and small ones (biases, gains) keep every entry. A share of the budget for each
        would take from the small ones too."""
        sizes = [a.size for a in self.arrays if a is not None]
        most = WHOLE
        while most > LEAST and sum(min(size, most) for size in sizes) * PER_ENTRY > BUDGET:
            most //= 2
        return most


def finite_or_none(value: Any) -> float | None:
    """A number in seven digits; None for NaN and infinity, which JSON has not."""
    return float(f"{value:.7g}") if value is not None and math.isfinite(value) else None


def choose_bytes(array):
    """(kind, numbers): how an array's entries are written, one by one."""
    if array.dtype == bool:
        return "u1", array.astype(np.uint8)
    # Integers are mostly tokens and targets, which must be read exactly. JavaScript's typed arrays
    # have 32 bits; larger ones are written as floats.
    if array.dtype.kind in "iu" and np.abs(array.astype(float)).max() < 2 ** 31:
        return "i4", array.astype("<i4")
    return "f3", three_bytes(array)


def three_bytes(array):
    """float32 without its last byte, rounded: four to five digits that count.

    16 of 24 binary digits are left, so the relative error is at most 2⁻¹⁶ (1.5e-5), and the whole
    range of float32: float16 would lose what is below 6e-8, and gradients are. Three bytes are
    four characters of base64, four bytes are 5 1/3: a quarter less. The reader puts a zero byte in
    front of each three and has a float32 (web/src/data.js).
    """
    with np.errstate(over="ignore"):
        single = array.reshape(-1).astype("<f4")
    # Half of the last bit that stays is added to the bits as an integer. A carry runs on into the
    # exponent, as it must: the next number above 1.11…1 · 2ᵏ is 1 · 2ᵏ⁺¹. Not to NaN, whose bits
    # may all be 1 and would run over.
    half = np.where(np.isfinite(single), np.uint32(0x80), np.uint32(0))
    return (single.view("<u4") + half).astype("<u4").view(np.uint8).reshape(-1, 4)[:, 1:]


def block_counts(shape: Sequence[int], most: int) -> list[int]:
    """How many blocks along each dim, so that there are at most `most` of them. The longest dim is
    halved until they fit. So a map keeps about as many rows as columns, and a short dim (heads, a
    batch) stays whole as long as possible: each of its slices can be shown."""
    counts = list(shape)
    while math.prod(counts) > most:
        longest = counts.index(max(counts))
        counts[longest] = (counts[longest] + 1) // 2
    return counts


def block_means(array, counts):
    mean = array.astype(float)
    with np.errstate(all="ignore"):                # of what is NaN or infinite
        # A dim at a time: the mean of a block is the mean of the means of its rows, since all
        # rows of a block are equally long.
        for dim, (size, count) in enumerate(zip(array.shape, counts)):
            ends = edges(size, count)
            lengths = np.diff(ends).reshape([-1 if d == dim else 1 for d in range(array.ndim)])
            mean = np.add.reduceat(mean, ends[:-1], dim) / lengths
    return mean
