"""Optimisers, and their schedules in `lr_scheduler`."""

# ruff: noqa: F401, I001
from . import lr_scheduler
from .adam import Adam, AdamW
from .optimizer import Optimizer
from .sgd import SGD
