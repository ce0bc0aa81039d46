"""GPT against the GPT-2 of transformers: published weights, gradients, training, sampling."""

import json
import math
import shutil

import numpy as np
import pytest
from against_torch import same

import npformer as npf
from npformer import optim
from npformer.core.errors import (
    DTypeError,
    IndexRangeError,
    InputError,
    ShapeError,
    ValueRangeError,
)
from npformer.models import GPT
from npformer.models.sampling import probabilities
from npformer.nn import functional as F

torch = pytest.importorskip("torch",
                            reason="PyTorch is the outsider that results are compared with")
SMALL = dict(vocab_size=31, context=11, n_layer=3, n_head=4, d_model=24)


def gpt(seed=0, **options):
    """A small GPT in float64 with all weights random, norms too: its logits depend on the text."""
    model = GPT(**{**SMALL, **options}).double()
    rng = np.random.default_rng(seed)
    model.load_state_dict({
        name: rng.normal(name.endswith("weight") and p.ndim == 1, 0.1 if p.ndim == 1 else 0.3,
                         p.shape)
        for name, p in model.named_parameters()})
    return model


def tokens(*shape, seed=0, vocab_size=31):
    return np.random.default_rng(seed).integers(0, vocab_size, shape)


@pytest.fixture(scope="module")
def transformers():
    torch.set_num_threads(1)
    return pytest.importorskip("transformers",
                               reason="its GPT-2 is the outsider; pip install transformers")


@pytest.fixture(scope="module")
def theirs(transformers):
    """A small GPT-2 of transformers with random weights, in float64."""
    config = transformers.GPT2Config(vocab_size=31, n_positions=11, n_embd=24, n_layer=3, n_head=4,
                                     bos_token_id=0, eos_token_id=None, attn_implementation="eager")
    model = transformers.GPT2LMHeadModel(config).double().eval()
    torch.manual_seed(0)
    for name, p in model.named_parameters():
        p.data.normal_(float(name.endswith("weight") and p.ndim == 1), 0.1 if p.ndim == 1 else 0.3)
    return model


@pytest.fixture(scope="module")
def folder(theirs, tmp_path_factory):
    """That model as transformers writes it: config.json and model.safetensors."""
    path = tmp_path_factory.mktemp("gpt2")
    theirs.save_pretrained(path)
    return path


@pytest.fixture
def write_changed(folder, tmp_path):
    """Write a new folder: the weights and the config, each changed by its function, if given."""
    numpy = pytest.importorskip("safetensors.numpy", reason="GPT-2's weights are safetensors files")

    def write(weights=lambda found: found, config=None):
        found = weights({name: value.copy() for name, value in
                         numpy.load_file(folder / "model.safetensors").items()})
        numpy.save_file({name: np.ascontiguousarray(value) for name, value in found.items()},
                        tmp_path / "model.safetensors")
        if config:
            described = json.loads((folder / "config.json").read_text())
            (tmp_path / "config.json").write_text(json.dumps(described | config))
        return tmp_path
    return write


# ── the published weights ─────────────────────────────────────────────────────────────────────────


def test_logits_loss_and_every_gradient_are_those_of_transformers(theirs, folder):
    ours, ids = GPT.from_safetensors(folder), tokens(3, 9)
    assert not ours.training and ours.wte.weight.dtype == npf.float64
    logits, expected = ours(npf.tensor(ids)), theirs(torch.tensor(ids)).logits
    same(logits, expected)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), npf.tensor(ids)[:, 1:].flatten())
    expected = torch.nn.functional.cross_entropy(expected[:, :-1].flatten(0, 1),
                                                 torch.tensor(ids)[:, 1:].flatten())
    same(loss, expected)
    theirs.zero_grad()
    loss.backward()
    expected.backward()
    wanted = {name.removeprefix("transformer."): p for name, p in theirs.named_parameters()}
    assert set(wanted) == {name for name, _ in ours.named_parameters()}
    for name, p in ours.named_parameters():
        same(p.grad, wanted[name].grad, what=name)


