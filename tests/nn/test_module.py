"""nn.Module: names, state, hooks, what it tells about mistakes; PyTorch's module beside ours where
both can speak."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from against_torch import same, torch

import npformer as npf
from npformer import nn


def model(nn):
    """The same model in either library: shared, named, nested and buffered parts."""
    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.fc = nn.Linear(width, width)
            self.norm = nn.LayerNorm(width)
            self.dropout = nn.Dropout(0.0)

        def forward(self, x):
            return x + self.dropout(self.norm(self.fc(x)))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(7, 4)
            self.blocks = nn.ModuleList([Block(4), Block(4)])
            self.named = nn.ModuleDict({"act": nn.ReLU(), "batch": nn.BatchNorm1d(4)})
            self.head = nn.Linear(4, 7, bias=False)
            self.head.weight = self.embedding.weight
            self.same_again = self.head

        def forward(self, x):
            x = self.embedding(x)
            for block in self.blocks:
                x = block(x)
            return self.head(self.named["act"](self.named["batch"](x)))
    return Model()


@pytest.fixture
def both():
    mine, theirs = model(nn), model(torch.nn)
    mine.load_state_dict(theirs.state_dict())
    return mine, theirs


def test_names_are_pytorchs(both):
    mine, theirs = both
    for method in ("named_parameters", "named_modules", "named_buffers", "named_children"):
        names = [[n for n, _ in getattr(m, method)()] for m in both]
        assert names[0] == names[1], method
        if method != "named_children":
            names = [[n for n, _ in getattr(m, method)(prefix="p", remove_duplicate=False)]
                     for m in both]
            assert names[0] == names[1], method
    assert [n for n, _ in mine.named_parameters(recurse=False)] == []
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert list(mine.state_dict(prefix="m.")) == list(theirs.state_dict(prefix="m."))
    assert len(list(mine.parameters())) == len(list(theirs.parameters()))
    assert len(list(mine.modules())) == len(list(theirs.modules()))
    assert len(list(mine.children())) == len(list(theirs.children()))
    assert len(list(mine.buffers())) == len(list(theirs.buffers()))
    assert repr(mine) == repr(theirs)


def test_lookup_by_path(both):
    mine, _ = both
    assert mine.get_submodule("blocks.1.norm") is mine.blocks[1].norm
    assert mine.get_submodule("") is mine
    assert mine.get_parameter("blocks.0.fc.bias") is mine.blocks[0].fc.bias
    assert mine.get_buffer("named.batch.running_var") is mine.named["batch"].running_var
    with pytest.raises(AttributeError,
                       match="'blocks.0.foo': blocks.0 has no 'foo'; it has fc, norm, dropout"):
        mine.get_submodule("blocks.0.foo")


# ── attributes ────────────────────────────────────────────────────────────────────────────────────


def test_assigning_before_init_says_so():
    class Early(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(1, 1)
    with pytest.raises(AttributeError) as caught:
        Early()
    assert str(caught.value) == ("Early.fc = Linear(...): call super().__init__() first, "
                                 "at the top of __init__")


def test_an_attribute_that_is_not_there():
    layer = nn.Linear(2, 3)
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'wieght'") as caught:
        layer.wieght  # noqa: B018
    assert caught.value.name == "wieght" and caught.value.obj is layer
    assert "weight" in dir(layer) and "in_features" in dir(layer)


def test_what_an_attribute_may_become():
    layer = nn.Linear(2, 3)
    words = (r"Linear.weight: it is registered as a Parameter, "
             r"so it must be a Parameter or None, got float32 \(3, 2\)")
    with pytest.raises(npf.DTypeError, match=words):
        layer.weight = npf.zeros(3, 2)
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"] and layer.bias is None
    layer.bias = nn.Parameter(npf.zeros(3))
    assert list(layer.state_dict()) == ["weight", "bias"]
    layer.extra = npf.zeros(2)
    assert "extra" not in layer.state_dict()
    layer.extra = nn.Parameter(npf.zeros(2))
    assert "extra" in layer.state_dict() and "extra" not in layer.__dict__
    layer.extra = nn.ReLU()
    assert "extra" not in layer.state_dict() and isinstance(layer.extra, nn.ReLU)
    with pytest.raises(npf.DTypeError, match="it is registered as a Module"):
        layer.extra = 3
    del layer.extra
    with pytest.raises(AttributeError):
        layer.extra  # noqa: B018
    with pytest.raises(AttributeError):
        del layer.extra


def test_buffers():
    module = nn.Module()
    module.register_buffer("kept", npf.zeros(2))
    module.register_buffer("transient", npf.zeros(2), persistent=False)
    module.register_buffer("absent", None)
    assert [n for n, _ in module.named_buffers()] == ["kept", "transient"]
    assert list(module.state_dict()) == ["kept"]
    module.kept = npf.ones(3)
    assert module.state_dict()["kept"].shape == (3,)
    del module.transient
    module.register_buffer("transient", npf.zeros(1))
    assert list(module.state_dict()) == ["kept", "transient"]


@pytest.mark.parametrize("call,message", [
    (lambda m: m.register_buffer("a.b", None),
     "a name must be a string, not empty and without '.', got 'a.b'"),
    (lambda m: m.register_parameter("", None),
     "a name must be a string, not empty and without '.', got ''"),
    (lambda m: m.register_buffer("training", None), "attribute 'training' exists already"),
    (lambda m: m.register_parameter("p", npf.zeros(2)),
     "it must be a Parameter or None, got float32 (2,)"),
    (lambda m: m.register_buffer("p", 3),
     "Module.p: it is registered as a Tensor, so it must be a Tensor or None, got 3"),
    (lambda m: m.register_module("p", npf.zeros(2)),
     "so it must be a Module or None, got float32 (2,)"),
    (lambda m: nn.Parameter([1.0]),
     "Parameter(data): data must be a Tensor, got [1.0]; use npf.tensor(data)"),
    (lambda m: nn.Parameter(npf.tensor([1])), "only floating tensors can need a gradient"),
    (lambda m: m.train("yes"), "train(mode): mode must be True or False, got 'yes'"),
    (lambda m: m.to(npf.int64), "Module.to(dtype): dtype must be floating, got int64"),
])
def test_registering_what_cannot_be(call, message):
    with pytest.raises(npf.NpformerError) as caught:
        call(nn.Module())
    assert message in str(caught.value)


def test_a_module_without_forward():
    class Empty(nn.Module):
        pass
    with pytest.raises(NotImplementedError, match="Empty has no forward"):
        Empty()(1)


# ── state ─────────────────────────────────────────────────────────────────────────────────────────


def test_state_dict_shares_memory_and_loading_writes_into_it(both):
    mine, theirs = both
    state = mine.state_dict()
    assert state["head.weight"].array is mine.head.weight.array
    assert not state["head.weight"].requires_grad
    assert mine.state_dict(keep_vars=True)["head.weight"] is mine.head.weight
    before, weight = mine.head.weight.array, mine.head.weight
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(1)
    mine.load_state_dict(theirs.state_dict())
    assert mine.head.weight is weight and weight.array is before
    for name, value in theirs.state_dict().items():
        same(mine.state_dict()[name], value)


@pytest.mark.parametrize("kind",
                         ["npformer", "numpy", "torch", "half", "bfloat16", "double", "graph"])
def test_what_a_state_dict_may_hold(kind):
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    given = {"npformer": npf.tensor(values), "numpy": values, "torch": torch.tensor(values),
             "half": torch.tensor(values).half(), "bfloat16": torch.tensor(values).bfloat16(),
             "double": values.astype(np.float64),
             "graph": torch.tensor(values, requires_grad=True)}[kind]
    layer = nn.Linear(2, 3, bias=False)
    assert layer.load_state_dict({"weight": given}) == ([], [])
    assert layer.weight.dtype == npf.float32 and (layer.weight.detach().numpy() == values).all()


def test_loading_what_does_not_fit_names_everything_and_copies_nothing():
    layer = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    before = copy.deepcopy(layer.state_dict())
    wrong = {"0.weight": npf.ones(3, 2), "0.bias": npf.ones(4), "1.weight": npf.ones(2, 3),
             "2.weight": npf.ones(1)}
    with pytest.raises(npf.ShapeError) as caught:
        layer.load_state_dict(wrong)
    assert str(caught.value) == (
        "Sequential.load_state_dict(state_dict): it does not fit the module, and nothing was "
        "copied\n"
        "  size mismatch for 0.bias: the state_dict has (4,), the module has (3,)\n"
        "  missing: 1.bias (2,)\n"
        "  unexpected: 2.weight")
    del wrong["0.bias"]
    with pytest.raises(npf.ShapeError,
                       match="With strict=False, names that do not match are left alone"):
        layer.load_state_dict(wrong)
    assert all((before[n] == v).all() for n, v in layer.state_dict().items())
    keys = layer.load_state_dict(wrong, strict=False)
    assert keys.missing_keys == ["0.bias", "1.bias"] and keys.unexpected_keys == ["2.weight"]
    assert (layer[0].weight == 1).all()
    with pytest.raises(npf.DTypeError, match="it must be a dict of tensors by name"):
        layer.load_state_dict([1, 2])
    with pytest.raises(npf.DTypeError, match="entry '0.bias' is not a tensor or array"):
        layer.load_state_dict({"0.bias": "x"}, strict=False)
    with pytest.raises(npf.DTypeError, match="entry '0.bias' is a list that makes no array"):
        layer.load_state_dict({"0.bias": [[1], [2, 3]]}, strict=False)


def test_loading_is_noticed_by_a_graph():
    layer = nn.Linear(2, 3)
    y = layer(npf.ones(1, 2, requires_grad=True))
    layer.load_state_dict(nn.Linear(2, 3).state_dict())
    with pytest.raises(npf.GraphError, match="changed in place"):
        y.sum().backward()


def test_conversions(both):
    mine, _ = both
    mine(npf.tensor([1, 2, 3])).sum().backward()
    weight = mine.head.weight
    assert mine.double() is mine and mine.head.weight is weight and mine.embedding.weight is weight
    assert {p.dtype for p in mine.parameters()} == {npf.float64}
    assert {p.grad.dtype for p in mine.parameters()} == {npf.float64}
    assert mine.named["batch"].num_batches_tracked.dtype == npf.int64
    assert mine(npf.tensor([1, 2, 3])).dtype == npf.float64
    assert mine.half().head.weight.dtype == npf.float16
    assert mine.float().head.weight.dtype == npf.float32
    assert mine.to(npf.zeros(1, dtype=npf.float64)).head.weight.dtype == npf.float64
    assert mine.to("cpu", npf.float32).head.weight.dtype == npf.float32 and mine.cpu() is mine
    assert mine.type(npf.float64).head.weight.dtype == npf.float64


def test_modes_freezing_and_gradients(both):
    mine, theirs = both
    assert mine.eval() is mine and not any(m.training for m in mine.modules())
    mine.train()
    assert all(m.training for m in mine.modules())
    mine(npf.tensor([1, 2, 3])).sum().backward()
    mine.zero_grad(set_to_none=False)
    assert all((p.grad == 0).all() for p in mine.parameters())
    mine.zero_grad()
    assert all(p.grad is None for p in mine.parameters())
    mine.blocks[0].requires_grad_(False)
    assert [p.requires_grad for p in mine.parameters()] == [p.requires_grad for p in (
        theirs.blocks[0].requires_grad_(False), theirs)[1].parameters()]


def test_apply_goes_from_the_leaves_up(both):
    order = [[], []]
    for m, seen in zip(both, order):
        assert m.apply(lambda module, seen=seen: seen.append(type(module).__name__)) is m
    assert order[0] == order[1]


def test_copies(both):
    mine, _ = both
    for other in (copy.deepcopy(mine),
                  pickle.loads(pickle.dumps(nn.Sequential(mine.head, mine.blocks[0].norm)))):
        assert all(p.requires_grad for p in other.parameters())
        assert not any(p is q for p in other.parameters() for q in mine.parameters())
    other = copy.deepcopy(mine)
    assert other.head.weight is other.embedding.weight and other.head is other.same_again
    x = npf.tensor([1, 2, 3])
    assert (other(x) == mine(x)).all()
    npf.no_grad()(other.head.weight.zero_)()
    assert not (mine.head.weight == 0).any()


# ── where a node was made ─────────────────────────────────────────────────────────────────────────


def test_steps_know_the_module(both):
    mine, _ = both
    where = [step.where for step in npf.backprop(mine(npf.tensor([1, 2, 3])).sum())]
    assert where[:2] == ["", "head"] and where[-1] == "embedding"
    assert "blocks.0.norm" in where and "blocks.1.fc" in where and "named.act" in where


def test_a_module_outside_the_tree_gives_its_class():
    class Loose(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = [nn.Linear(2, 2)]

        def forward(self, x):
            return self.parts[0](x)
    model = Loose()
    assert [s.where for s in npf.backprop(model(npf.ones(1, 2)).sum())][1] == "Linear"


def test_an_error_in_forward_leaves_no_scope_behind():
    from npformer.core import tape
    with pytest.raises(npf.ShapeError):
        nn.Sequential(nn.Linear(2, 3))(npf.ones(1, 5))
    assert tape.state.scope is None


def test_a_graph_keeps_no_module_alive():
    gc.disable()
    try:
        layer = nn.Sequential(nn.Linear(2, 3))
        y = layer(npf.ones(1, 2))
        ref = weakref.ref(layer)
        del layer
        assert ref() is None
        assert [s.where for s in npf.backprop(y.sum())] == ["", ""]
    finally:
        gc.enable()


# ── hooks ─────────────────────────────────────────────────────────────────────────────────────────


class Two:
    """A module of two inputs and two outputs, in either library."""

    def __new__(cls, nn):
        class TwoWays(nn.Module):
            def forward(self, a, b, scale=1.0):
                return a * b * scale, a + b
        return TwoWays()


def run_hooked(lib, register, x):
    """Values and gradients of a hooked module, with a log of what the hooks saw."""
    module = Two(lib.nn)
    log = []
    register(module, log, lib)
    a = lib.tensor(x, requires_grad=True)
    b = lib.tensor(x[::-1].copy(), requires_grad=True)
    y, z = module(a * 2, b, scale=3.0)
    (y * y + z).sum().backward()
    return log, [a.grad, b.grad, y]


def note(log, name):
    """A hook that notes its name and the sums of what it was given."""
    def hook(module, *given):
        log.append((name, type(module).__name__, [
            [None if t is None or isinstance(t, (str, float))
             else round(t.sum().item(), 9) for t in g]
            if isinstance(g, tuple) else g for g in given]))
    return hook


def hooks_of_all_kinds(module, log, lib):
    module.register_forward_pre_hook(note(log, "pre 1"))
    module.register_forward_pre_hook(note(log, "pre 0"), prepend=True)
    module.register_forward_hook(note(log, "post 1"))
    module.register_forward_hook(note(log, "post 0"), prepend=True)
    module.register_full_backward_hook(note(log, "backward 1"))
    module.register_full_backward_hook(note(log, "backward 0"), prepend=True)
    module.register_full_backward_pre_hook(note(log, "backward pre"))
    module.register_forward_hook(note(log, "removed")).remove()


def hooks_that_change(module, log, lib):
    module.register_forward_pre_hook(lambda m, args: (args[0] * 2, args[1]))
    module.register_forward_hook(lambda m, args, result: (result[0] + 1, result[1] * 3))
    module.register_full_backward_pre_hook(lambda m, grads: (grads[0] * 5, grads[1]))
    module.register_full_backward_hook(lambda m, grads, up: (grads[0] + 1, grads[1] * 2))
    module.register_full_backward_hook(note(log, "after the change"))


def hooks_with_keywords(module, log, lib):
    module.register_forward_pre_hook(lambda m, args, kw: (args, {"scale": kw["scale"] + 1}),
                                     with_kwargs=True)
    module.register_forward_hook(lambda m, args, kw, y: log.append(kw)
                                 or (y[0] * kw["scale"], y[1]), with_kwargs=True)


@pytest.mark.parametrize("register", [hooks_of_all_kinds, hooks_that_change, hooks_with_keywords])
def test_hooks_are_called_as_pytorchs(register):
    x = np.array([0.5, -1.0, 2.0])
    log, tensors = run_hooked(npf, register, x)
    their_log, their_tensors = run_hooked(torch, register, x)
    assert log == their_log and log if register is not hooks_that_change else log == their_log
    for mine, theirs in zip(tensors, their_tensors):
        same(mine, theirs)


def test_backward_hooks_of_one_input_and_none():
    def run(lib):
        log = []
        layer = lib.nn.Linear(2, 3)
        layer.double()
        with lib.no_grad():
            layer.weight.fill_(0.5), layer.bias.fill_(0.1)
        layer.register_full_backward_hook(note(log, "linear"))
        x = lib.tensor(np.array([[1.0, 2.0]]), requires_grad=True)
        layer(x).sum().backward()
        return log, x.grad, layer.weight.grad
    mine, theirs = run(npf), run(torch)
    assert mine[0] == theirs[0]
    same(mine[1], theirs[1]), same(mine[2], theirs[2])
    log = []
    layer = nn.Linear(2, 3)
    layer.register_full_backward_hook(note(log, "linear"))
    layer(npf.ones(1, 2)).sum().backward()
    assert log == [("linear", "Linear", [[None], [3.0]])]


def test_backward_hooks_through_create_graph_and_no_grad():
    layer = nn.Linear(2, 1).double()
    layer.register_full_backward_hook(lambda m, grads, up: (grads[0] * 2,))
    x = npf.tensor(np.array([[1.0, 2.0]]), requires_grad=True)
    g, = npf.autograd.grad((layer(x) ** 2).sum(), [x], create_graph=True)
    assert npf.allclose(g, 4 * layer(x) * layer.weight)
    h, = npf.autograd.grad(g.sum(), [x])
    assert npf.isfinite(h).all() and (h != 0).any()
    with npf.no_grad():
        assert not layer(x).requires_grad


def test_a_hook_that_answers_too_little():
    module = Two(nn)
    module.register_full_backward_hook(lambda m, grads, up: (grads[0],))
    y, z = module(npf.ones(2, requires_grad=True), npf.ones(2, requires_grad=True))
    with pytest.raises(npf.ShapeError,
                       match="TwoWays: a full backward hook must return None or as many gradients"):
        (y + z).sum().backward()


def test_hooks_survive_a_copy_and_their_handles_remove_them():
    log = []
    layer = nn.Identity()
    with layer.register_forward_hook(lambda m, args, y: log.append(1)):
        layer(1)
        copy.deepcopy(layer)(1)
    layer(1)
    assert log == [1, 1]


def test_a_model_trains_as_pytorchs(both):
    mine, theirs = (m.double() for m in both)
    target = np.array([1, 4, 6, 2, 0])
    for lib, m in ((npf, mine), (torch, theirs)):
        lib.nn.functional.cross_entropy(m(lib.tensor(target)),
                                        lib.tensor((target + 1) % 7)).backward()
    for (name, p), q in zip(mine.named_parameters(), theirs.parameters()):
        same(p.grad, q.grad, what=name)
    same(mine.named["batch"].running_var, theirs.named["batch"].running_var)
    same(mine.eval()(npf.tensor(target)), theirs.eval()(torch.tensor(target)))
