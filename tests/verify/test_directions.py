"""Inputs with many entries: along a few random directions nothing may be missed that single entries
would show."""

import numpy as np
import pytest

import npformer as npf
from npformer import nn
from npformer.nn import functional as F
from npformer.verify import mutants as library

RNG = np.random.default_rng(3)
X, W = RNG.standard_normal((40, 30)), RNG.standard_normal((30, 20))


def bend(x, w):
    return np.tanh(x @ w / 6)


def bend_backward(g, x, w, change=lambda dx: dx):
    d = g * (1 - bend(x, w) ** 2) / 6
    return change(d @ w.T), x.T @ d


def judge_bend(change, forward=bend, **options):
    return npf.verify.check_vjp(forward, lambda g, x, w: bend_backward(g, x, w, change), [X, W],
                                names=["x", "w"],
                                raises=False, **options)


def real(x, w):
    """The same for arrays that the complex step cannot use: there are differences alone."""
    return np.tanh(np.real(x) @ np.real(w) / 6)


def change_entries(places, by):
    """A change of single entries by so much of the largest."""
    def change(dx):
        dx = dx.copy()
        for place, size in zip(places, by):
            dx[place] += size * np.abs(dx).max()
        return dx
    return change


def test_right_gradients_pass_after_a_few_forward_passes():
    calls = []

    def counted(x, w):
        calls.append(1)
        return bend(x, w)

    report = judge_bend(lambda dx: dx, counted)
    assert report and [c.how for c in report.comparisons] == ["directions"] * 2
    assert "(4 directions drawn)" in str(report) and len(calls) < 60


@pytest.mark.parametrize("forward, least", [(bend, 1e-10), (real, 1e-8)],
                         ids=["complex step", "differences"])
@pytest.mark.parametrize("seed", range(5))
def test_a_single_wrong_entry_is_caught(forward, least, seed):
    """Off by a 1e-8th of the largest; where the complex step is to be had, by a 1e-10th."""
    place = tuple(np.random.default_rng(seed).integers(0, X.shape))
    assert judge_bend(change_entries([place], [least]), forward, seed=seed).wrong


@pytest.mark.parametrize("seed", range(20))
def test_two_wrong_entries_that_cancel_are_caught(seed):
    rng = np.random.default_rng(seed)
    first, second = ((int(rng.integers(20)) + k, int(rng.integers(30))) for k in (0, 20))
    assert judge_bend(change_entries([first, second], [1e-6, -1e-6]), real, seed=seed).wrong
    assert judge_bend(change_entries([first, second], [1e-6, 1e-6]), real, seed=seed).wrong


@pytest.mark.parametrize("change",
                         [np.negative, lambda dx: dx * (1 + 1e-8), lambda dx: dx[::-1].copy(),
                          lambda dx: 0 * dx,
                          lambda dx: dx - 1e-7 * dx.mean(0), lambda dx: dx[np.arange(40) ^ 1]])
def test_errors_in_many_entries_are_caught_and_only_there(change):
    report = judge_bend(change, real)
    assert report.wrong and [c.name for c in report.comparisons if not c.ok] == ["x"]


def test_what_differs_is_named_after_a_look_at_its_entries():
    report = npf.verify.check_vjp(bend,
                                  lambda g, x, w: (bend_backward(g, x, w)[0],
                                                   6 * bend_backward(g, x, w)[1]), [X, W],
                                  names=["x", "w"], raises=False)
    assert report.wrong[0].kind == "factor" and report.wrong[0].input == "w"
    assert {c.name: (c.how, c.entries) for c in report.comparisons} == {"x": ("directions", 4),
                                                                        "w": ("entries", 600)}


@pytest.mark.parametrize("place", [(17, 3), (0, 0), (39, 29)])
def test_of_many_entries_the_few_wrong_ones_are_found(place):
    """By bisection, where there are too many to look at all of them."""
    report = judge_bend(change_entries([place], [1e-6]), real, max_entries=10)
    assert report.wrong and report.comparisons[0].index == place
    assert report.comparisons[0].entries < 20


def test_ties_in_a_large_input_may_share_but_not_multiply():
    x = RNG.standard_normal((300, 7))
    x[211, 2:5] = x[211].max() + 1                 # one row of many, and three of it tie

    def top(x):
        return np.real(x).max(-1)

    def share(g, x):
        top = x == x.max(-1, keepdims=True)
        return g[:, None] * top / top.sum(-1, keepdims=True)

    def first(g, x):
        d = np.zeros_like(x)
        d[np.arange(len(x)), x.argmax(-1)] = g
        return d

    assert npf.verify.check_vjp(top, share, [x]) and npf.verify.check_vjp(top, first, [x])
    assert not npf.verify.check_vjp(top, lambda g, x: g[:, None] * (x == x.max(-1, keepdims=True)),
                                    [x], raises=False)


def test_a_small_gradient_is_seen_beside_a_large_one():
    def forward(x, w):
        return np.concatenate([1e3 * np.sin(np.real(x)), 1e-3 * np.sin(np.real(w))], axis=None)

    def backward(g, x, w, slip=0.0):
        gx, gw = g[:x.size].reshape(x.shape), g[x.size:].reshape(w.shape)
        return 1e3 * np.cos(x) * gx, 1e-3 * np.cos(w) * gw * (1 + slip)

    assert npf.verify.check_vjp(forward, backward, [X, W])
    report = npf.verify.check_vjp(forward, lambda g, x, w: backward(g, x, w, 1e-3), [X, W],
                                  raises=False)
    assert [c.ok for c in report.comparisons] == [True, False]


