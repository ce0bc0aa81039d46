"""Reasons in words: why an operation sends no gradient."""

import numpy as np


def stopped_by(step, i):
    """Why `step` sent zeros (or some) to its argument i although something arrived: a short clause."""
    values = {name: v for name, v in step.inputs.items()}
    x = step.node.values[i] if i < len(step.node.values) else None
    name = step.node.op.name_of(i)
    others = {n: np.asarray(v) for n, v in values.items() if n != name and isinstance(v, (np.ndarray, int, float))}
    if not isinstance(x, np.ndarray):
        return f"its rule gives zero for {name}"
    if step.op == "relu":
        return f"{int((x <= 0).sum())} of {x.size} of its inputs are ≤ 0, where relu's slope is 0"
    if step.op in ("mul", "matmul", "linear", "div"):
        zero = [f"{n} is zero in {int((v == 0).sum())} of {v.size} entries" for n, v in others.items() if (v == 0).any()]
        if zero:
            return f"it is multiplied by zero: {', '.join(zero)}"
    if step.op in ("where", "keep"):
        chooser = next((v for v in others.values() if v.dtype == bool), None)
        if chooser is not None:
            return f"the mask takes {name} in {int(chooser.sum() if name != 'b' else (~chooser).sum())} of {chooser.size} places"
    if step.op in ("softmax", "log_softmax") and isinstance(step.value, np.ndarray):
        p = step.value if step.op == "softmax" else np.exp(step.value)
        return f"its output is saturated: the largest probability is {float(p.max()):.6g}, the smallest {float(p.min()):.3g}"
    if step.op in ("tanh", "sigmoid", "erf", "gelu", "gelu_tanh", "silu"):
        return f"it is saturated: |{name}| reaches {float(np.abs(x).max()):.4g}, where its slope is 0 in this precision"
    if step.op in ("amax", "amin", "maximum", "minimum"):
        return "only the entries that win get a gradient"
    if step.op in ("getitem", "gather", "embedding", "narrow"):
        return f"only the entries of {name} that were picked get a gradient"
    if step.op in ("sign", "floor", "ceil", "round"):
        return f"{step.op} is flat: its slope is 0 everywhere"
    if step.op == "attention":
        return "its weights are zero there, or one key has all the weight"
    return f"its rule gives zero for {name}"
