"""Right gradients are never called wrong: operations, layers and dtypes drawn by hypothesis.

NPFORMER_SOAK=10000 draws as many examples; the suite itself draws 400.
"""

import os

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import npformer as npf
from npformer import nn
from npformer.core import operation
from npformer.core.samples import draw
from npformer.nn import functional as F

EXAMPLES = int(os.environ.get("NPFORMER_SOAK", 400))

SAMPLES = [(op, k) for op in operation.REGISTRY.values() for k in range(len(op.examples))
           if op.name not in ("cast", "move")]

LAYERS = {
    "Linear": (lambda: nn.Linear(5, 3), (2, 5)), "LayerNorm": (lambda: nn.LayerNorm(7), (3, 7)),
    "RMSNorm": (lambda: nn.RMSNorm(7), (3, 7)), "BatchNorm1d": (lambda: nn.BatchNorm1d(3), (5, 3)),
    "GELU": (nn.GELU, (3, 4)), "SiLU": (nn.SiLU, (3, 4)), "ReLU": (nn.ReLU, (3, 4)),
          "Softmax": (lambda: nn.Softmax(-1), (3, 5)),
    "Mish": (nn.Mish, (3, 4)), "ELU": (nn.ELU, (3, 4)), "Softplus": (nn.Softplus, (3, 4)),
          "Hardtanh": (nn.Hardtanh, (3, 4)),
    "MultiheadAttention": (lambda: Attention(), (2, 3, 4)),
    "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0,
                                                                   batch_first=True), (2, 3, 4)),
    "Conv2d": (lambda: nn.Conv2d(2, 3, 2, padding=1), (1, 2, 4, 3)),
}


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x)[0]


def check_operation(op, k, seed, dtype, most):
    args, options = draw(op.examples[k], np.random.default_rng([seed, k]), np.dtype(dtype))
    which = [i for i, a in enumerate(args) if op.differentiable(i)
             and getattr(a, "dtype", np.dtype(bool)).kind == "f"]

    def fn(*tensors):
        full = [npf.tensor(a) if getattr(a, "dtype", None) is not None and a.dtype.kind == "f"
                else a for a in args]
        full = [a.double() if isinstance(a, npf.Tensor) else a for a in full]
        for i, t in zip(which, tensors):
            full[i] = t
        return op(*full, **options)

    return npf.gradcheck(fn, [npf.tensor(args[i], requires_grad=True) for i in which], seed=seed,
                         max_entries=most, raises=False)


def check_layer(name, seed, dtype, most):
    make, shape = LAYERS[name]
    npf.manual_seed(seed)
    layer = make().double()
    x = npf.randn(*shape, dtype=getattr(npf, dtype))
    if dtype == "float32":
        return npf.gradcheck(layer, x, seed=seed, max_entries=most, raises=False)
    return npf.gradcheck(lambda x, *_: layer(x), [x.requires_grad_(), *layer.parameters()],
                         seed=seed, max_entries=most,
                         raises=False)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.one_of(st.sampled_from(SAMPLES), st.sampled_from(sorted(LAYERS))), st.integers(0, 10**6),
       st.sampled_from(["float64", "float32"]), st.sampled_from([None, 1]))
def test_right_gradients_are_never_accused(what, seed, dtype, most):
    """most 1: along random directions, as large inputs are looked at."""
    if isinstance(what, str):
        report = check_layer(what, seed, dtype, most)
    else:
        report = check_operation(*what, seed, dtype, most)
    right = all(c.ok for c in report.comparisons) and not report.wrong
    assert right, f"{what} {seed} {dtype} {most}\n{report}"


def test_a_loss_with_many_random_upstreams():
    x, target = npf.randn(4, 5, dtype=npf.float64), npf.tensor([0, 3, 3, 1])
    for seed in range(60):
        assert npf.gradcheck(lambda x: F.cross_entropy(x, target, reduction="none"), x, seed=seed)
