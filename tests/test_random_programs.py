"""Programs of 5 to 30 operations, drawn by hypothesis over a pool of tensors, give PyTorch's values
and gradients.

Each operation takes tensors from the pool and puts its result back, so results are used several
times, or never, and shapes broadcast as they come. Values are kept near 1 so that long chains
neither overflow nor die out.
"""

import numpy as np
import pytest
from against_torch import same, torch
from hypothesis import given, settings
from hypothesis import strategies as st

import npformer as npf

SHAPES = [(3, 4), (4,), (2, 3, 4), (3, 1), (2, 1, 4), (1,), ()]


def squash(x):
    """Into (-2, 2), smoothly."""
    return 2 * (x / 2).tanh()


UNARY = {
    "tanh": lambda lib, x, k: x.tanh(),
    "sigmoid": lambda lib, x, k: lib.sigmoid(x),
    "exp": lambda lib, x, k: (-x.abs()).exp(),
    "log": lambda lib, x, k: (x * x + 0.5).log(),
    "sqrt": lambda lib, x, k: (x.square() + 0.1).sqrt(),
    "rsqrt": lambda lib, x, k: (x ** 2 + 0.7).rsqrt(),
    "sin": lambda lib, x, k: lib.sin(x) + x.cos(),
    "erf": lambda lib, x, k: x.erf() - lib.expm1(x * 0.3),
    "softmax": lambda lib, x, k: x.softmax(-1) if x.ndim else x * 0.5,
    "log_softmax": lambda lib, x, k: lib.log_softmax(x, 0) if x.ndim else x,
    "power": lambda lib, x, k: x ** (k % 3 + 1) * 0.5,
    "base": lambda lib, x, k: 1.5 ** x,
    "affine": lambda lib, x, k: 0.7 * x - (k % 5) / 4,
    "from": lambda lib, x, k: (k % 3) - x,
    "under": lambda lib, x, k: 1 / (x.abs() + 1.5),
    "clamp": lambda lib, x, k: x.clamp(-0.9, 1.1) + 0.1 * x,
    "relu": lambda lib, x, k: lib.relu(x) - 0.1 * x,
    "where": lambda lib, x, k: lib.where(x > 0.1, x * 2, -x),
    "fill": lambda lib, x, k: x.masked_fill(x > 0.5, 0.25),
    "sum": lambda lib, x, k: x.sum(-1, keepdim=k % 2 == 0) * 0.4 if x.ndim else x,
    "mean": lambda lib, x, k: x.mean(0) if x.ndim else x.mean(),
    "var": lambda lib, x, k: x.var(-1, keepdim=True, correction=0) + x,
    "amax": lambda lib, x, k: x.amax(0, keepdim=True) if x.ndim else x.amax(),
    "max": lambda lib, x, k: x.max(-1).values if x.ndim else x.max(),
    "logsumexp": lambda lib, x, k: x.logsumexp(-1, keepdim=True) * 0.3,
    "cumsum": lambda lib, x, k: x.cumsum(-1) * 0.3 if x.ndim else x,
    "prod": lambda lib, x, k: x.prod(-1) if x.ndim else x,
    "norm": lambda lib, x, k: x / (x.norm() + 1),
    "turn": lambda lib, x, k: x.transpose(0, -1) if x.ndim else x,
    "flat": lambda lib, x, k: x.reshape(-1),
    "lift": lambda lib, x, k: x.unsqueeze(k % (x.ndim + 1)) if x.ndim < 4 else x,
    "squeeze": lambda lib, x, k: x.squeeze(),
    "flip": lambda lib, x, k: x.flip(0) if x.ndim else x,
    "roll": lambda lib, x, k: x.roll(k, -1) if x.ndim else x,
    "slice": lambda lib, x, k: x[..., ::2] if x.ndim else x,
    "pick": lambda lib, x, k: x[k % x.shape[0]] if x.ndim else x,
    "rows": lambda lib, x, k: x[[0, k % x.shape[0], 0]] if x.ndim else x,
    "select": lambda lib, x, k: (
        x.index_select(-1, lib.tensor([0, k % x.shape[-1], 0])) if x.ndim else x),
    "parts": lambda lib, x, k: sum(x.split(2, -1)[:1]) if x.ndim else x,
    "narrow": lambda lib, x, k: x.narrow(0, 0, max(x.shape[0] - 1, 1)) if x.ndim else x,
    "sort": lambda lib, x, k: x.sort(-1, descending=k % 2 == 0).values if x.ndim else x,
    "topk": lambda lib, x, k: x.topk(1 + k % x.shape[-1], -1).values if x.ndim else x,
    "tril": lambda lib, x, k: x.tril(k % 3 - 1) if x.ndim > 1 else x,
    "diagonal": lambda lib, x, k: x.diagonal(0, -2, -1) if x.ndim > 1 else x,
    "repeat": lambda lib, x, k: x.repeat_interleave(2, -1) if 0 < x.ndim and x.numel() < 200 else x,
    "clone": lambda lib, x, k: x.clone() + x.detach(),
    "einsum": lambda lib, x, k: lib.einsum("...i,...i->...", x, x) * 0.3 if x.ndim else x,
}
BINARY = {
    "add": lambda lib, x, y: x + y,
    "sub": lambda lib, x, y: x - y,
    "mul": lambda lib, x, y: x * y,
    "div": lambda lib, x, y: x / (y.abs() + 1),
    "pow": lambda lib, x, y: (x.abs() + 0.5) ** y,
    "maximum": lambda lib, x, y: lib.maximum(x, y + 0.01),
    "minimum": lambda lib, x, y: lib.minimum(x - 0.01, y),
    "lerp": lambda lib, x, y: lib.lerp(x, y, 0.3),
    "choose": lambda lib, x, y: lib.where(x > y + 0.013, x, y * 0.5),
    "residual": lambda lib, x, y: x + squash(x * y),
    "logaddexp": lambda lib, x, y: lib.logaddexp(x, y) * 0.5,
}
PAIRED = {
    "cat": lambda lib, x, y: lib.cat([x, y], -1),
    "stack": lambda lib, x, y: lib.stack([x, y], 0),
    "matmul": lambda lib, x, y: x @ y * 0.3,
    "outer": lambda lib, x, y: lib.outer(x, y),
    "attend": lambda lib, x, y: (x @ y.mT * 0.5).softmax(-1) @ y,
}


