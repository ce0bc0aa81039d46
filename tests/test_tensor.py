"""Tensor: indexing, writing in place, the graph's rules, other libraries, printing, its errors."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from against_torch import agree, pair, real, same, torch
from hypothesis import given
from hypothesis import strategies as st

import npformer as npf
from npformer import inplace
from npformer.core import operation
from npformer.core.samples import draw as draw_sample

# ── indexing ──────────────────────────────────────────────────────────────────────────────────────

INDICES = [
    0, -1, (1, 2), (1, 2, 3), slice(1, None), slice(None, None, 2), (slice(None), 1), (Ellipsis, 0),
    (None, 1), ..., (0, Ellipsis, None, 1), (slice(None), None, slice(0, 2), 1), [0, 1, 1],
    ([0, 1, 1], [2, 0, 0]), (slice(None), [2, 2, 0]), (slice(None), slice(None), [3, 0, 3]),
    ([1, 0], slice(None), [2, 2]), (0, slice(None), [1, 1]), ([0, 1, 0], slice(None), 2),
    (slice(None), 1, [0, 3, 3]), (Ellipsis, [0, 0]), (None, [1, 1], None), (1, [0, 2], None),
    ([[0, 1], [1, 1]],), (slice(None), [[0, 2], [2, 1]], slice(1, 3)), (0, [1, 0], [2, 3]),
    (slice(None), []),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_index_reads_as_in_pytorch(index):
    agree(lambda lib, x: x[index], real(0, 2, 3, 4))

    def boxed(lib, part):
        return lib.tensor(part, dtype=lib.int64) if isinstance(part, list) else part

    def with_tensors(lib, x):
        if isinstance(index, tuple):
            return x[tuple(boxed(lib, part) for part in index)]
        return x[boxed(lib, index)]
    agree(with_tensors, real(0, 2, 3, 4))


@pytest.mark.parametrize("program", [
    lambda lib, x: (x[x > 0], x[x[:, :, 0] > 0], x[:, x[0, :, 0] > -9], x[(x > 0).any(-1), 1],
                    x[0, x[0, :, 1] > 0]),
    lambda lib, x: (x[lib.tensor(1)], x[lib.tensor(1), :, lib.tensor([0, 2])], x[True],
                    x[None, ..., -1]),
    lambda lib, x: (x.gather(1, lib.tensor([[[0, 2, 2, 1]], [[1, 1, 0, 0]]])),
                    lib.gather(x[0], 0, lib.tensor([[2], [2]]))),
    lambda lib, x: (x.index_select(1, lib.tensor([2, 0, 2])), x.select(1, -1), x.select(-1, 0),
                    x.narrow(2, 1, 2)),
    lambda lib, x: (lib.index_add(x, 1, lib.tensor([0, 2, 0]), x * 2),
                    x.index_add(2, lib.tensor([1]), x[..., :1], alpha=3)),
    lambda lib, x: (x.scatter_add(1, lib.tensor([[[0, 2, 2, 1]], [[1, 1, 0, 0]]]), x[:, :1] * 3),
                    x[0].scatter(0, lib.tensor([[2, 0, 1, 1]]), x[1, :1]),
                    x[0].scatter(1, lib.tensor([[2], [0]]), 7.0)),
    lambda lib, x: (lib.masked_select(x, x > 0), x.masked_select(x[0] > 0), lib.nonzero(x > 0),
                    lib.where(x > 0)),
    lambda lib, x: (lib.take_along_dim(x, x.argsort(1), 1),
                    x.take_along_dim(lib.tensor([5, 5, 0]))),
    lambda lib, x: (*x.topk(2), *x.topk(3, 1, largest=False), *lib.topk(x, 1, 0), *x.sort()),
    lambda lib, x: (x.argsort(), x.argsort(0, descending=True), *lib.sort(x, stable=True, dim=0)),
    lambda lib, x: (*x.sort(1, descending=True), *x.nonzero(as_tuple=True)),
    lambda lib, x: (*lib.unique((x * 2).int(), return_inverse=True, return_counts=True),
                    lib.unique(x.long())),
], ids=lambda p: str(p.__code__.co_firstlineno))
def test_programs_that_pick_entries(program):
    def outputs(lib, x):
        found = program(lib, x)
        return [p for y in found for p in (y if type(y) is tuple else [y])]
    agree(outputs, real(0, 2, 3, 4))


@given(st.data())
def test_gathering_and_scattering_drawn(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    n, seed = len(shape), data.draw(st.integers(0, 999))
    dim = data.draw(st.integers(-n, n - 1))
    size = shape[dim]
    inner = tuple(data.draw(st.integers(1, 5 if d == dim % n else m)) for d, m in enumerate(shape))
    rng = np.random.default_rng(seed)
    index, rows = rng.integers(0, size, inner), rng.integers(0, size, data.draw(st.integers(1, 5)))
    x, source = real(seed, *shape), real(seed + 1, *inner)
    parts = real(seed + 2, *shape[:dim % n], rows.size, *shape[dim % n + 1:])
    agree(lambda lib, x, s: (x.gather(dim, lib.tensor(index)),
                             x.scatter_add(dim, lib.tensor(index), s)), x, source)
    agree(lambda lib, x, p: (x.index_select(dim, lib.tensor(rows)),
                             x.index_add(dim, lib.tensor(rows), p)), x, parts)
    k, descending = data.draw(st.integers(0, size)), data.draw(st.booleans())
    agree(lambda lib, x: (*x.topk(k, dim, descending), *x.sort(dim, descending)), x)


@given(st.data())
def test_indices_drawn(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    length, parts = data.draw(st.integers(1, 3)), []
    for n in shape[:data.draw(st.integers(1, len(shape)))]:
        kind = data.draw(st.sampled_from(["int", "slice", "list", "mask", "new"]))
        if kind == "int":
            parts.append(data.draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            start, stop = data.draw(st.integers(-n, n)), data.draw(st.integers(-n, n))
            parts.append(slice(start, stop, data.draw(st.integers(1, 3))))
        elif kind == "list":
            parts.append([data.draw(st.integers(-n, n - 1)) for _ in range(length)])
        elif kind == "mask":
            parts.append([True] * length + [False] * (n - length) if n >= length else slice(None))
        else:
            parts += [None, slice(None)]
    if data.draw(st.booleans()) and sum(p is not None for p in parts) <= len(shape):
        parts.append(Ellipsis)
    agree(lambda lib, x: x[tuple(parts)], real(1, *shape))


def test_indices_are_kept_as_they_were():
    x, index = npf.tensor(real(0, 4), requires_grad=True), npf.tensor([1, 1, 3])
    y = x[index] + x.gather(0, index) + x.index_select(0, index)
    y.sum().backward()
    array, mask = np.array([1, 1, 3]), x.detach() < 9
    programs = [x[index], x[array], x.index_select(0, index),
                npf.zeros(4).double().index_add(0, index, x[:3])[index]]
    before, x.grad = x.grad.tolist(), None
    again, picked = sum(y.sum() for y in programs[:3]), x.masked_select(mask).sum() + x[mask].sum()
    index.fill_(0)
    mask.fill_(False)
    array[:] = 0
    again.backward()
    assert before == [0, 6, 0, 3] and x.grad.tolist() == [0, 6, 0, 3]
    picked.backward()
    assert x.grad.tolist() == [2, 8, 2, 5]


@pytest.mark.parametrize("index, value", [
    (0, 1.5), ((slice(None), 1), [[1.0], [2.0]]), ((1, [0, 2, 2]), 7.0),
    ((Ellipsis, 0), np.ones((2, 3))), (([0, 1], [2, 2], [1, 0]), 3.0),
    ((0, slice(None), [1, 3]), np.arange(6.0).reshape(3, 2)), ((None, 1), 2.0), ((0, 1, 2), 9.0),
    (slice(1, None), np.ones(4)),
])
def test_index_writes_as_in_pytorch(index, value):
    mine, theirs = pair(real(0, 2, 3, 4), requires_grad=False)
    if isinstance(value, (float, int)):
        mine[index], theirs[index] = value, value
    else:
        mine[index], theirs[index] = npf.tensor(np.array(value)), torch.tensor(np.array(value))
    same(mine, theirs)
    mask = mine > 0.1
    mine[mask], theirs[theirs > 0.1] = -1.0, -1.0
    mine[mask] += 3
    theirs[torch.tensor(mask.numpy())] += 3
    same(mine, theirs)


def test_views_share_memory():
    x = npf.zeros(2, 3)
    x[0].fill_(1)
    x[1, 2].fill_(5)
    x.view(-1)[3] = 2
    x.T[1, 1] = 7
    assert x.tolist() == [[1, 1, 1], [2, 7, 5]]


# ── writing in place ──────────────────────────────────────────────────────────────────────────────

IN_PLACE = [
    lambda lib, x, y: x.add_(y), lambda lib, x, y: x.add_(2, alpha=3),
    lambda lib, x, y: x.sub_(y, alpha=0.5), lambda lib, x, y: x.mul_(y),
    lambda lib, x, y: x.div_(2.5), lambda lib, x, y: x.abs_().sqrt_(),
    lambda lib, x, y: x.neg_().exp_(), lambda lib, x, y: x.clamp_(-0.5, 0.5),
    lambda lib, x, y: x.clamp_(min=0), lambda lib, x, y: x.fill_(3.5), lambda lib, x, y: x.zero_(),
    lambda lib, x, y: x.copy_(y), lambda lib, x, y: x.copy_(y[0]),
    lambda lib, x, y: x.masked_fill_(y > 0, -1), lambda lib, x, y: x.pow_(2),
    lambda lib, x, y: x.addcmul_(y, y, value=0.3),
    lambda lib, x, y: x.addcdiv_(y, y * y + 1, value=-2), lambda lib, x, y: x.lerp_(y, 0.25),
    lambda lib, x, y: x.sigmoid_().tanh_(), lambda lib, x, y: x.tril_(),
    lambda lib, x, y: x.scatter_(1, lib.tensor([[0], [2]]), 1.0),
    lambda lib, x, y: x.relu_().round_(),
    lambda lib, x, y: x.square_().add_(1).log_().add_(1).rsqrt_().reciprocal_(),
    lambda lib, x, y: x.triu_().sign_(), lambda lib, x, y: x.floor_().clamp_max_(1).clamp_min_(-1),
    lambda lib, x, y: x.ceil_().clip_(0, 1),
    lambda lib, x, y: x.scatter_add_(1, lib.tensor([[0, 0], [2, 1]]), y),
    lambda lib, x, y: x.index_add_(0, lib.tensor([1, 1]), y),
    lambda lib, x, y: x.copy_(lib.ones(2, 3)),
]


@pytest.mark.parametrize("k", range(len(IN_PLACE)))
def test_in_place_forms(k):
    (x, a), (y, b) = pair(real(0, 2, 3), False), pair(real(1, 2, 3), False)
    view, other = x.view(-1), a.view(-1)
    assert IN_PLACE[k](npf, x, y) is x
    IN_PLACE[k](torch, a, b)
    same(x, a)
    same(view, other)


@pytest.mark.parametrize("k", range(len(IN_PLACE)))
def test_in_place_forms_are_refused_for_a_leaf_of_the_graph_and_allowed_under_no_grad(k):
    x, y = npf.tensor(real(0, 2, 3), requires_grad=True), npf.tensor(real(1, 2, 3))
    before = x.tolist()
    with pytest.raises(npf.GraphError, match="a write in place"):
        IN_PLACE[k](npf, x, y)
    assert x.tolist() == before
    with npf.no_grad():
        IN_PLACE[k](npf, x, y)
    assert x.requires_grad and x.is_leaf


def test_a_gradient_that_would_be_lost_is_an_error():
    w, x = npf.ones(2, requires_grad=True), npf.zeros(2)
    with pytest.raises(npf.GraphError, match="cannot be differentiated"):
        (w * 2).uniform_()
    for write in (lambda: x[:1].add_(w), lambda: x.view(-1).__setitem__(0, w[0]),
                  lambda: x[:1].copy_(w[:1])):
        with pytest.raises(npf.GraphError, match="a view of another tensor's memory"):
            write()
    with pytest.raises(npf.GraphError, match="x is a leaf that requires a gradient"):
        w[0] = 1.0


@pytest.mark.parametrize("write", [
    lambda lib, h, y: h.masked_fill_(h > 0.2, -3.0), lambda lib, h, y: h.add_(y, alpha=2).mul_(y),
    lambda lib, h, y: h.clamp_(min=0), lambda lib, h, y: h.index_add_(0, lib.tensor([1, 1]), y),
    lambda lib, h, y: h.__setitem__(1, y[0]),
    lambda lib, h, y: h.__setitem__((slice(None), [2, 0]), y[:, :2] * 3),
    lambda lib, h, y: h.__setitem__(y > 0.3, y[y > 0.3] ** 2),
    lambda lib, h, y: h.__setitem__((Ellipsis, 1), 7),
    lambda lib, h, y: h.__setitem__((slice(None), 1, None), y[0, :1]),
    lambda lib, h, y: h.__setitem__(Ellipsis, y), lambda lib, h, y: h.__setitem__(0, y[:1]),
    lambda lib, h, y: h.copy_(y[1]), lambda lib, h, y: h.fill_(y[0, 1]),
    lambda lib, h, y: h.zero_(), lambda lib, h, y: h.fill_(2.5),
])
def test_in_place_forms_in_the_graph(write):
    """Results of operations, and constants, become what PyTorch makes of them, gradients too."""
    def program(lib, x, y):
        h = x * 1.5
        constant = lib.ones(2, 3, dtype=lib.float64)
        write(lib, h, y), write(lib, constant, y)
        return h * h, constant
    agree(program, real(0, 2, 3), real(1, 2, 3))


def test_in_place_keeps_dtype_and_shape():
    x = npf.tensor([1, 2, 3])
    x.add_(2).mul_(npf.tensor([1, 0, 2]))
    assert x.dtype == npf.int64 and x.tolist() == [3, 0, 10]
    for write in (lambda: x.add_(0.5), lambda: x.div_(2), lambda: npf.tensor([True]).add_(1)):
        with pytest.raises(npf.DTypeError, match="does not fit into a tensor of"):
            write()
    with pytest.raises(npf.ShapeError, match="does not fit into the tensor"):
        npf.ones(3).add_(npf.ones(2, 3))
    half = npf.ones(2, dtype=npf.float32)
    half += npf.ones(2, dtype=npf.float64)
    assert half.dtype == npf.float32
    with pytest.raises(npf.GraphError, match="it repeats memory"):
        npf.ones(1).expand(3).add_(1)


def test_random_fills_follow_the_generator():
    def draw():
        npf.manual_seed(3)
        return [npf.empty(1000).uniform_(-1, 2), npf.empty(1000).normal_(3, 0.1),
                npf.empty(1000).bernoulli_(0.3)]

    a, b = draw(), draw()
    assert all(npf.equal(x, y) for x, y in zip(a, b))
    assert -1 <= a[0].min() and a[0].max() < 2 and abs(a[0].mean() - 0.5) < 0.1
    assert abs(a[1].mean() - 3) < 0.02 and abs(a[1].std() - 0.1) < 0.02
    assert abs(a[2].mean() - 0.3) < 0.06


def test_a_write_between_forward_and_backward_is_noticed():
    for write in (lambda x: x.add_(1), lambda x: x.view(-1).zero_(),
                  lambda x: x.__setitem__(0, 5.0), lambda x: x.numpy().fill(0),
                  lambda x: x.data.mul_(2)):
        x, w = npf.tensor(real(0, 3)), npf.ones(3, requires_grad=True)
        if write(x.clone()) is None:
            x.numpy()
        y = (w * x).sum()
        write(x)
        with pytest.raises(npf.GraphError, match="mul: the backward pass needs b as it was"):
            y.backward()


def test_an_array_from_outside_that_changes_is_noticed():
    outside, w = np.ones(3), npf.ones(3, dtype=npf.float64, requires_grad=True)
    for y in (w * outside, outside * w, w * npf.from_numpy(outside), w * npf.as_tensor(outside),
              w * npf.from_dlpack(torch.from_numpy(outside))):
        outside += 1
        with pytest.raises(npf.GraphError, match="changed in place"):
            y.sum().backward()


# ── augmented assignment ──────────────────────────────────────────────────────────────────────────


def test_augmented_assignment_is_differentiable_on_results():
    def program(lib, x, y):
        h = x * 1
        h += y
        h *= x
        h -= 2 * y
        h /= y * y + 1
        h = h * 1
        h **= 2
        total = lib.zeros(3, dtype=lib.float64)
        total += h.sum(0)
        loss = 0
        loss += total
        return loss
    agree(program, real(0, 2, 3), real(1, 3))


def test_augmented_assignment_writes_in_place_outside_the_graph():
    x = npf.tensor([1.0, 2.0])
    view = x[:1]
    x += 1
    x *= 3
    view -= 0.5
    assert x.tolist() == [5.5, 9.0]
    with npf.no_grad():
        w = npf.ones(2, requires_grad=True)
        same_one = w
        w -= 0.25
    assert w is same_one and w.is_leaf and w.tolist() == [0.75, 0.75]


def test_augmented_assignment_refuses_what_it_cannot_do():
    w = npf.ones(2, requires_grad=True)
    with pytest.raises(npf.GraphError, match=r"x \+= y: x is a leaf that requires a gradient"):
        w += 1
    h = w * 2
    part = h[:1]
    with pytest.raises(npf.GraphError, match=r"x \*= y: x is a view of another tensor's memory"):
        part *= 2
    constant = npf.zeros(2, 2)[0]
    with pytest.raises(npf.GraphError, match="Write x = x [+] y"):
        constant += w
    with pytest.raises(npf.ShapeError, match="the result must have x's shape and dtype"):
        h += npf.ones(3, 2)


def test_just_the_views_among_the_operations_share_memory():
    """`inplace.VIEWS` names the operations whose result can be a view of an argument's memory, no
    more and no less."""
    found = set()
    for op in operation.REGISTRY.values():
        for k in range(len(op.examples)):
            args, options = draw_sample(op.examples[k], np.random.default_rng(k))
            y = op(*args, **options)
            if any(isinstance(a, np.ndarray) and np.shares_memory(a, y) for a in args):
                found.add(op)
    assert found - {operation.identity} == inplace.VIEWS


# ── the graph ─────────────────────────────────────────────────────────────────────────────────────


def test_leaves_and_results():
    x = npf.ones(2, requires_grad=True)
    y = x * 2
    assert x.is_leaf and x.grad_fn is None and not y.is_leaf and y.requires_grad
    assert y.grad_fn.op.name == "mul"
    assert y.detach().is_leaf and not y.detach().requires_grad
    with pytest.raises(npf.GraphError, match=r"\.detach\(\) cuts a result off its graph"):
        y.requires_grad = False
    with pytest.raises(npf.DTypeError,
                       match="only floating tensors can need a gradient, this one is int64"):
        npf.tensor([1], requires_grad=True)
    y.detach_()
    assert y.is_leaf
    assert not npf.ones(2).requires_grad_(False).requires_grad


def test_grad_is_checked():
    x = npf.ones(2, requires_grad=True)
    x.grad = npf.zeros(2)
    assert x.grad.tolist() == [0, 0]
    with pytest.raises(npf.ShapeError, match="must be None or a Tensor of the tensor's own shape"):
        x.grad = npf.zeros(3)
    with pytest.raises(npf.GraphError, match="does not require a gradient"):
        npf.ones(2).grad = npf.ones(2)
    del x.grad
    assert x.grad is None


def test_hooks_replace_and_are_removed():
    x = npf.ones(2, requires_grad=True)
    seen = []
    handle = x.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: seen.append(g.tolist()))
    (x * 3).sum().backward()
    assert x.grad.tolist() == [30, 30] and seen == [[30, 30]]
    handle.remove()
    handle.remove()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [33, 33]
    with x.register_hook(lambda g: npf.ones(3)):
        with pytest.raises(npf.ShapeError,
                           match="must return None or a Tensor of the gradient's shape"):
            (x * 3).sum().backward()


def test_retain_grad_keeps_a_results_gradient():
    x = npf.ones(2, requires_grad=True)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [4, 4] and x.grad.tolist() == [8, 8]
    with pytest.raises(npf.GraphError):
        npf.ones(1).retain_grad()


def test_a_graph_is_freed_by_reference_count_alone():
    gc.disable()
    try:
        x = npf.ones(3, requires_grad=True)
        h = (x * 2).tanh()
        node = weakref.ref(h.node)
        y = h[[0, 1, 1]].softmax(0).sum()
        y.backward()
        del h, y
        assert node() is None
        y = (x * x).sum()
        node = weakref.ref(y.node)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_data_exchanges_the_memory():
    x = npf.ones(2, requires_grad=True)
    x.data = npf.tensor([3.0, 4.0])
    x.data.add_(1)
    assert x.tolist() == [4, 5] and x.requires_grad
    with pytest.raises(npf.ShapeError, match="must be a Tensor of the same shape"):
        x.data = npf.ones(3)


# ── the world outside ─────────────────────────────────────────────────────────────────────────────


def test_numpy_shares_memory_and_refuses_the_graph():
    x = npf.tensor([1.0, 2.0])
    array = x.numpy()
    array[0] = 9
    assert x.tolist() == [9, 2]
    assert np.asarray(x) is not None and np.shares_memory(np.asarray(x), array)
    assert not np.shares_memory(np.array(x), array)
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    with pytest.raises(npf.GraphError, match=r"numpy\(\): this tensor requires a gradient"):
        x.requires_grad_().numpy()
    with pytest.raises(npf.GraphError, match="np.asarray"):
        np.asarray(x)


@pytest.mark.parametrize("program", [
    lambda a, t: a * t, lambda a, t: a + t, lambda a, t: a - t, lambda a, t: a / t,
    lambda a, t: a ** t, lambda a, t: a @ t, lambda a, t: t * a, lambda a, t: t @ a,
    lambda a, t: t - a, lambda a, t: np.float64(2) * t,
    lambda a, t: np.exp(t) + np.tanh(t) - np.abs(t), lambda a, t: np.maximum(a, t),
    lambda a, t: np.negative(t),
    lambda a, t: np.matmul(a, t), lambda a, t: np.sqrt(np.square(t)), lambda a, t: np.divide(a, t),
])
def test_numpy_arrays_and_functions_give_tensors(program):
    a, t = np.abs(real(0, 3, 3)) + 0.5, npf.tensor(np.abs(real(1, 3, 3)) + 0.5, requires_grad=True)
    y = program(a, t)
    assert type(y) is npf.Tensor and y.requires_grad and y.dtype == npf.float64
    assert np.allclose(y.detach().numpy(), program(a, t.detach().numpy()))
    assert type(a < t) is npf.Tensor and (a < t).dtype == npf.bool


@pytest.mark.parametrize("call, words", [
    (lambda t: np.sum(t),
     "np.sum does not take Tensors.\n  Use npf.sum, or give it x.detach().numpy()"),
    (lambda t: np.concatenate([t, t]),
     "np.concatenate does not take Tensors.\n  Use npf.cat, or give it"),
    (lambda t: np.arctan(t),
     "np.arctan does not take Tensors.\n  Use a function of npformer, or give it"),
    (lambda t: np.add.reduce(t), "np.add.reduce does not take Tensors."),
    (lambda t: np.exp(t, out=np.ones(2)), "np.exp with out does not take Tensors."),
    (lambda t: np.fft.fft(t), "np.fft does not take Tensors."),
])
def test_numpy_functions_say_what_to_use(call, words):
    with pytest.raises(npf.DTypeError) as caught:
        call(npf.ones(2))
    assert str(caught.value).startswith(words)


def test_dlpack_both_ways_without_a_copy():
    x = npf.tensor([[1.0, 2.0], [3.0, 4.0]])
    there = torch.from_dlpack(x)
    there[0, 0] = 7
    assert x[0, 0].item() == 7
    theirs = torch.arange(6).reshape(2, 3)
    here = npf.from_dlpack(theirs)
    theirs[1, 2] = 99
    assert here.dtype == npf.int64 and here[1, 2].item() == 99
    assert x.__dlpack_device__() == theirs.__dlpack_device__()
    with pytest.raises(npf.GraphError, match=r"x.detach\(\)"):
        torch.from_dlpack(x.requires_grad_())


def test_numbers_out_of_tensors():
    x = npf.tensor([[2.5]])
    assert x.item() == 2.5 and float(x) == 2.5 and int(x) == 2 and bool(x)
    assert f"{x.sum():.3f}" == "2.500"
    assert [10, 20, 30][npf.tensor(1)] == 20 and range(npf.tensor(3)) == range(3)
    assert npf.tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert type(npf.tensor(1).tolist()) is int
    with pytest.raises(npf.ShapeError,
                       match=r"item\(\): needs a tensor with one entry, this one has 2"):
        npf.ones(2).item()
    with pytest.raises(npf.ShapeError, match="the truth of 2 entries is ambiguous"):
        bool(npf.ones(2) > 0)
    with pytest.raises(npf.DTypeError, match="only integer tensors"):
        [1, 2][npf.tensor(1.0)]
    with pytest.raises(TypeError, match="a tensor of 0 dims has no length"):
        len(npf.tensor(1.0))
    with pytest.raises(npf.ShapeError, match="0 dims has no entries"):
        list(npf.tensor(1.0))


def test_containers():
    x = npf.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert len(x) == 2 and [row.tolist() for row in x] == [[1, 2], [3, 4]]
    assert 3.0 in x and 7.0 not in x
    assert {x: 1}[x] == 1 and x in [x] and hash(x) != hash(x.clone())
    assert (x == None) is False and (x != None) is True and (x == "a") is False      # noqa: E711
    with pytest.raises(TypeError):
        x + "a"
    with pytest.raises(TypeError):
        x + [1.0, 2.0]


def test_size_and_device():
    x = npf.ones(2, 3)
    assert x.shape == (2, 3) and x.size() == (2, 3) and x.size(1) == 3 and x.shape.numel() == 6
    assert repr(x.shape) == "npformer.Size([2, 3])" and x.stride() == (3, 1)
    assert x.T.stride() == (1, 3)
    assert x.is_contiguous() and not x.T.is_contiguous() and x.T.contiguous().is_contiguous()
    assert x.contiguous() is x
    assert x.nbytes == 24 and x.element_size() == x.itemsize == 4 and x.nelement() == 6
    assert x.device == "cpu" == npf.device("cpu") and x.device != "cuda" and x.device != "nonsense"
    assert str(x.device) == "cpu"
    assert x.device.type == "cpu" and not x.is_cuda
    assert x.data_ptr() == x.view(-1).data_ptr() != x.clone().data_ptr()
    assert repr(x.device) == "device(type='cpu')" and len({x.device, npf.device("cpu")}) == 1
    assert x.to("cpu") is x and x.to(npf.float32) is x and x.to(x) is x
    assert x.to(x, copy=True) is not x
    assert x.type() == "float32" and x.type(npf.int64).dtype == npf.int64


def test_copies():
    x = npf.tensor([1.0, 2.0], requires_grad=True)
    x.grad = npf.tensor([5.0, 6.0])
    y = copy.deepcopy({"a": x, "b": [x]})
    assert y["a"] is y["b"][0] and y["a"] is not x and y["a"].requires_grad
    assert y["a"].grad.tolist() == [5, 6]
    y["a"].data.add_(1)
    y["a"].grad.add_(1)
    assert x.tolist() == [1, 2] and x.grad.tolist() == [5, 6]
    shallow = copy.copy(x)
    assert shallow is not x and shallow.node is x.node and np.shares_memory(shallow.array, x.array)
    with pytest.raises(npf.GraphError,
                       match="only leaves can be copied deeply or pickled, .* a result of mul"):
        copy.deepcopy(x * 2)


def test_pickling():
    x = npf.tensor([1.0, 2.0], requires_grad=True)
    x.grad = npf.tensor([5.0, 6.0])
    back, constant = pickle.loads(pickle.dumps([x, npf.tensor([3])]))
    assert back.tolist() == [1, 2] and back.requires_grad and back.grad.tolist() == [5, 6]
    assert back.is_leaf
    assert constant.tolist() == [3] and not constant.requires_grad
    (back * 2).sum().backward()
    assert back.grad.tolist() == [7, 8]
    with pytest.raises(npf.GraphError, match="pickled"):
        pickle.dumps(x * 2)


# ── text ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make, text", [
    (lambda: npf.tensor([[1.0, 2.0]], requires_grad=True),
     "tensor([[1.0000, 2.0000]], requires_grad=True)"),
    (lambda: npf.tensor([1, 2]), "tensor([1, 2])"),
    (lambda: npf.tensor(2.5), "tensor(2.5000)"),
    (lambda: npf.tensor([True, False]), "tensor([ True, False])"),
    (lambda: npf.tensor([1.0], dtype=npf.float64), "tensor([1.0000], dtype=float64)"),
    (lambda: npf.tensor([1, 2], dtype=npf.int32), "tensor([1, 2], dtype=int32)"),
    (lambda: npf.tensor([0.0, 0.0], requires_grad=True).softmax(0),
     "tensor([0.5000, 0.5000], grad_fn=<softmax>)"),
    (lambda: npf.tensor([]), "tensor([])"),
    (lambda: npf.zeros(0, 3), "tensor([], size=(0, 3))"),
    (lambda: npf.tensor([[1, 2], [3, 4]]), "tensor([[1, 2],\n        [3, 4]])"),
])
def test_repr(make, text):
    assert repr(make()) == str(make()) == text


def test_large_tensors_print_short():
    assert len(repr(npf.zeros(1000, 1000))) < 600 and "..." in repr(npf.zeros(1000, 1000))


# ── the words of errors ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("call, kind, text", [
    (lambda x: x + npf.ones(4), npf.ShapeError,
     "add(a, b): the shapes do not broadcast: from the last dim on, sizes must be equal, "
     "or one of them 1\n"
     "  a float32 (2, 3)\n  b float32 (4,)"),
    (lambda x: x.reshape(4, -1), npf.ShapeError,
     """reshape(input, shape): 6 entries do not fit into shape (4, -1)
  input float32 (2, 3)"""),
    (lambda x: x.sum(2), npf.IndexRangeError,
     "sum: dim 2 is out of range for an array of 2 dims; it must be from -2 to 1"),
    (lambda x: x.permute(0, 0), npf.ShapeError,
     """permute(input, (0, 0)): dims must name each of the 2 dims once
  input float32 (2, 3)"""),
    (lambda x: npf.stack([x, x[0]]), npf.ShapeError,
     """stack(tensors): all tensors must have one shape
  tensors[0] float32 (2, 3)
  tensors[1] float32 (3,)"""),
    (lambda x: npf.einsum("ij,jk->ik", x, x), npf.ShapeError,
     """einsum('ij,jk->ik'): letter 'j' stands for sizes 3 and 2
  operands[0] (ij) float32 (2, 3)
  operands[1] (jk) float32 (2, 3)"""),
    (lambda x: npf.where(x, x, x), npf.DTypeError,
     """where(condition, input, other): the mask must hold bools
  mask float32 (2, 3)
  Make one by comparing: x > 0."""),
    (lambda x: x.masked_fill(x > 0, 1.5).long().masked_fill(x > 0, 1.5), npf.DTypeError,
     """masked_fill(input, mask, value): a float does not fit into integers or bools
  input int64 (2, 3)
  value 1.5
  Convert first: input.float()."""),
    (lambda x: npf.mm(x, x[0]), npf.ShapeError,
     """mm(input, mat2): input must have 2 dims, mat2 must have 2 dims
  input float32 (2, 3)
  mat2 float32 (3,)
  matmul takes any number of dims."""),
    (lambda x: x.requires_grad_().add_(1), npf.GraphError,
     """add_: x is a leaf that requires a gradient, which a write in place would lose.
  Write x = x.add(...), or do it under npf.no_grad()."""),
])
def test_errors_word_for_word(call, kind, text):
    with pytest.raises(kind) as caught:
        call(npf.ones(2, 3))
    assert str(caught.value) == text


@pytest.mark.parametrize("call", [
    lambda x: x[5], lambda x: x[:, 7], lambda x: x[[0, 9]], lambda x: x[0, 0, 0],
    lambda x: x[npf.ones(5) > 0], lambda x: x.index_select(0, npf.tensor([4])),
    lambda x: x.select(0, 2), lambda x: x.narrow(1, 2, 2), lambda x: x.gather(1, npf.tensor([[3]])),
    lambda x: x.topk(4), lambda x: x.max(5), lambda x: x.split(1, 3), lambda x: x.transpose(0, 2),
    lambda x: x.softmax(2), lambda x: x.flatten(1, 0), lambda x: x.unsqueeze(4),
    lambda x: x.__setitem__(9, 0.0), lambda x: x.cumsum(3), lambda x: x.size(2),
])
def test_what_points_outside_is_an_index_error(call):
    with pytest.raises(npf.IndexRangeError) as caught:
        call(npf.ones(2, 3))
    assert isinstance(caught.value, IndexError) and len(str(caught.value)) > 20


@pytest.mark.parametrize("call", [
    lambda x: x @ x, lambda x: x.view(5), lambda x: x.expand(4, 3), lambda x: x.expand(3),
    lambda x: x.bmm(x), lambda x: x.t().mv(x[0]), lambda x: npf.cat([x, x[0]]),
    lambda x: npf.cat([x, x.T]), lambda x: npf.cat([]), lambda x: npf.stack([]),
    lambda x: x.split([1, 2]), lambda x: x.unflatten(1, (2, 2)), lambda x: x.repeat(2),
    lambda x: x.roll((1, 2), 0), lambda x: x[0].tril(), lambda x: x.diagonal(0, 1, 1),
    lambda x: x[None].t(), lambda x: x.movedim((0, 1), 0),
    lambda x: npf.broadcast_tensors(x, npf.ones(2)), lambda x: npf.tensordot(x, x, 1),
    lambda x: npf.einsum("ij->k", x), lambda x: npf.einsum("ijk", x),
    lambda x: npf.einsum("ij,ij", x), lambda x: npf.einsum("ii", x), lambda x: npf.einsum("i+", x),
    lambda x: npf.einsum("ij->ii", x), lambda x: npf.einsum("...ijk", x),
    lambda x: x == npf.ones(4), lambda x: npf.where(x > 0, x, npf.ones(5)),
    lambda x: x.__setitem__(0, npf.ones(5)), lambda x: x.copy_(npf.ones(5)), lambda x: x[:0].max(),
    lambda x: x[:0].argmax(), lambda x: x[:, :0].amax(1),
    lambda x: x.index_add(0, npf.tensor([0]), x),
    lambda x: x.scatter_add(0, npf.tensor([[0, 1]]), npf.ones(1, 1)),
    lambda x: x.repeat_interleave(npf.tensor([1, 2, 3]), 0), lambda x: npf.tensor(3.0) @ x,
    lambda x: npf.diag(x[None]), lambda x: x.masked_fill(npf.ones(5) > 0, 0.0),
])
def test_what_does_not_fit_is_a_shape_error(call):
    with pytest.raises(npf.ShapeError) as caught:
        call(npf.ones(2, 3))
    assert isinstance(caught.value, (ValueError, RuntimeError)) and len(str(caught.value)) > 20


@pytest.mark.parametrize("call", [
    lambda x: x @ x.long().T, lambda x: x.long().mean(), lambda x: x & x,
    lambda x: x | 1.5, lambda x: ~x, lambda x: x.view(npf.int32), lambda x: x.reshape(2.0, 3),
    lambda x: x.to(npf.Tensor), lambda x: x.to("complex64"), lambda x: x.gather(0, x),
    lambda x: x.index_select(0, x[0]), lambda x: npf.bincount(x), lambda x: (x > 0) - (x > 0),
    lambda x: npf.einsum("ij,ij", x, x.double()), lambda x: x.masked_select(x), lambda x: x[0.5],
    lambda x: x["a"],
])
def test_what_is_of_the_wrong_type_is_an_error_with_words(call):
    with pytest.raises((npf.DTypeError, npf.DeviceError, npf.ShapeError,
                        npf.IndexRangeError)) as caught:
        call(npf.ones(2, 3))
    assert len(str(caught.value)) > 20


def test_a_number_where_an_array_must_be():
    with pytest.raises(npf.DTypeError, match="matmul.a, b.: b must be a Tensor"):
        npf.ones(2, 3) @ 2


@pytest.mark.parametrize("call", [
    lambda x: x.clamp(), lambda x: npf.div(x, x, rounding_mode="up"), lambda x: x.chunk(0),
    lambda x: x.split(0), lambda x: x.var(unbiased=True, correction=0), lambda x: x.norm("nuc"),
    lambda x: x.long() // 0, lambda x: npf.meshgrid(x[0], indexing="no"),
    lambda x: x.repeat_interleave(-1), lambda x: x.uniform_(2, 1), lambda x: x.normal_(0, -1),
    lambda x: npf.bernoulli(x * 2), lambda x: x.bernoulli_(1.5),
])
def test_options_out_of_range(call):
    with pytest.raises(npf.ValueRangeError) as caught:
        call(npf.ones(2, 3))
    assert len(str(caught.value)) > 20
