"""`npformer demo`: training, proof, the residual identity and one backward pass, in a minute."""

from __future__ import annotations

import argparse
import copy
import importlib.util
import os
import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

import npformer as npf  # it loads npf.debug and npf.verify on first use

from .. import plot
from ..core.devices import to_numpy
from ..core.errors import GradientError, NpformerError
from ..data import in_order
from ..files import make_folder
from ..models.tiny import FORMS
from ..nn import functional as F
from ..train import Config
from .helpers import drawing
from .helpers.torch_gradients import torch_gradients
from .helpers.training_options import add_machine_options
from .residual import summary, train_form

if TYPE_CHECKING:
    from .helpers.training_options import Commands

DEEP = 6                                           # blocks: here the skip begins to decide


def declare(commands: Commands) -> None:
    demo = commands.add_parser(
        "demo", help="everything at once, in under a minute",
        description="Train with and without the residual, prove the gradients, look at the "
                    "residual identity, step backwards.")
    demo.add_argument("--steps", type=int, metavar="N", default=400,
                      help="steps of each training run (%(default)s)")
    demo.add_argument("--seed", type=int, metavar="N", default=0,
                      help="of weights and batches (%(default)s)")
    add_machine_options(demo)


def run(arguments: argparse.Namespace) -> int:
    """All parts in order; each prints what it shows and what to see in it."""
    out = drawing.console()
    config = Config(steps=arguments.steps, seed=arguments.seed)
    make_folder(arguments.out)
    text = config.read_text()
    runs, results = train_all(out, config, text)
    show_severed(out, results[:len(FORMS)])
    show_proof(out, runs[0])
    show_identity(out, runs[0])
    show_steps(out, runs[0], arguments.out)
    draw_plots(out, results, arguments.out)
    show_next_commands(out)
    return 0


def train_all(out, config, text):
    """The three forms at depth 1, then with and without the skip at depth 6: Runs and numbers."""
    drawing.heading(out, f"1. Training {config.steps} steps on {len(text):,} characters of "
                         "Python's own help")
    deeper = dict(depth=DEEP, steps=max(1, config.steps // 4))
    configs = [replace(config, residual=form) for form in FORMS]
    configs += [replace(config, residual=form, **deeper) for form in (True, False)]
    runs, results = zip(*[train_form(out, one, text) for one in configs])
    summary(out, results)
    out.print("In one layer the skip itself matters little: compare x = x + F(x) with x = F(x).\n"
              "Deleting the line costs more, for it throws attention's output away. With depth\n"
              "it is the skip that decides.")
    return runs, results


def show_severed(out, results):
    drawing.heading(out, "2. The gradient that reaches each weight, at the last step")
    drawing.forms_table(out, results)
    out.print("Where the line is deleted, nothing leads from the loss back to query, key, value\n"
              "and out_proj: the graph is severed there, and they keep their first values. The\n"
              "model learns without attention.")


def show_proof(out, run):
    """The trained model's gradients against finite differences, and PyTorch's where installed."""
    drawing.heading(out, "3. Are the trained model's gradients right?")
    model, (x, y) = double_of(run)
    names, weights = zip(*model.named_parameters())
    report = npf.verify.gradcheck(lambda *_: loss_of(model, x, y), weights, raises=False)
    rows = [("finite differences, along random directions",
             sum(c.entries for c in report.comparisons),
             max(abs(c.analytic - c.numeric) for c in report.comparisons))]
    if not report:
        raise GradientError(report)
    loss = loss_of(model, x, y)
    loss.backward()
    if importlib.util.find_spec("torch"):
        expected = torch_gradients(model, x, y)
        rows.append(("PyTorch's autograd", sum(p.numel() for p in weights),
                     max(np.abs(to_numpy(p.grad.array) - expected[name]).max()
                         for name, p in zip(names, weights))))
    largest = max(float(np.abs(p.grad.array).max()) for p in weights)
    drawing.table(out, ("held against", "numbers", "largest difference"), [
        (name, f"{entries:,}", f"{difference:.1e}") for name, entries, difference in rows])
    out.print(f"{len(names)} parameters in float64; the largest entry of a gradient is "
              f"{largest:.2g}."
              + ("" if len(rows) == 2 else " PyTorch is not installed here, and was left out."))
    if rows[-1][2] > 1e-5 * largest:
        raise NpformerError(f"the gradients differ from those of {rows[-1][0]}: a bug. "
                            "Please report it.")


def double_of(run):
    """The run's model in float64, without gradients, and a small batch that it has not seen."""
    model = copy.deepcopy(run.model).double()
    model.zero_grad()
    return model, next(in_order(run.validation, 1, 8))


def loss_of(model, x, y):
    """Mean cross-entropy of the next character.   x, y integers (B, T) -> one number"""
    logits = model(x)                              # (B, T, V)
    return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))


