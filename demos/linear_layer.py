"""y = W·x + b, as a recipe for a drink: what the layer computes, and how it finds W and b from
tastings alone."""

import numpy as np

import npformer as npf
from npformer import nn, optim, plot
from npformer.nn import functional as F

# A spoon of sugar makes it 2 sweeter, a spoon of lemon 1 sourer; even without them it is 1 sweet
# and 1 sour.
W, b = npf.tensor([[2.0, 0.0], [0.0, 1.0]]), npf.tensor([1.0, 1.0])
spoons = npf.tensor([3.0, 2.0])
taste = F.linear(spoons, W, b)
print(f"3 spoons of sugar, 2 of lemon: sweetness {taste[0].item():g}, sourness {taste[1].item():g}")

npf.manual_seed(0)
print("Linear(10, 5) makes of (3, 10):", tuple(nn.Linear(10, 5)(npf.randn(3, 10)).shape))

layer = nn.Linear(2, 2).double()
sgd = optim.SGD(layer.parameters(), lr=0.05)
print("start:    W", np.round(layer.weight.tolist(), 4).tolist(), " b",
      np.round(layer.bias.tolist(), 4).tolist())
way = []
for _ in range(1000):                               # 16 drinks a time, tasted
    x = npf.rand(16, 2, dtype=npf.float64) * 4
    loss = F.mse_loss(layer(x), F.linear(x, W.double(), b.double()))
    sgd.zero_grad()
    loss.backward()
    sgd.step()
    way.append([*layer.weight.detach().numpy().ravel(), *layer.bias.detach().numpy()])
found_W, found_b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
print("learned:  W", np.round(found_W, 4).tolist(), " b", np.round(found_b, 4).tolist())

picture = plot.figure()
axes = picture.add_subplot()
names = ("sugar to sweet", "lemon to sweet", "sugar to sour", "lemon to sour", "sweet without any",
         "sour without any")
for i, (name, line) in enumerate(zip(names, np.transpose(way))):
    axes.plot(line, color=plot.COLOURS[i], linestyle=plot.STYLES[i % len(plot.STYLES)],
              linewidth=2, label=name)
axes.legend(frameon=False, ncols=3, loc="upper right")
axes.set_ylim(top=2.9)
plot.style(axes, "W and b find the recipe: 2, 0, 0, 1 and 1, 1", "step", "weight")
plot.save(picture, "runs/demos/linear_layer.png")

if taste.tolist() != [7, 3]:
    raise SystemExit(f"it should taste 7 sweet and 3 sour, not {taste.tolist()}")
error = max(np.abs(found_W - W.numpy()).max(), np.abs(found_b - b.numpy()).max())
if error > 0.02:
    raise SystemExit(f"the recipe was not found: off by {error}")
print(f"The recipe was found, to {error:.1g}.   runs/demos/linear_layer.png")
