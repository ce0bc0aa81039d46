"""Asking for the GPU: it works, or fails at once and says why; CPU and GPU do not mix."""

import subprocess
import sys
import types

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer import nn
from npformer.core import devices
from npformer.core.errors import DeviceError

# ── asking in vain ────────────────────────────────────────────────────────────────────────────────


def fake(count):
    """A module `cupy` whose getDeviceCount is `count`."""
    return types.SimpleNamespace(__version__="14.2.0", cuda=types.SimpleNamespace(
        runtime=types.SimpleNamespace(getDeviceCount=count)))


def no_driver():
    raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for "
                       "CUDA runtime version")


FAILURES = {
    "not installed": (None, "CuPy was asked for and is not installed",
                      "pip install 'npformer[cuda]'"),
    "a folder of that name": (types.ModuleType("cupy"),
                              "is not installed (module 'cupy' has no attribute 'cuda')",
                              "pip install 'npformer[cuda]'"),
    "no driver": (fake(no_driver), "finds no working NVIDIA driver: cudaErrorInsufficientDriver",
                  "update the driver"),
    "no device": (fake(lambda: 0), "the machine shows no CUDA device",
                  "nvidia-smi and CUDA_VISIBLE_DEVICES"),
}
ASKING = {
    "backend": lambda: npf.backend("cupy").__enter__(),
    "set_backend": lambda: npf.set_backend("cuda"), "to": lambda: npf.ones(2).to("cuda"),
    "cuda": lambda: npf.ones(2).cuda(), "device=": lambda: npf.zeros(2, device="cuda"),
    "tensor": lambda: npf.tensor([1.0], device="cuda:0"), "module": lambda: nn.Linear(2, 2).cuda(),
    "rand": lambda: npf.rand(2, device="cuda"),
}


@pytest.mark.parametrize("why", FAILURES)
@pytest.mark.parametrize("how", ASKING)
def test_a_missing_gpu_is_an_error_at_once_that_says_why(monkeypatch, why, how):
    module, reason, remedy = FAILURES[why]
    monkeypatch.setitem(sys.modules, "cupy", module)
    with pytest.raises(DeviceError) as caught:
        ASKING[how]()
    assert reason in str(caught.value) and remedy in str(caught.value)
    assert npf.get_backend() == "numpy" and npf.ones(2).device == "cpu"
    assert not npf.cuda.is_available() and npf.cuda.device_count() == 0


@pytest.mark.parametrize("name", ["cuda:1", "tpu", "CUDA", "cpu:1", "gpu0", ""])
def test_unknown_devices(name):
    for ask in (lambda: npf.zeros(2, device=name), lambda: npf.device(name),
                lambda: npf.set_backend(name)):
        with pytest.raises(DeviceError, match=f"device {name!r} is not known.\n  Use 'cpu'"):
            ask()


def python(script, **environment):
    """Run a script in an interpreter of its own, which has no cupy unless it is given one."""
    import os
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          env={**os.environ, **environment})


def test_the_environment_asks_at_import(tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('libcuda is missing')")
    done = python("import npformer", NPFORMER_BACKEND="cupy", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    words = "DeviceError: CuPy was asked for and is not installed (libcuda is missing)."
    assert words in done.stderr
    done = python("import npformer", NPFORMER_BACKEND="abacus")
    assert done.returncode == 1 and "device 'abacus' is not known" in done.stderr
    done = python("import npformer as npf; print(npf.get_backend())", NPFORMER_BACKEND="numpy")
    assert done.stdout.strip() == "numpy"


def test_the_environment_chooses_the_backend():
    done = python("import sys, cupy_standin; sys.modules['cupy'] = cupy_standin\n"
                  "import npformer as npf\n"
                  "print(npf.get_backend(), npf.ones(2).device, npf.ones(2, device='cpu').device)",
                  NPFORMER_BACKEND="cupy", PYTHONPATH=__file__.rpartition("/")[0])
    assert done.stdout.split() == ["cupy", "cuda", "cpu"], done.stderr


def test_without_asking_nothing_imports_cupy(tmp_path):
    (tmp_path / "cupy.py").write_text("raise SystemExit('cupy was imported')")
    done = python("import numpy as np, npformer as npf\n"
                  "from npformer import nn, optim\n"
                  "model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.LayerNorm(4), "
                  "nn.Linear(4, 1))\n"
                  "opt = optim.Adam(model.parameters())\n"
                  "x = npf.randn(5, 3)\n"
                  "for _ in range(3):\n"
                  "    loss = (model(x) ** 2).mean(); opt.zero_grad(); "
                  "loss.backward(); opt.step()\n"
                  "npf.gradcheck(lambda x: x.tanh(), npf.randn(3, dtype=npf.float64, "
                  "requires_grad=True))\n"
                  "x.cpu(), x.to('cpu'), np.asarray(x), x[x > 0], repr(x), "
                  "npf.models.TinyTransformer\n"
                  "print('fine')", PYTHONPATH=str(tmp_path))
    assert done.stdout.strip() == "fine", done.stderr


# ── going there and back ──────────────────────────────────────────────────────────────────────────


def test_moving(cupy):
    x = npf.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    assert x.device == "cpu" and not x.is_cuda and x.to("cpu") is x and x.cpu() is x
    there = npf.ones(1, dtype=npf.float64, device="cuda")
    for y in (x.to("cuda"), x.cuda(), x.to(npf.device("cuda:0")), x.to(device="cuda"), x.to(there)):
        assert y.device == "cuda" and y.is_cuda and isinstance(y.array, cupy.ndarray)
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y.cpu().detach().numpy(), x.detach().numpy())
    back = (x.cuda() * 2).cpu()
    (back * npf.tensor(np.ones((2, 3)))).sum().backward()
    assert x.grad.device == "cpu"                  # a gradient lies where its tensor lies
    np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 3), 2.0))
    half = x.to("cuda", npf.float32)
    assert half.device == "cuda" and half.dtype == npf.float32


