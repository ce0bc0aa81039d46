"""Every function against PyTorch in float64: forward and gradient, hypothesis drawing shapes and
options."""

import math

import numpy as np
import pytest
from against_torch import agree, real, torch
from hypothesis import given
from hypothesis import strategies as st

import npformer as npf

# ── drawing ───────────────────────────────────────────────────────────────────────────────────────

sizes = st.integers(1, 4)
shapes = st.lists(sizes, min_size=0, max_size=4).map(tuple)
some_dims = st.lists(sizes, min_size=1, max_size=4).map(tuple)
seeds = st.integers(0, 10**6)


def apart(seed, *shape):
    """No two entries equal, none near 0."""
    n = math.prod(shape)
    return ((np.random.default_rng(seed).permutation(n) + 0.75 - n // 2) * 0.31).reshape(shape)


def broadcast_pair(draw):
    """Two shapes that broadcast together."""
    shape = draw(shapes)
    parts = []
    for _ in range(2):
        part = tuple(1 if draw(st.booleans()) and draw(st.booleans()) else n for n in shape)
        parts.append(part[draw(st.integers(0, len(part))):])
    return parts


broadcast_shapes = st.composite(broadcast_pair)()


# ── elementwise ───────────────────────────────────────────────────────────────────────────────────

UNARY = ["abs", "exp", "expm1", "tanh", "sigmoid", "erf", "sin", "cos", "sign", "square", "neg",
         "relu", "floor", "ceil", "round", "trunc", "clone", "negative", "absolute"]
POSITIVE = ["log", "log1p", "sqrt", "rsqrt", "reciprocal"]


@pytest.mark.parametrize("name", UNARY + POSITIVE)
@given(shape=shapes, seed=seeds)
def test_functions_of_one_entry(name, shape, seed):
    x = real(seed, *shape)
    x = np.abs(x) + 0.1 if name in POSITIVE else x
    agree(lambda lib, x: getattr(lib, name)(x), x)
    agree(lambda lib, x: getattr(x, name)(), x)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum", "logaddexp",
                                  "remainder", "pow", "multiply", "subtract", "divide",
                                  "true_divide"])
@given(pair=broadcast_shapes, seed=seeds)
def test_functions_of_two_broadcast(name, pair, seed):
    a, b = real(seed, *pair[0]), real(seed + 1, *pair[1])
    if name in ("div", "remainder", "divide", "true_divide"):
        b = np.abs(b) + 0.5
    if name == "pow":
        a = np.abs(a) + 0.2
    agree(lambda lib, a, b: getattr(lib, name)(a, b), a, b)
    agree(lambda lib, a, b: getattr(a, name)(b) if hasattr(a, name) else getattr(lib, name)(a, b),
          a, b)


def floor_division(x, y):
    """PyTorch knows no gradient of //."""
    return x.detach() // (y.detach() if hasattr(y, "detach") else y)


OPERATORS = [
    lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / y,
    lambda x, y: x ** y, lambda x, y: x % y, lambda x, y: y + x, lambda x, y: y - x,
    lambda x, y: y * x, lambda x, y: y / x, lambda x, y: y ** x, floor_division,
    lambda x, y: x == y, lambda x, y: x != y, lambda x, y: x < y, lambda x, y: x <= y,
    lambda x, y: x > y, lambda x, y: x >= y, lambda x, y: y < x, lambda x, y: y >= x,
]


@pytest.mark.parametrize("number", [2, 3.5, 0.25])
@pytest.mark.parametrize("k", range(len(OPERATORS)))
def test_operators_with_numbers(k, number):
    agree(lambda lib, x: OPERATORS[k](x, number), np.array([[0.25, 1.5, 2.0], [3.5, 0.7, 4.1]]))


@pytest.mark.parametrize("k", [k for k in range(len(OPERATORS))])
def test_operators_between_tensors(k):
    agree(lambda lib, x, y: OPERATORS[k](x, y), np.abs(real(1, 2, 3)) + 0.3,
          np.abs(real(2, 3)) + 0.4)


