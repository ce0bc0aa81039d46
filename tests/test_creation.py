"""Tensors out of data and out of nothing: dtypes, devices, sharing, random numbers, bad input."""

import subprocess
import sys

import numpy as np
import pytest
from against_torch import agree, torch

import npformer as npf

# ── from data ─────────────────────────────────────────────────────────────────────────────────────

DATA = [
    1, 2.5, True, [1, 2], [1.0, 2], [1, 2.5], [True, False], [], [[1, 2], [3, 4]], [[]], (1, 2),
    [(1.0,), (2.0,)],
    np.float64(3), np.float32(3), np.int32(4), np.arange(3), np.arange(3.0),
    np.ones((2, 2), np.float16), np.array(True), range(4), [np.float64(1), np.float64(2)],
    [np.float32(1)], [[1.5], [2]],
]


@pytest.mark.parametrize("data", DATA, ids=repr)
def test_dtypes_of_data_are_pytorchs(data):
    mine, theirs = npf.tensor(data), torch.tensor(data)
    assert f"torch.{mine.dtype}" == str(theirs.dtype) and mine.tolist() == theirs.tolist()
    assert tuple(mine.shape) == tuple(theirs.shape)


def test_lists_of_tensors_become_one():
    a, b = npf.tensor(1.0, requires_grad=True), npf.tensor(2.0)
    both = npf.tensor([a.detach(), b])
    assert both.tolist() == [1, 2] and both.dtype == npf.float32 and not both.requires_grad
    assert npf.tensor([[npf.tensor([1, 2]), npf.tensor([3, 4])]]).shape == (1, 2, 2)
    assert npf.tensor([a, 3.0]).dtype == npf.float32
    assert npf.Tensor([1, 2]).dtype == npf.float32 and npf.Tensor(npf.tensor([1])).tolist() == [1]


def test_default_dtype_is_what_python_floats_become():
    npf.set_default_dtype(npf.float64)
    for x in (npf.tensor([1.0]), npf.zeros(1), npf.rand(1), npf.arange(0.0, 1)):
        assert x.dtype == npf.float64
    with pytest.raises(npf.DTypeError, match="must be a floating dtype, got int64"):
        npf.set_default_dtype(npf.int64)


def test_what_copies_and_what_shares():
    array = np.arange(3.0)
    copied, shared, other = npf.tensor(array), npf.from_numpy(array), npf.as_tensor(array)
    array[0] = 9
    assert copied[0].item() == 0 and shared[0].item() == other[0].item() == 9
    assert shared.dtype == npf.float64
    x = npf.ones(2)
    assert npf.as_tensor(x) is x and npf.as_tensor(x, dtype=npf.float64).dtype == npf.float64
    assert npf.as_tensor([1, 2]).tolist() == [1, 2] and npf.tensor(x) is not x
    assert npf.tensor(array, dtype=npf.int64).dtype == npf.int64
    assert npf.tensor(array.astype(np.float32), requires_grad=True).requires_grad


@pytest.mark.parametrize("data, kind, words", [
    ([[1, 2], [3]], npf.ShapeError,
     "tensor(data): the lists are ragged: those of one level must be equally long."),
    (["a", "b"], npf.DTypeError,
     "tensor(data): data must be numbers, or nested lists of numbers, got ['a', 'b']"),
    ("abc", npf.DTypeError, "tensor(data): data must be numbers"),
    ({"a": 1}, npf.DTypeError, "tensor(data): data must be numbers"),
    (None, npf.DTypeError, "tensor(data): data must be numbers"),
    ([1, None], npf.DTypeError, "tensor(data): data must be numbers"),
    (1j, npf.DTypeError, "tensor(data): data must be numbers"),
    ([2 ** 70], npf.NpformerError, "tensor(data): "),
    (np.array(["a"]), npf.DTypeError, "tensor(data): data must be numbers"),
    (np.ones(2, np.complex64), npf.DTypeError, "tensor(data): data must be numbers"),
    (np.ones(2, np.uint32), npf.DTypeError,
     "dtype dtype('uint32') is not supported.\n  Known: float16"),
])
def test_bad_data(data, kind, words):
    with pytest.raises(kind) as caught:
        npf.tensor(data)
    assert str(caught.value).startswith(words)


