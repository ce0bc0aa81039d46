"""The layers against PyTorch in float64: the same state, gradients, repr, starting values."""

import math
import pathlib
import re

import numpy as np
import pytest
from against_torch import agree, pair, real, same, torch
from hypothesis import given, settings
from hypothesis import strategies as st

import npformer as npf
from npformer import nn


def compare(make, *inputs, rtol=1e-9, train=True, settle=lambda module: None):
    """Assert that make(nn) gives PyTorch's outputs, gradients and, afterwards, state."""
    theirs = make(torch.nn).double().train(train)
    with torch.no_grad():
        rng = np.random.default_rng(1)
        for p in theirs.parameters():
            p.copy_(torch.tensor(rng.uniform(0.4, 1.7, tuple(p.shape))))
    settle(theirs)
    mine = make(nn).double().train(train)
    mine.load_state_dict(theirs.state_dict())
    assert repr(mine) == repr(theirs)
    pairs = [pair(x) for x in inputs]
    y, z = mine(*(m for m, _ in pairs)), theirs(*(t for _, t in pairs))
    same(y, z, rtol)
    upstream = np.random.default_rng(2).standard_normal(tuple(z.shape))
    if z.requires_grad:
        y.backward(npf.tensor(upstream)), z.backward(torch.tensor(upstream))
    for m, t in pairs:
        if t.grad is not None:
            same(m.grad, t.grad, rtol, "the input's gradient")
    for (name, p), q in zip(mine.named_parameters(), theirs.parameters()):
        assert (p.grad is None) == (q.grad is None)
        if q.grad is not None:
            same(p.grad, q.grad, rtol, name)
    for name, value in theirs.state_dict().items():
        same(mine.state_dict()[name], value, rtol, name)


sizes = st.integers(1, 5)
leads = st.lists(sizes, max_size=3).map(tuple)


@given(lead=leads, ins=sizes, outs=sizes, bias=st.booleans())
def test_linear(lead, ins, outs, bias):
    compare(lambda nn: nn.Linear(ins, outs, bias=bias), real(0, *lead, ins))


@given(lead=leads, rows=st.integers(2, 6), width=sizes, data=st.data())
def test_embedding(lead, rows, width, data):
    padding = data.draw(st.none() | st.integers(-rows, rows - 1))
    compare(lambda nn: nn.Embedding(rows, width, padding_idx=padding),
            np.random.default_rng(0).integers(0, rows, lead))


def test_embedding_from_a_table():
    table = npf.tensor(real(0, 5, 3))
    layer = nn.Embedding.from_pretrained(table, padding_idx=-1)
    assert layer.weight.array is table.array and not layer.weight.requires_grad
    assert layer.padding_idx == 4
    assert repr(layer) == repr(torch.nn.Embedding.from_pretrained(torch.zeros(5, 3),
                                                                  padding_idx=-1))
    assert nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad
    assert (nn.Embedding(4, 3, padding_idx=2).weight[2] == 0).all()


@given(lead=leads, shape=st.lists(sizes, min_size=1, max_size=2),
       kind=st.sampled_from(["full", "no bias", "none"]))
def test_layer_norm(lead, shape, kind):
    options = {"full": {}, "no bias": dict(bias=False),
               "none": dict(elementwise_affine=False)}[kind]
    compare(lambda nn: nn.LayerNorm(shape[0] if len(shape) == 1 else shape, eps=0.1, **options),
            real(0, *lead, *shape))


@given(lead=leads, width=sizes, affine=st.booleans(), eps=st.sampled_from([None, 0.1]))
def test_rms_norm(lead, width, affine, eps):
    compare(lambda nn: nn.RMSNorm(width + 1, eps=eps, elementwise_affine=affine),
            real(0, *lead, width + 1))


@given(batch=st.integers(2, 5), channels=sizes, length=st.none() | sizes, affine=st.booleans(),
       track=st.booleans(), momentum=st.sampled_from([0.1, 0.7, None]), train=st.booleans(),
       bias=st.booleans())
