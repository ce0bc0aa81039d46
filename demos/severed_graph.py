"""Delete the line `x = x + output` after attention, and no gradient reaches attention any more: it never learns."""

import npformer as npf
from npformer.models import TinyTransformer
from npformer.nn import functional as F

CUT = {"query", "key", "value", "out_proj"}

npf.manual_seed(0)
x, y = npf.randint(0, 65, (4, 16)), npf.randint(0, 65, (4, 16))
without = {}
for form in (True, False, "deleted"):
    model = TinyTransformer(residual=form)
    F.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
    print(f"residual={form!r}")
    for name, p in model.named_parameters():
        if name.endswith("weight"):
            norm = "no gradient" if p.grad is None else f"{p.grad.norm().item():.6f}"
            print(f"    {name:24} grad_norm: {norm}")
    without[form] = {name.split(".")[-2] for name, p in model.named_parameters() if p.grad is None}

if without != {True: set(), False: set(), "deleted": CUT}:
    raise SystemExit(f"not the layers that should be cut off: {without}")
print("Only the deleted line severs the graph, and it cuts off exactly query, key, value and out_proj.")
