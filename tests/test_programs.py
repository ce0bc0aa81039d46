"""Programs in PyTorch's ways that run here unchanged but for the imports, from PyTorch's weights.

Each file in tests/programs is a PyTorch program: `build()` makes its model, `run(model)` uses it
and returns what came out, by name. It is run twice: as it stands, and with `npformer` for `torch`
in its lines of import, from the weights that PyTorch drew.
"""

import contextlib
import importlib.util
import pathlib
import re
import sys
import warnings

import numpy as np
import pytest

import npformer as npf

torch = pytest.importorskip("torch", reason="PyTorch runs the programs as they stand")

PROGRAMS = sorted((pathlib.Path(__file__).parent / "programs").glob("*.py"))
every_program = pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)


def with_imports_changed(source):
    """The program with npformer for torch in its lines of import, and in no others."""
    source = re.sub(r"^import torch$", "import npformer as torch", source, flags=re.M)
    return re.sub(r"^(import|from) torch\b", r"\1 npformer", source, flags=re.M)


def load(source, name, folder):
    """The module that a program's text makes."""
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    with registered_module(module):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def registered_module(module):
    """As if the program had been imported: dataclasses look their module up."""
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        del sys.modules[module.__name__]


@contextlib.contextmanager
def floats(dtype):
    """Programs in this float dtype, in both libraries, on one thread."""
    before, threads = torch.get_default_dtype(), torch.get_num_threads()
    npf.set_default_dtype(dtype)
    torch.set_default_dtype(getattr(torch, dtype)), torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_default_dtype(before), torch.set_num_threads(threads)


def both_ways(path, folder, dtype):
    """What the program returns here, and in PyTorch."""
    source = path.read_text()
    with floats(dtype):
        mine = load(with_imports_changed(source), f"{path.stem}_in_npformer", folder)
        with warnings.catch_warnings():
            # what PyTorch warns of is PyTorch's; ours must warn of nothing
            warnings.simplefilter("ignore")
            theirs = load(source, f"{path.stem}_in_torch", folder)
            torch.manual_seed(0)
            model = theirs.build()
            copy = mine.build()
            copy.load_state_dict(model.state_dict())
            expected = theirs.run(model)
        return mine.run(copy), expected


def compare(mine, theirs, rtol, name):
    """Assert the same structure and numbers; floats to `rtol` of the largest entry."""
    if isinstance(theirs, dict):
        assert list(mine) == list(theirs), f"{name}: {list(mine)} here, {list(theirs)} in PyTorch"
        for key in theirs:
            compare(mine[key], theirs[key], rtol, f"{name}.{key}")
    elif isinstance(theirs, (list, tuple)):
        sizes = f"{name}: {len(mine)} entries here, {len(theirs)} in PyTorch"
        assert len(mine) == len(theirs), sizes
        for i, (a, b) in enumerate(zip(mine, theirs)):
            compare(a, b, rtol, f"{name}[{i}]")
    elif isinstance(theirs, torch.Tensor):
        kind = type(mine).__name__
        assert isinstance(mine, npf.Tensor), f"{name}: {kind} here, a Tensor in PyTorch"
        needs = mine.requires_grad
        assert needs == theirs.requires_grad, f"{name}: requires_grad {needs} here"
        compare(mine.detach().numpy(), theirs.detach().numpy(), rtol, name)
    elif isinstance(theirs, (float, np.ndarray)):
        a, b = np.asarray(mine), np.asarray(theirs)
        kinds = f"{name}: {a.dtype} {a.shape} here, {b.dtype} {b.shape} there"
        assert (a.shape, a.dtype) == (b.shape, b.dtype), kinds
        scale = np.abs(b[np.isfinite(b)]).max(initial=0)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(scale, 1e-3), err_msg=name)
    else:
        assert mine == theirs, f"{name}: {mine!r} here, {theirs!r} in PyTorch"


def tolerance(name, dtype):
    """1e-9; 1e-6 after several steps of training, which multiply the rounding of the first."""
    exact, trained = (1e-9, 1e-6) if dtype == "float64" else (2e-3, 2e-2)
    return trained if "after" in name else exact


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@every_program
def test_only_the_imports_change(path, dtype, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine, theirs = both_ways(path, tmp_path, dtype)
    assert list(mine) == list(theirs)
    for name in theirs:
        compare(mine[name], theirs[name], tolerance(name, dtype), name)


@every_program
def test_the_switch_reaches_nothing_but_imports(path):
    source = path.read_text()
    pairs = list(zip(source.splitlines(), with_imports_changed(source).splitlines(), strict=True))
    changed = [old for old, new in pairs if old != new]
    assert changed and all(line.startswith(("import torch", "from torch")) for line in changed)
    assert not any(re.match(r"\s*(import|from) torch\b(?! as)", new) for _, new in pairs)


# ── docs/pytorch.md ───────────────────────────────────────────────────────────────────────────────

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "pytorch.md").read_text(encoding="utf-8")


def test_the_page_names_each_program():
    table = PAGE.partition("## What differs")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == {path.stem for path in PROGRAMS}


def lookup(library, name):
    for part in name.split("."):
        library = getattr(library, part, None)
    return library


def test_what_the_page_calls_missing_is_missing():
    names = re.findall(r"`torch\.([\w.]+)`", PAGE.partition("## What is not there")[2])
    assert len(names) > 20
    for name in names:
        assert lookup(npf, name) is None, f"npformer has {name}"
        assert lookup(torch, name) is not None or name == "onnx", f"PyTorch has no {name}"


def test_what_the_page_says_of_writes_in_place():
    h = npf.ones(3, requires_grad=True) * 1
    view = h[:2]
    h.add_(1.0)
    assert h.tolist() == [2, 2, 2] and view.tolist() == [1, 1]
    with pytest.raises(npf.GraphError, match="a view of another tensor's memory"):
        h[1] += 1
    h[1] = h[1] + 1
    assert h.tolist() == [2, 3, 2]
    y = npf.zeros(2, requires_grad=True)
    z = npf.tanh(y)
    z.mul_(2)
    z.sum().backward()
    assert y.grad.tolist() == [2, 2]
    z = npf.tanh(y)
    z.data.mul_(2)
    with pytest.raises(npf.GraphError, match="changed in place"):
        z.sum().backward()


def test_what_the_page_says_of_random_numbers():
    npf.manual_seed(0), torch.manual_seed(0)
    assert round(npf.rand(1).item(), 4) == 0.8506 and round(torch.rand(1).item(), 4) == 0.4963
