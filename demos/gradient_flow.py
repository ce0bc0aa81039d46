"""Watching a training: with the skip every layer of 12 blocks is taught; without it the first ones
hear almost nothing.

`gradient_flow` notes at each step, for each layer, the gradient, how far the step moved the
weights, and which relu units are dead (0 for the whole batch).
"""

import sys

import numpy as np

import npformer as npf
from npformer import optim
from npformer.models import TinyTransformer
from npformer.nn import functional as F

SMALL = "--small" in sys.argv
DEPTH, STEPS = 12, 60 if SMALL else 100
SHOWN = [f"blocks.{i}.{part}" for i in (0, 5, 11) for part in ("value", "ff1")] + ["output_head"]

text = npf.data.default_text()
tokenizer = npf.data.CharTokenizer.of(text)
ids, _ = npf.data.split(tokenizer.encode(text))
flows = {}
for residual, label in ((True, "with"), (False, "without")):
    npf.manual_seed(0)
    model = TinyTransformer(len(tokenizer), 32, 32, 2, 64, DEPTH, residual)
    optimizer, batches = optim.Adam(model.parameters(), 1e-3), npf.data.Batches(ids, 8, 32)
    with npf.debug.gradient_flow(model) as flow:
        for _ in range(STEPS):
            x, y = next(batches)
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
            optimizer.zero_grad()
            loss.backward()
            flow.step(optimizer)                   # in the place of optimizer.step()
    flows[label] = flow
    path = f"runs/demos/gradient_flow_{label}{'_small' if SMALL else ''}.png"
    flow.plot(path, f"{DEPTH} blocks {label} the skip")
    head, *lines, told, thresholds = str(flow).splitlines()
    print(f"{label} the skip: loss {loss.item():.2f} after {STEPS} steps; {path}\n{head}")
    print("\n".join(line for line in lines if line.split()[0] in SHOWN))
    print(f"{told} {thresholds}\n")


def verdicts(flow):
    """{verdict: how many layers}"""
    found = [flow.verdict(layer) for layer in flow.parameters]
    return {verdict: found.count(verdict) for verdict in sorted(set(found))}


def dead(flow):
    """The share of dead units in the last steps."""
    last = flow.records[-5:]
    return float(np.mean([layer.dead / layer.units for record in last
                          for layer in record.values() if layer.units]))


for label, flow in flows.items():
    print(f"{label:8} the skip: {verdicts(flow)}, {dead(flow):.0%} of the relu units dead")
vanishing = {label: verdicts(flow).get("vanishing", 0) for label, flow in flows.items()}
if vanishing["without"] < 3 * vanishing["with"] or vanishing["without"] < 30:
    raise SystemExit("without the skip most layers' gradients should vanish")
first = {label: flow.verdict("blocks.0.value") for label, flow in flows.items()}
if first["without"] != "vanishing" or first["with"] != "ok":
    raise SystemExit("the first block's gradient should be lost without the skip, and only there")
print("Without the skip the first blocks' gradients are below a thousandth of the last layer's; "
      "with it they are not.")
