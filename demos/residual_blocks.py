"""Four blocks A, B, C, D, and a way round B and C: dL/dX_A = dL/dX_D · (1 + dC/dB · dB/dX_A)."""

import numpy as np

import npformer as npf
from npformer import nn, plot
from npformer.nn import functional as F

npf.manual_seed(0)
A, B, C, D = (nn.Linear(6, 6).double() for _ in range(4))
x = npf.randn(1, 6, dtype=npf.float64)

# X_Aout -> B -> C -> (+ X_Aout) = X_Din -> D -> L
X_Aout = F.tanh(A(x))
X_B = F.tanh(B(X_Aout))
X_C = F.tanh(C(X_B))
X_Din = X_Aout + X_C
for t in (X_Aout, X_Din):
    t.retain_grad()
L = F.tanh(D(X_Din)).square().sum()

record, = npf.debug.residuals(L)  # the one addition x + F(x) in this graph, found in it
L.backward()


def jacobian(function, at):
    """d function / d at, (6, 6)"""
    return npf.autograd.jacobian(function, at.detach()).numpy().reshape(6, 6)


# The seed's chain rule on paper: each factor on its own, multiplied out.
dC_dB = jacobian(lambda t: F.tanh(C(t)), X_B)
dB_dA = jacobian(lambda t: F.tanh(B(t)), X_Aout)
came = X_Din.grad.numpy()
paper = came @ (np.eye(6) + dC_dB @ dB_dA)

rows = {"dL/dX_Din": came, "· dC/dB · dB/dX_Aout": record.through_branch,
        "their sum": came + record.through_branch, "dL/dX_Aout, backward": X_Aout.grad.numpy(),
        "dL/dX_Aout, paper": paper}
for name, row in rows.items():
    print(f"{name:22}", "  ".join(f"{v:+.6f}" for v in row[0]))
print("what the branch adds is "
      f"{np.linalg.norm(record.through_branch) / np.linalg.norm(came):.2f} x what came; "
      f"the identity holds to {record.error:.0e}")

picture = plot.figure(9, 4)
axes = picture.add_subplot()
entries = np.arange(6)
axes.bar(entries - 0.2, came[0], 0.2, color=plot.COLOURS[0],
         label="dL/dX_Din: passed on by the skip, as it is")
axes.bar(entries, record.through_branch[0], 0.2, color=plot.COLOURS[1], hatch="//",
         label="dL/dX_Din · dC/dB · dB/dX_Aout: added by the branch")
axes.bar(entries + 0.2, record.total[0], 0.2, color=plot.COLOURS[3], hatch="..",
         label="dL/dX_Aout: the sum of the two")
axes.axhline(0, color="black", linewidth=0.8)
axes.legend(frameon=False)
plot.style(axes, "X_Din = X_Aout + C(B(X_Aout))", "entry", "gradient")
plot.save(picture, "runs/demos/residual_blocks.png")

if record.error > 1e-14 or not np.array_equal(record.upstream, came):
    raise SystemExit("the identity does not hold")
if np.abs(paper - X_Aout.grad.numpy()).max() > 1e-14:
    raise SystemExit("the backward pass and the chain rule on paper differ")
print("dL/dX_Aout is what the skip passes on plus what the branch adds.")
