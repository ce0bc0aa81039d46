"""What PyTorch keeps under torch.utils: `data`, batches of items."""

# ruff: noqa: F401
from . import data