@pytest.mark.parametrize("program", [
    lambda lib, x, y, z: lib.add(x, y, alpha=2.5),
    lambda lib, x, y, z: lib.sub(x, y, alpha=-3),
    lambda lib, x, y, z: lib.lerp(x, y, 0.3),
    lambda lib, x, y, z: lib.lerp(x, y, z),
    lambda lib, x, y, z: lib.addcmul(x, y, z, value=0.7),
    lambda lib, x, y, z: lib.addcdiv(x, y, z.abs() + 1, value=2),
    lambda lib, x, y, z: lib.clamp(x, -0.5, 0.7),
    lambda lib, x, y, z: lib.clamp(x, min=0.1),
    lambda lib, x, y, z: x.clamp(max=0.1),
    lambda lib, x, y, z: lib.clip(x, y, z),
    lambda lib, x, y, z: lib.clamp(x, 1.0, -1.0),
    lambda lib, x, y, z: lib.clamp_min(x, 0.2) + lib.clamp_max(x, 0.3),
    lambda lib, x, y, z: lib.where(x > 0, y, z),
    lambda lib, x, y, z: lib.where(x > 0, y, 2.0),
    lambda lib, x, y, z: lib.where(x > 0, 1, z),
    lambda lib, x, y, z: x.where(y > 0, z),
    lambda lib, x, y, z: lib.masked_fill(x, y > 0, -7.5),
    lambda lib, x, y, z: x.masked_fill((y > 0)[0], float("-inf")),
    lambda lib, x, y, z: x.masked_fill(y > 0, z.sum()),
    lambda lib, x, y, z: lib.div(x, y, rounding_mode="floor").detach(),
    lambda lib, x, y, z: lib.div(x, y, rounding_mode="trunc").detach(),
    lambda lib, x, y, z: lib.round(x, decimals=1).detach(),
    lambda lib, x, y, z: lib.softmax(x, 0) + lib.log_softmax(y, dim=1) + z.softmax(-1),
    lambda lib, x, y, z: lib.softmax(x, 1, dtype=lib.float64),
    lambda lib, x, y, z: x.pow(2) + y ** 3 + z.abs() ** -1.5 + 2 ** x + x ** 0,
    lambda lib, x, y, z: -x + abs(y) - 1 / (z * z + 1),
    lambda lib, x, y, z: lib.isclose(x, y, rtol=0.5, atol=0.1),
    lambda lib, x, y, z: (lib.allclose(x, x + 1e-12), lib.allclose(x, y), lib.equal(x, x),
                          lib.equal(x, y[:1])),
    lambda lib, x, y, z: (lib.isnan(x / (x - x)), lib.isinf(y.detach() * 0 + float("inf")),
                          lib.isfinite(1 / (z * 0))),
    lambda lib, x, y, z: (lib.logical_and(x > 0, y > 0), lib.logical_or(x > 0, y),
                          lib.logical_xor(x > 0, z > 0), lib.logical_not(x > 0)),
    lambda lib, x, y, z: ((x > 0) & (y > 0), (x > 0) | (y > 0), (x > 0) ^ (y > 0), ~(x > 0)),
    lambda lib, x, y, z: (lib.is_floating_point(x), (x > 0).is_floating_point()),
    lambda lib, x, y, z: (lib.eq(x, y), lib.ne(x, x), lib.lt(x, y), x.le(0.5),
                          lib.gt(x, 0), x.ge(y[0])),
    lambda lib, x, y, z: (lib.bitwise_or(x > 0, y > 0), (x > 0).bitwise_xor(y > 0),
                          lib.bitwise_not(x > 0)),
    lambda lib, x, y, z: lib.floor_divide(x.detach(), y.detach()),
], ids=lambda p: str(p.__code__.co_firstlineno))
def test_elementwise_programs(program):
    agree(program, real(3, 3, 4), real(4, 3, 4), real(5, 3, 4))


def test_ties_share_the_gradient_as_in_pytorch():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0, 3.0])
    agree(lambda lib, a, b: (lib.maximum(a, b), lib.minimum(a, b)), a, b)
    agree(lambda lib, x: (x.amax(), x.max()), np.array([[1.0, 3.0], [3.0, 3.0]]))
    agree(lambda lib, x: (x.amin(1), x.clamp(1.0, 3.0)), np.array([[1.0, 3.0], [1.0, 1.0]]))


