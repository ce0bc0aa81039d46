"""The activations of nn.functional as modules; their options are attributes."""

from .. import functional as F
from ..module import Module


class Activation(Module):
    """A function of one tensor as a module: `function`, called with the options that it was made with."""

    function = None

    def __init__(self, **options):
        super().__init__()
        self._options = tuple(options)
        for name, value in options.items():
            setattr(self, name, value)

    def forward(self, input):
        return type(self).function(input, **{name: getattr(self, name) for name in self._options})

    def extra_repr(self):
        shown = [name for name in self._options if name != "inplace" or self.inplace]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)


class ReLU(Activation):
    """max(x, 0)"""
    function = staticmethod(F.relu)

    def __init__(self, inplace=False):
        super().__init__(inplace=inplace)


class ReLU6(Activation):
    """x limited to [0, 6]"""
    function = staticmethod(F.relu6)

    def __init__(self, inplace=False):
        super().__init__(inplace=inplace)


class LeakyReLU(Activation):
    """x where x > 0, else negative_slope·x"""
    function = staticmethod(F.leaky_relu)

    def __init__(self, negative_slope=0.01, inplace=False):
        super().__init__(negative_slope=negative_slope, inplace=inplace)


class ELU(Activation):
    """x where x > 0, else α·(eˣ − 1)"""
    function = staticmethod(F.elu)

    def __init__(self, alpha=1.0, inplace=False):
        super().__init__(alpha=alpha, inplace=inplace)


class SELU(Activation):
    """λ·elu(x, α), with the constants that keep mean 0 and variance 1"""
    function = staticmethod(F.selu)

    def __init__(self, inplace=False):
        super().__init__(inplace=inplace)


class CELU(Activation):
    """x where x > 0, else α·(e^(x/α) − 1)"""
    function = staticmethod(F.celu)

    def __init__(self, alpha=1.0, inplace=False):
        super().__init__(alpha=alpha, inplace=inplace)


class GELU(Activation):
    """x·Φ(x); approximate="tanh": by tanh"""
    function = staticmethod(F.gelu)

    def __init__(self, approximate="none"):
        super().__init__(approximate=approximate)


class SiLU(Activation):
    """x·σ(x)"""
    function = staticmethod(F.silu)

    def __init__(self, inplace=False):
        super().__init__(inplace=inplace)


class Mish(Activation):
    """x·tanh(softplus(x))"""
    function = staticmethod(F.mish)

    def __init__(self, inplace=False):
        super().__init__(inplace=inplace)


class Hardtanh(Activation):
    """x limited to [min_val, max_val]"""
    function = staticmethod(F.hardtanh)

    def __init__(self, min_val=-1.0, max_val=1.0, inplace=False):
        super().__init__(min_val=min_val, max_val=max_val, inplace=inplace)


class Softplus(Activation):
    """ln(1 + e^(βx)) / β"""
    function = staticmethod(F.softplus)

    def __init__(self, beta=1.0, threshold=20.0):
        super().__init__(beta=beta, threshold=threshold)


class LogSigmoid(Activation):
    """ln σ(x)"""
    function = staticmethod(F.logsigmoid)


class Softsign(Activation):
    """x / (1 + |x|)"""
    function = staticmethod(F.softsign)


class Tanhshrink(Activation):
    """x − tanh(x)"""
    function = staticmethod(F.tanhshrink)


class Sigmoid(Activation):
    """1 / (1 + e⁻ˣ)"""
    function = staticmethod(F.sigmoid)


class Tanh(Activation):
    """(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)"""
    function = staticmethod(F.tanh)


class GLU(Activation):
    """a·σ(b), where a and b are the halves of x along dim"""
    function = staticmethod(F.glu)

    def __init__(self, dim=-1):
        super().__init__(dim=dim)


class Softmax(Activation):
    """eˣ / Σeˣ over dim"""
    function = staticmethod(F.softmax)

    def __init__(self, dim=None):
        super().__init__(dim=dim)


class Softmin(Activation):
    """softmax(−x) over dim"""
    function = staticmethod(F.softmin)

    def __init__(self, dim=None):
        super().__init__(dim=dim)


class LogSoftmax(Activation):
    """x − ln Σeˣ over dim"""
    function = staticmethod(F.log_softmax)

    def __init__(self, dim=None):
        super().__init__(dim=dim)


class CosineSimilarity(Module):
    """Σ x1·x2 / (‖x1‖·‖x2‖) along dim, each norm at least eps"""

    def __init__(self, dim=1, eps=1e-8):
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1, x2):
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
