"""Names for what npformer's functions take, for type checkers: `def f(x: Tensor, dim: Dim) -> Tensor`.

The package itself imports them under TYPE_CHECKING only, so that they cost nothing at run time.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np

from .interop import Device
from .tensors import Tensor

Operand = Tensor | np.ndarray | np.number | float  # what stands beside a Tensor in x + y
Shape = int | Sequence[int]                        # sizes: f(2, 3) and f((2, 3)) alike, or one number for them all
Dim = int | Sequence[int]                          # one dim, or several
DType = np.dtype | type | str                      # npf.float32, np.float32, float, "float32"
DeviceLike = Device | str                          # npf.device("cuda"), "cuda"
StrPath = str | os.PathLike[str]
Params = Iterable[Tensor] | Iterable[dict[str, Any]]        # what an optimiser takes: parameters, or groups of them

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class Called(Protocol[P, R]):
    """A module as its own `__call__` sees it: it takes what its `forward` takes, and returns what that returns."""

    _hooks: Any

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the module computes."""
