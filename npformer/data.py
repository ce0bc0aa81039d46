"""Text to train on: reading it, turning characters into numbers and back, and drawing seeded
batches of it."""

from __future__ import annotations

import hashlib
import importlib
import os
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .core import devices, random_numbers
from .core.errors import IndexRangeError, InputError
from .tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .core.devices import DeviceLike
    from .files import StrPath


def default_text() -> str:
    """About 465,000 characters of English that every CPython carries: the topics of its own
    `help()`, by name."""
    topics = importlib.import_module("pydoc_data.topics").topics
    return "\n\n".join(topics[name] for name in sorted(topics))


def read_text(path: StrPath) -> str:
    """The text of a UTF-8 file.

    An InputError says what is wrong where it cannot be read, is empty, or is no text.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder. Give the path of one text file.") from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path!r} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if not content:
        raise InputError(
            f"{path} is empty. Give a text file with some thousand characters or more.")
    if b"\0" in content:
        raise InputError(
            f"{path} is a binary file: byte {content.index(0)} is 0. Give a text file in UTF-8.")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        at = error.start + (3 if content.startswith(b"\xef\xbb\xbf") else 0)
        raise InputError(f"{path} is not UTF-8: byte {at} is 0x{content[at]:02x}.\n"
                         "  Save it as UTF-8, or convert it: "
                         "iconv -f latin1 -t utf-8 FILE > NEW") from None


def digest(text: str) -> str:
    """The SHA-256 of a text, to see whether two texts are the same."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class CharTokenizer:
    """Characters as numbers: each character's place in `vocabulary`, a string of distinct
    characters."""

    def __init__(self, vocabulary: str) -> None:
        self.vocabulary = vocabulary
        self._number = {character: i for i, character in enumerate(vocabulary)}
        if len(self._number) != len(vocabulary):
            raise InputError("CharTokenizer(vocabulary): a character stands there twice.")

    @classmethod
    def of(cls, text: str) -> Self:
        """The tokenizer that knows the characters of `text`, sorted."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> np.ndarray:
        """A text as an integer array (N,)."""
        try:
            return np.array([self._number[character] for character in text], dtype=np.int64)
        except KeyError as error:
            unknown = "".join(sorted(set(text) - set(self.vocabulary)))
            raise InputError(
                f"encode: the character {error.args[0]!r} (place {text.index(error.args[0])}) is "
                f"not in the vocabulary.\n  unknown: {unknown[:40]!r}\n  known: "
                f"{self.vocabulary!r}") from None

    def decode(self, numbers: Sequence[int] | np.ndarray) -> str:
        """An array or list of integers as a text."""
        places = [int(n) for n in np.asarray(numbers).reshape(-1)]
        for n in places:
            if not 0 <= n < len(self):
                raise IndexRangeError(
                    f"decode: number {n} is out of range: it must be from 0 to {len(self) - 1}")
        return "".join(self.vocabulary[n] for n in places)


def split(ids: np.ndarray, fraction: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """The first `fraction` (0 < fraction <= 1) to train on, and the rest to validate on."""
    cut = int(len(ids) * fraction)
    return ids[:cut], ids[cut:]


class Batches:
    """Endless random batches: x, y of shape (batch, context), y one character ahead of x.

    ids: integer array (N,), N > context. batch: how many sequences, >= 1. context: their length.
    seed: an integer >= 0. `state_dict` and `load_state_dict` save and restore where the draw
    stands.
    """

    def __init__(self, ids: np.ndarray, batch: int, context: int, seed: int = 0,
                 device: DeviceLike | None = None) -> None:
        if len(ids) <= context:
            raise InputError(
                f"the text is too short: {len(ids)} characters to draw from, and one sequence "
                f"takes {context} and the character after it.\n"
                f"  Give a longer text, or a shorter context (at most {max(len(ids) - 1, 0)}).")
        self.windows = np.lib.stride_tricks.sliding_window_view(ids, context + 1)  # (N − T, T + 1)
        self.batch, self.device = batch, device
        self.generator = random_numbers.Generator(seed)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        drawn = self.generator.numpy.integers(0, len(self.windows), self.batch)
        return pair(self.windows[drawn], self.device)

    def state_dict(self) -> dict[str, Any]:
        """Where the draw stands, as a dict that JSON can hold."""
        return self.generator.get_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.generator.set_state(state)


def in_order(ids: np.ndarray, batch: int, context: int, most: int = 1024,
             device: DeviceLike | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (x, y) of the text from its beginning, without overlap: at most `most` sequences,
    none if too short."""
    count = min((len(ids) - 1) // context, most) if len(ids) > context else 0
    starts = np.arange(count) * context
    windows = ids[starts[:, None] + np.arange(context + 1)]  # (count, T + 1)
    for first in range(0, count, batch):
        yield pair(windows[first:first + batch], device)


def pair(windows: np.ndarray, device: DeviceLike | None = None) -> tuple[Tensor, Tensor]:
    """Windows (B, T + 1) as Tensors x, y (B, T): y is x one character later."""
    windows = devices.move(np.ascontiguousarray(windows), device)
    return Tensor.wrap(windows[:, :-1].copy()), Tensor.wrap(windows[:, 1:].copy())