def test_the_names_are_those_that_are_published(theirs):
    ours = GPT(**SMALL).state_dict()
    wanted = {name.removeprefix("transformer."): tuple(value.shape)
              for name, value in theirs.state_dict().items()}
    del wanted["lm_head.weight"]                   # which is wte.weight once more
    assert {name: value.shape for name, value in ours.items()} == wanted
    assert ours["h.2.attn.c_attn.weight"].shape == (24, 72)


def with_masks(weights):
    masks = {f"transformer.h.{n}.attn.bias": np.tri(11, dtype=bool)[None, None] for n in range(3)}
    return weights | masks | {"transformer.h.0.attn.masked_bias": np.array(-1e4)}


FORMS = {
    "without transformer.": lambda w: {name.removeprefix("transformer."): value
                                       for name, value in w.items()},
    "with masks": with_masks,
    "with the head": lambda w: w | {"lm_head.weight": w["transformer.wte.weight"]},
    "with the head alone": lambda w: {name.replace("transformer.wte", "lm_head"): value
                                      for name, value in w.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_which_the_weights_go_round(folder, write_changed, form):
    ours = GPT.from_safetensors(folder)
    other = GPT.from_safetensors(write_changed(FORMS[form]), n_head=4)
    x = npf.tensor(tokens(2, 5))
    assert npf.equal(ours(x), other(x))
    again = GPT(**SMALL).double()
    again.load_state_dict({f"transformer.{name}": value
                           for name, value in ours.state_dict().items()})
    assert npf.equal(ours(x), again(x))


@pytest.mark.parametrize("stored, computed", [("float16", npf.float32), ("float32", npf.float32)])
def test_the_files_dtype_but_at_least_float32(theirs, write_changed, stored, computed):
    path = write_changed(lambda w: {name: value.astype(stored) for name, value in w.items()},
                         config={})
    ours, ids = GPT.from_safetensors(path / "model.safetensors", n_head=4), tokens(2, 6)
    logits, expected = ours(npf.tensor(ids)), theirs(torch.tensor(ids)).logits.detach().numpy()
    assert {p.dtype for p in ours.parameters()} == {logits.dtype} == {computed}
    error = np.abs(logits.detach().numpy() - expected).max() / np.abs(expected).max()
    assert error < (2e-2 if stored == "float16" else 1e-5)


def test_config_json_is_read(write_changed):
    path = write_changed(config=dict(n_head=3, layer_norm_epsilon=0.125, resid_pdrop=0.25))
    ours = GPT.from_safetensors(path)
    assert (ours.h[1].attn.n_head, ours.ln_f.eps, ours.h[2].ln_1.eps,
            ours.drop.p) == (3, 0.125, 0.125, 0.25)
    assert GPT.from_safetensors(path, dropout=0.0).drop.p == 0
    assert GPT.from_safetensors(path, n_head=2).h[0].attn.n_head == 2


def test_without_a_config_heads_are_64_wide(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy", reason="GPT-2's weights are safetensors files")
    ours = gpt(d_model=128, n_head=2, n_layer=2, d_ff=40, bias=False)
    numpy.save_file({name: value.numpy() for name, value in ours.state_dict().items()},
                    tmp_path / "weights")
    other, x = GPT.from_safetensors(tmp_path / "weights"), npf.tensor(tokens(2, 5))
    assert other.h[0].attn.n_head == 2 and "ln_f.bias" not in other.state_dict()
    assert npf.equal(ours(x), other(x))


def without(*names):
    return lambda w: {name: value for name, value in w.items()
                      if name.removeprefix("transformer.") not in names}


@pytest.mark.parametrize("weights, config, kind, words", [
    (without("h.1.ln_2.bias", "h.2.mlp.c_proj.weight"), {}, ShapeError,
     ["missing: h.1.ln_2.bias (24,)", "missing: h.2.mlp.c_proj.weight (96, 24)"]),
    (lambda w: w | {"transformer.h.0.attn.c_attn.weight": np.zeros((72, 24)),
                    "transformer.h.2.ln_1.bias": np.zeros(1)},
     {}, ShapeError,
     ["size mismatch for h.0.attn.c_attn.weight: the state_dict has (72, 24), "
      "the module has (24, 72)", "size mismatch for h.2.ln_1.bias"]),
    (lambda w: w | {"transformer.h.0.extra": np.zeros(2)}, {}, ShapeError,
     ["unexpected: h.0.extra"]),
    (without("wpe.weight"), {}, InputError,
     ["is not a GPT-2: it has no wpe.weight of 2 dims", "It has h.0.attn"]),
    (lambda w: {"a": np.zeros(2)}, {}, InputError,
     ["is not a GPT-2: it has no wte.weight", "It has a"]),
    (lambda w: w | {"lm_head.weight": w["transformer.wte.weight"] + 1}, {}, ValueRangeError,
     ["the head must be tied: lm_head.weight must equal wte.weight"]),
    (without(), None, InputError, ["its width 24 is not a multiple of 64", "n_head=..."]),
    (without(), dict(n_layer=4), InputError,
     ["says n_layer 4, but by the weights' names and shapes it is 3"]),
    (without(), dict(vocab_size=30), InputError, ["says vocab_size 30", "it is 31"]),
    (without(), dict(n_head="4"), InputError,
     ["has n_head '4', which is not a number that can be used"]),
    (without(), dict(n_head=5), ValueRangeError, ["d_model must be a multiple of n_head"]),
    (without(), dict(activation_function="relu"), InputError,
     ["activation_function 'relu', not 'gelu_new' or"]),
    (without(), dict(model_type="llama"), InputError, ["model_type 'llama', not 'gpt2'"]),
])
def test_files_that_do_not_fit(write_changed, weights, config, kind, words):
    path = write_changed(weights, config if config is None else {"n_layer": 3, **config})
    with pytest.raises(kind) as caught:
        GPT.from_safetensors(path)
    for part in words:
        assert part in str(caught.value)


def test_files_that_cannot_be_read(folder, tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        GPT.from_safetensors(tmp_path / "nothing")
    with pytest.raises(InputError, match="model.safetensors: there is no such file"):
        GPT.from_safetensors(tmp_path)
    for name, content in [("short", (folder / "model.safetensors").read_bytes()[:-100]),
                          ("text", b"hello" * 99)]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            GPT.from_safetensors(tmp_path / name)
    shutil.copy(folder / "model.safetensors", tmp_path)
    for content in ("{", "[]"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(InputError, match="is not a config.json"):
            GPT.from_safetensors(tmp_path)


# ── training ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-9), ("float32", 1e-3)])
def test_training_follows_that_of_transformers_for_50_steps(transformers, dtype, tolerance):
    config = transformers.GPT2Config(vocab_size=31, n_positions=16, n_embd=24, n_layer=3, n_head=4,
                                     bos_token_id=0, eos_token_id=None, attn_implementation="eager",
                                     resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    torch.manual_seed(0)
    theirs = transformers.GPT2LMHeadModel(config).to(getattr(torch, dtype)).train()
    ours = GPT(**{**SMALL, "context": 16}).to(getattr(npf, dtype))
    ours.load_state_dict(theirs.state_dict())
    adams = optim.AdamW(ours.parameters(), lr=1e-2), torch.optim.AdamW(theirs.parameters(), lr=1e-2)
    follows, losses = np.random.default_rng(1).permutation(31), []
    for step in range(50):
        ids = tokens(4, 17, seed=step)
        for t in range(16):
            ids[1:, t + 1] = follows[ids[1:, t]]   # three texts out of four can be learned
        logits = ours(npf.tensor(ids[:, :-1]))
        loss = F.cross_entropy(logits.flatten(0, 1), npf.tensor(ids[:, 1:]).flatten())
        expected = torch.nn.functional.cross_entropy(
            theirs(torch.tensor(ids[:, :-1])).logits.flatten(0, 1),
            torch.tensor(ids[:, 1:]).flatten())
        for model, adam, value in zip((ours, theirs), adams, (loss, expected)):
            adam.zero_grad()
            value.backward()
            (npf if model is ours else torch).nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
        losses.append((loss.item(), expected.item()))
    losses = np.array(losses)
    assert losses[-5:].mean() < 0.75 * losses[0].mean()  # it learned: equal losses say something
    assert np.abs(losses[:, 0] - losses[:, 1]).max() < tolerance


def test_the_seeds_shapes_through_12_blocks():
    model = GPT(vocab_size=101, context=8, n_layer=12, n_head=4, d_model=16)
    ids = npf.randint(0, 101, (4, 8))
    x = model.hidden(ids)
    assert x.shape == (4, 8, 16) and model.logits(x).shape == (4, 8, 101) and len(model.h) == 12
    assert npf.equal(model(ids), model.logits(x))
    loss = F.cross_entropy(model(ids).flatten(0, 1), npf.randint(0, 101, (32,)))
    assert abs(loss.item() - math.log(101)) < 0.1              # fresh weights know nothing yet
    loss.backward()
    assert all(p.grad is not None and p.grad.norm() > 0 for p in model.parameters())


def test_weights_start_as_gpt_2s_do():
    model = GPT(vocab_size=200, context=100, n_layer=8, n_head=2, d_model=64)
    for name, p in model.named_parameters():
        if p.ndim == 1:
            assert (p.array == (1 if name.endswith("weight") else 0)).all(), name
        else:
            std = 0.02 / 4 if name.endswith("c_proj.weight") else 0.02
            assert abs(p.array.std() / std - 1) < 0.05 and abs(p.array.mean()) < 0.1 * std, name


def test_dropout_acts_in_training_only():
    model, x = gpt(dropout=0.5), npf.tensor(tokens(2, 7))
    assert not npf.equal(model(x), model(x))
    model.eval()
    assert npf.equal(model(x), model(x)) and npf.equal(model(x), gpt()(x))


def test_no_future_token_is_seen():
    model, ids = gpt(), tokens(2, 10)
    changed = ids.copy()
    changed[:, 6:] = (ids[:, 6:] + 1) % 31
    before, after = (model(npf.tensor(x)).detach().numpy() for x in (ids, changed))
    np.testing.assert_array_equal(before[:, :6], after[:, :6])
    assert np.abs(before[:, 6:] - after[:, 6:]).max(axis=-1).min() > 1e-3


@pytest.mark.parametrize("call, kind, words", [
    (lambda: gpt()(npf.zeros(2, 12, dtype=npf.int64)), IndexRangeError,
     "at most 11 tokens at once, not 12"),
    (lambda: gpt()(npf.zeros(7, dtype=npf.int64)), ShapeError, "ids must have 2 dims"),
    (lambda: gpt()(npf.full((1, 2), 31)), IndexError, "31"),
    (lambda: gpt()(npf.zeros(1, 2)), DTypeError, "integers"),
    (lambda: GPT(d_model=64, n_head=5), ValueRangeError, "multiple of n_head"),
    (lambda: GPT(n_layer=0), ValueRangeError, "n_layer must be an integer >= 1"),
    (lambda: gpt().load_state_dict([1]), DTypeError, "must be a dict"),
])
def test_what_a_model_refuses(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


# ── the cache ─────────────────────────────────────────────────────────────────────────────────────


def test_a_cache_goes_on_where_it_was_in_value_and_gradient():
    model, ids = gpt(), npf.tensor(tokens(2, 10))
    cache = model.new_cache()
    parts = [model.hidden(part, cache) for part in (ids[:, :4], ids[:, 4:5], ids[:, 5:])]
    u = npf.tensor(np.random.default_rng(1).standard_normal((2, 10, 24)))
    whole = npf.autograd.grad((model.hidden(ids) * u).sum(), list(model.parameters()))
    pieces = npf.autograd.grad((npf.cat(parts, 1) * u).sum(), list(model.parameters()))
    np.testing.assert_allclose(npf.cat(parts, 1).detach().numpy(),
                               model.hidden(ids).detach().numpy(), rtol=1e-12, atol=1e-12)
    for a, b in zip(whole, pieces):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9,
                                   atol=1e-10 * np.abs(a.numpy()).max())
    with pytest.raises(IndexRangeError, match="at most 11 tokens at once, not 12"):
        model.hidden(ids[:, :2], cache)


@pytest.mark.parametrize("dtype", [npf.float64, npf.float32])
@pytest.mark.parametrize("options", [
    {}, dict(temperature=0.0), dict(temperature=0.7, top_k=5), dict(top_p=0.8),
    dict(temperature=1.4, top_k=12, top_p=0.9)])
def test_cached_sampling_is_uncached_sampling(options, dtype):
    model = gpt().to(dtype)
    for seed in range(5):
        prompt = npf.tensor(tokens(3, 1 + 2 * seed, seed=seed))
        found = [model.generate(prompt, 10, **options, generator=npf.Generator(seed),
                                use_cache=use_cache)
                 # 10 more than fit: the context is outgrown on the way
                 for use_cache in (True, False)]
        assert npf.equal(*found) and found[0].shape == (3, prompt.shape[1] + 10)
        assert npf.equal(found[0][:, :prompt.shape[1]], prompt) and found[0].dtype == npf.int64
        assert found[0].max() < 31 and not found[0].requires_grad


def test_greedy_sampling_is_that_of_transformers(theirs, folder):
    ours, ids = GPT.from_safetensors(folder), tokens(4, 3)
    expected = theirs.generate(torch.tensor(ids), attention_mask=torch.ones(4, 3), max_new_tokens=8,
                               do_sample=False, pad_token_id=0)
    assert (ours.generate(npf.tensor(ids), 8, temperature=0).numpy() == expected.numpy()).all()


def test_past_the_context_each_step_sees_the_last_tokens():
    model, ids = gpt(), npf.tensor(tokens(2, 15))
    found = model.generate(ids, 3, temperature=0)
    for _ in range(3):
        best = model(ids[:, -11:])[:, -1].argmax(-1, keepdim=True)
        ids = npf.cat([ids, best], 1)
    assert npf.equal(found, ids) and len(np.unique(ids[:, -3:].numpy())) > 2


def test_sampling_turns_dropout_off_and_leaves_the_model_as_it_was():
    model, x = gpt(dropout=0.5), npf.tensor(tokens(2, 3))
    model.h[1].eval()
    modes = [m.training for m in model.modules()]
    found = model.generate(x, 6, generator=npf.Generator(3))
    assert [m.training for m in model.modules()] == modes and True in modes and False in modes
    assert npf.equal(found, gpt().generate(x, 6, generator=npf.Generator(3)))
    assert npf.equal(model.generate(x, 0), x)
    npf.manual_seed(5)
    first = model.generate(x, 6)
    npf.manual_seed(5)
    assert npf.equal(first, model.generate(x, 6)) and not npf.equal(first, model.generate(x, 6))


# ── the draws ─────────────────────────────────────────────────────────────────────────────────────


def plain_probabilities(row, temperature, top_k, top_p):
    """What `probabilities` does, for one row, token by token."""
    weights = {token: math.exp((x - max(row)) / temperature) for token, x in enumerate(row)}
    ranked = sorted(weights, key=lambda token: -weights[token])
    if top_k is not None:
        ranked = ranked[:top_k]
    if top_p is not None:
        total, kept = sum(weights[t] for t in ranked), []
        for t in ranked:
            if sum(weights[k] for k in kept) < top_p * total:
                kept.append(t)
        ranked = kept
    total = sum(weights[t] for t in ranked)
    return [weights[t] / total if t in ranked else 0.0 for t in range(len(row))]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("top_k", [None, 1, 4, 13, 50])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.6, 0.95, 1.0])
def test_probabilities_are_those_of_a_plain_program(temperature, top_k, top_p):
    logits = np.random.default_rng(2).normal(0, 2, (5, 13)).astype(np.float32)
    found = probabilities(logits, temperature, top_k, top_p)
    expected = [plain_probabilities([float(x) for x in row], temperature, top_k, top_p)
                for row in logits]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("top_k, top_p", [(4, None), (None, 0.7), (6, 0.5)])
def test_probabilities_are_those_of_transformers(transformers, top_k, top_p):
    logits = np.random.default_rng(3).normal(0, 2, (7, 19))
    x = torch.tensor(logits) / 0.8
    for name, value in (("TopK", top_k), ("TopP", top_p)):
        x = x if value is None else getattr(transformers, f"{name}LogitsWarper")(value)(None, x)
    np.testing.assert_allclose(probabilities(logits, 0.8, top_k, top_p),
                               x.softmax(-1).numpy(), rtol=1e-12)


def test_ties_and_extremes():
    row = np.array([[1.0, 3.0, 3.0, 0.0, 3.0]])
    np.testing.assert_allclose(probabilities(row, top_k=2), [[0, 1 / 3, 1 / 3, 0, 1 / 3]])
    np.testing.assert_allclose(probabilities(row, top_p=0.5), [[0, 0.5, 0.5, 0, 0]])
    # exactly reached is enough
    assert probabilities(np.zeros((1, 4)), top_p=0.5).tolist() == [[0.5, 0.5, 0, 0]]
    assert probabilities(row, temperature=0).tolist() == [[0, 1, 0, 0, 0]]
    np.testing.assert_allclose(probabilities(row, temperature=1e-310),
                               [[0, 1 / 3, 1 / 3, 0, 1 / 3]])
    np.testing.assert_allclose(probabilities(np.array([[0.0, -np.inf, 1000.0]])), [[0, 0, 1]])


def test_tokens_come_as_often_as_their_probabilities_say():
    model, many = gpt(), 40_000
    prompt = tokens(1, 4)
    p = probabilities(model(npf.tensor(prompt))[:, -1].detach().numpy(), 1.3, 9, 0.93)[0]
    drawn = model.generate(npf.tensor(prompt.repeat(many, 0)), 1, 1.3, 9, 0.93,
                           npf.Generator(0))[:, -1].numpy()
    counts = np.bincount(drawn, minlength=31)
    assert 3 < (p > 0).sum() <= 9 and (counts[p == 0] == 0).all()
    chi2 = (np.square(counts - many * p)[p > 0] / (many * p[p > 0])).sum()
    assert chi2 < 30  # 8 degrees of freedom at most: 1 in 4,000 seeds is above 30


@pytest.mark.parametrize("options, kind, words", [
    (dict(temperature=-1.0), ValueRangeError, "temperature must be a number >= 0, got -1.0"),
    (dict(temperature=math.nan), ValueRangeError, "temperature must be a number >= 0, got nan"),
    (dict(top_k=0), ValueRangeError,
     "top_k must be an integer >= 1, or None for all tokens, got 0"),
    (dict(top_p=0.0), ValueRangeError, "0 < top_p <= 1, or None for all, got 0.0"),
    (dict(top_p=1.5), ValueRangeError, "got 1.5"),
    (dict(max_new_tokens=-1), ValueRangeError, "max_new_tokens must be an integer >= 0, got -1"),
    (dict(max_new_tokens=2.0), ValueRangeError, "got 2.0"),
    (dict(ids=npf.zeros(3, dtype=npf.int64)), ShapeError, "write ids\\[None\\]"),
    (dict(ids=npf.zeros(3, 0, dtype=npf.int64)), ShapeError, "at least one token each"),
    (dict(ids=npf.zeros(3, 2)), DTypeError, "ids must be integers"),
    (dict(ids=npf.full((1, 2), 31)), IndexError, "31"),
])
def test_what_sampling_refuses(options, kind, words):
    with pytest.raises(kind, match=words):
        gpt().generate(**{"ids": npf.zeros(1, 2, dtype=npf.int64), "max_new_tokens": 2, **options})


def test_a_model_that_diverged_draws_nothing():
    model = gpt()
    model.ln_f.bias.array[3] = np.nan
    with pytest.raises(ValueRangeError, match="logits hold NaN"):
        model.generate(npf.zeros(1, 2, dtype=npf.int64), 1)


def test_on_cupys_arrays(cupy):
    found = []
    for device in ("cpu", "cuda"):
        model, ids = gpt().to(device), npf.tensor(tokens(2, 6), device=device)
        F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        text = model.generate(ids, 8, 0.9, 12, 0.95, npf.Generator(1))
        greedy = model.generate(ids, 8, temperature=0)
        assert text.device == greedy.device == device
        found.append([p.grad.cpu().numpy() for p in model.parameters()]
                     + [text.cpu().numpy(), greedy.cpu().numpy()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