def test_other_bad_input():
    with pytest.raises(npf.DTypeError, match="needs a NumPy array, got list"):
        npf.from_numpy([1, 2])
    with pytest.raises(npf.DTypeError, match="dtype 'float8' is not supported"):
        npf.zeros(2, dtype="float8")
    with pytest.raises(npf.DeviceError, match="device 'tpu' is not known.\n  Use 'cpu'"):
        npf.zeros(2, device="tpu")
    with pytest.raises(npf.ShapeError, match="sizes must not be negative"):
        npf.zeros(-1)
    with pytest.raises(npf.ShapeError,
                       match=r"eye\(n, m\): sizes must not be negative, got \(2, -1\)"):
        npf.eye(2, -1)
    with pytest.raises(npf.DTypeError, match="sizes and dims must be integers"):
        npf.ones(2.5)
    with pytest.raises(npf.ValueRangeError, match="step must lead from start to end"):
        npf.arange(3, 0)
    with pytest.raises(npf.ValueRangeError, match="low must be below high"):
        npf.randint(3, 3, (2,))
    with pytest.raises(npf.DTypeError, match="use randint for integers"):
        npf.rand(3, dtype=npf.int64)


# ── constants ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("program", [
    lambda lib: (lib.zeros(2, 3), lib.zeros((2, 3)), lib.ones([4]), lib.zeros(()), lib.ones(2, 0)),
    lambda lib: (lib.zeros(2, dtype=lib.int64), lib.ones(2, dtype=lib.bool)),
    lambda lib: (lib.full((2, 3), 1.5), lib.full((2,), 7), lib.full((1,), True),
                 lib.full((2,), 1, dtype=lib.float64)),
    lambda lib: (lib.eye(3), lib.eye(2, 4), lib.eye(2, dtype=lib.int64),
                 lib.zeros(2, dtype=lib.bool), lib.empty(3, 0)),
    lambda lib: (lib.arange(5), lib.arange(2, 7), lib.arange(1, 10, 3), lib.arange(5, 0, -2),
                 lib.arange(0)),
    lambda lib: (lib.arange(0, 1, 0.25), lib.arange(3, dtype=lib.float64), lib.arange(0.5, 3),
                 lib.arange(3.0)),
    lambda lib: (lib.arange(5, dtype=lib.int32), lib.linspace(1, 0, 1), lib.linspace(3, 4, 0)),
    lambda lib: (lib.linspace(0, 1, 5), lib.linspace(-2, 3, 7, dtype=lib.float64)),
    lambda lib: (lib.zeros_like(lib.ones(2, 3)), lib.ones_like(lib.arange(3)),
                 lib.full_like(lib.ones(2), 4.5)),
    lambda lib: (lib.zeros_like(lib.ones(2), dtype=lib.int64), lib.full_like(lib.arange(2), 3)),
    lambda lib: (lib.ones(2).new_zeros(3), lib.arange(2).new_ones(2, 2),
                 lib.ones(1).new_full((2,), 3)),
    lambda lib: (lib.ones(1).new_zeros((1, 2)), lib.ones(1).new_empty(0, 2)),
    lambda lib: (lib.ones(2, dtype=lib.double).new_zeros(1),
                 lib.ones(1).new_ones((2,), dtype=lib.long)),
    lambda lib: (lib.tensor(lib.pi), lib.tensor([lib.inf, -lib.inf]), lib.tensor(lib.nan),
                 lib.ones(2)[:, lib.newaxis]),
    lambda lib: (lib.is_tensor(lib.ones(1)), lib.is_tensor(3),
                 lib.finfo(lib.zeros(1).numpy().dtype).max if lib is npf
                 else npf.finfo(npf.float32).max,
                 lib.iinfo(lib.zeros(1, dtype=lib.int).numpy().dtype).max if lib is npf
                 else npf.iinfo(npf.int32).max),
], ids=lambda p: str(p.__code__.co_firstlineno))
def test_constants(program):
    agree(lambda lib: program(lib), rtol=1e-7)


def test_new_tensor_takes_after_its_tensor():
    x = npf.ones(2, dtype=npf.float64)
    y = x.new_tensor([1, 2])
    assert y.dtype == npf.float64 and y.tolist() == [1, 2]
    assert x.new_tensor([1], dtype=npf.int64).dtype == npf.int64
    assert x.new_tensor(x).data_ptr() != x.data_ptr()


def test_requires_grad_makes_leaves():
    for x in (npf.zeros(2, requires_grad=True), npf.rand(2, requires_grad=True),
              npf.tensor([1.0], requires_grad=True),
              npf.ones_like(npf.zeros(2), requires_grad=True),
              npf.linspace(0, 1, 3, requires_grad=True)):
        assert x.requires_grad and x.is_leaf
    with pytest.raises(npf.DTypeError, match="only floating tensors can need a gradient"):
        npf.arange(3, requires_grad=True)


# ── random ────────────────────────────────────────────────────────────────────────────────────────

