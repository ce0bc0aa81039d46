"""`npformer train`: one run, with reports as it goes, a curve, and a sample of text at its end."""

import os
from argparse import Namespace

from .. import plot
from ..train import LOG, Config, read_log, sample, train
from . import config_options, show


def run(arguments: Namespace) -> None:
    """Train, or go on with a run, as the command line says."""
    out = show.console()
    options = config_options(arguments)
    config = Config(**options)
    with show.Bar(out, "training", config.steps) as bar:
        def watch(run, record):
            bar(run, record)
            if "grad_norms" in record:
                report(out, record)

        done = train(config, arguments.out, resume=arguments.resume, changes=options, watch=watch)
    finish(out, done, arguments.out)


def report(out, record):
    """The lines of every 500 steps: loss, validation loss, and the gradient norm of each parameter."""
    seen = "" if record["val_loss"] is None else f", validation loss: {record['val_loss']:.4f}"
    out.print(f"step {record['step']}, loss: {record['loss']:.4f}{seen}")
    show.norms_table(out, record["grad_norms"])


def finish(out, run, folder):
    """The summary, the curve and a sample."""
    records = read_log(os.path.join(folder, LOG))
    curve = os.path.join(folder, "loss.png")
    plot.plot_loss(records, curve, f"Loss of {run.config.steps} steps, depth {run.config.depth}, "
                                   f"residual={run.config.residual}")
    last = [r["loss"] for r in records[-200:]]
    out.print(f"\nmean loss of the last {len(last)} steps: {sum(last) / len(last):.4f} nats per character")
    out.print(f"a sample of the model's text:\n\n{sample(run.model, run.tokenizer)}\n")
    out.print(f"log, checkpoint and curve: {folder}")