@pytest.mark.parametrize("program", [
    lambda lib, a, b: (a // b, a % b, -a // b, -a % b),
    lambda lib, a, b: (a & b, a | b, a ^ b, ~a),
    lambda lib, a, b: (lib.bitwise_and(a, 3), a | 8, 6 ^ a),
    lambda lib, a, b: (lib.div(-a, b, rounding_mode="trunc"),
                       lib.div(-a, b, rounding_mode="floor")),
    lambda lib, a, b: (a ** 2, 2 ** a, a / b, a * 1.5, a + True),
    lambda lib, a, b: (a.sum(), a.prod(), a.cumsum(0), a.max(), a.argmax()),
    lambda lib, a, b: (a.floor(), a.round(), a.abs(), a.sign()),
    lambda lib, a, b: (lib.bincount(a), lib.bincount(a, minlength=20), lib.bincount(a, b.double())),
])
def test_integers(program):
    agree(program, np.array([3, 7, 0, 12, 7]), np.array([2, 3, 5, 1, 4]))


# ── dtypes ────────────────────────────────────────────────────────────────────────────────────────

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


def with_dtype(name, dims):
    return np.array([1, 0, 1] if dims else 1).astype(name)


@pytest.mark.parametrize("first", DTYPES)
@pytest.mark.parametrize("second", [*DTYPES, True, 2, 2.5])
def test_promotion(first, second):
    for dims in (0, 1):
        for other_dims in (0, 1):
            a, b = with_dtype(first, dims), second
            if isinstance(second, str):
                b = with_dtype(second, other_dims)
                pairs = (npf.tensor(a), npf.tensor(b)), (torch.tensor(a), torch.tensor(b))
            else:
                pairs = (npf.tensor(a), b), (torch.tensor(a), b)
            for program in (lambda x, y: x + y, lambda x, y: y * x, lambda x, y: x / (y + 1),
                            lambda x, y: x == y):
                mine, theirs = (program(*p) for p in pairs)
                assert str(theirs.dtype) == f"torch.{mine.dtype}", f"{a.dtype} {a.shape} with {b!r}"
                assert np.allclose(mine.numpy(), theirs.numpy(), rtol=1e-3)


@pytest.mark.parametrize("name", ["exp", "sqrt", "sigmoid", "tanh", "log1p", "sin"])
def test_integers_become_the_default_float(name):
    agree(lambda lib, x: getattr(lib, name)(x), np.array([1, 2, 3]), rtol=1e-6)
    npf.set_default_dtype(npf.float64)
    assert getattr(npf, name)(npf.tensor([1, 2])).dtype == npf.float64


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("program", [
    lambda x: (x.exp() * 2.5 + 1).log().sum(), lambda x: (x @ x.T).softmax(-1).mean(),
    lambda x: x.var() + x.norm(), lambda x: 2.0 ** x.sigmoid(),
    lambda x: npf.cat([x, x * 3]).cumsum(0), lambda x: x.max(1).values.logsumexp(0),
    lambda x: npf.where(x > 0, x, 0.0).std(), lambda x: x.clamp(0, 1).prod(),
    lambda x: x * np.float64(2.0) + np.float64(1.0),
])
def test_a_float_keeps_its_width(program, dtype):
    x = npf.tensor(real(0, 3, 3).astype(dtype), requires_grad=True)
    y = program(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == npf.core.dtypes.DTYPES[dtype]


# ── reductions ────────────────────────────────────────────────────────────────────────────────────


@st.composite
def reductions(draw):
    """(shape, dim, keepdim): dim None, an int or a tuple, counted from either end."""
    shape = draw(shapes)
    n = len(shape)
    keepdim = draw(st.booleans())
    if n == 0 or draw(st.booleans()):
        dim = draw(st.sampled_from([0, -1]) if n == 0 else st.integers(-n, n - 1))
        return shape, dim, keepdim
    dims = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True))
    return shape, tuple(d - n if draw(st.booleans()) else d for d in dims), keepdim


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "logsumexp"])
@given(case=reductions(), seed=seeds)
def test_reductions_over_dims(name, case, seed):
    shape, dim, keepdim = case
    agree(lambda lib, x: getattr(lib, name)(x, dim, keepdim), apart(seed, *shape))
    agree(lambda lib, x: getattr(x, name)(dim=dim, keepdim=keepdim), apart(seed, *shape))


