"""Names for what npformer's functions take, for type checkers: `def f(x: Tensor, dim: Dim) ->
Tensor`.

The package itself imports them under TYPE_CHECKING only, so that they cost nothing at run time.
"""

from collections.abc import Iterable
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np

from .core.devices import DeviceLike as DeviceLike
from .core.dtypes import DType as DType
from .files import StrPath as StrPath
from .ops.shape import Dim as Dim
from .ops.shape import Shape as Shape
from .tensors import Tensor

Operand = Tensor | np.ndarray | np.number | float  # what stands beside a Tensor in x + y
# what an optimiser takes: parameters, or groups of them
Params = Iterable[Tensor] | Iterable[dict[str, Any]]

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class Called(Protocol[P, R]):
    """A module as its own `__call__` sees it: it takes what its `forward` takes, and returns what
    that returns."""

    _hooks: Any

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the module computes."""
