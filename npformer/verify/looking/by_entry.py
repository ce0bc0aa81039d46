"""One entry after the other: each entry of a gradient against its own true value; what differs is
looked at more closely."""

from functools import partial

import numpy as np

from ...core.numeric import CLOSE, EXACT, extrapolated, one_sided, true_gradient
from ...core.tape import collect
from ..findings import Comparison, Finding
from ..naming.diagnose import Evidence, diagnose
from .subject import change_inputs
from .vacuous_points import silent_finding

# of an input with more entries than WHOLE, so many are looked at
WHOLE, SAMPLED = 1000, 120
# a gradient of which rounding hides so much is not seen
DROWNED = 0.1


def entry_by_entry(subject, i, a, g, y, rng, eps, rtol=None, most=None, suspects=()):
    """One input's gradient against the true one: (Comparison, findings).

    rtol: the error allowed, of the largest entry; None for what the truth can show. most: how many
    entries to look at;
    suspects: flat places to look at, if that is not all.
    """
    name, x = subject.names[i], subject.inputs[i]
    whole = x.size <= (most or WHOLE)
    places = np.arange(x.size) if whole else np.union1d(choose_places(a, rng,
                                                                      min(SAMPLED, most or WHOLE)),
                                                        suspects).astype(int)
    truth = true_gradient(subject.forward, subject.inputs, i, g, places, eps, subject.raw)
    taken = a.reshape(-1)[places]
    scale = max(np.abs(truth.gradient[np.isfinite(truth.gradient)]).max(initial=0),
                np.abs(taken).max(initial=0))
    slack = scale * (CLOSE if rtol is None else rtol)
    allowed = np.where(truth.exact & (rtol is None), EXACT * scale, slack) + 3 * truth.noise
    bad = np.flatnonzero(~(np.abs(taken - truth.gradient) <= allowed))
    bad = ask_second_witness(subject, i, g, bad, places, taken, truth, allowed)
    kinks = look_again(subject, x, bad, places, taken, truth, g, allowed, eps, slack)
    unseen = give_up_places(truth, taken, allowed)
    tied = wrong_tie(subject, x, [places[k] for k in kinks], a, g) if kinks else None
    error = np.abs(taken - truth.gradient)
    error[kinks] = 0
    worst = int((error - allowed).argmax()) if len(places) else 0
    ok = bool(len(places) == 0 or error[worst] <= allowed[worst])
    comparison = Comparison(name, x.shape, len(places), float(error.max(initial=0)), float(scale),
                            float(truth.noise.max(initial=0)), ok)
    if len(places):
        comparison.index = tuple(int(k) for k in np.unravel_index(places[worst], x.shape))
        comparison.analytic, comparison.numeric = float(taken[worst]), float(truth.gradient[worst])
    findings = [tie_finding(name, *tied)] if tied else []
    if kinks and not tied:
        findings.append(Finding("kink", name, f"{len(kinks)} of {x.size} entries of {name} lie on "
                                              "a kink, with a gradient between the slopes to its "
                                              "left and right: any such value will do"))
    if not ok and not tied:
        findings = explain_gradient(subject, i, a, g, y, truth, whole, places)
    if unseen:
        findings.append(edge_finding(name, unseen))
    if ok and len(places) and is_silent(subject, np.median(allowed), scale):
        findings.append(silent_finding(name, x.shape, scale))
    return comparison, findings


def is_silent(subject, allowed, scale):
    """Whether a gradient as large as `scale` is zero, or drowns in what rounding allows. (gradcheck
    asks that of all inputs together.)"""
    return allowed >= DROWNED * scale and not subject.name.startswith("gradcheck")


