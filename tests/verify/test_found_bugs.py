"""Bugs that stood in public code, told in our own words: each is caught and named.

They trained, and their loss went down: that is why nobody saw them.
"""

import numpy as np
import pytest

import npformer as npf

rng = np.random.default_rng(3)
BUGS = {}


def bug(*kinds, **inputs):
    """Note a case: the function gives (forward, wrong backward, right backward)."""
    def note(make):
        BUGS[make.__name__] = (*make(), inputs, kinds)
    return note


def row_mean(x):
    return x.mean(-1, keepdims=True)


def row_sum(x):
    return x.sum(-1, keepdims=True)


def standardize(x):
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return (x - row_mean(x)) * r, r


@bug("missing-factor", "wrong-coefficient", "transposed", x=rng.normal(size=(3, 7)),
     weight=rng.uniform(0.5, 2, 7),
     bias=rng.normal(size=7))
def layer_norm_with_gamma_outside_the_bracket():
    """The projections taken of g, the weight multiplied afterwards: right where every weight is 1,
    as at the start."""
    def forward(x, weight, bias):
        return standardize(x)[0] * weight + bias

    def wrong(g, x, weight, bias):
        h, r = standardize(x)
        return weight * r * (g - row_mean(g) - h * row_mean(g * h)), (g * h).sum(0), g.sum(0)

    def right(g, x, weight, bias):
        h, r = standardize(x)
        d = g * weight
        return r * (d - row_mean(d) - h * row_mean(d * h)), (g * h).sum(0), g.sum(0)
    return forward, wrong, right


@bug("wrong-coefficient", "path-doubled", x=rng.normal(size=(3, 7)))
def layer_norm_with_the_mean_subtracted_twice():
    """Through x − μ and once more through the variance, where its part is zero."""
    def forward(x):
        return standardize(x)[0]

    def wrong(g, x):
        h, r = standardize(x)
        return r * (g - 2 * row_mean(g) - h * row_mean(g * h)),

    def right(g, x):
        h, r = standardize(x)
        return r * (g - row_mean(g) - h * row_mean(g * h)),
    return forward, wrong, right


@bug("diagonal-jacobian", s=rng.normal(size=(3, 7)))
def softmax_as_a_diagonal():
    """g·y·(1 − y), as for a sigmoid: each score is thought to change its own weight alone."""
    def forward(s):
        e = np.exp(s - s.max(-1, keepdims=True))
        return e / row_sum(e)

    def wrong(g, s):
        y = forward(s)
        return g * y * (1 - y),

    def right(g, s):
        y = forward(s)
        return y * (g - row_sum(g * y)),
    return forward, wrong, right


@bug("path-missing", "missing-term", x=rng.normal(size=(3, 5)), w1=rng.normal(size=(5, 5)),
     w2=rng.normal(size=(5, 5)))
def second_residual_without_its_skip():
    """A block of two residuals: the gradient goes back through both branches, but past the first
    one only."""
    def hidden(x, w1):
        return x + np.tanh(x @ w1)

    def forward(x, w1, w2):
        h = hidden(x, w1)
        return h + np.tanh(h @ w2)

    def back(g, x, w1, w2, skip):
        h = hidden(x, w1)
        d2 = g * (1 - np.tanh(h @ w2) ** 2)
        dh = skip * g + d2 @ w2.T
        d1 = dh * (1 - np.tanh(x @ w1) ** 2)
        return dh + d1 @ w1.T, x.T @ d1, h.T @ d2

    return forward, lambda g, *a: back(g, *a, skip=0), lambda g, *a: back(g, *a, skip=1)


@bug("path-missing", "missing-term", x=rng.normal(size=(4, 5)), wq=rng.normal(size=(5, 3)),
     wk=rng.normal(size=(5, 3)),
     wv=rng.normal(size=(5, 2)))
