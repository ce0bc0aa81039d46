"""Laws for every optimiser and schedule, found by looking at the modules: each against PyTorch's.

A new public class without a sample in OPTIMIZERS or SCHEDULES fails, and the message names it.
"""

import copy
import inspect
import math
import pickle

import numpy as np
import pytest
from against_torch import same, torch

import npformer as npf
from npformer import optim
from npformer.optim import lr_scheduler


def public_classes(module, base):
    """The names of the classes below `base` that a module has for its users."""
    return sorted(name for name, value in vars(module).items() if inspect.isclass(value)
                  and issubclass(value, base) and value is not base and not name.startswith("_"))


# ── optimisers ────────────────────────────────────────────────────────────────────────────────────

# Options by class. Each set is tried with two groups, the second of which has an lr of its own.
OPTIMIZERS = {
    "SGD": [
        {}, dict(lr=0.02, momentum=0.9), dict(lr=0.02, momentum=0.9, dampening=0.3),
        dict(lr=0.02, momentum=0.8, nesterov=True), dict(lr=0.02, weight_decay=0.1),
        dict(lr=0.02, momentum=0.9, weight_decay=0.1, nesterov=True),
        dict(lr=1e-4, maximize=True, weight_decay=0.2),
    ],
    "Adam": [
        {}, dict(lr=0.05, betas=(0.7, 0.95), eps=1e-3), dict(lr=0.05, weight_decay=0.1),
        dict(lr=0.05, amsgrad=True), dict(lr=0.05, maximize=True, weight_decay=0.1),
    ],
    "AdamW": [{}, dict(lr=0.05, weight_decay=0.3), dict(lr=0.05, amsgrad=True, maximize=True)],
}
SHAPES = [(3, 4), (5,), (), (2, 1, 3)]

every_optimizer = pytest.mark.parametrize("name, options", [
    pytest.param(name, options, id="-".join([name, *options]))
    for name, samples in OPTIMIZERS.items() for options in samples])


class Problem:
    """Parameters, one of which gets no gradient, and a loss with curvature, here or in PyTorch."""

    def __init__(self, lib, dtype=np.float64):
        self.lib, self.dtype = lib, dtype
        rng = np.random.default_rng(0)
        self.params = [self.parameter(rng.standard_normal(shape)) for shape in SHAPES]
        self.unused = self.parameter(np.ones(2))

    def parameter(self, array):
        return self.lib.nn.Parameter(self.lib.tensor(array.astype(self.dtype)))

    def optimizer(self, name, options):
        lr = 0.5 * options.get("lr", 1e-3)
        groups = [dict(params=self.params[:2]), dict(params=[*self.params[2:], self.unused], lr=lr)]
        return getattr(self.lib.optim, name)(groups, **options)

    def loss(self, step):
        noise = np.random.default_rng(step)
        total = 0.0
        for p, shape in zip(self.params, SHAPES):
            push = self.lib.tensor(noise.standard_normal(shape).astype(self.dtype))
            total = total + ((p - 0.3) ** 4).sum() + (p * push).sum()
        return total

    def train(self, optimizer, steps):
        for step in steps:
            optimizer.zero_grad()
            self.loss(step).backward()
            optimizer.step()


def trained(lib, name, options, steps=range(25), dtype=np.float64):
    """(problem, optimiser) after some steps."""
    problem = Problem(lib, dtype)
    optimizer = problem.optimizer(name, options)
    problem.train(optimizer, steps)
    return problem, optimizer


def test_every_optimizer_has_samples():
    missing = set(public_classes(optim, optim.Optimizer)) ^ set(OPTIMIZERS)
    assert not missing, f"{sorted(missing)}: write its options into OPTIMIZERS"


@every_optimizer
def test_steps_and_state_are_pytorchs(name, options):
    mine, optimizer = trained(npf, name, options)
    theirs, reference = trained(torch, name, options)
    for p, q in zip(mine.params, theirs.params):
        same(p, q, 1e-13)
    state, wanted = optimizer.state_dict(), reference.state_dict()
    assert [g["params"] for g in state["param_groups"]] == [
        g["params"] for g in wanted["param_groups"]]
    assert list(state["state"]) == list(wanted["state"])
    for i, entries in wanted["state"].items():
        for key, value in entries.items():
            if key == "step":
                assert state["state"][i]["step"] == int(value)
            elif value is not None:
                same(state["state"][i][key], value, 1e-13)


