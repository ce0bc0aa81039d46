"""Small programs that several tests differentiate."""

import numpy as np

import npformer as npf
import npformer.nn.functional as F

rng = np.random.default_rng(5)


def leaf(*shape, dtype=np.float64):
    return npf.tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True)


def attention_net(x, wq, wk, wv, gain, bias):
    """One head, a residual, a layer norm: fan-out at x, a fused operation, an addition."""
    q, k, v = F.linear(x, wq), F.linear(x, wk), F.linear(x, wv)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.layer_norm(x + y, (x.shape[-1],), gain, bias)


def net_inputs():
    return [leaf(2, 5, 4), leaf(4, 4), leaf(4, 4), leaf(4, 4), leaf(4), leaf(4)]


def chain(x, length=100_000):
    """A graph as deep as it has operations: x, multiplied `length` times."""
    for _ in range(length):
        x = x * 1.00001
    return x
