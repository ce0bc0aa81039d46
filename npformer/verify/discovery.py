"""What in a user's module can be checked: pairs of functions, Functions, and what is marked by
hand; and its inputs. `npformer check` asks for `checkables` and runs them."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from .. import creation
from ..autograd import Function
from ..core.errors import InputError
from ..tensors import Tensor
from .looking.judge import check_vjp, gradcheck

MARK = "__npformer_check__"

Drawn = Sequence[Any] | dict[str, Any]             # inputs in a list, or by name
Inputs = Drawn | Callable[..., Drawn]              # or a function that draws them
F = TypeVar("F")


@dataclass
class Checkable:
    """One thing to check. inputs: arrays, or a function of a random generator that draws them; None
    if there is none. wanted: the name under which inputs were looked for. backward: of a pair of
    functions on plain arrays, else None."""

    name: str
    forward: Any
    backward: Any = None
    inputs: Any = None
    wanted: str = ""

    def run(self, seed=0):
        names, values = self.draw(seed)
        if self.backward is not None:
            report = check_vjp(self.forward, self.backward, values, names=names, seed=seed,
                               raises=False)
        else:
            report = check_tensors(self.forward, values, seed)
        report.subject = self.name
        return report

    def draw(self, seed):
        """(names or None, values) of the inputs."""
        found = self.inputs
        if found is None:
            raise InputError(f"{self.name} has no inputs to be checked at.\n  Write beside it:  "
                             f"def {self.wanted}(rng): return [rng.standard_normal((2, 3))]")
        if callable(found):
            rng = np.random.default_rng(seed)
            found = found(rng) if inspect.signature(found).parameters else found()
        if isinstance(found, dict):
            return list(found), list(found.values())
        return None, list(found) if isinstance(found, (list, tuple)) else [found]


def check_tensors(function, values, seed):
    """gradcheck at plain arrays: they become Tensors; what is no array stays what it is."""
    places = [i for i, v in enumerate(values) if isinstance(v, (np.ndarray, Tensor))]
    tensors = [creation.tensor(values[i]) if isinstance(values[i], np.ndarray) else values[i]
               for i in places]

    def of_tensors(*xs):
        arguments = list(values)
        for i, x in zip(places, xs):
            arguments[i] = x
        return function(*arguments)

    return gradcheck(of_tensors, tensors, seed=seed, raises=False)


def check(*, inputs: Inputs, backward: Callable[..., Any] | None = None) -> Callable[[F], F]:
    """Mark a function, or a Function, for `npformer check`.

        @npf.verify.check(inputs=lambda rng: [rng.standard_normal((3, 5))])
        def swish(x):
            return x * x.sigmoid()

    inputs: arrays in a list, or by name in a dict; or a function of a random generator that draws
    them. backward: the backward pass, where what is marked is a forward pass on plain arrays. The
    function itself stays as it is.
    """
    def mark(function: F) -> F:
        setattr(function, MARK, (inputs, backward))
        return function
    return mark


def checkables(module):
    found = []
    for name, value in vars(module).items():
        mark = vars(value).get(MARK) if hasattr(value, "__dict__") else None
        is_function = inspect.isclass(value) and issubclass(value, Function)
        if mark is not None:
            forward = value.apply if is_function else value
            found.append(Checkable(name, forward, mark[1], mark[0]))
        elif is_function:
            inputs, wanted = find_inputs(module, [f"{name}_inputs", f"{name.lower()}_inputs"])
            # One that is imported from elsewhere only if inputs beside it say that it is meant.
            if value.__module__ == module.__name__ or inputs is not None:
                found.append(Checkable(name, value.apply, None, inputs, wanted))
        elif "forward" in name and callable(value):
            backward = getattr(module, name.replace("forward", "backward"), None)
            inputs, wanted = find_inputs(module, [name.replace("forward", "inputs")])
            if callable(backward):
                called = name.replace("forward", "").strip("_") or name
                found.append(Checkable(called, value, backward, inputs, wanted))
    return found


def find_inputs(module, names):
    """(inputs, the first of `names` that the module has), or (None, names[0])."""
    for name in names:
        if hasattr(module, name):
            return getattr(module, name), name
    return None, names[0]
