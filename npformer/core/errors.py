"""The exceptions, and the one way to word a complaint about shapes.

A message names the call, the rule that was broken, the operands, and the remedy. PyTorch raises
RuntimeError for most of these and NumPy raises ValueError: ours are both, so that either habit of
`except` works.
"""

from __future__ import annotations

from typing import Any


class NpformerError(Exception):
    """The root of every exception that npformer raises on purpose."""


class ShapeError(NpformerError, RuntimeError, ValueError):
    """Arrays whose shapes do not fit the operation, or each other."""


class DTypeError(NpformerError, TypeError, RuntimeError):
    """An array of a type that the operation cannot take."""


class IndexRangeError(NpformerError, IndexError, RuntimeError):
    """A dim, an index or a label that points outside."""


class DeviceError(NpformerError, RuntimeError):
    """A device that is not there, or arrays of two devices in one operation."""


class GraphError(NpformerError, RuntimeError):
    """A backward pass that cannot be done: no graph, a freed one, or overwritten arrays."""


class ValueRangeError(NpformerError, ValueError, RuntimeError):
    """An option outside its range: a probability of 1.5, say."""


class InputError(NpformerError):
    """Something given on the command line, or in a file, cannot be used.

    The text is the whole message.
    """


class GradientError(NpformerError, AssertionError):
    """A gradient that differs from the true one.

    `.report` holds the numbers, `.findings` what is wrong.
    """

    def __init__(self, report) -> None:
        super().__init__(str(report))
        self.report = report
        self.findings = report.findings


def describe(value) -> str:
    """One operand, as a message shows it: `float32 (2, 7, 64)` for an array, else the value."""
    # Both are asked for: a dtype has a shape as well.
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def complaint(call: str, rule: str, operands: dict[str, Any], remedy: str = "") -> str:
    """The text of an error: `call: rule`, a line for each operand by its name, and the remedy."""
    lines = [f"{call}: {rule}"]
    lines += [f"  {name} {describe(value)}" for name, value in operands.items()]
    if remedy:
        lines.append(f"  {remedy}")
    return "\n".join(lines)
