"""What an optimiser and a schedule do besides their formulas, and what they refuse.

That the formulas are PyTorch's: test_optim_laws.py.
"""

import math

import numpy as np
import pytest

import npformer as npf
from npformer import nn, optim


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
        "SGD (\nParameter Group 0\n    dampening: 0\n    lr: 0.1\n    maximize: False\n"
        "    momentum: 0\n    nesterov: False\n    weight_decay: 0\n)")


def leaf():
    return nn.Parameter(npf.ones(2))


@pytest.mark.parametrize("make,kind,words", [
    (lambda: optim.SGD([]), npf.ValueRangeError, "SGD: it got an empty list of parameters"),
    (lambda: optim.SGD(leaf()), npf.DTypeError, "give it a list, or model.parameters()"),
    (lambda: optim.SGD([3]), npf.DTypeError, "SGD: it optimises Tensors, got 3"),
    (lambda: optim.SGD([leaf() * 2]), npf.GraphError,
     "it optimises leaves, not the result of an operation"),
    (lambda: optim.SGD([leaf()] * 2), npf.ValueRangeError, "SGD: a parameter comes twice"),
    (lambda: optim.SGD([leaf()], lr=-1), npf.ValueRangeError, "SGD: lr must be >= 0, got -1"),
    (lambda: optim.SGD([leaf()], momentum=-0.5), npf.ValueRangeError,
     "SGD: momentum must be >= 0, got -0.5"),
    (lambda: optim.SGD([leaf()], nesterov=True), npf.ValueRangeError,
     "nesterov=True needs momentum > 0"),
    (lambda: optim.Adam([leaf()], betas=(1.0, 0.9)), npf.ValueRangeError,
     "Adam: betas must be two numbers, 0 <= beta < 1"),
    (lambda: optim.AdamW([leaf()], eps=math.nan), npf.ValueRangeError,
     "AdamW: eps must be >= 0, got nan"),
    (lambda: optim.Adam([leaf()]).add_param_group([leaf()]), npf.DTypeError,
     "a group is a dict with the key 'params'"),
    (lambda: optim.Adam([leaf()]).load_state_dict(optim.Adam([leaf(), leaf()]).state_dict()),
     npf.ShapeError, "the groups have [1] parameters, the state_dict's [2]"),
    (lambda: optim.SGD([leaf()], lr="fast"), npf.ValueRangeError,
     "SGD: lr must be >= 0, got 'fast'"),
    (lambda: optim.Adam(npf.nn.Linear(2, 2)), npf.DTypeError,
     "give it a list, or model.parameters()"),
    (lambda: optim.Optimizer([leaf()], {}).step(), NotImplementedError, "Optimizer has no update"),
    (lambda: optim.lr_scheduler.StepLR(3, 1), npf.DTypeError,
     "StepLR(optimizer): got 3, which is not an Optimizer"),
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


# ── schedules ─────────────────────────────────────────────────────────────────────────────────────


def two_groups():
    return optim.SGD([dict(params=[leaf()], lr=0.5), dict(params=[leaf()])], lr=0.1)


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


@pytest.mark.parametrize("make", [
    lambda s, o: s.LinearLR(o, start_factor=0), lambda s, o: s.NoamLR(o, 0),
    lambda s, o: s.WarmupLR(o, 4, 3), lambda s, o: s.WarmupLR(o, 4, 8, "square"),
    lambda s, o: s.LambdaLR(o, [lambda t: t]),
    lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [3]),
    lambda s, o: s.SequentialLR(two_groups(), [s.StepLR(o, 1)], []),
    lambda s, o: s.StepLR(o, 3, last_epoch=4)])
def test_schedules_refuse(make):
    with pytest.raises(npf.NpformerError):
        make(optim.lr_scheduler, two_groups())


@pytest.mark.parametrize("options, words", [
    ({"total_steps": 0}, "total_steps >= 1"), ({}, "got 0 steps"),
    ({"total_steps": 5, "pct_start": 2}, "got 5 steps, 2"),
    ({"total_steps": 5, "anneal_strategy": "no"}, "'no'"),
    ({"total_steps": 5, "max_lr": [1, 2]}, "2 entries of max_lr"),
])
def test_one_cycle_refuses(options, words):
    with pytest.raises(npf.ValueRangeError, match=words):
        optim.lr_scheduler.OneCycleLR(optim.SGD([leaf()]), **{"max_lr": 0.1, **options})


def test_one_cycle_has_an_end():
    schedule = optim.lr_scheduler.OneCycleLR(optim.SGD([leaf()]), 0.1, total_steps=2)
    schedule.step(), schedule.step()
    with pytest.raises(npf.ValueRangeError, match="step 3, but it was made for 2 steps"):
        schedule.step()
