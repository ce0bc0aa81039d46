"""`npformer residual`: the three forms of the residual side by side, at several depths."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from typing import TYPE_CHECKING

from .. import plot
from ..files import make_folder, write_whole
from ..models.tiny import FORMS
from ..train import Config, Run
from .helpers import drawing
from .helpers.training_options import (
    TRAINING,
    add_machine_options,
    add_training_command,
    config_options,
)

if TYPE_CHECKING:
    from .helpers.training_options import Commands

LABELS = {True: "x = x + F(x)", False: "x = F(x)", "deleted": "line deleted"}


def declare(commands: Commands) -> None:
    residual = add_training_command(
        commands, "residual", "the three forms of the residual side by side",
        {**TRAINING, "--steps": {**TRAINING["--steps"], "default": 1000}})
    residual.add_argument("--depth", type=int, nargs="+", default=[1, 4], metavar="N",
                          help="numbers of blocks (1 4)")
    add_machine_options(residual)


def run(arguments: argparse.Namespace) -> int:
    """Train each form at each depth: tables, plots, and the numbers as JSON."""
    out = drawing.console()
    options = config_options(arguments)
    configs = [Config(**{**options, "depth": depth}) for depth in arguments.depth]
    text, results = configs[0].read_text(), []
    Run(configs[0], text)                          # refuse what cannot be used, before the folder
    make_folder(arguments.out)
    for config in configs:
        forms = [train_form(out, dataclasses.replace(config, residual=form), text)[1]
                 for form in FORMS]
        results += forms
        numbers = os.path.join(arguments.out, "residual.json")
        write_whole(numbers, json.dumps(results).encode())
        drawing.heading(out, f"Depth {config.depth}: gradient norms at step {config.steps}")
        drawing.forms_table(out, forms)
        picture = os.path.join(arguments.out, f"grad_norms_{config.depth}.png")
        plot.plot_grad_norms(forms, picture)
    summary(out, results)
    plot.plot_forms(results, os.path.join(arguments.out, "residual.png"))
    out.print(f"\nplots and numbers: {arguments.out}")
    return 0


def train_form(out, config, text):
    """Train one form. Returns the Run and a dict of its numbers. The same seed gives each form the
    same batches."""
    run, losses = Run(config, text), []
    label = LABELS[config.residual]
    with drawing.Bar(out, f"depth {config.depth}, {label}", config.steps) as bar:
        while run.step < config.steps:
            record = run.advance()
            losses.append(record["loss"])
            bar(run, record)
    return run, dict(label=label, depth=config.depth, residual=config.residual, losses=losses,
                     tail=mean_of_last(losses), val_loss=record["val_loss"],
                     grad_norms=record["grad_norms"])


def mean_of_last(losses):
    """The mean of the last 200 losses; of the last fifth where there are fewer than 1,000."""
    last = losses[-min(200, max(1, len(losses) // 5)):]
    return sum(last) / len(last)


def summary(out, results):
    """A line for each run: its losses, and how many parameters no gradient reaches."""
    drawing.heading(out, "Loss in nats per character (training: the mean of the last steps)")
    headers = ("form", "depth", "steps", "training loss", "validation loss", "severed parameters")
    drawing.table(out, headers, [
        (r["label"], r["depth"], len(r["losses"]), f"{r['tail']:.4f}",
         "" if r["val_loss"] is None else f"{r['val_loss']:.4f}",
         list(r["grad_norms"].values()).count(None)) for r in results])
