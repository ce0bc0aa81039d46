"""The models of `npformer golden`: those that are known here, and those of a user's factory."""

from __future__ import annotations

import numpy as np

from ...core.errors import InputError
from ...verify.golden.write import tiny
from .user_file import explain_errors, load, split_target

MODELS = {"tiny": tiny}


def make_model(name: str, seed: int):
    """(model, inputs, loss) of a known model, or of a user's factory."""
    rng = np.random.default_rng(seed)
    if name in MODELS:
        return MODELS[name](rng)
    if not name.partition("::")[0].endswith(".py"):
        raise InputError(f"{name!r} is not a model that is known here: use {', '.join(MODELS)}, or "
                         "FILE.py::factory.")
    path, factory = split_target(name)
    if not factory:
        raise InputError(f"{name}: name the function in it that makes the model: {name}::factory.")
    function = getattr(load(path), factory, None)
    if not callable(function):
        raise InputError(f"{path} has no function {factory!r}.")
    with explain_errors(path, f"{factory}(rng) fails"):
        found = function(rng)
    if not (isinstance(found, tuple) and len(found) == 3 and isinstance(found[1], dict)
            and callable(found[2])):
        raise InputError(f"{name}: it must return (model, inputs, loss): a Module, NumPy arrays by "
                         "name, and\n  loss(model, **inputs) -> one number.")
    return found
