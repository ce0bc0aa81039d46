"""hypothesis strategies: what they promise holds for all that they draw, and checks of right
gradients pass at it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npformer as npf
import npformer.nn.functional as F
from npformer.verify import strategies as nst


@given(nst.shapes(1, 4, 11))
def test_sizes_are_different_primes(shape):
    assert len(set(shape)) == len(shape) and set(shape) <= {2, 3, 5, 7, 11}


@given(st.integers(2, 3).flatmap(nst.broadcast_shapes))
def test_shapes_broadcast_and_something_is_stretched(found):
    whole = np.broadcast_shapes(*found)
    assert any(shape != whole for shape in found) and 1 not in whole
    assert len(set(whole)) == len(whole)


@given(nst.masks(3, 5))
def test_masks_are_neither_empty_nor_full_and_no_line_is_empty(mask):
    assert mask.dtype == bool and mask.shape == (3, 5) and mask.any(axis=-1).all()
    assert not mask.all()


def test_a_mask_that_can_only_be_empty_or_full_is_refused():
    with pytest.raises(npf.ShapeError, match="2 entries or more"):
        nst.masks(3, 1)


@given(st.integers(2, 9), st.sampled_from([(2, 5), (7,), (2,)]), st.data())
def test_indices_repeat_and_one_never_occurs(high, shape, data):
    found = data.draw(nst.indices(high, *shape))
    values, counts = np.unique(found, return_counts=True)
    assert found.shape == shape and 0 <= found.min() and found.max() < high
    assert counts.max() > 1 and len(values) < high


@given(nst.distinct(nst.shapes()), nst.positive((3, 2)), nst.cotangents((5,)))
def test_values_keep_their_distance(x, p, g):
    values = np.sort(x.reshape(-1))
    assert np.abs(values).min() > 0.09 and np.diff(values).min(initial=1) > 0.36
    assert p.min() >= 0.5 and np.ptp(g) > 0


@given(nst.attention_inputs())
def test_attention_inputs_pass_the_check_of_a_right_attention(inputs):
    q, k, v, mask = inputs
    assert q.shape[:2] == k.shape[:2] and k.shape == v.shape and q.shape[-1] == k.shape[-1]
    if mask is not None:
        assert mask.any(axis=-1).all() and not mask.all()
    tensors = [npf.tensor(x).requires_grad_() for x in (q, k, v)]
    y = F.scaled_dot_product_attention(*tensors,
                                       attn_mask=None if mask is None else npf.tensor(mask))
    direction = np.random.default_rng(0).standard_normal(q.shape)
    g = np.random.default_rng(1).standard_normal(y.shape)
    sent = npf.autograd.grad(y, tensors, npf.tensor(g))[0].numpy()
    seen = [attention(q + h * direction, k, v, mask) for h in (1e-5, -1e-5)]
    assert (sent * direction).sum() == pytest.approx((g * (seen[0] - seen[1])).sum() / 2e-5,
                                                     rel=1e-5, abs=1e-7)


def attention(q, k, v, mask):
    """In plain NumPy."""
    s = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    e = np.exp(s if mask is None else np.where(mask, s, -np.inf))
    return e / e.sum(axis=-1, keepdims=True) @ v


@given(nst.attention_inputs(masked=("causal",), dtype=np.float32))
def test_a_causal_mask_lets_every_query_see_a_key_but_not_the_future(inputs):
    T, S = inputs.mask.shape
    assert S > T and inputs.q.dtype == np.float32
    assert inputs.mask[-1].all() and not inputs.mask[0, S - T + 1:].any() and inputs.mask[0, S - T]


@given(nst.probabilities())
def test_probabilities_are_not_a_half(p):
    assert 0.1 <= p <= 0.4
