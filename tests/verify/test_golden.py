"""References for other engines: what is in them, by name; and that the first wrong tensor is found
and named."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer.core.errors import InputError
from npformer.models import TinyTransformer
from npformer.tensorfile import read
from npformer.verify.golden.compare import compare
from npformer.verify.golden.write import golden, tiny


@pytest.fixture(scope="module")
def reference():
    return golden(*tiny(np.random.default_rng(0)))


def engine(reference, dtype=np.float64):
    """Another engine that has everything right, in `dtype`."""
    return {name: a.astype(dtype) if a.dtype.kind == "f" else a for name, a in reference[0].items()}


# ── what a reference holds ────────────────────────────────────────────────────────────────────────


def test_it_holds_every_gradient_that_pytorch_finds(reference):
    torch = pytest.importorskip("torch", reason="an outsider's gradients")
    found, _ = reference
    x, w = found["activation.blocks.1.add.2"], found["weight.blocks.1.norm2.weight"]
    x, w, b = (torch.tensor(a, requires_grad=True)
               for a in (x, w, found["weight.blocks.1.norm2.bias"]))
    head, bias = (torch.tensor(found[f"weight.output_head.{part}"], requires_grad=True)
                  for part in ("weight", "bias"))
    logits = torch.nn.functional.linear(torch.nn.functional.layer_norm(x, (21,), w, b), head, bias)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1),
                                             torch.tensor(found["input.targets"]).flatten())
    loss.backward()
    assert loss.item() == pytest.approx(float(found["loss"]), rel=1e-12)
    for tensor, name in ((x, "activation.blocks.1.add.2"), (w, "weight.blocks.1.norm2.weight"),
                         (head, "weight.output_head.weight"), (bias, "weight.output_head.bias")):
        np.testing.assert_allclose(found[f"gradient.{name}"], tensor.grad.numpy(), rtol=1e-9,
                                   atol=1e-14)


def test_names_and_order(reference):
    found, metadata = reference
    graph, backward = json.loads(metadata["graph"]), json.loads(metadata["backward"])
    names = [step["name"] for step in graph]
    assert set(names) | set(backward) <= set(found) and names[-1] == "loss"
    assert len(set(names)) == len(names)
    made = set()
    for step in graph:                             # what an operation reads is there before it
        inputs = [v for v in step["inputs"].values() if isinstance(v, str)]
        assert all(v in made or not v.startswith("activation.") for v in inputs)
        assert set(inputs) <= set(found)
        made.add(step["name"])
    assert backward[0] == "gradient.activation.reshape"
    assert backward[-1] == "gradient.weight.char_embedding.weight"
    model = TinyTransformer(13, 5, 21, 3, 11, 2)
    for name, p in model.named_parameters():
        assert found[f"weight.{name}"].shape == tuple(p.shape)
        assert found[f"gradient.weight.{name}"].shape == tuple(p.shape)
    assert found["constant.blocks.0.attention.mask"].dtype == bool


def test_the_weights_hide_no_mistake_and_fit_into_float32(reference):
    found, _ = reference
    for name, a in found.items():
        if name.startswith("weight."):
            assert not np.isin(a, (0, 1)).any() and np.array_equal(a, a.astype(np.float32))


def test_the_model_and_the_generator_stay_as_they_were():
    model, inputs, loss = tiny(np.random.default_rng(0))
    before = npf.default_generator.get_state()
    golden(model, inputs, loss)
    assert npf.default_generator.get_state() == before and npf.get_default_dtype() == npf.float32
    assert all(p.grad is None and p.dtype == npf.float32 for p in model.parameters())


def test_dropout_leaves_its_masks_as_constants():
    layer = npf.nn.Sequential(npf.nn.Linear(5, 7), npf.nn.Dropout(0.3))
    found, metadata = golden(layer, {"x": np.random.default_rng(0).standard_normal((3, 5))},
                             lambda model, x: (model(x) ** 2).mean())
    assert any(name.startswith("constant.1.") for name in found)
    assert found["gradient.input.x"].shape == (3, 5)
    assert compare(found, found, metadata)


# ── comparing ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_right_engine_agrees(reference, dtype):
    verdict = compare(engine(reference, dtype), *reference)
    assert verdict and "all agree" in str(verdict) and not verdict.missing


def test_another_order_of_additions_in_float32_is_no_mistake(reference):
    model, inputs, loss = tiny(np.random.default_rng(0))
    # the batch the other way round
    flipped = {name: x[::-1].copy() for name, x in inputs.items()}
    other, _ = golden(model, flipped, loss)
    mine = {name: a.astype(np.float32) for name, a in other.items()
            if name.startswith("gradient.weight.")}
    assert compare(mine, *reference)


def attention_without_scale(m, f):
    for name in ("activation.blocks.1.permute", "weight.blocks.1.query.weight",
                 "weight.blocks.1.query.bias"):
        m[f"gradient.{name}"] = m[f"gradient.{name}"] * np.sqrt(7)


def skip_left_out(m, f):
    name = "gradient.activation.blocks.0.norm1.layer_norm"
    m[name] = f[name] - f["gradient.activation.blocks.0.add.2"]


def assigned_embedding(m, f):
    name = "weight.char_embedding.weight"
    m[f"gradient.{name}"] = np.zeros_like(f[name])
    m[f"gradient.{name}"][f["input.characters"]] = f["gradient.activation.char_embedding.embedding"]


def norm_without_projection(m, f):
    x, g = f["activation.blocks.1.add.2"], f["gradient.activation.blocks.1.norm2.layer_norm"]
    d = g * f["weight.blocks.1.norm2.weight"] / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    m["gradient.activation.blocks.1.add.2"] = d - d.mean(-1, keepdims=True)


def averaged_bias(m, f):
    m["gradient.weight.blocks.0.ff1.bias"] = m["gradient.weight.blocks.0.ff1.bias"] / 10


def turned_weight(m, f):
    m["gradient.weight.output_head.weight"] = m["gradient.weight.output_head.weight"].T


def not_a_number(m, f):
    m["gradient.activation.blocks.1.relu"] = np.full_like(f["gradient.activation.blocks.1.relu"],
                                                          np.nan)


def sign_of_the_loss(m, f):
    m["loss"] = -m["loss"]


def small_but_systematic(m, f):
    m["gradient.activation.blocks.1.relu"] = m["gradient.activation.blocks.1.relu"] * 1.0005


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("mistake, first, kind", [
    (attention_without_scale, "gradient.activation.blocks.1.permute", "factor"),
    (skip_left_out, "gradient.activation.blocks.0.norm1.layer_norm", "path-missing"),
    (assigned_embedding, "gradient.weight.char_embedding.weight", "not-accumulated"),
    (norm_without_projection, "gradient.activation.blocks.1.add.2", "missing-term"),
    (averaged_bias, "gradient.weight.blocks.0.ff1.bias", "averaged-broadcast"),
    (turned_weight, "gradient.weight.output_head.weight", "transposed"),
    (not_a_number, "gradient.activation.blocks.1.relu", "nan"),
    (sign_of_the_loss, "loss", "sign"),
    (small_but_systematic, "gradient.activation.blocks.1.relu", "factor"),
], ids=lambda v: getattr(v, "__name__", ""))
def test_the_first_wrong_tensor_is_found_and_named(reference, mistake, first, kind, dtype):
    mine = engine(reference, dtype)
    mistake(mine, reference[0])
    verdict = compare({name: a.astype(dtype) if a.dtype.kind == "f" else a
                       for name, a in mine.items()}, *reference)
    assert not verdict and verdict.first.name == first
    assert verdict.findings[0].kind == kind and first in str(verdict)
    assert len(str(verdict)) < 2000


def test_the_message_says_which_backward_and_what_arrived(reference):
    mine = engine(reference)
    attention_without_scale(mine, reference[0])
    del mine["gradient.activation.blocks.1.attention"]
    text = str(compare(mine, *reference))
    assert "it is dq of attention" in text
    assert "gradient.activation.blocks.1.attention, which you do not give" in text
    assert "dq is 2.6458 x the true gradient" in text
    assert "of those computed after it, 2 differ too" in text


def test_an_engine_may_give_a_part_flat_and_under_misspelt_names(reference):
    mine = {name: a.reshape(-1) for name, a in engine(reference).items()
            if name.startswith("gradient.weight.")}
    mine["gradient.weight.output_head.wieght"] = np.zeros(3)
    verdict = compare(mine, *reference)
    assert verdict and len(verdict.compared) == 36 and len(verdict.missing) == 45 + 1 + 45
    assert "is it gradient.weight.output_head.weight?" in str(verdict)


def test_other_weights_are_told_before_their_consequences(reference):
    mine = engine(reference)
    mine["weight.blocks.0.ff1.weight"] = mine["weight.blocks.0.ff1.weight"] + 0.1
    mine["loss"] = mine["loss"] * 2
    verdict = compare(mine, *reference)
    assert verdict.first.name == "weight.blocks.0.ff1.weight"
    assert "use the reference's own" in str(verdict)


def test_what_cannot_be_compared_is_said(reference):
    with pytest.raises(InputError, match="no tensor has a name that the reference has"):
        compare({"x": np.ones(3)}, *reference)
    with pytest.raises(InputError, match="no file of `npformer golden`"):
        compare({}, reference[0], {})
    with pytest.raises(InputError, match="metadata is damaged"):
        compare({}, reference[0], {**reference[1], "graph": "[1]"})
    with pytest.raises(InputError, match="lacks tensors"):
        compare({}, {}, reference[1])
    with pytest.raises(npf.GraphError, match="must return a Tensor of one number"):
        golden(npf.nn.Linear(2, 3), {"x": np.ones((4, 2))}, lambda model, x: model(x))
    with pytest.raises(npf.DTypeError, match="input 'x' must be a NumPy array"):
        golden(npf.nn.Linear(2, 3), {"x": [1.0]}, lambda model, x: model(x).sum())


def test_a_use_by_an_index_is_run_again():
    """Three slices of one array, as where q, k and v come out of one matrix; the second use is left
    out."""
    def loss(model, x):
        y = model(x)
        q, k, v = (y[..., i, :] for i in range(3))
        return (q * k).sum() + (k * v.tanh()).mean()

    model = npf.nn.Sequential(npf.nn.Linear(5, 3 * 7), npf.nn.Unflatten(-1, (3, 7)))
    found, metadata = golden(model, {"x": np.random.default_rng(0).standard_normal((2, 5))}, loss)
    name = next(n for n in json.loads(metadata["backward"]) if n.endswith("reshape"))
    d = found[name].copy()
    d[..., 1, :] = 0
    verdict = compare({name: d}, found, metadata)
    assert verdict.findings[0].kind == "path-missing"
    assert "activation.getitem.2 is left out" in str(verdict)


# ── another language ──────────────────────────────────────────────────────────────────────────────


def test_the_c_program_of_the_document_finds_its_mistake(command, tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = re.search(r"```c\n(.*?)```",
                        (Path(__file__).parents[2] / "docs" / "golden.md").read_text(), re.S)[1]
    command("golden", "tiny", "--out", "ref.safetensors")
    for text, expected in ((program, 1), (program.replace("] = g[", "] += g["), 0)):
        (tmp_path / "head.c").write_text(text)
        subprocess.run([compiler, "-Wall", "-Werror", "-o", "head", "head.c"], cwd=tmp_path,
                       check=True)
        subprocess.run([tmp_path / "head"], cwd=tmp_path, check=True)
        code, out, _ = command("compare", "mine.safetensors", "ref.safetensors")
        assert code == expected and ("not-accumulated: dweight" in out) == bool(expected)


# ── the commands ──────────────────────────────────────────────────────────────────────────────────

FACTORY = """
import numpy as np
import npformer.nn.functional as F
from npformer import nn

