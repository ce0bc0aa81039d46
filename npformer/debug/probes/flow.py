"""The gradient's flow over training: for each layer its gradient, its weights, how far a step moves them, dead units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import plot
from ...core.devices import to_numpy
from ...core.errors import DTypeError, GraphError, complaint
from ...core.facts import norm
from ...core.operation import is_call_of
from ...ops.activation import relu
from ..views.tables import table
from .watching import Watch

if TYPE_CHECKING:
    from ...files import StrPath
    from ...nn import Module

VANISHING, EXPLODING = 1e-3, 1e3                   # of the last layer's gradient, per entry


@dataclass
class LayerFlow:
    """One layer in one step. A layer is a module with parameters of its own, or one that calls relu."""

    gradient: float | None = None                  # |dL/dw|; None: no gradient came
    rms: float | None = None                       # |dL/dw| / √(entries): comparable between layers of different sizes
    parameter: float | None = None                 # |w| before the step
    update: float | None = None                    # |Δw| / |w|: what the step did; None where |w| = 0
    dead: int | None = None                        # units of relu that were 0 for the whole batch
    units: int | None = None


class GradientFlow(Watch):
    """What `gradient_flow` returns. records: for each step {layer: LayerFlow}. str() is a table, `.plot` a picture."""

    def __init__(self, model: Module) -> None:
        super().__init__("gradient_flow(model)", model)
        own = ((module, [p for p in module.parameters(recurse=False) if p.requires_grad]) for module in self.names)
        self.parameters = {self.names[module]: params for module, params in own if params}
        if not self.parameters:
            raise GraphError("gradient_flow(model): no parameter of the model requires a gradient")
        self.records: list[dict[str, LayerFlow]] = []
        self.alive: dict[str, np.ndarray] = {}     # of each layer with a relu: which units were not 0 since the last step

    def see(self, node, arguments, y):
        """Note which units of a relu are alive. A unit is a place along the last dim; of images, along dim 1."""
        module = node.scope.module() if node.scope else None
        if is_call_of(node, relu) and module in self.names and y.ndim:
            unit = 1 if y.ndim >= 4 else y.ndim - 1
            alive = to_numpy(y).any(axis=tuple(d for d in range(y.ndim) if d != unit))
            path = self.names[module]
            before = self.alive.get(path)
            self.alive[path] = alive if before is None or before.shape != alive.shape else before | alive

    def step(self, optimizer: Any) -> None:
        """optimizer.step(), with a record of the gradients before it and of what it does to the parameters.

        Call it where optimizer.step() stood. Raises GraphError where no parameter has a gradient.
        """
        if not hasattr(optimizer, "step"):
            raise DTypeError(complaint("gradient_flow.step(optimizer)", "optimizer must have a method step",
                                       {"optimizer": optimizer}))
        if all(p.grad is None for params in self.parameters.values() for p in params):
            raise GraphError("gradient_flow.step(optimizer): no parameter has a gradient.\n"
                             "  Call it after loss.backward() and before zero_grad().")
        record: dict[str, LayerFlow] = {}
        before = {path: [to_numpy(p.array).copy() for p in params] for path, params in self.parameters.items()}
        for path, params in self.parameters.items():
            grads = [to_numpy(p.grad.array) for p in params if p.grad is not None]
            size = sum(g.size for g in grads)
            total = joint_norm(grads) if grads else None
            record[path] = LayerFlow(total, None if total is None else total / size ** 0.5, joint_norm(before[path]))
        optimizer.step()
        for path, params in self.parameters.items():
            with np.errstate(invalid="ignore"):    # weights that have become infinite
                moved = joint_norm([to_numpy(p.array) - old for p, old in zip(params, before[path])])
            weight = record[path].parameter
            record[path].update = moved / weight if weight else None
        for path, alive in self.alive.items():
            layer = record.setdefault(path, LayerFlow())
            layer.dead, layer.units = int(alive.size - alive.sum()), alive.size
        self.alive = {}
        self.records.append(record)

    @property
    def layers(self) -> list[str]:
        """The paths of all layers that were seen, in the model's order."""
        seen = {path for record in self.records for path in record} or set(self.parameters)
        return [path for path in self.names.values() if path in seen]

    def over_time(self, layer: str, what: str) -> np.ndarray:
        """One number of a layer ("gradient", "rms", "parameter", "update", "dead", "units") in each step; NaN for None."""
        return np.array([getattr(record.get(layer, LayerFlow()), what) for record in self.records], dtype=float)

    @property
    def reference(self) -> str:
        """The layer that the others are held against: the last one that ever had a gradient other than zero."""
        return next((path for path in reversed(self.layers) if np.nansum(self.over_time(path, "rms"))), self.layers[-1])

    def verdict(self, layer: str) -> str:
        """'vanishing', 'exploding', 'no gradient', 'not finite', or 'ok'.

        Vanishing: the layer's gradient per entry is, in the median step, less than 1e-3 of the last layer's (`reference`).
        Exploding: more than 1e3 times as large. '' for a layer without parameters.
        """
        if layer not in self.parameters:
            return ""
        came = [rms for record in self.records if (rms := record[layer].rms) is not None]
        if not any(came):
            return "no gradient"
        if not np.isfinite(came).all():
            return "not finite"
        ratio = median(self.over_time(layer, "rms") / self.over_time(self.reference, "rms"))
        return "vanishing" if ratio < VANISHING else "exploding" if ratio > EXPLODING else "ok"

    def __str__(self):
        if not self.records:
            return "no step recorded: call flow.step(optimizer) where optimizer.step() stood"
        reference = self.over_time(self.reference, "rms")
        rows = []
        for layer in self.layers:
            gradient, weight, update, dead, units = (self.over_time(layer, what) for what in (
                "gradient", "parameter", "update", "dead", "units"))
            rows.append((layer or "model", number(gradient[0]), number(gradient[-1]),
                         number(median(self.over_time(layer, "rms") / reference)), number(weight[-1]),
                         number(median(update)), None if np.isnan(dead[-1]) else f"{dead[-1]:.0f} of {units[-1]:.0f}",
                         self.verdict(layer)))
        head = ("layer", "|dL/dw| first", "|dL/dw| last", "relative", "|w|", "|Δw|/|w|", "dead", "verdict")
        return (f"{table(head, rows)}\n{len(self.records)} steps; medians over them. relative: the gradient per entry, "
                f"{self.reference}'s being 1.\nvanishing: relative below {VANISHING:g}; exploding: above {EXPLODING:g}")

    def plot(self, path: StrPath, title: str = "The flow of gradients over training") -> None:
        """Maps of layer by step: gradient per entry, update ratio, and the share of dead units where relu was seen."""
        if not self.records:
            raise GraphError(f"gradient_flow.plot: {self}")
        maps = [("gradient per entry", "rms", True), ("update |Δw| / |w|", "update", True)]
        if any(layer.dead is not None for record in self.records for layer in record.values()):
            maps.append(("share of dead units", "dead", False))
        picture = plot.figure(1.8 + 4.2 * len(maps), min(10, max(3.5, 0.2 * len(self.layers) + 1.5)))
        for axes, (words, what, logarithmic) in zip(np.atleast_1d(picture.subplots(1, len(maps))), maps):
            shown = [layer for layer in self.layers if not np.isnan(self.over_time(layer, what)).all()]
            values = np.array([self.over_time(layer, what) / (1 if logarithmic else self.over_time(layer, "units"))
                               for layer in shown])
            with np.errstate(divide="ignore"):
                values = np.log10(np.where(values > 0, values, np.nan)) if logarithmic else values
            image = axes.imshow(values, aspect="auto", cmap="cividis", interpolation="nearest",
                                extent=(0.5, len(self.records) + 0.5, len(shown) - 0.5, -0.5))
            picture.colorbar(image, ax=axes, label="log₁₀" if logarithmic else "", fraction=0.05)
            every = 1 + len(shown) // 50
            axes.set_yticks(range(0, len(shown), every), [layer or "model" for layer in shown[::every]], fontsize=7)
            axes.set_title(words, loc="left", fontsize=10)
            axes.set_xlabel("step")
        picture.suptitle(title, fontsize=12)
        plot.save(picture, path)


def joint_norm(parts):
    """√(Σ a²) over several arrays."""
    return math.hypot(*map(norm, parts))


def median(values):
    """The median of what is finite; NaN of nothing."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def number(value):
    """A cell of the table: None for NaN."""
    return None if np.isnan(value) else float(value)


def gradient_flow(model: Module) -> GradientFlow:
    """Watch a training: |dL/dw|, |w|, |Δw|/|w| of each layer at each step, dead relu units, and which gradients vanish.

        with npf.debug.gradient_flow(model) as flow:
            for x, y in batches:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                flow.step(optimizer)               # where optimizer.step() stood
        print(flow)
        flow.plot("flow.png")

    Updates are measured, not computed from the learning rate. A relu unit is dead in a step if it was 0 for the whole batch;
    units are counted inside the `with` block alone. Raises GraphError for a model without parameters that learn.
    """
    return GradientFlow(model)
