"""GPT-2 as its weights are published: a safetensors file, a config.json beside it, and several
ways to write names."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tensorfile
from ..core import dtypes
from ..core.errors import InputError, ValueRangeError, complaint
from ..nn.state import plain_array

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..files import StrPath

WEIGHTS, CONFIG = "model.safetensors", "config.json"
MASKS = (".attn.bias", ".attn.masked_bias")        # causal masks, which old files carry along
HEAD_WIDTH = 64  # of every published GPT-2: the shapes do not tell it

# config.json's word for each option of GPT that the shapes tell, and for those that they do not.
SIZES = {"vocab_size": "vocab_size", "n_positions": "context", "n_layer": "n_layer",
         "n_embd": "d_model",
         "n_inner": "d_ff"}
OTHERS = {"n_head": "n_head", "layer_norm_epsilon": "eps", "resid_pdrop": "dropout"}
# What GPT computes: a config.json that says something else is of another model.
FIXED = {"model_type": ("gpt2",), "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
         "tie_word_embeddings": (True,), "scale_attn_weights": (True,),
         "scale_attn_by_inverse_layer_idx": (False,),
         "add_cross_attention": (False,)}


def array_of(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state dict under GPT's own names: without `transformer.` before them, without masks, the
    head as wte alone."""
    if not hasattr(state_dict, "items"):
        return state_dict                          # load_state_dict has the words for that
    found = {name.removeprefix("transformer."): value for name, value in state_dict.items()
             if not name.endswith(MASKS)}
    head = found.pop("lm_head.weight", None)
    if head is not None:
        table, head = (plain_array("lm_head.weight", x)
                       for x in (found.setdefault("wte.weight", head), head))
        if table.shape != head.shape or not (table == head).all():
            raise ValueRangeError(complaint(
                "GPT.load_state_dict(state_dict)",
                "the head must be tied: lm_head.weight must equal wte.weight",
                {"wte.weight": table, "lm_head.weight": head}))
    return found


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


def read(path: StrPath) -> Mapping[str, np.ndarray]:
    """The arrays of a safetensors file under GPT's own names.

    path: the file, or the folder it is in.
    """
    path = weights_file(path)
    if not os.path.isfile(path):
        raise InputError(
            f"{path}: there is no such file.\n  Give a GPT-2's {WEIGHTS}, or the folder that it is "
            "in.")
    return array_of(tensorfile.read(path)[0])


def weights_file(path: StrPath) -> str:
    """The file that `path` means: itself, or the one in that folder."""
    return os.path.join(path, WEIGHTS) if os.path.isdir(path) else os.fspath(path)


def read_config(path: StrPath) -> dict[str, Any]:
    """config.json beside the weights, as a dict without what it leaves open;
    empty where there is none."""
    path = os.path.join(os.path.dirname(weights_file(path)), CONFIG)
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            return {key: value for key, value in json.load(file).items() if value is not None}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is not a config.json ({error}).\n  Repair it, or remove it: the shapes tell "
            "most of it.") from None


# ── what the model is ─────────────────────────────────────────────────────────────────────────────


def options(path: StrPath, weights: Mapping[str, np.ndarray],
            **chosen: float | None) -> dict[str, Any]:
    """The options of GPT for these weights: `chosen`, else as config.json says, else as their
    shapes do."""
    config, found = read_config(path), sizes(path, weights)
    for key, allowed in FIXED.items():
        if config.get(key, allowed[0]) not in allowed:
            raise InputError(
                f"{path} is no GPT-2 as it is computed here: its {CONFIG} has {key} "
                f"{config[key]!r}, "
                f"not {' or '.join(map(repr, allowed))}.")
    for key, name in SIZES.items():
        if config.get(key, found[name]) != found[name]:
            raise InputError(
                f"{path}: its {CONFIG} says {key} {config[key]!r}, but by the weights' names and "
                f"shapes it is {found[name]}.\n  One of the two files is of another model.")
    for key, name in OTHERS.items():
        if key in config:
            if not isinstance(config[key], int if name == "n_head" else (int, float)):
                raise InputError(
                    f"{path}: its {CONFIG} has {key} {config[key]!r}, "
                    "which is not a number that can be used.")
            found[name] = config[key]
    found |= {name: value for name, value in chosen.items() if value is not None}
    if "n_head" not in found:
        if found["d_model"] % HEAD_WIDTH:
            raise InputError(
                f"{path}: without a {CONFIG}, nothing says how many heads it has, and its width "
                f"{found['d_model']} is not a multiple of {HEAD_WIDTH}.\n  Say it: "
                "GPT.from_safetensors(path, n_head=...).")
        found["n_head"] = found["d_model"] // HEAD_WIDTH
    return found


def sizes(path: StrPath, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The options of GPT that the names and shapes of its weights tell."""
    tables: dict[str, tuple[int, ...]] = {}
    for name in ("wte.weight", "wpe.weight", "h.0.mlp.c_fc.weight"):
        tables[name] = getattr(weights.get(name), "shape", ())
        if len(tables[name]) != 2:
            raise InputError(
                f"{path} is not a GPT-2: it has no {name} of 2 dims.\n"
                f"  It has {', '.join(sorted(weights))}"
                             [:300])
    (vocab_size, d_model), (context, _), (_, d_ff) = tables.values()
    layers = {match[1] for match in map(re.compile(r"h\.(\d+)\.").match, weights) if match}
    return dict(vocab_size=vocab_size, context=context, n_layer=len(layers), d_model=d_model,
                d_ff=d_ff,
                bias="ln_f.bias" in weights)


def dtype_of(weights: Mapping[str, np.ndarray]) -> np.dtype:
    """The dtype to compute in: the weights' own, but float32 for half precision."""
    return np.promote_types(weights["wte.weight"].dtype, dtypes.float32)
