"""Conv1d, Conv2d and Bilinear against PyTorch's."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_layers import compare, real

import npformer as npf
import npformer.nn.functional as F
from npformer import nn
from npformer.core.errors import DTypeError, ShapeError, ValueRangeError

# PyTorch's, of its speed
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@given(dims=st.sampled_from([1, 2]), groups=st.integers(1, 3),
       kernel=st.sampled_from([1, 2, 3, (3,), (2, 3)]), stride=st.sampled_from([1, 2]),
       padding=st.sampled_from([0, 1, (1, 2), "same", "valid"]), dilation=st.integers(1, 2),
       bias=st.booleans(), mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
       batched=st.booleans())
@example(2, 1, (2, 3), 1, "same", 1, True, "circular", True)
@example(2, 2, (3, 2), (2, 1), (1, 2), 1, True, "reflect", False)
def test_convolutions(dims, groups, kernel, stride, padding, dilation, bias, mode, batched):
    if isinstance(kernel, tuple) and len(kernel) != dims:
        kernel = kernel[0]
    if isinstance(padding, tuple) and dims == 1:
        padding = 2
    stride = 1 if padding == "same" else stride
    shape = (*((2,) if batched else ()), 2 * groups, *(7, 6)[:dims])
    compare(lambda nn: getattr(nn, f"Conv{dims}d")(
        2 * groups, 3 * groups, kernel, stride=stride, padding=padding, dilation=dilation,
        groups=groups, bias=bias, padding_mode=mode), real(0, *shape))


@given(lead=st.lists(st.integers(1, 3), max_size=2), ins=st.integers(1, 4), width=st.integers(1, 4),
       outs=st.integers(1, 4), bias=st.booleans())
def test_bilinear(lead, ins, width, outs, bias):
    compare(lambda nn: nn.Bilinear(ins, width, outs, bias=bias), real(0, *lead, ins),
            real(1, *lead, width))


@pytest.mark.parametrize("layer, bound", [
    (lambda: nn.Conv2d(6, 400, (3, 5), groups=2), 1 / math.sqrt(3 * 15)),
    (lambda: nn.Conv1d(6, 400, 5), 1 / math.sqrt(30)),
    (lambda: nn.Bilinear(9, 5, 400), 1 / 3),
])
def test_starting_values(layer, bound):
    weight, bias = layer().parameters()
    for p in (weight, bias):
        assert np.abs(p.array).max() <= bound
        assert p.array.std() == pytest.approx(bound / math.sqrt(3), rel=0.08)


@pytest.mark.parametrize("error, words, call", [
    (ValueRangeError, "multiples of groups, 2", lambda: nn.Conv2d(3, 4, 2, groups=2)),
    (ValueRangeError, "a number, or 2, got", lambda: nn.Conv2d(3, 4, (2, 2, 2))),
    (ValueRangeError, "padding_mode must be 'zeros'",
     lambda: nn.Conv1d(3, 4, 2, padding_mode="zero")),
    (ValueRangeError, "conv1d: padding='same' needs stride 1, got",
     lambda: nn.Conv1d(3, 4, 2, 2, "same")(npf.zeros(1, 3, 9))),
    (ShapeError, r"input must be \(B, C, L\)", lambda: nn.Conv1d(3, 4, 2)(npf.zeros(1, 3, 9, 9))),
    (ShapeError, r"conv1d\(input, weight\): with groups=1, input's channels",
     lambda: nn.Conv1d(3, 4, 2)(npf.zeros(1, 2, 9))),
    (ShapeError, r"input must be \(B, C, H, W\) or \(C, H, W\), weight \(O, C/groups, kh, kw\)",
     lambda: nn.Conv2d(3, 4, 2)(npf.zeros(3, 9))),
    (DTypeError, "one dtype", lambda: nn.Conv2d(3, 4, 2)(npf.zeros(3, 9, 9, dtype=npf.float64))),
    (ShapeError, "weight must be", lambda: nn.Bilinear(2, 3, 4)(npf.zeros(5, 3), npf.zeros(5, 2))),
    (ShapeError, "agree in all dims",
     lambda: F.bilinear(npf.zeros(5, 2), npf.zeros(4, 3), npf.zeros(4, 2, 3))),
])
def test_mistakes(error, words, call):
    with pytest.raises(error, match=words):
        call()