def show_identity(out, run):
    """dL/dx = dL/dy · (1 + dF/dx) at each addition y = x + F(x), with its numbers."""
    drawing.heading(out, "4. The residual identity: dL/dx = dL/dy + dL/dy · dF/dx at each "
                         "y = x + F(x)")
    model, batch = double_of(run)
    headers = ("addition", "upstream |dL/dy|", "skip passes", "branch adds", "their sum |dL/dx|",
               "error")
    rows = []
    for r in npf.debug.residuals(loss_of(model, *batch)):
        norms = [f"{norm(v):.6f}" for v in (r.upstream, r.upstream, r.through_branch, r.total)]
        rows.append((file_and_line(r.source), *norms, f"{r.error:.0e}"))
    drawing.table(out, headers, rows)
    out.print("The skip passes the upstream gradient on unchanged, whatever the branch does:\n"
              "depth does not make it vanish.")


def show_steps(out, run, folder):
    """The last backward pass, a line for each step; and as a page to step through."""
    drawing.heading(out, "5. One backward pass, step by step, the last operation first")
    model, batch = double_of(run)
    trace = npf.debug.trace(lambda: loss_of(model, *batch))
    rows = []
    for step in trace:
        shape = "×".join(map(str, step.upstream.shape)) or "()"
        sent = ", ".join(f"|d{name}| {norm(d):.2g}" for name, d in step.gradients.items())
        line = file_and_line(step.source)
        rows.append((step.op, step.where, line, shape, f"{norm(step.upstream):.3g}", sent))
    headers = ("operation", "module", "line", "shape", "|upstream|", "what it sends")
    drawing.table(out, headers, rows, texts=("module", "line", "shape", "what it sends"))
    out.print("The bias of key gets nothing but rounding: it adds the same number to a whole row\n"
              "of scores, and softmax does not see that.")
    page = os.path.join(folder, "backward.html")
    trace.to_html(page)
    out.print(f"The same to step through in a browser: {page}")


def draw_plots(out, results, folder):
    """The curves of all runs, and the gradient norms of the three forms."""
    plot.plot_forms(results, os.path.join(folder, "residual.png"))
    plot.plot_grad_norms(results[:len(FORMS)], os.path.join(folder, "grad_norms.png"))
    drawing.heading(out, "6. Plots")
    out.print(f"  {os.path.join(folder, 'residual.png')}     the loss of each form, by depth")
    out.print(f"  {os.path.join(folder, 'grad_norms.png')}   the gradient of each weight; crosses "
              "where it is severed")


def show_next_commands(out):
    drawing.heading(out, "What to try next")
    if shutil.which("npformer") is None:           # it was started by its path, or by make
        activate = os.path.join(os.path.dirname(sys.executable), "activate")
        out.print(f"To have the commands on your path: . {activate}")
    drawing.table(out, ("command", "what it does"), [
        ("npformer train yourtext.txt",
         "train on a text of your own; stop it with Ctrl-C, go on with --resume"),
        ("npformer residual --depth 1 4 12", "when does depth need the skip?"),
        ("npformer step",
         "step through a backward pass, both ways, into every operation; of your script too")],
        texts=("what it does",))


def norm(array):
    """‖array‖₂"""
    return float(np.linalg.norm(array))


def file_and_line(source):
    """(file, line) as `tiny.py:47`."""
    return f"{os.path.basename(source[0])}:{source[1]}" if source else ""
