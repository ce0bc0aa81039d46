"""What a test point hides: mended with other values where they can show it, said where the sizes
hide it."""

import numpy as np
import pytest

import npformer as npf
from npformer import nn
from npformer.verify import check_model, check_vjp

RNG = np.random.default_rng(0)
POSITIVE = RNG.uniform(0.1, 1, (3, 5))


def judge(forward, backward, *inputs):
    return check_vjp(forward, backward, list(inputs), raises=False)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def relu(x):
    return np.maximum(x, 0)


@pytest.mark.parametrize("x", [POSITIVE, -POSITIVE, np.ones((3, 5)), np.arange(12.0).reshape(3, 4)],
                         ids=["positive", "negative", "ones", "counted"])
def test_a_kink_at_0_is_looked_at_from_both_sides(x):
    slope = float(x.max() > 0)                     # right at this point, and wrong beyond the kink
    forgotten = judge(relu, lambda g, x: g * slope, x)
    assert forgotten.wrong
    assert "(seen with other values of x: those given hide it)" in str(forgotten)
    assert judge(relu, lambda g, x: g * (x > 0), x)


INSIDE = {
    "log": (np.log, lambda g, x: g / x), "root": (np.sqrt, lambda g, x: g / (2 * np.sqrt(x))),
    "power": (lambda x: x ** 1.5, lambda g, x: 1.5 * g * np.sqrt(x)),
    "log, clipped": (lambda x: np.log(np.clip(x, 1e-7, None)), lambda g, x: g / x),
    "entropy, clipped": (lambda x: x * np.log(np.maximum(x, 1e-12)),
                         lambda g, x: g * (np.log(x) + 1)),
    "cross entropy, clipped": (lambda p: -np.log(1 - np.clip(p, 1e-7, 1 - 1e-7))
                               - np.log(np.clip(p, 1e-7, 1)),
                               lambda g, p: g * (1 / (1 - p) - 1 / p)),
}


@pytest.mark.parametrize("name", INSIDE)
def test_who_knows_no_other_sign_is_judged_where_he_is(name):
    report = judge(*INSIDE[name], POSITIVE * 0.9)
    assert report and not report.findings, str(report)


def test_a_refusal_is_no_hazard():
    def of_positive(x):
        if (x <= 0).any():
            raise ValueError("positive numbers only")
        return x * x

    report = judge(of_positive, lambda g, x: 2 * g * x, POSITIVE)
    assert report and not report.findings, str(report)


def test_probabilities_stay_probabilities():
    """dx = p·Σt − t is p − t where t sums to one, and nowhere else: many write the latter."""
    def loss(x, t):
        return -(t * np.log(softmax(x))).sum(-1)

    def backward(g, x, t):
        return g[:, None] * (softmax(x) - t), -g[:, None] * np.log(softmax(x))

    assert judge(loss, backward, RNG.standard_normal((3, 5)), softmax(RNG.standard_normal((3, 5))))


def test_two_positive_inputs_are_turned_as_far_as_both_allow():
    report = judge(lambda a, b: np.sqrt(a + b), lambda g, a, b: (g / (2 * np.sqrt(a + b)),) * 2,
                    POSITIVE, POSITIVE + 1)
    assert {f.kind for f in report.findings} <= {"aliases"}, str(report)


def dropout(x, mask, p):
    return x * mask / (1 - p)


def test_half_is_looked_at_with_another_number():
    x, mask = RNG.standard_normal((3, 5)), RNG.random((3, 5)) < 0.6
    report = judge(dropout, lambda g, x, mask, p: (g * mask / p, None, None), x, mask, 0.5)
    assert report.wrong and "other values of p" in str(report)
    report = judge(dropout, lambda g, x, mask, p: (g * mask / (1 - p), None, None), x, mask, 0.5)
    assert report and not report.findings, str(report)


def test_symmetric_matrices_of_a_batch_are_noticed():
    a = RNG.standard_normal((2, 3, 3))
    a = a + np.swapaxes(a, -1, -2)
    b = RNG.standard_normal((2, 3, 4))
    report = judge(lambda a, b: a @ b, lambda g, a, b: (g @ np.swapaxes(b, -1, -2), a @ g), a, b)
    assert [f.kind for f in report.wrong] == ["transposed"], str(report)


