"""A Transformer on NumPy whose backward pass you can read, step through and prove.

    >>> import npformer as npf
    >>> x = npf.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> loss = (x.softmax(dim=-1) * npf.tensor([1.0, -1.0])).sum()
    >>> for step in npf.backprop(loss):                # or loss.backward(), which is this loop run to its end
    ...     print(step.op, [d.shape for d in step.gradients.values()])
    sum [(2, 2)]
    mul [(2, 2)]
    softmax [(2, 2)]
    >>> x.grad
    tensor([[ 0.3932, -0.3932],
            [ 0.3932, -0.3932]])

Names, arguments, defaults and behaviour are PyTorch's. In shapes: B batch, T queries (time), S keys, C model width,
H heads, K head width, V vocabulary, F feed-forward width.
"""
# ruff: noqa: F401, I001

from importlib import import_module
from math import e, inf, nan, pi

from numpy import finfo, iinfo

from . import autograd, cuda
from .autograd import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .core.arrays import (Generator, backend, backend_from_environment, bool_, default_generator, float16, float32,
                          float64, get_backend, get_default_dtype, get_num_threads, int8, int16, int32, int64,
                          manual_seed, set_backend, set_default_dtype, set_num_threads, started_as_command, uint8)
from .core.errors import (DeviceError, DTypeError, GradientError, GraphError, IndexRangeError, InputError,
                          NpformerError, ShapeError, ValueRangeError)
from .core.tape import Step, backprop
from .creation import (arange, as_tensor, empty, eye, from_dlpack, from_numpy, full, linspace, multinomial, normal,
                       ones, rand, randint, randint_like, randn, randperm, tensor, zeros)
from .functions import *  # noqa: F403
from .interop import Device as device
from .interop import Size
from .serialize import load, save
from .tensors import Tensor

__version__ = "0.1.0"

bool = bool_
double, float, half = float64, float32, float16
long, int, short = int64, int32, int16
newaxis = None
if not started_as_command():
    backend_from_environment()


def is_tensor(obj):
    """Whether obj is a Tensor"""
    return isinstance(obj, Tensor)


LATE = {"gradcheck": "verify",
        **dict.fromkeys(["nn", "optim", "verify", "debug", "models", "data", "train", "plot"], "")}


def __getattr__(name):
    """Tools that most programs do without are loaded on first use."""
    if name not in LATE:
        raise AttributeError(f"module 'npformer' has no attribute {name!r}")
    module = import_module(f".{LATE[name] or name}", __name__)
    return getattr(module, name) if LATE[name] else module
