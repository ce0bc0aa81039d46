"""BatchNorm makes a word depend on the rest of the batch and on padding. LayerNorm does not."""

import numpy as np

import npformer as npf
from npformer import nn, plot

C, DRAWS = 16, 200
SIZES = (2, 4, 8, 16, 64, 256)

npf.manual_seed(0)
rng = np.random.default_rng(0)
# each feature has a spread and a mean of its own
scale, shift = np.exp(rng.normal(size=C)), rng.normal(size=C)


def words(*shape):
    """Random words (..., C)."""
    return rng.standard_normal((*shape, C)) * scale + shift


def normed(norm, x):
    """norm(x) of an array (..., C), every leading place a row."""
    return norm(npf.tensor(x.reshape(-1, C))).detach().numpy().reshape(x.shape)


layer_norm = nn.LayerNorm(C, elementwise_affine=False).double()
batch_norm = nn.BatchNorm1d(C, affine=False, track_running_stats=False).double()

# 1. The same sample among other samples: by how much does its normalised value move?
sample = words(1)
moves = {"LayerNorm": [], "BatchNorm": []}
for size in SIZES:
    batches = [np.concatenate([sample, words(size - 1)]) for _ in range(DRAWS)]
    for name, norm in (("LayerNorm", layer_norm), ("BatchNorm", batch_norm)):
        seen = np.array([normed(norm, batch)[0] for batch in batches])
        moves[name].append(np.sqrt(seen.var(axis=0).mean()))
print("one sample's normalised entries: standard deviation over", DRAWS,
      "draws of the rest of the batch")
print("    batch     ", "".join(f"{size:>10}" for size in SIZES))
for name, values in moves.items():
    print(f"    {name:10}", "".join(f"{v:10.4f}" for v in values))

# 2. Sequences of unequal length: a word's value when the batch is padded with zeros to a longer and
# longer length.
LENGTHS, PADDED = (9, 6, 3), (9, 12, 18, 36, 72)
sentences = [words(n) for n in LENGTHS]
padding = {"LayerNorm": [], "BatchNorm": []}
first = {}
for longest in PADDED:
    batch = np.zeros((len(LENGTHS), longest, C))
    for row, sentence in zip(batch, sentences):
        row[:len(sentence)] = sentence
    for name, norm in (("LayerNorm", layer_norm), ("BatchNorm", batch_norm)):
        real = np.concatenate([row[:n] for row, n in zip(normed(norm, batch), LENGTHS)])
        padding[name].append(np.abs(real - first.setdefault(name, real)).mean())
print(f"sentences of {LENGTHS} words, padded to a length: mean change of the real words' values")
print("    padded to ", "".join(f"{n:>10}" for n in PADDED))
for name, values in padding.items():
    print(f"    {name:10}", "".join(f"{v:10.4f}" for v in values))

# 3. A gradient: does the loss of one sample reach the others?
x = npf.tensor(words(4), requires_grad=True)
leaks = {}
for name, norm in (("LayerNorm", layer_norm), ("BatchNorm", batch_norm)):
    d, = npf.autograd.grad(norm(x)[0].square().sum() + norm(x)[0, 0], x)
    leaks[name] = d[1:].norm().item()
    print(f"{name}: the loss of sample 0 sends samples 1 to 3 a gradient of norm {leaks[name]:.4g}")
try:
    normed(batch_norm, words(1))
    alone = True
except ValueError as error:
    alone = False
    print(f"BatchNorm on a single sample: {error}")

picture = plot.figure(11, 4)
panels = picture.subplots(1, 2)
for i, name in enumerate(moves):
    look = dict(color=plot.COLOURS[2 * i], marker=plot.MARKERS[i],
                linestyle=plot.STYLES[i], label=name)
    panels[0].plot(SIZES, moves[name], **look)
    panels[1].plot(PADDED, padding[name], **look)
panels[0].set_xscale("log", base=2)
plot.style(panels[0], "One sample among others", "batch size",
           "standard deviation of its normalised value")
plot.style(panels[1], f"Sentences of {LENGTHS} words, padded", "padded to a length of",
           "change of real words' values")
for axes in panels:
    axes.legend(frameon=False)
plot.save(picture, "runs/demos/layer_norm_or_batch_norm.png")

if max(moves["LayerNorm"]) > 1e-12 or max(padding["LayerNorm"]) > 0 or leaks["LayerNorm"] > 0:
    raise SystemExit("LayerNorm depends on the rest of the batch")
if not (moves["BatchNorm"][0] > 0.5 > 0.2 > moves["BatchNorm"][-1] > 0):
    raise SystemExit("BatchNorm should depend on the rest of the batch, "
                     "the more so the smaller it is")
if min(padding["BatchNorm"][1:]) < 0.1 or leaks["BatchNorm"] < 1e-3 or alone:
    raise SystemExit("BatchNorm should see padding, and mix samples")
print("LayerNorm: exactly nothing from outside the word. BatchNorm: noise in small batches, "
      "and padding as data.")