def test_batch_norm(batch, channels, length, affine, track, momentum, train, bias):
    x = real(0, batch, channels, *([] if length is None else [length]))

    def settle(module):
        module(torch.tensor(real(1, 6, channels)))
    options = dict(eps=0.1, momentum=momentum, affine=affine, track_running_stats=track, bias=bias)
    compare(lambda nn: nn.BatchNorm1d(channels, **options), x, train=train,
            settle=settle if track else lambda m: None)


ACTIVATIONS = [
    ("ReLU", {}), ("ReLU", dict(inplace=True)), ("ReLU6", {}),
    ("LeakyReLU", dict(negative_slope=0.2)), ("ELU", dict(alpha=0.5)), ("SELU", {}),
    ("CELU", dict(alpha=0.5)), ("GELU", {}), ("GELU", dict(approximate="tanh")),
    ("SiLU", {}), ("Mish", {}), ("Hardtanh", dict(min_val=-0.5, max_val=0.7)),
    ("Softplus", dict(beta=2.0)), ("LogSigmoid", {}), ("Softsign", {}), ("Tanhshrink", {}),
    ("Sigmoid", {}), ("Tanh", {}), ("Softmax", dict(dim=1)), ("Softmin", dict(dim=0)),
    ("LogSoftmax", dict(dim=-1)), ("GLU", {}), ("GLU", dict(dim=1)), ("Identity", {}),
    ("Flatten", {}), ("Flatten", dict(start_dim=0, end_dim=1)),
    ("Unflatten", dict(dim=1, unflattened_size=(2, 2))), ("Dropout", dict(p=0.0))]


@pytest.mark.parametrize("name,options", ACTIVATIONS,
                         ids=lambda v: v if isinstance(v, str) else "-".join(v))
def test_layers_without_weights(name, options):
    if options.get("inplace"):
        layer, theirs = getattr(nn, name)(**options), getattr(torch.nn, name)(**options)
        assert repr(layer) == repr(theirs)
        agree(lambda lib, x: getattr(lib.nn, name)(**options)(x * 1.0), real(0, 3, 4, 5))
    else:
        compare(lambda nn: getattr(nn, name)(**options), real(0, 3, 4, 6))


LOSSES = [
    ("MSELoss", {}), ("L1Loss", {}), ("SmoothL1Loss", dict(beta=0.5)),
    ("HuberLoss", dict(delta=0.5)), ("KLDivLoss", dict(reduction="batchmean")),
    ("KLDivLoss", dict(reduction="sum", log_target=True)), ("BCEWithLogitsLoss", {}),
    ("BCELoss", {}), ("CosineSimilarity", dict(dim=0))]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name,options", LOSSES,
                         ids=lambda v: v if isinstance(v, str) else "-".join(v))
def test_losses(name, options, reduction):
    if "reduction" not in options and name != "CosineSimilarity":
        options = {**options, "reduction": reduction}
    rng = np.random.default_rng(0)
    x, target = rng.uniform(0.1, 0.9, (3, 4)), rng.uniform(0.1, 0.9, (3, 4))
    assert repr(getattr(nn, name)(**options)) == repr(getattr(torch.nn, name)(**options))
    agree(lambda lib, x, t: getattr(lib.nn, name)(**options)(x, t), x, target)


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
@pytest.mark.parametrize("weighted", [False, True])
def test_class_losses(name, weighted):
    weight, target = np.array([0.5, 1.5, 2.0]), np.array([0, 2, 2, -100, 1])
    options = dict(label_smoothing=0.1) if name == "CrossEntropyLoss" else {}
    agree(lambda lib, x, t: getattr(lib.nn, name)(weight=lib.tensor(weight) if weighted else None,
                                                  **options)(x, t),
          real(0, 5, 3), target)
    if weighted:
        assert list(getattr(nn, name)(npf.tensor(weight)).state_dict()) == ["weight"]