def test_kinks_cause_no_false_alarm():
    x, relu = RNG.standard_normal((60, 50)), (lambda x: np.maximum(x, 0))
    x[::3] = 0                                     # 1,000 of 3,000 entries lie on the kink itself
    assert npf.verify.check_vjp(relu, lambda g, x: g * (x > 0), [x])
    assert npf.verify.check_vjp(relu, lambda g, x: g * (x >= 0), [x])
    assert not npf.verify.check_vjp(relu, lambda g, x: g * (x > 0) * 1.001, [x], raises=False)
    net = nn.Sequential(nn.Linear(20, 300), nn.ReLU(), nn.Linear(300, 10)).double()
    x = npf.randn(64, 20, dtype=npf.float64)
    assert npf.gradcheck(lambda *_: net(x), list(net.parameters()))


def test_a_step_that_leaves_the_domain_is_taken_back():
    x = np.full((30, 20), 2e-5) * RNG.uniform(1, 2, (30, 20))
    assert npf.verify.check_vjp(lambda x: np.log(np.real(x)), lambda g, x: g / x, [x])

    def strict(x):
        if (x < 0).any():
            raise ValueError("no logarithm")
        return np.log(x)

    assert npf.verify.check_vjp(strict, lambda g, x: g / x, [x])
    assert not npf.verify.check_vjp(strict, lambda g, x: g / (x + 1e-9), [100 * x], raises=False)


def test_max_entries_says_what_is_looked_at_one_by_one():
    x = npf.randn(50, 40, dtype=npf.float64)
    assert npf.gradcheck(lambda x: x.sin(), x).comparisons[0].how == "directions"
    assert npf.gradcheck(lambda x: x.sin(), x, max_entries=2000).comparisons[0].entries == 2000
    assert npf.gradcheck(lambda x: x.sin(), x[:2, :7].contiguous(),
                         max_entries=10).comparisons[0].entries == 4


# ── a Transformer block ───────────────────────────────────────────────────────────────────────────


class Block(nn.Module):
    """A pre-LN block whose attention, in the backward pass alone, may be another one."""

    def __init__(self, slip=None):
        super().__init__()
        self.n1, self.n2, self.slip = nn.LayerNorm(16), nn.LayerNorm(16), slip
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        q, k, v = (t.view(1, 4, 2, 8).transpose(1, 2) for t in self.qkv(self.n1(x)).chunk(3, -1))
        q = Slipped.apply(q, self.slip) if self.slip else q
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(heads.transpose(1, 2).reshape(1, 4, 16))
        return x + self.down(F.gelu(self.up(self.n2(x))))


class Slipped(npf.autograd.Function):
    """x, with a backward pass that changes the gradient."""

    @staticmethod
    def forward(ctx, x, slip):
        ctx.slip = slip
        return x * 1

    @staticmethod
    def backward(ctx, g):
        return ctx.slip(g), None


SLIPS = {"no 1/√d_k": lambda g: g * 8 ** 0.5, "a path cut": lambda g: g * 0,
         "a millionth": lambda g: g * (1 + 1e-6),
         "one entry": lambda g: g
         * npf.tensor(1 + 1e-5 * (np.arange(64) == 17).reshape(1, 2, 4, 8))}


def check_block(block):
    npf.manual_seed(4)
    x = npf.randn(1, 4, 16, dtype=npf.float64).requires_grad_()
    return npf.gradcheck(lambda *_: block(x), [*block.parameters(), x], raises=False)


def test_a_right_block_passes():
    report = check_block(Block().double())
    assert report and len(report.comparisons) == 13 and not report.wrong


@pytest.mark.parametrize("name", SLIPS)
def test_a_mistake_inside_a_block_is_caught(name):
    report = check_block(Block(SLIPS[name]).double())
    wrong = {c.name for c in report.comparisons if not c.ok}
    assert report.wrong and {"inputs[4]", "inputs[5]"} <= wrong
    assert not wrong & {"inputs[8]", "inputs[9]", "inputs[10]"}


# ── against single entries ────────────────────────────────────────────────────────────────────────


def scale_mistake_down(mutant, size):
    """The right backward pass, and a little of the wrong one."""
    def backward(g, *context):
        wrong, right = (m.backward(g.copy(), *context) for m in (mutant, mutant.subject.control))
        return tuple(None if r is None else r + size * ((0 if w is None else w) - r)
                     for w, r in zip(wrong, right))
    return backward


def test_directions_catch_what_single_entries_catch():
    """A third of the planted mistakes, at a hundred-thousandth of their size."""
    caught, compared = {True: set(), False: set()}, 0
    for name, m in list(library.mutants().items())[::3]:
        for one_by_one in (True, False):
            try:
                report = npf.verify.check_vjp(m.forward, scale_mistake_down(m, 1e-5), m.inputs(),
                                              raises=False,
                                              max_entries=1000 if one_by_one else 1)
            except ValueError:
                break                              # of another shape: there is no little of it
            compared += 1
            if report.wrong:
                caught[one_by_one].add(name)
    assert compared > 200 and caught[True] <= caught[False]
    assert len(caught[False]) > 0.95 * compared / 2
