"""What the models' tests share: PyTorch, where it is installed."""

import pytest


@pytest.fixture(scope="session")
def torch():
    """PyTorch on one thread, as npformer runs beside it."""
    torch = pytest.importorskip("torch", reason="models are compared with PyTorch's")
    torch.set_num_threads(1)
    return torch
