"""The shell: what it shows, and what it answers, is what the trace says."""

import re

import numpy as np
from shell_driver import at, refused

import npformer as npf
from npformer import debug
from npformer.core import facts
from npformer.core.errors import NpformerError
from npformer.core.facts import ArrayFacts
from npformer.debug.examples import example
from npformer.debug.shell import Session
from npformer.debug.views import pictures, source_text, statistics
from npformer.nn import functional as F

# ── looking ───────────────────────────────────────────────────────────────────────────────────────


def test_p_prints_slices_shapes_parameters_gradients_and_sums(session):
    step = at(session, "attention").step
    assert session.do("p dq.shape") == "dq.shape = (4, 2, 16, 32)"
    assert session.do("p g[0, 1, 2, 3]").endswith(facts.four_digits(step.upstream[0, 1, 2, 3], 8))
    assert f"{step.inputs['q'][0, 0, 0, 0]:.4f}" in session.do("p q[0,0,0,:3]")
    assert session.do("p norm(dq) / norm(g)").endswith(
        facts.four_digits(np.linalg.norm(step.gradients["q"]) / np.linalg.norm(step.upstream), 8))
    grad = session.trace.find("blocks.0.norm1.weight").gradient
    assert session.do("p blocks.0.norm1.weight.grad[3]").endswith(facts.four_digits(grad[3], 8))
    assert session.do("p norm1.weight.shape") == "norm1.weight.shape = (64,)"
    assert session.do("p scale").endswith("0.1767767") and session.do("p") == (
        "g  q  k  v  mask  y  a  scale  dq  dk  dv  upstream  output")
    for line, words in {"p nothing": "there is no 'nothing'", "p": None,
                        "p q[9]": "index 9 is out of bounds", "p q[": "cannot be read",
                        "p norm(zz)": "nothing is called `zz`", "p drop": "there is no 'drop'",
                        "heat scale": "is not an array", "heat": "a name is needed"}.items():
        if words:
            refused(session, line, words)


def test_heat_draws_where_the_numbers_are_large(session):
    x = npf.tensor(np.diag([1.0, -2.0, 3.0]), dtype=npf.float64, requires_grad=True)
    session = Session(debug.trace(lambda: (x * x).sum()))
    session.do("goto 1")
    assert session.do("heat a").splitlines() == [
        "a (3, 3), -2 … 3", "  │ ▒    │", "  │  -▓  │", "  │     █│"]
    refused(session, "heat a 0", "takes an index into its first 0 dims")


def test_jacobian(session):
    x = npf.randn(3, 4, dtype=npf.float64).requires_grad_()
    session = at(Session(debug.trace(lambda: F.softmax(x, dim=-1).pow(2).sum())), "softmax")
    y = session.step.value
    row = np.diag(y[1]) - np.outer(y[1], y[1])
    assert f"{row[0, 1]:.4f}" in session.do("jac x 1 1")
    assert "25% of its entries are not 0" not in session.do("jac x 1 1")
    assert "33% of its entries are not 0" in session.do("jac x")
    refused(session, "jac z", "jac of which argument. x")
    large = at(Session(debug.trace(example("tiny")[1])), "attention")
    assert "dattention[0,0,0,0]/dq float64 (4, 2, 16, 32)" in large.do("jac q")


def test_rule_line_formula_stats_norms(session):
    at(session, "relu")
    assert session.do("rule").splitlines() == [
        "npformer/ops/activation.py:39", "relu.vjps(x=lambda g, y: keep(g, values(y) > 0))"]
    assert "→   67" in session.do("line") and len(session.do("line 1").splitlines()) == 4
    assert session.do("formula").splitlines() == ["max(x, 0).",
                                                  "relu(x (4, 16, 128)) → (4, 16, 128) float64",
                                                  "  dx = g where x > 0, else 0"]
    stats = session.do("a")
    assert re.search(r"sent +dx +\(4, 16, 128\) +float64 .* 50%", stats)
    spark = session.do("norms").splitlines()
    norms = [layer.norm for layer in pictures.layers(session.trace)]
    assert spark[1].strip() == pictures.sparkline(norms) and spark[1][np.argmax(norms) + 2] == "█"
    here = next(k for k, layer in enumerate(pictures.layers(session.trace)) if layer.last >= 6)
    assert spark[2].index("^") == 2 + here


