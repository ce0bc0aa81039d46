"""What is wrong with a tensor of the forward pass, held against the right one. (The rest of this
folder names what is wrong with gradients.)"""

import numpy as np

from ..findings import Finding


def diagnose_forward(name, a, n, allowed):
    """The findings on a tensor a that is not n; `allowed` is what it may be off by."""
    square = float((n * n).sum())
    c = float((a * n).sum()) / square if square else 0.0
    near = max(allowed, 1e-6 * np.abs(n).max(initial=0))
    if c and np.abs(a - c * n).max() <= near:
        return [Finding("sign" if abs(c + 1) < 1e-6 else "factor", name,
                        f"yours is {c:.6g} x the reference in all {n.size} entries")]
    matrix = n.ndim > 1 and n.shape[-1] == n.shape[-2]
    if matrix and np.abs(np.swapaxes(a, -1, -2) - n).max() <= near:
        return [Finding("transposed", name,
                        "yours is the reference with its last two dims exchanged")]
    if np.abs(np.sort(a, axis=None) - np.sort(n, axis=None)).max() <= near:
        return [Finding("permuted", name,
                        "yours has exactly the reference's values, in other places")]
    worst = np.abs(a - n).max() / max(np.abs(n).max(), 1e-300)
    return [Finding("unexplained", name, f"yours is off by {worst:.2g} of the largest entry")]
