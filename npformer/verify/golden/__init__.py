"""Golden files: every activation and gradient of a reference model, written here and compared with
those of any engine."""

from .compare import compare as compare
from .write import golden as golden
from .write import tiny as tiny
