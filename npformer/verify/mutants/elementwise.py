"""Wrong gradients of arithmetic, functions of one number, and gates."""

import math

import numpy as np

from ...core.samples import distinct, mask, positive, real
from ...ops.elementwise import erf
from .planted import subject

# ── two operands, one of them broadcast ───────────────────────────────────────────────────────────


@subject(a=real(3, 5), b=real(5))
def add(a, b):
    """y = a + b.    da = g,  db = Σ g"""
    return a + b


add.right(a=lambda g: g, b=lambda g: g.sum(0))
add.wrong("no sum over the broadcast dim", "unsummed-broadcast", "shape", b=lambda g: g.copy())
add.wrong("mean over the broadcast dim", "averaged-broadcast", "factor", b=lambda g: g.mean(0))
add.wrong("summed over everything", "wrong-axis", b=lambda g: np.full(5, g.sum()))
add.wrong("one row for all", "not-accumulated", "path-missing", "unsummed-broadcast",
          b=lambda g: g[0].copy())
add.wrong("keepdims left on", "shape", b=lambda g: g.sum(0, keepdims=True))


@subject(a=real(3, 5), b=real(5))
def mul(a, b):
    """y = a·b.    da = g·b,  db = Σ g·a"""
    return a * b


mul.right(a=lambda g, b: g * b, b=lambda g, a: (g * a).sum(0))
mul.wrong("other operand forgotten", "missing-factor", a=lambda g: g.copy())
mul.wrong("own value for the other's", "extra-factor", "missing-factor", a=lambda g, a: g * a)
mul.wrong("no sum over the broadcast dim", "unsummed-broadcast", "shape", b=lambda g, a: g * a)
mul.wrong("mean over the broadcast dim", "averaged-broadcast", "factor",
          b=lambda g, a: (g * a).mean(0))
mul.wrong("summed before it is multiplied", "wrong-axis", "missing-factor", "unexplained",
          b=lambda g, a: g.sum(0) * a.sum(0))


@subject(a=real(3, 5), b=real(3, 5))
def sub(a, b):
    """y = a − b.    da = g,  db = −g"""
    return a - b


sub.right(a=lambda g: g.copy(), b=lambda g: -g)
sub.wrong("second sign", "sign", b=lambda g: g.copy())
sub.wrong("first sign too", "sign", a=lambda g: -g)


@subject(a=real(3, 5), b=positive(3, 5))
def div(a, b):
    """y = a / b.    da = g/b,  db = −g·a/b²"""
    return a / b


div.right(a=lambda g, b: g / b, b=lambda g, a, b: -g * a / b ** 2)
div.wrong("sign of the denominator's", "sign", b=lambda g, a, b: g * a / b ** 2)
div.wrong("b for b²", "extra-factor", "missing-factor", b=lambda g, a, b: -g * a / b)
div.wrong("b³ for b²", "extra-factor", "missing-factor", b=lambda g, a, b: -g * a / b ** 3)
div.wrong("times b", "extra-factor", "missing-factor", a=lambda g, b: g * b)
div.wrong("numerator forgotten", "missing-factor", b=lambda g, b: -g / b ** 2)

# ── functions of one number ───────────────────────────────────────────────────────────────────────


@subject(x=positive(3, 5))
def cube(x):
    """y = x³.    dx = 3·g·x²"""
    return x ** 3


cube.right(x=lambda g, x: 3 * g * x ** 2)
cube.wrong("exponent not lowered", "extra-factor", x=lambda g, x: 3 * g * x ** 3)
cube.wrong("exponent not brought down", "factor", x=lambda g, x: g * x ** 2)
cube.wrong("lowered twice", "missing-factor", "extra-factor", x=lambda g, x: 3 * g * x)


@subject(x=real(3, 5))
def exp(x):
    """y = exp(x).    dx = g·y"""
    return np.exp(x)


exp.right(x=lambda g, y: g * y)
exp.wrong("output forgotten", "missing-factor", x=lambda g: g.copy())
exp.wrong("as a power", "extra-factor", x=lambda g, x, y: g * x * y)
exp.wrong("upstream forgotten", "ignores-upstream", x=lambda y: y.copy())


@subject(x=positive(3, 5))
def log(x):
    """y = ln x.    dx = g/x"""
    return np.log(x)


log.right(x=lambda g, x: g / x)
log.wrong("times x", "extra-factor", x=lambda g, x: g * x)
log.wrong("1/x forgotten", "missing-factor", "extra-factor", x=lambda g: g.copy())
log.wrong("base 2", "factor", x=lambda g, x: g / (x * math.log(2)))


@subject(x=positive(3, 5))
def sqrt(x):
    """y = √x.    dx = g / 2y"""
    return np.sqrt(x)


sqrt.right(x=lambda g, y: g / (2 * y))
sqrt.wrong("½ forgotten", "factor", x=lambda g, y: g / y)
sqrt.wrong("times y", "extra-factor", x=lambda g, y: g * y / 2)
sqrt.wrong("x for y", "stale-value", "missing-factor", "extra-factor", x=lambda g, x: g / (2 * x))


