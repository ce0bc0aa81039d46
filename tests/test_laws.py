"""The laws that hold for every operation in the registry, at every one of its samples.

An operation gets these tests by existing: nothing here names one. The last test plants a wrong
gradient in each rule of each operation and asks that the laws notice.
"""

import re

import numpy as np
import pytest

import npformer as npf
from npformer.core import operation, tape
from npformer.core.dtypes import promote
from npformer.core.samples import draw
from npformer.ops.elementwise import where

CASES = [pytest.param(op, k, id=f"{op.name}-{k}")
         for op in operation.REGISTRY.values() for k in range(len(op.examples))]
every_sample = pytest.mark.parametrize("op, k", CASES)
H = 1e-5


def draw_sample(op, k, dtype=np.float64, seed=0):
    return draw(op.examples[k], np.random.default_rng([seed, k]), dtype)


def differentiable(op, args):
    return [i for i, a in enumerate(args) if op.differentiable(i)
            and getattr(a, "dtype", np.dtype(bool)).kind == "f"]


def make_tensors(args, which):
    return [npf.Tensor.wrap(a).requires_grad_() if i in which else a for i, a in enumerate(args)]


def first_order(op, args, options, upstream):
    """The gradients of Σ upstream·op(args), by the backward walk."""
    which = differentiable(op, args)
    xs = make_tensors(args, which)
    return tape.collect(op(*xs, **options), npf.Tensor.wrap(upstream), [xs[i] for i in which])


def slopes(function, array):
    """d function / d array by central differences of fourth order, entry by entry. `function` reads
    `array` itself."""
    found = np.zeros(array.shape)
    for place in np.ndindex(*array.shape):
        before, at = array[place], {}
        for step in (-2, -1, 1, 2):
            array[place] = before + step * H
            at[step] = function()
        array[place] = before
        found[place] = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * H)
    return found


def assert_close(found, expected, what, rtol=1e-6):
    scale = max(np.abs(expected).max(initial=0), 1e-3)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, not {expected.shape}"
    worst = np.abs(found - expected).max(initial=0) / scale
    assert worst <= rtol, f"{what} is off by {worst:.2e} of its largest entry"


def check_first_order(op, k):
    args, options = draw_sample(op, k)
    rng = np.random.default_rng(7)
    upstream = rng.standard_normal(np.shape(op(*args, **options)))
    found = first_order(op, args, options, upstream)
    for i, d in zip(differentiable(op, args), found):
        expected = slopes(lambda: float((op(*args, **options) * upstream).sum()), args[i])
        assert_close(d, expected, f"{op.name}: d{op.name_of(i)}")


def check_second_order(op, k):
    """Differentiate m(x, g) = Σ u·(gradient at x, for upstream g) again, in every x and in g."""
    args, options = draw_sample(op, k)
    rng = np.random.default_rng(11)
    upstream = rng.standard_normal(np.shape(op(*args, **options)))
    which = differentiable(op, args)
    us = [rng.standard_normal(args[i].shape) for i in which]

    def plain():
        return float(sum((u * d).sum()
                         for u, d in zip(us, first_order(op, args, options, upstream))))

    xs, g = make_tensors(args, which), npf.Tensor.wrap(upstream).requires_grad_()
    chosen = [xs[i] for i in which]
    found = tape.collect(op(*xs, **options), g, chosen, create_graph=True)
    m = sum((npf.Tensor.wrap(u) * d).sum() for u, d in zip(us, found))
    if m.node is None:
        pytest.fail(f"{op.name}: its gradient does not depend even on the upstream")
    seconds = tape.collect(m, None, [*chosen, g])
    names = [op.name_of(i) for i in which] + ["g"]
    for name, array, second in zip(names, [args[i] for i in which] + [upstream], seconds):
        assert_close(np.zeros(array.shape) if second is None else second, slopes(plain, array),
                     f"{op.name}: second derivative in {name}", rtol=2e-5)


@every_sample
def test_first_order_agrees_with_finite_differences(op, k):
    check_first_order(op, k)