def small(rng):
    model = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3))
    inputs = {"x": rng.standard_normal((2, 5)), "target": rng.integers(0, 3, 2)}
    return model, inputs, lambda model, x, target: F.cross_entropy(model(x), target)

def nothing(rng):
    return None

def broken(rng):
    return nn.Linear(5, 7), {"x": np.ones((2, 3))}, lambda model, x: model(x).sum()
"""


@pytest.fixture
def command(capsys, tmp_path, monkeypatch):
    """Runs a command in a folder of its own: (exit code, stdout, stderr)."""
    for needed in ("rich", "matplotlib"):
        pytest.importorskip(needed, reason="the command line needs the extra [cli]")
    from npformer.cli import main
    monkeypatch.chdir(tmp_path)
    (tmp_path / "factory.py").write_text(FACTORY)

    def run(*arguments):
        code = main(list(arguments))
        return code, *capsys.readouterr()
    return run


def test_golden_and_compare_as_commands(command, tmp_path):
    assert command("golden", "tiny", "--out", "ref.safetensors")[0] == 0
    found, metadata = read("ref.safetensors")
    assert metadata["format"] == "npformer-golden-1"
    np.savez("mine.npz", **found)
    code, out, _ = command("compare", "mine.npz", "ref.safetensors")
    assert code == 0 and "all agree" in out
    np.savez("mine.npz",
             **{**found,
                "gradient.weight.blocks.0.ff1.bias": found["gradient.weight.blocks.0.ff1.bias"]
                * 3})
    code, out, _ = command("compare", "mine.npz", "ref.safetensors", "--json")
    told = json.loads(out)
    assert code == 1 and told["first"]["name"] == "gradient.weight.blocks.0.ff1.bias"
    assert not told["right"]
    assert command("compare", "mine.npz", "ref.safetensors", "--tolerance", "10")[0] == 0


def test_golden_of_a_users_model(command):
    code, out, _ = command("golden", "factory.py::small", "--out", "ref.safetensors", "--seed", "3")
    assert code == 0 and "2 inputs, 4 weights" in out
    found, metadata = read("ref.safetensors")
    x = npf.tensor(found["input.x"])
    weights = [npf.tensor(found[f"weight.{name}"])
               for name in ("0.weight", "0.bias", "2.weight", "2.bias")]
    logits = F.linear(F.gelu(F.linear(x, *weights[:2])), *weights[2:])
    loss = F.cross_entropy(logits, npf.tensor(found["input.target"]))
    assert loss.item() == pytest.approx(float(found["loss"]))
    assert {step["op"] for step in json.loads(metadata["graph"])} == {"linear", "gelu",
                                                                      "cross_entropy"}


@pytest.mark.parametrize("arguments, words", [
    (("golden", "huge", "--out", "r.safetensors"),
     "not a model that is known here: use tiny, or FILE.py::factory"),
    (("golden", "factory.py", "--out", "r.safetensors"), "name the function in it"),
    (("golden", "factory.py::large", "--out", "r.safetensors"), "has no function 'large'"),
    (("golden", "factory.py::nothing", "--out", "r.safetensors"),
     "it must return (model, inputs, loss)"),
    (("golden", "factory.py::broken", "--out", "r.safetensors"), "its pass fails"),
    (("golden", "tiny", "--out", "r.npz"), "must end in .safetensors"),
    (("golden", "tiny", "--out", "r.safetensors", "--seed", "-1"),
     "--seed must be an integer >= 0, got -1"),
    (("compare", "none.npz", "factory.py"), "none.npz cannot be read"),
    (("compare", "bad.npz", "factory.py"), "bad.npz is damaged"),
    (("compare", "bad.npz", "factory.py", "--tolerance", "-1"),
     "--tolerance must be a number >= 0"),
    (("compare", "bad.npz", "factory.py", "--tolerance", "nan"),
     "--tolerance must be a number >= 0"),
    (("compare", "factory.py", "factory.py"), "not a safetensors file"),
    (("compare", "some.npz", "some.npz"),
     "some.npz is an .npz file: arrays alone, without the graph that a reference has"),
    (("compare", "some.npz", "bare.safetensors"),
     "The reference comes second: npformer compare MINE REF."),
])
def test_bad_input_is_one_message_and_code_2(command, tmp_path, arguments, words):
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    np.savez(tmp_path / "some.npz", loss=1.0)
    npf.save({"loss": npf.ones(1)}, tmp_path / "bare.safetensors")
    code, out, err = command(*arguments)
    assert code == 2 and words in err and err.startswith("npformer: ") and out == ""