@every_optimizer
def test_float32_stays_float32(name, options):
    mine, optimizer = trained(npf, name, options, dtype=np.float32)
    theirs, _ = trained(torch, name, options, dtype=np.float32)
    for p, q in zip(mine.params, theirs.params):
        same(p, q, 1e-5)
    entries = [v for state in optimizer.state_dict()["state"].values() for v in state.values()]
    assert all(v.dtype == npf.float32 for v in entries if isinstance(v, npf.Tensor))


@every_optimizer
@pytest.mark.parametrize("by", ["itself", "pickle", "torch"])
def test_saved_and_loaded_training_goes_on_as_if_nothing_had_happened(name, options, by):
    whole, _ = trained(npf, name, options, range(20))
    first, optimizer = trained(npf, name, options, range(10))
    state = optimizer.state_dict()
    if by == "pickle":
        state = pickle.loads(pickle.dumps(state))
    if by == "torch":
        state = trained(torch, name, options, range(10))[1].state_dict()
    resumed = Problem(npf)
    with npf.no_grad():
        for p, q in zip(resumed.params, first.params):
            p.copy_(q)
    other = resumed.optimizer(name, dict(lr=77.0))
    other.load_state_dict(state)
    assert [g["lr"] for g in other.param_groups] == [g["lr"] for g in optimizer.param_groups]
    assert other.param_groups[0]["params"] == resumed.params[:2]
    resumed.train(other, range(10, 20))
    for p, q in zip(resumed.params, whole.params):
        assert by == "torch" or p.tolist() == q.tolist()
        assert npf.allclose(p, q, rtol=1e-12)


@every_optimizer
def test_a_loaded_state_is_a_copy(name, options):
    _, optimizer = trained(npf, name, options, range(2))
    problem = Problem(npf)
    other = problem.optimizer(name, options)
    other.load_state_dict(optimizer.state_dict())
    before = copy.deepcopy(optimizer.state_dict()["state"])
    problem.train(other, range(1))
    for i, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            assert npf.equal(value, before[i][key]) if key != "step" else value == before[i][key]


# ── schedules ─────────────────────────────────────────────────────────────────────────────────────


def chain(schedules, optimizer):
    """SequentialLR over three others."""
    parts = [schedules.LinearLR(optimizer, 0.1, total_iters=4),
             schedules.CosineAnnealingLR(optimizer, 6, 0.01),
             schedules.ExponentialLR(optimizer, 0.9)]
    return schedules.SequentialLR(optimizer, parts, [4, 11])


# Arguments by class, or a function of (module of schedules, optimiser) that makes one.
SCHEDULES = {
    "LambdaLR": [dict(lr_lambda=lambda t: 1 / (1 + t)),
                 dict(lr_lambda=[lambda t: 0.9 ** t, lambda t: 1 + t])],
    "StepLR": [dict(step_size=3, gamma=0.5), dict(step_size=4)],
    "MultiStepLR": [dict(milestones=[7, 2, 2, 11], gamma=0.3)],
    "ExponentialLR": [dict(gamma=0.8)],
    "LinearLR": [{}, dict(start_factor=0.2, end_factor=0.9, total_iters=6)],
    "CosineAnnealingLR": [dict(T_max=5, eta_min=0.01), dict(T_max=7)],
    "OneCycleLR": [
        dict(max_lr=0.1, total_steps=20), dict(max_lr=[0.1, 0.2], epochs=4, steps_per_epoch=5),
        dict(max_lr=0.1, total_steps=20, anneal_strategy="linear", pct_start=0.4,
             cycle_momentum=False),
        dict(max_lr=0.1, total_steps=20, three_phase=True, div_factor=10, final_div_factor=100),
        dict(max_lr=0.1, total_steps=20, base_momentum=0.5, max_momentum=0.9),
    ],
    "SequentialLR": [chain],
    "NoamLR": [dict(d_model=64, warmup_steps=5)],
    "WarmupLR": [dict(warmup_steps=4, total_steps=12),
                 dict(warmup_steps=4, total_steps=12, decay="cosine"),
                 dict(warmup_steps=4, decay="constant")],
}


