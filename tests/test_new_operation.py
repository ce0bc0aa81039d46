"""An operation that is added while the program runs touches one block; the page, why_zero, the
judge and the docs read it.

The blocks below are what CONTRIBUTING asks for, and nothing else knows these operations.
"""

import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import npformer as npf
from npformer.core import operation
from npformer.core.dims import along, line_up
from npformer.core.samples import distinct, draw
from npformer.core.step import Step
from npformer.debug.page.which_cells import relation
from npformer.ops.shape import flip, keep, positive_dim
from npformer.verify.naming.wrong_rules import wrong_rules

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def new_operations():
    """The two operations, in the registry for one test."""
    before = dict(operation.REGISTRY)

    @operation.primitive(dims=lambda x_shape, dim: along(x_shape, dim, "s -> t; s >= t"))
    def reverse_cumsum(x, *, dim):
        """Running sums along dim, from the end.    dx = running sums of g from the start"""
        dim = positive_dim(dim, x.ndim, "reverse_cumsum")
        return np.flip(np.cumsum(np.flip(x, dim), axis=dim), dim)

    cumsum = operation.REGISTRY["cumsum"]
    reverse_cumsum.vjps(x=lambda g, dim: cumsum(g, dim=dim))
    reverse_cumsum.mistake("permuted", "it runs from the end, as the forward pass does",
                           x=lambda g, dim: flip(cumsum(flip(g, dims=(dim,)), dim=dim),
                                                 dims=(dim,)))
    reverse_cumsum.samples((3, 5), dim=1)
    reverse_cumsum.samples((4, 2, 3), dim=-2)

    @operation.primitive(dims="...")
    def hard_shrink(x, *, width=0.5):
        """x where |x| > width, else 0.    dx = g where |x| > width, else 0"""
        return np.where(np.abs(x) > width, x, 0)

    hard_shrink.vjps(x=lambda g, x, width: keep(g, np.abs(getattr(x, "array", x)) > width))
    hard_shrink.flat("{count} of {size} inputs lie within the width, where it is flat",
                     x=lambda x, width: np.abs(x) <= width)
    hard_shrink.samples(distinct(3, 4))
    yield {"reverse_cumsum": reverse_cumsum, "hard_shrink": hard_shrink}
    operation.REGISTRY.clear()
    operation.REGISTRY.update(before)


def trace_of(op, k=0):
    args, options = draw(op.examples[k], np.random.default_rng([7, k]))
    x = npf.Tensor.wrap(args[0]).requires_grad_()
    g = np.random.default_rng(1).standard_normal(op.compute(*args, **options).shape)
    return npf.debug.trace(lambda: op(x, **options), g)


def test_the_page_is_right_about_it(new_operations):
    for op in new_operations.values():
        for k in range(len(op.examples)):
            step, = trace_of(op, k)
            truth = step.jacobian(0).reshape(step.value.size, -1) != 0
            assert np.array_equal(relation(step, 0).table(step.node.shape, step.node.shapes[0]),
                                  truth)
    assert not np.array_equal(truth, np.ones_like(truth)) and truth.any()


def test_an_operation_drawn_entry_by_entry_would_be_a_wrong_picture(new_operations):
    """What a default would have shown: the test above can fail."""
    step, = trace_of(new_operations["reverse_cumsum"])
    truth = step.jacobian(0).reshape(step.value.size, -1) != 0
    step.node.op = operation.primitive(new_operations["reverse_cumsum"].function, dims="...")
    step.node.op.vjps(x=lambda g: g)
    assert not np.array_equal(relation(step, 0).table(step.node.shape, step.node.shapes[0]), truth)


def test_why_zero_says_what_its_block_says(new_operations):
    x = npf.tensor([0.1, -0.2, 0.3], requires_grad=True)
    trace = npf.debug.trace(lambda: new_operations["hard_shrink"](x, width=0.5).sum())
    words = "hard_shrink stops it: 3 of 3 inputs lie within the width, where it is flat"
    assert words in str(trace.why_zero("x"))


def test_the_judge_passes_it_and_tries_its_own_mistake(new_operations):
    op = new_operations["reverse_cumsum"]
    x = npf.randn(3, 5, dtype=npf.float64, requires_grad=True)
    assert npf.gradcheck(lambda x: op(x, dim=1), [x])
    starts = [(op(x, dim=1).node, np.ones((3, 5)))]
    step = Step(*next(npf.core.tape.walk(starts, retain_graph=True, create_graph=False)))
    (kind, words, sent), = wrong_rules(step, 0)
    assert (kind, words) == ("permuted", "it runs from the end, as the forward pass does")
    np.testing.assert_allclose(sent, np.tile(np.arange(5.0, 0, -1), (3, 1)))


