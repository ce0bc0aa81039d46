"""The judge: structure, properties that need no oracle, finite differences, diagnosis, and whether
the point says it all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ... import autograd
from ...core.errors import GradientError, GraphError, ValueRangeError
from ...core.numeric import STEP
from ...ops.shape import cat, reshape
from ..findings import Comparison, Finding, Report
from .by_direction import (
    bisect_wrong_entries,
    largest_entry,
    look_along_directions,
    look_until_wrong,
    random_direction,
    slope_along,
)
from .by_entry import WHOLE, entry_by_entry, is_silent
from .properties import check_linearity, check_side_effects, check_structure
from .subject import change_inputs, from_function, from_pair
from .vacuous_points import blind_spots, hazard_finding, hazards, mark_elsewhere, silent_finding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...tensors import Tensor

# entries of all inputs together that are looked at one by one
FEW = 300
# random directions along which they are looked at if there are more
DIRECTIONS = 4


def gradcheck(fn: Callable[..., Tensor], inputs: Tensor | Sequence[Tensor], *, order: int = 1,
              seed: int = 0,
              eps: float = STEP, rtol: float | None = None, max_entries: int | None = None,
              fast_mode: bool = False, raises: bool = True) -> Report:
    """Hold the gradient of `fn(*inputs)` against finite differences, and say what is wrong with it.

    fn: from Tensors to one Tensor of any shape; L = Σ g·fn(...), with a random upstream g, since a
    wrong gradient can hide behind ones. inputs: a Tensor or several; the floating ones that require
    a gradient are checked, or all floating ones if none does. Those in float64 are perturbed in
    place and put back, so that `fn` may also close over them (a model's parameters, say); others
    are copied to float64 and handed to `fn`.
    order: 2 checks the gradient of the gradient as well. seed: of everything random. eps: the step
    h for single entries.
    rtol: the error that is allowed, in units of the gradient's largest entry; None for what the
    truth can show: 1e-9 for differences, 1e-11 for the complex step, and their noise. max_entries:
    so many entries, of all inputs together, are looked at one by one (None: 300). If there are
    more, they are looked at along four random directions, and one by one where these differ (an
    input with more than max_entries, None: 1,000, in 120 places). fast_mode: two directions for
    all, nothing else unless they differ. raises: raise GradientError when something is wrong; else
    return the Report.

    Returns a Report, true if all is right. Raises GradientError, DTypeError (no floating input),
    GraphError (no graph).
    """
    if order not in (1, 2):
        raise ValueRangeError(f"gradcheck(..., order={order!r}): the order is 1 or 2")
    check_options("gradcheck", seed, eps, rtol, max_entries)
    subject = from_function(fn, inputs)
    report = glance(subject, seed, rtol) if fast_mode else judge(subject, seed, eps, rtol,
                                                                 max_entries)
    if fast_mode and not report:                   # now it is worth to look closely
        report = judge(subject, seed, eps, rtol, max_entries)
    if order == 2 and not report.wrong:
        slack = 1e-7 if rtol is None else 10 * rtol
        second = judge(from_function(gradient_function(fn, inputs, seed), inputs, constant=True),
                       seed + 1, eps, slack, max_entries)
        for comparison in second.comparisons:
            comparison.name += " (second order)"
        report.comparisons += second.comparisons
        report.findings += second.wrong
    if report and report.comparisons and all(c.scale <= 1e-13 for c in report.comparisons):
        report.findings.append(silent_finding("every input", "", 0))
    return return_or_raise(report, raises)


def check_vjp(forward: Callable, backward: Callable, inputs: Sequence, *,
              names: Sequence[str] | None = None,
              seed: int = 0, eps: float = STEP, rtol: float | None = None,
              max_entries: int | None = None,
              cache: bool | None = None, raises: bool = True) -> Report:
    """The same for a backward pass on plain arrays, of any engine: no Tensor is involved.

    y = forward(*inputs), gradients = backward(g, *inputs), one for each input, None where there is
    none; or with a
    cache: y, cache = forward(*inputs), gradients = backward(g, cache) (cache=True; found out if
    None). inputs: arrays (floating ones are checked, in float64), masks, indices, numbers. names:
    of the inputs, for the report. rtol: None for 1e-11 of the largest entry where forward takes
    complex arrays, 1e-9 where it does not. The others: as in gradcheck.
    """
    check_options("check_vjp", seed, eps, rtol, max_entries)
    return return_or_raise(judge(from_pair(forward, backward, inputs, names, cache), seed, eps,
                                 rtol, max_entries), raises)


def check_options(call, seed, eps, rtol, max_entries):
    """Refuse options with which nothing would be looked at."""
    for name, value, fits, rule in (("seed", seed,
                                     isinstance(seed, (int, np.integer)) and seed >= 0,
                                     "an integer >= 0"),
                                    ("eps", eps, 0 < eps < 1, "a step between 0 and 1"),
                                    ("rtol", rtol, rtol is None or 0 <= rtol < 1,
                                     "a number >= 0 and below 1"),
                                    ("max_entries", max_entries,
                                     max_entries is None or max_entries >= 1, "an integer >= 1")):
        if not fits:
            raise ValueRangeError(f"{call}(..., {name}={value!r}): {name} must be {rule}")


def return_or_raise(report, raises):
    """The report; a GradientError if something is wrong, or could not be seen, and that is
    wanted."""
    if raises and not report:
        raise GradientError(report)
    return report


def gradient_function(fn, inputs, seed):
    """The function that gives fn's gradients, for a fixed random upstream, end to end: what order 2
    checks."""
    rng = np.random.default_rng([seed, 161803398])
    upstream = {}

    def slopes(*xs):
        with autograd.enable_grad():
            leaves = [x if x.requires_grad else x.detach().requires_grad_() if x.dtype.kind == "f"
                      else x for x in xs]
            y = fn(*leaves)
            g = upstream.setdefault("g", rng.standard_normal(y.array.shape))
            wanted = [x for x in leaves if x.requires_grad]
            found = autograd.grad(y, wanted, y.wrap(np.asarray(g, like=y.array)), create_graph=True,
                                  allow_unused=True)
            flat = [reshape(d, shape=(-1,)) for d in found if d is not None]
            return cat(*flat, dim=0)
    slopes.__qualname__ = f"the gradient of {getattr(fn, '__name__', 'fn')}"
    return slopes


def glance(subject, seed, rtol):
    """The Report of a look along two random directions of all inputs together, away from points
    that hide mistakes."""
    rng = np.random.default_rng([seed, 662607015])
    better = {i: value for i, _, value in hazards(subject, at_zero=False) if value is not None}
    with change_inputs(subject, better):
        point = Point.at(subject, rng)
        if point.findings:
            return Report(subject.name, [], point.findings)
        scale = max(map(largest_entry, point.sent.values()))
        slopes = [slope_along(subject, point.sent, point.g,
                              random_direction(subject, point.sent, rng), scale, rtol)
                  for _ in range(2)]
    return Report(subject.name,
                  [replace(comparison_along(f"direction {k}", (), [s], scale),
                           label=f"along direction {k}")
                   for k, s in enumerate(slopes, 1)])


# ── one judgement ─────────────────────────────────────────────────────────────────────────────────


def judge(subject, seed=0, eps=STEP, rtol=None, max_entries=None):
    """The Report on a Subject."""
    # A stream of the judge's own: inputs drawn from default_rng(0) must not come again as the
    # upstream gradient.
    rng = np.random.default_rng([seed, 577215664])
    dull = list(hazards(subject))
    better = {i: value for i, _, value in dull if value is not None}
    report = None
    if not better or not seems_right(subject, rng, rtol):
        report = Report(subject.name, *judge_this_point(subject, rng, eps, rtol, max_entries))
    if better and (report is None or not report.wrong):
        with change_inputs(subject, better):
            comparisons, findings = judge_this_point(subject, rng, eps, rtol, max_entries)
        report = Report(subject.name, comparisons,
                        mark_elsewhere(findings, [subject.names[i] for i in better]))
    if not report.wrong:
        report.findings += [hazard_finding(words) for i, words, _ in dull if i not in better]
        report.findings += blind_spots(subject,
                                       lambda larger: judge_this_point(larger, rng, eps, rtol,
                                                                       max_entries))
    return report


@dataclass
class Point:
    """What comes before any true gradient: the output y, an upstream g, what the backward pass
    sent, and findings on it.

    sent: the gradients by the places of the inputs, those that can be compared with a true one.
    findings: on structure.
    """

    y: np.ndarray
    g: np.ndarray
    sent: dict
    findings: list

    @classmethod
    def at(cls, subject, rng):
        """The Point where the inputs stand now."""
        y = np.array(subject.forward(subject.inputs), dtype=float)
        if not np.isfinite(y).all():
            raise GraphError(f"{subject.name}: the forward pass gives NaN or infinity at this "
                             "point, so there is no gradient to compare with; choose other inputs")
        g = rng.standard_normal(y.shape) + 0.3
        sent = subject.gradients(g.copy())
        fit = {i: np.asarray(d, dtype=float) for i, d in zip(subject.checked, sent)
               if d is not None and np.shape(d) == subject.inputs[i].shape and np.isfinite(d).all()}
        return cls(y, g, fit, check_structure(subject, g, sent))

    def properties(self, subject, rng):
        """The findings that need no true gradient."""
        if self.findings:
            return self.findings
        findings = check_side_effects(subject, self.g)
        # else no number means anything
        if not any(f.kind in ("mutates", "not-repeatable") for f in findings):
            findings = check_linearity(subject, self.g, list(self.sent.values()), rng) + findings
        return findings


def seems_right(subject, rng, rtol):
    """Whether nothing is wrong as far as one sees without looking at each input: where a better
    point will be, that is enough."""
    point = Point.at(subject, rng)
    return not point.properties(subject, rng) and all(
        slopes[-1].ok for slopes in look_along_directions(subject, point.sent, point.g, rng, rtol,
                                                          2).values())


def judge_this_point(subject, rng, eps, rtol, max_entries):
    """The comparisons and findings where the inputs stand now."""
    point = Point.at(subject, rng)
    findings = point.properties(subject, rng)
    told = {f.input for f in findings if f.kind != "aliases"}
    if any(f.kind == "mutates" or f.kind == "not-repeatable" and not f.input for f in findings):
        told |= set(subject.names)
    few = sum(a.size for a in point.sent.values()) <= (max_entries or FEW)
    along_each = {} if few else look_along_directions(subject, point.sent, point.g, rng, rtol,
                                                      DIRECTIONS)
    comparisons = []
    for i, a in point.sent.items():
        name, slopes = subject.names[i], along_each.get(i)
        if slopes and slopes[-1].ok:
            comparison = comparison_along(name, a.shape, slopes, largest_entry(a))
            more = [silent_finding(name, a.shape, comparison.scale)] if is_silent(subject,
                                                                                  slopes[-1].allowed, slopes[-1].size) else []
        else:
            suspects = bisect_wrong_entries(subject, i, a, point.g, rng,
                                            rtol) if slopes and a.size > (max_entries
                                                                          or WHOLE) else ()
            comparison, more = entry_by_entry(subject, i, a, point.g, point.y, rng, eps, rtol,
                                              max_entries, suspects)
            # no entry is wrong, but together they are
            if comparison.ok and slopes and not slopes[-1].right_but_blurred:
                comparison.ok = is_right_near_by(subject, i, rng, rtol)
                more = more or [kink_finding(name)] if comparison.ok else [few_wrong_finding(name,
                                                                                             slopes[-1])]
        comparisons.append(comparison)
        findings += [f for f in more if name not in told]
    return comparisons, sorted(findings, key=lambda f: f.kind == "vacuous")


# ── inputs with many entries ──────────────────────────────────────────────────────────────────────


def comparison_along(name, shape, slopes, scale):
    """The Comparison of an input along directions: the worst of them."""
    worst = max(slopes, key=lambda slope: slope.error)
    return Comparison(name, shape, len(slopes), worst.error, scale, worst.noise,
                      all(s.ok for s in slopes), (), worst.found,
                      worst.true, "directions")


def is_right_near_by(subject, i, rng, rtol):
    """Whether an input is right along all directions where its entries are other numbers, that do
    not tie."""
    x = subject.inputs[i]
    with change_inputs(subject,
                       {i: x + 0.01 * random_direction(subject, [i], rng)[i]
                        * max(largest_entry(x), 0.01)}):
        point = Point.at(subject, rng)
        return i in point.sent and look_until_wrong(subject, point.sent, [i], point.g, rng, rtol,
                                                    DIRECTIONS)[-1].ok


def kink_finding(name):
    """The finding on an input where entries that are right alone are not so together."""
    return Finding("kink", name, f"d{name} is right entry by entry, and right at points near by, "
                                 "but not along a random direction: entries tie, or lie on a kink "
                                 "together")


def few_wrong_finding(name, slope):
    """The finding on an input that is wrong where no entry was looked at."""
    return Finding("unexplained", name, f"d{name} is right at all entries that were looked at, as "
                                        "far as they can tell, but along a random direction it "
                                        f"gives {slope.found:.8g} where the true slope is "
                                        f"{slope.true:.8g}: few entries are wrong, or all by a "
                                        "little")
