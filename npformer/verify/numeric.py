"""Finite differences: the gradient as the definition has it, to hold any other against."""

from dataclasses import dataclass, field

import numpy as np

from .. import autograd
from ..core.arrays import float64, is_float, to_numpy
from ..core.errors import DTypeError, GradientError, GraphError
from ..tensors import Tensor

STEP = 1e-4                                        # for central differences of fourth order: error ~ h⁴, noise ~ ε/h


@dataclass
class Comparison:
    """One input's gradient against finite differences: the entries that were compared, worst first."""

    name: str
    shape: tuple
    entries: int                                   # how many of them were perturbed
    worst: float                                   # the largest |difference|
    scale: float                                   # the largest |entry| of either gradient
    ok: bool
    index: tuple                                   # where the worst is
    analytic: float
    numeric: float

    def __str__(self):
        mark = "ok   " if self.ok else "WRONG"
        part = "" if self.entries == int(np.prod(self.shape)) else f" ({self.entries} entries drawn)"
        where = "" if self.ok else (f"\n         worst at {self.index}: backward says {self.analytic:.10g}, "
                                    f"finite differences say {self.numeric:.10g}")
        return (f"  {mark} d{self.name} {self.shape}{part}: largest error {self.worst:.1e}, beside a largest entry of "
                f"{self.scale:.1e}{where}")


@dataclass
class Report:
    """What a check found. True if every gradient is right; prints as one line an input."""

    comparisons: list
    findings: list = field(default_factory=list)

    def __bool__(self):
        return all(c.ok for c in self.comparisons)

    def __str__(self):
        wrong = [c.name for c in self.comparisons if not c.ok]
        head = f"gradients of {', '.join(wrong)} are wrong" if wrong else f"{len(self.comparisons)} gradients are right"
        return "\n".join([f"gradcheck: {head}", *map(str, self.comparisons)])


def gradcheck(fn, inputs, *, seed=0, eps=STEP, rtol=1e-7, max_entries=500, raises=True):
    """Hold the gradient of `fn(*inputs)` against finite differences: dxᵢ ≈ (L(x + h·eᵢ) − L(x − h·eᵢ)) / 2h.

    fn: from Tensors to one Tensor of any shape; L = Σ g·fn(...), with a random upstream g, since a wrong gradient can
    hide behind ones. inputs: a Tensor or several; the floating ones that require a gradient are checked, or all
    floating ones if none does. Those in float64 are perturbed in place and put back, so that `fn` may also close over
    them (a model's parameters, say); others are copied to float64 and handed to `fn`.
    seed: of the upstream and of the entries drawn. eps: the step h; where the two differ, h/100 is tried as well, since
    a kink (relu, max) may lie between. rtol: the error that is allowed, in units of the largest entry of the gradient.
    max_entries: of an input with more entries than this, so many are drawn.
    raises: raise GradientError when a gradient is wrong; otherwise return the Report all the same.

    Returns a Report. Raises GradientError, DTypeError (no floating input) or GraphError (no path to an input).
    Source: central differences with Richardson extrapolation, Press et al., Numerical Recipes, section 5.7.
    """
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    inputs = [x if not is_float(x.dtype) or x.dtype == float64 else x.detach().double().requires_grad_(x.requires_grad)
              for x in inputs]
    checked = [i for i, x in enumerate(inputs) if x.requires_grad] or [
        i for i, x in enumerate(inputs) if is_float(x.dtype)]
    if not checked:
        raise DTypeError("gradcheck(fn, inputs): no input is floating, so there is nothing to differentiate")
    fresh = [i for i in checked if not inputs[i].requires_grad]
    for i in fresh:
        inputs[i].requires_grad_()
    try:
        comparisons = _compare(fn, inputs, checked, np.random.default_rng(seed), eps, rtol, max_entries)
    finally:
        for i in fresh:
            inputs[i].node = None
    report = Report(comparisons)
    if not report and raises:
        raise GradientError(report)
    return report


def _compare(fn, inputs, checked, rng, h, rtol, max_entries):
    with autograd.enable_grad():
        y = fn(*inputs)
    if not isinstance(y, Tensor):
        raise GraphError(f"gradcheck(fn, inputs): fn must return a Tensor, it returned {type(y).__name__}")
    g = rng.standard_normal(y.array.shape) + 0.5
    upstream = y.wrap(np.asarray(g, dtype=y.dtype, like=y.array))
    if y.node is None:
        raise GraphError("gradcheck(fn, inputs): fn's result does not depend on any input that requires a gradient.\n"
                         "  If fn reads tensors from outside, pass those, in float64, as inputs.")
    found = autograd.grad(y, [inputs[i] for i in checked], upstream, allow_unused=True)

    def loss():
        with autograd.no_grad():
            return float((to_numpy(fn(*inputs).array) * g).sum())

    comparisons = []
    for i, d in zip(checked, found):
        array = inputs[i].array
        analytic = np.zeros(array.shape) if d is None else to_numpy(d.array).astype(float64)
        drawn = np.arange(analytic.size)
        if len(drawn) > max_entries:
            drawn = np.sort(rng.choice(drawn, max_entries, replace=False))
        name = f"inputs[{i}]" if len(inputs) > 1 else "input"
        comparisons.append(_hold(name, analytic, array, drawn, loss, h, rtol))
    return comparisons


def _hold(name, analytic, array, drawn, loss, h, rtol):
    """Compare the drawn entries of one input's gradient with slopes of `loss`."""
    if not len(drawn):
        return Comparison(name, analytic.shape, 0, 0.0, 0.0, True, (), 0.0, 0.0)
    places = [np.unravel_index(k, array.shape) for k in drawn]
    taken = analytic.reshape(-1)[drawn]
    numeric = np.array([_slope(loss, array, place, h) for place in places])
    scale, size = max(np.abs(numeric).max(), np.abs(analytic).max()), abs(loss())

    def allowed(step):
        return rtol * scale + 30 * 1e-15 * size / step            # the noise of a difference: rounding over the step

    bound = np.full(len(drawn), allowed(h))
    for k in np.flatnonzero(~(np.abs(taken - numeric) <= bound)):
        closer = _slope(loss, array, places[k], h / 100)
        if abs(taken[k] - closer) <= allowed(h / 100):
            numeric[k], bound[k] = closer, allowed(h / 100)
    error = np.where(np.isfinite(taken - numeric), np.abs(taken - numeric), np.inf)
    k = int((error - bound).argmax())
    return Comparison(name, analytic.shape, drawn.size, float(error[k]), float(scale), bool(error[k] <= bound[k]),
                      tuple(int(n) for n in places[k]), float(taken[k]), float(numeric[k]))


def _slope(loss, array, place, h):
    """dL/d(array[place]), from steps of h and 2h: (4·D(h) − D(2h)) / 3, whose error is of order h⁴."""
    before = array[place].item()
    h = h * max(1.0, abs(before))
    differences = []
    try:
        for step in (h, 2 * h):
            array[place] = before + step
            above = loss()
            array[place] = before - step
            differences.append((above - loss()) / (2 * step))
    finally:
        array[place] = before
    return (4 * differences[0] - differences[1]) / 3
