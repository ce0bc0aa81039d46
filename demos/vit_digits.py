"""A Vision Transformer reads scanned digits, and shows where it looked and which of those looks
spoke for its answer.

Needs scikit-learn, for its 1,797 real images of 8 x 8 pixels: pip install 'npformer[demos]'
"""

import sys

import numpy as np
from sklearn.datasets import load_digits

import npformer as npf
from npformer import optim, plot
from npformer.models import VisionTransformer
from npformer.models.vit import relevance
from npformer.nn import functional as F

SMALL = "--small" in sys.argv[1:]
EPOCHS, TO_REACH = (10, 0.75) if SMALL else (60, 0.97)


def shifted(images, rng):
    """Images, most of them moved by a pixel, so that the model learns shapes and not places."""
    moves = rng.integers(-1, 2, (len(images), 2)) * (rng.random((len(images), 1)) < 0.6)
    return np.stack([np.roll(image, move, (0, 1)) for image, move in zip(images, moves)])


def batch(images):
    """Images (B, 8, 8) as the model takes them."""
    return npf.tensor(images[:, None].astype(np.float32))


def accuracy(model, images, labels):
    """The share of images that are read right."""
    model.eval()
    with npf.no_grad():
        right = model(batch(images)).argmax(dim=-1) == npf.tensor(labels)
    model.train()
    return right.float().mean().item()


digits = load_digits()
rng = np.random.default_rng(0)
order = rng.permutation(len(digits.images))
images, labels = digits.images[order] / 6 - 0.8, digits.target[order]    # of mean 0 and spread 1
test_x, test_y, train_x, train_y = images[:360], labels[:360], images[360:], labels[360:]

npf.manual_seed(0)
model = VisionTransformer(img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=48,
                          depth=3, num_heads=4, mlp_ratio=2.0)
optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
steps = EPOCHS * (len(train_x) // 64)
schedule = optim.lr_scheduler.WarmupLR(optimizer, steps // 10, steps, decay="cosine")
curve = []
for epoch in range(1, EPOCHS + 1):
    shuffled = rng.permutation(len(train_x))
    for first in range(0, len(train_x) - 63, 64):
        drawn = shuffled[first:first + 64]
        seen = train_x[drawn] if SMALL else shifted(train_x[drawn], rng)
        loss = F.cross_entropy(model(batch(seen)), npf.tensor(train_y[drawn]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    if epoch % (EPOCHS // 6) == 0:
        curve.append(accuracy(model, test_x, test_y))
        print(f"epoch {epoch:3}   loss {loss.item():.4f}   held-out {curve[-1]:.2%}", flush=True)


def looked_at(images):
    """What the model answers, what its class token attends to in the last block, and each patch's
    relevance for the
    answer.   images (B, 8, 8) -> (B,), (B, 16), (B, 16)"""
    logits = model(batch(images), register_hook=True)
    logits.amax(dim=-1).sum().backward()           # each image's answer is differentiated
    attended = model.blocks[-1].attn.attention_map.detach().numpy().mean(axis=1)[:, 0, 1:]
    return logits.argmax(dim=-1).tolist(), attended, relevance(model).numpy()[:, 0, 1:]


def erased(images, scores, count=3):
    """Images with the `count` patches of the highest scores made blank."""
    patches = images.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 2, 2).copy()
    np.put_along_axis(patches, np.argsort(-scores, axis=1)[:, :count, None, None],
                      images.min(), axis=1)
    return patches.reshape(-1, 4, 4, 2, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 8, 8)


model.eval()
answers, attended, relevant = looked_at(test_x)
left = {"nothing": accuracy(model, test_x, test_y)}
for name, scores in (("the most relevant", relevant), ("random ones", rng.random(relevant.shape))):
    left[name] = accuracy(model, erased(test_x, scores), test_y)
print("read right with 3 of 16 patches erased: "
      + ", ".join(f"{name} {share:.1%}" for name, share in left.items()))

shown = [int(np.flatnonzero(test_y == digit)[0]) for digit in (0, 2, 3, 4, 6, 7)]
picture = plot.figure(1.6 * len(shown) + 0.6, 5.2)
grid = picture.subplots(3, len(shown))
for column, i in enumerate(shown):
    grid[0, column].imshow(test_x[i], cmap="gray_r")
    grid[0, column].set_title(f"a {test_y[i]}, read as {answers[i]}", fontsize=11)
    for axes, values in ((grid[1, column], attended[i]), (grid[2, column], relevant[i])):
        map_of = axes.imshow(values.reshape(4, 4) / values.max(), cmap="cividis", vmin=0, vmax=1,
                             extent=(-0.5, 7.5, 7.5, -0.5))
        # where the digit is
        axes.contour(test_x[i], levels=[test_x[i].max() / 2], colors="white", linewidths=1)
    for axes in grid[:, column]:
        axes.set(xticks=[], yticks=[])
picture.colorbar(map_of, ax=grid[1:, :], label="share of the largest patch", fraction=0.02)
for axes, title in zip(grid[:, 0],
                       ("image", "attention,\nlast block", "attention × gradient,\nall blocks")):
    axes.set_ylabel(title)
path = f"runs/demos/vit_digits{'_small' if SMALL else ''}.png"
plot.save(picture, path)
print(f"{path}: bright patches were looked at (middle row), and spoke for the answer (bottom row); "
      "the white line is the digit")

if curve[-1] < TO_REACH:
    raise SystemExit(f"only {curve[-1]:.1%} of the held-out images are read right, "
                     f"not {TO_REACH:.0%}")
if left["the most relevant"] > left["random ones"]:
    raise SystemExit("the patches called relevant matter less than random ones")
print(f"{curve[-1]:.1%} of 360 images never trained on are read right, and the relevant patches "
      "are those that matter.")
