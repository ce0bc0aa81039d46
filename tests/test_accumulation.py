"""Gradients add up, share no memory, change nothing, and keep their dtype."""

import numpy as np
import pytest
from nets import leaf, rng

import npformer as npf
from npformer.core import operation
from npformer.core.samples import draw

EVERY_OPERATION = pytest.mark.parametrize("op", operation.REGISTRY.values(), ids=lambda op: op.name)

# ── accumulation ──────────────────────────────────────────────────────────────────────────────────


def test_gradients_add_up_at_fan_out():
    x = leaf(3)
    ((x * 2).sum() + (x * x).sum() + x.sum()).backward()
    np.testing.assert_allclose(x.grad.array, 2 + 2 * x.array + 1)
    x.sum().backward()
    np.testing.assert_allclose(x.grad.array, 2 + 2 * x.array + 2)


def assert_no_two_share(named):
    for i, (one, a) in enumerate(named):
        for two, b in named[i + 1:]:
            assert not np.shares_memory(a, b), f"{one} and {two} are the same memory"


@EVERY_OPERATION
def test_gradients_alias_nothing_and_change_nothing(op):
    """Every .grad is an array of its own, not the upstream, data or another's; none was changed."""
    for k in range(len(op.examples)):
        args, options = draw(op.examples[k], np.random.default_rng(k))
        xs = [npf.tensor(a).requires_grad_() if getattr(a, "dtype", None) == np.float64
              and op.differentiable(i) else a
              for i, a in enumerate(args)]
        leaves = [(op.name_of(i), x) for i, x in enumerate(xs) if isinstance(x, npf.Tensor)]
        y = op(*xs, **options)
        middle = y * 1.0  # passes its gradient on, and keeps one of its own
        middle.retain_grad(), y.retain_grad()
        upstream = np.random.default_rng(k).standard_normal(y.shape)
        before = [x.array.copy() for _, x in leaves] + [upstream.copy(), y.array.copy()]
        middle.backward(npf.Tensor.wrap(upstream))
        after = [x.array for _, x in leaves] + [upstream, y.array]
        for a, b in zip(before, after):
            np.testing.assert_array_equal(a, b)
        grads = [(f"d{n}", x.grad.array) for n, x in leaves] + [("dy", y.grad.array),
                                                                ("dmiddle", middle.grad.array)]
        assert_no_two_share([*grads, ("upstream", upstream)])
        for name, g in grads:
            for n, x in leaves:
                assert not np.shares_memory(g, x.array), f"{name} is {n}'s memory"
            assert g.flags.writeable


def test_both_operands_of_an_addition_get_arrays_of_their_own():
    a, b = leaf(3), leaf(3)
    upstream = npf.tensor(rng.standard_normal(3))
    (a + b).backward(upstream)
    assert_no_two_share([("da", a.grad.array), ("db", b.grad.array), ("upstream", upstream.array)])
    with npf.no_grad():
        a.grad.zero_()
    np.testing.assert_array_equal(b.grad.array, upstream.array)


@pytest.mark.parametrize("condition",
                         [npf.tensor(True), np.bool_(True), np.array(True), npf.tensor(2.0) > 1],
                         ids=["tensor", "np.bool_", "array", "comparison"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_condition_without_dims_chooses_one_side(condition, turned):
    a, b = leaf(), leaf()
    npf.where(~condition if turned else condition, a, b).backward()
    assert (a.grad.item(), b.grad.item()) == ((0.0, 1.0) if turned else (1.0, 0.0))
    with pytest.raises(npf.DTypeError,
                       match=r"where\(condition, input, other\): the mask must hold bools"):
        npf.where(True, a, b)


# ── dtypes ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(2),
                                    np.array(2.5)],
                         ids=lambda n: f"{type(n).__name__}")
def test_numbers_never_promote(dtype, number):
    x = leaf(3, dtype=dtype)
    for y in (x + number, number + x, x - number, number - x, x * number, number * x, x / number,
              number / (x * x + 1), (x * x + 1) ** number, npf.maximum(x, number),
              npf.where(x > 0, x, number), x.clamp(max=float(number))):
        assert isinstance(y, npf.Tensor) and y.dtype == dtype
        x.grad = None
        y.sum().backward()
        assert x.grad.dtype == dtype


@EVERY_OPERATION
def test_float32_stays_float32_in_value_and_gradient(op):
    if op.name == "cast":
        return
    for k in range(len(op.examples)):
        args, options = draw(op.examples[k], np.random.default_rng(k), np.float32)
        xs = [npf.tensor(a).requires_grad_() if getattr(a, "dtype", None) == np.float32
              and op.differentiable(i) else a
              for i, a in enumerate(args)]
        y = op(*xs, **options)
        assert y.dtype == np.float32
        (y * y).sum().backward()
        for i, x in enumerate(xs):
            if isinstance(x, npf.Tensor):
                assert x.grad.dtype == np.float32, f"d{op.name_of(i)}"


def test_mixed_precision_brings_each_gradient_back_to_its_own_dtype():
    a, b = leaf(3, dtype=np.float32), leaf(3, dtype=np.float64)
    y = a * b
    assert y.dtype == np.float64
    y.sum().backward()
    assert a.grad.dtype == np.float32 and b.grad.dtype == np.float64
