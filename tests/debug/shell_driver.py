"""Driving the shell in tests."""

import numpy as np
import pytest

from npformer.core.errors import NpformerError


def at(session, op):
    """The session, moved to the first step of an operation."""
    session.cursor.goto(next(step.index for step in session.trace if step.op == op))
    return session


def refused(session, line, words):
    """A line that is refused, in these words; nothing moves."""
    before = session.frame
    with pytest.raises(NpformerError, match=words):
        session.do(line)
    assert session.frame is before


def bits(trace):
    """All that a trace knows, as bytes."""
    return [np.asarray(v).tobytes() for node in trace.nodes
            for v in (node.value, node.gradient, *node.values, *(node.saved or {}).values())
            if isinstance(v, np.ndarray)]
