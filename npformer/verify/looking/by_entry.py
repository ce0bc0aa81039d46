"""One entry after the other: each entry of a gradient against its own true value; what differs is
looked at more closely before it is called wrong.

by_direction.py asks this only where a direction differs, or where there are few entries anyway.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from ...core.numeric import CLOSE, EXACT, Truth, extrapolate_slope, one_sided_slopes, true_gradient
from ...core.tape import collect
from ..findings import Comparison, Finding
from ..naming.diagnose import diagnose
from ..naming.evidence import Evidence
from .subject import Subject, change_inputs
from .vacuous_points import silent_finding

WHOLE, SAMPLED = 1000, 120                         # of an input with more entries than WHOLE, so
                                                   # many are looked at
CLOSELY = 400                                      # entries that are looked at more closely
DROWNED = 0.1                                      # a gradient of which rounding hides so much is
                                                   # not seen


def entry_by_entry(subject, i, a, g, y, rng, eps, rtol=None, most=None, suspects=()):
    """One input's gradient against the true one: (Comparison, findings). rtol: the error allowed,
    of the largest entry; None for what the truth can show. most: how many entries to look at;
    suspects: flat places to look at, if that is not all."""
    name, x = subject.names[i], subject.inputs[i]
    whole = x.size <= (most or WHOLE)
    if whole:
        places = np.arange(x.size)
    else:
        drawn = choose_places(a, rng, min(SAMPLED, most or WHOLE))
        places = np.union1d(drawn, suspects).astype(int)
    entries = Entries.at(subject, i, a, g, places, eps, rtol)
    bad = entries.ask_second_witness(entries.differing())
    kinks = entries.look_again(bad, eps)
    unseen = entries.give_up()
    tied = wrong_tie(subject, x, [places[k] for k in kinks], a, g) if kinks else None
    comparison = entries.comparison(kinks)
    if not comparison.ok and not tied:
        findings = explain_gradient(subject, i, a, g, y, entries.truth, whole)
    elif tied:
        findings = [tie_finding(name, *tied)]
    elif kinks:
        findings = [Finding("kink", name, (
            f"{len(kinks)} of {x.size} entries of {name} lie on a kink, with a gradient between "
            "the slopes to its left and right: any such value will do"))]
    else:
        findings = []
    if unseen:
        findings.append(edge_finding(name, unseen))
    if comparison.ok and len(places) and is_silent(
            subject, np.median(entries.allowed), comparison.scale):
        findings.append(silent_finding(name, x.shape, comparison.scale))
    return comparison, findings


def choose_places(a, rng, count):
    """Places to look at in a large gradient: half of them its largest entries, the others drawn."""
    order = np.argsort(-np.abs(a), axis=None)
    largest, others = order[:count // 2], order[count // 2:]
    drawn = rng.choice(others, count - count // 2, replace=False)
    return np.sort(np.concatenate([largest, drawn]))


def is_silent(subject, allowed, scale):
    """Whether a gradient as large as `scale` is zero, or hidden by what rounding allows. gradcheck
    asks that of all inputs together, since one of a model's may rightly be zero."""
    return allowed >= DROWNED * scale and not subject.name.startswith("gradcheck")


