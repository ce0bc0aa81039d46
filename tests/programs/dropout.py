"""Dropout in training and evaluation, seeds, devices, and the switches at a program's top."""

import random

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


def set_seed(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def pick_device():
    if torch.cuda.is_available():
        return torch.device("cuda")
    if hasattr(torch.backends, "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


class Net(nn.Module):
    def __init__(self, p=0.25):
        super().__init__()
        self.embed = nn.Embedding(9, 8, padding_idx=0)
        self.layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, dropout=p,
                                                batch_first=True)
        self.drop = nn.Dropout(p)
        self.bn = nn.BatchNorm1d(8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.layer(self.embed(x))
        x = self.bn(x.transpose(1, 2)).transpose(1, 2)
        return self.fc(self.drop(x))


def build():
    return Net()


def run(model):
    torch.set_printoptions(precision=4, sci_mode=False)
    torch.autograd.set_detect_anomaly(False)
    torch.set_float32_matmul_precision("high")
    device = pick_device()
    model = model.to(device)
    tokens = torch.tensor([[1, 2, 3, 4, 0], [5, 6, 7, 8, 2]], device=device)

    set_seed(11)
    first = model.train()(tokens)
    set_seed(11)
    second = model(tokens)
    third = model(tokens)
    running = int(model.bn.num_batches_tracked)
    model.bn.reset_running_stats()
    with torch.inference_mode():
        quiet = model.eval()(tokens)

    ones = torch.ones(200, 300)
    dropped = F.dropout(ones, p=0.3, training=True)
    share = (dropped == 0).float().mean().item()
    kept = dropped[dropped != 0]
    with torch.no_grad():
        untracked = model(tokens).requires_grad
    with torch.enable_grad():
        tracked = model(tokens).requires_grad
    loss = F.cross_entropy(model(tokens).reshape(-1, 4),
                           torch.tensor([0, 1, 2, 3, -100, 1, 1, 0, -100, 2]))
    loss.backward()
    return {
        "a seed repeats": torch.equal(first, second), "without it, not": torch.equal(second, third),
        "running": running,
        "evaluated": quiet.clone(),
        "share": abs(share - 0.3) < 0.01, "kept": [kept.min(), kept.max()],
        "eval drops nothing": torch.equal(F.dropout(ones, 0.3, training=False), ones),
        "modes": [untracked, tracked, model.training, torch.is_grad_enabled()],
        "loss": loss.item(),
        "gradients": {n: p.grad for n, p in model.named_parameters()},
        "padding row": model.embed.weight.grad[0].abs().sum().item(),
        "device": str(device), "same": tokens.device == device,
        "type": next(model.parameters()).device.type,
        "text": f"loss {loss.item():.3f} on {device}, {tokens.shape[0]} rows of {len(tokens[0])}",
        "shape": tokens.shape == (2, 5), "numbers": tokens.size(), "elements": torch.numel(tokens),
        "is it": [torch.is_tensor(tokens), isinstance(loss, torch.Tensor),
                  isinstance(tokens.dtype, torch.dtype), isinstance(tokens.shape, torch.Size),
                  tokens.dtype is torch.int64],
    }


if __name__ == "__main__":
    print(run(build()))
