"""Laws for every probe of npf.debug: any model, both dtypes, and nothing changed by looking.

A new public function of npf.debug without a sample in PROBES fails, and the message names it.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer import debug, nn
from npformer.models import GPT, TinyTransformer, make_model

# ── models ───────────────────────────────────────────────────────────────────────────────────────


class Case(NamedTuple):
    """A model, its loss on a batch, and a part of it that maps x to something of x's shape."""

    model: nn.Module
    loss: Callable[[], npf.Tensor]
    block: Callable[[npf.Tensor], npf.Tensor]
    x: npf.Tensor


class Perceptron(nn.Module):
    """Two residual layers and no attention: a user's own model."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def block(self, x):
        return x + self.first(x).relu()

    def forward(self, x):
        x = self.block(x)
        return self.head(x + self.second(x).tanh())


def perceptron(dtype):
    model = Perceptron().to(dtype)
    x, y = npf.randn(4, 6, dtype=dtype), npf.tensor([0, 2, 1, 1])
    return Case(model, lambda: F.cross_entropy(model(x), y), model.block, x[:2])


def tiny(dtype):
    model = TinyTransformer(7, context=5, d_model=8, n_heads=2, d_ff=16, depth=2).to(dtype)
    x, y = npf.randint(0, 7, (2, 2, 5))
    block = model.blocks[0]
    return Case(model, lambda: F.cross_entropy(model(x).flatten(0, 1), y.flatten()), block,
                npf.randn(1, 3, 8, dtype=dtype))


def gpt(dtype):
    model = GPT(7, context=5, n_layer=2, n_head=2, d_model=8).to(dtype)
    x, y = npf.randint(0, 7, (2, 2, 5))
    return Case(model, lambda: F.cross_entropy(model(x).flatten(0, 1), y.flatten()),
                model.h[0], npf.randn(1, 3, 8, dtype=dtype))


def seq2seq(dtype):
    model = make_model(7, 7, N=1, d_model=8, d_ff=16, h=2, dropout=0.0).to(dtype)
    source, target = npf.randint(1, 7, (2, 4)), npf.randint(1, 7, (2, 4))
    seen, causal = npf.ones(2, 1, 4) > 0, (npf.ones(3, 3).tril() > 0).unsqueeze(0)

    def loss():
        y = model.generator(model(source, target[:, :-1], seen, causal))
        return F.nll_loss(y.flatten(0, 1), target[:, 1:].flatten())
    return Case(model, loss, lambda x: model.encoder.layers[0](x, None),
                npf.randn(1, 4, 8, dtype=dtype))


MODELS = [perceptron, tiny, gpt, seq2seq]


def case_of(make, dtype):
    npf.manual_seed(0)
    return make(dtype)


# ── probes ───────────────────────────────────────────────────────────────────────────────────────


def watch_attention(case):
    with debug.attention(case.model) as maps:
        loss = case.loss()
    loss.backward()
    return maps


def watch_flow(case):
    """lr 0: the weights stay, so that the next backward pass is the same one."""
    with debug.gradient_flow(case.model) as flow:
        case.loss().backward()
        flow.step(npf.optim.SGD(case.model.parameters(), lr=0.0))
    return flow


def watch_anomalies(case):
    with debug.detect_anomaly():
        case.loss().backward()


def probe_then_backward(probe):
    """A probe of a loss, which stands before loss.backward()."""
    def run(case):
        loss = case.loss()
        found = probe(loss)
        loss.backward()
        return found
    return run


def spectrum_then_backward(case):
    found = debug.jacobian_spectrum(case.block, case.x)
    case.loss().backward()
    return found


def freeze(model):
    for p in model.parameters():
        p.requires_grad_(False)
    return model


def rollout_without_graph(case):
    with debug.attention(case.model) as maps, npf.no_grad():
        case.loss()
    maps.rollout()


def loss_without_graph(case):
    with npf.no_grad():
        return case.loss()


class Probe(NamedTuple):
    """How a probe is used around one backward pass, and what it does where nothing was recorded."""

    run: Callable[[Case], Any]
    without_graph: Callable[[Case], Any]
    words: str


PROBES = {
    "residuals": Probe(
        probe_then_backward(debug.residuals),
        lambda case: debug.residuals(loss_without_graph(case)), "nothing that led to it"),
    "path_lengths": Probe(
        probe_then_backward(debug.path_lengths),
        lambda case: debug.path_lengths(loss_without_graph(case)), "nothing that led to it"),
    "gradient_flow": Probe(
        watch_flow,
        lambda case: debug.gradient_flow(freeze(case.model)), "no parameter of the model"),
    "attention": Probe(watch_attention, rollout_without_graph, "not under no_grad()"),
    "jacobian_spectrum": Probe(
        spectrum_then_backward,
        lambda case: debug.jacobian_spectrum(lambda x: x.detach(), case.x), "does not depend on x"),
    "detect_anomaly": Probe(
        watch_anomalies,
        lambda case: loss_without_graph(case).backward(), "nothing that led to it"),
}
# Functions of npf.debug that ask no question, with what they do.
NO_PROBES = {"trace": "records a backward pass", "recording": "records what is inside a block"}
# Probes that return nothing, with what they do instead.
NO_TABLE = {"detect_anomaly": "raises a GraphError at the first NaN or infinity"}

every_probe = pytest.mark.parametrize("name", PROBES)
both_dtypes = pytest.mark.parametrize("dtype", [npf.float32, npf.float64], ids=str)
every_model = pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)


def test_every_probe_has_a_sample():
    public = {name for name, value in vars(debug).items() if callable(value) and name[0].islower()}
    missing = public - set(NO_PROBES) - set(PROBES)
    assert not missing, f"{sorted(missing)}: write a sample into PROBES, so that it is tested"
    page = (pathlib.Path(__file__).parents[2] / "docs" / "probes.md").read_text("utf-8")
    untold = [name for name in PROBES if f"\n## {name}\n" not in page]
    assert not untold, f"{untold}: write a section of that name into docs/probes.md"
    assert set(PROBES) | set(NO_PROBES) <= public, "a sample of a probe that is gone"


def arrays_in(found):
    """Every array in what a probe returned, in order."""
    if isinstance(found, np.ndarray):
        return [found]
    if isinstance(found, dict):
        return [a for value in found.values() for a in arrays_in(value)]
    if isinstance(found, (list, tuple)):
        return [a for value in found for a in arrays_in(value)]
    if dataclasses.is_dataclass(found):
        return [a for field in dataclasses.fields(found)
                for a in arrays_in(getattr(found, field.name))]
    if isinstance(found, debug.AttentionMaps):
        return [a for kept in found.maps for part in ("weights", "gradient", "product")
                for a in arrays_in(getattr(kept, part))]
    return []                                      # GradientFlow has numbers, which str() shows


def gradients_of(case):
    return {name: p.grad.numpy().copy() for name, p in case.model.named_parameters()}


def run_twice(name, make, dtype):
    """What a probe answers, twice, each on a model made anew from the same seed."""
    return [PROBES[name].run(case_of(make, dtype)) for _ in range(2)]


@every_probe
@every_model
@both_dtypes
def test_it_answers_twice_the_same(name, make, dtype):
    first, second = run_twice(name, make, dtype)
    assert str(first) == str(second)
    for a, b in zip(arrays_in(first), arrays_in(second), strict=True):
        assert a.tobytes() == b.tobytes() and a.dtype == b.dtype


@every_probe
@every_model
@both_dtypes
def test_it_leaves_the_gradients_as_they_are(name, make, dtype):
    alone, watched = case_of(make, dtype), case_of(make, dtype)
    alone.loss().backward()
    PROBES[name].run(watched)
    wanted = gradients_of(alone)
    for parameter, g in gradients_of(watched).items():
        assert g.dtype == dtype and g.tobytes() == wanted[parameter].tobytes(), parameter
    watched.model.zero_grad()
    watched.loss().backward()                      # and it has left nothing behind
    for parameter, g in gradients_of(watched).items():
        assert g.tobytes() == wanted[parameter].tobytes(), parameter


@every_probe
@every_model
def test_it_prints_a_table(name, make):
    text = str(PROBES[name].run(case_of(make, npf.float64)))
    if name in NO_TABLE:
        assert text == "None"
    elif make is perceptron and name == "attention":
        assert "no attention was seen" in text     # a model without attention: said in words
    else:
        head, *rows = text.splitlines()
        assert len(head.split()) >= 3 and rows, f"{name} prints no table:\n{text}"


@every_probe
@both_dtypes
def test_its_arrays_have_the_models_dtype(name, dtype):
    found = arrays_in(PROBES[name].run(case_of(tiny, dtype)))
    assert all(a.dtype in (dtype, np.float64) for a in found if a.dtype.kind == "f")
    assert found or name in NO_TABLE or name == "gradient_flow"


@every_probe
def test_without_a_graph_it_says_so(name):
    with pytest.raises(npf.GraphError) as caught:
        PROBES[name].without_graph(case_of(tiny, npf.float64))
    assert PROBES[name].words in str(caught.value)
