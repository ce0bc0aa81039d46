"""Whole models: their gradients against finite differences, and the first operation whose own rule
is wrong."""

import contextlib
import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core import tape
from ..core.devices import to_numpy
from ..core.dtypes import is_float
from ..core.errors import DTypeError, GraphError
from ..core.inside import compare_gradients
from ..core.numeric import STEP
from ..core.step import backprop
from ..nn import Module
from ..tensors import Tensor
from .findings import Finding, Report
from .looking.judge import judge, return_or_raise
from .looking.subject import change_inputs, from_function
from .looking.vacuous_points import hazards
from .naming.diagnose import diagnose
from .naming.evidence import Evidence

ENTRIES = 40                                       # of each parameter


def check_model(model: Module, loss_fn: Callable[[Any], Tensor], inputs: Tensor | Sequence[Tensor],
                *, seed: int = 0, max_entries: int | None = ENTRIES, raises: bool = True) -> Report:
    """Hold the gradient of loss_fn(model(*inputs)) with respect to every parameter against finite
    differences.

    The model is copied to float64 and put in evaluation mode, so that it repeats itself; yours
    stays as it is. All parameters are looked at along random directions, and where these differ
    entry by entry, or in `max_entries` places if there are more. inputs: a Tensor or several. A
    failure is traced to the first operation, in backward order, whose own rule is wrong on the
    values and the upstream gradient that it got; the finding names it, its module and the user's
    line.

    Returns a Report, true if all is right. Raises GradientError, GraphError (no gradient reaches
    any parameter).
    """
    listed: list[Any] = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    for i, x in enumerate(listed):
        if not isinstance(x, Tensor):
            raise DTypeError(f"check_model(model, loss_fn, inputs): input {i} must be a Tensor, "
                             f"got {type(x).__name__}")
    twin = copy.deepcopy(model).double().eval()
    given = [x.detach().double().clone() if is_float(x.dtype) else x.clone() for x in listed]

    def loss(*_):
        value = loss_fn(twin(*given))
        if not isinstance(value, Tensor) or value.array.size != 1:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise GraphError("check_model(model, loss_fn, inputs): loss_fn must return a Tensor of "
                             f"one number, it returned {got}")
        return value

    named = [(name, p) for name, p in twin.named_parameters() if p.requires_grad]
    if not named:
        raise GraphError("check_model(model, loss_fn, inputs): no parameter of the model requires "
                         "a gradient")
    # The inputs stand among the arguments, though no gradient of theirs is asked for: they may hide
    # something (all positive, equal), and then the judge looks at other ones.
    subject = from_function(loss, [*(p for _, p in named), *given])
    names = [*(name for name, _ in named), *(f"inputs[{i}]" for i in range(len(given)))]
    subject = replace(subject, name=f"check_model({type(model).__name__})", names=names)
    report = judge(subject, seed, STEP, 1e-7, max_entries)
    if report.wrong:
        culprit = find_wrong_step(loss)
        if culprit is None:                        # it may only show where the inputs hide nothing
            better = {i: value for i, _, value in hazards(subject) if value is not None}
            with change_inputs(subject, better):
                culprit = find_wrong_step(loss)
        if culprit is not None:                    # what is guessed of the parameters follows of it
            kept = [f for f in report.findings if f.kind in ("vacuous", "kink")
                    or f.certainty == "certain" and f.kind != "unexplained"]
            report.findings = [culprit, *kept]
    # In a whole model a gradient may rightly be zero, as that of attention's key bias: it is
    # said, and no failure.
    report.findings = [replace(f, certainty="possible") if f.kind == "vacuous" else f
                       for f in report.findings]
    return return_or_raise(report, raises)


def find_wrong_step(loss):
    """The finding on the first operation backward whose rule is wrong where it stands, or None."""
    arguments: dict = {}
    with tape.add_observer(lambda node, values, _: arguments.update({node: tuple(values)})):
        y = loss()
    for step in backprop(y):
        with contextlib.suppress(GraphError):      # nothing to hold it against
            for found in compare_gradients(step, arguments[step.node]):
                if found.wrong.any():
                    values = [to_numpy(a) if hasattr(a, "dtype") else a
                              for a in arguments[step.node]]
                    return diagnose_step(step, found, values)
    return None


def diagnose_step(step, wrong, values):
    """The diagnosis of a step's wrong gradient, with its place: operation, module, line."""
    node, i, truth, a = step.node, wrong.argument, wrong.truth, wrong.sent
    x, g = values[i], np.asarray(to_numpy(step.upstream), dtype=float)
    names = [node.op.name_of(k) for k in range(len(values))]
    y = np.asarray(node.op.compute(*values, **node.options), dtype=float)
    jacobian = truth.jacobian
    if len(truth.places) < x.size:                 # only the entries that were looked at, as a row
        x, jacobian = x.reshape(-1)[truth.places], None
    a, n, noise = (v.reshape(x.shape) for v in (a, truth.gradient, truth.noise))
    evidence = Evidence(names[i], x, a, n, noise, g, y, jacobian, dict(zip(names, values)))
    with np.errstate(all="ignore"):
        found = diagnose(evidence)[0]
    file, line = step.source or ("an unknown file", 0)
    where = f" in module {step.where}" if step.where else ""
    message = (f"the first wrong rule, in backward order, is that of {step.op}{where} "
               f"({file}:{line}): {found.message}")
    return Finding(found.kind, names[i], message,
                   {"op": step.op, "where": step.where, "line": line}, found.certainty, found.hints)
