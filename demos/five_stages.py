"""One training step of a GPT of 12 blocks: initialise, forward, loss, backward, update."""

import math
import sys

import numpy as np

import npformer as npf
from npformer import optim, plot
from npformer.models import GPT
from npformer.nn import functional as F

B, T, C, V, LR = 4, 8, 16, 50, 1e-3
ITERATIONS = 20 if "--small" in sys.argv else 150

print("1 INITIALISE: every weight is drawn at random")
npf.manual_seed(0)
model = GPT(vocab_size=V, context=T, n_layer=12, n_head=4, d_model=C).double()
adam = optim.Adam(model.parameters(), lr=LR)
W = model.wte.weight
print(f"    {sum(p.numel() for p in model.parameters()):,} numbers in 12 blocks; "
      "the table W of the tokens' vectors, "
      f"{tuple(W.shape)}: mean {W.mean().item():.4f}, std {W.std().item():.4f}")

text = npf.randint(0, V, (B, T + 1))
ids, target = text[:, :-1], text[:, 1:]            # for each token, the one after it

print(f"2 FORWARD: numbers run through the blocks, {B} sequences of {T} tokens, "
      f"each token {C} numbers")
places = npf.arange(T)
x = model.wte(ids) + model.wpe(places)
sizes = [x.norm().item()]
print(f"    embedding   {tuple(x.shape)}   norm {sizes[-1]:.4f}")
for n, block in enumerate(model.h):
    x = block(x)
    sizes.append(x.norm().item())
    print(f"    h.{n:<2}        {tuple(x.shape)}   norm {sizes[-1]:.4f}")
x = model.ln_f(x)
logits = model.logits(x)  # y = W·x, one number for each token that could come next
print(f"    layer norm  {tuple(x.shape)}   norm {x.norm().item():.4f}")
print(f"    W·x         {tuple(logits.shape)}   norm {logits.norm().item():.4f}")

print("3 LOSS: −log of the probability that the right token got, on average")
loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
p = F.softmax(logits, dim=-1).detach().numpy()
right = np.take_along_axis(p, target.numpy()[..., None], axis=-1)
print(f"    {loss.item():.4f}; that of a model that knows nothing is ln {V} = {math.log(V):.4f}; "
      f"the right tokens got {right.min():.4f} to {right.max():.4f}")

print("4 BACKWARD: dL/dw for every weight w, from the last operation to the first")
loss.backward()
gradients = [npf.cat([p.grad.flatten() for p in block.parameters()]).norm().item()
             for block in model.h]
print("    ‖gradient‖ of h.0 to h.11:  " + " ".join(f"{g:.3f}" for g in gradients))
before = [p.detach().clone() for p in model.parameters()]
slopes = np.concatenate([p.grad.numpy().ravel() for p in model.parameters()])
token = ids[0, 0].item()
old, slope = W[token, 0].item(), W.grad[token, 0].item()


def loss_now():
    """The loss of the same batch with the weights as they are."""
    with npf.no_grad():
        return F.cross_entropy(model(ids).flatten(0, 1), target.flatten()).item()


def nudged(h):
    """The loss with one weight moved by h."""
    with npf.no_grad():
        W[token, 0] = old + h
        found = loss_now()
        W[token, 0] = old
    return found


measured = (nudged(1e-5) - nudged(-1e-5)) / 2e-5
print(f"    for one weight, W[{token}, 0]: {slope:.9f}; nudging it by ±0.00001 and looking: "
      f"{measured:.9f}")

print(f"5 UPDATE: every weight steps against its gradient; Adam's first step is of {LR:g}, "
      "be it small or large")
adam.step()
steps = np.concatenate([(p - b).detach().numpy().ravel()
                        for p, b in zip(model.parameters(), before)])
print(f"    W[{token}, 0]: {old:.6f} -> {W[token, 0].item():.6f}")
print(f"    the loss was {loss.item():.4f}; the slopes promise {loss.item() + slopes @ steps:.4f}; "
      f"it is {loss_now():.4f}")

curve = [loss.item()]
for _ in range(ITERATIONS):                        # and so on: forward, loss, backward, update
    again = F.cross_entropy(model(ids).flatten(0, 1), target.flatten())
    adam.zero_grad()
    again.backward()
    adam.step()
    curve.append(again.item())
print(f"after {ITERATIONS} iterations on the same batch: {curve[-1]:.4f}")

picture = plot.figure(12, 4)
left, middle, last = picture.subplots(1, 3)
left.plot(sizes, color=plot.COLOURS[0], marker="o")
left.set_ylim(0, 1.2 * max(sizes))
plot.style(left, "2 forward: each block adds a little", "after how many blocks", "‖x‖")
middle.plot(range(12), gradients, color=plot.COLOURS[1], marker="s")
middle.set_ylim(0, 1.2 * max(gradients))
plot.style(middle, "4 backward: each block gets its share", "block h.n",
           "‖gradient of its weights‖")
last.plot(curve, color=plot.COLOURS[2], linewidth=2)
last.axhline(math.log(V), color="0.4", linestyle=":", label=f"ln {V}: knowing nothing")
last.legend(frameon=False)
plot.style(last, "3 loss, iteration after iteration", "iteration", "loss (nats per token)")
plot.save(picture, "runs/demos/five_stages.png")

if abs(loss.item() + np.log(right).mean()) > 1e-12:
    raise SystemExit("the loss is not the mean of −log p")
if abs(slope - measured) > 1e-8:
    raise SystemExit("backward's slope is not the one that is measured")
steep = np.abs(slopes) > 1e-5
if np.abs(steps + LR * np.sign(slopes))[steep].max() > 1e-2 * LR:
    raise SystemExit("Adam's first step is not of its learning rate")
if not curve[-1] < curve[1] < curve[0]:
    raise SystemExit("the loss does not fall")
print("Each stage is what it should be, and the loss falls.   runs/demos/five_stages.png")
