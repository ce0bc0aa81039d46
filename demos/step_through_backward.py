"""`npf.backprop(loss)` hands you the backward pass, one operation at a time, the last one first."""

import numpy as np

import npformer as npf
from npformer import plot
from npformer.nn import functional as F

npf.manual_seed(0)
x = npf.randn(3, 4, dtype=npf.float64)
W = npf.randn(5, 4, dtype=npf.float64, requires_grad=True)
b = npf.zeros(5, dtype=npf.float64, requires_grad=True)
target = npf.tensor([1, 0, 4])


def loss_of(W, b):
    """Cross-entropy of one layer's logits."""
    logits = F.linear(x, W, b)
    return F.cross_entropy(logits, target)


by_hand = {}
for step in npf.backprop(loss_of(W, b)):
    print(f"{step.op}, made at line {step.source[1]}:   {step.formula}")
    print(f"    came: dL/d(output), shape {step.upstream.shape}, "
          f"norm {np.linalg.norm(step.upstream):.4f}")
    for name, d in step.gradients.items():
        print(f"    sends d{name}, shape {d.shape}, norm {np.linalg.norm(d):.4f}")
        by_hand[step.op, name] = d

# The same on paper: p = softmax(x·Wᵀ + b); dlogits = (p − one-hot)/3; dW = dlogitsᵀ·x; db = Σ
# dlogits.
p = np.exp(x.numpy() @ W.detach().numpy().T)
p /= p.sum(axis=1, keepdims=True)
dlogits = (p - np.eye(5)[target.numpy()]) / 3
for name, found, true in [("dW", W.grad, dlogits.T @ x.numpy()),
                          ("db", b.grad, dlogits.sum(axis=0))]:
    error = np.abs(found.numpy() - true).max()
    print(f"{name}: backward and paper differ by {error:.0e}")
    if error > 1e-14:
        raise SystemExit(f"{name} is not what it is on paper")
if not np.array_equal(by_hand["linear", "weight"], W.grad.numpy()):
    raise SystemExit("the step's gradient is not the one that W got")
picture = plot.figure(8, 3.5)
parts = [("dlogits = (p − one-hot)/3", by_hand["cross_entropy", "logits"]),
         ("dW = dlogitsᵀ·x", W.grad.numpy()), ("db = Σ dlogits", b.grad.numpy()[None])]
for axes, (words, values) in zip(picture.subplots(1, 3), parts):
    shown = axes.imshow(values, cmap="PuOr", vmin=-1, vmax=1)
    for place in np.ndindex(*values.shape):
        axes.text(*place[::-1], f"{values[place]:.2f}", ha="center", va="center", fontsize=7)
    axes.set_title(words, fontsize=9)
    axes.set_axis_off()
plot.save(picture, "runs/demos/step_through_backward.png")
print("Every step is what it is on paper. Picture: runs/demos/step_through_backward.png")