def shared_input_with_the_last_contribution_only():
    """x feeds queries, keys and values; x.grad is assigned three times, and the last assignment
    stays."""
    def parts(x, wq, wk, wv):
        e = np.exp(x @ wq @ (x @ wk).T / np.sqrt(3))
        return e / row_sum(e)

    def forward(x, wq, wk, wv):
        return parts(x, wq, wk, wv) @ (x @ wv)

    def back(g, x, wq, wk, wv, all_of_it):
        a = parts(x, wq, wk, wv)
        q, k, v = x @ wq, x @ wk, x @ wv
        da = g @ v.T
        ds = a * (da - row_sum(da * a)) / np.sqrt(3)
        dq, dk, dv = ds @ k, ds.T @ q, a.T @ g
        dx = dv @ wv.T
        if all_of_it:
            dx = dx + dq @ wq.T + dk @ wk.T
        return dx, x.T @ dq, x.T @ dk, x.T @ dv

    return forward, lambda g, *a: back(g, *a, all_of_it=False), lambda g, *a: back(g, *a,
                                                                                   all_of_it=True)


@bug("path-missing", "missing-term", "not-accumulated", table=rng.normal(size=(6, 3)),
     ids=np.array([1, 4, 1, 0]))
def tied_weights_with_one_contribution_lost():
    """One table embeds and gives the logits; only the logits' gradient arrives."""
    def forward(table, ids):
        return np.tanh(table[ids]) @ table.T

    def back(g, table, ids, both):
        d = g.T @ np.tanh(table[ids])
        if both:
            np.add.at(d, ids, g @ table * (1 - np.tanh(table[ids]) ** 2))
        return d, None

    return forward, lambda g, *a: back(g, *a, both=False), lambda g, *a: back(g, *a, both=True)


@bug("not-accumulated", table=rng.normal(size=(7, 3)), ids=np.array([2, 5, 2, 0, 2, 0]))
def embedding_assigned_instead_of_accumulated():
    """d[ids] += g reads before it writes: of a word that comes three times, two are lost."""
    def forward(table, ids):
        return table[ids]

    def wrong(g, table, ids):
        d = np.zeros_like(table)
        d[ids] += g
        return d, None

    def right(g, table, ids):
        d = np.zeros_like(table)
        np.add.at(d, ids, g)
        return d, None
    return forward, wrong, right


@bug("factor", q=rng.normal(size=(3, 5)), k=rng.normal(size=(4, 5)), v=rng.normal(size=(4, 2)))
def attention_without_its_scale_in_one_of_two():
    """1/√d stands in the forward and in dk, but not in dq."""
    def weights(q, k):
        e = np.exp(q @ k.T / np.sqrt(5))
        return e / row_sum(e)

    def forward(q, k, v):
        return weights(q, k) @ v

    def back(g, q, k, v, scale):
        a = weights(q, k)
        da = g @ v.T
        ds = a * (da - row_sum(da * a))
        return ds @ k * scale, ds.T @ q / np.sqrt(5), a.T @ g

    return forward, lambda g, *a: back(g, *a, scale=1), lambda g, *a: back(g, *a,
                                                                           scale=1 / np.sqrt(5))


def judge_bug(name, wrong):
    forward, bad, good, inputs, _ = BUGS[name]
    return npf.verify.check_vjp(forward, bad if wrong else good, list(inputs.values()),
                                names=list(inputs),
                                raises=False)


@pytest.mark.parametrize("name", BUGS)
def test_it_is_caught_and_named(name):
    report = judge_bug(name, wrong=True)
    assert not report and report.wrong[0].kind in BUGS[name][-1], report
    assert report.wrong[0].input and report.wrong[0].message.startswith(f"d{report.wrong[0].input}")


@pytest.mark.parametrize("name", BUGS)
def test_the_corrected_code_passes(name):
    report = judge_bug(name, wrong=False)
    assert report and not report.findings, report


def test_layer_norms_bug_passes_where_every_weight_is_one_and_that_is_said():
    forward, wrong, _, inputs, _ = BUGS["layer_norm_with_gamma_outside_the_bracket"]
    report = npf.verify.check_vjp(forward, wrong, [inputs["x"], np.ones(7), np.zeros(7)],
                                  raises=False)
    assert not report and report.findings
