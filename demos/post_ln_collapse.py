"""A post-LN layer of width 2 turns every input into (1, −1) or (−1, 1) and sends no gradient;
norm_first=True cures it.

LayerNorm takes two directions out of C: the mean, and the length. With C = 2 nothing is left but a
sign: dx = r·(d − mean d − x̂·mean(d·x̂)) = 0, since (1, 1) and x̂ = ±(1, −1) span the plane.
"""

import numpy as np

import npformer as npf
from npformer import nn, plot

WIDTHS = (2, 3, 4, 8, 16)
NAMES = {False: "post-LN", True: "pre-LN (norm_first)"}


def layer(width, norm_first):
    """The seed's layer, and wider ones."""
    npf.manual_seed(0)
    heads = 1 if width % 2 else 2
    made = nn.TransformerEncoderLayer(d_model=width, nhead=heads, batch_first=True,
                                      norm_first=norm_first)
    return made.double().eval()


def measured(width, norm_first):
    """(outputs, the share of the inputs' variance that is linear in them, |dL/dx| per entry)."""
    npf.manual_seed(1)
    x = npf.randn(32, 8, width, dtype=npf.float64, requires_grad=True)
    y = layer(width, norm_first)(x)
    d, = npf.autograd.grad(y, x, npf.randn(*y.shape, dtype=npf.float64))
    out, wanted = y.detach().numpy().reshape(-1, width), x.detach().numpy().reshape(-1, width)
    known = np.column_stack([out, np.ones(len(out))])
    missed = wanted - known @ np.linalg.lstsq(known, wanted, rcond=1e-6)[0]
    return out, 1 - missed.var() / wanted.var(), d.square().mean().sqrt().item()


npf.manual_seed(2)
x = npf.randn(2, 8, 2, dtype=npf.float64)
found = {name: {width: measured(width, norm_first) for width in WIDTHS}
         for norm_first, name in NAMES.items()}
for norm_first, name in NAMES.items():
    out, kept, d = found[name][2]
    print(f"{name}: TransformerEncoderLayer(d_model=2, nhead=2, batch_first=True), "
          "first half of a sequence")
    print("    in ", "  ".join(f"({a:+.4f}, {b:+.4f})" for a, b in x[0, :4].numpy()))
    print("    out", "  ".join(f"({a:+.4f}, {b:+.4f})"
                               for a, b in layer(2, norm_first)(x)[0, :4].detach().numpy()))
    print(f"    256 inputs: median of ||out| − 1| {np.median(np.abs(np.abs(out) - 1)):.1e}; "
          f"{kept:.0%} of the inputs can be read from the outputs")

# Why: the Jacobian of LayerNorm lets C − 2 directions through.
ranks = {}
print("LayerNorm's Jacobian, in units of r = 1/√(σ² + eps): "
      "a direction passes with 1, or is taken out")
for width in WIDTHS:
    at = npf.randn(width, dtype=npf.float64) * 3
    J = npf.autograd.jacobian(nn.LayerNorm(width).double(), at).numpy()
    singular = np.linalg.svd(J, compute_uv=False) * at.std(correction=0).item()
    ranks[width] = int((singular > 0.5).sum())
    print(f"    C = {width:2}: {ranks[width]:2} of {width:2} pass; the last singular values are",
          " ".join(f"{s:.1e}" for s in singular[-3:]))
print("|dL/dx| per entry, for a random dL/dy\n    C             ",
      "".join(f"{width:>10}" for width in WIDTHS))
for name, at in found.items():
    print(f"    {name.split()[0]:14}", "".join(f"{at[width][2]:10.1e}" for width in WIDTHS))

picture = plot.figure(13, 4.2)
panels = picture.subplots(1, 3)
for i, (name, at) in enumerate(found.items()):
    look = dict(color=plot.COLOURS[2 - 2 * i], marker=plot.MARKERS[i], label=name)
    panels[0].scatter(*at[2][0].T, s=70 - 58 * i, zorder=3 - i, **look)
    panels[2].plot(WIDTHS, [at[width][2] for width in WIDTHS], linestyle=plot.STYLES[i], **look)
plot.style(panels[0], "Width 2: outputs of 256 inputs", "out₀", "out₁")
panels[1].plot(WIDTHS, list(ranks.values()), color=plot.COLOURS[0], marker="o",
               label="directions that pass")
panels[1].plot(WIDTHS, WIDTHS, color="grey", linestyle=":", label="all C of them")
plot.style(panels[1], "LayerNorm's Jacobian has rank C − 2", "width C", "rank")
panels[2].set_yscale("log")
plot.style(panels[2], "Gradient that reaches the input", "width C", "|dL/dx| per entry")
for axes in panels:
    axes.legend(frameon=False)
plot.save(picture, "runs/demos/post_ln_collapse.png")

(post, post_kept, post_d), (pre, pre_kept, pre_d) = (at[2] for at in found.values())
if np.median(np.abs(np.abs(post) - 1)) > 1e-3 or not (np.sign(post).sum(axis=1) == 0).all():
    raise SystemExit("post-LN of width 2 should give ±1 and nothing else")
if ranks != {width: width - 2 for width in WIDTHS}:
    raise SystemExit(f"LayerNorm should take out two directions and no more: {ranks}")
if np.median(np.abs(np.abs(pre) - 1)) < 0.1 or pre_kept < post_kept + 0.3 or pre_d < 1e3 * post_d:
    raise SystemExit("pre-LN should neither collapse nor lose its gradient")
print("Width 2 leaves LayerNorm one bit a token. Inside the branch it does no harm: "
      "the skip goes round it.")
