"""The TinyTransformer's gradients by PyTorch's own autograd, to hold `npformer demo` against."""

import math

from ...core.devices import to_numpy
from ...extras import extra


def torch_gradients(model, x, y):
    """{name: gradient array} that PyTorch finds with the model's weights.   x, y integers (B, T)"""
    torch = extra("torch", "The comparison with PyTorch")
    w = {name: torch.tensor(to_numpy(p.array), requires_grad=True)
         for name, p in model.named_parameters()}
    x, y = torch.tensor(to_numpy(x.array)), torch.tensor(to_numpy(y.array))

    def linear(name, h):
        return h @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name, h):
        weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        return torch.nn.functional.layer_norm(h, h.shape[-1:], weight, bias)

    def block(at, h):
        B, T, C = h.shape
        q, k, v = (linear(at + name, h).view(B, T, model.blocks[0].n_heads, -1).transpose(1, 2)
                   for name in ("query", "key", "value"))          # (B, H, T, K)
        scores = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).masked_fill(
            torch.ones(T, T).tril() == 0, -math.inf)               # (B, H, T, T)
        heads = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, C)
        h = norm(at + "norm1", h + linear(at + "out_proj", heads))
        return norm(at + "norm2", h + linear(at + "ff2", linear(at + "ff1", h).relu()))

    h = w["char_embedding.weight"][x] + w["pos_embedding.weight"][:x.shape[1]]
    for at in (f"blocks.{n}." for n in range(len(model.blocks))):
        h = block(at, h)
    loss = torch.nn.functional.cross_entropy(linear("output_head", h).flatten(0, 1), y.flatten())
    loss.backward()
    return {name: p.grad.numpy() for name, p in w.items()}
