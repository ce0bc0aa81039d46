"""Writing the target with a trained encoder-decoder: greedily, or with a beam."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import creation
from ..autograd import no_grad
from ..core import dtypes
from ..core.errors import ValueRangeError
from .sampling import evaluation_mode
from .seq2seq import subsequent_mask

if TYPE_CHECKING:
    from ..tensors import Tensor
    from .seq2seq import EncoderDecoder


def greedy_decode(model: EncoderDecoder, src: Tensor, src_mask: Tensor | None, max_len: int,
                  start_symbol: int, end_symbol: int | None = None, pad: int = 0) -> Tensor:
    """The likeliest next word, again and again.   src (B, S), src_mask (B, 1, S) -> words (B, T), T
    <= max_len.

    Each row begins with start_symbol and ends at end_symbol, which pads follow; without an
    end_symbol, all rows are max_len long. Dropout is off. No graph is recorded.
    """
    words, _ = beam_decode(model, src, src_mask, max_len, start_symbol, 1, end_symbol, pad)
    return words[:, 0]


def beam_decode(model: EncoderDecoder, src: Tensor, src_mask: Tensor | None, max_len: int,
                start_symbol: int, width: int = 4, end_symbol: int | None = None, pad: int = 0,
                alpha: float = 0.0) -> tuple[Tensor, Tensor]:
    """The `width` best texts that are found when each step keeps only so many; best first, with
    their scores.

    src (B, S), src_mask (B, 1, S) -> words (B, width, T), T <= max_len, and scores (B, width): Σ ln
    p of a text's words divided by ((5 + length) / 6)^alpha. alpha: >= 0; 0 compares plain
    probabilities, which favour short texts. Width 1 is greedy decoding. Rows begin and end as in
    greedy_decode. Where there are fewer than `width` texts at all, scores of −∞ mark the rest.
    Source: Wu et al. 2016, arXiv:1609.08144, equation 14.
    """
    check_options(max_len, width, alpha)
    B = len(src)
    with no_grad(), evaluation_mode(model):
        memory = model.encode(src, src_mask).repeat_interleave(width, 0)     # (B·width, S, C)
        seen = None if src_mask is None else src_mask.expand(
            B, *src_mask.shape[1:]).repeat_interleave(width, 0)
        words = creation.full((B * width, 1), start_symbol, device=src.device).array
        total = np.zeros_like(memory.array, shape=(B, width), dtype=dtypes.float64)  # Σ ln p
        total[:, 1:] = -math.inf  # all texts of a row are still the same: one of them is enough
        ended = np.zeros_like(words[:, 0], dtype=bool)                       # (B·width,)
        length = np.zeros_like(words[:, 0])
        while words.shape[1] < max_len and not ended.all():
            logp = next_words(model, src.wrap(words), memory, seen)          # (B·width, V)
            logp[ended] = -math.inf
            logp[ended, pad] = 0  # a text that has ended goes on in one way, at no cost
            length = length + ~ended
            sums = total.reshape(-1, 1) + logp     # (B·width, V)
            ranked = (sums / penalty(length, alpha)[:, None]).reshape(B, -1)
            best = np.argsort(-ranked, axis=-1, kind="stable")[:, :width]    # (B, width)
            total = np.take_along_axis(sums.reshape(B, -1), best, axis=-1)
            word = (best % logp.shape[1]).reshape(-1)                        # (B·width,)
            parent = (best // logp.shape[1] + width * np.arange(B, like=best)[:, None]).reshape(-1)
            words = np.concatenate([words[parent], word[:, None]], axis=1)
            length, ended = length[parent], ended[parent]
            if end_symbol is not None:
                ended = ended | (word == end_symbol)
        scores = total / penalty(length, alpha).reshape(B, width)
    return src.wrap(words.reshape(B, width, -1)), memory.wrap(scores)


def next_words(model: EncoderDecoder, words: Tensor, memory: Tensor,
               seen: Tensor | None) -> np.ndarray:
    """ln p of each word that may come next, in float64: sums of them must not tie by rounding.

    (N, T) -> (N, V)
    """
    mask = subsequent_mask(words.shape[1]).to(words.device)
    logp = model.generator(model.decode(memory, seen, words, mask)[:, -1])
    if np.isnan(logp.array).any():
        raise ValueRangeError(
            "beam_decode(model, src): the model's log-probabilities hold NaN, so no word is best.\n"
            "  Look at its weights: did the training diverge?")
    return logp.array.astype(dtypes.float64)


def penalty(length: np.ndarray, alpha: float) -> np.ndarray:
    """((5 + length) / 6)^alpha, what a text's score is divided by"""
    return ((5 + length) / 6) ** alpha


def check_options(max_len: int, width: int, alpha: float) -> None:
    """Raise ValueRangeError where an option of decoding is out of its range."""
    for name, n in (("max_len", max_len), ("width", width)):
        if not isinstance(n, int) or n < 1:
            raise ValueRangeError(f"beam_decode: {name} must be an integer >= 1, got {n!r}")
    if not 0 <= alpha < math.inf:
        raise ValueRangeError(f"beam_decode: alpha must be a number >= 0, got {alpha!r}")
