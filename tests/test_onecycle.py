"""OneCycleLR: the rates and momenta of PyTorch's."""

import pytest

import npformer as npf

torch = pytest.importorskip("torch", reason="PyTorch is the outsider that rates are compared with")


def seen(lib, optimizer, options, steps):
    params = [lib.nn.Parameter(lib.ones(2)) for _ in range(2)]
    o = getattr(lib.optim, optimizer)([{"params": params[:1]}, {"params": params[1:]}], lr=0.3)
    schedule = lib.optim.lr_scheduler.OneCycleLR(o, **options)
    rows = []
    for _ in range(steps):
        rows.append([(g["lr"], g["betas"] if "betas" in g else g["momentum"]) for g in o.param_groups])
        o.step()
        schedule.step()
    return rows, schedule.get_last_lr()


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
@pytest.mark.parametrize("options", [
    {"max_lr": 0.1, "total_steps": 20}, {"max_lr": [0.1, 0.2], "epochs": 4, "steps_per_epoch": 5},
    {"max_lr": 0.1, "total_steps": 20, "anneal_strategy": "linear", "pct_start": 0.4, "cycle_momentum": False},
    {"max_lr": 0.1, "total_steps": 20, "three_phase": True, "div_factor": 10, "final_div_factor": 100},
    {"max_lr": 0.1, "total_steps": 20, "base_momentum": 0.5, "max_momentum": 0.9},
])
def test_rates_and_momenta(optimizer, options):
    mine, last = seen(npf, optimizer, options, 20)
    theirs, expected = seen(torch, optimizer, options, 20)
    for row, other in zip(mine, theirs):
        for (lr, momentum), (rate, beta) in zip(row, other):
            assert lr == pytest.approx(rate, rel=1e-9, abs=1e-15) and momentum == pytest.approx(beta, rel=1e-12)
    assert last == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_it_goes_on_from_its_state():
    params = [npf.nn.Parameter(npf.ones(2))]
    rates = []
    for resumed in (False, True):
        o = npf.optim.AdamW(params, lr=1.0)
        schedule = npf.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=10)
        for k in range(9):
            if resumed and k == 4:
                state, groups = schedule.state_dict(), o.state_dict()
                o = npf.optim.AdamW(params, lr=1.0)
                schedule = npf.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=10)
                schedule.load_state_dict(state), o.load_state_dict(groups)
            schedule.step()
        rates.append(schedule.get_last_lr())
    assert rates[0] == rates[1]


@pytest.mark.parametrize("options, words", [
    ({"total_steps": 0}, "total_steps >= 1"), ({}, "got 0 steps"), ({"total_steps": 5, "pct_start": 2}, "got 5 steps, 2"),
    ({"total_steps": 5, "anneal_strategy": "no"}, "'no'"), ({"total_steps": 5, "max_lr": [1, 2]}, "2 entries of max_lr"),
])
def test_errors(options, words):
    o = npf.optim.SGD([npf.nn.Parameter(npf.ones(2))])
    with pytest.raises(npf.ValueRangeError, match=words):
        npf.optim.lr_scheduler.OneCycleLR(o, **{"max_lr": 0.1, **options})


def test_a_step_too_many():
    schedule = npf.optim.lr_scheduler.OneCycleLR(npf.optim.SGD([npf.nn.Parameter(npf.ones(2))]), 0.1, total_steps=2)
    schedule.step(), schedule.step()
    with pytest.raises(npf.ValueRangeError, match="step 3, but it was made for 2 steps"):
        schedule.step()
