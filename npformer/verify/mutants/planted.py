"""How a mutant is written: the forward, the right rule of each gradient, and the wrong ones.

    @subject(x=real(5, 7))
    def softmax(x):
        '''y = exp(x) / Σ exp(x).    dx = y · (g − Σ g·y)'''
        e = np.exp(x)
        return e / row_sum(e)

    softmax.right(x=lambda g, y: y * (g - row_sum(g * y)))
    softmax.wrong("diagonal Jacobian", "diagonal-jacobian", x=lambda g, y: g * y * (1 - y))

The forwards are plain NumPy, as a user writes them, and not the registry's: the rules read what a
forward saved (weights, x̂, r), which an operation does not hand out; and a test holds these forwards
against npformer's own, which would prove nothing if they were one. (Tried on 63 gradients: with the
registry's forwards the verdicts were the same, but for one mutant of gelu that lost its name.) What
two subjects share is written once: see `at`.

A rule names what it reads: `g` (the gradient that arrives), `y` (the output), the inputs, and what
the forward saved. A forward that returns `(y, saved)` is judged with a cache, as courses write it;
any other is run again by its backward.
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

SUBJECTS: dict[str, "Subject"] = {}
Rule = Callable[..., Any]                          # a gradient out of what its parameters name


@dataclass(frozen=True)
class Mutant:
    """A forward and a backward to judge. kinds: its names, the best first; none if it is right."""

    name: str
    subject: "Subject"
    kinds: tuple[str, ...]
    rules: dict[str, Rule]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.subject.draws)

    @property
    def mistaken(self) -> dict[str, Rule]:
        """The rules that are wrong, by input."""
        return {name: rule for name, rule in self.rules.items()
                if rule is not self.subject.rules[name]}

    def inputs(self, seed: int = 0) -> list[Any]:
        """A test point that hides nothing: sizes all different, indices that repeat."""
        rng = np.random.default_rng(seed)
        return [draw(rng) for draw in self.subject.draws.values()]

    def forward(self, *arrays: Any, **options: Any) -> Any:
        """y, or y and a cache of all that the rules may read. options: else the subject's own."""
        y = self.subject.function(*arrays, **options)
        if isinstance(y, tuple):
            y, saved = y
            return y, {"y": y, **dict(zip(self.names, arrays)), **saved}
        return y

    def backward(self, g: np.ndarray, *context: Any) -> tuple[Any, ...]:
        """A gradient for each input, None where it has no rule; context is the cache, or else the
        inputs."""
        if isinstance(context[0], dict):
            known = {"g": g, **context[0]}
        else:
            known = {"g": g, "y": self.subject.function(*context), **dict(zip(self.names, context))}
        return tuple(rule and rule(*[known[name] for name in signature(rule).parameters])
                     for rule in map(self.rules.get, self.names))


class Subject:
    """A forward with its right rules, and the mutants of them."""

    def __init__(self, name: str, function: Callable[..., Any], draws: dict[str, Callable],
                 rules: dict[str, Rule] | None = None) -> None:
        self.name, self.function, self.draws = name, function, draws
        self.rules: dict[str, Rule] = rules or {}
        self.mutants: list[Mutant] = []
        SUBJECTS[name] = self

    def at(self, name: str, **draws: Callable) -> "Subject":
        """A Subject of its own with the same forward and right rules, at other inputs."""
        return Subject(name, self.function, draws, self.rules)

    def right(self, **rules: Rule) -> None:
        self.rules = rules

    def wrong(self, mistake: str, *kinds: str, **rules: Rule) -> None:
        """Plant a mistake: these rules replace the right ones; `kinds` is what it may be called."""
        unknown = set(rules) - set(self.rules)
        if unknown or not kinds:
            raise ValueError(f"{self.name}: {mistake}: it needs a kind, and has a rule for unknown "
                             f"inputs {unknown}")
        self.mutants.append(Mutant(f"{self.name}: {mistake}", self, kinds, {**self.rules, **rules}))

    @property
    def control(self) -> Mutant:
        return Mutant(f"{self.name}: right", self, (), self.rules)


def subject(**draws: Callable) -> Callable[[Callable[..., Any]], Subject]:
    """Make a forward a Subject; `draws` are functions of a random generator, by input."""
    return lambda function: Subject(function.__name__, function, draws)


def row_sum(x):
    """Σ x over the last dim, kept."""
    return x.sum(axis=-1, keepdims=True)


def row_mean(x):
    """The mean of x over the last dim, kept."""
    return x.mean(axis=-1, keepdims=True)


def T(x):
    """The last two dims exchanged."""
    return np.swapaxes(x, -1, -2)


def column_sum(g):
    """Σ g over all dims but the last."""
    return g.reshape(-1, g.shape[-1]).sum(axis=0)
