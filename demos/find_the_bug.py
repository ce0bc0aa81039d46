"""A layer's own backward pass is wrong. The model trains anyway; the debugger finds the line.

`npformer step demos/find_the_bug.py` steps through it, as docs/debugger.md does; `--fixed` works.
"""

import sys

import numpy as np

import npformer as npf
from npformer import nn, optim, plot
from npformer.nn import functional as F

CONTEXT, WIDTH, STEPS = 32, 32, 200 if "--small" in sys.argv else 600
PAIRS = [divmod(7919 * k % 10_000, 100) for k in range(10_000)]    # each once: 7919 is prime
SUMS = "".join(f"{a}+{b}={a + b}\n" for a, b in PAIRS)


class RMSNormFunction(npf.autograd.Function):
    """y = x·r·weight, r = 1/√(mean(x²) + ε)."""

    @staticmethod
    def forward(ctx, x, weight):
        r = 1 / (x * x).mean(-1, keepdim=True).add(1e-6).sqrt()
        ctx.save_for_backward(x, weight, r)
        return x * r * weight

    @staticmethod
    def backward(ctx, g):
        x, weight, r = ctx.saved_tensors
        d = g * weight
        dweight = (g * x * r).sum(dim=(0, 1))
        return d * r, dweight


class Fixed(RMSNormFunction):
    """y = x·r·weight, r = 1/√(mean(x²) + ε), with the term that was forgotten: r depends on x too.

        dx = r · (d − x̂·mean(d·x̂)),  d = g·weight,  x̂ = x·r        dweight = Σ g·x̂
    """

    @staticmethod
    def backward(ctx, g):
        x, weight, r = ctx.saved_tensors
        d, xhat = g * weight, x * r
        dweight = (g * xhat).sum(dim=(0, 1))
        return r * (d - xhat * (d * xhat).mean(-1, keepdim=True)), dweight


class RMSNorm(nn.Module):
    """The norm as a layer, by either Function."""

    def __init__(self, function):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(npf.ones(WIDTH))

    def forward(self, x):
        return self.function.apply(x, self.weight)


class Block(nn.Module):
    """x + attention(norm1(x)), and to that feed_forward(norm2(·))."""

    def __init__(self, function):
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(function), RMSNorm(function)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Model(nn.Module):
    """The next character's logits."""

    def __init__(self, characters, function):
        super().__init__()
        self.embedding, self.places = nn.Embedding(characters, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*[Block(function) for _ in range(2)])
        self.norm, self.head = RMSNorm(function), nn.Linear(WIDTH, characters)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.embedding(x) + self.places.weight)))


def training(function):
    """(model, a function that computes the next batch's loss); the same weights at each call."""
    npf.manual_seed(0)
    tokenizer = npf.data.CharTokenizer.of(SUMS)
    batches = npf.data.Batches(tokenizer.encode(SUMS), batch=8, context=CONTEXT)
    model = Model(len(tokenizer), function).double()

    def loss_of():
        x, y = next(batches)
        return F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    return model, loss_of


def train(function):
    """The mean loss of the last steps."""
    model, loss_of = training(function)
    optimizer, losses = optim.Adam(model.parameters(), 3e-3), []
    for _ in range(STEPS):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    last = sum(losses[-20:]) / 20
    print(f"{function.__name__:15}  loss {losses[0]:.3f} at first, {last:.3f} after {STEPS} steps")
    return last


def look(function):
    """The names of the steps whose rule is wrong, and the rule's Jacobian d(y)/d(x) at one place of
    the first of its steps."""
    trace = npf.debug.trace(training(function)[1])
    first = next(step for step in trace if step.op == function.__name__)
    jacobian = first.jacobian("x", rows=(0, 0), columns=(0, 0))
    return [step.name for step in trace if not step.check()], jacobian


def draw(wrong, right):
    """Both Jacobians side by side."""
    picture = plot.figure(8, 4)
    most = np.abs(right - np.diag(right.diagonal())).max()
    titles = ("the rule that was written", "the right one")
    for axes, title, jacobian in zip(picture.subplots(1, 2), titles, (wrong, right)):
        axes.imshow(jacobian, cmap="PuOr", vmin=-most, vmax=most)
        axes.set_title(f"d(y)/d(x): {title}", fontsize=9)
        axes.set_axis_off()
    plot.save(picture, "runs/demos/find_the_bug.png")


if __name__ == "__main__":
    functions = [Fixed] if "--fixed" in sys.argv else [RMSNormFunction, Fixed]
    losses = [train(function) for function in functions]
    (wrong, written), (none, right) = look(RMSNormFunction), look(Fixed)
    print("wrong by the debugger's check:", *wrong, sep="\n    ")
    draw(written, right)
    if none or len(wrong) != 5 or not all(name.endswith("RMSNormFunction") for name in wrong):
        raise SystemExit(f"not the steps that are wrong: {wrong}, {none}")
    if losses[0] < losses[-1]:
        raise SystemExit("the mistake did no harm")
    print("It trains with the mistake, but worse; and each of the five "
          "steps that it is in was found.\n"
          "Picture: runs/demos/find_the_bug.png")
