"""A reference for other engines: everything that one forward and backward pass computes, by name,
in one file.

The file's names, its order and its metadata are documented in docs/golden.md.
"""

import contextlib
import copy
import json
import math
from collections.abc import Callable

import numpy as np

from ... import creation
from ...core import devices, dtypes, random_numbers, tape
from ...core.errors import DTypeError, GraphError
from ...models.tiny import TinyTransformer
from ...nn import Module
from ...nn import functional as F
from ...tensors import Tensor

FORMAT = "npformer-golden-1"
EXACT, COARSE = dtypes.float64, dtypes.float32
COMPUTED = ("activation.", "loss", "gradient.")    # what an engine computes; the rest it is given

__all__ = ["golden"]


def golden(model: Module, inputs: dict[str, np.ndarray], loss: Callable[..., Tensor],
           seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays by name, metadata) of one forward and backward pass of `model` in float64.

    inputs: NumPy arrays by name. loss: loss(model, **inputs as Tensors) -> one number. seed: of
    random draws in the pass (dropout's masks, which then stand among the constants). Weights and
    inputs are rounded to float32 first, so that an engine in float32 can have the same ones; a pass
    in float32 tells how much of a gradient is rounding.

    Raises DTypeError where an input is no array, GraphError where no gradient flows.
    """
    for name, x in inputs.items():
        if not isinstance(x, np.ndarray):
            raise DTypeError(f"golden(model, inputs, loss): input {name!r} must be a NumPy array, "
                             f"got {type(x).__name__}")
    coarse = run_pass(model, inputs, loss, COARSE, seed)
    exact = run_pass(model, inputs, loss, EXACT, seed)
    rounding = {name: float(np.abs(exact.found[name] - array).max(initial=0))
                for name, array in coarse.found.items()
                if name.startswith(COMPUTED) and np.shape(exact.found.get(name)) == array.shape}
    texts = {"graph": exact.graph, "backward": exact.backward, "rounding": rounding}
    return exact.found, {"format": FORMAT, **{key: json.dumps(v) for key, v in texts.items()}}


def run_pass(model, inputs, loss, dtype, seed):
    model = copy.deepcopy(model).float().to(dtype)
    tensors = {name: creation.tensor(x.astype(COARSE).astype(dtype) if x.dtype.kind == "f" else x)
               for name, x in inputs.items()}
    for x in tensors.values():
        if dtypes.is_float(x.dtype):
            x.requires_grad_()
    recorder = Recorder(model, tensors)
    with default_dtype_and_seed(dtype, seed), tape.add_observer(recorder.note_operation):
        value = loss(model, **tensors)
    if not isinstance(value, Tensor) or value.array.size != 1:
        got = getattr(value, "shape", type(value).__name__)
        raise GraphError("golden(model, inputs, loss): loss(model, **inputs) must return a Tensor "
                         f"of one number, it returned {got}")
    recorder.finish(value)
    return recorder


@contextlib.contextmanager
def default_dtype_and_seed(dtype, seed):
    """New tensors have `dtype`, and random draws begin at `seed`, inside the block."""
    before, state = dtypes.get_default_dtype(), random_numbers.default_generator.get_state()
    dtypes.set_default_dtype(dtype)
    random_numbers.manual_seed(seed)
    try:
        yield
    finally:
        dtypes.set_default_dtype(before)
        random_numbers.default_generator.set_state(state)


class Recorder:
    """Names everything that a pass computes. found: arrays by name. graph: a dict for each
    operation, in forward order. backward: the names of the gradients, in the order in which the
    backward pass completes them."""

    def __init__(self, model, inputs):
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.found, self.graph, self.backward = {}, [], []
        self.nodes, self.known = {}, {}            # node -> name; id of an array -> name
        self.kept = []                             # these arrays, so that no id is used again
        groups = {"input": inputs.items(), "weight": model.named_parameters(),
                  "buffer": model.named_buffers()}
        for group, members in groups.items():
            for name, x in members:
                if x.node is not None:
                    self.nodes[x.node] = f"{group}.{name}"
                self.known[id(x.array)] = f"{group}.{name}"
                self.kept.append(x.array)
                # A copy: what a pass changes (a running mean) is in the file as it was before.
                self.found[f"{group}.{name}"] = devices.to_numpy(x.array).copy()

    def note_operation(self, node, args, y):
        path = self.paths.get(id(node.scope.module()), "") if node.scope else ""
        plain = name = ".".join(filter(None, ("activation", path, node.op.name)))
        count = 1
        while name in self.found:
            count += 1
            name = f"{plain}.{count}"
        inputs = {node.op.name_of(i): self.name_input(name, node.op.name_of(i), parent, a)
                  for i, (parent, a) in enumerate(zip(node.parents, args))}
        self.found[name], self.nodes[node] = devices.to_numpy(y), name
        options = {key: to_json(value) for key, value in node.options.items()}
        self.graph.append({"name": name, "op": node.op.name, "formula": node.op.formula,
                           "inputs": inputs, "options": options})

    def name_input(self, activation, argument, parent, a):
        """The name of one input of an operation; a number stays a number."""
        if parent in self.nodes:
            return self.nodes[parent]
        if id(a) in self.known:
            return self.known[id(a)]
        if not hasattr(a, "dtype"):
            return to_json(a)
        name = f"constant.{activation.removeprefix('activation.')}.{argument}"
        self.found[name] = devices.to_numpy(a)
        return name

    def finish(self, value):
        """Walk back from the loss once and name the gradients; the loss itself is `loss`."""
        last = self.nodes.get(value.node)
        sent = dict.fromkeys(self.nodes)
        seeds = tape.seeds_of(value, None, False)
        for _ in tape.walk(seeds, sent, retain_graph=False, create_graph=False):
            pass
        gradients = {self.nodes[node]: devices.to_numpy(g)
                     for node, g in sent.items() if g is not None}
        for name in completion_order(self.graph):
            if name in gradients and name != last:
                self.backward.append(f"gradient.{name}")
                self.found[f"gradient.{name}"] = gradients[name]
        self.found["loss"] = self.found.pop(last).reshape(())
        for step in self.graph:
            if step["name"] == last:
                step["name"] = "loss"
        self.found = {name: np.array(array, order="C") for name, array in self.found.items()}


def completion_order(graph):
    """Names as a backward pass completes them: an operation's output, then what it used last."""
    first = {}
    for step in graph:
        for name in step["inputs"].values():
            if isinstance(name, str):
                first.setdefault(name, step["name"])
    for step in reversed(graph):
        yield step["name"]
        for name in dict.fromkeys(step["inputs"].values()):
            if first.get(name) == step["name"] and not str(name).startswith("activation."):
                yield name


def to_json(value):
    """A number or an option as JSON has it: a slice as {"slice": ...}, others as {"text": ...}."""
    if isinstance(value, (bool, int, str, type(None))):
        return value
    if isinstance(value, (float, np.number)):
        return float(value) if math.isfinite(value) else {"text": str(float(value))}
    if isinstance(value, (tuple, list)):
        return [to_json(v) for v in value]
    if isinstance(value, slice):
        return {"slice": [to_json(v) for v in (value.start, value.stop, value.step)]}
    return {"text": str(value)}


# ── a model to begin with ─────────────────────────────────────────────────────────────────────────


def tiny(rng):
    """(model, inputs, loss): a TinyTransformer whose sizes are all different, at weights that hide
    nothing. B 2, T 5, V 13, H 3, K 7, C 21, F 11, two blocks. A fresh model's norms have weight 1
    and bias 0, at which a backward pass without them is right: here they are random. Some
    characters occur several times, some never."""
    model = TinyTransformer(vocab_size=13, context=5, d_model=21, n_heads=3, d_ff=11, depth=2)
    for name, parameter in model.named_parameters():
        draw = rng.standard_normal(parameter.shape) / math.sqrt(parameter.shape[-1])
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.data = creation.tensor((centre + draw).astype(COARSE))
    inputs = {"characters": np.array([[3, 1, 4, 1, 5], [9, 2, 1, 5, 3]]),
              "targets": np.array([[1, 4, 1, 5, 9], [2, 1, 5, 3, 12]])}
    return model, inputs, next_character_loss


def next_character_loss(model, characters, targets):
    """The mean cross-entropy of the next character, in nats."""
    logits = model(characters)
    return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))
