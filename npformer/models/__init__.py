"""The models that the lessons train."""

from .tiny import TinyTransformer

__all__ = ["TinyTransformer"]
