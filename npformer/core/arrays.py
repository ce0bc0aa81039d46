"""Which arrays we are on: NumPy's or CuPy's, moving between them, dtypes, random numbers, and who wrote into what.

Operations call `np.exp(x)`, `x.sum(axis=...)` and the like, whatever x is: NumPy hands the call on to CuPy when x lives
on the GPU (NEP 13 and NEP 18). Only what makes an array out of nothing has to ask for a device; that is done here.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import weakref
import zlib
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .errors import DeviceError, DTypeError, ValueRangeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from ..typing import DeviceLike, DType

float16, float32, float64 = np.dtype("float16"), np.dtype("float32"), np.dtype("float64")
int8, int16, int32, int64 = np.dtype("int8"), np.dtype("int16"), np.dtype("int32"), np.dtype("int64")
uint8, bool_ = np.dtype("uint8"), np.dtype("bool")
DTYPES = {str(d): d for d in (float16, float32, float64, int8, int16, int32, int64, uint8, bool_)}


# ── devices ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_default: dict[str, Any] = {"device": "cpu", "dtype": float32}
_NAMES = {"numpy": "cpu", "cpu": "cpu", "cupy": "cuda", "cuda": "cuda", "gpu": "cuda"}


def cupy() -> ModuleType:
    """The module CuPy, once it is sure to work; otherwise a DeviceError that says what is missing."""
    try:
        module = importlib.import_module("cupy")
        runtime = module.cuda.runtime
    except (ImportError, AttributeError) as error:     # AttributeError: a folder `cupy` that is not the package
        raise DeviceError(
            f"CuPy was asked for and is not installed ({error}).\n  Install it with: pip install 'npformer[cuda]'"
        ) from None
    try:
        count = runtime.getDeviceCount()
    except RuntimeError as error:                  # CuPy's CUDARuntimeError is one
        raise DeviceError(
            f"CuPy {module.__version__} is installed but finds no working NVIDIA driver: {error}\n"
            "  Install or update the driver, or stay on backend 'numpy'."
        ) from None
    if count == 0:
        raise DeviceError("CuPy and a driver are here, but the machine shows no CUDA device.\n"
                          "  Look at nvidia-smi and CUDA_VISIBLE_DEVICES, or stay on backend 'numpy'.")
    return module


def device_name(device: DeviceLike | None) -> str:
    """'cpu' or 'cuda' for whatever names a device: 'cuda:0', 'cupy', 'numpy', a Device, or None (the default)."""
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
    """Where new tensors live from now on: 'numpy' ('cpu') or 'cupy' ('cuda'). Fails at once if it cannot work."""
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
    """Whether this process is the command `npformer` or `python -m npformer`, which word their errors themselves."""
    return os.path.basename(sys.argv[0] if sys.argv else "").removesuffix(".exe") in ("npformer", "-m")


# ── dtypes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def get_default_dtype() -> np.dtype:
    """The dtype that Python floats become: float32 unless `set_default_dtype` said otherwise."""
    return _default["dtype"]


def set_default_dtype(dtype: DType) -> None:
    """Make Python floats become `dtype` (a floating dtype) from now on."""
    found = as_dtype(dtype)
    if not is_float(found):
        raise DTypeError(f"set_default_dtype: the default must be a floating dtype, got {found}")
    _default["dtype"] = found


def as_dtype(dtype: DType | None) -> Any:
    """A NumPy dtype for whatever names one: npf.float32, np.float32, 'float32', float, int, bool; None stays None."""
    if dtype is None:
        return None
    if dtype is float:
        return get_default_dtype()
    try:
        found = DTYPES.get(str(np.dtype(dtype)))
    except TypeError:
        found = None
    if found is None:
        raise DTypeError(f"dtype {dtype!r} is not supported.\n  Known: {', '.join(DTYPES)}")
    return found


def is_float(dtype: np.dtype) -> bool:
    """Whether gradients can flow through arrays of this dtype."""
    return dtype.kind == "f"


def promote(operands, floating=False):
    """The operands of an elementwise operation, brought to the dtype that PyTorch computes in.

    Category decides first (bool < int < float); within it arrays with dims outrank 0-d ones, which outrank Python
    numbers; then the wider wins. So float32 (3,) with float64 () stays float32, and int64 with float32 is float32.
    `floating` lifts integers to the default float dtype (exp, sqrt, division).
    """
    common = None
    for a in operands:                             # the usual case, decided without looking further: one float dtype
        dtype = getattr(a, "dtype", None)
        if dtype is None or dtype is common:
            continue
        if dtype.kind != "f" or common is not None:
            break
        common = dtype
    else:
        if common is not None:
            return operands
    target = _result_dtype(operands)
    if floating and target.kind != "f":
        target = get_default_dtype()
    return [a.astype(target) if hasattr(a, "dtype") and a.dtype != target else a for a in operands]


def _result_dtype(operands):
    rank = {"b": 0, "u": 1, "i": 1, "f": 2}
    best = {}                                      # (category, priority) -> dtype; priority: dims 2, 0-d 1, number 0
    for a in operands:
        if hasattr(a, "dtype"):
            dtype, priority = a.dtype, 2 if a.ndim else 1
        else:
            dtype = bool_ if isinstance(a, bool) else int64 if isinstance(a, int) else get_default_dtype()
            priority = 0
        key = (rank[dtype.kind], priority)
        best[key] = np.promote_types(best[key], dtype) if key in best else dtype
    category = max(key[0] for key in best)
    return best[max(key for key in best if key[0] == category)]


# ── who wrote into what ──────────────────────────────────────────────────────────────────────────────────────────────
# A node that keeps an array keeps its stamp as well, and the backward pass compares. Writes through npformer are
# counted, by the array that owns the memory. Memory that was handed out (t.numpy(), from_numpy, dlpack) can be written
# behind our back: such arrays get a checksum in their stamp.

_writes: dict[int, int] = {}                       # id of the owner -> how often npformer wrote into it
_shared: dict[int, int | None] = {}                # id of the owner -> its checksum when it was first handed out


def owner(array):
    """The array whose memory `array` is a view of: itself, if it is none."""
    while isinstance(array.base, type(array)):
        array = array.base
    return array


def wrote(array) -> None:
    """Note that npformer changed `array` in place."""
    key = id(owner(array))
    _writes[key] = _writes.get(key, 0) + 1


def share(array, fresh: bool = False) -> None:
    """Note that somebody outside can write into `array`. `fresh`: nothing can have stamped it before."""
    root = owner(array)
    key = id(root)
    if isinstance(root, np.ndarray) and key not in _shared:
        _shared[key] = None if fresh else checksum(root)
        weakref.finalize(root, _shared.pop, key, None)


def stamp(array):
    """What `array` is now, for `changed_since`."""
    key = id(array if array.base is None else owner(array))
    writes = _writes.get(key, 0)
    return (writes, checksum(array)) if key in _shared else writes


def changed_since(array, before):
    """Whether anybody wrote into `array` after `before = stamp(array)`."""
    root = array if array.base is None else owner(array)
    writes = _writes.get(id(root), 0)
    if type(before) is tuple:
        return before != (writes, checksum(array))
    if before != writes:
        return True
    return id(root) in _shared and _shared[id(root)] is not None and _shared[id(root)] != checksum(root)


def guarded(array):
    """The same numbers for somebody who must not write into `array`: a view that refuses it; on the GPU, a copy."""
    if not isinstance(array, np.ndarray):
        return array.copy()
    view = array.view()
    view.flags.writeable = False
    return view


def checksum(array):
    """CRC-32 of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view("u1").data) if array.size else 0


