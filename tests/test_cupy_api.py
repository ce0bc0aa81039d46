"""Every array function, method and argument that npformer uses exists in CuPy too
(tests/cupy_api.txt).

The stand-in shows it for what the tests run; this reads the source, so it holds for every line.
"""

import ast
import inspect
import pathlib
import weakref

import numpy as np
import pytest
from cupy_standin.api import API

import npformer

HOME = pathlib.Path(npformer.__file__).parent

# What runs on the CPU whatever the device, and why. A file, or a name in a file.
CPU_ONLY = {
    "verify": "the judge brings every array to the CPU first",
    "debug": "viewers show numbers: on the CPU",
    "cli": "commands print and plot: on the CPU",
    "plot.py": "matplotlib draws NumPy arrays",
    "data.py": "texts are encoded and batches are drawn on the CPU, then moved",
    "train.py": "log, norms and checkpoints are numbers on the CPU",
    "serialize.py": "files are written from NumPy arrays",
    "tensorfile.py": "the same; what is read is moved afterwards",
    "core/inside.py:flat_places": "places in a Jacobian, whose rows are moved to the CPU",
    "core/inside.py:jacobian": "the same",
    "core/inside.py:check": "finite differences of a step are taken on the CPU",
    "core/inside.py:compare_gradients": "the same",
    "core/inside.py:compare_gradient": "the same",
    "core/inside.py:places_to_look_at": "the same",
    "core/numeric.py": "finite differences are taken on the CPU: "
                       "who asks for them brings every array there",
    "core/samples.py": "samples of the operations are drawn by NumPy",
    "core/operation.py:in_words": "words are made for viewers, whose arrays are on the CPU",
    "ops/erf.py:polynomials": "the coefficients are fitted once, as Python floats",
    "core/writes.py:checksum": "only NumPy's memory can be written behind our back",
    "core/random_numbers.py:Generator": "draws are made on the CPU, so that a seed means the same "
                                        "everywhere",
}
# Names of NumPy's that are no array functions.
NO_ARRAY_FUNCTION = {
    "errstate": "a context of NumPy's, for its own warnings; CuPy gives none",
    "random": "see core/random_numbers.py:Generator",
}


def is_excused(table, path, inside):
    """Whether a table of excuses has the place: its folder, file, or a function around it."""
    name = str(path.relative_to(HOME))
    return any(key in (name, name.partition("/")[0], *(f"{name}:{part}" for part in inside))
               for key in table)


def places():
    """(path, node, names of the functions and classes around it) for each node of every file."""
    def walk(path, node, inside):
        yield path, node, inside
        named = isinstance(node, (ast.FunctionDef, ast.ClassDef))
        for child in ast.iter_child_nodes(node):
            yield from walk(path, child, inside | {node.name} if named else inside)

    for path in sorted(HOME.rglob("*.py")):
        yield from walk(path, ast.parse(path.read_text()), frozenset())


PLACES = [p for p in places() if not is_excused(CPU_ONLY, p[0], p[2])]


def numpy_name(node):
    """'linalg.norm' for np.linalg.norm, 'exp' for np.exp; None for anything else."""
    if isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id == "np":
            return node.attr
        inner = numpy_name(node.value)
        return f"{inner}.{node.attr}" if inner in ("linalg", "random") else None
    return None


def keywords_fit(signature, call):
    """Whether a signature takes the call's keywords. `like` is NumPy's own: it chooses the module,
    and stays there."""
    names = {p.name for p in signature.parameters.values()}
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    return anything or all(k.arg is None or k.arg in names or k.arg == "like"
                           for k in call.keywords)


def test_every_function_of_numpys_is_cupys_too():
    seen = 0
    for path, node, _ in PLACES:
        name = numpy_name(node)
        if name and name.partition(".")[0] not in NO_ARRAY_FUNCTION and name != "linalg":
            seen += 1
            assert f"cupy.{name}" in API, f"{path}:{node.lineno}: np.{name} is not in CuPy"
    assert seen > 100


