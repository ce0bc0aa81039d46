"""`npformer demo`: the whole subject in under a minute: training, proof, the residual identity, the backward pass."""

import copy
import importlib.util
import os
import shutil
import sys
from argparse import Namespace
from dataclasses import replace

import numpy as np

from .. import debug, plot, verify
from ..core.devices import to_numpy
from ..core.errors import GradientError, NpformerError
from ..data import in_order
from ..files import make_folder
from ..models.tiny import FORMS
from ..nn import functional as F
from ..train import Config
from . import show
from .reference import torch_gradients
from .residual import summary, train_form

DEEP = 6                                           # blocks of the deeper pair, where the skip begins to decide


def run(arguments: Namespace) -> None:
    """All parts in order; each prints what it shows and what to see in it."""
    out = show.console()
    config = Config(steps=arguments.steps, seed=arguments.seed)
    make_folder(arguments.out)
    text = config.read_text()
    runs, results = train_all(out, config, text)
    severed(out, results[:len(FORMS)])
    prove(out, runs[0])
    identity(out, runs[0])
    walk(out, runs[0], arguments.out)
    plots(out, results, arguments.out)
    whats_next(out)


def train_all(out, config, text):
    """The three forms at depth 1, and with and without the skip at depth 6. Returns the Runs and their numbers."""
    show.heading(out, f"1. Training {config.steps} steps on {len(text):,} characters of Python's own help")
    deeper = dict(depth=DEEP, steps=max(1, config.steps // 4))
    configs = [replace(config, residual=form) for form in FORMS]
    configs += [replace(config, residual=form, **deeper) for form in (True, False)]
    runs, results = zip(*[train_form(out, one, text) for one in configs])
    summary(out, results)
    out.print("In one layer the skip itself matters little: compare x = x + F(x) with x = F(x). Deleting the line\n"
              "costs more, for it throws attention's output away. With depth it is the skip that decides.")
    return runs, results


def severed(out, results):
    """Which weights no gradient reaches, in each form."""
    show.heading(out, "2. The gradient that reaches each weight, at the last step")
    show.forms_table(out, results)
    out.print("Where the line is deleted, nothing leads from the loss back to query, key, value and out_proj: the\n"
              "graph is severed there, and they stay as they were drawn. The model learns without attention.")


def prove(out, run):
    """The trained model's gradients against finite differences, and against PyTorch where it is installed."""
    show.heading(out, "3. Are the trained model's gradients right?")
    model, (x, y) = double_of(run)
    names, weights = zip(*model.named_parameters())
    report = verify.gradcheck(lambda *_: loss_of(model, x, y), weights, raises=False)
    rows = [("finite differences, along random directions", sum(c.entries for c in report.comparisons),
             max(abs(c.analytic - c.numeric) for c in report.comparisons))]
    if not report:
        raise GradientError(report)
    loss = loss_of(model, x, y)
    loss.backward()
    if importlib.util.find_spec("torch"):
        expected = torch_gradients(model, x, y)
        rows.append(("PyTorch's autograd", sum(p.numel() for p in weights),
                     max(np.abs(to_numpy(p.grad.array) - expected[name]).max() for name, p in zip(names, weights))))
    largest = max(float(np.abs(p.grad.array).max()) for p in weights)
    show.table(out, ("held against", "numbers", "largest difference"), [
        (name, f"{entries:,}", f"{difference:.1e}") for name, entries, difference in rows])
    out.print(f"{len(names)} parameters in float64; the largest entry of a gradient is {largest:.2g}."
              + ("" if len(rows) == 2 else " PyTorch is not installed here, and was left out."))
    if rows[-1][2] > 1e-5 * largest:
        raise NpformerError(f"the gradients differ from those of {rows[-1][0]}: a bug. Please report it.")


def double_of(run):
    """The run's model in float64, without gradients, and a small batch of text that it has not seen."""
    model = copy.deepcopy(run.model).double()
    model.zero_grad()
    return model, next(in_order(run.validation, 1, 8))


def loss_of(model, x, y):
    """Mean cross-entropy of the next character.   x, y integers (B, T) -> one number"""
    logits = model(x)                              # (B, T, V)
    return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))


def identity(out, run):
    """dL/dx = dL/dy · (1 + dF/dx) at each addition y = x + F(x), with its numbers."""
    show.heading(out, "4. The residual identity: dL/dx = dL/dy + dL/dy · dF/dx at each y = x + F(x)")
    model, batch = double_of(run)
    show.table(out, ("addition", "came |dL/dy|", "skip passes", "branch adds", "their sum |dL/dx|", "error"), [
        (place(r.source), *[f"{length(v):.6f}" for v in (r.upstream, r.upstream, r.through_branch, r.total)],
         f"{r.error:.0e}") for r in debug.residuals(loss_of(model, *batch))])
    out.print("The skip passes on what came, unchanged, whatever the branch does: so depth does not silence it.")


def walk(out, run, folder):
    """The last backward pass, a line for each step; and as a page to step through."""
    show.heading(out, "5. One backward pass, step by step, the last operation first")
    model, batch = double_of(run)
    trace = debug.trace(lambda: loss_of(model, *batch))
    show.table(out, ("operation", "module", "line", "shape", "|g| that came", "what it sends"), [
        (step.op, step.where, place(step.source), "×".join(map(str, step.upstream.shape)) or "()",
         f"{length(step.upstream):.3g}", ", ".join(f"|d{name}| {length(d):.2g}" for name, d in step.gradients.items()))
        for step in trace], texts=("module", "line", "shape", "what it sends"))
    out.print("The bias of key gets nothing but rounding: it adds the same number to a whole row of scores, and\n"
              "softmax does not see that.")
    page = os.path.join(folder, "backward.html")
    trace.to_html(page)
    out.print(f"The same to step through in a browser: {page}")


def plots(out, results, folder):
    """The curves of all runs, and the gradient norms of the three forms."""
    plot.plot_forms(results, os.path.join(folder, "residual.png"))
    plot.plot_grad_norms(results[:len(FORMS)], os.path.join(folder, "grad_norms.png"))
    show.heading(out, "6. Plots")
    out.print(f"  {os.path.join(folder, 'residual.png')}     the loss of each form, by depth")
    out.print(f"  {os.path.join(folder, 'grad_norms.png')}   the gradient of each weight; crosses where it is severed")


def whats_next(out):
    """Three commands to go on with."""
    show.heading(out, "What to try next")
    if shutil.which("npformer") is None:           # it was started by its path, or by make
        out.print(f"To have the commands on your path: . {os.path.join(os.path.dirname(sys.executable), 'activate')}")
    show.table(out, ("command", "what it does"), [
        ("npformer train yourtext.txt", "train on a text of your own; stop it with Ctrl-C, go on with --resume"),
        ("npformer residual --depth 1 4 12", "when does depth need the skip?"),
        ("npformer step", "step through a backward pass, both ways, into every operation; of your script too")],
        texts=("what it does",))


def length(array):
    """‖array‖₂"""
    return float(np.linalg.norm(array))


def place(source):
    """(file, line) as `tiny.py:43`."""
    return f"{os.path.basename(source[0])}:{source[1]}" if source else ""
