"""What every test gets: defaults put back, draws that repeat, and the module that plays CuPy."""

import importlib
import os
import sys

import pytest
from hypothesis import settings

from npformer.core import devices, dtypes, random_numbers, tape

REAL_GPU = os.environ.get("NPFORMER_TEST_GPU") == "1"

settings.register_profile("npformer", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("npformer")


@pytest.fixture
def cupy(monkeypatch):
    """What npformer gets as CuPy: the stand-in, or with NPFORMER_TEST_GPU=1 CuPy itself."""
    module = importlib.import_module("cupy" if REAL_GPU else "cupy_standin")
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def pytest_collection_modifyitems(items):
    """Mark the tests that run on CuPy's arrays, so that `make test-gpu` finds them all."""
    for item in items:
        if "cupy" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(autouse=True)
def defaults():
    """Seed the draws; afterwards put back what a test may have changed."""
    device, dtype = dict(devices._default), dict(dtypes._default)
    generator = random_numbers.default_generator.get_state()
    random_numbers.manual_seed(0)
    yield
    devices._default.update(device)
    dtypes._default.update(dtype)
    random_numbers.default_generator.set_state(generator)
    tape.state.grad_enabled, tape.state.scope = True, None
