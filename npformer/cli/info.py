"""`npformer info`: versions, BLAS, threads, GPU or why not."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np

from ..core import devices, threads
from ..core.errors import DeviceError

if TYPE_CHECKING:
    from .helpers.training_options import Commands

PACKAGES = ("numpy", "cupy-cuda12x", "torch", "rich", "matplotlib", "threadpoolctl")


def declare(commands: Commands) -> None:
    commands.add_parser("info", help="versions, BLAS, threads, GPU or why not",
                        description="What npformer runs on.")


def run(arguments: argparse.Namespace) -> int:
    """Write a line for each thing that matters. It needs no package but NumPy: it has to say what
    is missing."""
    lines = [("npformer", package_version()),
             ("python", f"{platform.python_version()} ({sys.executable})"),
             ("system", f"{platform.platform()}, {os.cpu_count()} CPUs"),
             *[(name, version_of(name)) for name in PACKAGES], ("BLAS", blas_library()),
             ("threads", thread_count()), ("GPU", gpu_name()), ("backend", backend_name())]
    sys.stdout.write("".join(f"{name:<14} {value}\n" for name, value in lines))
    return 0


def package_version() -> str:
    try:
        return version("npformer")
    except PackageNotFoundError:
        return "(not installed)"


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def blas_library() -> str:
    found = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def thread_count() -> str:
    """How many threads BLAS uses, or why that is not known."""
    try:
        return str(threads.get_num_threads())
    except DeviceError as error:
        return first_line(error)


def gpu_name() -> str:
    try:
        module = devices.cupy()
    except DeviceError as error:
        return first_line(error)
    return module.cuda.runtime.getDeviceProperties(0)["name"].decode()


def backend_name() -> str:
    """Where new tensors live, or why they cannot live where NPFORMER_BACKEND wants them."""
    try:
        devices.backend_from_environment()
    except DeviceError as error:
        return f"NPFORMER_BACKEND cannot be used: {first_line(error)}"
    return devices.get_backend()


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
