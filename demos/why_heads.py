"""Why several heads: one head gives one average of what it looks at; two places at once need two to be kept apart."""

import sys

import numpy as np

import npformer as npf
from npformer import nn, optim, plot
from npformer.nn import functional as F

V, T, C, FIRST, SECOND = 6, 8, 32, 2, 5
HEADS = (1, 2, 4)
STEPS = 300 if "--small" in sys.argv else 800


class Recall(nn.Module):
    """Say which token stands at place FIRST and which at SECOND, from one look of attention: (B, T) -> (B, 2, V)."""

    def __init__(self, heads):
        super().__init__()
        self.tokens, self.places = nn.Embedding(V, C), nn.Embedding(T, C)
        self.query = nn.Parameter(npf.randn(1, 1, C))
        self.attention = nn.MultiheadAttention(C, heads, batch_first=True)
        self.head = nn.Linear(C, 2 * V)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.places(npf.arange(T))               # (B, T, C)
        query = self.query.expand(len(tokens), 1, C)
        y, self.seen = self.attention(query, x, x, average_attn_weights=False)
        return self.head(y).view(-1, 2, V)


def drawn(count):
    """Random tokens (B, T), and the two that are asked for (B, 2)."""
    tokens = npf.randint(0, V, (count, T))
    return tokens, tokens[:, [FIRST, SECOND]]


results = {}
for heads in HEADS:
    npf.manual_seed(0)
    model = Recall(heads)
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(STEPS):
        tokens, wanted = drawn(64)
        loss = F.cross_entropy(model(tokens).flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    tokens, wanted = drawn(2000)
    right = (model(tokens).argmax(dim=-1) == wanted).numpy()
    results[heads] = losses, right.all(axis=1).mean(), model.seen.detach().numpy().mean(axis=(0, 2))       # (H, T)
    count = sum(p.numel() for p in model.parameters())
    print(f"{heads} head{'s' if heads > 1 else ' '}: {count:,} parameters, loss {np.mean(losses[-50:]):.3f}, "
          f"both tokens right in {results[heads][1]:.1%} of 2,000 new sequences")
    for h, row in enumerate(results[heads][2]):
        print(f"    head {h} looks at", " ".join(f"{a:.2f}" for a in row))

picture = plot.figure(12, 4)
loss_axes, *maps = picture.subplots(1, 1 + len(HEADS))
for i, (heads, (losses, right, seen)) in enumerate(results.items()):
    loss_axes.plot(plot.smooth(losses, 30), color=plot.COLOURS[i], linestyle=plot.STYLES[i],
                   label=f"H = {heads}: both right in {right:.0%}")
    maps[i].imshow(seen, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    maps[i].set_yticks(range(heads))
    plot.style(maps[i], f"H = {heads}: where each looks", "place", "head")
    maps[i].grid(False)
loss_axes.legend(frameon=False)
plot.style(loss_axes, f"Recall places {FIRST} and {SECOND}", "step", "loss (nats per token)")
plot.save(picture, "runs/demos/why_heads.png")

if results[1][1] > 0.8 or min(results[heads][1] for heads in HEADS[1:]) < 0.98:
    raise SystemExit("one head should mix the two tokens up, and two should not")
print("Same parameters, same width: one head cannot say which token stood where, two can.")