@every_sample
def test_second_order_agrees_with_finite_differences(op, k):
    if differentiable(op, draw_sample(op, k)[0]):
        check_second_order(op, k)


@every_sample
def test_float32_stays_float32(op, k):
    if op.name == "cast":
        return                                     # changing the dtype is what it is for
    args, options = draw_sample(op, k, np.float32)
    which = differentiable(op, args)
    xs = make_tensors(args, which)
    y = op(*xs, **options)
    assert y.dtype == np.float32
    upstream = np.ones(y.shape, np.float32)
    # the rule itself, before the walk would mend its dtype
    sent = y.node.op.gradients(y.node, upstream)
    assert {d.dtype for d in sent if d is not None} == {np.dtype("float32")}
    for value in (y.node.saved or {}).values():
        words = "a float64 array is saved for a float32 operation"
        assert getattr(value, "dtype", None) != np.float64, words


@every_sample
def test_tensors_and_arrays_give_the_same_value(op, k):
    args, options = draw_sample(op, k)
    y = op(*make_tensors(args, differentiable(op, args)), **options)
    np.testing.assert_array_equal(y.array, op(*args, **options))


@every_sample
def test_non_contiguous_and_read_only_inputs(op, k):
    """Every other entry of a larger array, that cannot be written: the same value and gradients,
    and no write."""
    args, options = draw_sample(op, k)
    upstream = np.random.default_rng(3).standard_normal(np.shape(op(*args, **options)))
    spread = []
    for a in args:
        if isinstance(a, np.ndarray) and a.ndim:
            wide = np.repeat(a, 2, axis=-1)
            wide.flags.writeable = False
            a = wide[..., ::2]
        spread.append(a)
    strided = np.repeat(upstream[..., None], 2, axis=-1)[..., 0]
    strided.flags.writeable = False
    np.testing.assert_allclose(op(*spread, **options), op(*args, **options), rtol=1e-12, atol=1e-13)
    for d, e in zip(first_order(op, spread, options, strided),
                    first_order(op, args, options, upstream)):
        np.testing.assert_allclose(d, e, rtol=1e-12, atol=1e-13)


@every_sample
def test_gradients_are_linear_in_upstream_and_zero_at_zero(op, k):
    args, options = draw_sample(op, k)
    rng = np.random.default_rng(5)
    g, h = rng.standard_normal((2, *np.shape(op(*args, **options))))
    both = first_order(op, args, options, 2 * g - 3 * h)
    for one, other, d in zip(first_order(op, args, options, g),
                             first_order(op, args, options, h), both):
        np.testing.assert_allclose(d, 2 * one - 3 * other, rtol=1e-11, atol=1e-12)
    for d in first_order(op, args, options, 0 * g):
        assert not d.any()


FUSED = [case for case in CASES if isinstance(case.values[0], operation.Fused)]


@pytest.mark.parametrize("op, k", FUSED)
def test_fused_is_its_definition(op, k):
    args, options = draw_sample(op, k)
    which = differentiable(op, args)
    xs, ys = make_tensors(args, which), make_tensors(args, which)
    fast, slow = op(*xs, **options), op.definition(*ys, **options)
    np.testing.assert_allclose(fast.array, slow.array, rtol=1e-12, atol=1e-13)
    upstream = npf.Tensor.wrap(np.random.default_rng(2).standard_normal(fast.shape))
    found = tape.collect(fast, upstream, [xs[i] for i in which])
    expected = tape.collect(slow, upstream, [ys[i] for i in which])
    for i, d, e in zip(which, found, expected):
        np.testing.assert_allclose(d, e, rtol=1e-12, atol=1e-13, err_msg=op.name_of(i))


@pytest.mark.parametrize("op", operation.REGISTRY.values(), ids=operation.REGISTRY)
def test_docstring_states_every_gradient(op):
    names = [op.variadic] if op.variadic else [n for i, n in enumerate(op.names)
                                               if op.differentiable(i)]
    for name in names:
        words = f"{op.name}: its docstring does not say d{name} = ..."
        assert re.search(rf"\bd{name}\s+= ", op.__doc__), words


