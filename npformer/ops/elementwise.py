"""Arithmetic and functions of each entry alone, with broadcasting."""

import math

import numpy as np

from ..core.dtypes import promote
from ..core.operation import primitive
from ..core.samples import distinct, mask, positive
from .erf import erf_values
from .shape import keep, unbroadcast

# `elementwise` promotes as PyTorch does, bool < int < float; `floating` also makes integers floats.
elementwise = primitive(dims="...", promotes="common")
floating = primitive(dims="...", promotes="float")

# What several operations say of themselves.
TIMES_ZERO = "it is multiplied by zero: {read} is zero in {count} of {size} entries"
SATURATED = "it is saturated: |{name}| reaches {most:.4g}, where its slope is 0 in this precision"
PASSED_ON = "its derivative is missing, the upstream is passed on"
ALL_PASS = "it gets the upstream where it was not chosen, too"
LOSES = "only the entries that win get a gradient"
OVERFLOWS = "exp overflows: subtract the largest entry first"
WHERE_AFTER = "A `where` after it does not help: keep 0 out of "


# ── arithmetic ────────────────────────────────────────────────────────────────────────────────────


@elementwise
def add(a, b):
    """a + b.    da = g,  db = g"""
    return a + b


add.vjps(
    a=lambda g, a_shape: unbroadcast(g, a_shape),
    b=lambda g, b_shape: unbroadcast(g, b_shape),
)
add.samples((2, 3), (3,))
add.samples((2, 1), (1, 3))


@elementwise
def sub(a, b):
    """a − b.    da = g,  db = −g"""
    return a - b


sub.vjps(
    a=lambda g, a_shape: unbroadcast(g, a_shape),
    b=lambda g, b_shape: unbroadcast(-g, b_shape),
)
sub.samples((2, 3), (3,))
sub.samples((2, 1), (1, 3))


@elementwise
def mul(a, b):
    """a · b.    da = g·b,  db = g·a"""
    return a * b


mul.vjps(
    a=lambda g, b, a_shape: unbroadcast(g * b, a_shape),
    b=lambda g, a, b_shape: unbroadcast(g * a, b_shape),
)
mul.flat(TIMES_ZERO, a=lambda b: b == 0, b=lambda a: a == 0)
mul.mistake("missing-factor", "the other operand is missing from it", a=lambda g: g, b=lambda g: g)
mul.mistake("extra-factor", "it has its own value where the other operand belongs",
            a=lambda g, a: g * a, b=lambda g, b: g * b)
mul.samples((2, 3), (3,))
mul.samples((2, 1), (1, 3))
mul.samples((2, 3), 2.5)


@floating
def div(a, b):
    """a / b.    da = g / b,  db = −g·a / b²"""
    return a / b


div.vjps(
    a=lambda g, b, a_shape: unbroadcast(g / b, a_shape),
    b=lambda g, a, b, b_shape: unbroadcast(-g * a / (b * b), b_shape),
)
div.flat(TIMES_ZERO, b=lambda a: a == 0)
div.undefined("0/0 is NaN", lambda a, b: (a == 0) & (b == 0))
div.undefined("a number was divided by 0", lambda b: b == 0)
div.steep(f"a number was divided by 0. {WHERE_AFTER}the divisor itself", lambda b: b == 0)
div.mistake("missing-factor", "the other operand is missing from it", a=lambda g: g, b=lambda g: g)
div.mistake("extra-factor", "it has its own value where the other operand belongs",
            a=lambda g, a: g * a, b=lambda g, b: g * b)
div.mistake("missing-factor", "the other operand's square is not squared",
            b=lambda g, a, b: -g * a / b)
div.mistake("extra-factor", "it multiplies by what it should divide by", a=lambda g, b: g * b)
div.samples((2, 3), positive(3))
div.samples((2, 1), positive(1, 3))


@elementwise
def neg(x):
    """−x.    dx = −g"""
    return -x


neg.vjps(x=lambda g: -g)
neg.samples((2, 3))


@elementwise
def pow(a, b):
    """aᵇ.    da = g·b·aᵇ⁻¹,  db = g·y·ln a  (0 where a = 0)"""
    return a ** b


pow.vjps(
    a=lambda g, a, b, a_shape: unbroadcast(g * _slope_of_power(a, b), a_shape),
    b=lambda g, y, a, b_shape: unbroadcast(g * y * _log_of(a), b_shape),
)
pow.undefined("a negative number to a power that is no integer is NaN",
              lambda a, b: (a < 0) & (b % 1 != 0))
