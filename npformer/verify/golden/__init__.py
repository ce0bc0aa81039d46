"""Golden files: every activation and gradient of a reference model, written here and compared with
those of any engine."""

from .write import golden as golden

__all__ = ["golden"]
