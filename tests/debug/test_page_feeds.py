"""Which cells feed which, held against the Jacobian's own zeros: for every operation at every
sample."""

import json
import math
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F  # every operation is in the registry from here on
from npformer.core import operation
from npformer.core.samples import draw
from npformer.debug.page import array_store
from npformer.debug.page.which_cells import relation
from npformer.debug.views.pictures import edges
from npformer.models import TinyTransformer

# Where a table of dims cannot say which single products vanish, the relation may say more than the
# Jacobian.
MAY_SAY_MORE = {"matmul", "einsum", "linear", "layer_norm", "rms_norm", "batch_norm", "log_softmax"}
CASES = [pytest.param(op, k, id=f"{op.name}-{k}")
         for op in operation.REGISTRY.values() for k in range(len(op.examples))]


def steps_of(function, *arrays, which=None, **options):
    """The steps of a trace of `function` on arrays, for a random upstream."""
    xs = [npf.Tensor.wrap(a).requires_grad_() if getattr(a, "dtype", np.dtype(bool)).kind == "f" and
          (which is None or k in which) else a for k, a in enumerate(arrays)]
    y = function(*xs, **options)
    if not isinstance(y, npf.Tensor) or y.node is None:
        return []
    g = np.random.default_rng(0).standard_normal(y.shape)
    return npf.debug.trace(lambda: function(*xs, **options), g)


def tables(step):
    """(argument, what the relation says, what the Jacobian says) for each gradient of a step."""
    for i, d in enumerate(step.sent):
        if d is not None:
            found = relation(step, i)
            assert found is not None, f"{step.op}: nothing is known of argument {i}"
            truth = step.jacobian(i).reshape(int(np.prod(step.node.shape)), -1) != 0
            yield step.node.op.name_of(i), found.table(step.node.shape, step.node.shapes[i]), truth


@pytest.mark.parametrize("op, k", CASES)
def test_the_relation_is_the_jacobians_pattern(op, k):
    args, options = draw(op.examples[k], np.random.default_rng([1, k]))
    which = [i for i in range(len(args)) if op.differentiable(i)]
    for step in steps_of(op, *args, which=which, **options):
        for name, said, truth in tables(step):
            assert not (truth & ~said).any(), f"{op.name}: {name} feeds where it is said not to"
            if op.name not in MAY_SAY_MORE:
                more = (said & ~truth).sum()
                assert np.array_equal(said, truth), f"{op.name}: {more} cells of {name} do not feed"


def test_exactly_where_nothing_vanishes():
    """The operations that may say more say no more where no factor is 0."""
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((2, 5, 3)), rng.standard_normal((4, 3)) + 3
    b = rng.standard_normal(4)
    row = b[:1].repeat(7)
    cases = [(operation.REGISTRY["linear"], (x + 3, w, b), {}),
             (operation.REGISTRY["matmul"], (x + 3, w.T.copy()), {}),
             (operation.REGISTRY["log_softmax"], (x,), {"dim": 1}),
             (operation.REGISTRY["layer_norm"], (rng.standard_normal((3, 7)), row, row), {})]
    for op, args, options in cases:
        for step in steps_of(op, *args, **options):
            for name, said, truth in tables(step):
                assert np.array_equal(said, truth), f"{op.name}: {name}"


def test_a_causal_mask_shuts_the_future():
    q, k, v = (np.random.default_rng(n).standard_normal((1, 2, 4, 3)) for n in range(3))
    mask = np.tril(np.ones((4, 4), bool))
    step, = steps_of(operation.REGISTRY["attention"], q, k, v, mask, None, scale=0.5)
    for name, said, truth in tables(step):
        assert np.array_equal(said, truth), name
    said = relation(step, 1).table(step.node.shape, k.shape).reshape(2, 4, 3, 2, 4, 3)
    assert said[0, 3, 0, 0, 1].all()
    assert not said[0, 1, 0, 0, 3].any() and not said[0, 3, 0, 1].any()


def test_relu_is_shut_where_it_is():
    step, = steps_of(F.relu, np.array([[-1.0, 2.0, 0.0]]))
    assert relation(step, 0).table((1, 3), (1, 3)).diagonal().tolist() == [False, True, False]


class Roll(npf.autograd.Function):
    """A user's own operation, of which the page knows nothing but its backward."""

    @staticmethod
    def forward(ctx, x):
        return npf.cat([x[1:], x[:1]])

    @staticmethod
    def backward(ctx, g):
        return npf.cat([g[-1:], g[:-1]])


def test_a_users_function_is_asked_for_its_jacobian():
    step, = steps_of(Roll.apply, np.arange(4.0))
    rolled = np.roll(np.eye(4, dtype=bool), 1, axis=1)
    assert np.array_equal(relation(step, 0).table((4,), (4,)), rolled)


class Picky(npf.autograd.Function):
    """A user's own operation, whose backward takes no other upstream than the one that it
    expects."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        if (g == 0).any():
            raise RuntimeError("not this one")
        return g * 2


def test_a_function_that_refuses_is_left_alone():
    step, = steps_of(Picky.apply, np.arange(4.0))
    assert relation(step, 0) is None


def test_a_large_function_is_not_asked():
    step, = steps_of(Roll.apply, np.arange(2000.0))
    assert relation(step, 0) is None


# ── the same in the page's own script ─────────────────────────────────────────────────────────────


def small_model():
    """The trace of a model so small that every Jacobian is at hand."""
    model = TinyTransformer(7, context=5, d_model=4, n_heads=2, d_ff=6)
    x, y = npf.randint(0, 7, (2, 2, 5))
    return npf.debug.trace(lambda: F.cross_entropy(model(x).view(-1, 7), y.view(-1)))


def said_by_the_script(trace, folder):
    """(step, argument, cells of y, cells of x, table) as the page's script has it."""
    if not shutil.which("node"):
        pytest.skip("THE PAGE'S SCRIPT IS NOT TRIED: Node is missing. Run `make browser` first.")
    trace.to_html(folder / "page.html")
    script = pathlib.Path(__file__).parent.parent / "browser" / "relations.mjs"
    done = subprocess.run(["node", str(script), str(folder / "page.html")],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for k, i, y, x, table in json.loads(done.stdout):
        if table is not None:
            table = np.array(list(table), int).astype(bool).reshape(math.prod(y), math.prod(x))
        yield trace[k], i, y, x, table


def test_the_script_says_the_same(tmp_path):
    trace = small_model()
    count = 0
    for step, i, _, _, said in said_by_the_script(trace, tmp_path):
        expected = relation(step, i).table(step.node.shape, step.node.shapes[i])
        assert np.array_equal(said, expected), step
        count += 1
    assert count == sum(len(step.gradients) for step in trace)


def test_blocks_belong_together_where_any_of_their_entries_do(tmp_path, monkeypatch):
    monkeypatch.setattr(array_store, "WHOLE", 12)
    checked = 0
    for step, i, y, x, said in said_by_the_script(small_model(), tmp_path):
        if said is None or (y, x) == (list(step.node.shape), list(step.node.shapes[i])):
            continue
        shapes = step.node.shape, step.node.shapes[i]
        truth = relation(step, i).table(*shapes).reshape(*shapes[0], *shapes[1])
        for dim, (size, cells) in enumerate(zip(truth.shape, (*y, *x))):
            truth = np.logical_or.reduceat(truth, edges(size, cells)[:-1], dim)
        assert not (truth.reshape(said.shape) & ~said).any(), step
        checked += 1
    assert checked > 10