pow.undefined("0 to a negative power is infinite", lambda a, b: (a == 0) & (b < 0))
pow.steep("the slope of a power below 1 is infinite at 0, and 0·∞ is NaN", lambda a: a == 0)
pow.mistake("missing-factor", PASSED_ON, a=lambda g: g, b=lambda g: g)
pow.samples(positive(2, 3), (3,))
pow.samples(positive(2, 1), positive(1, 3))
pow.samples((2, 3), 3)
pow.samples(positive(2, 3), -0.5)
pow.samples(3, (2, 3))


def _log_of(a):
    """ln a, and 0 where a = 0. Of a number in full precision, whatever the arrays' dtype."""
    if isinstance(a, (int, float)):
        return math.log(a) if a > 0 else 0.0 if a == 0 else math.nan
    return log(where(equals(a, 0), 1, a))


def _slope_of_power(a, b):
    """b·aᵇ⁻¹, and 0 where b = 0, also at a = 0."""
    if isinstance(b, (int, float)):
        return mul(a, 0.0) if b == 0 else mul(pow(a, b - 1), b)
    flat = equals(b, 0)
    return mul(b, pow(a, where(flat, 1, b - 1)))


@elementwise
def maximum(a, b):
    """The larger of a and b.    da = g where a > b,  db = g where b > a; half each at a tie"""
    return np.maximum(a, b)


@elementwise
def minimum(a, b):
    """The smaller of a and b.    da = g where a < b,  db = g where b < a; half each at a tie"""
    return np.minimum(a, b)


maximum.vjps(
    a=lambda g, a, b, a_shape: unbroadcast(g * _share_of(a, b, g.dtype), a_shape),
    b=lambda g, a, b, b_shape: unbroadcast(g * _share_of(b, a, g.dtype), b_shape),
)
minimum.vjps(
    a=lambda g, a, b, a_shape: unbroadcast(g * _share_of(b, a, g.dtype), a_shape),
    b=lambda g, a, b, b_shape: unbroadcast(g * _share_of(a, b, g.dtype), b_shape),
)
maximum.flat(LOSES, a=lambda a, b: a < b, b=lambda a, b: b < a)
minimum.flat(LOSES, a=lambda a, b: a > b, b=lambda a, b: b > a)
for _op in (maximum, minimum):
    _op.mistake("mask-leak", ALL_PASS, a=lambda g: g, b=lambda g: g)
    _op.samples(distinct(2, 3), distinct(3, 2, 1))
    _op.samples(distinct(2, 3), 0.0)


def _share_of(winner, loser, dtype):
    """1 where winner > loser, ½ where they tie, 0 elsewhere."""
    winner, loser = values(winner), values(loser)
    return ((winner > loser) + 0.5 * (winner == loser)).astype(dtype)


# ── functions of one entry ────────────────────────────────────────────────────────────────────────


@floating
def exp(x):
    """eˣ.    dx = g·y"""
    return np.exp(x)


exp.vjps(x=lambda g, y: g * y)
exp.undefined(f"{OVERFLOWS}, as softmax does", lambda x: x > np.log(np.finfo(x.dtype).max))
exp.samples((2, 3))


@floating
def expm1(x):
    """eˣ − 1, exact near 0.    dx = g·(y + 1)"""
    return np.expm1(x)


expm1.vjps(x=lambda g, y: g * (y + 1))
expm1.undefined(OVERFLOWS, lambda x: x > np.log(np.finfo(x.dtype).max))
expm1.samples((2, 3))


@floating
def log(x):
    """ln x.    dx = g / x"""
    return np.log(x)


log.vjps(x=lambda g, x: g / x)
log.undefined("a negative number has no logarithm", lambda x: x < 0)
log.undefined(
    "log(0) is −∞: add a small number, or clamp before it; of a softmax, take log_softmax",
    lambda x: x == 0)
log.steep(
    f"the slope of log x at 0 is infinite, and 0·∞ is NaN. {WHERE_AFTER}the logarithm itself",
    lambda x: x == 0)
log.samples(positive(2, 3))


@floating
def log1p(x):
    """ln(1 + x), exact near 0.    dx = g / (1 + x)"""
    return np.log1p(x)


log1p.vjps(x=lambda g, x: g / (1 + x))
log1p.undefined("log(1 + x) of x below −1: a negative number has no logarithm", lambda x: x < -1)
log1p.undefined("log(1 + x) at x = −1 is −∞", lambda x: x == -1)
log1p.samples(positive(2, 3))


@floating
def sqrt(x):
    """√x.    dx = g / 2y"""
    return np.sqrt(x)


sqrt.vjps(x=lambda g, y: g / (2 * y))
sqrt.undefined("a negative number has no root", lambda x: x < 0)
sqrt.steep(f"the slope of √x at 0 is infinite, and 0·∞ is NaN. {WHERE_AFTER}the root itself",
           lambda y: y == 0)
sqrt.samples(positive(2, 3))


@floating
def sin(x):
    """sin x.    dx = g·cos x"""
    return np.sin(x)


