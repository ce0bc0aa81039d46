"""Operations with a backward by hand, gradients of gradients, and a straight-through estimator."""

import torch
from torch import nn
from torch.autograd import Function


class Softmax(Function):
    @staticmethod
    def forward(ctx, x, dim):
        y = torch.exp(x - x.amax(dim, keepdim=True))
        y = y / y.sum(dim, keepdim=True)
        ctx.save_for_backward(y)
        ctx.dim = dim
        return y

    @staticmethod
    def backward(ctx, grad_output):
        (y,) = ctx.saved_tensors
        return y * (grad_output - (grad_output * y).sum(ctx.dim, keepdim=True)), None


class Round(Function):
    """Straight through: round forwards, the identity backwards."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, g):
        return g


class SplitNorm(Function):
    """Two results: the direction and the length of each row."""

    @staticmethod
    def forward(ctx, x):
        length = x.norm(dim=-1, keepdim=True)
        direction = x / length
        ctx.save_for_backward(direction, length)
        return direction, length

    @staticmethod
    def backward(ctx, g_direction, g_length):
        direction, length = ctx.saved_tensors
        if not ctx.needs_input_grad[0]:
            return None
        inward = (g_direction * direction).sum(-1, keepdim=True)
        return (g_direction - inward * direction) / length + g_length * direction


def quantize(x, codebook):
    """A vector-quantised code: the nearest entry forwards, the identity backwards."""
    distances = (x.pow(2).sum(1, keepdim=True) + codebook.weight.pow(2).sum(1)
                 - 2 * x @ codebook.weight.t())
    nearest = torch.argmin(distances, dim=1)
    q = codebook(nearest)
    return x + (q - x).detach(), nearest, nn.functional.mse_loss(q, x.detach())


def build():
    return nn.ModuleDict({"critic": nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 1)),
                          "codebook": nn.Embedding(6, 4)})


def run(model):
    x = torch.linspace(-1.7, 2.1, 20).sin().reshape(5, 4).requires_grad_()
    weights = torch.arange(20.0).view(5, 4).to(x)
    y = Softmax.apply(x, -1)
    (y * weights).sum().backward()
    results = {"softmax": y, "its gradient": x.grad.clone(),
               "as the built-in": torch.allclose(y, x.softmax(-1), atol=1e-6)}
    x.grad.zero_()
    (Round.apply(x * 3) * weights).sum().backward()
    results["straight through"] = x.grad.clone()
    x.grad = None
    direction, length = SplitNorm.apply(x)
    (direction * weights).sum().add(length.prod()).backward()
    results["two outputs"] = x.grad.clone()

    score = model["critic"](x)
    (slope,) = torch.autograd.grad(outputs=score, inputs=x, grad_outputs=torch.ones_like(score),
                                   create_graph=True, retain_graph=True)
    penalty = ((slope.norm(2, dim=1) - 1) ** 2).mean()
    penalty.backward()
    results["penalty"] = penalty.item()
    results["second order"] = {n: p.grad for n, p in model["critic"].named_parameters()
                               if p.grad is not None}

    x.grad = None
    q, nearest, commitment = quantize(x, model["codebook"])
    (q * weights).mean().add(commitment).backward()
    results["codes"] = nearest
    results["through the codes"] = [x.grad, model["codebook"].weight.grad]

    def energy(v):
        return (v**3).sum() + v.prod()

    v = torch.tensor([1.0, -2.0, 0.5])
    results["hessian"] = torch.autograd.functional.hessian(energy, v)
    results["jacobian"] = torch.autograd.functional.jacobian(lambda t: t.exp() * t.sum(), v)
    return results


if __name__ == "__main__":
    print(run(build()))
