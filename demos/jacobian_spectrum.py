"""What a block does to a gradient: it is stretched by 1 + dF, whose singular values lie near 1; dF
alone makes it vanish.

The spectrum of dy/dx with its skips and with them cut, of one block and of stacks: a stack's values
are like products, so what is a little below 1 in one block is nothing after twelve.
"""

import sys

import numpy as np

import npformer as npf
from npformer import nn, plot
from npformer.models.deep import DeepBlock

SMALL = "--small" in sys.argv
WIDTH, LENGTH = (8, 4) if SMALL else (32, 8)
DEPTHS = (1, 4, 12)

spectra = {}
for arrangement in ("pre", "post"):
    npf.manual_seed(0)
    blocks = [DeepBlock(WIDTH, 4, 4 * WIDTH, max(DEPTHS), arrangement).double()
              for _ in range(max(DEPTHS))]
    x = npf.randn(1, LENGTH, WIDTH, dtype=npf.float64)
    for depth in DEPTHS:
        found = spectra[arrangement, depth] = npf.debug.jacobian_spectrum(
            nn.Sequential(*blocks[:depth]), x)
        print(f"{arrangement}-LN, {depth} block{'s' * (depth > 1)}\n{found}\n")

picture = plot.figure(11, 4.4)
panels = picture.subplots(1, 2, sharey=True)
for axes, (arrangement, title) in zip(panels, (("pre", "Pre-LN: x + F(norm(x))"),
                                               ("post", "Post-LN: norm(x + F(x))"))):
    for i, depth in enumerate(DEPTHS):
        found = spectra[arrangement, depth]
        places = np.arange(len(found.values)) / len(found.values) * 100
        for values, line, words in ((found.values, "-", "with the skips"),
                                    (found.branches, "--", "skips cut")):
            axes.plot(places, np.where(values > 1e-9 * values[0], values, np.nan), line,
                      color=plot.COLOURS[i], label=f"{depth} block{'s' * (depth > 1)}, {words}")
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_ylim(bottom=1e-12)
    plot.style(axes, title, "share of the directions (%)",
               "singular value of dy/dx" if arrangement == "pre" else "")
panels[1].legend(frameon=False, fontsize=8)
path = f"runs/demos/jacobian_spectrum{'_small' if SMALL else ''}.png"
plot.save(picture, path)

median = {key: (float(np.median(found.values)), float(np.median(found.branches)))
          for key, found in spectra.items()}
deep, shallow = median["pre", max(DEPTHS)], median["pre", 1]
print(f"pre-LN, median of the directions: with the skips {shallow[0]:.2f} after 1 block and "
      f"{deep[0]:.2f} after {max(DEPTHS)}; "
      f"skips cut {shallow[1]:.2g} and {deep[1]:.2g}")
if not 0.2 < deep[0] < 5:
    raise SystemExit("with the skips a gradient should keep its size")
if deep[1] > 1e-3 * deep[0]:
    raise SystemExit("with the skips cut it should vanish with depth")
print(f"With the skips a gradient passes 12 blocks; with them cut it does not. Picture: {path}")
