"""PyTorch's functions of tensors, by topic: its names, arguments, defaults and edge behaviour, over the operations."""
# ruff: noqa: F401, I001

from typing import TYPE_CHECKING

from .comparing import (allclose, bitwise_and, bitwise_not, bitwise_or, bitwise_xor, eq, equal, ge, gt,
                        is_floating_point, isclose, isfinite, isinf, isnan, le, logical_and, logical_not, logical_or,
                        logical_xor, lt, ne)
from .indexing import (argsort, diag, diagonal, gather, getitem, index_add, index_copy, index_fill, index_select,
                       masked_select, narrow, nonzero, scatter, scatter_add, select, sort, take_along_dim, topk, tril,
                       triu, unique)
from .like import (bernoulli, empty_like, full_like, new_empty, new_full, new_ones, new_zeros, ones_like, rand_like,
                   randn_like, zeros_like)
from .literals import new_tensor
from .linalg import addmm, baddbmm, bmm, dot, einsum, matmul, mm, mv, outer, tensordot
from .pointwise import (abs, absolute, add, addcdiv, addcmul, ceil, clamp, clamp_max, clamp_min, clip, clone, cos, div,
                        divide, erf, exp, expm1, exp2, floor, floor_divide, lerp, log, log10, log1p, log2, log_softmax,
                        logaddexp, masked_fill, maximum, minimum, mul, multiply, neg, negative, pow, reciprocal, relu, remainder,
                        round, rsqrt, sigmoid, sign, sin, softmax, sqrt, square, sub, subtract, tanh, true_divide,
                        trunc, where)
from .reduction import (all, amax, amin, any, argmax, argmin, bincount, count_nonzero, cumsum, logsumexp, max, mean,
                        min, norm, prod, std, sum, var)
from .shaping import (broadcast_tensors, broadcast_to, cat, chunk, concat, concatenate, expand, expand_as, flatten,
                      flip, hstack, meshgrid, moveaxis, movedim, permute, ravel, repeat, repeat_interleave, reshape,
                      roll, split, squeeze, stack, swapaxes, swapdims, t, tile, transpose, unbind, unflatten,
                      unsqueeze, view, view_as, vstack)

if not TYPE_CHECKING:                              # checkers cannot compute it; without it they take every name
    __all__ = [name for name, value in globals().items() if callable(value)]
