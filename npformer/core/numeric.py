"""Finite differences: the gradient as the definition has it, with an estimate of its own error.

D(h) = (y(x + h·eᵢ) − y(x − h·eᵢ)) / 2h is dy/dxᵢ with an error of order h², and rounding of order
ε·|y| / h; best at h ~ 1e-5. Along a direction, or where a closer look is needed, it is
(4·D(h) − D(2h)) / 3, with an error of order h⁴: h may be larger, and the rounding is less, at
h ~ 1e-3 a hundredth. Where a plain NumPy function takes complex arrays, Im y(x + i·h·v) / h with
h = 1e-30 takes no difference at all, and has no rounding to speak of.

Measured on eˣ / √(sin³x + cos³x) at 1.5, relative errors: D(1e-5) 1e-10, D(1e-7) 4e-10; the second
formula at h = 1e-3 5e-12, at 1e-7 8e-10.

Source: Press et al., Numerical Recipes, section 5.7; Squire and Trapp 1998, SIAM Review 40 (the
complex step).
"""

import warnings
from dataclasses import dataclass

import numpy as np

STEP = 1e-5
CLOSE = 1e-9                                       # the error to allow, of the largest entry: of
EXACT = 1e-11                                      # differences, and of the complex step
LARGE = 4_000_000                                  # entries of a Jacobian that is kept whole
MANY = 1000                                        # so many entries move less, each; more do not