@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.filterwarnings("ignore:.*degrees of freedom.*")
@given(case=reductions(), correction=st.integers(0, 1), seed=seeds)
def test_variances(name, case, correction, seed):
    shape, dim, keepdim = case
    count = math.prod(shape[d] for d in (dim if isinstance(dim, tuple) else (dim,))) if shape else 1
    if name == "std" and count == 1:
        return  # the gradient of a root at 0: PyTorch's is NaN too
    agree(lambda lib, x: getattr(lib, name)(x, dim, correction=correction, keepdim=keepdim),
          apart(seed, *shape))


@given(case=reductions(),
       p=st.sampled_from([1, 2, 3, 0.5, math.inf, -math.inf, "fro", 0]), seed=seeds)
def test_norms(case, p, seed):
    shape, dim, keepdim = case
    agree(lambda lib, x: x.norm(p, dim, keepdim), apart(seed, *shape), rtol=1e-8)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 4, math.inf])
def test_norms_at_zero_send_no_nan(p):
    agree(lambda lib, x: (x.norm(p), x.norm(p, 1)), np.array([[0.0, 0.0, 0.0], [0.0, 2.0, -1.0]]))
    agree(lambda lib, x: x.norm(p, 1), np.zeros((2, 3)))


@pytest.mark.parametrize("name", ["max", "min", "prod", "cumsum", "argmax", "argmin", "any", "all",
                                  "count_nonzero"])
@given(shape=shapes, seed=seeds, data=st.data())
def test_reductions_along_one_dim(name, shape, seed, data):
    n = max(len(shape), 1)
    dim = data.draw(st.integers(-n, n - 1))
    agree(lambda lib, x: getattr(lib, name)(x, dim), apart(seed, *shape))
    if name not in ("cumsum", "count_nonzero"):
        agree(lambda lib, x: getattr(x, name)(dim, keepdim=True), apart(seed, *shape))
    if name not in ("cumsum",):
        agree(lambda lib, x: getattr(x, name)(), apart(seed, *shape))


@pytest.mark.parametrize("program", [
    lambda lib, x: (lib.sum(x), x.float().sum(dtype=lib.float64),
                    x.float().mean(dtype=lib.float64)),
    lambda lib, x: (x.var(), x.var(False), x.var(1), x.var(1, False), x.std(unbiased=False),
                    x.var((0, 1), True, True)),
    lambda lib, x: (x.std(dim=2, correction=0), lib.std(x, 0), lib.var(x, dim=-1, unbiased=True)),
    lambda lib, x: (lib.max(x), lib.max(x, x * 0.5), lib.min(x, other=x * 2),
                    lib.max(x, 1, True)[0]),
    lambda lib, x: (x.max(dim=2).values, x.max(dim=2).indices, x.min(0).values, x.min(0).indices),
    lambda lib, x: (x.argmax(), x.argmin(1, keepdim=True), lib.argmax(x, -1)),
    lambda lib, x: ((x > 0).any(), (x > 0).all(1), lib.any(x > 0, 2, keepdim=True),
                    lib.all(x > -100)),
    lambda lib, x: (lib.count_nonzero(x > 0), lib.count_nonzero(x > 0, dim=(0, 1))),
    lambda lib, x: (lib.norm(x), x.norm(), x.norm(1), x.norm(dim=(0, 2)), lib.norm(x, 2, 1)),
    lambda lib, x: (lib.prod(x, 1, keepdim=True), x.prod(), (x * 0).prod(0), x.cumsum(-1)),
    lambda lib, x: ((x > 0).sum(), (x > 0).cumsum(0), (x > 0).prod(), (x > 0).int().sum(),
                    (x > 0).byte().sum()),
    lambda lib, x: (x * lib.tensor([1.0, 0.0, 1.0, 0.0], dtype=lib.float64)).prod(2),
], ids=lambda p: str(p.__code__.co_firstlineno))
def test_reduction_programs(program):
    agree(program, apart(0, 2, 3, 4))


@pytest.mark.parametrize("program", [
    lambda lib, x: (x.sum(), x.sum(0), x.sum(1), x.prod(), x.prod(0), x.cumsum(0)),
    lambda lib, x: (x.amax(1), x.max(1).values, x.max(1).indices, x.logsumexp(1), x.argmax(1)),
    lambda lib, x: (x.any(), x.all(), x.any(0), x.all(0), x.norm(), x.softmax(0)),
    lambda lib, x: (x.reshape(3, 0), x.view(-1), x.T, x.flatten(), lib.cat([x, x]),
                    x.split(2, 1)[1]),
    lambda lib, x: (x @ lib.ones(3, 2, dtype=lib.float64), lib.ones(2, 0, dtype=lib.float64) @ x),
    lambda lib, x: (x[:, 1], x[..., None], x.sort(1).values, x.topk(2, 1).values, x.repeat(2, 3)),
])
def test_empty_tensors(program):
    agree(program, np.zeros((0, 3)))


