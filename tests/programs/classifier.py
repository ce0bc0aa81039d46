"""nn.TransformerEncoder on padded batches: label smoothing, a schedule, a resumed checkpoint."""

import os

import torch
import torch.nn as nn
import torch.optim as optim
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, random_split

VOCAB, WIDTH, CLASSES, PAD = 13, 16, 3, 0


class Sequences(Dataset):
    """Sequences of 3 to 9 numbers; the label says how many of them are above 6, by thirds."""

    def __init__(self, count):
        self.items = []
        for i in range(count):
            length = 3 + (5 * i) % 7
            tokens = torch.tensor([1 + (i * i + 3 * i * t + t * t) % (VOCAB - 1)
                                   for t in range(length)])
            label = int((tokens > 6).float().mean() * 2.999)
            self.items.append((tokens, label))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def collate(batch):
    tokens, labels = zip(*batch)
    padded = pad_sequence(tokens, batch_first=True, padding_value=PAD)
    return padded, torch.tensor(labels)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, WIDTH, padding_idx=PAD)
        layer = nn.TransformerEncoderLayer(d_model=WIDTH, nhead=4, dim_feedforward=32, dropout=0.0,
                                           activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, tokens):
        padding = tokens == PAD
        x = self.encoder(self.embed(tokens), src_key_padding_mask=padding)
        keep = (~padding).unsqueeze(-1).type_as(x)
        return self.head((x * keep).sum(1) / keep.sum(1).clamp(min=1))


def build():
    return Classifier()


def epoch(model, loader, criterion, optimizer, scheduler):
    losses = []
    model.train()
    for tokens, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(tokens), labels)
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    scheduler.step()
    return losses


@torch.no_grad()
def accuracy(model, loader):
    model.eval()
    correct = total = 0
    for tokens, labels in loader:
        correct += (model(tokens).argmax(dim=1) == labels).sum().item()
        total += labels.size(0)
    return correct / total


def tools(model):
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    return optimizer, optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)


def run(model):
    loader = DataLoader(Sequences(22), batch_size=5, shuffle=False, collate_fn=collate)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1, weight=torch.tensor([1.0, 0.5, 2.0]))
    optimizer, scheduler = tools(model)
    losses = [epoch(model, loader, criterion, optimizer, scheduler) for _ in range(2)]
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 2,
                "scheduler": scheduler.state_dict()}, "checkpoint.pt")
    rest = [epoch(model, loader, criterion, optimizer, scheduler) for _ in range(2)]

    other = build()
    checkpoint = torch.load("checkpoint.pt", map_location="cpu", weights_only=True)
    missing = other.load_state_dict(checkpoint["model"])
    optimizer, scheduler = tools(other)
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    resumed = [epoch(other, loader, criterion, optimizer, scheduler) for _ in range(2)]

    x = torch.arange(20).view(10, 2)
    plain = DataLoader(TensorDataset(x, x.sum(1)), batch_size=4, drop_last=True)
    mixed = DataLoader(TensorDataset(x), batch_size=3, shuffle=True,
                       generator=torch.Generator().manual_seed(3))
    parts = random_split(Sequences(10), [7, 3], generator=torch.Generator().manual_seed(42))
    return {
        "shapes": [tuple(tokens.shape) for tokens, _ in loader],
        "losses after steps": losses,
        "the rest after steps": rest,
        "resumed goes the same way": resumed == rest,
        "missing": list(missing.missing_keys) + list(missing.unexpected_keys),
        "checkpoint": sorted(checkpoint), "file": os.path.exists("checkpoint.pt"),
        "epoch": checkpoint["epoch"], "learning rate after": scheduler.get_last_lr(),
        "accuracy": accuracy(other, loader),
        "plain batches": [list(pair) for pair in plain],
        "lengths": [len(plain), len(mixed), len(mixed.dataset), *map(len, parts)],
        "mixed batches": sorted(torch.cat([b for b, in mixed])[:, 0].tolist()),
        "parts": sorted(parts[0].indices + parts[1].indices),
        "subset": Subset(TensorDataset(x), [4, 1])[0],
    }


if __name__ == "__main__":
    print(run(build()))
