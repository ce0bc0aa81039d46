"""Strategies for hypothesis that draw what a gradient check should see, for any engine: plain NumPy
arrays.

    from hypothesis import given
    from npformer.verify import strategies as nst

    @given(nst.attention_inputs())
    def test_my_attention(inputs):
        npf.verify.check_vjp(forward, backward, [inputs.q, inputs.k, inputs.v, inputs.mask])

What they draw hides nothing: sizes are different primes, so that a wrong factor names itself and a
wrong axis changes a shape; values are generic, away from 0, 1 and each other; masks are neither
empty nor full; indices repeat, and some never occur; upstreams are never ones. hypothesis shrinks
the sizes, and draws the numbers from a seed of its own.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core import samples
from ..core.errors import ShapeError

try:
    from hypothesis import strategies as st
except ImportError as missing:
    raise ImportError("npformer.verify.strategies needs hypothesis, which cannot be loaded "
                      f"({missing}).\n"
                      "  Install it with: pip install hypothesis") from None

PRIMES = (2, 3, 5, 7, 11, 13)
Sizes = tuple[int, ...]
Arrays = st.SearchStrategy[np.ndarray]

__all__ = ["Attention", "arrays", "attention_inputs", "broadcast_shapes", "causal_mask",
           "cotangents", "distinct", "generators", "indices", "masks", "positive", "probabilities",
           "shapes", "sizes"]


def generators() -> st.SearchStrategy[np.random.Generator]:
    """numpy.random.Generators, each from a seed that hypothesis remembers."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def sizes(count: int, largest: int = 13) -> st.SearchStrategy[Sizes]:
    """`count` different primes, none above `largest`: the sizes of B, T, H ... in a check."""
    known = [p for p in PRIMES if p <= largest]
    return st.permutations(known).map(lambda found: tuple(found[:count]))


def shapes(min_dims: int = 1, max_dims: int = 3, largest: int = 7) -> st.SearchStrategy[Sizes]:
    """Shapes of different primes."""
    return st.integers(min_dims, max_dims).flatmap(lambda count: sizes(count, largest))


@st.composite
def broadcast_shapes(draw: st.DrawFn, count: int = 2, max_dims: int = 3,
                     largest: int = 7) -> tuple[Sizes, ...]:
    """`count` shapes that broadcast to one of different primes; at least one of them has to be
    stretched for it."""
    whole = draw(shapes(1, max_dims, largest))
    # each size is there once at least
    keeper = [draw(st.integers(0, count - 1)) for _ in whole]
    found = []
    for k in range(count):
        shape = [n if k == kept or draw(st.booleans()) else 1 for n, kept in zip(whole, keeper)]
        while shape and shape[0] == 1 and draw(st.booleans()):
            shape.pop(0)
        found.append(tuple(shape))
    if count > 1 and all(shape == whole for shape in found):
        found[0] = whole[1:]
    return tuple(found)


def arrays(shape: Sizes | st.SearchStrategy[Sizes], dtype: Any = np.float64) -> Arrays:
    """Normal numbers: generic ones, with no zeros, no ties and no ones. shape: a shape, or a
    strategy of shapes."""
    return draw_arrays(shape, samples.real, dtype)


def positive(shape: Sizes | st.SearchStrategy[Sizes], dtype: Any = np.float64) -> Arrays:
    """Numbers in [0.5, 2): for logarithms, roots, variances and scales."""
    return draw_arrays(shape, samples.positive, dtype)


def distinct(shape: Sizes | st.SearchStrategy[Sizes], dtype: Any = np.float64) -> Arrays:
    """Numbers at least 0.09 away from 0 and 0.37 from each other: no kink and no tie within reach
    of a step."""
    return draw_arrays(shape, samples.distinct, dtype)


