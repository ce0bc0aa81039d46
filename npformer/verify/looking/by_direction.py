"""Along random directions v: v·a = v·n must hold for the gradient a and the true one n.

Two numbers stand for thousands of entries, so a full check of a Transformer block costs a few dozen
forward passes where entry by entry takes two for each entry: 1.6 s became 0.04 s. It is no less
sharp: with Richardson's extrapolation the step may be a hundred times as large, and the rounding
beside it is a hundredth.

The entries of v are drawn from ±[1, 2]. A single wrong entry then shows in full, as it would not
where v has entries near 0; and errors that cancel along one direction, as those of two entries that
were exchanged, do not cancel along another. Inputs whose gradients are about as large are moved
together; beside a large one the rounding of the large one would hide a small one.
"""

from dataclasses import dataclass

import numpy as np

from ...core.numeric import CLOSE, EXACT, directional_slope, joint_step

STEPS = (1e-3, 1e-4, 1e-5, 1e-7)                   # from the largest: see slope_along
COARSE = 10                                        # so much more noise than the first step's: no


@dataclass
class Slope:
    """A look along one direction. found: v·a. true: v·n, with an error of about `noise`. size: |a|.
    allowed: how far apart the two may be. ok: whether they agree. unsettled: whether the difference
    changes with the step, as where the function has kinks all around."""

    found: float
    size: float
    true: float = np.nan
    noise: float = np.inf
    allowed: float = 0.0
    ok: bool = False
    unsettled: bool = False

    @property
    def error(self):
        return abs(self.found - self.true)

    @property
    def right_but_blurred(self):
        """Whether kinks keep the slope from settling, and it is right as far as one sees."""
        return self.unsettled and self.error <= self.allowed + 1e-6 * self.size


def random_direction(subject, places, rng):
    """For each of those inputs an array of numbers of random sign, between 1 and 2 in size."""
    shapes = {i: subject.inputs[i].shape for i in places}
    return {i: rng.choice([-1.0, 1.0], n) * rng.uniform(1, 2, n) for i, n in shapes.items()}


def largest_entry(a):
    """max |a|, or 0 if a is empty."""
    return float(np.abs(a).max(initial=0))


def slope_along(subject, sent, g, v, scale, rtol=None):
    """The Slope along v of the gradients `sent`; v and sent are dicts by the places of inputs.

    rtol: the error allowed, beside `scale`; None for what the truth can show.

    No step is right for all functions. A large one (1e-3) has the least rounding, and is right
    wherever the function is smooth; beside a kink, or near the edge of a domain, only a small one
    is. So they are tried from the largest, and the first that agrees decides: a wrong gradient can
    hardly agree with any of them by chance. But the allowance grows as the step shrinks, and at
    1e-7 almost anything would pass where the output is large: a step whose allowance is more than
    COARSE times that of an earlier one decides nothing.

    Where no step agrees, the first two differences tell a mistake from kinks. A mistake in a is
    off by the same number at each step; kinks all around, as in a wide network of relus, put
    another number of them between the two ends of each step.
    """
    slope = Slope(sum(float((sent[i] * v[i]).sum()) for i in v),
                  np.sqrt(sum(float((sent[i] ** 2).sum()) for i in v)))
    # x + step·v is rounded as well, each entry by about 2e-16·|x|. What that moves the output by:
    moved = 2e-16 * np.sqrt(sum(float(((sent[i] * subject.inputs[i]) ** 2).sum()) for i in v))
    inputs = [subject.inputs[i] for i in v]
    apart, most = [], np.inf
    for h in STEPS:
        step = joint_step(inputs, h)
        try:
            slope.true, rounding, exact = directional_slope(
                subject.forward, subject.inputs, v, g, step, subject.raw)
        except Exception:                          # noqa: BLE001  (a step may leave the domain;
            continue                               # then single entries will tell)
        slope.noise = rounding + 1e-15 * slope.size + (0 if exact else moved / step)
        if rtol is None:
            allowance = scale * (EXACT if exact else CLOSE)
        else:
            allowance = scale * rtol
        slope.allowed = allowance + 3 * slope.noise
        slope.ok = bool(slope.error <= slope.allowed <= most)
        if slope.ok:
            return slope
        most = min(most, COARSE * slope.allowed)
        apart.append(slope.found - slope.true)
    slope.unsettled = len(apart) < 2 or not abs(apart[1] - apart[0]) <= 0.2 * abs(apart[0])
    return slope


def look_along_directions(subject, sent, g, rng, rtol, count):
    """The Slopes of each input, by its place, along `count` directions; they end with the first
    that differs. Inputs with gradients about as large move together; where they differ, each moves
    alone to tell which of them is wrong. It may be that none is wrong alone (too small to be seen,
    or only together): then the suspicion stays on all of them."""
    found = {}
    for places in group_by_size(sent):
        together = look_until_wrong(subject, sent, places, g, rng, rtol, count)
        slopes = dict.fromkeys(places, together)
        if not together[-1].ok:
            alone = {i: look_until_wrong(subject, sent, [i], g, rng, rtol, count) for i in places}
            if any(not of_one[-1].ok for of_one in alone.values()):
                slopes = alone
        found.update(slopes)
    return found


def look_until_wrong(subject, sent, places, g, rng, rtol, count):
    """The Slopes of some inputs together, up to the first that differs. What is allowed goes by the
    smallest of their gradients, so that moving together hides nothing."""
    slopes, scale = [], min(largest_entry(sent[i]) for i in places)
    while len(slopes) < count and (not slopes or slopes[-1].ok):
        v = random_direction(subject, places, rng)
        slopes.append(slope_along(subject, sent, g, v, scale, rtol))
    return slopes


def group_by_size(sent):
    """Places of inputs with gradients of one power of ten together; those that are zero apart."""
    top, groups = max(map(largest_entry, sent.values()), default=0.0), {}
    for i, a in sent.items():
        size = largest_entry(a)
        groups.setdefault(int(np.log10(top / size)) if size else None, []).append(i)
    return list(groups.values())


def bisect_wrong_entries(subject, i, a, g, rng, rtol, looks=80):
    """Flat places of wrong entries of a, where few of many are wrong.

    A direction that differs is cut into halves, and each half that still differs again. One wrong
    entry of 100,000 takes some 34 looks; entry by entry it takes 200,000 forward passes, and the
    120 places that are drawn from a large input would hardly ever hit it. Where many entries are
    wrong the looks run out, but then the drawn places hit one anyway.
    """
    v, found, parts = random_direction(subject, [i], rng)[i].reshape(-1), [], [np.arange(a.size)]
    while parts and looks:
        part, looks = parts.pop(), looks - 1
        some = np.zeros(a.size)
        some[part] = v[part]
        direction = {i: some.reshape(a.shape)}
        if slope_along(subject, {i: a}, g, direction, largest_entry(a), rtol).ok:
            continue
        if part.size == 1:
            found.append(int(part[0]))
        else:
            parts += np.array_split(part, 2)
    return found
