"""What checking one Transformer block costs, here and with torch.autograd.gradcheck, in one run.

A pre-LN block, width 16, 4 positions, batch 1: 2,224 parameters and the input. PyTorch's full check takes a minute or two.
Run: python tests/bench/judge.py [--skip-full]
"""

import sys
import time

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
            self.qkv, self.out, self.up, self.down = nn.Linear(16, 48), nn.Linear(16, 16), nn.Linear(16, 32), nn.Linear(32, 16)

        def forward(self, x):
            q, k, v = (t.view(1, 4, 2, 8).transpose(1, 2) for t in self.qkv(self.n1(x)).chunk(3, -1))
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(1, 4, 16)
            x = x + self.out(a)
            return x + self.down(F.gelu(self.up(self.n2(x))))

    return Block().double()


def timed(check):
    """Seconds, once."""
    start = time.perf_counter()
    check()
    return time.perf_counter() - start


def main():
    npf.set_num_threads(1)
    torch.set_num_threads(1)
    ours, theirs = block(nn, F), block(torch.nn, torch.nn.functional)
    x, tx = npf.randn(1, 4, 16, dtype=npf.float64), torch.randn(1, 4, 16, dtype=torch.float64, requires_grad=True)
    inputs, parameters = [*ours.parameters(), x], tuple(theirs.parameters())
    names = [name for name, _ in theirs.named_parameters()]

    def there(x, *weights):
        return torch.func.functional_call(theirs, dict(zip(names, weights)), x)

    print(f"one pre-LN block: {sum(p.numel() for p in parameters)} parameters and the input")
    quick = [timed(lambda: npf.gradcheck(lambda *_: ours(x), inputs, fast_mode=True)) for _ in range(5)]
    fast = [timed(lambda: torch.autograd.gradcheck(there, (tx, *parameters), fast_mode=True)) for _ in range(5)]
    print(f"  quick   npformer {min(quick):7.2f} s   PyTorch fast_mode {min(fast):7.2f} s   ratio {min(quick) / min(fast):.2f}")
    full = timed(lambda: npf.gradcheck(lambda *_: ours(x), inputs))
    if "--skip-full" in sys.argv:
        print(f"  full    npformer {full:7.2f} s")
        return
    slow = timed(lambda: torch.autograd.gradcheck(there, (tx, *parameters)))
    print(f"  full    npformer {full:7.2f} s   PyTorch           {slow:7.2f} s   PyTorch / npformer {slow / full:.1f}")


if __name__ == "__main__":
    main()
