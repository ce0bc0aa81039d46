"""Why divide by √d_k: q·k has variance d_k. Unscaled, wide heads saturate the softmax, and its
gradient vanishes."""

import numpy as np

import npformer as npf
from npformer import plot

WIDTHS, KEYS, DRAWS = (4, 16, 64, 256, 1024), 32, 400

npf.manual_seed(0)
rows = []
for d_k in WIDTHS:
    q = npf.randn(DRAWS, 1, d_k, dtype=npf.float64)
    k = npf.randn(DRAWS, KEYS, d_k, dtype=npf.float64)
    row = {"variance": (q @ k.transpose(1, 2)).var().item()}
    for name, scale in (("unscaled", 1.0), ("scaled", d_k ** -0.5)):
        scores = (q @ k.transpose(1, 2) * scale).requires_grad_()
        weights = scores.softmax(dim=-1)
        d, = npf.autograd.grad(weights, scores, npf.randn(*weights.shape, dtype=npf.float64))
        row[name] = (weights.amax(dim=-1).mean().item(), float(np.median(d.norm(dim=-1).numpy())))
    rows.append(row)

print(f"one query, {KEYS} keys, all entries standard normal; means and medians over {DRAWS} draws")
print("           variance     largest weight        |d softmax| reaching the scores (median)")
print("    d_k      of q·k   unscaled   scaled       unscaled     scaled")
for d_k, row in zip(WIDTHS, rows):
    (top, grad), (top_scaled, grad_scaled) = row["unscaled"], row["scaled"]
    print(f"    {d_k:4} {row['variance']:10.1f} {top:10.3f} {top_scaled:8.3f} {grad:14.1e} "
          f"{grad_scaled:10.1e}")

picture = plot.figure(13, 4)
panels = picture.subplots(1, 3)
panels[0].plot(WIDTHS, [row["variance"] for row in rows], color=plot.COLOURS[0], marker="o",
               label="measured")
panels[0].plot(WIDTHS, WIDTHS, color="grey", linestyle=":", label="d_k")
for i, name in enumerate(("scaled", "unscaled")):
    look = dict(color=plot.COLOURS[2 * i], marker=plot.MARKERS[i],
                linestyle=plot.STYLES[i], label=name)
    panels[1].plot(WIDTHS, [row[name][0] for row in rows], **look)
    panels[2].plot(WIDTHS, [row[name][1] for row in rows], **look)
titles = ("Variance of q·k", "Largest attention weight", "Gradient that passes the softmax")
for axes, title, label in zip(panels, titles, ("variance", "mean", "median norm")):
    axes.set_xscale("log", base=4)
    axes.legend(frameon=False)
    plot.style(axes, title, "d_k", label)
panels[0].set_yscale("log")
panels[2].set_yscale("log")
plot.save(picture, "runs/demos/why_scale.png")

if any(abs(row["variance"] / d_k - 1) > 0.2 for d_k, row in zip(WIDTHS, rows)):
    raise SystemExit("the variance of q·k is not d_k")
scaled = [row["scaled"][1] for row in rows]
if max(scaled) > 2 * min(scaled) or rows[-1]["scaled"][0] > 0.5:
    raise SystemExit("with the scale, width should not matter")
if rows[-1]["unscaled"][0] < 0.9 or rows[-1]["unscaled"][1] > 1e-2 * scaled[-1]:
    raise SystemExit("without the scale, the softmax should saturate and the gradient vanish")
print("With 1/√d_k all widths behave alike; without it, the widest head attends to one key and "
      "cannot learn otherwise.")