@subject(x=real(3, 5))
def tanh(x):
    """y = tanh x.    dx = g·(1 − y²)"""
    return np.tanh(x)


tanh.right(x=lambda g, y: g * (1 - y ** 2))
tanh.wrong("input for output", "missing-term", "wrong-coefficient", "stale-value",
           x=lambda g, x: g * (1 - x ** 2))
tanh.wrong("square forgotten", "missing-factor", "missing-term", x=lambda g, y: g * (1 - y))
tanh.wrong("plus for minus", "wrong-coefficient", x=lambda g, y: g * (1 + y ** 2))
tanh.wrong("straight through", "missing-term", "missing-factor", x=lambda g: g.copy())


@subject(x=real(3, 5))
def sigmoid(x):
    """y = 1 / (1 + exp(−x)).    dx = g·y·(1 − y)"""
    return 1 / (1 + np.exp(-x))


sigmoid.right(x=lambda g, y: g * y * (1 - y))
sigmoid.wrong("plus for minus", "wrong-coefficient", x=lambda g, y: g * y * (1 + y))
sigmoid.wrong("leading y lost", "missing-factor", x=lambda g, y: g * (1 - y))
sigmoid.wrong("second factor lost", "missing-term", "missing-factor", x=lambda g, y: g * y)
sigmoid.wrong("upstream forgotten", "ignores-upstream", x=lambda y: y * (1 - y))
sigmoid.wrong("derivative taken of the output again", "stale-value", "extra-factor",
              "missing-factor", "unexplained",
              x=lambda g, y: g * sigmoid.function(y) * (1 - sigmoid.function(y)))

# ── kinks and gates ───────────────────────────────────────────────────────────────────────────────


def zero_in_place(g, x):
    """What people write who want to save an array: g itself, emptied where x <= 0."""
    g[x <= 0] = 0
    return g.copy()


@subject(x=distinct(3, 5))
def relu(x):
    """y = max(x, 0).    dx = g where x > 0"""
    return np.maximum(x, 0)


relu.right(x=lambda g, x: g * (x > 0))
relu.wrong("no mask", "mask-leak", "mask-ignored", x=lambda g: g.copy())
relu.wrong("mask from the upstream", "nonlinear", x=lambda g: g * (g > 0))
relu.wrong("mask from both", "nonlinear", x=lambda g, x: g * (g > 0) * (x > 0))
relu.wrong("emptied in place", "mutates", x=zero_in_place)
relu.wrong("times x", "extra-factor", x=lambda g, y: g * y)
relu.wrong("mask the wrong way round", "mask-leak", "mask-ignored", x=lambda g, x: g * (x <= 0))


@subject(x=distinct(3, 5))
def absolute(x):
    """y = |x|.    dx = g·sign x"""
    return np.abs(x)


absolute.right(x=lambda g, x: g * np.sign(x))
absolute.wrong("sign forgotten", "missing-factor", "extra-factor", "sign", x=lambda g: g.copy())
absolute.wrong("x for its sign", "extra-factor", x=lambda g, x: g * x)


@subject(x=distinct(5, 7))
def clip(x):
    """y = x, but no less than −2 and no more than 3.    dx = g where −2 < x < 3"""
    return np.clip(x, -2, 3)


clip.right(x=lambda g, x: g * ((x > -2) & (x < 3)))
clip.wrong("no mask", "mask-leak", "mask-ignored", x=lambda g: g.copy())
clip.wrong("one side only", "mask-leak", "mask-ignored", x=lambda g, x: g * (x < 3))
clip.wrong("upstream clipped instead", "nonlinear", x=lambda g: np.clip(g, -0.5, 0.5))


@subject(a=real(3, 5), b=real(3, 5))
def maximum(a, b):
    """y = max(a, b).    da = g where a > b, db = g elsewhere"""
    return np.maximum(a, b)


maximum.right(a=lambda g, a, b: g * (a > b), b=lambda g, a, b: g * (a <= b))
maximum.wrong("both get all of it", "mask-leak", "mask-ignored", b=lambda g: g.copy())
maximum.wrong("shared half and half", "mask-leak", "mask-ignored", "unexplained", a=lambda g: g / 2,
              b=lambda g: g / 2)


@subject(chosen=mask(3, 5), a=real(3, 5), b=real(5))
def where(chosen, a, b):
    """y = a where chosen, else b.    da = g where chosen, db = Σ g elsewhere"""
    return np.where(chosen, a, b)


where.right(a=lambda g, chosen: g * chosen, b=lambda g, chosen: (g * ~chosen).sum(0))
where.wrong("gradient to what was not chosen", "mask-leak", "mask-ignored", a=lambda g: g.copy())
where.wrong("same mask for both", "mask-leak", "mask-ignored", "missing-factor",
            b=lambda g, chosen: (g * chosen).sum(0))