def test_square_shapes_hide_no_transpose_since_values_are_compared():
    a, b = RNG.standard_normal((4, 4)), RNG.standard_normal((4, 4))
    report = judge(lambda a, b: a @ b, lambda g, a, b: (g @ b, a.T @ g), a, b)
    assert [f.kind for f in report.wrong] == ["transposed"], str(report)


# ── what hides in the sizes ───────────────────────────────────────────────────────────────────────


def attend(q, k, v):
    return softmax(q @ k.T / np.sqrt(q.shape[-1])) @ v


def attend_backward(g, q, k, v, scale=np.sqrt):
    a = softmax(q @ k.T / np.sqrt(q.shape[-1]))
    da = g @ v.T
    ds = a * (da - (da * a).sum(-1, keepdims=True))
    return ds @ k / scale(q.shape[-1]), ds.T @ q / np.sqrt(q.shape[-1]), a.T @ g


def attend_backward_unscaled(g, q, k, v):
    return attend_backward(g, q, k, v, lambda n: 1)


def draw(*shape):
    return RNG.standard_normal(shape)


def scatter_add(g, table, ids):
    return np.eye(6)[ids].T @ g, None


def scatter_assign(g, table, ids):
    d = np.zeros((6, 3))
    d[ids] = g
    return d, None


# name: (forward, the right backward, one that is right at this size alone, inputs, what hides it,
# what it is called)
THIN = {
    "batch of one": (lambda x: (x * x).mean(0), lambda g, x: 2 * g * x / len(x),
                     lambda g, x: 2 * g * x, [draw(1, 5)],
                     "x (1, 5)", "factor"),
    "keys of width one": (attend, attend_backward, attend_backward_unscaled,
                          [draw(5, 1), draw(7, 1), draw(7, 3)],
                          "q (5, 1), k (7, 1)",
                          "factor"),
    "as many queries": (attend, attend_backward, attend_backward_unscaled,
                        [draw(5, 1), draw(5, 1), draw(5, 3)],
                        "q (5, 1), k (5, 1)",
                        "factor"),
    "one index": (lambda table, ids: table[ids], scatter_add, scatter_assign,
                  [draw(6, 3), np.array([2])],
                  "ids holds one index",
                  "not-accumulated"),
}


@pytest.mark.parametrize("name", THIN)
def test_what_a_size_of_1_hides_is_looked_at_with_another_size(name):
    forward, right, wrong, inputs, words, kind = THIN[name]
    report = check_vjp(forward, right, inputs)
    assert report and not report.findings, str(report)
    # no failure: it may be written for this size alone
    report = check_vjp(forward, wrong, inputs)
    finding, = report.findings
    assert report and (finding.kind, finding.certainty) == ("vacuous", "possible")
    assert words in finding.message
    assert f"With size 3 there, it does: {kind}: " in finding.message
    assert "gradients are right" in str(report) and "vacuous (possible)" in str(report)


def test_what_takes_no_other_size_is_said():
    report = check_vjp(lambda x: x.reshape(5) ** 2, lambda g, x: 2 * g[None] * x, [draw(1, 5)])
    assert report and "x (1, 5). A mean there in place of a sum" in str(report)
    assert "sizes above 1 would tell" in str(report)


@pytest.mark.parametrize("shapes",
                         [[(5, 7), (7,)], [(5, 7), (5, 1)], [(5, 7), (1, 7)],
                          [(2, 3, 4), (1, 3, 1)], [(5, 7), (1,)]])
def test_what_is_broadcast_has_size_1_for_a_reason(shapes):
    def summed(g, like):
        axes = tuple(k for k in range(g.ndim) if k < g.ndim - like.ndim
                     or like.shape[k - g.ndim + like.ndim] == 1)
        return g.sum(axis=axes).reshape(like.shape)

    report = check_vjp(lambda a, b: a * b, lambda g, a, b: (g * b, summed(g * a, b)),
                       [draw(*s) for s in shapes])
    assert report and not report.findings, str(report)
    fn = npf.gradcheck(lambda a, b: a * b, [npf.tensor(draw(*s)) for s in shapes])
    assert fn and not fn.findings, str(fn)


def test_gradcheck_says_a_batch_of_one():
    report = npf.gradcheck(lambda x: x.softmax(-1), npf.randn(1, 5, dtype=npf.float64))
    assert report and "of size 1 along a dim: input (1, 5)" in str(report)


# ── whole models ──────────────────────────────────────────────────────────────────────────────────