def test_nan_and_infinity_go_through_extremes_as_in_pytorch():
    x = np.array([[1.0, np.nan, 3.0], [-np.inf, 2.0, np.inf]])
    agree(lambda lib, x: (x.max(1).values.detach(), x.max(1).indices, x.argmin(1),
                          x.amax().detach()), x)
    agree(lambda lib, x: (x.clamp(0, 2).detach(), lib.maximum(x, x * 0).detach()), x)
    agree(lambda lib, x: (x.sort(1).values, x.topk(2, 1).indices), x)
    agree(lambda lib, x: (x.logsumexp(1), x.softmax(1)),
          np.array([[-np.inf, 1.0, 2.0], [0.0, -1.0, -np.inf]]))


# ── shapes ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("program", [
    lambda lib, x: (x.reshape(6, 4), x.reshape((4, 6)), x.reshape([-1]), lib.reshape(x, (2, -1)),
                    x.view(3, 8)),
    lambda lib, x: (x.view_as(x.reshape(4, 6)), x.flatten(), x.flatten(1),
                    lib.flatten(x, 0, 1), x.ravel()),
    lambda lib, x: (x.permute(2, 0, 1), lib.permute(x, (1, 0, -1)), x.transpose(0, -1), x.mT,
                    x[0].T, x[0].t()),
    lambda lib, x: (lib.movedim(x, 0, 2), x.movedim((0, 1), (-1, 0)), lib.swapaxes(x, 0, 1),
                    x.swapdims(1, 2)),
    lambda lib, x: (x.moveaxis(2, 0), x.ndimension(), x.short(), x.char()),
    lambda lib, x: (x[:1].squeeze(), x[:1].squeeze(0), x.squeeze(1), x[:1, :1].squeeze((0, 1)),
                    x.unsqueeze(-2)),
    lambda lib, x: (x.unsqueeze(0).expand(5, -1, 3, 4), x[:, :1].expand(2, 6, 4),
                    lib.broadcast_to(x[0], (7, 3, 4))),
    lambda lib, x: (x[0, 0].expand_as(x), *lib.broadcast_tensors(x[:, :1], x[0, :, :1])),
    lambda lib, x: (lib.unflatten(x, 2, (2, 2)), x.unflatten(-1, (-1, 1, 2)),
                    x.unflatten(0, [2, 1])),
    lambda lib, x: (x.flip(0), x.flip(0, 2), lib.flip(x, (-1,)), lib.flip(x, [1, 0])),
    lambda lib, x: (lib.roll(x, 1), x.roll(-2, 1), x.roll((1, 2), (0, 2)), x.roll(5, -1),
                    x.roll(0, 0)),
    lambda lib, x: (lib.cat([x, x * 2], 1), lib.cat((x, x), -1), lib.concat([x[0], x[1]]),
                    lib.cat([x])),
    lambda lib, x: (lib.stack([x, x]), lib.stack((x, x), -1), lib.hstack([x, x]),
                    lib.vstack([x, x])),
    lambda lib, x: (lib.hstack([x[0, 0], x[0, 1]]), lib.vstack([x[0, 0], x[0, 1]])),
    lambda lib, x: (*x.split(2, 1), *lib.split(x, [1, 3], 2), *x.split(5, -1)),
    lambda lib, x: (*x.chunk(2, 2), *lib.chunk(x, 3, -1), *x.chunk(7)),
    lambda lib, x: (*x.unbind(), *lib.unbind(x, 2), *x.unbind(-2)),
    lambda lib, x: (x.repeat(2, 1, 3), x.repeat((2, 1, 1, 2)), lib.tile(x, (2,)),
                    x.tile(2, 1, 1, 2)),
    lambda lib, x: (lib.repeat_interleave(x, 3), x.repeat_interleave(2, dim=1),
                    x.repeat_interleave(2, -1)),
    lambda lib, x: (x.repeat_interleave(lib.tensor([2, 0, 3]), dim=1),
                    lib.repeat_interleave(x, lib.tensor(2), dim=0)),
    lambda lib, x: (x.tril(), x.triu(), lib.tril(x, 1), x.triu(-1), x.tril(-5), x.triu(9)),
    lambda lib, x: (x.diagonal(), x.diagonal(1, 1, 2), lib.diagonal(x, -1, 2, 1), x.diagonal(9),
                    x.diagonal(0, -1, 0)),
    lambda lib, x: (lib.diag(x[0]), lib.diag(x[0, 0]), x[0, 0].diag(2), x[0, 0].diag(-1),
                    lib.diag(x[0], 1)),
    lambda lib, x: (*lib.meshgrid(x[0, 0], x[0, :, 0], indexing="ij"),
                    *lib.meshgrid(x[0, 0], x[1, 0], indexing="xy")),
    lambda lib, x: (x.contiguous(), x.mT.contiguous(), x.clone(), x.detach()),
    lambda lib, x: (*x, len(x), x.shape[0], x.size(-1), x.dim(), x.numel(), x.ndim, x.nelement()),
    lambda lib, x: (x.float(), x.half().double(), x.to(lib.float32), x.type_as(x.float()), x.long(),
                    x.bool(), x.int()),
    lambda lib, x: (x.to("cpu"), x.to("cpu", lib.float32), x.to(dtype=lib.float16),
                    x.to(x.float()), x.cpu()),
], ids=lambda p: str(p.__code__.co_firstlineno))
def test_shape_programs(program):
    agree(program, real(0, 2, 3, 4))


