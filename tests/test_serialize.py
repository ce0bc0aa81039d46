"""npf.save and npf.load: what they keep, which files other programs read, how damage is refused."""

import io
import json
import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npformer as npf
from npformer import nn, optim, tensorfile
from npformer.core.errors import DTypeError, InputError, ShapeError

HOLDS = [npf.float64, npf.float32, npf.float16, npf.int64, npf.int32, npf.int16, npf.int8,
         npf.uint8, npf.bool]


def equal(a, b):
    """The same tree: structure, types, dtypes and bits."""
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    if hasattr(a, "dtype"):
        a, b = ((x.numpy() if isinstance(x, npf.Tensor) else x) for x in (a, b))
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and (a == b or a != a and b != b)


def save_and_load(tree):
    """The tree after save and load."""
    file = io.BytesIO()
    npf.save(tree, file)
    file.seek(0)
    return npf.load(file)


# ── what comes back ───────────────────────────────────────────────────────────────────────────────

shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


def zeros_and_ones(shape, dtype, seed):
    return npf.tensor(np.random.default_rng(seed).integers(0, 2, shape)).to(dtype)


tensors = st.builds(zeros_and_ones, shapes, st.sampled_from(HOLDS), st.integers(0, 9))
names = st.text(max_size=5) | st.sampled_from(["a", "a.b", "b", "__metadata__", "0"])
trees = st.recursive(numbers | tensors, lambda inner:
                     st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
                     | st.dictionaries(names | st.integers(), inner, max_size=4))


@given(tree=trees)
def test_any_tree_comes_back_as_it_was(tree):
    assert equal(tree, save_and_load(tree))


def test_paths_that_would_give_two_tensors_one_name():
    x, y, z = npf.zeros(1), npf.ones(2), npf.ones(3)
    for tree in ({"a.b": x, "a": {"b": y}, "a.b'": z}, {"__metadata__": x}, {"": x, "tensor": y},
                 {1: x, "1": y}, x):
        assert equal(tree, save_and_load(tree))


def test_arrays_and_tensors_of_every_layout(tmp_path):
    base = np.arange(24.0).reshape(2, 3, 4)
    tree = {"turned": npf.tensor(base).transpose(0, 2), "strided": base[:, ::2, 1::2],
            "number": np.float32(0.1), "parameter": nn.Parameter(npf.ones(2)),
            "graph": npf.ones(2, requires_grad=True) * 3, "int": np.array(3)}
    npf.save(tree, tmp_path / "t")
    back = npf.load(tmp_path / "t")
    for name, value in tree.items():
        kind = npf.Tensor if isinstance(value, npf.Tensor) else np.ndarray
        assert isinstance(back[name], kind), name
        value = value.detach().numpy() if isinstance(value, npf.Tensor) else value
        np.testing.assert_array_equal(np.asarray(back[name]), value)
    assert not back["parameter"].requires_grad and not back["graph"].requires_grad
    assert back["number"].dtype == np.float32 and back["number"].shape == ()


def test_what_is_loaded_shares_no_memory(tmp_path):
    npf.save({"a": npf.zeros(4), "b": npf.zeros(4)}, tmp_path / "t")
    back = npf.load(tmp_path / "t")
    loss = (back["b"].requires_grad_() * back["b"]).sum()
    back["a"] += 1                                 # no write into what backward needs
    loss.backward()
    assert back["b"].sum() == 0
    assert not np.shares_memory(back["a"].numpy(), back["b"].detach().numpy())


def test_a_model_and_its_optimiser_go_on_as_if_never_saved(tmp_path):
    def fresh():
        npf.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        return model, optim.AdamW(model.parameters(), lr=0.1)

    def step(model, optimizer):
        optimizer.zero_grad()
        model(npf.tensor(np.arange(6.0).reshape(2, 3))).pow(2).sum().backward()
        optimizer.step()
    (model, optimizer), (other, its) = fresh(), fresh()
    for _ in range(3):
        step(model, optimizer)
    npf.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3},
             tmp_path / "run.pt")
    loaded = npf.load(tmp_path / "run.pt", map_location="cpu", weights_only=True)
    other.load_state_dict(loaded["model"]), its.load_state_dict(loaded["optimizer"])
    for _ in range(3):
        step(model, optimizer), step(other, its)
    assert loaded["epoch"] == 3
    assert all(npf.equal(p, q) for p, q in zip(model.parameters(), other.parameters()))


def test_tensors_go_to_the_device_that_is_named(cupy, tmp_path):
    with npf.backend("cupy"):
        npf.save({"w": npf.ones(2, 3), "n": 1}, tmp_path / "t")
        assert npf.load(tmp_path / "t")["w"].device == "cuda"
    assert npf.load(tmp_path / "t")["w"].device == "cpu"
    assert npf.load(tmp_path / "t", map_location="cuda")["w"].device == "cuda"
    assert npf.load(tmp_path / "t", map_location=npf.device("cpu"))["w"].device == "cpu"


