"""`npformer compare`: the first tensor of another engine that is wrong, and what is wrong."""

from __future__ import annotations

import argparse
import dataclasses
import math
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import InputError
from ..tensorfile import read
from .helpers.json_text import as_json

if TYPE_CHECKING:
    from .helpers.training_options import Commands


def declare(commands: Commands) -> None:
    compare = commands.add_parser(
        "compare", help="which tensor of another engine is wrong first?",
        description="Hold an engine's tensors against a reference. Exit code 0: they agree; "
                    "1: one is wrong; 2: cannot be used.")
    compare.add_argument("mine", metavar="MINE",
                         help="your tensors by the reference's names, .safetensors or .npz")
    compare.add_argument("reference", metavar="REF.safetensors",
                         help="what `npformer golden` wrote")
    compare.add_argument("--tolerance", type=float, metavar="X",
                         help="what a tensor may be off by, relative to its largest entry "
                              "(float64 1e-9, float32 2e-5, and measured rounding)")
    compare.add_argument("--json", action="store_true", help="one line of JSON on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Print the verdict. Returns the exit code: 0 if all agree, 1 if something is wrong."""
    from ..verify.golden.compare import compare

    tolerance = arguments.tolerance
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise InputError(f"--tolerance must be a number >= 0, got {tolerance:g}.")
    mine = read_arrays(arguments.mine)
    if is_npz(arguments.reference):
        raise InputError(
            f"{arguments.reference} is an .npz file: arrays alone, without the graph that a "
            "reference has.\n  The reference is the .safetensors file that `npformer golden` "
            "writes, and comes second; yours may be .npz:\n"
            "  npformer compare mine.npz ref.safetensors")
    reference, metadata = read(arguments.reference)
    verdict = compare(mine, reference, metadata, tolerance)
    if arguments.json:
        print(as_json({"right": bool(verdict), **dataclasses.asdict(verdict)}))
    else:
        print(verdict)
    return 0 if verdict else 1


def is_npz(path: str) -> bool:
    """Whether a file is NumPy's .npz, whatever its name: a zip file of .npy files."""
    try:
        with zipfile.ZipFile(path) as found:
            return any(name.endswith(".npy") for name in found.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_arrays(path: str) -> dict[str, np.ndarray]:
    if not path.endswith(".npz") and not is_npz(path):
        return read(path)[0]
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise InputError(f"{path} is damaged, or not an .npz file of plain arrays: "
                         f"{error}.") from None
