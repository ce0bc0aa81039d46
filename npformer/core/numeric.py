"""Finite differences: the gradient as the definition has it, with an estimate of its own error.

dy/dxᵢ ≈ D(h) = (y(x + h·eᵢ) − y(x − h·eᵢ)) / 2h: an error of order h², and rounding of order ε·|y|
/ h; best at h ~ 1e-5. Along a direction, or where a closer look is needed, (4·D(h) − D(2h)) / 3: an
error of order h⁴. So h may be larger, and
the rounding is less: at h ~ 1e-3 a hundredth.
Where a plain NumPy function takes complex arrays, Im y(x + i·h·v) / h with h = 1e-30 has no
rounding to speak of. Source: Press et al., Numerical Recipes, section 5.7; Squire and Trapp 1998,
SIAM Review 40 (the complex step).
"""

import warnings
from dataclasses import dataclass

import numpy as np

STEP = 1e-5
CLOSE, EXACT = 1e-9, 1e-11  # the error to allow beside the largest entry: differences, complex step
LARGE = 4_000_000                                  # entries of a Jacobian that is kept whole
MANY = 1000  # entries that move together; more of them do not move less


@dataclass
class Truth:
    """The true gradient of one input, at the places that were looked at.

    places: flat indices. gradient: Σ g·dy/dx there. noise: its estimated error. jacobian: dy/dx
    there, (y.size, places), or None where it would be too large. exact: where the complex step gave
    it.
    """

    places: np.ndarray
    gradient: np.ndarray
    noise: np.ndarray
    jacobian: np.ndarray | None
    exact: np.ndarray
    rounding: np.ndarray

    def only(self, there: np.ndarray) -> "Truth":
        """The same at those of the places that `there`, a mask, lets stay."""
        slopes = None if self.jacobian is None else self.jacobian[:, there]
        return Truth(self.places[there], self.gradient[there], self.noise[there], slopes, self.exact[there], self.rounding[there])


def true_gradient(forward, inputs, i, g, places, h=STEP, raw=None):
    """The Truth of inputs[i] at `places`, for the upstream g. raw: a forward that may take complex
    arrays, or None."""
    array = inputs[i]
    keep = g.size * max(len(places), 1) <= LARGE
    gradient, noise, lost = np.zeros(len(places)), np.zeros(len(places)), np.zeros(len(places))
    jacobian, known = np.zeros((g.size, len(places))) if keep else None, np.zeros(len(places), bool)
    one_hot = np.zeros(array.shape)
    for k, place in enumerate(places):
        at = np.unravel_index(place, array.shape)
        slope, size = slope_at(forward, inputs, array, at, h)
        noise[k] = rounding(g, size, h)
        one_hot[at] = 1
        exact = complex_slope(raw, inputs, {i: one_hot}, slope, size) if raw is not None else None
        one_hot[at] = 0
        if exact is None:
            raw = None                             # it was not written for complex numbers
        elif exact is not slope:
            slope, noise[k], known[k] = exact, roundoff(g, exact, size), True
        gradient[k], lost[k] = (g * slope).sum(), roundoff(g, slope, size)
        if keep:
            jacobian[:, k] = slope.reshape(-1)
    return Truth(places, gradient, noise, jacobian, known, lost)


def complex_slope(raw, inputs, directions, slope, size, h=1e-30):
    """dy along `directions` (arrays by the places of inputs) by the complex step; None if `raw`
    does not take complex arrays. `slope`, by differences, itself where the two are far apart: |x|,
    or a tie, misleads the complex step."""
    turned = [np.asarray(x + 1j * h * directions[i]) if i in directions else x for i, x in enumerate(inputs)]
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")  # a complex number cast to a real one is not understood
            exact = np.asarray(raw(turned)).imag / h
    except Exception:                              # noqa: BLE001  (anything may happen in a function that expects reals)
        return None
    if exact.shape != slope.shape:
        return None
    return exact if np.all(np.abs(exact - slope) <= 1e-6 * np.abs(slope).max(initial=0) + 1e-9 * size) else slope


