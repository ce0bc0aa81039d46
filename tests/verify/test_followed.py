"""Plain NumPy functions, followed: paths that a backward pass forgot are named with the user's
line, wrong rules too."""

import numpy as np
import pytest

import npformer as npf
from npformer.verify.naming.traced_array import trace

X = np.random.default_rng(1).normal(size=(3, 5))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("forward", [
    lambda x: (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True),
                                     lambda x: x.var(0, ddof=1),
    lambda x: np.where(x > 0, x, 0.1 * x),
                                     lambda x: np.concatenate([x[:, :2], np.tanh(x[:, 2:])],
                                                              axis=1),
    lambda x: np.stack([x, x * x], axis=1).transpose(2, 0, 1),
                                     lambda x: np.einsum("ij,kj->ik", x, x),
    lambda x: np.pad(x, ((0, 1), (2, 0))), lambda x: np.roll(x, 2, axis=1).max(axis=1),
                                     lambda x: np.tile(x, (2, 1)),
    lambda x: np.cumsum(x, axis=1).reshape(5, 3).T, lambda x: np.outer(x[0], x[1]),
                                     lambda x: np.clip(x, -0.5, 0.5),
    lambda x: np.sum(np.repeat(x, 2, axis=0), axis=0, keepdims=True),
                                     lambda x: np.split(x, [2], axis=1)[1],
])
def test_a_trace_gives_the_value_and_the_gradient(forward):
    y, leaves = trace(forward, [X], [0])
    np.testing.assert_allclose(y.array, forward(X))
    g = np.random.default_rng(2).normal(size=y.shape)
    found, = npf.autograd.grad(y, [leaves[0]], npf.from_numpy(g))
    h, v = 1e-6, np.random.default_rng(3).normal(size=X.shape)
    assert (found.numpy() * v).sum() == pytest.approx(
        (g * (forward(X + h * v) - forward(X - h * v))).sum() / (2 * h), rel=1e-6)


@pytest.mark.parametrize("forward", [
    lambda x: np.linalg.inv(x @ x.T + np.eye(3)), lambda x: float(x.sum()) * np.ones(3),
                                     lambda x: np.sort(x, axis=1),
])
def test_what_cannot_be_followed_is_no_trace(forward):
    assert trace(forward, [X], [0]) is None


def highway(x, w):
    t = sigmoid(x @ w)
    return t * np.tanh(x) + (1 - t) * x


def highway_backward(g, x, w, keep=1, one=1, factor=1):
    t, u = sigmoid(x @ w), np.tanh(x)
    dt = g * (u - x) * t * (1 - t)
    return dt @ w.T + g * (t if factor else 1) * (1 - u * u) + keep * g * (one - t), x.T @ dt


def judge_highway(**slip):
    w = np.random.default_rng(4).normal(size=(5, 5))
    return npf.verify.check_vjp(highway, lambda g, x, w: highway_backward(g, x, w, **slip), [X, w],
                                names=["x", "w"],
                                raises=False)


def test_a_forgotten_path_is_named_with_its_line():
    assert judge_highway()
    line = highway.__code__.co_firstlineno + 2
    finding = judge_highway(keep=0).wrong[0]
    assert finding.kind in ("path-missing", "missing-term") and finding.input == "x"
    assert f"test_followed.py:{line}" in finding.message and "left out" in finding.message


def test_a_path_counted_twice_or_otherwise_has_its_coefficient_said():
    message = judge_highway(keep=2).wrong[0].message
    assert "2 x what" in message or "twice" in message
    finding = judge_highway(keep=-1.5).wrong[0]
    assert finding.kind == "wrong-coefficient" and "-1.5 x" in finding.message


def test_a_wrong_rule_inside_is_named_with_its_operation():
    finding = judge_highway(factor=0).wrong[0]
    assert finding.kind == "missing-factor" and "mul" in finding.message
    assert "test_followed.py:" in finding.message
    assert len(finding.hints) == 3


CAUSAL = np.tril(np.ones((3, 3), bool))


def weights(q, k, seen):
    e = np.exp(np.where(seen, q @ k.T, -1e9))
    return e / e.sum(-1, keepdims=True)


def test_a_mask_forgotten_in_the_backward_is_named():
    q, k, v = np.random.default_rng(5).normal(size=(3, 3, 4))

    def backward(g, q, k, v, seen):
        a = weights(q, k, CAUSAL)
        da = g @ v.T
        ds = a * (da - (da * a).sum(-1, keepdims=True))
        return ds @ k, ds.T @ q, weights(q, k, seen).T @ g

    def judge_with_mask(seen):
        return npf.verify.check_vjp(lambda q, k, v: weights(q, k, CAUSAL) @ v,
                                    lambda g, *a: backward(g, *a, seen),
                                    [q, k, v], names=["q", "k", "v"], raises=False)

    assert judge_with_mask(CAUSAL)
    assert judge_with_mask(np.ones((3, 3), bool)).wrong[0].kind == "mask-ignored"
    shifted = judge_with_mask(np.tril(np.ones((3, 3), bool), 1)).wrong[0]
    assert shifted.kind == "mask-ignored" and "one entry more" in shifted.message


@pytest.mark.parametrize("outside, words", [(False, "left out"), (True, "outside the root")])
def test_an_eps_of_any_function(outside, words):
    """f = log(√(x² + 0.05) + w): no norm, and no line of numbers with one factor."""
    def forward(x, w):
        return np.log(np.sqrt((x * x).sum(0) + 0.05) + w)

    def backward(g, x, w):
        root = np.sqrt((x * x).sum(0))
        g = g / (root + 0.05 * outside + w)
        return g * x / root, g

    rng = np.random.default_rng(3)
    inputs = [rng.standard_normal((4, 5)), rng.uniform(1, 2, 5)]
    found = npf.verify.check_vjp(forward, backward, inputs, raises=False).findings
    assert [f.kind for f in found] == ["missing-eps"] * 2 and all(words in f.message for f in found)
