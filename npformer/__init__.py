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
from typing import TYPE_CHECKING

from numpy import dtype, finfo, iinfo

from . import autograd, backends, cuda
from .autograd import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .core.arrays import (Generator, backend, backend_from_environment, bool_, default_generator, float16, float32,
                          float64, get_backend, get_default_dtype, get_num_threads, int8, int16, int32, int64,
                          manual_seed, set_backend, set_default_dtype, set_num_threads, started_as_command, uint8)
from .core.errors import (DeviceError, DTypeError, GradientError, GraphError, IndexRangeError, InputError,
                          NpformerError, ShapeError, ValueRangeError)
from .core.tape import Step, backprop
from .creation import (BoolTensor, DoubleTensor, FloatTensor, IntTensor, LongTensor, arange, as_tensor, empty, eye,
                       from_dlpack, from_numpy, full, linspace, multinomial, normal, ones, rand, randint,
                       randint_like, randn, randperm, tensor, tril_indices, triu_indices, zeros)
from .functions import *  # noqa: F403
from .interop import Device as device
from .interop import Size
from .serialize import load, save
from .settings import (compile, get_rng_state, set_default_device, set_float32_matmul_precision, set_printoptions,
                       set_rng_state, use_deterministic_algorithms)
from .tensors import Tensor

if TYPE_CHECKING:                                  # what __getattr__ below finds
    from . import data, debug, models, nn, optim, plot, train, utils, verify
    from .verify import gradcheck

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


def numel(input):
    """How many entries input has"""
    return input.numel()


LATE = {"gradcheck": "verify",
        **dict.fromkeys(["nn", "optim", "utils", "verify", "debug", "models", "data", "train", "plot"], "")}
ABSENT = {
    "bfloat16": "NumPy has no bfloat16; use npf.float32, or npf.float16 to save memory",
    **dict.fromkeys(["autocast", "amp"], "there is no mixed precision; leave it out, or convert with model.half()"),
    **dict.fromkeys(["complex64", "complex128", "polar", "view_as_complex", "view_as_real"],
                    "there are no complex tensors; rotations are written with cos and sin"),
    **dict.fromkeys(["jit", "onnx", "distributed", "multiprocessing"], "models run in this process, as they are"),
}


def __getattr__(name):
    """Tools that most programs do without are loaded on first use."""
    if name not in LATE:
        why = ABSENT.get(name)
        raise AttributeError(f"module 'npformer' has no attribute {name!r}" + (f": {why}" if why else ""))
    module = import_module(f".{LATE[name] or name}", __name__)
    return getattr(module, name) if LATE[name] else module
