"""What the debugger's tests share."""

import pytest

from npformer import debug
from npformer.debug.examples import example
from npformer.debug.shell import Session


@pytest.fixture
def session():
    """A session of the shell, on a TinyTransformer."""
    return Session(debug.trace(example("tiny")[1]))


@pytest.fixture(scope="module")
def trace():
    """A GPT of two blocks: modules in modules, fused operations, four residual additions."""
    return debug.trace(example("gpt")[1])
