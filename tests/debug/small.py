"""A small program to trace."""

import npformer as npf
from npformer.nn import functional as F


def small():
    """x, w, a relu, a norm and two uses of x: gradients from several consumers, in float64."""
    x = npf.randn(3, 5, dtype=npf.float64).requires_grad_()
    w = npf.randn(5, 5, dtype=npf.float64).requires_grad_()

    def loss():
        h = x + F.relu(x @ w)
        return (F.layer_norm(h, (5,)) * x).pow(2).sum()
    return x, w, loss
