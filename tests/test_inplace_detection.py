"""An array that backward needs and that was changed meanwhile: always an error that says so, never
a wrong number.

And no false alarm: reading is free, and so is writing into what no rule reads.
"""

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer import nn, optim
from npformer.core.errors import GraphError

rng = np.random.default_rng(6)


class Way:
    """One way to write into a tensor's memory: `before` the forward pass, and `after` it."""

    def __init__(self, name, after, before=lambda x: None, make=None):
        self.name, self.before, self.after = name, before, after
        self.make = make or (lambda values: (npf.tensor(values), None))


def under_no_grad(write):
    def after(x, held):
        with npf.no_grad():
            write(x)
    return after


def write_torch(x, held):
    torch = pytest.importorskip("torch", reason="writes through PyTorch into shared memory")
    torch.from_dlpack(x.detach())[0, 0] += 1


def torch_memory(values):
    torch = pytest.importorskip("torch", reason="writes through PyTorch into shared memory")
    source = torch.tensor(values)
    return npf.from_dlpack(source), source


def from_numpy(values):
    source = values.copy()
    return npf.from_numpy(source), source


def write_first(array):
    array[0, 0] += 1


WAYS = [
    Way("add_", under_no_grad(lambda x: x.add_(1))),
    Way("copy_", under_no_grad(lambda x: x.copy_(x * 2))),
    Way("zero_", under_no_grad(lambda x: x.zero_())),
    Way("index", under_no_grad(lambda x: x.__setitem__((0, 0), 7.0))),
    Way("-=", under_no_grad(lambda x: x.__isub__(npf.ones(3, 3, dtype=npf.float64)))),
    Way("data", lambda x, held: x.data.mul_(2)),
    Way("detach", lambda x, held: x.detach().mul_(2)),
    Way("view", lambda x, held: x.detach()[:1, :2].mul_(2)),
    Way("view-of-view", lambda x, held: x.detach().T[1:].view(-1, 3)[0].T[:2].add_(1)),
    Way("numpy-before", lambda x, held: write_first(held), before=lambda x: x.detach().numpy()),
    Way("numpy-after", lambda x, held: write_first(x.detach().numpy())),
    Way("numpy-view-after", lambda x, held: write_first(x.detach().numpy()[:, ::-1].T)),
    Way("asarray-after", lambda x, held: write_first(np.asarray(x.detach()))),
    Way("from_numpy", lambda x, held: write_first(held), make=from_numpy),
    Way("dlpack-out", write_torch),
    Way("dlpack-in", lambda x, held: held.add_(1), make=torch_memory),
]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda w: w.name)

READERS = {  # what reads x's values, and what may be said to need it
    "mul": lambda x: x * leaf(), "matmul": lambda x: x @ leaf(),
    "matmul-right": lambda x: leaf() @ x, "pow": lambda x: x ** 2,
    "log": lambda x: (x * x + 1).log() + x * x, "linear": lambda x: F.linear(leaf(), x),
    "layer_norm": lambda x: F.layer_norm(leaf(), (3,), x[0]),
    "attention": lambda x: F.scaled_dot_product_attention(leaf(), x, leaf()),
    "cat": lambda x: npf.cat([x * leaf(), x]),
    "einsum": lambda x: npf.einsum("ij,jk->ik", x, leaf()), "view": lambda x: x.T @ leaf(),
}


def leaf():
    return npf.tensor(rng.uniform(0.5, 2, (3, 3)), requires_grad=True)


@every_way
@pytest.mark.parametrize("reader", ["mul", "matmul", "linear", "view"])
@pytest.mark.parametrize("is_leaf", [True, False], ids=["leaf", "constant"])
def test_a_changed_argument_is_noticed(way, reader, is_leaf):
    x, source = way.make(rng.uniform(0.5, 2, (3, 3)))
    x.requires_grad_(is_leaf)
    held = way.before(x) if source is None else source
    y = READERS[reader](x)
    if not y.requires_grad:
        return                                     # nothing was recorded, so nothing can go wrong
    way.after(x, held)
    with pytest.raises(GraphError, match="was changed in place meanwhile"):
        y.backward(npf.ones_like(y))


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_notices(reader):
    x = leaf()
    y = READERS[reader](x)
    with npf.no_grad():
        x.mul_(2)
    with pytest.raises(GraphError, match="was changed in place meanwhile"):
        y.sum().backward()


