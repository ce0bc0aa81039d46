"""The page's file: what is in it, what it weighs, how it is written. How it behaves is in
test_page_browser.py."""

import base64
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

import npformer as npf
import npformer.nn.functional as F
from npformer import InputError, nn
from npformer.core.errors import GraphError
from npformer.debug.examples import EXAMPLES, example
from npformer.debug.page.array_store import ArrayStore, block_counts, block_means
from npformer.models import GPT

WEB = pathlib.Path(__file__).parents[2] / "web"


def told(html):
    """The data inside a page."""
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    return json.loads(data.group(1))


def numbers(data, entry):
    """The entries of an array as a reader of the page decodes them."""
    raw = np.frombuffer(base64.b64decode(data["blobs"][entry["blob"]]), np.uint8)
    shape = entry.get("blocks", entry["shape"])
    if entry["kind"] == "u1":
        return raw.reshape(shape)
    if entry["kind"] == "i4":
        return raw.view("<i4").reshape(shape)
    whole = np.zeros((len(raw) // 3, 4), np.uint8)
    whole[:, 1:] = raw.reshape(-1, 3)
    return whole.reshape(-1).view("<f4").reshape(shape)


def data_of(trace):
    return told(trace.to_html())


@pytest.fixture(scope="module")
def tiny():
    return npf.debug.trace(example("tiny")[1])


# ── what is in it ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_step_is_there_with_its_numbers(name):
    trace = npf.debug.trace(example(name)[1])
    data = data_of(trace)
    assert len(data["trace"]["steps"]) == len(trace)
    assert len(data["trace"]["nodes"]) == len(trace.nodes)
    for step, said in zip(trace, data["trace"]["steps"]):
        arrived = data["arrays"][said["arrays"][0][2]]
        assert said["arrays"][0][:2] == ["arrived", "g"]
        assert arrived["norm"] == pytest.approx(np.linalg.norm(step.upstream), rel=1e-6)
        if "blocks" not in arrived:
            assert np.allclose(numbers(data, arrived), step.upstream, rtol=2e-5, atol=0)


def test_the_ledger_adds_up(tiny):
    data = data_of(tiny)
    for node, said in zip(tiny.nodes, data["trace"]["nodes"]):
        assert len(said["ledger"]) == len(node.contributions)
        for c, (step, _, _, number, _) in zip(node.contributions, said["ledger"]):
            norm = data["arrays"][number]["norm"]
            assert step == c.step and norm == pytest.approx(np.linalg.norm(c.array), rel=1e-6)
        if said["ledger"]:
            assert said["ledger"][-1][4] == pytest.approx(np.linalg.norm(node.gradient), rel=1e-6)


def test_the_identity_at_each_addition(tiny):
    records, said = npf.debug.residuals(tiny.output), data_of(tiny)["trace"]["additions"]
    assert len(said) == len(records) == 2
    assert all(each["error"] < 1e-14 and len(each["arrays"]) == 4 for each in said)
    assert said[-1]["cosine"] == pytest.approx(records[0].cosine)


def test_definitions_are_inside_with_their_agreement(tiny):
    steps = data_of(tiny)["trace"]["steps"]
    inside = [step["inside"] for step in steps if step["fused"]]
    there = [each for each in inside if isinstance(each, dict)]
    assert len(there) >= 3 and all(each["agreement"] < 1e-12 for each in there)
    assert all("left out" in each for each in inside if isinstance(each, str))


def test_one_array_is_kept_once():
    store = ArrayStore()
    a = np.arange(6.0)
    assert store.add(a) == store.add(a) == store.add(a.copy())
    assert store.add(a.reshape(2, 3)) != store.add(a)
    store.encode()
    assert len(store.blobs) == 1


def test_modules_span_the_steps_of_their_parts(tiny):
    frames = data_of(tiny)["trace"]["frames"]
    assert frames[0][3:] == [0, len(tiny) - 1, False]
    for k, (_, _, path, first, last, single) in enumerate(frames):
        parts = [frame for frame in frames if frame[0] == k]
        assert first == last if single else (parts[0][3], parts[-1][4]) == (first, last)
        assert all(step.where.startswith(path) for step in tiny[first:last + 1]) or single


def test_another_array_at_the_same_place_is_another():
    """An array that is gone leaves its memory to the next one."""
    store = ArrayStore()
    first, memory = store.add(np.ones(4)), np.ones(4)
    assert store.add(memory) == first
    memory[:] = 2
    assert store.add(memory) != first


def test_definitions_have_their_own_numbers(tiny):
    data, looked_at = data_of(tiny), 0
    for step, shown in zip(tiny, data["trace"]["steps"]):
        if not isinstance(shown.get("inside"), dict):
            continue
        for node, said in zip(step.into().nodes, shown["inside"]["nodes"], strict=True):
            found = numbers(data, data["arrays"][said["gradient"]])
            if found.shape == node.gradient.shape:
                looked_at += 1
                assert np.allclose(found, node.gradient, rtol=2e-5, atol=0), (step.name, node.name)
    assert looked_at > 20


@pytest.mark.parametrize("array", [
    np.array(3.25), np.array([np.nan, np.inf, -np.inf, 1e-30, -2.5]), np.array([[True, False]]),
    np.arange(-3, 4), np.zeros((0, 3)), np.array([2 ** 40]),
    np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)])
def test_numbers_come_back(array):
    store = ArrayStore()
    store.add(array)
    entry, = store.encode()
    if not array.size:
        assert "blob" not in entry
        return
    found = numbers({"blobs": list(store.blobs)}, entry)
    assert found.shape == array.shape
    assert np.allclose(found, array.astype(float), rtol=2e-5, atol=0, equal_nan=True)


@pytest.mark.parametrize("shape", [(3, 100, 90), (70, 83), (5000,), (2, 3, 40, 50)])
def test_large_arrays_become_means_of_blocks(shape):
    array = np.random.default_rng(0).standard_normal(shape)
    store = ArrayStore()
    store.add(array)
    entry, = store.encode()
    assert entry["blocks"] == block_counts(shape, 4096) and np.prod(entry["blocks"]) <= 4096
    found = numbers({"blobs": list(store.blobs)}, entry)
    for share in (0, 0.5, 0.99):
        place = tuple(int(share * count) for count in entry["blocks"])
        block = array[tuple(slice(k * n // count, (k + 1) * n // count)
                            for k, n, count in zip(place, shape, entry["blocks"]))]
        assert block_means(array, entry["blocks"])[place] == pytest.approx(block.mean())
        assert found[place] == pytest.approx(block.mean(), rel=1e-4)


def test_very_many_arrays_are_cut_down_to_the_budget():
    store = ArrayStore()
    for k in range(700):
        store.add(np.full((64, 64), float(k)))
    store.encode()
    assert sum(map(len, store.blobs)) < 5_000_000 and store.most_entries() < 4096


# ── what it weighs ────────────────────────────────────────────────────────────────────────────────


def test_a_small_model_makes_a_small_page(tiny):
    assert len(tiny.to_html()) < 1_500_000


def test_a_gpt_of_12_layers():
    model = GPT(65, context=64, n_layer=12, n_head=4, d_model=128)
    x, y = npf.randint(0, 65, (2, 1, 64))
    trace = npf.debug.trace(lambda: F.cross_entropy(model(x).view(-1, 65), y.view(-1)))
    html = trace.to_html()
    assert len(html) < 5_000_000 and len(told(html)["trace"]["steps"]) == len(trace)


def test_50000_nodes_are_put_together():
    def chain():
        x = npf.randn(3, requires_grad=True)
        for _ in range(50_000):
            x = x * 1.0001
        return x.sum()
    data = data_of(npf.debug.trace(chain))["trace"]
    assert len(data["steps"]) <= 300 and "too many to show" in data["notes"][0]
    assert sum(step["group"]["count"] for step in data["steps"]) == 50_001
    groups = [step["group"] for step in data["steps"]]
    assert [g["first"] for g in groups[1:]] == [g["last"] + 1 for g in groups[:-1]]


# ── how it is written ─────────────────────────────────────────────────────────────────────────────


def test_it_is_written_and_returned(tiny, tmp_path):
    html = tiny.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == html
    assert list(tmp_path.iterdir()) == [tmp_path / "page.html"]


@pytest.mark.parametrize("path", ["nowhere/page.html", "."])
def test_a_bad_path_is_refused_in_words(tiny, tmp_path, path):
    with pytest.raises(InputError, match="cannot be written"):
        tiny.to_html(tmp_path / path)


def test_what_is_no_path_is_refused(tiny):
    with pytest.raises(TypeError, match="PathLike"):
        tiny.to_html(3)


def test_a_trace_without_steps_is_refused():
    x = npf.tensor(1.0, requires_grad=True)
    with pytest.raises(GraphError, match="no steps"):
        npf.debug.trace(x).to_html()


def test_the_same_trace_gives_the_same_page():
    trace = npf.debug.trace(lambda: (npf.randn(4, 3, requires_grad=True) * 2).relu().sum())
    assert trace.to_html() == trace.to_html()


def test_a_loaded_trace_has_a_page(tiny, tmp_path):
    tiny.save(tmp_path / "trace.safetensors")
    loaded = npf.debug.Trace.load(tmp_path / "trace.safetensors")
    assert len(data_of(loaded)["trace"]["steps"]) == len(tiny)


def test_names_cannot_end_the_script_or_begin_a_tag():
    evil = "</script><img src=x onerror=alert(1)>"
    model = type(evil, (nn.Module,), {"forward": lambda self, x: self._modules["<b>"](x)})()
    model.add_module("<b>", nn.Linear(3, 2))
    html = npf.debug.trace(lambda: model(npf.randn(4, 3)).sum()).to_html()
    assert "<img" not in html and html.count("</script>") == 2 and "<b>" not in html
    assert told(html)["trace"]["title"] == evil


def test_names_that_no_encoding_knows(tmp_path):
    trace = npf.debug.trace(lambda: npf.randn(2, requires_grad=True).sum())
    trace.title = "\udcff ⚙ \u2028"               # a file's name that is not UTF-8, in Python
    trace.to_html(tmp_path / "page.html")
    assert "⚙" in told((tmp_path / "page.html").read_text(encoding="utf-8"))["trace"]["title"]


def test_nothing_comes_from_elsewhere(tiny):
    """The policy in the page allows its own script and style and nothing else; no attribute names
    an address."""
    html = tiny.to_html()
    assert "default-src 'none'" in html
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", html.split("<style>")[0])
    assert "unsafe" not in html.split("<title>")[0]


def test_summaries_and_nothing_are_no_obstacle():
    trace = npf.debug.trace(example("tiny")[1], largest=50)
    data = data_of(trace)
    assert any(entry["note"] == "too large to keep" for entry in data["arrays"])
    x, y = npf.randn(3, requires_grad=True), npf.randn(3, requires_grad=True)
    step = data_of(npf.debug.trace((x + y).sum()))["trace"]["steps"][1]
    assert any(number is None for *_, number, _ in step["arrays"])


# ── the built script ──────────────────────────────────────────────────────────────────────────────


def test_the_built_page_is_what_its_source_builds(tmp_path):
    if not shutil.which("node") or not (WEB / "node_modules/esbuild").exists():
        pytest.skip("THE PAGE'S SCRIPT IS NOT REBUILT: Node or npm's packages are missing. "
                    "Run `make browser` first.")
    subprocess.run(["node", str(WEB / "build.mjs"), str(tmp_path)], check=True, capture_output=True)
    for name in ("page.js", "page.css"):
        shipped = pathlib.Path(npf.debug.__file__).parent / "page" / "built" / name
        built = (tmp_path / name).read_bytes()
        assert shipped.read_bytes() == built, f"{name} is not up to date: run `make page`"


def test_what_is_built_in_keeps_its_licence(tiny):
    html = tiny.to_html()
    assert "@dagrejs/dagre" in html and "Permission is hereby granted, free of charge" in html


def test_the_lock_file_names_no_registry():
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