def choose_places(a, rng, count):
    """Places to look at in a large gradient: half of them its largest entries, the others at
    random."""
    order = np.argsort(-np.abs(a), axis=None)
    return np.sort(np.concatenate([order[:count // 2],
                                   rng.choice(order[count // 2:], count - count // 2,
                                              replace=False)]))


def ask_second_witness(subject, i, g, bad, places, taken, truth, allowed):
    """Those of the bad places that a second witness finds bad, too: the forward, followed, has an
    exact gradient.

    Where that one agrees with the gradient under test, the step was too long for this point; or a
    complex step was misled by a little, as by the |z|² in NumPy's variance.
    """
    graph = subject.follow() if len(bad) and subject.follow else None
    exact = None if graph is None else collect(graph[0], g, [graph[1][i]])[0]
    if exact is None:
        return bad
    exact = exact.reshape(-1)[places]
    slack = np.abs(exact).max() * np.where(truth.exact, EXACT, CLOSE) + np.where(truth.exact,
                                                                                 3 * truth.noise, 0)
    agree = bad[np.abs(taken[bad] - exact[bad]) <= slack[bad]]
    truth.gradient[agree], truth.noise[agree], allowed[agree] = exact[agree], slack[agree], slack[agree]
    return np.setdiff1d(bad, agree)


def look_again(subject, x, bad, places, taken, truth, g, allowed, eps, slack):
    """Entries that differ are looked at more closely, with a larger step and with smaller ones,
    since a kink may lie between. Returns those that lie on a kink, with a value between the two
    slopes."""
    kinks = []
    for k in bad[:400]:
        place = np.unravel_index(places[k], x.shape)
        look = partial(extrapolated, subject.forward, subject.inputs, x, place, g)
        (wide, rough, _), (near, fine, grain) = looks = look(10 * eps), look(eps / 10)
        settled = [found for found in looks if is_settled(found, slack)] or [look(eps / 100)]
        # then the wide step is the better one: less rounding
        smooth = abs(wide - near) <= 10 * (rough + fine)
        closer, noise, _ = settled[0] if is_settled(settled[0],
                                                    slack) else looks[0] if smooth else looks[1]
        if truth.exact[k] and abs(wide - truth.gradient[k]) <= 3 * rough and abs(near
                                                                                 - truth.gradient[k]) <= 3 * grain:
            continue                               # nothing speaks against the complex step
        if truth.exact[k] and abs(taken[k] - truth.gradient[k]) <= slack + 3 * truth.noise[k]:
            # the function is rough: so much is rounding
            allowed[k] = slack + 3 * truth.noise[k]
            continue
        truth.gradient[k], allowed[k] = closer, slack + 3 * noise
        if abs(taken[k] - closer) > allowed[k]:
            low, high = sorted(one_sided(subject.forward, subject.inputs, x, place, g))
            margin = 1e-4 * max(abs(low), abs(high), slack)
            if high - low > 20 * margin and low - margin <= taken[k] <= high + margin:
                kinks.append(k)
    return kinks


def is_settled(look, slack):
    """Whether no kink lies between the two steps of a look: they differ by rounding, or by next to
    nothing."""
    _, noise, grain = look
    return noise <= 2 * grain + 0.1 * slack


def give_up_places(truth, taken, allowed):
    """How many entries have no true gradient, since every step leaves the function's domain; they
    are no longer compared."""
    lost = ~np.isfinite(truth.gradient)
    truth.gradient[lost], truth.noise[lost], allowed[lost] = taken[lost], 0, np.inf
    if lost.any():
        truth.jacobian = None
    return int(lost.sum())


def edge_finding(name, count):
    """The finding on entries that have no true gradient."""
    return Finding("vacuous", name, f"{count} entries of {name} lie at the edge of where the "
                                    "function gives numbers, so that no true gradient is known "
                                    "there: move them away from it")


def wrong_tie(subject, x, places, a, g):
    """Entries of one value that sit on kinks may move together without a kink: then the sum of
    their gradients is known. (how many, what a gives, what is true) where a gives another; None if
    all is well."""
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


def tie_finding(name, count, found, true):
    """The finding on entries that tie."""
    return Finding("only-at-ties", name, f"d{name}: the {count} entries that tie get {found:.6g} "
                                         "together, and moving them together changes the loss at "
                                         f"a rate of {true:.6g}: share the gradient among them, or "
                                         "give it to one")


def explain_gradient(subject, i, a, g, y, truth, whole, places):
    """The diagnosis of a wrong gradient, as far as it was looked at."""
    x = subject.inputs[i]
    n, noise = a.copy(), np.zeros(x.size)
    n.reshape(-1)[places], noise[places] = truth.gradient, truth.noise
    # only the entries that were looked at, as one row
    if not whole:
        a, n, noise, x = a.reshape(-1)[places], truth.gradient, truth.noise, x.reshape(-1)[places]
    inputs = dict(zip(subject.names, subject.inputs))
    def gradient_with(name, value):
        k = subject.names.index(name)
        with change_inputs(subject, {k: value}):
            with np.errstate(all="ignore"):
                found = true_gradient(subject.forward, subject.inputs, i, g, places, 1e-5).gradient
        return found.reshape(x.shape) if np.isfinite(found).all() else None

    def followed(*kind):
        graph = subject.follow and subject.follow(*kind)
        return graph and (graph[0], graph[1][i])

    # candidates that divide by zero are no candidates
    with np.errstate(all="ignore"):
        return diagnose(Evidence(subject.names[i], x, a, n, noise.reshape(x.shape), g, y,
                                 truth.jacobian if whole else None,
                                 inputs, gradient_with if whole else None,
                                 followed if whole else None))
