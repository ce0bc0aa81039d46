"""Drawing tokens from a language model: from logits to probabilities, and from those to the next
token."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..autograd import no_grad
from ..core import dtypes, random_numbers
from ..core.errors import DTypeError, ShapeError, ValueRangeError, complaint
from ..creation import multinomial
from ..functions import cat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..nn import Module
    from ..tensors import Tensor


class LanguageModel(Protocol):
    """What `generate` asks of a model: a GPT has it, and so may anybody's."""

    context: int                                   # the most tokens that it reads

    def new_cache(self) -> Any:
        """What it keeps of the tokens that it has read."""

    def hidden(self, ids: Tensor, cache: Any = None) -> Tensor:
        """ids (B, T) -> (B, T, C), after those in the cache."""

    def logits(self, x: Tensor) -> Tensor:
        """x (B, C) -> (B, V)"""

    def modules(self) -> Iterator[Module]:
        """Itself and every module in it."""

    def eval(self) -> Any:
        """Turn dropout off."""


def probabilities(logits: np.ndarray, temperature: float = 1.0, top_k: int | None = None,
                  top_p: float | None = None) -> np.ndarray:
    """softmax(logits / temperature) over the tokens that top_k, then top_p, leave; the others get
    0.

    logits: a raw array (B, V) -> float64 (B, V). temperature: >= 0; 0 gives all to the likeliest
    token, the first of several. top_k: the k likeliest, and what equals the last of them. top_p:
    the fewest that together have at least that probability, the likeliest first.   Source: Holtzman
    et al. 2019, arXiv:1904.09751, section 3.1.
    """
    if np.isnan(logits).any():
        raise ValueRangeError(
            complaint("generate", "the model's logits hold NaN, so there is nothing to draw from",
                      {"logits": logits}, "Look at its weights: did the training diverge?"))
    s = logits.astype(dtypes.float64)
    if temperature == 0:
        return (np.arange(s.shape[-1], like=s) == s.argmax(axis=-1)[:, None]).astype(dtypes.float64)
    # a tiny temperature sends all but the likeliest to −∞, rightly
    with np.errstate(over="ignore"):
        s = (s - s.max(axis=-1, keepdims=True)) / temperature
    if top_k is not None and top_k < s.shape[-1]:
        s = np.where(s < np.sort(s, axis=-1)[:, -top_k, None], -math.inf, s)
    p = normalized(np.exp(s))
    return p if top_p is None else normalized(np.where(nucleus(p, top_p), p, 0))


def normalized(p: np.ndarray) -> np.ndarray:
    """p / Σ p, by rows."""
    return p / p.sum(axis=-1, keepdims=True)


def nucleus(p: np.ndarray, top_p: float) -> np.ndarray:
    """Where p (B, V) has the fewest entries that sum to at least top_p: those with less than that
    before them."""
    order = np.argsort(-p, axis=-1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=-1)
    before = np.cumsum(ranked, axis=-1) - ranked
    return np.take_along_axis(before < top_p, np.argsort(order, axis=-1), axis=-1)


def generate(model: LanguageModel, ids: Tensor, max_new_tokens: int, temperature: float = 1.0,
             top_k: int | None = None, top_p: float | None = None,
             generator: random_numbers.Generator | None = None, use_cache: bool = True) -> Tensor:
    """ids (B, T) with max_new_tokens more, each drawn given those before it: see `GPT.generate`."""
    check_prompt(ids)
    check_options(max_new_tokens, temperature, top_k, top_p)
    cache, new = model.new_cache(), ids
    with no_grad(), evaluation_mode(model):
        for _ in range(max_new_tokens):
            if use_cache and ids.shape[1] <= model.context:
                x = model.hidden(new, cache)       # (B, 1, C), the prompt's (B, T, C) at first
            else:  # past the context every token's place changes: nothing to keep
                x = model.hidden(ids[:, -model.context:])
            logits = model.logits(x[:, -1])        # (B, V)
            p = probabilities(logits.array, temperature, top_k, top_p)
            new = multinomial(ids.wrap(p), 1, replacement=True, generator=generator)  # (B, 1)
            ids = cat([ids, new.to(ids.dtype)], 1)
    return ids


@contextlib.contextmanager
def evaluation_mode(model: LanguageModel) -> Iterator[None]:
    """In evaluation mode inside the block; afterwards every module is in its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def check_prompt(ids: Tensor) -> None:
    """Raise unless ids is a batch of sequences that has a last token to go on from."""
    if ids.ndim != 2 or 0 in ids.shape:
        raise ShapeError(
            complaint("generate(ids)", "ids must be (batch, time), with at least one token each",
                      {"ids": ids}, "For one sequence, write ids[None]."))
    if ids.dtype.kind not in "iu":
        raise DTypeError(
            complaint("generate(ids)", "ids must be integers: the tokens' numbers", {"ids": ids}))


def check_options(max_new_tokens: int, temperature: float, top_k: int | None,
                  top_p: float | None) -> None:
    """Raise ValueRangeError where an option of generate is out of its range."""
    if not isinstance(max_new_tokens, int) or max_new_tokens < 0:
        raise ValueRangeError(
            f"generate: max_new_tokens must be an integer >= 0, got {max_new_tokens!r}")
    if not 0 <= temperature < math.inf:
        raise ValueRangeError(f"generate: temperature must be a number >= 0, got {temperature!r}\n"
                              "  0 always takes the likeliest token, 1 draws as the model says.")
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        raise ValueRangeError(
            f"generate: top_k must be an integer >= 1, or None for all tokens, got {top_k!r}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueRangeError(
            f"generate: top_p is a probability, 0 < top_p <= 1, or None for all, got {top_p!r}")
