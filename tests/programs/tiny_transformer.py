"""A Transformer of one block on characters; and the same without `x = x + attended`."""

import torch
import torch.nn as nn
import torch.nn.functional as F

TEXT = ("the residual line is small, and what it carries is not: "
        "it hands the gradient back as it came.\n") * 8
LETTERS = sorted(set(TEXT))
BATCH, TIME, WIDTH, HEADS = 4, 16, 24, 2
HEAD = WIDTH // HEADS


class TinyTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.char_embedding = nn.Embedding(len(LETTERS), WIDTH)
        self.pos_embedding = nn.Embedding(TIME, WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.mask = torch.tril(torch.ones(TIME, TIME))
        self.ff1 = nn.Linear(WIDTH, 2 * WIDTH)
        self.ff2 = nn.Linear(2 * WIDTH, WIDTH)
        self.output_head = nn.Linear(WIDTH, len(LETTERS))
        self.norm1 = nn.LayerNorm(WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def attend(self, x):
        Q = self.query(x).view(BATCH, TIME, HEADS, HEAD).transpose(1, 2)
        K = self.key(x).view(BATCH, TIME, HEADS, HEAD).transpose(1, 2)
        V = self.value(x).view(BATCH, TIME, HEADS, HEAD).transpose(1, 2)
        A = (Q @ K.transpose(-2, -1)) / HEAD**0.5
        A = A.masked_fill(self.mask == 0, float("-inf"))
        A = A.softmax(dim=-1)
        y = (A @ V).transpose(1, 2).contiguous().view(BATCH, TIME, WIDTH)
        return self.out_proj(y)

    def merge(self, x, attended):
        x = x + attended
        return x

    def forward(self, x):
        x = self.char_embedding(x) + self.pos_embedding(torch.arange(TIME))
        x = self.norm1(self.merge(x, self.attend(x)))
        x = self.norm2(x + self.ff2(torch.relu(self.ff1(x))))
        return self.output_head(x)


class WithoutTheLine(TinyTransformer):
    def merge(self, x, attended):
        return x


def build():
    return nn.ModuleDict({"whole": TinyTransformer(), "without": WithoutTheLine()})


def batch(step, data):
    starts = [(97 * step + 31 * i) % (len(data) - TIME - 1) for i in range(BATCH)]
    x = torch.stack([data[s:s + TIME] for s in starts])
    y = torch.stack([data[s + 1:s + TIME + 1] for s in starts])
    return x, y


def train(model, data, steps=50):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses, norms = [], {}
    for step in range(steps):
        x, y = batch(step, data)
        logits = model(x)
        loss = F.cross_entropy(logits.view(-1, len(LETTERS)), y.view(-1))
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for name, p in model.named_parameters():
                norms[name] = p.grad.norm().item() if p.grad is not None else None
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


def run(model):
    data = torch.tensor([LETTERS.index(c) for c in TEXT])
    results = {}
    for name, part in model.items():
        losses, norms = train(part, data)
        results[f"{name}: first loss"] = losses[0]
        results[f"{name}: gradient norms"] = norms
        results[f"{name}: losses after steps"] = losses
    return results


if __name__ == "__main__":
    print(run(build()))