# ── random numbers ───────────────────────────────────────────────────────────────────────────────────────────────────


class Generator:
    """A source of random numbers with a state that can be saved: `Generator().manual_seed(0)`.

    Draws are made by NumPy's PCG64 on the CPU and moved to the device, so that a seed means the same on both.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.numpy = np.random.Generator(np.random.PCG64(seed))

    def manual_seed(self, seed: int) -> Self:
        """Start again from `seed`, an integer >= 0. Returns the generator."""
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueRangeError(f"manual_seed(seed): seed must be an integer >= 0, got {seed!r}")
        self.numpy.bit_generator.state = np.random.PCG64(int(seed)).state
        return self

    def get_state(self) -> dict[str, Any]:
        """The state as a dict of numbers and strings, for `set_state` or a JSON file."""
        return dict(self.numpy.bit_generator.state)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `get_state` gave."""
        self.numpy.bit_generator.state = state


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the generator that every random function uses unless it is given another. Returns it."""
    return default_generator.manual_seed(seed)


# ── threads ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def set_num_threads(count: int) -> None:
    """How many threads BLAS may use, an integer >= 1. Needs threadpoolctl."""
    if not isinstance(count, int) or count < 1:
        raise ValueRangeError(f"set_num_threads(count): count must be an integer >= 1, got {count!r}")
    _threadpoolctl().threadpool_limits(count)


def get_num_threads() -> int:
    """How many threads BLAS uses: the largest number among the libraries that are loaded. Needs threadpoolctl."""
    return max((pool["num_threads"] for pool in _threadpoolctl().threadpool_info()), default=1)


def _threadpoolctl():
    try:
        return importlib.import_module("threadpoolctl")
    except ImportError:
        raise DeviceError("threads are counted and set through threadpoolctl, which is not installed.\n"
                          "  Install it with: pip install threadpoolctl") from None
