"""Means over the wrong dims in the gradients of the norms, of any layout, are called by their
name."""

import numpy as np
import pytest

from npformer.verify import check_vjp

RNG = np.random.default_rng(3)
EPS = 0.1


def norm_pair(dims, mean, groups=None, along=None, wrong=None):
    """A norm over `dims`, and its backward with means over `wrong`; with groups, dims are those of
    (N, G, C/G, ...)."""
    def view(t):
        return t if groups is None else t.reshape(t.shape[0], groups, -1, *t.shape[2:])

    def saved(x):
        x = view(x)
        centred = x - x.mean(dims, keepdims=True) if mean else x
        r = 1 / np.sqrt((centred ** 2).mean(dims, keepdims=True) + EPS)
        return centred * r, r

    def forward(x, weight, bias):
        return saved(x)[0].reshape(x.shape) * weight + bias

    def backward(g, x, weight, bias):
        xhat, r = saved(x)
        d = view(g * weight)
        first = d.mean(wrong or dims, keepdims=True) if mean else 0
        dx = r * (d - first - xhat * (d * xhat).mean(along or wrong or dims, keepdims=True))
        small = tuple(k for k in range(x.ndim) if k >= x.ndim - weight.ndim
                      and weight.shape[k - x.ndim + weight.ndim] > 1)
        over = tuple(k for k in range(x.ndim) if k not in small)
        return (dx.reshape(x.shape), (g * xhat.reshape(x.shape)).sum(over).reshape(weight.shape),
                g.sum(over).reshape(bias.shape))

    return forward, backward


# name: (x, weight, the norm's dims, whether the mean is taken off, groups, the dims of the wrong
# means)
NORMS = {
    "layer_norm": ((4, 5, 7), (7,), (2,), True, None, [(1,), (0,), (0, 1), (0, 1, 2), (1, 2)]),
    "layer_norm of two": ((4, 7), (7,), (1,), True, None, [(0,), (0, 1)]),
    "layer_norm over two dims": ((4, 5, 7), (5, 7), (1, 2), True, None, [(2,), (0,), (0, 1, 2)]),
    "rms_norm": ((2, 5, 7), (7,), (2,), False, None, [(1,), (0, 1), (0, 1, 2)]),
    "batch_norm": ((11, 5), (5,), (0,), True, None, [(1,), (0, 1)]),
    "batch_norm of images": ((3, 5, 4, 2), (5, 1, 1), (0, 2, 3), True, None,
                             [(0,), (2, 3), (1, 2, 3), (0, 1, 2, 3)]),
    "instance_norm": ((3, 5, 4, 2), (5, 1, 1), (2, 3), True, None, [(1,), (1, 2, 3), (0, 2, 3)]),
    "group_norm": ((3, 6, 4, 5), (6, 1, 1), (2, 3, 4), True, 2,
                   [(3, 4), (1, 2, 3, 4), (0, 3, 4), (0, 2, 3, 4)]),
    "group_norm of lines": ((3, 6, 5), (6, 1), (2, 3), True, 3, [(3,), (1, 2, 3)]),
}
CASES = [(name, wrong) for name, norm in NORMS.items() for wrong in norm[-1]]


def judge_norm(name, **other):
    shape, size, dims, mean, groups, _ = NORMS[name]
    inputs = [RNG.standard_normal(shape), RNG.uniform(0.5, 2, size), RNG.standard_normal(size)]
    return check_vjp(*norm_pair(dims, mean, groups, **other), inputs, raises=False)


@pytest.mark.parametrize("name", NORMS)
def test_the_right_ones_pass(name):
    assert judge_norm(name)


@pytest.mark.parametrize("name, wrong", CASES)
def test_means_over_the_wrong_dims_are_named(name, wrong):
    finding = judge_norm(name, wrong=wrong).wrong[0]
    assert (finding.kind, finding.input) == ("wrong-axis", "x"), finding
    assert "mean(" in finding.hint(3)


@pytest.mark.parametrize("name, wrong", [case for case in CASES if NORMS[case[0]][3]])
def test_one_of_the_two_means_over_the_wrong_dims_is_named(name, wrong):
    assert judge_norm(name, along=wrong).wrong[0].kind == "wrong-axis"


def test_the_formula_is_told_in_the_names_of_the_input():
    forward, backward = norm_pair((1,), mean=True, wrong=(0,))
    report = check_vjp(forward, backward,
                       [RNG.standard_normal((5, 7)), RNG.uniform(0.5, 2, 7),
                        RNG.standard_normal(7)],
                       names=["a", "w", "b"], raises=False)
    assert report.hints(3) == ["da = r·(g − mean(g) − x̂·mean(g·x̂)), x̂ = (x − mean(x))·r, with "
                               "g·w for g (x is a)"]


@pytest.mark.parametrize("axes", [(), (0,), (0, 1)])
def test_a_bias_that_is_not_summed_over_all(axes):
    rng = np.random.default_rng(0)
    x, b = rng.standard_normal((2, 3, 5, 4)), rng.standard_normal(4)
    report = check_vjp(lambda x, b: x + b, lambda g, x, b: (g, g.sum(axes) if axes else g.copy()),
                       [x, b],
                       raises=False)
    finding, = report.findings
    assert finding.kind == "unsummed-broadcast"
    assert finding.hints[2].endswith(".sum(axis=(0, 1, 2))")