DRAWS = [
    lambda g: npf.rand(50, generator=g), lambda g: npf.randn(5, 10, generator=g),
    lambda g: npf.randint(9, (50,), generator=g),
    lambda g: npf.randperm(50, generator=g),
    lambda g: npf.bernoulli(npf.full((50,), 0.4), generator=g),
    lambda g: npf.multinomial(npf.ones(3, 60), 50, generator=g),
    lambda g: npf.normal(1.0, 2.0, (50,), generator=g),
    lambda g: npf.rand_like(npf.ones(50, dtype=npf.float64), generator=g),
    lambda g: npf.randn_like(npf.ones(50), generator=g),
    lambda g: npf.randint_like(npf.ones(50), 3, 9, generator=g),
    lambda g: npf.rand(50, dtype=npf.float16, generator=g),
]


@pytest.mark.parametrize("draw", DRAWS)
def test_draws_repeat_by_seed(draw):
    npf.manual_seed(1)
    first, second = draw(None), draw(None)
    npf.manual_seed(1)
    assert npf.equal(draw(None), first) and not npf.equal(first, second)
    generator = npf.Generator().manual_seed(1)
    state = npf.default_generator.get_state()
    assert npf.equal(draw(generator), first) and npf.default_generator.get_state() == state
    kept = generator.get_state()
    again = draw(generator)
    generator.set_state(kept)
    assert npf.equal(draw(generator), again)


def test_draws_have_their_distributions():
    u, z = npf.rand(20000), npf.randn(20000)
    assert 0 <= u.min() and u.max() < 1 and abs(u.mean() - 0.5) < 0.01 and u.dtype == npf.float32
    assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.03
    k = npf.randint(2, 5, (3000,))
    assert k.dtype == npf.int64 and k.unique().tolist() == [2, 3, 4]
    assert npf.randint(3, (2, 2)).shape == (2, 2)
    assert npf.randperm(100).sort().values.tolist() == list(range(100))
    each = npf.normal(npf.tensor([0.0, 100.0]), npf.tensor([1.0, 0.001]))
    assert abs(each[1] - 100) < 0.1 and each.shape == (2,)
    assert abs(npf.normal(5.0, npf.ones(2000)).mean() - 5) < 0.1


def test_multinomial():
    weights = npf.tensor([[0.0, 1.0, 3.0, 0.0], [5.0, 0.0, 0.0, 5.0]])
    drawn = npf.multinomial(weights, 4000, replacement=True)
    assert drawn.shape == (2, 4000) and drawn.dtype == npf.int64
    shares = [npf.bincount(row, minlength=4).double() / 4000 for row in drawn]
    assert np.allclose([s.tolist() for s in shares],
                       [[0, 0.25, 0.75, 0], [0.5, 0, 0, 0.5]], atol=0.03)
    both = npf.multinomial(weights, 2)
    assert [sorted(row.tolist()) for row in both] == [[1, 2], [0, 3]]
    first = [npf.multinomial(weights[0], 1).item() for _ in range(600)]
    assert abs(first.count(2) / 600 - 0.75) < 0.06 and set(first) == {1, 2}


@pytest.mark.parametrize("call, words", [
    (lambda: npf.multinomial(npf.tensor([1.0, -1.0]), 1),
     "multinomial(input, 1): weights must be finite and >= 0"),
    (lambda: npf.multinomial(npf.tensor([0.0, 0.0]), 1),
     "multinomial(input, 1): weights must be finite and >= 0"),
    (lambda: npf.multinomial(npf.tensor([1.0, npf.nan]), 1),
     "multinomial(input, 1): weights must be finite"),
    (lambda: npf.multinomial(npf.tensor([1.0, 0.0]), 2),
     "multinomial(input, 2): cannot draw 2 without replacement from 1"),
    (lambda: npf.multinomial(npf.tensor([1, 2]), 1),
     "multinomial(input, 1): input must be a row of floating weights"),
    (lambda: npf.manual_seed(-1), "manual_seed(seed): seed must be an integer >= 0, got -1"),
    (lambda: npf.bernoulli(npf.tensor([1.5])),
     "bernoulli(input): probabilities must be from 0 to 1"),
])
def test_bad_draws(call, words):
    with pytest.raises((npf.ValueRangeError, npf.ShapeError)) as caught:
        call()
    assert str(caught.value).startswith(words)


# ── the package ───────────────────────────────────────────────────────────────────────────────────


def test_the_examples_in_the_docstring_run():
    import doctest
    result = doctest.testmod(npf)
    assert result.attempted > 3 and not result.failed


def test_tools_load_on_first_use():
    script = ("import sys, npformer as npf; assert 'npformer.verify' not in sys.modules; "
              "npf.gradcheck; npf.debug; "
              "assert 'npformer.verify' in sys.modules and 'npformer.debug' in sys.modules")
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(AttributeError, match="module 'npformer' has no attribute 'nonsense'"):
        npf.nonsense()


def test_no_gpu_is_said_and_not_raised():
    if not npf.cuda.is_available():
        assert npf.cuda.device_count() == 0
        with pytest.raises(npf.DeviceError):
            npf.ones(1).cuda()
