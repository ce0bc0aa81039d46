"""What PyTorch programs switch on and off at their top: taken, refused in words, or done."""

import numpy as np
import pytest
from against_torch import agree, same

import npformer as npf
from npformer import interop

torch = pytest.importorskip("torch",
                            reason="PyTorch is the outsider that results are compared with")


@pytest.fixture(autouse=True)
def printoptions():
    before = dict(interop.PRINT)
    yield
    interop.PRINT.update(before)


def test_printoptions():
    x = npf.arange(50) / 3
    npf.set_printoptions(precision=1, threshold=10, edgeitems=2, linewidth=200, sci_mode=False)
    assert repr(x) == "tensor([ 0.0,  0.3, ..., 16.0, 16.3])"
    npf.set_printoptions(profile="default")
    assert "0.3333" in repr(x) and "5.3333" in repr(x)
    with pytest.raises(npf.ValueRangeError, match="one of default, short, full, got 'long'"):
        npf.set_printoptions(profile="long")


def test_what_is_taken_and_changes_nothing():
    npf.set_float32_matmul_precision("high")
    npf.use_deterministic_algorithms(True)
    npf.backends.cudnn.deterministic, npf.backends.cudnn.benchmark = True, False
    npf.set_default_device("cpu")
    model = npf.nn.Linear(2, 2)
    assert npf.compile(model) is model and npf.compile(mode="max-autotune")(model) is model
    assert not npf.backends.mps.is_available()
    assert npf.backends.cuda.is_built() == npf.cuda.is_available()
    with pytest.raises(npf.ValueRangeError, match="got 'low'"):
        npf.set_float32_matmul_precision("low")
    with pytest.raises(npf.DeviceError, match="device 'tpu' is not known"):
        npf.set_default_device("tpu")


@pytest.mark.parametrize("name, words",
                         [("bfloat16", "use npf.float32"), ("autocast", "no mixed precision"),
                          ("complex64", "cos and sin"), ("jit", "as they are")])
def test_what_is_not_there_says_why(name, words):
    assert not hasattr(npf, name)
    with pytest.raises(AttributeError, match=words):
        getattr(npf, name)


def test_the_state_of_the_generator():
    state = npf.get_rng_state()
    first = npf.rand(3)
    npf.set_rng_state(state)
    assert npf.rand(3).equal(first)


def test_a_gradient_with_nan_is_found_where_it_is_made():
    def loss(x):
        return (x * npf.sqrt(x * 0)).sum()

    x = npf.tensor([1.0, 2.0], requires_grad=True)
    loss(x).backward()
    assert x.grad.isnan().all()
    words = r"(?s)gave \w+ a gradient with NaN.*settings"
    with npf.autograd.detect_anomaly(), pytest.raises(npf.GraphError, match=words):
        loss(x).backward()
    loss(x).backward()
    npf.autograd.set_detect_anomaly(True)
    with pytest.raises(npf.GraphError, match="a gradient with NaN"):
        loss(x).backward()
    npf.autograd.set_detect_anomaly(False)
    loss(x).backward()
    with npf.autograd.detect_anomaly(check_nan=False):
        loss(x).backward()


@pytest.mark.parametrize("make", [
    lambda lib: lib.FloatTensor([[1, 2], [3, 4]]), lambda lib: lib.LongTensor([1, 2]),
    lambda lib: lib.IntTensor([3]), lambda lib: lib.DoubleTensor([1.5]),
    lambda lib: lib.BoolTensor([True, False]), lambda lib: lib.LongTensor(2, 3) * 0,
    lambda lib: lib.Tensor([1, 2]), lambda lib: lib.Tensor(2, 3).fill_(1),
    lambda lib: lib.Tensor(4).zero_(), lambda lib: lib.tril_indices(3, 4),
    lambda lib: lib.triu_indices(3, 4), lambda lib: lib.tril_indices(4, 2, -1),
    lambda lib: lib.triu_indices(3, 5, offset=1), lambda lib: lib.tril_indices(3, 3, offset=1),
    lambda lib: lib.zeros(3, 4).index_fill_(1, lib.tensor([0, 2, 2]), 5.0),
    lambda lib: lib.arange(6).view(2, 3).index_fill(0, lib.tensor([1]), 9)
    .reshape_as(lib.zeros(3, 2)),
])
def test_constructors(make):
    same(make(npf), make(torch))


def test_index_fill():
    agree(lambda lib, x, v: (lib.index_fill(x, 1, lib.tensor([2, 0, 2]), 3.5)
                             * x.index_fill(-1, lib.tensor([1]), v)),
          np.random.default_rng(0).standard_normal((2, 3)), np.float64(1.7))
    with pytest.raises(npf.IndexRangeError):
        npf.zeros(3).index_fill(0, npf.tensor([3]), 1.0)


def test_hooks_on_an_output_run_before_the_module_s_own():
    def program(lib, x):
        layer = lib.nn.Linear(3, 2).double()
        layer.load_state_dict({"weight": lib.ones(2, 3), "bias": lib.zeros(2)})
        seen = []
        layer.register_full_backward_hook(
            lambda module, grad_input, grad_output: seen.extend(grad_input + grad_output))
        y = layer(x)
        y.register_hook(lambda g: g * 3)
        (y * y).sum().backward()
        return seen

    agree(program, np.random.default_rng(1).standard_normal((4, 3)))


@pytest.mark.parametrize("program", [
    lambda lib, x, y: x.exp2() + lib.log2(y * y) + lib.log10(y * y + 1),
    lambda lib, x, y: lib.index_copy(x, 1, lib.tensor([2, 0, 3]), y[:, :3]),
    lambda lib, x, y: (x * 1).index_copy_(0, lib.tensor([1]), y[:1] ** 2),
    lambda lib, x, y: x.index_copy(-2, lib.tensor([1, 0]), y),
])
def test_functions_that_programs_use(program):
    agree(program, np.random.default_rng(2).standard_normal((2, 4)),
          np.random.default_rng(3).standard_normal((2, 4)))


def test_index_copy_refuses_what_does_not_fit():
    with pytest.raises(npf.ShapeError, match="along dim index's length"):
        npf.zeros(3, 2).index_copy(0, npf.tensor([1]), npf.ones(2, 2))


def test_gumbel_softmax_draws_from_the_classes():
    x = npf.tensor([0.1, 0.6, 0.3], dtype=npf.float64).log()
    x = x.expand(20000, 3).clone().requires_grad_()
    y = npf.nn.functional.gumbel_softmax(x, tau=0.7, hard=True)
    assert set(y.unique().round(decimals=9).tolist()) == {0.0, 1.0} and (y.sum(-1) == 1).all()
    assert abs(y.mean(0).numpy(force=True) - [0.1, 0.6, 0.3]).max() < 0.015
    upstream = npf.rand(3, dtype=npf.float64)
    assert np.allclose(npf.nn.functional.gumbel_softmax(x.detach().T, dim=0).sum(0).numpy(), 1)
    npf.manual_seed(1)                             # hard passes back the soft draw's gradient
    a, b = (x.detach().requires_grad_() for _ in range(2))
    hard = npf.nn.functional.gumbel_softmax(a, hard=True)
    npf.manual_seed(1)
    soft = npf.nn.functional.gumbel_softmax(b)
    assert (hard.argmax(-1) == soft.argmax(-1)).all()
    (hard * upstream).sum().backward(), (soft * upstream).sum().backward()
    assert np.allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-15)
    with pytest.raises(npf.ValueRangeError, match="tau must be > 0"):
        npf.nn.functional.gumbel_softmax(x, tau=0)
