"""Why residuals: with the skip six blocks learn. Without it all positions become alike, and there
is nothing to learn.

The gradient does not even begin small (norms rescale it). What is lost first is what the positions
had to say.
"""

import sys

import numpy as np

import npformer as npf
from npformer import plot, train
from npformer.nn import functional as F

DEPTH, STEPS = 6, 120 if "--small" in sys.argv else 400
LABELS = {True: "x = x + F(x)", False: "x = F(x)"}
WEIGHT = "blocks.0.value.weight"

text = npf.data.default_text()
results, alike, norms, additions = {}, {}, {}, []
print("                    positions' mean cosine       ‖gradient‖ of block 0's value         loss")
print("                     after block 0 ... 5        before training  after training")
for residual, label in LABELS.items():
    config = train.Config(steps=STEPS, batch=8, context=32, d_model=32, d_ff=64, depth=DEPTH,
                          residual=residual)
    run, states = train.Run(config, text), []
    x, y = next(run.batches)
    hooks = [block.register_forward_hook(
        lambda block, inputs, out, states=states: states.append(out.detach()))
             for block in run.model.blocks]
    loss = run.loss(x, y)
    for hook in hooks:
        hook.remove()
    units = [F.normalize(state, dim=-1) for state in states]
    alike[label] = [(unit @ unit.transpose(1, 2)).mean().item() for unit in units]
    additions += npf.debug.residuals(loss) if residual else []
    loss.backward()
    norms[label] = [train.grad_norms(run.model)]
    run.model.zero_grad()
    losses = [run.advance()["loss"] for _ in range(STEPS)]
    norms[label].append(train.grad_norms(run.model))
    results[label] = dict(label=label, depth=DEPTH, losses=losses,
                          tail=np.mean(losses[-STEPS // 5:]))
    print(f"{label:14} ", " ".join(f"{c:.2f}" for c in alike[label]),
          f"   {norms[label][0][WEIGHT]:15.1e} {norms[label][1][WEIGHT]:15.1e}    ",
          f"{losses[0]:.2f} -> {results[label]['tail']:.2f}")
worst = max(r.error for r in additions)
print(f"at the {len(additions)} additions dL/dx = dL/dy·(1 + dF/dx) holds to "
      f"{worst:.0e} in float32")

picture = plot.figure(11, 4)
loss_axes, alike_axes = picture.subplots(1, 2)
for i, (label, result) in enumerate(results.items()):
    look = dict(color=plot.COLOURS[2 * i], linestyle=plot.STYLES[i], label=label)
    loss_axes.plot(plot.smooth(result["losses"], 20), **look)
    alike_axes.plot(range(DEPTH), alike[label], marker=plot.MARKERS[i], **look)
plot.style(loss_axes, f"Training {DEPTH} blocks", "step", "loss (nats per character)")
plot.style(alike_axes, "Before training: how alike the positions are", "after block", "mean cosine")
for axes in (loss_axes, alike_axes):
    axes.legend(frameon=False)
plot.save(picture, "runs/demos/why_residuals.png")

skip, none = LABELS.values()
if len(additions) != 2 * DEPTH or worst > 1e-5:
    raise SystemExit("the identity does not hold at each addition")
if alike[none][-1] < 0.99 or alike[skip][-1] > 0.9:
    raise SystemExit("without the skip positions should become alike, and with it not")
if results[none]["tail"] < results[skip]["tail"] + 0.1:
    raise SystemExit("the skip should help")
print("The skip carries each position's own past the branches, forwards, and its gradient back.")