def test_backend_is_where_new_tensors_live(cupy):
    made = {"zeros": lambda: npf.zeros(2), "tensor": lambda: npf.tensor([1.0, 2.0]),
            "arange": lambda: npf.arange(3), "rand": lambda: npf.rand(2), "eye": lambda: npf.eye(2),
            "full": lambda: npf.full((2,), 1.5), "linspace": lambda: npf.linspace(0, 1, 3),
            "randint": lambda: npf.randint(0, 5, (2,)), "empty": lambda: npf.empty(2),
            "randperm": lambda: npf.randperm(4), "normal": lambda: npf.normal(0.0, 1.0, (2,)),
            "ones": lambda: npf.ones(2), "Tensor": lambda: npf.Tensor([1.0]),
            "layer": lambda: nn.Linear(2, 2).weight,
            "multinomial": lambda: npf.multinomial(npf.ones(4), 2)}
    for name, make in made.items():
        with npf.backend("cupy"):
            assert npf.get_backend() == "cupy" and make().device == "cuda", name
            with npf.backend("numpy"):
                assert make().device == "cpu", name
            assert npf.get_backend() == "cupy"
        assert make().device == "cpu", name
    with pytest.raises(ZeroDivisionError), npf.backend("cupy"):
        raise ZeroDivisionError
    assert npf.get_backend() == "numpy"
    for make in (npf.zeros, npf.ones, npf.rand, npf.randn, npf.empty):
        assert make(2, device="cuda").device == "cuda" and make(2).device == "cpu"
    x = npf.ones(2, device="cuda")
    assert npf.zeros_like(x).device == "cuda" and x.new_zeros(3).device == "cuda"
    assert npf.tensor(x).device == "cuda"


def test_one_seed_means_the_same_on_both(cupy):
    def draws(device):
        npf.manual_seed(3)
        x = npf.ones(50, device=device) / 3
        return [npf.rand(5, device=device), npf.randn(4, device=device),
                npf.randint(0, 9, (6,), device=device), npf.randperm(7, device=device),
                npf.bernoulli(x), F.dropout(x, 0.5), npf.multinomial(x, 4),
                nn.init.normal_(npf.empty(3, device=device))]

    for a, b in zip(draws("cpu"), draws("cuda"), strict=True):
        assert (a.device, b.device) == ("cpu", "cuda")
        np.testing.assert_array_equal(b.cpu().numpy(), a.numpy())


def test_the_gpus_own_names(cupy):
    assert npf.cuda.is_available() and npf.cuda.device_count() >= 1 and npf.cuda.get_device_name()
    npf.cuda.synchronize()
    npf.cuda.manual_seed_all(3)
    text = repr(npf.ones(2, device="cuda"))
    assert text == "tensor([1.0000, 1.0000], device='cuda')"


def test_leaving_the_gpu_is_said_aloud(cupy):
    x = npf.ones(2, 2, device="cuda")
    for leave in (lambda: x.numpy(), lambda: np.asarray(x), lambda: np.array(x)):
        with pytest.raises(DeviceError, match=r"this tensor is on cuda; use x.cpu\(\) first"):
            leave()
    assert x.tolist() == [[1.0, 1.0], [1.0, 1.0]] and x.sum().item() == 4.0
    assert float(x[0, 0]) == 1.0 and bool(x[0, 0] == 1)
    assert f"{x.sum():.1f}" == "4.0" and len(x) == 2 and [r.device for r in x] == ["cuda", "cuda"]


