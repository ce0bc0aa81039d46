"""Optimisers and schedules against PyTorch's, step by step."""

import copy
import math
import pickle

import numpy as np
import pytest
from against_torch import same, torch

import npformer as npf
from npformer import nn, optim

SHAPES = [(3, 4), (5,), (), (2, 1, 3)]


def problem(lib, dtype=np.float64):
    """Parameters, a constant among them, and a loss with curvature."""
    rng = np.random.default_rng(0)
    params = [lib.nn.Parameter(lib.tensor(rng.standard_normal(s).astype(dtype))) for s in SHAPES]
    unused = lib.nn.Parameter(lib.tensor(np.ones(2, dtype)))

    def loss(step):
        noise = np.random.default_rng(step)
        return sum(((p - 0.3) ** 4).sum() + (p * lib.tensor(noise.standard_normal(s).astype(dtype))).sum()
                   for p, s in zip(params, SHAPES))
    return [*params, unused], loss


def train(lib, make, steps=25, after=lambda optimizer: None, dtype=np.float64):
    """The parameters after some steps, and the optimiser."""
    params, loss = problem(lib, dtype)
    optimizer = make(lib.optim, params)
    for step in range(steps):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
        after(optimizer)
    return params, optimizer


OPTIMIZERS = [
    ("SGD", {}), ("SGD", dict(lr=0.02, momentum=0.9)), ("SGD", dict(lr=0.02, momentum=0.9, dampening=0.3)),
    ("SGD", dict(lr=0.02, momentum=0.8, nesterov=True)), ("SGD", dict(lr=0.02, weight_decay=0.1)),
    ("SGD", dict(lr=0.02, momentum=0.9, weight_decay=0.1, nesterov=True)),
    ("SGD", dict(lr=1e-4, maximize=True, weight_decay=0.2)),
    ("Adam", {}), ("Adam", dict(lr=0.05, betas=(0.7, 0.95), eps=1e-3)), ("Adam", dict(lr=0.05, weight_decay=0.1)),
    ("Adam", dict(lr=0.05, amsgrad=True)), ("Adam", dict(lr=0.05, maximize=True, weight_decay=0.1)),
    ("AdamW", {}), ("AdamW", dict(lr=0.05, weight_decay=0.3)), ("AdamW", dict(lr=0.05, amsgrad=True, maximize=True))]


@pytest.mark.parametrize("name,options", OPTIMIZERS, ids=lambda v: v if isinstance(v, str) else "-".join(v))
def test_steps_are_pytorchs(name, options):
    mine, optimizer = train(npf, lambda o, p: getattr(o, name)(p, **options))
    theirs, reference = train(torch, lambda o, p: getattr(o, name)(p, **options))
    for p, q in zip(mine, theirs):
        same(p, q, 1e-13)
    assert list(optimizer.state_dict()["state"]) == list(reference.state_dict()["state"])
    for i, entries in reference.state_dict()["state"].items():
        for key, value in entries.items():
            if key == "step":
                assert optimizer.state_dict()["state"][i]["step"] == int(value)
            elif value is not None:
                same(optimizer.state_dict()["state"][i][key], value, 1e-13)


@pytest.mark.parametrize("name,options", OPTIMIZERS, ids=lambda v: v if isinstance(v, str) else "-".join(v))
def test_float32_stays_float32(name, options):
    mine, optimizer = train(npf, lambda o, p: getattr(o, name)(p, **options), dtype=np.float32)
    theirs, _ = train(torch, lambda o, p: getattr(o, name)(p, **options), dtype=np.float32)
    for p, q in zip(mine, theirs):
        same(p, q, 1e-5)
    assert all(v.dtype == npf.float32 for s in optimizer.state_dict()["state"].values() for v in s.values()
               if isinstance(v, npf.Tensor))


def test_groups_have_options_of_their_own():
    def make(o, params):
        optimizer = o.AdamW([dict(params=params[:2], weight_decay=0.0), dict(params=params[2:3], lr=0.1)], lr=0.01)
        optimizer.add_param_group(dict(params=params[3], betas=(0.5, 0.9)))
        return optimizer
    mine, optimizer = train(npf, make)
    theirs, reference = train(torch, make)
    for p, q in zip(mine, theirs):
        same(p, q, 1e-13)
    assert [g["params"] for g in optimizer.state_dict()["param_groups"]] == [
        g["params"] for g in reference.state_dict()["param_groups"]] == [[0, 1], [2], [3]]


