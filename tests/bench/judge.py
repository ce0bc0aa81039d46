"""What checking one Transformer block costs, here and with torch.autograd.gradcheck, in one run.

A pre-LN block, width 16, 4 positions, batch 1: 2,224 parameters and the input. The best of a few
runs each. Run: python tests/bench/judge.py
"""

import time
from functools import partial

import torch

import npformer as npf
from npformer import nn
from npformer.nn import functional as F


def block(nn, F):
    """The block, in either library."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.n1, self.n2 = nn.LayerNorm(16), nn.LayerNorm(16)
            self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
            self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

        def forward(self, x):
            q, k, v = (t.view(1, 4, 2, 8).transpose(1, 2)
                       for t in self.qkv(self.n1(x)).chunk(3, -1))
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            a = a.transpose(1, 2).reshape(1, 4, 16)
            x = x + self.out(a)
            return x + self.down(F.gelu(self.up(self.n2(x))))

    return Block().double()


def best(check, runs):
    """Seconds, the least of so many runs."""
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        check()
        found.append(time.perf_counter() - start)
    return min(found)


def main():
    npf.set_num_threads(1)
    torch.set_num_threads(1)
    ours, theirs = block(nn, F), block(torch.nn, torch.nn.functional)
    x, tx = (lib.randn(1, 4, 16, dtype=lib.float64, requires_grad=True) for lib in (npf, torch))
    inputs, parameters = [*ours.parameters(), x], tuple(theirs.parameters())
    names = [name for name, _ in theirs.named_parameters()]

    def there(x, *weights):
        return torch.func.functional_call(theirs, dict(zip(names, weights)), x)

    print(f"one pre-LN block: {sum(p.numel() for p in parameters)} parameters and the input")
    for mode, runs in (("quick", 5), ("full", 3)):
        quick = mode == "quick"
        here = best(partial(npf.gradcheck, lambda *_: ours(x), inputs, fast_mode=quick), 5)
        away = best(partial(torch.autograd.gradcheck, there, (tx, *parameters), fast_mode=quick),
                    runs)
        print(f"  {mode:5}  npformer {1000 * here:7.1f} ms   PyTorch {1000 * away:7.1f} ms   "
              f"{away / here:5.1f} x faster")


if __name__ == "__main__":
    main()