@given(shape=shapes, seed=seeds, data=st.data())
def test_permutations_and_moves(shape, seed, data):
    n = len(shape)
    dims = data.draw(st.permutations(range(n)))
    agree(lambda lib, x: x.permute(tuple(dims)), real(seed, *shape))
    if n:
        a, b = data.draw(st.integers(-n, n - 1)), data.draw(st.integers(-n, n - 1))
        agree(lambda lib, x: (x.transpose(a, b), x.movedim(a, b)), real(seed, *shape))
        agree(lambda lib, x: (x.unsqueeze(a), x.squeeze(b), x.flip(a)), real(seed, *shape))
        start, end = sorted((a % n, b % n))
        agree(lambda lib, x: x.flatten(start, end), real(seed, *shape))


@given(shape=some_dims, seed=seeds, data=st.data())
def test_cutting_and_joining(shape, seed, data):
    n = len(shape)
    dim = data.draw(st.integers(-n, n - 1))
    size, parts = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    shift = data.draw(st.integers(-6, 6))
    agree(lambda lib, x: x.split(size, dim), real(seed, *shape))
    agree(lambda lib, x: x.chunk(parts, dim), real(seed, *shape))
    agree(lambda lib, x: lib.cat([x, x * 2, x], dim), real(seed, *shape))
    agree(lambda lib, x: (lib.stack([x, x * 3], dim), x.roll(shift, dim)), real(seed, *shape))


@given(shape=st.lists(sizes, min_size=2, max_size=4).map(tuple), seed=seeds, data=st.data())
def test_diagonals_and_triangles(shape, seed, data):
    n = len(shape)
    a = data.draw(st.integers(-n, n - 1))
    b = data.draw(st.integers(-n, n - 1).filter(lambda b: b % n != a % n))
    offset = data.draw(st.integers(-5, 5))
    agree(lambda lib, x: (x.diagonal(offset, a, b), x.tril(offset), x.triu(offset)),
          real(seed, *shape))


# ── products ──────────────────────────────────────────────────────────────────────────────────────


@given(batch=broadcast_shapes, n=st.tuples(sizes, sizes, sizes),
       vectors=st.sampled_from(["", "a", "b", "ab"]), seed=seeds)
def test_matmul(batch, n, vectors, seed):
    a = real(seed, n[1]) if "a" in vectors else real(seed, *batch[0], n[0], n[1])
    b = real(seed + 1, n[1]) if "b" in vectors else real(seed + 1, *batch[1], n[1], n[2])
    agree(lambda lib, a, b: lib.matmul(a, b), a, b)
    agree(lambda lib, a, b: a @ b, a, b)


