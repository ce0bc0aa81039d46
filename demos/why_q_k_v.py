"""Why Q, K and V are three: what I look for is not what I am. With Q = K the scores are symmetric:
s(t, s) = s(s, t).

Places stand in rings of three; 0 must look at 2, 1 at 0, 2 at 1. That asks for s(0, 2) > s(0, 1),
s(1, 0) > s(1, 2) and s(2, 1) > s(2, 0). Symmetric scores would be larger than themselves, so in
each ring at least one place must go wrong.
"""

import sys

import numpy as np

import npformer as npf
from npformer import nn, optim, plot
from npformer.nn import functional as F

V, T, C = 10, 12, 32
BEFORE = [t - 1 if t % 3 else t + 2 for t in range(T)]
STEPS = 400 if "--small" in sys.argv else 1000
FORMS = {"Q, K, V": "qkv", "Q = K, V": "qqv", "Q, K = V": "qkk", "Q = K = V": "qqq",
         "x itself": None}


class Previous(nn.Module):
    """Say which token stands before each place in its ring: (B, T) -> (B, T, V)."""

    def __init__(self, use):
        super().__init__()
        self.use = use
        self.tokens, self.places = nn.Embedding(V, C), nn.Embedding(T, C)
        self.project = nn.ModuleDict({name: nn.Linear(C, C) for name in sorted(set(use or ""))})
        self.head = nn.Linear(C, V)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.places(npf.arange(T))               # (B, T, C)
        q, k, v = (x, x, x) if self.use is None else (self.project[name](x) for name in self.use)
        self.weights = (q @ k.transpose(1, 2) / C ** 0.5).softmax(dim=-1)  # (B, T, T)
        return self.head(self.weights @ v)


def drawn(count):
    """Random tokens (B, T)."""
    return npf.randint(0, V, (count, T))


results = {}
print(f"which token stands before me in my ring of three? ({STEPS} steps, {T} places, {V} tokens)")
for name, use in FORMS.items():
    npf.manual_seed(0)
    model = Previous(use)
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(STEPS):
        tokens = drawn(32)
        loss = F.cross_entropy(model(tokens).flatten(0, 1), tokens[:, BEFORE].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    tokens = drawn(500)
    right = (model(tokens).argmax(dim=-1) == tokens[:, BEFORE]).numpy().mean()
    results[name] = losses, right, model.weights.detach().numpy().mean(axis=0)
    count = sum(p.numel() for p in model.project.parameters())
    print(f"    {name:10} {count:6,} parameters in the projections, "
          f"loss {np.mean(losses[-50:]):.3f}, "
          f"right {right:.1%}")

picture = plot.figure(11, 7)
loss_axes, *maps = picture.subplots(2, 3).ravel()
for i, (name, (losses, right, seen)) in enumerate(results.items()):
    loss_axes.plot(plot.smooth(losses, 30), color=plot.COLOURS[i],
                   linestyle=plot.STYLES[i % 4], label=name)
    maps[i].imshow(seen, cmap="cividis", vmin=0, vmax=1)
    plot.style(maps[i], f"{name}: {right:.0%} right", "key", "query")
    maps[i].grid(False)
loss_axes.legend(frameon=False, loc=(0.6, 0.1))
plot.style(loss_axes, "Which token stands before me?", "step", "loss (nats per token)")
plot.save(picture, "runs/demos/why_q_k_v.png")

if results["Q, K, V"][1] < 0.98:
    raise SystemExit("with three projections this should be learned")
if max(results[name][1] for name in ("Q = K, V", "Q = K = V", "x itself")) > 0.75:
    raise SystemExit("with one projection for query and key this should not be learned")
print("Query and key must differ, or no score can say who comes before whom. Here V may be K: "
      "the room is wide enough.")
