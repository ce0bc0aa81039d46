"""What is done to a model's parameters as a whole: clipping their gradients, laying them out in
one vector."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...core import writes
from ...core.errors import ShapeError, ValueRangeError, complaint
from ...core.operation import as_array
from ...ops.shape import cat, reshape
from ...tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "vector_to_parameters"]


def gradients_of(parameters):
    """The gradients that are there, of one Tensor or of several."""
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in parameters if p.grad is not None]


def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False) -> Tensor:
    """Scale all gradients, in place, by min(1, max_norm / (‖g‖ + 1e-6)), g all of them in one
    vector. Returns ‖g‖.

    norm_type: p of the norm, inf for the largest entry.   Source: Pascanu et al. 2012,
    arXiv:1211.5063.
    """
    grads = [g.array for g in gradients_of(parameters)]
    if not grads:
        return Tensor(0.0)
    total = norm_of_all(grads, float(norm_type))
    if error_if_nonfinite and not bool(np.isfinite(total)):
        raise ValueRangeError(
            f"clip_grad_norm_: the gradients' norm is {float(total)}, so they cannot be scaled")
    factor = np.minimum(max_norm / (total + 1e-6), 1)
    for g in grads:
        g *= factor.astype(g.dtype)
        writes.wrote(g)
    return Tensor.wrap(as_array(total, grads[0]))


def norm_of_all(grads, p):
    """(Σ |g|ᵖ)^(1/p) over every entry of every array."""
    if math.isinf(p):
        return np.stack([np.abs(g).max() for g in grads]).max()
    if p == 2:
        return np.sqrt(np.stack([np.vdot(g, g) for g in grads]).sum())
    return (np.stack([(np.abs(g) ** p).sum() for g in grads]).sum()) ** (1 / p)


def clip_grad_value_(parameters: Iterable[Tensor], clip_value: float) -> None:
    """Limit every entry of every gradient to [−clip_value, clip_value], in place."""
    for g in gradients_of(parameters):
        np.clip(g.array, -clip_value, clip_value, out=g.array)
        writes.wrote(g.array)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters' entries in one vector; differentiable."""
    return cat(*[reshape(p, shape=(-1,)) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy a vector's entries into the parameters, in the same order."""
    parameters = list(parameters)
    count = sum(p.array.size for p in parameters)
    if vec.array.shape != (count,):
        raise ShapeError(complaint("vector_to_parameters(vec, parameters)",
                                   f"vec must have {count} entries", {"vec": vec}))
    start = 0
    for p in parameters:
        p.array[...] = vec.array[start:start + p.array.size].reshape(p.array.shape)
        writes.wrote(p.array)
        start += p.array.size