@dataclass(eq=False, repr=False)
class Truth:
    """The true gradient of one input, at the places that were looked at.

    places: flat indices. gradient: Σ g·dy/dx there. noise: its estimated error. jacobian: dy/dx
    there, (y.size, places), or None where it would be too large. exact: where the complex step gave
    it. rounding: the error of the sum Σ g·dy/dx alone, which a gradient rule makes as well.
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
        return Truth(self.places[there], self.gradient[there], self.noise[there], slopes,
                     self.exact[there], self.rounding[there])


def true_gradient(forward, inputs, i, g, places, h=STEP, raw=None):
    """The Truth of inputs[i] at `places`, for the upstream g.

    raw: a forward that may take complex arrays, or None.
    """
    # For each place: the slope by differences; the slope by the complex step instead, where that
    # can be had; and what g makes of it. The differences are taken in every case, since they alone
    # notice that a function was misled by complex numbers.
    array, count = inputs[i], len(places)
    gradient, noise, lost = np.zeros(count), np.zeros(count), np.zeros(count)
    exact = np.zeros(count, bool)
    jacobian = np.zeros((g.size, count)) if g.size * max(count, 1) <= LARGE else None
    one_hot = np.zeros(array.shape)
    for k, place in enumerate(places):
        at = np.unravel_index(place, array.shape)
        slope, size = central_difference(forward, inputs, array, at, h)
        noise[k] = rounding_error(g, size, h)

        if raw is not None:
            one_hot[at] = 1
            better = complex_slope(raw, inputs, {i: one_hot}, slope, size)
            one_hot[at] = 0
            if better is None:
                raw = None                         # not written for complex numbers: ask no more
            elif better is not slope:
                slope, noise[k], exact[k] = better, summation_error(g, better, size), True

        gradient[k] = (g * slope).sum()
        lost[k] = summation_error(g, slope, size)
        if jacobian is not None:
            jacobian[:, k] = slope.reshape(-1)
    return Truth(places, gradient, noise, jacobian, exact, lost)


def complex_slope(raw, inputs, directions, slope, size, h=1e-30):
    """dy along `directions` by the complex step, {place of an input: array}.

    None if `raw` does not take complex arrays; `slope` itself, which is by differences, where the
    two are far apart.
    """
    # They are far apart where the function is not analytic: |x|·x at −0.7 has slope 1.4, and the
    # complex step says 0.7, since |x| there is a real number that hides the step.
    turned = [np.asarray(x + 1j * h * directions[i]) if i in directions else x
              for i, x in enumerate(inputs)]
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")         # so that a cast from complex to real raises
            exact = np.asarray(raw(turned)).imag / h
    except Exception:                              # noqa: BLE001  (the function expects reals)
        return None
    if exact.shape != slope.shape:
        return None
    apart = np.abs(exact - slope)
    near = np.all(apart <= 1e-6 * np.abs(slope).max(initial=0) + 1e-9 * size)
    return exact if near else slope


def rounding_error(g, size, h):
    """The rounding error of Σ g·(a difference of outputs as large as `size`) / h."""
    return 4e-16 * size * float(np.linalg.norm(g)) / h


def summation_error(g, slope, size):
    """The rounding error of Σ g·slope where no difference is taken: in a gradient rule, say.

    That of the sum, and that of what cancelled on the way, as in 1 − y² where y is nearly 1.
    """
    of_the_sum = 4e-16 * float(np.abs(g * slope).sum())
    of_what_cancelled = 1e-15 * max(1.0, size) * float(np.linalg.norm(g))
    return of_the_sum + of_what_cancelled


@np.errstate(all="ignore")                         # a step may leave the domain, and give NaN
def central_difference(forward, inputs, array, place, h):
    """(dy/d array[place] by D(h), the size of y). The entry is put back whatever happens."""
    # The step is h beside 1, or beside the entry if that is larger. Near the end of a domain it is
    # too wide: log at 1e-7 has no value at 1e-7 − 1e-5. Then it is taken beside the entry alone.
    # Not so at once: the smaller step has more rounding, which is reported as a larger y.
    before = array[place].item()
    wide = h * max(1.0, abs(before))
    steps = (wide, h * abs(before)) if 0 < abs(before) < 1 else (wide,)
    for step in steps:
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


def extrapolate_slope(forward, inputs, array, place, g, h):
    """Σ g·dy/d array[place] by (4·D(h) − D(2h)) / 3: (it, its estimated error, the rounding in it)

    The part of the error that is not rounding is taken as 5 % of what the second formula mended.
    """
    near, size = central_difference(forward, inputs, array, place, h)
    far, _ = central_difference(forward, inputs, array, place, 2 * h)
    mended = float((g * (near - far)).sum()) / 3
    rounded = rounding_error(g, size, h)
    return float((g * near).sum()) + mended, rounded + 0.05 * abs(mended), rounded


@np.errstate(all="ignore")
def one_sided_slopes(forward, inputs, array, place, g, h=1e-6):
    """Σ g·(slope to the left), Σ g·(slope to the right): they differ at a kink."""
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
def directional_slope(forward, inputs, directions, g, h, raw=None):
    """Σ g·dy along `directions`: (it, its estimated rounding, whether the complex step gave it)

    directions: {place of an input: array}.
    """
    # One number says something of every entry that moves, for the price of one entry: a wrong
    # gradient shows in it unless its error happens to be orthogonal to the direction.
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
    value, noise = float((g * slope).sum()), rounding_error(g, size, h)
    exact = complex_slope(raw, inputs, directions, slope, size) if raw is not None else None
    if exact is None or exact is slope:
        return value, noise, False
    better = float((g * exact).sum())
    if not abs(better - value) <= 3 * noise:
        # Misled, if only by so little that complex_slope let it pass: NumPy's variance takes |z|².
        return value, noise, False
    moved = sum(v.size for v in directions.values())
    return better, summation_error(g, exact, size * np.sqrt(moved)), True


def joint_step(arrays, h):
    """How far to move each entry of some arrays when all are moved together."""
    # The length of the whole step is what makes the error of order h⁴, so it is h beside entries of
    # size 1, and each of n entries moves h/√n. Not less than h/√MANY: in a model of 100,000
    # entries at h = 1e-3 each would move 3e-6 instead of 3e-5, with ten times the rounding.
    count = max(sum(x.size for x in arrays), 1)
    root_mean_square = np.sqrt(sum(float((x * x).sum()) for x in arrays) / count)
    return h * max(1.0, root_mean_square) / np.sqrt(min(count, MANY))
