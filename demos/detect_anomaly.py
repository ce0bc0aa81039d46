"""The first NaN of a training: not where the loss shows it, but the operation, the line and the
reason that made it.

Three classics: a softmax written without subtracting the largest entry, a root at 0 behind a
`where` (right forwards, NaN backwards), and an attention row that sees no key.
"""

import numpy as np

import npformer as npf
from npformer import nn, optim, plot
from npformer.nn import functional as F

LIMIT = float(np.log(npf.finfo(npf.float32).max))  # exp(x) is infinite above it: 88.7


class Classifier(nn.Module):
    """A linear layer and a softmax by hand."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        self.logits = self.layer(x)
        weights = self.logits.exp()                # softmax would subtract the largest entry first
        return weights / weights.sum(-1, keepdim=True)


def message(call):
    """What detect_anomaly says of it."""
    try:
        with npf.debug.detect_anomaly():
            call()
    except npf.GraphError as error:
        return str(error)
    raise SystemExit("no anomaly was found")


npf.manual_seed(0)
x, labels = npf.randn(64, 4) * 3, npf.randint(0, 3, (64,))
model, largest, losses, said = Classifier(), [], [], ""
optimizer = optim.SGD(model.parameters(), lr=1.0)
while not said and len(losses) < 400:
    for group in optimizer.param_groups:
        group["lr"] *= 1.03                        # a learning rate that never stops growing
    try:
        with npf.debug.detect_anomaly():
            p = model(x)
            loss = -p[npf.arange(64), labels].clamp(min=1e-20).log().mean()
            optimizer.zero_grad()
            loss.backward()
    except npf.GraphError as error:
        said = str(error)
    else:
        optimizer.step()
        losses.append(loss.item())
    largest.append(model.logits.amax().item())
print(f"step {len(losses)}: the loss was {losses[-1]:.2f} the step before, and the next would "
      f"be NaN\n{said}\n")

point = npf.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)



def guarded_root():
    squares = point.square().sum(-1)
    npf.where(squares > 0, squares.sqrt(), 0.0).sum().backward()


root = message(guarded_root)
print(f"{root}\n")

q = npf.randn(2, 3, 4, requires_grad=True)
hidden = npf.tensor([[False, True, True], [True, True, True], [False, False, False]])
blind = message(lambda: (q @ q.transpose(1, 2)).masked_fill(hidden, -npf.inf).softmax(-1))
print(f"{blind}\n")
with npf.debug.detect_anomaly():  # the fused attention has an answer for such a row: zeros
    F.scaled_dot_product_attention(q, q, q, ~hidden).sum().backward()

picture = plot.figure(8, 4)
axes = picture.add_subplot()
axes.plot(largest, color=plot.COLOURS[0], label="largest logit")
axes.axhline(LIMIT, color=plot.COLOURS[2], linestyle="--",
             label=f"{LIMIT:.1f}: above it exp is infinite in float32")
axes.plot(len(largest) - 1, largest[-1], color=plot.COLOURS[2], marker="X", markersize=11,
          linestyle="none", label="stopped here: exp and its line are named")
axes.legend(frameon=False)
plot.style(axes, "A softmax by hand, until its exp overflows", "step", "logit")
plot.save(picture, "runs/demos/detect_anomaly.png")

if not (said.startswith("exp: its forward gave infinity") and "detect_anomaly.py" in said
        and "exp overflows" in said):
    raise SystemExit("the overflow of exp should have been named")
if largest[-1] <= LIMIT or max(largest[:-1]) > LIMIT:
    raise SystemExit("it should be named in the first step above the limit, and not before")
if not (root.startswith("sqrt: its backward gave x a gradient with NaN")
        and blind.startswith("softmax: its forward gave NaN")):
    raise SystemExit("the root at 0 and the row without a key should have been named")
print("Each is named where it begins, with its reason. Picture: runs/demos/detect_anomaly.png")
