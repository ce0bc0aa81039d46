"""Where attention looks: the weights of every attention in a forward pass, what the gradient says
of them, and rollout."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import numpy as np

from ... import plot
from ...core.devices import to_numpy
from ...core.errors import GraphError, IndexRangeError, ShapeError
from ...core.facts import norm
from ...core.operation import Operation
from ...files import StrPath
from ...nn import Module
from ...ops.shape import unbroadcast
from ..views.tables import table
from .watching import Watch

PARTS = {"weights": "Attention weights", "gradient": "dL/d(weights)",
         "product": "Weights ⊙ dL/d(weights)"}
NONE_SEEN = ("no attention was seen.\n  Call the model inside the `with` block, not under "
             "no_grad(), and with something that requires a gradient.")


class AttentionMap:
    """One attention y = A·v. where: the module's path. weights: A (..., T, S), after dropout if
    there is any. gradient: dL/dA; None until a backward pass has reached it.
    """

    def __init__(self, where: str, weights: np.ndarray, v: Any = None) -> None:
        self.where, self.weights, self.v = where, weights, v
        self.gradient: np.ndarray | None = None

    def keep_gradient(self, g):
        """A hook on A; or on y, if v was given: then dL/dA = g·vᵀ. g itself stays as it is."""
        da = to_numpy(getattr(g, "array", g))
        if self.v is not None:
            da = np.matmul(da, np.swapaxes(to_numpy(self.v), -1, -2))
            da = unbroadcast(da, self.weights.shape)
        self.gradient = da
        return g

    @property
    def product(self) -> np.ndarray:
        """A ⊙ dL/dA: to first order, what the loss would lose if that look were taken away."""
        return self.weights * self.part("gradient")

    def part(self, name: str) -> np.ndarray:
        """"weights", "gradient" or "product" by name; GraphError before a backward pass."""
        if name != "weights" and self.gradient is None:
            raise GraphError(f"attention map {self.where!r}: no backward pass has reached it yet; "
                             "call loss.backward() first")
        return getattr(self, name)

    @property
    def heads(self) -> np.ndarray:
        """The weights as (B, H, T, S); B and H are 1 where there is no such dim."""
        return self.as_heads(self.weights)

    def as_heads(self, array):
        """An array like the weights as (B, H, T, S); the first of three dims is the batch."""
        H = array.shape[-3] if array.ndim > 3 else 1
        return array.reshape(-1, H, *array.shape[-2:])

    @property
    def entropy(self) -> np.ndarray:
        """−Σ A·ln A of each head, in nats: 0 looks at one key, ln S at all alike. The mean over all
        queries that see a key."""
        A = self.heads
        each = -(A * np.log(np.where(A > 0, A, 1))).sum(axis=-1)             # (B, H, T)
        return each.mean(axis=(0, 2), where=A.any(axis=-1))

    @property
    def distance(self) -> np.ndarray | None:
        """Σ A·|t − s| of each head: how far it looks, in places. None where there are not as many
        queries as keys."""
        T, S = self.weights.shape[-2:]
        if T != S:
            return None
        A = self.heads
        apart = np.abs(np.arange(T)[:, None] - np.arange(S))
        return (A * apart).sum(axis=-1).mean(axis=(0, 2), where=A.any(axis=-1))


class AttentionMaps(Watch):
    """What `attention` returns: the maps in the order in which they were computed, by number or by
    the module's path."""

    def __init__(self, model: Module) -> None:
        super().__init__("attention(model)", model)
        self.maps: list[AttentionMap] = []
        self.softmaxes: set = set()                # nodes of weights, also under dropout or a scale

    def __exit__(self, *exc):
        super().__exit__(*exc)
        self.softmaxes.clear()

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, which: int | str) -> AttentionMap:
        if isinstance(which, str):
            found = [m for m in self.maps if m.where == which]
            if not found:
                known = ", ".join(dict.fromkeys(m.where for m in self.maps)) or "none"
                raise IndexRangeError(f"attention maps: none of {which!r}; there are {known}")
            return found[-1]
        return self.maps[which]

    def see(self, node, arguments, y):
        """Keep the weights of an attention: fused, or a softmax over the last dim that goes into a
        product."""
        module = node.scope.module() if node.scope else None
        if module not in self.names:
            return
        weights, argument = getattr(node.op, "weights", None) or (None, None)
        if argument is not None:  # weights that are laid on an argument inside the operation
            given = {**(node.saved or {}), "y": y}
            read = [given[name] for name in signature(weights).parameters]
            self.keep(node, module, weights(*read), arguments[node.op.names.index(argument)])
        elif weights is not None:  # weights that are the output: a product may sum over them later
            if sums_over_last_dim(node, 0):
                self.softmaxes.add(node)
        elif getattr(node.op, "elementwise", False):
            if any(p in self.softmaxes and p.shape == node.shape for p in node.parents):
                self.softmaxes.add(node)
        elif isinstance(node.op, Operation) and len(node.parents) > 1:
            for i, (parent, a) in enumerate(zip(node.parents, arguments)):
                if (parent in self.softmaxes and a.ndim > 1 and y.ndim > 1
                        and sums_over_last_dim(node, i)):
                    self.keep(parent, module, a)
                    self.softmaxes.discard(parent)             # one map, however often it is used

    def keep(self, node, module, weights, v=None):
        """A new map, with a hook on `node` that brings it its gradient."""
        found = AttentionMap(self.names[module], to_numpy(weights).copy(), v)
        if node.hooks is None:
            node.hooks = {}
        node.hooks[found] = found.keep_gradient
        self.maps.append(found)

    def require(self, paths: Sequence[str] | None) -> list[AttentionMap]:
        """The maps of these modules, or all; GraphError where there are none."""
        if not self.maps:
            raise GraphError(f"attention(model): {NONE_SEEN}")
        return self.maps if paths is None else [self[path] for path in paths]

    def rollout(self, paths: Sequence[str] | None = None) -> np.ndarray:
        """Ā_L ··· Ā₁, Ā = (mean of A over the heads + 1) / 2, rows made to add up to 1: what each
        input is worth to each output.

        The 1 is the skip around attention. paths: of one stack of self-attention, all maps if not
        given. -> (B, T, T). Raises ShapeError where the maps are not such a stack.
        Source: Abnar and Zuidema 2020, arXiv:2005.00928, section 3.
        """
        R = None
        for m in self.require(paths):
            A = m.heads.mean(axis=1)                                         # (B, T, S)
            if A.shape[-2] != A.shape[-1] or (R is not None and A.shape != R.shape):
                maps = "\n".join(f"  {m.where} {m.weights.shape}" for m in self.maps)
                raise ShapeError("rollout(paths): the maps must be self-attention of one length, "
                                 f"one block after the other\n{maps}\n"
                                 "  Name those of one stack: rollout([path, ...]).")
            A = A + np.eye(A.shape[-1], dtype=A.dtype)
            A /= A.sum(axis=-1, keepdims=True)
            R = A if R is None else A @ R
        return R  # type: ignore[return-value]    # require() gave one map at least

    def __str__(self):
        if not self.maps:
            return NONE_SEEN
        rows = []
        for m in self.maps:
            T, S = m.weights.shape[-2:]
            worth = None if m.gradient is None else m.as_heads(m.product)
            for h, entropy in enumerate(m.entropy):
                rows.append((m.where or "model", h, f"{T} x {S}", float(entropy),
                             f"{np.exp(entropy):.1f}",
                             None if m.distance is None else float(m.distance[h]),
                             float(m.heads[:, h].max(axis=-1).mean()),
                             None if worth is None else norm(worth[:, h])))
        head = ("module", "head", "T x S", "entropy", "keys", "distance", "largest", "|A⊙dL/dA|")
        return (f"{table(head, rows)}\nentropy in nats, and as the number of keys that it is "
                "worth; distance in places; largest: weight of a query's first choice.\n"
                "Means over batch and queries.")

    def plot(self, path: StrPath, part: str = "weights", batch: int = 0,
             labels: Sequence[str] | None = None) -> None:
        """A map for each attention (row) and head (column) of one sample. part: "weights",
        "gradient" or "product".

        labels: of the places, where queries and keys are the same. "gradient" and "product" have a
        sign: where it is blue, the loss falls if the weight grows; where it is red, it rises.
        """
        if part not in PARTS:
            raise IndexRangeError(
                f"attention.plot: part must be one of {', '.join(PARTS)}, got {part!r}")
        wholes = [(m, m.as_heads(m.part(part))) for m in self.require(None)]
        samples = min(len(values) for _, values in wholes)
        if not 0 <= batch < samples:
            raise IndexRangeError(f"attention.plot: there are {samples} samples, so batch must be "
                                  f"in 0 .. {samples - 1}, got {batch!r}")
        rows = [(m, values[batch]) for m, values in wholes]
        columns = max(len(values) for _, values in rows)
        picture = plot.figure(1.7 * columns + 1.4, 1.7 * len(rows) + 0.7)
        grid = picture.subplots(len(rows), columns, squeeze=False)
        for line, (m, values) in zip(grid, rows):
            top = float(np.abs(values).max()) or 1.0
            look = (dict(cmap="cividis", vmin=0, vmax=top) if part == "weights" else
                    dict(cmap="RdBu_r", vmin=-top, vmax=top))
            for h, axes in enumerate(line):
                axes.set(xticks=[], yticks=[])
                axes.set_visible(h < len(values))
                if h < len(values):
                    image = axes.imshow(values[h], aspect="auto", interpolation="nearest", **look)
                if labels is not None and values.shape[-1] == len(labels):
                    axes.set_xticks(range(len(labels)), labels, fontsize=6)
                    queries = values.shape[-2]
                    axes.set_yticks(range(queries), labels[-queries:], fontsize=6)
            line[0].set_ylabel(m.where or "model", fontsize=9)
            picture.colorbar(image, ax=list(line), fraction=0.03, pad=0.01)
        for h, axes in enumerate(grid[0]):
            axes.set_title(f"head {h}", fontsize=9)
        picture.suptitle(f"{PARTS[part]}: queries down, keys across", fontsize=11)
        plot.save(picture, path)


def sums_over_last_dim(node, i):
    """Whether an operation adds up, or mixes, the last dim of its argument `i`."""
    lined = node.op.line_up(node, i)
    return lined.x[-1:] != "" and lined.x[-1] in lined.reduced


def attention(model: Module) -> AttentionMaps:
    """The weights of every attention inside the model, by module; after the backward pass their
    gradients too.

        with npf.debug.attention(model) as maps:
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        print(maps)                                # entropy, distance, largest weight of each head
        maps["blocks.0"].weights                   # A (B, H, T, S), .gradient, .product = A ⊙ dL/dA
        maps.rollout()                             # (B, T, T)
        maps.plot("maps.png")

    It sees what is recorded: fused attention, and a softmax over the last dim that goes into a
    matmul or einsum; a module that was called twice has two maps. In training the weights are those
    after dropout: call model.eval() first.
    """
    return AttentionMaps(model)
