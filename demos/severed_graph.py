"""Delete `x = x + output` after attention: no gradient reaches attention, and it never learns."""

import npformer as npf
from npformer import plot
from npformer.models import TinyTransformer
from npformer.nn import functional as F

CUT = {"query", "key", "value", "out_proj"}

npf.manual_seed(0)
x, y = npf.randint(0, 65, (4, 16)), npf.randint(0, 65, (4, 16))
without, results = {}, []
for form in (True, False, "deleted"):
    model = TinyTransformer(residual=form)
    F.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
    print(f"residual={form!r}")
    results.append({"label": f"residual={form!r}", "grad_norms": {
        name: None if p.grad is None else p.grad.norm().item()
        for name, p in model.named_parameters()}})
    for name, p in model.named_parameters():
        if name.endswith("weight"):
            norm = "no gradient" if p.grad is None else f"{p.grad.norm().item():.6f}"
            print(f"    {name:24} grad_norm: {norm}")
    without[form] = {name.split(".")[-2] for name, p in model.named_parameters() if p.grad is None}

plot.plot_grad_norms(results, "runs/demos/severed_graph.png")
if without != {True: set(), False: set(), "deleted": CUT}:
    raise SystemExit(f"not the layers that should be cut off: {without}")
print("Only the deleted line severs the graph, and it cuts off exactly query, key, "
      "value and out_proj.\n"
      "Picture: runs/demos/severed_graph.png")
