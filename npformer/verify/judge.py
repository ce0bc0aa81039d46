"""The judge: structure, properties that need no oracle, finite differences, diagnosis, and whether the point says it all."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from .. import autograd
from ..core.errors import GradientError, GraphError, ValueRangeError
from ..core.numeric import STEP, directional, extrapolated, one_sided, true_gradient
from ..core.tape import collect
from ..ops.shape import cat, reshape
from .diagnose import Evidence, diagnose
from .findings import Comparison, Finding, Report
from .properties import clean_hands, linearity, structure
from .subject import from_function, from_pair
from .vacuous import hazards, silent, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..tensors import Tensor

DIRECTIONS = 8                                     # random directions along which a large input is looked at
SAMPLED = 120                                      # entries of it besides


def gradcheck(fn: Callable[..., Tensor], inputs: Tensor | Sequence[Tensor], *, order: int = 1, seed: int = 0,
              eps: float = STEP, rtol: float = 1e-8, max_entries: int = 1000, fast_mode: bool = False,
              raises: bool = True) -> Report:
    """Hold the gradient of `fn(*inputs)` against finite differences, and say what is wrong with it.

    fn: from Tensors to one Tensor of any shape; L = Σ g·fn(...), with a random upstream g, since a wrong gradient can
    hide behind ones. inputs: a Tensor or several; the floating ones that require a gradient are checked, or all
    floating ones if none does. Those in float64 are perturbed in place and put back, so that `fn` may also close over
    them (a model's parameters, say); others are copied to float64 and handed to `fn`.
    order: 2 checks the gradient of the gradient as well. seed: of everything random. eps: the step h. rtol: the error
    that is allowed, in units of the gradient's largest entry. max_entries: an input with more entries is checked along
    random directions and at some entries. fast_mode: all inputs together along two random directions, nothing else
    unless they differ; a few forward passes. raises: raise GradientError when something is wrong; else return the Report.

    Returns a Report, true if all is right. Raises GradientError, DTypeError (no floating input), GraphError (no graph).
    """
    if order not in (1, 2):
        raise ValueRangeError(f"gradcheck(..., order={order!r}): the order is 1 or 2")
    within_range("gradcheck", seed, eps, rtol, max_entries)
    subject = from_function(fn, inputs)
    report = glance(subject, seed) if fast_mode else judge(subject, seed, eps, rtol, max_entries)
    if fast_mode and not report:                   # now it is worth to look closely
        report = judge(subject, seed, eps, rtol, max_entries)
    if order == 2 and not report.wrong:
        second = judge(from_function(slope_of(fn, inputs, seed), inputs, constant=True), seed + 1, eps, 10 * rtol, max_entries)
        for comparison in second.comparisons:
            comparison.name += " (second order)"
        report.comparisons += second.comparisons
        report.findings += second.wrong
    if report and report.comparisons and all(c.scale <= 1e-13 for c in report.comparisons):
        report.findings.append(silent("every input", ""))
    return settled(report, raises)


def check_vjp(forward: Callable, backward: Callable, inputs: Sequence, *, names: Sequence[str] | None = None,
              seed: int = 0, eps: float = STEP, rtol: float = 1e-8, max_entries: int = 1000, cache: bool | None = None,
              raises: bool = True) -> Report:
    """The same for a backward pass on plain arrays, of any engine: no Tensor is involved.

    y = forward(*inputs), gradients = backward(g, *inputs), one for each input, None where there is none; or with a
    cache: y, cache = forward(*inputs), gradients = backward(g, cache) (cache=True; found out if None). inputs: arrays
    (floating ones are checked, in float64), masks, indices, numbers. names: of the inputs, for the report.
    """
    within_range("check_vjp", seed, eps, rtol, max_entries)
    return settled(judge(from_pair(forward, backward, inputs, names, cache), seed, eps, rtol, max_entries), raises)


def within_range(call, seed, eps, rtol, max_entries):
    """Refuse options with which nothing would be looked at."""
    for name, value, fits, rule in (("seed", seed, isinstance(seed, (int, np.integer)) and seed >= 0, "an integer >= 0"),
                                    ("eps", eps, 0 < eps < 1, "a step between 0 and 1"),
                                    ("rtol", rtol, 0 <= rtol < 1, "a number >= 0 and below 1"),
                                    ("max_entries", max_entries, max_entries >= 1, "an integer >= 1")):
        if not fits:
            raise ValueRangeError(f"{call}(..., {name}={value!r}): {name} must be {rule}")


def settled(report, raises):
    """The report; a GradientError if something is wrong, or could not be seen, and that is wanted."""
    if raises and not report:
        raise GradientError(report)
    return report


def slope_of(fn, inputs, seed):
    """The function that gives fn's gradients, for a fixed random upstream, end to end: what order 2 checks."""
    rng = np.random.default_rng([seed, 161803398])
    upstream = {}

    def slopes(*xs):
        with autograd.enable_grad():
            leaves = [x if x.requires_grad else x.detach().requires_grad_() if x.dtype.kind == "f" else x for x in xs]
            y = fn(*leaves)
            g = upstream.setdefault("g", rng.standard_normal(y.array.shape))
            wanted = [x for x in leaves if x.requires_grad]
            found = autograd.grad(y, wanted, y.wrap(np.asarray(g, like=y.array)), create_graph=True, allow_unused=True)
            flat = [reshape(d, shape=(-1,)) for d in found if d is not None]
            return cat(*flat, dim=0)
    slopes.__qualname__ = f"the gradient of {getattr(fn, '__name__', 'fn')}"
    return slopes


def glance(subject, seed):
    """The Report of a look along two random directions of all inputs together, away from points that hide mistakes."""
    rng = np.random.default_rng([seed, 662607015])
    better = {i: value for i, _, value in hazards(subject) if value is not None}
    with changed(subject, better):
        y = np.array(subject.forward(subject.inputs), dtype=float)
        g = rng.standard_normal(y.shape) + 0.3
        sent = subject.gradients(g.copy())
        if structure(subject, g, sent):
            return Report(subject.name, [], structure(subject, g, sent))
        comparisons = []
        for k in range(2):
            vs = {i: rng.choice([-1.0, 1.0], subject.inputs[i].shape) for i in subject.checked}
            found = sum(float((d * vs[i]).sum()) for i, d in zip(subject.checked, sent))
            true, noise = directional(subject.forward, subject.inputs, vs, g, 1e-4 / np.sqrt(sum(v.size for v in vs.values())))
            size = np.sqrt(sum(float((np.asarray(d) ** 2).sum()) for d in sent))
            comparisons.append(Comparison(f"direction {k + 1}", (), 1, abs(found - true), size, noise,
                                          bool(abs(found - true) <= 1e-7 * size + 10 * noise), (), found, true, "directions"))
    return Report(subject.name, comparisons)


# ── one judgement ────────────────────────────────────────────────────────────────────────────────────────────────────


def judge(subject, seed=0, eps=STEP, rtol=1e-8, max_entries=1000):
    """The Report on a Subject."""
    # A stream of the judge's own: inputs drawn from default_rng(0) must not come again as the upstream gradient.
    rng = np.random.default_rng([seed, 577215664])
    dull = list(hazards(subject))
    better = {i: value for i, _, value in dull if value is not None}
    # Where a better point will be looked at in full, a quick look is enough at this one.
    report = Report(subject.name, *at_this_point(subject, rng, eps, rtol, 0 if better else max_entries))
    if report.wrong:
        return Report(subject.name, *at_this_point(subject, rng, eps, rtol, max_entries)) if better else report
    comparisons, findings = at_better_point(subject, rng, eps, rtol, max_entries, better)
    report.comparisons = comparisons or report.comparisons
    report.findings += findings
    report.findings += [warn(words) for i, words, _ in dull if i not in better or comparisons is None]
    return report


def at_better_point(subject, rng, eps, rtol, max_entries, better):
    """(comparisons, findings) where some inputs have other values, so that what they hid shows; (None, []) if none can."""
    if not better:
        return None, []
    with changed(subject, better):
        try:
            fits = bool(np.isfinite(subject.forward(subject.inputs)).all())
        except Exception:                          # noqa: BLE001  (anything may go wrong at a point nobody promised)
            fits = False
        return at_this_point(subject, rng, eps, rtol, max_entries) if fits else (None, [])


@contextlib.contextmanager
def changed(subject, values):
    """Some inputs with other values, inside the block; in the same memory."""
    before = {i: subject.inputs[i].copy() for i in values}
    try:
        for i, value in values.items():
            subject.inputs[i][...] = value
        yield
    finally:
        for i, value in before.items():
            subject.inputs[i][...] = value


def at_this_point(subject, rng, eps, rtol, max_entries):
    """The comparisons and findings where the inputs stand now."""
    y = np.array(subject.forward(subject.inputs), dtype=float)
    if not np.isfinite(y).all():
        raise GraphError(f"{subject.name}: the forward pass gives NaN or infinity at this point, so there is no gradient to "
                         "compare with; choose other inputs")
    g = rng.standard_normal(y.shape) + 0.3
    sent = subject.gradients(g.copy())
    findings = structure(subject, g, sent)
    if not findings:
        findings = clean_hands(subject, g)
        if not any(f.kind in ("mutates", "not-repeatable") for f in findings):     # else no number means anything
            findings = linearity(subject, g, sent, rng) + findings
    told = {f.input for f in findings if f.kind != "aliases"}
    if any(f.kind == "mutates" or f.kind == "not-repeatable" and not f.input for f in findings):
        told |= set(subject.names)
    comparisons = []
    for i, d in zip(subject.checked, sent):
        if d is None or np.shape(d) != subject.inputs[i].shape or not np.isfinite(d).all():
            continue
        comparison, more = compare(subject, i, np.asarray(d, dtype=float), g, y, rng, eps, rtol, max_entries)
        comparisons.append(comparison)
        findings += [f for f in more if subject.names[i] not in told]
    return comparisons, findings


def compare(subject, i, a, g, y, rng, eps, rtol, max_entries):
    """One input's gradient against the true one: (Comparison, findings)."""
    name, x = subject.names[i], subject.inputs[i]
    whole = x.size <= max_entries
    places = np.arange(x.size) if whole else chosen(a, rng, min(SAMPLED, max_entries))
    truth = true_gradient(subject.forward, subject.inputs, i, g, places, eps, subject.raw)
    taken = a.reshape(-1)[places]
    scale = max(np.abs(truth.gradient).max(initial=0), np.abs(taken).max(initial=0))
    allowed = rtol * scale + 3 * truth.noise
    bad = np.flatnonzero(~(np.abs(taken - truth.gradient) <= allowed))
    bad = unconfirmed(subject, i, g, bad, places, taken, truth, allowed)
    kinks = look_again(subject, x, bad, places, taken, truth, g, allowed, eps, rtol * scale)
    tied = tied_wrong(subject, x, [places[k] for k in kinks], a, g) if kinks else None
    error = np.abs(taken - truth.gradient)
    error[kinks] = 0
    worst = int((error - allowed).argmax()) if len(places) else 0
    ok = bool(len(places) == 0 or error[worst] <= allowed[worst])
    findings = [tied_finding(name, *tied)] if tied else []
    if kinks and not tied:
        findings.append(Finding("kink", name, f"{len(kinks)} of {x.size} entries of {name} lie on a kink, with a gradient "
                                              "between the slopes to its left and right: any such value will do"))
    if ok and not whole and not tied:
        ok, findings = along_directions(subject, i, a, g, rng, eps, rtol)
    comparison = Comparison(name, x.shape, len(places), float(error.max(initial=0)), float(scale),
                            float(truth.noise.max(initial=0)), ok)
    if len(places):
        comparison.index = tuple(int(k) for k in np.unravel_index(places[worst], x.shape))
        comparison.analytic, comparison.numeric = float(taken[worst]), float(truth.gradient[worst])
    if not ok and not tied and all(f.kind == "kink" for f in findings):
        findings = explained(subject, i, a, g, y, truth, whole, places)
    if ok and len(places) and scale <= 1e-12 * max(np.abs(y).max(initial=0), 1e-300) and not subject.name.startswith("gradcheck"):
        findings.append(silent(name, x.shape))
    return comparison, findings


def chosen(a, rng, count):
    """Places to look at in a large gradient: half of them its largest entries, the others at random."""
    order = np.argsort(-np.abs(a), axis=None)
    return np.sort(np.concatenate([order[:count // 2], rng.choice(order[count // 2:], count - count // 2, replace=False)]))


def unconfirmed(subject, i, g, bad, places, taken, truth, allowed):
    """Those of the bad places that a second witness finds bad, too: the forward, followed, has an exact gradient.

    Where that one agrees with the gradient under test, the step was too long for this point.
    """
    graph = subject.follow() if len(bad) and subject.follow else None
    exact = None if graph is None else collect(graph[0], g, [graph[1][i]])[0]
    if exact is None:
        return bad
    exact, slack = exact.reshape(-1)[places], 1e-9 * np.abs(exact).max()
    agree = bad[np.abs(taken[bad] - exact[bad]) <= slack]
    truth.gradient[agree], truth.noise[agree], allowed[agree] = exact[agree], slack, slack
    return np.setdiff1d(bad, agree)


def look_again(subject, x, bad, places, taken, truth, g, allowed, eps, slack):
    """Entries that differ are looked at more closely, with a larger step and with a smaller one, since a kink may lie
    between. Returns those that lie on a kink, with a value between the two slopes."""
    kinks = []
    for k in bad[:400]:
        place = np.unravel_index(places[k], x.shape)
        wide, rough = extrapolated(subject.forward, subject.inputs, x, place, g, 10 * eps)
        near, fine = extrapolated(subject.forward, subject.inputs, x, place, g, eps / 10)
        smooth = abs(wide - near) <= 10 * (rough + fine)           # then the wide step is the better one: less rounding
        closer, noise = (wide, rough) if smooth else (near, fine)
        truth.gradient[k], allowed[k] = closer, slack + 3 * noise
        if abs(taken[k] - closer) > allowed[k]:
            low, high = sorted(one_sided(subject.forward, subject.inputs, x, place, g))
            margin = 1e-4 * max(abs(low), abs(high), slack)
            if high - low > 20 * margin and low - margin <= taken[k] <= high + margin:
                kinks.append(k)
    return kinks


def tied_wrong(subject, x, places, a, g):
    """Entries of one value that sit on kinks may move together without a kink: then the sum of their gradients is known.
    (how many, what a gives, what is true) where a gives another; None if all is well."""
    flat, h = x.reshape(-1), 1e-6
    for value in np.unique(flat[places]):
        group = [p for p in places if flat[p] == value]
        if len(group) < 2:
            continue
        here = np.array(subject.forward(subject.inputs), dtype=float)
        try:
            flat[group] = value + h
            right = float((g * (subject.forward(subject.inputs) - here)).sum()) / h
            flat[group] = value - h
            left = float((g * (here - subject.forward(subject.inputs))).sum()) / h
        finally:
            flat[group] = value
        found, size = float(a.reshape(-1)[group].sum()), max(abs(left), abs(right), 1e-9)
        if abs(left - right) <= 1e-4 * size and abs(found - right) > 1e-3 * max(size, abs(found)):
            return len(group), found, right
    return None


def tied_finding(name, count, found, true):
    """The finding on entries that tie."""
    return Finding("only-at-ties", name, f"d{name}: the {count} entries that tie get {found:.6g} together, and moving them "
                                         f"together changes the loss at a rate of {true:.6g}: share the gradient among them, "
                                         "or give it to one")


def along_directions(subject, i, a, g, rng, eps, rtol):
    """Whether a·v is right for random directions v, and a finding if not: for inputs with too many entries."""
    x = subject.inputs[i]
    for _ in range(DIRECTIONS):
        v = rng.choice([-1.0, 1.0], x.shape)
        true, noise = directional(subject.forward, subject.inputs, {i: v}, g, 10 * eps / np.sqrt(x.size))
        found = float((a * v).sum())
        if abs(found - true) > 1e-6 * np.linalg.norm(a) + rtol * abs(true) + 10 * noise:
            return False, [Finding("unexplained", subject.names[i],
                                   f"d{subject.names[i]} is right at all entries that were looked at, but along a random "
                                   f"direction it gives {found:.8g} where the true slope is {true:.8g}: few entries are wrong")]
    return True, []


def explained(subject, i, a, g, y, truth, whole, places):
    """The diagnosis of a wrong gradient, as far as it was looked at."""
    x = subject.inputs[i]
    n, noise = a.copy(), np.zeros(x.size)
    n.reshape(-1)[places], noise[places] = truth.gradient, truth.noise
    if not whole:                                  # only the entries that were looked at, as one row
        a, n, noise, x = a.reshape(-1)[places], truth.gradient, truth.noise, x.reshape(-1)[places]
    inputs = dict(zip(subject.names, subject.inputs))
    def gradient_with(name, value):
        k = subject.names.index(name)
        with changed(subject, {k: value}):
            with np.errstate(all="ignore"):
                found = true_gradient(subject.forward, subject.inputs, i, g, places, 1e-5).gradient
        return found.reshape(x.shape) if np.isfinite(found).all() else None

    def followed(*kind):
        graph = subject.follow and subject.follow(*kind)
        return graph and (graph[0], graph[1][i])

    with np.errstate(all="ignore"):                # candidates that divide by zero are no candidates
        return diagnose(Evidence(subject.names[i], x, a, n, noise.reshape(x.shape), g, y, truth.jacobian if whole else None,
                                 inputs, gradient_with if whole else None, followed if whole else None))
