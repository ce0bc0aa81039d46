"""The judge: gradcheck and check_vjp, and how a verdict comes about.

Whatever is checked becomes a Subject (subject.py). At the point given, and at a better one where it
hides something (vacuous_points.py), come first the properties that need no true gradient
(properties.py), then the true gradient: along directions (by_direction.py), and one by one where
these differ or there are few entries (by_entry.py, which asks naming/ for what is wrong).
"""

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

FEW = 300                                          # entries of all inputs together that are looked
                                                   # at one by one; if there are more,
DIRECTIONS = 4                                     # along so many random directions


def gradcheck(fn: Callable[..., Tensor], inputs: Tensor | Sequence[Tensor], *, order: int = 1,
              seed: int = 0, eps: float = STEP, rtol: float | None = None,
              max_entries: int | None = None, fast_mode: bool = False,
              raises: bool = True) -> Report:
    """Hold the gradient of `fn(*inputs)` against finite differences, and say what is wrong with it.

    fn: from Tensors to one Tensor of any shape; L = Σ g·fn(...), with a random upstream g, since a
    wrong gradient can hide behind ones. inputs: a Tensor or several; the floating ones that require
    a gradient are checked, or all floating ones if none does. Those in float64 are perturbed in
    place and put back, so that `fn` may also close over them (a model's parameters, say); others
    are copied to float64 and handed to `fn`.
    order: 2 checks the gradient of the gradient as well. seed: of everything random. eps: the step
    h for single entries. rtol: the error that is allowed, in units of the gradient's largest entry;
    None for what the truth can show: 1e-9 for differences, 1e-11 for the complex step, and their
    noise. max_entries: so many entries, of all inputs together, are looked at one by one (None:
    300). If there are more, they are looked at along four random directions, and one by one where
    these differ (an input with more than max_entries, None: 1,000, in 120 places). fast_mode: two
    directions for all, nothing else unless they differ. raises: raise GradientError when something
    is wrong; else return the Report.

    Returns a Report, true if all is right. Raises GradientError, DTypeError (no floating input),
    GraphError (no graph).
    """
    if order not in (1, 2):
        raise ValueRangeError(f"gradcheck(..., order={order!r}): the order is 1 or 2")
    check_options("gradcheck", seed, eps, rtol, max_entries)
    subject = from_function(fn, inputs)
    report = glance(subject, seed, rtol) if fast_mode else None
    if not report:                                 # not fast, or now it is worth to look closely
        report = judge(subject, seed, eps, rtol, max_entries)
    if order == 2 and not report.wrong:
        slack = 1e-7 if rtol is None else 10 * rtol
        slopes = from_function(gradient_function(fn, inputs, seed), inputs, constant=True)
        second = judge(slopes, seed + 1, eps, slack, max_entries)
        for comparison in second.comparisons:
            comparison.name += " (second order)"
        report.comparisons += second.comparisons
        report.findings += second.wrong
    if report and report.comparisons and all(c.scale <= 1e-13 for c in report.comparisons):
        report.findings.append(silent_finding("every input", "", 0))
    return return_or_raise(report, raises)


def check_vjp(forward: Callable, backward: Callable, inputs: Sequence, *,
              names: Sequence[str] | None = None, seed: int = 0, eps: float = STEP,
              rtol: float | None = None, max_entries: int | None = None,
              cache: bool | None = None, raises: bool = True) -> Report:
    """The same for a backward pass on plain arrays, of any engine: no Tensor is involved.

    y = forward(*inputs), gradients = backward(g, *inputs), one for each input, None where there is
    none; or with a cache: y, cache = forward(*inputs), gradients = backward(g, cache) (cache=True;
    found out if None). inputs: arrays (floating ones are checked, in float64), masks, indices,
    numbers. names: of the inputs, for the report. rtol: None for 1e-11 of the largest entry where
    forward takes complex arrays, 1e-9 where it does not. The others: as in gradcheck.
    """
    check_options("check_vjp", seed, eps, rtol, max_entries)
    subject = from_pair(forward, backward, inputs, names, cache)
    return return_or_raise(judge(subject, seed, eps, rtol, max_entries), raises)


def check_options(call, seed, eps, rtol, max_entries):
    whole_seed = isinstance(seed, (int, np.integer)) and seed >= 0
    some_entries = max_entries is None or max_entries >= 1
    for name, value, fits, rule in (
            ("seed", seed, whole_seed, "an integer >= 0"),
            ("eps", eps, 0 < eps < 1, "a step between 0 and 1"),
            ("rtol", rtol, rtol is None or 0 <= rtol < 1, "a number >= 0 and below 1"),
            ("max_entries", max_entries, some_entries, "an integer >= 1")):
        if not fits:
            raise ValueRangeError(f"{call}(..., {name}={value!r}): {name} must be {rule}")


