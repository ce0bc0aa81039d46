"""The judge: what it calls the usual mistakes, what it says of test points that hide them, and
whole models."""

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer import nn
from npformer.models import TinyTransformer
from npformer.verify import against_torch, check_model, check_vjp

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 7))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def row_sum(t):
    return t.sum(-1, keepdims=True)


def row_mean(t):
    return t.mean(-1, keepdims=True)


def layer_norm(x, w, b):
    centred = x - row_mean(x)
    r = 1 / np.sqrt(row_mean(centred ** 2) + 1e-5)
    return centred * r * w + b, (centred * r, r, w)


def norm_backward(dx, dw=lambda g, xhat: (g * xhat).sum(0)):
    def backward(g, cache):
        xhat, r, w = cache
        return dx(g, xhat, r, w), dw(g, xhat), g.sum(0)
    return backward


def right_dx(g, xhat, r, w):
    return r * (g * w - row_mean(g * w) - xhat * row_mean(g * w * xhat))


W, B = RNG.uniform(0.5, 2, 7), RNG.standard_normal(7)
NORM, FRESH = [X, W, B], [X, np.ones(7), np.zeros(7)]


def from_softmax(dx):
    return lambda g, x: dx(g, softmax(x))


def look_up(ids, table):
    return table[ids]


def scatter_assign(g, ids, table):
    d = np.zeros_like(table)
    d[ids] = g
    return None, d


def scatter_add(g, ids, table):
    d = np.zeros_like(table)
    np.add.at(d, ids, g)
    return None, d


IDS, TABLE = np.array([1, 3, 1, 0, 1, 4]), RNG.standard_normal((6, 3))
Q, K, V = RNG.standard_normal((5, 4)), RNG.standard_normal((6, 4)), RNG.standard_normal((6, 3))


def attend(q, k, v):
    return softmax(q @ k.T / 2) @ v


def attend_backward(g, q, k, v, scale=0.5):
    a = softmax(q @ k.T / 2)
    da = g @ v.T
    ds = a * (da - row_sum(da * a))
    return ds @ k * scale, ds.T @ q * 0.5, a.T @ g


