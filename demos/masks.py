"""A causal mask lets no later position into an output, a padding mask no padding: not a little of
it, none at all."""

import numpy as np

import npformer as npf
from npformer import nn, plot

B, T, C, LENGTHS = 3, 10, 16, (10, 7, 4)

npf.manual_seed(0)
layer = nn.TransformerEncoderLayer(C, 4, 32, dropout=0.0, batch_first=True).double()
stack = nn.TransformerEncoder(layer, 3)
x = npf.randn(B, T, C, dtype=npf.float64)
causal = nn.Transformer.generate_square_subsequent_mask(T, dtype=npf.float64)
padding = npf.arange(T) >= npf.tensor(LENGTHS)[:, None]  # (B, T), True: there is nothing here


def reach(**masks):
    """|d out_t / d x_s| for each sequence, output t and input s: (B, T, T)."""
    found = np.zeros((B, T, T))
    for t in range(T):
        at = x.clone().requires_grad_()
        out = stack(at, **masks)[:, t]
        d, = npf.autograd.grad(out, at, npf.randn(*out.shape, dtype=npf.float64))
        found[:, t] = d.norm(dim=-1).numpy()
    return found


kinds = {"no mask": {}, "causal": dict(mask=causal, is_causal=True),
         "padding": dict(src_key_padding_mask=padding)}
reaches = {name: reach(**masks) for name, masks in kinds.items()}
later = np.triu(np.ones((T, T), bool), 1)
# (B, T, S): a real t, a padded s
padded = padding.numpy()[:, None, :] & ~padding.numpy()[:, :, None]
print("the largest |d out_t / d x_s|      later s      padded s")
for name, found in reaches.items():
    print(f"    {name:26} {found[:, later].max():11.3g}   {found[padded].max():11.3g}")


def change(at, **masks):
    """Each output's largest change, (B, T), when the inputs where `at` is True are replaced."""
    other = npf.where(at[..., None], 100 * npf.randn(B, T, C, dtype=npf.float64), x)
    return (stack(x, **masks) - stack(other, **masks)).abs().amax(dim=-1).detach().numpy()


after = (npf.arange(T) >= 6).expand(B, T)
causal_change, free_change = change(after, **kinds["causal"]), change(after)
padding_change = change(padding, **kinds["padding"])
kept = ~padding.numpy()
print(f"inputs 6 to 9 replaced: outputs 0 to 5 change by {causal_change[:, :6].max():.3g} under "
      "the causal mask, "
      f"by {free_change[:, :6].max():.3g} without it")
print(f"padding replaced: real outputs change by {padding_change[kept].max():.3g} under "
      "the padding mask")

picture = plot.figure(12, 4.6)
for axes, (name, found) in zip(picture.subplots(1, 3), reaches.items()):
    shown = axes.imshow(np.where(found[1] == 0, np.nan, np.log10(np.maximum(found[1], 1e-300))),
                        cmap="cividis", vmin=-1, vmax=1)
    plot.style(axes, {"no mask": "no mask", "causal": "causal mask",
                      "padding": "padding mask"}.get(name, name),
               "input s", "output t")
    axes.grid(False)
picture.colorbar(shown, ax=picture.axes, label="log₁₀ |d out_t / d x_s|; white: exactly 0",
                 fraction=0.02)
picture.suptitle("What each output depends on. A padded place still reaches itself, "
                 "through the skip", fontsize=11)
plot.save(picture, "runs/demos/masks.png")

if reaches["causal"][:, later].any() or causal_change[:, :6].any():
    raise SystemExit("a later position reaches an output under the causal mask")
if reaches["padding"][padded].any() or padding_change[kept].any():
    raise SystemExit("padding reaches an output under the padding mask")
lower = reaches["causal"][:, ~later]
if not (reaches["no mask"].min() > 0 and lower.min() > 0 and free_change[:, :6].min() > 1e-6):
    raise SystemExit("this proves nothing: positions that should be seen are not")
print("Under the masks it is zero, exactly; everything else is seen.")