@pytest.mark.parametrize("program", [
    lambda lib, a, b, v: (lib.mm(a[0], b[0]), lib.bmm(a, b), lib.mv(a[0], v), lib.dot(v, v), v @ b),
    lambda lib, a, b, v: (lib.outer(v, a[0, 0]), v.outer(v), v.dot(a[0, 0]), a[0].mv(v),
                          a[0].mm(b[0]), a.bmm(b)),
    lambda lib, a, b, v: (lib.addmm(a[0, :, :2], a[0], b[0, :, :2]),
                          lib.addmm(v[0], a[0], b[0], beta=0.5, alpha=2)),
    lambda lib, a, b, v: (lib.baddbmm(v[:1], a, b, beta=2, alpha=0.3),
                          v[0].reshape(1, 1, 1).baddbmm(a, b)),
    lambda lib, a, b, v: (lib.tensordot(a, b, ([2], [1])),
                          lib.tensordot(a, b, dims=([0, 2], [0, 1]))),
    lambda lib, a, b, v: (lib.tensordot(a, b[0], 1), lib.tensordot(a, b, dims=0),
                          lib.tensordot(v, v, dims=1)),
])
def test_product_programs(program):
    agree(program, real(0, 2, 3, 4), real(1, 2, 4, 5), real(2, 4))


@pytest.mark.parametrize("equation, shapes", [
    ("ij,jk->ik", [(2, 3), (3, 4)]), ("ij,jk", [(2, 3), (3, 4)]), ("ba", [(2, 3)]),
    ("ij->", [(2, 3)]), (" b i j , b j k -> b i k ", [(2, 3, 4), (2, 4, 5)]), ("i,i", [(4,), (4,)]),
    ("i,j->ij", [(4,), (3,)]), ("ii", [(3, 3)]), ("ii->i", [(3, 3)]), ("iij->j", [(3, 3, 2)]),
    ("iji->ij", [(3, 2, 3)]), ("iii->i", [(3, 3, 3)]), ("...ij,...jk->...ik", [(2, 3, 4), (4, 5)]),
    ("...ij,...jk", [(2, 1, 3, 4), (5, 4, 2)]), ("...", [(2, 3)]), ("...i->...", [(2, 3)]),
    ("i...->...i", [(2, 3, 4)]), ("b...,b...->b", [(2, 3, 4), (2, 3, 4)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]), ("ij,kj,lk->il", [(2, 3), (4, 3), (5, 4)]),
    ("ij,ij->ij", [(2, 3), (1, 3)]), ("ij,j->i", [(2, 1), (3,)]), ("ijk->ik", [(2, 3, 4)]),
    (",ij->ij", [(), (2, 3)]), ("bn,anm,bm->ba", [(2, 5), (3, 5, 4), (2, 4)]),
    ("aB,Bc->ac", [(2, 3), (3, 4)]), ("...ii->...i", [(2, 3, 3)]),
    ("i...j,j...->...i", [(2, 3, 4), (4, 3)]), ("ij->ij", [(2, 3)]), ("ijkl->kl", [(2, 3, 4, 5)]),
])
def test_einsum(equation, shapes):
    agree(lambda lib, *xs: lib.einsum(equation, *xs), *[real(k, *s) for k, s in enumerate(shapes)])


def test_einsum_in_its_other_forms():
    a, b = real(0, 2, 3), real(1, 3, 4)
    agree(lambda lib, a, b: lib.einsum("ij,jk->ik", [a, b]), a, b)
    agree(lambda lib, a, b: lib.einsum(a, [0, 1], b, [1, 2], [0, 2]), a, b)
    agree(lambda lib, a, b: lib.einsum(a, [0, 1], b, [1, 2]), a, b)
    agree(lambda lib, a, b: lib.einsum(a, [..., 1], b, [1, 2], [..., 2]), a, b)


@given(letters=st.lists(st.text("abcd", min_size=0, max_size=4), min_size=1, max_size=3),
       seed=seeds, data=st.data())
def test_einsum_drawn(letters, seed, data):
    size = {c: data.draw(st.integers(1, 4)) for c in "abcd"}
    letters = ["".join(dict.fromkeys(term)) if data.draw(st.booleans()) else term
               for term in letters]
    present = sorted(set("".join(letters)))
    count = data.draw(st.integers(0, len(present)))
    out = "".join(data.draw(st.permutations(present))[:count])
    equation = ",".join(letters) + "->" + out
    agree(lambda lib, *xs: lib.einsum(equation, *xs),
          *[real(seed, *(size[c] for c in term)) for term in letters])
