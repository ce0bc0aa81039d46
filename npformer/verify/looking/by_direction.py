"""Along random directions: v·a = v·n must hold for the gradient a and the true one n, two numbers
for thousands of entries.

The entries of v are drawn from ±[1, 2]. So a single wrong entry shows in full; and errors that
cancel along one direction, as those of two entries that were exchanged, do not along another.
Inputs whose gradients are about as large are moved together, so that the errors of a small one do
not drown in the rounding of a large one.
"""

from dataclasses import dataclass

import numpy as np

from ...core.numeric import CLOSE, EXACT, directional, stride

# the first one that agrees will do: it can hardly agree by chance
STEPS = (1e-3, 1e-4, 1e-5, 1e-7)
# but with so much more rounding than the first it says too little
COARSE = 10


@dataclass
class Slope:
    """A look along one direction. found: v·a. true: v·n, with an error of about `noise`. size: |a|.

    allowed: how far apart the two may be. ok: whether they agree. unsettled: whether the difference
    changes with the step, as where the function has kinks all around.
    """

    found: float
    size: float
    true: float = np.nan
    noise: float = np.inf
    allowed: float = 0.0
    ok: bool = False
    unsettled: bool = False

    @property
    def error(self):
        """How far apart they are."""
        return abs(self.found - self.true)

    @property
    def blurred(self):
        """Whether kinks all around keep the slope from settling, and it is right as far as one can
        see."""
        return self.unsettled and self.error <= self.allowed + 1e-6 * self.size


def random_direction(subject, places, rng):
    """A direction: for each of the places an array of numbers of random sign, between 1 and 2 in
    size."""
    return {i: rng.choice([-1.0, 1.0], subject.inputs[i].shape)
            * rng.uniform(1, 2, subject.inputs[i].shape) for i in places}


def largest_entry(a):
    """The size of the largest entry."""
    return float(np.abs(a).max(initial=0))


def slope_along(subject, sent, g, v, scale, rtol=None):
    """The Slope along v of the gradients `sent`, both by the places of inputs. rtol: the error
    allowed, beside `scale`; None for what the truth can show."""
    slope = Slope(sum(float((sent[i] * v[i]).sum()) for i in v),
                  np.sqrt(sum(float((sent[i] ** 2).sum()) for i in v)))
    places = np.sqrt(sum(float(((sent[i] * subject.inputs[i]) ** 2).sum()) for i in v))
    apart, most = [], np.inf
    for h in STEPS:
        step = stride([subject.inputs[i] for i in v], h)
        try:
            slope.true, rounding, exact = directional(subject.forward, subject.inputs, v, g, step,
                                                      subject.raw)
        # a step may leave the domain; single entries will tell
        except Exception:  # noqa: BLE001
            continue
        # the last: of x + step·v
        slope.noise = rounding + 1e-15 * slope.size + (0 if exact else 2e-16 * places / step)
        slope.allowed = scale * ((EXACT if exact else CLOSE) if rtol is None
                                 else rtol) + 3 * slope.noise
        slope.ok = bool(slope.error <= slope.allowed <= most)
        if slope.ok:
            return slope
        most = min(most, COARSE * slope.allowed)
        apart.append(slope.found - slope.true)
    slope.unsettled = len(apart) < 2 or not abs(apart[1] - apart[0]) <= 0.2 * abs(apart[0])
    return slope


def look_along_directions(subject, sent, g, rng, rtol, count):
    """The Slopes of each input, by its place, along `count` directions: together with those whose
    gradients are about as large, and alone where these differ. They end with the first that
    differs."""
    found = {}
    for places in group_by_size(sent):
        together = look_until_wrong(subject, sent, places, g, rng, rtol, count)
        alone = {} if together[-1].ok else {i: look_until_wrong(subject, sent, [i], g, rng, rtol,
                                                                count) for i in places}
        # else it may be any of them
        told = any(not slopes[-1].ok for slopes in alone.values())
        found.update(alone if told else dict.fromkeys(places, together))
    return found


def look_until_wrong(subject, sent, places, g, rng, rtol, count):
    """The Slopes of some inputs together, up to the first that differs."""
    slopes, scale = [], min(largest_entry(sent[i]) for i in places)
    while len(slopes) < count and (not slopes or slopes[-1].ok):
        slopes.append(slope_along(subject, sent, g, random_direction(subject, places, rng), scale,
                                  rtol))
    return slopes


def group_by_size(sent):
    """The places of the gradients whose largest entries are within a factor of ten: a list for each
    ten."""
    top, groups = max(map(largest_entry, sent.values()), default=0.0), {}
    for i, a in sent.items():
        groups.setdefault(int(np.log10(top / largest_entry(a))) if largest_entry(a) else None,
                          []).append(i)
    return list(groups.values())


def bisect_wrong_entries(subject, i, a, g, rng, rtol, looks=80):
    """Flat places of wrong entries of a, where few are wrong: along a direction, along its halves,
    along theirs."""
    v, found, parts = random_direction(subject, [i], rng)[i].reshape(-1), [], [np.arange(a.size)]
    while parts and looks:
        part, looks = parts.pop(), looks - 1
        some = np.zeros(a.size)
        some[part] = v[part]
        if slope_along(subject, {i: a}, g, {i: some.reshape(a.shape)}, largest_entry(a), rtol).ok:
            continue
        if part.size == 1:
            found.append(int(part[0]))
        else:
            parts += np.array_split(part, 2)
    return found
