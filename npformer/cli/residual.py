"""`npformer residual`: the three forms of the residual side by side, at several depths."""

import dataclasses
import json
import os

from .. import plot
from ..checkpoint import make_folder, write_whole
from ..models.tiny import FORMS
from ..train import Config, Run
from . import show

LABELS = {True: "x = x + F(x)", False: "x = F(x)", "deleted": "line deleted"}
STEPS = 1000


def run(arguments):
    """Train each form at each depth, as the command line says; tables, plots, and the numbers as JSON."""
    out = show.console()
    options = {name: value for name, value in vars(arguments).items() if name not in ("command", "out", "depth")}
    config = Config(**{"steps": STEPS, **options})
    for depth in arguments.depth:
        dataclasses.replace(config, depth=depth)   # its complaint should not come after an hour of training
    make_folder(arguments.out)
    results = []
    for depth in arguments.depth:
        results += compare(out, dataclasses.replace(config, depth=depth), FORMS)
        write_whole(os.path.join(arguments.out, "residual.json"), json.dumps(results).encode())
        show.heading(out, f"Depth {depth}: gradient norms at step {config.steps}")
        show.forms_table(out, results[-len(FORMS):])
        plot.plot_grad_norms(results[-len(FORMS):], os.path.join(arguments.out, f"grad_norms_{depth}.png"))
    summary(out, results)
    plot.plot_forms(results, os.path.join(arguments.out, "residual.png"))
    out.print(f"\nplots and numbers: {arguments.out}")


def compare(out, config, forms):
    """Train each of `forms` from the same seed on the same batches. Returns a list of results, dicts."""
    text, results = config.read_text(), []
    for form in forms:
        one = Run(dataclasses.replace(config, residual=form), text)
        losses = []
        with show.Bar(out, f"depth {config.depth}, {LABELS[form]}", config.steps) as bar:
            while one.step < config.steps:
                record = one.advance()
                losses.append(record["loss"])
                bar(one, record)
        results.append(dict(label=LABELS[form], depth=config.depth, residual=form, losses=losses,
                            tail=mean_of_last(losses), val_loss=record["val_loss"], grad_norms=record["grad_norms"],
                            run=one))
    return results


def mean_of_last(losses):
    """The mean of the last 200 losses, or of the last fifth where there are fewer than 1,000."""
    last = losses[-min(200, max(1, len(losses) // 5)):]
    return sum(last) / len(last)


def summary(out, results):
    """A line for each run: its losses, and how many parameters no gradient reaches."""
    show.heading(out, "Loss in nats per character")
    show.table(out, ("form", "depth", "training (mean of the last steps)", "validation", "parameters without gradient"), [
        (r["label"], r["depth"], f"{r['tail']:.4f}", "" if r["val_loss"] is None else f"{r['val_loss']:.4f}",
         list(r["grad_norms"].values()).count(None)) for r in results])
