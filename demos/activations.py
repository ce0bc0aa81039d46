"""Every activation and its derivative: the derivative drawn is what backward gives, held against
finite differences."""

import numpy as np

import npformer as npf
from npformer import plot
from npformer.nn import functional as F

NAMES = ("relu", "leaky_relu", "relu6", "hardtanh", "gelu", "silu", "mish", "elu", "selu",
         "celu", "softplus", "sigmoid", "logsigmoid", "tanh", "softsign", "tanhshrink")
SHOWN = (-2.0, 0.0, 4.0)                           # three neurons' outputs, before the activation


def derivative(function, points):
    """dy/dx at each point. y[i] depends on x[i] alone, so an upstream of ones gives them all."""
    x = npf.tensor(points, requires_grad=True)
    function(x).sum().backward()
    return x.grad.numpy()


def finite_difference(function, points, h=1e-6):
    """(f(x + h) − f(x − h)) / 2h."""
    above, below = function(npf.tensor(points + h)), function(npf.tensor(points - h))
    return (above.numpy() - below.numpy()) / (2 * h)


points = np.linspace(-5, 7, 402)  # so that none of them is on a kink, at −1, 0, 1 or 6
picture = plot.figure(12, 10)
worst = {}
print(f"{'':12} " + "   ".join(f"f({x:g})".rjust(8) for x in SHOWN)
      + "   f' from    to         error")
for name, axes in zip(NAMES, picture.subplots(4, 4, sharex=True).flat):
    function = getattr(F, name)
    values, slope = function(npf.tensor(points)).numpy(), derivative(function, points)
    worst[name] = np.abs(slope - finite_difference(function, points)).max()
    shown = "   ".join(f"{y:8.4f}" for y in function(npf.tensor(SHOWN)).tolist())
    print(f"{name:12} {shown}   {slope.min():7.3f}   {slope.max():5.3f}   {worst[name]:8.0e}")
    axes.plot(points, values, color=plot.COLOURS[0], linewidth=2, label="f")
    axes.plot(points, slope, color=plot.COLOURS[2], linewidth=2, linestyle="--", label="f'")
    axes.axhline(0, color="0.6", linewidth=0.8)
    plot.style(axes, name, "", "")
    both = np.clip([values, slope], -3, 4)
    axes.set_ylim(both.min() - 0.3, both.max() + 0.3)
picture.axes[0].legend(frameon=False)
picture.suptitle("Activations (solid) and their derivatives (dashed). Where f' is 0, "
                 "no gradient comes through",
                 fontsize=13)
plot.save(picture, "runs/demos/activations.png")

x = npf.linspace(-4, 4, 81, dtype=npf.float64)
apart = (F.gelu(x) - F.gelu(x, approximate="tanh")).abs().max().item()
print(f"GPT-2's gelu (the tanh form) is at most {apart:.5f} from the exact one")
if F.relu(npf.tensor(SHOWN)).tolist() != [0, 0, 4]:
    raise SystemExit("relu must make -2 and 0 to 0, and leave 4 alone")
if max(worst.values()) > 1e-8:
    raise SystemExit(f"a derivative is not the slope of its function: {worst}")
if not 0 < apart < 1e-3:
    raise SystemExit(f"the two forms of gelu are {apart} apart")
print("Every derivative is the slope of its function.   runs/demos/activations.png")