@floating
def cos(x):
    """cos x.    dx = −g·sin x"""
    return np.cos(x)


sin.vjps(x=lambda g, x: g * cos(x))
cos.vjps(x=lambda g, x: -g * sin(x))
sin.samples((2, 3))
cos.samples((2, 3))


@floating
def tanh(x):
    """tanh x.    dx = g·(1 − y²)"""
    return np.tanh(x)


tanh.vjps(x=lambda g, y: g * (1 - y * y))
tanh.flat(SATURATED, x=lambda x: True)
tanh.samples((2, 3))


@floating
def sigmoid(x):
    """σ(x) = 1 / (1 + e⁻ˣ).    dx = g·y·(1 − y)"""
    e = np.exp(-np.abs(x))                         # never overflows; digits stay in both tails
    return np.where(x >= 0, e.dtype.type(1), e) / (1 + e)


sigmoid.vjps(x=lambda g, y: g * y * (1 - y))
sigmoid.flat(SATURATED, x=lambda x: True)
sigmoid.samples((2, 3))


@floating
def erf(x):
    """erf(x) = 2/√π ∫₀ˣ e^(−t²) dt.    dx = g·2/√π·e^(−x²)"""
    return erf_values(x)


erf.vjps(x=lambda g, x: g * exp(-x * x) * (2 / math.sqrt(math.pi)))
erf.flat(SATURATED, x=lambda x: True)
erf.samples((2, 3))


@elementwise
def abs(x):
    """|x|.    dx = g·sign(x), 0 at 0"""
    return np.abs(x)


abs.vjps(x=lambda g, x: g * sign(x))
abs.samples(distinct(2, 3))


@elementwise
def sign(x):
    """−1, 0 or 1.    dx = 0"""
    return np.sign(x)


@elementwise
def floor(x):
    """The largest integer ≤ x.    dx = 0"""
    return np.floor(x)


@elementwise
def ceil(x):
    """The smallest integer ≥ x.    dx = 0"""
    return np.ceil(x)


@elementwise
def round(x):
    """The nearest integer, even at halves.    dx = 0"""
    return np.round(x)


for _op in (sign, floor, ceil, round):
    _op.vjps(x=lambda g: g * 0)
    _op.flat(f"{_op.name} is flat: its slope is 0 everywhere", x=lambda: True)
    _op.samples(distinct(2, 3))


@elementwise
def logaddexp(a, b):
    """ln(eᵃ + eᵇ), without overflow.    da = g·e^(a − y),  db = g·e^(b − y)"""
    return np.logaddexp(a, b)


logaddexp.vjps(
    a=lambda g, y, a, a_shape: unbroadcast(g * exp(a - y), a_shape),
    b=lambda g, y, b, b_shape: unbroadcast(g * exp(b - y), b_shape),
)
logaddexp.samples((2, 3), (3,))
logaddexp.samples((2, 3), 0.0)


@elementwise
def remainder(a, b):
    """a − ⌊a/b⌋·b, with b's sign.    da = g,  db = −g·⌊a/b⌋"""
    return np.remainder(a, b)


remainder.vjps(
    a=lambda g, a_shape: unbroadcast(g, a_shape),
    b=lambda g, a, b, b_shape: unbroadcast(-g * floor(a / b), b_shape),
)
remainder.samples(distinct(2, 3), positive(3))


# ── choosing ──────────────────────────────────────────────────────────────────────────────────────


@primitive(dims="...")
def where(condition, a, b):
    """a where condition is true, else b.

        da = g where true, else 0        db = 0 where true, else g
    """
    a, b = promote((a, b))
    dtype = next((v.dtype for v in (a, b) if hasattr(v, "dtype")), None)
    if dtype is None:                              # two Python numbers: what an array would become
        dtype = promote((np.zeros(0, np.int8), a, b))[0].dtype
    a, b = (v if hasattr(v, "dtype") else dtype.type(v) for v in (a, b))
    return np.where(condition, a, b)


where.vjps(
    condition=None,
    a=lambda g, condition, a_shape: unbroadcast(keep(g, condition), a_shape),
    b=lambda g, condition, b_shape: unbroadcast(keep(g, ~condition), b_shape),
)
where.flat("the mask takes {name} in {passed} of {size} places",
           a=lambda condition: ~condition, b=lambda condition: condition)
where.mistake("mask-leak", ALL_PASS, a=lambda g: g, b=lambda g: g)
where.samples(mask(2, 3), (2, 3), (3,))
where.samples(mask(3, 1), (3, 4), 0.5)


def values(x):
    """The array inside a Box, or the array itself: for masks and choices, which get no gradient."""
    return getattr(x, "array", x)


def equals(a, b):
    """Where a == b, as a plain array."""
    return values(a) == values(b)
