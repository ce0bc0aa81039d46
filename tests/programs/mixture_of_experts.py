"""A sparse mixture of experts: topk routing, index_add_ of the answers, and a balancing loss."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Expert(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, dim))

    def forward(self, x):
        return self.net(x)


class SparseMoE(nn.Module):
    def __init__(self, dim=8, hidden=12, num_experts=4, top_k=2):
        super().__init__()
        self.num_experts, self.top_k = num_experts, top_k
        self.gate = nn.Linear(dim, num_experts, bias=False)
        self.experts = nn.ModuleList([Expert(dim, hidden) for _ in range(num_experts)])

    def route(self, x):
        router_logits = self.gate(x)
        routing = F.softmax(router_logits, dim=1)
        weights, chosen = torch.topk(routing, self.top_k, dim=-1)
        weights /= weights.sum(dim=-1, keepdim=True)
        return router_logits, weights, chosen

    def forward(self, hidden_states):
        batch, length, dim = hidden_states.shape
        x = hidden_states.view(-1, dim)
        router_logits, weights, chosen = self.route(x)
        final = torch.zeros((batch * length, dim), dtype=x.dtype, device=x.device)
        expert_mask = F.one_hot(chosen, num_classes=self.num_experts).permute(2, 1, 0)
        for number in range(self.num_experts):
            idx, top_x = torch.where(expert_mask[number])
            current_state = x[None, top_x].reshape(-1, dim)
            current = self.experts[number](current_state) * weights[top_x, idx, None]
            final.index_add_(0, top_x, current.to(x.dtype))
        return final.reshape(batch, length, dim), router_logits

    def by_masks(self, hidden_states):
        """The same, written into the places of a mask."""
        x = hidden_states.flatten(0, 1)
        _, weights, chosen = self.route(x)
        final = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            mask = (chosen == number).any(dim=-1)
            if mask.any():
                share = torch.where(chosen == number, weights, torch.zeros_like(weights)).sum(-1)
                final[mask] = final[mask] + expert(x[mask]) * share[mask].unsqueeze(-1)
        return final.view_as(hidden_states)


def load_balancing_loss(router_logits, num_experts, top_k):
    routing = router_logits.softmax(-1)
    _, chosen = routing.topk(top_k, dim=-1)
    tokens_per_expert = F.one_hot(chosen, num_experts).type_as(routing).mean(dim=0)
    return num_experts * torch.sum(tokens_per_expert * routing.mean(dim=0).unsqueeze(0))


def build():
    return SparseMoE()


def run(model):
    x = torch.linspace(-2, 2, 3 * 5 * 8).sin().view(3, 5, 8).requires_grad_()
    y, router_logits = model(x)
    auxiliary = load_balancing_loss(router_logits, 4, 2)
    loss = (y * torch.linspace(0, 1, 8)).square().mean() + 0.1 * auxiliary
    loss.backward()
    counts = torch.bincount(model.route(x.detach().view(-1, 8))[2].flatten(), minlength=4)
    results = {"loss": loss.item(), "output": y, "dx": x.grad.clone(), "counts": counts,
               "gradients": {name: p.grad.clone() for name, p in model.named_parameters()}}
    model.zero_grad()
    again = model.by_masks(x)
    (again * torch.linspace(0, 1, 8)).square().mean().backward()
    results["by masks"] = again
    results["gradients by masks"] = {name: p.grad for name, p in model.named_parameters()}
    return results


if __name__ == "__main__":
    print(run(build()))