class Assigned(npf.autograd.Function):
    """A look-up whose backward pass assigns where it must add."""

    @staticmethod
    def forward(ctx, table, ids):
        ctx.save_for_backward(ids)
        ctx.rows = table.shape[0]
        return table[ids]

    @staticmethod
    def backward(ctx, g):
        ids, = ctx.saved_tensors
        d = np.zeros((ctx.rows, g.shape[-1]))
        d[ids.numpy()] = g.numpy()
        return npf.tensor(d), None


class LookUp(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.unused = nn.Parameter(npf.randn(7, 3)), nn.Parameter(npf.randn(3))

    def forward(self, ids):
        return Assigned.apply(self.table, ids) + 0 * self.unused


def test_tokens_that_do_not_repeat_hide_nothing_from_check_model():
    ids = npf.tensor([[4, 1, 2], [0, 3, 5]])
    before = ids.clone()
    report = check_model(LookUp(), lambda y: (y ** 2).sum(), ids, raises=False)
    first = report.wrong[0]
    assert (first.kind, first.detail["op"]) == ("not-accumulated", "Assigned")
    assert "test_vacuous.py" in first.message
    assert npf.equal(ids, before)


def test_check_model_says_what_it_could_not_see():
    npf.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 7), nn.ReLU(), nn.Linear(7, 5))
    with npf.no_grad():
        model[0].weight[0], model[0].bias[0] = 0, 0              # its output lies on the kink
    report = check_model(model, lambda y: (y ** 2).sum(), npf.randn(1, 3))
    assert report and {f.kind for f in report.findings} == {"vacuous", "kink"}, str(report)
    assert "vacuous (possible): of size 1 along a dim: inputs[0] (1, 3)" in str(report)


def test_a_parameter_without_a_part_is_said_and_is_no_failure():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.dead = nn.Linear(3, 5), nn.Linear(3, 5)

        def forward(self, x):
            return self.used(x) + 0 * self.dead(x)

    report = check_model(Half(), lambda y: (y ** 2).sum(), npf.randn(2, 3))
    assert report
    assert {f.input for f in report.findings if f.kind == "vacuous"} == {"dead.weight", "dead.bias"}


# ── sizes beside which rounding hides ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12, 1e30])
def test_tiny_and_huge_inputs_are_looked_at_near_1(size):
    a, b = size * RNG.standard_normal((3, 4)), RNG.standard_normal((3, 4))
    right = judge(lambda a, b: a * b, lambda g, a, b: (g * b, g * a), a, b)
    assert right and not right.findings, str(right)
    wrong = judge(lambda a, b: a * b, lambda g, a, b: (g * b, 2 * g * a), a, b)
    assert wrong.findings[0].kind == "factor"
    assert judge(np.log, lambda g, x: g / x, size * POSITIVE)
    assert not judge(np.log, lambda g, x: 2 * g / x, size * POSITIVE)


@pytest.mark.parametrize("factor", [1, 1.5])
def test_a_gradient_that_the_output_s_rounding_hides_is_not_seen(factor):
    def far_off(a):                                # no complex step, and 1e11 beside numbers near 1
        return np.exp(a).astype(float) + 1e11

    report = judge(far_off, lambda g, a: factor * g * np.exp(a), RNG.standard_normal((3, 4)))
    assert not report and [f.kind for f in report.findings] == ["vacuous"]
    assert "is hidden by the output's rounding" in str(report)
    many = judge(far_off, lambda g, a: factor * g * np.exp(a), RNG.standard_normal((30, 40)))
    assert not many and "vacuous" in [f.kind for f in many.findings]


def test_where_a_step_leaves_the_domain():
    near_0 = np.array([1e-12, 1e-8, 1e-4, 0.3, 2])
    for f, slope in ((np.log, lambda x: 1 / x), (np.sqrt, lambda x: 0.5 / np.sqrt(x))):
        for forward in (f, lambda x, f=f: f(x.astype(float))):
            assert judge(forward, lambda g, x, slope=slope: g * slope(x), near_0)
            assert judge(forward, lambda g, x, slope=slope: 2 * g * slope(x),
                          near_0).wrong[0].kind == "factor"
    edge = np.array([1 - 1e-9, -0.1, 0.2])
    for factor in (1, 2):                          # no step fits between this entry and the edge
        report = judge(lambda x: np.arcsin(x.astype(float)),
                        lambda g, x, c=factor: c * g / np.sqrt(1 - x * x), edge)
        assert "edge" in report.findings[-1].message and bool(report.wrong) == (factor == 2)
        assert not report
