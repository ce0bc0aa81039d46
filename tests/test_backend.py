"""CuPy's arrays under everything: the registry, the functions, the layers and a training run give
NumPy's numbers.

Without a GPU a stand-in plays CuPy (tests/cupy_standin): it refuses what CuPy refuses. With
NPFORMER_TEST_GPU=1 the same tests run on CuPy itself.
"""

import copy
import dataclasses

import numpy as np
import pytest
from calls import FUNCTIONS, LAYERS, Tensors

import npformer as npf
import npformer.nn.functional as F
from npformer import functions, nn, optim
from npformer.core import devices, operation, tape
from npformer.core.samples import draw
from npformer.models import TinyTransformer

SAMPLES = [pytest.param(op, k, id=f"{op.name}-{k}")
           for op in operation.REGISTRY.values() for k in range(len(op.examples))]


def to_gpu(value, cupy):
    """`value` with every NumPy array in it on the GPU, also inside tuples, lists and dicts."""
    if isinstance(value, np.ndarray):
        return cupy.asarray(value)
    if isinstance(value, dict):
        return {k: to_gpu(v, cupy) for k, v in value.items()}
    return type(value)(to_gpu(v, cupy) for v in value) if type(value) in (tuple, list) else value


def arrays_in(value):
    """The arrays in a result of Tensors, arrays, and tuples, lists and dicts of them."""
    if isinstance(value, (tuple, list)):
        return [a for v in value for a in arrays_in(v)]
    if isinstance(value, dict):
        return arrays_in(list(value.values()))
    return [] if value is None else [value.array if isinstance(value, npf.Tensor) else value]


def agree(on_gpu, on_cpu, what, rtol=1e-10):
    """The same numbers on the GPU: same dtype, same shape, equal to rounding."""
    for found, expected in zip(*map(arrays_in, (on_gpu, on_cpu)), strict=True):
        if not hasattr(expected, "dtype"):
            assert found == expected, what
            continue
        assert devices.device_of(found) == "cuda", f"{what} left the GPU: {type(found)}"
        assert devices.device_of(expected) == "cpu", f"{what} left the CPU"
        assert found.dtype == expected.dtype and found.shape == expected.shape, what
        finite = expected[np.isfinite(expected)]
        scale = max(1.0, float(np.abs(finite).max(initial=0)))
        np.testing.assert_allclose(found.get(), expected, rtol=rtol,
                                   atol=rtol * scale, err_msg=what)


# ── every operation ───────────────────────────────────────────────────────────────────────────────


def values_and_derivatives(op, args, options, upstream, us):
    """The value, the gradients, and the gradients of Σ u·gradient, so that every rule runs."""
    which = [i for i, a in enumerate(args) if op.differentiable(i) and hasattr(a, "dtype")
             and a.dtype.kind == "f"]
    xs = [npf.Tensor.wrap(a).requires_grad_() if i in which else a for i, a in enumerate(args)]
    inputs = [xs[i] for i in which]
    g = npf.Tensor.wrap(upstream).requires_grad_()
    y = op(*xs, **options)
    assert devices.device_of(op.compute(*args, **options)) == devices.device_of(upstream)
    first = tape.collect(y, g.array, inputs)
    graph = tape.collect(y, g, inputs, create_graph=True)
    total = sum((npf.Tensor.wrap(us[i]) * d).sum() for i, d in zip(which, graph))
    recorded = getattr(total, "node", None) is not None
    second = tape.collect(total, None, [*inputs, g]) if recorded else []
    return [y, *first, *graph, *second]


@pytest.mark.parametrize("op, k", SAMPLES)
def test_registry(cupy, op, k):
    if op.name == "move":
        pytest.skip("its sample names the CPU; test_devices.py has it")
    rng = np.random.default_rng(k)
    args, options = draw(op.examples[k], rng)
    upstream = rng.standard_normal(np.shape(op(*args, **options)))
    us = [rng.standard_normal(np.shape(a)) for a in args]
    on_cpu = values_and_derivatives(op, args, options, upstream, us)
    on_gpu = values_and_derivatives(op, *to_gpu([args, options, upstream, us], cupy))
    agree(on_gpu, on_cpu, op.name)


@pytest.mark.parametrize("op, k", SAMPLES)
def test_registry_in_float32(cupy, op, k):
    """Nothing on the way is float64, though CuPy has 0-d arrays where NumPy has scalars."""
    args, options = draw(op.examples[k], np.random.default_rng(k), np.float32)
    if op.name in ("cast", "move"):                # their sample says where the result goes
        return
    y = op(*to_gpu(args, cupy), **to_gpu(options, cupy))
    assert y.dtype == op(*args, **options).dtype and devices.device_of(y) == "cuda"


# ── functions and layers ──────────────────────────────────────────────────────────────────────────


