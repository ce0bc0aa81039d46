"""Files that are written whole or not at all, and refusals that say which path and why."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from .core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    pass


@contextlib.contextmanager
def writing(path: StrPath) -> Iterator[None]:
    """Turn the system's refusal to write `path` into an InputError that says which path and why."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.\n"
                         "  Name another place.") from None


def make_folder(path: StrPath) -> None:
    """Make a folder, and those above it, unless it is there;
    an InputError if it cannot be written into."""
    with writing(path):
        os.makedirs(path, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: you have no permission.\n"
                         "  Name another place.")


def write_whole(path: StrPath, *pieces: bytes | memoryview) -> None:
    """Write pieces of bytes into a file so that, killed at any moment, the file has its old
    content or the new."""
    part = f"{path}.part"
    with writing(path):
        try:
            with open(part, "wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.remove(part)
            raise
        if hasattr(os, "O_DIRECTORY"):             # the folder's entry has to reach the disk too
            folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


StrPath = str | os.PathLike[str]
