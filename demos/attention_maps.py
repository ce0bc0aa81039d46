"""Where a model looks, what each look is worth, and what reaches the end: weights, weights ⊙
gradient, and rollout.

The task has an answer that is known: say the letter that stood three places before. So attention
has to look three back,
and it can be seen to do so: in its map, in its mean distance, and in what the loss would lose
without it.
"""

import sys

import numpy as np

import npformer as npf
from npformer import optim
from npformer.models import TinyTransformer
from npformer.nn import functional as F

SMALL = "--small" in sys.argv
BACK, LENGTH, LETTERS, STEPS = 3, 12, 8, 150 if SMALL else 400

npf.manual_seed(0)
model = TinyTransformer(LETTERS, LENGTH, 32, 2, 64, depth=2)
optimizer = optim.Adam(model.parameters(), 3e-3)


def batch(size):
    """Letters (size, LENGTH), and for each place from BACK on, the letter BACK places before."""
    letters = npf.randint(0, LETTERS, (size, LENGTH))
    return letters, letters[:, :-BACK]


def loss_of(letters, wanted):
    return F.cross_entropy(model(letters)[:, BACK:].flatten(0, 1), wanted.flatten())


def looked_at():
    """The maps of one batch, with their gradients."""
    with npf.debug.attention(model) as maps:
        loss = loss_of(*batch(64))
    loss.backward()
    model.zero_grad()
    return maps


before = looked_at()
for _ in range(STEPS):
    loss = loss_of(*batch(32))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
maps = looked_at()
print(f"before training\n{before}\n\nafter {STEPS} steps, loss {loss.item():.4f}\n{maps}\n")


def on_the_third(array):
    """The part of |array| (..., T, S) that lies BACK places before the query, over queries that
    have such a place."""
    size = np.abs(array[..., BACK:, :])
    at = np.arange(LENGTH - BACK)
    return float(size[..., at, at].sum() / size.sum())


rows = {}
for name, found in (("before", before), ("after", maps)):
    rows[name] = {"rollout": on_the_third(found.rollout() - np.eye(LENGTH) * 0.25)}
    rows[name] |= {f"{part} of {m.where}": on_the_third(m.part(part)) for m in found
                   for part in ("weights", "product")}
print(f"share that lies {BACK} places back      before    after")
for name in rows["after"]:
    print(f"    {name:30} {rows['before'][name]:7.1%} {rows['after'][name]:8.1%}")

tail = "_small" if SMALL else ""
maps.plot(f"runs/demos/attention_weights{tail}.png")
maps.plot(f"runs/demos/attention_products{tail}.png", "product")
best = max(rows["after"][f"weights of {m.where}"] for m in maps)
if best < 0.8 or rows["before"]["weights of blocks.0"] > 0.3:
    raise SystemExit(f"attention should have learned to look {BACK} back")
if rows["after"]["rollout"] < 2 * rows["before"]["rollout"]:
    raise SystemExit("rollout should show it as well")
print(f"Attention looks {BACK} back. Pictures: runs/demos/attention_weights{tail}.png, "
      f"attention_products{tail}.png")
