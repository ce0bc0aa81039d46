"""`npformer train`: one run, with reports as it goes, a curve, and a sample of text at its end."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from .. import plot
from ..train import LOG, Config, read_log, sample, train
from .helpers import drawing
from .helpers.training_options import (
    TRAINING,
    add_machine_options,
    add_training_command,
    config_options,
)

if TYPE_CHECKING:
    from .helpers.training_options import Commands

OPTIONS = {
    **TRAINING,
    "--depth": dict(type=int, metavar="N", help="how many blocks"),
    "--save-every": dict(type=int, metavar="N", help="steps between checkpoints"),
}


def declare(commands: Commands) -> None:
    train = add_training_command(
        commands, "train", "train a TinyTransformer on a text; can be killed and resumed", OPTIONS)
    forms = train.add_mutually_exclusive_group()
    forms.add_argument("--residual", type=residual_form, metavar="FORM", default=argparse.SUPPRESS,
                       help="true: x = x + F(x); false: x = F(x); "
                            "deleted: attention's output thrown away (true)")
    forms.add_argument("--no-residual", action="store_const", const=False, dest="residual",
                       default=argparse.SUPPRESS, help="the same as --residual false")
    add_machine_options(train)
    train.add_argument("--resume", action="store_true", help="go on with the run in DIR")


def residual_form(text: str) -> bool | str:
    forms: dict[str, bool | str] = {"true": True, "false": False, "deleted": "deleted"}
    if text not in forms:
        raise argparse.ArgumentTypeError(f"it must be true, false or deleted, not {text!r}")
    return forms[text]


def run(arguments: argparse.Namespace) -> int:
    out = drawing.console()
    options = config_options(arguments)
    config = Config(**options)
    with drawing.Bar(out, "training", config.steps) as bar:
        def watch(run, record):
            bar(run, record)
            if "grad_norms" in record:
                report(out, record)

        done = train(config, arguments.out, resume=arguments.resume, changes=options, watch=watch)
    finish(out, done, arguments.out)
    return 0


def report(out, record):
    """The lines of every 500 steps: loss, validation loss, and each parameter's gradient norm."""
    seen = "" if record["val_loss"] is None else f", validation loss: {record['val_loss']:.4f}"
    out.print(f"step {record['step']}, loss: {record['loss']:.4f}{seen}")
    drawing.norms_table(out, record["grad_norms"])


def finish(out, run, folder):
    records = read_log(os.path.join(folder, LOG))
    curve = os.path.join(folder, "loss.png")
    plot.plot_loss(records, curve, f"Loss of {run.config.steps} steps, depth {run.config.depth}, "
                                   f"residual={run.config.residual}")
    last = [r["loss"] for r in records[-200:]]
    out.print(f"\nmean loss of the last {len(last)} steps: {sum(last) / len(last):.4f} "
              "nats per character")
    out.print(f"a sample of the model's text:\n\n{sample(run.model, run.tokenizer)}\n")
    out.print(f"log, checkpoint and curve: {folder}")
