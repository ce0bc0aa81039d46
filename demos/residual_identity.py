"""dL/dx = dL/dy · (1 + dF/dx): what the skip passes on, what the branch adds, in deep stacks."""

import npformer as npf
from npformer import nn
from npformer.nn import functional as F

DEPTH = 24

npf.manual_seed(0)
layers = [nn.Linear(16, 16).double() for _ in range(DEPTH)]


def loss_of(x, skip):
    """A stack of y = x + F(x), or of y = F(x), F(x) = tanh(x·Wᵀ + b)."""
    for layer in layers:
        x = x + F.tanh(layer(x)) if skip else F.tanh(layer(x))
    return (x * x).mean()


x = npf.randn(8, 16, dtype=npf.float64, requires_grad=True)
records = npf.debug.residuals(loss_of(x, skip=True))
print(f"y = x + F(x), the last addition first\n{records}")
records.plot("runs/demos/residual_identity.png")

norms = {}
for skip in (True, False):
    d, = npf.autograd.grad(loss_of(x, skip), x)
    norms[skip] = d.norm().item()
print(f"|dL/dx| below {DEPTH} layers: with the skip {norms[True]:.2g}, "
      f"without it {norms[False]:.2g}")

if len(records) != DEPTH or max(r.error for r in records) > 1e-12:
    raise SystemExit("the identity does not hold")
if norms[False] > 1e-3 * norms[True]:
    raise SystemExit("the gradient did not fade without the skip")
print("The identity holds at every addition. Picture: runs/demos/residual_identity.png")
