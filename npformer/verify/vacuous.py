"""Test points that hide mistakes: what they hide, and a better point near by."""

import numpy as np

from .findings import Finding


def hazards(subject):
    """(place, words, a better value or None) for each input whose value would let a wrong gradient pass."""
    rng = np.random.default_rng(12345)
    for i, (name, x) in enumerate(zip(subject.names, subject.inputs)):
        if not isinstance(x, np.ndarray):
            if isinstance(x, float) and x == 0.5:
                yield i, f"{name} = 0.5: dividing by {name} and by 1 − {name} look alike", None
        elif x.dtype == bool and x.size > 1:
            if x.all() or not x.any():
                yield i, (f"{name} is all {bool(x.all())}: a backward pass that ignores it would pass"), some_hidden(x, rng)
        elif x.dtype.kind in "iu" and x.size > 1 and len(np.unique(x)) == x.size:
            better = x.copy()
            better.reshape(-1)[-1] = better.reshape(-1)[0]
            yield i, f"no index in {name} is repeated: a backward pass that assigns instead of adding would pass", better
        elif x.dtype.kind == "f" and x.size > 1:
            better = x + rng.uniform(0.2, 0.6, x.shape) * max(np.abs(x).max(), 0.5) * rng.choice([-1, 1], x.shape)
            if (x == x.flat[0]).all():
                yield i, (f"{name} is {x.flat[0]:g} in all entries: a factor or term of {name} that is left out, or that "
                          "stands in the wrong place, would pass"), better
            elif x.ndim == 2 and x.shape[0] == x.shape[1] and np.array_equal(x, x.T):
                yield i, f"{name} is symmetric: a missing transpose would pass", better
            elif twin := next((known for known, other in earlier(subject, i) if np.array_equal(x, other)), None):
                yield i, f"{twin} and {name} are equal: a backward pass that takes one for the other would pass", better


def earlier(subject, i):
    """(name, input) of the arrays before the i-th."""
    return [(name, x) for name, x in zip(subject.names[:i], subject.inputs[:i]) if isinstance(x, np.ndarray)]


def some_hidden(mask, rng):
    """A mask of that shape with true and false entries; the first of each line is true."""
    better = rng.random(mask.shape) < 0.6
    better[..., 0] = True
    if better.all():
        better[..., -1] = False
    return better


def warn(words):
    """The finding on a hazard that could not be mended."""
    return Finding("vacuous", "", f"{words}; the check cannot tell. Give it another test point")


def silent(name, shape):
    """The finding on an input whose true gradient is zero."""
    return Finding("vacuous", name, f"the true gradient of {name} {shape} is zero at this point, so any mistake that scales "
                                    "it would pass", certainty="certain")