OUTPUTS = {"exp": lambda x: x.exp(), "sqrt": lambda x: x.sqrt(), "tanh": lambda x: x.tanh(),
           "sigmoid": lambda x: x.sigmoid(), "relu": lambda x: x.relu(),
           "softmax": lambda x: F.softmax(x, dim=-1),
           "log_softmax": lambda x: F.log_softmax(x, dim=-1), "amax": lambda x: x.amax(1),
           "silu": lambda x: F.silu(x), "layer_norm": lambda x: F.layer_norm(x, (3,)),
           "logsumexp": lambda x: x.logsumexp(1), "gelu": lambda x: F.gelu(x),
           "rms_norm": lambda x: F.rms_norm(x, (3,)), "norm": lambda x: x.norm(dim=1),
           "dropout": lambda x: F.dropout(x, 0.5), "prod": lambda x: x.prod(1),
           "cumsum": lambda x: x.cumsum(1), "linear": lambda x: F.linear(x, leaf()),
           "attention": lambda x: F.scaled_dot_product_attention(x, x, x)}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_changed_output_gives_an_error_or_the_right_number(name):
    """Whether a rule reads its output is its own affair. What must not be is a wrong gradient."""
    x = leaf()
    state = npf.default_generator.get_state()
    OUTPUTS[name](x).sum().backward()
    right = x.grad.array.copy()
    x.grad = None
    npf.default_generator.set_state(state)
    y = OUTPUTS[name](x)
    total = y.sum()
    with npf.no_grad():
        y.mul_(3)
    try:
        total.backward()
    except GraphError as error:
        assert "was changed in place meanwhile" in str(error)
    else:
        if name != "linear":                       # its second operand is drawn anew each time
            np.testing.assert_allclose(x.grad.array, right)


def test_the_message_names_operation_argument_place_and_remedy():
    a, b = leaf(), leaf()
    y = a * b
    with npf.no_grad():
        b.add_(1)
    with pytest.raises(GraphError) as caught:
        y.sum().backward()
    text = str(caught.value)
    assert text.startswith("mul: the backward pass needs b as it was in the forward pass")
    assert f"{__file__}:" in text and "float64 (3, 3)" in text and "x.clone()" in text


def test_create_graph_looks_too():
    a, b = leaf(), leaf()
    y = (a * b).sum()
    with npf.no_grad():
        b.add_(1)
    with pytest.raises(GraphError, match="was changed in place meanwhile"):
        npf.autograd.grad(y, a, create_graph=True)


def test_a_change_before_a_second_walk_is_noticed():
    a, b = leaf(), leaf()
    y = (a * b).sum()
    y.backward(retain_graph=True)
    b.detach().numpy()[0, 0] += 1
    with pytest.raises(GraphError, match="was changed in place meanwhile"):
        y.backward()


@pytest.mark.parametrize("optimizer", [lambda p: optim.SGD(p, lr=0.1),
                                       lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
                                       lambda p: optim.Adam(p),
                                       lambda p: optim.AdamW(p, amsgrad=True)])
def test_an_optimizers_step_between_two_walks(optimizer):
    w = leaf()
    opt = optimizer([w])
    loss = ((w @ w) ** 2).sum()
    loss.backward(retain_graph=True)
    opt.step()
    with pytest.raises(GraphError, match="^matmul: the backward pass needs a as it was"):
        loss.backward()


def test_loading_a_state_between_forward_and_backward():
    model = nn.Linear(3, 3)
    loss = (model(model(npf.ones(2, 3))) ** 2).sum()
    model.load_state_dict({"weight": np.ones((3, 3)), "bias": np.ones(3)})
    with pytest.raises(GraphError, match="^linear: the backward pass needs weight as it was"):
        loss.backward()