CASES = {
    "softmax, diagonal": (softmax, from_softmax(lambda g, y: g * y * (1 - y)), [X],
                          "diagonal-jacobian"),
    "softmax, sum dropped": (softmax, from_softmax(lambda g, y: g * y), [X], "missing-term"),
    "softmax, sign": (softmax, from_softmax(lambda g, y: y * (g + row_sum(g * y))), [X],
                      "wrong-coefficient"),
    "softmax, mean for sum": (softmax, from_softmax(lambda g, y: y * (g - row_mean(g * y))), [X],
                              "wrong-coefficient"),
    "softmax, leading y lost": (softmax, from_softmax(lambda g, y: g - row_sum(g * y)), [X],
                                "missing-factor"),
    "softmax, wrong axis": (softmax, from_softmax(lambda g, y: y * (g - (g * y).sum(0))), [X],
                            "wrong-axis"),
    "softmax, upstream ignored": (softmax, from_softmax(lambda g, y: y - (y == y.max())), [X],
                                  "ignores-upstream"),
    "norm, statistics constant": (layer_norm, norm_backward(lambda g, h, r, w: r * g * w), NORM,
                                  "missing-term"),
    "norm, mean dropped": (layer_norm,
                           norm_backward(lambda g, h, r, w: r * (g * w - h * row_mean(g * w * h))),
                           NORM, "missing-term"),
    "norm, mean twice": (layer_norm, norm_backward(
        lambda g, h, r, w: r * (g * w - 2 * row_mean(g * w) - h * row_mean(g * w * h))), NORM,
                         "wrong-coefficient"),
    "norm, gamma forgotten": (layer_norm, norm_backward(
        lambda g, h, r, w: r * (g - row_mean(g) - h * row_mean(g * h))), NORM, "missing-factor"),
    "norm, gamma forgotten, at gamma = 1": (layer_norm, norm_backward(
        lambda g, h, r, w: r * (g - row_mean(g) - h * row_mean(g * h))), FRESH, "missing-factor"),
    "norm, 1/sigma forgotten": (layer_norm, norm_backward(
        lambda g, h, r, w: g * w - row_mean(g * w) - h * row_mean(g * w * h)), NORM,
                                "missing-factor"),
    "dgamma without x-hat": (layer_norm, norm_backward(right_dx, lambda g, h: g.sum(0)), NORM,
                             "missing-factor"),
    "dgamma averaged": (layer_norm, norm_backward(right_dx, lambda g, h: (g * h).mean(0)), NORM,
                        "averaged-broadcast"),
    "dgamma not summed": (layer_norm, norm_backward(right_dx, lambda g, h: g * h), NORM,
                          "unsummed-broadcast"),
    "embedding assigned": (look_up, scatter_assign, [IDS, TABLE], "not-accumulated"),
    "embedding assigned, no index repeated": (look_up, scatter_assign, [np.array([0, 2, 4]), TABLE],
                                              "not-accumulated"),
    "relu, mask from g": (lambda x: np.maximum(x, 0), lambda g, x: g * (g > 0), [X], "nonlinear"),
    "relu, no mask": (lambda x: np.maximum(x, 0), lambda g, x: g, [X], "mask-leak"),
    "matmul transposed": (lambda a, b: a @ b, lambda g, a, b: (g @ b.T, (a.T @ g).T),
                          [Q, RNG.standard_normal((4, 4))],
                          "transposed"),
    "skip dropped": (lambda x: x + np.tanh(x), lambda g, x: g * (1 - np.tanh(x) ** 2), [X],
                     "path-missing"),
    "tanh of the wrong value": (lambda x: np.tanh(x), lambda g, x: g * (1 - x * x), [X],
                                "stale-value"),
    "attention without scale": (attend, lambda g, q, k, v: attend_backward(g, q, k, v, 1.0),
                                [Q, K, V], "factor"),
    "sign": (lambda a, b: a - b, lambda g, a, b: (g, g.copy()), [X, X + 1], "sign"),
    "zero": (lambda x: x ** 2, lambda g, x: 0 * x, [X], "zero"),
    "NaN": (lambda x: x ** 2, lambda g, x: np.where(x > 1, np.nan, 2 * g * x), [X], "nan"),
    "float32": (lambda x: x ** 2, lambda g, x: (2 * g * x).astype(np.float32), [X], "dtype"),
    "computed in float32": (lambda x: x ** 2, lambda g, x: np.float64(np.float32(2 * g * x)), [X],
                            "precision"),
    "one memory": (lambda a, b: a + b, lambda g, a, b: (g, g), [X, X + 1], "aliases"),
    "upstream written to": (lambda x: np.maximum(x, 0), lambda g, x: np.multiply(g, x > 0, out=g),
                            [X], "mutates"),
    "random": (lambda x: 2 * x, lambda g, x: g * 2 * np.random.default_rng().uniform(0.9, 1.1), [X],
               "not-repeatable"),
}


@pytest.mark.parametrize("name", CASES)
def test_mistakes_are_called_by_their_names(name):
    forward, backward, inputs, kind = CASES[name]
    report = check_vjp(forward, backward, inputs, raises=False)
    assert not report and report.wrong[0].kind == kind, str(report)
    with pytest.raises(npf.GradientError):
        check_vjp(forward, backward, inputs)


