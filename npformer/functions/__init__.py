"""PyTorch's functions of tensors, by topic: its names, arguments, defaults and edge behaviour, over the operations."""
# ruff: noqa: F401, I001

from typing import TYPE_CHECKING

from .comparing import (allclose as allclose, bitwise_and as bitwise_and, bitwise_not as bitwise_not,
                        bitwise_or as bitwise_or, bitwise_xor as bitwise_xor, eq as eq, equal as equal, ge as ge,
                        gt as gt, is_floating_point as is_floating_point, isclose as isclose, isfinite as isfinite,
                        isinf as isinf, isnan as isnan, le as le, logical_and as logical_and,
                        logical_not as logical_not, logical_or as logical_or, logical_xor as logical_xor, lt as lt,
                        ne as ne)
from .indexing import (argsort as argsort, diag as diag, diagonal as diagonal, gather as gather, getitem as getitem,
                       index_add as index_add, index_copy as index_copy, index_fill as index_fill,
                       index_select as index_select, masked_select as masked_select, narrow as narrow,
                       nonzero as nonzero, scatter as scatter, scatter_add as scatter_add, select as select,
                       sort as sort, take_along_dim as take_along_dim, topk as topk, tril as tril, triu as triu,
                       unique as unique)
from .like import (bernoulli as bernoulli, empty_like as empty_like, full_like as full_like, new_empty as new_empty,
                   new_full as new_full, new_ones as new_ones, new_zeros as new_zeros, ones_like as ones_like,
                   rand_like as rand_like, randn_like as randn_like, zeros_like as zeros_like)
from .literals import new_tensor as new_tensor
from .linalg import (addmm as addmm, baddbmm as baddbmm, bmm as bmm, dot as dot, einsum as einsum, matmul as matmul,
                     mm as mm, mv as mv, outer as outer, tensordot as tensordot)
from .pointwise import (abs as abs, absolute as absolute, add as add, addcdiv as addcdiv, addcmul as addcmul,
                        ceil as ceil, clamp as clamp, clamp_max as clamp_max, clamp_min as clamp_min, clip as clip,
                        clone as clone, cos as cos, div as div, divide as divide, erf as erf, exp as exp,
                        expm1 as expm1, exp2 as exp2, floor as floor, floor_divide as floor_divide, lerp as lerp,
                        log as log, log10 as log10, log1p as log1p, log2 as log2, log_softmax as log_softmax,
                        logaddexp as logaddexp, masked_fill as masked_fill, maximum as maximum, minimum as minimum,
                        mul as mul, multiply as multiply, neg as neg, negative as negative, pow as pow,
                        reciprocal as reciprocal, relu as relu, remainder as remainder, round as round, rsqrt as rsqrt,
                        sigmoid as sigmoid, sign as sign, sin as sin, softmax as softmax, sqrt as sqrt,
                        square as square, sub as sub, subtract as subtract, tanh as tanh, true_divide as true_divide,
                        trunc as trunc, where as where)
from .reduction import (all as all, amax as amax, amin as amin, any as any, argmax as argmax, argmin as argmin,
                        bincount as bincount, count_nonzero as count_nonzero, cumsum as cumsum, logsumexp as logsumexp,
                        max as max, mean as mean, min as min, norm as norm, prod as prod, std as std, sum as sum,
                        var as var)
from .shaping import (broadcast_tensors as broadcast_tensors, broadcast_to as broadcast_to, cat as cat, chunk as chunk,
                      concat as concat, concatenate as concatenate, expand as expand, expand_as as expand_as,
                      flatten as flatten, flip as flip, hstack as hstack, meshgrid as meshgrid, moveaxis as moveaxis,
                      movedim as movedim, permute as permute, ravel as ravel, repeat as repeat,
                      repeat_interleave as repeat_interleave, reshape as reshape, roll as roll, split as split,
                      squeeze as squeeze, stack as stack, swapaxes as swapaxes, swapdims as swapdims, t as t,
                      tile as tile, transpose as transpose, unbind as unbind, unflatten as unflatten,
                      unsqueeze as unsqueeze, view as view, view_as as view_as, vstack as vstack)

if not TYPE_CHECKING:                              # checkers cannot compute it; without it they take every name
    __all__ = [name for name, value in globals().items() if callable(value)]
