"""The pytest fixtures: the test's own seed, the report instead of a traceback, and nothing loaded
before it is used."""

import subprocess
import sys

import numpy as np
import pytest

import npformer as npf

SUITE = '''
import numpy as np
import pytest
{imports}

X = np.linspace(-1, 2, 15).reshape(3, 5)

def forward(x):
    return np.tanh(x)

def wrong(g, x):
    return 2 * g * (1 - np.tanh(x) ** 2)

def right(g, x):
    return g * (1 - np.tanh(x) ** 2)

{tests}
'''


def run(folder, tests, imports="", *options):
    """The output of a suite of its own, and its exit code."""
    path = folder / "test_it.py"
    path.write_text(SUITE.format(tests=tests, imports=imports))
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *options,
                           str(path)],
                          capture_output=True, text=True, cwd=folder, check=False)
    return done.stdout + done.stderr, done.returncode


def test_a_wrong_gradient_fails_with_the_report_and_no_traceback_of_ours(tmp_path):
    seen, code = run(tmp_path, "def test_tanh(check_vjp):\n    check_vjp(forward, wrong, [X])")
    assert code == 1 and "factor: dx is 2.0000 x the true gradient" in seen
    assert "check_vjp(forward, wrong, [X])" in seen
    assert "npformer/verify" not in seen and "pytest_npformer.py" not in seen


def test_right_gradients_pass_and_reports_can_be_had(tmp_path):
    tests = """
def test_pair(check_vjp):
    assert check_vjp(forward, right, [X])

def test_report(check_vjp):
    report = check_vjp(forward, wrong, [X], raises=False)
    assert [f.kind for f in report.findings] == ["factor"]

def test_raises(check_vjp):
    with pytest.raises(npf.GradientError):
        check_vjp(forward, wrong, [X])

def test_tensors(gradcheck):
    assert gradcheck(lambda x: x.tanh(), npf.tensor(X))
"""
    seen, code = run(tmp_path, tests, "import npformer as npf")
    assert code == 0 and "4 passed" in seen


def test_another_suite_does_not_load_npformer(tmp_path):
    tests = """
def test_nothing():
    import sys
    assert "npformer" not in sys.modules and "pytest_npformer" in sys.modules
"""
    seen, code = run(tmp_path, tests)
    assert code == 0, seen


def test_the_seed_is_the_tests_own_unless_one_is_given(check_vjp):
    drawn = []

    def backward(g, x):
        drawn.append(g.copy())
        return g * np.cos(x)

    def first(**seed):
        drawn.clear()
        assert check_vjp(np.sin, backward, [np.linspace(0.3, 1.3, 4)], names=["x"], **seed)
        return drawn[0]

    assert np.array_equal(first(), first()) and not np.array_equal(first(), first(seed=1))


@pytest.mark.parametrize("factor", [1, -1])
def test_the_fixtures_judge_here_too(gradcheck, factor):
    x = npf.randn(3, 4, dtype=npf.float64)
    report = gradcheck(lambda x: (x * factor).tanh(), x)
    assert report and report.comparisons[0].entries == 12
