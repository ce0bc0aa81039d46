"""The gradient's flow over training: for each layer its gradient, its weights, how far a step moves
them, dead units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import plot
from ...core.devices import to_numpy
from ...core.errors import DTypeError, GraphError, complaint
from ...core.facts import norm
from ...core.operation import is_call_of
from ...files import StrPath
from ...nn import Module
from ...ops.activation import relu
from ..views.tables import table
from .watching import Watch

VANISHING, EXPLODING = 1e-3, 1e3                   # of the last layer's gradient, per entry


@dataclass
class LayerFlow:
    """One layer in one step. A layer is a module with parameters of its own, or with a relu.

    gradient: |dL/dw|; None: no gradient arrived. rms: |dL/dw| / √(entries), which can be compared
    between layers of different sizes. parameter: |w| before the step. update: |Δw| / |w|, what the
    step did; None where |w| = 0. dead, units: of relu, how many were 0 for the whole batch, of how
    many.
    """

    gradient: float | None = None
    rms: float | None = None
    parameter: float | None = None
    update: float | None = None
    dead: int | None = None
    units: int | None = None


class GradientFlow(Watch):
    """What `gradient_flow` returns. records: for each step {layer: LayerFlow}. str() is a table,
    `.plot` a picture."""

    def __init__(self, model: Module) -> None:
        super().__init__("gradient_flow(model)", model)
        self.parameters = {}                       # of each layer: those that learn
        for module, path in self.names.items():
            own = [p for p in module.parameters(recurse=False) if p.requires_grad]
            if own:
                self.parameters[path] = own
        if not self.parameters:
            raise GraphError("gradient_flow(model): no parameter of the model requires a gradient")
        self.records: list[dict[str, LayerFlow]] = []
        self.alive: dict[str, np.ndarray] = {}     # which units of a relu were not 0 since a step

    def see(self, node, arguments, y):
        """Note which units of a relu are alive. A unit is a place along the last dim; of images,
        along dim 1."""
        module = node.scope.module() if node.scope else None
        if is_call_of(node, relu) and module in self.names and y.ndim:
            unit = 1 if y.ndim >= 4 else y.ndim - 1
            alive = to_numpy(y).any(axis=tuple(d for d in range(y.ndim) if d != unit))
            path = self.names[module]
            before = self.alive.get(path)
            same = before is not None and before.shape == alive.shape      # called twice in a step
            self.alive[path] = before | alive if same else alive

    def step(self, optimizer: Any) -> None:
        """optimizer.step(), with a record of the gradients before it and of what it does to the
        parameters.

        Call it where optimizer.step() stood. Raises GraphError where no parameter has a gradient.
        """
        call = "gradient_flow.step(optimizer)"
        if not hasattr(optimizer, "step"):
            raise DTypeError(complaint(call, "optimizer must have a method step",
                                       {"optimizer": optimizer}))
        if all(p.grad is None for params in self.parameters.values() for p in params):
            raise GraphError(f"{call}: no parameter has a gradient.\n"
                             "  Call it after loss.backward() and before zero_grad().")
        record: dict[str, LayerFlow] = {}
        before = {path: [to_numpy(p.array).copy() for p in params]
                  for path, params in self.parameters.items()}
        for path, params in self.parameters.items():
            grads = [to_numpy(p.grad.array) for p in params if p.grad is not None]
            layer = record[path] = LayerFlow(parameter=joint_norm(before[path]))
            if grads:
                layer.gradient = joint_norm(grads)
                layer.rms = layer.gradient / sum(g.size for g in grads) ** 0.5
        # What the step did is measured, by the weights before and after. The learning rate does not
        # say it: Adam divides by the gradients' size, weight decay and clipping come in between.
        optimizer.step()
        for path, params in self.parameters.items():
            with np.errstate(invalid="ignore"):    # weights that have become infinite
                moved = joint_norm([to_numpy(p.array) - w for p, w in zip(params, before[path])])
            layer = record[path]
            layer.update = moved / layer.parameter if layer.parameter else None
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
        """One number of a layer ("gradient", "rms", "parameter", "update", "dead", "units") in each
        step; NaN for None."""
        numbers = [getattr(record.get(layer, LayerFlow()), what) for record in self.records]
        return np.array(numbers, dtype=float)

    @property
    def reference(self) -> str:
        """The layer that the others are compared with: the last that ever had a gradient other than
        zero. Backward begins there, so its gradient has not passed through any other layer."""
        for path in reversed(self.layers):
            if np.nansum(self.over_time(path, "rms")):
                return path
        return self.layers[-1]

    def verdict(self, layer: str) -> str:
        """'vanishing', 'exploding', 'no gradient', 'not finite', or 'ok'.

        Vanishing: the layer's gradient per entry is, in the median step, less than 1e-3 of the last
        layer's (`reference`). Exploding: more than 1e3 times as large. '' for a layer without
        parameters.
        """
        if layer not in self.parameters:
            return ""
        every = (record[layer].rms for record in self.records)
        rms = [value for value in every if value is not None]
        if not any(rms):
            return "no gradient"
        if not np.isfinite(rms).all():
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
            relative = median(self.over_time(layer, "rms") / reference)
            of_units = None if np.isnan(dead[-1]) else f"{dead[-1]:.0f} of {units[-1]:.0f}"
            numbers = gradient[0], gradient[-1], relative, weight[-1], median(update)
            rows.append((layer or "model", *map(number_or_none, numbers), of_units,
                         self.verdict(layer)))
        head = ("layer", "|dL/dw| first", "|dL/dw| last", "relative", "|w|", "|Δw|/|w|", "dead",
                "verdict")
        return (f"{table(head, rows)}\n{len(self.records)} steps; medians over them. relative: the "
                f"gradient per entry, {self.reference}'s being 1.\nvanishing: relative below "
                f"{VANISHING:g}; exploding: above {EXPLODING:g}")

    def plot(self, path: StrPath, title: str = "The flow of gradients over training") -> None:
        """Maps of layer by step: gradient per entry, update ratio, and the share of dead units
        where relu was seen."""
        if not self.records:
            raise GraphError(f"gradient_flow.plot: {self}")
        maps = [("gradient per entry", "rms"), ("update |Δw| / |w|", "update")]
        if any(layer.dead is not None for record in self.records for layer in record.values()):
            maps.append(("share of dead units", "dead"))
        height = min(10, max(3.5, 0.2 * len(self.layers) + 1.5))
        picture = plot.figure(1.8 + 4.2 * len(maps), height)
        for axes, (words, what) in zip(np.atleast_1d(picture.subplots(1, len(maps))), maps):
            self.draw_map(picture, axes, what)
            axes.set_title(words, loc="left", fontsize=10)
            axes.set_xlabel("step")
        picture.suptitle(title, fontsize=12)
        plot.save(picture, path)

    def draw_map(self, picture, axes, what):
        """One number of each layer that has it, over the steps: "dead" as a share of its units, all
        others as their logarithm."""
        shown = [path for path in self.layers if not np.isnan(self.over_time(path, what)).all()]
        values = np.array([self.over_time(path, what) for path in shown])
        if what == "dead":
            values = values / np.array([self.over_time(path, "units") for path in shown])
        else:
            with np.errstate(divide="ignore"):
                values = np.log10(np.where(values > 0, values, np.nan))
        image = axes.imshow(values, aspect="auto", cmap="cividis", interpolation="nearest",
                            extent=(0.5, len(self.records) + 0.5, len(shown) - 0.5, -0.5))
        picture.colorbar(image, ax=axes, label="" if what == "dead" else "log₁₀", fraction=0.05)
        every = 1 + len(shown) // 50               # names that would lie on top of each other
        names = [path or "model" for path in shown[::every]]
        axes.set_yticks(range(0, len(shown), every), names, fontsize=7)


def joint_norm(parts):
    """√(Σ a²) over several arrays."""
    return math.hypot(*map(norm, parts))


def median(values):
    """The median of what is finite; NaN of nothing."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def number_or_none(value):
    return None if np.isnan(value) else float(value)


def gradient_flow(model: Module) -> GradientFlow:
    """Watch a training: |dL/dw|, |w|, |Δw|/|w| of each layer at each step, dead relu units, and
    which gradients vanish.

        with npf.debug.gradient_flow(model) as flow:
            for x, y in batches:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                flow.step(optimizer)               # where optimizer.step() stood
        print(flow)
        flow.plot("flow.png")

    Updates are measured, not computed from the learning rate. A relu unit is dead in a step if it
    was 0 for the whole batch; units are counted inside the `with` block alone. Raises GraphError
    for a model without parameters that learn.
    """
    return GradientFlow(model)
