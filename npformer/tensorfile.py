"""The safetensors format: named arrays in one file, behind a header that says where each of them
lies.

    8 bytes    N, the length of the header, little-endian
    N bytes    JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
               "__metadata__": {"key": "text", ...}}; the offsets count from the header's end
    the rest   the arrays, each row by row, little-endian, one after another without a gap

A file from a stranger can be wrong, but it cannot run code; and all that its header says is checked
against the file's size before an array is made.   Source:
https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from .core import dtypes
from .core.errors import DTypeError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .files import StrPath

METADATA = "__metadata__"
KINDS = {"F64": dtypes.float64, "F32": dtypes.float32, "F16": dtypes.float16, "I64": dtypes.int64,
         "I32": dtypes.int32,
         "I16": dtypes.int16, "I8": dtypes.int8, "U8": dtypes.uint8, "BOOL": dtypes.bool_}
NAMES = {dtype: name for name, dtype in KINDS.items()}
BFLOAT16 = "BF16"  # the upper half of a float32, which it becomes here
STORED = {**KINDS, BFLOAT16: np.dtype("uint16")}
MOST_DIMS = 64                                     # of a NumPy array


class Malformed(Exception):
    """What is wrong with a file; the reader adds which file."""


def require(condition, reason):
    """Raise Malformed unless the condition holds."""
    if not condition:
        raise Malformed(reason)


# ── writing ───────────────────────────────────────────────────────────────────────────────────────


def pieces(found: dict[str, np.ndarray], metadata: dict[str, str]) -> Iterator[bytes | memoryview]:
    """The bytes of a file with those NumPy arrays (a dict by name) and texts (another), piece by
    piece."""
    header: dict[str, dict] = {METADATA: metadata}
    place = 0
    # so that every array lies aligned
    names = sorted(found, key=lambda name: (-found[name].itemsize, name))
    for name in names:
        array = found[name]
        if array.dtype not in NAMES:
            raise DTypeError(
                f"{name!r} is an array of {array.dtype}, which a safetensors file cannot hold "
                "here.\n"
                f"  It holds {', '.join(map(str, NAMES))}.")
        end = place + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype], "shape": array.shape,
                        "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in names:
        yield bytes_of(
            found[name].astype(found[name].dtype.newbyteorder("<"), order="C", copy=False))


def bytes_of(array):
    """The memory of a contiguous array, as bytes that can be read and written."""
    return array.reshape(-1).view(dtypes.uint8).data


# ── reading ───────────────────────────────────────────────────────────────────────────────────────


def read(source: StrPath | BinaryIO) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(NumPy arrays by name, metadata) out of a file: its path, or a file that is open for reading
    bytes.

    BF16 becomes float32. An InputError says what is wrong with a file that cannot be used.
    """
    label = label_of(source)
    with open_source(source) as (file, size):
        try:
            header, start = header_of(file, size)
            metadata = metadata_of(header)
            require_whole(header, size - start)
            found = {name: array_of(file, start, name, entry) for name, entry in header.items()}
        except Malformed as problem:
            raise InputError(
                f"{label} is truncated, damaged, or not a safetensors file: {problem}") from None
        except OSError as error:
            raise InputError(f"{label} cannot be read: {error.strerror or error}.") from None
    return found, metadata


def label_of(source):
    """What messages call a path or an open file."""
    return getattr(source, "name", "the open file") if hasattr(source, "read") else source


@contextlib.contextmanager
def open_source(source):
    """(file, its size) for a path or an open file."""
    if hasattr(source, "read"):
        content = source.read()
        yield io.BytesIO(content), len(content)
        return
    try:
        file = open(source, "rb")
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror or error}.") from None
    with file:
        yield file, os.fstat(file.fileno()).st_size


def header_of(file, size):
    """(header, where the arrays start), the header being a dict from JSON, and so far nothing
    more."""
    require(size >= 8, f"it has {size} bytes, and the length of its header alone takes 8.")
    start = file.read(8)
    length = int.from_bytes(start, "little")
    require(length <= size - 8, looks_pickled(start) or
            f"its header should take {length} bytes, and {size - 8} are there.")
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=dict_of_distinct)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"its header is not JSON ({error}).") from None
    require(isinstance(header, dict), "its header is not a dict of names.")
    return header, 8 + length


def looks_pickled(start):
    """What to do about a file of torch.save; '' for others.

    (8 bytes of a pickle, as a length, exceed any file.)
    """
    if start[:2] not in (b"PK", b"\x80\x02"):
        return ""
    return ("it looks like a file of torch.save, which is read by unpickling.\n"
            "  In PyTorch, write it anew with safetensors.torch.save_file(torch.load(...), path).")


def dict_of_distinct(pairs):
    """A dict of pairs whose names all differ."""
    found = dict(pairs)
    require(len(found) == len(pairs), "its header has a name twice.")
    return found


def metadata_of(header):
    """The texts that a header carries beside the arrays, taken out of it."""
    metadata = header.pop(METADATA, {})
    require(isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values()),
            f"its {METADATA} are not texts by name.")
    return metadata


def require_whole(header, size):
    """Raise Malformed unless the arrays of a header fill `size` bytes: one after another, no gap,
    no overlap."""
    for name, entry in header.items():
        require_entry(name, entry)
    place = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        require(begin == place,
                f"{name!r} begins at byte {begin}, and the array before it ends at {place}.")
        place = end
    require(place == size, f"its arrays should take {place} bytes, and {size} are there.")


def require_entry(name, entry):
    """Raise Malformed unless one entry of a header agrees with itself."""
    require(isinstance(entry, dict) and {"dtype", "shape", "data_offsets"} <= entry.keys(),
            f"{name!r} is without dtype, shape or data_offsets.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    require(isinstance(dtype, str) and dtype in STORED,
            f"{name!r} is of dtype {dtype!r}, which is none of "
            f"{', '.join(STORED)}.")
    for what, numbers in (("shape", shape), ("data_offsets", offsets)):
        require(isinstance(numbers, list) and all(type(n) is int and n >= 0 for n in numbers),
                f"{name!r} has as its {what} {str(numbers)[:60]}, which are not integers >= 0.")
    require(len(shape) <= MOST_DIMS,
            f"{name!r} has {len(shape)} dims, and an array at most {MOST_DIMS}.")
    require(len(offsets) == 2, f"{name!r} has {len(offsets)} data_offsets, not 2.")
    bytes_needed = math.prod(shape) * STORED[dtype].itemsize
    require(offsets[1] - offsets[0] == bytes_needed,
            f"{name!r}, {dtype} {tuple(shape)}, takes {bytes_needed} bytes, "
            f"and its data_offsets {offsets} hold {offsets[1] - offsets[0]}.")


def array_of(file, start, name, entry):
    """One array, in memory of its own. Its entry has been checked."""
    begin, end = entry["data_offsets"]
    stored = STORED[entry["dtype"]]
    array = np.empty((end - begin) // stored.itemsize, stored.newbyteorder("<"))
    file.seek(start + begin)
    require(file.readinto(bytes_of(array)) == array.nbytes,
            f"{name!r} ends early: the file shrank while it was read.")
    if entry["dtype"] == BFLOAT16:
        array = (array.astype(np.uint32) << 16).view(dtypes.float32)
    elif entry["dtype"] == "BOOL":
        array = array.view(dtypes.uint8) != 0      # a byte of 2 would make a bool that is neither
    try:
        return array.astype(array.dtype.newbyteorder("="), copy=False).reshape(entry["shape"])
    except ValueError as error:  # no entries, and dims too large for NumPy all the same
        raise Malformed(f"{name!r} has a shape that no array can have ({error}).") from None
