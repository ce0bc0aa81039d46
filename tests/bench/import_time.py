"""How long `import npformer` takes beyond NumPy's own import: medians of interleaved runs, in fresh
interpreters.

Must be below 0.15 s. Run: python tests/bench/import_time.py [rounds]
"""

import statistics
import subprocess
import sys

SCRIPT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(module):
    """One import in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(module)], capture_output=True,
                          text=True, check=True)
    return float(done.stdout)


def main(rounds=15):
    seconds("numpy"), seconds("npformer")          # once for the disk and the bytecode
    times = {"numpy": [], "npformer": []}
    for _ in range(rounds):
        for module, found in times.items():
            found.append(seconds(module))
    alone, both = (statistics.median(t) for t in times.values())
    print(f"import numpy     {alone * 1e3:7.1f} ms")
    print(f"import npformer  {both * 1e3:7.1f} ms")
    print(f"beyond NumPy's   {(both - alone) * 1e3:7.1f} ms   (median of {rounds}, interleaved; "
          "must be below 150)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
