"""npf.save and npf.load: tensors, and the dicts and lists around them, in one safetensors file.

Nothing is pickled.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from . import tensorfile
from .core import devices
from .core.errors import DTypeError, InputError, describe
from .files import write_whole
from .tensors import Tensor

if TYPE_CHECKING:
    from .core.devices import DeviceLike
    from .files import StrPath

FORMAT = "npformer 1"
PLAIN = (str, int, float, bool, type(None))        # what JSON keeps as it is


def save(obj: Any, f: StrPath | BinaryIO) -> None:
    """Write obj into f, a path or a file that is open for writing bytes. A path is written whole or
    not at all.

    obj: tensors, arrays, numbers, strings, bools and None, in dicts, lists and tuples of any depth:
    a state dict of a model or an optimiser, or a dict of several. Every tensor is written by
    itself, without its graph. The file is a safetensors file, in which the tensors of a flat dict
    bear their own names: other programs can read it. The structure stands beside them as JSON, with
    a checksum.
    """
    found: dict[str, np.ndarray] = {}
    text = json.dumps(pack(obj, found, ""))
    content = tensorfile.pieces(found,
                                {"format": FORMAT, "tree": text, "crc32": crc32(text, found)})
    if hasattr(f, "write"):
        for piece in content:
            f.write(piece)
    else:
        write_whole(f, *content)


def load(f: StrPath | BinaryIO, map_location: DeviceLike | None = None, *,
         weights_only: bool = True) -> Any:
    """What `save` wrote into f, a path or a file that is open for reading bytes.

    Any other safetensors file comes back as a dict of tensors by name, for `load_state_dict`;
    bfloat16 becomes float32. map_location: the device for the tensors, default that of new tensors.
    weights_only: taken as in PyTorch, and always so: nothing is unpickled. Raises InputError where
    the file is malformed; it is checked before anything is made.
    """
    found, metadata = tensorfile.read(f)
    device = devices.device_name(map_location)
    devices.module_for(device)                      # fails at once if there is no such device
    if metadata.get("format") != FORMAT:
        return {name: Tensor.wrap(devices.move(array, device)) for name, array in found.items()}
    if metadata.get("crc32") != crc32(metadata.get("tree", ""), found):
        raise InputError(
            f"{tensorfile.label_of(f)} is damaged: its checksum does not fit its content.")
    try:
        return unpack(json.loads(metadata["tree"]), found, device)
    except (KeyError, IndexError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{tensorfile.label_of(f)} is damaged: its structure cannot be read ({error!r})."
        ) from None


def crc32(text, found):
    """CRC-32 of the structure's text and of the arrays, by name."""
    total = zlib.crc32(text.encode())
    for name in sorted(found):
        total = zlib.crc32(tensorfile.bytes_of(found[name]), total)
    return str(total)


def pack(tree, found, path):
    """A tree as lists that JSON keeps as they are (integer keys, tuples);
    its arrays go into `found`, by name."""
    def inside(key, value):
        return pack(value, found, f"{path}.{key}" if path else str(key))

    if isinstance(tree, dict):
        for key in tree:
            if not isinstance(key, PLAIN):
                raise DTypeError(
                    f"save(obj): {path or 'obj'} has the key {describe(key)}, which a file cannot "
                    "hold.\n"
                    "  Keys are strings, numbers, bools or None.")
        return ["dict", [[key, inside(key, value)] for key, value in tree.items()]]
    if isinstance(tree, (list, tuple)):
        return ["tuple" if isinstance(tree, tuple) else "list",
                [inside(i, value) for i, value in enumerate(tree)]]
    if isinstance(tree, (Tensor, np.ndarray, np.generic)) or devices.device_of(tree) != "cpu":
        array = devices.to_numpy(tree.array if isinstance(tree, Tensor) else tree)
        name = path or "tensor"
        while name in found or name == tensorfile.METADATA:    # {"a.b": x, "a": {"b": y}}
            name += "'"
        found[name] = np.asarray(array, order="C")
        return ["tensor" if isinstance(tree, Tensor) else "array", name]
    if isinstance(tree, PLAIN):
        return ["value", tree]
    remedy = "Save its state_dict()." if hasattr(tree, "state_dict") else (
        "It holds tensors, arrays, numbers, strings, bools and None, in dicts, lists and tuples.")
    kind = type(tree).__qualname__ if type(tree).__module__ == "builtins" else (
        f"{type(tree).__module__}.{type(tree).__qualname__}")
    raise DTypeError(
        f"save(obj): {path or 'obj'} is a {kind}, which a file cannot hold.\n  {remedy}")


def unpack(packed, found, device):
    """The tree that `pack` took apart."""
    kind, content = packed
    if kind == "dict":
        return {key: unpack(value, found, device) for key, value in content}
    if kind in ("list", "tuple"):
        parts = [unpack(value, found, device) for value in content]
        return parts if kind == "list" else tuple(parts)
    if kind == "value":
        return content
    return Tensor.wrap(devices.move(found[content], device)) if kind == "tensor" else found[content]
