"""CuPy's arrays under everything: the registry, the functions, the layers, training; and asking for a GPU in vain.

Without a GPU a stand-in plays CuPy (tests/cupy_standin): it refuses what CuPy refuses. With NPFORMER_TEST_GPU=1 the same
tests run on CuPy itself.
"""

import os
import subprocess
import sys
import types

import numpy as np
import pytest

import npformer as npf
from npformer import nn
from npformer.core import arrays, operation, tape
from npformer.core.samples import draw

SAMPLES = [pytest.param(op, k, id=f"{op.name}-{k}")
           for op in operation.REGISTRY.values() for k in range(len(op.examples))]


def moved(value, cupy):
    """`value` with every NumPy array in it on the GPU, also inside tuples, lists and dicts."""
    if isinstance(value, np.ndarray):
        return cupy.asarray(value)
    if isinstance(value, dict):
        return {k: moved(v, cupy) for k, v in value.items()}
    return type(value)(moved(v, cupy) for v in value) if type(value) in (tuple, list) else value


def agree(on_gpu, on_cpu, what, rtol=1e-10):
    """The same numbers on the GPU: same dtype, same shape, equal to rounding."""
    for found, expected in zip(*map(flat, (on_gpu, on_cpu)), strict=True):
        assert arrays.device_of(found) == "cuda", f"{what} left the GPU: {type(found)}"
        assert arrays.device_of(expected) == "cpu", f"{what} left the CPU"
        assert found.dtype == expected.dtype and found.shape == expected.shape, what
        scale = max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
        np.testing.assert_allclose(found.get(), expected, rtol=rtol, atol=rtol * scale, err_msg=what)


def flat(value):
    """The arrays in a result: of Tensors, arrays, and tuples, lists and dicts of them."""
    if isinstance(value, (tuple, list)):
        return [a for v in value for a in flat(v)]
    if isinstance(value, dict):
        return flat(list(value.values()))
    return [] if value is None else [value.array if isinstance(value, npf.Tensor) else value]


# ── every operation ──────────────────────────────────────────────────────────────────────────────────────────────────


def everything(op, args, options, upstream, us):
    """The value, the gradients, and the gradients of Σ u·gradient: with that, every rule and every definition has run."""
    which = [i for i, a in enumerate(args) if op.differentiable(i) and getattr(getattr(a, "dtype", None), "kind", "") == "f"]
    xs = [npf.Tensor.wrap(a).requires_grad_() if i in which else a for i, a in enumerate(args)]
    inputs = [xs[i] for i in which]
    g = npf.Tensor.wrap(upstream).requires_grad_()
    y = op(*xs, **options)
    assert arrays.device_of(op.compute(*args, **options)) == arrays.device_of(upstream)
    first = tape.collect(y, g.array, inputs)
    graph = tape.collect(y, g, inputs, create_graph=True)
    total = None
    for u, d in zip(us(which), graph):
        part = (npf.Tensor.wrap(u) * d).sum()
        total = part if total is None else total + part
    second = tape.collect(total, None, [*inputs, g]) if total is not None and total.node is not None else []
    return [y, *first, *graph, *second]


@pytest.mark.parametrize("op, k", SAMPLES)
def test_registry(cupy, op, k):
    if op.name == "move":
        pytest.skip("its sample names the CPU; test_moving has it")
    rng = np.random.default_rng(k)
    args, options = draw(op.examples[k], rng)
    upstream = rng.standard_normal(np.shape(op(*args, **options)))
    us = {i: rng.standard_normal(np.shape(a)) for i, a in enumerate(args)}
    on_cpu = everything(op, args, options, upstream, lambda which: [us[i] for i in which])
    on_gpu = everything(op, moved(args, cupy), moved(options, cupy), cupy.asarray(upstream),
                        lambda which: [cupy.asarray(us[i]) for i in which])
    agree(on_gpu, on_cpu, op.name)


@pytest.mark.parametrize("op, k", SAMPLES)
def test_registry_in_float32(cupy, op, k):
    """Nothing on the way is float64: there are no NumPy scalars there that could lift it unseen."""
    args, options = draw(op.examples[k], np.random.default_rng(k), np.float32)
    if op.name in ("cast", "move"):                # their sample says where the result goes
        return
    y = op(*moved(args, cupy), **moved(options, cupy))
    assert y.dtype == op(*args, **options).dtype and arrays.device_of(y) == "cuda"
