"""Stopping at the first NaN or infinity, in the forward pass or backwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ...core import anomaly
from ...core.tape import add_observer, state


@contextlib.contextmanager
def detect_anomaly() -> Iterator[None]:
    """`with detect_anomaly():` stops the forward or backward pass inside at the first NaN, or
    infinity, that it makes.

    The GraphError names the operation, its module, the line of your code that called it, which of
    its inputs were finite, and the reason: log(0), 0/0, an overflow of exp. An infinity that was
    put in (a mask of −∞) is not an anomaly. It looks at the operations that are recorded: those
    that lead from a tensor with requires_grad=True, outside no_grad().
    `npf.autograd.detect_anomaly`, PyTorch's, looks for NaN in the backward pass alone.
    """
    before = state.check
    state.check = anomaly.refuse_sent
    try:
        with add_observer(anomaly.refuse_output):
            yield
    finally:
        state.check = before
