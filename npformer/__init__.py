"""A Transformer on NumPy whose backward pass you can read, step through and prove.

    >>> import npformer as npf
    >>> x = npf.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> loss = (x.softmax(dim=-1) * npf.tensor([1.0, -1.0])).sum()
    >>> for step in npf.backprop(loss):         # loss.backward() is this loop run to its end
    ...     print(step.op, [d.shape for d in step.gradients.values()])
    sum [(2, 2)]
    mul [(2, 2)]
    softmax [(2, 2)]
    >>> x.grad
    tensor([[ 0.3932, -0.3932],
            [ 0.3932, -0.3932]])

Names, arguments, defaults and behaviour are PyTorch's. In shapes: B batch, T queries (time), S
keys, C model width, H heads, K head width, V vocabulary, F feed-forward width.
"""
# ruff: noqa: F401, I001
# `x as x` tells type checkers that a name is for users: in a typed package, other imports are its
# own affair.

from importlib import import_module
from math import e as e, inf as inf, nan as nan, pi as pi
from typing import TYPE_CHECKING

from numpy import dtype as dtype, finfo as finfo, iinfo as iinfo

from . import autograd, backends, cuda, interop
from .autograd import (enable_grad as enable_grad, inference_mode as inference_mode,
                       is_grad_enabled as is_grad_enabled, no_grad as no_grad,
                       set_grad_enabled as set_grad_enabled)
from .core.random_numbers import (Generator as Generator, default_generator as default_generator,
                                  manual_seed as manual_seed)
from .core.devices import (backend as backend, backend_from_environment as backend_from_environment,
                           get_backend as get_backend, set_backend as set_backend,
                           started_as_command as started_as_command)
from .core.dtypes import (bool_ as bool_, float16 as float16, float32 as float32,
                          float64 as float64, get_default_dtype as get_default_dtype,
                          int8 as int8, int16 as int16, int32 as int32, int64 as int64,
                          set_default_dtype as set_default_dtype, uint8 as uint8)
from .core.threads import get_num_threads as get_num_threads, set_num_threads as set_num_threads
from .core.errors import (DeviceError as DeviceError, DTypeError as DTypeError,
                          GradientError as GradientError, GraphError as GraphError,
                          IndexRangeError as IndexRangeError, InputError as InputError,
                          NpformerError as NpformerError, ShapeError as ShapeError,
                          ValueRangeError as ValueRangeError)
from .creation import (BoolTensor as BoolTensor, DoubleTensor as DoubleTensor,
                       FloatTensor as FloatTensor, IntTensor as IntTensor, LongTensor as LongTensor,
                       arange as arange, as_tensor as as_tensor, empty as empty, eye as eye,
                       from_dlpack as from_dlpack, from_numpy as from_numpy, full as full,
                       linspace as linspace, multinomial as multinomial, normal as normal,
                       ones as ones, rand as rand, randint as randint, randint_like as randint_like,
                       randn as randn, randperm as randperm, tensor as tensor,
                       tril_indices as tril_indices, triu_indices as triu_indices, zeros as zeros)
from .functions import *  # noqa: F403
from .interop import Size as Size
from .serialize import load as load, save as save
from .settings import (compile as compile, get_rng_state as get_rng_state,
                       set_default_device as set_default_device,
                       set_float32_matmul_precision as set_float32_matmul_precision,
                       set_printoptions as set_printoptions, set_rng_state as set_rng_state,
                       use_deterministic_algorithms as use_deterministic_algorithms)
from .tensors import Tensor as Tensor
from .core import devices

if TYPE_CHECKING:                                  # what __getattr__ below finds
    from . import data, debug, models, nn, optim, plot, train, utils, verify
    from .core.step import Step as Step, backprop as backprop
    from .verify import gradcheck as gradcheck

__version__ = "0.1.0"

bool, device = bool_, devices.Device
double, float, half = float64, float32, float16
long, int, short = int64, int32, int16
newaxis = None
if not started_as_command():
    backend_from_environment()


def is_tensor(obj):
    """Whether obj is a Tensor"""
    return isinstance(obj, Tensor)


def numel(input):
    """How many entries input has"""
    return input.numel()


LATE = {"gradcheck": "verify", "Step": "core.step", "backprop": "core.step",
        **dict.fromkeys(
            ["nn", "optim", "utils", "verify", "debug", "models", "data", "train", "plot"], "")}
ABSENT = {
    "bfloat16": "NumPy has no bfloat16; use npf.float32, or npf.float16 to save memory",
    **dict.fromkeys(["autocast", "amp"],
                    "there is no mixed precision; leave it out, or convert with model.half()"),
    **dict.fromkeys(["complex64", "complex128", "polar", "view_as_complex", "view_as_real"],
                    "there are no complex tensors; rotations are written with cos and sin"),
    **dict.fromkeys(["jit", "onnx", "distributed", "multiprocessing"],
                    "models run in this process, as they are"),
}


def __getattr__(name):
    """Tools that most programs do without are loaded on first use."""
    if name not in LATE:
        why = ABSENT.get(name)
        raise AttributeError(f"module 'npformer' has no attribute {name!r}" +
                             (f": {why}" if why else ""))
    module = import_module(f".{LATE[name] or name}", __name__)
    return getattr(module, name) if LATE[name] else module


def __dir__():
    return sorted({*globals(), *LATE})