def test_weighted_binary_losses():
    weight, positive = np.array([0.5, 1.5, 2.0]), np.array([2.0, 0.3, 1.1])
    rng = np.random.default_rng(0)
    x, target = rng.uniform(0.1, 0.9, (2, 3)), rng.uniform(0.1, 0.9, (2, 3))
    agree(lambda lib, x, t: lib.nn.BCELoss(lib.tensor(weight))(x, t), x, target)
    agree(lambda lib, x, t: lib.nn.BCEWithLogitsLoss(pos_weight=lib.tensor(positive))(x, t), x,
          target)


def test_dropout_follows_the_mode():
    layer = nn.Dropout(0.5)
    x = npf.ones(50, 50)
    assert (layer(x) == 0).any() and layer.eval()(x) is x


# ── containers ────────────────────────────────────────────────────────────────────────────────────


def test_sequential():
    def make(nn):
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    compare(make, real(0, 5, 3))
    from collections import OrderedDict
    named = nn.Sequential(OrderedDict(first=nn.Linear(3, 4), last=nn.Tanh()))
    assert list(named.state_dict()) == ["first.weight", "first.bias"]
    assert named.first is named[0] is named[-2]
    assert list(named[:1].state_dict()) == ["first.weight", "first.bias"]
    layers = make(nn)
    assert len(layers) == 3 and len(layers[1:]) == 2 and layers[1:][1] is layers[2]
    del layers[1]
    assert [type(m).__name__ for m in layers] == ["Linear", "Linear"]
    assert list(layers._modules) == ["0", "1"]
    layers.insert(1, nn.Sigmoid())
    layers.append(nn.Tanh()).extend([nn.ReLU()])
    layers += [nn.Identity()]
    assert [type(m).__name__ for m in layers] == ["Linear", "Sigmoid", "Linear", "Tanh",
                                                  "ReLU", "Identity"]
    assert type(layers.pop(-1)).__name__ == "Identity" and len(layers) == 5
    layers[-1] = nn.GELU()
    assert type(layers[4]).__name__ == "GELU" and len(layers + layers) == 10
    with pytest.raises(npf.IndexRangeError, match=r"Sequential\[7\]: it has 5 entries"):
        layers[7]
    with pytest.raises(npf.DTypeError,
                       match="Sequential: every entry must be a Module, got <function"):
        nn.Sequential(nn.Linear(1, 1), npf.relu)


def test_lists_and_dicts_of_modules():
    layers = nn.ModuleList(nn.Linear(i + 1, 2) for i in range(3))
    assert len(layers) == 3 and len(list(layers.parameters())) == 6
    assert isinstance(layers[1:], nn.ModuleList)
    assert repr(nn.ModuleList()) == repr(torch.nn.ModuleList())
    with pytest.raises(NotImplementedError):
        layers(npf.ones(1))
    named = nn.ModuleDict([("a", nn.ReLU()), ("b", nn.Linear(1, 1))])
    named["c"] = nn.Tanh()
    assert list(named) == ["a", "b", "c"] == list(named.keys()) and "a" in named and len(named) == 3
    assert [n for n, m in named.items() if m in named.values()] == ["a", "b", "c"]
    assert isinstance(named.pop("a"), nn.ReLU)
    del named["c"]
    assert list(named.state_dict()) == ["b.weight", "b.bias"]
    named.clear()
    assert len(named) == 0
    with pytest.raises(npf.DTypeError, match="it is registered as a Module"):
        named["d"] = 3


def test_parameter_list():
    values = nn.ParameterList([npf.ones(2), nn.Parameter(npf.zeros(3))])
    values.append(npf.ones(1))
    assert list(values.state_dict()) == ["0", "1", "2"]
    assert all(isinstance(p, nn.Parameter) for p in values)
    assert len(list(nn.ModuleList([values]).parameters())) == 3 and len(values[:2]) == 2
    values[0] = nn.Parameter(npf.zeros(5))
    assert values[0].shape == (5,) and "(0): Parameter of float32 (5,)" in repr(values)


