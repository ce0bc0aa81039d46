"""What the commands draw on a terminal, with rich: tables, and a progress bar with time left."""

import sys
import time

from ...extras import extra

NO_GRADIENT = "no gradient"


def console():
    """A rich console on stdout; outside a terminal plain text, wide enough for every table."""
    Console = extra("rich.console", "The command line").Console
    width = None if sys.stdout.isatty() else 120
    return Console(width=width, highlight=False, markup=False, emoji=False)


def table(out, headers, rows, texts=()):
    Table = extra("rich.table", "The command line").Table
    grid = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    for i, header in enumerate(headers):
        justify = "right" if i and header not in texts else "left"
        grid.add_column(header, justify=justify, no_wrap=i < len(headers) - 1)
    for row in rows:
        grid.add_row(*[str(cell) for cell in row])
    out.print(grid)


def heading(out, text):
    out.print(f"\n{text}", style="bold cyan")


def norm_text(value):
    """A gradient norm as a text; None means that no gradient came."""
    return NO_GRADIENT if value is None else f"{value:.6f}"


def by_layer(grad_norms):
    """{layer: {"weight": norm, "bias": norm}} of {"layer.weight": norm, ...}, in the same order."""
    found = {}
    for name, value in grad_norms.items():
        layer, _, kind = name.rpartition(".")
        found.setdefault(layer, {})[kind] = value
    return found


def norms_table(out, grad_norms):
    """The gradient norm of each parameter: a row a layer, a column each for weight and bias."""
    rows = [(layer, *[norm_text(kinds[kind]) if kind in kinds else ""
                      for kind in ("weight", "bias")])
            for layer, kinds in by_layer(grad_norms).items()]
    table(out, ("grad_norm", "weight", "bias"), rows)


def forms_table(out, results):
    """The gradient norm of each weight: a row a layer, a column for each of `results`."""
    columns = [by_layer(r["grad_norms"]) for r in results]
    rows = [(layer, *[norm_text(column[layer]["weight"]) for column in columns])
            for layer in columns[0]]
    table(out, ("grad_norm of the weights", *[r["label"] for r in results]), rows)


class Bar:
    """A progress bar over training steps; nothing at all outside a terminal. Call it as `watch(run,
    record)`."""

    def __init__(self, out, title, steps, done=0):
        progress = extra("rich.progress", "The command line")
        self.bar = progress.Progress(
            progress.TextColumn("{task.description}"), progress.BarColumn(),
            progress.MofNCompleteColumn(), progress.TextColumn("{task.fields[state]}"),
            progress.TimeRemainingColumn(),
            console=out, transient=True, disable=not out.is_terminal)
        self.task = self.bar.add_task(title, total=steps, completed=done, state="")
        self.began, self.done = time.perf_counter(), done

    def __enter__(self):
        self.bar.start()
        return self

    def __exit__(self, *exc):
        self.bar.stop()

    def __call__(self, run, record):
        seconds = time.perf_counter() - self.began
        tokens = (run.step - self.done) * run.config.batch * run.config.context
        self.bar.update(self.task, completed=run.step, total=run.config.steps,
                        state=f"loss {record['loss']:.4f}  {tokens / seconds:,.0f} tokens/s")