def value_and_gradients(call, tensor):
    """What a call gives, and the gradients of the sum of squares of all that it gives."""
    npf.manual_seed(4)
    t = Tensors(tensor)
    results = call(t)
    parts = [r for r in (results if isinstance(results, tuple) else (results,))]
    loss = sum((part.double() ** 2).sum() for r in parts
               for part in (r if isinstance(r, (tuple, list)) else [r])
               if isinstance(part, npf.Tensor) and part.requires_grad)
    if isinstance(loss, npf.Tensor):
        loss.backward()
    return results, [x.grad for x in t.leaves if x.grad is not None]


def test_every_function_has_a_call():
    public = {n for n in dir(F) if callable(getattr(F, n)) and not n.startswith("_")}
    missing = sorted(set(functions.__all__) - set(FUNCTIONS)) + sorted(public - set(LAYERS))
    assert not missing, f"{missing}: write a call of each into tests/calls.py"


@pytest.mark.parametrize("name, call", [pytest.param(n, c, id=n) for n, c in FUNCTIONS.items()]
                         + [pytest.param(n, c, id=f"F.{n}") for n, c in LAYERS.items()])
def test_functions(cupy, name, call):
    on_cpu = value_and_gradients(call, npf.tensor)
    on_gpu = value_and_gradients(call, lambda a: npf.tensor(cupy.asarray(a)))
    agree(on_gpu, on_cpu, name)


MODULES = {
    "Linear": (lambda: nn.Linear(4, 3), (2, 5, 4)),
    "Embedding": (lambda: nn.Embedding(6, 3, padding_idx=1), None),
    "LayerNorm": (lambda: nn.LayerNorm(4), (2, 5, 4)),
    "RMSNorm": (lambda: nn.RMSNorm(4), (2, 5, 4)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), (5, 4)),
    "Dropout": (lambda: nn.Dropout(0.4), (5, 4)),
    "Sequential": (lambda: nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Dropout(0.2),
                                         nn.Linear(8, 2)), (3, 4)),
}


@pytest.mark.parametrize("name", MODULES)
def test_layers(cupy, name):
    make, shape = MODULES[name]
    data = np.array([[1, 5, 1], [0, 2, 2]])
    if shape is not None:
        data = np.random.default_rng(1).standard_normal(shape)
    cpu = make().double()
    results = []
    for model in (cpu, copy.deepcopy(cpu).cuda()):
        npf.manual_seed(2)
        x = npf.tensor(data, device=next(iter([*model.parameters(), *model.buffers()]),
                                         tensor_on(model is cpu)).device)
        x.requires_grad_(shape is not None)
        y = model(x)
        (y ** 2).sum().backward()
        results.append([y, x.grad, [p.grad for p in model.parameters()], list(model.buffers())])
    agree(results[1], results[0], name)


def tensor_on(on_cpu):
    """A tensor that says where a model without parameters is."""
    return npf.zeros(1, device="cpu" if on_cpu else "cuda")


# ── training ──────────────────────────────────────────────────────────────────────────────────────


def steps_of_training(device, optimizer, count=6):
    """The losses and the weights of a TinyTransformer trained for a few steps on `device`."""
    npf.manual_seed(0)
    model = TinyTransformer(11, 8, 12, 2, 16, 2).double().to(device)
    opt = optimizer(model.parameters())
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(count):
        ids = npf.tensor(rng.integers(0, 11, (3, 9)), device=device)
        loss = F.cross_entropy(model(ids[:, :-1]).reshape(-1, 11), ids[:, 1:].reshape(-1),
                               label_smoothing=0.1)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        opt.step()
        losses.append(loss.item())
    return losses, list(model.parameters()), opt.state_dict()


@pytest.mark.parametrize("optimizer", [
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    lambda p: optim.Adam(p, lr=1e-2, amsgrad=True),
    lambda p: optim.AdamW(p, lr=1e-2),
], ids=["SGD", "Adam", "AdamW"])
def test_training_gives_the_same_weights(cupy, optimizer):
    cpu, gpu = steps_of_training("cpu", optimizer), steps_of_training("cuda", optimizer)
    np.testing.assert_allclose(gpu[0], cpu[0], rtol=1e-10)
    assert cpu[0][-1] < cpu[0][0]
    agree(gpu[1], cpu[1], "weights", rtol=1e-7)


def test_a_run_of_npformer_train(cupy, tmp_path):
    from npformer import train
    text = "the quick brown fox jumps over the lazy dog. " * 40
    config = train.Config(steps=3, batch=2, context=8, d_model=8, n_heads=2, d_ff=8,
                          dtype="float64", report_every=2)

    def losses(device):
        with npf.backend(device):
            run = train.Run(dataclasses.replace(config), text)
            records = [run.advance() for _ in range(3)]
            run.save(tmp_path / f"{device}.safetensors")
        return records

    cpu, gpu = losses("numpy"), losses("cupy")
    for a, b in zip(cpu, gpu, strict=True):
        np.testing.assert_allclose(b["loss"], a["loss"], rtol=1e-9)
        assert set(a) == set(b)