@pytest.mark.parametrize("name,options", [("SGD", dict(lr=0.02, momentum=0.9)), ("AdamW", dict(lr=0.02, amsgrad=True))])
@pytest.mark.parametrize("by", ["itself", "pickle", "torch"])
def test_saved_and_loaded_training_goes_on_as_if_nothing_had_happened(name, options, by):
    whole, _ = train(npf, lambda o, p: getattr(o, name)(p, **options), steps=20)
    first, optimizer = train(npf, lambda o, p: getattr(o, name)(p, **options), steps=10)
    state = optimizer.state_dict()
    if by == "pickle":
        state = pickle.loads(pickle.dumps(state))
    if by == "torch":
        state = train(torch, lambda o, p: getattr(o, name)(p, **options), steps=10)[1].state_dict()
    params, loss = problem(npf)
    with npf.no_grad():
        for p, q in zip(params, first):
            p.copy_(q)
    resumed = getattr(optim, name)(params, lr=77.0)
    resumed.load_state_dict(state)
    assert resumed.param_groups[0]["lr"] == 0.02 and resumed.param_groups[0]["params"] == list(params)
    for step in range(10, 20):
        resumed.zero_grad()
        loss(step).backward()
        resumed.step()
    for p, q in zip(params, whole):
        assert by == "torch" or p.tolist() == q.tolist()
        assert npf.allclose(p, q, rtol=1e-12)


def test_a_loaded_state_is_a_copy():
    _, optimizer = train(npf, lambda o, p: o.Adam(p), steps=2)
    params, loss = problem(npf)
    other = optim.Adam(params)
    other.load_state_dict(optimizer.state_dict())
    before = copy.deepcopy(optimizer.state_dict()["state"][0]["exp_avg"])
    loss(0).backward()
    other.step()
    assert (optimizer.state_dict()["state"][0]["exp_avg"] == before).all()


def test_a_closure_is_called_with_recording_on():
    p = nn.Parameter(npf.ones(2))
    optimizer = optim.SGD([p], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss
    with npf.no_grad():
        assert optimizer.step(closure).item() == 2.0
    assert p.tolist() == [0.0, 0.0]


def test_a_step_is_noticed_by_a_graph_and_gradients_are_left_alone():
    p = nn.Parameter(npf.ones(2))
    y = (p * p).sum()
    y.backward(retain_graph=True)
    grad = p.grad.tolist()
    optim.AdamW([p], maximize=True).step()
    assert p.grad.tolist() == grad
    with pytest.raises(npf.GraphError, match="changed in place"):
        y.backward()


def test_zero_grad():
    p = nn.Parameter(npf.ones(2))
    p.sum().backward()
    optimizer = optim.SGD([p])
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert p.grad is None


def test_repr():
    assert repr(optim.SGD([nn.Parameter(npf.ones(2))], lr=0.1)) == (
        "SGD (\nParameter Group 0\n    dampening: 0\n    lr: 0.1\n    maximize: False\n    momentum: 0\n"
        "    nesterov: False\n    weight_decay: 0\n)")


def leaf():
    return nn.Parameter(npf.ones(2))


@pytest.mark.parametrize("make,kind,words", [
    (lambda: optim.SGD([]), npf.ValueRangeError, "SGD: it got an empty list of parameters"),
    (lambda: optim.SGD(leaf()), npf.DTypeError, "give it a list, or model.parameters()"),
    (lambda: optim.SGD([3]), npf.DTypeError, "SGD: it optimises Tensors, got 3"),
    (lambda: optim.SGD([leaf() * 2]), npf.GraphError, "it optimises leaves, not the result of an operation"),
    (lambda: optim.SGD([leaf()] * 2), npf.ValueRangeError, "SGD: a parameter comes twice"),
    (lambda: optim.SGD([leaf()], lr=-1), npf.ValueRangeError, "SGD: lr must be >= 0, got -1"),
    (lambda: optim.SGD([leaf()], momentum=-0.5), npf.ValueRangeError, "SGD: momentum must be >= 0, got -0.5"),
    (lambda: optim.SGD([leaf()], nesterov=True), npf.ValueRangeError, "nesterov=True needs momentum > 0"),
    (lambda: optim.Adam([leaf()], betas=(1.0, 0.9)), npf.ValueRangeError,
     "Adam: betas must be two numbers, 0 <= beta < 1"),
    (lambda: optim.AdamW([leaf()], eps=math.nan), npf.ValueRangeError, "AdamW: eps must be >= 0, got nan"),
    (lambda: optim.Adam([leaf()]).add_param_group([leaf()]), npf.DTypeError, "a group is a dict with the key 'params'"),
    (lambda: optim.Adam([leaf()]).load_state_dict(optim.Adam([leaf(), leaf()]).state_dict()), npf.ShapeError,
     "the groups have [1] parameters, the state_dict's [2]"),
    (lambda: optim.SGD([leaf()], lr="fast"), npf.ValueRangeError, "SGD: lr must be >= 0, got 'fast'"),
    (lambda: optim.Adam(npf.nn.Linear(2, 2)), npf.DTypeError, "give it a list, or model.parameters()"),
    (lambda: optim.Optimizer([leaf()], {}).step(), NotImplementedError, "Optimizer has no update"),
    (lambda: optim.lr_scheduler.StepLR(3, 1), npf.DTypeError, "StepLR(optimizer): got 3, which is no Optimizer"),
])
def test_mistakes(make, kind, words):
    with pytest.raises(kind) as caught:
        make()
    assert words in str(caught.value)


def test_a_state_of_other_shapes_is_refused():
    p = leaf()
    p.sum().backward()
    optimizer = optim.Adam([p])
    optimizer.step()
    with pytest.raises(npf.ShapeError, match=r"exp_avg has shape \(2,\), its parameter \(3,\)"):
        optim.Adam([nn.Parameter(npf.ones(3))]).load_state_dict(optimizer.state_dict())


# ── schedules ────────────────────────────────────────────────────────────────────────────────────────────────────────


def sequence(s, o):
    parts = [s.LinearLR(o, 0.1, total_iters=4), s.CosineAnnealingLR(o, 6, 0.01), s.ExponentialLR(o, 0.9)]
    return s.SequentialLR(o, parts, [4, 11])


SCHEDULES = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda t: 1 / (1 + t)),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda t: 0.9 ** t, lambda t: 1 + t]),
    "step": lambda s, o: s.StepLR(o, 3, gamma=0.5),
    "multistep": lambda s, o: s.MultiStepLR(o, [7, 2, 2, 11], gamma=0.3),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.8),
    "linear": lambda s, o: s.LinearLR(o, start_factor=0.2, end_factor=0.9, total_iters=6),
    "linear by default": lambda s, o: s.LinearLR(o),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 5, eta_min=0.01),
    "cosine to 0": lambda s, o: s.CosineAnnealingLR(o, 7),
    "sequence": sequence,
}