@pytest.mark.parametrize("op", operation.REGISTRY.values(), ids=operation.REGISTRY)
def test_every_operation_has_samples_and_a_formula(op):
    assert op.examples, f"{op.name}: write {op.name}.samples(...) into its block"
    assert op.formula
    assert op.__doc__.splitlines()[0].count("    d") or "\n" in op.__doc__


@pytest.mark.parametrize("op", operation.REGISTRY.values(), ids=operation.REGISTRY)
def test_what_a_block_tells_can_be_asked(op):
    """A condition or a wrong rule that names what is not there would never be asked, and nobody
    would notice."""
    args, options = draw_sample(op, 0)
    saved = op.fast_forward(*args, **options)[1] if isinstance(op, operation.Fused) else {}
    known = {"g", "y", *op.names, *op.options, *saved}
    for fact in op.facts:
        assert set(operation.parameter_names(fact.where)) <= known, f"{op.name}: {fact.words}"
    shapes = {f"{name}_shape" for name in op.names}
    for kind, words, rules in op.mistakes:
        assert kind in npf.verify.KINDS, f"{op.name}: {kind!r} is no kind of finding"
        for rule in rules.values():
            assert set(operation.parameter_names(rule)) <= known | shapes, f"{op.name}: {words}"


def test_a_gradient_rule_that_names_something_unknown_is_refused():
    before = dict(operation.REGISTRY)

    def doubled(x):
        """2x.    dx = 2g"""
        return 2 * x

    try:
        with pytest.raises(npf.GraphError, match="doubled: which dims of its arguments line up"):
            operation.primitive(doubled)
        with pytest.raises(npf.GraphError, match=r"doubled: its dims read \['z'\]; they may read"):
            operation.primitive(doubled, dims=lambda z: "a -> a")
        op = operation.primitive(doubled, dims="...")
        with pytest.raises(npf.GraphError, match=r"has no gradient rules; write doubled.vjps\("):
            op(npf.ones(3, requires_grad=True))
        with pytest.raises(npf.GraphError, match="reads 'z', which is no argument or option"):
            op.vjps(x=lambda g, z: g)
        with pytest.raises(npf.GraphError,
                           match=r"rules for \['y'\], but its array arguments are \['x'\]"):
            op.vjps(y=lambda g: g)
    finally:
        operation.REGISTRY.clear()
        operation.REGISTRY.update(before)


# ── the laws themselves are tested: a wrong gradient in any rule must be noticed ──────────────────

def arguments_with_gradients(op):
    """The numbers of the arguments that get a gradient in some sample."""
    return sorted({i for k in range(len(op.examples))
                   for i in differentiable(op, draw_sample(op, k)[0])})


PLANTED = [pytest.param(op, i, id=f"{op.name}-{op.name_of(i)}")
           for op in operation.REGISTRY.values() for i in arguments_with_gradients(op)]
# Their gradients are zero, so a factor changes nothing: these get a gradient where there should be
# none.
FLAT = {"sign", "floor", "ceil", "round"}


@pytest.mark.parametrize("rule, check", [
    ("gradients", check_first_order), ("gradient_graph", check_second_order)])
@pytest.mark.parametrize("op, i", PLANTED)
def test_a_wrong_rule_is_noticed(op, i, rule, check, monkeypatch):
    """The gradient of one argument is made 1.001 x as large; some sample must show it."""
    right = getattr(op, rule)

    def wrong(node, g):
        sent = list(right(node, g))
        if i < len(sent) and sent[i] is not None:     # einsum has samples of one and of three
            sent[i] = sent[i] + 0.001 * (g if op.name in FLAT else sent[i])
        return sent

    monkeypatch.setattr(op, rule, wrong)
    with pytest.raises(AssertionError):
        for k in range(len(op.examples)):
            check(op, k)


def test_promotion_leaves_usual_operands_alone():
    pair = (np.zeros(3, np.float32), 2)
    assert promote(pair) is pair
    assert where(np.array([True, False]), np.float32([1, 2]), 0.5).dtype == np.float32
