"""What a diagnosis has to go by: the gradient under test, the true one, and how the input is used
by the output. Every recogniser in this folder takes one Evidence and nothing else."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import numpy as np

from ..findings import Finding

RTOL = 1e-6                                        # beside the noise: how alike two gradients are
                                                   # that are called the same


def broadcasts_to(v, shape):
    return v.ndim <= len(shape) and all(n in (1, m) for n, m in zip(v.shape[::-1], shape[::-1]))


@dataclass
class Evidence:
    """a: the gradient under test of input `name`; n: the true one, of x's shape; noise: n's error,
    an entry each. g: the upstream; y: the output; jacobian: (y.size, x.size) or None; inputs: all
    arguments by name, masks and indices too. What cannot be read off the numbers can be asked:
    `gradient_with`."""

    name: str
    x: np.ndarray
    a: np.ndarray
    n: np.ndarray
    noise: np.ndarray
    g: np.ndarray
    y: np.ndarray
    jacobian: np.ndarray | None = None
    inputs: dict = field(default_factory=dict)
    gradient_with: object = None                   # (name, value) -> the true gradient if that
                                                   # input were `value`
    follow: object = None                          # () -> the graph of the forward, (y, x as a
                                                   # leaf), or None

    def finding(self, kind, text, *hints, certainty="certain", **detail):
        """A Finding on this input; `hints`: which rule is broken, and the formula."""
        detail["wrong"] = int(self.wrong.sum())
        return Finding(kind, self.name, text, detail, certainty, (f"look at d{self.name}", *hints))

    @cached_property
    def scale(self):
        """The largest entry of the true gradient, or of a where that is zero."""
        return max(np.abs(self.n).max(initial=0), 1e-3 * np.abs(self.a).max(initial=0), 1e-300)

    def near(self, p, q):
        """Where p and q agree to within the noise."""
        return np.abs(p - q) <= RTOL * self.scale + 10 * self.noise

    def same(self, p, q):
        p = np.asarray(p)
        return p.shape == np.shape(q) and bool(np.isfinite(p).all() and self.near(p, q).all())

    @cached_property
    def wrong(self):
        """Where a is wrong."""
        return ~self.near(self.a, self.n)

    @cached_property
    def contributions(self):
        """g_k · dy_k/dx_i: what each output entry sends to each of x, y.shape + (x.size,)."""
        if self.jacobian is None:
            return None
        return (self.g.reshape(-1, 1) * self.jacobian).reshape(*self.y.shape, -1)

    @cached_property
    def used(self):
        """Which entries of the output depend on which of x, (y.size, x.size)."""
        size = np.abs(self.jacobian)
        return size > 1e-7 * max(size.max(initial=0), 1e-300)

    @cached_property
    def broadcast(self):
        """Whether x is used entry by entry, each in several places: as a bias is."""
        if self.jacobian is None:
            return False
        return bool((self.used.sum(axis=1) <= 1).all() and (self.used.sum(axis=0) > 1).any())

    @property
    def mixes(self):
        """Whether some entry of the output depends on several of x, or the other way round, so that
        the Jacobian is more than a diagonal."""
        return self.jacobian is not None and self.used.sum() > self.x.size

    def arrays(self, kinds):
        """(name, array) of the inputs whose dtype is of one of those kinds: "f", "iu", "b"."""
        return [(name, v) for name, v in self.inputs.items()
                if isinstance(v, np.ndarray) and v.dtype.kind in kinds]

    def constant(self):
        """c, if a = c·n everywhere and c is not 1; None otherwise."""
        square = float((self.n * self.n).sum())
        if not square:
            return None
        c = float((self.a * self.n).sum()) / square
        return c if self.same(self.a, c * self.n) and abs(c - 1) > 1e-5 else None

    def sizes(self):
        """What a constant factor may be made of: (value, words) for sizes, their roots, and simple
        numbers."""
        shapes = [("the output", self.y.shape)]
        shapes += [(name, v.shape) for name, v in self.inputs.items() if isinstance(v, np.ndarray)]
        seen = {}                                  # size -> words; the first that has it names it
        for label, shape in shapes:
            for k, n in enumerate(shape):
                seen.setdefault(n, f"the size of dim {k} of {label}")
            for r in (2, len(shape)):
                for ks in combinations(range(len(shape)), r):
                    seen.setdefault(math.prod(shape[k] for k in ks),
                                    f"the number of entries along dims {ks} of {label}")
        found = []
        for n, words in seen.items():
            if n > 1:
                found += [(n, words), (1 / n, f"1 over {words}"),
                          (math.sqrt(n), f"the root of {words}"),
                          (1 / math.sqrt(n), f"1 over the root of {words}")]
        found += [(1 / p - 1, f"1/p − 1 for p = {p}") for p in (0.1, 0.2, 0.3, 0.4)]
        for name, v in self.inputs.items():
            if isinstance(v, (int, float)) and not isinstance(v, bool) and v not in (0, 1):
                found += [(v, name), (1 / v, f"1/{name}"), (1 - v, f"1 − {name}"),
                          (1 / (1 - v), f"1/(1 − {name})")]
        return found

    def words_for(self, c):
        """What a constant may be, in words, the likelier first; '' if nothing fits."""
        simple = [(2, "two"), (0.5, "one half"), (3, "three")]
        fits = [("minus " if sign < 0 else "") + words for value, words in [*self.sizes(), *simple]
                for sign in (1, -1) if abs(c - sign * value) < 1e-6 * abs(value)]
        return ", or ".join(fits[:1] + [w for w in fits[1:] if w in ("two", "one half", "three")])
