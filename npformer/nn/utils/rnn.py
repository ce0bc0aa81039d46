"""Sequences of unequal length in one tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import ShapeError, ValueRangeError, complaint
from ...functions import cat, new_full, stack, transpose

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...tensors import Tensor


def pad_sequence(sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Tensor:
    """Sequences (L_i, ...) as one tensor (longest L, B, ...), or (B, longest L, ...) with
    batch_first=True.

    padding_value: what fills the shorter ones up, at their "right" or "left" end (padding_side).
    """
    sequences = list(sequences)
    if padding_side not in ("right", "left"):
        raise ValueRangeError(
            f"pad_sequence: padding_side must be 'right' or 'left', got {padding_side!r}")
    if not sequences or len({tuple(s.shape[1:]) for s in sequences}) > 1:
        raise ShapeError(complaint("pad_sequence(sequences)",
                                   "needs sequences that differ in their first dim alone",
                                   {f"sequences[{i}]": s for i, s in enumerate(sequences)}))
    longest = max(len(s) for s in sequences)
    rows = []
    for s in sequences:
        parts = [s, new_full(s, (longest - len(s), *s.shape[1:]), padding_value)]
        rows.append(cat(parts if padding_side == "right" else parts[::-1]))
    padded = stack(rows)                           # (B, L, ...)
    return padded if batch_first else transpose(padded, 0, 1)