def test_every_argument_of_numpys_functions_is_cupys_too():
    seen = 0
    for path, node, _ in PLACES:
        name = numpy_name(node.func) if isinstance(node, ast.Call) else None
        entry = API.get(f"cupy.{name}")
        if entry and entry.signature:
            seen += 1
            words = f"{path}:{node.lineno}: cupy.{name}{entry.signature}"
            assert keywords_fit(entry.signature, node), words
            parameters = entry.signature.parameters.values()
            positional = [p for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
            more = any(p.kind is p.VAR_POSITIONAL for p in parameters)
            assert more or len(node.args) <= len(positional), words
    assert seen > 50


METHODS = {name for name in dir(np.ndarray) if not name.startswith("_")}
# Methods of NumPy's arrays alone, used where the device was asked for.
CPU_METHODS = {
    "nn/functional/attention.py:causal_mask": "a mask in NumPy is made read-only; "
                                              "CuPy has no such flag",
    "tensors.py:data_ptr": "the address has another name on each device",
}


def test_every_method_of_arrays_is_cupys_too():
    """By name, whatever it is called on: no method that NumPy's arrays have and CuPy's have not."""
    seen = 0
    for path, node, inside in PLACES:
        if isinstance(node, ast.Attribute) and node.attr in METHODS and numpy_name(node) is None:
            seen += 1
            if is_excused(CPU_METHODS, path, inside):
                continue
            where = f"{path}:{node.lineno}: .{node.attr}"
            assert f"cupy.ndarray.{node.attr}" in API, f"{where} is not in CuPy's ndarray"
    assert seen > 100


def test_every_argument_of_array_methods_is_cupys_too():
    """Where a call has arguments that only arrays know (axis, keepdims, ...), they are CuPy's."""
    seen = 0
    for path, node, _ in PLACES:
        if not isinstance(node, ast.Call) or numpy_name(node.func) is not None:
            continue
        method = getattr(node.func, "attr", None)
        entry = API.get(f"cupy.ndarray.{method}")
        of_arrays = {k.arg for k in node.keywords} & {"axis", "keepdims", "where", "initial"}
        if entry and entry.signature and of_arrays:
            seen += 1
            words = f"{path}:{node.lineno}: cupy.ndarray.{method}{entry.signature}"
            assert keywords_fit(entry.signature, node), words
    assert seen > 25


# Where an array is made on the CPU, and why that is right. A file, or a name in a file.
MADE_ON_THE_CPU = {
    "creation.py": "Python's numbers and lists, moved to the device at the end",
    "functions/literals.py": "the same, and NumPy's own arrays",
    "interop.py:to_array": "NumPy asks for a NumPy array",
    "nn/state.py": "another library's tensors, and checkpoints",
    "functions/like.py:draw_array": "draws are made on the CPU, then moved",
    "nn/functional/spatial.py:pad_from_itself": "places, moved before they are used",
    "core/tape.py:as_array": "numbers of NumPy's, which CuPy never gives",
    "ops/elementwise.py:where": "an empty array that only tells a dtype",
}


MAKERS = {"asarray", "array", "ascontiguousarray", "zeros", "ones", "empty", "full", "arange",
          "eye", "linspace"}


def test_nothing_lands_on_the_cpu_by_accident():
    """np.array, np.zeros and their kin follow an array that is there (like=), or stand where the
    CPU is meant."""
    for path, node, inside in PLACES:
        name = numpy_name(node.func) if isinstance(node, ast.Call) else None
        if name not in MAKERS or is_sample(path, inside):
            continue
        if not any(k.arg == "like" for k in node.keywords):
            excused = is_excused(MADE_ON_THE_CPU, path, inside)
            assert excused, f"{path}:{node.lineno}: np.{name} without like= is always on the CPU"


def is_sample(path, inside):
    """Whether a place is at the top of an operations' file: there, only samples are made."""
    return path.parent.name == "ops" and not inside


def test_every_excuse_is_needed():
    """Every entry of the table above stands for something that is there."""
    for key in {**CPU_ONLY, **MADE_ON_THE_CPU, **CPU_METHODS}:
        name, _, part = key.partition(":")
        assert (HOME / name).exists(), key
        assert not part or f" {part}" in (HOME / name).read_text(), key


def test_the_list_is_what_cupy_says():
    """A few lines of the list that other tests lean on."""
    assert API["cupy.clip"].signature.parameters.keys() == {"a", "a_min", "a_max", "out"}
    assert API["cupy.add"].has_at and not API["cupy.exp"].has_at and API["cupy.exp"].is_ufunc
    assert "cupy.errstate" not in API and "cupy.ndarray.argmax" in API and len(API) > 600


# ── CuPy's manners, on the stand-in and on CuPy alike ─────────────────────────────────────────────


def test_cupy_behaves_unlike_numpy(cupy):
    x = cupy.asarray(np.arange(6.0).reshape(2, 3))
    assert type(x).__module__ == "cupy" and isinstance(x, cupy.ndarray)
    assert not isinstance(x, np.ndarray)
    for refused in (lambda: np.asarray(x), lambda: x + np.ones(3), lambda: np.ones(3) * x,
                    lambda: range(x[0, 0]), lambda: np.maximum(x, np.ones(3)),
                    lambda: np.concatenate([x, np.ones((1, 3))]), lambda: x.sum(where=x > 1),
                    lambda: np.clip(x, min=0.0), lambda: np.max(x, initial=0.0),
                    lambda: np.add.at(x, (cupy.array([0]), cupy.array([1])), 1.0),
                    lambda: np.zeros(2, like=x, device="cpu")):
        with pytest.raises(TypeError):
            refused()
    for name in ("errstate", "vecdot_", "array2string_"):
        assert not hasattr(cupy, name)
    for scalar in (x.sum(), x[1, 2], x.max(), np.exp(x)[0, 0], x.argmax()):
        assert isinstance(scalar, cupy.ndarray) and scalar.shape == ()
    for made in (np.exp(x), np.zeros_like(x), np.arange(3, like=x)):
        assert made.__class__ is type(x)
    assert (x * 2.0).dtype == (np.float64(2) + x).dtype == np.float64
    assert (x.astype("f4") * 2.5).dtype == np.float32
    cupy.add.at(x, (cupy.array([0, 0]), cupy.array([1, 1])), 1.0)
    # an index that wraps around
    assert x.get()[0, 1] == 3.0 and float(x[cupy.array([5])][0, 0]) == 3.0
    assert x[:1].base is x and x.T.base is x and x.copy().base is None and weakref.ref(x)() is x
    assert bool(x[0, 0] == 0) and (x == None).any().item() is False            # noqa: E711
