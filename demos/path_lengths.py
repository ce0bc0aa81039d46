"""A residual net is an ensemble of shallow ones: of 2^24 ways through 24 branches, the gradient
comes by the short ones.

Each x + F(x) is a factor (1 + dF) of the chain rule. Multiplied out, the gradient at the start is a
sum over all ways through the model, and `path_lengths` sorts it exactly by how many branches they
lead through (Veit et al. 2016). Where the
norm stands decides how long they are: after the sum, it shrinks what the skip carries each time.
"""

import sys

import numpy as np

import npformer as npf
from npformer import optim, plot
from npformer.models import DeepTransformer
from npformer.nn import functional as F

SMALL = "--small" in sys.argv
DEPTH, STEPS = (4, 20) if SMALL else (12, 150)
ARRANGEMENTS = {"pre": "pre-LN: x + F(norm(x))", "post": "post-LN: norm(x + F(x))",
                "deepnorm": "DeepNorm: norm(α·x + F(x))"}

text = npf.data.default_text()
tokenizer = npf.data.CharTokenizer.of(text)
ids, _ = npf.data.split(tokenizer.encode(text))


def loss_of(model, x, y):
    """Nats per character."""
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


found = {}
for arrangement, label in ARRANGEMENTS.items():
    npf.manual_seed(0)
    model = DeepTransformer(len(tokenizer), 32, 48, 4, 96, DEPTH, arrangement)
    batches = npf.data.Batches(ids, 8, 32)
    looked_at = next(batches)
    optimizer = optim.Adam(model.parameters(), 1e-3)
    found[label] = [npf.debug.path_lengths(loss_of(model, *looked_at))]
    for _ in range(STEPS):
        loss = loss_of(model, *next(batches))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found[label].append(npf.debug.path_lengths(loss_of(model, *looked_at)))
    if arrangement == "pre":
        print(f"{label}, {2 * DEPTH} branches, before training\n{found[label][0]}\n")


def mean_length(lengths):
    """Σ k·|g_k| / Σ |g_k|"""
    return float((np.arange(len(lengths.norms)) * lengths.norms).sum() / lengths.norms.sum())


print("mean number of branches on the gradient's way         before    after training")
for label, pair in found.items():
    print(f"    {label:45} {mean_length(pair[0]):9.1f} {mean_length(pair[1]):9.1f}")
print(f"    {'all ways alike':45} {DEPTH:9.1f}")

picture = plot.figure(11, 4.2)
panels = picture.subplots(1, 2, sharey=True)
for axes, when, title in zip(panels, (0, 1), ("Before training", f"After {STEPS} steps")):
    for i, (label, pair) in enumerate(found.items()):
        share = 100 * pair[when].norms / pair[when].norms.sum()
        axes.plot(share, color=plot.COLOURS[i], marker=plot.MARKERS[i],
                  linestyle=plot.STYLES[i], label=label)
    ways = np.array(pair[0].paths) / sum(pair[0].paths)
    axes.fill_between(np.arange(len(ways)), 100 * ways, color="grey", alpha=0.25,
                      label="all ways through the model")
    plot.style(axes, title, "branches on the way, k", "|g_k| / Σ|g_k| (%)" if when == 0 else "")
panels[1].legend(frameon=False)
path = f"runs/demos/path_lengths{'_small' if SMALL else ''}.png"
plot.save(picture, path)

pre, post, deep = ([mean_length(p) for p in pair] for pair in found.values())
if max(p.error for pair in found.values() for p in pair) > 1e-5:
    raise SystemExit("the parts do not add up to the gradient")
if max(pre) > DEPTH * 0.6:
    raise SystemExit("in pre-LN the gradient should come by short ways")
if min(post) < 1.5 * max(pre) or deep[0] > pre[0]:
    raise SystemExit("post-LN's ways should be the longest, DeepNorm's the shortest")
print("The parts add up to the gradient. Under pre-LN and DeepNorm it comes by short ways. "
      f"Picture: {path}")