def test_the_docs_have_its_line(new_operations):
    spec = importlib.util.spec_from_file_location("operations_page",
                                                  ROOT / "docs" / "operations.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    assert page.dims(new_operations["reverse_cumsum"]) == "ab -> aB; b >= B    for (3, 5), dim=1"
    assert page.dims(new_operations["hard_shrink"]) == "..."


def test_saying_nothing_of_the_dims_is_an_error_at_import(tmp_path):
    file = tmp_path / "silent.py"
    file.write_text("import npformer\nfrom npformer.core.operation import primitive\n\n\n"
                    "@primitive\ndef rolled(x):\n"
                    '    """x rolled.    dx = g rolled back"""\n    return x\n')
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    words = "GraphError: rolled: which dims of its arguments line up with which of its output?"
    assert words in done.stderr


@pytest.mark.parametrize("dims, words", [
    ("ab -> a", "2 letters for an array of 3 dims"),
    ("abc -> aBc; b ~ B", "'b ~ B' is no condition"),
    ("abc -> aBc; b <= 4 - B", "'b <= 4 - B' is no condition"),
    ("abc -> aBc; b = 2 B", "'b = 2 B' is no condition"),
    ("abc -> aBc; z <= B", "a letter of an argument and one of the output; z and B are not"),
    ("abc => aBc", "there is no '->'"),
    ("a (b c) -> a b c", "'a \\(b c\\)' is no pattern"),
    ("(...) -> abc", r"\(...\) stands for all dims, on both sides"),
])
def test_dims_that_do_not_fit_are_refused_in_words(dims, words):
    with pytest.raises(npf.GraphError, match=words):
        line_up(dims, 0, [(2, 3, 4)], (2, 3, 4))


def block(function, rule, dims):
    """An operation of one argument that stays out of the registry."""
    before = dict(operation.REGISTRY)
    try:
        op = operation.primitive(function, dims=dims)
    finally:
        operation.REGISTRY.clear()
        operation.REGISTRY.update(before)
    op.vjps(x=rule)
    return op


def said_and_true(op, x):
    """What the page says of an operation on x, a table or None, and where its Jacobian is not 0."""
    step, = npf.debug.trace(lambda: op(npf.tensor(x, requires_grad=True)),
                            np.random.default_rng(1).standard_normal(op.compute(x).shape))
    found = relation(step, 0)
    truth = step.jacobian(0).reshape(step.value.size, -1) != 0
    return found and found.table(step.node.shape, step.node.shapes[0]), truth


def test_a_band_is_drawn_as_a_band():
    """Differences of neighbours read their own entry and the next: two bounds, one offset."""
    op = block(lambda x: np.diff(x, axis=1),
               lambda g: np.pad(g, ((0, 0), (1, 0))) - np.pad(g, ((0, 0), (0, 1))),
               "ab -> ac; b >= c; b <= c + 1")
    said, truth = said_and_true(op, np.random.default_rng(0).standard_normal((2, 5)))
    assert np.array_equal(said, truth)


def test_a_condition_is_about_the_argument_that_has_its_letter():
    """Two arguments, one condition: the other argument has no such letter."""
    lined = [line_up("nm, kp -> qp; k <= q", i, [(3, 3), (3, 4)], (3, 4)) for i in (0, 1)]
    assert lined[0].bounds == () and lined[1].bounds == ((0, 0, 1, 0),)


@pytest.mark.parametrize("function, rule", [
    (lambda x: x.reshape(2, 3, 2).sum(-1), lambda g: np.repeat(g, 2, axis=1)),
    (lambda x: x.reshape(2, 3, 2).max(-1), lambda g: np.repeat(g, 2, axis=1)),
], ids=["sums", "maxima"])
def test_an_operation_that_computes_is_not_taken_for_one_that_picks(function, rule):
    said, _ = said_and_true(block(function, rule, "[...] -> ..."), np.arange(12.0).reshape(2, 6))
    assert said is None                            # not known, and no wrong picture


def test_a_block_that_does_not_fit_leaves_the_page_standing():
    op = block(lambda x: x[:, 1:], lambda g: np.pad(g, ((0, 0), (1, 0))), "abc -> abc")
    x = npf.ones(2, 3, requires_grad=True)
    trace = npf.debug.trace(lambda: op(x).sum())
    assert relation(trace[1], 0) is None and "<script" in trace.to_html()


def test_a_wrong_word_in_a_block_is_an_error_at_import():
    for dims, words in (("ab, cd -> ac", "has 2 patterns, but its array arguments are x"),
                        ("a b", "there is no '->'")):
        with pytest.raises(npf.GraphError, match=words):
            block(lambda x: x, lambda g: g, dims)
    op = block(lambda x: x, lambda g: g, "...")
    with pytest.raises(npf.GraphError, match=r"flat\(...\): \['z'\] are not among"):
        op.flat("it is flat", z=lambda x: x == 0)
    with pytest.raises(npf.GraphError, match=r"mistake\(...\): \['z'\] are not among"):
        op.mistake("missing-factor", "the derivative is missing", z=lambda g: g)
