"""Parameter: a Tensor that a Module counts among what it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core import devices, dtypes
from ..core.errors import DTypeError, describe
from ..tensors import Tensor

if TYPE_CHECKING:
    from ..core.devices import DeviceLike
    from ..core.dtypes import DType


class Parameter(Tensor):
    """A leaf that needs a gradient and that a Module finds when it is assigned to an attribute.

    data: a Tensor, whose memory is shared. requires_grad: False freezes it, default True. What is
    computed from a Parameter is a plain Tensor.
    """

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        if not isinstance(data, Tensor):
            raise DTypeError(
                f"Parameter(data): data must be a Tensor, got {describe(data)}; use "
                "npf.tensor(data)")
        self.array, self.node = data.array, None
        if requires_grad:
            self.requires_grad_()

    def __repr__(self):
        return f"Parameter containing:\n{super().__repr__()}"


def empty(*shape: int, device: DeviceLike | None = None, dtype: DType | None = None,
          requires_grad: bool = True) -> Parameter:
    """A Parameter of that shape with nothing in it yet;
    dtype: the default float dtype unless given."""
    array = devices.module_for(device).empty(shape, dtype=dtypes.as_dtype(dtype)
                                            or dtypes.get_default_dtype())
    return Parameter(Tensor.wrap(array), requires_grad)
