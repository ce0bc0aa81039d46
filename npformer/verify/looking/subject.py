"""What is judged, in one form: a forward from arrays to one array, and a backward from g to a
gradient for each input.

A function of Tensors (gradcheck) and a pair of NumPy functions (check_vjp) become the same Subject
here; nothing above this file knows which of them it judges, but for `raw` and `follow`, which only
a plain NumPy forward has.
"""

import contextlib
from dataclasses import dataclass

import numpy as np

from ... import autograd
from ...core.devices import to_numpy
from ...core.dtypes import float64, is_float
from ...core.errors import DTypeError, GraphError, ShapeError
from ...tensors import Tensor
from ..naming.traced_array import trace


@dataclass
class Subject:
    """forward(inputs) -> y and pull(g, inputs) -> (gradients, saved arrays that it wrote to), both
    on plain NumPy arrays.

    names, inputs: of all arguments; checked: the places of those whose gradient is asked for. To
    look at the function at another point, write into the arrays of `inputs`: functions of Tensors
    may read them from outside.
    """

    name: str
    names: list
    inputs: list
    checked: list
    forward: object
    pull: object
    follow: object = None                          # () -> (y, leaves by place), the forward as a
                                                   # graph, or None
    raw: object = None                             # forward as it is: it may take complex arrays

    def gradients(self, g):
        """The gradients of the checked inputs for the upstream g, None where there is none."""
        found = self.pull(g, [copy_array(x) for x in self.inputs])[0]
        return [found[i] for i in self.checked]


@contextlib.contextmanager
def change_inputs(subject, values):
    """Other values for some inputs, by their places, inside the block. They are written into the
    same memory: fn may close over the arrays themselves, as a loss does over a model's
    parameters."""
    before = {i: copy_array(subject.inputs[i]) for i in values}
    try:
        write_inputs(subject.inputs, values)
        yield
    finally:
        write_inputs(subject.inputs, before)


def write_inputs(inputs, values):
    """Write values into arrays; what is no array is replaced."""
    for i, value in values.items():
        if isinstance(inputs[i], np.ndarray):
            inputs[i][...] = value
        else:
            inputs[i] = value


def name_of(function):
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type):
        return owner.__name__
    return getattr(function, "__qualname__", type(function).__name__).replace("<locals>.",
                                                                              "").rpartition(".")[2]


# ── functions of Tensors ──────────────────────────────────────────────────────────────────────────


def to_float64(fn, inputs):
    """The inputs in float64, those that are it already as they are; DTypeError where they, or fn,
    are something else."""
    if not callable(fn):
        raise DTypeError(f"gradcheck(fn, inputs): fn must be a function of Tensors, got {fn!r}")
    if not hasattr(inputs, "__iter__"):
        raise DTypeError("gradcheck(fn, inputs): inputs must be a Tensor, or a list of Tensors, "
                         f"got {inputs!r}")
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor):
            raise DTypeError(
                f"gradcheck(fn, inputs): input {i} must be a Tensor, got {type(x).__name__}.\n"
                "  For plain arrays there is npf.verify.check_vjp(forward, backward, inputs).")
    return [x.detach().double().requires_grad_(x.requires_grad)
            if is_float(x.dtype) and x.dtype != float64 else x for x in inputs]


def from_function(fn, inputs, constant=False):
    """The Subject of a function of Tensors. float64 inputs are used as they are, so that fn may
    close over them; so forward and pull ignore the arrays that they are given, and read `tensors`.
    constant: a result without a graph is no error, its gradients are zero."""
    tensors = to_float64(fn, inputs)
    checked = [i for i, x in enumerate(tensors) if x.requires_grad] or [
        i for i, x in enumerate(tensors) if is_float(x.dtype)]
    if not checked:
        raise DTypeError("gradcheck(fn, inputs): no input is floating, so there is nothing to "
                         "differentiate")

    def forward(arrays):
        with autograd.no_grad():
            return to_numpy(check_result(fn(*tensors)).array)

    def pull(g, arrays):
        fresh = [tensors[i] for i in checked if not tensors[i].requires_grad]
        for x in fresh:
            x.requires_grad_()
        try:
            with autograd.enable_grad():
                y = check_result(fn(*tensors))
            if y.node is None and constant:
                return [np.zeros(x.shape) for x in tensors], ()
            if y.node is None:
                raise GraphError("gradcheck(fn, inputs): fn's result does not depend on any input "
                                 "that requires a gradient.\n  If fn reads tensors from outside, "
                                 "pass those, in float64, as inputs.")
            upstream = y.wrap(np.asarray(g, dtype=y.dtype, like=y.array))
            found = autograd.grad(y, [tensors[i] for i in checked], upstream, allow_unused=True)
        finally:
            for x in fresh:
                x.node = None
        sent = [None] * len(tensors)
        for i, d in zip(checked, found):
            sent[i] = np.zeros(tensors[i].shape) if d is None else to_numpy(d.array)
        return sent, ()

    names = [f"inputs[{i}]" for i in range(len(tensors))] if len(tensors) > 1 else ["input"]
    return Subject(f"gradcheck({name_of(fn)})", names, [x.array for x in tensors], checked, forward,
                   pull)