def test_a_missing_source_file_is_said():
    from types import SimpleNamespace

    step = SimpleNamespace(source=("/nowhere/model.py", 3))
    assert source_text.user_line(step).note == "/nowhere/model.py is not here"
    step = SimpleNamespace(source=(__file__, 100_000))
    assert "has changed: it has no line 100000" in source_text.user_line(step).note


def test_arrays_too_large_or_not_kept_are_said_in_words():
    x = npf.randn(30, 40, dtype=npf.float64).requires_grad_()
    for trace in (debug.trace(lambda: (x * 3 + x).exp().mean(), largest=100),
                  debug.trace((x * 3 + x).exp().mean())):
        session = Session(trace)
        for index in range(len(trace)):
            session.do(f"goto {index}")
            for command in ("look", "a", "l", "w", "formula", "rule", "ledger", "norms", "terms"):
                try:
                    assert session.do(command)
                except NpformerError as error:
                    assert "kept" in str(error) or "too large" in str(error)
    trace = debug.trace(lambda: (x * 3 + x).exp().mean(), largest=100)
    session = at(Session(trace), "exp")
    assert isinstance(session.step.value, ArrayFacts) and "too large to keep" in session.do("p y")
    refused(session, "p y[0]", "too large to keep")
    refused(session, "heat y", "too large to keep")
    refused(session, "set y = 1", "too large to keep")


# ── asking ────────────────────────────────────────────────────────────────────────────────────────


def test_ledger_marks_what_has_come(session):
    session.do("goto 16")
    text = session.do("ledger x")
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["•", "→", "○", "○"]
    ledger = session.trace.ledger("add")
    said = zip(ledger, text.splitlines()[1:])
    assert [f"{np.linalg.norm(e.running):.4g}" in line for e, line in said] == [True] * 4
    session.do("goto 0")
    assert "start" in session.do("ledger")
    refused(session, "ledger target", "is a constant here")


def test_terms_check_why_paths(session):
    at(session, "linear")
    assert "by matmul" in session.do("terms")
    assert "agrees with finite differences" in session.do("check")
    at(session, "relu")
    zeros = int((session.step.inputs["x"] <= 0).sum())
    assert f"{zeros} of 8192 of its inputs are ≤ 0" in session.do("why zero x")
    assert "every value and every gradient is finite" in session.do("why nan")
    session.width = 300
    assert session.do("paths blocks.0.ff1.bias").count("→") == 8
    deleted = npf.models.TinyTransformer(7, 5, 8, 2, 9, residual="deleted").double()
    ids = npf.tensor([[1, 2, 3]])
    other = Session(debug.trace(lambda: deleted(ids).pow(2).mean()))
    assert "is not in the graph" in other.do("why zero blocks.0.query.weight")
    refused(other, "ledger blocks.0.query.weight", "no gradient reaches this parameter")


def test_residual_identity_at_an_addition(session):
    at(session, "add")
    text = session.do("residual")
    assert f"{np.linalg.norm(session.step.upstream):.4g}" in text
    assert float(re.search(r"within (\S+);", text).group(1)) < 1e-14
    at(session, "relu")
    assert session.do("residual") == (
        "this step is not an addition y = x + F(x); these steps are: 4, 9")


def test_the_statistics_of_an_array():
    array = np.array([[0.0, 3.0, -4.0, 0.0], [np.nan, np.inf, 0.0, 0.0], [0.0] * 4])
    row = statistics.row("input", "x", array)
    assert (row.shape, row.norm, row.min, row.max) == ("(3, 4)", 5.0, -4.0, 3.0)
    assert (row.zeros, row.nan, row.inf) == (8 / 12, 1, 1)
    assert row.cells()[-2:] == ["67%", "1 NaN 1 inf"]
