"""The models that the lessons train."""

from .deep import DeepTransformer
from .gpt import GPT
from .tiny import TinyTransformer

__all__ = ["GPT", "DeepTransformer", "TinyTransformer"]
