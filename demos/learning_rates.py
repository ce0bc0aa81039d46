"""A learning rate that is too low, right, too high: on a parabola, where theory says which is
which, and on a GPT."""

import sys

import numpy as np

import npformer as npf
from npformer import data, optim, plot
from npformer.models import GPT
from npformer.nn import functional as F

STEPS = 40 if "--small" in sys.argv else 300
CURVATURE, START = 2.0, 3.0                        # L(w) = a/2 · w², so dL/dw = a·w
KINDS = ("too low", "right", "too high")
ON_PARABOLA = (0.01, 0.3, 1.05)  # of SGD: w ← (1 − lr·a)·w, which shrinks if lr < 2/a = 1
ON_GPT = (1e-5, 3e-3, 3e-1)                        # of Adam


def descend(lr, steps=20):
    """The places w that gradient descent goes through."""
    w = npf.tensor(START, dtype=npf.float64, requires_grad=True)
    sgd, path = optim.SGD([w], lr=lr), [START]
    for _ in range(steps):
        sgd.zero_grad()
        (CURVATURE / 2 * w * w).backward()
        sgd.step()
        path.append(w.item())
    return np.array(path)


def train(lr):
    """The losses of a small GPT on text. Weights and batches are the same for every lr."""
    text = data.default_text()
    tokenizer = data.CharTokenizer.of(text)
    batches = data.Batches(tokenizer.encode(text), batch=8, context=32, seed=0)
    npf.manual_seed(0)
    model = GPT(vocab_size=len(tokenizer), context=32, n_layer=2, n_head=4, d_model=32)
    adam, losses = optim.Adam(model.parameters(), lr=lr), []
    for _, (x, y) in zip(range(STEPS), batches):
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    return np.array(losses)


paths = [descend(lr) for lr in ON_PARABOLA]
curves = [train(lr) for lr in ON_GPT]
print(f"gradient descent on L(w) = w², from w = {START:g}; each step multiplies w by 1 − 2·lr")
for kind, lr, path in zip(KINDS, ON_PARABOLA, paths):
    print(f"    {kind:9} lr {lr:<6g} w: " + ", ".join(f"{w:.3g}" for w in path[:6])
          + f" ... {path[-1]:.3g}")
last = [curve[-10:].mean() for curve in curves]
print(f"a GPT of 2 blocks on text, Adam, {STEPS} steps: loss at first, and the mean of the last 10")
for kind, lr, curve, end in zip(KINDS, ON_GPT, curves, last):
    print(f"    {kind:9} lr {lr:<6g} {curve[0]:.3f} -> {end:.3f}   highest {curve.max():.1f}")

picture = plot.figure(12, 4.5)
left, right = picture.subplots(1, 2)
w = np.linspace(-6, 6, 200)
left.plot(w, CURVATURE / 2 * w * w, color="0.6", linewidth=1)
for i, (kind, lr, path, curve) in enumerate(zip(KINDS, ON_PARABOLA, paths, curves)):
    path = path[np.abs(path) < 6]
    left.plot(path, CURVATURE / 2 * path ** 2, color=plot.COLOURS[i], marker=plot.MARKERS[i],
              linestyle=plot.STYLES[i], label=f"{kind}: {lr:g}")
    right.plot(plot.smooth(curve, max(1, STEPS // 60)), color=plot.COLOURS[i],
               linestyle=plot.STYLES[i], linewidth=2, label=f"{kind}: {ON_GPT[i]:g}")
right.set_ylim(0, 1.5 * curves[0][0])
plot.style(left, "Gradient descent on a parabola, 20 steps", "w", "L(w) = w²")
plot.style(right, "A GPT learning text", "step", "loss (nats per character)")
for axes in (left, right):
    axes.legend(frameon=False, title="learning rate")
plot.save(picture, "runs/demos/learning_rates.png")

for lr, path in zip(ON_PARABOLA, paths):
    if not np.allclose(path, START * (1 - lr * CURVATURE) ** np.arange(len(path)), rtol=1e-10):
        raise SystemExit("gradient descent does not do what the formula says")
slow, good, wild = (abs(path[-1]) for path in paths)
if not good < 1e-3 < slow < START < wild:
    raise SystemExit(f"20 steps end at {slow}, {good} and {wild}")
if not (last[1] < 0.8 * last[0] and last[1] < last[2] - 0.2):
    raise SystemExit(f"the right learning rate is not the best one: {last}")
print("Too low crawls, too high jumps about or away, right arrives.   "
      "runs/demos/learning_rates.png")