def cotangents(shape: Sizes | st.SearchStrategy[Sizes], dtype: Any = np.float64) -> Arrays:
    """Upstream gradients: with a mean that is not zero, and never constant unless there is one
    entry alone."""
    return draw_arrays(shape, lambda *n: lambda rng: rng.standard_normal(n) + 0.3, dtype)


def draw_arrays(shape, kind, dtype):
    """Arrays of a kind of sample, of a shape or of each shape that a strategy draws."""
    if isinstance(shape, st.SearchStrategy):
        return shape.flatmap(lambda n: draw_arrays(n, kind, dtype))
    return generators().map(lambda rng: kind(*shape)(rng).astype(dtype))


def masks(*shape: int) -> Arrays:
    """Boolean masks that are neither empty nor full, with at least one True in each line of the
    last dim."""
    if not shape or shape[-1] < 2:
        raise ShapeError(f"masks(*shape): the last dim must have 2 entries or more, got {shape}: a "
                         "line of one entry, none of them empty, makes a full mask")
    share = st.sampled_from((0.3, 0.5, 0.8))
    return st.builds(lambda rng, p: mend_mask(rng.random(shape) < p, rng), generators(), share)


def mend_mask(mask, rng):
    """The mask, without empty lines, and not full."""
    lines = mask.reshape(-1, mask.shape[-1])
    empty = np.flatnonzero(~lines.any(axis=1))
    lines[empty, rng.integers(0, mask.shape[-1], len(empty))] = True
    if lines.all():
        lines[rng.integers(len(lines)), rng.integers(mask.shape[-1])] = False
    return mask


def causal_mask(queries: int, keys: int) -> np.ndarray:
    """True where a query may look: at keys up to its own position; the queries are the last of the
    positions."""
    return np.tri(queries, keys, keys - queries, dtype=bool)


@st.composite
def indices(draw: st.DrawFn, high: int, *shape: int) -> np.ndarray:
    """Integers in [0, high): where there is room, one occurs several times, and one never does."""
    size = math.prod(shape)
    rng = draw(generators())
    absent = rng.integers(high) if high > 1 else None
    allowed = np.array([k for k in range(high) if k != absent])
    found = rng.choice(allowed, size)
    if size > 1:
        found[0] = found[-1]                       # repeated, though not side by side
    return found.reshape(shape)


class Attention(NamedTuple):
    """The inputs of attention: q (B, H, T, K), k and v (B, H, S, K); mask bool (T, S) or (B, 1, T,
    S), or None."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    mask: np.ndarray | None


@st.composite
def attention_inputs(draw: st.DrawFn,
                     masked: Sequence[str] = ("none", "causal", "drawn", "padding"),
                     dtype: Any = np.float64) -> Attention:
    """An Attention whose B, H, T, S, K are all different.

    masked: which masks may come. "none": no mask; "causal": each query sees the keys up to its own
    place; "drawn": any that is neither empty nor full; "padding": each sequence of the batch has
    keys of its own length.
    """
    B, H, T, S, K = draw(sizes(5, 11))
    kind = draw(st.sampled_from(masked))
    if kind == "causal":
        T, S = min(T, S), max(T, S)                # a query before the first key would see nothing
    rng = draw(generators())
    q, k, v = (rng.standard_normal(shape).astype(dtype)
               for shape in ((B, H, T, K), (B, H, S, K), (B, H, S, K)))
    if kind == "causal":
        return Attention(q, k, v, causal_mask(T, S))
    if kind == "drawn":
        return Attention(q, k, v, draw(masks(T, S)))
    if kind == "padding":
        lengths = rng.integers(1, S, B)
        return Attention(q, k, v,
                         np.arange(S) < lengths[:, None, None, None]
                         + np.zeros((B, 1, T, 1), dtype=int))
    return Attention(q, k, v, None)


def probabilities() -> st.SearchStrategy[float]:
    """Probabilities of dropout in [0.1, 0.4]: at 0.5, p and 1 − p are the same number, and mistakes
    pass."""
    return st.floats(0.1, 0.4)
