"""Where arrays live: NumPy's on the CPU or CuPy's on the GPU, and moving between them.

Operations call `np.exp(x)`, `x.sum(axis=...)` and the like, whatever x is: NumPy passes the call
to CuPy when x lives on the GPU (NEP 13 and NEP 18). Only what makes an array out of nothing has to
ask for a device; that is done here.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_default = {"device": "cpu"}
_NAMES = {"numpy": "cpu", "cpu": "cpu", "cupy": "cuda", "cuda": "cuda", "gpu": "cuda"}


def cupy() -> ModuleType:
    """The module CuPy, once it is sure to work; else a DeviceError that says what is missing."""
    try:
        module = importlib.import_module("cupy")
        runtime = module.cuda.runtime
    except (ImportError, AttributeError) as error:
        # AttributeError: a folder named `cupy` is found, which is not the package.
        raise DeviceError(
            f"CuPy was asked for and is not installed ({error}).\n"
            "  Install it with: pip install 'npformer[cuda]'"
        ) from None
    try:
        count = runtime.getDeviceCount()
    except RuntimeError as error:                  # CuPy's CUDARuntimeError is one
        raise DeviceError(
            f"CuPy {module.__version__} is installed but finds no working NVIDIA driver: {error}\n"
            "  Install or update the driver, or stay on backend 'numpy'."
        ) from None
    if count == 0:
        raise DeviceError(
            "CuPy and a driver are here, but the machine shows no CUDA device.\n"
            "  Look at nvidia-smi and CUDA_VISIBLE_DEVICES, or stay on backend 'numpy'."
        )
    return module


def device_name(device: DeviceLike | None) -> str:
    """'cpu' or 'cuda' for any name of a device: 'cuda:0', 'cupy', a Device, None (the default)."""
    if device is None:
        return _default["device"]
    kind, _, number = str(device).partition(":")
    if kind not in _NAMES or number not in ("", "0"):
        raise DeviceError(f"device {str(device)!r} is not known.\n"
                          "  Use 'cpu' (NumPy) or 'cuda' (CuPy on the first GPU).")
    return _NAMES[kind]


def module_for(device: DeviceLike | None = None) -> ModuleType:
    """The array module of a device: numpy, or cupy when it is asked for and works."""
    return np if device_name(device) == "cpu" else cupy()


def device_of(array) -> str:
    """'cpu' or 'cuda': where an array lives, told by the package that its type comes from."""
    return "cuda" if type(array).__module__.partition(".")[0] == "cupy" else "cpu"


def move(array, device: DeviceLike | None) -> Any:
    """The same numbers on `device`; the same array when it is there already."""
    target = device_name(device)
    if device_of(array) == target:
        return array
    return cupy().asarray(array) if target == "cuda" else array.get()


def to_numpy(array) -> np.ndarray:
    """The same numbers as a NumPy array."""
    return move(array, "cpu")


def set_backend(name: DeviceLike) -> None:
    """Where new tensors live from now on: 'numpy' ('cpu') or 'cupy' ('cuda').

    Fails at once if that cannot work.
    """
    device = device_name(name)
    module_for(device)
    _default["device"] = device


def get_backend() -> str:
    """'numpy' or 'cupy': where new tensors live."""
    return "numpy" if _default["device"] == "cpu" else "cupy"


@contextlib.contextmanager
def backend(name: DeviceLike) -> Iterator[None]:
    """`with npf.backend("cupy"):` makes new tensors live there inside the block."""
    before = get_backend()
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)


def backend_from_environment() -> None:
    """Take NPFORMER_BACKEND, if it is set. Fails at once if that cannot work."""
    name = os.environ.get("NPFORMER_BACKEND")
    if name:
        set_backend(name)


def started_as_command() -> bool:
    """Whether this process is the command `npformer`, which words its errors itself."""
    name = os.path.basename(sys.argv[0] if sys.argv else "").removesuffix(".exe")
    return name in ("npformer", "-m")              # -m: python -m npformer


class Device:
    """Where a tensor lives: `npf.device("cuda")`. Equal to its name as a string."""

    __slots__ = ("type", "index")

    def __init__(self, name: DeviceLike) -> None:
        self.type = device_name(name)
        self.index = None if self.type == "cpu" else 0

    def __eq__(self, other):
        if not isinstance(other, (str, Device)):
            return NotImplemented
        try:
            return self.type == device_name(other)
        except DeviceError:
            return False

    def __hash__(self):
        return hash(self.type)

    def __str__(self):
        return self.type

    def __repr__(self):
        return f"device(type={self.type!r})"


DeviceLike = Device | str                          # npf.device("cuda"), "cuda"
