"""4·C² + 4·C: multi-head attention has as many parameters with one head as with many. Heads share
out the width."""

import npformer as npf
from npformer import nn, plot

C, T, HEADS = 64, 48, (1, 2, 4, 8, 16, 32, 64)

npf.manual_seed(0)
x = npf.randn(1, T, C)
counts, weights = {}, {}
print(f"C = {C}, {T} positions")
print("    heads   width K = C/H   parameters   attention weights H·T·T")
for heads in HEADS:
    attention = nn.MultiheadAttention(C, heads, batch_first=True)
    counts[heads] = sum(p.numel() for p in attention.parameters())
    weights[heads] = attention(x, x, x, average_attn_weights=False)[1].numel()
    print(f"    {heads:5} {C // heads:15} {counts[heads]:12,} {weights[heads]:25,}")

picture = plot.figure(8, 4)
axes = picture.add_subplot()
at = range(len(HEADS))
axes.plot(at, list(counts.values()), color=plot.COLOURS[0], marker="o",
          label="parameters: 4·C² + 4·C")
axes.plot(at, list(weights.values()), color=plot.COLOURS[2], marker="s", linestyle="--",
          label="attention weights: H·T·T")
axes.set_xticks(at, HEADS)
axes.set_ylim(bottom=0)
axes.legend(frameon=False)
plot.style(axes, f"MultiheadAttention({C}, heads)", "heads", "how many")
plot.save(picture, "runs/demos/heads_and_parameters.png")

if set(counts.values()) != {4 * C * C + 4 * C}:
    raise SystemExit(f"the number of parameters depends on the heads: {counts}")
if weights != {heads: heads * T * T for heads in HEADS}:
    raise SystemExit(f"each head should have T·T weights of its own: {weights}")
print("Parameters do not depend on the number of heads. Only the attention weights, which are no "
      "parameters, grow.")
