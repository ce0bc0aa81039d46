"""A function, or a module, held beside PyTorch's: what differs, and what is wrong with it, with
PyTorch's as the truth."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.devices import to_numpy
from ..core.dtypes import float64
from ..core.errors import InputError
from ..extras import extra
from ..tensors import Tensor
from .findings import Comparison, Report
from .looking.judge import return_or_raise
from .models import find_wrong_step
from .naming.diagnose import diagnose
from .naming.evidence import Evidence
from .naming.forward import diagnose_forward

ROWS = 400                                         # entries of an output for which a Jacobian is
                                                   # worth its time


def against_torch(fn: Any, torch_fn: Any, inputs: Sequence[Any], *, seed: int = 0,
                  rtol: float = 1e-9, raises: bool = True) -> Report:
    """Hold a function, or a module, and its gradients against PyTorch's, in float64.

    fn and torch_fn: functions of Tensors, here and there; or modules, of which torch_fn's weights
    are copied into fn. inputs: arrays or Tensors; floating ones are compared in their gradients
    too, for a random upstream. rtol: the error that is allowed, in units of the largest entry. What
    differs is diagnosed with PyTorch's as the truth; where the output is right and a gradient is
    not, the first operation whose own rule is wrong is named as well. Needs PyTorch. Returns a
    Report: "output", then a line for each input and parameter.
    """
    torch = extra("torch", "against_torch")
    arrays = [np.array(to_numpy(x.array)) if isinstance(x, Tensor) else np.asarray(x)
              for x in inputs]
    arrays = [a.astype(float64) if a.dtype.kind == "f" else a for a in arrays]
    if hasattr(torch_fn, "state_dict") and hasattr(fn, "load_state_dict"):
        fn, torch_fn = copy.deepcopy(fn).double(), copy.deepcopy(torch_fn).double()
        weights = torch_fn.state_dict().items()
        fn.load_state_dict({name: value.detach().numpy() for name, value in weights})
    ours, theirs = [Tensor.wrap(a.copy()) for a in arrays], [torch.tensor(a) for a in arrays]
    for x, z, a in zip(ours, theirs, arrays):
        if a.dtype.kind == "f":
            x.requires_grad_()
            z.requires_grad_()
    y, expected = fn(*ours), torch_fn(*theirs)
    if tuple(y.shape) != tuple(expected.shape):
        raise InputError(f"against_torch: the output has shape {tuple(y.shape)} here and "
                         f"{tuple(expected.shape)} there")
    g = np.random.default_rng([seed, 2718]).standard_normal(tuple(expected.shape))
    y.backward(Tensor.wrap(np.array(g)))
    expected.backward(torch.tensor(g), retain_graph=True)
    report = Report(f"against_torch({getattr(fn, '__name__', type(fn).__name__)})", [])
    same_output = compare_output(report, as_numpy(y.detach()), as_numpy(expected.detach()), rtol)
    named = dict(zip(input_names(ours), arrays))
    for name, x, there in pair_gradients(fn, torch_fn, ours, theirs):
        comparison = compare_arrays(name, as_numpy(x.grad), as_numpy(there.grad), rtol)
        report.comparisons.append(comparison)
        if not comparison.ok:
            report.findings += diagnose_gradient(torch, name, x, there, expected, g, rtol, named)
    if same_output and not report:
        culprit = find_wrong_step(lambda: (fn(*ours) * Tensor.wrap(np.array(g))).sum())
        report.findings = ([culprit] if culprit else []) + report.findings
    return return_or_raise(report, raises)


def compare_output(report, y, expected, rtol):
    """Add the output to the report; returns whether it is right."""
    comparison = compare_arrays("output", y, expected, rtol)
    comparison.label = "the output"
    report.comparisons.append(comparison)
    if not comparison.ok:
        for f in diagnose_forward("output", y, expected, rtol):
            hints = ("look at the forward pass", "it computes another function than PyTorch's",
                     f"output: {f.message}")
            message = f"the output: {f.message}"
            report.findings.append(replace(f, message=message, hints=hints))
    return comparison.ok


def input_names(inputs):
    return [f"inputs[{i}]" for i in range(len(inputs))]


def pair_gradients(fn, torch_fn, ours, theirs):
    """(name, what has a gradient here, the same there): floating inputs, then parameters."""
    for name, x, there in zip(input_names(ours), ours, theirs):
        if x.requires_grad:
            yield name, x, there
    if hasattr(fn, "named_parameters"):
        there = dict(torch_fn.named_parameters())
        yield from ((name, p, there[name]) for name, p in fn.named_parameters() if name in there)


def as_numpy(x):
    if x is None:
        return None
    return to_numpy(x.array) if isinstance(x, Tensor) else x.numpy()


def diagnose_gradient(torch, name, x, there, expected, g, rtol, inputs):
    """The findings on a gradient that differs from PyTorch's. PyTorch's gradient is the truth, and
    its Jacobian (a backward pass for each entry of the output) takes the place of finite
    differences: so the same recognisers name what is wrong."""
    value = as_numpy(there.detach())
    a, n = (np.zeros(value.shape) if d is None else as_numpy(d) for d in (x.grad, there.grad))
    jacobian = None
    if expected.numel() <= ROWS:
        jacobian = np.zeros((expected.numel(), value.size))
        for k, entry in enumerate(expected.reshape(-1)):
            row, = torch.autograd.grad(entry, there, retain_graph=True, allow_unused=True)
            if row is not None:
                jacobian[k] = row.numpy().reshape(-1)
    noise = np.full(value.shape, rtol * np.abs(n).max(initial=0) / 10)
    y = as_numpy(expected.detach())
    with np.errstate(all="ignore"):                # a candidate that divides by zero is none
        return diagnose(Evidence(name, value, a, n, noise, g, y, jacobian, {**inputs, name: value}))


def compare_arrays(name, a, n, rtol):
    """One array against PyTorch's; an absent gradient counts as zero."""
    shape = (a if a is not None else n if n is not None else np.zeros(())).shape
    a, n = (np.zeros(shape) if v is None else v for v in (a, n))
    error = np.abs(a - n)
    scale = float(max(np.abs(n).max(initial=0), np.abs(a).max(initial=0)))
    k = int(error.argmax()) if error.size else 0
    place = tuple(int(v) for v in np.unravel_index(k, shape)) if error.size else ()
    worst = (float(a.reshape(-1)[k]), float(n.reshape(-1)[k])) if a.size else (0.0, 0.0)
    return Comparison(name, shape, a.size, float(error.max(initial=0)), scale, 0.0,
                      bool((error <= rtol * max(scale, 1e-12)).all()), place, *worst,
                      witness="PyTorch says")
