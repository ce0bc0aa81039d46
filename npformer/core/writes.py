"""Who wrote into which array: a stamp now, and later the question whether it still holds.

A node that keeps an array keeps its stamp as well, and the backward pass compares. Writes through
npformer are counted, by the array that owns the memory. Memory that was handed out (t.numpy(),
from_numpy, dlpack) can be written behind our
back: such arrays get a checksum in their stamp. A checksum for every array was too slow to be on by
default; a count alone misses what NumPy and PyTorch write.
"""

from __future__ import annotations

import weakref
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    pass

_writes: dict[int, int] = {}  # id of the owner -> how often npformer wrote into it
_shared: dict[int, int | None] = {}  # id of the owner -> its checksum when it was first handed out


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
    """Note that somebody outside can write into `array`. `fresh`: nothing can have stamped it
    before."""
    root = owner(array)
    key = id(root)
    if isinstance(root, np.ndarray) and key not in _shared:
        _shared[key] = None if fresh else checksum(root)
        weakref.finalize(root, _shared.pop, key, None)


def stamp(array):
    """What `array` is now, for `changed_since`."""
    key = id(array if array.base is None else owner(array))
    writes = _writes.get(key, 0)
    return (writes, checksum(array)) if key in _shared else writes


def changed_since(array, before):
    """Whether anybody wrote into `array` after `before = stamp(array)`."""
    root = array if array.base is None else owner(array)
    writes = _writes.get(id(root), 0)
    if type(before) is tuple:
        return before != (writes, checksum(array))
    if before != writes:
        return True
    return id(root) in _shared and _shared[id(root)] is not None and _shared[id(root)] != checksum(root)


def guarded(array):
    """The same numbers for somebody who must not write into `array`: a view that refuses it; on the
    GPU, a copy."""
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