where.wrong("no sum over the broadcast dim", "unsummed-broadcast", "shape",
            b=lambda g, chosen: g * ~chosen)


@subject(x=real(3, 5), kept=lambda rng: (rng.random((3, 5)) < 0.7) * 1.0)
def dropout(x, kept):
    """y = x·kept / (1 − p), p = 0.3.    dx = g·kept / (1 − p)"""
    return x * kept / 0.7, {}


dropout.right(x=lambda g, kept: g * kept / 0.7, kept=lambda g, x: g * x / 0.7)
dropout.wrong("1/(1 − p) forgotten", "factor", x=lambda g, kept: g * kept)
dropout.wrong("1/p", "factor", x=lambda g, kept: g * kept / 0.3)
dropout.wrong("scaled twice", "factor", x=lambda g, kept: g * kept / 0.49)
dropout.wrong("mask forgotten", "mask-leak", "mask-ignored", "missing-factor", x=lambda g: g / 0.7)
dropout.wrong("another mask", "not-repeatable",
              x=lambda g: g * (np.random.default_rng().random(g.shape) < 0.7) / 0.7)

# ── smooth gates ──────────────────────────────────────────────────────────────────────────────────

C = math.sqrt(2 / math.pi)


def phi(x):
    """The normal density exp(−x²/2) / √(2π)."""
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def tanh_argument(x):
    return C * (x + 0.044715 * x ** 3), C * (1 + 3 * 0.044715 * x ** 2)


@subject(x=real(3, 5))
def gelu(x):
    """y = x·Φ(x).    dx = g·(Φ + x·φ)"""
    Phi = (1 + erf(x / math.sqrt(2))) / 2
    return x * Phi, {"Phi": Phi}


gelu.right(x=lambda g, x, Phi: g * (Phi + x * phi(x)))
gelu.wrong("second term dropped", "missing-term", x=lambda g, Phi: g * Phi)
gelu.wrong("first term dropped", "missing-term", x=lambda g, x: g * x * phi(x))
gelu.wrong("x of the second term lost", "missing-factor", "missing-term",
           x=lambda g, x, Phi: g * (Phi + phi(x)))
gelu.wrong("sign of the second term", "wrong-coefficient",
           x=lambda g, x, Phi: g * (Phi - x * phi(x)))
gelu.wrong("density without 1/√(2π)", "wrong-coefficient",
           x=lambda g, x, Phi: g * (Phi + x * np.exp(-x * x / 2)))
gelu.wrong("the backward of the tanh form", "missing-eps", "wrong-coefficient", "unexplained",
           x=lambda g, x: gelu_tanh.rules["x"](g, x))  # type: ignore[has-type]   # defined below


@subject(x=real(3, 5))
def gelu_tanh(x):
    """y = x/2·(1 + t), t = tanh(c·(x + 0.044715·x³)).    dx = g/2·(1 + t + x·(1 − t²)·c·(1 +
    3·0.044715·x²))"""
    return x / 2 * (1 + np.tanh(tanh_argument(x)[0]))


def gelu_tanh_slope(x, slope):
    """dy/dx with `slope` in the place of the derivative of tanh's argument."""
    t = np.tanh(tanh_argument(x)[0])
    return (1 + t + x * (1 - t ** 2) * slope) / 2


gelu_tanh.right(x=lambda g, x: g * gelu_tanh_slope(x, tanh_argument(x)[1]))
gelu_tanh.wrong("inner derivative forgotten", "wrong-coefficient", "missing-factor", "unexplained",
                x=lambda g, x: g * gelu_tanh_slope(x, 1))
gelu_tanh.wrong("inner derivative of the cubic term lost", "missing-term", "path-missing",
                x=lambda g, x: g * gelu_tanh_slope(x, C))
gelu_tanh.wrong("cubic term not tripled", "wrong-coefficient", "unexplained",
                x=lambda g, x: g * gelu_tanh_slope(x, C * (1 + 0.044715 * x ** 2)))
gelu_tanh.wrong("second term dropped", "missing-term", x=lambda g, x: g * gelu_tanh_slope(x, 0))
gelu_tanh.wrong("½ forgotten", "factor",
                x=lambda g, x: 2 * g * gelu_tanh_slope(x, tanh_argument(x)[1]))


@subject(x=real(3, 5))
def silu(x):
    """y = x·s, s = 1 / (1 + exp(−x)).    dx = g·(s + y·(1 − s))"""
    s = sigmoid.function(x)
    return x * s, {"s": s}


silu.right(x=lambda g, y, s: g * (s + y * (1 - s)))
silu.wrong("sigmoid alone", "missing-term", x=lambda g, s: g * s)
silu.wrong("x of the second term lost", "missing-factor", "missing-term",
           x=lambda g, s: g * (s + s * (1 - s)))
silu.wrong("derivative of the sigmoid alone", "missing-term", "unexplained",
           x=lambda g, s: g * s * (1 - s))
silu.wrong("sign of the second term", "wrong-coefficient", x=lambda g, y, s: g * (s - y * (1 - s)))
