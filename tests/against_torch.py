"""One program, run here and in PyTorch: values, dtypes, shapes and gradients must agree."""

import numpy as np
import pytest

import npformer as npf

torch = pytest.importorskip("torch",
                            reason="PyTorch is the outsider that results are compared with")


def real(seed, *shape):
    """An array of normal numbers, drawn anew for each shape."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def pair(array, requires_grad=True):
    """The same array here and there; a leaf where it is floating."""
    array = np.asarray(array)
    mine, theirs = npf.tensor(array), torch.tensor(array)
    if requires_grad and array.dtype.kind == "f":
        mine.requires_grad_(), theirs.requires_grad_()
    return mine, theirs


def outputs_of(y):
    return list(y) if isinstance(y, (tuple, list)) else [y]


def same(mine, theirs, rtol=1e-9, what="value"):
    """Assert the same shape, dtype and entries."""
    if not isinstance(mine, npf.Tensor):
        assert mine == theirs, f"{what}: {mine} here, {theirs} in PyTorch"
        return
    a, b = mine.detach().numpy(), theirs.detach().resolve_neg().numpy()
    assert a.shape == b.shape, f"{what}: shape {a.shape} here, {b.shape} in PyTorch"
    assert a.dtype == b.dtype, f"{what}: {a.dtype} here, {b.dtype} in PyTorch"
    if a.dtype.kind != "f":
        assert (a == b).all(), f"{what}:\n{a}\nhere, in PyTorch\n{b}"
        return
    assert (np.isnan(a) == np.isnan(b)).all(), f"{what}: NaN differ"
    assert (np.isinf(a) == np.isinf(b)).all(), f"{what}: infinities differ"
    finite = np.isfinite(b)
    scale = max(np.abs(b[finite]).max(initial=0), 1e-3)
    assert (a[~finite & ~np.isnan(a)] == b[~finite & ~np.isnan(b)]).all()
    worst = np.abs(a[finite] - b[finite]).max(initial=0) / scale
    assert worst <= rtol, f"{what} is off by {worst:.2e} of its largest entry"


def agree(program, *arrays, rtol=1e-9, seed=0):
    """Assert that program(library, *tensors) gives PyTorch's values and gradients."""
    pairs = [pair(a) for a in arrays]
    mine = outputs_of(program(npf, *(m for m, _ in pairs)))
    theirs = outputs_of(program(torch, *(t for _, t in pairs)))
    assert len(mine) == len(theirs)
    rng = np.random.default_rng(seed)
    chains = []
    for y, z in zip(mine, theirs):
        same(y, z, rtol)
        if getattr(z, "requires_grad", False):
            assert y.requires_grad, "PyTorch's output is in the graph, ours is not"
            chains.append((y, z, rng.standard_normal(tuple(z.shape)).astype(y.dtype)))
    if chains:
        sum((y * npf.tensor(u)).sum() for y, _, u in chains).backward()
        sum((z * torch.tensor(u)).sum() for _, z, u in chains).backward()
    for i, (m, t) in enumerate(pairs):
        if t.grad is not None:
            assert m.grad is not None, f"no gradient reached argument {i}"
            same(m.grad, t.grad, rtol, f"the gradient of argument {i}")