def return_or_raise(report, raises):
    """The report; with `raises`, a GradientError if something is wrong or could not be seen."""
    if raises and not report:
        raise GradientError(report)
    return report


def gradient_function(fn, inputs, seed):
    """What order 2 checks: the function that gives fn's gradients, laid end to end, for a fixed
    random upstream."""
    rng = np.random.default_rng([seed, 161803398])
    upstream = {}                                  # drawn once the shape of y is known

    def gradients(*xs):
        with autograd.enable_grad():
            leaves = [x.detach().requires_grad_() if x.dtype.kind == "f" and not x.requires_grad
                      else x for x in xs]
            y = fn(*leaves)
            g = upstream.setdefault("g", rng.standard_normal(y.array.shape))
            wanted = [x for x in leaves if x.requires_grad]
            found = autograd.grad(y, wanted, y.wrap(np.asarray(g, like=y.array)),
                                  create_graph=True, allow_unused=True)
            return cat(*[reshape(d, shape=(-1,)) for d in found if d is not None], dim=0)

    gradients.__qualname__ = f"the gradient of {getattr(fn, '__name__', 'fn')}"
    return gradients


def glance(subject, seed, rtol):
    """The Report of fast_mode: along two random directions of all inputs together, at a point that
    hides nothing if there is one."""
    rng = np.random.default_rng([seed, 662607015])
    better = {i: value for i, _, value in hazards(subject, at_zero=False) if value is not None}
    with change_inputs(subject, better):
        point = Point.at(subject, rng)
        if point.findings:
            return Report(subject.name, [], point.findings)
        scale, comparisons = max(map(largest_entry, point.sent.values())), []
        for k in (1, 2):
            v = random_direction(subject, point.sent, rng)
            slope = slope_along(subject, point.sent, point.g, v, scale, rtol)
            comparison = comparison_along(f"direction {k}", (), [slope], scale)
            comparisons.append(replace(comparison, label=f"along direction {k}"))
    return Report(subject.name, comparisons)


# ── one judgement ─────────────────────────────────────────────────────────────────────────────────


def judge(subject, seed=0, eps=STEP, rtol=None, max_entries=None):
    # A stream of the judge's own. With default_rng(seed), a user who drew the inputs from the same
    # seed had the same numbers again as the upstream gradient, and a wrong LayerNorm nearly passed.
    rng = np.random.default_rng([seed, 577215664])
    return Judge(rng, eps, rtol, max_entries).report_on(subject)


@dataclass
class Point:
    """What comes before any true gradient: the output y, an upstream g, what the backward pass
    sent, and findings on it. sent: the gradients by the places of the inputs, those that can be
    compared with a true one. findings: on structure."""

    y: np.ndarray
    g: np.ndarray
    sent: dict
    findings: list

    @classmethod
    def at(cls, subject, rng):
        y = np.array(subject.forward(subject.inputs), dtype=float)
        if not np.isfinite(y).all():
            raise GraphError(f"{subject.name}: the forward pass gives NaN or infinity at this "
                             "point, so there is no gradient to compare with; choose other inputs")
        # Not ones, beside which softmax without its leading y is right; and with a mean, so that
        # what sums g is seen.
        g = rng.standard_normal(y.shape) + 0.3
        sent = subject.gradients(g.copy())
        comparable = {}
        for i, d in zip(subject.checked, sent):
            if d is not None and np.shape(d) == subject.inputs[i].shape and np.isfinite(d).all():
                comparable[i] = np.asarray(d, dtype=float)
        return cls(y, g, comparable, check_structure(subject, g, sent))

    def properties(self, subject, rng):
        if self.findings:
            return self.findings
        findings = check_side_effects(subject, self.g)
        if any(f.kind in ("mutates", "not-repeatable") for f in findings):
            return findings                        # no number means anything now
        return check_linearity(subject, self.g, list(self.sent.values()), rng) + findings