# ── other programs ────────────────────────────────────────────────────────────────────────────────


def test_pytorch_reads_a_state_dict_and_we_read_its(tmp_path):
    torch = pytest.importorskip("torch",
                                reason="PyTorch is the outsider that files are exchanged with")
    files = pytest.importorskip("safetensors.torch", reason="the format's own library")
    ours = nn.TransformerEncoderLayer(6, 2, 7)
    theirs = torch.nn.TransformerEncoderLayer(6, 2, 7)
    npf.save(ours.state_dict(), tmp_path / "ours")
    theirs.load_state_dict(files.load_file(tmp_path / "ours"))
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), theirs.state_dict()[name].numpy())
    theirs = torch.nn.TransformerEncoderLayer(6, 2, 7).to(torch.bfloat16)
    files.save_file(theirs.state_dict(), tmp_path / "theirs")
    loaded = npf.load(tmp_path / "theirs")
    assert {value.dtype for value in loaded.values()} == {np.dtype("float32")}
    assert ours.load_state_dict(loaded) == ([], [])
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name].numpy(), value.float().numpy())
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])  # its tensors, without a file


@pytest.mark.parametrize("dtype", [d for d in HOLDS])
def test_every_dtype_is_written_and_read_as_the_formats_own_library_does(dtype, tmp_path):
    files = pytest.importorskip("safetensors.numpy", reason="the format's own library")
    rng = np.random.default_rng(0)
    shapes = {"a": (3, 5), "odd": (7,), "none": (0, 3), "number": ()}
    found = {name: rng.integers(0, 2, shape).astype(dtype) for name, shape in shapes.items()}
    found["other"] = np.arange(3.0)
    npf.save({name: npf.tensor(value) for name, value in found.items()}, tmp_path / "ours")
    files.save_file(found, tmp_path / "theirs", {"format": "pt"})
    for back in (files.load_file(tmp_path / "ours"), npf.load(tmp_path / "theirs")):
        assert back.keys() == found.keys() and all(equal(found[name], back[name]) for name in found)


def test_the_arrays_lie_aligned(tmp_path):
    npf.save({"a": npf.ones(3, dtype=npf.uint8), "b": npf.ones(5),
              "c": npf.ones(1, dtype=npf.float64)}, tmp_path / "t")
    content = (tmp_path / "t").read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    for name, entry in json.loads(content[8:8 + length]).items():
        if name != "__metadata__":
            itemsize = {"U8": 1, "F32": 4, "F64": 8}[entry["dtype"]]
            assert (8 + length + entry["data_offsets"][0]) % itemsize == 0


# ── damage ────────────────────────────────────────────────────────────────────────────────────────

BODY = np.arange(8, dtype="<f4").tobytes()         # 32 bytes: a (2, 3) and b (2,)
A, B = (dict(dtype="F32", shape=[2, 3], data_offsets=[0, 24]),
        dict(dtype="F32", shape=[2], data_offsets=[24, 32]))


