"""`npformer residual`: the three forms of the residual side by side, at several depths."""

import dataclasses
import json
import os
from argparse import Namespace

from .. import plot
from ..files import make_folder, write_whole
from ..models.tiny import FORMS
from ..train import Config, Run
from . import config_options, show

LABELS = {True: "x = x + F(x)", False: "x = F(x)", "deleted": "line deleted"}


def run(arguments: Namespace) -> None:
    """Train each form at each depth, as the command line says; tables, plots, and the numbers as JSON."""
    out = show.console()
    options = config_options(arguments)
    configs = [Config(**{**options, "depth": depth}) for depth in arguments.depth]
    text, results = configs[0].read_text(), []
    Run(configs[0], text)                          # what cannot be used is refused before the folder is made
    make_folder(arguments.out)
    for config in configs:
        forms = [train_form(out, dataclasses.replace(config, residual=form), text)[1] for form in FORMS]
        results += forms
        write_whole(os.path.join(arguments.out, "residual.json"), json.dumps(results).encode())
        show.heading(out, f"Depth {config.depth}: gradient norms at step {config.steps}")
        show.forms_table(out, forms)
        plot.plot_grad_norms(forms, os.path.join(arguments.out, f"grad_norms_{config.depth}.png"))
    summary(out, results)
    plot.plot_forms(results, os.path.join(arguments.out, "residual.png"))
    out.print(f"\nplots and numbers: {arguments.out}")


def train_form(out, config, text):
    """Train one form. The same seed gives each form the same batches. Returns the Run and a dict of its numbers."""
    run, losses = Run(config, text), []
    label = LABELS[config.residual]
    with show.Bar(out, f"depth {config.depth}, {label}", config.steps) as bar:
        while run.step < config.steps:
            record = run.advance()
            losses.append(record["loss"])
            bar(run, record)
    return run, dict(label=label, depth=config.depth, residual=config.residual, losses=losses,
                     tail=mean_of_last(losses), val_loss=record["val_loss"], grad_norms=record["grad_norms"])


def mean_of_last(losses):
    """The mean of the last 200 losses, or of the last fifth where there are fewer than 1,000."""
    last = losses[-min(200, max(1, len(losses) // 5)):]
    return sum(last) / len(last)


def summary(out, results):
    """A line for each run: its losses, and how many parameters no gradient reaches."""
    show.heading(out, "Loss in nats per character (training: the mean of the last steps)")
    show.table(out, ("form", "depth", "steps", "training loss", "validation loss", "severed parameters"), [
        (r["label"], r["depth"], len(r["losses"]), f"{r['tail']:.4f}",
         "" if r["val_loss"] is None else f"{r['val_loss']:.4f}",
         list(r["grad_norms"].values()).count(None)) for r in results])
