"""Reasons in words: why an operation sends no gradient, and why it makes NaN or infinity."""

import numpy as np

from .record import Summary


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


def why_not_finite(op, values, options, backward=False):
    """Why an operation makes NaN or infinity out of these arguments: a short clause."""
    known = [v for v in values if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    if any(isinstance(v, Summary) for v in values) or not known:
        return "its arguments are not in the trace"
    x = known[0]
    if op in ("log", "log_softmax", "logsumexp", "log1p"):
        limit = -1 if op == "log1p" else 0
        return f"{int((x == limit).sum())} inputs are {limit} and {int((x < limit).sum())} are below, where log is -inf or NaN"
    if op in ("sqrt", "rsqrt", "pow", "norm2"):
        return (f"{int((x == 0).sum())} inputs are 0, where the slope is infinite" if backward else
                f"{int((x < 0).sum())} inputs are negative, {int((x == 0).sum())} are 0")
    if op == "div" and len(known) > 1:
        return f"{int((known[1] == 0).sum())} divisors are 0" + (
            f", and the smallest is {np.abs(known[1]).min():.3g}" if known[1].size else "")
    if op in ("exp", "expm1"):
        return f"the largest input is {x.max():.4g}; exp overflows {x.dtype} above {np.log(np.finfo(x.dtype).max):.4g}"
    if op in ("layer_norm", "rms_norm", "batch_norm"):
        return f"eps is {options.get('eps', 'its default')}, and the smallest variance {x.var(axis=-1).min():.3g}"
    if op in ("softmax", "attention"):
        return "a row of scores holds inf, or -inf only"
    return f"its inputs reach {max(np.abs(v).max(initial=0) for v in known):.4g}"
