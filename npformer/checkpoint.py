"""Files that are written whole or not at all, and checkpoints: a tree of settings and arrays in one safetensors file.

Nothing is unpickled: a checkpoint from a stranger can be wrong, but it cannot run code.
"""

import contextlib
import json
import os
import zlib

import numpy as np

from .core.arrays import to_numpy
from .core.errors import InputError
from .extras import extra
from .tensors import Tensor

FORMAT = "npformer checkpoint 1"


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def writing(path):
    """Turn the system's refusal to write `path` into an InputError that says which path and why."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.\n"
                         "  Name another folder with --out.") from None


def make_folder(path):
    """Make a folder, and those above it, unless it is there; an InputError if it cannot be written into."""
    with writing(path):
        os.makedirs(path, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: you have no permission.\n  Name another folder with --out.")


def write_whole(path, content):
    """Write bytes into a file so that, killed at any moment, the file has its old content or the new."""
    part = f"{path}.part"
    with writing(path):
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        if hasattr(os, "O_DIRECTORY"):             # the folder's entry has to reach the disk too
            folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


# ── checkpoints ──────────────────────────────────────────────────────────────────────────────────────────────────────


def save_checkpoint(path, tree):
    """Write a tree of dicts, lists, tuples, numbers, strings, arrays and Tensors, whole or not at all."""
    safetensors = extra("safetensors.numpy", "A checkpoint")
    found = {}
    text = json.dumps(pack(tree, found))
    metadata = {"format": FORMAT, "tree": text, "crc32": str(crc32(text, found))}
    write_whole(path, safetensors.save(found, metadata))


def load_checkpoint(path):
    """The tree that `save_checkpoint` wrote. An InputError says what is wrong with a file that holds none."""
    safetensors = extra("safetensors", "A checkpoint")
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such checkpoint.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is truncated, or no checkpoint at all ({error}).\n"
                         "  Use another checkpoint, or start the run again without --resume.") from None
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path} holds tensors, but no run of npformer: its format is "
                         f"{metadata.get('format', 'not stated')!r}, not {FORMAT!r}.")
    if metadata.get("crc32") != str(crc32(metadata.get("tree", ""), found)):
        raise InputError(f"{path} is damaged: its checksum does not fit its content.\n"
                         "  Use another checkpoint, or start the run again without --resume.")
    return unpack(json.loads(metadata["tree"]), found)


def crc32(text, found):
    """CRC-32 of the tree's text and of the arrays, by name."""
    total = zlib.crc32(text.encode())
    for name in sorted(found):
        total = zlib.crc32(found[name].tobytes(), total)
    return total


def pack(tree, found, name="tree"):
    """A tree as lists that JSON keeps as they are (integer keys, tuples); its arrays go into `found`, by name."""
    if isinstance(tree, dict):
        return ["dict", [[key, pack(value, found, f"{name}.{key}")] for key, value in tree.items()]]
    if isinstance(tree, (list, tuple)):
        kind = "tuple" if isinstance(tree, tuple) else "list"
        return [kind, [pack(value, found, f"{name}.{i}") for i, value in enumerate(tree)]]
    if isinstance(tree, Tensor) or hasattr(tree, "dtype"):
        array = to_numpy(tree.array if isinstance(tree, Tensor) else tree)
        found[name] = np.asarray(array, order="C")
        return ["tensor" if isinstance(tree, Tensor) else "array", name]
    return ["value", tree]


def unpack(packed, found):
    """The tree that `pack` took apart."""
    kind, content = packed
    if kind == "dict":
        return {key: unpack(value, found) for key, value in content}
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](unpack(value, found) for value in content)
    if kind == "value":
        return content
    return Tensor.wrap(found[content]) if kind == "tensor" else found[content]