RIGHT = {
    "softmax": (softmax, from_softmax(lambda g, y: y * (g - row_sum(g * y))), [X]),
    "norm": (layer_norm, norm_backward(right_dx), NORM),
    "norm, fresh": (layer_norm, norm_backward(right_dx), FRESH),
    "embedding": (look_up, scatter_add, [IDS, TABLE]),
    "embedding, no index repeated": (look_up, scatter_add, [np.array([0, 2, 4]), TABLE]),
    "attention": (attend, attend_backward, [Q, K, V]),
    "relu at kinks": (lambda x: np.maximum(x, 0), lambda g, x: g * (x > 0), [np.round(X)]),
    "absolute at kinks": (lambda x: np.abs(x), lambda g, x: g * np.sign(x), [np.round(X)]),
    "tiny": (softmax, from_softmax(lambda g, y: y * (g - row_sum(g * y))), [1e-8 * X]),
    "large": (lambda x: x ** 3, lambda g, x: 3 * g * x ** 2, [1e6 * X]),
    "read-only": (lambda x: x ** 2, lambda g, x: 2 * g * x, [np.broadcast_to(X[:1], (3, 7))]),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_pass(name):
    report = check_vjp(*RIGHT[name], raises=False)
    assert report, str(report)


def test_the_inputs_are_left_as_they_were():
    x, before = X.copy(), X.copy()
    check_vjp(softmax, from_softmax(lambda g, y: y * (g - row_sum(g * y))), [x])
    np.testing.assert_array_equal(x, before)


def test_the_constant_is_named():
    report = check_vjp(attend, lambda g, q, k, v: attend_backward(g, q, k, v, 1.0), [Q, K, V],
                       raises=False)
    assert "dq is 2.0000 x the true gradient in all 20 entries" in report.findings[0].message


def test_a_point_that_hides_everything_is_no_pass():
    """Where the true gradient is zero, a backward pass that gives zero says nothing."""
    assert not npf.gradcheck(lambda x: 0 * x, npf.randn(3, dtype=npf.float64), raises=False)
    report = check_vjp(lambda x: 0 * x, lambda g, x: 0 * g, [X], raises=False)
    assert not report and [f.kind for f in report.findings] == ["vacuous"] and not report.wrong
    assert "nothing wrong was seen, but this test point hides mistakes" in str(report)


def test_a_masked_operation_is_also_looked_at_with_a_mask_that_hides_something():
    def masked(x, mask):
        return np.where(mask, x * x, 0.0)

    blind = check_vjp(masked, lambda g, x, mask: (2 * g * x, None), [X, np.ones((5, 7), bool)],
                      raises=False)
    assert blind.wrong and blind.wrong[0].kind in ("mask-leak", "mask-ignored")
    assert check_vjp(masked, lambda g, x, mask: (2 * g * x * mask, None),
                     [X, np.ones((5, 7), bool)])


def test_ties_may_share_but_not_multiply():
    x = np.array([[1.0, 3.0, 3.0], [2.0, 0.5, 1.0]])

    def top(x):
        return x.max(-1)

    def share(g, x):
        at = x == x.max(-1, keepdims=True)
        return g[:, None] * at / at.sum(-1, keepdims=True)

    assert check_vjp(top, share, [x])
    report = check_vjp(top, lambda g, x: g[:, None] * (x == x.max(-1, keepdims=True)), [x],
                       raises=False)
    assert report.wrong[0].kind == "only-at-ties"


def test_fast_mode_looks_along_two_directions_and_closely_where_they_differ():
    layer = nn.LayerNorm(7).double()
    x = npf.randn(3, 7, dtype=npf.float64)
    report = npf.gradcheck(lambda *_: layer(x), [*layer.parameters(), x], fast_mode=True)
    assert report and [c.name for c in report.comparisons] == ["direction 1", "direction 2"]
    before = [p.detach().clone() for p in layer.parameters()]
    assert all(npf.equal(p, q) for p, q in zip(layer.parameters(), before))
    with pytest.raises(npf.GradientError) as error:
        npf.gradcheck(WrongGelu.apply, x, fast_mode=True)
    assert error.value.findings[0].kind == "missing-term"


def test_the_complex_step_sees_what_differences_cannot():
    """A systematic error that is below what differences of a function of this size can show."""
    def grown(x):
        return 1000 + np.exp(x)

    assert check_vjp(grown, lambda g, x: g * np.exp(x), [X])
    report = check_vjp(grown, lambda g, x: g * np.exp(x) * (1 + 3e-10), [X], raises=False)
    assert report.wrong and report.comparisons[0].noise < 1e-10
    assert check_vjp(grown, lambda g, x: g * np.exp(x) * (1 + 3e-10), [X], rtol=1e-9)
    with pytest.raises(npf.GradientError):
        check_vjp(np.exp, lambda g, x: g * np.exp(x) * (1 + 1e-10), [X])


def test_functions_that_misread_complex_numbers_are_judged_by_differences():
    x = np.array([[-1.5, 0.3, 2.0, -0.2], [1.1, -2.2, 0.7, 0.4]])
    assert check_vjp(lambda x: np.abs(x) * x, lambda g, x: g * 2 * np.abs(x), [x])
    assert check_vjp(lambda x: np.where(x > 0, x, 0.1 * x),
                     lambda g, x: g * np.where(x > 0, 1, 0.1), [x])
    assert check_vjp(lambda x: np.linalg.norm(x, axis=-1),
                     lambda g, x: (g / np.linalg.norm(x, axis=-1))[:, None] * x, [x])


def test_second_order():
    report = npf.gradcheck(lambda x: F.softmax(x, -1), npf.randn(3, 4, dtype=npf.float64), order=2)
    assert report and [c.name for c in report.comparisons] == ["input", "input (second order)"]

    class OnceOnly(npf.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x ** 3

        @staticmethod
        def backward(ctx, g):
            x, = ctx.saved_tensors
            return g * 3 * x.detach() ** 2         # right once, and cut off from a second time

    x = npf.randn(4, dtype=npf.float64)
    assert npf.gradcheck(OnceOnly.apply, x)
    with pytest.raises(npf.GradientError):
        npf.gradcheck(OnceOnly.apply, x, order=2)


# ── whole models ──────────────────────────────────────────────────────────────────────────────────


class WrongGelu(npf.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return F.silu(x)

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return g * x.sigmoid()                     # the second term of the product rule is lost


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(4, 6)

    def forward(self, x):
        return WrongGelu.apply(self.up(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.norm, self.down = Inner(), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x):
        return self.down(self.norm(self.inner(x)))


def test_a_right_model_passes_and_is_left_alone():
    model = TinyTransformer(vocab_size=7, context=5, d_model=8, n_heads=2, d_ff=12)
    x, y = npf.randint(0, 7, (2, 5)), npf.randint(0, 7, (10,))
    before = [p.detach().clone() for p in model.parameters()]
    report = check_model(model, lambda logits: F.cross_entropy(logits.view(-1, 7), y), x)
    assert report and len(report.comparisons) == 20 and "20 gradients are right" in str(report)
    assert len(str(report).splitlines()) < 20
    assert model.training
    assert all(npf.equal(p, q) and p.grad is None for p, q in zip(model.parameters(), before))


def test_a_wrong_model_is_traced_to_the_operation_the_module_and_the_line():
    report = check_model(Net(), lambda z: (z ** 2).sum(), npf.randn(5, 4), raises=False)
    first = report.findings[0]
    assert first.kind == "missing-term" and first.detail["op"] == "WrongGelu"
    assert first.detail["where"] == "inner"
    said = "the first wrong rule, in backward order, is that of WrongGelu in module inner"
    assert said in first.message and "test_judge.py" in first.message
    right = [c.name for c in report.comparisons if c.ok]
    assert {"norm.weight", "down.weight", "down.bias"} <= set(right)
    assert "inner.up.weight" not in right


def test_against_torch():
    torch = pytest.importorskip("torch", reason="it compares with PyTorch, which is not installed")
    assert against_torch(nn.LayerNorm(7), torch.nn.LayerNorm(7), [X])
    assert against_torch(lambda a, b: (a * b).sum(-1), lambda a, b: (a * b).sum(-1), [X, X + 1])
    report = against_torch(F.gelu, lambda x: torch.nn.functional.gelu(x, approximate="tanh"), [X],
                           raises=False)
    assert [c.ok for c in report.comparisons] == [False, False]


@pytest.mark.parametrize("slope", [-0.5, 1.5])
def test_at_a_kink_a_value_beyond_both_slopes_is_wrong(slope):
    x = np.array([-1.0, 0.5, 0.0, 2.0, -0.3])
    report = check_vjp(lambda x: np.maximum(x, 0), lambda g, x: g * np.where(x == 0, slope, x > 0),
                       [x], raises=False)
    assert report.wrong and not report.comparisons[0].ok


@pytest.mark.parametrize("slip", [0.0, 1e-4])
def test_order_2_sees_a_ten_thousandth(slip):
    class Square(npf.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            x, = ctx.saved_tensors
            return 2 * g * ((1 + slip) * x - slip * x.detach())

    x = npf.randn(5, dtype=npf.float64)
    assert npf.gradcheck(Square.apply, x)
    assert bool(npf.gradcheck(Square.apply, x, order=2, raises=False)) == (slip == 0)
