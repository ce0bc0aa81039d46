"""The models that the lessons train."""

from .decoding import beam_decode, greedy_decode
from .deep import DeepTransformer
from .gpt import GPT
from .seq2seq import EncoderDecoder, make_model
from .tiny import TinyTransformer
from .vit import VisionTransformer

__all__ = ["GPT", "DeepTransformer", "EncoderDecoder", "TinyTransformer", "VisionTransformer",
           "beam_decode",
           "greedy_decode", "make_model"]