def optimizer_of(lib):
    return lib.optim.SGD([dict(params=[lib.nn.Parameter(lib.ones(2))], lr=0.5),
                          dict(params=[lib.nn.Parameter(lib.ones(2))])], lr=0.1)


def rates(lib, makes, steps=20):
    """The lr of each group at each step."""
    optimizer = optimizer_of(lib)
    schedules = [make(lib.optim.lr_scheduler, optimizer) for make in makes]
    seen = []
    for _ in range(steps):
        seen.append([g["lr"] for g in optimizer.param_groups])
        optimizer.step()
        for schedule in schedules:
            schedule.step()
        assert len(schedules) > 1 or schedules[0].get_last_lr() == [g["lr"] for g in optimizer.param_groups]
    return np.array(seen)


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_are_pytorchs(name):
    assert np.allclose(rates(npf, [SCHEDULES[name]]), rates(torch, [SCHEDULES[name]]), rtol=1e-13, atol=1e-17)


def test_schedules_can_be_combined():
    makes = [SCHEDULES["step"], SCHEDULES["exponential"]]
    assert np.allclose(rates(npf, makes), rates(torch, makes), rtol=1e-13)


def test_the_papers_schedule():
    optimizer = optim.Adam([leaf()], lr=1.0)
    schedule = optim.lr_scheduler.NoamLR(optimizer, d_model=512, warmup_steps=4000)
    seen = []
    for _ in range(8000):
        seen.append(schedule.get_last_lr()[0])
        schedule.step()
    t = np.arange(1, 8001)
    assert np.allclose(seen, 512 ** -0.5 * np.minimum(t ** -0.5, t * 4000.0 ** -1.5), rtol=1e-12)
    assert np.argmax(seen) == 3999


@pytest.mark.parametrize("decay,shape", [("linear", lambda d: 1 - d), ("cosine", lambda d: (1 + np.cos(np.pi * d)) / 2),
                                         ("constant", np.ones_like)])
def test_warm_up(decay, shape):
    seen = rates(npf, [lambda s, o: s.WarmupLR(o, 4, 12, decay)], 15)[:, 0]
    t = np.arange(15)
    assert np.allclose(seen, 0.5 * np.where(t < 4, t / 4, shape(np.clip((t - 4) / 8, 0, 1))), atol=1e-15)


@pytest.mark.parametrize("name", [*SCHEDULES, "noam", "warm-up"])
def test_a_saved_schedule_goes_on(name):
    more = {"noam": lambda s, o: s.NoamLR(o, 64, 5), "warm-up": lambda s, o: s.WarmupLR(o, 4, 12, "cosine")}
    make = {**SCHEDULES, **more}[name]
    whole = rates(npf, [make])
    optimizer = optimizer_of(npf)
    schedule = make(optim.lr_scheduler, optimizer)
    for _ in range(9):
        schedule.step()
    states = pickle.loads(pickle.dumps((optimizer.state_dict(), schedule.state_dict())))
    resumed = optimizer_of(npf)
    other = make(optim.lr_scheduler, resumed)
    resumed.load_state_dict(states[0])
    other.load_state_dict(states[1])
    seen = []
    for _ in range(11):
        seen.append([g["lr"] for g in resumed.param_groups])
        other.step()
    assert np.array_equal(seen, whole[9:])


@pytest.mark.parametrize("make", [
    lambda s, o: s.LinearLR(o, start_factor=0), lambda s, o: s.NoamLR(o, 0), lambda s, o: s.WarmupLR(o, 4, 3),
    lambda s, o: s.WarmupLR(o, 4, 8, "square"), lambda s, o: s.LambdaLR(o, [lambda t: t]),
    lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [3]),
    lambda s, o: s.SequentialLR(optimizer_of(npf), [s.StepLR(o, 1)], []),
    lambda s, o: s.StepLR(o, 3, last_epoch=4)])
def test_schedules_refuse(make):
    with pytest.raises(npf.NpformerError):
        make(optim.lr_scheduler, optimizer_of(npf))
