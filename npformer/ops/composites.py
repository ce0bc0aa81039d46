"""Functions of each entry alone, a few lines of operations each, without a rule of their own."""

from .elementwise import div, mul, sqrt, values, where


def square(x):
    """x²"""
    return mul(x, x)


def rsqrt(x):
    """1/√x"""
    return div(1, sqrt(x))


def reciprocal(x):
    """1/x"""
    return div(1, x)


def clamp(x, min=None, max=None):
    """x limited to [min, max]; the gradient passes at the limits themselves, and stops outside."""
    if min is not None:
        x = where(values(x) < values(min), min, x)
    if max is not None:
        x = where(values(x) > values(max), max, x)
    return x
