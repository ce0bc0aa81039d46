"""JSON that every reader takes: NaN and infinities, which JSON does not have, become texts."""

import json
import math

import numpy as np


def as_json(value):
    """A report as one line of JSON."""
    return json.dumps(strict(value), allow_nan=False)


def strict(value):
    """The same with nothing in it that JSON lacks."""
    if isinstance(value, dict):
        return {str(key): strict(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(v) for v in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return strict(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)
