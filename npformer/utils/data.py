"""Items to learn from, and batches of them: Dataset, TensorDataset, Subset, random_split,
DataLoader."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import dtypes, random_numbers
from ..core.errors import DTypeError, ShapeError, ValueRangeError, complaint, describe
from ..creation import as_tensor, tensor
from ..functions import stack
from ..tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..core.random_numbers import Generator

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset", "default_collate", "default_convert",
           "random_split"]


class Dataset:
    """The base of every collection of items: define `__getitem__(index)` and `__len__()`."""

    def __getitem__(self, index):
        raise NotImplementedError(
            f"{type(self).__name__} has no items: define `def __getitem__(self, index)`")


class TensorDataset(Dataset):
    """Item i is (t[i] for each tensor t): their first dims must be equally long."""

    def __init__(self, *tensors: Tensor) -> None:
        if len({len(t) for t in tensors}) != 1:
            raise ShapeError(complaint("TensorDataset(*tensors)",
                                       "give tensors whose first dims are equally long",
                                       {f"tensors[{i}]": t for i, t in enumerate(tensors)}))
        self.tensors = tensors

    def __getitem__(self, index) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset):
    """The items of a dataset that `indices` names, in its order."""

    def __init__(self, dataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index):
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_order(count, generator):
    """The numbers from 0 to count − 1 in random order."""
    return (generator or random_numbers.default_generator).numpy.permutation(count).tolist()


def random_split(dataset, lengths: Sequence[float],
                 generator: Generator | None = None) -> list[Subset]:
    """Subsets of those lengths, drawn without overlap.

    Lengths that add up to 1 are fractions; the rest goes in turn.
    """
    size = len(dataset)
    sizes: list = list(lengths)
    if math.isclose(sum(sizes), 1) and sum(sizes) <= 1 + 1e-9 and size != 1:
        sizes = [math.floor(size * share) for share in lengths]
        for k in range(size - sum(sizes)):
            sizes[k % len(sizes)] += 1
    if sum(sizes) != size:
        raise ValueRangeError(
            f"random_split(dataset, lengths): lengths must add up to {size}, the dataset's, or to "
            f"1, got {list(lengths)}")
    order, parts = random_order(size, generator), []
    for length in sizes:
        parts.append(Subset(dataset, order[:length]))
        order = order[length:]
    return parts


def default_collate(batch: Sequence[Any]):
    """Items as one: tensors, arrays and numbers are stacked; tuples and dicts entry by entry;
    strings stay a list."""
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(list(batch))
    if isinstance(first, np.ndarray):
        return as_tensor(np.stack(batch))
    if isinstance(first, float):
        return tensor(batch, dtype=dtypes.float64)  # as in PyTorch, whatever the default dtype
    if isinstance(first, (bool, int, np.number)):
        return tensor(list(batch))
    if isinstance(first, str):
        return list(batch)
    if isinstance(first, dict):
        return {key: default_collate([item[key] for item in batch]) for key in first}
    if isinstance(first, (tuple, list)):
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    raise DTypeError(f"DataLoader: items like {describe(first)} cannot be stacked.\n"
                     "  Give collate_fn, a function from a list of items to a batch.")


def default_convert(item: Any):
    """One item as it is, with tensors for its arrays."""
    if isinstance(item, np.ndarray):
        return as_tensor(item)
    if isinstance(item, dict):
        return {key: default_convert(value) for key, value in item.items()}
    if isinstance(item, (tuple, list)):
        parts = [default_convert(value) for value in item]
        return type(item)(*parts) if hasattr(item, "_fields") else parts
    return item


class DataLoader:
    """Batches of a dataset's items, for one pass each time it is iterated over.

    batch_size: how many items, >= 1; None: items as they are. shuffle: in a new random order each
    pass, drawn from `generator`. sampler: indices to take instead. collate_fn: from a list of items
    to a batch. drop_last: leave out a last batch that is too short. Everything is loaded by the
    process itself: num_workers, pin_memory, persistent_workers and prefetch_factor are taken and
    change nothing.
    """

    def __init__(self, dataset, batch_size: int | None = 1, shuffle: bool = False,
                 sampler: Iterable[int] | None = None,
                 batch_sampler: Iterable[Sequence[int]] | None = None, num_workers: int = 0,
                 collate_fn: Callable | None = None, pin_memory: bool = False,
                 drop_last: bool = False, generator: Generator | None = None,
                 persistent_workers: bool = False, prefetch_factor: int | None = None) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueRangeError(
                f"DataLoader(dataset, batch_size): batch_size must be >= 1, got {batch_size}")
        if shuffle and (sampler is not None or batch_sampler is not None):
            raise ValueRangeError(
                "DataLoader: a sampler says the order, so shuffle cannot be True as well")
        self.dataset, self.batch_size = dataset, batch_size
        self.shuffle, self.drop_last = shuffle, drop_last
        self.sampler, self.batch_sampler, self.generator = sampler, batch_sampler, generator
        whole = batch_size is None and batch_sampler is None
        self.collate_fn = collate_fn or (default_convert if whole else default_collate)

    def order(self) -> Iterable[int]:
        """The indices of one pass."""
        if self.sampler is not None:
            return self.sampler
        return random_order(len(self.dataset),
                            self.generator) if self.shuffle else range(len(self.dataset))

    def index_batches(self) -> Iterator[Sequence[int]]:
        """The indices of each batch of one pass."""
        if self.batch_sampler is not None:
            yield from self.batch_sampler
            return
        batch = []
        for index in self.order():
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __iter__(self) -> Iterator[Any]:
        if self.batch_size is None and self.batch_sampler is None:
            yield from (self.collate_fn(self.dataset[index]) for index in self.order())
            return
        for indices in self.index_batches():
            yield self.collate_fn([self.dataset[index] for index in indices])

    def __len__(self) -> int:
        # A sampler without a length can still be read; len() of it is Python's TypeError, as in
        # PyTorch.
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        count = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        if self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else math.ceil(count / self.batch_size)
