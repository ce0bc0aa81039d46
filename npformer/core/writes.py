"""Who wrote into which array: a stamp now, and later the question whether it still holds.

A node that keeps an array keeps its stamp as well, and the backward pass compares. Writes through
npformer are counted, by the array that owns the memory. Memory that was handed out (t.numpy(),
from_numpy, dlpack) can be written without our knowing: such arrays get a checksum in their stamp.

A checksum for every array was too slow to be on by default: of a million float32 it takes 1.2 ms,
seven times as long as to multiply them, while a count is looked up in 0.2 µs. A count alone misses
what NumPy and PyTorch write.
"""

from __future__ import annotations

import weakref
import zlib
from typing import Any

import numpy as np

# By the id of the array that owns the memory: how often npformer wrote into it, and its checksum
# when it was first handed out. A count may outlive its array, and a new array with the same id
# begins at that count: no harm, since stamps are only compared with each other.
_writes: dict[int, int] = {}
_shared: dict[int, int | None] = {}


def owner(array):
    """The array whose memory `array` is a view of: itself, if it is none."""
    while isinstance(array.base, type(array)):
        array = array.base
    return array


def wrote(array) -> None:
    """Note that npformer changed `array` in place."""
    key = id(owner(array))
    _writes[key] = _writes.get(key, 0) + 1


def share(array, fresh: bool = False) -> None:
    """Note that a program outside npformer can write into `array` from now on.

    fresh: it was made this moment, so no stamp of it is older.
    """
    # Older stamps are bare counts. For their sake the checksum of this moment is kept: until now no
    # program outside could write, so it is what the array was when they were made. It goes with the
    # array, or another one with the same id would be held against it.
    root = owner(array)
    key = id(root)
    if isinstance(root, np.ndarray) and key not in _shared:
        _shared[key] = None if fresh else checksum(root)
        weakref.finalize(root, _shared.pop, key, None)


def stamp(array):
    """What `array` is now, for `changed_since`: the count of writes, and a checksum if shared."""
    # Every recorded operation stamps what it keeps, so the usual case, an array that owns its
    # memory and was never shared, is two look-ups and no call.
    key = id(array if array.base is None else owner(array))
    writes = _writes.get(key, 0)
    return (writes, checksum(array)) if key in _shared else writes


def changed_since(array, before):
    """Whether anybody wrote into `array` after `before = stamp(array)`."""
    # A count may be too strict: a write into one half of an array marks a view of the other half.
    # A checksum is of the view alone.
    root = array if array.base is None else owner(array)
    writes = _writes.get(id(root), 0)
    if type(before) is tuple:
        return before != (writes, checksum(array))
    if before != writes:
        return True
    shared_at = _shared.get(id(root))              # shared after the stamp was taken
    return shared_at is not None and shared_at != checksum(root)


def guarded(array):
    """The same numbers for code that must not write into `array`: a view that refuses writes.

    On the GPU a copy, since CuPy's arrays cannot refuse.
    """
    if not isinstance(array, np.ndarray):
        return array.copy()
    view = array.view()
    view.flags.writeable = False
    return view


def checksum(array):
    """CRC-32 of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view("u1").data) if array.size else 0


def place(value: Any) -> tuple | int:
    """Where a value lies, and how: the same for two views of the same numbers."""
    if not isinstance(value, np.ndarray):
        return id(value)
    return value.__array_interface__["data"][0], value.shape, value.strides, value.dtype