def noam_factor(d_model, warmup_steps):
    """Vaswani et al. 2017, equation 3, for steps counted from 1."""
    return lambda t: d_model ** -0.5 * min((t + 1) ** -0.5, (t + 1) * warmup_steps ** -1.5)


def warmup_factor(warmup_steps, total_steps=None, decay="linear"):
    """From 0 to 1 in a line, then down to 0 as `decay` says."""
    def factor(t):
        if t < warmup_steps or decay == "constant":
            return min(t / warmup_steps, 1)
        done = min((t - warmup_steps) / (total_steps - warmup_steps), 1)
        return 1 - done if decay == "linear" else (1 + math.cos(math.pi * done)) / 2
    return factor


# PyTorch has no such class: its LambdaLR with the formula, written again, stands in.
FORMULAS = {"NoamLR": noam_factor, "WarmupLR": warmup_factor}

every_schedule = pytest.mark.parametrize("name, options", [
    pytest.param(name, options, id=f"{name}-{i}")
    for name, samples in SCHEDULES.items() for i, options in enumerate(samples)])


def schedule_of(lib, optimizer, name, options):
    schedules = lib.optim.lr_scheduler
    if callable(options):
        return options(schedules, optimizer)
    if lib is torch and name in FORMULAS:
        return schedules.LambdaLR(optimizer, FORMULAS[name](**options))
    return getattr(schedules, name)(optimizer, **options)


def two_groups(lib, kind):
    """An optimiser with two groups, of lr 0.5 and 0.1."""
    first, second = (lib.nn.Parameter(lib.ones(2)) for _ in range(2))
    options = dict(momentum=0.9) if kind == "SGD" else {}
    groups = [dict(params=[first], lr=0.5), dict(params=[second])]
    return getattr(lib.optim, kind)(groups, lr=0.1, **options)


def rates(optimizer, schedules, steps):
    """Each group's (lr, momentum or β₁) at each step."""
    rows = []
    for _ in range(steps):
        rows.append([(g["lr"], g["betas"][0] if "betas" in g else g["momentum"])
                     for g in optimizer.param_groups])
        optimizer.step()
        for schedule in schedules:
            schedule.step()
        if len(schedules) == 1:
            assert schedules[0].get_last_lr() == [g["lr"] for g in optimizer.param_groups]
    return np.array(rows)


def test_every_schedule_has_samples():
    missing = set(public_classes(lr_scheduler, lr_scheduler.LRScheduler)) ^ set(SCHEDULES)
    assert not missing, f"{sorted(missing)}: write its arguments into SCHEDULES"


def test_what_pytorch_lacks_is_compared_with_a_formula():
    lacking = {name for name in SCHEDULES if not hasattr(torch.optim.lr_scheduler, name)}
    assert lacking == set(FORMULAS), "PyTorch has no such schedule: write its formula into FORMULAS"


@every_schedule
@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_rates_are_pytorchs(name, options, kind):
    found = []
    for lib in (npf, torch):
        optimizer = two_groups(lib, kind)
        found.append(rates(optimizer, [schedule_of(lib, optimizer, name, options)], 20))
    assert np.allclose(*found, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("first, second", [
    ("StepLR", "ExponentialLR"), ("MultiStepLR", "LinearLR"), ("CosineAnnealingLR", "StepLR")])
def test_schedules_can_be_combined(first, second):
    found = []
    for lib in (npf, torch):
        optimizer = two_groups(lib, "SGD")
        both = [schedule_of(lib, optimizer, name, SCHEDULES[name][0]) for name in (first, second)]
        found.append(rates(optimizer, both, 20))
    assert np.allclose(*found, rtol=1e-12)


@every_schedule
def test_a_saved_schedule_goes_on(name, options):
    optimizer = two_groups(npf, "AdamW")
    whole = rates(optimizer, [schedule_of(npf, optimizer, name, options)], 20)
    optimizer = two_groups(npf, "AdamW")
    schedule = schedule_of(npf, optimizer, name, options)
    rates(optimizer, [schedule], 9)
    saved = pickle.loads(pickle.dumps((optimizer.state_dict(), schedule.state_dict())))
    resumed = two_groups(npf, "AdamW")
    other = schedule_of(npf, resumed, name, options)
    resumed.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    assert np.array_equal(rates(resumed, [other], 11), whole[9:])