def test_a_numpy_operand():
    x, other = leaf(), rng.standard_normal((3, 3))
    for y in (other * x, x @ other, np.multiply(other, x)):
        other[1, 1] += 1
        with pytest.raises(GraphError, match="was changed in place meanwhile"):
            y.sum().backward()


def test_a_row_of_an_embedding_table():
    weight = npf.tensor(rng.standard_normal((5, 3)), requires_grad=True)
    index = npf.tensor([1, 2, 1])
    y = F.embedding(index, weight)
    index[0] = 4                                   # the gradient would go to another row
    with pytest.raises(GraphError, match="^embedding: the backward pass needs"):
        y.sum().backward()


def test_a_mask_and_an_index():
    x = leaf()
    mask = npf.tensor(rng.random((3, 3)) < 0.5)
    y = npf.where(mask, x, 0.0)
    mask[0, 0] = not mask[0, 0].item()
    with pytest.raises(GraphError, match="^where: the backward pass needs condition"):
        y.sum().backward()
    picks = npf.tensor([0, 1, 1])
    z = x[picks]
    expected = np.zeros((3, 3))
    np.add.at(expected, [0, 1, 1], 1.0)
    picks[0] = 2
    z.sum().backward()                             # the graph has a copy of the index
    np.testing.assert_array_equal(x.grad.array, expected)


# ── no false alarm ────────────────────────────────────────────────────────────────────────────────


@every_way
def test_writing_into_what_no_rule_reads_is_free(way):
    x, source = way.make(rng.uniform(0.5, 2, (3, 3)))
    x.requires_grad_()
    held = way.before(x) if source is None else source
    y = (x + x.T - 3).sum()                        # sums need shapes, not values
    way.after(x, held)
    y.backward()
    np.testing.assert_array_equal(x.grad.array, np.full((3, 3), 2.0))


def test_reading_is_free():
    x = leaf()
    values, view = x.tolist(), x.detach().numpy()
    y = (x * x).sum()
    for read in (x.tolist(), view.tolist(), x.numpy(force=True).tolist()):
        assert read == values
    assert x[0, 0].item() == values[0][0] and repr(x) and (x.detach() == view).all()
    y.backward()
    np.testing.assert_allclose(x.grad.array, 2 * x.array)


def test_writing_before_the_forward_pass_is_free():
    source = rng.uniform(0.5, 2, (3, 3))
    x = npf.from_numpy(source).requires_grad_()
    source *= 2
    y = (x * x).sum()
    y.backward()
    np.testing.assert_allclose(x.grad.array, 2 * source)
    source *= 2
    with npf.no_grad():
        x.add_(1)
    x.grad = None
    (x * x).sum().backward()
    np.testing.assert_allclose(x.grad.array, 2 * source)


def test_a_training_loop_that_looks_at_its_weights():
    w = npf.tensor(rng.standard_normal((3, 3)), requires_grad=True)
    window = w.detach().numpy()                    # a plot, say, that looks on
    for _ in range(5):
        w.grad = None
        loss = ((w @ w) ** 2).sum()
        loss.backward()
        with npf.no_grad():
            w.sub_(w.grad * 1e-3)
        assert np.shares_memory(window, w.array) and np.isfinite(window).all()


def test_another_tensor_is_another_matter():
    a, b = leaf(), leaf()
    y = (a * a).sum()
    with npf.no_grad():
        b.mul_(2)
        a.clone().mul_(2)
    b.detach().numpy()[0] = 0
    y.backward()
    np.testing.assert_allclose(a.grad.array, 2 * a.array)


def test_exchanging_the_array_is_no_write():
    a = leaf()
    before = a.array
    y = (a * a).sum()
    a.data = npf.zeros(3, 3, dtype=npf.float64)
    y.backward()
    np.testing.assert_allclose(a.grad.array, 2 * before)