def test_writing_in_place_on_the_gpu(cupy):
    x = npf.ones(2, 3, device="cuda")
    x.add_(1).mul_(npf.full((3,), 2.0, device="cuda"))
    x[0, 1] = 7
    x[:, 2] = npf.zeros(2, device="cuda")
    x[x == 4] = -1.0
    x += 1
    assert x.tolist() == [[0.0, 8.0, 1.0], [0.0, 0.0, 1.0]] and x.device == "cuda"
    x.copy_(npf.ones(2, 3)), x.zero_(), x.fill_(2.0), x.uniform_(), x.normal_()
    w = npf.ones(3, device="cuda").requires_grad_()
    y = (w * w).sum()
    with npf.no_grad():
        w.mul_(2)
    with pytest.raises(npf.GraphError, match="was changed in place meanwhile"):
        y.backward()


def test_state_moves_with_the_module(cupy):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    assert model.cuda() is model
    assert {t.device.type for t in [*model.parameters(), *model.buffers()]} == {"cuda"}
    model.load_state_dict(state)                   # from the CPU, into the GPU's memory
    assert next(model.parameters()).device == "cuda"
    assert {p.device.type for p in model.cpu().parameters()} == {"cpu"}


# ── the kinds do not mix ──────────────────────────────────────────────────────────────────────────


MIXTURES = {
    "add": lambda c, g: c + g, "radd": lambda c, g: g + c, "matmul": lambda c, g: c @ g,
    "cat": lambda c, g: npf.cat([c, g]),
    "where": lambda c, g: npf.where(c > 0, g, g), "linear": lambda c, g: F.linear(c, g),
    "maximum": lambda c, g: npf.maximum(g, c),
    "einsum": lambda c, g: npf.einsum("ij,jk->ik", c, g),
    "layer_norm": lambda c, g: F.layer_norm(g, (3,), c[0], c[1]),
    "attention": lambda c, g: F.scaled_dot_product_attention(g, g, c),
    "mask": lambda c, g: npf.masked_fill(g, c > 0, 0.0),
    "embedding": lambda c, g: F.embedding(c.long(), g),
    "gather": lambda c, g: npf.gather(g, 0, c.long()),
    "cross_entropy": lambda c, g: F.cross_entropy(g, c[0].long()),
    "index": lambda c, g: g[c[0].long()], "index of the CPU": lambda c, g: c[g[0].long()],
    "mask index": lambda c, g: g[c > 0], "in place": lambda c, g: g.add_(c),
    "assignment": lambda c, g: g.__setitem__(0, c[0]),
    "NumPy array": lambda c, g: g * c.detach().numpy(),
    "array on the left": lambda c, g: c.detach().numpy() * g,
    "numpy index": lambda c, g: g[np.array([0, 1])],
    "upstream": lambda c, g: (g.clone().requires_grad_() * 2).backward(c),
    "0-d": lambda c, g: g * c.sum(), "0-d on the left": lambda c, g: c.sum() + g,
    "index_select": lambda c, g: npf.index_select(g, 0, c[0].long()),
}


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("graph", [False, True], ids=["plain", "recorded"])
def test_mixing_cpu_and_gpu_names_both(cupy, name, graph):
    c, g = npf.ones(3, 3), npf.ones(3, 3, device="cuda")
    # those are refused in a graph whatever they mix
    if graph and name not in ("in place", "assignment"):
        c, g = c.requires_grad_() * 1, g.requires_grad_() * 1
    with pytest.raises(DeviceError) as caught:
        MIXTURES[name](c, g)
    assert "cpu" in str(caught.value) and "cuda" in str(caught.value)


def test_a_number_is_at_home_everywhere(cupy):
    g = npf.ones(3, device="cuda")
    for number in (2, 2.5, True, np.float64(2.5), np.float32(2.0), np.int64(2)):
        for y in (g + number, number * g, g / number, g ** number, npf.where(g > 0, g, number)):
            assert y.device == "cuda" and y.dtype == npf.float32


def test_an_index_outside_is_an_error_there_too(cupy):
    """CuPy wraps around where NumPy raises: unnoticed, that would be a wrong number."""
    g = npf.ones(3, 3, device="cuda")
    far = npf.tensor([0, 3], device="cuda")
    for read in (lambda: g[far], lambda: g[:, far], lambda: npf.gather(g, 0, far[None]),
                 lambda: F.embedding(far, g), lambda: npf.index_select(g, 1, far), lambda: g[-4],
                 lambda: g[far, far], lambda: g[[0, 3]]):
        with pytest.raises(IndexError):
            read()


def test_device_of_arrays():
    assert devices.device_of(np.ones(2)) == "cpu" and devices.move(np.ones(2), "cpu").shape == (2,)