def file_of(header, body=BODY, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def test_the_file_that_is_damaged_below_is_good_before():
    back = npf.load(io.BytesIO(file_of(dict(b=B, a=A))))
    assert back["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and back["b"].tolist() == [6, 7]


@pytest.mark.parametrize("length",
                         [int.from_bytes(start, "little") for start in (b"PK", b"\x80\2", b"\x80")])
def test_a_header_may_be_as_long_as_a_pickles_first_bytes_say(length):
    text = json.dumps({"b": B | dict(data_offsets=[0, 8])}).ljust(length).encode()
    assert npf.load(io.BytesIO(file_of(text, BODY[-8:])))["b"].tolist() == [6, 7]


DAMAGED = {
    "empty": (b"", "it has 0 bytes"),
    "shorter than a length": (b"\x10\0\0", "it has 3 bytes"),
    "length beyond the end": (file_of(dict(a=A, b=B), length=10 ** 15),
                              "should take 1000000000000000 bytes, and"),
    "length of -1": (b"\xff" * 8 + b"{}",
                     "should take 18446744073709551615 bytes, and 2 are there"),
    "length into the arrays": (file_of(dict(a=A, b=B), length=150), "its header is not JSON"),
    "a header that is no JSON": (file_of(b"{'a': 1}"), "its header is not JSON"),
    "a header that is no UTF-8": (file_of(b'{"\xff\xfe": 1}'), "its header is not JSON"),
    "a header nested without end": (file_of(b"[" * 100_000), "its header is not JSON"),
    "a header that is a list": (file_of([A, B]), "not a dict of names"),
    "a name twice": (file_of(b'{"a": 1, "a": 2}'), "a name twice"),
    "an entry that is a number": (file_of(dict(a=5)),
                                  "'a' is without dtype, shape or data_offsets"),
    "an entry without offsets": (file_of(dict(a=dict(dtype="F32", shape=[8]))),
                                 "'a' is without dtype"),
    "an unknown dtype": (file_of(dict(a=A | dict(dtype="F8_E4M3"), b=B)),
                         "'F8_E4M3', which is none of F64, F32"),
    "a dtype that is a list": (file_of(dict(a=A | dict(dtype=["F32"]), b=B)),
                               r"dtype \['F32'\], which is none"),
    "a shape of text": (file_of(dict(a=A | dict(shape="23"), b=B)),
                        "as its shape 23, which are not integers"),
    "a negative shape": (file_of(dict(a=A | dict(shape=[-2, -3]), b=B)), "not integers >= 0"),
    "a shape of fractions": (file_of(dict(a=A | dict(shape=[2.0, 3]), b=B)), "not integers >= 0"),
    "a shape of bools": (file_of(dict(a=A, b=B | dict(shape=[True, 2]))), "not integers >= 0"),
    "a shape too large": (file_of(dict(a=A | dict(shape=[2 ** 40, 2 ** 40]), b=B)),
                          "takes 48357032784585166988247"),
    "a shape too small": (file_of(dict(a=A | dict(shape=[5]), b=B)),
                          "takes 20 bytes, and its data_offsets .* hold 24"),
    "too many dims": (file_of(dict(a=A | dict(shape=[1] * 70), b=B)),
                      "has 70 dims, and an array at most 64"),
    "a shape of nothing, too large": (
        file_of(dict(a=dict(dtype="F32", shape=[2 ** 62, 2 ** 62, 0], data_offsets=[0, 0])), b""),
        "a shape that no array can have"),
    "three offsets": (file_of(dict(a=A | dict(data_offsets=[0, 24, 24]), b=B)),
                      "3 data_offsets, not 2"),
    "offsets the wrong way round": (file_of(dict(a=A | dict(data_offsets=[24, 0]), b=B)),
                                    "hold -24"),
    "offsets before the start": (file_of(dict(a=A | dict(data_offsets=[-24, 0]), b=B)),
                                 "not integers >= 0"),
    "offsets beyond the end": (file_of(dict(a=A, b=B | dict(data_offsets=[2 ** 50, 2 ** 50 + 8]))),
                               "begins at byte 1125899906842624, and the array "
                               "before it ends at 24"),
    "arrays that overlap": (file_of(dict(a=A, b=B | dict(data_offsets=[16, 24]))),
                            "begins at byte 16"),
    "a gap between arrays": (file_of(dict(a=A, b=B | dict(data_offsets=[28, 36])), BODY + b"1234"),
                             "begins at byte 2"),
    "truncated arrays": (file_of(dict(a=A, b=B), BODY[:-1]),
                         "should take 32 bytes, and 31 are there"),
    "bytes left over": (file_of(dict(a=A, b=B), BODY + b"\0"),
                        "should take 32 bytes, and 33 are there"),
    "metadata that is no dict": (file_of(dict(a=A, b=B, __metadata__=[1])), "not texts by name"),
    "metadata that is no text": (file_of(dict(a=A, b=B, __metadata__={"x": 1})),
                                 "not texts by name"),
    "a pickle in a zip": (b"PK\3\4" + b"\0" * 40,
                          "a file of torch.save(.|\n)*safetensors.torch.save_file"),
    "an old pickle": (b"\x80\2\x8a\nl\xfc" + b"\0" * 40, "a file of torch.save"),
}


@pytest.mark.parametrize("content, words", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused_with_one_clear_message(content, words, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    refusal = "safetensors is truncated, damaged, or not a safetensors file: "
    with pytest.raises(InputError, match=f"{refusal}.*{words}"):
        npf.load(path)


def test_nothing_outside_the_file_is_read_or_made():
    """A header that promises 2⁵⁰ bytes is refused before memory is asked for; reads stay inside."""
    class Counted(io.BytesIO):
        def seek(self, place, *rest):
            assert 0 <= place <= len(self.getvalue())
            return super().seek(place, *rest)

        def readinto(self, buffer):
            assert self.tell() + len(buffer) <= len(self.getvalue())
            return super().readinto(buffer)
    huge = dict(dtype="U8", shape=[2 ** 50], data_offsets=[0, 2 ** 50])
    with pytest.raises(InputError, match="should take 1125899906842624 bytes, and 32 are there"):
        npf.load(io.BytesIO(file_of(dict(a=huge))))
    content, file = file_of(dict(a=A, b=B)), Counted(file_of(dict(a=A, b=B)))
    header, start = tensorfile.header_of(file, len(content))
    tensorfile.require_whole(header, len(content) - start)
    assert [tensorfile.array_of(file, start, *item).size for item in header.items()] == [6, 2]


@given(data=st.data())
def test_a_file_with_a_byte_changed_or_cut_loads_or_is_an_input_error(data):
    """Whatever happens to a saved file: it loads, or it is an InputError. A changed structure or
    array never loads."""
    file = io.BytesIO()
    npf.save({"a": npf.arange(5.0), "b": [1, (2, None)]}, file)
    content = bytearray(file.getvalue())
    place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= 1 << bit
    try:
        back = npf.load(io.BytesIO(content))
    except InputError:
        return
    # What may pass: a byte of the words "format" or "npformer 1", after which this is a dict of
    # tensors as any other.
    assert equal(back, {"a": npf.arange(5.0), "b": [1, (2, None)]}) or list(back) == ["a"]


@pytest.mark.parametrize("tree", [
    "", "{", "[]", "5", '["dict", 5]', '["dict", [["x", ["tensor", "no"]]]]',
    '["dict", [[[], ["value", 1]]]]', '["set", []]', '["tensor", ["a"]]', '["list"]',
    "[" * 100_000])
def test_a_structure_that_was_tampered_with_is_refused(tree):
    found = {"a": np.ones(2)}
    metadata = {"format": "npformer 1", "tree": tree, "crc32": npf.serialize.crc32(tree, found)}
    with pytest.raises(InputError, match="the open file is damaged: its structure cannot be read"):
        npf.load(io.BytesIO(b"".join(tensorfile.pieces(found, metadata))))


def test_changed_numbers_are_noticed(tmp_path):
    npf.save({"a": npf.ones(5)}, tmp_path / "t")
    content = (tmp_path / "t").read_bytes()
    (tmp_path / "t").write_bytes(content[:-1] + b"\1")
    with pytest.raises(InputError, match="t is damaged: its checksum does not fit"):
        npf.load(tmp_path / "t")


def test_a_byte_that_is_no_bool_becomes_one():
    header = dict(m=dict(dtype="BOOL", shape=[3], data_offsets=[0, 3]))
    assert npf.load(io.BytesIO(file_of(header, b"\0\1\2")))["m"].numpy().tobytes() == b"\0\1\1"


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("obj, words", [
    (nn.Linear(2, 3),
     "obj is a npformer.nn.layers.basic.Linear, which a file cannot hold"
     "(.|\n)*Save its state_dict()"),
    ({"a": {1, 2}}, "a is a set, which a file cannot hold"),
    ({"a": [1, {"b": 1j}]}, "a.1.b is a complex"),
    ({(1, 2): 3}, r"obj has the key \(1, 2\)"),
    ({"x": np.array([1j])}, "'x' is an array of complex128(.|\n)*float64, float32"),
    ({"x": np.array(["a"])}, "'x' is an array of <U1"),
])
def test_what_a_file_cannot_hold(obj, words, tmp_path):
    with pytest.raises(DTypeError, match=words):
        npf.save(obj, tmp_path / "t")
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(InputError, match="no cannot be read: No such file"):
        npf.load(tmp_path / "no")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        npf.load(tmp_path)
    with pytest.raises(InputError, match="cannot be written: No such file or directory"):
        npf.save({}, tmp_path / "no" / "t")
    with pytest.raises(npf.DeviceError, match="not known"):
        npf.save({"a": npf.ones(1)}, tmp_path / "t")
        npf.load(tmp_path / "t", map_location="tpu")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "t"
    npf.save({"a": 1}, path)

    def full(*args):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="cannot be written: No space left"):
        npf.save({"a": npf.ones(1000)}, path)
    assert npf.load(path) == {"a": 1} and os.listdir(tmp_path) == ["t"]


def test_a_state_dict_that_does_not_fit_is_told_apart_entry_by_entry(tmp_path):
    npf.save({"0.weight": npf.ones(3, 2), "0.bias": npf.ones(4), "1.weight": npf.ones(1)},
             tmp_path / "t")
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 5))
    before = model[0].weight.clone()
    with pytest.raises(ShapeError) as caught:
        model.load_state_dict(npf.load(tmp_path / "t"))
    told = str(caught.value)
    assert r"size mismatch for 0.bias: the state_dict has (4,), the module has (3,)" in told
    assert "missing: 2.weight (5, 3)" in told and "missing: 2.bias (5,)" in told
    assert "unexpected: 1.weight" in told
    assert npf.equal(model[0].weight, before)
