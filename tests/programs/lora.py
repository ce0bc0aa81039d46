"""Low-rank adapters: layers exchanged inside a model, frozen, merged, saved apart and loaded."""

import io

import torch
import torch.nn as nn
import torch.nn.functional as F


class LoRALinear(nn.Module):
    def __init__(self, base: nn.Linear, rank: int = 2, alpha: float = 4.0):
        super().__init__()
        self.base = base
        self.base.weight.requires_grad = False
        if self.base.bias is not None:
            self.base.bias.requires_grad = False
        self.lora_A = nn.Parameter(
            torch.linspace(-1, 1, rank * base.in_features).view(rank, base.in_features))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        self.scaling = alpha / rank
        self.merged = False

    def forward(self, x):
        y = self.base(x)
        if not self.merged:
            y = y + F.linear(F.linear(x, self.lora_A), self.lora_B) * self.scaling
        return y

    @torch.no_grad()
    def merge(self):
        self.base.weight += (self.lora_B @ self.lora_A) * self.scaling
        self.merged = True

    def extra_repr(self):
        return f"scaling={self.scaling}"


def adapt(module):
    """Put an adapter around every Linear layer below, however deep."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, LoRALinear(child))
        else:
            adapt(child)


def build():
    return nn.Sequential(
        nn.Linear(6, 10), nn.Tanh(),
        nn.Sequential(nn.LayerNorm(10), nn.Linear(10, 10, bias=False), nn.ReLU(inplace=True)),
        nn.Linear(10, 3),
    )


def run(model):
    before = {name: p.clone() for name, p in model.state_dict().items()}
    adapt(model)
    for p in model[2][0].parameters():
        p.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam([
        {"params": [p for n, p in model.named_parameters() if n.endswith("lora_A")], "lr": 1e-2},
        {"params": [p for n, p in model.named_parameters() if n.endswith("lora_B")]},
    ], lr=5e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)
    x = torch.arange(48).view(8, 6).remainder(7) / 3.0 - 1
    y = torch.arange(8) % 3
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(float(loss))
    apart = model(x)
    adapters = {k: v for k, v in model.state_dict().items() if "lora_" in k}
    buffer = io.BytesIO()
    torch.save(adapters, buffer)
    buffer.seek(0)
    for module in model.modules():
        if isinstance(module, LoRALinear):
            module.merge()
    together = model(x)

    other = build()
    other.load_state_dict(before)
    adapt(other)
    answer = other.load_state_dict(torch.load(buffer), strict=False)
    try:
        build().load_state_dict(adapters)
        refused = False
    except RuntimeError as error:
        refused = "0.lora_A" in str(error)
    return {
        "losses after steps": losses,
        "rates": [group["lr"] for group in optimizer.param_groups],
        "trained": [tuple(p.shape) for p in trained],
        "output after steps": apart,
        "merging changes nothing": torch.allclose(apart, together, atol=1e-5),
        "loading brings it back": torch.allclose(other(x), apart, atol=1e-5),
        "missing": answer.missing_keys,
        "unexpected": answer.unexpected_keys,
        "refused": refused,
        "model": repr(model),
    }


if __name__ == "__main__":
    print(run(build()))
