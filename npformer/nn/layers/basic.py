"""Layers with weights: Linear, Bilinear, Embedding; and Dropout, Flatten, Unflatten."""

from __future__ import annotations

import math
from numbers import Integral
from typing import TYPE_CHECKING

from ...core.errors import ShapeError, ValueRangeError, complaint
from ...functions.shaping import flatten, unflatten
from .. import functional as F
from .. import init
from ..functional.checks import require_probability
from ..functional.lookup import row_number
from ..module import Module
from ..parameter import Parameter, empty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...core.devices import DeviceLike
    from ...core.dtypes import DType
    from ...tensors import Tensor


def require_size(call, least=0, **sizes):
    """Raise unless every size is an integer >= least."""
    for name, n in sizes.items():
        if not isinstance(n, Integral) or n < least:
            raise ValueRangeError(f"{call}: {name} must be an integer >= {least}, got {n!r}")


class Linear(Module):
    """y = x·Wᵀ + b.   x (..., in_features) -> (..., out_features).

    weight (out_features, in_features) and bias start uniform in ±1/√in_features.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True,
                 device: DeviceLike | None = None, dtype: DType | None = None) -> None:
        super().__init__()
        require_size("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = empty(out_features, in_features, device=device, dtype=dtype)
        self.register_parameter("bias",
                                empty(out_features, device=device, dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(max(self.in_features, 1))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (f"in_features={self.in_features}, out_features={self.out_features}, "
                f"bias={self.bias is not None}")


class Bilinear(Module):
    """y[..., o] = Σ x₁[..., i] · weight[o, i, j] · x₂[..., j] + bias[o] over i, j.   (..., I),
    (..., J) -> (..., O).

    weight (out_features, in1_features, in2_features) and bias start uniform in ±1/√in1_features.
    """

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True,
                 device: DeviceLike | None = None, dtype: DType | None = None) -> None:
        super().__init__()
        require_size("Bilinear", in1_features=in1_features, in2_features=in2_features,
                     out_features=out_features)
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features = out_features
        self.weight = empty(out_features, in1_features, in2_features, device=device, dtype=dtype)
        self.register_parameter("bias",
                                empty(out_features, device=device, dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        bound = 1 / math.sqrt(max(self.in1_features, 1))
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
                f"out_features={self.out_features}, bias={self.bias is not None}")


class Embedding(Module):
    """y[..., :] = weight[x[...], :].   x integers (...) -> (..., embedding_dim).

    weight (num_embeddings, embedding_dim) starts standard normal. padding_idx: a row that starts at
    0 and gets no gradient. PyTorch's max_norm, scale_grad_by_freq and sparse are left out.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *,
                 device: DeviceLike | None = None, dtype: DType | None = None) -> None:
        super().__init__()
        require_size("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None:
            padding_idx = row_number("Embedding", padding_idx, num_embeddings)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx
        self.weight = empty(num_embeddings, embedding_dim, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.array[self.padding_idx] = 0

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True,
                        padding_idx: int | None = None) -> Embedding:
        """A layer with that table (V, C), sharing its memory. freeze: it is not to be learned."""
        if embeddings.ndim != 2:
            raise ShapeError(
                complaint("Embedding.from_pretrained", "embeddings must be a table (V, C)",
                          {"embeddings": embeddings}))
        layer = cls(0, embeddings.shape[1])
        layer.num_embeddings = embeddings.shape[0]
        if padding_idx is not None:
            layer.padding_idx = row_number("Embedding.from_pretrained", padding_idx,
                                           embeddings.shape[0])
        layer.weight = Parameter(embeddings, requires_grad=not freeze)
        return layer

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Dropout(Module):
    """x·m / (1 − p), m random: 0 with probability p, else 1, in training; x itself after eval().

    p: default 0.5.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        require_probability("Dropout(p)", p)
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Flatten(Module):
    """The dims from start_dim to end_dim made one. Default: all but the batch."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One dim made several, of unflattened_size; one of them may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
