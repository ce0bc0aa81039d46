"""Pictures of a training run: loss curves, the three forms side by side, gradient norms.

Needs matplotlib.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import numpy as np

from .extras import extra
from .files import make_folder, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .files import StrPath

# Okabe and Ito's colours, which colour-blind readers tell apart; line styles and markers differ
# too, for grey print.
COLOURS = ("#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P")


def figure(width: float = 8.0, height: float = 4.5):
    """An empty matplotlib figure. No window system is asked for."""
    return extra("matplotlib.figure", "A plot").Figure(figsize=(width, height),
                                                       layout="constrained")


def save(picture, path: StrPath) -> None:
    """Write a figure as PNG, whole or not at all; the folder is made if it is not there."""
    content = io.BytesIO()
    picture.savefig(content, format="png", dpi=150)
    make_folder(os.path.dirname(os.path.abspath(path)))
    write_whole(path, content.getvalue())


def smooth(values: Sequence[float], window: int) -> np.ndarray:
    """The running mean of up to `window` values; each mean looks back only."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def style(axes, title: str, x: str, y: str) -> None:
    """Title at the left, labels, a faint grid, and no box around."""
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def plot_loss(records: Sequence[dict], path: StrPath, title: str = "Training loss") -> None:
    """The loss of each step (thin), its running mean (thick), and the validation losses
    (points)."""
    picture = figure()
    axes = picture.add_subplot()
    steps, losses = [r["step"] for r in records], [r["loss"] for r in records]
    window = max(1, min(100, len(losses) // 20))
    axes.plot(steps, losses, color=COLOURS[0], alpha=0.25, linewidth=0.8)
    axes.plot(steps, smooth(losses, window), color=COLOURS[0], linewidth=2,
              label=f"training, mean of {window} steps")
    seen = [(r["step"], r["val_loss"]) for r in records if r.get("val_loss") is not None]
    if seen:
        axes.plot(*zip(*seen), color=COLOURS[2], marker="o", linestyle="--",
                  label="validation, text never trained on")
    axes.legend(frameon=False)
    style(axes, title, "step", "loss (nats per character)")
    save(picture, path)


def plot_forms(results: Sequence[dict], path: StrPath,
               title: str = "With the residual, without it, and with the line deleted") -> None:
    """Loss curves of several runs, a panel for each depth.

    results: dicts with depth, label, losses.
    """
    depths = sorted({r["depth"] for r in results})
    labels = list(dict.fromkeys(r["label"] for r in results))
    picture = figure(max(6.0, 4.5 * len(depths)), 4.5)
    for axes, depth in zip(np.atleast_1d(picture.subplots(1, len(depths), sharey=True)), depths):
        for r in (r for r in results if r["depth"] == depth):
            i = labels.index(r["label"])           # a form looks the same in every panel
            window = max(1, min(100, len(r["losses"]) // 20))
            axes.plot(np.arange(1, len(r["losses"]) + 1), smooth(r["losses"], window),
                      color=COLOURS[i % len(COLOURS)],
                      linestyle=STYLES[i % len(STYLES)], linewidth=2, label=r["label"])
        style(axes, f"depth {depth}", "step",
              "loss (nats per character)" if depth == depths[0] else "")
        axes.legend(frameon=False)
    picture.suptitle(title, fontsize=12)
    save(picture, path)


def plot_grad_norms(results: Sequence[dict], path: StrPath,
                    title: str = "Gradient norm of each weight: a cross at the bottom is no "
                                 "gradient at all") -> None:
    """Gradient norms of the weights in the order of the layers, a line for each of `results`
    (label, grad_norms)."""
    names = [name for name in results[0]["grad_norms"] if name.endswith("weight")]
    picture = figure(max(7.0, 0.32 * len(names) + 3), 5.5)
    axes = picture.add_subplot()
    found = [r["grad_norms"][name] for r in results for name in names if r["grad_norms"][name]]
    floor = min(found, default=1.0) / 3
    for i, r in enumerate(results):
        norms = [r["grad_norms"][name] for name in names]
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        axes.plot(range(len(names)), [v or np.nan for v in norms], color=colour, marker=marker,
                  linestyle=STYLES[i % len(STYLES)], label=r["label"])
        severed = [k for k, v in enumerate(norms) if v is None]
        axes.plot(severed, [floor] * len(severed), color=colour, marker="x", markersize=9,
                  linestyle="none",
                  label=f"{r['label']}: no gradient" if severed else None)
    axes.set_yscale("log")
    axes.set_xticks(range(len(names)), [name.removesuffix(".weight") for name in names],
                    rotation=60, ha="right")
    axes.legend(frameon=False)
    style(axes, title, "", "‖gradient‖")
    save(picture, path)
