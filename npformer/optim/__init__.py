"""Optimisers, and their schedules in `lr_scheduler`."""

# ruff: noqa: F401, I001
from . import lr_scheduler
from .adam import Adam as Adam, AdamW as AdamW
from .optimizer import Optimizer as Optimizer
from .sgd import SGD as SGD
