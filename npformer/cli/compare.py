"""`npformer compare`: the first tensor of another engine that is wrong, and what is wrong with it."""

import dataclasses
import math
import zipfile
from argparse import Namespace

import numpy as np

from ..core.errors import InputError
from ..tensorfile import read
from ..verify.golden.compare import compare
from .strict import as_json


def run(arguments: Namespace) -> int:
    """Print the verdict. Returns the exit code: 0 if all agree, 1 if something is wrong."""
    tolerance = arguments.tolerance
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise InputError(f"--tolerance must be a number >= 0, got {tolerance:g}.")
    mine = arrays_of(arguments.mine)
    if is_npz(arguments.reference):
        raise InputError(f"{arguments.reference} is an .npz file: arrays alone, without the graph that a reference has.\n"
                         "  The reference is the .safetensors file that `npformer golden` writes, and comes second; yours may "
                         "be .npz:\n  npformer compare mine.npz ref.safetensors")
    reference, metadata = read(arguments.reference)
    verdict = compare(mine, reference, metadata, tolerance)
    if arguments.json:
        print(as_json({"right": bool(verdict), **dataclasses.asdict(verdict)}))
    else:
        print(verdict)
    return 0 if verdict else 1


def is_npz(path):
    """Whether a file is NumPy's .npz, whatever its name: a zip file of .npy files."""
    try:
        with zipfile.ZipFile(path) as found:
            return any(name.endswith(".npy") for name in found.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def arrays_of(path):
    """The arrays by name in a .safetensors or .npz file."""
    if not path.endswith(".npz") and not is_npz(path):
        return read(path)[0]
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise InputError(f"{path} is damaged, or no .npz file of plain arrays: {error}.") from None
