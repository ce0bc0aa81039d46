"""utils.data and nn.utils.rnn: batches of items as PyTorch makes them."""

from collections import namedtuple

import numpy as np
import pytest
from against_torch import same

import npformer as npf
from npformer.nn.utils.rnn import pad_sequence
from npformer.utils.data import (
    DataLoader,
    Dataset,
    Subset,
    TensorDataset,
    default_collate,
    random_split,
)

torch = pytest.importorskip("torch",
                            reason="PyTorch is the outsider that batches are compared with")

Pair = namedtuple("Pair", ["left", "right"])


class Squares(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError(index)
        return index, float(index ** 2)


def as_lists(x):
    if isinstance(x, (npf.Tensor, torch.Tensor)):
        return str(x.dtype).removeprefix("torch."), x.tolist()
    if isinstance(x, dict):
        return {key: as_lists(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x).__name__, [as_lists(value) for value in x]
    return x


@pytest.mark.parametrize("options", [
    {}, {"batch_size": 3}, {"batch_size": 3, "drop_last": True}, {"batch_size": None},
    {"batch_size": 20}, {"batch_size": 2, "sampler": [4, 1, 1, 0, 6]},
    {"batch_sampler": [[0, 3], [5], [2, 1, 4]]}, {"batch_size": 2, "collate_fn": list},
    {"batch_size": 4, "num_workers": 0, "pin_memory": False},
])
def test_batches(options):
    mine = DataLoader(Squares(7), **options)
    theirs = torch.utils.data.DataLoader(Squares(7), **options)
    assert len(mine) == len(theirs)
    assert [as_lists(batch) for batch in mine] == [as_lists(batch) for batch in theirs]
    assert len(list(mine)) == len(mine)            # a second pass


@pytest.mark.parametrize("batch", [
    [1, 2], [1.5, 2.5], [True, False], ["a", "b"], [(1, 2.0), (3, 4.0)], [[1, 2], [3, 4]],
    [{"a": 1, "b": (2, 3.0)}, {"a": 4, "b": (5, 6.0)}],
    [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)], [Pair(1, 2.0), Pair(3, 4.0)],
    [np.float32(1), np.float32(2)], [np.int64(1), np.int64(3)],
], ids=str)
def test_default_collate(batch):
    assert as_lists(default_collate(batch)) == as_lists(torch.utils.data.default_collate(batch))


def test_shuffling_draws_each_item_once_in_an_order_that_the_seed_repeats():
    data = TensorDataset(npf.arange(20), npf.arange(20) * 2)
    orders = []
    for seed in (1, 1, 2):
        loader = DataLoader(data, batch_size=6, shuffle=True,
                            generator=npf.Generator().manual_seed(seed))
        passes = [[x for batch, double in loader for x in batch.tolist()
                   if (double == batch * 2).all()]
                  for _ in range(2)]
        assert all(sorted(p) == list(range(20)) for p in passes) and passes[0] != passes[1]
        orders.append(passes)
    assert orders[0] == orders[1] != orders[2]
    npf.manual_seed(3)
    first = list(DataLoader(data, batch_size=None, shuffle=True))
    npf.manual_seed(3)
    again = list(DataLoader(data, batch_size=None, shuffle=True))
    assert [x.item() for x, _ in first] == [x.item() for x, _ in again] != list(range(20))


@pytest.mark.parametrize("lengths", [[7, 3], [0.5, 0.25, 0.25], [0.35, 0.65], [10], [0, 10]])
def test_random_split(lengths):
    parts = random_split(Squares(10), lengths)
    theirs = torch.utils.data.random_split(Squares(10), [n for n in lengths])
    assert [len(p) for p in parts] == [len(p) for p in theirs]
    assert sorted(i for p in parts for i in p.indices) == list(range(10))
    assert parts[-1][0] == Squares(10)[parts[-1].indices[0]]


@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"padding_value": -7.5},
                                     {"batch_first": True, "padding_side": "left"}])
def test_pad_sequence(options):
    arrays = [np.random.default_rng(n).standard_normal((n, 2)) for n in (3, 1, 5, 4)]
    mine = [npf.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = pad_sequence(mine, **options), torch.nn.utils.rnn.pad_sequence(theirs, **options)
    same(y, z)
    (y ** 2).sum().backward(), (z ** 2).sum().backward()
    for a, b in zip(mine, theirs):
        same(a.grad, b.grad)


@pytest.mark.parametrize("call, kind, words", [
    (lambda: TensorDataset(npf.ones(3), npf.ones(4, 2)), npf.ShapeError,
     "first dims are equally long"),
    (lambda: random_split(Squares(10), [3, 4]), npf.ValueRangeError, "lengths must add up to 10"),
    (lambda: DataLoader(Squares(3), batch_size=0), npf.ValueRangeError,
     "batch_size must be >= 1, got 0"),
    (lambda: DataLoader(Squares(3), shuffle=True, sampler=[1]), npf.ValueRangeError,
     "shuffle cannot be True as well"),
    (lambda: default_collate([object()]), npf.DTypeError, "Give collate_fn"),
    (lambda: default_collate([npf.ones(2), npf.ones(3)]), npf.ShapeError, "stack"),
    (lambda: Dataset()[0], NotImplementedError, "define `def __getitem__"),
    (lambda: pad_sequence([npf.ones(2, 3), npf.ones(2, 4)]), npf.ShapeError,
     "differ in their first dim alone"),
    (lambda: pad_sequence([]), npf.ShapeError, "needs sequences"),
    (lambda: pad_sequence([npf.ones(2)], padding_side="top"), npf.ValueRangeError,
     "'right' or 'left'"),
])
def test_errors(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_subset_of_a_subset():
    assert Subset(Subset(Squares(9), [8, 3, 5]), [2, 0])[1] == (8, 64.0)
