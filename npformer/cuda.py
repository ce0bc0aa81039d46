"""Whether there is a GPU to compute on, through CuPy: PyTorch's `torch.cuda` names."""

from __future__ import annotations

from .core import devices, random_numbers
from .core.errors import DeviceError


def is_available() -> bool:
    """Whether CuPy is installed and finds a driver and a device. Never raises."""
    try:
        devices.cupy()
    except DeviceError:
        return False
    return True


def device_count() -> int:
    """How many GPUs CuPy sees; 0 where it cannot work."""
    return devices.cupy().cuda.runtime.getDeviceCount() if is_available() else 0


def get_device_name(device: int = 0) -> str:
    """The name of a GPU: 'NVIDIA H100'."""
    return devices.cupy().cuda.runtime.getDeviceProperties(device)["name"].decode()


def synchronize() -> None:
    """Wait until the GPU has done all that it was given."""
    devices.cupy().cuda.get_current_stream().synchronize()


def empty_cache() -> None:
    """Give the memory that CuPy keeps for later back to the driver; nothing without a GPU."""
    if is_available():
        devices.cupy().get_default_memory_pool().free_all_blocks()


def manual_seed_all(seed: int) -> None:
    """`npf.manual_seed`: draws are made on the CPU and moved, so one seed serves every device."""
    random_numbers.manual_seed(seed)


manual_seed = manual_seed_all
