"""Finite differences: the gradient as the definition has it, with an estimate of its own error.

dy/dxᵢ ≈ D(h) = (y(x + h·eᵢ) − y(x − h·eᵢ)) / 2h: an error of order h², and rounding of order ε·|y| / h; best at h ~ 1e-5.
Where a closer look is needed, (4·D(h) − D(2h)) / 3 with a larger h: an error of order h⁴, and less rounding.
Where a plain NumPy function takes complex arrays, Im y(x + i·h·eᵢ) / h with h = 1e-30 has no rounding to speak of.
Source: Press et al., Numerical Recipes, section 5.7; Squire and Trapp 1998, SIAM Review 40 (the complex step).
"""

import warnings
from dataclasses import dataclass

import numpy as np

STEP = 1e-5
LARGE = 4_000_000                                  # entries of a Jacobian that is kept whole


@dataclass
class Truth:
    """The true gradient of one input, at the places that were looked at.

    places: flat indices. gradient: Σ g·dy/dx there. noise: its estimated error. jacobian: dy/dx there, (y.size,
    places), or None where it would be too large.
    """

    places: np.ndarray
    gradient: np.ndarray
    noise: np.ndarray
    jacobian: np.ndarray | None


def true_gradient(forward, inputs, i, g, places, h=STEP, raw=None):
    """The Truth of inputs[i] at `places`, for the upstream g. raw: a forward that may take complex arrays, or None."""
    array = inputs[i]
    keep = g.size * max(len(places), 1) <= LARGE
    gradient, noise = np.zeros(len(places)), np.zeros(len(places))
    jacobian = np.zeros((g.size, len(places))) if keep else None
    for k, place in enumerate(places):
        at = np.unravel_index(place, array.shape)
        slope, size = slope_at(forward, inputs, array, at, h)
        noise[k] = rounding(g, size, h)
        exact = complex_slope(raw, inputs, i, at) if raw is not None else None
        if exact is None or exact.shape != slope.shape:
            raw = None                             # it was not written for complex numbers
        elif np.all(np.abs(exact - slope) <= 1e-6 * np.abs(slope).max(initial=0) + 1e-9 * size):
            slope, noise[k] = exact, 4e-16 * float(np.abs(g * exact).sum())     # else |x| or a tie misled it
        gradient[k] = (g * slope).sum()
        if keep:
            jacobian[:, k] = slope.reshape(-1)
    return Truth(places, gradient, noise, jacobian)


def complex_slope(raw, inputs, i, place, h=1e-30):
    """dy/d inputs[i][place] by the complex step; None if `raw` does not take complex arrays."""
    x = inputs[i].astype(complex)
    x[place] += 1j * h
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")         # a complex number cast to a real one is not understood
            return np.asarray(raw([*inputs[:i], x, *inputs[i + 1:]])).imag / h
    except Exception:                              # noqa: BLE001  (anything may happen in a function that expects reals)
        return None


def rounding(g, size, h):
    """The rounding error of Σ g·(a difference of outputs as large as `size`) / h."""
    return 4e-16 * size * float(np.linalg.norm(g)) / h


def slope_at(forward, inputs, array, place, h):
    """(dy/d array[place] by D(h), the size of y). The entry is put back whatever happens."""
    before = array[place].item()
    h = h * max(1.0, abs(before))
    try:
        array[place] = before + h
        above = np.array(forward(inputs), dtype=float)
        array[place] = before - h
        slope = (above - forward(inputs)) / (2 * h)
    finally:
        array[place] = before
    return slope, np.abs(above).max(initial=0)


def extrapolated(forward, inputs, array, place, g, h):
    """(Σ g·dy/d array[place] by (4·D(h) − D(2h)) / 3, its estimated error)."""
    (near, size), (far, _) = (slope_at(forward, inputs, array, place, step) for step in (h, 2 * h))
    spread = float((g * (near - far)).sum()) / 3
    return float((g * near).sum()) + spread, rounding(g, size, h) + 0.05 * abs(spread)


def one_sided(forward, inputs, array, place, g, h=1e-6):
    """Σ g·(slope to the left), Σ g·(slope to the right): they differ where the function has a kink."""
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


def directional(forward, inputs, directions, g, h=STEP):
    """(Σ g·dy along `directions`, arrays by the places of inputs; its estimated error): one number for them all."""
    before, found = {i: inputs[i].copy() for i in directions}, []

    def at(step):
        for i, v in directions.items():
            inputs[i][...] = before[i] + step * v
        return np.array(forward(inputs), dtype=float)

    try:
        for step in (h, 2 * h):
            above = at(step)
            found.append(float((g * (above - at(-step))).sum()) / (2 * step))
    finally:
        for i, x in before.items():
            inputs[i][...] = x
    slope = (4 * found[0] - found[1]) / 3
    return slope, rounding(g, np.abs(above).max(initial=0), h) + 0.05 * abs(slope - found[0])