# ── starting values ───────────────────────────────────────────────────────────────────────────────


@settings(max_examples=5)
@given(ins=st.integers(40, 90), outs=st.integers(40, 90))
def test_starting_values_are_distributed_as_pytorchs(ins, outs):
    layer, theirs = nn.Linear(ins, outs), torch.nn.Linear(ins, outs)
    bound = 1 / math.sqrt(ins)
    for p, q in zip(layer.parameters(), theirs.parameters()):
        a = p.detach().numpy()
        assert np.abs(a).max() <= bound and np.abs(a).max() > 0.85 * bound
        assert abs(a.std() - bound / math.sqrt(3)) < 0.25 * bound and q.abs().max() <= bound
    table = nn.Embedding(ins, outs).weight.detach().numpy()
    assert abs(table.mean()) < 0.1 and abs(table.std() - 1) < 0.1
    for layer in (nn.LayerNorm(ins), nn.RMSNorm(ins), nn.BatchNorm1d(ins)):
        assert (layer.weight == 1).all() and (getattr(layer, "bias", npf.zeros(1)) == 0).all()


def test_factory_arguments():
    double = dict(dtype=npf.float64, device="cpu")
    for layer in (nn.Linear(2, 3, **double), nn.Embedding(2, 3, **double),
                  nn.LayerNorm(3, **double), nn.RMSNorm(3, **double), nn.BatchNorm1d(3, **double)):
        assert {t.dtype for t in layer.parameters()} == {npf.float64}
    npf.set_default_dtype(npf.float64)
    assert nn.Linear(2, 3).weight.dtype == npf.float64


@pytest.mark.parametrize("make", [
    lambda: nn.Linear(-1, 2), lambda: nn.Linear(2.0, 2), lambda: nn.Embedding(3, 2, padding_idx=3),
    lambda: nn.Dropout(1.1), lambda: nn.CrossEntropyLoss(reduction="average"),
    lambda: nn.Embedding.from_pretrained(npf.ones(3)),
    lambda: nn.BatchNorm1d(3)(npf.ones(3)), lambda: nn.BatchNorm1d(3)(npf.ones(2, 4)),
    lambda: nn.LayerNorm(3)(npf.ones(2, 4)),
    lambda: nn.Linear(3, 2)(npf.ones(2, 4)),
    lambda: nn.Linear(3, 2)(npf.ones(2, 3, dtype=npf.int64))])
def test_mistakes_are_refused_in_our_words(make):
    with pytest.raises(npf.NpformerError):
        make()


def test_sizes_may_come_from_numpy():
    rows, columns = np.array([3, 2])
    assert nn.Linear(rows, columns).weight.shape == (2, 3)
    assert nn.Embedding(rows, columns).weight.shape == (3, 2)
    with pytest.raises(npf.ValueRangeError,
                       match="Linear: in_features must be an integer >= 0, got 2.5"):
        nn.Linear(2.5, 3)


def test_every_module_is_exported_and_tried():
    """A class of a layer that nobody else derives from is one that users call."""
    home = pathlib.Path(nn.__file__).parent
    files = [p for p in home.rglob("*.py") if p.parent.name in ("nn", "layers")]
    found = [(m[1], m[2]) for p in files
             for m in re.finditer(r"^class (\w+)\(([\w., \[\]]*)\)", p.read_text("utf-8"), re.M)]
    bases = {base for _, bases in found for base in re.findall(r"\w+", bases)}
    last = sorted(name for name, _ in found if name not in bases and not name.startswith("_"))
    tests = "".join(p.read_text("utf-8") for p in pathlib.Path(__file__).parent.glob("*.py"))
    assert len(last) > 40
    for name in last:
        assert hasattr(nn, name), f"{name}: write it into nn/__init__.py"
        assert re.search(rf"\b{name}\b", tests), f"{name}: no test of tests/nn calls it"
