"""PE(pos + k) = R(k)·PE(pos): a shift is a rotation. Attention can use it only as far as W_qᵀ·W_k
lets it through."""

import sys

import numpy as np

import npformer as npf
from npformer import optim, plot
from npformer.nn import functional as F

C, LENGTH, SHIFT = 64, 128, 3
STEPS = 150 if "--small" in sys.argv else 600

# one frequency for each pair of numbers
pos, w = np.arange(LENGTH), 10000 ** (-np.arange(0, C, 2) / C)
PE = np.stack([np.sin(np.outer(pos, w)), np.cos(np.outer(pos, w))], axis=-1).reshape(LENGTH, C)


def rotation(k):
    """R(k), (C, C): it turns pair i by k·wᵢ: (sin a, cos a) -> (sin(a + k·wᵢ), cos(a + k·wᵢ))."""
    R = np.zeros((C, C))
    for i, angle in enumerate(k * w):
        R[2 * i:2 * i + 2, 2 * i:2 * i + 2] = [[np.cos(angle), np.sin(angle)],
                                               [-np.sin(angle), np.cos(angle)]]
    return R


errors = [np.abs(PE[:LENGTH - k] @ rotation(k).T - PE[k:]).max() for k in range(LENGTH)]
print(f"max |R(k)·PE(pos) − PE(pos + k)| over all {LENGTH * (LENGTH + 1) // 2} pairs: "
      f"{max(errors):.1e}")


def share(scores):
    """The share of the scores' variance that depends on query − key alone: at most 1."""
    away = pos[:, None] - pos
    means = {k: scores[away == k].mean() for k in np.unique(away)}
    return 1 - np.var(scores - np.vectorize(means.get)(away)) / np.var(scores)


# With x + PE as input, the part of a score that knows places alone is PE(t)ᵀ·M·PE(s), M = W_qᵀ·W_k.
# With M = 1 it is Σᵢ cos((t − s)·wᵢ), a function of t − s. A random M mixes the frequencies.
npf.manual_seed(0)
W_q, W_k = (npf.randn(C, C, dtype=npf.float64).div(C ** 0.5).requires_grad_() for _ in range(2))
P = npf.tensor(PE)


def scores_of(W_q, W_k):
    """(P·W_qᵀ)·(P·W_kᵀ)ᵀ / √C"""
    return F.linear(P, W_q) @ F.linear(P, W_k).T / C ** 0.5


USEFUL = f"M = R(−{SHIFT})ᵀ"
maps = {"M = 1": PE @ PE.T / C ** 0.5,
        USEFUL: PE @ rotation(-SHIFT).T @ PE.T / C ** 0.5,            # PE(t − SHIFT)ᵀ·PE(s)
        "M random": scores_of(W_q, W_k).detach().numpy()}

# Can training bring it back? Query t shall look at key t − SHIFT. Only queries of the first half
# are trained on.
half = npf.arange(SHIFT, LENGTH // 2)
optimizer = optim.Adam([W_q, W_k], lr=1e-2)
for _ in range(STEPS):
    decay = 1e-3 * (W_q.square().sum() + W_k.square().sum())
    loss = F.cross_entropy(scores_of(W_q, W_k)[SHIFT:LENGTH // 2], half - SHIFT) + decay
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
maps["M trained"] = scores_of(W_q, W_k).detach().numpy()
found = {}
print(f"{'':12} depends on query − key alone   looks {SHIFT} back: "
      f"positions 0 to {LENGTH // 2 - 1}   the others")
for name, scores in maps.items():
    looks = scores.argmax(axis=1) == pos - SHIFT
    found[name] = share(scores), looks[SHIFT:LENGTH // 2].mean(), looks[LENGTH // 2:].mean()
    print(f"{name:12} {found[name][0]:27.1%} {found[name][1]:34.0%} {found[name][2]:12.0%}")

picture = plot.figure(12, 7)
panels = picture.subplots(2, 3).ravel()
panels[0].imshow(PE.T, aspect="auto", cmap="cividis")
plot.style(panels[0], "PE", "position", "entry")
panels[0].grid(False)
for pair, colour, marker in zip((4, 8, 12), plot.COLOURS, plot.MARKERS):
    a = pos[:12, None] * w[pair]
    radius = 1 + pair / 8
    panels[1].plot(radius * np.sin(a), radius * np.cos(a), color=colour, marker=marker,
                   label=f"pair {pair}")
panels[1].set_aspect("equal")
panels[1].legend(frameon=False)
plot.style(panels[1], "A step turns each pair by its own angle",
           "sin (a radius for each pair)", "cos")
for axes, (name, scores) in zip(panels[2:], maps.items()):
    axes.imshow(scores, cmap="cividis")
    plot.style(axes, f"scores, {name}\n{found[name][0]:.0%} depends on query − key alone",
               "key", "query")
    axes.grid(False)
plot.save(picture, "runs/demos/positional_encoding.png")

if max(errors) > 1e-12:
    raise SystemExit("PE(pos + k) is not R(k)·PE(pos)")
if not (min(found["M = 1"][0], found[USEFUL][0]) > 1 - 1e-12 and found["M random"][0] < 0.5):
    raise SystemExit("M = 1 and M = R should keep the relative position, and a random M should not")
if found[USEFUL][1:] != (1, 1) or found["M random"][1] > 0.1 or found["M trained"][1] < 0.95:
    raise SystemExit(f"some M does not look where it should: {found}")
print("A shift is a rotation. A random W_qᵀ·W_k hides it, a rotation uses it, training finds it "
      "where it looked.")
