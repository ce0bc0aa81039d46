"""JSON that every reader takes: NaN and infinities, which JSON does not have, become texts."""

import json
import math
from typing import Any

import numpy as np


def as_json(value: Any) -> str:
    return json.dumps(to_json_types(value), allow_nan=False)


def to_json_types(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): to_json_types(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_types(v) for v in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return to_json_types(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)
