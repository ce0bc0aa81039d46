"""Why several heads: one head gives one average of what it looks at; two places at once need two to
be kept apart.

Keys are places and values are tokens, so a head averages tokens with weights that do not depend on
them. With ½ and ½
swapping the two tokens changes nothing: both are named right in 1/6 + 5/6·½ = 58 % at best. With
other weights one token drowns out the other, and no linear layer above can name the fainter one
every time; a guess is right in 17 %.
"""

import sys

import npformer as npf
from npformer import nn, optim, plot
from npformer.nn import functional as F

V, T, C, FIRST, SECOND = 6, 8, 32, 2, 5
HEADS = (1, 2, 4)
STARTS, STEPS = (3, 250) if "--small" in sys.argv else (5, 500)


class Recall(nn.Module):
    """Say which tokens stand at FIRST and SECOND, from one attention: (B, T) -> (B, 2, V)."""

    def __init__(self, heads):
        super().__init__()
        self.tokens, self.places = nn.Embedding(V, C), nn.Embedding(T, C)
        self.query = nn.Parameter(npf.randn(1, 1, C))
        self.attention = nn.MultiheadAttention(C, heads, batch_first=True)
        self.head = nn.Linear(C, 2 * V)

    def forward(self, tokens):
        query = self.query.expand(len(tokens), 1, C)
        places = self.places(npf.arange(T)).expand(len(tokens), T, C)
        y, self.seen = self.attention(query, places, self.tokens(tokens),
                                      average_attn_weights=False)
        return self.head(y).view(-1, 2, V)


def drawn(count):
    """Random tokens (B, T), and the two that are asked for (B, 2)."""
    tokens = npf.randint(0, V, (count, T))
    return tokens, tokens[:, [FIRST, SECOND]]


def learn(heads, seed):
    """(share of new sequences with both tokens right, losses, where each head looks (H, T))."""
    npf.manual_seed(seed)
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
    right = (model(tokens).argmax(dim=-1) == wanted).all(dim=-1).float().mean().item()
    return right, losses, model.seen[0, :, 0].detach().numpy()


best = {}
for heads in HEADS:
    runs = [learn(heads, seed) for seed in range(STARTS)]
    best[heads] = max(runs, key=lambda run: run[0])
    count = sum(p.numel() for p in Recall(heads).parameters())
    print(f"H = {heads}: {count:,} parameters; both tokens right in",
          " ".join(f"{run[0]:.0%}" for run in runs),
          f"({STARTS} starts); the best one's heads look at")
    for row in best[heads][2]:
        print("   ", " ".join(f"{a:.2f}" for a in row))

picture = plot.figure(12, 4)
loss_axes, *maps = picture.subplots(1, 1 + len(HEADS))
for i, (heads, (right, losses, seen)) in enumerate(best.items()):
    loss_axes.plot(plot.smooth(losses, 30), color=plot.COLOURS[i], linestyle=plot.STYLES[i],
                   label=f"H = {heads}: both right in {right:.0%}")
    maps[i].imshow(seen, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    maps[i].set_yticks(range(heads))
    plot.style(maps[i], f"H = {heads}: where each looks", "place", "head")
    maps[i].grid(False)
loss_axes.set_ylim(0, 2.8)
loss_axes.legend(frameon=False)
plot.style(loss_axes, f"Recall places {FIRST} and {SECOND}, best start", "step",
           "loss (nats per token)")
plot.save(picture, "runs/demos/why_heads.png")

if best[1][0] > 0.8 or min(best[heads][0] for heads in HEADS[1:]) < 0.98:
    raise SystemExit("one head should mix the two tokens up, and two should not")
print("Same parameters: one head cannot say which token stood where, from any start. "
      "Two can, if they start apart.")