def rounding(g, size, h):
    """The rounding error of Σ g·(a difference of outputs as large as `size`) / h."""
    return 4e-16 * size * float(np.linalg.norm(g)) / h


def roundoff(g, slope, size):
    """The rounding error of Σ g·slope where no difference is taken, in the truth or in the gradient
    that is held against
    it: that of the sum, and that of what cancelled on the way, as in 1 − y² where y is nearly 1."""
    return 4e-16 * float(np.abs(g * slope).sum()) + 1e-15 * max(1.0, size) * float(np.linalg.norm(g))


@np.errstate(all="ignore")  # a step may leave the domain: what comes then agrees with nothing
def slope_at(forward, inputs, array, place, h):
    """(dy/d array[place] by D(h), the size of y). The entry is put back whatever happens.

    Where a step leaves the domain, as that of log does near 0, it is taken beside the entry: then
    there is more rounding, as if y were so much larger.
    """
    before = array[place].item()
    wide = h * max(1.0, abs(before))
    for step in (wide, h * abs(before))[:2 if 0 < abs(before) < 1 else 1]:
        try:
            array[place] = before + step
            above = np.array(forward(inputs), dtype=float)
            array[place] = before - step
            slope = (above - forward(inputs)) / (2 * step)
        finally:
            array[place] = before
        if np.isfinite(slope).all():
            break
    return slope, np.abs(above).max(initial=0) * wide / step


def extrapolated(forward, inputs, array, place, g, h):
    """(Σ g·dy/d array[place] by (4·D(h) − D(2h)) / 3, its estimated error, what of that is
    rounding)."""
    (near, size), (far, _) = (slope_at(forward, inputs, array, place, step) for step in (h, 2 * h))
    spread = float((g * (near - far)).sum()) / 3
    return float((g * near).sum()) + spread, rounding(g, size, h) + 0.05 * abs(spread), rounding(g, size, h)


@np.errstate(all="ignore")
def one_sided(forward, inputs, array, place, g, h=1e-6):
    """Σ g·(slope to the left), Σ g·(slope to the right): they differ where the function has a
    kink."""
    before = array[place].item()
    try:
        here = np.array(forward(inputs), dtype=float)
        array[place] = before - h
        left = (here - forward(inputs)) / h
        array[place] = before + h
        right = (forward(inputs) - here) / h
    finally:
        array[place] = before
    return float((g * left).sum()), float((g * right).sum())


@np.errstate(all="ignore")
def directional(forward, inputs, directions, g, h, raw=None):
    """(Σ g·dy along `directions`, arrays by the places of inputs; its estimated rounding; whether
    the complex step gave it).

    One number says something of all entries that move.
    """
    before, found = {i: inputs[i].copy() for i in directions}, []

    def at(step):
        for i, v in directions.items():
            inputs[i][...] = before[i] + step * v
        return np.array(forward(inputs), dtype=float)

    try:
        for step in (h, 2 * h):
            above = at(step)
            found.append((above - at(-step)) / (2 * step))
    finally:
        for i, x in before.items():
            inputs[i][...] = x
    slope, size = (4 * found[0] - found[1]) / 3, np.abs(above).max(initial=0)
    value, noise = float((g * slope).sum()), rounding(g, size, h)
    exact = complex_slope(raw, inputs, directions, slope, size) if raw is not None else None
    if exact is None or exact is slope or not abs(float((g * exact).sum()) - value) <= 3 * noise:
        # it was misled, if only by a little, as by the |z|² in NumPy's variance
        return value, noise, False
    return float((g * exact).sum()), roundoff(g, exact, size * np.sqrt(sum(v.size for v in directions.values()))), True


def stride(arrays, h):
    """How far to move each entry of some arrays when all are moved together: h in all, beside
    entries of size 1."""
    count = max(sum(x.size for x in arrays), 1)
    return h * max(1.0, np.sqrt(sum(float((x * x).sum()) for x in arrays) / count)) / np.sqrt(min(count, MANY))