@dataclass
class Judge:
    """How closely to look: the step, the error allowed, how many entries one by one."""

    rng: np.random.Generator
    eps: float
    rtol: float | None
    most: int | None

    def report_on(self, subject):
        """The Report on a Subject, at its own point and at a better one. Its own point comes first,
        since what is wrong there is told in the user's own numbers. But where a better point
        follows anyway, a look along directions is enough to see that nothing is wrong here: two
        full looks would cost twice as much."""
        dull = list(hazards(subject))
        better = {i: value for i, _, value in dull if value is not None}
        report = None
        if not better or not self.seems_right(subject):
            report = Report(subject.name, *self.judge_point(subject))
        if better and (report is None or not report.wrong):
            with change_inputs(subject, better):
                comparisons, findings = self.judge_point(subject)
            names = [subject.names[i] for i in better]
            report = Report(subject.name, comparisons, mark_elsewhere(findings, names))
        if not report.wrong:
            report.findings += [hazard_finding(words) for i, words, _ in dull if i not in better]
            report.findings += blind_spots(subject, self.judge_point)
        return report

    def seems_right(self, subject):
        """Whether nothing is wrong as far as properties and two directions show."""
        point = Point.at(subject, self.rng)
        if point.properties(subject, self.rng):
            return False
        found = look_along_directions(subject, point.sent, point.g, self.rng, self.rtol, 2)
        return all(slopes[-1].ok for slopes in found.values())

    def judge_point(self, subject):
        """(comparisons, findings) where the inputs stand now."""
        point = Point.at(subject, self.rng)
        findings = point.properties(subject, self.rng)
        # What is known of an input needs no second finding; shared memory says nothing of numbers.
        explained = {f.input for f in findings if f.kind != "aliases"}
        if any(f.kind == "mutates" or f.kind == "not-repeatable" and not f.input for f in findings):
            explained |= set(subject.names)
        along = {}
        if sum(a.size for a in point.sent.values()) > (self.most or FEW):
            along = look_along_directions(
                subject, point.sent, point.g, self.rng, self.rtol, DIRECTIONS)
        comparisons = []
        for i in point.sent:
            comparison, more = self.judge_input(subject, point, i, along.get(i))
            comparisons.append(comparison)
            findings += [f for f in more if subject.names[i] not in explained]
        return comparisons, sorted(findings, key=lambda f: f.kind == "vacuous")

    def judge_input(self, subject, point, i, slopes):
        """(Comparison, findings) for one input. slopes: its looks along directions, or None."""
        name, a = subject.names[i], point.sent[i]
        if slopes and slopes[-1].ok:
            comparison = comparison_along(name, a.shape, slopes, largest_entry(a))
            if is_silent(subject, slopes[-1].allowed, slopes[-1].size):
                return comparison, [silent_finding(name, a.shape, comparison.scale)]
            return comparison, []
        suspects = ()
        if slopes and a.size > (self.most or WHOLE):
            suspects = bisect_wrong_entries(subject, i, a, point.g, self.rng, self.rtol)
        comparison, findings = entry_by_entry(subject, i, a, point.g, point.y, self.rng, self.eps,
                                              self.rtol, self.most, suspects)
        if comparison.ok and slopes and not slopes[-1].right_but_blurred:
            # No entry is wrong, but together they are. Either they tie, or lie on a kink together:
            # then they are right at points near by. Or no look at an entry hit what is wrong.
            comparison.ok = self.is_right_near_by(subject, i)
            if not comparison.ok:
                findings = [few_wrong_finding(name, slopes[-1])]
            elif not findings:
                findings = [kink_finding(name)]
        return comparison, findings

    def is_right_near_by(self, subject, i):
        """Whether an input is right along all directions where its entries are other numbers, that
        do not tie."""
        x = subject.inputs[i]
        away = 0.01 * max(largest_entry(x), 0.01) * random_direction(subject, [i], self.rng)[i]
        with change_inputs(subject, {i: x + away}):
            point = Point.at(subject, self.rng)
            return i in point.sent and look_until_wrong(
                subject, point.sent, [i], point.g, self.rng, self.rtol, DIRECTIONS)[-1].ok


# ── what is said of an input with many entries ────────────────────────────────────────────────────


def comparison_along(name, shape, slopes, scale):
    """The Comparison of an input along directions: the worst of them."""
    worst = max(slopes, key=lambda slope: slope.error)
    return Comparison(name, shape, len(slopes), worst.error, scale, worst.noise,
                      all(s.ok for s in slopes), (), worst.found, worst.true, "directions")


def kink_finding(name):
    """The finding on an input where entries that are right alone are not so together."""
    return Finding("kink", name, (
        f"d{name} is right entry by entry, and right at points near by, but not along a random "
        "direction: entries tie, or lie on a kink together"))


def few_wrong_finding(name, slope):
    """The finding on an input that is wrong where no entry was looked at."""
    return Finding("unexplained", name, (
        f"d{name} is right at all entries that were looked at, as far as they can tell, but along "
        f"a random direction it gives {slope.found:.8g} where the true slope is {slope.true:.8g}: "
        "few entries are wrong, or all by a little"))