@dataclass
class Entries:
    """The entries of one gradient that are looked at, and what is allowed for each. a: the gradient
    under test at the places of `truth`. slack: what is allowed before any noise; allowed: with it,
    an entry each. scale: the largest entry of either."""

    subject: Subject
    i: int
    g: np.ndarray
    a: np.ndarray
    truth: Truth
    scale: float
    slack: float
    allowed: np.ndarray

    @classmethod
    def at(cls, subject, i, a, g, places, eps, rtol):
        truth = true_gradient(subject.forward, subject.inputs, i, g, places, eps, subject.raw)
        a = a.reshape(-1)[places]
        finite = truth.gradient[np.isfinite(truth.gradient)]
        scale = max(np.abs(finite).max(initial=0), np.abs(a).max(initial=0))
        slack = scale * (CLOSE if rtol is None else rtol)
        allowed = np.where(truth.exact & (rtol is None), EXACT * scale, slack) + 3 * truth.noise
        return cls(subject, i, g, a, truth, scale, slack, allowed)

    def differing(self):
        """The entries that are further from the truth than is allowed; NaN differs."""
        return np.flatnonzero(~(np.abs(self.a - self.truth.gradient) <= self.allowed))

    def ask_second_witness(self, bad):
        """Those of the entries `bad` that the second witness finds bad, too.

        The first witness (differences, or the complex step) may be wrong itself: the step is too
        long for this point, or the complex step is misled by a little, as by the |z|² in NumPy's
        variance. Before this was asked, right gradients at awkward points were called wrong. The
        forward, where it can be followed as a graph, has an exact gradient: where that one agrees
        with the gradient under test, two against one are believed.
        """
        graph = self.subject.follow() if len(bad) and self.subject.follow else None
        exact = None if graph is None else collect(graph[0], self.g, [graph[1][self.i]])[0]
        if exact is None:
            return bad
        truth = self.truth
        exact = exact.reshape(-1)[truth.places]
        slack = np.abs(exact).max() * np.where(truth.exact, EXACT, CLOSE)
        slack += np.where(truth.exact, 3 * truth.noise, 0)
        agree = bad[np.abs(self.a[bad] - exact[bad]) <= slack[bad]]
        truth.gradient[agree] = exact[agree]
        truth.noise[agree] = self.allowed[agree] = slack[agree]
        return np.setdiff1d(bad, agree)

    def look_again(self, bad, eps):
        """Look at entries that differ with a larger step and with smaller ones; returns those that
        lie on a kink, with a value between its two slopes.

        One step is not enough to accuse: a kink may lie within it. `extrapolated` compares two
        steps by itself, and where a kink lies between them the two are far apart (not "settled").
        So the wide look (10·eps, the least rounding) is taken where it settled or agrees with the
        near one (eps/10), else the near one; if neither settled, one at eps/100 may, since a kink
        near by, and not at the point itself, is stepped over with a step that is small enough.
        """
        x, truth, kinks = self.subject.inputs[self.i], self.truth, []
        for k in bad[:CLOSELY]:
            place = np.unravel_index(truth.places[k], x.shape)
            around = (self.subject.forward, self.subject.inputs, x, place, self.g)
            look = partial(extrapolate_slope, *around)
            wide, near = look(10 * eps), look(eps / 10)
            if truth.exact[k]:                     # the complex step needs a reason to be doubted
                off = [abs(found - truth.gradient[k]) for found, _, _ in (wide, near)]
                if off[0] <= 3 * wide[1] and off[1] <= 3 * near[2]:
                    continue
                rough = self.slack + 3 * truth.noise[k]
                if abs(self.a[k] - truth.gradient[k]) <= rough:
                    self.allowed[k] = rough        # the function is rough: so much is rounding
                    continue
            truth.gradient[k], noise = self.closest(wide, near, look, eps)
            self.allowed[k] = self.slack + 3 * noise
            if abs(self.a[k] - truth.gradient[k]) > self.allowed[k]:
                low, high = sorted(one_sided_slopes(*around))
                margin = 1e-4 * max(abs(low), abs(high), self.slack)
                if high - low > 20 * margin and low - margin <= self.a[k] <= high + margin:
                    kinks.append(k)
        return kinks

    def closest(self, wide, near, look, eps):
        """(slope, noise) of the look that can be trusted most; see look_again."""
        for found in (wide, near):
            if self.is_settled(found):
                return found[:2]
        tiny = look(eps / 100)
        if self.is_settled(tiny):
            return tiny[:2]
        smooth = abs(wide[0] - near[0]) <= 10 * (wide[1] + near[1])
        return (wide if smooth else near)[:2]

    def is_settled(self, look):
        """Whether no kink lies between the two steps of a look: they differ by rounding, or by next
        to nothing."""
        _, noise, grain = look
        return noise <= 2 * grain + 0.1 * self.slack

    def give_up(self):
        """How many entries have no true gradient, since every step leaves the function's domain;
        they are no longer compared."""
        truth, lost = self.truth, ~np.isfinite(self.truth.gradient)
        truth.gradient[lost], truth.noise[lost], self.allowed[lost] = self.a[lost], 0, np.inf
        if lost.any():
            truth.jacobian = None
        return int(lost.sum())

    def comparison(self, kinks):
        """The Comparison of these entries; an entry that lies on a kink has no error."""
        name, shape = self.subject.names[self.i], self.subject.inputs[self.i].shape
        error = np.abs(self.a - self.truth.gradient)
        error[kinks] = 0
        found = Comparison(name, shape, error.size, float(error.max(initial=0)), float(self.scale),
                           float(self.truth.noise.max(initial=0)), ok=True)
        if error.size:
            worst = int((error - self.allowed).argmax())
            found.ok = bool(error[worst] <= self.allowed[worst])
            found.index = tuple(int(k) for k in np.unravel_index(self.truth.places[worst], shape))
            found.analytic, found.numeric = float(self.a[worst]), float(self.truth.gradient[worst])
        return found


# ── what is said ──────────────────────────────────────────────────────────────────────────────────


def edge_finding(name, count):
    return Finding("vacuous", name, (
        f"{count} entries of {name} lie at the edge of where the function gives numbers, so that "
        "no true gradient is known there: move them away from it"))


def wrong_tie(subject, x, places, a, g):
    """(how many, what a gives, what is true) for entries that tie and get too much or too little
    together; None if there are none.

    Each entry of a tie lies on a kink (a max turns to another entry as soon as one moves), so any
    value between its two slopes passes alone. But entries of one value that move together stay a
    tie: there is no kink that way, and the sum of their gradients is known.
    """
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
        still_kinked = abs(left - right) > 1e-4 * size
        if not still_kinked and abs(found - right) > 1e-3 * max(size, abs(found)):
            return len(group), found, right
    return None


def tie_finding(name, count, found, true):
    return Finding("only-at-ties", name, (
        f"d{name}: the {count} entries that tie get {found:.6g} together, and moving them together "
        f"changes the loss at a rate of {true:.6g}: share the gradient among them, or give it to "
        "one"))


def explain_gradient(subject, i, a, g, y, truth, whole):
    x, places = subject.inputs[i], truth.places
    n, noise = a.copy(), np.zeros(x.size)
    n.reshape(-1)[places], noise[places] = truth.gradient, truth.noise
    if not whole:                                  # only the entries that were looked at, as a row
        a, n, noise, x = a.reshape(-1)[places], truth.gradient, truth.noise, x.reshape(-1)[places]

    def gradient_with(name, value):
        with change_inputs(subject, {subject.names.index(name): value}):
            with np.errstate(all="ignore"):
                found = true_gradient(subject.forward, subject.inputs, i, g, places, 1e-5).gradient
        return found.reshape(x.shape) if np.isfinite(found).all() else None

    def follow(*kind):
        graph = subject.follow and subject.follow(*kind)
        return graph and (graph[0], graph[1][i])

    evidence = Evidence(subject.names[i], x, a, n, noise.reshape(x.shape), g, y,
                        inputs=dict(zip(subject.names, subject.inputs)))
    if whole:
        evidence.jacobian = truth.jacobian
        evidence.gradient_with, evidence.follow = gradient_with, follow
    with np.errstate(all="ignore"):                # a candidate that divides by zero is none
        return diagnose(evidence)
