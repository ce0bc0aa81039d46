"""Looking inside: hooks on modules and tensors, retained gradients, freezing, averaged weights."""

import copy
from collections import OrderedDict, defaultdict
from functools import partial

import torch
import torch.nn as nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(OrderedDict([
            ("up", nn.Linear(width, 2 * width)), ("act", nn.ReLU()),
            ("down", nn.Linear(2 * width, width)),
        ]))

    def forward(self, x):
        attended, self.weights = self.attn(x, x, x, need_weights=True)
        x = self.norm(x + attended)
        return x + self.mlp(x)


class Net(nn.Module):
    def __init__(self, width=8, depth=3):
        super().__init__()
        self.stem = nn.Linear(5, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.heads = nn.ModuleDict({"value": nn.Linear(width, 1), "policy": nn.Linear(width, 4)})
        self.register_buffer("calls", torch.tensor(0))
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        self.calls += 1
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(x) * self.scale if i else block(x)
        pooled = x.mean(dim=1)
        return {name: head(pooled) for name, head in self.heads.items()}


class EMA:
    def __init__(self, model, decay=0.9):
        self.decay = decay
        self.model = copy.deepcopy(model).eval()
        for p in self.model.parameters():
            p.requires_grad_(False)

    @torch.no_grad()
    def update(self, model):
        for ours, theirs in zip(self.model.parameters(), model.parameters()):
            ours.mul_(self.decay).add_(theirs, alpha=1 - self.decay)
        for ours, theirs in zip(self.model.buffers(), model.buffers()):
            ours.copy_(theirs)


def build():
    return Net()


def run(model):
    seen, sent, order = {}, defaultdict(list), []

    def keep(name, module, args, output):
        seen[name] = output.detach().clone()

    def keep_gradient(name, module, grad_input, grad_output):
        sent[name].append((grad_input[0], grad_output[0]))
        order.append(name)

    handles = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.LayerNorm)) and "out_proj" not in name:
            handles.append(module.register_forward_hook(partial(keep, name)))
            handles.append(module.register_full_backward_hook(partial(keep_gradient, name)))
    halved = model.blocks[1].mlp.register_forward_pre_hook(lambda module, args: (args[0] * 0.5,))

    for p in model.stem.parameters():
        p.requires_grad = False
    ema = EMA(model)
    optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, model.parameters()),
                                lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)
    x = torch.linspace(-1, 1, 4 * 6 * 5).cos().view(4, 6, 5)
    x.requires_grad_(True)
    outputs = model(x)
    outputs["policy"].retain_grad()
    outputs["policy"].register_hook(lambda g: g.clamp(-0.05, 0.05))
    target = torch.tensor([3, 0, 2, 2])
    loss = nn.functional.cross_entropy(outputs["policy"], target)
    loss = loss + outputs["value"].squeeze(-1).pow(2).mean()
    loss.backward()
    results = {
        "loss": loss.item(),
        "seen": dict(seen),
        "sent": {name: [t for pair in pairs for t in pair if t is not None]
                 for name, pairs in sorted(sent.items())},
        "order": order[:4],
        "attention": model.blocks[0].weights,
        "retained": outputs["policy"].grad,
        "dx": x.grad,
        "gradients": {n: p.grad for n, p in model.named_parameters() if p.grad is not None},
        "frozen": [n for n, p in model.named_parameters() if p.grad is None],
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    for handle in handles:
        handle.remove()
    halved.remove()
    seen.clear()
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        out = model(x.detach())
        loss = nn.functional.cross_entropy(out["policy"], target)
        loss = loss + out["value"].squeeze(-1).pow(2).mean()
        loss.backward()
        optimizer.step()
        ema.update(model)
        losses.append(loss.item())
    results["losses after steps"] = losses
    results["hooks are gone"] = not seen
    results["calls"] = [int(model.calls), ema.model.calls.item()]
    results["average after steps"] = dict(ema.model.named_parameters())
    results["children"] = [name for name, _ in model.named_children()]
    results["parts"] = [str(model.heads), str(model.blocks[0].mlp), repr(model.scale)]
    return results


if __name__ == "__main__":
    print(run(build()))
