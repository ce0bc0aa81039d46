"""Trace files that are damaged are refused, in words."""

import json

import numpy as np
import pytest
from small import small

import npformer as npf
from npformer import debug, tensorfile


def test_a_file_of_something_else(tmp_path):
    npf.save({"kind": "something"}, tmp_path / "x")
    with pytest.raises(npf.InputError, match="not a trace file.*it is 'something'"):
        debug.Trace.load(tmp_path / "x")
    npf.save(npf.ones(3), tmp_path / "x")
    with pytest.raises(npf.InputError, match="not a trace file"):
        debug.Trace.load(tmp_path / "x")
    with pytest.raises(npf.InputError, match="cannot be read"):
        debug.Trace.load(tmp_path / "absent")


def test_damage_is_noticed(tmp_path):
    path = tmp_path / "a.trace"
    debug.trace(small()[2]).save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in rng.integers(0, len(content), 20):
        path.write_bytes(content[:cut])
        with pytest.raises(npf.InputError):
            debug.Trace.load(path)
    for place in rng.integers(8, len(content), 40):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1:])
        with pytest.raises(npf.InputError):
            debug.Trace.load(path)


def test_a_lying_description_is_refused(tmp_path):
    """Somebody may write a description that fits its checksum and not its arrays."""
    path = tmp_path / "a.trace"
    debug.trace(small()[2]).save(path)
    whole = npf.load(path)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        lie = json.loads(json.dumps({k: v for k, v in whole.items() if k != "memory"}))
        distort(lie, rng)
        npf.save({**lie, "memory": whole["memory"]}, path)
        try:
            debug.Trace.load(path)
        except npf.InputError:
            refused += 1                           # anything else that is raised fails the test
    assert refused > 50


def distort(tree_, rng):
    """Change one number, name or list, somewhere."""
    at = tree_
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = keys[rng.integers(len(keys))]
        if isinstance(at[key], (dict, list)) and len(at[key]) and rng.random() < 0.9:
            at = at[key]
            continue
        lies = [10**9, -1, "nonsense", None, [], {"view": [0, 0, "float64", [10**6], [8]]}]
        at[key] = lies[rng.integers(6)]
        return


def test_a_view_cannot_reach_outside_its_memory():
    from npformer.debug.traces.file import unpack_view
    memory = [np.arange(6.0)]
    assert unpack_view(memory, 0, 8, "float64", [2, 2], [16, 8]).tolist() == [[1, 2], [3, 4]]
    for offset, shape, strides in ((-8, [1], [8]), (0, [7], [8]), (8, [2, 3], [24, 8]),
                                   (0, [2], [-8]), (0, [2], [10**18])):
        with pytest.raises(npf.InputError, match="outside"):
            unpack_view(memory, 0, offset, "float64", shape, strides)
    with pytest.raises(npf.InputError, match="does not fit"):
        unpack_view(memory, 0, 0, "object", [1], [8])


def test_the_file_is_a_safetensors_file(tmp_path):
    debug.trace(small()[2]).save(tmp_path / "a.trace")
    found, metadata = tensorfile.read(tmp_path / "a.trace")
    assert found and metadata["format"] == "npformer 1"
