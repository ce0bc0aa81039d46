"""How long the debugger's page takes: to write, to open in Chromium until it can be used, and to go
one step on.

Must be below 3 s to open; a step without lag is one below 100 ms. Run after `make browser`: python
tests/bench/page.py
"""

import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import npformer as npf
import npformer.nn.functional as F
from npformer.debug.examples import example
from npformer.models import GPT

MEASURE = pathlib.Path(__file__).parent.parent / "browser" / "measure.mjs"


def gpt():
    """A GPT of 12 layers, width 128, context 64."""
    model = GPT(65, context=64, n_layer=12, n_head=4, d_model=128)
    x, y = npf.randint(0, 65, (2, 1, 64))
    return npf.debug.trace(lambda: F.cross_entropy(model(x).view(-1, 65), y.view(-1)))


def chain():
    """50,000 operations in a row."""
    def loss():
        x = npf.randn(3, requires_grad=True)
        for _ in range(50_000):
            x = x * 1.0001
        return x.sum()
    return npf.debug.trace(loss)


def main():
    chromium = shutil.which("chromium")
    if not chromium:
        sys.exit("Chromium is missing: run `make browser` first.")
    cases = {"TinyTransformer 4 x 16": lambda: npf.debug.trace(example("tiny")[1]),
             "GPT 12 x 128 x 64": gpt, "50,000 nodes": chain}
    print(f"{'':24}{'steps':>7}{'MB':>7}{'write s':>9}{'open ms':>9}"
          f"{'step ms':>9}{'worst':>7}{'drawn':>7}")
    for name, make in cases.items():
        npf.manual_seed(0)
        trace = make()
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "page.html"
            start = time.perf_counter()
            size = len(trace.to_html(file))
            wrote = time.perf_counter() - start
            done = subprocess.run(["node", str(MEASURE), chromium, str(file)], capture_output=True,
                                  text=True, check=True)
        told = json.loads(done.stdout)
        answered, drawn = zip(*told["steps"])
        print(f"{name:24}{len(trace):7}{size / 1e6:7.2f}{wrote:9.2f}"
              f"{statistics.median(told['opened']):9.0f}"
              f"{statistics.median(answered):9.1f}{max(answered):7.0f}{statistics.median(drawn):7.0f}")


if __name__ == "__main__":
    main()
