"""`npformer info`: versions, BLAS, threads, GPU or why not."""

import os
import platform
import sys
from argparse import Namespace
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from ..core import devices, threads
from ..core.errors import DeviceError
from . import package_version

PACKAGES = ("numpy", "cupy-cuda12x", "torch", "rich", "matplotlib", "threadpoolctl")


def run(arguments: Namespace) -> None:
    """Write a line for each thing that matters. It needs no package but NumPy: it has to say what is missing."""
    lines = [("npformer", package_version()), ("python", f"{platform.python_version()} ({sys.executable})"),
             ("system", f"{platform.platform()}, {os.cpu_count()} CPUs"),
             *[(name, installed(name)) for name in PACKAGES],
             ("BLAS", blas()), ("threads", thread_count()), ("GPU", gpu()), ("backend", backend())]
    sys.stdout.write("".join(f"{name:<14} {value}\n" for name, value in lines))


def installed(package):
    """The version of a package, or that it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def blas():
    """The library that NumPy multiplies matrices with."""
    found = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def thread_count():
    """How many threads BLAS uses, or why that is not known."""
    try:
        return str(threads.get_num_threads())
    except DeviceError as error:
        return first_line(error)


def gpu():
    """The GPU that CuPy finds, or why it finds none."""
    try:
        module = devices.cupy()
    except DeviceError as error:
        return first_line(error)
    return module.cuda.runtime.getDeviceProperties(0)["name"].decode()


def backend():
    """Where new tensors live, or why they cannot live where NPFORMER_BACKEND wants them."""
    try:
        devices.backend_from_environment()
    except DeviceError as error:
        return f"NPFORMER_BACKEND cannot be had: {first_line(error)}"
    return devices.get_backend()


def first_line(error):
    """The first line of an error's text."""
    return str(error).partition("\n")[0]
