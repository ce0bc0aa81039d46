"""PyTorch's functions of tensors, by topic: its names, arguments, defaults and edge behaviour.

A function is public if its name stands in `__all__` of its topic file; nothing else lists it.
"""
# ruff: noqa: F401, F403

from typing import TYPE_CHECKING

from . import comparing, indexing, like, linalg, literals, pointwise, reduction, shaping
from .comparing import *
from .indexing import *
from .like import *
from .linalg import *
from .literals import *
from .pointwise import *
from .reduction import *
from .shaping import *

# Type checkers read `__all__` only where it is written out; without it they take every name.
if not TYPE_CHECKING:
    __all__ = [
        *comparing.__all__, *indexing.__all__, *like.__all__, *linalg.__all__,
        *literals.__all__, *pointwise.__all__, *reduction.__all__, *shaping.__all__,
    ]
