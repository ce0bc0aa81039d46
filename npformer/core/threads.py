"""How many threads BLAS may use."""

import importlib

from .errors import DeviceError, ValueRangeError


def set_num_threads(count: int) -> None:
    """How many threads BLAS may use, an integer >= 1. Needs threadpoolctl."""
    if not isinstance(count, int) or count < 1:
        raise ValueRangeError("set_num_threads(count): count must be an integer >= 1, "
                              f"got {count!r}")
    _threadpoolctl().threadpool_limits(count)


def get_num_threads() -> int:
    """How many threads BLAS uses: the most of any library that is loaded. Needs threadpoolctl."""
    return max((pool["num_threads"] for pool in _threadpoolctl().threadpool_info()), default=1)


def _threadpoolctl():
    try:
        return importlib.import_module("threadpoolctl")
    except ImportError:
        raise DeviceError(
            "threads are counted and set through threadpoolctl, which is not installed.\n"
            "  Install it with: pip install threadpoolctl") from None
