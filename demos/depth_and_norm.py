"""Which deep stacks learn: post-LN, pre-LN, Admin, DeepNorm, none, at depths 1 to 48, before
training and in it.

Three numbers before training: the gradient of each layer; how much the output moves when every
matrix is changed by 1 % (Liu et al. 2020: this, not a vanishing gradient, is what makes post-LN
hard to train); how alike the positions have become (their mean cosine: at 1 each position says the
same, and the model can only count characters).
"""

import sys
import time

import numpy as np

import npformer as npf
from npformer import optim, plot
from npformer.models.deep import ARRANGEMENTS, DeepTransformer, admin_
from npformer.nn import functional as F

SMALL = "--small" in sys.argv
DEPTHS = (1, 6, 12) if SMALL else (1, 3, 6, 12, 24, 48)
TRAINED, STEPS = ((12,), 120) if SMALL else ((1, 6, 24, 48), 200)

text = npf.data.default_text()
tokenizer = npf.data.CharTokenizer.of(text)
ids, _ = npf.data.split(tokenizer.encode(text))
counts = np.bincount(ids) / len(ids)
unigram = -(counts * np.log(counts, where=counts > 0, out=np.zeros_like(counts))).sum()


def start(depth, arrangement):
    """A model of width 32 and its batches, 8 x 32 characters each."""
    npf.manual_seed(0)
    model = DeepTransformer(len(tokenizer), 32, 32, 2, 64, depth, arrangement)
    batches = npf.data.Batches(ids, 8, 32)
    if arrangement == "admin":
        admin_(model, next(batches)[0])
    return model, batches


def loss_of(model, x, y):
    """Nats per character."""
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


def look(depth, arrangement):
    """Before training: the blocks' gradient norms, the logits' movement, the positions' cosine."""
    model, batches = start(depth, arrangement)
    x, y = next(batches)
    states = []
    hook = model.blocks[-1].register_forward_hook(
        lambda block, inputs, out: states.append(out.detach()))
    loss_of(model, x, y).backward()
    hook.remove()
    norms = [sum(p.grad.square().sum().item() for p in block.parameters()) ** 0.5
             for block in list(model.blocks)[:depth]]
    unit = F.normalize(states[0], dim=-1)
    with npf.no_grad():
        before = model(x)
        for p in model.blocks.parameters():
            if p.ndim == 2:
                p += 0.01 * p.std() * npf.randn(*p.shape)
        moved = (model(x) - before).square().mean() / before.var()
    return norms, moved.item(), (unit @ unit.transpose(1, 2)).mean().item()


def learn(depth, arrangement):
    """The losses of STEPS steps of Adam at 1e-3, no warm-up."""
    model, batches = start(depth, arrangement)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for x, y in (next(batches) for _ in range(STEPS)):
        loss = loss_of(model, x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


began = time.time()
seen = {(depth, a): look(depth, a) for depth in DEPTHS for a in ARRANGEMENTS}
titles = ("‖gradient‖, first layer / last layer",
          "movement of the logits, every matrix changed by 1 %", "mean cosine between positions")
numbers = (lambda norms, moved, alike: f"{norms[0]:.2f} / {norms[-1]:.2f}",
           lambda norms, moved, alike: f"{moved:.1e}", lambda norms, moved, alike: f"{alike:.3f}")
for title, number in zip(titles, numbers):
    print(f"{title}\n    depth   ", "".join(f"{a:>15}" for a in ARRANGEMENTS))
    for depth in DEPTHS:
        print(f"    {depth:5}   ", "".join(f"{number(*seen[depth, a]):>15}" for a in ARRANGEMENTS))

losses, tail = {}, {}
print(f"loss after {STEPS} steps, mean of the last fifth ({unigram:.3f} is counting characters)\n"
      "    depth   ",
      "".join(f"{a:>15}" for a in ARRANGEMENTS))
for depth in TRAINED:
    for a in ARRANGEMENTS:
        losses[depth, a] = learn(depth, a)
        tail[depth, a] = np.mean(losses[depth, a][-STEPS // 5:])
    print(f"    {depth:5}   ", "".join(f"{tail[depth, a]:15.3f}" for a in ARRANGEMENTS), flush=True)
print(f"{time.time() - began:.0f} s")

deepest = DEPTHS[-1]
picture = plot.figure(15, 9)
above, below = picture.subfigures(2, 1)
by_layer = above.subplots(1, len(DEPTHS), sharey=True)
moves, likeness, training = below.subplots(1, 3)
for i, a in enumerate(ARRANGEMENTS):
    line = dict(color=plot.COLOURS[i], linestyle=plot.STYLES[i % 4], label=a)
    marks = dict(line, marker=plot.MARKERS[i])
    for axes, depth in zip(by_layer, DEPTHS):
        axes.plot(range(1, depth + 1), seen[depth, a][0], **(marks if depth < 3 else line))
    moves.plot(DEPTHS, [seen[depth, a][1] for depth in DEPTHS], **marks)
    likeness.plot(DEPTHS, [seen[depth, a][2] for depth in DEPTHS], **marks)
    training.plot(plot.smooth(losses[TRAINED[-1], a], 20), **line)
training.axhline(unigram, color="grey", linewidth=0.8)
for axes, depth in zip(by_layer, DEPTHS):
    axes.set_yscale("log")
    plot.style(axes, f"depth {depth}", "layer",
               "‖gradient‖ of the layer" if depth == DEPTHS[0] else "")
moves.set_yscale("log")
for axes in (moves, likeness):
    axes.set_xscale("log", base=2)
    axes.set_xticks(DEPTHS, DEPTHS)
plot.style(moves, "The logits move when each matrix changes by 1 %", "depth",
           "‖change‖² / variance")
plot.style(likeness, "How alike the positions are", "depth", "mean cosine")
plot.style(training, f"Training, depth {TRAINED[-1]} (grey: counting characters)", "step",
           "loss (nats per character)")
above.suptitle("Before training: the gradient of each layer", fontsize=12)
above.legend(*by_layer[0].get_legend_handles_labels(), loc="outside lower center",
             ncols=len(ARRANGEMENTS), frameon=False)
plot.save(picture, "runs/demos/depth_and_norm.png")

for a in ("post", "none"):
    if tail[TRAINED[-1], a] < unigram - 0.1:
        raise SystemExit(f"{a!r} learned at depth {TRAINED[-1]}, which it should not")
for a in ("pre", "deepnorm") + (("admin",) if SMALL else ()):
    if max(tail[depth, a] for depth in TRAINED) > unigram - 0.1:
        raise SystemExit(f"{a!r} should learn at every depth: {tail}")
moved = {a: seen[deepest, a][1] for a in ("post", "pre", "deepnorm")}
if moved["post"] < 3 * moved["pre"] or moved["deepnorm"] > moved["pre"]:
    raise SystemExit("the output of post-LN should move more than pre-LN's, "
                     "and that of DeepNorm less")
print("Deep post-LN and no residual at all end at counting characters; "
      "pre-LN and DeepNorm learn at every depth.")