def check_result(y):
    if not isinstance(y, Tensor):
        raise GraphError("gradcheck(fn, inputs): fn must return a Tensor, it returned "
                         f"{type(y).__name__}")
    if not is_float(y.dtype):
        raise DTypeError("gradcheck(fn, inputs): fn must return a floating Tensor, it returned "
                         f"{y.dtype}")
    return y


# ── pairs of plain functions ──────────────────────────────────────────────────────────────────────


def from_pair(forward, backward, inputs, names=None, cache=None):
    """The Subject of a forward and a backward on plain arrays; with `cache`, as courses write it.
    cache None: found out, by whether forward returns a pair (y, cache)."""
    arrays, checked = copy_inputs(inputs)
    cached = is_cached(forward(*[copy_array(x) for x in arrays]), cache)

    def value(values):
        return np.asarray(raw(values), dtype=float64)

    def raw(values):
        # On copies: a forward that writes into its inputs must not move the point of all others.
        y = forward(*[copy_array(x) for x in values])
        return y[0] if cached else y

    def pull(g, values):
        y = forward(*values)
        saved = arrays_in(y[1]) if cached else []
        before = [copy_array(a) for a in saved]
        sent = backward(g, y[1]) if cached else backward(g, *values)
        written = [a for a, b in zip(saved, before)
                   if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f")]
        alone = isinstance(sent, np.ndarray) or sent is None or np.isscalar(sent)
        sent = [sent] if alone else list(sent)
        if len(sent) == len(checked) != len(values):           # of the floating inputs alone
            of_floats = dict(zip(checked, sent))
            sent = [of_floats.get(i) for i in range(len(values))]
        if len(sent) != len(values):
            raise ShapeError(f"check_vjp: backward returned {len(sent)} gradients for "
                             f"{len(values)} inputs; return one for each input, None where there "
                             "is none")
        return sent, written

    names = parameter_names(forward, len(arrays)) if names is None else list(names)
    if len(names) != len(arrays):
        raise ShapeError(f"check_vjp(..., names={names}): that is {len(names)} names for "
                         f"{len(arrays)} inputs; give one for each")
    return Subject(f"check_vjp({name_of(forward)}, {name_of(backward)})", names, arrays, checked,
                   value, pull, lambda *kind: trace(forward, arrays, checked, *kind), raw)


def copy_inputs(inputs):
    """(inputs as arrays of the judge's own, the floating ones in float64; the places of those)."""
    inputs = [inputs] if isinstance(inputs, np.ndarray) else inputs
    given = [np.array(x, order="C") if not isinstance(x, (int, float, str, type(None))) else x
             for x in inputs]
    arrays = [x.astype(float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
              for x in given]
    for i, x in enumerate(arrays):
        if isinstance(x, np.ndarray) and x.dtype.kind == "c":
            raise DTypeError(
                f"check_vjp(forward, backward, inputs): input {i} is complex, and only real ones "
                "can be judged.\n  Give its real and imaginary parts as two inputs.")
    checked = [i for i, x in enumerate(arrays) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    if not checked:
        raise DTypeError("check_vjp(forward, backward, inputs): no input is a floating array, so "
                         "there is nothing to differentiate")
    return arrays, checked


def is_cached(result, cache):
    """Whether forward's result is (y, cache); refuses what is no real array."""
    pair = isinstance(result, tuple) and len(result) == 2
    if cache and not pair:
        raise DTypeError("check_vjp(forward, backward, inputs, cache=True): forward must return "
                         f"(y, cache), it returned {type(result).__name__}")
    cached = pair if cache is None else cache
    y = result[0] if cached else result
    if getattr(y, "dtype", None) in (np.float16, np.float32):
        raise DTypeError(
            f"check_vjp(forward, backward, inputs): forward made {y.dtype} of float64 inputs, too "
            "coarse for differences.\n  Let it compute in its inputs' dtype. For an engine that "
            "knows float32 alone there is `npformer golden`.")
    if isinstance(y, tuple) or np.asarray(y).dtype.kind not in "fiub":
        raise DTypeError("check_vjp(forward, backward, inputs): forward must return one real "
                         "array, or (y, cache), it returned "
                         f"{getattr(y, 'dtype', type(y).__name__)}")
    return cached


def copy_array(x):
    return x.copy() if isinstance(x, np.ndarray) else x


def parameter_names(forward, count):
    code = getattr(forward, "__code__", None)
    names = list(code.co_varnames[:code.co_argcount]) if code else []
    return names if len(names) == count else [f"inputs[{i}]" for i in range(count)]


def arrays_in(cache):
    if isinstance(cache, np.ndarray):
        return [cache]
    if isinstance(cache, dict):
        cache = tuple(cache.values())
    parts = cache if isinstance(cache, (tuple, list)) else ()
    return [a for part in parts for a in arrays_in(part)]
