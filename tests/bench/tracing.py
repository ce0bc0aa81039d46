"""What the debugger costs: a plain training step before and after a trace was made, a step that is
recorded, a trace.

A plain backward pass asks twice for each operation whether somebody watches, and nothing else; so
the first ratio should be 1.00. Each runs in a process of its own, in turn. Traces of a larger GPT
and of a graph of 50,000 nodes follow. Run: python tests/bench/tracing.py [--rounds N]
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from step import VOCABULARY, batches, ours  # noqa: E402


def time_call(function):
    """How many milliseconds a call takes."""
    start = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - start)


def steps(way, count=40):
    """The median of `count` training steps (32 x 64): plain; after a trace was made; or each inside
    recording()."""
    import npformer as npf

    npf.set_num_threads(1)
    (x, y), = batches(1, 32)
    step, _ = ours(1)
    if way != "plain":
        with npf.debug.recording() as r:
            step(x, y)
        r.trace.why_nan()

    def recorded():
        with npf.debug.recording():
            step(x, y)

    return statistics.median(time_call(recorded if way == "recorded" else lambda: step(x, y))
                             for _ in range(count))


def compare_ways(rounds):
    """The three ways, each in a process of its own, in turn."""
    found = {way: [] for way in ("plain", "after a trace", "recorded")}
    for k in range(rounds):
        for way in sorted(found, reverse=k % 2):
            done = subprocess.run([sys.executable, __file__, "--way", way], capture_output=True,
                                  text=True, check=True)
            found[way].append(float(done.stdout))
    for way, times in found.items():
        ratios = [a / b for a, b in zip(times, found["plain"])]
        print(f"  one training step, {way:14} {statistics.median(times):8.2f} ms   ratio "
              f"{statistics.median(ratios):.2f}")


def measure_large_traces():
    """A GPT of 12 layers, width 128, context 64; and a chain of 50,000 nodes."""
    import npformer as npf
    from npformer.nn import functional as F

    model = npf.models.GPT(VOCABULARY, context=64, n_layer=12, n_head=4, d_model=128)
    (x, y), = batches(1, 2)
    loss = lambda: F.cross_entropy(model(npf.as_tensor(x)).view(-1, VOCABULARY),
                                   npf.as_tensor(y).view(-1))
    loss().backward()
    print(f"  GPT, 12 layers: forward and backward {time_call(lambda: loss().backward()):8.0f} ms,"
          f"  traced {time_call(lambda: npf.debug.trace(loss)):8.0f} ms")
    w = npf.ones(3).requires_grad_()

    def chain():
        y = w
        for _ in range(25_000):
            y = y * 1.0001 + 0.0001
        return y.sum()
    chain().backward()
    print(f"  50,000 nodes:   forward and backward {time_call(lambda: chain().backward()):8.0f} ms,"
          f"  traced {time_call(lambda: npf.debug.trace(chain)):8.0f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(steps(arguments.way))
    else:
        compare_ways(arguments.rounds)
        measure_large_traces()
