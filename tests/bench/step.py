"""One training step of the TinyTransformer here and in PyTorch eager: time, ratio, memory; and one
small operation.

The same weights, batches and Adam; steps are taken in turn, in one process, so that both see the
same machine. Peak memory is measured in a process of its own for each. Run: python
tests/bench/step.py [--steps N] [--batch B] [--depth D] [--threads T]

One thread each, unless told otherwise: the idle threads of one library spin while the other works,
and take its core.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
VOCABULARY, CONTEXT = 65, 64


def batches(count, batch, seed=0):
    """`count` pairs of random (inputs, targets), each (batch, CONTEXT)."""
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(0, VOCABULARY, (2, batch, CONTEXT))) for _ in range(count)]


def ours(depth, state=None):
    """A function that takes one training step here and returns the loss; the weights by name."""
    import npformer as npf
    import npformer.nn.functional as F
    from npformer.models import TinyTransformer

    npf.manual_seed(0)
    model = TinyTransformer(vocab_size=VOCABULARY, context=CONTEXT, depth=depth)
    optimizer = npf.optim.Adam(model.parameters(), lr=1e-3)

    def step(x, y):
        loss = F.cross_entropy(model(npf.as_tensor(x)).view(-1, VOCABULARY),
                               npf.as_tensor(y).view(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, {name: np.array(value) for name, value in model.state_dict().items()}


def theirs(depth, state=None):
    """The same in PyTorch, from the same weights."""
    import torch
    from tiny_torch import TinyTransformer

    model = TinyTransformer(VOCABULARY, CONTEXT, depth=depth)
    if state is not None:
        model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(x, y):
        logits = model(torch.from_numpy(x))
        loss = torch.nn.functional.cross_entropy(logits.view(-1, VOCABULARY),
                                                 torch.from_numpy(y).view(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, None


ENGINES = {"npformer": ours, "PyTorch": theirs}


def set_threads(count):
    """Give BLAS and PyTorch `count` threads each."""
    import torch

    import npformer as npf

    npf.set_num_threads(count)
    torch.set_num_threads(count)


def time_steps(options):
    """Median seconds of a step for each engine, taken in turn; the losses must agree, or the two do
    not do the same."""
    step, state = ours(options.depth)
    steps = {"npformer": step, "PyTorch": theirs(options.depth, state)[0]}
    times = {name: [] for name in steps}
    for k, (x, y) in enumerate(batches(options.steps + options.warmup, options.batch)):
        losses = []
        for name, step in steps.items():
            start = time.perf_counter()
            losses.append(step(x, y))
            if k >= options.warmup:
                times[name].append(time.perf_counter() - start)
        if abs(losses[0] - losses[1]) > 2e-3:
            raise SystemExit(f"step {k}: the losses differ ({losses[0]:.6f}, {losses[1]:.6f}): "
                             "not the same training")
    return times


def peak_memory(name, options):
    """Megabytes at the peak of 20 steps beyond what the process held before the first, in a process
    of its own."""
    code = (f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import step\n"
            f"take, _ = step.ENGINES[{name!r}]({options.depth})\n"
            f"before = step.rss()\n"
            f"for x, y in step.batches(20, {options.batch}): take(x, y)\n"
            "print(before, step.rss())")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    return after, after - before


def rss():
    """The largest resident size of this process so far, in megabytes."""
    status = Path("/proc/self/status")
    if status.exists():  # where getrusage would count the parent of a fork too
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20


def small_operation(rounds=300, inner=50):
    """Median microseconds of x·w on 8 numbers: forward, and forward and backward, taken in turn."""
    import torch

    import npformer as npf

    values = np.arange(1, 9, dtype=np.float32)
    results = {}
    pairs = {"npformer": (npf.tensor(values, requires_grad=True), npf.tensor(values), npf.ones(8)),
             "PyTorch": (torch.tensor(values, requires_grad=True), torch.tensor(values),
                         torch.ones(8))}

    def forward(x, w, g):
        x * w

    def both(x, w, g):
        (x * w).backward(g)

    for title, what in (("forward", forward), ("forward and backward", both)):
        times = {name: [] for name in pairs}
        for _ in range(rounds):
            for name, arguments in pairs.items():
                start = time.perf_counter()
                for _ in range(inner):
                    what(*arguments)
                times[name].append((time.perf_counter() - start) / inner)
        results[title] = {name: statistics.median(t) * 1e6 for name, t in times.items()}
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1,
                        help="threads of each (1); 0: as they choose")
    options = parser.parse_args()
    if options.threads:
        set_threads(options.threads)
    times = time_steps(options)
    mid = {name: statistics.median(t) for name, t in times.items()}
    ratios = sorted(a / b for a, b in zip(times["npformer"], times["PyTorch"]))
    print(f"One training step: TinyTransformer, depth {options.depth}, batch {options.batch} x "
          f"{CONTEXT}, float32")
    for name in ENGINES:
        peak, beyond = peak_memory(name, options)
        print(f"  {name:9s} {mid[name] * 1e3:8.2f} ms (median of {options.steps})   peak "
              f"memory {peak:6.0f} MB, "
              f"{beyond:.0f} MB of it for the steps")
    print(f"  ratio     {statistics.median(ratios):8.2f} npformer / PyTorch (median of pairs; "
          f"quartiles {ratios[len(ratios) // 4]:.2f} to {ratios[3 * len(ratios) // 4]:.2f}); "
          "must be below 1.5")
    print("One small operation, x·w on 8 numbers:")
    for what, found in small_operation().items():
        print(f"  {what:21s} npformer {found['npformer']:6.2f} µs   PyTorch "
              f"{found['PyTorch']:6.2f} µs   "
              f"ratio {found['npformer'] / found['PyTorch']:.2f}")


if __name__ == "__main__":
    main()