@st.composite
def programs(draw):
    """A list of (name, place of an operand, place of another, a number)."""
    names = st.sampled_from([*UNARY, *BINARY, *PAIRED, *BINARY, *PAIRED])
    step = st.tuples(names, st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))
    length = draw(st.integers(5, 30))
    return draw(st.lists(step, min_size=length, max_size=length))


def fits(name, x, y):
    """Whether an operation can take tensors of these shapes, told from the shapes alone."""
    if name in BINARY:
        try:
            shape = np.broadcast_shapes(tuple(x.shape), tuple(y.shape))
        except ValueError:
            return False
        return np.prod(shape) < 500
    if name == "cat":
        return x.ndim == y.ndim > 0 and x.shape[:-1] == y.shape[:-1] and x.numel() + y.numel() < 500
    if name == "stack":
        return x.shape == y.shape and x.ndim < 4 and x.numel() < 200
    if name == "outer":
        return x.ndim == y.ndim == 1 and x.numel() * y.numel() < 300
    if name == "attend":
        return x.ndim == y.ndim > 1 and x.shape[:-2] == y.shape[:-2] and x.shape[-1] == y.shape[-1]
    if name == "matmul":
        return x.ndim == y.ndim > 1 and x.shape[:-2] == y.shape[:-2] and x.shape[-1] == y.shape[-2]
    return True


def run(lib, program, leaves):
    """Every result of the program."""
    pool, results = list(leaves), []
    for name, i, j, k in program:
        x = pool[i % len(pool)]
        partners = [y for y in pool[j % len(pool):] + pool[:j % len(pool)] if fits(name, x, y)]
        if name in UNARY:
            y = UNARY[name](lib, x, k)
        elif partners:
            y = (BINARY.get(name) or PAIRED[name])(lib, x, partners[0])
        else:
            y = x * 1.5
        results.append(y)
        pool.append(squash(y))
    return results


@given(program=programs(), seed=st.integers(0, 10**6))
@settings(max_examples=200)
def test_a_random_program_is_pytorchs(program, seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape) for shape in SHAPES]
    mine = [npf.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    pairs = list(zip(run(npf, program, mine), run(torch, program, theirs)))
    loss = total = 0
    for k, (y, z) in enumerate(pairs):
        same(y, z, 1e-9, f"result {k} ({program[k][0]})")
        upstream = rng.standard_normal(tuple(z.shape))
        loss = loss + (y * npf.tensor(upstream)).sum()
        total = total + (z * torch.tensor(upstream)).sum()
    loss.backward(), total.backward()
    for x, z in zip(mine, theirs):
        assert (x.grad is None) == (z.grad is None)
        if z.grad is not None:
            same(x.grad, z.grad, 1e-8, f"the gradient of the leaf of shape {tuple(x.shape)}")


@pytest.mark.parametrize("name", [*UNARY, *BINARY, *PAIRED])
def test_every_operation_that_is_drawn_is_differentiated_twice(name):
    """A program of one operation: second derivatives, by create_graph, against PyTorch's."""
    shapes = {"matmul": ((3, 4), (4, 2)), "outer": ((3,), (4,))}.get(name, ((3, 4), (3, 4)))
    rng = np.random.default_rng(7)
    arrays = [rng.standard_normal(s) for s in shapes]
    upstream = [rng.standard_normal(s) for s in shapes]
    found = []
    for lib, grad in ((npf, npf.autograd.grad), (torch, torch.autograd.grad)):
        xs = [lib.tensor(a, requires_grad=True) for a in arrays]
        if name in UNARY:
            used, y = xs[:1], UNARY[name](lib, xs[0], 1)
        else:
            used, y = xs, (BINARY | PAIRED)[name](lib, *xs)
        first = grad((y ** 2).sum(), used, create_graph=True)
        found.append(grad(sum((g * lib.tensor(u)).sum() for g, u in zip(first, upstream)), used))
    for a, b in zip(*found):
        same(a, b, 1e-8)
