"""`npformer golden`: a reference model's whole pass in one file, for engines in any language to compare with."""

from argparse import Namespace

import numpy as np

from ..core.errors import InputError
from ..files import write_whole
from ..tensorfile import pieces
from ..verify.golden.write import golden, tiny
from .script import load, seed_of, split_target, told

MODELS = {"tiny": tiny}


def run(arguments: Namespace) -> None:
    """Write the reference that the command line asks for."""
    seed = seed_of(arguments)
    model, inputs, loss = made(arguments.model, seed)
    if not arguments.out.endswith(".safetensors"):
        raise InputError(f"--out {arguments.out}: the name must end in .safetensors.")
    with told(arguments.model.partition("::")[0], "its pass fails"):
        found, metadata = golden(model, inputs, loss, seed)
    write_whole(arguments.out, *pieces(found, metadata))
    counts = [f"{sum(name.startswith(group) for name in found)} {words}" for group, words in (
        ("input.", "inputs"), ("weight.", "weights"), ("activation.", "activations"), ("gradient.", "gradients"))]
    print(f"{arguments.out}: {', '.join(counts)}, loss {float(found['loss']):.6f} nats\n"
          f"Compare with: npformer compare MINE.safetensors {arguments.out}")


def made(name, seed):
    """(model, inputs, loss) of a known model, or of a user's factory."""
    rng = np.random.default_rng(seed)
    if name in MODELS:
        return MODELS[name](rng)
    if not name.partition("::")[0].endswith(".py"):
        raise InputError(f"{name!r} is no model that is known here: use {', '.join(MODELS)}, or FILE.py::factory.")
    path, factory = split_target(name)
    if not factory:
        raise InputError(f"{name}: name the function in it that makes the model: {name}::factory.")
    function = getattr(load(path), factory, None)
    if not callable(function):
        raise InputError(f"{path} has no function {factory!r}.")
    with told(path, f"{factory}(rng) fails"):
        found = function(rng)
    if not (isinstance(found, tuple) and len(found) == 3 and isinstance(found[1], dict) and callable(found[2])):
        raise InputError(f"{name}: it must return (model, inputs, loss): a Module, NumPy arrays by name, and\n"
                         "  loss(model, **inputs) -> one number.")
    return found
